"""The command `verify`: scores, report and every corpus in one; what one of them finds is its status and its words."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from self_instruct import __main__, commandline, rundir, verify
from verified_runs import ITEMS, change


@pytest.fixture
def run(finished_run: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished_run, tmp_path / "run"))


def test_scores_report_and_corpora_are_verified_together(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    assert __main__.entry(["verify", str(run / "evaluate" / "report" / "report.html")]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    told = json.loads(line)
    assert told.pop("files") > 0
    place = str(run / "evaluate" / "report")
    assert told == {"verified": True, "report": place, "runs": 1, "answers": 2 * ITEMS, "corpora": 1}
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("name", ["generate/journal/completions.jsonl", "evaluate/journal/predictions.jsonl"])
def test_one_byte_of_a_journal_fails_it(run: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    path = run / name
    change(path, random.Random(name).randrange(path.stat().st_size), b" ")
    assert commandline.run(verify.main, [str(run)]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    last = said.err.splitlines()[-2:]
    assert last[0].startswith(f"error: {run}: not verified: ") and path.name in last[0] and last[1].startswith("hint: ")
    assert "completions.jsonl: not the file that the run wrote" in said.err or "damaged line" in said.err or "evaluate" in name


def test_a_corpus_that_its_journal_does_not_give_fails_it_behind_right_hashes(run: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Only the replay can tell."""
    stage = run / "generate"
    alpaca = stage / "exports" / "alpaca.json"
    alpaca.write_text(alpaca.read_text().replace("e", "E", 1))
    manifest = rundir.read_json(stage / "manifest.json")
    manifest["outputs"]["exports"]["sha256"] = rundir.sha256(stage / "exports")
    rundir.write_json(stage / "manifest.json", manifest)
    assert commandline.run(verify.main, [str(run)]) == 2
    said = capfd.readouterr().err
    assert f"{stage}/exports: the journal gives other bytes than the run wrote" in said
    assert "evaluate verify" not in said


def test_no_report_is_one_line_and_a_hint(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert commandline.run(verify.main, [str(tmp_path)]) == 2
    said = capsys.readouterr().err
    assert f"error: {tmp_path}: no report there (report.json)" in said and "hint: " in said


def test_a_stage_that_ends_without_a_word_fails_it(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verify.sys, "executable", "false")
    told, said = verify._run("evaluate", "verify", str(run))
    assert (told, said) == ({}, ["evaluate verify ended with status 1"])


def test_every_corpus_of_a_comparison_is_replayed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[Sequence[str]] = []

    def told(stage: str, *words: str) -> tuple[dict[str, Any], list[str]]:
        called.append((stage, *words))
        return ({"report": str(tmp_path / "report")} if stage == "evaluate" else {}), []

    monkeypatch.setattr(verify, "_run", told)
    for name, status in (("own", "finished"), ("better", "finished"), ("begun", "running")):
        (tmp_path / "rows" / name / "generate").mkdir(parents=True)
        rundir.write_json(tmp_path / "rows" / name / "generate" / "manifest.json", {"status": status})
    (tmp_path / "report").mkdir()
    rundir.write_json(tmp_path / "report" / "report.json", {"folders": ["../rows/own", "../rows/own"], "comparison": ".."})
    assert verify.main([str(tmp_path)]) == 0
    replayed = [str(Path(words[2]).resolve().name) for words in called if words[:2] == ("generate", "replay")]
    assert sorted(replayed) == ["better", "own"] and len(called) == 3
