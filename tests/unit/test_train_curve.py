"""The loss curve: what is smoothed how, the same bytes for the same lines, and no matplotlib."""

from __future__ import annotations

import importlib.util
import logging
from pathlib import Path

import pytest

from self_instruct import runlog
from self_instruct.train import curve

LINES = [{"step": n, "loss": 3.0 - n / 100, "completion_tokens": 10 + n} for n in range(1, 61)]
HELD_OUT = [{"step": 0, "epoch": 0, "held_out_loss": 3.1}, {"step": 60, "epoch": 1, "held_out_loss": 2.5}]


def test_a_mean_is_weighted_by_tokens_and_looks_back() -> None:
    assert curve.smooth([4.0, 1.0, 2.0], [1, 3, 1], 2) == [4.0, 7 / 4, 5 / 4]


def test_the_same_lines_give_the_same_bytes(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    for name in ("one.png", "two.png"):
        assert curve.write(tmp_path / name, [*LINES, *HELD_OUT])
    first = (tmp_path / "one.png").read_bytes()
    assert first.startswith(b"\x89PNG") and first == (tmp_path / "two.png").read_bytes()
    assert curve.write(tmp_path / "none.png", LINES)
    assert first != (tmp_path / "none.png").read_bytes(), "held-out points are drawn"


def test_a_step_that_was_run_again_counts_once(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    assert curve.write(tmp_path / "one.png", [LINES[0] | {"loss": 9.0}, *LINES])
    assert curve.write(tmp_path / "two.png", LINES)
    assert (tmp_path / "one.png").read_bytes() == (tmp_path / "two.png").read_bytes()


def test_nothing_to_draw(tmp_path: Path) -> None:
    assert not curve.write(tmp_path / "loss.png", [{"step": 0, "held_out_loss": 3.0}])
    assert list(tmp_path.iterdir()) == []


def test_without_matplotlib_it_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(runlog.log, "propagate", True)
    with caplog.at_level(logging.INFO):
        assert not curve.write(tmp_path / "loss.png", LINES)
    assert "matplotlib isn't installed" in caplog.text
    assert list(tmp_path.iterdir()) == []
