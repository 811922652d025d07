"""The server of the rating page, over real HTTP: what it tells, what it keeps, whom it refuses."""

from __future__ import annotations

import asyncio
import csv
import io
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientResponse, ClientSession
from aiohttp.test_utils import TestServer

from sample_runs import evaluated, items, stored_suite
from self_instruct.evaluate import rating_runs, store
from self_instruct.evaluate.corpora import Corpus
from self_instruct.evaluate.judge_prompt import DEFINITIONS
from self_instruct.evaluate.rating_app import FILES, LARGEST, RatingApp
from self_instruct.evaluate.rating_guard import is_own
from self_instruct.evaluate.rating_input import SHOWN
from self_instruct.evaluate.rating_sets import of_corpus
from self_instruct.evaluate.ratings import RatingStore
from self_instruct.loading import shipped
from self_instruct.records import EvalItem, Instance

MODELS = ("base-qwen", "tuned-qwen", "other-llama")
HOSTILE = "<script>alert(1)</script>\x00\x1b[31m\ud800\u202eRTL\r\nline\x7f\x85"
LONG = "word " * 10_000


def answer(model: str, item: EvalItem) -> str:
    if item.id == "task_0":
        return {"base-qwen": HOSTILE, "tuned-qwen": LONG}.get(model, "a plain answer")
    if item.id == "task_1":
        return "the same of all"
    return f"an answer of {MODELS.index(model)}"


class Site:
    """The app on a port of its own, and a visitor."""

    def __init__(self, server: TestServer, client: ClientSession, kept: RatingStore) -> None:
        self.url, self.client, self.store = str(server.make_url("")).rstrip("/"), client, kept
        self.session = ""

    async def get(self, place: str, **headers: str) -> ClientResponse:
        return await self.client.get(self.url + place, headers={"X-Session": self.session, **headers}, allow_redirects=False)

    async def post(self, place: str, body: Any, **headers: str) -> ClientResponse:
        return await self.client.post(self.url + place, json=body, headers={"X-Session": self.session, **headers})

    async def told(self, response: Awaitable[ClientResponse], status: int = 200) -> Any:
        found = await response
        text = await found.text()
        assert found.status == status, text
        return json.loads(text)

    async def enter(self, name: str = "Ann") -> Any:
        told = await self.told(self.post("/api/enter", {"name": name}))
        self.session = told["session"]
        return told

    async def rate(self, position: int, place: int, value: Any, nonce: str, number: int = 0, comment: str = "") -> Any:
        shown = await self.told(self.get(f"/api/subject/{number}/{position}"))
        body = {"set": number, "position": position, "answer": shown["answers"][place]["key"], "value": value, "nonce": nonce}
        return await self.told(self.post("/api/rate", {**body, "comment": comment}))


@pytest.fixture
def visit(tmp_path: Path) -> Callable[..., Any]:
    """Runs a coroutine function on a site with 4 instructions of 3 models and a corpus of 3 to review."""

    def run(script: Callable[[Site], Awaitable[Any]], token: str | None = None) -> Any:
        run_dir = evaluated(tmp_path / "run", [stored_suite(items(4), answer, MODELS)], MODELS)
        corpus = Corpus(
            place="corpus-of-qwen",
            kind="tasks",
            sha256="0" * 64,
            instructions=("Add.", "Greet.", "No instance."),
            classification=(None,) * 3,
            instances=((Instance(input="1 1", output="2"),), (Instance(input="", output="Hello"),), ()),
        )
        sets = (*rating_runs.load([store.read(run_dir)], 200), of_corpus(corpus, 200, 42, "Data quality review"))

        async def all_of_it() -> Any:
            kept = RatingStore(tmp_path / "ratings.sqlite")
            app = RatingApp(sets, kept, token)
            server = TestServer(app.application())
            await server.start_server()
            try:
                async with ClientSession() as client:
                    return await script(Site(server, client, kept))
            finally:
                await server.close()
                app.close()
                kept.close()

        return asyncio.run(all_of_it())

    return run


def test_a_rater_is_shown_all_answers_once_and_equal_ones_as_one(visit: Any) -> None:
    async def script(site: Site) -> None:
        told = await site.enter()
        assert [(one["kind"], one["subjects"], one["progress"]["total"]) for one in told["sets"]] == [
            ("answers", 4, 10),
            ("review", 2, 2),
        ]
        shown = [await site.told(site.get(f"/api/subject/0/{position}")) for position in range(4)]
        assert sorted(len(one["answers"]) for one in shown) == [1, 3, 3, 3]
        assert {one["item"] for one in shown} == {f"task_{n}" for n in range(4)}

    visit(script)


def test_no_models_name_reaches_the_browser(visit: Any) -> None:
    async def script(site: Site) -> None:
        texts = [json.dumps(await site.enter())]
        for position in range(4):
            await site.rate(position, 0, "A", f"nonce-{position:04d}")
        places = [
            *FILES,
            "/api/next/0",
            "/api/next/1",
            "/api/export/0.jsonl",
            "/api/export/0.csv",
            "/nothing",
        ]
        places += [f"/api/subject/0/{n}" for n in range(4)] + [f"/api/subject/1/{n}" for n in range(2)]
        for place in places:
            response = await site.get(place)
            texts.append(await response.text() + str(response.headers))
        assert len(texts) > 10
        for word in ("qwen", "llama", "base-q", "tuned"):
            assert not [text for text in texts if word in text.lower()]

    visit(script)


def test_orders_differ_between_raters_and_stay_for_each(visit: Any) -> None:
    async def orders(site: Site, name: str) -> list[list[str]]:
        await site.enter(name)
        shown = [await site.told(site.get(f"/api/subject/0/{position}")) for position in range(4)]
        return [[answer["key"] for answer in one["answers"]] for one in shown]

    async def script(site: Site) -> None:
        ann = await orders(site, "Ann")
        others = [await orders(site, name) for name in ("Bob", "Cleo", "Dan")]
        assert any(order != ann for order in others)
        assert [[sorted(keys) for keys in order] for order in others] == [[sorted(keys) for keys in ann]] * 3
        await site.told(site.post("/api/leave", {}))
        await site.told(site.post("/api/enter", {"name": "ANN", "take_over": True}))
        site.session = (await site.told(site.post("/api/enter", {"name": "ann", "take_over": True})))["session"]
        again = [await site.told(site.get(f"/api/subject/0/{position}")) for position in range(4)]
        assert [[answer["key"] for answer in one["answers"]] for one in again] == ann

    visit(script)


def test_progress_next_skip_and_undo(visit: Any) -> None:
    async def script(site: Site) -> None:
        await site.enter()
        shown = [await site.told(site.get(f"/api/subject/0/{position}")) for position in range(4)]
        single = next(one["position"] for one in shown if len(one["answers"]) == 1)
        assert (await site.told(site.get(f"/api/next/0?after={single}")))["position"] == single
        told = await site.rate(single, 0, "skip", "nonce-0001")
        assert told["progress"] == {"done": 0, "total": 10, "skipped": 1, "seconds_left": None}
        for one in shown:
            if one["position"] != single:
                assert (await site.told(site.get(f"/api/next/0?after={one['position']}")))["position"] == one["position"]
                for place in range(3):
                    told = await site.rate(one["position"], place, "ABCD"[place], f"nonce-{one['position']}-{place}")
        assert told["progress"]["done"] == 9
        assert isinstance(told["progress"]["seconds_left"], int)
        assert (await site.told(site.get("/api/next/0")))["position"] == single  # what was skipped comes last
        await site.rate(single, 0, "D", "nonce-0002", comment="finally")
        assert await site.told(site.get("/api/next/0")) == {
            "position": None,
            "progress": {"done": 10, "total": 10, "skipped": 0, "seconds_left": 0},
        }
        undone = await site.told(site.post("/api/undo", {"set": 0, "nonce": "undo-0001"}))
        assert (undone["undone"], undone["position"], undone["progress"]["skipped"]) == (True, single, 1)
        assert (await site.told(site.post("/api/undo", {"set": 1, "nonce": "undo-0002"})))["undone"] is False

    visit(script)


def test_a_review_is_done_with_its_third_question(visit: Any) -> None:
    async def script(site: Site) -> None:
        await site.enter()
        value = {"instruction": True, "input": True, "output": None, "format": "right"}
        assert (await site.rate(0, 0, value, "nonce-0001", number=1))["progress"]["done"] == 0
        assert (await site.rate(0, 0, value | {"output": False}, "nonce-0002", number=1))["progress"]["done"] == 1
        shown = await site.told(site.get("/api/subject/1/0"))
        assert shown["answers"][0]["value"] == value | {"output": False}
        assert shown["references"] == []
        (row,) = csv.DictReader(io.StringIO(await (await site.get("/api/export/1.csv")).text()))
        assert (row["instruction_ok"], row["output_ok"], row["format"], row["skipped"]) == ("yes", "no", "right", "no")

    visit(script)


def test_texts_arrive_as_texts_with_visible_signs_and_long_ones_in_parts(visit: Any) -> None:
    async def script(site: Site) -> None:
        await site.enter()
        shown = [await site.told(site.get(f"/api/subject/0/{position}")) for position in range(4)]
        hostile = next(one for one in shown if one["item"] == "task_0")
        texts = {answer["text"]["text"]: answer for answer in hostile["answers"]}
        assert "<script>alert(1)</script>␀␛[31m\ufffd\u202eRTL\nline␡\ufffd" in texts
        long = next(answer for answer in hostile["answers"] if answer["text"]["more"])
        assert len(long["text"]["text"]) == SHOWN
        assert long["text"]["more"] == len(LONG.strip()) - SHOWN or long["text"]["more"] == len(LONG) - SHOWN
        whole = await site.told(site.get(f"/api/text/0/{hostile['position']}/answer-{long['key']}"))
        assert len(whole["text"]) == SHOWN + long["text"]["more"]

    visit(script)


def test_an_export_has_the_order_that_was_shown(visit: Any) -> None:
    async def script(site: Site) -> None:
        orders = []
        for name in ("Ann", "Bob", "Cleo"):
            await site.enter(name)
            shown = [await site.told(site.get(f"/api/subject/0/{position}")) for position in range(4)]
            for one in shown:
                for place in range(len(one["answers"])):
                    await site.rate(one["position"], place, "A", f"{name}-{one['position']}-{place}-x")
            rows = [json.loads(line) for line in (await (await site.get("/api/export/0.jsonl")).text()).splitlines()]
            orders.append([row["answer_key"] for row in rows])
            assert orders[-1] == [answer["key"] for one in shown for answer in one["answers"]]
        assert orders[0] != orders[1] or orders[1] != orders[2]

    visit(script)


def test_exports_hold_what_was_said_and_no_formula(visit: Any) -> None:
    async def script(site: Site) -> None:
        await site.enter()
        await site.rate(0, 0, "B", "nonce-0001", comment='=HYPERLINK("http://evil")')
        rows = [json.loads(line) for line in (await (await site.get("/api/export/0.jsonl")).text()).splitlines()]
        assert [(row["rater"], row["level"], row["comment"]) for row in rows] == [("Ann", "B", '=HYPERLINK("http://evil")')]
        (row,) = csv.DictReader(io.StringIO(await (await site.get("/api/export/0.csv")).text()))
        assert row["comment"] == '\'=HYPERLINK("http://evil")'

    visit(script)


def test_two_windows_of_one_name(visit: Any) -> None:
    async def script(site: Site) -> None:
        await site.enter()
        first = site.session
        refused = await site.told(site.post("/api/enter", {"name": "ann"}), 409)
        assert refused["code"] == "in_use"
        assert "Ann is rating in another window" in refused["error"]
        site.session = (await site.told(site.post("/api/enter", {"name": "ann", "take_over": True})))["session"]
        await site.rate(0, 0, "A", "nonce-0001")
        site.session = first
        assert (await site.told(site.get("/api/next/0"), 409))["code"] == "in_use"
        assert len(site.store.ratings()) == 1
        site.session = ""
        assert (await site.told(site.get("/api/next/0"), 401))["code"] == "enter"

    visit(script)


GOOD = {"set": 0, "position": 0, "value": "A", "comment": "", "nonce": "nonce-0001"}


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"value": "E"}, "value"),
        ({"value": "a"}, "value"),
        ({"value": 1}, "value"),
        ({"value": {"instruction": True}}, "levels are for answers"),
        ({"value": {"instruction": "yes"}}, "value"),
        ({"answer": "0" * 16}, "no such answer"),
        ({"answer": "' OR 1=1"}, "no such answer"),
        ({"position": 99}, "there is no instruction 99"),
        ({"position": -1}, "there is no instruction -1"),
        ({"position": "0"}, "position"),
        ({"set": 7}, "there is no set 7"),
        ({"nonce": "short"}, "nonce"),
        ({"nonce": "../../../etc"}, "nonce"),
        ({"comment": "x" * 2001}, "comment"),
        ({"more": 1}, "more"),
    ],
)
def test_a_rating_that_cant_be_is_refused_and_none_is_kept(visit: Any, change: dict[str, Any], word: str) -> None:
    async def script(site: Site) -> None:
        await site.enter()
        key = (await site.told(site.get("/api/subject/0/0")))["answers"][0]["key"]
        refused = await site.told(site.post("/api/rate", {**GOOD, "answer": key, **change}), 400)
        assert word in refused["error"]
        assert site.store.ratings() == ()

    visit(script)


@pytest.mark.parametrize(
    "raw", [b"", b"{", b"[]", b'{"name": "\\ud800"}', b"[" * 10_000, b"\xff\xfe", b'{"name": null}', b'{"name": "x"']
)
def test_a_body_that_is_none_is_refused(visit: Any, raw: bytes) -> None:
    async def script(site: Site) -> None:
        headers = {"Content-Type": "application/json"}
        response = await site.client.post(f"{site.url}/api/enter", data=raw, headers=headers)
        assert response.status == 400, await response.text()

    visit(script)


@pytest.mark.parametrize(
    "name", ["", "   ", "x" * 41, "<b>", "a/b", "judge judy", "Judge  9", "..", "a\x00b", "Robert'); DROP--", "=1+1"]
)
def test_a_name_that_cant_be_is_refused(visit: Any, name: str) -> None:
    async def script(site: Site) -> None:
        assert "name" in (await site.told(site.post("/api/enter", {"name": name}), 400))["error"]

    visit(script)


@pytest.mark.parametrize("name", ["Ann", "José María", "O'Neill", "王小明", "r-1_2.b"])
def test_names_of_people_are_taken(visit: Any, name: str) -> None:
    async def script(site: Site) -> None:
        assert (await site.enter(name))["name"] == name

    visit(script)


def test_a_broken_body_is_refused_with_the_policy(visit: Any) -> None:
    async def script(site: Site) -> None:
        headers = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
        response = await site.client.post(f"{site.url}/api/enter", data=b"no gzip at all", headers=headers)
        assert response.status == 400, await response.text()
        assert "default-src 'none'" in response.headers["Content-Security-Policy"]

    visit(script)


def test_a_body_that_doesnt_come_is_not_waited_for(visit: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("self_instruct.evaluate.rating_app.BODY_S", 0.1)

    async def script(site: Site) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", int(site.url.rsplit(":", 1)[1]))
        writer.write(
            b"POST /api/enter HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{"
        )
        assert b" 400 " in await asyncio.wait_for(reader.readline(), 5)
        writer.close()

    visit(script)


def test_a_store_that_is_gone_confirms_nothing(visit: Any) -> None:
    async def script(site: Site) -> None:
        await site.enter()
        shown = await site.told(site.get("/api/subject/0/0"))
        site.store.path.unlink()
        body = {"set": 0, "position": 0, "answer": shown["answers"][0]["key"], "value": "A", "nonce": "nonce-0001"}
        assert "can't be written" in (await site.told(site.post("/api/rate", body), 503))["error"]

    visit(script)


def test_a_request_over_the_limit_is_refused(visit: Any) -> None:
    async def script(site: Site) -> None:
        refused = await site.told(site.post("/api/enter", {"name": "x" * LARGEST}), 413)
        assert f"{LARGEST:,} bytes" in refused["error"]

    visit(script)


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://["},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Host": "evil.example"},
        {"Host": "127.0.0.1.evil.example:80"},
    ],
)
def test_other_sites_and_other_names_of_this_machine_are_refused(visit: Any, headers: dict[str, str]) -> None:
    async def script(site: Site) -> None:
        assert (await site.post("/api/enter", {"name": "Ann"}, **headers)).status == 403
        assert (await site.get("/api/next/0", **headers)).status == 403

    visit(script)


def test_a_form_of_another_site_rates_nothing(visit: Any) -> None:
    async def script(site: Site) -> None:
        for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data"):
            response = await site.client.post(f"{site.url}/api/enter", data=b'{"name": "Ann"}', headers={"Content-Type": kind})
            assert response.status == 415

    visit(script)


@pytest.mark.parametrize(
    "place",
    [
        "/../rate.html",
        "/%2e%2e/%2e%2e/etc/passwd",
        "/rate.py",
        "/api/text/0/0/%2e%2e%2fetc",
        "/api/text/0/0/answer-..",
        "/api/export/0.sqlite",
        "/api/subject/0/-1",
        "/api/subject/0/99999999999999999999",
        "/api/next/%31%27",
    ],
)
def test_a_path_is_looked_up_and_never_opened(visit: Any, place: str) -> None:
    async def script(site: Site) -> None:
        await site.enter()
        assert (await site.get(place)).status == 404

    visit(script)


def test_the_definitions_are_the_judges_and_the_methods() -> None:
    page = shipped("evaluate/rate.html").read_text(encoding="utf-8")
    for level, words in DEFINITIONS.items():
        assert f'aria-label="{level}: {words}"' in page
        assert page.count(f">{words}<") == 2, words  # on its button and in the help


def test_every_answer_carries_the_policy(visit: Any) -> None:
    async def script(site: Site) -> None:
        for place in ("/", "/rate.js", "/api/next/0", "/nothing"):
            response = await site.get(place)
            assert "default-src 'none'" in response.headers["Content-Security-Policy"]
            assert "unsafe" not in response.headers["Content-Security-Policy"]
            assert response.headers["X-Content-Type-Options"] == "nosniff"

    visit(script)


def test_visitors_from_elsewhere_need_the_token(visit: Any) -> None:
    async def script(site: Site) -> None:
        assert (await site.get("/")).status == 403
        assert (await site.get("/?token=wrong")).status == 403
        assert (await site.post("/api/enter", {"name": "Ann"})).status == 403
        entered = await site.get("/?token=the-token")
        assert (entered.status, entered.headers["Location"]) == (303, "/")
        assert "HttpOnly" in entered.headers["Set-Cookie"]
        assert "SameSite=Lax" in entered.headers["Set-Cookie"]
        cookie = {"Cookie": entered.headers["Set-Cookie"].split(";")[0]}
        assert (await site.get("/", **cookie)).status == 200
        assert (await site.post("/api/enter", {"name": "Ann"}, **cookie)).status == 200
        assert (await site.post("/api/enter", {"name": "Bob"}, **cookie, Host="a.name.of.this.machine")).status == 200

    visit(script, token="the-token")


@pytest.mark.parametrize(
    ("host", "own"),
    [
        ("127.0.0.1", True),
        ("::1", True),
        ("localhost", True),
        ("127.8.8.8", True),
        ("0.0.0.0", False),
        ("::", False),
        ("box", False),
    ],
)
def test_which_addresses_are_this_machines_own(host: str, own: bool) -> None:
    assert is_own(host) is own
