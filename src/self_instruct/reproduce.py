"""The command `reproduce`: the paper's whole comparison, one stage after the other, and a report of it all.

Starts stages as processes and reads run folders; knows nothing of what a stage does. It may be killed at any moment: the same
command goes on. What is finished isn't made again, what failed twice is told, and the rest goes on.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from self_instruct import (
    commandline,
    corpus,
    reproduce_cells,
    reproduce_matrix,
    reproduce_plan,
    reproduce_predict,
    reproduce_state,
    rundir,
    runlog,
    seedbank,
    superni,
)
from self_instruct.errors import ConfigError, DataError, RunFolderError, SelfInstructError
from self_instruct.loading import Loaded
from self_instruct.reproduce_cells import Command
from self_instruct.reproduce_matrix import Cell, Matrix
from self_instruct.reproduce_state import Progress
from self_instruct.runlog import log
from self_instruct.settings import Settings
from self_instruct.settings_reproduce import SUPERNI, T0, TEST

ABOUT = "Make and measure all models of the paper's comparison, and report on them; docs/reproduce.md tells more."
TRIES = 2


def main(argv: Sequence[str]) -> int:
    """Run the comparison. Returns 0; raises SelfInstructError for what the user can mend, in the end also where cells failed."""
    arguments = commandline.parser("reproduce", ABOUT).parse_args(list(argv))
    loaded = commandline.loaded(arguments)
    settings = loaded.settings
    out = place(loaded)
    for there in (out, *out.parents, out / "rows"):
        if there.exists() and not there.is_dir():
            raise RunFolderError(f"{there}: a file, not a folder", hint="name another place with --out")
    if settings.evaluate.superni.folder is not None and settings.data.superni is None:
        raise ConfigError(
            f"evaluate.superni.folder is {settings.evaluate.superni.folder!r}, and a comparison sets it for each row itself",
            hint="name the clone as data.superni",
        )
    command = _command(arguments, out)
    if settings.reproduce.accelerate is not None:
        reproduce_cells.accelerate_config(settings.reproduce.accelerate)
    faults = find_faults(settings)
    matrix = matrix_of(settings, out, faults)
    planned = reproduce_plan.plan(matrix, command, settings, _keys(out / "cells.json"))
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
    """What is wrong with other people's data and models, by what rows name them: their rows fail for it, the others don't."""
    found: dict[str, str] = {}
    if (place := settings.data.superni) is not None:
        try:
            superni.read_split(Path(place), "default", "train")
        except DataError as error:
            found[SUPERNI] = f"data.superni: {error.message}"
        try:
            superni.read_split(Path(place), settings.evaluate.superni.split, "test")
        except DataError as error:
            found[TEST] = f"data.superni: {error.message}"
    if (place := settings.data.t0) is not None and not any(Path(place).glob("*.jsonl")):
        there = "no *.jsonl in it" if Path(place).is_dir() else "a file, not a folder" if Path(place).exists() else "no such folder"
        found[T0] = f"data.t0: {place}: {there}"
    for row in settings.reproduce.rows:
        missing = [name for name in row.data if "/" in name and not Path(name).exists()]
        if row.model.startswith((".", "/")) and not Path(row.model).is_dir():
            missing.append(row.model)
        found |= {name: f"reproduce.rows: {row.name}: {name}: no such file or folder" for name in missing}
    for what, fault in found.items():
        log.warning("%s: %s", fault, "nothing is measured on it" if what == TEST else "what is made of it is left out")
    return found


def matrix_of(settings: Settings, out: Path, faults: Mapping[str, str]) -> Matrix:
    """The matrix as far as it is known: a corpus that is there tells how many instructions it has."""
    seeds = seedbank.load_seeds(settings.generate.seeds)
    own = {seed.instruction.strip() for seed in seeds}
    counted: dict[str, int] = {}
    for row in reproduce_matrix.every_row(settings) if settings.reproduce.sizes else ():
        place = Path(reproduce_matrix.corpus(out, row.name))
        if row.generate and reproduce_cells.finished(place.parent) and place.is_dir():
            with contextlib.suppress(DataError):  # its cell tells of it
                counted[row.name] = len(own | {one.instruction.strip() for one in corpus.read_train(place)})
    return reproduce_matrix.build(settings, out, seeds=len(own), instructions=counted, faults=faults)


def _run(settings: Settings, command: Command, faults: Mapping[str, str], name: str) -> int:
    handler = runlog.to_file(command.out / "log.txt")
    progress = Progress()
    known = _keys(command.out / "cells.json")
    full = settings.train.method == "full"
    try:
        matrix = matrix_of(settings, command.out, faults)
        for one in matrix.cells:  # first, so that a start that is killed forgets nothing
            _look(one, command, progress, known)
        while True:
            matrix = matrix_of(settings, command.out, faults)  # again: how large a corpus is, is known once it is there
            reproduce_state.write(command, name, matrix, progress, faults, full=full)
            cell = next((one for one in matrix.cells if not progress.dealt_with(one)), None)
            if cell is None:
                break
            number = 1 + sum(progress.dealt_with(one) for one in matrix.cells if one.name in matrix.wanted)
            if waits := next((before for before in cell.after if before not in progress.keys), None):
                progress.blocked[cell.name] = progress.blocked.get(waits, f"{waits} failed")
            elif cell.name not in matrix.wanted:
                progress.blocked[cell.name] = reproduce_state.LEFT_OUT
            else:
                _make(cell, command, settings, progress, known, f"{number} of {len(matrix.wanted)}")
        return _report(settings, command, progress, matrix, faults)
    finally:
        log.removeHandler(handler)
        handler.close()


def _keys(path: Path) -> dict[str, str]:
    try:
        return {str(name): str(value) for name, value in rundir.read_json(path).items()} if path.exists() else {}
    except RunFolderError as error:
        log.warning("%s: every cell is looked at by its stage", error.message)
        return {}


def _look(cell: Cell, command: Command, progress: Progress, known: Mapping[str, str]) -> None:
    """Find a cell finished, with its products as it wrote them. A product that isn't makes the cell fail."""
    stage = command.folder(cell)
    try:
        if (key := reproduce_cells.valid(cell, command, progress.keys, known)) is None:
            return
        if what := reproduce_cells.damage(stage):
            raise RunFolderError(f"{what}; delete {stage} and what was made of it to make them again")
    except SelfInstructError as error:
        log.error("%s: %s", cell.name, error.message)
        progress.failed[cell.name] = error.message
        return
    log.info("%s: finished", cell.name)
    progress.keys[cell.name] = key


def _make(cell: Cell, command: Command, settings: Settings, progress: Progress, known: dict[str, str], number: str) -> None:
    """Run a cell's stage, twice at most: a stage that is finished says so, one that was cut off goes on."""
    stage = command.folder(cell)
    failure: str | None = None
    for attempt in range(1, TRIES + 1):
        log.info("cell %s, %s%s", number, cell.name, " once more" if attempt > 1 else "")
        reproduce_cells.wait_until_free(stage)
        try:
            key = reproduce_cells.key(cell, command, progress.keys)
        except SelfInstructError as error:
            failure = error.message + (f" ({error.hint})" if error.hint else "")
            break
        failure = reproduce_cells.run(reproduce_cells.launch(cell, command, settings.reproduce.accelerate))
        if failure is None and not reproduce_cells.finished(stage):
            failure = f"{stage} isn't finished, though its command ended in order"
        if failure is None and (failure := reproduce_cells.damage(stage)) is None:
            progress.keys[cell.name] = known[cell.name] = key
            rundir.write_json(command.out / "cells.json", known)
            return
        log.warning("cell %s, %s failed: %s", number, cell.name, failure)
        if rundir.OTHER_CONFIG in failure or failure.startswith(str(stage / "manifest.json")):
            failure += f"; or delete {stage} and what was made of it to make them anew; answers stay in evaluate.cache"
            break
    progress.failed[cell.name] = str(failure)


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
    asked = settings.reproduce.only or [plan.row.name for plan in matrix.rows]
    missing = {plan.row.name: f"not run: {plan.why}" for plan in matrix.rows if plan.why and plan.row.name in asked}
    failed = progress.failed | _felt(matrix, faults, asked)
    if not any(cell.name in progress.keys for cell in matrix.cells if cell.stage == "evaluate"):
        raise SelfInstructError(
            f"no model was measured: {_listed(failed | missing)}", hint="mend it and run the same command again"
        )
    if failure := reproduce_cells.run([*evaluate, "report", str(command.out), *given]):
        raise SelfInstructError(f"the report failed: {failure}", hint=f"./launch.sh evaluate report {command.out}")
    report = command.out / "report" / "report.html"
    log.info("the report is %s", report)
    for row in _rows(report.with_name("report.json")):
        if row["state"] == "failed" and not any(name.partition("/")[0] == row["row"] for name in failed):
            failed.setdefault(row["row"], str(row["why"]))
    print(json.dumps({"report": str(report), "cells": len(progress.keys), "failed": failed}))
    if settings.reproduce.only and set(missing) == set(asked):
        raise SelfInstructError(
            f"nothing of reproduce.only was run: {_listed(missing)}", hint="set what is missing, or name other rows"
        )
    if failed:
        raise SelfInstructError(
            f"{len(failed)} failed: {_listed(failed)}",
            hint=f"the report, {report}, has the others; mend these and run the same command again: what is finished stays",
        )
    return 0


def _felt(matrix: Matrix, faults: Mapping[str, str], asked: Sequence[str]) -> dict[str, str]:
    """The faults of what a row that was asked for is made of or measured on."""
    rows = [plan.row for plan in matrix.rows if plan.row.name in asked]
    needed = {name for row in rows for name in (row.model, *row.data, *([TEST] if SUPERNI in row.measure else []))}
    return {what: fault for what, fault in faults.items() if what in needed}


def _rows(report: Path) -> Sequence[Mapping[str, Any]]:
    rows: Sequence[Mapping[str, Any]] = rundir.read_json(report).get("matrix", {}).get("rows", [])
    return rows


def _listed(failed: Mapping[str, str]) -> str:
    return "; ".join(f"{name}: {why}" for name, why in failed.items())
