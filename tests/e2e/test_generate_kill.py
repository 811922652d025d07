"""kill -9 at random moments, resumed each time: nothing lost, nothing asked twice, the corpus byte for byte the same.

On the scripted engine. `python tests/e2e/test_generate_kill.py 20` does it with 20 kills.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from self_instruct.rundir import sha256

KILLS = 3
# The stage's own command line, on a scripted engine that is slow enough to be killed on the way.
PROGRAM = """
import sys
from self_instruct import commandline, engines
from self_instruct.engine_scripted import ScriptedEngine
from self_instruct.generate.cli import main

async def open_slow(model, settings, adapters=(), log_path=None):
    return ScriptedEngine(seed=settings.run.seed, delay_s=float(sys.argv[-1]))

engines.open_engine = open_slow
sys.exit(commandline.run(main, sys.argv[1:-1]))
"""


def command(out: Path, delay_s: float) -> list[str]:
    flags = ["--config", "configs/tiny.yaml", "--out", str(out), "--set", "model.engine=scripted"]
    flags += ["--set", "generate.target_instructions=120", "--set", "generate.max_requests=200"]
    return [sys.executable, "-c", PROGRAM, *flags, str(delay_s)]


def completions(out: Path) -> list[str]:
    path = out / "generate" / "journal" / "completions.jsonl"
    whole = path.read_bytes().split(b"\n")[:-1] if path.exists() else []
    return [json.loads(line)["id"] for line in whole]


def survive(folder: Path, kills: int, seed: int) -> None:
    subprocess.run(command(folder / "unbroken", 0.0), check=True, capture_output=True)
    moments = random.Random(seed)
    out = folder / "killed"
    done = 0
    for _ in range(kills):
        process = subprocess.Popen(command(out, 0.2 * kills), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while len(completions(out)) <= done and process.poll() is None:
            time.sleep(0.01)
        time.sleep(moments.uniform(0, 0.4))
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL, "the run had ended before the kill"
        now = completions(out)
        assert len(now) >= done, "a completion was lost"
        done = len(now)
    subprocess.run(command(out, 0.0), check=True, capture_output=True)
    assert sorted(completions(out)) == sorted(set(completions(out))), "a completed request was sent twice"
    assert sha256(out / "generate" / "corpus") == sha256(folder / "unbroken" / "generate" / "corpus")


@pytest.mark.e2e
def test_kill_and_resume(tmp_path: Path) -> None:
    survive(tmp_path, KILLS, seed=os.getpid())


if __name__ == "__main__":
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        survive(Path(folder), int(sys.argv[1]), seed=1)
    print(f"{sys.argv[1]} kills survived")
