"""The rating page in a real browser, before the real server: keys, reloads, kills, hostile texts, looks."""

from __future__ import annotations

import asyncio
import contextlib
import json
import urllib.request
from collections.abc import Awaitable, Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from browser import CONTRAST, Page, page
from rating_site import Server
from sample_runs import evaluated, generated, items, stored_suite, whole_corpus
from self_instruct.evaluate import rating_runs
from self_instruct.evaluate.rating_app import FILES
from self_instruct.evaluate.ratings import RatingStore
from self_instruct.records import EvalItem, Rating, Review

pytestmark = pytest.mark.e2e

MODELS = ("zephyr-base", "tuned-koala", "vicuna-third")
VIEWS = [(1280, False), (1280, True), (360, False), (360, True), (320, False), (740, False)]
HIGH = {740: 360}  # a phone on its side
COUNT = 8  # instructions
LONG = "x" * 50_000
HOSTILE = {
    "zephyr-base": "<script>window.ran = 1</script><img src=http://127.0.0.1:9/a.png onerror='window.ran = 2'>\x00\x1b[31m\ud800",
    "tuned-koala": LONG,
    "vicuna-third": "def f(x):\n    return '\u202edesrever'\n<style>*{display:none}</style>",
}
KEYS = {"Enter": 13, "Backspace": 8, "Escape": 27, "ArrowLeft": 37, "ArrowUp": 38, "ArrowRight": 39, "ArrowDown": 40}
CONTROL = 2  # as DevTools counts modifiers
# Everything that the page's script gets from the server, as text.
RECORD = """
window.got = [];
const plain = window.fetch;
window.fetch = async (...given) => {
  const answer = await plain(...given);
  answer.clone().text().then(text => window.got.push(text));
  return answer;
};
"""
LOOK = f"""
(() => {{
  const shown = [...document.querySelectorAll("button, summary, input, textarea")].filter(e => e.checkVisibility());
  return {{
    inner: innerWidth, scroll: document.documentElement.scrollWidth, contrast: {CONTRAST},
    small: shown.filter(e => e.getBoundingClientRect().height < 44 || e.getBoundingClientRect().width < 44).map(e => e.textContent),
    levels: [...document.querySelectorAll("#levels button")].map(e => e.getBoundingClientRect()).map(b => [b.top, b.bottom]),
    high: innerHeight,
    ids: [...document.querySelectorAll("[id]")].map(e => e.id),
  }};
}})()
"""


def answer(model: str, item: EvalItem) -> str:
    return HOSTILE[model] if item.id == "task_0" else f"answer {MODELS.index(model)} to {item.id}"


class Visit:
    """One person at the page."""

    def __init__(self, tab: Page, server: Server) -> None:
        self.tab, self.server = tab, server

    async def key(self, key: str, modifiers: int = 0) -> None:
        typed = {} if modifiers else {"text": "\r"} if key == "Enter" else {"text": key} if len(key) == 1 else {}
        code = KEYS.get(key) or ord(key.upper())
        told = {"key": key, "windowsVirtualKeyCode": code, "modifiers": modifiers}
        await self.tab.send("Input.dispatchKeyEvent", type="keyDown", **told, **typed)
        await self.tab.send("Input.dispatchKeyEvent", type="keyUp", **told)

    async def keys(self, keys: Sequence[str]) -> None:
        for key in keys:
            await self.key(key)

    async def until(self, script: str, wanted: Any = True) -> None:
        """Wait until a script says what is `wanted`."""
        found = None
        for _ in range(400):
            found = await self.tab.run(script)
            if found == wanted:
                return
            await asyncio.sleep(0.025)
        words = await self.tab.run("document.body.innerText")
        raise AssertionError(f"{script}: {found!r}, not {wanted!r}\n{words[:1500]}\n{self.tab.errors}\n{self.server.said()}")

    async def text(self, selector: str) -> Any:
        return await self.tab.run(f"document.querySelector({selector!r}).textContent")

    async def saved(self, done: int, of: int = COUNT * len(MODELS)) -> None:
        """Wait until the server has confirmed everything, and says that `done` answers are rated."""
        start = f"{done} of {of} "
        await self.until(f"document.querySelector('#counts').textContent.startsWith('{start}')")
        await self.until("document.querySelector('#saved').dataset.state", "saved")

    async def enter(self, name: str = "Ann") -> None:
        await self.tab.open(self.server.url)
        await self.until("document.querySelector('#entrance').hidden", False)
        await self.tab.click("#name")
        await self.tab.run("document.querySelector('#name').select()")
        await self.tab.send("Input.insertText", text=name)
        await self.key("Enter")

    async def begin(self, number: int) -> None:
        """Take a set of the list."""
        await self.until("document.querySelector('#sets').hidden", False)
        await self.tab.click(f"#sets-list li:nth-child({number}) button")
        await self.at(1)

    async def at(self, place: int) -> None:
        await self.until(f"!!document.querySelector('#subject-heading').textContent.match(/ {place} of /)")
        await self.until("document.querySelector('#subject').hidden", False)

    async def ahead(self, place: int) -> None:
        """Wait until the page has loaded an instruction, shown or not."""
        await self.until(f'got.some(text => text.includes(\'"position": {place - 1}, "of"\'))')


def browse(browser: str, server: Server, script: Callable[[Visit], Awaitable[Any]]) -> Any:
    async def go() -> Any:
        async with page(browser) as tab:
            await tab.show(width=1280)
            await tab.send("Page.addScriptToEvaluateOnNewDocument", source=RECORD)
            return await script(Visit(tab, server))

    return asyncio.run(go())


def stored(server_run: Path) -> tuple[tuple[Rating, ...], tuple[Review, ...], int]:
    """What the store has: ratings, reviews, and how many actions there ever were."""
    with contextlib.closing(RatingStore(rating_runs.place(server_run))) as store:
        return store.ratings(), store.reviews(), store.actions()


def levels(run: Path) -> str:
    return "".join(rating.level for rating in stored(run)[0])


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return evaluated(tmp_path / "run", [stored_suite(items(COUNT), answer, MODELS)], MODELS)


@pytest.fixture
def server(run: Path) -> Iterator[Server]:
    made = Server(run)
    made.start()
    yield made
    made.stop()


def no_request_left(tab: Page, server: Server) -> bool:
    return all(url.startswith((server.url, f"blob:{server.url}", "data:", "about:")) for url in tab.requests)


def test_nothing_is_lost_by_reload_and_kill(browser: str, server: Server, run: Path, tmp_path: Path) -> None:
    """Ten ratings as fast as keys can be, a reload, two kills with ratings in the outage, undo, export."""

    async def script(visit: Visit) -> None:
        tab = visit.tab
        await visit.enter()
        await visit.at(1)  # of the only set, without a list
        await visit.keys("abcdabcdab")
        await visit.saved(10)
        await visit.at(4)

        await tab.open(server.url)
        await visit.at(4)
        assert await visit.text(".card .badge") == "Rated B"
        assert await tab.run("document.querySelectorAll('.card')[1].getAttribute('aria-current')") == "true"

        # Killed; what is rated meanwhile waits, also while the page isn't there.
        await visit.ahead(5)
        server.kill()
        await visit.keys("cd")
        await visit.until("document.querySelector('#saved').dataset.state", "away")
        assert "Not saved: the server doesn't answer, trying again" in await visit.text("#saved")
        assert (await visit.text("#counts")).startswith("10 of 24 ")
        await visit.at(5)  # was loaded beforehand
        gone = asyncio.create_task(tab.send("Page.navigate", url="about:blank"))
        await asyncio.sleep(0.3)
        if not gone.done():  # the page asks whether to leave with ratings that aren't saved
            await tab.send("Page.handleJavaScriptDialog", accept=True)
        await gone
        assert len(levels(run)) == 10
        await asyncio.to_thread(server.start)
        await tab.open(server.url)
        await visit.saved(12)
        await visit.at(5)

        # Killed again; the page goes on without a reload.
        await visit.ahead(6)
        server.kill()
        await visit.keys("aczb")  # the c is taken back before it was ever sent
        await visit.until("document.querySelector('#saved').dataset.state", "away")
        await asyncio.to_thread(server.start)
        await visit.saved(14)
        assert levels(run) == "ABCDABCDABCDAB"
        assert stored(run)[2] == 14
        assert await tab.run("Object.keys(sessionStorage).filter(key => key.includes('queue'))") == []

        await visit.key("z")
        await visit.saved(13)
        assert await visit.text("#said") == "Taken back: answer 2 of 3 isn't rated now."
        assert levels(run) == "ABCDABCDABCDA"
        await visit.keys("dc")  # the answer again, and the third
        await visit.saved(15)
        await visit.at(6)
        await visit.key("Backspace")  # back to the instruction before
        await visit.at(5)
        await visit.saved(14)
        assert levels(run) == "ABCDABCDABCDAD"

        await tab.send("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(tmp_path / "down"))
        for form in ("jsonl", "csv"):
            await tab.click("#menu summary")
            await tab.click(f"#menu [data-menu={form}]")
            file = tmp_path / "down" / f"answers-Ann.{form}"
            for _ in range(200):
                if file.is_file():
                    break
                await asyncio.sleep(0.025)
            text = file.read_text(encoding="utf-8")
            assert len(text.splitlines()) >= 14
            assert not any(model in text for model in MODELS)
        rows = [json.loads(line) for line in (tmp_path / "down" / "answers-Ann.jsonl").read_text(encoding="utf-8").splitlines()]
        assert "".join(sorted(row["level"] for row in rows)) == "".join(sorted("ABCDABCDABCDAD"))

        # What the killed server didn't answer is logged by the browser, and nothing else.
        assert [error for error in tab.errors if "ERR_CONNECTION_REFUSED" not in error and "ERR_EMPTY" not in error] == []
        assert no_request_left(tab, server)

    browse(browser, server, script)


def test_hostile_texts_stay_text_and_no_model_is_named(browser: str, server: Server) -> None:
    async def script(visit: Visit) -> None:
        tab = visit.tab
        await visit.enter("Bo")
        await visit.at(1)
        texts: list[str] = []
        for place in range(1, COUNT + 1):
            await visit.at(place)
            found = await tab.run("[...document.querySelectorAll('.card .text')].map(e => e.textContent)")
            if any("<script>" in text for text in found):
                code = await tab.run("[...document.querySelectorAll('.card .text.code')].map(e => e.textContent)")
                assert code == [HOSTILE["vicuna-third"]]
                assert await tab.run("getComputedStyle(document.querySelector('.text')).unicodeBidi") == "isolate"
                assert await tab.run("document.documentElement.scrollWidth <= innerWidth")
                assert await visit.text("button.all") == "Show all (42,000 more characters)"
                await tab.click("button.all")
                await visit.until("!document.querySelector('button.all')")
                assert await tab.run("document.documentElement.scrollWidth <= innerWidth")
                found = await tab.run("[...document.querySelectorAll('.card .text')].map(e => e.textContent)")
            texts += found
            await visit.key("ArrowRight")
        shown = HOSTILE["zephyr-base"].translate({0: 0x2400, 0x1B: 0x241B, 0xD800: 0xFFFD})
        assert {shown, LONG, HOSTILE["vicuna-third"]} <= set(texts)
        assert len(texts) == COUNT * len(MODELS)
        assert await visit.text("#said") == "This is the last instruction."

        assert await tab.run("window.ran ?? null") is None
        assert await tab.run("document.querySelectorAll('main script, main img, main style').length") == 0
        assert tab.errors == []
        assert no_request_left(tab, server)
        got = await tab.run("got.join(' ') + document.documentElement.outerHTML")
        assert "to task_3" in got
        for name in (place[1:] for place in FILES):
            with urllib.request.urlopen(f"{server.url}/{name}") as response:
                got += response.read().decode()
        assert not any(model in got for model in MODELS)

    browse(browser, server, script)


def test_comment_skip_rate_anew_and_the_end(browser: str, server: Server, run: Path) -> None:
    async def script(visit: Visit) -> None:
        tab = visit.tab
        await visit.enter()
        await visit.at(1)
        await visit.key("m")
        await visit.until("document.activeElement.tagName", "TEXTAREA")
        await tab.send("Input.insertText", text="a b c d: keys are letters here")
        await visit.keys("abz")
        await visit.key("Enter", CONTROL)
        await visit.keys("a")
        await visit.saved(1)
        (rating,) = stored(run)[0]
        assert (rating.level, rating.comment) == ("A", "a b c d: keys are letters hereabz")

        await visit.key("ArrowUp")  # rated anew; the comment stays
        await visit.key("b")
        await visit.until("document.querySelector('.card .badge').textContent", "Rated B")
        await visit.saved(1)
        assert [(one.level, one.comment) for one in stored(run)[0]] == [("B", rating.comment)]

        await tab.click(".card:nth-of-type(3)")
        assert await tab.run("document.querySelectorAll('.card')[2].getAttribute('aria-current')") == "true"
        await tab.click("#levels [data-level=D]")
        await visit.until("document.querySelectorAll('.card')[1].getAttribute('aria-current')", "true")
        await visit.key("m")  # a comment without a rating is saved when its instruction is left
        await visit.until("document.activeElement.tagName", "TEXTAREA")
        await tab.send("Input.insertText", text="later")
        await visit.key("Escape")
        await visit.key("ArrowRight")
        await visit.at(2)
        await visit.key("ArrowLeft")
        await visit.at(1)
        assert await tab.run("document.querySelectorAll('textarea')[1].value") == "later"
        assert await tab.run("Object.keys(sessionStorage).filter(key => key.includes('drafts'))") == []
        await visit.key("s")
        await visit.at(2)
        await visit.keys("c" * 21)
        await visit.until("document.querySelector('#end').hidden", False)
        assert await visit.text("#end-heading") == "Only skipped ones are left"
        assert await visit.text("#end-text") == "You have rated 23 of 24 answers; 1 is skipped."
        await tab.click("#end-skipped")
        await visit.at(1)
        assert await tab.run("document.querySelectorAll('.card')[1].getAttribute('aria-current')") == "true"
        await visit.key("a")
        await visit.until("document.querySelector('#end-heading').textContent", "All done. Thank you!")
        assert levels(run) == "BD" + "C" * 21 + "A"
        await visit.key("z")  # from the end, too
        await visit.at(1)
        await visit.until("document.querySelectorAll('.card .badge')[1].textContent", "Skipped")

        # Switched off, keys do nothing, and the browser remembers it.
        await tab.click("#menu summary")
        await tab.click("#shortcuts")
        before = stored(run)[2]
        await visit.keys("abcd")
        await tab.open(server.url)
        await visit.at(1)
        await visit.keys("abcd")
        assert await visit.text("#shortcuts") == "Keyboard shortcuts: off"
        assert stored(run)[2] == before
        assert tab.errors == []

    browse(browser, server, script)


def test_a_name_in_use_elsewhere(browser: str, server: Server, run: Path) -> None:
    async def other(take_over: bool) -> int:
        """Another window enters under the same name; the status of its answer."""
        async with aiohttp.ClientSession() as client:
            body = {"name": "Ann", "session": None, "take_over": take_over}
            async with client.post(f"{server.url}/api/enter", json=body) as answer:
                return answer.status

    async def script(visit: Visit) -> None:
        tab = visit.tab
        assert await other(False) == 200
        await visit.enter()
        await visit.until("document.querySelector('#in-use').checkVisibility()")
        assert "another window" in await visit.text("#entrance-text")
        await tab.click("#take-over")
        await visit.at(1)
        assert await other(False) == 409
        await visit.key("a")
        await visit.saved(1)

        assert await other(True) == 200
        # Both before the page can know: keys aren't taken while it asks.
        press = "document.activeElement.dispatchEvent(new KeyboardEvent('keydown', {key: KEY, bubbles: true}));"
        await tab.run(press.replace("KEY", "'b'") + press.replace("KEY", "'c'"))
        await visit.until("document.querySelector('#taken').open")
        assert levels(run) == "A"
        await tab.click("#take-back")
        await visit.saved(3)
        assert levels(run) == "ABC"

        # The session ended elsewhere: what was rated meanwhile is sent when the rater is back.
        await visit.ahead(3)
        async with aiohttp.ClientSession() as client:
            session = json.loads(await tab.run("sessionStorage['rate-me']"))["session"]
            async with client.post(f"{server.url}/api/leave", json={}, headers={"X-Session": session}) as left:
                assert left.status == 200
        await visit.key("d")
        await visit.until("document.querySelector('#entrance').hidden", False)
        assert "Not saved yet: 1." in await visit.text("#entrance-text")
        await tab.click("#entering button")
        await visit.saved(4)
        assert levels(run) == "ABCD"

        await tab.click("#menu summary")
        await tab.click("#menu [data-menu=leave]")
        await visit.until("document.querySelector('#entrance').hidden", False)
        assert await other(False) == 200
        assert no_request_left(tab, server)

    browse(browser, server, script)


@pytest.fixture(scope="module")
def seen(browser: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Two sets, looked at from the entrance to the end in each view."""
    folder = tmp_path_factory.mktemp("rating")
    run = evaluated(folder / "run", [stored_suite(items(2), answer, MODELS)], MODELS)
    generated(run)
    whole_corpus(run)
    server = Server(run)
    server.start()
    found: dict[str, Any] = {"views": {}, "run": run}

    async def script(visit: Visit) -> None:
        tab = visit.tab
        for number, (width, dark) in enumerate(VIEWS):
            await tab.show(width=width, height=HIGH.get(width, 800), dark=dark)
            views = found["views"][width, dark] = {}

            async def look(name: str, views: dict[str, Any] = views, width: int = width, dark: bool = dark) -> None:
                views[name] = await tab.run(LOOK)
                nodes = (await tab.send("Accessibility.getFullAXTree"))["nodes"]
                views[name]["nodes"] = [
                    (node["role"]["value"], node.get("name", {}).get("value", "")) for node in nodes if not node["ignored"]
                ]
                await tab.picture(folder / f"{width}-{'dark' if dark else 'light'}-{name}.png", whole=False)

            await tab.open(server.url)
            await look("entrance")
            await visit.enter(f"Rater {number}")
            await visit.until("document.querySelector('#sets').hidden", False)
            await look("sets")
            await visit.begin(1)
            await visit.key("b")
            await look("rating")
            await visit.key("?")
            await visit.until("document.querySelector('#help').open")
            await look("help")
            await visit.key("Escape")
            await visit.until("document.querySelector('#help').open", False)
            await visit.keys("abcda")
            await visit.until("document.querySelector('#end').hidden", False)
            await look("end")
            await tab.click("#end-sets")
            await visit.begin(2)
            await visit.keys("1223")
            await visit.key("4")
            await visit.until("document.querySelector('#said').textContent", "Right format: right. All answered. Enter: next.")
            await look("review")
            await visit.key("Enter")
            await visit.at(2)
            views["focus"] = await tab.run("document.activeElement.id")
            await tab.click("#menu summary")
            await tab.click("#menu [data-menu=leave]")
            await visit.until("document.querySelector('#entrance').hidden", False)
        found.update(errors=tab.errors, left=not no_request_left(tab, server))

    try:
        browse(browser, server, script)
    finally:
        server.stop()
    return found


SHOWN = ("entrance", "sets", "rating", "help", "end", "review")


@pytest.mark.parametrize(("width", "dark"), VIEWS)
def test_it_is_legible(seen: dict[str, Any], width: int, dark: bool) -> None:
    for name in SHOWN:
        view = seen["views"][width, dark][name]
        assert view["scroll"] <= view["inner"], name
        assert len(view["contrast"]) > 30
        assert min(view["contrast"]) >= [4.5], name
        assert len(set(view["ids"])) == len(view["ids"])
        unnamed = [role for role, called in view["nodes"] if role in ("button", "textbox", "progressbar") and not called.strip()]
        assert unnamed == [], name
        if width < 600:
            assert view["small"] == [], name
    rating = seen["views"][width, dark]["rating"]
    assert all(0 <= top < bottom <= rating["high"] for top, bottom in rating["levels"])  # all four in sight


def test_a_screen_reader_is_told(seen: dict[str, Any]) -> None:
    nodes = seen["views"][360, False]["rating"]["nodes"]
    assert {"banner", "main", "status", "region"} <= {role for role, _ in nodes}
    assert ("button", "B: acceptable with minor errors") in nodes
    assert ("heading", "Answer 1 of 3") in nodes
    assert any(text == "Answer 1 rated B. Now answer 2 of 3." for _, text in nodes)
    assert seen["views"][360, False]["focus"] == "subject-heading"


def test_the_review_is_kept(seen: dict[str, Any]) -> None:
    reviews = stored(seen["run"])[1]
    assert len(reviews) == len(VIEWS)
    assert {(one.instruction, one.input, one.output, one.format) for one in reviews} == {(True, False, True, "right")}
    assert seen["errors"] == []
    assert not seen["left"]
