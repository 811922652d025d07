"""The blocks that a report is made of; `document_html` and `document_markdown` render them, so both say the same.

Knows nothing of what a report tells. Texts are plain: whatever means something to HTML or Markdown is escaped by the renderers.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

_UNSEEN = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")
_SPACES = re.compile(r"[ \t\n\u2028\u2029]+")


@dataclass(frozen=True, slots=True)
class Strong:
    """Words that stand out."""

    text: str


@dataclass(frozen=True, slots=True)
class Code:
    """A path, an id, a command or another literal."""

    text: str


Span = str | Strong | Code
Spans = str | Strong | Code | tuple[Span, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Heading:
    """`level` 1 is the title, 2 a section (listed in the contents), 3 within one."""

    level: Literal[1, 2, 3]
    text: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Paragraph:
    text: Spans


@dataclass(frozen=True, kw_only=True, slots=True)
class Bullets:
    items: tuple[Spans, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Notice:
    """What nobody may overlook. `good` and `bad` are verdicts, `warning` a doubt about all that follows."""

    kind: Literal["good", "bad", "neutral", "warning"]
    text: Spans


@dataclass(frozen=True, kw_only=True, slots=True)
class Table:
    """`rows` of cells under `head`; the first `left` columns are text, the others numbers. `caption` says what it shows,
    with its source; `note` what a reader must know of it. `strong` are the numbers of rows (from 0) that are set apart.
    """

    head: tuple[str, ...]
    rows: tuple[tuple[Spans, ...], ...]
    left: int = 1
    caption: str = ""
    note: Spans = ""
    strong: tuple[int, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Figure:
    """A plot: `name` (its file is `<name>.svg`), a caption and in words what is seen, for those who can't."""

    name: str
    caption: str
    alt: str
    svg: str = field(repr=False)


@dataclass(frozen=True, kw_only=True, slots=True)
class Verbatim:
    """A text as a model or a person wrote it, white space kept. `left_out` counts characters that aren't shown."""

    text: str
    label: Spans = ""
    left_out: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Details:
    """Blocks that a reader opens: folded in HTML, plain in Markdown."""

    summary: str
    blocks: tuple[Block, ...]


Block = Heading | Paragraph | Bullets | Notice | Table | Figure | Verbatim | Details
Blocks = Sequence[Block]


# What a notice is called, so that its meaning doesn't rest on a colour.
LABELS = {"good": "Better", "bad": "Worse", "neutral": "Note", "warning": "Caution"}


def printable(text: str) -> str:
    """The text with control characters and lone surrogates replaced, which files of UTF-8 and HTML don't hold."""
    return _UNSEEN.sub("\N{REPLACEMENT CHARACTER}", text.replace("\r\n", "\n").replace("\r", "\n"))


def one_line(text: str) -> str:
    """The printable text without line breaks; any run of white space is one space, as HTML shows it."""
    return _SPACES.sub(" ", printable(text))


def pieces(spans: Spans) -> tuple[Span, ...]:
    """The spans as a tuple."""
    return spans if isinstance(spans, tuple) else (spans,)


def written(span: Span) -> str:
    """A span's own text, on one line."""
    return one_line(span if isinstance(span, str) else span.text)
