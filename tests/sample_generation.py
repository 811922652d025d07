"""A small generate stage made on the scripted engine, without its command: for tests of what derives from one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

from self_instruct import rundir
from self_instruct.engine_journaled import JournaledEngine
from self_instruct.engine_scripted import ScriptedEngine
from self_instruct.generate import prompts
from self_instruct.generate.card import Made
from self_instruct.generate.export import write_products
from self_instruct.generate.pipeline import Pipeline, Result
from self_instruct.generate.pool import shown_seeds
from self_instruct.generate.session import work
from self_instruct.loading import shipped
from self_instruct.records import Request
from self_instruct.seedbank import load_seeds, seed_file
from self_instruct.settings import Settings

STARTS = [{"started_s": 1_700_000_000.0, "versions": {"self-instruct": "0.1.0", "datasets": "5.2.0"}, "revision": None}]


def generated(run: Path, script: Callable[[Request], str] | None = None, **generate: Any) -> tuple[Result, Made]:
    """`<run>/generate` with journal, corpus and exports, and what they were written from."""
    settings = Settings.model_validate({"generate": {"target_instructions": 30, "lag": 4, "max_requests": 60} | generate})
    seeds = load_seeds(settings.generate.seeds)
    demonstrations = shipped("seeds/demonstrations")
    stage = run / "generate"
    engine = JournaledEngine(stage / "journal" / "completions.jsonl", ScriptedEngine(seed=3, script=script))

    async def go() -> Result:
        loaded = prompts.load_demonstrations(demonstrations)
        pipeline = Pipeline(settings, seeds, loaded, engine, count_tokens=lambda text: len(text.split()), context=10_000)
        try:
            return await pipeline.run()
        finally:
            await engine.close()

    result = asyncio.run(go())
    inputs = {
        "seeds": rundir.sha256(seed_file(settings.generate.seeds)),
        "demonstrations": rundir.sha256(demonstrations),
        "model": "ab" * 32,
    }
    made = Made(
        settings=settings,
        inputs=inputs,
        seeds=len(seeds),
        shown=len(shown_seeds(seeds, settings.generate)),
        starts=STARTS,
        sessions=work(engine.records()),
    )
    write_products(stage, result, made)
    return result, made
