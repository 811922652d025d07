"""How far raters agree: two of them, several, and a judge with itself.

Pure: ratings in, numbers out. Values come from scikit-learn, scipy and krippendorff. Their 95 % intervals are percentiles of a
bootstrap that takes as many instructions as there are, with replacement, each with all its answers: the answers to one
instruction are no independent draws. The draws compute the same statistics as functions of tables of counts, all at once.

- kappa: 1 - observed / expected disagreement, the latter from both raters' own shares of levels (Cohen 1960); with quadratic
  weights a disagreement counts by the square of its steps (Cohen 1968).
- Spearman: Pearson's correlation of the ranks, equal levels sharing the middle of their ranks.
- alpha: 1 - observed / expected disagreement of all pairs of ratings of one answer, whoever gave them (Krippendorff 2011), with
  the ordinal metric: squared number of ratings between two levels, of the two levels themselves half.

The paper's two raters had a kappa of 0.57 on four levels and of 0.75 on A or B against C or D, and a Spearman correlation of 0.81
(Wang et al. 2022, section 5.4 and its appendix).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import krippendorff
import numpy as np
from scipy.stats import spearmanr
from sklearn.metrics import cohen_kappa_score

from self_instruct.evaluate.intervals import DRAWS, LEVEL, Estimate, Floats, Integers
from self_instruct.evaluate.rating_sets import Target
from self_instruct.randomness import key
from self_instruct.records import LEVELS, Level

Given = Mapping[Target, Level]
K = len(LEVELS)
UNDEFINED = 0.05  # a larger share of draws without a value gives no interval: percentiles of the rest would say too little
CHUNK = 2**22  # weights formed at once: 32 MiB


@dataclass(frozen=True, kw_only=True, slots=True)
class Pair:
    """Two raters on the `units` answers that both rated, to `subjects` instructions.

    `same` is the share of equal levels (0 to 1), `kappa` Cohen's on the four levels, `weighted` with quadratic weights, `binary`
    that of A or B against C or D, `spearman` the rank correlation (all -1 to 1). `confusion`: rows are the first's levels A to D,
    columns the second's. `undefined` says which of them have no value, or no interval, and why; one sentence a reason.
    """

    first: str
    second: str
    units: int
    subjects: int
    same: Estimate | None
    kappa: Estimate | None
    weighted: Estimate | None
    binary: Estimate | None
    spearman: Estimate | None
    confusion: tuple[tuple[int, ...], ...]
    undefined: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Alpha:
    """Krippendorff's ordinal alpha (at most 1) of the `raters` who rated anything, on the `units` answers that two or more rated.

    `missing`: some answer was not rated by all of them. `undefined` says
    why there is no value or no interval.
    """

    raters: int
    units: int
    value: Estimate | None
    missing: bool
    undefined: str = ""


def pair(first: str, second: str, ratings: Mapping[str, Given], seed: int) -> Pair:
    """How far two of the raters agree. Neither their order nor that of the answers changes a value.

    A kappa has no value where both gave one level only (0 where one did), Spearman's where one did.
    """
    one, other = ratings[first], ratings[second]
    units = sorted(one.keys() & other.keys())
    levels = np.array([[LEVELS.index(given[unit]) for unit in units] for given in (one, other)], dtype=np.int64)  # (2, units)
    halves = levels // (K // 2)
    tables = _tables([subject for subject, _ in units], levels, K)
    drawn = _drawn(tables, seed, *sorted((first, second)))
    steady = [name for name, row in zip((first, second), levels, strict=True) if _constant(row)]
    only = f"{' and '.join(steady)} gave one level only"
    half = only if len(steady) > 1 else "each kept to A and B, or to C and D"
    found: dict[str, Estimate | None] = {}
    notes: dict[tuple[str, str], list[str]] = {}
    for field, name, value, why, of_draws in (
        ("same", "equal levels", _same(levels), "", sames),
        ("kappa", "kappa", _cohen(levels, K), only, kappas),
        ("weighted", "quadratic kappa", _cohen(levels, K, "quadratic"), only, quadratic_kappas),
        ("binary", "kappa of A or B", _cohen(halves, 2), half, lambda t: kappas(halved(t))),
        ("spearman", "Spearman", _spearman(levels), only, spearmans),
    ):
        found[field], what, reason = _estimate(value, why if units else "no answer was rated by both", drawn, of_draws)
        if what:
            notes.setdefault((what, reason), []).append(name)
    return Pair(
        first=first,
        second=second,
        units=len(units),
        subjects=len(tables),
        confusion=tuple(tuple(int(count) for count in row) for row in tables.sum(axis=0)),
        undefined=tuple(f"{what} of {', '.join(names)}, as {reason}" for (what, reason), names in notes.items()),
        **found,
    )


def yes_no(
    first: Mapping[Target, bool], second: Mapping[Target, bool], seed: int, *parts: str
) -> tuple[int, Estimate | None, Estimate | None]:
    """Of two reviewers' answers to one question: how many both gave, the share of equal ones (0 to 1), and Cohen's kappa.

    `parts` tell this question and these reviewers from others, for the draws.
    """
    units = sorted(first.keys() & second.keys())
    answers = np.array([[given[unit] for unit in units] for given in (first, second)], dtype=np.int64)  # (2, units)
    drawn = _drawn(_tables([subject for subject, _ in units], answers, 2), seed, "review", *parts)
    same, *_ = _estimate(_same(answers), "", drawn, sames)
    kappa, *_ = _estimate(_cohen(answers, 2), "", drawn, kappas)
    return len(units), same, kappa


def alpha(ratings: Mapping[str, Given], seed: int) -> Alpha:
    """Krippendorff's ordinal alpha of two or more raters, also where some rated only some of the answers."""
    raters = [given for given in ratings.values() if given]
    counts: dict[Target, list[int]] = {}
    for given in raters:
        for unit, level in given.items():
            counts.setdefault(unit, [0] * K)[LEVELS.index(level)] += 1
    units = sorted(unit for unit, found in counts.items() if sum(found) > 1)
    table = np.array([counts[unit] for unit in units], dtype=np.int64).reshape(-1, K)
    places = _places([subject for subject, _ in units])
    pairs = np.zeros((places.max(initial=-1) + 1, K, K))
    np.add.at(pairs, places, coincidences(table))
    why = "one level alone was given" if len(units) else "no answer was rated by two"
    value, what, reason = _estimate(_alpha(table), why, _drawn(pairs, seed, "alpha"), alphas)
    missing = any(sum(found) < len(raters) for found in counts.values())
    undefined = f"{what}, as {reason}" if what else ""
    return Alpha(raters=len(raters), units=len(units), value=value, missing=missing, undefined=undefined)


def self_agreement(orders: Sequence[Sequence[Level]]) -> tuple[float | None, float | None]:
    """Of a judge that was asked several times about each answer; one row an answer, with the levels that it got.

    The share of equal levels among all pairs of an answer's levels (0 to 1), and Krippendorff's ordinal alpha. None, None where no
    answer was asked about twice; alpha None where all levels are the same.
    """
    pairs = [one == other for levels in orders for one, other in combinations(levels, 2)]
    if not pairs:
        return None, None
    table = np.array([[list(levels).count(level) for level in LEVELS] for levels in orders], dtype=np.int64)
    return sum(pairs) / len(pairs), _alpha(table[table.sum(axis=1) > 1])


# Statistics of many tables at once, nan where one has no value; letters: d draws, k levels, s subjects.


def sames(tables: Floats) -> Floats:
    """Share of equal levels of each table (d, k, k), none of them empty; (d,)."""
    found: Floats = np.trace(tables, axis1=1, axis2=2) / tables.sum(axis=(1, 2))
    return found


def kappas(tables: Floats) -> Floats:
    """Cohen's kappa of each table (d, k, k), (d,); nan where both raters gave one level only."""
    return _kappas(tables, 1.0 - np.eye(tables.shape[-1]))


def quadratic_kappas(tables: Floats) -> Floats:
    """Cohen's kappa with quadratic weights, as `kappas`."""
    steps = np.arange(tables.shape[-1], dtype=np.float64)
    squares: Floats = (steps[:, None] - steps) ** 2
    return _kappas(tables, squares)


def _kappas(tables: Floats, disagreement: Floats) -> Floats:
    rows, columns = tables.sum(axis=2), tables.sum(axis=1)  # (d, k): how often each rater gave each level
    observed = (tables * disagreement).sum(axis=(1, 2))
    expected = np.einsum("di,dj,ij->d", rows, columns, disagreement) / rows.sum(axis=1)
    vary = ((rows > 0).sum(axis=1) > 1) | ((columns > 0).sum(axis=1) > 1)
    return 1 - _ratio(observed, np.where(vary, expected, 0))


def halved(tables: Floats) -> Floats:
    """Tables (d, k, k) of A or B against C or D, (d, 2, 2)."""
    half = tables.shape[-1] // 2
    found: Floats = tables.reshape(-1, 2, half, 2, half).sum(axis=(2, 4))
    return found


def spearmans(tables: Floats) -> Floats:
    """Spearman's correlation of each table (d, k, k), (d,); nan where a rater gave one level only."""
    middle = (tables.sum(axis=(1, 2)) + 1) / 2
    rows, columns = (_mid_ranks(tables.sum(axis=axis)) - middle[:, None] for axis in (2, 1))  # (d, k)
    both = np.einsum("dij,di,dj->d", tables, rows, columns)
    squares = np.einsum("dij,di->d", tables, rows**2) * np.einsum("dij,dj->d", tables, columns**2)
    return _ratio(both, np.sqrt(squares))


def _mid_ranks(counts: Floats) -> Floats:
    """The rank that all ratings of a level share, (d, k), of how many each level has."""
    found: Floats = np.cumsum(counts, axis=1) - (counts - 1) / 2
    return found


def coincidences(table: Integers) -> Floats:
    """Each answer's coincidence matrix, (units, k, k), of how many gave it each level (units, k), two or more in all.

    Every ordered pair of two raters' levels counts 1 / (ratings of the answer - 1), so that an answer weighs as many as it has.
    """
    given = table.astype(np.float64)
    pairs = given[:, :, None] * given[:, None, :] - given[:, :, None] * np.eye(table.shape[1])
    found: Floats = pairs / (given.sum(axis=1) - 1)[:, None, None]
    return found


def alphas(pairs: Floats) -> Floats:
    """Krippendorff's ordinal alpha of each coincidence matrix (d, k, k), (d,); nan where one level alone was given."""
    counts = pairs.sum(axis=2)
    middle = np.cumsum(counts, axis=1) - counts / 2  # (d, k): where each level's ratings have their middle, in the order of all
    distance = (middle[:, :, None] - middle[:, None, :]) ** 2
    observed = (pairs * distance).sum(axis=(1, 2))
    expected = np.einsum("di,dj,dij->d", counts, counts, distance) / (counts.sum(axis=1) - 1)
    return 1 - _ratio(observed, expected)


def _ratio(part: Floats, whole: Floats) -> Floats:
    """nan where `whole` is 0; it is a sum of terms that aren't negative, so 0 exactly."""
    found: Floats = np.divide(part, whole, out=np.full(len(whole), np.nan), where=whole > 0)
    return found


# The bootstrap.


def _places(subjects: Sequence[str]) -> Integers:
    numbers: dict[str, int] = {}
    return np.array([numbers.setdefault(subject, len(numbers)) for subject in subjects], dtype=np.int64)


def _tables(subjects: Sequence[str], levels: Integers, count: int) -> Floats:
    """The confusion of each subject's answers, (s, count, count); `levels` (2, units), `subjects` the one of each unit."""
    places = _places(subjects)
    found = np.zeros((places.max(initial=-1) + 1, count, count))
    np.add.at(found, (places, levels[0], levels[1]), 1.0)
    return found


def _drawn(tables: Floats, seed: int, *parts: str) -> Floats | None:
    """Sums of the tables (s, k, k) of s subjects, drawn with replacement, (d, k, k); None for fewer than two subjects."""
    subjects = len(tables)
    if subjects < 2:
        return None
    stream = np.random.default_rng(key(seed, "evaluate", "agreement", *parts))
    flat, found = tables.reshape(subjects, -1), []
    for first in range(0, DRAWS, step := max(1, CHUNK // subjects)):
        draws = min(step, DRAWS - first)
        slots = stream.integers(0, subjects, size=(draws, subjects)) + subjects * np.arange(draws)[:, None]
        weights = np.bincount(slots.ravel(), minlength=draws * subjects).reshape(draws, subjects)
        found.append(weights.astype(np.float64) @ flat)
    return np.concatenate(found).reshape(DRAWS, *tables.shape[1:])


def _estimate(
    value: float | None, why: str, drawn: Floats | None, of_draws: Callable[[Floats], Floats]
) -> tuple[Estimate | None, str, str]:
    """A value with its interval; what isn't there ("" if all is), and the reason, which is `why` for a value."""
    if value is None:
        return None, "no value", why
    if drawn is None:
        return Estimate(value, None, None), "no interval", "all answers are to one instruction"
    values = of_draws(drawn)
    kept = values[~np.isnan(values)]
    if len(kept) < (1 - UNDEFINED) * len(values):
        share = 100 * (1 - len(kept) / len(values))
        return Estimate(value, None, None), "no interval", f"it has no value in {share:.1f} % of the draws"
    if np.ptp(kept) < 1e-12:  # perfect agreement, or a rater who gave one level: no width, however few the answers
        return Estimate(value, None, None), "no interval", "it is the same in every draw"
    low, high = np.quantile(kept, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Estimate(value, float(low), float(high)), "", ""


# The values; levels (2, units). None where there is none, so that no library divides by zero.


def _constant(row: Integers) -> bool:
    return len(row) == 0 or bool((row == row[0]).all())


def _same(levels: Integers) -> float | None:
    return float((levels[0] == levels[1]).mean()) if levels.size else None


def _cohen(levels: Integers, count: int, weights: str | None = None) -> float | None:
    if all(map(_constant, levels)):
        return None
    return float(cohen_kappa_score(levels[0], levels[1], labels=list(range(count)), weights=weights))


def _spearman(levels: Integers) -> float | None:
    if any(map(_constant, levels)):
        return None
    return float(spearmanr(levels[0], levels[1]).statistic)


def _alpha(table: Integers) -> float | None:
    """Of how many gave each level (units, k), two or more in all to each unit."""
    if (table.sum(axis=0) > 0).sum() < 2:
        return None
    return float(krippendorff.alpha(value_counts=table, level_of_measurement="ordinal", value_domain=range(K)))
