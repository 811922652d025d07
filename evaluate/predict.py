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
from self_instruct.engine_journaled import JournaledEngine
from self_instruct.evaluate.suites import Prompted
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


def requests(contenders: Sequence[Contender], prompted: Sequence[Prompted], max_tokens: int) -> tuple[Request, ...]:
    """One greedy request for each model and item, end-of-text as the only stop (method: user-oriented tasks)."""
    sampling = Sampling(max_tokens=max_tokens)
    return tuple(
        Request(id=f"{contender.name}/{one.item.id}", prompt=one.prompt, sampling=sampling, adapter=contender.digest or None)
        for one in prompted
        for contender in contenders
    )


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


async def collect(path: Path, engine: Engine | None, asked: Sequence[Request], folders: Mapping[str, str]) -> dict[str, Completion]:
    """Every answer, from the journal at `path` or else from the engine, by request id; the engine is closed.

    A line of `sessions.jsonl` beside the journal tells how many were asked for, their tokens and the seconds, also
    where the session failed. Without an engine every answer must be in the journal.
    """
    new = unanswered(path, asked)
    new_ids = {request.id for request in new}
    journaled = JournaledEngine(path, AdapterPaths(engine, folders) if engine else None)
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
            sessions = journal.Journal(path.with_name("sessions.jsonl"))
            sessions.append({"requests": len(came), "output_tokens": tokens, "seconds": round(seconds, 3)})
            sessions.close()


def predictions(
    contenders: Sequence[Contender], prompted: Sequence[Prompted], completions: Mapping[str, Completion]
) -> tuple[Prediction, ...]:
    """The stripped answers, by item and then by model."""
    made = []
    for one in prompted:
        for contender in contenders:
            completion = completions[f"{contender.name}/{one.item.id}"]
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
