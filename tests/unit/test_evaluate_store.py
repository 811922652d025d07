"""Stored results: written, read back, and refused where they are damaged."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

import sample_runs
from self_instruct import rundir
from self_instruct.errors import DataError, RunFolderError, SelfInstructError
from self_instruct.evaluate import store


def test_what_was_written_is_read(tmp_path: Path) -> None:
    nasty = lambda name, item: f"{name} \ud800 \u2028 <b>\x00"  # noqa: E731
    suites = (sample_runs.stored_suite(sample_runs.items(3), nasty), sample_runs.stored_suite(sample_runs.superni_items(5)))
    contamination = [{"set": "superni", "rows": 3}]
    sample_runs.evaluated(tmp_path, suites, statistics={"format": 1}, contamination=contamination)
    found = store.read(tmp_path)
    assert found.suites == suites
    assert found.statistics == {"format": 1} and found.contamination == contamination
    assert list(found.models) == ["base", "tuned"] and found.models["base"]["role"] == "base"
    assert found.seed == 42 and not found.scripted and found.model["title"] == "tiny"
    assert found.manifest["stage"] == "evaluate"
    assert found.suites[1].name == "superni" and found.suites[1].items == sample_runs.superni_items(5)


def test_without_a_corpus_and_training_nothing_of_them_is_stored(tmp_path: Path) -> None:
    sample_runs.evaluated(tmp_path)
    found = store.read(tmp_path)
    assert found.statistics is None and found.contamination is None
    assert sorted(path.name for path in (tmp_path / "evaluate/results").iterdir()) == [
        "answers.jsonl", "items.jsonl", "results.json",
    ]  # fmt: skip


def test_every_line_of_answers_stands_by_itself(tmp_path: Path) -> None:
    sample_runs.evaluated(tmp_path)
    rows = [json.loads(line) for line in (tmp_path / "evaluate/results/answers.jsonl").read_text("utf-8").splitlines()]
    assert len(rows) == 2 * (6 + 9)
    assert rows[0] == {
        "suite": "user_oriented", "item_id": "task_0", "model": "base", "text": "the number", "hit_limit": False, "missing": False,
        "output_tokens": 3, "rouge_l": pytest.approx(2 * (2 / 2) * (2 / 5) / (2 / 2 + 2 / 5)), "exact_match": False,
    }  # fmt: skip


def read_error(run: Path) -> SelfInstructError:
    with pytest.raises((DataError, RunFolderError)) as caught:
        store.read(run)
    return caught.value


def test_a_run_without_an_evaluation(tmp_path: Path) -> None:
    assert read_error(tmp_path / "none").message == f"{tmp_path / 'none' / 'evaluate'}: no run there"


def test_a_run_that_isnt_finished(tmp_path: Path) -> None:
    sample_runs.evaluated(tmp_path)
    (tmp_path / "evaluate/manifest.json").write_text('{"status": "running"}')
    assert "not finished" in read_error(tmp_path).message


def test_another_format(tmp_path: Path) -> None:
    sample_runs.evaluated(tmp_path)
    place = tmp_path / "evaluate/results/results.json"
    place.write_text(place.read_text().replace('"format": 1', '"format": 0'))
    assert "of format 0, this version reads 1" in read_error(tmp_path).message


@pytest.mark.parametrize("name", ["items.jsonl", "answers.jsonl"])
@pytest.mark.parametrize("damage", ["{", "[]", "{}", '{"suite": "superni"}'])
def test_a_damaged_line_is_named(tmp_path: Path, name: str, damage: str) -> None:
    sample_runs.evaluated(tmp_path)
    place = tmp_path / "evaluate/results" / name
    lines = place.read_text("utf-8").splitlines()
    lines[2] = damage
    place.write_text("\n".join(lines) + "\n")
    assert read_error(tmp_path).message.startswith(f"{place}:3: damaged")


def test_lines_that_were_lost_or_moved(tmp_path: Path) -> None:
    sample_runs.evaluated(tmp_path)
    place = tmp_path / "evaluate/results/answers.jsonl"
    lines = place.read_text("utf-8").splitlines()
    place.write_text("\n".join(lines[:-1]) + "\n")
    assert "answers to superni are missing" in read_error(tmp_path).message
    place.write_text("\n".join([lines[1], lines[0], *lines[2:]]) + "\n")
    assert f"{place}:1: damaged" in read_error(tmp_path).message


def test_a_score_that_none_can_be(tmp_path: Path) -> None:
    sample_runs.evaluated(tmp_path)
    place = tmp_path / "evaluate/results/answers.jsonl"
    place.write_text(re.sub('"rouge_l": [0-9.]+', '"rouge_l": 7.5', place.read_text("utf-8"), count=1))
    assert read_error(tmp_path).message == f"{place}:1: damaged: a ROUGE-L of 7.5"


def test_results_that_were_changed_by_hand(tmp_path: Path) -> None:
    sample_runs.evaluated(tmp_path)
    manifest = tmp_path / "evaluate/manifest.json"
    told = json.loads(manifest.read_text())
    told["outputs"] = {"results": {"path": "results", "sha256": rundir.sha256(tmp_path / "evaluate/results")}}
    manifest.write_text(json.dumps(told))
    store.read(tmp_path)
    with (tmp_path / "evaluate/results/items.jsonl").open("a") as file:
        file.write("\n")
    assert "its files were changed since the run was evaluated" in read_error(tmp_path).message


def test_statistics_of_another_format(tmp_path: Path) -> None:
    sample_runs.evaluated(tmp_path, statistics={})
    assert "statistics.json: damaged: no statistics in it, or of another format" in read_error(tmp_path).message


def test_a_file_that_is_gone(tmp_path: Path) -> None:
    sample_runs.evaluated(tmp_path)
    (tmp_path / "evaluate/results/items.jsonl").unlink()
    assert "items.jsonl: can't be read" in read_error(tmp_path).message
