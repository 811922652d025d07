"""What changes the session's `vllm serve`, and then ends it: by its name this file comes after the other contract tests."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

import pytest

from http_server import HttpServer
from self_instruct.engine_server import ServerEngine
from self_instruct.records import Completion, Request, Sampling
from serving import CONTEXT, Process, server_settings

pytestmark = pytest.mark.contract
REQUESTS = 12


def test_a_real_server_loads_an_adapter_that_is_asked_for(vllm_serve: Process, random_adapter: Path, tmp_path: Path) -> None:
    """A copy in another folder, which the server wasn't started with, answers as the one that it was started with."""
    copy = Path(shutil.copytree(random_adapter, tmp_path / "copy"))
    prompt, sampling = "The capital of France is", Sampling(max_tokens=12)

    async def main() -> list[str]:
        engine = await ServerEngine.start(vllm_serve.model, server_settings(vllm_serve.url), (str(random_adapter), str(copy)))
        try:
            asked = [
                Request(id=f"r{number}", prompt=prompt, sampling=sampling, adapter=adapter)
                for number, adapter in enumerate((str(random_adapter), str(copy), None))
            ]
            return [(await engine.generate(one)).text for one in asked]
        finally:
            await engine.close()

    first, loaded, base = asyncio.run(main())
    assert first == loaded != base


def test_what_a_killed_vllm_server_held_is_answered_by_the_other(vllm_serve: Process) -> None:
    asked = [
        Request(id=f"r{number}", prompt=f"Count: {number}, {number + 1},", sampling=Sampling(max_tokens=400, seed=number))
        for number in range(REQUESTS)
    ]

    async def main() -> tuple[list[Completion], HttpServer]:
        other = await HttpServer(vllm_serve.model.path, context=CONTEXT).start()
        engine = await ServerEngine.start(vllm_serve.model, server_settings(vllm_serve.url, other.url))
        try:
            answers = asyncio.gather(*map(engine.generate, asked))
            while (await engine.metrics())["vllm:num_requests_running"] < REQUESTS / 2:
                await asyncio.sleep(0.02)
            assert len(other.asked) == REQUESTS / 2
            vllm_serve.kill()
            return await asyncio.wait_for(answers, 60), other
        finally:
            await engine.close()
            await other.stop()

    completions, other = asyncio.run(main())
    assert [completion.request_id for completion in completions] == [request.id for request in asked]
    assert len(other.asked) == REQUESTS, "each once at the other, the lost ones after the kill"
    assert len({tuple(body["prompt"]) for body in other.asked}) == REQUESTS
