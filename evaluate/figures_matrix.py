"""The report's plots of a comparison: all rows' ROUGE-L, and ROUGE-L by the size of the data. Each one SVG text.

Knows nothing of the report's text. Needs matplotlib (extra `report`), imported late.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from self_instruct.evaluate.document import Figure
from self_instruct.evaluate.drawing import INK, PAPER, SERIES, SMALL, Key, Sheet, room, shortened, slug
from self_instruct.evaluate.intervals import Estimate

LABEL = 0.06  # of an axis: what a number on it takes


def forest(rows: Sequence[tuple[str, Estimate]], *, name: str, caption: str) -> Figure:
    """Every row's value in points with its interval, the first on top, at least one."""
    with Sheet(plot=0.3 * len(rows) + 0.2, left=room([label for label, _ in rows]), right=1.6) as sheet:
        axes = sheet.axes
        for place, (_, one) in enumerate(rows):
            if one.low is not None:
                axes.hlines([place], [one.low], [one.high], color=SERIES[0], lw=1.8)
            axes.plot([one.value], [place], ls="", marker="o", ms=6, color=SERIES[0])
            axes.text(1.02, place, said(one), va="center", fontsize=SMALL, transform=axes.get_yaxis_transform())
        axes.set_yticks(range(len(rows)), [shortened(label) for label, _ in rows])
        axes.tick_params(axis="y", length=0)
        axes.set_ylim(len(rows) - 0.4, -0.6)
        axes.grid(axis="y", visible=False)
        axes.set_xlabel("ROUGE-L (points)")
    told = "; ".join(f"{label} {said(one)}" for label, one in rows)
    return Figure(name=slug(name), caption=f"{caption}, with 95 % intervals.", alt=f"Dot plot. {caption}: {told}.", svg=sheet.svg)


def sizes(
    points: Sequence[tuple[int, Estimate]], star: tuple[int, str, Estimate] | None, *, name: str, caption: str, unit: str
) -> Figure:
    """Values by the number of instructions trained on, (number, value), at least one; `star` has outputs by another model."""
    line = {"color": SERIES[2], "marker": "D", "ls": "--", "lw": 2, "ms": 7}
    other = {"color": SERIES[1], "marker": "*", "ms": 13, "ls": ""}
    keys = [Key("this run", line)] + ([Key(f"this run, {star[1]}", other)] if star else [])
    with Sheet(plot=2.7, left=0.75, right=0.45, keys=keys) as sheet:
        axes = sheet.axes
        axes.set_xscale("log")
        axes.plot([x for x, _ in points], [one.value for _, one in points], **line)
        drawn = [(x, one, SERIES[2]) for x, one in points] + ([(star[0], star[2], SERIES[1])] if star else [])
        if star:
            axes.plot([star[0]], [star[2].value], **other, mec=PAPER, mew=0.6)
        for x, one, colour in drawn:
            if one.low is not None:
                axes.vlines([x], [one.low], [one.high], color=colour, lw=1.6)
            side, align = (-1, "right") if star and one is star[2] else (1, "left")
            axes.annotate(
                f"{one.value:.1f}", (x, one.value), (8 * side, 5), textcoords="offset points", ha=align, fontsize=SMALL, color=INK
            )
        ticks = sorted({x for x, _, _ in drawn})
        axes.set_xlim(ticks[0] / 1.6, ticks[-1] * 1.6)
        axes.set_ylim(0, max(one.value if one.high is None else one.high for _, one, _ in drawn) * 1.15 or 1)
        axes.minorticks_off()
        axes.set_xticks(ticks, _apart(ticks))
        axes.set(xlabel="instructions (logarithmic)", ylabel=unit)
    told = ", ".join(f"{said(one)} with {x:,}" for x, one in points) + (f"; {said(star[2])} ({star[1]})" if star else "")
    return Figure(name=slug(name), caption=f"{caption}, with 95 % intervals.", alt=f"Line plot. {caption}: {told}.", svg=sheet.svg)


def _apart(ticks: Sequence[int]) -> list[str]:
    """The labels of sizes, less those that would stand on the one before."""
    wide = math.log(ticks[-1] * 1.6) - math.log(ticks[0] / 1.6)
    found: list[str] = []
    last = -math.inf
    for x in ticks:
        far = math.log(x) - last > LABEL * wide
        found.append(f"{x:,}" if far else "")
        last = math.log(x) if far else last
    return found


def said(one: Estimate) -> str:
    """A value with its interval, one digit."""
    return f"{one.value:.1f}" if one.low is None else f"{one.value:.1f} [{one.low:.1f}, {one.high:.1f}]"
