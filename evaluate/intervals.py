"""How sure a number is: Wilson's interval of a share, and a hierarchical bootstrap of means.

Knows neither models nor files; numbers in, numbers out. The items of an evaluation set are no independent draws: those of
one task share its definition, and a claim is meant to hold for other tasks too. So one draw takes as many tasks as there
are, with replacement, and then for every task taken, each time anew, as many of its instances as it has, with replacement
(a two-stage bootstrap: Davison and Hinkley 1997, section 3.8, strategy 2). Where every task has one instance this is the
plain bootstrap over the items; where there is one task, over its instances. Having resampled both stages, it counts
the spread within tasks more than once, so its intervals are rather too wide than too narrow.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from math import sqrt
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from self_instruct.randomness import key

DRAWS = 2_000
LEVEL = 0.95
CHUNK = 200_000  # weights formed at once: 1.6 MB, so that they stay in the cache while every column is multiplied with them

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Estimate:
    """A number and the bounds of its 95 % interval, all in one unit; None where too few items give no interval."""

    value: float
    low: float | None
    high: float | None


@dataclass(frozen=True, slots=True)
class Draws:
    """What the same resamples give for every column; letters: c columns, d draws.

    `means`: sum over the drawn items by their number. `task_means`: the mean of the means of the drawn tasks.
    """

    means: Floats  # (c, d)
    task_means: Floats  # (c, d)


def wilson(part: int, whole: int, level: float = LEVEL) -> Estimate:
    """The share `part` / `whole`, 0 to 1, with Wilson's score interval (1927), without continuity correction.

    `whole` must be above 0 and `part` between 0 and `whole`: a share of nothing is for the caller to leave out.
    """
    assert 0 <= part <= whole and whole, f"{part} of {whole} is no share"
    z = NormalDist().inv_cdf((1 + level) / 2)
    share = part / whole
    centre = (share + z * z / (2 * whole)) / (1 + z * z / whole)
    half = z * sqrt(share * (1 - share) / whole + z * z / (4 * whole * whole)) / (1 + z * z / whole)
    # At the ends the bounds are 0 and 1, but for rounding.
    return Estimate(share, 0.0 if part == 0 else centre - half, 1.0 if part == whole else centre + half)


def bootstrap(values: Floats, tasks: Sequence[Hashable], seed: int, *parts: str, draws: int = DRAWS) -> Draws | None:
    """Resample tasks and their instances; `values` (columns, items), `tasks` the task of each item.

    None for fewer than two items. The resamples are a function of `seed` (the run's), `parts` (what tells this set of items
    from others: a group's name) and the tasks' sizes in the order of their first items, never of the columns. So the
    difference of two columns' draws is a draw of their difference, paired item by item, and a column's draws are the same to
    the last bit whichever other columns stand beside it.
    """
    columns, items = values.shape
    assert items == len(tasks)
    if items < 2:
        return None
    numbers: dict[Hashable, int] = {}
    of_item = np.array([numbers.setdefault(task, len(numbers)) for task in tasks])  # (items,)
    order = np.argsort(of_item, kind="stable")  # a task's items side by side
    sizes = np.bincount(of_item)  # (tasks,)
    starts = np.cumsum(sizes) - sizes
    # Rows that lie one after the other: a product with one row is the same whatever the others are.
    rows = np.ascontiguousarray(values[:, order], dtype=np.float64)
    share = 1 / sizes[of_item[order]]  # (items,): an item's part of its task's mean
    stream = np.random.default_rng(key(seed, "evaluate", "bootstrap", *parts))
    means, task_means = np.empty((columns, draws)), np.empty((columns, draws))
    for first in range(0, draws, step := max(1, CHUNK // items)):
        now = slice(first, min(first + step, draws))
        weights = _weights(stream, starts, sizes, now.stop - now.start)  # (chunk, items)
        drawn = weights.sum(axis=1)
        for column, row in enumerate(rows):
            means[column, now] = weights @ row / drawn
            task_means[column, now] = weights @ (row * share) / len(sizes)
    return Draws(means, task_means)


def _weights(stream: np.random.Generator, starts: Integers, sizes: Integers, draws: int) -> Floats:
    """How often each draw has each item, shape (draws, items), items in the order of their tasks."""
    tasks, items = len(sizes), int(sizes.sum())
    slots = stream.integers(0, tasks, size=(draws, tasks)).ravel()  # draw by draw: the tasks taken
    taken = sizes[slots]
    base = np.repeat(np.arange(draws) * items, tasks) + starts[slots]
    # One number of [0, 1) for every instance of every task taken; times the task's size it is less than that, rounded too.
    within = (stream.random(int(taken.sum())) * np.repeat(taken, taken)).astype(np.int64)
    counts = np.bincount(np.repeat(base, taken) + within, minlength=draws * items)
    return counts.reshape(draws, items).astype(np.float64)


def intervals(values: Sequence[float], draws: Floats | None, level: float = LEVEL) -> list[Estimate]:
    """Each value with the percentiles of its draws, shape (values, draws), as bounds (Efron's percentile interval)."""
    if draws is None:
        return [Estimate(value, None, None) for value in values]
    low, high = np.quantile(draws, [(1 - level) / 2, (1 + level) / 2], axis=1)
    return [Estimate(*map(float, three)) for three in zip(values, low, high, strict=True)]


def interval(value: float, draws: Floats | None, level: float = LEVEL) -> Estimate:
    """`intervals` of one value; draws (draws,)."""
    return intervals([value], None if draws is None else draws[None], level)[0]
