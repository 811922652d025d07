"""Pipelines on a scripted engine whose answers come in an order that is drawn anew, without folders or commands."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from typing import Any

from self_instruct.engine_scripted import ScriptedEngine
from self_instruct.generate import prompts
from self_instruct.generate.pipeline import Pipeline, Result
from self_instruct.loading import shipped
from self_instruct.records import Completion, EvalItem, Request
from self_instruct.seedbank import load_seeds
from self_instruct.settings import Settings

SEEDS = load_seeds()
DEMONSTRATIONS = prompts.load_demonstrations(shipped("seeds/demonstrations"))


class Jittery(ScriptedEngine):
    """Answers after a number of turns of the loop that `turns` draws anew in each run; logs what begins and ends."""

    def __init__(self, turns: random.Random | None = None, **scripted: Any) -> None:
        super().__init__(seed=3, **scripted)
        self.turns = turns or random.Random(0)
        self.log: list[tuple[str, str]] = []
        self.open = self.most = 0
        self.requests: dict[str, Request] = {}

    async def generate(self, request: Request) -> Completion:
        self.open += 1
        self.most = max(self.most, self.open)
        self.requests[request.id] = request
        self.log.append(("begin", request.id))
        try:
            for _ in range(self.turns.choice((0, 0, 1, 2, 5, 40))):
                await asyncio.sleep(0)
            return await super().generate(request)
        finally:
            self.open -= 1
            self.log.append(("end", request.id))


def words(text: str) -> int:
    return len(text.split())


def run(
    engine: ScriptedEngine,
    evaluation: tuple[EvalItem, ...] = (),
    *,
    context: int = 10_000,
    count_tokens: Callable[[str], int] = words,
    **generate: Any,
) -> Result:
    chosen = Settings.model_validate({"generate": {"target_instructions": 40, "lag": 16, "max_requests": 60} | generate})
    pipeline = Pipeline(
        chosen, SEEDS, DEMONSTRATIONS, engine,
        count_tokens=count_tokens, context=context, evaluation=evaluation,
    )  # fmt: skip
    return asyncio.run(pipeline.run())
