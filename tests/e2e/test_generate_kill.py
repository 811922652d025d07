"""kill -9 at random moments on the scripted engine, a few times; `kill_generate` by hand does more, and real engines."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from e2e.kill_generate import stage_arguments, survive

KILLS = 3


@pytest.mark.e2e
def test_kill_and_resume(tmp_path: Path) -> None:
    report = survive(tmp_path, KILLS, engine="scripted", arguments=stage_arguments("scripted"), seed=os.getpid())
    assert report.failures("scripted") == []
    assert report.kills == KILLS, "a run had ended before its kill"
    assert report.completions >= report.asked_in_both > 200
    assert report.identical_completions == report.same_request_in_both == report.asked_in_both
