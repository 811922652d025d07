"""A document's blocks as GitHub's Markdown, with its figures as files beside it.

Knows nothing of what a report tells. Pure. `number` and `signed` write a number as every part of the report does.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any
from urllib.parse import quote

from self_instruct.evaluate.document import (
    LABELS,
    Block,
    Blocks,
    Bullets,
    Code,
    Details,
    Figure,
    Heading,
    Notice,
    Paragraph,
    Spans,
    Strong,
    Table,
    Verbatim,
    one_line,
    pieces,
    printable,
    written,
)

NONE = "-"
# Underscores within a word, and ampersands that begin no entity, mean nothing.
_MARKUP = re.compile(r"[\\`*\[\]<|~$]|(?<!\w)_|_(?!\w)|&(?=#?\w+;)")
_AT_START = re.compile(r"(\d*)([#>=]|[+-](?=\s|$|[+-])|(?<=\d)[.)](?=\s|$))")
_TICKS = re.compile("`+")


def render(blocks: Blocks) -> str:
    """The document, ending in a line break. A figure is an image at `<name>.svg`, details are shown unfolded."""
    return "\n\n".join(_block(block) for block in blocks) + "\n"


def number(value: Any, digits: int = 0) -> str:
    """A number with its digits and thousands separated; a dash for None."""
    if value is None:
        return NONE
    return f"{value:,.{digits}f}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else str(value)


def signed(value: float) -> str:
    """A difference, with its sign and two digits."""
    return f"{value:+.2f}"


def table(head: Sequence[str], rows: Iterable[Sequence[Spans]], left: int = 1, strong: Sequence[int] = ()) -> str:
    """A Markdown table, its first `left` columns aligned left and the others right; the rows in `strong` are bold.

    Raises ValueError for a row that isn't as long as the head.
    """

    def line(cells: Sequence[str]) -> str:
        if len(cells) != len(head):
            raise ValueError(f"a row of {len(cells)} cells under a head of {len(head)}: {cells}")
        return "| " + " | ".join(cells) + " |"

    def cell(spans: Spans, *, bold: bool) -> str:
        if bold:
            spans = tuple(Strong(span) if isinstance(span, str) and span.strip() else span for span in pieces(spans))
        return _spans(spans, in_table=True).strip()

    rule = "|" + "|".join("---" if place < left else "---:" for place in range(len(head))) + "|"
    lines = [line([cell(spans, bold=place in strong) for spans in row]) for place, row in enumerate(rows)]
    return "\n".join([line([_escaped(one_line(name)) for name in head]), rule, *lines])


def code(text: str) -> str:
    """A code span that back-ticks in the text can't close."""
    text = one_line(text)
    if not text.strip():
        return ""
    if "`" not in text:
        return f"`{text}`"
    ticks = "`" * (1 + max(len(run) for run in _TICKS.findall(text)))
    return f"{ticks} {text} {ticks}"


def fenced(text: str) -> str:
    """A text, line breaks kept, in a fence that no back-ticks in it can close."""
    text = printable(text)
    if not text:
        return "*(empty)*"
    fence = "`" * max(3, 1 + max((len(run) for run in _TICKS.findall(text)), default=0))
    return f"{fence}text\n{text}\n{fence}"


def _block(block: Block) -> str:
    match block:
        case Heading():
            return f"{'#' * block.level} {_escaped(one_line(block.text)).replace('#', chr(92) + '#')}"
        case Paragraph():
            return _line(block.text)
        case Bullets():
            return "\n".join(f"- {_line(item)}" for item in block.items)
        case Notice():
            return f"> **{LABELS[block.kind]}.** {_spans(block.text).strip()}"
        case Table():
            parts = [_line(block.caption), table(block.head, block.rows, block.left, block.strong), _line(block.note)]
        case Figure():
            parts = [f"![{_escaped(one_line(block.alt))}]({quote(block.name)}.svg)", _line(block.caption)]
        case Verbatim():
            cut = f"*({block.left_out:,} more characters aren't shown)*" if block.left_out else ""
            parts = [_line(block.label), fenced(block.text), cut]
        case Details():
            parts = [f"**{_escaped(one_line(block.summary)).strip()}**", *(_block(inner) for inner in block.blocks)]
    return "\n\n".join(part for part in parts if part)


def _line(spans: Spans) -> str:
    """Spans as a line of its own, which begins neither a list nor a heading."""
    text = _spans(spans).strip()
    start = _AT_START.match(text)
    return f"{start[1]}\\{text[start.start(2) :]}" if start else text


def _spans(spans: Spans, *, in_table: bool = False) -> str:
    given = pieces(spans)
    said: list[str] = []
    for place, span in enumerate(given):
        text = written(span)
        if isinstance(span, Code):
            said.append(_code_in_table(text) if in_table and "|" in text else code(text))
        elif isinstance(span, Strong):
            before = said[-1][-1:] if said else ""
            after = written(given[place + 1])[:1] if place + 1 < len(given) else ""
            said.append(_strong(text, plain=_apart(before) and _apart(after)))
        else:
            said.append(_escaped(text))
    return "".join(said)


def _apart(neighbour: str) -> bool:
    """Whether asterisks beside this character open and close whatever they hold."""
    return neighbour.strip() in ("", "(", ")", ",", ".", ":", ";")


def _strong(text: str, *, plain: bool) -> str:
    if not text.strip():
        return text
    if plain and text == text.strip():
        return f"**{_escaped(text)}**"
    return f"<strong>{_escaped(text)}</strong>"


def _escaped(text: str) -> str:
    return _MARKUP.sub(r"\\\g<0>", text)


def _code_in_table(text: str) -> str:
    """A table's bars can't be escaped within back-ticks where a backslash stands before them."""
    return "<code>" + re.sub(r"[^\w ]", lambda match: f"&#{ord(match[0])};", text) + "</code>"
