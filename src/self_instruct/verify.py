"""The command `verify REPORT`: a report, its scores and its corpora made again from the journals, and compared byte for byte.

Starts stages as processes: `evaluate verify` compares scores and report, `generate replay` each corpus. No engine, no GPU.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from self_instruct import rundir
from self_instruct.errors import DataError
from self_instruct.runlog import log


def main(argv: Sequence[str]) -> int:
    """Verify one report. Returns 0; raises DataError with everything that differs."""
    parser = argparse.ArgumentParser(
        prog="self-instruct verify",
        description="Make a report again from the stored journals, without any model, and compare it byte for byte.",
        allow_abbrev=False,
    )
    parser.add_argument("report", metavar="REPORT", help="a report's folder or file, its run, or the folder of a comparison")
    named = parser.parse_args(list(argv)).report
    failed: list[str] = []
    told, said = _run("evaluate", "verify", named)
    failed += said
    corpora = _corpora(Path(told["report"])) if "report" in told else []
    for run in corpora:
        _, said = _run("generate", "replay", str(run))
        failed += said
    if failed and "report" not in told and len(failed) == 1:
        raise DataError(failed[0], hint="name a report, its run, or the folder of a comparison")
    if failed:
        many = f" (and {len(failed) - 1} more, above)" if len(failed) > 1 else ""
        raise DataError(f"{named}: not verified: {failed[0]}{many}", hint="restore what was changed, or make the report again")
    log.info("%s is what its journals give", told["report"])
    print(json.dumps(told | {"corpora": len(corpora)}))
    return 0


def _run(stage: str, *words: str) -> tuple[dict[str, str], list[str]]:
    """What a stage's command printed last, and what it found wrong, as a line."""
    command = [sys.executable, "-m", "self_instruct", stage, *words]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    sys.stderr.write(done.stderr)
    lines = done.stdout.strip().splitlines()
    told = json.loads(lines[-1]) if lines and lines[-1].startswith("{") else {}
    if done.returncode == 0:
        return told, []
    errors = [line.removeprefix("error: ") for line in done.stderr.splitlines() if line.startswith("error: ")]
    return told, errors[-1:] or [f"{stage} {words[0]} ended with status {done.returncode}"]


def _corpora(report: Path) -> list[Path]:
    """The run folders with a finished generate stage, of the report's runs and of all rows of its comparison."""
    tree = rundir.read_json(report / "report.json")
    runs = [report / folder for folder in tree["folders"]]
    if "comparison" in tree:
        runs += sorted((report / tree["comparison"] / "rows").glob("*"))
    found: dict[Path, Path] = {}
    for run in map(Path, map(os.path.normpath, runs)):
        manifest = run / "generate" / "manifest.json"
        if manifest.exists() and rundir.read_json(manifest).get("status") == "finished":
            found.setdefault(run.resolve(), run)
    return list(found.values())
