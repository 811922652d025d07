"""`verify`: a report that is what its journals give passes; one byte changed anywhere is told, with the file."""

from __future__ import annotations

import json
import os
import random
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from self_instruct import commandline, rundir, verify
from self_instruct.errors import DataError
from self_instruct.evaluate import cli
from self_instruct.evaluate import verify as checks

SETTINGS = (
    "model.engine=scripted", "evaluate.max_items=5", "evaluate.max_tokens=16", "evaluate.examples=2", "evaluate.adapters=[]",
)  # fmt: skip


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with a corpus and an evaluation, all by the scripted engine."""
    from conftest import EMPTY_WEIGHTS
    from self_instruct.generate import cli as generate

    folder = tmp_path_factory.mktemp("verify")
    model = folder / "model"
    model.mkdir()
    config = {"architectures": ["LlamaForCausalLM"], "max_position_embeddings": 4096, "eos_token_id": 1}
    (model / "config.json").write_text(json.dumps(config))
    (model / "tokenizer.json").write_text(
        json.dumps({"model": {"vocab": {"a": 0}}, "added_tokens": [{"id": 1, "content": "<end>"}]})
    )
    (model / "tokenizer_config.json").write_text(json.dumps({"eos_token": "<end>"}))
    (model / "model.safetensors").write_bytes(EMPTY_WEIGHTS)
    more = (f"model.name={model}", "generate.target_instructions=8", "generate.max_requests=16")
    flags = [*(word for text in (*SETTINGS, *more) for word in ("--set", text)), "--out", str(folder / "run")]
    assert generate.main(flags) == 0
    assert cli.main(flags) == 0
    return folder / "run"


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished, tmp_path / "run"))


def found(run: Path) -> list[str]:
    return checks.check(checks.find(run)).differences


def test_what_nobody_touched_is_verified(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = {path: (path.stat().st_mtime_ns, path.stat().st_size) for path in run.rglob("*") if path.is_file()}
    assert commandline.run(cli.main, ["verify", str(run)]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["report"] == str(run / "evaluate" / "report")
    assert (told["runs"], told["answers"]) == (1, 5)
    assert told["files"] > 8
    after = {path: (path.stat().st_mtime_ns, path.stat().st_size) for path in run.rglob("*") if path.is_file()}
    assert after == before, "it writes nothing"


def change(path: Path, place: int, byte: bytes) -> None:
    content = bytearray(path.read_bytes())
    if content[place : place + 1] == byte:
        byte = b"Y"
    content[place : place + 1] = byte
    path.write_bytes(content)


@pytest.mark.parametrize(
    "name",
    [
        "evaluate/journal/predictions.jsonl",
        "evaluate/results/answers.jsonl",
        "evaluate/results/items.jsonl",
        "evaluate/results/results.json",
        "evaluate/results/statistics.json",
        "evaluate/report/report.html",
        "evaluate/report/report.md",
        "evaluate/report/report.json",
        "generate/journal/completions.jsonl",
        "generate/journal/accepted.jsonl",
        "generate/corpus/README.md",
    ],
)
def test_one_byte_changed_anywhere_is_told_with_the_file(run: Path, name: str) -> None:
    path = run / name
    whole = path.read_bytes()
    draws = random.Random(name)
    for place in (0, len(whole) - 1, *(draws.randrange(len(whole)) for _ in range(3))):
        change(path, place, draws.choice([b" ", b"X", b"0", b"\n"]))
        try:
            differences = found(run)
        except (DataError, rundir.RunFolderError) as error:
            differences = [error.message]
        assert any(Path(name).name in one or Path(name).parent.name in one for one in differences), (place, differences)
        path.write_bytes(whole)
    assert found(run) == []


def test_a_score_that_was_raised_is_shown_with_its_line(run: Path) -> None:
    path = run / "evaluate" / "results" / "answers.jsonl"
    lines = path.read_text().splitlines()
    row = json.loads(lines[2])
    lines[2] = json.dumps(row | {"rouge_l": 1.0})
    path.write_text("\n".join(lines) + "\n")
    differences = found(run)
    assert any("answers.jsonl:3: expected " in one and "rouge_l" in one for one in differences), differences
    assert any("can't be made again" in one for one in differences)


@pytest.mark.parametrize("name", ["evaluate/journal/predictions.jsonl", "evaluate/report/report.md", "generate/corpus"])
def test_what_is_gone_is_told(run: Path, name: str) -> None:
    place = run / name
    shutil.rmtree(place) if place.is_dir() else place.unlink()
    assert any(Path(name).name in one for one in found(run))


def test_a_file_too_many_is_told(run: Path) -> None:
    (run / "evaluate" / "report" / "more.txt").write_text("x")
    assert found(run) == [f"{run}/evaluate/report/more.txt: no file of the report"]


def test_a_run_of_an_older_version_is_told_so(run: Path) -> None:
    path = run / "evaluate" / "manifest.json"
    manifest = rundir.read_json(path)
    del manifest["outputs"]["predictions"]
    rundir.write_json(path, manifest)
    assert any("older version" in one for one in found(run))


def test_a_report_is_found_by_itself_its_files_and_its_run(run: Path, tmp_path: Path) -> None:
    report = run / "evaluate" / "report"
    assert {checks.find(place) for place in (run, report, report / "report.html", report / "report.json")} == {report}
    with pytest.raises(DataError, match=r"no report there"):
        checks.find(tmp_path)


def test_other_versions_are_named_as_a_cause(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = run / "evaluate" / "manifest.json"
    manifest = rundir.read_json(path)
    manifest["versions"]["nltk"] = "0.1"
    rundir.write_json(path, manifest)
    assert cli.main(["report", str(run)]) == 0
    assert found(run) == []
    change(run / "evaluate" / "report" / "report.html", 300, b"#")
    assert commandline.run(cli.main, ["verify", str(run)]) == 2
    assert "hint: the runs had other versions: nltk 0.1 (now " in capsys.readouterr().err


# The command over all stages.


def test_scores_report_and_corpora_are_verified_together(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert verify.main([str(run)]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["runs"], told["corpora"]) == (1, 1)


@pytest.mark.parametrize("name", ["generate/journal/completions.jsonl", "evaluate/journal/predictions.jsonl"])
def test_the_command_fails_over_one_byte_of_a_journal(run: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    path = run / name
    change(path, path.stat().st_size // 2, b"~")
    assert commandline.run(verify.main, [str(run)]) == 2
    said = capsys.readouterr().err
    assert "not verified: " in said and Path(name).name in said


def test_a_corpus_of_a_row_that_was_not_measured_counts(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[Sequence[str]] = []

    def told(stage: str, *words: str) -> tuple[dict[str, Any], list[str]]:
        called.append((stage, *words))
        return ({"report": str(run / "report")} if stage == "evaluate" else {}), []

    monkeypatch.setattr(verify, "_run", told)
    (run / "rows").mkdir()
    (run / "rows" / "own").symlink_to(run)
    (run / "report").mkdir()
    tree = {"folders": [os.path.relpath(run, run / "report")], "comparison": ".."}
    rundir.write_json(run / "report" / "report.json", tree)
    assert verify.main([str(run)]) == 0
    assert [words[:2] for words in called] == [("evaluate", "verify"), ("generate", "replay")]
