"""kill -9 of the comparison at three random moments; `kill_reproduce` by hand does more."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from e2e.kill_reproduce import survive

KILLS = 3


@pytest.mark.e2e
def test_kill_and_continue(tmp_path: Path) -> None:
    report = survive(tmp_path, KILLS, seed=os.getpid())
    assert report.wrong == []
    assert len(report.kills) == KILLS
