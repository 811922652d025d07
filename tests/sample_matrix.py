"""A made-up comparison's folder, its rows' results and its matrix.json, for tests of the evaluate stage."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import sample_runs
from self_instruct.evaluate.store import StoredSuite
from self_instruct.records import EvalItem

# name: (role, model, data, contender)
ROWS: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "base": ("base", "base", ()),
    "t5-lm": ("t5_lm", "encoder_decoder", ()),
    "t5-superni": ("t5_superni", "encoder_decoder", ("superni",)),
    "instruct": ("instruct", "instruct", ()),
    "t0": ("t0", "base", ("t0",)),
    "superni": ("superni", "base", ("superni",)),
    "self-instruct": ("self_inst", "base", ("seeds", "self-instruct")),
    "self-instruct+superni": ("self_inst_superni", "base", ("seeds", "self-instruct", "superni")),
    "seeds": ("seeds", "base", ("seeds",)),
    "size-10": ("size", "base", ("seeds", "self-instruct")),
    "size-800": ("size", "base", ("seeds", "self-instruct")),
    "better-outputs": ("outputs", "base", ("seeds", "better-outputs")),
}
INSTRUCTIONS = {"seeds": 4, "size-10": 10, "self-instruct": 40, "better-outputs": 40, "self-instruct+superni": 40}
SIZED = ("size-10", "size-800", "better-outputs")  # measured on the user-oriented instructions alone


def entry(name: str, **changes: Any) -> dict[str, Any]:
    """A row of matrix.json, measured."""
    role, model, data = ROWS[name]
    return {
        "row": name, "role": role, "measure": ["user_oriented"] if name in SIZED else ["superni", "user_oriented"], "model": model,
        "prompt": "chat" if model == "instruct" else "completion", "data": list(data),
        "instructions": int(name.removeprefix("size-")) if role == "size" else None,
        "outputs_by": "instruct" if role == "outputs" else None, "state": "measured", "why": None, "same_as": None,
        "run": f"rows/{name}", "contender": "tuned" if data else "base",
    } | changes  # fmt: skip


def answer(row: str) -> Any:
    """Rows answer ever better in the order of ROWS, and no two alike; a row's base as the row `base`."""

    def given(name: str, item: EvalItem) -> str:
        words = f"{item.references[0]} of {item.id}".split()
        place = list(ROWS).index(row) if name == "tuned" or not ROWS[row][2] else 0
        return " ".join(words[: 1 + place % len(words)]) + (f" {row}" if place else "")

    return given


def folder(
    place: Path, names: Sequence[str] = tuple(ROWS), *, items: int = 22, changes: Mapping[str, Mapping[str, Any]] | None = None
) -> Path:
    """A comparison of these rows, `size-800` the same as self-instruct; `changes` of matrix.json's rows by name."""
    rows = []
    for name in names:
        more = dict((changes or {}).get(name, {}))
        if name == "size-800" and "self-instruct" in names:
            more = {"same_as": "self-instruct", "run": "rows/self-instruct"} | more
        rows.append(entry(name, **more))
        if rows[-1]["state"] == "measured" and rows[-1]["same_as"] is None:
            row(place, name, items)
    cells = []
    for one in rows:
        for stage in ("train", "evaluate") if one["data"] else ("evaluate",):
            state = "finished" if one["state"] == "measured" else one["state"]
            after = [f"{one['row']}/train"] if stage == "evaluate" and one["data"] else []
            told = {"cell": f"{one['row']}/{stage}", "row": one["row"], "stage": stage, "after": after}
            if one["same_as"] is None:
                cells.append({**told, "state": state, "why": one["why"], "fingerprint": "e" * 64})
    write(place, {"format": 1, "name": "sample", "rows": rows, "cells": cells})
    return place


def write(place: Path, tree: Any) -> None:
    place.mkdir(parents=True, exist_ok=True)
    (place / "matrix.json").write_text(json.dumps(tree), encoding="utf-8")


def row(place: Path, name: str, items: int = 22) -> Path:
    """A row's run folder: its training, if it is tuned, and its results."""
    run = place / "rows" / name
    tuned = bool(ROWS[name][2])
    models = ("base", "tuned") if tuned else ("base",)
    made: list[StoredSuite] = [sample_runs.stored_suite(sample_runs.items(items), answer(name), models)]
    if name not in SIZED:
        made.insert(0, sample_runs.stored_suite(sample_runs.superni_items(2 * items, items), answer(name), models))
    if tuned:
        facts = sample_runs.TRAIN_FACTS | {"instructions": INSTRUCTIONS.get(name), "instructions_available": 40}
        (run / "train").mkdir(parents=True)
        manifest = sample_runs.manifest("train", facts)
        (run / "train" / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    return sample_runs.evaluated(run, made, models)
