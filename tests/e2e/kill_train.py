"""kill -9 of `python train` at random moments, resumed each time: the product must be the unbroken run's, byte for byte.

By hand: `python tests/e2e/kill_train.py --kills 20`, or with `--set train.method=full`. A tiny random model learns from rows made
here, with all that could go wrong in a resume: dropout, weighted prompts, held-out rows, a template draw for each epoch, several
micro-batches a step. The moments are drawn from --seed, in steps done, so that they lie all over the run: about half come while
a checkpoint is being written, the last one while the product is.
"""

from __future__ import annotations

import argparse
import functools
import json
import multiprocessing
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from sample_training import examples, save_tiny_model
from self_instruct import rundir
from self_instruct.loading import REPOSITORY

ROWS = 44  # 2 of them are held out, 42 in steps of 4 make 11 an epoch
SETTINGS = (
    "model.dtype=float32", "run.threads=1", "train.include_seeds=false", "train.epochs=6", "train.batch_size=4",
    "train.held_out=0.05", "train.lora_rank=4", "train.lora_dropout=0.1", "train.prompt_loss_weight=0.3",
    "train.template_draw=epoch", "train.learning_rate=1e-2", "train.weight_decay=0.01", "train.micro_batch_tokens=64",
)  # fmt: skip
HEAVY = ("self_instruct.train.cli", "self_instruct.train.loop", "self_instruct.train.modeling", "accelerate")
SLOW_S = 120.0  # a session that comes to its moment no sooner has gone wrong
RESUMED = re.compile(r"going on after step (\d+) of")


@dataclass(kw_only=True)
class Kill:
    """One kill: at how many steps, whether a checkpoint or the product was half written, and where the next session began."""

    after_step: int
    inside: str
    resumed_from: int | None = None


@dataclass(kw_only=True)
class Report:
    """What a run came to that was killed: no list of `wrong` must have a word in it."""

    kills: list[Kill] = field(default_factory=list)
    identical: bool = False
    wrong: list[str] = field(default_factory=list)

    def inside(self, what: str) -> int:
        return sum(kill.inside == what for kill in self.kills)


class Forked:
    """A session in a fork of a process that has imported everything: it starts in a tenth of the time. Like a Popen."""

    def __init__(self, argv: Sequence[str], said: Path, **environment: str) -> None:
        server = multiprocessing.get_context("forkserver")
        server.set_forkserver_preload(list(HEAVY))
        self._process = server.Process(target=session, args=(list(argv), str(said), environment))
        self._process.start()

    @property
    def pid(self) -> int:
        return self._process.pid or 0

    def poll(self) -> int | None:
        return self._process.exitcode

    def kill(self) -> None:
        self._process.kill()

    def wait(self) -> int:
        self._process.join()
        return self._process.exitcode or 0


def session(argv: list[str], said: str, environment: dict[str, str]) -> None:
    """`python train` in this process; what it prints goes to the file `said`."""
    os.environ.update(environment)
    from self_instruct import commandline
    from self_instruct.train import cli

    file = os.open(said, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.dup2(file, 1)
    os.dup2(file, 2)
    sys.exit(commandline.run(cli.main, argv))


class Training:
    """One run folder and the command that makes it."""

    def __init__(self, folder: Path, name: str, arguments: Sequence[str]) -> None:
        self.run, self.stage = folder / name, folder / name / "train"
        self._arguments, self._said = arguments, folder / f"{name}.txt"

    def start(self, every_s: float, *, forked: bool) -> subprocess.Popen[bytes] | Forked:
        argv = ["--out", str(self.run), *self._arguments, "--set", f"train.checkpoint_every_s={every_s}"]
        if forked:
            return Forked(argv, self._said)
        with self._said.open("ab") as said:
            return subprocess.Popen(
                [sys.executable, "-m", "self_instruct.train", *argv],
                stdout=subprocess.DEVNULL,
                stderr=said,
                cwd=REPOSITORY,
                env={**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "PYTHONPATH": str(REPOSITORY / "src")},
            )

    def finish(self, *, forked: bool) -> None:
        if self.start(3600, forked=forked).wait() != 0:
            raise SystemExit(f"the run ended with an error:\n{self._said.read_text()}")

    def lines(self) -> list[dict[str, Any]]:
        """The metrics, without what is a matter of time."""
        place = self.stage / "metrics.jsonl"
        whole = place.read_bytes().split(b"\n")[:-1] if place.exists() else []
        return [{name: value for name, value in json.loads(line).items() if name not in ("time_s", "seconds")} for line in whole]

    def steps(self) -> int:
        return sum("loss" in line for line in self.lines())

    def reached(self, moment: int | None) -> bool:
        return moment is None or self.steps() >= moment

    def left(self) -> list[str]:
        """What is half written, or was when its process ended."""
        return sorted(str(path.relative_to(self.stage)) for path in self.stage.rglob("*.tmp"))

    def saving(self, pid: int) -> bool:
        """Whether this process is, or was when it ended; what an earlier one left is its own."""
        return any((self.stage / "checkpoints").glob(f".step-*.{pid}.tmp"))

    def writing(self, pid: int) -> bool:
        return any(path for name in ("adapter", "model") for path in self.stage.glob(f".{name}.{pid}.tmp"))

    def resumed_from(self) -> list[int]:
        log = self.stage / "log.txt"
        return [int(found[1]) for found in RESUMED.finditer(log.read_text(encoding="utf-8"))] if log.exists() else []

    @property
    def product(self) -> Path:
        return next(place for place in (self.stage / "adapter", self.stage / "model") if place.is_dir())

    def facts(self) -> dict[str, Any]:
        """The facts, without what is a matter of time."""
        facts: dict[str, Any] = rundir.read_json(self.stage / "manifest.json")["facts"]
        for name in ("completion_tokens_per_s", "tokens_per_s"):
            facts.pop(name)
        for epoch in facts["epochs"]:
            epoch.pop("seconds")
        return facts


def make(folder: Path, overrides: Sequence[str] = ()) -> list[str]:
    """The model and the rows, and the command's arguments without `--out`."""
    folder.mkdir(parents=True, exist_ok=True)
    model = save_tiny_model(folder / "base")
    rows = [{"instruction": one.instruction, "input": one.input, "output": one.output} for one in examples(ROWS)]
    (folder / "rows.json").write_text(json.dumps(rows), encoding="utf-8")
    settings = [f"model.name={model}", f"train.data={folder / 'rows.json'}", *SETTINGS, *overrides]
    return [word for setting in settings for word in ("--set", setting)]


def survive(folder: Path, kills: int, *, seed: int, overrides: Sequence[str] = (), forked: bool = False) -> Report:
    """Make the unbroken run, then one that is killed, and compare them. `forked`: all sessions but the last are forks."""
    arguments = make(folder, overrides)
    unbroken, killed, report = Training(folder, "unbroken", arguments), Training(folder, "killed", arguments), Report()
    unbroken.finish(forked=forked)
    draws = random.Random(seed)
    total, sessions = unbroken.steps(), 0
    moments = sorted(draws.randrange(total) for _ in range(kills - 1))
    for number, moment in enumerate([*moments, None]):
        inside_save = moment is not None and number % 2 == 0
        process = killed.start(0.0 if inside_save else draws.choice((0.0, 0.1)), forked=forked)
        wait(process, functools.partial(killed.reached, moment))
        if moment is None:
            wait(process, functools.partial(killed.writing, process.pid), halt=True)
        elif inside_save:
            wait(process, functools.partial(killed.saving, process.pid), halt=True)
        else:
            time.sleep(draws.uniform(0, 0.1))
        process.kill()
        if process.wait() != -signal.SIGKILL:
            report.wrong.append(f"kill {number + 1} came too late")
        note(report, killed.resumed_from()[sessions:])
        sessions = len(killed.resumed_from())
        half = "product" if killed.writing(process.pid) else "save" if killed.saving(process.pid) else ""
        report.kills.append(Kill(after_step=killed.steps(), inside=half))
    killed.finish(forked=False)
    note(report, killed.resumed_from()[sessions:])
    report.identical = same(killed, unbroken, report)
    return report


def wait(process: subprocess.Popen[bytes] | Forked, come: Callable[[], bool], *, halt: bool = False) -> None:
    """Until the moment has come, or the process ends. With `halt` the process is stopped in it: it might pass before the kill."""
    begun = time.monotonic()
    while process.poll() is None:
        if come():
            if not halt:
                return
            os.kill(process.pid, signal.SIGSTOP)
            time.sleep(0.01)
            if come():
                return
            os.kill(process.pid, signal.SIGCONT)
        if time.monotonic() - begun > SLOW_S:
            process.kill()
        time.sleep(0.001)


def note(report: Report, resumed: Sequence[int]) -> None:
    """Where the session after the last kill began: what it logged, if it began at a checkpoint and came so far."""
    if report.kills and resumed:
        report.kills[-1].resumed_from = resumed[-1]


def same(killed: Training, unbroken: Training, report: Report) -> bool:
    """Whether product, metrics and facts are; what isn't goes to the report, and what a kill left behind."""
    product = rundir.sha256(killed.product) == rundir.sha256(unbroken.product)
    report.wrong += [] if killed.lines() == unbroken.lines() else ["metrics"]
    report.wrong += [] if killed.facts() == unbroken.facts() else ["facts"]
    report.wrong += [f"left behind: {name}" for name in killed.left() if not name.startswith("checkpoints/")]
    return product


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n\n")[0])
    parser.add_argument("--kills", type=int, default=20, metavar="N", help="default: 20; the last while the product is written")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", dest="overrides", help="a setting of the runs")
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="of the moments (default: 1)")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="leave the runs in this new folder")
    asked = parser.parse_args()
    if asked.kills < 1:
        parser.error("--kills: at least 1")
    with tempfile.TemporaryDirectory() as temporary:
        report = survive((asked.keep or Path(temporary)).absolute(), asked.kills, seed=asked.seed, overrides=asked.overrides)
    print("kill  after step  inside   resumed from")
    for number, kill in enumerate(report.kills, start=1):
        begun = "-" if kill.resumed_from is None else f"step {kill.resumed_from}"
        print(f"{number:4d}  {kill.after_step:10d}  {kill.inside or '-':7}  {begun}")
    told = {"kills": len(report.kills), "inside_save": report.inside("save"), "inside_product": report.inside("product")}
    print(json.dumps(told | {"identical": report.identical, "wrong": report.wrong}))
    return 0 if report.identical and not report.wrong else 1


if __name__ == "__main__":
    sys.exit(main())
