"""The report's page in a real browser: at desktop and phone width, light and dark, and on paper."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from browser import CONTRAST, page
from self_instruct.evaluate import document_html, figures
from self_instruct.evaluate.document import (
    Block,
    Bullets,
    Code,
    Details,
    Figure,
    Heading,
    Notice,
    Paragraph,
    Strong,
    Table,
    Verbatim,
)

VIEWS = [(1280, False), (1280, True), (360, False), (360, True)]
KINDS = ("good", "bad", "neutral", "warning")
LOOK = f"""
(() => ({{
  inner: innerWidth, scroll: document.documentElement.scrollWidth,
  ground: getComputedStyle(document.documentElement).backgroundColor,
  ink: getComputedStyle(document.querySelector("svg text")).fill,
  contrast: {CONTRAST},
  tables: [...document.querySelectorAll(".scroll")].map(e => [e.clientWidth, e.scrollWidth]),
  ids: [...document.querySelectorAll("[id]")].map(e => e.id),
  dead: [...document.querySelectorAll("a[href^='#']")].filter(a => !document.querySelector(a.getAttribute("href"))).length,
}}))()
"""
FOLDING = """
(e => [e.open, e.getBoundingClientRect().height, getComputedStyle(document.documentElement).backgroundColor])
(document.querySelector("details"))
"""


def drawing() -> str:
    """A plot as figures.py writes them: its colours are the palette's, and its ids are the same in each."""
    bars = "".join(f'<use href="#bar" x="{60 + 60 * n}" y="{40 + 12 * n}" fill="{figures.SERIES[n % 2]}"/>' for n in range(7))
    return (
        '<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg" width="518pt" height="260pt" viewBox="0 0 518 260">'
        f'<defs><rect id="bar" width="40" height="120"/></defs><rect width="518" height="260" fill="{figures.PAPER}"/>'
        f'{bars}<text x="60" y="240" font-size="10" fill="{figures.INK}">words in an instruction</text></svg>'
    )


def blocks() -> list[Block]:
    """One of every block, with texts and tables that are too wide for a phone."""
    wide = tuple(f"model {n}" for n in range(9))
    numbers = tuple((f"task{n:03d}_a_long_task_name_of_many_words", *(f"{n * k + 0.25:,.2f}" for k in range(9))) for n in range(8))
    return [
        Heading(level=1, text="Self-Instruct report: base and tuned, with a long name of a model"),
        *(Notice(kind=kind, text=(Strong("SuperNI"), f": a notice of the kind {kind}, ", Code("x" * 80))) for kind in KINDS),
        Heading(level=2, text="Results"),
        Paragraph(text=("Read ", Code("answers.jsonl"), " for all answers. " + "A sentence of the running text. " * 12)),
        Table(head=("task", *wide), rows=numbers, caption="Table 1. Mean ROUGE-L by task.", note="Points, 0 to 100.", strong=(0,)),
        Figure(name="lengths", caption="Lengths of the texts.", alt="Bars of lengths in words", svg=drawing()),
        Figure(name="scores", caption="Scores of the models.", alt="Bars of scores", svg=drawing()),
        Heading(level=2, text="Examples"),
        Heading(level=3, text="One task"),
        Verbatim(text="<script>alert(1)</script> " + "word" * 100 + "\n  indented", label=Strong("base"), left_out=1200),
        Verbatim(text="", label="tuned"),
        Details(
            summary="All settings",
            blocks=(
                Table(head=("what", "value"), rows=(("hash", Code("0123456789abcdef" * 4)), ("seed", "42")), left=2),
                Bullets(items=("One remark", ("Another, of ", Code("configs/demo.yaml")))),
            ),
        ),
    ]


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("page") / "report.html"
    file.write_text(document_html.render("Report", blocks()), encoding="utf-8")
    return file


@pytest.fixture(scope="module")
def seen(browser: str, written: Path) -> dict[str, Any]:
    """What one browser sees of the page in each view, with pictures beside the page."""

    async def look() -> dict[str, Any]:
        found: dict[str, Any] = {"views": {}}
        async with page(browser) as tab:
            for width, dark in VIEWS:
                await tab.show(width=width, dark=dark)
                await tab.open(written.as_uri())
                await tab.run("document.querySelector('details').open = true")
                found["views"][width, dark] = await tab.run(LOOK)
                await tab.picture(written.with_name(f"{width}-{'dark' if dark else 'light'}.png"))
            await tab.open(written.as_uri())
            found["folded"] = await tab.run(FOLDING)
            await tab.click("summary")
            found["clicked"] = await tab.run(FOLDING)
            await tab.click("summary")
            await tab.show(width=800, dark=True, media="print")
            found["paper"] = await tab.run(FOLDING)
            await tab.picture(written.with_name("paper.png"))
            names = (await tab.send("Accessibility.getFullAXTree"))["nodes"]
            found["named"] = [(node["role"]["value"], node.get("name", {}).get("value")) for node in names if "role" in node]
            found |= {"requests": tab.requests, "errors": tab.errors}
        return found

    return asyncio.run(look())


@pytest.mark.e2e
@pytest.mark.parametrize(("width", "dark"), VIEWS)
def test_the_page_never_scrolls_sideways_but_wide_tables_do(seen: dict[str, Any], width: int, dark: bool) -> None:
    view = seen["views"][width, dark]
    assert view["inner"] == width
    assert view["scroll"] <= width
    assert (view["tables"][0][1] > view["tables"][0][0]) == (width == 360)


@pytest.mark.e2e
@pytest.mark.parametrize(("width", "dark"), VIEWS)
def test_texts_stand_out_from_their_background(seen: dict[str, Any], width: int, dark: bool) -> None:
    contrast = seen["views"][width, dark]["contrast"]
    assert len(contrast) > 100
    assert min(contrast) >= [4.5]


@pytest.mark.e2e
def test_dark_is_dark(seen: dict[str, Any]) -> None:
    light, dark = seen["views"][1280, False], seen["views"][1280, True]
    assert light["ground"] == "rgb(255, 255, 255)"
    assert dark["ground"] == "rgb(20, 24, 29)"
    assert light["ink"] == "rgb(28, 33, 39)"  # of the plot's text
    assert dark["ink"] == "rgb(228, 232, 237)"


@pytest.mark.e2e
def test_links_and_ids_are_sound(seen: dict[str, Any]) -> None:
    view = seen["views"][360, False]
    assert view["dead"] == 0
    assert len(set(view["ids"])) == len(view["ids"])
    assert {"figure-lengths-bar", "figure-scores-bar"} <= set(view["ids"])


@pytest.mark.e2e
def test_details_are_folded_open_at_a_click_and_are_open_on_paper(seen: dict[str, Any]) -> None:
    folded, clicked, paper = seen["folded"], seen["clicked"], seen["paper"]
    assert [folded[0], clicked[0], paper[0]] == [False, True, False]
    assert folded[1] < 60
    assert min(clicked[1], paper[1]) > 120
    assert paper[2] == "rgb(255, 255, 255)"  # though the system is dark


@pytest.mark.e2e
def test_figures_tables_and_landmarks_have_names(seen: dict[str, Any]) -> None:
    named = seen["named"]
    assert [name for role, name in named if role == "image"] == ["Bars of lengths in words", "Bars of scores"]
    assert ("table", "Table 1. Mean ROUGE-L by task.") in named
    assert ("heading", "Results") in named
    assert {"main", "banner"} <= {role for role, _ in named}


@pytest.mark.e2e
def test_nothing_leaves_the_file_and_nothing_runs(seen: dict[str, Any], written: Path) -> None:
    assert seen["requests"]
    assert {url for url in seen["requests"] if not url.startswith("data:")} == {written.as_uri()}
    assert seen["errors"] == []


@pytest.mark.e2e
def test_the_policy_stops_what_would_leave_the_page(browser: str, written: Path, tmp_path: Path) -> None:
    """The policy itself, and that `errors` and `requests` see what the test above looks for."""
    spoilt = tmp_path / "spoilt.html"
    image = "<img src='http://127.0.0.1:9/picture.png'><script>document.title = 'ran'</script>"
    spoilt.write_text(written.read_text(encoding="utf-8").replace("<main", image + "<main"), encoding="utf-8")

    async def look() -> tuple[str, list[str]]:
        async with page(browser) as tab:
            await tab.open(spoilt.as_uri())
            return await tab.run("document.title"), tab.errors

    title, errors = asyncio.run(look())
    assert title == "Report"
    assert any("127.0.0.1:9" in error for error in errors)
    assert any("script" in error.lower() for error in errors)
