"""What the other stages left in a run folder once they were finished: manifests, facts, the training's loss.

Knows neither stage's code; None, or nothing, for what wasn't run.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from self_instruct import rundir


def finished_facts(run: Path, stage: str) -> dict[str, Any] | None:
    """The facts in a stage's manifest, None where the stage isn't there or isn't finished."""
    manifest = finished_manifest(run, stage)
    return dict(manifest["facts"]) if manifest else None


def finished_manifest(run: Path, stage: str) -> dict[str, Any] | None:
    """A finished stage's manifest. Raises RunFolderError where it is damaged."""
    path = run / stage / "manifest.json"
    if not path.exists():
        return None
    manifest = rundir.read_json(path)
    return manifest if manifest.get("status") == "finished" else None


def loss_curve(run: Path) -> tuple[tuple[int, float], ...]:
    """(step, loss) of a finished training by step, from its `metrics.jsonl`; a step done again after a kill counts once."""
    path = run / "train" / "metrics.jsonl"
    if finished_manifest(run, "train") is None or not path.exists():
        return ()
    points: dict[int, float] = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            row = json.loads(line)
        except ValueError:  # torn by a kill, then continued
            continue
        if isinstance(row, dict) and "step" in row and "loss" in row:
            points[int(row["step"])] = float(row["loss"])
    return tuple(sorted(points.items()))
