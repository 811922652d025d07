"""kill -9 of the rating server, a few times; `kill_rate` by hand does more."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from e2e.kill_rate import EACH, RATERS, survive

KILLS = 3


@pytest.mark.e2e
def test_what_was_confirmed_survives(tmp_path: Path) -> None:
    report = survive(tmp_path, KILLS, seed=os.getpid())
    assert report.wrong == []
    assert report.confirmed == len(RATERS) * EACH * (KILLS + 1)
    assert len(report.at) == KILLS
    assert report.at[-1] < report.confirmed  # it was killed while they rated
