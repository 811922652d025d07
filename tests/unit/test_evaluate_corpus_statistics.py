"""What is read from the other stages' folders."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import sample_runs
from self_instruct.errors import RunFolderError
from self_instruct.evaluate import corpus_statistics as found


def test_lengths_by_hand() -> None:
    one = found.lengths("output", ["a b c", "", "a", "a  b\nc d", "a b"])
    assert one.counts == (0, 1, 2, 3, 4)
    assert (one.texts, one.mean, one.median, one.longest) == (5, 2.0, 2.0, 4)
    assert (one.p10, one.p90) == pytest.approx((0.4, 3.6))


@pytest.mark.parametrize(
    ("values", "share", "value"), [([5], 0.9, 5), ([1, 2], 0.5, 1.5), ([1, 2, 3, 4], 0.0, 1), ([1, 9], 1.0, 9)]
)
def test_quantile(values: list[int], share: float, value: float) -> None:
    assert found.quantile(values, share) == pytest.approx(value)


def test_corpus_of_a_finished_stage(tmp_path: Path) -> None:
    sample_runs.generated(tmp_path)
    corpus = found.corpus(tmp_path)
    assert corpus is not None
    assert corpus.facts == sample_runs.GENERATE_FACTS
    assert {one.what: one.counts for one in corpus.lengths} == {
        "instruction": (2, 5, 9),
        "non-empty input": (1, 3),  # white space alone is empty
        "output": (1, 1, 2, 4),
    }


def test_a_corpus_without_inputs_has_no_lengths_of_them(tmp_path: Path) -> None:
    sample_runs.generated(tmp_path)
    (tmp_path / "generate/corpus/data/instances/train-00000-of-00001.parquet").unlink()
    corpus = found.corpus(tmp_path)
    assert corpus is not None
    assert [one.what for one in corpus.lengths] == ["instruction"]


def test_an_absent_or_unfinished_stage_is_none(tmp_path: Path) -> None:
    assert found.corpus(tmp_path) is None
    assert found.finished_facts(tmp_path, "train") is None
    sample_runs.generated(tmp_path)
    (tmp_path / "generate/manifest.json").write_text(json.dumps(sample_runs.manifest("generate")), encoding="utf-8")
    assert found.corpus(tmp_path) is None


def test_a_damaged_manifest_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "train").mkdir()
    (tmp_path / "train/manifest.json").write_text("{", encoding="utf-8")
    with pytest.raises(RunFolderError, match=r"manifest\.json"):
        found.finished_facts(tmp_path, "train")


def test_loss_curve(tmp_path: Path) -> None:
    assert found.loss_curve(tmp_path) == ()
    sample_runs.trained(tmp_path)
    assert found.loss_curve(tmp_path)[:2] == ((1, 2.95), (2, 2.9))
    metrics = tmp_path / "train/metrics.jsonl"
    before = metrics.read_text(encoding="utf-8")
    metrics.write_text(before + '{"step": 2, "loss": 1.5}\n{"note": "no step"}\n{"step": 11, "lo', encoding="utf-8")
    assert found.loss_curve(tmp_path)[1] == (2, 1.5)  # a step done again counts once
    assert len(found.loss_curve(tmp_path)) == 10
    assert metrics.read_text(encoding="utf-8").endswith('"lo')  # another stage's file isn't touched
