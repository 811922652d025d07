"""Stored runs set side by side: one list of models for each evaluation set.

Knows nothing of scores' meaning. Only what was asked alike is compared: the same items and limits.
Two tokenizers may cut a long prompt in two places.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from self_instruct.errors import DataError
from self_instruct.evaluate.comparison import Answer
from self_instruct.evaluate.store import StoredRun, StoredSuite
from self_instruct.evaluate.suites import Prompted


@dataclass(frozen=True, kw_only=True, slots=True)
class JoinedSuite:
    """An evaluation set with the answers of every model of every run that was measured on it."""

    facts: Mapping[str, Any]
    prompted: tuple[Prompted, ...]
    answers: Mapping[str, tuple[Answer, ...]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Joined:
    """`models` are facts by name, the first run's base first; each has the `run` that it is of and its base model's `title`."""

    models: Mapping[str, Mapping[str, Any]]
    suites: tuple[JoinedSuite, ...]


def join(runs: Sequence[StoredRun]) -> Joined:
    """All models of all runs. A model has its own name, with the run's in front where two have the same; a base that several runs
    share stands once.

    Raises DataError where two runs have a set of one name with other items or limits.
    """
    require_same_sets(runs)
    models: dict[str, dict[str, Any]] = {}
    answers: dict[str, dict[str, tuple[Answer, ...]]] = {}
    first_of: dict[str, StoredSuite] = {}
    names = labels(runs)
    for run, label in zip(runs, names, strict=True):
        for suite in run.suites:
            first_of.setdefault(suite.name, suite)
        for name, facts in run.models.items():
            if _is_there(run, name, models, answers):
                for suite in run.suites:
                    answers.setdefault(suite.name, {}).setdefault(name, suite.answers[name])
                continue
            unique = name if name not in models else f"{label}/{name}"
            models[unique] = {**facts, "run": label, "title": run.model["title"], "reference": run.model["reference"]}
            for suite in run.suites:
                answers.setdefault(suite.name, {})[unique] = suite.answers[name]
    return Joined(
        models=models,
        suites=tuple(
            JoinedSuite(
                facts=suite.facts,
                prompted=suite.prompted,
                answers={model: answers[name][model] for model in models if model in answers[name]},
            )
            for name, suite in first_of.items()
        ),
    )


def _is_there(
    run: StoredRun, name: str, models: Mapping[str, Mapping[str, Any]], answers: Mapping[str, Mapping[str, tuple[Answer, ...]]]
) -> bool:
    """Whether an earlier run has the same model, as far as hashes tell, with the same answers wherever both gave some."""
    same = models.get(name)
    if same is None or same["digest"] != run.models[name]["digest"] or same["reference"] != run.model["reference"]:
        return False
    return all(
        [a.text for a in answers[suite.name][name]] == [a.text for a in suite.answers[name]]
        for suite in run.suites
        if name in answers.get(suite.name, {})
    )


def labels(runs: Sequence[StoredRun]) -> list[str]:
    """The folders' names, as many parts of their paths as tell them apart. Raises DataError where one is named twice."""
    paths = [run.run.resolve() for run in runs]
    if len(set(paths)) < len(paths):
        twice = next(path for path in paths if paths.count(path) > 1)
        raise DataError(f"{twice}: named twice", hint="name each run once")
    for parts in range(1, max(len(path.parts) for path in paths) + 1):
        found = ["/".join(path.parts[-parts:]) for path in paths]
        if len(set(found)) == len(found):
            break
    return found


def require_same_sets(runs: Sequence[StoredRun]) -> None:
    """Raises DataError where two runs have a set of one name with other items or limits."""
    seen: dict[str, tuple[StoredRun, StoredSuite]] = {}
    for run in runs:
        for suite in run.suites:
            before, other = seen.setdefault(suite.name, (run, suite))
            if other is suite:
                continue
            if difference := _difference(other, suite):
                raise DataError(
                    f"{before.run} and {run.run} were measured on different sets named {suite.name}: {difference}",
                    hint="evaluate both on the same set with the same evaluate settings, then compare",
                )


def _difference(one: StoredSuite, other: StoredSuite) -> str:
    """What two sets of a name differ in; empty where they are the same."""
    for name in ("max_tokens", "prompt_tokens", "cut"):
        if one.facts[name] != other.facts[name]:
            return f"{name} was {one.facts[name]} and {other.facts[name]}"
    mine, theirs = {item.id: item for item in one.items}, {item.id: item for item in other.items}
    if apart := len(mine.keys() ^ theirs.keys()):
        first = next(id for id in (*mine, *theirs) if (id in mine) != (id in theirs))
        return f"{len(mine):,} and {len(theirs):,} items, {apart:,} of them in one only, such as {first}"
    changed = [id for id in mine if mine[id] != theirs[id]]
    if changed:
        return f"{len(changed):,} items have other texts, such as {changed[0]}"
    return "" if list(mine) == list(theirs) else "the same items in another order"
