"""Progress lines, metrics and the log file."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import pytest

from self_instruct import runlog
from self_instruct.runlog import Metrics, Progress, duration, log, to_file


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The clock of the progress line, in a list's first place; nothing is printed to a terminal."""
    clock = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: clock[0])
    monkeypatch.setattr("sys.stderr.isatty", lambda: False, raising=False)
    return clock


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    lines: list[str] = []
    monkeypatch.setattr(runlog.log, "info", lambda text, *values: lines.append(text % values))
    return lines


def test_a_line_every_30_s_with_the_time_left_by_the_steps(now: list[float], said: list[str]) -> None:
    with Progress("answers", 100, "requests") as progress:
        for _ in range(10):
            now[0] += 6
            progress.advance(2, "9 tokens/s")
        now[0] += 6
        progress.advance(80)
    assert said == [
        "answers: 10 of 100 requests in 30 s, about 4 min left, 9 tokens/s",
        "answers: 20 of 100 requests in 60 s, about 4 min left, 9 tokens/s",
        "answers: 100 of 100 requests in 66 s, 9 tokens/s",
    ]


def test_what_was_done_before_counts_but_not_in_the_time_left(now: list[float], said: list[str]) -> None:
    with Progress("train", 100, "steps", 80) as progress:
        now[0] = 30
        progress.advance(10)
        progress.advance(10)
    assert said == ["train: 90 of 100 steps in 30 s, about 30 s left", "train: 100 of 100 steps in 30 s"]


def test_the_callers_estimate_replaces_ours_also_before_the_first_step(now: list[float], said: list[str]) -> None:
    progress = Progress("instructions", 100, "accepted")
    now[0] = 31
    progress.estimate("2 running", 7200.0)
    now[0] = 62
    progress.advance(50)
    now[0] = 93
    progress.estimate("1 running", None)
    assert said == [
        "instructions: 0 of 100 accepted in 31 s, about 2.0 h left, 2 running",
        "instructions: 50 of 100 accepted in 62 s, about 2.0 h left, 2 running",
        "instructions: 50 of 100 accepted in 93 s, 1 running",
    ]


@pytest.mark.parametrize(("seconds", "words"), [(0.4, "0 s"), (119, "119 s"), (120, "2 min"), (7199, "120 min"), (9000, "2.5 h")])
def test_a_duration_has_the_unit_that_fits(seconds: float, words: str) -> None:
    assert duration(seconds) == words


def test_metrics_are_appended_to_and_a_torn_line_is_cut(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    for number in range(2):
        metrics = Metrics(path)
        metrics.write(step=number)
        metrics.close()
        with path.open("a") as file:
            file.write('{"torn')
    rows = [json.loads(line) for line in path.read_text().splitlines()[:-1]]
    assert [row["step"] for row in rows] == [0, 1]
    assert all(row["time_s"] > 1_700_000_000 for row in rows)


def test_a_full_disk_cuts_the_log_and_hides_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(runlog.log, "handlers", [])  # the first test's handler would write to that test's stderr
    handler = to_file(tmp_path / "log.txt")
    try:
        log.warning("before")

        def full(*_: object) -> None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        with monkeypatch.context() as patch:
            patch.setattr(handler, "flush", full)
            log.warning("lost")
            handler.close()  # its flush fails too, and that isn't what ended the command
    finally:
        log.removeHandler(handler)
    assert "Traceback" not in capsys.readouterr().err
    assert "before" in (tmp_path / "log.txt").read_text()
