"""Which engine the settings open, and with what."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from self_instruct import engines
from self_instruct.engine_restarting import RestartingEngine
from self_instruct.engine_scripted import ScriptedEngine
from self_instruct.engine_server import ServerEngine
from self_instruct.engine_transformers import TransformersEngine
from self_instruct.engine_vllm import VllmEngine
from self_instruct.errors import EngineDiedError
from self_instruct.records import Request, Sampling
from self_instruct.settings import Settings

MODEL: Any = object()  # handed on, not looked at


def settings(engine: str, **more: Any) -> Settings:
    return Settings.model_validate({"model": {"engine": engine}, "run": {"engine": more}})


@pytest.mark.parametrize(
    ("name", "kind", "log"),
    [("vllm", VllmEngine, True), ("server", ServerEngine, False), ("transformers", TransformersEngine, False)],
)
def test_each_name_starts_its_engine_with_the_adapters(
    monkeypatch: pytest.MonkeyPatch, name: str, kind: type[Any], log: bool
) -> None:
    started: list[tuple[Any, ...]] = []

    async def start(*arguments: Any) -> ScriptedEngine:
        started.append(arguments)
        return ScriptedEngine()

    monkeypatch.setattr(kind, "start", start)
    chosen, path = settings(name), Path("engine.log")
    asyncio.run(engines.open_engine(MODEL, chosen, ("/a",), path))
    assert started == [(MODEL, chosen, ("/a",), path) if log else (MODEL, chosen, ("/a",))]


def test_a_vllm_that_dies_is_started_as_often_as_the_setting_says(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[ScriptedEngine] = []

    async def start(*_: Any) -> ScriptedEngine:
        started.append(ScriptedEngine(dies_after=1))
        return started[-1]

    monkeypatch.setattr(VllmEngine, "start", start)
    monkeypatch.setattr("self_instruct.engine_restarting.BACKOFF_S", 0.0)

    async def main() -> None:
        engine = await engines.open_engine(MODEL, settings("vllm", restarts=1))
        assert isinstance(engine, RestartingEngine)
        for number in range(3):  # one answer a life: each restart is followed by progress
            await engine.generate(Request(id=f"r{number}", prompt="p", sampling=Sampling(max_tokens=4)))
        monkeypatch.setattr(ScriptedEngine, "generate", dies)
        with pytest.raises(EngineDiedError, match="started anew 1 times"):
            await engine.generate(Request(id="r9", prompt="p", sampling=Sampling(max_tokens=4)))

    async def dies(*_: Any) -> None:
        raise EngineDiedError("gone")

    asyncio.run(main())
    assert len(started) == 4
