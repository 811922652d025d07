"""What is read from the other stages' folders."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import sample_runs
from self_instruct.errors import RunFolderError
from self_instruct.evaluate import finished


def test_facts_of_a_finished_stage_alone(tmp_path: Path) -> None:
    assert finished.finished_facts(tmp_path, "generate") is None
    sample_runs.generated(tmp_path)
    assert finished.finished_facts(tmp_path, "generate") == sample_runs.GENERATE_FACTS
    (tmp_path / "generate/manifest.json").write_text(json.dumps(sample_runs.manifest("generate")), encoding="utf-8")
    assert finished.finished_facts(tmp_path, "generate") is None
    assert finished.finished_manifest(tmp_path, "generate") is None


def test_a_damaged_manifest_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "train").mkdir()
    (tmp_path / "train/manifest.json").write_text("{", encoding="utf-8")
    with pytest.raises(RunFolderError, match=r"manifest\.json"):
        finished.finished_facts(tmp_path, "train")


def test_loss_curve(tmp_path: Path) -> None:
    assert finished.loss_curve(tmp_path) == ()
    sample_runs.trained(tmp_path)
    assert finished.loss_curve(tmp_path)[:2] == ((1, 2.95), (2, 2.9))
    metrics = tmp_path / "train/metrics.jsonl"
    before = metrics.read_text(encoding="utf-8")
    metrics.write_text(before + '{"step": 2, "loss": 1.5}\n{"note": "no step"}\n{"step": 11, "lo', encoding="utf-8")
    assert finished.loss_curve(tmp_path)[1] == (2, 1.5)  # a step done again counts once
    assert len(finished.loss_curve(tmp_path)) == 10
    assert metrics.read_text(encoding="utf-8").endswith('"lo')  # another stage's file isn't touched
