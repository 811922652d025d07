"""The report's plots about the data: the paper's Figures 3 to 7, each one SVG text.

Knows nothing of how the numbers were counted. Needs matplotlib (extra `report`), imported late.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from self_instruct.evaluate.document import Figure
from self_instruct.evaluate.drawing import (
    FONT,
    INK,
    LEVELS,
    MUTED,
    ON_LEVEL,
    PAPER,
    SERIES,
    SMALL,
    WIDTH,
    Key,
    Sheet,
    room,
    shortened,
    slug,
    wide,
)
from self_instruct.evaluate.intervals import Estimate

if TYPE_CHECKING:
    from matplotlib.axes import Axes

BINS = 24
TAIL = 0.99  # a few giants would flatten everything else
HOLE, MIDDLE, RIM = 0.55, 1.85, 3.45  # inches: radii of the sunburst's rings
SMALLEST = 6.5  # points: the smallest label of a wedge
LEGIBLE = 7  # percent: a narrower part of a bar holds no number
LEVEL_NAMES = ("A satisfying", "B minor errors", "C significant errors", "D invalid")
TITLES = {"instruction": "instructions", "input": "non-empty inputs", "output": "outputs"}
HATCH = "////"


def sunburst(top: Sequence[Mapping[str, Any]], *, caption: str, name: str = "sunburst") -> Figure:
    """Figure 3: verbs as the inner ring, their nouns as the outer one; `top` of {"verb", "count", "nouns": [[noun, count], …]}.

    An angle is the count of the pairs shown. A wedge too narrow for its word has none.
    """
    shown = [(str(row["verb"]), [(str(noun), int(count)) for noun, count in row["nouns"]]) for row in top if row["nouns"]]
    total = sum(count for _, nouns in shown for _, count in nouns)
    with Sheet(plot=2 * RIM, left=WIDTH / 2 - RIM, right=WIDTH / 2 - RIM, bottom=0.1) as sheet:
        axes = sheet.axes
        axes.set(xlim=(-RIM, RIM), ylim=(-RIM, RIM))
        axes.set_axis_off()
        at = math.pi / 2
        for place, (verb, nouns) in enumerate(shown):
            last = place == len(shown) - 1 and place % len(SERIES) == 0 and place > 0  # it touches the first
            colour = SERIES[3] if last else SERIES[place % len(SERIES)]
            whole = 2 * math.pi * sum(count for _, count in nouns) / total
            _wedge(axes, (HOLE, MIDDLE), (at - whole, at), colour, 0.42, verb)
            for noun, count in nouns:
                part = 2 * math.pi * count / total
                _wedge(axes, (MIDDLE, RIM), (at - part, at), colour, 0.2, noun)
                at -= part
    pairs = sorted(((count, verb, noun) for verb, nouns in shown for noun, count in nouns), key=lambda pair: -pair[0])[:5]
    return Figure(
        name=slug(name),
        caption=f"{caption}. Inner ring verbs, outer ring nouns; angles are the counts of the pairs shown.",
        alt=f"Sunburst of {len(shown)} verbs and their nouns, {total:,} instructions. Most frequent: "
        + ", ".join(f"{verb} {noun} ({count:,})" for count, verb, noun in pairs)
        + ".",
        svg=sheet.svg,
    )


def _wedge(axes: Axes, ring: tuple[float, float], span: tuple[float, float], colour: str, alpha: float, word: str) -> None:
    """A wedge between two radii and two angles (radians), with its word along the radius where there is room."""
    from matplotlib.patches import Wedge

    low, high = (math.degrees(angle) for angle in span)
    if high - low >= 359.999:
        low, high = 0, 360
    axes.add_patch(Wedge((0, 0), ring[1], low, high, width=ring[1] - ring[0], fc=colour, alpha=alpha, lw=0))
    axes.add_patch(Wedge((0, 0), ring[1], low, high, width=ring[1] - ring[0], fill=False, ec=PAPER, lw=1))
    points = float(FONT)
    while points >= SMALLEST:
        label = shortened(word, ring[1] - ring[0] - 0.16, points)
        inner = ring[1] - 0.08 - wide(label, points)  # where it comes nearest to the centre
        if (high - low) / 360 * 2 * math.pi * inner >= 1.15 * points / 72:
            break
        points -= 0.5
    else:
        return
    angle = (low + high) / 2
    x, y = (math.cos(math.radians(angle)), math.sin(math.radians(angle)))
    flipped = x < -1e-9
    # Both rings' words end at their outer edge, where a wedge is widest.
    axes.text(
        (ring[1] - 0.08) * x,
        (ring[1] - 0.08) * y,
        label,
        fontsize=points,
        rotation=angle + 180 if flipped else angle,
        rotation_mode="anchor",
        ha="left" if flipped else "right",
        va="center_baseline",
    )


def nearest_seed(edges: Sequence[float], counts: Sequence[int], mean: float, *, name: str = "nearest-seed") -> Figure:
    """Figure 4: how near each instruction is to its nearest seed, `counts` of instructions between ROUGE-L `edges` (0 to 1)."""
    keys = [Key(f"mean {mean:.2f}", {"ls": "-", "color": INK, "lw": 2})]
    with Sheet(plot=2.6, left=0.85, keys=keys) as sheet:
        axes = sheet.axes
        _bars(axes, edges, counts)
        axes.axvline(mean, color=INK, lw=2)
        axes.set(xlim=(edges[0], edges[-1]), xlabel="ROUGE-L with the nearest seed", ylabel="instructions")
    most = max(range(len(counts)), key=lambda at: counts[at])
    return Figure(
        name=slug(name),
        caption="Figure 4: ROUGE-L of each instruction with the nearest seed.",
        alt=f"Histogram of the ROUGE-L of {sum(counts):,} instructions with the nearest seed: mean {mean:.2f}, most between "
        f"{edges[most]:.2f} and {edges[most + 1]:.2f}.",
        svg=sheet.svg,
    )


def lengths(found: Mapping[str, Mapping[str, Any]], paper_means: Mapping[str, float], *, name: str = "lengths") -> Figure:
    """Figure 5: lengths in words; `found` by "instruction", "input" or "output" has "texts", "mean" and "counts":
    [[words, texts], …].

    Texts longer than the 99th percentile are counted in a hatched last bar.
    """
    keys = [
        Key("our mean", {"ls": "-", "color": INK, "lw": 2}),
        Key("the paper's mean", {"ls": "--", "color": SERIES[1], "lw": 2}),
    ]
    cut = False
    with Sheet(plot=2.2, left=0.62, right=0.15, top=0.35, panels=len(found), keys=keys) as sheet:
        for axes, (what, one) in zip(sheet.all_axes, found.items(), strict=True):
            over, top = _lengths(axes, one["counts"], paper_means[what])
            cut = cut or over > 0
            axes.axvline(one["mean"], color=INK, lw=2)
            axes.axvline(paper_means[what], color=SERIES[1], lw=2, ls="--")
            axes.set_title(f"{one['texts']:,} {TITLES.get(what, what)}")
            axes.set_xlabel(f"words ({over:,} over {top})" if over else "words")
    means = ", ".join(f"{what} {one['mean']:.1f} (paper {paper_means[what]})" for what, one in found.items())
    return Figure(
        name=slug(name),
        caption="Figure 5: lengths in words."
        + (" A hatched last bar holds all texts longer than the 99th percentile." if cut else ""),
        alt=f"Histograms of lengths in words. Means: {means}.",
        svg=sheet.svg,
    )


def _lengths(axes: Axes, counts: Sequence[Sequence[int]], paper_mean: float) -> tuple[int, int]:
    """The histogram of one kind of text; returns how many are in the last bar, and beyond how many words."""
    texts, below, top = sum(count for _, count in counts), 0, 0
    for words, count in sorted(map(tuple, counts)):
        top, below = words, below + count
        if below >= TAIL * texts:
            break
    top = max(top, math.ceil(paper_mean) + 1)
    each = -(-(top + 1) // BINS)
    bars = [0] * -(-(top + 1) // each)
    top = each * len(bars) - 1  # what the last whole bar holds at most
    for words, count in counts:
        if words <= top:
            bars[words // each] += count
    over = texts - sum(bars)
    edges = [each * place for place in range(len(bars) + 1)]
    _bars(axes, edges, bars)
    width = max(each, edges[-1] / 20)
    if over:
        axes.bar([edges[-1]], [over], width, align="edge", fc=PAPER, ec=SERIES[0], hatch=HATCH, lw=0.6)
    axes.set_xlim(0, edges[-1] + (width if over else 0))
    return over, top


def _bars(axes: Axes, edges: Sequence[float], counts: Sequence[int]) -> None:
    widths = [high - low for low, high in pairwise(edges)]
    axes.bar(edges[:-1], counts, widths, align="edge", fc=SERIES[0], ec=PAPER, lw=0.6)
    axes.grid(axis="x", visible=False)
    axes.yaxis.set_major_formatter(lambda value, _: _short(value))
    axes.yaxis.get_major_locator().set_params(integer=True, nbins=5)


def _short(value: float) -> str:
    return f"{value / 1000:g}K" if value >= 10_000 else f"{value:,.0f}"


def ratings(
    rows: Sequence[tuple[str, int, int, int, int]],
    *,
    ours: Sequence[tuple[str, int, int, int, int]] = (),
    caption: str = "Figure 6: answers to the user-oriented instructions as people rated them",
    name: str = "ratings",
) -> Figure:
    """Figure 6: shares of answers rated A, B, C and D, (model, A, B, C, D); those of this run, `ours`, last and marked."""
    every = [*rows, *ours]
    labels = [row[0] for row in rows] + [f"◆ {row[0]}" for row in ours]
    keys = [
        Key(what, {"marker": "s", "ms": 11, "color": colour, "mec": MUTED, "mew": 0.5})
        for what, colour in zip(LEVEL_NAMES, LEVELS, strict=True)
    ]
    keys += [Key("this run", {"marker": "D", "ms": 6, "color": INK})] if ours else []
    with Sheet(plot=0.36 * len(every) + 0.1, left=room(labels), keys=keys) as sheet:
        axes = sheet.axes
        for row, (_, *counts) in enumerate(every):
            start = 0.0
            for level, count in enumerate(counts):
                percent = 100 * count / max(1, sum(counts))
                axes.barh(row, percent, 0.76, start, fc=LEVELS[level], ec=PAPER, lw=1)
                if percent >= LEGIBLE:
                    middle = start + percent / 2
                    axes.text(middle, row, f"{percent:.0f}", ha="center", va="center", fontsize=SMALL, color=ON_LEVEL)
                start += percent
        axes.set_yticks(range(len(every)), [shortened(label) for label in labels])
        for tick in axes.get_yticklabels()[len(rows) :]:
            tick.set_fontweight("bold")
        axes.tick_params(axis="y", length=0)
        axes.set(xlim=(0, 100), ylim=(len(every) - 0.5, -0.5), xlabel="percent of the answers")
        axes.grid(visible=False)
        if rows and ours:
            axes.axhline(len(rows) - 0.5, color=MUTED, lw=1, ls="--")
    told = "; ".join(f"{label} {a}/{b}/{c}/{d}" for label, a, b, c, d in every)
    return Figure(name=slug(name), caption=f"{caption}.", alt=f"Stacked bars, counts rated A/B/C/D: {told}.", svg=sheet.svg)


def data_size(
    points: Sequence[tuple[int, float]],
    extra: tuple[str, float] | None = None,
    ours: Sequence[tuple[int, Estimate]] = (),
    ours_extra: tuple[int, Estimate] | None = None,
    *,
    name: str = "data-size",
    ours_rated_by: str | None = None,
) -> Figure:
    """Figure 7: percent rated A by the number of instructions, (number, percent), at least one point; `extra` stands at the
    last one. Ours have their intervals; `ours_extra` has other outputs."""
    paper, star, run, run_star = (
        {"color": SERIES[0], "marker": "o", "ls": "-", "lw": 2, "ms": 7},
        {"color": SERIES[1], "marker": "*", "ms": 13, "ls": ""},
        {"color": SERIES[2], "marker": "D", "ls": "--", "lw": 2, "ms": 7},
        {"color": SERIES[3], "marker": "*", "ms": 13, "ls": ""},
    )
    who = f", rated by {ours_rated_by}" if ours_rated_by else ""
    keys = [Key("paper", paper)]
    keys += [Key(f"paper, {extra[0]}", star)] if extra else []
    keys += [Key(f"this run{who}", run)] if ours else []
    keys += [Key(f"this run, other outputs{who}", run_star)] if ours_extra else []
    given = [(x, one, run) for x, one in ours] + ([(*ours_extra, run_star)] if ours_extra else [])
    drawn = [(x, y, paper) for x, y in points] + ([(points[-1][0], extra[1], star)] if extra else [])
    with Sheet(plot=2.7, left=0.75, right=0.45, keys=keys) as sheet:
        axes = sheet.axes
        axes.set_xscale("log")
        axes.plot([x for x, _ in points], [y for _, y in points], **paper)
        axes.plot([x for x, _ in ours], [one.value for _, one in ours], **run)
        if extra:
            axes.plot([points[-1][0]], [extra[1]], **star)
        if ours_extra:
            axes.plot([ours_extra[0]], [ours_extra[1].value], **run_star)
        for x, one, style in given:
            if one.low is not None:
                axes.vlines([x], [one.low], [one.high], color=style["color"], lw=1.6)
        for x, y, style in drawn:
            up = style is star or not (extra and x == points[-1][0])  # else it may be under the star
            how = {"ha": "center", "va": "bottom" if up else "top", "fontsize": SMALL}
            axes.annotate(f"{y:.1f}", (x, y), (0, 9 if up else -9), textcoords="offset points", **how)
        for x, one, style in given:
            side = -1 if style is run_star else 1
            how = {"ha": "right" if style is run_star else "left", "fontsize": SMALL}
            axes.annotate(f"{one.value:.1f}", (x, one.value), (9 * side, 5), textcoords="offset points", **how)
        sizes = sorted({x for x, _, _ in (*drawn, *given)})
        axes.set_xlim(sizes[0] / 1.6, sizes[-1] * 1.6)
        top = max([y for _, y, _ in drawn] + [one.high or one.value for _, one, _ in given])
        axes.set_ylim(0, min(1.2 * top, 106) or 1)
        axes.minorticks_off()
        axes.set_xticks(sizes, [f"{size:,}" for size in sizes])
        axes.set(xlabel="instructions (logarithmic)", ylabel="rated A (percent)")
    told = ", ".join(f"{y:.1f} % with {x:,}" for x, y in points)
    told += f"; {extra[1]:.1f} % ({extra[0]})" if extra else ""
    told += f"; this run{who} " + ", ".join(f"{one.value:.1f} % with {x:,}" for x, one in ours) if ours else ""
    told += f"; this run, other outputs{who} {ours_extra[1].value:.1f} %" if ours_extra else ""
    return Figure(
        name=slug(name),
        caption="Figure 7: share of answers rated A by the number of instructions trained on.",
        alt=f"Line plot of the share rated A by the number of instructions: {told}.",
        svg=sheet.svg,
    )
