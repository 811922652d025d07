"""The answers of the base and of every adapter, from one engine, journaled as they come.

Knows nothing of scores. All requests are open at once and the engine schedules them. What the journal holds is
never asked for again; a request that fails is an error, never an empty answer.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from self_instruct import journal
from self_instruct.engine import Engine
from self_instruct.engine_journaled import JournaledEngine, payload_hash
from self_instruct.evaluate.answer_cache import AnswerCache, Known, Remembering
from self_instruct.evaluate.suites import Prompted, Suite
from self_instruct.records import Completion, Prediction, Request, Sampling
from self_instruct.runlog import Progress

BASE = "base"
TUNED = "tuned"


@dataclass(frozen=True, kw_only=True, slots=True)
class Contender:
    """A model that answers: the base (no adapter), or a LoRA folder on it with the hash of its content."""

    name: str
    adapter: Path | None
    digest: str


class AdapterPaths:
    """An engine for requests that name an adapter by its content's hash; the one behind it takes folders.

    So the journal doesn't depend on where a run folder lies or on how its path was written.
    """

    def __init__(self, engine: Engine, folders: Mapping[str, str]) -> None:
        self._engine, self._folders = engine, folders

    async def generate(self, request: Request) -> Completion:
        """See `Engine.generate`."""
        folder = self._folders[request.adapter] if request.adapter else None
        return await self._engine.generate(replace(request, adapter=folder))

    async def metrics(self) -> dict[str, float]:
        return await self._engine.metrics()

    async def close(self) -> None:
        await self._engine.close()


def names(adapters: Sequence[Path], default: Path) -> tuple[str, ...]:
    """A name for each adapter: `tuned` for the run's own, else the folder's name; numbered where taken."""
    taken = {BASE}
    found = []
    for adapter in adapters:
        stem = TUNED if adapter.resolve() == default.resolve() else adapter.resolve().name
        name, number = stem, 1
        while name in taken:
            number += 1
            name = f"{stem}-{number}"
        taken.add(name)
        found.append(name)
    return tuple(found)


@dataclass(frozen=True, kw_only=True, slots=True)
class Asked:
    """The prompts of one evaluation set."""

    suite: Suite
    prompted: tuple[Prompted, ...]


def request(contender: Contender, prompt: str, max_tokens: int) -> Request:
    """One greedy request, end-of-text as the only stop (method: both experiments). Its id says what is asked, so the same prompt
    in two places, or of two adapters with the same content, is asked once."""
    made = Request(id="", prompt=prompt, sampling=Sampling(max_tokens=max_tokens), adapter=contender.digest or None)
    return replace(made, id=payload_hash(made))


def requests(contenders: Sequence[Contender], asked: Sequence[Asked]) -> tuple[Request, ...]:
    """Every different request, by evaluation set, item and model: prompts that begin alike stay together, for the prefix cache."""
    made = {
        one.id: one
        for group in asked
        for prompted in group.prompted
        for contender in contenders
        for one in (request(contender, prompted.prompt, group.suite.max_tokens),)
    }
    return tuple(made.values())


def unanswered(path: Path, asked: Iterable[Request]) -> tuple[Request, ...]:
    """The requests whose answers the journal doesn't hold yet."""
    known = {record["id"] for record in journal.read(path)}
    return tuple(request for request in asked if request.id not in known)


async def answer(engine: Engine, asked: Sequence[Request]) -> dict[str, Completion]:
    """Every request's completion by its id. Raises the first EngineError, with the other requests cancelled."""
    begun = time.monotonic()
    written = 0
    with Progress("answers", len(asked), "requests") as progress:

        async def one(request: Request) -> Completion:
            nonlocal written
            completion = await engine.generate(request)
            written += completion.output_tokens
            progress.advance(note=f"{written / max(time.monotonic() - begun, 1e-9):.0f} tokens/s")
            return completion

        tasks = [asyncio.create_task(one(request)) for request in asked]
        try:
            completions = await asyncio.gather(*tasks)
        except BaseException:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            raise
    return {completion.request_id: completion for completion in completions}


async def take(path: Path, cache: AnswerCache, asked: Sequence[Request]) -> int:
    """Journal what other runs were answered already; returns how many."""
    found = cache.get(unanswered(path, asked))
    if found:
        journaled = JournaledEngine(path, Known(found))
        for one in asked:
            if one.id in found:
                await journaled.generate(one)
        await journaled.close()
        _log_session(path, requests=0, output_tokens=0, seconds=0.0, cached=len(found))
    return len(found)


async def collect(
    path: Path,
    engine: Engine | None,
    asked: Sequence[Request],
    folders: Mapping[str, str],
    cache: AnswerCache | None = None,
) -> dict[str, Completion]:
    """Every answer, from the journal at `path` or else from the engine, by request id; the engine is closed.

    A line of `sessions.jsonl` beside the journal tells how many were asked for, their tokens and the seconds, also
    where the session failed. Without an engine every answer must be in the journal. New answers go to the `cache`.
    """
    new = unanswered(path, asked)
    new_ids = {request.id for request in new}
    behind: Engine | None = AdapterPaths(engine, folders) if engine else None
    if behind and cache:
        behind = Remembering(behind, cache)
    journaled = JournaledEngine(path, behind)
    begun = time.monotonic()
    try:
        old = {request.id: await journaled.generate(request) for request in asked if request.id not in new_ids}
        return old | (await answer(journaled, new) if new else {})
    finally:
        seconds = time.monotonic() - begun
        await journaled.close()
        if engine:
            came = [record for record in journal.read(path) if record["id"] in new_ids]
            tokens = sum(record["output_tokens"] for record in came)
            _log_session(path, requests=len(came), output_tokens=tokens, seconds=round(seconds, 3), cached=0)


def _log_session(path: Path, **told: float) -> None:
    sessions = journal.Journal(path.with_name("sessions.jsonl"))
    sessions.append(told)
    sessions.close()


def predictions(contender: Contender, asked: Asked, completions: Mapping[str, Completion]) -> tuple[Prediction, ...]:
    """One model's stripped answers to one evaluation set, in its items' order."""
    made = []
    for one in asked.prompted:
        completion = completions[request(contender, one.prompt, asked.suite.max_tokens).id]
        made.append(
            Prediction(
                item_id=one.item.id,
                model=contender.name,
                text=completion.text.strip(),
                hit_limit=completion.finish_reason == "length",
                output_tokens=completion.output_tokens,
            )
        )
    return tuple(made)
