"""How a plot becomes one SVG text: colours, a sheet with its legend, names that fit.

Knows nothing of what is plotted. Needs matplotlib (extra `report`), imported late; `available` tells. An SVG looks right on
white as it stands; `themed` makes one that follows a page's colours. Texts stay texts, set by the reader's fonts: so room
for them is made by an estimate of their widths, with space to spare. Lengths are in inches, font sizes in points.
"""

from __future__ import annotations

import hashlib
import importlib.util
import io
import re
import unicodedata
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from self_instruct.evaluate.document import one_line

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Each colour has one purpose, so that `themed` can swap it. report.css gives the same ones for light pages.
INK, GRID, PAPER, MUTED = "#1c2127", "#dde1e6", "#ffffff", "#545d68"
SERIES = ("#0072b2", "#d55e00", "#009e73", "#b0568f", "#a87900", "#3f8fc4")
LEVELS = ("#5aa9dc", "#b8dcf2", "#f7d8ad", "#ee9c60")  # A to D; dark text is legible on all four
ON_LEVEL = "#111418"  # text on LEVELS, which stay light on dark pages
VARIABLES = {INK: "ink", GRID: "grid", PAPER: "paper", MUTED: "muted"} | {
    **{colour: f"series-{place}" for place, colour in enumerate(SERIES, 1)},
    **{colour: f"level-{letter}" for colour, letter in zip(LEVELS, "abcd", strict=True)},
}

WIDTH = 7.2  # inches; the smallest text is 9 points, so a figure that is 720 pixels wide shows it at 12.5
FONT, SMALL = 10, 9  # points
STYLE: dict[str, Any] = {
    "font.family": ["DejaVu Sans"],  # it measures; `Sheet` writes down the reader's own
    "font.size": FONT,
    "xtick.labelsize": SMALL,
    "ytick.labelsize": SMALL,
    "axes.titlesize": FONT,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.facecolor": "none",
    "axes.xmargin": 0.04,
    "figure.facecolor": PAPER,
    "savefig.facecolor": PAPER,
    "grid.color": GRID,
    "text.parse_math": False,
    "svg.fonttype": "none",
    "svg.hashsalt": "self-instruct",
    **dict.fromkeys(("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color", "hatch.color"), INK),
}


def available() -> bool:
    """Whether matplotlib is installed."""
    return importlib.util.find_spec("matplotlib") is not None


def themed(svg: str) -> str:
    """The SVG for use inside a page: CSS variables (`VARIABLES`) for colours, the page's font, as wide as there is room."""

    def follow(tag: re.Match[str]) -> str:
        found = re.sub(r"; font-family: [^;\"]*", "", tag[0])
        return re.sub("#[0-9a-f]{6}", lambda hexed: f"var(--{VARIABLES[hexed[0]]})" if hexed[0] in VARIABLES else hexed[0], found)

    drawing = svg[svg.index("<svg") :]
    drawing = re.sub(r"<style[^>]*>.*?</style>", "", drawing, flags=re.DOTALL)  # it would hold for the whole page
    head, _, rest = drawing.partition(">")
    head = re.sub(r' (?:width|height)="[^"]*"', "", head).replace("<svg", '<svg style="max-width:100%;height:auto"', 1)
    drawing = f"{head}>{rest}"
    # The ground is the page's own, with the shadow that tells of more to see.
    drawing = re.sub(rf'(<g id="patch_1">\s*<path [^>]*style="fill: ){PAPER}', r"\1none", drawing, count=1)
    return re.sub("<[^>]*>", follow, drawing)  # only inside of tags: a name may look like a colour


def slug(name: str) -> str:
    """The name as a file's: ASCII letters, digits, - and _; with four digits of its hash where something was replaced."""
    plain = re.sub(r"[^A-Za-z0-9_-]", "-", name)[:80]
    return plain if plain == name else f"{plain}-{hashlib.sha256(name.encode('utf-8', 'replace')).hexdigest()[:4]}"


def wide(text: str, points: float = SMALL) -> float:
    """About how wide a text is set, rather more than less."""
    return sum(map(_em, text)) * points / 72


def shortened(text: str, most: float = 2.7, points: float = SMALL) -> str:
    """The text on one line, its middle left out where it is wider than `most`: names often differ at their ends."""
    text = one_line(text).strip() or "(no name)"
    if wide(text, points) <= most:
        return text
    keep = len(text) - 1
    while keep > 2 and wide(text[: (keep + 1) // 2] + text[-(keep // 2) :], points) + wide("\u2026", points) > most:
        keep -= 1
    return f"{text[: (keep + 1) // 2]}\u2026{text[-(keep // 2) :]}"


def room(labels: Sequence[str]) -> float:
    """The left margin that these names need beside an axis."""
    return max(wide(shortened(label)) for label in labels) + 0.2


def _em(letter: str) -> float:
    if unicodedata.combining(letter):
        return 0.0
    if unicodedata.east_asian_width(letter) in "WF":
        return 1.0
    if letter in "mwMW@%\u2026" or not letter.isascii():
        return 0.95 if letter.isascii() else 0.8
    return 0.36 if letter in "ijlt.,:;'|![]() -" else 0.75 if letter.isupper() else 0.62


@dataclass(frozen=True, slots=True)
class Key:
    """An entry of a legend: a name, and how its line or marker is drawn (matplotlib's `Line2D`)."""

    label: str
    style: dict[str, Any]


class Sheet:
    """A figure of WIDTH with its legend on top and `panels` plots of `plot` inches in height below; `svg` once it is left.

    No shared state of matplotlib is changed for good, no display needed. The same data give the same text.
    """

    svg: str

    def __init__(
        self,
        *,
        plot: float,
        left: float,
        right: float = 0.3,
        top: float = 0.1,
        bottom: float = 0.55,
        panels: int = 1,
        keys: Sequence[Key] = (),
    ) -> None:
        self._keys, self._places, x, y = keys, [], 0.1, 0.18
        for key in keys:
            needs = 0.6 + wide(shortened(key.label, 6), FONT)
            if x > 0.1 and x + needs > WIDTH:
                x, y = 0.1, y + 0.25
            self._places.append((x, y))
            x += needs
        self._height = plot + bottom + top + (y + 0.12 if keys else 0)
        self._plot, self._bottom, self._left = plot, bottom, left
        self._panels, self._each = panels, (WIDTH - right - left * panels) / panels

    def __enter__(self) -> Sheet:
        from matplotlib import rc_context
        from matplotlib.backends.backend_svg import FigureCanvasSVG
        from matplotlib.figure import Figure

        self._style = rc_context(STYLE)
        self._style.__enter__()
        self._figure = Figure(figsize=(WIDTH, self._height))
        FigureCanvasSVG(self._figure)
        lows = [self._left + panel * (self._left + self._each) for panel in range(self._panels)]
        boxes = [(low / WIDTH, self._bottom / self._height, self._each / WIDTH, self._plot / self._height) for low in lows]
        self.all_axes: list[Axes] = [self._figure.add_axes(box) for box in boxes]
        self.axes = self.all_axes[0]
        self._legend()
        return self

    def _legend(self) -> None:
        from matplotlib.lines import Line2D

        for key, (x, y) in zip(self._keys, self._places, strict=True):
            up = 1 - y / self._height
            style = {"ls": "", "markevery": [1], **key.style}
            self._figure.add_artist(Line2D([(x + by) / WIDTH for by in (0, 0.14, 0.28)], [up] * 3, **style))
            self._figure.text((x + 0.36) / WIDTH, up, shortened(key.label, 6), va="center", fontsize=FONT)

    def __exit__(self, *error: Any) -> None:
        try:
            if error[0] is None:
                text = io.StringIO()
                with warnings.catch_warnings():
                    warnings.filterwarnings("ignore", message="Glyph .* missing")  # it only measures; readers have other fonts
                    self._figure.savefig(text, format="svg", metadata={"Date": None, "Creator": None})
                self.svg = text.getvalue().replace("font-family: 'DejaVu Sans'", "font-family: system-ui, sans-serif")
        finally:
            self._style.__exit__(*error)
