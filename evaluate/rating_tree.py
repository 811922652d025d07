"""Ratings, reviews and agreement of runs as the report's tree holds them: plain JSON values, rounded as they are shown.

Knows neither pages nor blocks. What nobody rated isn't in it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import combinations
from typing import Any

from self_instruct.evaluate import agreement, judge, paper, rating_results, rating_runs, rating_sets
from self_instruct.evaluate.intervals import Estimate
from self_instruct.evaluate.joined import JoinedSuite
from self_instruct.evaluate.rating_sets import KINDS, Kind, RatingSet, Target
from self_instruct.evaluate.ratings import QUESTIONS, Rater, Value, rating, review
from self_instruct.evaluate.report_numbers import percent, points
from self_instruct.evaluate.store import StoredRun
from self_instruct.records import LEVELS, Level

CONSENSUS = "people (median)"  # no rater can be called so


class Kept:
    """What the stores of some runs hold: the last word of each rater on each answer, whichever store has it."""

    def __init__(self, runs: Sequence[StoredRun]) -> None:
        self.raters: dict[str, Rater] = {}
        self.said: dict[tuple[str, Kind, Target], Value] = {}
        self.drawn = 0  # instructions that reviewers were given of a corpus, at most
        people: dict[str, str] = {}  # who writes a name in another case is no other person
        for store in rating_runs.open_stores(runs):
            try:
                self.drawn = max(self.drawn, int(store.note("review") or 0))
                for name, rater in store.raters().items():
                    shown = people.setdefault(name.casefold(), name)
                    self.raters[shown] = _joined(self.raters[shown], rater) if shown in self.raters else rater
                for kind in KINDS:
                    for name, target, value in store.said(kind):
                        key = people[name.casefold()], kind, target
                        if key not in self.said or self.said[key].time_s <= value.time_s:
                            self.said[key] = value
            finally:
                store.close()
        levels = (rating(name, target, one) for (name, kind, target), one in self.said.items() if kind == "answers")
        answers = (review(name, target, one) for (name, kind, target), one in self.said.items() if kind == "review")
        self.ratings = tuple(made for made in levels if made is not None)
        self.reviews = tuple(made for made in answers if made is not None)

    def is_person(self, name: str) -> bool:
        return self.raters[name].kind == "person"


def _joined(one: Rater, other: Rater) -> Rater:
    """A rater of two stores. What a judge's facts tell by answer is needed of both."""
    answers = {**one.facts.get("answers", {}), **other.facts.get("answers", {})}
    return replace(other, facts={**other.facts, "answers": answers} if answers else other.facts)


def build(runs: Sequence[StoredRun], labels: Sequence[str], suites: Sequence[JoinedSuite], seed: int) -> dict[str, Any]:
    """`sets`: the user-oriented sets that somebody rated; `reviews`: the corpora that somebody reviewed. Raises DataError for a
    store that can't be read."""
    kept = Kept(runs)
    every = rating_sets.of_answers(suites, seed)
    sets = [one for one in every if rating_results.by_rater(kept.ratings, one)]
    corpora: list[RatingSet] = []
    for label, run in zip(labels, runs, strict=True):
        made = rating_runs.review(run, None, label) if kept.reviews else None
        if made is not None and all(made.subjects != other.subjects for other in corpora):
            corpora.append(made)
    shown = set().union(*(one.targets for one in every))
    reviewed = set().union(*(one.targets for one in corpora))
    return {
        "sets": [set_tree(one, kept, seed, [run.model for run in runs]) for one in sets],
        "reviews": [tree for one in corpora if (tree := _review(one, kept, seed)) is not None],
        # What was said of texts that these runs don't have (any more).
        "elsewhere": {
            "ratings": sum((one.subject, one.answer) not in shown for one in kept.ratings),
            "reviews": sum((one.subject, one.answer) not in reviewed for one in kept.reviews),
        },
    }


def set_tree(one: RatingSet, kept: Kept, seed: int, judged: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """One set: who rated, every model as people and as each judge saw it, how far raters agree, what judges are like. `judged` are
    the base models of those that answered."""
    levels: dict[str, dict[Target, Level]] = rating_results.by_rater(kept.ratings, one)
    people = [name for name in levels if kept.is_person(name)]
    judges = [name for name in levels if not kept.is_person(name)]
    sources: list[tuple[str, list[str], Mapping[Target, Level]]] = []
    if people:
        sources.append((rating_results.PEOPLE, people, rating_results.consensus([levels[name] for name in people])))
    sources += [(name, [name], levels[name]) for name in judges]
    compared: dict[str, Mapping[Target, Level]] = {name: levels[name] for name in people}
    if len(people) > 1 and judges:
        compared[CONSENSUS] = sources[0][2]
    compared |= {name: levels[name] for name in judges}
    return {
        "name": one.suite,
        "title": one.title,
        "instructions": len(one.subjects),
        "answers": one.total,
        "raters": [
            {
                "rater": name,
                "kind": kept.raters[name].kind,
                "rated": len(levels[name]),
                "counts": [sum(level == which for level in levels[name].values()) for which in LEVELS],
                "longer": judge.length_effect([one], [one for one in kept.ratings if one.rater == name]),
            }
            for name in (*people, *judges)
        ],
        "sources": [
            {
                "source": source,
                "raters": raters,
                "models": [_rated(rated) for rated in rating_results.of_models(one, given)],
                "comparisons": [_compared(pair) for pair in rating_results.compare(one, given, seed)],
            }
            for source, raters, given in sources
        ],
        "pairs": [
            {"kind": _kind(first, second, people, judges), **_pair(agreement.pair(first, second, compared, seed))}
            for first, second in combinations(compared, 2)
            if not (CONSENSUS in (first, second) and {first, second} & set(people))
        ],
        "alpha": _alpha(agreement.alpha({name: levels[name] for name in people}, seed)) if len(people) > 1 else None,
        "judges": [
            {
                "judge": name,
                "warning": judge.family(kept.raters[name].facts["model"], judged),
                **judge.summary(one, kept.raters[name].facts, [one for one in kept.ratings if one.rater == name]),
            }
            for name in judges
        ],
    }


def _kind(first: str, second: str, people: Sequence[str], judges: Sequence[str]) -> str:
    if first in people and second in people:
        return "people"
    return "judges" if first in judges and second in judges else "people and judge"


def rounded(one: Estimate | None, digits: int = 3) -> dict[str, float | None] | None:
    """An estimate for the tree; None stays None."""
    if one is None:
        return None
    values = {"value": one.value, "low": one.low, "high": one.high}
    return {name: None if value is None else round(value, digits) + 0.0 for name, value in values.items()}


def _percent(one: Estimate | None) -> dict[str, float | None] | None:
    return None if one is None else percent(one)


def _rated(one: rating_results.Rated) -> dict[str, Any]:
    return {
        "model": one.model,
        "rated": one.rated,
        "of": one.total,
        "counts": list(one.counts),
        "a_percent": _percent(one.a),
        "a_or_b_percent": _percent(one.a_or_b),
    }


def _compared(one: rating_results.Compared) -> dict[str, Any]:
    told = {name: getattr(one, name) for name in ("model", "base", "subjects", "better", "same", "worse")}
    return {**told, "net_points": points(one.net), "a_or_b_points": points(one.a_or_b)}


def _pair(one: agreement.Pair) -> dict[str, Any]:
    return {
        "first": one.first,
        "second": one.second,
        "answers": one.units,
        "instructions": one.subjects,
        "same_percent": _percent(one.same),
        **{name: rounded(getattr(one, name)) for name in ("kappa", "weighted", "binary", "spearman")},
        "confusion": [list(row) for row in one.confusion],
        "undefined": list(one.undefined),
    }


def _alpha(one: agreement.Alpha) -> dict[str, Any]:
    told = {name: getattr(one, name) for name in ("raters", "missing", "undefined")}
    return {**told, "answers": one.units, "value": rounded(one.value)}


def _review(one: RatingSet, kept: Kept, seed: int) -> dict[str, Any] | None:
    found = rating_results.review(one, kept.reviews)
    if not found.reviewed:
        return None
    pairs = []
    for question in QUESTIONS:
        given = rating_results.answers_to(question, one, kept.reviews)
        for first, second in combinations(given, 2):
            units, same, kappa = agreement.yes_no(given[first], given[second], seed, question, first, second)
            if units:
                told = {"question": question, "first": first, "second": second, "instances": units}
                pairs.append({**told, "same_percent": _percent(same), "kappa": rounded(kappa)})
    return {
        "run": one.title,
        "instances": min(one.total, max(found.reviewed, kept.drawn or paper.QUALITY_SAMPLE)),
        "reviewed": found.reviewed,
        "reviewers": list(found.reviewers),
        "yes": {name: {"yes": part, "of": of, "percent": _percent(share)} for name, (part, of, share) in found.yes.items()},
        "formats": dict(found.formats),
        "pairs": pairs,
    }
