"""What raters said of each model: counts, shares, comparisons with the base, the review of the data.

Knows neither stores nor reports: ratings in, plain numbers out. Several people's levels of one answer become one by their median,
of an even number of them the worse of the two in the middle, so that no order of raters matters.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from self_instruct.evaluate.intervals import Estimate, bootstrap, interval, wilson
from self_instruct.evaluate.rating_sets import RatingSet, Target
from self_instruct.evaluate.ratings import QUESTIONS
from self_instruct.records import LEVELS, Level, Rating, Review

FORMATS = ("right", "partly", "wrong")
PEOPLE = "people"  # as a source of levels, beside the judges
Levels = Mapping[Target, Level]  # by subject and answer


@dataclass(frozen=True, kw_only=True, slots=True)
class Rated:
    """One model as one source saw it. `rated` of `total` answers have a level; `counts` are A, B, C and D. `a` and `a_or_b` are
    shares of the rated (0 to 1) with Wilson's interval, None where none is rated."""

    model: str
    rated: int
    total: int
    counts: tuple[int, int, int, int]
    a: Estimate | None
    a_or_b: Estimate | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Compared:
    """`model` against `base` on the instructions for which both are rated: how often its level is better, the same and worse, and
    differences in points, with a bootstrap over the instructions: `net`, the share of better ones less that of worse ones, and
    `a_or_b`, of the shares of A or B. No interval where every draw is the same."""

    model: str
    base: str
    subjects: int
    better: int
    same: int
    worse: int
    net: Estimate
    a_or_b: Estimate


@dataclass(frozen=True, kw_only=True, slots=True)
class Reviewed:
    """The data quality review of one corpus (paper, Table 2): `reviewed` instances. `yes` by question: how many of how many said
    yes, and the share; `all` counts the instances of which all three were answered. `formats`: right, partly, wrong."""

    reviewed: int
    reviewers: tuple[str, ...]
    yes: Mapping[str, tuple[int, int, Estimate | None]]
    formats: Mapping[str, int]


def by_rater(ratings: Iterable[Rating], one: RatingSet) -> dict[str, dict[Target, Level]]:
    """The levels that each rater gave to this set's answers; raters in the order of their first ratings."""
    targets = one.targets
    found: dict[str, dict[Target, Level]] = {}
    for rating in ratings:
        if (target := (rating.subject, rating.answer)) in targets:
            found.setdefault(rating.rater, {})[target] = rating.level
    return found


def consensus(raters: Sequence[Levels]) -> dict[Target, Level]:
    """One level for every answer that somebody rated."""
    found: dict[Target, list[int]] = {}
    for given in raters:
        for target, level in given.items():
            found.setdefault(target, []).append(LEVELS.index(level))
    return {target: LEVELS[sorted(places)[len(places) // 2]] for target, places in found.items()}


def of_models(one: RatingSet, levels: Levels) -> tuple[Rated, ...]:
    """Every model of the set, also those that nobody rated."""
    found = []
    for model in one.models:
        given = [
            levels.get((subject.key, answer.key))
            for subject in one.subjects
            for answer in subject.answers
            if model in answer.models
        ]
        rated = [level for level in given if level is not None]
        a, b, c, d = (rated.count(level) for level in LEVELS)
        found.append(
            Rated(
                model=model,
                rated=len(rated),
                total=len(given),
                counts=(a, b, c, d),
                a=wilson(a, len(rated)) if rated else None,
                a_or_b=wilson(a + b, len(rated)) if rated else None,
            )
        )
    return tuple(found)


def compare(one: RatingSet, levels: Levels, seed: int) -> tuple[Compared, ...]:
    """Every pair of models, the earlier the base, that have a rated instruction in common."""
    found = []
    for base, model in combinations(one.models, 2):
        pairs = []
        for subject in one.subjects:
            given = {name: levels.get((subject.key, answer.key)) for answer in subject.answers for name in answer.models}
            if (low := given.get(base)) is not None and (high := given.get(model)) is not None:
                pairs.append((LEVELS.index(low), LEVELS.index(high)))
        if not pairs:
            continue
        places = np.array(pairs)  # (subjects, 2 models)
        acceptable = np.where(places < 2, 100.0, 0.0)  # A or B
        values = np.stack([100.0 * np.sign(places[:, 0] - places[:, 1]), acceptable[:, 1] - acceptable[:, 0]])  # (2, subjects)
        drawn = bootstrap(values, range(len(pairs)), seed, "ratings", one.suite)
        net, a_or_b = (
            interval(float(row.mean()), None if drawn is None or np.ptp(draws) < 1e-12 else draws)
            for row, draws in zip(values, values if drawn is None else drawn.means, strict=True)
        )
        found.append(
            Compared(
                model=model,
                base=base,
                subjects=len(pairs),
                better=sum(high < low for low, high in pairs),
                same=sum(high == low for low, high in pairs),
                worse=sum(high > low for low, high in pairs),
                net=net,
                a_or_b=a_or_b,
            )
        )
    return tuple(found)


def review(one: RatingSet, given: Iterable[Review]) -> Reviewed:
    """A corpus' review by all its reviewers. Where several answered a question, it is yes if more than half say so."""
    targets = one.targets
    mine = [said for said in given if (said.subject, said.answer) in targets]
    said: dict[str, dict[Target, list[bool]]] = {question: {} for question in QUESTIONS}
    formats: dict[Target, list[int]] = {}
    for single in mine:
        target = single.subject, single.answer
        for question in QUESTIONS:
            if (answer := getattr(single, question)) is not None:
                said[question].setdefault(target, []).append(answer)
        if single.format is not None:
            formats.setdefault(target, []).append(FORMATS.index(single.format))
    verdicts = {
        question: {target: 2 * sum(answers) > len(answers) for target, answers in found.items()} for question, found in said.items()
    }
    whole = [target for target in targets if all(target in verdicts[question] for question in QUESTIONS)]
    counted = {question: (sum(found.values()), len(found)) for question, found in verdicts.items()}
    counted["all"] = (sum(all(verdicts[question][target] for question in QUESTIONS) for target in whole), len(whole))
    return Reviewed(
        reviewed=len({(single.subject, single.answer) for single in mine}),
        reviewers=tuple(dict.fromkeys(single.rater for single in mine)),
        yes={name: (part, of, wilson(part, of) if of else None) for name, (part, of) in counted.items()},
        # Of several answers the median, the worse of two in the middle, as with levels.
        formats={
            name: sum(sorted(given)[len(given) // 2] == place for given in formats.values()) for place, name in enumerate(FORMATS)
        },
    )


def answers_to(question: str, one: RatingSet, given: Iterable[Review]) -> dict[str, dict[Target, bool]]:
    """What each reviewer answered to one question, for their agreement."""
    targets = one.targets
    found: dict[str, dict[Target, bool]] = {}
    for single in given:
        if (target := (single.subject, single.answer)) in targets and getattr(single, question) is not None:
            found.setdefault(single.rater, {})[target] = getattr(single, question)
    return found
