"""The plots are PNG files that show what their alt text says."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import sample_runs
from self_instruct.evaluate import figures, report
from self_instruct.evaluate.corpus_statistics import lengths
from self_instruct.records import EvalItem
from self_instruct.settings import Settings


def half(name: str, item: EvalItem) -> str:
    """The tuned model is right in items 0 to 3, the base in item 4, both in item 5."""
    number = int(item.id.removeprefix("task_"))
    right = number == 5 or (number < 4) == (name != "base")
    return item.references[0] if right else "other"


def size(path: Path) -> tuple[int, int]:
    head = path.read_bytes()[:24]
    assert head.startswith(b"\x89PNG\r\n\x1a\n")
    width, height = struct.unpack(">II", head[16:24])
    return width, height


@pytest.mark.parametrize("count", [1, 6, figures.LABELLED_ITEMS + 1])
def test_items(count: int, tmp_path: Path) -> None:
    results = sample_runs.results(count, half)
    plot = figures.draw_items(tmp_path, results.scores["base"], results.scores["tuned"])
    assert plot.file == "items-tuned.png"
    assert f"each of {count} items" in plot.alt
    if count == 6:
        assert plot.alt.endswith("4 higher, 1 lower.")
    width, height = size(tmp_path / plot.file)
    assert 600 < width < 2000 and 200 < height < 2000


def test_a_model_name_is_made_a_safe_file_name(tmp_path: Path) -> None:
    results = sample_runs.results(2, models=["base", "my lora/é(1)$x$"])
    plot = figures.draw_items(tmp_path, results.scores["base"], results.scores["my lora/é(1)$x$"])
    assert plot.file == "items-my-lora---1--x-.png"
    assert (tmp_path / plot.file).is_file()


@pytest.mark.parametrize("texts", [["a"], ["a b"] * 500 + ["w " * 4000], ["w " * n for n in range(1, 90)]])
def test_lengths(texts: list[str], tmp_path: Path) -> None:
    plot = figures.draw_lengths(tmp_path, [lengths("instruction", texts), lengths("output", texts)])
    size(tmp_path / plot.file)
    mean = sum(len(text.split()) for text in texts) / len(texts)
    assert (
        plot.alt == f"Histograms of lengths in words. Means: instruction {mean:.1f} (paper 15.9), output {mean:.1f} (paper 18.9)."
    )


@pytest.mark.parametrize("steps", [1, 2, 200])
def test_loss(steps: int, tmp_path: Path) -> None:
    plot = figures.draw_loss(tmp_path, [(n, 3 - n / 1000) for n in range(1, steps + 1)])
    size(tmp_path / plot.file)
    assert f"over {steps} logged steps, from 3.00 at first to {3 - steps / 1000:.2f}" in plot.alt


def test_the_same_data_give_the_same_bytes(tmp_path: Path) -> None:
    def draw() -> bytes:
        return (tmp_path / figures.draw_loss(tmp_path, [(1, 2.0), (2, 1.0)]).file).read_bytes()

    assert draw() == draw()


def test_the_styles_of_others_are_left_alone(tmp_path: Path) -> None:
    from matplotlib import rcParams

    before = dict(rcParams)
    figures.draw_loss(tmp_path, [(1, 2.0)])
    assert dict(rcParams) == before


def test_a_report_shows_every_plot_there_are_data_for(tmp_path: Path) -> None:
    sample_runs.generated(tmp_path)
    sample_runs.trained(tmp_path)
    (tmp_path / "evaluate").mkdir()
    model = {"reference": "tiny", "source": "local", "fingerprint": "f00d", "architecture": "A"}
    results = sample_runs.results(6, half, models=["base", "tuned", "lora"])
    write: Callable[..., Any] = report.write
    place = write(tmp_path / "evaluate", Settings(), sample_runs.manifest("evaluate"), model, results)
    shown = [line for line in place.read_text(encoding="utf-8").splitlines() if line.startswith("![")]
    files = [line.rsplit("(", 1)[1].rstrip(")") for line in shown]
    assert files == ["items-tuned.png", "items-lora.png", "lengths.png", "loss.png"]
    assert sorted(path.name for path in place.parent.glob("*.png")) == sorted(files)
    assert all(len(line.split("](")[0]) > 40 for line in shown)  # alt texts
