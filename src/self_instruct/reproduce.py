"""The command `reproduce`: the paper's whole comparison, one stage after the other, and a report of it all.

Starts stages as processes and reads run folders; knows nothing of what a stage does. It may be killed at any moment: the same
command goes on. What is finished isn't made again, what failed twice is told, and the rest goes on.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from self_instruct import (
    commandline,
    corpus,
    reproduce_cells,
    reproduce_matrix,
    reproduce_plan,
    reproduce_predict,
    rundir,
    runlog,
    seedbank,
    superni,
)
from self_instruct.errors import DataError, SelfInstructError
from self_instruct.loading import Loaded
from self_instruct.reproduce_cells import Command
from self_instruct.reproduce_matrix import Cell, Matrix, RowPlan
from self_instruct.runlog import log
from self_instruct.settings import Settings
from self_instruct.settings_reproduce import SUPERNI, T0

FORMAT = 1
ABOUT = "Make and measure all models of the paper's comparison, and report on them; docs/reproduce.md tells more."
TRIES = 2
NOT_YET = "not yet run"
LEFT_OUT = "left out by reproduce.only"


@dataclass
class Progress:
    """What has come of the cells so far: the `keys` of finished ones, why others `failed`, and which wait for such."""

    keys: dict[str, str] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    blocked: dict[str, str] = field(default_factory=dict)

    def dealt_with(self, cell: Cell) -> bool:
        return cell.name in self.keys or cell.name in self.failed or cell.name in self.blocked


def main(argv: Sequence[str]) -> int:
    """Run the comparison. Returns 0; raises SelfInstructError for what the user can mend, in the end also where cells failed."""
    arguments = commandline.parser("reproduce", ABOUT).parse_args(list(argv))
    loaded = commandline.loaded(arguments)
    settings = loaded.settings
    out = place(loaded)
    command = _command(arguments, out)
    faults = find_faults(settings)
    matrix = matrix_of(settings, out, faults)
    planned = reproduce_plan.plan(matrix, command, settings)
    for line in reproduce_plan.describe(matrix, planned, command, reproduce_predict.machine(settings.reproduce.hardware).name):
        log.info("%s", line)
    if arguments.dry_run:
        cells = [{"cell": p.cell.name, "after": list(p.cell.after), "seconds": p.seconds, "disk_bytes": p.disk} for p in planned]
        not_run = {plan.row.name: plan.why for plan in matrix.rows if plan.why}
        print(json.dumps({"dry_run": True, "out": str(out), "cells": cells, "not_run": not_run}))
        return 0
    with rundir.locked(out):
        return _run(settings, command, faults, loaded.name)


def place(loaded: Loaded) -> Path:
    """The comparison's folder: `run.dir`, else `runs/reproduce-<config name>`, beside that config's own run."""
    return Path(loaded.settings.run.dir or f"runs/reproduce-{loaded.name}")


def _command(arguments: argparse.Namespace, out: Path) -> Command:
    return Command(configs=tuple(arguments.config), overrides=tuple(arguments.overrides), out=out)


def find_faults(settings: Settings) -> dict[str, str]:
    """What is wrong with the folders of other people's data: their rows fail for it, the others don't."""
    found: dict[str, str] = {}
    if (place := settings.data.superni) is not None:
        try:
            superni.read_split(Path(place), "default", "train")
            superni.read_split(Path(place), settings.evaluate.superni.split, "test")
        except DataError as error:
            found[SUPERNI] = f"data.superni: {error.message}"
    if (place := settings.data.t0) is not None and not any(Path(place).glob("*.jsonl")):
        found[T0] = f"data.t0: {place}: " + ("no *.jsonl in it" if Path(place).is_dir() else "no such folder")
    for what in found.values():
        log.warning("%s: its rows are left out", what)
    return found


def matrix_of(settings: Settings, out: Path, faults: Mapping[str, str]) -> Matrix:
    """The matrix as far as it is known: a corpus that is there tells how many instructions it has."""
    seeds = seedbank.load_seeds(settings.generate.seeds)
    own = {seed.instruction.strip() for seed in seeds}
    counted: dict[str, int] = {}
    for row in reproduce_matrix.every_row(settings) if settings.reproduce.sizes else ():
        place = Path(reproduce_matrix.corpus(out, row.name))
        if row.generate and reproduce_cells.finished(place.parent) and place.is_dir():
            counted[row.name] = len(own | {one.instruction.strip() for one in corpus.read_train(place)})
    return reproduce_matrix.build(settings, out, seeds=len(own), instructions=counted, faults=faults)


def _run(settings: Settings, command: Command, faults: Mapping[str, str], name: str) -> int:
    handler = runlog.to_file(command.out / "log.txt")
    progress = Progress()
    known = _keys(command.out / "cells.json")
    try:
        while True:
            matrix = matrix_of(settings, command.out, faults)  # again: how large a corpus is, is known once it is there
            _write(command, name, matrix, progress, faults)
            cell = next((one for one in matrix.cells if not progress.dealt_with(one)), None)
            if cell is None:
                break
            number = 1 + sum(progress.dealt_with(one) for one in matrix.cells if one.name in matrix.wanted)
            place = f"{number} of {len(matrix.wanted)}" if cell.name in matrix.wanted else ""
            _deal_with(cell, command, settings, progress, known, place)
        return _report(settings, command, progress, matrix, faults)
    finally:
        log.removeHandler(handler)
        handler.close()


def _keys(path: Path) -> dict[str, str]:
    return {str(name): str(value) for name, value in rundir.read_json(path).items()} if path.exists() else {}


def _deal_with(cell: Cell, command: Command, settings: Settings, progress: Progress, known: dict[str, str], number: str) -> None:
    """Find a cell finished, or run it, twice at most. One without a number is looked for alone."""
    waits = [name for name in cell.after if name not in progress.keys]
    if waits:
        progress.blocked[cell.name] = f"{waits[0]} failed" if waits[0] not in progress.blocked else progress.blocked[waits[0]]
        return
    stage = command.folder(cell)
    try:
        key = reproduce_cells.key(cell, command, progress.keys)
        reproduce_cells.wait_until_free(stage)
        if known.get(cell.name) == key and reproduce_cells.finished(stage):
            if what := reproduce_cells.damage(stage):
                raise SelfInstructError(f"{what}; delete {stage} and what was made of it to make them again")
            if number:
                log.info("cell %s, %s: finished", number, cell.name)
            progress.keys[cell.name] = key
            return
        if not number:
            progress.blocked[cell.name] = LEFT_OUT
            return
    except SelfInstructError as error:
        log.error("cell %s, %s: %s", number, cell.name, error.message)
        progress.failed[cell.name] = error.message
        return
    failure: str | None = None
    for attempt in range(1, TRIES + 1):
        log.info("cell %s, %s%s", number, cell.name, " once more" if attempt > 1 else "")
        failure = reproduce_cells.run(reproduce_cells.launch(cell, command, settings.reproduce.accelerate))
        if failure is None and not reproduce_cells.finished(stage):
            failure = f"{stage} isn't finished, though its command ended in order"
        if failure is None:
            progress.keys[cell.name] = known[cell.name] = key
            rundir.write_json(command.out / "cells.json", known)
            return
        log.warning("cell %s, %s failed: %s", number, cell.name, failure)
        reproduce_cells.wait_until_free(stage)
    progress.failed[cell.name] = str(failure)


def _write(command: Command, name: str, matrix: Matrix, progress: Progress, faults: Mapping[str, str]) -> None:
    """matrix.json: what the matrix is and what has come of it. No times in it: the same matrix has the same bytes."""
    states = {cell.name: _state(cell, progress) for cell in matrix.cells}
    tree = {
        "format": FORMAT,
        "name": name,
        "rows": [_row(plan, states, command, faults) for plan in matrix.rows],
        "cells": [
            {
                "cell": cell.name,
                "row": cell.row,
                "stage": cell.stage,
                "after": list(cell.after),
                "state": states[cell.name][0],
                "why": states[cell.name][1],
                "fingerprint": reproduce_cells.fingerprint(command.folder(cell)) if states[cell.name][0] == "finished" else None,
            }
            for cell in matrix.cells
        ],
    }
    rundir.write_json(command.out / "matrix.json", tree)


def _state(cell: Cell, progress: Progress) -> tuple[str, str | None]:
    if cell.name in progress.keys:
        return "finished", None
    if cell.name in progress.failed:
        return "failed", progress.failed[cell.name]
    return "not run", progress.blocked.get(cell.name, NOT_YET)


def _row(
    plan: RowPlan, states: Mapping[str, tuple[str, str | None]], command: Command, faults: Mapping[str, str]
) -> dict[str, Any]:
    row, made = plan.row, plan.same_as or plan.row.name
    state, why = "measured", plan.why
    if plan.why is not None:
        state = "failed" if plan.why in faults.values() else "not run"
    else:
        told = [states[name] for stage in ("train", "evaluate") if (name := f"{made}/{stage}") in states]
        if unfinished := next((one for one in told if one[0] != "finished"), None):
            state, why = ("not run" if unfinished[1] in (NOT_YET, LEFT_OUT) else "failed"), unfinished[1]
    return {
        "row": row.name,
        "role": plan.role,
        "measure": list(row.measure),
        "model": row.model,
        "prompt": "chat" if reproduce_matrix.chat(row) else "completion",
        "data": list(row.data),
        "instructions": row.instructions,
        "outputs_by": row.outputs_by,
        "state": state,
        "why": why,
        "same_as": plan.same_as,
        "run": f"rows/{made}",
        "contender": "tuned" if row.data else "base",
    }


def _report(settings: Settings, command: Command, progress: Progress, matrix: Matrix, faults: Mapping[str, str]) -> int:
    """Let a judge rate, if one is configured, write the report, and say what failed."""
    evaluate = [sys.executable, "-m", "self_instruct", "evaluate"]
    given = [word for name in command.configs for word in ("--config", name)]
    given += [word for text in command.overrides for word in ("--set", text)]
    if settings.reproduce.judge:
        log.info("judge")
        if failure := reproduce_cells.run([*evaluate, "judge", str(command.out), *given]):
            log.warning("the judge failed: %s", failure)
            progress.failed["judge"] = failure
    if not any(cell.name in progress.keys for cell in matrix.cells if cell.stage == "evaluate"):
        raise SelfInstructError(
            f"no model was measured: {_listed(progress.failed) or 'no row can be run'}",
            hint="mend it and run the same command again",
        )
    if failure := reproduce_cells.run([*evaluate, "report", str(command.out), *given]):
        raise SelfInstructError(f"the report failed: {failure}", hint=f"./launch.sh evaluate report {command.out}")
    report = command.out / "report" / "report.html"
    log.info("the report is %s", report)
    print(json.dumps({"report": str(report), "cells": len(progress.keys), "failed": progress.failed}))
    if failed := progress.failed | dict(faults):
        raise SelfInstructError(
            f"{len(failed)} failed: {_listed(failed)}",
            hint=f"the report, {report}, has the others; mend these and run the same command again: what is finished stays",
        )
    return 0


def _listed(failed: Mapping[str, str]) -> str:
    return "; ".join(f"{name}: {why}" for name, why in failed.items())
