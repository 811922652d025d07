"""An engine in front of another one that journals every completion and never asks for one twice.

Knows nothing of the requests' meaning. Resuming is running the same pipeline again on this engine: what is in the
journal is answered from there, the rest is asked for. With no engine behind it, it replays.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import hashlib
import json
import time
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from typing import Any

from self_instruct import journal
from self_instruct.engine import Engine
from self_instruct.errors import RunFolderError
from self_instruct.records import Completion, Request, Sampling

SETTLE_S, SETTLE_TURNS = 0.2, 20  # nothing beside the start of an engine
NOT_CONTENT = ("id", "priority", "parents", "scored")
NOT_KEPT = ("request_id", "logprobs", "likeliest")  # scores are asked for without a journal
# `dataclasses.asdict` copies deeply, at a fifth of the time that a request costs beside its engine.
CONTENT = tuple(field.name for field in dataclasses.fields(Request) if field.name not in NOT_CONTENT)
SAMPLING = tuple(field.name for field in dataclasses.fields(Sampling))
COMPLETION = tuple(field.name for field in dataclasses.fields(Completion) if field.name not in NOT_KEPT)
TEXT, COUNT, SECONDS = (str,), (int,), (int, float)
NEEDED: dict[str, tuple[type, ...]] = {
    "id": TEXT, "number": COUNT, "session": COUNT, "asked_s": SECONDS, "answered_s": SECONDS, "payload": TEXT, "text": TEXT,
    "finish_reason": TEXT, "prompt_tokens": COUNT, "output_tokens": COUNT, "choice_logprobs": (list,),
}  # fmt: skip


def payload_hash(request: Request) -> str:
    """What was asked, without the parts that don't shape the answer (id, priority, parents): 16 hex digits of SHA-256."""
    content = _values(request, CONTENT) | {"sampling": _values(request.sampling, SAMPLING)}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def _values(record: Any, names: tuple[str, ...]) -> dict[str, Any]:
    return {name: getattr(record, name) for name in names}


def _flaw(record: dict[str, Any], wrong: list[str]) -> str:
    if not wrong:
        return f"request {record['id']} a second time"
    name = wrong[0]
    return f"'{name}' is {repr(record[name])[:60]}" if name in record else f"no '{name}' in it"


async def _let_go(asking: asyncio.Future[Completion]) -> Completion | None:
    """Cancel a request; its answer where that had come by then, as it would be asked for a second time."""
    with contextlib.suppress(asyncio.CancelledError):  # a second one; the caller goes on with the first
        await asyncio.sleep(0)  # an answer that has just come is taken in the next turn of the loop
    if not asking.done():
        asking.cancel()
        await asyncio.wait([asking])
    return None if asking.cancelled() or asking.exception() else asking.result()


class JournaledEngine:
    """`answered` counts the requests served from the journal, `asked` those answered by the engine.

    A record of the journal: `id`; `number`, the order of sending, from 0, over all sessions; `session` and the seconds
    since its start at which the request was sent and answered (`asked_s`, `answered_s`); `payload`, the hash of what was
    asked; `parents`; and the completion's own fields. `asked_output_tokens` are those that the engine gave; `open` and
    `most_open` count requests that it has now, and had at most.
    """

    def __init__(
        self,
        path: Path,
        engine: Engine | None,
        *,
        start: Callable[[], Awaitable[Engine]] | None = None,
        session: int = 1,
    ) -> None:
        """Read the journal at `path`. Raises RunFolderError with file and line where it is damaged.

        `start` gives the engine behind, and is called at the first request that isn't in the journal. Without either
        the journal is only read.
        """
        self._path, self._engine, self._start, self._session = path, engine, start, session
        self._known: dict[str, dict[str, Any]] = {}
        for line, record in enumerate(journal.read(path), start=1):
            wrong = [name for name, types in NEEDED.items() if not isinstance(record.get(name), types)]
            if wrong or record["id"] in self._known:
                raise RunFolderError(
                    f"{path}:{line}: {_flaw(record, wrong)}",
                    hint="restore the file from a copy, or start a new run with --out; nothing was changed",
                )
            self._known[record["id"]] = record
        self._number = 1 + max((record["number"] for record in self._known.values()), default=-1)
        self._journal: journal.Journal | None = None
        self._starting: asyncio.Future[Engine] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._begun = time.monotonic()
        self._failure: asyncio.Future[None] | None = None
        self.answered = self.asked = self.open = self.most_open = 0
        self.asked_output_tokens = 0

    @property
    def known(self) -> int:
        """Completions in the journal."""
        return len(self._known)

    def records(self) -> Iterable[dict[str, Any]]:
        """What the journal holds by now."""
        return self._known.values()

    def failure(self) -> asyncio.Future[None]:
        """Gets the OSError after which the journal can't be written: whatever is asked from then on would be lost."""
        if self._failure is None:
            self._failure = asyncio.get_running_loop().create_future()
        return self._failure

    async def generate(self, request: Request) -> Completion:
        """See `Engine.generate`. Raises RunFolderError where the journal holds another request under this id, or where
        there is no engine to ask, and OSError where the journal can't be written."""
        assert not request.scored, "scores are asked for without a journal"
        payload = payload_hash(request)
        record = self._known.get(request.id)
        if record is not None:
            if record["payload"] != payload:
                raise RunFolderError(
                    f"{self._path}: request {request.id} was another one ({record['payload']}, now {payload})",
                    hint="the run was made by another version of self-instruct; start a new one with --out",
                )
            self.answered += 1
            given = {name: record[name] for name in COMPLETION if name in record}
            return Completion(request_id=request.id, **given | {"choice_logprobs": tuple(record["choice_logprobs"])})
        engine = await self._behind(request)
        number, self._number = self._number, self._number + 1
        self.open += 1
        self.most_open = max(self.most_open, self.open)
        sent = {"id": request.id, "number": number, "session": self._session, "asked_s": self._clock(), "payload": payload}
        sent["parents"] = list(request.parents)
        asking = asyncio.ensure_future(engine.generate(request))
        try:
            completion = await asyncio.shield(asking)
        except asyncio.CancelledError:
            if kept := await _let_go(asking):
                self._keep(sent, kept)
            raise
        finally:
            self.open -= 1
        self._keep(sent, completion)
        return completion

    def _keep(self, sent: dict[str, Any], completion: Completion) -> None:
        record = sent | {"answered_s": self._clock(), **_values(completion, COMPLETION)}
        self._append(record)
        self._known[completion.request_id] = record
        self.asked += 1
        self.asked_output_tokens += completion.output_tokens

    def _clock(self) -> float:
        return round(time.monotonic() - self._begun, 3)

    async def _behind(self, request: Request) -> Engine:
        """The engine, started where it isn't yet."""
        if self._engine is not None:
            return self._engine
        if self._start is None:
            raise RunFolderError(
                f"{self._path}: request {request.id} is not in it", hint="the run isn't finished; continue it first"
            )
        if self._starting is None:
            self._starting = asyncio.ensure_future(self._start_when_stalled(self._start))
        # Shielded: the engine is everybody's, whoever is cancelled while waiting for it.
        self._engine = await asyncio.shield(self._starting)
        return self._engine

    async def _start_when_stalled(self, start: Callable[[], Awaitable[Engine]]) -> Engine:
        """Start the engine once nothing more comes from the journal: what is missing may lie beyond the run's end, as what
        was open there was cancelled, and then no engine is needed."""
        while self._known:
            before = self.answered
            await asyncio.sleep(SETTLE_S)
            for _ in range(SETTLE_TURNS):  # of the loop, which may have been busy all the while
                await asyncio.sleep(0)
            if self.answered == before:
                break
        return await start()

    def _append(self, record: dict[str, Any]) -> None:
        try:
            if self._journal is None:
                self._journal = journal.Journal(self._path)
            self._journal.append(record)
        except OSError as error:
            self._fail(error)
            raise
        if self._timer is None:
            # What comes alone is synced too, though no later append does it.
            self._timer = asyncio.get_running_loop().call_later(journal.SYNC_EVERY_S, self._sync)

    def _sync(self) -> None:
        self._timer = None
        try:
            if self._journal is not None:
                self._journal.sync()
        except OSError as error:
            self._fail(error)

    def _fail(self, error: OSError) -> None:
        if not self.failure().done():
            self.failure().set_exception(error)
            self.failure().exception()  # told, whether somebody waits for it or not

    async def metrics(self) -> dict[str, float]:
        """The engine's own; nothing before it is started."""
        return await self._engine.metrics() if self._engine else {}

    async def close(self) -> None:
        """Close the journal, then the engine behind it."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        try:
            if self._journal is not None:
                open_journal, self._journal = self._journal, None
                open_journal.close()
        finally:
            if self._starting is not None and self._engine is None:
                self._starting.cancel()
                await asyncio.wait([self._starting])
                if not self._starting.cancelled() and self._starting.exception() is None:
                    self._engine = self._starting.result()
            if self._engine:
                await self._engine.close()
