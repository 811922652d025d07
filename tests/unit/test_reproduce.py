"""The command `reproduce`: what is run, skipped, told and left, with commands of a line in the stages' stead."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from self_instruct import commandline, reproduce, reproduce_cells, rundir
from self_instruct.errors import ConfigError, SelfInstructError
from self_instruct.reproduce_cells import Command
from self_instruct.reproduce_matrix import Cell

ROWS = [
    {"name": "base"},
    {"name": "t0", "data": ["t0"]},
    {"name": "mine", "data": ["seeds", "./rows.jsonl"]},
    {"name": "absent", "model": "encoder_decoder"},
]
Run = Callable[[Sequence[str]], str | None]


@pytest.fixture
def asked(tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The command's arguments for four rows, one of which can't be run, in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "t0").mkdir()
    (tmp_path / "t0" / "a.jsonl").write_text('{"prompt": "One?", "completion": "two"}\n')
    (tmp_path / "rows.jsonl").write_text('{"prompt": "Two?", "completion": "three"}\n')
    settings = [f"model.name={tiny_model}", "data.t0=t0", f"reproduce.rows={json.dumps(ROWS)}", "reproduce.sizes=[]"]
    return [*(word for text in settings for word in ("--set", text)), "--out", "out"]


class Stages:
    """Stands in for the stages' processes: leaves a finished folder for each, or fails as it is told."""

    def __init__(self, failing: dict[str, list[str]] | None = None) -> None:
        self.failing = failing or {}  # what each call for a cell says, as long as there is something
        self.called: list[str] = []
        self.failed_rows: dict[str, str] = {}  # what the report finds

    def __call__(self, words: Sequence[str]) -> str | None:
        if "report" in words or "judge" in words:
            self.called.append("report" if "report" in words else "judge")
            if said := self.failing.get(self.called[-1]):
                return said.pop(0)
            told = [{"row": name, "state": "failed", "why": why} for name, why in self.failed_rows.items()]
            Path("out/report").mkdir(exist_ok=True)
            rundir.write_json(Path("out/report/report.json"), {"matrix": {"rows": told}})
            return None
        names = [Path(word).name for word in words]
        stage = next(name for name in ("generate", "train", "evaluate") if name in names)
        place = Path(words[words.index("--out") + 1])
        name = f"{place.name}/{stage}"
        self.called.append(name)
        if self.failing.get(name):
            return self.failing[name].pop(0)
        folder = place / stage
        (folder / "product").mkdir(parents=True, exist_ok=True)
        (folder / "product" / "text").write_text(name)
        rundir.write_json(folder / "config.json", {"cell": name, "settings": {}})
        outputs = {"product": {"path": "product", "sha256": rundir.sha256(folder / "product")}}
        rundir.write_json(folder / "manifest.json", {"status": "finished", "outputs": outputs, "facts": {}})
        return None


@pytest.fixture
def stages(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Stages]:
    def install(failing: dict[str, list[str]] | None = None) -> Stages:
        made = Stages(failing)
        monkeypatch.setattr(reproduce_cells, "run", made)
        return made

    return install


CELLS = ["base/evaluate", "t0/train", "t0/evaluate", "mine/train", "mine/evaluate"]


def matrix() -> dict[str, Any]:
    return rundir.read_json(Path("out/matrix.json"))


def rows() -> dict[str, tuple[str, str | None]]:
    return {row["row"]: (row["state"], row["why"]) for row in matrix()["rows"]}


def test_every_cell_is_run_once_and_then_reported(
    asked: list[str], stages: Callable[..., Stages], capsys: pytest.CaptureFixture[str]
) -> None:
    first = stages()
    assert reproduce.main(asked) == 0
    assert first.called == [*CELLS, "report"]
    assert rows() == {
        "base": ("measured", None),
        "t0": ("measured", None),
        "mine": ("measured", None),
        "absent": ("not run", "reproduce.encoder_decoder isn't set"),
    }
    assert json.loads(capsys.readouterr().out) == {"report": "out/report/report.html", "cells": 5, "failed": {}}
    again = stages()
    assert reproduce.main(asked) == 0
    assert again.called == ["report"]


def test_matrix_json_has_the_same_bytes_each_time(asked: list[str], stages: Callable[..., Stages]) -> None:
    stages()
    reproduce.main(asked)
    before = Path("out/matrix.json").read_bytes()
    reproduce.main(asked)
    assert Path("out/matrix.json").read_bytes() == before
    told = matrix()
    assert [cell["cell"] for cell in told["cells"]] == CELLS
    assert all(cell["fingerprint"] == rundir.sha256(Path("out/rows") / cell["cell"] / "config.json") for cell in told["cells"])


def test_a_cell_that_fails_once_is_tried_again(asked: list[str], stages: Callable[..., Stages]) -> None:
    made = stages({"t0/train": ["out of memory"]})
    assert reproduce.main(asked) == 0
    assert made.called == ["base/evaluate", "t0/train", "t0/train", "t0/evaluate", "mine/train", "mine/evaluate", "report"]


def test_a_cell_that_fails_twice_is_told_and_the_others_go_on(asked: list[str], stages: Callable[..., Stages]) -> None:
    made = stages({"t0/train": ["no room", "no room either"]})
    with pytest.raises(SelfInstructError) as failed:
        reproduce.main(asked)
    assert failed.value.message == "1 failed: t0/train: no room either"
    assert "what is finished stays" in str(failed.value.hint)
    assert made.called == ["base/evaluate", "t0/train", "t0/train", "mine/train", "mine/evaluate", "report"]
    assert rows()["t0"] == ("failed", "no room either")
    assert rows()["mine"] == ("measured", None)
    states = {cell["cell"]: (cell["state"], cell["why"]) for cell in matrix()["cells"]}
    assert states["t0/evaluate"] == ("not run", "t0/train failed")
    again = stages()
    assert reproduce.main(asked) == 0
    assert again.called == ["t0/train", "t0/evaluate", "report"]


def test_a_cell_of_another_config_is_not_tried_twice(asked: list[str], stages: Callable[..., Stages]) -> None:
    stages()
    reproduce.main(asked)
    made = stages({"t0/train": ["made with another config", "never asked"]})
    with pytest.raises(SelfInstructError, match="made with another config; or delete out/rows/t0/train and what was made of it"):
        reproduce.main([*asked, "--set", "train.epochs=3"])
    assert made.called == ["t0/train", "mine/train", "mine/evaluate", "report"]
    assert rows()["mine"] == ("measured", None)


def test_nothing_measured_is_an_error_without_a_report(asked: list[str], stages: Callable[..., Stages]) -> None:
    made = stages({name: ["bad", "bad"] for name in CELLS})
    with pytest.raises(SelfInstructError, match="no model was measured"):
        reproduce.main(asked)
    assert "report" not in made.called


@pytest.mark.parametrize("damage", ["changed", "gone"])
def test_a_damaged_product_is_told_and_not_made_again(asked: list[str], stages: Callable[..., Stages], damage: str) -> None:
    stages()
    reproduce.main(asked)
    product = Path("out/rows/t0/train/product")
    if damage == "changed":
        (product / "text").write_text("other")
    else:
        shutil.rmtree(product)
    made = stages()
    with pytest.raises(SelfInstructError, match="t0/train/product"):
        reproduce.main(asked)
    assert made.called == ["report"]
    assert rows()["t0"][0] == "failed"


@pytest.mark.parametrize(
    ("change", "run_again"),
    [
        (["--set", "train.epochs=3"], ["t0/train", "t0/evaluate", "mine/train", "mine/evaluate"]),
        (["--set", "evaluate.max_tokens=9"], ["base/evaluate", "t0/evaluate", "mine/evaluate"]),
        (["--set", "train.keep_checkpoints=1"], []),
    ],
)
def test_only_what_a_setting_shapes_is_asked_for_again(
    asked: list[str], stages: Callable[..., Stages], change: list[str], run_again: list[str]
) -> None:
    stages()
    reproduce.main(asked)
    made = stages()
    reproduce.main([*asked, *change])
    assert made.called == [*run_again, "report"]


def test_other_seeds_are_other_trainings(asked: list[str], stages: Callable[..., Stages]) -> None:
    from self_instruct.loading import shipped

    lines = shipped("seeds/seed_tasks.jsonl").read_text().splitlines(keepends=True)
    Path("seeds.jsonl").write_text("".join(lines[:100]))
    stages()
    reproduce.main([*asked, "--set", "generate.seeds=seeds.jsonl"])
    Path("seeds.jsonl").write_text("".join(lines[:99]))
    reproduce_cells._digest.cache_clear()
    made = stages()
    reproduce.main([*asked, "--set", "generate.seeds=seeds.jsonl"])
    assert "mine/train" in made.called


def test_other_data_are_other_cells(asked: list[str], stages: Callable[..., Stages]) -> None:
    stages()
    reproduce.main(asked)
    Path("rows.jsonl").write_text('{"prompt": "Two?", "completion": "four"}\n')
    reproduce_cells._digest.cache_clear()
    made = stages()
    reproduce.main(asked)
    assert made.called == ["mine/train", "mine/evaluate", "report"]


def test_the_judge_rates_before_the_report_and_its_failure_stops_nothing(asked: list[str], stages: Callable[..., Stages]) -> None:
    made = stages({"judge": ["no template"]})
    with pytest.raises(SelfInstructError, match="1 failed: judge: no template"):
        reproduce.main([*asked, "--set", "reproduce.judge=true"])
    assert made.called == [*CELLS, "judge", "report"]


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("data.t0=nowhere", "data.t0: nowhere: no such folder"),
        ("data.t0=.", "data.t0: .: no *.jsonl in it"),
        ("data.superni=t0", "data.superni: t0: no folder splits in it"),
    ],
)
def test_a_data_folder_of_the_wrong_layout_fails_its_rows_alone(
    asked: list[str], stages: Callable[..., Stages], setting: str, said: str
) -> None:
    Path("rows.jsonl").rename("rows.json")
    rest = [json.dumps([row for row in ROWS if row["name"] != "mine"] + [{"name": "superni", "data": ["superni"]}])]
    made = stages()
    with pytest.raises(SelfInstructError) as failed:
        reproduce.main([*asked, "--set", f"reproduce.rows={rest[0]}", "--set", setting])
    assert said in failed.value.message
    assert "base/evaluate" in made.called and "report" in made.called
    name = "t0" if "t0=" in setting else "superni"
    assert rows()[name] == ("failed", said)
    stages()
    alone = [*asked, "--set", f"reproduce.rows={rest[0]}", "--set", setting, "--set", "reproduce.only=[base]"]
    assert commandline.run(reproduce.main, alone) == (0 if name == "t0" else 2), "base is measured on SuperNI"


def test_a_row_that_fails_in_the_report_alone_is_told_too(asked: list[str], stages: Callable[..., Stages]) -> None:
    made = stages()
    made.failed_rows = {"t0": "its results can't be read"}
    with pytest.raises(SelfInstructError, match="1 failed: t0: its results can't be read"):
        reproduce.main(asked)


def test_a_start_that_is_killed_forgets_nothing(
    asked: list[str], stages: Callable[..., Stages], monkeypatch: pytest.MonkeyPatch
) -> None:
    stages({"mine/evaluate": ["no", "no"]})
    with pytest.raises(SelfInstructError):
        reproduce.main(asked)
    before = {cell["cell"]: cell["state"] for cell in matrix()["cells"]}

    def killed(words: Sequence[str]) -> str | None:
        raise KeyboardInterrupt

    monkeypatch.setattr(reproduce_cells, "run", killed)
    with pytest.raises(KeyboardInterrupt):
        reproduce.main(asked)
    after = {cell["cell"]: cell["state"] for cell in matrix()["cells"]}
    assert after == before | {"mine/evaluate": "not run"}


@pytest.mark.parametrize(
    "text", ["{", '{"status": "finished"}', '{"status": "finished", "outputs": {"a": {}}}', '{"status": "finished", "outputs": []}']
)
def test_a_damaged_manifest_fails_its_cell_alone(asked: list[str], stages: Callable[..., Stages], text: str) -> None:
    stages()
    reproduce.main(asked)
    Path("out/rows/t0/train/manifest.json").write_text(text)
    made = stages({"t0/train": ["its manifest is damaged"] * 2})
    with pytest.raises(SelfInstructError, match="t0/train"):
        reproduce.main(asked)
    assert rows()["mine"] == ("measured", None) and "report" in made.called


def test_lost_or_damaged_keys_are_found_again_by_the_stages(asked: list[str], stages: Callable[..., Stages]) -> None:
    stages()
    reproduce.main(asked)
    Path("out/cells.json").write_text("{")
    made = stages()
    assert reproduce.main(asked) == 0
    assert made.called == [*CELLS, "report"]


@pytest.mark.parametrize("place", ["out", "out/rows"])
def test_a_file_in_the_place_of_a_folder_is_refused(asked: list[str], stages: Callable[..., Stages], place: str) -> None:
    stages()
    Path(place).parent.mkdir(exist_ok=True)
    Path(place).write_text("mine")
    with pytest.raises(SelfInstructError, match="a file, not a folder"):
        reproduce.main(asked)


def test_a_row_that_was_asked_for_alone_and_cannot_be_run_is_an_error(asked: list[str], stages: Callable[..., Stages]) -> None:
    stages()
    with pytest.raises(SelfInstructError, match=r"no model was measured: absent: not run: reproduce\.encoder_decoder isn't set"):
        reproduce.main([*asked, "--set", "reproduce.only=[absent]"])
    reproduce.main(asked)
    with pytest.raises(SelfInstructError, match=r"nothing of reproduce\.only was run: absent"):
        reproduce.main([*asked, "--set", "reproduce.only=[absent]"])


def test_the_model_of_a_whole_training_is_its_runs_base(asked: list[str], stages: Callable[..., Stages]) -> None:
    stages()
    with pytest.raises(SelfInstructError, match="out/rows/t0/train/model"):  # the stand-in makes none
        reproduce.main([*asked, "--set", "train.method=full"])
    assert {row["contender"] for row in matrix()["rows"]} == {"base"}


def test_a_dry_run_tells_the_plan_and_writes_nothing(
    asked: list[str], stages: Callable[..., Stages], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    made = stages()
    before = {path for path in tmp_path.rglob("*") if "cache" not in path.parts}
    assert reproduce.main([*asked, "--dry-run"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert [cell["cell"] for cell in told["cells"]] == CELLS
    assert told["not_run"] == {"absent": "reproduce.encoder_decoder isn't set"}
    assert made.called == []
    assert {path for path in tmp_path.rglob("*") if "cache" not in path.parts} == before


def test_rows_that_are_left_out_are_not_run_and_not_forgotten(asked: list[str], stages: Callable[..., Stages]) -> None:
    made = stages()
    reproduce.main([*asked, "--set", "reproduce.only=[t0]"])
    assert made.called == ["t0/train", "t0/evaluate", "report"]
    assert rows()["t0"] == ("measured", None) and rows()["mine"] == ("not run", "left out by reproduce.only")
    made = stages()
    reproduce.main([*asked, "--set", "reproduce.only=[mine]"])
    assert made.called == ["mine/train", "mine/evaluate", "report"]
    assert rows()["t0"] == rows()["mine"] == ("measured", None)
    assert rows()["base"][0] == "not run"


def test_a_second_command_on_the_same_folder_is_refused(asked: list[str], stages: Callable[..., Stages]) -> None:
    stages()
    with rundir.locked(Path("out")), pytest.raises(SelfInstructError, match="another process is writing it"):
        reproduce.main(asked)


def test_without_a_run_folder_it_is_named_after_the_config() -> None:
    from self_instruct.loading import load

    assert reproduce.place(load(["configs/demo.yaml"])) == Path("runs/reproduce-demo")
    assert reproduce.place(load(["configs/demo.yaml"], out="x")) == Path("x")


# One cell's process.


def test_a_commands_last_error_is_what_went_wrong(capfd: pytest.CaptureFixture[str]) -> None:
    text = "import sys; [print(t, file=sys.stderr) for t in ('at work', 'error: no room', 'hint: make some')]; sys.exit(2)"
    assert reproduce_cells.run([sys.executable, "-c", text]) == "no room (make some)"
    assert "at work" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("body", "said"),
    [("pass", None), ("sys.exit(3)", "exit status 3"), ("os.kill(os.getpid(), 9)", "killed by SIGKILL (was memory short?)")],
)
def test_how_a_command_ended(body: str, said: str | None) -> None:
    assert reproduce_cells.run([sys.executable, "-c", f"import os, sys; {body}"]) == said


@pytest.mark.parametrize("body", ["sys.exit(130)", "sys.exit(143)", "os.kill(os.getpid(), 15)"])
def test_an_interrupted_command_interrupts_the_whole(body: str) -> None:
    with pytest.raises(KeyboardInterrupt):
        reproduce_cells.run([sys.executable, "-c", f"import os, sys; {body}"])


def test_the_status_that_a_launcher_hides_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    text = "import os, sys; open(os.environ['SELF_INSTRUCT_STATUS'], 'w').write('143'); sys.exit(1)"
    with pytest.raises(KeyboardInterrupt):
        reproduce_cells.run([sys.executable, "-c", text])


def test_a_stage_ends_with_its_parent(tmp_path: Path) -> None:
    told = tmp_path / "pid"
    child = f"import os, time; open({str(told)!r}, 'w').write(str(os.getpid())); time.sleep(60)"
    parent = f"import sys; from self_instruct import reproduce_cells; reproduce_cells.run([sys.executable, '-c', {child!r}])"
    process = subprocess.Popen([sys.executable, "-c", parent])
    until = time.monotonic() + 30
    while not (told.exists() and told.read_text()) and time.monotonic() < until:
        time.sleep(0.05)
    process.kill()
    process.wait()
    while (state := _state(int(told.read_text()))) not in (None, "Z") and time.monotonic() < until:
        time.sleep(0.05)
    assert state in (None, "Z")


def test_a_terminated_command_lets_its_stage_end_in_order(tmp_path: Path) -> None:
    told = tmp_path / "said"
    child = (
        "import signal, sys, time; signal.signal(signal.SIGTERM, lambda *_: (time.sleep(0.5), "
        f"open({str(told)!r}, 'a').write('ended'), sys.exit(143))); open({str(told)!r}, 'w').write('begun '); time.sleep(60)"
    )
    parent = (
        "import sys; from self_instruct import commandline, reproduce_cells\n"
        f"sys.exit(commandline.run(lambda argv: reproduce_cells.run([sys.executable, '-c', {child!r}]), []))"
    )
    process = subprocess.Popen([sys.executable, "-c", parent], stderr=subprocess.DEVNULL)
    until = time.monotonic() + 30
    while not (told.exists() and told.read_text()) and time.monotonic() < until:
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 143
    assert told.read_text() == "begun ended"


def _state(pid: int) -> str | None:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except OSError:
        return None


def test_what_a_cell_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reproduce_cells.hardware, "gpus", list)
    command = Command(configs=("configs/demo.yaml",), overrides=("run.seed=1",), out=Path("out"))
    told = {"train.data": ("a", "b"), "model.revision": None}
    words = [
        "--config",
        "configs/demo.yaml",
        "--set",
        "run.seed=1",
        "--set",
        'train.data=["a", "b"]',
        "--set",
        "model.revision=null",
    ]
    generate = Cell(row="x", stage="generate", after=(), overrides=told)
    assert reproduce_cells.launch(generate, command, None)[1:] == ["-m", "self_instruct", "generate", *words, "--out", "out/rows/x"]
    train = reproduce_cells.launch(Cell(row="x", stage="train", after=(), overrides={}), command, "configs/accelerate/ddp.yaml")
    assert train[1:5] == ["-m", "accelerate.commands.launch", "--quiet", "--config_file"]
    assert Path(train[5]).is_file(), "the one that ships, from any folder"
    assert Path(train[6]).name == "train" and (Path(train[6]) / "__main__.py").is_file()
    alone = reproduce_cells.launch(Cell(row="x", stage="train", after=(), overrides={}), command, None)
    assert "--num_processes" in alone


def test_superni_is_named_once_for_all_rows(asked: list[str], stages: Callable[..., Stages]) -> None:
    stages()
    with pytest.raises(ConfigError, match="is 'ni', and a comparison sets it"):
        reproduce.main([*asked, "--set", "evaluate.superni.folder=ni"])


def test_an_accelerate_config_that_is_not_there_is_told_before_anything_runs(
    asked: list[str], stages: Callable[..., Stages]
) -> None:
    made = stages()
    with pytest.raises(ConfigError, match=r"reproduce.accelerate: nofile.yaml: no such file"):
        reproduce.main([*asked, "--set", "reproduce.accelerate=nofile.yaml", "--dry-run"])
    assert made.called == []


def test_a_place_that_is_not_there_fails_its_row_before_its_turn(asked: list[str], stages: Callable[..., Stages]) -> None:
    rows_ = [{"name": "base"}, {"name": "away", "model": "./nowhere"}, {"name": "mine", "data": ["./nothing.jsonl"]}]
    made = stages()
    with pytest.raises(SelfInstructError) as failed:
        reproduce.main([*asked, "--set", f"reproduce.rows={json.dumps(rows_)}"])
    assert "away: ./nowhere: no such file or folder" in failed.value.message
    assert made.called == ["base/evaluate", "report"]
    assert {name: state for name, (state, _) in rows().items()} == {"base": "measured", "away": "failed", "mine": "failed"}


def test_the_exit_status_tells_of_failed_cells(
    asked: list[str], stages: Callable[..., Stages], capsys: pytest.CaptureFixture[str]
) -> None:
    stages({"t0/train": ["no", "no"]})
    assert commandline.run(reproduce.main, asked) == 2
    assert "error: 1 failed: t0/train: no" in capsys.readouterr().err
