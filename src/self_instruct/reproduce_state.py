"""What has come of a comparison's cells, and matrix.json, which tells it to the report.

Knows neither processes nor stages.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from self_instruct import reproduce_cells, reproduce_matrix, rundir
from self_instruct.reproduce_cells import Command
from self_instruct.reproduce_matrix import Cell, Matrix, RowPlan

FORMAT = 1
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


def write(command: Command, name: str, matrix: Matrix, progress: Progress, faults: Mapping[str, str], *, full: bool) -> None:
    """matrix.json: what the matrix is and what has come of it. No times in it: the same matrix has the same bytes.

    `full`: all weights were trained, so that a tuned row's model is the base of its run.
    """
    states = {cell.name: _state(cell, progress) for cell in matrix.cells}
    tree = {
        "format": FORMAT,
        "name": name,
        "rows": [_row(plan, states, faults, full=full) for plan in matrix.rows],
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


def _row(plan: RowPlan, states: Mapping[str, tuple[str, str | None]], faults: Mapping[str, str], *, full: bool) -> dict[str, Any]:
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
        "contender": "tuned" if row.data and not full else "base",
    }
