"""Measured numbers as the report's tree holds them, and as they are shown.

Knows neither files nor blocks. The tree's numbers are rounded as they are shown, so that HTML, Markdown and JSON agree.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from self_instruct.evaluate.comparison import Measured
from self_instruct.evaluate.document_markdown import number, signed
from self_instruct.evaluate.intervals import Estimate
from self_instruct.evaluate.joined import JoinedSuite

NOT_RUN = "not run"
# Fewer tasks make a percentile interval too narrow: of simulated differences of 0 it leaves out 8 % at 20 tasks, 11 % at 10,
# 29 % at 3, where 5 % are meant (300 simulations each; docs/evaluation.md).
VERDICT_TASKS = 20
TITLES = {"superni": "SuperNI", "user_oriented": "User-oriented instructions"}


def suite_tree(suite: JoinedSuite, found: Measured) -> dict[str, Any]:
    """One evaluation set's numbers: ROUGE-L and exact match in points (0 to 100), shares in percent, each with its interval."""
    groups: dict[str, dict[str, Any]] = {}
    tasks: dict[str, dict[str, Any]] = {}
    for one in found.models:
        for group in one.groups:
            row = groups.setdefault(group.group, {"group": group.group, "tasks": group.tasks, "items": group.items})
            row |= {one.model: {"rouge_l": points(group.rouge_l), "exact_match": points(group.exact_match)}}
        for task in one.tasks:
            row = tasks.setdefault(task.task, {"task": task.task, "group": task.group, "items": task.items})
            row |= {one.model: {"rouge_l": points(task.rouge_l), "exact_match": points(task.exact_match)}}
    return {
        **suite.facts,
        "items": found.items,
        "tasks": found.tasks,
        "draws": found.draws,
        "models": [
            {
                "model": one.model,
                "rouge_l": points(one.rouge_l),
                "task_rouge_l": points(one.task_rouge_l),
                "exact_match": points(one.exact_match),
                "empty_percent": percent(one.empty),
                "hit_limit_percent": percent(one.hit_limit),
                "mean_words": round(one.mean_words, 1),
                "missing": one.missing,
            }
            for one in found.models
        ],
        "comparisons": [
            {
                "model": one.model,
                "base": one.base,
                "rouge_l": points(one.rouge_l),
                "task_rouge_l": points(one.task_rouge_l),
                "exact_match": points(one.exact_match),
                "wins": one.wins,
                "ties": one.ties,
                "losses": one.losses,
                "same": one.same,
                "groups": {group: points(difference) for group, difference in one.groups},
            }
            for one in found.comparisons
        ],
        "by_group": list(groups.values()),
        "by_task": list(tasks.values()),
    }


def points(one: Estimate) -> dict[str, float | None]:
    """An estimate as it is shown, two digits."""
    return {name: None if value is None else round(value, 2) + 0.0 for name, value in _parts(one)}


def percent(one: Estimate) -> dict[str, float | None]:
    """A share of 0 to 1 in percent, one digit."""
    return {name: None if value is None else round(100 * value, 1) for name, value in _parts(one)}


def _parts(one: Estimate) -> tuple[tuple[str, float | None], ...]:
    return (("value", one.value), ("low", one.low), ("high", one.high))


def estimate(one: Mapping[str, Any]) -> Estimate:
    """A number of the tree as an estimate."""
    return Estimate(value=one["value"], low=one["low"], high=one["high"])


def shown(one: Mapping[str, Any] | None, digits: int = 2) -> str:
    """An estimate with its interval, in words of numbers."""
    if one is None:
        return NOT_RUN
    value = number(one["value"], digits)
    return value if one["low"] is None else f"{value} [{number(one['low'], digits)}, {number(one['high'], digits)}]"


def shown_difference(one: Mapping[str, Any]) -> str:
    value = signed(one["value"])
    return value if one["low"] is None else f"{value} [{signed(one['low'])}, {signed(one['high'])}]"


def title(suite: Mapping[str, Any]) -> str:
    """A set's name for readers."""
    known = TITLES[suite["kind"]]
    return known if suite["name"] == suite["kind"] else f"{known}: {suite['name']}"
