"""Trackers: refused in one line, started with the settings, given numbers only, and never the end of a training."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, ClassVar

import pytest
from accelerate import tracking

from self_instruct import runlog
from self_instruct.errors import ConfigError
from self_instruct.train import trackers


class Fake:
    """A tracker that keeps what it is told."""

    name = "fake"
    requires_logging_directory = True
    made: ClassVar[list[Fake]] = []

    def __init__(self, run_name: str, logging_dir: str) -> None:
        self.told: list[Any] = [(run_name, logging_dir)]
        self.made.append(self)

    def start(self) -> None:
        self.told.append("started")

    def store_init_configuration(self, values: dict[str, Any]) -> None:
        self.told.append(values)

    def log(self, values: dict[str, Any], step: int) -> None:
        if values.get("loss") == 0:
            raise OSError("its server is gone")
        self.told.append((step, values))

    def finish(self) -> None:
        self.told.append("finished")


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> type[Fake]:
    monkeypatch.setitem(tracking.LOGGER_TYPE_TO_CLASS, "fake", Fake)
    monkeypatch.setattr(Fake, "made", [])
    return Fake


def test_a_tracker_gets_settings_and_numbers(fake: type[Fake], tmp_path: Path) -> None:
    opened = trackers.Trackers(["fake", "fake"], tmp_path, {"train.epochs": 2, "train.log_with": ["fake"], "train.data": None})
    opened.log(3, {"loss": 1.5, "epoch": 1, "form": "x", "last": True})
    opened.close()
    opened.close()
    (made,) = fake.made
    assert made.told == [
        ("self-instruct", str(tmp_path)),
        "started",
        {"train.epochs": 2, "train.log_with": json.dumps(["fake"]), "train.data": "null"},
        (3, {"loss": 1.5, "epoch": 1}),
        "finished",
    ]


def test_a_tracker_that_fails_is_left_out_and_the_training_goes_on(
    fake: type[Fake], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    monkeypatch.setattr(runlog.log, "warning", lambda text, *values: said.append(text % values))
    opened = trackers.Trackers(["fake"], tmp_path, {})
    for step, loss in enumerate((2.0, 0.0, 1.0)):
        opened.log(step, {"loss": loss})
    assert said == ["train.log_with: fake fails and gets no more, metrics.jsonl has it all: its server is gone"]
    assert [one for one in fake.made[0].told if isinstance(one, tuple)][1:] == [(0, {"loss": 2.0})]


def test_an_unknown_tracker_names_the_known() -> None:
    with pytest.raises(ConfigError, match=r"train\.log_with: no tracker 'tensorbord'") as caught:
        trackers.check(["tensorbord"])
    assert "mlflow, swanlab, tensorboard" in str(caught.value.hint)


@pytest.mark.parametrize(("name", "package"), [("wandb", "wandb"), ("comet_ml", "comet-ml")])
def test_one_that_is_not_installed_names_its_package(monkeypatch: pytest.MonkeyPatch, name: str, package: str) -> None:
    monkeypatch.setattr(tracking, "_available_trackers", [])
    with pytest.raises(ConfigError, match=f"{name}: its package {package} isn't installed") as caught:
        trackers.check([name])
    assert caught.value.hint == f"install it: pip install {package}"


def test_one_that_does_not_start_is_one_line_and_the_others_are_closed(
    fake: type[Fake], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Locked(Fake):
        name = "locked"

        def start(self) -> None:
            raise RuntimeError("no account\ntraceback")

    monkeypatch.setitem(tracking.LOGGER_TYPE_TO_CLASS, "locked", Locked)
    with pytest.raises(ConfigError, match=r"train\.log_with: locked doesn't start: no account$"):
        trackers.Trackers(["fake", "locked"], tmp_path, {})
    assert fake.made[0].told[-1] == "finished"


def test_none_asked_for_is_nothing_done(tmp_path: Path) -> None:
    opened = trackers.Trackers([], tmp_path, {"run.seed": 1})
    opened.log(1, {"loss": 1.0})
    opened.close()
    assert list(tmp_path.iterdir()) == []
