"""The plan of a comparison in lines: its cells, what each waits for, and how long it and its disk will take.

Knows neither how cells are run nor what predicts them.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from self_instruct import reproduce_cells, reproduce_predict, rundir, superni
from self_instruct.errors import SelfInstructError
from self_instruct.reproduce_cells import Command
from self_instruct.reproduce_matrix import Cell, Matrix
from self_instruct.reproduce_predict import Machine, Predicted
from self_instruct.settings import Settings


@dataclass(frozen=True, kw_only=True, slots=True)
class Planned:
    """A cell with what it will take; `seconds` are measured where it is `finished`, none where they can't be told."""

    cell: Cell
    finished: bool
    seconds: float | None
    disk: float | None


def plan(matrix: Matrix, command: Command, settings: Settings, known: Mapping[str, str]) -> tuple[Planned, ...]:
    """The wanted cells. What stages took in this comparison, against what was predicted for them, corrects the others' predictions.

    `known`: the keys that cells were finished with. Raises ConfigError for an unknown `reproduce.hardware`.
    """
    on = reproduce_predict.machine(settings.reproduce.hardware)
    tasks = _tasks(settings)
    trained = {cell.row: command.loaded(cell).settings.model.name for cell in matrix.cells if cell.stage == "train"}
    predicted = {cell.name: _predict(cell, command, on, tasks, trained) for cell in matrix.cells if cell.name in matrix.wanted}
    measured = _measured(matrix, command, known)
    here = settings.reproduce.hardware is None
    ratios: dict[str, list[float]] = {}
    for cell in matrix.cells:
        if here and cell.name in measured and (one := predicted.get(cell.name)):
            ratios.setdefault(cell.stage, []).append(measured[cell.name] / one.seconds)
    found = []
    for cell in matrix.cells:
        if cell.name not in predicted:
            continue
        one, seconds = predicted[cell.name], measured.get(cell.name)
        if seconds is None and one is not None:
            seconds = one.seconds * median(ratios.get(cell.stage, [1.0]))
        found.append(Planned(cell=cell, finished=cell.name in measured, seconds=seconds, disk=one.disk if one else None))
    return tuple(found)


def _measured(matrix: Matrix, command: Command, known: Mapping[str, str]) -> dict[str, float]:
    """The seconds of the cells that are there, made of what they would be made of now."""
    keys: dict[str, str] = {}
    found: dict[str, float] = {}
    for cell in matrix.cells:
        with contextlib.suppress(SelfInstructError):  # its turn tells
            if key := reproduce_cells.valid(cell, command, keys, known):
                keys[cell.name] = key
                found[cell.name] = float(rundir.read_json(command.folder(cell) / "manifest.json").get("seconds") or 0.0)
    return found


def _predict(cell: Cell, command: Command, on: Machine, tasks: int, trained: Mapping[str, str]) -> Predicted | None:
    """`trained`: of tuned rows the model that is trained; where all its weights are, what is measured isn't there yet."""
    settings = command.loaded(cell).settings
    return reproduce_predict.predict(cell.stage, settings, on, model=trained.get(cell.row), tasks=tasks)


def _tasks(settings: Settings) -> int:
    """Tasks of SuperNI's test split, as far as they are there."""
    if settings.data.superni is None:
        return reproduce_predict.SUPERNI_TASKS
    try:
        return len(superni.read_split(Path(settings.data.superni), settings.evaluate.superni.split, "test").tasks)
    except SelfInstructError:  # told when the data are looked at
        return 0


def describe(matrix: Matrix, planned: Sequence[Planned], command: Command, on: str) -> list[str]:
    """The plan in lines: every cell, then the rows that aren't run, and why; then the sums."""
    lines = [f"{len(planned)} of {len(matrix.cells)} cells of {len(matrix.rows)} rows, in {command.out}:"]
    for one in planned:
        took = duration(one.seconds)
        told = f"took {took}" if one.finished else f"about {took}" if one.seconds is not None else "time not known"
        after = f"after {', '.join(one.cell.after)}" if one.cell.after else ""
        lines.append(f"  {one.cell.name:34} {'finished' if one.finished else 'to do':9} {told:18} {after}".rstrip())
    for row in matrix.rows:
        if row.why or row.same_as:
            lines.append(f"  {row.row.name:34} {'not run: ' + row.why if row.why else f'the same as {row.same_as}'}")
    left = [one for one in planned if not one.finished]
    unknown = sum(one.seconds is None for one in left)
    seconds, disk = sum(one.seconds or 0 for one in left), sum(one.disk or 0 for one in left)
    lines.append(
        f"to come: about {duration(seconds)} and {disk / 1e9:.1f} GB, without the models' downloads, on {on}: an estimate"
        + (f"; {unknown} cells not known" if unknown else "")
    )
    return lines


def duration(seconds: float | None) -> str:
    """Such as "40 s", "12 min" or "3.5 h"."""
    if seconds is None:
        return "?"
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 100 * 60 else f"{seconds / 3600:.1f} h"
