"""A report's blocks as HTML and as Markdown: the same texts in both, whatever the texts are."""

from __future__ import annotations

import html
import re
from html.parser import HTMLParser

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from self_instruct.evaluate import document_html, document_markdown
from self_instruct.evaluate.document import (
    Block,
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

NASTY = [
    "</script><script>alert(1)</script>", "a | b \\| c", "`` ` ```", "<b>&amp;</b> & <", "a\nb\r\nc\u2028d", "\x00\x1b[31m",
    "\ud800",
    "*bold* _it_ [x](y) ~s~ # 1. - +", "w" * 400, "", "   ", "$x_1$", "名前 \u202eabc", "]]>", "--><!--",
]  # fmt: skip
texts = st.text(st.characters(exclude_categories=()), max_size=40) | st.sampled_from(NASTY)
SVG = '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 9 9"><defs><path id="a"/></defs><use href="#a"/><text>7</text></svg>'


class Cells(HTMLParser):
    """The texts of a page's table cells in order, and its tags."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.cells: list[str] = []
        self.tags: list[str] = []
        self._inside = False
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag in ("td", "th"):
            self._inside = True
            self.cells.append("")

    def handle_endtag(self, tag: str) -> None:
        if tag in ("td", "th"):
            self._inside = False

    def handle_data(self, data: str) -> None:
        if self._inside:
            self.cells[-1] += data


def plain(markdown: str) -> str:
    """A table cell of Markdown as a reader sees it."""
    cell = re.sub(r"</?(?:strong|code)>|\*\*", "", markdown)
    ticks = re.fullmatch(r"(`+) ?(.*?) ?\1", cell)
    return html.unescape(ticks[2] if ticks else re.sub(r"\\([^\w\s])", r"\1", cell)).strip()


def shown(spans: Spans) -> str:
    return "".join(written(span) for span in pieces(spans)).strip()


numbers = st.floats(-1e6, 1e6).map(lambda value: f"{value:+,.2f}") | st.integers(0, 10**9).map(lambda value: f"{value:,}")


@given(rows=st.lists(st.tuples(st.sampled_from(["base", "tuned", "task_1"]), numbers, numbers), max_size=6), strong=st.booleans())
def test_every_number_is_the_same_in_html_and_markdown(rows: list[tuple[str, str, str]], strong: bool) -> None:
    made = Table(head=("model", "a", "b"), rows=tuple(rows), caption="c", strong=(0,) if strong and rows else ())
    page = Cells(document_html.render("t", [made])).cells
    lines = document_markdown.render([made]).split("\n\n")[1].splitlines()
    cells = [plain(cell.strip()) for line in (lines[0], *lines[2:]) for cell in line.strip("| ").split(" | ")]
    assert page == cells == ["model", "a", "b", *(cell for row in rows for cell in row)]


@given(cells=st.lists(texts, min_size=3, max_size=3), code=st.booleans())
def test_any_text_stays_in_its_cell(cells: list[str], code: bool) -> None:
    row = tuple(Code(cell) if code else cell for cell in cells)
    made = Table(head=("a", "b", "c"), rows=(row,), left=3)
    found = Cells(document_html.render("t", [made]))
    assert [" ".join(cell.split()) for cell in found.cells[3:]] == [" ".join(shown(cell).split()) for cell in row]
    assert "script" not in found.tags and "b" not in found.tags
    lines = document_markdown.render([made]).strip().split("\n")
    assert len(lines) == 3
    assert len(re.findall(r"(?<!\\)(?:\\\\)*\|", lines[2])) == 4


def blocks(text: str) -> list[Block]:
    """One of every block with a text in every place."""
    return [
        Heading(level=1, text=text),
        Notice(kind="warning", text=(Strong(text), Code(text), text)),
        Heading(level=2, text=text),
        Paragraph(text=text),
        Bullets(items=(text, (text, Code(text)))),
        Figure(name="plot", caption=text, alt=text, svg=SVG),
        Figure(name="other", caption=text, alt=text, svg=SVG),
        Verbatim(text=text, label=text, left_out=3),
        Details(summary=text, blocks=(Heading(level=3, text=text), Paragraph(text=text))),
    ]


@pytest.mark.parametrize("text", NASTY)
def test_any_text_is_safe_in_every_block(text: str) -> None:
    page = document_html.render(text, blocks(text))
    found = Cells(page)
    assert not {"script", "b", "img", "iframe"} & set(found.tags)
    assert page.encode("utf-8") and "\x00" not in page
    assert not re.search(r'(?:src|href)="(?!#|data:)', page)
    ids = re.findall(r' id="([^"]*)"', page)
    assert len(ids) == len(set(ids))
    markdown = document_markdown.render(blocks(text))
    assert markdown.encode("utf-8") and not re.search(r"[\x00-\x08\x0b-\x1f]", markdown)


@given(text=texts)
@settings(max_examples=50)
def test_a_verbatim_text_comes_back(text: str) -> None:
    markdown = document_markdown.render([Verbatim(text=text)])
    if text:
        first, *inner, last = markdown.removesuffix("\n").split("\n")
        assert set(last) == {"`"} and first.startswith(last)
        assert "\n".join(inner) == printable(text)
        assert not any(set(line) == {"`"} and len(line) >= len(last) for line in inner)
    page = document_html.render("t", [Verbatim(text=text)])
    pre = re.search(r"<pre[^>]*>\n(.*?)</pre>", page, re.DOTALL)
    assert (html.unescape(pre[1]) if pre else "") == printable(text)


def test_the_contents_lead_to_every_section() -> None:
    made = [Heading(level=1, text="Title"), *(Heading(level=2, text=name) for name in ("Results", "Results", "名前"))]
    page = document_html.render("tab", made)
    links = re.findall(r'<li><a href="#([^"]*)">([^<]*)</a></li>', page)
    assert [text for _, text in links] == ["Results", "Results", "名前"]
    assert len({place for place, _ in links}) == 3
    assert all(f'<h2 id="{place}">' in page for place, _ in links)
    assert "<h1>Title</h1>" in page and "<title>tab</title>" in page


def test_the_page_needs_nothing_from_elsewhere() -> None:
    page = document_html.render("t", blocks("text"))
    assert "default-src 'none'" in page
    assert re.findall(r"https?://", page) == []
    assert page.count('role="img" aria-label="text"') == 2


def test_a_row_of_another_length_is_a_bug_that_shows() -> None:
    made = Table(head=("a", "b"), rows=(("1",),))
    for render in (lambda: document_html.render("t", [made]), lambda: document_markdown.render([made])):
        with pytest.raises(ValueError, match="a row of 1 cells under a head of 2"):
            render()


@pytest.mark.parametrize(
    ("block", "markdown"),
    [
        (Heading(level=2, text="# A | b"), "## \\# A \\| b\n"),
        (Paragraph(text="- no list"), "\\- no list\n"),
        (Paragraph(text="1. no list"), "1\\. no list\n"),
        (Notice(kind="good", text=("it is ", Strong("more"))), "> **Better.** it is **more**\n"),
        (Figure(name="a b", caption="c", alt="d]", svg="<svg/>"), "![d\\]](a%20b.svg)\n\nc\n"),
        (Verbatim(text="```", label="l", left_out=1200), "l\n\n````text\n```\n````\n\n*(1,200 more characters aren't shown)*\n"),
        (Details(summary="s", blocks=(Paragraph(text="p"),)), "**s**\n\np\n"),
        (Table(head=("a", "b"), rows=(("x|y", Code("1|2")),)), "| a | b |\n|---|---:|\n| x\\|y | <code>1&#124;2</code> |\n"),
    ],
)
def test_markdown(block: Block, markdown: str) -> None:
    assert document_markdown.render([block]) == markdown


@pytest.mark.parametrize(
    ("value", "digits", "said"),
    [(None, 2, "-"), (12345, 0, "12,345"), (1234.5, 2, "1,234.50"), (12345, 2, "12,345"), ("x", 1, "x")],
)
def test_numbers(value: object, digits: int, said: str) -> None:
    assert document_markdown.number(value, digits) == said


def test_signed_numbers() -> None:
    assert [document_markdown.signed(value) for value in (-0.5, 0.0, 12.345)] == ["-0.50", "+0.00", "+12.35"]


def test_one_line() -> None:
    assert one_line("a\r\nb\x00  c\ud800") == "a b\ufffd c\ufffd"
