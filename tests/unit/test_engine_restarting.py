"""Engines that die and are started anew: nothing is lost, nothing that was answered is asked again, and there is an end."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from self_instruct import engine_restarting, engine_vllm, hardware
from self_instruct.engine import Engine
from self_instruct.engine_restarting import RestartingEngine
from self_instruct.engine_scripted import ScriptedEngine
from self_instruct.engine_vllm import VllmEngine
from self_instruct.errors import EngineDiedError, EngineError
from self_instruct.records import Completion, Request, Sampling
from self_instruct.settings import Settings


@pytest.fixture(autouse=True)
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses before restarts, in seconds, which nobody waits for."""
    asked: list[float] = []
    real = asyncio.sleep

    async def sleep(seconds: float) -> None:
        asked.append(seconds)
        await real(0)

    monkeypatch.setattr(engine_restarting.asyncio, "sleep", sleep)
    return asked


def request(number: int) -> Request:
    return Request(id=f"r{number}", prompt=f"prompt {number}", sampling=Sampling(max_tokens=8))


class Life:
    """Starts scripted engines that die after so many answers each, the last of the list again and again."""

    def __init__(self, *answers: int | None, fails: Callable[[int], bool] = lambda _: False) -> None:
        self._answers, self._fails = answers, fails
        self.engines: list[ScriptedEngine] = []
        self.answered: list[str] = []
        self.tried = 0

    async def start(self) -> Engine:
        self.tried += 1
        if self._fails(self.tried):
            raise EngineError("no memory yet")
        dies_after = self._answers[min(len(self.engines), len(self._answers) - 1)]
        life = self

        class Noting(ScriptedEngine):
            async def generate(self, request: Request) -> Completion:
                completion = await super().generate(request)
                life.answered.append(request.id)
                return completion

        self.engines.append(Noting(seed=1, dies_after=dies_after))
        return self.engines[-1]


def run(life: Life, use: Callable[[RestartingEngine], Awaitable[None]], restarts: int = 3) -> None:
    async def main() -> None:
        engine = await RestartingEngine.start(life.start, restarts)
        try:
            await asyncio.wait_for(use(engine), 20)
        finally:
            await engine.close()

    asyncio.run(main())


def test_every_request_is_answered_once_over_many_deaths() -> None:
    life = Life(7, 1, 12, 0, 5, 9, None)

    async def use(engine: RestartingEngine) -> None:
        for first in range(0, 60, 6):
            done = await asyncio.gather(*(engine.generate(request(number)) for number in range(first, first + 6)))
            assert [completion.request_id for completion in done] == [f"r{number}" for number in range(first, first + 6)]

    run(life, use)
    assert sorted(life.answered) == sorted(f"r{number}" for number in range(60))
    assert len(life.engines) == 7
    assert all(engine._closed for engine in life.engines), "a dead engine holds the device until it is closed"


def test_the_answers_are_those_of_an_unbroken_engine() -> None:
    texts: dict[str, list[str]] = {}
    for name, life in (("broken", Life(2, 1, None)), ("whole", Life(None))):

        async def use(engine: RestartingEngine, name: str = name) -> None:
            done = await asyncio.gather(*(engine.generate(request(number)) for number in range(10)))
            texts[name] = [completion.text for completion in done]

        run(life, use)
    assert texts["broken"] == texts["whole"]


def test_so_many_deaths_without_an_answer_are_the_end(pauses: list[float]) -> None:
    life = Life(2, 0)

    async def use(engine: RestartingEngine) -> None:
        asked = await asyncio.gather(*(engine.generate(request(number)) for number in range(4)), return_exceptions=True)
        assert [isinstance(one, Completion) for one in asked] == [True, True, False, False]
        for one in asked[2:]:
            assert isinstance(one, EngineDiedError)
        assert "as told" in str(asked[2]) and "started anew 3 times" in str(asked[2])
        with pytest.raises(EngineDiedError):
            await engine.generate(request(9))

    run(life, use)
    assert len(life.engines) == 4
    assert [pause for pause in pauses if pause] == [2.0, 4.0, 8.0]


def test_without_restarts_the_first_death_is_the_end() -> None:
    life = Life(1)

    async def use(engine: RestartingEngine) -> None:
        await engine.generate(request(0))
        with pytest.raises(EngineDiedError, match=r"as told$"):
            await engine.generate(request(1))

    run(life, use, restarts=0)
    assert len(life.engines) == 1


def test_a_request_that_kills_its_engine_each_time_is_given_up_though_others_are_answered() -> None:
    class Poisoned(ScriptedEngine):
        dead = False

        async def generate(self, request: Request) -> Completion:
            if request.id == "poison":
                for _ in range(20):  # the others are answered meanwhile
                    await asyncio.sleep(0)
                self.dead = True
            if self.dead:
                raise EngineDiedError("out of memory", hint="smaller prompts")
            return await super().generate(request)

    started: list[Engine] = []

    async def start() -> Engine:
        started.append(Poisoned(seed=1))
        return started[-1]

    async def main() -> None:
        engine = await RestartingEngine.start(start, 2)
        asked = asyncio.ensure_future(engine.generate(Request(id="poison", prompt="p", sampling=Sampling(max_tokens=1))))
        number = 0
        while not asked.done():
            await asyncio.gather(engine.generate(request(number)), return_exceptions=True)
            number += 1
        with pytest.raises(EngineDiedError, match="out of memory; request poison was lost 3 times") as caught:
            await asked
        assert caught.value.hint == "smaller prompts"

    asyncio.run(asyncio.wait_for(main(), 20))
    assert len(started) <= 4


def test_a_failed_start_counts_and_is_tried_again(pauses: list[float]) -> None:
    life = Life(1, None, fails=lambda tried: tried in (2, 3))

    async def use(engine: RestartingEngine) -> None:
        await engine.generate(request(0))
        await engine.generate(request(1))

    run(life, use)
    assert life.tried == 4
    assert [pause for pause in pauses if pause] == [2.0, 4.0, 8.0]


def test_the_first_start_is_not_repeated() -> None:
    life = Life(None, fails=lambda _: True)
    with pytest.raises(EngineError, match="no memory yet"):
        run(life, lambda _: asyncio.sleep(0))
    assert life.tried == 1


def test_a_refused_request_is_no_death() -> None:
    life = Life(None)

    async def use(engine: RestartingEngine) -> None:
        with pytest.raises(EngineError, match="told apart"):
            await engine.generate(Request(id="r", prompt="p", sampling=Sampling(max_tokens=1), choices=("a", "a")))

    run(life, use)
    assert len(life.engines) == 1


def test_a_restart_goes_on_when_the_request_that_began_it_is_cancelled() -> None:
    life = Life(0, None)

    async def use(engine: RestartingEngine) -> None:
        gate = asyncio.Event()
        start = engine._start

        async def slow() -> Engine:
            await gate.wait()
            return await start()

        engine._start = slow
        first, second = (asyncio.ensure_future(engine.generate(request(number))) for number in range(2))
        while engine._starting is None:
            await asyncio.sleep(0)
        first.cancel()
        for _ in range(5):
            await asyncio.sleep(0)
        gate.set()
        assert (await second).request_id == "r1"
        assert first.cancelled()

    run(life, use, restarts=1)
    assert life.tried == 2  # the first engine and one successor


def test_closing_ends_a_restart_that_is_under_way() -> None:
    async def main() -> None:
        begun = asyncio.Event()
        life = Life(0)

        async def start() -> Engine:
            if life.engines:
                begun.set()
                await asyncio.Event().wait()
            return await life.start()

        engine = await RestartingEngine.start(start, 3)
        asked = asyncio.ensure_future(engine.generate(request(0)))
        await asyncio.wait_for(begun.wait(), 10)
        await asyncio.wait_for(engine.close(), 10)
        with pytest.raises(EngineDiedError, match="closed"):
            await asked

    asyncio.run(main())


def test_counters_go_on_over_a_restart() -> None:
    class Counting(ScriptedEngine):
        async def metrics(self) -> dict[str, float]:
            if self._dies_after is not None and self._served >= self._dies_after:
                raise EngineDiedError("dead")
            return {"x_total": float(self._served), "running": 1.0}

    started: list[Counting] = []

    async def start() -> Engine:
        started.append(Counting(seed=1, dies_after=None if started else 2))
        return started[-1]

    async def main() -> None:
        engine = await RestartingEngine.start(start, 3)
        await engine.generate(request(0))
        assert await engine.metrics() == {"x_total": 1.0, "running": 1.0}
        await engine.generate(request(1))
        assert await engine.metrics() == {"x_total": 1.0, "running": 1.0}  # dead: as last read
        await engine.generate(request(2))
        assert await engine.metrics() == {"x_total": 2.0, "running": 1.0}

    asyncio.run(main())


WORKER = """
import json, sys
def send(event, **values): print(json.dumps({"event": event, **values}), flush=True)
for line in sys.stdin:
    message = json.loads(line)
    if message["op"] == "start": send("ready")
    elif message["op"] == "generate" and message["prompt"] != "wait":
        send("completion", request_id=message["id"], text="well", finish_reason="stop", prompt_tokens=1, output_tokens=1,
             choice_logprobs=[], logprobs=[], likeliest=[])
    elif message["op"] == "close": break
"""


def test_a_vllm_process_that_is_killed_is_started_anew(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """kill -9 of the real child process, with a worker of the tests' own in it."""
    monkeypatch.setattr(engine_vllm, "WORKER", ("-c", WORKER))
    monkeypatch.setattr(hardware, "gpus", list)
    model: Any = type("Model", (), {"reference": "m", "path": "m", "context": 64})
    started: list[VllmEngine] = []

    async def start() -> Engine:
        started.append(await VllmEngine.start(model, Settings(), (), tmp_path / "engine.log"))
        return started[-1]

    async def main() -> None:
        engine = await RestartingEngine.start(start, 1)
        waiting = asyncio.ensure_future(engine.generate(Request(id="w", prompt="wait", sampling=Sampling(max_tokens=1))))
        await engine.generate(request(0))
        os.kill(started[0]._process.pid, signal.SIGKILL)
        assert (await asyncio.wait_for(engine.generate(request(1)), 20)).text == "well"
        assert len(started) == 2 and not waiting.done()
        waiting.cancel()
        await engine.close()

    asyncio.run(main())
    for engine in started:
        with pytest.raises(ProcessLookupError):
            os.killpg(engine._process.pid, 0)
