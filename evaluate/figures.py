"""The report's plots as PNG files: loss, lengths, ROUGE-L by item.

Knows nothing of the report's text. Needs matplotlib (extra `report`), imported late; `available` tells. Colours
are from Okabe and Ito's palette, which colour-blind readers can tell apart; shapes differ as well.
"""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from self_instruct.evaluate.corpus_statistics import PAPER_MEAN_WORDS, Lengths
from self_instruct.records import Score

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BLUE, ORANGE, GREY, INK = "#0072B2", "#D55E00", "#9A9A9A", "#222222"
LABELLED_ITEMS = 40  # more names than this on an axis can't be read
BINS = 24
STYLE: dict[str, Any] = {
    "figure.dpi": 144,
    "figure.facecolor": "white",
    "font.size": 10,
    "axes.titlesize": 11,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": INK,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#E4E4E4",
    "legend.frameon": False,
    "text.parse_math": False,
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Plot:
    """A PNG in the report folder; `alt` says in words what it shows."""

    file: str
    title: str
    alt: str


def available() -> bool:
    """Whether matplotlib is installed."""
    return importlib.util.find_spec("matplotlib") is not None


def draw_loss(folder: Path, curve: Sequence[tuple[int, float]]) -> Plot:
    """`loss.png`: the training loss by optimizer step, (step, nats per completion token), at least one point."""
    with _Canvas(folder / "loss.png", (7.2, 3.6)) as figure:
        axes = figure.subplots()
        steps, losses = [step for step, _ in curve], [loss for _, loss in curve]
        window = max(1, len(curve) // 20)
        many = window > 1
        axes.plot(steps, losses, color=BLUE, lw=1, alpha=0.35 if many else 1, marker="" if many else "o", label="each step")
        if many:
            means = [sum(losses[max(0, i - window + 1) : i + 1]) / min(i + 1, window) for i in range(len(losses))]
            axes.plot(steps, means, color=BLUE, lw=2, label=f"mean of the last {window} steps")
            axes.legend()
        axes.set(xlabel="optimizer step", ylabel="loss (nats per completion token)", title="Training loss")
        axes.xaxis.get_major_locator().set_params(integer=True)
    first, last = losses[0], losses[-1]
    return Plot(
        file="loss.png",
        title="Training loss",
        alt=f"Line plot of the training loss over {len(curve)} logged steps, from {first:.2f} at first to {last:.2f} at the end.",
    )


def draw_lengths(folder: Path, found: Sequence[Lengths]) -> Plot:
    """`lengths.png`: a histogram of lengths in words for each kind of text, with our mean and the paper's."""
    with _Canvas(folder / "lengths.png", (10.5, 3.6)) as figure:
        for axes, one in zip(figure.subplots(1, len(found), squeeze=False)[0], found, strict=True):
            _histogram(axes, one)
        figure.axes[0].set_ylabel("texts")
        lines = figure.axes[0].get_legend_handles_labels()
        figure.legend(*lines, loc="outside lower center", ncols=len(lines[0]))
    means = ", ".join(f"{one.what} {one.mean:.1f} (paper {PAPER_MEAN_WORDS[one.what]})" for one in found)
    return Plot(file="lengths.png", title="Lengths", alt=f"Histograms of lengths in words. Means: {means}.")


def _histogram(axes: Axes, one: Lengths) -> None:
    most = one.counts[int(0.99 * (len(one.counts) - 1))]  # a few giants would flatten everything else
    top = max(most, math.ceil(PAPER_MEAN_WORDS[one.what]) + 1)
    width = max(1, -(-(top + 1) // BINS))
    over = sum(count > top for count in one.counts)
    edges = range(0, top + width + 1, width)
    axes.hist([min(count, top) for count in one.counts], bins=list(edges), color=BLUE, alpha=0.75, edgecolor="white", lw=0.5)
    axes.axvline(one.mean, color=INK, lw=1.8, label="our mean")
    axes.axvline(PAPER_MEAN_WORDS[one.what], color=ORANGE, lw=1.8, ls="--", label="the paper's mean")
    note = f", {over} beyond {top} in the last bar" if over else ""
    axes.set(xlabel=f"words{note}", title=f"{one.what}, {one.texts:,} texts", xlim=(0, edges[-1]))
    axes.yaxis.get_major_locator().set_params(integer=True)


def draw_items(folder: Path, base: Sequence[Score], model: Sequence[Score]) -> Plot:
    """`items-MODEL.png`: base and tuned ROUGE-L of every item, joined by a line, sorted by the difference."""
    name = model[0].model
    given = zip(reversed(base), reversed(model), strict=True)  # so that among equals the first item is on top
    pairs = sorted(given, key=lambda pair: pair[1].rouge_l - pair[0].rouge_l)
    count = len(pairs)
    named = count <= LABELLED_ITEMS
    with _Canvas(folder / f"items-{_slug(name)}.png", (7.2, 1.6 + (0.24 * count if named else 6.5))) as figure:
        axes = figure.subplots()
        rows = range(count)
        before, after = [100 * b.rouge_l for b, _ in pairs], [100 * m.rouge_l for _, m in pairs]
        axes.hlines(rows, before, after, color=GREY, lw=1.4 if named else 0.7, zorder=1)
        size = 26 if named else 7  # the ring is larger, so that it is seen around a diamond in the same place
        ring = {"facecolor": "white", "edgecolor": ORANGE, "lw": 1.6 if named else 0.9}
        axes.scatter(before, rows, s=3.4 * size, marker="o", **ring, zorder=2, label=base[0].model)
        axes.scatter(after, rows, s=size, marker="D", color=BLUE, lw=0, zorder=3, label=name)
        axes.set_yticks(list(rows) if named else [], [b.item_id for b, _ in pairs] if named else [], fontsize=8)
        axes.set(xlabel="ROUGE-L F1 (0 to 100)", title=f"{count} items, largest gain of {name} on top", ylim=(-0.8, count - 0.2))
        axes.set_xlim(-2, None)
        axes.set_ylabel("" if named else "items")
        axes.grid(axis="y", visible=False)
        figure.legend(loc="outside lower center", ncols=2)
    gained = sum(m.rouge_l > b.rouge_l for b, m in pairs)
    lost = sum(m.rouge_l < b.rouge_l for b, m in pairs)
    return Plot(
        file=f"items-{_slug(name)}.png",
        title=f"ROUGE-L by item, {name}",
        alt=f"Dot plot of the ROUGE-L of base and {name} on each of {count} items: {gained} higher, {lost} lower.",
    )


def _slug(name: str) -> str:
    return "".join(letter if (letter.isalnum() and letter.isascii()) or letter in "-_" else "-" for letter in name)


class _Canvas:
    """A figure of `inches` (width, height) that is saved to `path` at the end, without a display or shared state."""

    def __init__(self, path: Path, inches: tuple[float, float]) -> None:
        from matplotlib import rc_context

        self._path, self._inches, self._style = path, inches, rc_context(STYLE)

    def __enter__(self) -> Figure:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        self._style.__enter__()
        self._figure = Figure(figsize=self._inches, layout="constrained")
        FigureCanvasAgg(self._figure)
        return self._figure

    def __exit__(self, *error: Any) -> None:
        try:
            if error[0] is None:
                self._figure.savefig(self._path, metadata={"Software": None})  # the version would change the bytes
        finally:
            self._style.__exit__(*error)
