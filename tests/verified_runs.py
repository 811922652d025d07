"""What the tests of `verify` build: runs and a comparison that the real stages made on the scripted engine, and changes in them."""

from __future__ import annotations

from pathlib import Path

import sample_matrix
import sample_runs
from conftest import named_model
from self_instruct.evaluate import cli as evaluate
from self_instruct.evaluate import report
from self_instruct.generate import cli as generate

ITEMS = 5
SETTINGS = ("model.engine=scripted", f"evaluate.max_items={ITEMS}", "evaluate.max_tokens=16", "evaluate.examples=2")


def finished(folder: Path, name: str = "run", seed: int = 42) -> Path:
    """A run with a corpus, and an evaluation of the base and of an adapter; its model is beside it."""
    place = folder / "model" if (folder / "model").exists() else named_model(folder / "model")
    run = folder / name
    sample_runs.adapter(run / "train" / "adapter")
    more = (f"model.name={place}", f"run.seed={seed}", "generate.target_instructions=8", "generate.max_requests=16")
    words = [*(word for text in (*SETTINGS, *more) for word in ("--set", text)), "--out", str(run)]
    assert generate.main(words) == 0
    assert evaluate.main(words) == 0
    return run


def comparison(folder: Path) -> Path:
    """A comparison with its report: the row `self-instruct` was measured, beside its base, and another has a corpus alone."""
    rows = folder / "rows"
    rows.mkdir(parents=True)
    finished(rows, "self-instruct")
    (rows / "model").rename(folder / "model")
    generated = ["--set", f"model.name={folder / 'model'}", "--set", "generate.max_requests=16", "--set", "run.seed=7"]
    generated += ["--set", SETTINGS[0], "--set", "generate.target_instructions=8", "--out", str(rows / "better-outputs")]
    assert generate.main(generated) == 0
    entries = [
        sample_matrix.entry("self-instruct", measure=["user_oriented"]),
        sample_matrix.entry("better-outputs", state="failed", why="its training failed twice"),
    ]
    cell = {"cell": "self-instruct/generate", "row": "self-instruct", "stage": "generate", "after": [], "why": None}
    cells = [cell | {"state": "finished", "fingerprint": None}]
    sample_matrix.write(folder, {"format": 1, "name": "sample", "rows": entries, "cells": cells})
    report.write_matrix(folder, None, None)
    return folder


def change(path: Path, place: int, byte: bytes) -> None:
    """Put another byte at a place."""
    content = bytearray(path.read_bytes())
    content[place : place + 1] = byte if content[place : place + 1] != byte else b"Y"
    path.write_bytes(content)
