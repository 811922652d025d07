"""Sessions of a run on the scripted engine: what a resume asks, how a stop and a full disk end, what each session is told."""

from __future__ import annotations

import asyncio
import dataclasses
import errno
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from self_instruct import commandline, engines, journal
from self_instruct.engine_scripted import ScriptedEngine
from self_instruct.errors import EngineError
from self_instruct.generate import session
from self_instruct.generate.card import TIME
from self_instruct.generate.cli import main
from self_instruct.loading import shipped
from self_instruct.records import Completion, Request

# The stage's own command line, on a slow engine and, where a number of bytes is given, on a disk that takes no longer file
# from the engine's start on.
PROGRAM = """
import resource, sys
from self_instruct import commandline, engines
from self_instruct.engine_scripted import ScriptedEngine
from self_instruct.generate.cli import main

*flags, delay_s, limit = sys.argv[1:]

async def open_slow(model, settings, adapters=(), log_path=None):
    if int(limit):
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(limit), resource.RLIM_INFINITY))
    return ScriptedEngine(seed=settings.run.seed, delay_s=float(delay_s))

engines.open_engine = open_slow
sys.exit(commandline.run(main, flags))
"""
Start = Callable[..., subprocess.Popen[str]]
Run = Callable[..., tuple[int, str]]


@pytest.fixture
def flags(tmp_path: Path) -> list[str]:
    """40 instructions from 20 seeds into tmp_path/run."""
    seeds = tmp_path / "seeds.jsonl"
    seeds.write_text("".join(shipped("seeds/seed_tasks.jsonl").read_text().splitlines(keepends=True)[:20]))
    sets = ["model.engine=scripted", f"generate.seeds={seeds}", "generate.target_instructions=40", "generate.max_requests=200"]
    return ["--config", "configs/tiny.yaml", "--out", str(tmp_path / "run"), *(word for one in sets for word in ("--set", one))]


@pytest.fixture
def start(flags: list[str]) -> Start:
    """The command in a process of its own."""

    def begin(*more: str, delay_s: float = 0.0, limit: int = 0) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", PROGRAM, *flags, *more, str(delay_s), str(limit)]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    return begin


@pytest.fixture
def run(flags: list[str], capsys: pytest.CaptureFixture[str]) -> Run:
    """The command in this process; status and stderr."""

    def call(*more: str) -> tuple[int, str]:
        status = commandline.run(main, [*flags, *more])
        return status, capsys.readouterr().err

    return call


def products(out: Path) -> dict[str, bytes]:
    """What a run derives from its journal, less what the card says of time."""
    stage = out / "generate"
    places = [stage / "corpus", stage / "exports", stage / "journal" / "accepted.jsonl", stage / "journal" / "rejected.jsonl"]
    found = [path for place in places for path in ([place] if place.is_file() else sorted(place.rglob("*"))) if path.is_file()]
    made = {str(path.relative_to(stage)): path.read_bytes() for path in found}
    return made | {"corpus/README.md": made["corpus/README.md"].split(TIME.encode())[0]}


def completions(out: Path) -> list[dict[str, Any]]:
    return journal.read(out / "generate" / session.COMPLETIONS)


def interrupt_later(out: Path, process: subprocess.Popen[str], number: signal.Signals, answers: int) -> tuple[int, str, float]:
    """Wait for so many journaled answers, then send the signal; status, stderr, and the seconds that the end took."""
    deadline = time.monotonic() + 60
    while len(completions(out)) < answers and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    begun = time.monotonic()
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    return process.returncode, err, time.monotonic() - begun


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_stopped_run_ends_within_seconds_and_goes_on(
    tmp_path: Path, start: Start, run: Run, number: signal.Signals, status: int
) -> None:
    out = tmp_path / "run"
    ended, err, seconds = interrupt_later(out, start(delay_s=1.0), number, answers=5)
    assert ended == status, err
    assert seconds < 5
    assert err.strip().splitlines()[-1] == "interrupted; run the same command again to go on"
    assert "Traceback" not in err
    before = (out / "generate" / session.COMPLETIONS).read_bytes()
    assert before.endswith(b"\n") and not (out / "generate" / "corpus").exists()
    assert run()[0] == 0
    assert (out / "generate" / session.COMPLETIONS).read_bytes().startswith(before)
    ids = [record["id"] for record in completions(out)]
    assert len(ids) == len(set(ids)), "a completed request was sent twice"
    assert run("--out", str(tmp_path / "unbroken"))[0] == 0
    assert products(out) == products(tmp_path / "unbroken")


def test_a_full_disk_stops_the_run_at_once_and_it_goes_on(tmp_path: Path, start: Start, run: Run) -> None:
    out = tmp_path / "run"
    process = start(delay_s=0.05, limit=25_000)
    _, err = process.communicate(timeout=60)
    lines = err.strip().splitlines()
    assert process.returncode == 2, err
    assert lines[-2].startswith(f"error: {out / 'generate' / 'journal'}") and "File too large" in lines[-2]
    assert "run the same command again" in lines[-1]
    assert "Traceback" not in err and not (out / "generate" / "corpus").exists()
    before = (out / "generate" / session.COMPLETIONS).read_bytes()
    assert before.endswith(b"\n")
    assert run()[0] == 0
    assert (out / "generate" / session.COMPLETIONS).read_bytes().startswith(before)
    assert run("--out", str(tmp_path / "unbroken"))[0] == 0
    assert products(out) == products(tmp_path / "unbroken")


def test_completions_that_cannot_be_journaled_end_the_run_before_the_oldest_request_answers(
    tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Commits are in order: a failed write must not wait for the turn of its request."""
    append = journal.Journal.append

    def full(self: journal.Journal, record: dict[str, Any]) -> None:
        if self._path.name == session.COMPLETIONS.name:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self._path))
        append(self, record)

    class Slow(ScriptedEngine):
        async def generate(self, request: Request) -> Completion:
            if request.id == "bootstrap-000000":
                await asyncio.sleep(60)
            return await super().generate(request)

    async def open_slow(*_: Any, **__: Any) -> ScriptedEngine:
        return Slow(seed=42)

    monkeypatch.setattr(engines, "open_engine", open_slow)
    begun = time.monotonic()
    with monkeypatch.context() as patch:
        patch.setattr(journal.Journal, "append", full)
        status, err = run()
    assert status == 2 and f"{session.COMPLETIONS}: No space left on device" in err
    assert time.monotonic() - begun < 30


def test_a_whole_journal_starts_no_engine_and_loads_no_tokenizer(tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run()[0] == 0
    stage = tmp_path / "run" / "generate"
    before, corpus = {path: path.read_bytes() for path in (stage / "journal").glob("*.jsonl")}, products(tmp_path / "run")
    (stage / "manifest.json").unlink()

    def forbidden(*_: Any, **__: Any) -> Any:
        raise AssertionError("nothing is missing")

    monkeypatch.setattr(engines, "open_engine", forbidden)
    monkeypatch.setattr(engines, "token_counter", forbidden)
    assert run()[0] == 0
    assert {path: path.read_bytes() for path in before} == before
    assert products(tmp_path / "run") == corpus


def test_an_engine_that_does_not_start_leaves_a_run_that_goes_on(tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(*_: Any, **__: Any) -> Any:
        raise EngineError("no device", hint="buy one")

    with monkeypatch.context() as patch:
        patch.setattr(engines, "open_engine", broken)
        status, err = run()
    assert status == 2 and "error: no device" in err
    assert run()[0] == 0


def test_a_damaged_middle_line_is_refused_and_nothing_is_deleted(tmp_path: Path, run: Run) -> None:
    assert run()[0] == 0
    stage = tmp_path / "run" / "generate"
    (stage / "manifest.json").unlink()
    path = stage / session.COMPLETIONS
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([*lines[:6], lines[6][:40] + b"\n", *lines[7:]]))
    before = path.read_bytes()
    status, err = run()
    assert status == 2 and f"{path}:7: damaged line" in err
    assert path.read_bytes() == before


class Dying:
    """Opens engines that die after so many answers, the last one never."""

    def __init__(self, *answers: int) -> None:
        self.answers = list(answers)

    async def __call__(self, model: Any, settings: Any, adapters: Any = (), log_path: Any = None) -> ScriptedEngine:
        return ScriptedEngine(seed=settings.run.seed, dies_after=self.answers.pop(0) if self.answers else None)


def test_every_session_has_its_own_numbers(tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines, "open_engine", Dying(10, 25))
    assert [run()[0] for _ in range(3)] == [2, 2, 0]
    stage = tmp_path / "run" / "generate"
    facts = json.loads((stage / "manifest.json").read_text())["facts"]
    records = completions(tmp_path / "run")
    assert [row["session"] for row in facts["sessions"]] == [1, 2, 3]
    journaled = Counter(record["session"] for record in records)
    assert {row["session"]: row["asked"] for row in facts["sessions"]} == journaled
    # An answer that comes as the engine dies may be lost with those that were open.
    assert 8 <= journaled[1] <= 10 and 20 <= journaled[2] <= 25
    assert facts["output_tokens"] == sum(record["output_tokens"] for record in records)
    assert facts["seconds"] == pytest.approx(sum(row["seconds"] for row in facts["sessions"]), abs=0.01)
    assert sorted(record["number"] for record in records) == sorted({record["number"] for record in records})
    starts = session.starts(stage)
    assert [row["session"] for row in starts] == [1, 2, 3]
    assert [row["revision"] for row in starts] == [None, None, None]
    assert starts[0]["versions"]["self-instruct"] and starts[0]["hardware"]["cores"] > 0
    rows = journal.read(stage / "metrics.jsonl")
    assert {row["session"] for row in rows} == {1, 2, 3}
    assert (rows[-1]["accepted"], rows[-1]["asked"]) == (40, facts["sessions"][-1]["asked"])


def test_metrics_count_the_candidates_that_the_manifest_counts(tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """A completion without items is no candidate."""
    script = ScriptedEngine(seed=42)

    class Silent(ScriptedEngine):
        async def generate(self, request: Request) -> Completion:
            made = await script.generate(request)
            return dataclasses.replace(made, text="") if request.id in ("bootstrap-000001", "bootstrap-000003") else made

    async def open_silent(*_: Any, **__: Any) -> ScriptedEngine:
        return Silent(seed=42)

    monkeypatch.setattr(engines, "open_engine", open_silent)
    assert run()[0] == 0
    stage = tmp_path / "run" / "generate"
    facts = json.loads((stage / "manifest.json").read_text())["facts"]
    assert facts["rejected"]["instruction"]["no_items"] == 2
    assert journal.read(stage / "metrics.jsonl")[-1]["candidates"] == facts["candidates"]


def test_the_rate_of_a_session_is_from_its_first_request_to_its_last_answer() -> None:
    def record(number: int, asked_s: float, answered_s: float, tokens: int) -> dict[str, Any]:
        return {"session": number, "asked_s": asked_s, "answered_s": answered_s, "prompt_tokens": 1, "output_tokens": tokens}

    rows = session.work([record(2, 1.0, 3.0, 10), record(1, 5.0, 9.0, 30), record(1, 7.0, 15.0, 20)])
    assert [(row["session"], row["asked"], row["seconds"], row["output_tokens_per_s"]) for row in rows] == [
        (1, 2, 10.0, 5.0),
        (2, 1, 2.0, 5.0),
    ]
    assert session.work([record(1, 1.0, 1.0, 10)])[0]["output_tokens_per_s"] is None


def test_the_hit_rate_is_over_the_sessions_that_ended_in_order(tmp_path: Path) -> None:
    assert session.prefix_hit_rate(tmp_path) is None
    notes = journal.Journal(tmp_path / session.SESSIONS)
    for queries, hits in ((100.0, 50.0), (300.0, 290.0)):
        notes.append({"event": "start", "session": 1})
        counters = {"vllm:prefix_cache_queries_total": queries, "vllm:prefix_cache_hits_total": hits}
        notes.append({"event": "end", "session": 1, "engine": counters})
    notes.append({"event": "start", "session": 3})
    notes.close()
    assert session.prefix_hit_rate(tmp_path) == 0.85


def test_dried_up_novelty_is_said(run: Run, tmp_path: Path) -> None:
    status, err = run("--set", "generate.novelty_threshold=0.01", "--set", "generate.acceptance_window=30")
    assert status == 2 and "not_novel" in err, "nothing at all is an error"
    more = ["generate.novelty_threshold=0.3", "generate.acceptance_window=30", "generate.min_acceptance=0.9"]
    status, err = run("--out", str(tmp_path / "dry"), *(word for one in more for word in ("--set", one)))
    assert status == 0
    manifest = json.loads((tmp_path / "dry" / "generate" / "manifest.json").read_text())
    assert manifest["facts"]["stopped_by"] == "min_acceptance"
    said = next(line for line in err.splitlines() if "novelty dried up" in line)
    assert "less than 90.0% of the last 30 candidates were accepted (generate.min_acceptance)" in said
    assert f"The corpus holds {manifest['facts']['accepted']} of the 40 instructions wanted" in said
