"""The statistics of one corpus by themselves: `evaluate statistics`.

Knows no run; the blocks are those of the report.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from self_instruct import provenance, rundir, seedbank
from self_instruct.evaluate import corpora, corpus_statistics, document_html, document_markdown, paper, report_data
from self_instruct.evaluate.document import Block, Code, Figure, Heading, Spans, Table


def write(place: Path, seeds: str | None, out: Path | None) -> str:
    """Measure the corpus at `place` against the `seeds` (a setting's value). Returns the page as Markdown, without plots.

    With `out` the folder gets statistics.html, statistics.md, statistics.json and the plots. Raises DataError for what is no
    corpus, and RunFolderError where `out` holds something else.
    """
    if out is not None:
        rundir.require_own(out, "statistics.json", "statistics")
    instructions = [seed.instruction for seed in seedbank.load_seeds(seeds)]
    found = corpus_statistics.measure(corpora.read(place), instructions, seeds or seedbank.SHIPPED)
    name = place.resolve().name
    data = report_data.data([(name, found)], paper.tree(), "this corpus")
    blocks: list[Block] = [Heading(level=1, text=f"Statistics of {name}"), *data, *_provenance(place, seeds, found)]
    if out is not None:
        with rundir.new_folder(out) as aside:
            for block in blocks:
                if isinstance(block, Figure):
                    rundir.write_text(aside / f"{block.name}.svg", block.svg)
            rundir.write_json(aside / "statistics.json", {**found, "paper": paper.tree(), "versions": provenance.versions()})
            rundir.write_text(aside / "statistics.md", document_markdown.render(blocks))
            rundir.write_text(aside / "statistics.html", document_html.render(f"Statistics of {name}", blocks))
    return document_markdown.render([block for block in blocks if not isinstance(block, Figure)])


def _provenance(place: Path, seeds: str | None, found: Mapping[str, Any]) -> list[Block]:
    """What was measured, against which seeds, with what."""
    rows: list[tuple[Spans, ...]] = [
        ("corpus", Code(str(place))),
        ("its format", found["corpus"]["kind"]),
        ("its hash", Code(found["corpus"]["sha256"])),
        ("seeds", Code(seeds or seedbank.SHIPPED)),
        ("their hash", Code(rundir.sha256(seedbank.seed_file(seeds)))),
        ("versions", ", ".join(f"{name} {version}" for name, version in provenance.versions().items())),
        ("measured (UTC)", datetime.now(UTC).isoformat(timespec="seconds")),
    ]
    return [Heading(level=2, text="Provenance"), Table(head=("what", "value"), rows=tuple(rows), left=2)]
