"""`evaluate verify`: a report that is what its journals give passes; one byte changed anywhere is told, with the file."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import verified_runs
from self_instruct import commandline, journal, rundir
from self_instruct.errors import DataError
from self_instruct.evaluate import cli, ratings, report, scoring
from self_instruct.evaluate import verify as checks
from verified_runs import ITEMS, change

PREDICTIONS = "evaluate/journal/predictions.jsonl"


@pytest.fixture
def run(finished_run: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished_run, tmp_path / "run"))


def found(named: Path) -> list[str]:
    """All that differs; what ends the check at once is a difference, too."""
    try:
        return checks.check(checks.find(named)).differences
    except DataError as error:
        return [error.message]


def contents(folder: Path) -> dict[str, Any]:
    return {
        str(path.relative_to(folder)): (path.stat().st_mtime_ns, path.read_bytes())
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.suffix != ".sqlite-shm"  # SQLite's own, which readers share
    }


def test_what_nobody_touched_is_verified_and_nothing_is_written(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = ratings.RatingStore(run / "ratings" / "ratings.sqlite")
    store.enter("Ann", "ann", None, False, 0.0)
    store.close()
    assert cli.main(["report", str(run)]) == 0
    capsys.readouterr()
    before = contents(run)
    assert commandline.run(cli.main, ["verify", str(run)]) == 0
    told = json.loads(capsys.readouterr().out)
    count = told.pop("files")
    assert told == {"verified": True, "report": str(run / "evaluate" / "report"), "runs": 1, "answers": 2 * ITEMS}
    products = sum(len(rundir.read_json(path)["outputs"]) for path in run.glob("*/manifest.json"))
    assert count == products + len(list((run / "evaluate" / "report").iterdir()))
    assert contents(run) == before


@pytest.mark.parametrize(
    "name",
    [
        PREDICTIONS,
        "evaluate/journal/sessions.jsonl",
        "evaluate/results/answers.jsonl",
        "evaluate/results/items.jsonl",
        "evaluate/results/results.json",
        "evaluate/results/statistics.json",
        "evaluate/report/report.html",
        "evaluate/report/report.md",
        "evaluate/report/report.json",
        "generate/journal/completions.jsonl",
        "generate/journal/token_counts.jsonl",
        "generate/journal/accepted.jsonl",
        "generate/corpus/README.md",
    ],
)
def test_one_byte_changed_anywhere_is_told_with_the_file(run: Path, name: str) -> None:
    path = run / name
    whole = path.read_bytes()
    draws = random.Random(name)
    for place in (0, len(whole) - 1, *(draws.randrange(len(whole)) for _ in range(4))):
        byte = draws.choice([b" ", b"X", b"0", b"\n", b"\xff", b"\0"])
        change(path, place, byte)
        parent = path.parent.name if path.parent.name in ("results", "corpus") else path.name  # those are hashed as a whole
        differences = found(run)
        assert any(f"/{parent}" in one for one in differences), (place, byte, differences)
        path.write_bytes(whole)
    assert found(run) == []


def test_white_space_that_changes_no_score_is_told(run: Path) -> None:
    for name in (PREDICTIONS, "evaluate/results/answers.jsonl", "evaluate/results/items.jsonl"):
        path = run / name
        whole = path.read_text()
        path.write_text(whole.replace('": ', '":  ', 1))
        told = [one for one in found(run) if "hash differs" in one]
        assert told and told[0].startswith(str(path if name == PREDICTIONS else path.parent)), told
        path.write_text(whole)


def test_any_byte_of_a_manifest_or_of_a_matrix_ends_in_words(run: Path) -> None:
    """What isn't hashed may be changed where no report tells it; whatever the byte is, the check ends."""
    draws = random.Random(8)
    for name in ("evaluate/manifest.json", "generate/manifest.json", "evaluate/report/report.json"):
        whole = (run / name).read_bytes()
        for _ in range(12):
            change(run / name, draws.randrange(len(whole)), draws.choice([b" ", b"0", b"[", b'"', b"\xff"]))
            assert all(isinstance(one, str) for one in found(run))
            (run / name).write_bytes(whole)


def test_a_score_that_was_raised_is_shown_with_its_line(run: Path) -> None:
    path = run / "evaluate" / "results" / "answers.jsonl"
    lines = path.read_text().splitlines()
    row = json.loads(lines[2])
    lines[2] = json.dumps(row | {"rouge_l": 1.0})
    path.write_text("\n".join(lines) + "\n")
    differences = found(run)
    assert any("answers.jsonl:3: expected " in one and "rouge_l" in one for one in differences), differences
    assert any("can't be made again" in one for one in differences)


def sign(run: Path, *names: str) -> None:
    """Put the hashes of what is there into the manifest, as somebody might who wants a change not to be seen."""
    path = run / "evaluate" / "manifest.json"
    manifest = rundir.read_json(path)
    for name in names:
        output = manifest["outputs"][name]
        output["sha256"] = rundir.sha256(run / "evaluate" / output["path"])
    rundir.write_json(path, manifest)


def test_scores_that_the_journal_does_not_give_are_found_behind_right_hashes(run: Path) -> None:
    path = run / "evaluate" / "results" / "answers.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    path.write_text("".join(json.dumps(row | {"rouge_l": 1.0}) + "\n" for row in rows))
    sign(run, "results")
    report.write_run(run, None)
    (difference,) = found(run)
    assert f"{path}:1: expected " in difference and difference.endswith("the journal and the scoring give the first")


def test_answers_are_the_journals_behind_right_hashes(run: Path) -> None:
    path = run / PREDICTIONS
    records = journal.read(path)
    lines = [json.dumps(record | {"text": f"{record['text']} indeed"}, sort_keys=True) + "\n" for record in records]
    path.write_text("".join(lines))
    sign(run, "predictions")
    assert any("answers.jsonl:1: expected " in one and "indeed" in one for one in found(run))
    path.write_text("".join(lines[1:]))
    sign(run, "predictions")
    assert any(f"{path}: no answer of base to the prompt of " in one for one in found(run))
    path.write_text("".join([*lines, lines[0]]))
    sign(run, "predictions")
    assert any("a second time" in one for one in found(run))


def test_scoring_that_changed_since_is_found(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scoring, "_best", lambda references, answer: (0.75, True))
    (difference,) = found(run)
    assert "answers.jsonl:1: expected " in difference and "0.75" in difference


@pytest.mark.parametrize("name", [PREDICTIONS, "evaluate/report/report.md", "generate/corpus", "evaluate/results/statistics.json"])
def test_what_is_gone_is_told(run: Path, name: str) -> None:
    place = run / name
    shutil.rmtree(place) if place.is_dir() else place.unlink()
    told = place.parent if place.parent.name == "results" else place
    assert any(one.startswith(str(told)) for one in found(run)), found(run)


def test_a_file_of_somebody_else_in_the_report_is_left_aside(run: Path) -> None:
    (run / "evaluate" / "report" / "report.png").write_text("x")
    assert found(run) == []


@pytest.mark.parametrize("stage", ["evaluate", "generate"])
def test_a_config_that_says_other_settings_than_its_manifest_is_told(run: Path, stage: str) -> None:
    path = run / stage / "config.json"
    config = rundir.read_json(path)
    config["settings"]["run.seed"] = 7
    rundir.write_json(path, config)
    assert found(run) == [f"{path}: says other settings or inputs than manifest.json beside it"]


def remove_hash(run: Path) -> None:
    path = run / "evaluate" / "manifest.json"
    manifest = rundir.read_json(path)
    del manifest["outputs"]["predictions"]
    rundir.write_json(path, manifest)


def unfinish(run: Path) -> None:
    path = run / "evaluate" / "manifest.json"
    rundir.write_json(path, rundir.read_json(path) | {"status": "running"})


def spoil_report(run: Path) -> None:
    (run / "evaluate" / "report" / "report.json").write_text("[]")


def name_no_runs(run: Path) -> None:
    (run / "evaluate" / "report" / "report.json").write_text("{}")


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (remove_hash, "evaluated by an older version"),
        (unfinish, "evaluate: not finished"),
        (spoil_report, "report.json: not a JSON object"),
        (name_no_runs, "report.json: doesn't tell of which runs it is"),
    ],
)
def test_what_can_not_be_verified_is_told_so(run: Path, spoil: Callable[[Path], None], told: str) -> None:
    spoil(run)
    assert any(told in one for one in found(run)), found(run)


def test_a_run_of_an_older_version_is_verified_once_it_is_evaluated_again(run: Path, finished_run: Path) -> None:
    """Without an engine: all answers are in its journal."""
    remove_hash(run)
    shutil.rmtree(run / "evaluate" / "results")
    argv = rundir.read_json(run / "evaluate" / "manifest.json")["argv"]
    before = (run / PREDICTIONS).read_bytes()
    shutil.copytree(finished_run.parent / "model", run.parent / "model")
    adapter = str(run / "train" / "adapter")
    assert cli.main([*argv[:-1], str(run), "--set", "model.engine=scripted", "--set", f"evaluate.adapters=[{adapter}]"]) == 0
    assert (run / PREDICTIONS).read_bytes() == before
    report.write_run(run, None)
    assert found(run) == []


def test_a_report_is_found_by_itself_its_files_and_its_run(run: Path, tmp_path: Path) -> None:
    place = run / "evaluate" / "report"
    assert {checks.find(named) for named in (run, run / "evaluate", place, place / "report.html", place / "report.json")} == {place}
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
    capsys.readouterr()
    assert commandline.run(cli.main, ["verify", str(run)]) == 2
    said = capsys.readouterr()
    assert json.loads(said.out)["verified"] is False
    assert "error: 1 difference: " in said.err and "hint: the runs had other versions: nltk 0.1 (now " in said.err


def test_a_folder_of_another_name_is_named_as_a_cause(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert commandline.run(cli.main, ["verify", str(run.rename(run.with_name("other")))]) == 2
    assert "hint: the report calls a run run whose folder is other now: give it its name back" in capsys.readouterr().err


def test_a_report_of_several_runs_in_another_place_is_verified(tmp_path: Path) -> None:
    runs = [verified_runs.finished(tmp_path, name, seed) for name, seed in (("one", 1), ("two", 2))]
    place = tmp_path / "reports" / "both"
    report.write_runs(runs, place, None)
    checked = checks.check(checks.find(place))
    assert (checked.runs, checked.answers, checked.differences) == (2, 4 * ITEMS, [])
    change(runs[1] / PREDICTIONS, 99, b" ")
    (difference,) = [one for one in found(place) if "hash differs" in one]
    assert difference.startswith(f"{runs[1] / PREDICTIONS}: "), "a path as short as it can be"


def test_a_comparison_is_verified_with_its_rows_that_were_not_measured(tmp_path: Path) -> None:
    folder = verified_runs.comparison(tmp_path / "matrix")
    assert {checks.find(named) for named in (folder, folder / "matrix.json", folder / "report" / "report.md")} == {
        folder / "report"
    }
    assert found(folder) == []
    for name, told in (
        (
            "rows/better-outputs/generate/corpus/README.md",
            "rows/better-outputs/generate/corpus: not as the generate stage wrote it",
        ),
        (f"rows/self-instruct/{PREDICTIONS}", f"rows/self-instruct/{PREDICTIONS}: not as the evaluate stage wrote it"),
    ):
        whole = (folder / name).read_bytes()
        change(folder / name, 200, b"#")
        assert any(one.startswith(f"{folder}/{told}") for one in found(folder)), found(folder)
        (folder / name).write_bytes(whole)
    manifest = folder / "rows" / "self-instruct" / "generate" / "manifest.json"
    whole = manifest.read_bytes()
    manifest.write_bytes(whole + b" ")
    assert found(folder)[0] == f"{manifest}: not the manifest that the report tells of"
    manifest.write_bytes(whole)
    matrix = rundir.read_json(folder / "matrix.json")
    rundir.write_json(folder / "matrix.json", matrix | {"name": "other"})
    assert any("report.html:" in one for one in found(folder))
