"""What the generate and train stages of the same run made, in numbers, beside the paper's.

Knows neither stage's code: it reads their manifests and the corpus files of the run folder, and says None for
what wasn't run. Paper: Wang et al. 2022, Table 1.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from self_instruct import rundir

PAPER_INSTRUCTIONS = 52_445
PAPER_CLASSIFICATION = 11_584
PAPER_INSTANCES = 82_439
PAPER_EMPTY_INPUTS = 35_878
PAPER_MEAN_WORDS = {"instruction": 15.9, "non-empty input": 12.7, "output": 18.9}


@dataclass(frozen=True, kw_only=True, slots=True)
class Lengths:
    """Lengths of some texts in white-space separated words; `counts` are those of each text."""

    what: str
    texts: int
    mean: float
    median: float
    p10: float
    p90: float
    longest: int
    counts: tuple[int, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Corpus:
    """What the generate stage made. `facts` are its manifest's; `lengths` is empty where the corpus isn't there."""

    facts: dict[str, Any]
    lengths: tuple[Lengths, ...]


def quantile(values: Sequence[int], share: float) -> float:
    """The value below which `share` of the sorted `values` lie, linear between neighbours."""
    place = share * (len(values) - 1)
    below = math.floor(place)
    above = min(below + 1, len(values) - 1)
    return values[below] + (values[above] - values[below]) * (place - below)


def lengths(what: str, texts: Sequence[str]) -> Lengths:
    """The lengths of at least one text."""
    assert texts, what
    counts = sorted(len(text.split()) for text in texts)
    return Lengths(
        what=what,
        texts=len(counts),
        mean=sum(counts) / len(counts),
        median=quantile(counts, 0.5),
        p10=quantile(counts, 0.1),
        p90=quantile(counts, 0.9),
        longest=counts[-1],
        counts=tuple(counts),
    )


def corpus(run: Path) -> Corpus | None:
    """The numbers of `<run>/generate`, None where it isn't finished."""
    facts = finished_facts(run, "generate")
    if facts is None:
        return None
    folder = run / "generate" / "corpus"
    named = {
        "instruction": _column(folder, "instructions", "instruction"),
        "non-empty input": [text for text in _column(folder, "instances", "input") if text.strip()],
        "output": _column(folder, "instances", "output"),
    }
    return Corpus(facts=facts, lengths=tuple(lengths(what, texts) for what, texts in named.items() if texts))


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


def _column(folder: Path, table: str, column: str) -> list[str]:
    """One text column of the corpus; nothing where the table isn't there."""
    import pyarrow.parquet as parquet

    files = sorted((folder / "data" / table).glob("*.parquet"))
    return [str(text) for path in files for text in parquet.read_table(path, columns=[column])[column].to_pylist()]


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
