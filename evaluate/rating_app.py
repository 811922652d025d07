"""The server of the rating page: people rate blind, on aiohttp.

Knows the store, the sets and what the page may send; no model's name gets into an answer of it. Texts are sent as JSON and shown
as text; the browser may load nothing but the page's own three files.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from aiohttp import web

from self_instruct.errors import DataError, SelfInstructError
from self_instruct.evaluate import rating_export, rating_guard, rating_input
from self_instruct.evaluate.rating_sets import AnswerText, RatingSet, Subject, Target
from self_instruct.evaluate.ratings import QUESTIONS, SKIP, Entered, InUseError, NotEnteredError, RatingStore, Value
from self_instruct.evaluate.ratings_file import NotWrittenError
from self_instruct.loading import shipped
from self_instruct.runlog import log

LARGEST = 32 * 1024  # bytes of a request
BODY_S = 10.0  # in which it must have come
SCRIPTS = ("rate.js", "rate_entry.js", "rate_link.js", "rate_state.js", "rate_view.js", "rate_ways.js")
FILES = {
    "/": ("rate.html", "text/html"),
    "/rate.css": ("rate.css", "text/css"),
    **{f"/{name}": (name, "text/javascript") for name in SCRIPTS},
}
COMPRESSED = 1_024  # bytes from which on an answer is

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Result = TypeVar("Result")


def is_done(value: Any) -> bool:
    """Whether nothing is left to say of an answer: a level, or a review with its three questions answered."""
    if isinstance(value, dict):
        return all(value[question] is not None for question in QUESTIONS)
    return value is not None and value != SKIP


async def _body(request: web.Request) -> bytes:
    async with asyncio.timeout(BODY_S):
        return await request.read()


class RatingApp:
    """The handlers over one store. `token`: what visitors must know, None where only this machine reaches the page."""

    def __init__(self, sets: Sequence[RatingSet], store: RatingStore, token: str | None) -> None:
        self._sets, self._store, self._token = sets, store, token
        # SQLite waits for the disk: in a thread of its own, so that nobody waits for it who doesn't save.
        self._thread = ThreadPoolExecutor(1, "ratings")
        self._files = {
            place: (shipped(f"evaluate/{name}").read_text(encoding="utf-8"), kind) for place, (name, kind) in FILES.items()
        }
        self._targets = [one.targets for one in sets]

    def application(self) -> web.Application:
        """The routes. Whatever stands in one is a number or a key that is looked up, never a path."""
        made = web.Application(client_max_size=LARGEST, middlewares=[self._guard])
        one = r"{set:\d{1,4}}"
        made.add_routes([web.get(place, self._file) for place in FILES])
        made.add_routes(
            [
                web.post("/api/enter", self._enter),
                web.post("/api/leave", self._leave),
                web.post("/api/rate", self._rate),
                web.post("/api/undo", self._undo),
                web.get(f"/api/next/{one}", self._next),
                web.get(f"/api/subject/{one}/" + r"{position:\d{1,7}}", self._subject),
                web.get(f"/api/text/{one}/" + r"{position:\d{1,7}}/{part:[a-z]+(?:-[0-9a-f]{1,16})?}", self._text),
                web.get(f"/api/export/{one}." + r"{form:jsonl|csv}", self._export),
            ]
        )
        return made

    def close(self) -> None:
        """Wait for what is being saved."""
        self._thread.shutdown()

    async def _do(self, work: Callable[[], Result]) -> Result:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    # What every request passes

    @web.middleware
    async def _guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            response = rating_guard.refused(request, self._token) or await handler(request)
        except InUseError as error:
            response = rating_guard.error(409, error, code="in_use")
        except NotEnteredError as error:
            response = rating_guard.error(401, error, code="enter")
        except NotWrittenError as error:
            log.error("%s", error.message)
            response = rating_guard.error(503, DataError("the ratings can't be written", hint="look at the terminal of the server"))
        except SelfInstructError as error:
            response = rating_guard.error(400, error)
        except web.HTTPRequestEntityTooLarge:
            response = rating_guard.error(413, DataError(f"more than {LARGEST:,} bytes", hint="shorten the comment"))
        except (web.RequestPayloadError, TimeoutError) as error:
            response = rating_guard.error(400, DataError(f"the request can't be read: {error or 'it came too slowly'}"))
        except web.HTTPException as error:
            response = rating_guard.error(error.status, DataError(f"{request.method} {request.path[:100]}: {error.reason}"))
        except Exception:
            log.exception("%s %s", request.method, request.path)
            response = rating_guard.error(500, DataError("a bug in the server", hint="its terminal shows it; please report it"))
        response.headers.update(rating_guard.HEADERS)
        if isinstance(response, web.Response) and isinstance(response.body, bytes) and len(response.body) >= COMPRESSED:
            response.enable_compression()
        return response

    async def _file(self, request: web.Request) -> web.Response:
        text, kind = self._files[request.path]
        return web.Response(text=text, content_type=kind, charset="utf-8")

    # Who rates

    async def _enter(self, request: web.Request) -> web.Response:
        body = rating_input.parse(rating_input.Enter, await _body(request))
        shown, key = rating_input.person(body.name)
        found = await self._do(lambda: self._store.enter(shown, key, body.session, body.take_over, time.time()))

        def sets() -> list[dict[str, Any]]:
            return [
                {
                    "id": number,
                    "kind": one.kind,
                    "title": one.title,
                    "subjects": len(one.subjects),
                    "progress": self._progress(found, number, self._values(found, number)),
                }
                for number, one in enumerate(self._sets)
            ]

        store = await self._do(self._store.identity)
        told = {"session": found.session, "name": found.name, "known": found.known, "store": store, "sets": await self._do(sets)}
        log.info("%s rates", found.name)
        return web.json_response(told)

    async def _leave(self, request: web.Request) -> web.Response:
        rating_input.parse(rating_input.Leave, await _body(request))
        who = await self._who(request)
        await self._do(lambda: self._store.leave(who.rater))
        return web.json_response({})

    async def _who(self, request: web.Request) -> Entered:
        session = request.headers.get("X-Session", "")
        return await self._do(lambda: self._store.of_session(session, time.time()))

    # What they see

    def _set(self, number: int) -> RatingSet:
        if not 0 <= number < len(self._sets):
            raise DataError(f"there is no set {number}", hint="reload the page")
        return self._sets[number]

    def _place(self, number: int, position: int) -> tuple[RatingSet, Subject]:
        one = self._set(number)
        if not 0 <= position < len(one.subjects):
            raise DataError(f"there is no instruction {position} in {one.title}", hint="reload the page")
        return one, one.subjects[position]

    def _values(self, who: Entered, number: int) -> dict[Target, Value]:
        found = self._store.values(who.rater, self._sets[number].kind)
        return {target: value for target, value in found.items() if target in self._targets[number]}

    def _progress(self, who: Entered, number: int, values: Mapping[Target, Value]) -> dict[str, Any]:
        one = self._sets[number]
        done = sum(is_done(value.value) for value in values.values())
        pace = self._store.pace_s(who.rater, one.kind)
        left = None if pace is None else round(pace * (one.total - done))
        skipped = sum(value.value == SKIP for value in values.values())
        return {"done": done, "total": one.total, "skipped": skipped, "seconds_left": left}

    async def _next(self, request: web.Request) -> web.Response:
        who, number = await self._who(request), int(request.match_info["set"])
        one = self._set(number)
        try:
            after = int(request.query.get("after", "0")[:8]) % len(one.subjects)
        except ValueError:
            raise DataError("after: a number is asked for", hint="reload the page") from None

        def find() -> dict[str, Any]:
            values = self._values(who, number)
            round_ = [(after + step) % len(one.subjects) for step in range(len(one.subjects))]

            def first(skipped: bool) -> int | None:
                for position in round_:
                    subject = one.subjects[position]
                    for answer in subject.answers:
                        value = values.get((subject.key, answer.key))
                        said = value.value if value else None
                        if not is_done(said) and (skipped or said != SKIP):
                            return position
                return None

            position = first(False)
            position = first(True) if position is None else position
            return {"position": position, "progress": self._progress(who, number, values)}

        return web.json_response(await self._do(find))

    async def _subject(self, request: web.Request) -> web.Response:
        who, number = await self._who(request), int(request.match_info["set"])
        position = int(request.match_info["position"])
        one, subject = self._place(number, position)

        def look() -> dict[str, Any]:
            values = self._values(who, number)

            def answer(shown: AnswerText) -> dict[str, Any]:
                value = values.get((subject.key, shown.key))
                told = {"value": value.value, "comment": value.comment} if value else {"value": None, "comment": ""}
                return {"key": shown.key, "text": rating_input.cut(shown.text), **told}

            return {
                "position": position,
                "of": len(one.subjects),
                "item": rating_input.visible(subject.item),
                "instruction": rating_input.cut(subject.instruction),
                "input": rating_input.cut(subject.input) if subject.input.strip() else None,
                "references": [rating_input.cut(reference) for reference in subject.references],
                "answers": [answer(shown) for shown in one.shown(subject, who.name.casefold())],
                "progress": self._progress(who, number, values),
            }

        return web.json_response(await self._do(look))

    async def _text(self, request: web.Request) -> web.Response:
        await self._who(request)
        _, subject = self._place(int(request.match_info["set"]), int(request.match_info["position"]))
        parts = {"instruction": subject.instruction, "input": subject.input}
        parts |= {f"reference-{number}": text for number, text in enumerate(subject.references)}
        parts |= {f"answer-{answer.key}": answer.text for answer in subject.answers}
        part = request.match_info["part"]
        if part not in parts:
            raise DataError(f"there is no text {part}", hint="reload the page")
        return web.json_response({"text": rating_input.visible(parts[part])})

    # What they say

    async def _rate(self, request: web.Request) -> web.Response:
        body, who = rating_input.parse(rating_input.Rate, await _body(request)), await self._who(request)
        one, subject = self._place(body.set, body.position)
        target = subject.key, body.answer
        if target not in self._targets[body.set]:
            raise DataError(f"instruction {body.position} has no such answer", hint="reload the page")
        value = body.value
        review = isinstance(value, rating_input.ReviewValue)
        if value is not None and value != SKIP and review != (one.kind == "review"):
            raise DataError("value: levels are for answers, questions for a review", hint="reload the page")
        plain = value.model_dump() if isinstance(value, rating_input.ReviewValue) else value

        def save() -> dict[str, Any]:
            self._store.save(who.rater, one.kind, target, plain, body.comment, body.nonce, time.time())
            return {"saved": True, "progress": self._progress(who, body.set, self._values(who, body.set))}

        return web.json_response(await self._do(save))

    async def _undo(self, request: web.Request) -> web.Response:
        body, who = rating_input.parse(rating_input.Undo, await _body(request)), await self._who(request)
        one = self._set(body.set)

        def undo() -> dict[str, Any]:
            target = self._store.undo(who.rater, one.kind, self._targets[body.set], body.nonce, time.time())
            positions = [place for place, subject in enumerate(one.subjects) if target and subject.key == target[0]]
            return {
                "undone": target is not None,
                "position": positions[0] if positions else None,
                "answer": target[1] if target else None,
                "progress": self._progress(who, body.set, self._values(who, body.set)),
            }

        return web.json_response(await self._do(undo))

    async def _export(self, request: web.Request) -> web.Response:
        who, number = await self._who(request), int(request.match_info["set"])
        one = self._set(number)
        values = await self._do(lambda: self._values(who, number))
        rows = [
            rating_export.row(who.name, one, subject, answer, values[subject.key, answer.key])
            for subject in one.subjects
            for answer in one.shown(subject, who.name.casefold())  # as the rater saw them: another order would tell models apart
            if (subject.key, answer.key) in values
        ]
        if request.match_info["form"] == "jsonl":
            return web.Response(text=rating_export.as_jsonl(rows), content_type="application/x-ndjson")
        return web.Response(text=rating_export.as_csv(rows), content_type="text/csv", charset="utf-8")
