"""kill -9 of `reproduce` at random moments, resumed each time: the report must be the unbroken run's, but for times.

By hand: `python tests/e2e/kill_reproduce.py --kills 20`. The scripted engine answers, a tiny random model is trained; so no
number in those reports says anything of a model. The moments are drawn from --seed, in finished cells and seconds, so that they lie
all over the run; every second kill takes the running stage along, the others leave it to notice that its parent is gone.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import sample_runs
import sample_training
from self_instruct import rundir
from self_instruct.loading import REPOSITORY

ROWS = [
    {"name": "base"},
    {"name": "t0", "data": ["t0"]},
    {"name": "self-instruct", "generate": True, "data": ["seeds", "self-instruct"], "measure": ["user_oriented"]},
    {"name": "absent", "model": "encoder_decoder"},
]
SETTINGS = (
    "model.engine=scripted", "model.dtype=float32", "run.threads=1", "generate.target_instructions=12", "generate.max_requests=20",
    "train.max_length=128", "train.batch_size=64", "train.lora_rank=2", "train.held_out=0", "train.epochs=1",
    "evaluate.max_items=6", "evaluate.max_tokens=16", "evaluate.examples=1", "evaluate.superni.max_tokens=8",
    "reproduce.sizes=[178]",
)  # fmt: skip
SLOW_S = 300.0  # a session that comes to its moment no sooner has gone wrong
# What is a matter of time, or of how often a run was begun; SVG files are compared as they are.
TIMES = {"seconds", "started", "output_tokens_per_s", "completion_tokens_per_s", "sessions", "requests", "cached", "manifest"}

TIMED = {"predictions", "completions", "sessions", "report"}  # products that hold times: the journals, generate's report


@dataclass(kw_only=True)
class Report:
    """What a run came to that was killed: `wrong` must be empty. `kills`: (cells finished, stage killed too)."""

    kills: list[tuple[int, bool]] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)


class Matrix:
    """One folder, and the command that fills it."""

    def __init__(self, folder: Path, arguments: Sequence[str]) -> None:
        folder.mkdir(parents=True)
        self.out, self._folder, self._arguments = folder / "matrix", folder, arguments

    def start(self) -> subprocess.Popen[bytes]:
        with (self._folder / "said.txt").open("ab") as said:
            # In a folder of its own with a relative path: the folders' names stand in reports.
            return subprocess.Popen(
                [sys.executable, "-m", "self_instruct", "reproduce", *self._arguments, "--out", "matrix"],
                stdout=said,
                stderr=said,
                cwd=self._folder,
                env={**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "PYTHONPATH": str(REPOSITORY / "src")},
            )

    def finish(self) -> None:
        if self.start().wait() != 0:
            raise SystemExit(f"the run ended with an error:\n{(self._folder / 'said.txt').read_text()[-4000:]}")

    def cells(self) -> int:
        """How many are finished."""
        place = self.out / "cells.json"
        return len(json.loads(place.read_text())) if place.exists() else 0

    def products(self) -> dict[str, str]:
        """A hash of every product of every stage, and of the matrix and its report, less what is a matter of time."""
        found = {"matrix.json": (self.out / "matrix.json").read_text()}
        for manifest in sorted(self.out.glob("rows/*/*/manifest.json")):
            for name, output in rundir.read_json(manifest)["outputs"].items():
                place = manifest.parent / output["path"]
                if name in TIMED:
                    continue
                place = place / "data" if name == "corpus" else place  # its card has the speed
                found[f"{place.relative_to(self.out)} ({name})"] = rundir.sha256(place)
        report = self.out / "report"
        found |= {path.name: path.read_text() for path in sorted(report.glob("*.svg"))}
        found["report.json"] = json.dumps(timeless(rundir.read_json(report / "report.json")), indent=1)
        return found


def timeless(value: Any) -> Any:
    """A report's tree without what is a matter of time."""
    if isinstance(value, dict):
        return {name: timeless(one) for name, one in value.items() if name not in TIMES}
    return [timeless(one) for one in value] if isinstance(value, list) else value


def make(folder: Path) -> list[str]:
    """A tiny model and data, and the command's arguments without `--out`."""
    tokenizer = sample_training.byte_level()
    model = sample_training.tiny_llama(
        len(tokenizer), eos_token_id=tokenizer.eos_token_id, bos_token_id=None, max_position_embeddings=2048
    )
    model.save_pretrained(folder / "base")
    tokenizer.save_pretrained(folder / "base")
    tasks = sample_runs.clone(folder / "superni")
    (tasks / "splits" / "default" / "train_tasks.txt").write_text("task0_sample\n")
    (folder / "t0").mkdir()
    rows = [{"prompt": f"What comes after {n}?", "completion": f"{n + 1}"} for n in range(9)]
    (folder / "t0" / "next.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    named = [
        f"model.name={folder / 'base'}",
        f"data.superni={tasks}",
        f"data.t0={folder / 't0'}",
        f"reproduce.rows={json.dumps(ROWS)}",
    ]
    return [word for setting in (*named, *SETTINGS) for word in ("--set", setting)]


def survive(folder: Path, kills: int, *, seed: int) -> Report:
    """Make the unbroken run, then one that is killed, and compare them."""
    folder.mkdir(parents=True, exist_ok=True)
    arguments = make(folder)
    unbroken, killed, report = Matrix(folder / "unbroken", arguments), Matrix(folder / "killed", arguments), Report()
    unbroken.finish()
    total = unbroken.cells()
    draws = random.Random(seed)
    for number, moment in enumerate(sorted(draws.randrange(total) for _ in range(kills))):
        process = killed.start()
        begun = time.monotonic()
        while process.poll() is None and killed.cells() < moment and time.monotonic() - begun < SLOW_S:
            time.sleep(0.05)
        time.sleep(draws.uniform(0.5, 8 if moment < total - 2 else 1.5))  # near the end it mustn't be over before
        along = [child for child in descendants(process.pid) if number % 2 == 0]
        process.kill()
        for child in along:
            try:
                os.kill(child, signal.SIGKILL)
            except ProcessLookupError:
                continue
        if process.wait() != -signal.SIGKILL:
            report.wrong.append(f"kill {number + 1} came too late")
        report.kills.append((killed.cells(), bool(along)))
    killed.finish()
    before, after = unbroken.products(), killed.products()
    report.wrong += [name for name in sorted(before.keys() | after.keys()) if before.get(name) != after.get(name)]
    report.wrong += [f"left behind: {path}" for path in sorted(killed.out.rglob("*.tmp")) if "checkpoints" not in path.parts]
    return report


def descendants(pid: int) -> list[int]:
    """All processes that a process has started, and theirs."""
    children = " ".join(path.read_text() for path in Path(f"/proc/{pid}/task").glob("*/children"))
    found = [int(child) for child in re.findall(r"\d+", children)]
    return found + [inner for child in found for inner in descendants(child)]


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n\n")[0])
    parser.add_argument("--kills", type=int, default=20, metavar="N", help="default: 20")
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="of the moments (default: 1)")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="leave the runs in this new folder")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        report = survive((asked.keep or Path(temporary)).absolute(), asked.kills, seed=asked.seed)
    for number, (cells, along) in enumerate(report.kills, start=1):
        print(f"kill {number:2d}: after {cells} cells{', the running stage too' if along else ''}")
    print(json.dumps({"kills": len(report.kills), "wrong": report.wrong}))
    return 1 if report.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
