"""Evaluation sets and variants that the settings name, through the command: what is read, kept, refused and said."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from self_instruct import commandline
from self_instruct.generate.cli import main
from self_instruct.seedbank import load_evaluation, load_user_oriented, user_oriented_file


def call(run: Path, capsys: pytest.CaptureFixture[str], *flags: str) -> tuple[int, str]:
    """The command on the scripted engine; its status and stderr."""
    status = commandline.run(main, ["--config", "configs/tiny.yaml", "--out", str(run), "--set", "model.engine=scripted", *flags])
    return status, capsys.readouterr().err


def rejected(run: Path) -> list[dict[str, str]]:
    lines = (run / "generate" / "journal" / "rejected.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def test_an_evaluation_set_keeps_its_tasks_out_and_stays_with_the_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(tmp_path / "plain", capsys)[0] == 0
    corpus = (tmp_path / "plain" / "generate" / "journal" / "accepted.jsonl").read_text(encoding="utf-8").splitlines()
    first = next(row for row in map(json.loads, corpus) if row["kind"] == "instruction")
    held_out = tmp_path / "held out.jsonl"
    row = {"id": "mine", "instruction": first["text"], "instances": [{"input": "", "output": "x"}]}
    held_out.write_text(json.dumps(row) + "\n", encoding="utf-8")
    flag = ("--set", f"generate.decontaminate=['{held_out}']")
    assert call(tmp_path / "run", capsys, *flag)[0] == 0
    dropped = [one for one in rejected(tmp_path / "run") if one["rule"] == "contaminated"]
    assert (dropped[0]["text"], dropped[0]["detail"]) == (first["text"], "mine, instruction: equal")
    # The set is an input: it is kept beside the journal, and another one is another run.
    hashes = json.loads((tmp_path / "run" / "generate" / "config.json").read_text())["inputs"]
    assert {"user_oriented", "decontaminate-000"} <= set(hashes)
    held_out.write_text("", encoding="utf-8")
    status, err = call(tmp_path / "run", capsys, *flag)
    assert status == 2 and "held out.jsonl: no tasks in it" in err
    held_out.unlink()
    assert commandline.run(main, ["replay", str(tmp_path / "run")]) == 0


@pytest.mark.parametrize(
    ("flags", "error"),
    [
        (("--set", "generate.decontaminate=[missing.jsonl]"), "missing.jsonl: no such file"),
        (("--set", "generate.order=window", "--set", "generate.round_size=0"), "generate.round_size"),
        (
            ("--set", "generate.seed_subset=classification", "--set", "generate.prompt_seeds=30", "--set", "generate.last_item=40"),
            "there are 25 classification seed tasks (generate.seed_subset)",
        ),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], flags: tuple[str, ...], error: str
) -> None:
    status, err = call(tmp_path / "run", capsys, *flags)
    assert status == 2 and error in err
    assert not (tmp_path / "run").exists()


def test_the_requests_in_flight_may_change_and_the_order_may_not(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(tmp_path / "run", capsys, "--set", "generate.in_flight=2")[0] == 0
    assert call(tmp_path / "run", capsys, "--set", "generate.in_flight=9")[0] == 0
    status, err = call(tmp_path / "run", capsys, "--config", "configs/authors-order.yaml")
    assert status == 2 and "generate.order was 'window', is 'rounds'" in err


def test_a_lag_that_starves_the_engine_is_warned_of(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, err = call(tmp_path / "run", capsys, "--set", "generate.lag=3", "--dry-run")
    assert "generate.lag: only 3 bootstrapping requests are open at once, and the engine runs 4 sequences" in err
    _, err = call(tmp_path / "run", capsys, "--set", "generate.lag=4", "--dry-run")
    assert "generate.lag" not in err


def test_an_evaluation_set_is_read_whatever_its_tasks_are_for(tmp_path: Path) -> None:
    shipped = load_evaluation(user_oriented_file(None))
    assert [(one.id, one.instruction, one.input) for one in shipped] == [
        (one.id, one.instruction, one.input) for one in load_user_oriented()
    ]
    two = {"id": "a", "instruction": "Sort", "instances": [{"input": "1", "output": "2"}, {"input": "3", "output": "4"}]}
    (tmp_path / "two.jsonl").write_text(json.dumps(two | {"is_classification": True}))
    assert [(one.id, one.input) for one in load_evaluation(tmp_path / "two.jsonl")] == [("a", "1"), ("a", "3")]
