"""What a comparison is predicted to take: the arithmetic, and the figures that the shipped configs quote."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from self_instruct import reproduce, reproduce_cells, reproduce_plan, reproduce_predict, rundir
from self_instruct.errors import ConfigError
from self_instruct.loading import load, shipped
from self_instruct.reproduce_cells import Command
from self_instruct.reproduce_predict import Machine, machine, parameters, predict
from self_instruct.settings import Settings

CPU = Machine(name="2 CPU cores", gpus=0, cores=2)
H100 = machine("1 x H100")


def settings(*overrides: str) -> Settings:
    return load(overrides=["model.name=embedded", *overrides]).settings


def seconds(stage: Any, on: Machine, *overrides: str) -> float:
    told = predict(stage, settings(*overrides), on)
    assert told is not None
    return told.seconds


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("Qwen/Qwen3-1.7B-Base", 1.7e9), ("Qwen/Qwen3-8B", 8e9), ("google/t5-xl-lm-adapt", 2.85e9), ("google/t5-v1_1-xxl", 11.1e9),
        ("some/model-360M", 360e6), ("embedded", 134.5e6), ("some/model", None), ("some/v2.5beta", None),
    ],
)  # fmt: skip
def test_parameters_by_name(name: str, size: float | None) -> None:
    assert parameters(name) == (None if size is None else pytest.approx(size))


def test_parameters_of_a_local_model_by_its_weights(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"x" * 1000)
    assert parameters(str(tmp_path)) == 500


def test_a_known_gpu_is_found_by_count_and_name() -> None:
    assert (machine("8 x H100").gpus, machine("H100").gpus, machine("1 x RTX 4090").name) == (8, 1, "1 x RTX 4090")


@pytest.mark.parametrize(
    ("wanted", "hint"), [("2 x H1000", "did you mean '2 x H100'?"), ("0 x H100", "H100"), ("abacus", "known: ")]
)
def test_another_gpu_is_refused_with_the_known_ones(wanted: str, hint: str) -> None:
    with pytest.raises(ConfigError) as refused:
        machine(wanted)
    assert hint in str(refused.value.hint)


@pytest.mark.parametrize("stage", ["generate", "train", "evaluate"])
@pytest.mark.parametrize("on", [CPU, H100])
def test_more_work_a_larger_model_and_a_slower_machine_take_longer(stage: Any, on: Machine) -> None:
    more = {"generate": "generate.target_instructions=100000", "train": "train.epochs=4", "evaluate": "evaluate.max_tokens=2048"}
    assert seconds(stage, on, more[stage]) > seconds(stage, on)
    assert seconds(stage, on, "model.name=some/1B") > seconds(stage, on)
    slower = replace(on, cores=1, flops=on.flops / 2, traffic=on.traffic / 2)
    assert seconds(stage, slower) > seconds(stage, on)


def test_an_adapter_costs_and_superni_counts() -> None:
    assert seconds("evaluate", CPU, "evaluate.adapters=[]") < seconds("evaluate", CPU)
    assert seconds("evaluate", CPU, "evaluate.superni.folder=x") > seconds("evaluate", CPU)


def test_a_size_trains_less_than_all() -> None:
    data = "train.data=out/rows/own/generate/corpus"
    assert seconds("train", CPU, data, "train.instructions=800") < seconds("train", CPU, data)


def test_several_gpus_train_together() -> None:
    data = "train.data=rows.jsonl"
    one, eight = seconds("train", H100, data), seconds("train", machine("8 x H100"), data)
    assert 60 < eight < one


def test_what_cannot_be_known_is_not_told() -> None:
    assert predict("train", settings("model.name=some/model"), CPU) is None
    assert predict("train", settings(), Machine(name="another GPU", gpus=1)) is None


# The plan.


def planned(command: Command, *overrides: str, known: Mapping[str, str] | None = None) -> tuple[reproduce_plan.Planned, ...]:
    command = replace(command, overrides=(*command.overrides, *overrides))
    loaded = load(command.configs, command.overrides)
    matrix = reproduce.matrix_of(loaded.settings, command.out, {})
    return reproduce_plan.plan(matrix, command, loaded.settings, known or {})


def test_what_was_measured_here_corrects_what_is_predicted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reproduce_predict.hardware, "gpus", list)
    rows = json.dumps([{"name": "base"}, {"name": "chat", "prompt": "chat"}, {"name": "seeds", "data": ["seeds"]}])
    command = Command(configs=(), overrides=("model.name=embedded", f"reproduce.rows={rows}"), out=tmp_path)
    before = {one.cell.name: one for one in planned(command)}
    stage = tmp_path / "rows" / "base" / "evaluate"
    stage.mkdir(parents=True)
    taken = 3 * (before["base/evaluate"].seconds or 0)
    rundir.write_json(stage / "manifest.json", {"status": "finished", "seconds": taken})
    cell = next(
        cell for cell in reproduce.matrix_of(load((), command.overrides).settings, tmp_path, {}).cells if cell.row == "base"
    )
    assert not next(one for one in planned(command) if one.cell == cell).finished, "nobody knows what it was made of"
    known = {cell.name: reproduce_cells.key(cell, command, {})}
    after = {one.cell.name: one for one in planned(command, known=known)}
    assert (after["base/evaluate"].finished, after["base/evaluate"].seconds) == (True, taken)
    assert after["chat/evaluate"].seconds == pytest.approx(3 * (before["chat/evaluate"].seconds or 0))
    assert after["seeds/train"].seconds == before["seeds/train"].seconds
    elsewhere = {one.cell.name: one for one in planned(command, "reproduce.hardware=1 x H100", known=known)}
    assert elsewhere["base/evaluate"].seconds == taken
    assert not next(one for one in planned(command, "evaluate.max_tokens=7", known=known) if one.cell.row == "base").finished
    lines = reproduce_plan.describe(
        reproduce.matrix_of(load(command.configs, command.overrides).settings, tmp_path, {}), tuple(after.values()), command, "x"
    )
    assert "took " in lines[1] and "finished" in lines[1]
    assert lines[-1].startswith("to come: about ") and lines[-1].endswith("on x: an estimate")


@pytest.mark.parametrize(("value", "said"), [(None, "?"), (7.4, "7 s"), (400, "7 min"), (9000, "2.5 h")])
def test_durations_are_short(value: float | None, said: str) -> None:
    assert reproduce_plan.duration(value) == said


@pytest.mark.parametrize(("name", "on"), [("one-24gb", "1 x RTX 4090"), ("one-80gb", "1 x H100"), ("eight-80gb", "8 x H100")])
def test_the_configs_quote_what_is_predicted(name: str, on: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    config = f"configs/reproduce/{name}.yaml"
    overrides = (f"reproduce.hardware={on}", "data.superni=clone", "data.t0=folder")
    command = Command(configs=(config,), overrides=overrides, out=tmp_path)
    monkeypatch.setattr(reproduce_plan, "_tasks", lambda _: reproduce_predict.SUPERNI_TASKS)
    found = planned(command)
    assert all(one.seconds is not None for one in found)
    hours = {
        stage: sum(one.seconds or 0 for one in found if one.cell.stage == stage) / 3600
        for stage in ("generate", "train", "evaluate")
    }
    disk = sum(one.disk or 0 for one in found) / 1e9
    told = ", ".join(f"{stage} {value:.1f} h" for stage, value in hours.items())
    line = f"# Predicted for {on}: {told}; {sum(hours.values()):.1f} h in all, {disk:.0f} GB on the disk beside the models."
    assert line in shipped(config).read_text(encoding="utf-8").splitlines(), line


def test_the_demos_plan_fits_its_promise(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(reproduce_plan.reproduce_predict, "machine", lambda _: CPU)
    monkeypatch.setattr(reproduce_plan, "_tasks", lambda _: 20)
    command = Command(configs=("configs/reproduce/demo.yaml",), overrides=("data.superni=clone", "data.t0=folder"), out=tmp_path)
    assert sum(one.seconds or 0 for one in planned(command)) <= 45 * 60
    assert reproduce_cells.finished(tmp_path) is False
