"""The loss curve of a training as a PNG file.

Knows nothing of how the numbers came about: it draws lines of `metrics.jsonl`. Needs matplotlib (extra `report`).
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from self_instruct.runlog import log

WINDOWS = 20  # the smoothed line is a mean over a 20th of the steps (ours)
BLUE, ORANGE = "#0072B2", "#D55E00"  # of Okabe and Ito's palette, which colour-blind readers can tell apart
STYLE: dict[str, Any] = {
    "figure.dpi": 144,
    "font.size": 10,
    "axes.titlesize": 11,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#E4E4E4",
    "legend.frameon": False,
}


def write(place: Path, lines: Iterable[Mapping[str, Any]]) -> bool:
    """Draw the losses, nats a token, by optimizer step; returns whether there was something to draw, and matplotlib.

    A line with `loss` is a step, weighted by its `completion_tokens` in the smoothed line; one with `held_out_loss` is a
    measurement after `step` steps. Of two lines of one step, which a continued training leaves, the later counts.
    The same lines give the same bytes.
    """
    lines = list(lines)
    steps = {line["step"]: line for line in lines if "loss" in line}
    held_out = {line["step"]: line["held_out_loss"] for line in lines if "held_out_loss" in line}
    if not steps:
        return False
    if importlib.util.find_spec("matplotlib") is None:
        log.info("no loss curve: matplotlib isn't installed (pip install 'self-instruct[report]')")
        return False
    _draw(place, [steps[step] for step in sorted(steps)], sorted(held_out.items()))
    return True


def smooth(losses: Sequence[float], tokens: Sequence[int], window: int) -> list[float]:
    """The mean loss a token over the last `window` steps, fewer at the start."""
    means = []
    for end in range(1, len(losses) + 1):
        part = slice(max(0, end - window), end)
        weights = tokens[part]
        means.append(sum(loss * weight for loss, weight in zip(losses[part], weights, strict=True)) / sum(weights))
    return means


def _draw(place: Path, steps: Sequence[Mapping[str, Any]], held_out: Sequence[tuple[int, float]]) -> None:
    from matplotlib import rc_context
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    numbers, losses = [line["step"] for line in steps], [line["loss"] for line in steps]
    window = max(1, len(steps) // WINDOWS)
    with rc_context(STYLE):
        figure = Figure(figsize=(7.2, 3.6), layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.subplots()
        many = window > 1
        axes.plot(numbers, losses, color=BLUE, lw=0.8 if many else 1.5, alpha=0.4 if many else 1, label="training, each step")
        if many:
            means = smooth(losses, [line["completion_tokens"] for line in steps], window)
            axes.plot(numbers, means, color=BLUE, lw=2, label=f"training, mean of the last {window} steps")
        if held_out:
            axes.plot(*zip(*held_out, strict=True), color=ORANGE, lw=0, marker="D", label="held out")
        axes.set(xlabel="optimizer step", ylabel="loss (nats a token)", title="Loss")
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.legend()
        figure.savefig(place, metadata={"Software": None})  # the version would change the bytes
