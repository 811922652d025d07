"""The command `generate` on the scripted engine: bad input is one line and status 2, a finished run is left alone."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from self_instruct import commandline
from self_instruct.generate.cli import main
from self_instruct.loading import shipped

Call = Callable[..., tuple[int, str, str]]


@pytest.fixture
def call(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Call:
    """Runs the command into tmp_path/run; returns status, stdout and stderr."""

    def run(*flags: str) -> tuple[int, str, str]:
        arguments = ["--config", "configs/tiny.yaml", "--out", str(tmp_path / "run"), "--set", "model.engine=scripted", *flags]
        status = commandline.run(main, arguments)
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return run


def files(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_a_run_and_what_it_leaves(call: Call, tmp_path: Path) -> None:
    status, out, _ = call()
    assert status == 0
    assert json.loads(out)["accepted"] == 12
    folder = tmp_path / "run" / "generate"
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["status"] == "finished"
    assert manifest["facts"]["candidates"] == manifest["facts"]["accepted"] + sum(
        manifest["facts"]["rejected"].get("instruction", {}).values()
    )
    names = {path.name for path in (folder / "journal").iterdir()}
    records = {f"{name}.jsonl" for name in ("completions", "token_counts", "sessions", "accepted", "rejected")}
    assert names == {*records, "inputs"}
    before = files(folder / "corpus")
    assert call()[0] == 0
    assert files(folder / "corpus") == before


def test_a_dry_run_writes_nothing(call: Call, tmp_path: Path) -> None:
    status, out, _ = call("--dry-run")
    assert (status, json.loads(out)["seeds"] >= 20) == (0, True)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("flags", "error"),
    [
        (("--set", "generate.seeds=missing.jsonl"), "missing.jsonl: no such file"),
        (("--set", "generate.demonstrations=nowhere"), "nowhere/classification.yaml: no such file"),
        (("--set", "model.max_length=200"), "is shorter than"),
        (("--set", "generate.prompt_seeds=190", "--set", "generate.last_item=199"), "seed tasks"),
        (("--set", "generate.topp=1"), "unknown setting 'generate.topp'"),
    ],
)
def test_bad_input_is_one_line_and_nothing_is_written(call: Call, tmp_path: Path, flags: tuple[str, ...], error: str) -> None:
    status, out, err = call(*flags)
    assert (status, out) == (2, "")
    lines = err.strip().splitlines()
    assert error in lines[-2] and lines[-2].startswith("error: ") and lines[-1].startswith("hint: ")
    assert not (tmp_path / "run").exists()


def test_a_corpus_that_is_gone_is_told(call: Call, tmp_path: Path) -> None:
    call()
    before = files(tmp_path / "run" / "generate" / "corpus")
    shutil.rmtree(tmp_path / "run" / "generate" / "corpus")
    status, _, err = call()
    assert status == 2 and f"python generate replay {tmp_path / 'run'}" in err
    assert commandline.run(main, ["replay", str(tmp_path / "run")]) == 0
    assert files(tmp_path / "run" / "generate" / "corpus") == before


def test_a_finished_run_says_that_it_keeps_its_exports(call: Call, tmp_path: Path) -> None:
    assert call("--set", "generate.exports=[alpaca]")[0] == 0
    before = files(tmp_path / "run" / "generate" / "exports")
    assert list(map(Path, before)) == [tmp_path / "run" / "generate" / "exports" / "alpaca.json"]
    _, _, err = call("--set", "generate.exports=[alpaca]")
    assert "exports" not in err
    status, _, err = call()
    assert status == 0
    (said,) = [line for line in err.splitlines() if "exports" in line]
    assert "generate.exports: messages, prompt_completion: not in" in said
    assert "a finished run keeps the exports that it was finished with" in said
    assert files(tmp_path / "run" / "generate" / "exports") == before


def test_own_seeds_and_demonstrations(call: Call, tmp_path: Path) -> None:
    seeds = tmp_path / "seeds.jsonl"
    seeds.write_text("".join(shipped("seeds/seed_tasks.jsonl").read_text().splitlines(keepends=True)[:8]))
    shutil.copytree(shipped("seeds/demonstrations"), tmp_path / "shown")
    flags = ("--set", f"generate.seeds={seeds}", "--set", f"generate.demonstrations={tmp_path / 'shown'}")
    assert call(*flags)[0] == 0
    bad = tmp_path / "shown" / "classification.yaml"
    bad.write_text("lead: x\ntasks: [{instruction: y}]\n")
    status, _, err = call(*flags)
    assert status == 2 and f"{bad}: field 'tasks.0.is_classification'" in err


def test_a_model_whose_tokenizer_is_damaged_is_one_line(
    tiny_model: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    flags = ["--config", "configs/tiny.yaml", "--out", str(tmp_path / "run"), "--set", f"model.name={tiny_model}"]
    assert commandline.run(main, flags) == 2
    assert "its tokenizer doesn't load" in capsys.readouterr().err
