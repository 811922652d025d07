"""What an evaluation set says of each model, and of each pair of models, all with intervals.

Knows neither engines nor files: scored answers in, numbers out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from statistics import fmean

import numpy as np

from self_instruct.evaluate.intervals import DRAWS, Estimate, Floats, bootstrap, interval, intervals, wilson
from self_instruct.records import EvalItem

ROUGE_L, EXACT = 0, 1  # the metrics' places in an array
TIE = 1e-9  # points: task means nearer than this differ by rounding alone


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """One model's answer to one item and its scores; `rouge_l` 0 to 1.

    `missing`: there was no prediction. It is scored as an empty text (natural-instructions, `compute_metrics`), and counted.
    """

    text: str
    hit_limit: bool
    output_tokens: int
    rouge_l: float
    exact_match: bool
    missing: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class TaskResult:
    """One model on one task: means over its instances, in points (0 to 100)."""

    task: str
    group: str
    items: int
    rouge_l: Estimate
    exact_match: Estimate


@dataclass(frozen=True, kw_only=True, slots=True)
class GroupResult:
    """One model on one category or application: means over its instances, in points (0 to 100)."""

    group: str
    tasks: int
    items: int
    rouge_l: Estimate
    exact_match: Estimate


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelResult:
    """One model on the whole set.

    `rouge_l` and `exact_match` are means over instances, `task_rouge_l` is the mean of task means, in points (0 to 100) with
    bootstrap intervals. `empty` and `hit_limit` are shares of all items (0 to 1) with Wilson's; a missing answer is an empty
    one. `mean_words` is the mean length of all answers. `groups` and `tasks` stand in the order of their first items.
    """

    model: str
    rouge_l: Estimate
    task_rouge_l: Estimate
    exact_match: Estimate
    empty: Estimate
    hit_limit: Estimate
    mean_words: float
    missing: int
    groups: tuple[GroupResult, ...]
    tasks: tuple[TaskResult, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """`model` minus `base` on the same items, in points, with intervals of the paired differences.

    `rouge_l` and `exact_match` are differences of means over instances, `task_rouge_l` of means of task means. `wins`, `ties`
    and `losses` count tasks by their mean ROUGE-L, from `model`'s side. `same` counts answers that are the base's to
    the letter: all of them the same means that an adapter wasn't applied, or does nothing. `groups`: (group, difference of
    `rouge_l`) in the order of their first items.
    """

    model: str
    base: str
    items: int
    tasks: int
    rouge_l: Estimate
    task_rouge_l: Estimate
    exact_match: Estimate
    wins: int
    ties: int
    losses: int
    same: int
    groups: tuple[tuple[str, Estimate], ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Measured:
    """Everything measured on one evaluation set; `models` in the order given, `comparisons` of every pair, the earlier the base."""

    tasks: int
    items: int
    models: tuple[ModelResult, ...]
    comparisons: tuple[Comparison, ...]
    draws: int = DRAWS


class _Part:
    """Some of the items with every model's points and the draws of their means: a whole set, a group, or a task.

    Letters: k metrics (ROUGE-L, exact match), m models, i items, d draws.
    """

    def __init__(self, points: Floats, tasks: Sequence[str], chosen: Sequence[int], seed: int, *parts: str) -> None:
        of_items = [tasks[i] for i in chosen]
        mine = points[:, :, chosen]  # (k, m, i)
        metrics, models, self.items = mine.shape
        self.tasks = len(set(of_items))
        self.values = np.array([[fmean(row) for row in rows] for rows in mine])  # (k, m)
        drawn = bootstrap(mine.reshape(-1, self.items), of_items, seed, *parts)
        self._draws = None if drawn is None else drawn.means.reshape(metrics, models, -1)  # (k, m, d)
        self.task_draws = None if drawn is None else drawn.task_means.reshape(metrics, models, -1)[ROUGE_L]  # (m, d)
        self.estimates = [intervals(of, None if self._draws is None else self._draws[k]) for k, of in enumerate(self.values)]
        self._exact = mine[EXACT]  # (m, i)
        for m, row in enumerate(self._exact):
            if self.items > 1 and row.min() == row.max():  # a bootstrap of equal values has no width, whatever their number
                share = wilson(int((row > 0).sum()), self.items)
                low, high = (None if bound is None else 100 * bound for bound in (share.low, share.high))
                self.estimates[EXACT][m] = Estimate(float(self.values[EXACT, m]), low, high)

    def difference(self, metric: int, model: int, base: int) -> Estimate:
        """The mean of one model less that of another; no interval for exact matches that differ nowhere, or everywhere alike."""
        if metric == EXACT and np.ptp(self._exact[model] - self._exact[base]) == 0:
            return Estimate(float(self.values[metric, model] - self.values[metric, base]), None, None)
        value = float(self.values[metric, model] - self.values[metric, base])
        return interval(value, None if self._draws is None else self._draws[metric, model] - self._draws[metric, base])


def measure(seed: int, items: Sequence[EvalItem], answers: Mapping[str, Sequence[Answer]]) -> Measured:
    """Measure every model and compare every pair; `seed` is the run's, `answers` by model in the items' order.

    At least one item and one model; every model answers every item (a missing answer is an `Answer` too). A model's numbers
    are the same whichever other models are measured with it.
    """
    assert items and answers and all(len(given) == len(items) for given in answers.values()), "answers to other items"
    points = np.array([[(100 * one.rouge_l, 100.0 * one.exact_match) for one in given] for given in answers.values()])
    points = points.transpose(2, 0, 1)  # (metrics, models, items)
    names = [item.task for item in items]
    whole = _Part(points, names, range(len(items)), seed)
    groups, tasks = (
        {name: _Part(points, names, chosen, seed, kind, name) for name, chosen in _places(of_items).items()}
        for kind, of_items in (("group", [item.group for item in items]), ("task", names))
    )
    group_of = {item.task: item.group for item in items}
    task_means = np.array([part.values[ROUGE_L] for part in tasks.values()]).T  # (models, tasks)
    means = [fmean(row) for row in task_means]
    of_tasks = intervals(means, whole.task_draws)
    models = tuple(
        ModelResult(
            model=model,
            rouge_l=whole.estimates[ROUGE_L][m],
            task_rouge_l=of_tasks[m],
            exact_match=whole.estimates[EXACT][m],
            empty=wilson(sum(not one.text.strip() for one in given), len(given)),
            hit_limit=wilson(sum(one.hit_limit for one in given), len(given)),
            mean_words=sum(len(one.text.split()) for one in given) / len(given),
            missing=sum(one.missing for one in given),
            groups=tuple(
                GroupResult(
                    group=name,
                    tasks=part.tasks,
                    items=part.items,
                    rouge_l=part.estimates[ROUGE_L][m],
                    exact_match=part.estimates[EXACT][m],
                )
                for name, part in groups.items()
            ),
            tasks=tuple(
                TaskResult(
                    task=name,
                    group=group_of[name],
                    items=part.items,
                    rouge_l=part.estimates[ROUGE_L][m],
                    exact_match=part.estimates[EXACT][m],
                )
                for name, part in tasks.items()
            ),
        )
        for m, (model, given) in enumerate(answers.items())
    )

    def compare(base: int, model: int) -> Comparison:
        gains = task_means[model] - task_means[base]  # (tasks,)
        one, other = answers[models[base].model], answers[models[model].model]
        task_draws = None if whole.task_draws is None else whole.task_draws[model] - whole.task_draws[base]
        return Comparison(
            model=models[model].model,
            base=models[base].model,
            items=len(items),
            tasks=len(tasks),
            rouge_l=whole.difference(ROUGE_L, model, base),
            task_rouge_l=interval(means[model] - means[base], task_draws),
            exact_match=whole.difference(EXACT, model, base),
            wins=int((gains > TIE).sum()),
            ties=int((abs(gains) <= TIE).sum()),
            losses=int((gains < -TIE).sum()),
            same=sum(before.text == after.text for before, after in zip(one, other, strict=True)),
            groups=tuple((name, part.difference(ROUGE_L, model, base)) for name, part in groups.items()),
        )

    return Measured(
        tasks=len(tasks),
        items=len(items),
        models=models,
        comparisons=tuple(compare(base, model) for base, model in combinations(range(len(models)), 2)),
    )


def _places(names: Iterable[str]) -> dict[str, list[int]]:
    """Where each name stands, in the order of their first places."""
    found: dict[str, list[int]] = {}
    for place, name in enumerate(names):
        found.setdefault(name, []).append(place)
    return found
