"""A document's blocks as one HTML file that needs nothing else: no script, no network, figures inline.

Knows nothing of what a report tells. Every text is escaped; a policy in the page forbids all but its own style.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from typing import Any
from xml.etree import ElementTree

from self_instruct.evaluate import figures
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
from self_instruct.loading import shipped

POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'"
LONG_CELL = 40  # characters; such a cell is kept wide enough to be read
LONG_WORD = 24  # characters; such a word may be broken anywhere
# A plot's text is 10 units high: never below 8.5 px, where it scrolls instead, and never above 14 px.
SMALLEST, LARGEST = 0.85, 1.4
_NUMBERS = re.compile(r"\[[^\][<>]*\]|[^\s<>]+(?: %)?(?= \[|$)")  # a number, and its interval: each stays whole
_DROPPED = {"metadata", "style", "script", "foreignObject", "title"}


def render(title: str, blocks: Blocks) -> str:
    """The whole page; `title` is what the browser's tab shows, and the heading where no block is one of level 1.

    Raises ValueError for a table whose rows aren't as long as its head, and ParseError for a figure that isn't XML.
    """
    return _Page(title, blocks).text()


class _Page:
    """One rendering: the ids given so far, and the sections of the contents."""

    def __init__(self, title: str, blocks: Blocks) -> None:
        self._title, self._blocks = title, blocks
        self._ids: set[str] = {"contents", "content"}
        self._sections: list[tuple[str, str]] = []  # id, text

    def text(self) -> str:
        blocks = list(self._blocks)
        head = next((block for block in blocks if isinstance(block, Heading) and block.level == 1), None)
        heading = head.text if head else self._title
        body = "\n".join(self._sectioned([block for block in blocks if block is not head]))
        style = shipped("evaluate/report.css").read_text(encoding="utf-8")
        return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{POLICY}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta name="referrer" content="no-referrer">
<title>{_escaped(self._title)}</title>
<link rel="icon" href="data:,">
<style>
{style}</style>
</head>
<body>
<a class="skip" href="#content">Skip to the content</a>
<div class="page">
<header><h1>{_escaped(heading)}</h1></header>
{self._contents()}<main id="content">
{body}
</main>
</div>
</body>
</html>
"""

    def _contents(self) -> str:
        if not self._sections:
            return ""
        links = "\n".join(f'<li><a href="#{place}">{_escaped(text)}</a></li>' for place, text in self._sections)
        return f'<nav aria-labelledby="contents">\n<h2 id="contents">Contents</h2>\n<ol>\n{links}\n</ol>\n</nav>\n'

    def _sectioned(self, blocks: list[Block]) -> Iterator[str]:
        """The blocks, each heading of level 2 and what follows it in a section of its own."""
        inside = False
        for block in blocks:
            if isinstance(block, Heading) and block.level == 2:
                place = self._id(block.text)
                self._sections.append((place, block.text))
                if inside:
                    yield "</section>"
                yield f'<section aria-labelledby="{place}">'
                yield f'<h2 id="{place}">{_escaped(block.text)}</h2>'
                inside = True
            else:
                yield self._block(block)
        if inside:
            yield "</section>"

    def _block(self, block: Block) -> str:
        match block:
            case Heading():
                level = max(2, block.level)  # the page has one heading of level 1
                return f'<h{level} id="{self._id(block.text)}">{_escaped(block.text)}</h{level}>'
            case Paragraph():
                return f"<p>{_spans(block.text)}</p>"
            case Bullets():
                return "<ul>\n" + "\n".join(f"<li>{_spans(item)}</li>" for item in block.items) + "\n</ul>"
            case Notice():
                label = f"<strong>{LABELS[block.kind]}.</strong>"
                return f'<div class="notice {block.kind}" role="note"><p>{label} {_spans(block.text)}</p></div>'
            case Table():
                return self._table(block)
            case Figure():
                return self._figure(block)
            case Verbatim():
                return _verbatim(block)
            case Details():
                inner = "\n".join(self._block(one) for one in block.blocks)
                return f"<details>\n<summary>{_escaped(block.summary)}</summary>\n<div>\n{inner}\n</div>\n</details>"

    def _table(self, block: Table) -> str:
        rows = [_row(block, cells, strong=place in block.strong) for place, cells in enumerate(block.rows)]
        heads = "".join(
            f'<th scope="col"{_classes(place >= block.left)}>{_escaped(name)}</th>' for place, name in enumerate(block.head)
        )
        caption, label = "", 'aria-label="Table"'
        if block.caption:
            place = self._id(f"table {block.caption}")
            caption = f'<caption><span id="{place}">{_escaped(block.caption)}</span></caption>\n'
            label = f'aria-labelledby="{place}"'
        note = f'\n<p class="note">{_spans(block.note)}</p>' if block.note else ""
        body = "\n".join(rows)
        # Focusable, so that it can be scrolled with the keyboard.
        return (
            f'<div class="scroll" role="region" tabindex="0" {label}>\n<table>\n{caption}'
            f"<thead>\n<tr>{heads}</tr>\n</thead>\n<tbody>\n{body}\n</tbody>\n</table>\n</div>{note}"
        )

    def _figure(self, block: Figure) -> str:
        place = self._id(f"figure {block.name}")
        drawing = _drawing(figures.themed(printable(block.svg)), place, one_line(block.alt))
        caption = f"\n<figcaption>{_escaped(block.caption)}</figcaption>" if block.caption else ""
        scroll = f'<div class="scroll" role="region" tabindex="0" aria-label="Figure">{drawing}</div>'
        return f'<figure id="{place}">\n{scroll}{caption}\n</figure>'

    def _id(self, text: str) -> str:
        """The words of a text as an id, numbered where it is taken."""
        words = "-".join(re.findall("[a-z0-9]+", text.lower())[:8])[:80] or "section"
        place, count = words, 1
        while place in self._ids:
            count += 1
            place = f"{words}-{count}"
        self._ids.add(place)
        return place


def _row(block: Table, cells: tuple[Spans, ...], *, strong: bool) -> str:
    if len(cells) != len(block.head):
        raise ValueError(f"a row of {len(cells)} cells under a head of {len(block.head)}: {cells}")
    said = []
    for place, spans in enumerate(cells):
        text = "".join(written(span) for span in pieces(spans))
        words = max(map(len, text.split()), default=0)
        number = place >= block.left
        long = not number and (len(text) > LONG_CELL or words > LONG_WORD)
        name, scope = ("th", ' scope="row"') if place == 0 and not number else ("td", "")
        shown = _NUMBERS.sub(r'<span class="whole">\g<0></span>', _spans(spans)) if number else _spans(spans)
        said.append(f"<{name}{scope}{_classes(number, long)}>{shown}</{name}>")
    opened = '<tr class="strong">' if strong else "<tr>"
    return f"{opened}{''.join(said)}</tr>"


def _classes(number: bool, long: bool = False) -> str:
    return ' class="number"' if number else ' class="long"' if long else ""


def _verbatim(block: Verbatim) -> str:
    label = f'<p class="label">{_spans(block.label)}</p>\n' if block.label else ""
    if not block.text:
        return f'<div class="verbatim">\n{label}<p class="empty">(empty)</p>\n</div>'
    cut = f'\n<p class="note">{block.left_out:,} more characters aren\'t shown.</p>' if block.left_out else ""
    # HTML drops a line break right after the tag; one more keeps the text's own.
    text = html.escape(printable(block.text))
    return f'<div class="verbatim">\n{label}<pre dir="auto">\n{text}</pre>{cut}\n</div>'


def _spans(spans: Spans) -> str:
    said = []
    for span in pieces(spans):
        text = html.escape(written(span))
        said.append(
            f"<strong>{text}</strong>" if isinstance(span, Strong) else f"<code>{text}</code>" if isinstance(span, Code) else text
        )
    return "".join(said)


def _escaped(text: str) -> str:
    return html.escape(one_line(text))


def _drawing(svg: str, prefix: str, alt: str) -> str:
    """An SVG text for use inside the page: no prologue, its ids begin with `prefix`, and `alt` is its name."""
    root = ElementTree.fromstring(svg)
    for parent in root.iter():
        parent.tag = _local(parent.tag)
        for child in [child for child in parent if _local(child.tag) in _DROPPED]:
            parent.remove(child)
        parent.attrib = dict(_attributes(parent.attrib, prefix))
    sides = [float(side) for side in root.attrib.get("viewBox", "").replace(",", " ").split()]
    if len(sides) == 4:
        root.attrib.pop("width", None)
        root.attrib.pop("height", None)
        root.attrib["style"] = f"min-width:{SMALLEST * sides[2]:.0f}px;max-width:{LARGEST * sides[2]:.0f}px"
    root.attrib |= {"role": "img", "aria-label": alt}
    root.tail = None
    return ElementTree.tostring(root, encoding="unicode")


def _local(name: Any) -> str:
    return name.rpartition("}")[2] if isinstance(name, str) else "metadata"  # a comment has a function for a name


def _attributes(given: dict[str, str], prefix: str) -> Iterator[tuple[str, str]]:
    for name, text in given.items():
        plain, value = _local(name), text
        if plain.startswith("on"):
            continue
        if plain == "id":
            value = f"{prefix}-{value}"
        elif plain == "href":
            if not value.startswith(("#", "data:")):
                continue
            value = re.sub("^#", f"#{prefix}-", value)
        else:
            value = re.sub(r"url\(#", f"url(#{prefix}-", value)
        yield plain, value
