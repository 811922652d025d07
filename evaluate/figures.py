"""The report's plots, each one SVG text: here those of results (differences, categories, tasks, training loss).

Knows nothing of the report's text. Those about the data are in `figures_data`, colours and the sheet in `drawing`; what
others need of them has its name here too. Needs matplotlib (extra `report`), imported late; `available` tells. Names are cut
where they are long, and whole in the alternative text.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from self_instruct.evaluate.document import Figure
from self_instruct.evaluate.drawing import (
    GRID,
    INK,
    MUTED,
    PAPER,
    SERIES,
    SMALL,
    Key,
    Sheet,
    available,
    room,
    shortened,
    slug,
    themed,
)
from self_instruct.evaluate.figures_data import data_size, lengths, nearest_seed, ratings, sunburst
from self_instruct.evaluate.intervals import Estimate

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = [
    "available",
    "data_size",
    "differences",
    "groups",
    "lengths",
    "loss",
    "nearest_seed",
    "ratings",
    "sunburst",
    "tasks",
    "themed",
]

MARKERS = "oDs^vPX"  # another count than SERIES, so that many models differ in the pair
LABELLED_TASKS = 40  # more names than this on an axis can't be read
NAMED_EXTREMES = 3


def differences(
    rows: Sequence[tuple[str, Estimate]], *, name: str = "differences", caption: str = "Differences from the base"
) -> Figure:
    """Every model's difference from the base in points, with its interval and a line at zero."""
    kinds = {
        "better": {"marker": "^", "color": SERIES[0], "mfc": SERIES[0]},
        "worse": {"marker": "v", "color": SERIES[1], "mfc": SERIES[1]},
        "undecided": {"marker": "o", "color": MUTED, "mfc": PAPER},
    }
    found = [_verdict(one) for _, one in rows]
    keys = [Key(kind, {**style, "ls": "-", "ms": 8}) for kind, style in kinds.items() if kind in found]
    with Sheet(plot=0.34 * len(rows) + 0.2, left=room([label for label, _ in rows]), right=1.75, keys=keys) as sheet:
        axes = sheet.axes
        axes.axvline(0, color=INK, lw=1.2)
        for row, ((_, one), kind) in enumerate(zip(rows, found, strict=True)):
            _spans(axes, [one], [row], kinds[kind]["color"])
            axes.plot([one.value], [row], ms=8, mew=1.6, **kinds[kind])
            _beside(axes, row, _said(one, "+"))
        _name_rows(axes, [label for label, _ in rows])
        axes.set_xlabel("difference in points")
    return Figure(
        name=slug(name),
        caption=f"{caption}, with 95 % intervals. Undecided: the interval includes zero, or there is none.",
        alt=f"{caption}: "
        + "; ".join(f"{label} {_said(one, '+')}, {kind}" for (label, one), kind in zip(rows, found, strict=True))
        + ".",
        svg=sheet.svg,
    )


def groups(rows: Sequence[tuple[str, int, Mapping[str, Estimate]]], *, name: str = "groups") -> Figure:
    """Every category's ROUGE-L by model, in points, (category, tasks, value by model); sorted by the last model's gain."""
    names = list(rows[0][2])

    def gain(row: tuple[str, int, Mapping[str, Estimate]]) -> float:
        return row[2][names[-1]].value - (row[2][names[0]].value if len(names) > 1 else 0)

    rows = sorted(rows, key=gain, reverse=True)
    labels = [f"{group} ({tasks})" for group, tasks, _ in rows]
    keys = [Key(one, {"ms": 6, "ls": "-", **_series(place)}) for place, one in enumerate(names)]
    step = min(0.2, 0.8 / len(names))  # of a row's height, between two models
    with Sheet(plot=len(rows) * (0.14 + 0.15 * len(names)) + 0.15, left=room(labels), keys=keys) as sheet:
        axes = sheet.axes
        for place, one in enumerate(names):
            at = [row + (place - (len(names) - 1) / 2) * step for row in range(len(rows))]
            values = [row[2][one] for row in rows]
            _spans(axes, values, at, SERIES[place % len(SERIES)])
            axes.plot([value.value for value in values], at, ls="", ms=6, **_series(place))
        _name_rows(axes, labels)
        axes.hlines([row + 0.5 for row in range(len(rows) - 1)], *(0, 1), color=GRID, lw=0.8, transform=axes.get_yaxis_transform())
        axes.set_xlabel("ROUGE-L (points)")
    told = f"{rows[0][0]} ({gain(rows[0]):+.1f}) to {rows[-1][0]} ({gain(rows[-1]):+.1f})"
    gained = f"; {names[-1]} minus {names[0]} from {told}" if len(names) > 1 else ""
    return Figure(
        name=slug(name),
        caption="ROUGE-L by category with 95 % intervals; in brackets the number of tasks"
        + (f"; largest gain of {names[-1]} on top." if len(names) > 1 else "."),
        alt=f"Dot plot of ROUGE-L of {', '.join(names)} in {len(rows)} categories{gained}.",
        svg=sheet.svg,
    )


def tasks(base: str, model: str, rows: Sequence[tuple[str, float, float]], *, name: str = "tasks", unit: str = "tasks") -> Figure:
    """ROUGE-L of two models on each task (or item), (name, base's, model's) in points, joined by a line, sorted by the gain."""
    rows = sorted(rows, key=lambda row: row[2] - row[1], reverse=True)
    count, all_named = len(rows), len(rows) <= LABELLED_TASKS
    shown = list(range(count)) if all_named else [*range(NAMED_EXTREMES), *range(count - NAMED_EXTREMES, count)]
    size = 1.0 if all_named else 0.62
    keys = [
        Key(base, {"marker": "o", "ms": 8, "color": SERIES[0], "mfc": PAPER}),
        Key(model, {"marker": "D", "ms": 5, "color": SERIES[1]}),
    ]
    plot = 0.22 * count + 0.3 if all_named else 6.5
    with Sheet(plot=plot, left=room([rows[row][0] for row in shown]), keys=keys) as sheet:
        axes, places = sheet.axes, range(count)
        axes.hlines(places, [row[1] for row in rows], [row[2] for row in rows], color=MUTED, lw=1.4 * size, alpha=0.6)
        # The ring is larger, so that it is seen around a diamond in the same place.
        axes.plot([row[1] for row in rows], places, ls="", marker="o", ms=8 * size, mew=1.6 * size, mfc=PAPER, mec=SERIES[0])
        axes.plot([row[2] for row in rows], places, ls="", marker="D", ms=5 * size, mew=0, color=SERIES[1])
        _name_rows(axes, [row[0] for row in rows] if all_named else [])
        if not all_named:
            axes.set_ylim(count - 0.2, -0.8)
            _name_extremes(axes, [row[0] for row in rows], 0.17 * count / plot)
        axes.set_xlim(left=-2)
        axes.set_xlabel("ROUGE-L (points)")
    higher, lower = sum(row[2] > row[1] for row in rows), sum(row[2] < row[1] for row in rows)
    best, worst = rows[0], rows[-1]
    return Figure(
        name=slug(name),
        caption=f"ROUGE-L of {base} and {model} on each of {count} {unit}, largest gain on top"
        + ("." if all_named else f"; the first and the last {NAMED_EXTREMES} are named."),
        alt=f"Dot plot of the ROUGE-L of {base} and {model} on each of {count} {unit}: {higher} higher, {lower} lower; from "
        f"{best[0]} ({best[2] - best[1]:+.1f}) to {worst[0]} ({worst[2] - worst[1]:+.1f}).",
        svg=sheet.svg,
    )


def loss(curve: Sequence[tuple[int, float]], held_out: Sequence[float] = (), *, name: str = "loss") -> Figure:
    """Training loss by optimizer step, (step, nats per completion token), and after each epoch the loss held out.

    Epochs are drawn equally long: the last point of `held_out` stands at the last step.
    """
    steps, losses = [step for step, _ in curve], [value for _, value in curve]
    window = max(1, len(curve) // 20)
    smooth = [sum(losses[max(0, at - window + 1) : at + 1]) / min(at + 1, window) for at in range(len(losses))]
    raw: dict[str, Any] = {"color": SERIES[0], "lw": 1, "alpha": 0.45, "marker": "" if window > 1 else "o", "ms": 4}
    mean, held = {"color": SERIES[0], "lw": 2}, {"color": SERIES[1], "ls": "--", "marker": "D", "ms": 6}
    keys = [Key("each step", {"ls": "-", **raw})]
    keys += [Key(f"mean of {window} steps", {"ls": "-", **mean})] if window > 1 else []
    keys += [Key("held out", held)] if held_out else []
    with Sheet(plot=2.7, left=0.75, keys=keys) as sheet:
        axes = sheet.axes
        axes.plot(steps, losses, **raw)
        if window > 1:
            axes.plot(steps, smooth, **mean)
        if held_out:
            axes.plot([steps[-1] * epoch / len(held_out) for epoch in range(1, len(held_out) + 1)], held_out, **held)
        axes.set(xlabel="optimizer step", ylabel="nats per completion token")
        axes.xaxis.get_major_locator().set_params(integer=True)
    told = f"; held out {', '.join(f'{value:.2f}' for value in held_out)} after each epoch" if held_out else ""
    return Figure(
        name=slug(name),
        caption="Training loss by optimizer step" + (", and the loss on held-out examples after each epoch." if held_out else "."),
        alt=f"Line plot of the training loss over {len(curve)} logged steps, single steps from {losses[0]:.2f} at first to "
        f"{losses[-1]:.2f} at the end{told}.",
        svg=sheet.svg,
    )


def _spans(axes: Axes, estimates: Sequence[Estimate], rows: Sequence[float], colour: str) -> None:
    """Intervals as horizontal lines, for those that have one."""
    known = [(row, one.low, one.high) for row, one in zip(rows, estimates, strict=True) if one.low is not None]
    axes.hlines([row for row, _, _ in known], [low for _, low, _ in known], [high for _, _, high in known], color=colour, lw=1.8)


def _name_rows(axes: Axes, labels: Sequence[str]) -> None:
    """Names at the left, the first on top; no lines across."""
    axes.set_yticks(range(len(labels)), [shortened(label) for label in labels])
    axes.tick_params(axis="y", length=0)
    axes.set_ylim(len(labels) - 0.4, -0.6)
    axes.grid(axis="y", visible=False)


def _name_extremes(axes: Axes, labels: Sequence[str], apart: float) -> None:
    """The first and last few names, `apart` rows from one another, each with a line to its row."""
    last, frame = len(labels) - 1, axes.get_yaxis_transform()
    for place in range(NAMED_EXTREMES):
        for row, at in ((place, place * apart), (last - place, last - place * apart)):
            axes.plot([-0.03, -0.005], [at, row], color=MUTED, lw=0.8, transform=frame, clip_on=False)
            axes.text(-0.035, at, shortened(labels[row]), ha="right", va="center", fontsize=SMALL, transform=frame)


def _beside(axes: Axes, row: float, text: str) -> None:
    axes.text(1.02, row, text, va="center", fontsize=SMALL, transform=axes.get_yaxis_transform())


def _said(one: Estimate, sign: str = "") -> str:
    value = f"{one.value:{sign}.1f}"
    return value if one.low is None else f"{value} [{one.low:{sign}.1f}, {one.high:{sign}.1f}]"


def _verdict(one: Estimate) -> str:
    if one.low is None or one.high is None or one.low <= 0 <= one.high:
        return "undecided"
    return "better" if one.value > 0 else "worse"


def _edge(place: int) -> dict[str, Any]:
    return {"mec": SERIES[place % len(SERIES)], "mew": 1.6}


def _series(place: int) -> dict[str, Any]:
    colour = SERIES[place % len(SERIES)]
    return {"color": colour, "marker": MARKERS[place % len(MARKERS)], "mfc": PAPER if place == 0 else colour, **_edge(place)}
