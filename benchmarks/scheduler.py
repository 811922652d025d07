"""Requests a second that the whole pipeline carries when answers cost nothing: the scripted engine at zero latency.

A number of the scripted engine, which is a fake: it says what the scheduling, the prompts, the filters, the novelty index
and the journal cost, and nothing of a model. Run: `python benchmarks/scheduler.py`.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

from reporting import heading, table, target

from self_instruct import runlog
from self_instruct.engine import Engine
from self_instruct.engine_scripted import ScriptedEngine
from self_instruct.generate import inputs, session
from self_instruct.generate.pipeline import Pipeline, Result
from self_instruct.novelty import COMPILED_FROM, NoveltyIndex
from self_instruct.records import Completion, Request
from self_instruct.settings import Settings

WANTED = 2_000  # requests/s of the whole pipeline (ours)
CONTEXT = 1_000_000
WIDTHS = (8, 24, 48, 96)  # words: one of each kind that the index has loops for
WARM = "Sort the three rivers by length and then say which of them is the longest one"


class Kept:
    """The scripted engine, and every request that reached it."""

    def __init__(self) -> None:
        self._engine = ScriptedEngine(seed=42)
        self.requests: list[Request] = []

    async def generate(self, request: Request) -> Completion:
        self.requests.append(request)
        return await self._engine.generate(request)

    async def metrics(self) -> dict[str, float]:
        return await self._engine.metrics()

    async def close(self) -> None:
        await self._engine.close()


def count_tokens(text: str) -> int:
    return len(text.split())


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--requests", type=int, default=4000, metavar="N", help="bootstrapping requests of a run (default: 4000)")
    requests = parser.parse_args().requests
    runlog.configure()
    heading("Scheduler: the whole pipeline on the scripted engine, zero latency")
    # The scripted engine's few words dry up early; all requests are wanted.
    generate = {"target_instructions": 10**9, "max_requests": requests, "min_acceptance": 0}
    settings = Settings.model_validate({"model": {"engine": "scripted"}, "generate": generate})
    given = inputs.load(settings, inputs.sources(settings), CONTEXT)
    compile_novelty()
    rows = []
    for name, measured in (("without a journal", bare), ("journal, ledger and metrics on disk", journaled)):
        engine = Kept()
        wall_s, cpu_s, result = timed(measured(given, engine))
        _, fake_s, _ = timed(alone(engine.requests))
        served = len(engine.requests)
        rows.append(
            (
                name,
                served,
                result.requests,
                len(result.instructions),
                served / wall_s,
                served / cpu_s,
                1e6 * (cpu_s - fake_s) / served,
                1e6 * fake_s / served,
                target(served / wall_s >= WANTED, f">= {WANTED:,}/s wall"),
            )
        )
    columns = (
        "pipeline", "requests", "of step 1", "accepted", "requests/s wall", "requests/s CPU", "ours, CPU us a request",
        "the fake, CPU us a request", "target",
    )  # fmt: skip
    table(columns, rows)


def timed(work: Coroutine[Any, Any, Result]) -> tuple[float, float, Result]:
    """Wall and CPU seconds of one piece of work, and what it gave."""
    wall, cpu = time.monotonic(), time.process_time()
    result = asyncio.run(work)
    return time.monotonic() - wall, time.process_time() - cpu, result


async def bare(given: inputs.Inputs, engine: Engine) -> Result:
    return await Pipeline(
        given.settings, given.seeds, given.demonstrations, engine, count_tokens=count_tokens, context=CONTEXT
    ).run()


async def journaled(given: inputs.Inputs, engine: Engine) -> Result:
    async def start() -> Engine:
        return engine

    with tempfile.TemporaryDirectory() as folder:
        return (await session.run(Path(folder), given, start, lambda: count_tokens)).result


async def alone(requests: list[Request]) -> Result:
    """The same requests on the fake without anything of ours."""
    engine = ScriptedEngine(seed=42)
    for request in requests:
        await engine.generate(request)
    return Result(requests=len(requests))


def compile_novelty() -> None:
    """The loops of a large pool are compiled at their first use, or read from numba's cache: seconds, once."""
    index = NoveltyIndex()
    index.extend((str(n), f"{WARM} {n}") for n in range(COMPILED_FROM))
    for length in WIDTHS:
        index.add("", " ".join(f"w{n}" for n in range(length)))
    index.nearest(WARM, 10)


if __name__ == "__main__":
    main()
