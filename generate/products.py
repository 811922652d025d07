"""What a run writes at its end, all of it derived from the journal: the corpus, the exports, the report, the ledger.

Knows nothing of engines. Everything is written aside and then renamed into place.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from self_instruct import rundir
from self_instruct.generate import card, export, run_report
from self_instruct.generate.live import entry
from self_instruct.generate.pipeline import Result

ACCEPTED, REJECTED = Path("journal") / "accepted.jsonl", Path("journal") / "rejected.jsonl"
PRODUCTS = {
    "corpus": Path("corpus"),
    "exports": Path("exports"),
    "report": Path("report"),
    "accepted": ACCEPTED,
    "rejected": REJECTED,
}
ASIDE = ".products."


@contextlib.contextmanager
def folder_aside(stage: Path) -> Iterator[Path]:
    """An empty folder inside `stage`, gone in the end. What killed processes left of such folders is removed first."""
    for left in stage.glob(f"{ASIDE}*"):
        shutil.rmtree(left)
    with tempfile.TemporaryDirectory(prefix=ASIDE, suffix=".tmp", dir=stage) as folder:
        yield Path(folder)


@contextlib.contextmanager
def written(stage: Path, result: Result, made: card.Made, report: Mapping[str, Any]) -> Iterator[Path]:
    """A folder inside `stage` that holds every product; what `install` didn't take is gone in the end. `report`: see run_report."""
    with folder_aside(stage) as aside:
        (aside / "journal").mkdir()
        export.write_products(aside, result, made)
        (aside / "report").mkdir()
        rundir.write_json(aside / "report" / "report.json", report)
        rundir.write_text(aside / "report" / "report.md", run_report.render(report))
        _ledger(aside / ACCEPTED, _accepted(result))
        _ledger(aside / REJECTED, (entry("rejection", record) for record in result.rejections))
        yield aside


def install(aside: Path, stage: Path) -> dict[str, Path]:
    """Rename what lies in `aside` to its place in `stage`, in the stead of what is there; returns the places by name."""
    found = {name: place for name, place in PRODUCTS.items() if (aside / place).exists()}
    for place in found.values():
        rundir.put(aside / place, stage / place)
    return {name: stage / place for name, place in found.items()}


def _accepted(result: Result) -> Iterator[Mapping[str, Any]]:
    """Each instruction, its verdict and its instances, in the order of the requests."""
    instances: dict[str, list[Any]] = {}
    for instance in result.instances:
        instances.setdefault(instance.instruction_id, []).append(instance)
    for task in result.instructions:
        yield entry("instruction", task.instruction)
        yield entry("label", task)
        for instance in instances.get(task.instruction.id, []):
            yield entry("instance", instance)


def _ledger(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """As `journal.Journal` writes lines, without a system call for each."""
    with path.open("w", encoding="utf-8", errors="surrogatepass") as file:
        for row in rows:
            file.write(json.dumps(row, ensure_ascii=False, sort_keys=True) + "\n")
