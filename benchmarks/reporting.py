"""What every benchmark prints: the machine, the versions, the commit, and tables in Markdown.

Knows nothing of what is measured.
"""

from __future__ import annotations

import shlex
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from self_instruct import hardware, provenance
from self_instruct.loading import REPOSITORY


def heading(title: str) -> None:
    """Print the title and what its numbers belong to."""
    machine = hardware.summary()
    versions = ", ".join(f"{name} {version}" for name, version in provenance.versions().items())
    gpus = "".join(f", {gpu}" for gpu in machine["gpus"])
    print(f"## {title}\n")
    print(f"- machine: {machine['processor']}, {machine['cores']} cores, {machine['memory_gib']} GiB{gpus}, {machine['system']}")
    print(f"- versions: {versions}")
    print(f"- commit: {commit()}, {time.strftime('%Y-%m-%d', time.gmtime())}")
    print(f"- command: `{shlex.join(['python', f'benchmarks/{Path(sys.argv[0]).name}', *sys.argv[1:]])}`")
    print(flush=True)


def commit() -> str:
    """The commit of this checkout, and whether files differ from it."""

    def ask(*words: str) -> str:
        return subprocess.run(["git", "-C", str(REPOSITORY), *words], capture_output=True, text=True, check=True).stdout.strip()

    try:
        return ask("rev-parse", "--short=12", "HEAD") + (" and uncommitted changes" if ask("status", "--porcelain") else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def table(columns: Sequence[str], rows: Sequence[Mapping[str, object] | Sequence[object]]) -> None:
    """Print a Markdown table."""
    lines = [list(map(shown, row.values() if isinstance(row, Mapping) else row)) for row in rows]
    assert all(len(line) == len(columns) for line in lines), columns
    widths = [max(len(column), *(len(line[place]) for line in lines)) for place, column in enumerate(columns)]
    for line in (columns, ["-" * width for width in widths], *lines):
        print(f"| {' | '.join(cell.ljust(width) for cell, width in zip(line, widths, strict=True))} |")
    print(flush=True)


def shown(value: object) -> str:
    """Numbers with three digits or more, thousands apart; none is a dash."""
    match value:
        case None:
            return "-"
        case float():
            return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.1f}" if abs(value) >= 10 else f"{value:.3f}"
        case int():
            return f"{value:,}"
    return str(value)


def target(met: bool, wanted: str) -> str:
    """A cell that says what was wanted and whether it was reached."""
    return f"{wanted}: {'met' if met else 'missed'}"
