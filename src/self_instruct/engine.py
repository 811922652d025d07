"""The seam between the stages and whatever completes text.

Knows no engine: vLLM is in `engine_vllm`, the deterministic fake in `engine_scripted`.
"""

from __future__ import annotations

from typing import Protocol

from self_instruct.errors import EngineError
from self_instruct.records import Completion, Request


class Engine(Protocol):
    """Many requests may be in flight at once; each is one `await`."""

    async def generate(self, request: Request) -> Completion:
        """Complete one request.

        Raises EngineError where the request can't be served (too long, colliding choices, unknown adapter, scores of
        tokens from an engine other than `vllm`)
        and EngineDiedError where the engine ended. A failure is never an empty completion.
        """
        ...

    async def metrics(self) -> dict[str, float]:
        """Counters and gauges of the engine by name (tokens, requests running and waiting, cache hits)."""
        ...

    async def close(self) -> None:
        """Stop the engine and free the device. May be called twice."""
        ...


def refuse_scoring(request: Request, engine: str) -> None:
    """For the engines that don't score tokens. Raises EngineError where the request asks for that."""
    if request.scored:
        raise EngineError(f"request {request.id}: the {engine} engine scores no tokens", hint="set model.engine=vllm")
