"""How many requests are at the engine at once, which of them goes first, and what is sent before the first.

Knows nothing of prompts' contents. Nothing here shapes content: answers are the same however they flow.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from self_instruct.engine import Engine
from self_instruct.records import Completion, Request, Sampling
from self_instruct.settings import Settings

SPARE = 1.25  # requests at the engine for each that it runs at once: the next is there when one ends (ours)


def in_flight(settings: Settings) -> int:
    """Requests at the engines at once: `generate.in_flight`, else a quarter more than they all run at once."""
    return settings.generate.in_flight or max(1, round(SPARE * settings.run.engine.max_num_seqs * settings.replicas))


def starved(settings: Settings) -> str | None:
    """What to warn of where `generate.lag` keeps the engines from being full; none where it doesn't."""
    generate, slots = settings.generate, settings.run.engine.max_num_seqs * settings.replicas
    if generate.order != "window" or generate.lag >= slots:
        return None
    return (
        f"generate.lag: only {generate.lag} bootstrapping requests are open at once, and the engine runs {slots} sequences "
        f"(run.engine.max_num_seqs{' x servers' if settings.replicas > 1 else ''}): it idles where steps 2 and 3 don't fill it"
    )


class InFlight:
    """An engine that holds back what is beyond `limit`. The smallest priority goes first, of equals the oldest."""

    def __init__(self, engine: Engine, limit: int) -> None:
        self._engine, self._limit = engine, limit
        self._waiting: list[tuple[int, int, asyncio.Future[None]]] = []  # a heap
        self._ages = itertools.count()
        self.open = 0

    async def generate(self, request: Request) -> Completion:
        """See `Engine.generate`."""
        if self.open < self._limit:
            self.open += 1
        else:
            turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            heapq.heappush(self._waiting, (request.priority, next(self._ages), turn))
            try:
                await turn  # whoever ends hands its place over
            except asyncio.CancelledError:
                if turn.done() and not turn.cancelled():
                    self._end_one()
                raise
        try:
            return await self._engine.generate(request)
        finally:
            self._end_one()

    def _end_one(self) -> None:
        while self._waiting:
            _, _, turn = heapq.heappop(self._waiting)
            if not turn.done():
                turn.set_result(None)
                return
        self.open -= 1

    async def metrics(self) -> dict[str, float]:
        """The engine's own."""
        return await self._engine.metrics()

    async def close(self) -> None:
        """The engine stays its owner's to close."""


async def warm(engine: Engine, heads: Sequence[str], replicas: int) -> int:
    """Have each of `replicas` engines behind `engine` read each head once, so that its prefix cache holds them before their
    first use; returns the prompt tokens of it. Nothing else may be open, so that each replica gets its share.

    Raises what the engine raises.
    """
    tokens = 0
    for number, head in enumerate(heads):
        requests = [
            Request(id=f"warm-{number}-{replica}", prompt=head, sampling=Sampling(max_tokens=1)) for replica in range(replicas)
        ]
        answers = await asyncio.gather(*(engine.generate(request) for request in requests))
        tokens += sum(answer.prompt_tokens for answer in answers)
    return tokens


def prefix_hits(records: Iterable[Mapping[str, Any]]) -> float | None:
    """Share of the prompt tokens of steps 2 and 3 that the engine had in its prefix cache, as it told with each answer.

    `records` are those of completions.jsonl. None where the engine told nothing.
    """
    told = [
        (record["cached_tokens"], record["prompt_tokens"])
        for record in records
        if record["id"].startswith(("classify-", "instances-")) and record.get("cached_tokens") is not None
    ]
    prompt = sum(tokens for _, tokens in told)
    return round(sum(cached for cached, _ in told) / prompt, 4) if prompt else None
