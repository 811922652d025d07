"""kill -9 of a training, a few times, also inside a save; `kill_train` by hand does more."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from e2e.kill_train import survive

KILLS = 3


@pytest.mark.e2e
def test_kill_and_resume(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    report = survive(tmp_path, KILLS, seed=os.getpid(), forked=True)
    assert report.wrong == []
    assert report.identical
    assert len(report.kills) == KILLS
    assert report.inside("save") >= 1, report.kills
    assert any(kill.resumed_from for kill in report.kills), report.kills
