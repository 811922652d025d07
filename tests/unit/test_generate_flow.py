"""How requests flow to the engine: never more than the limit, the smallest priority first, no place lost."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from self_instruct.engine_scripted import ScriptedEngine
from self_instruct.errors import EngineDiedError
from self_instruct.generate import flow, inputs, session
from self_instruct.records import Completion, Request, Sampling
from self_instruct.settings import Settings


class Watched:
    """An engine that answers when it is told to, and remembers what it was sent."""

    def __init__(self) -> None:
        self.sent: list[str] = []
        self.open: dict[str, asyncio.Future[None]] = {}
        self.most = 0

    async def generate(self, request: Request) -> Completion:
        self.sent.append(request.id)
        self.open[request.id] = asyncio.get_running_loop().create_future()
        self.most = max(self.most, len(self.open))
        try:
            await self.open[request.id]
        finally:
            del self.open[request.id]
        return Completion(request_id=request.id, text="", finish_reason="stop", prompt_tokens=7, output_tokens=1)

    async def metrics(self) -> dict[str, float]:
        return {"running": float(len(self.open))}

    async def close(self) -> None:
        raise AssertionError("not ours to close")


def request(id: str, priority: int = 0) -> Request:
    return Request(id=id, prompt="x", sampling=Sampling(max_tokens=1), priority=priority)


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


def test_the_smallest_priority_goes_first_and_of_equals_the_oldest() -> None:
    async def go() -> list[str]:
        engine = Watched()
        gate = flow.InFlight(engine, 1)
        asked = [("a", 5), ("b", 9), ("c", 2), ("d", 9), ("e", 1)]
        waiting = [asyncio.ensure_future(gate.generate(request(id, priority))) for id, priority in asked]
        await settle()
        while engine.open:
            next(iter(engine.open.values())).set_result(None)
            await settle()
        assert [answer.request_id for answer in await asyncio.gather(*waiting)] == [id for id, _ in asked]
        assert (engine.most, gate.open) == (1, 0)
        assert await gate.metrics() == {"running": 0.0}
        await gate.close()
        return engine.sent

    assert asyncio.run(go()) == ["a", "e", "c", "b", "d"]


@given(limit=st.integers(1, 5), seed=st.integers(0, 10_000))
def test_whatever_is_cancelled_no_place_is_lost(limit: int, seed: int) -> None:
    draws = random.Random(seed)

    async def go() -> None:
        engine = Watched()
        gate = flow.InFlight(engine, limit)
        asked = [asyncio.ensure_future(gate.generate(request(str(number), draws.randint(0, 3)))) for number in range(30)]
        while not all(task.done() for task in asked):
            for _ in range(draws.randint(0, 2)):
                await asyncio.sleep(0)
            if draws.random() < 0.4:
                draws.choice(asked).cancel()
            if engine.open and draws.random() < 0.7:
                future = draws.choice(list(engine.open.values()))
                if not future.done():
                    future.set_result(None)
        await settle()
        assert gate.open == len(engine.open) == 0
        assert engine.most <= limit
        last = asyncio.ensure_future(gate.generate(request("last")))
        await settle()
        engine.open["last"].set_result(None)
        assert (await last).request_id == "last"

    asyncio.run(go())


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({}, 320),
        ({"generate": {"in_flight": 7}}, 7),
        ({"run": {"engine": {"max_num_seqs": 1}}}, 1),
        ({"model": {"engine": "server"}, "run": {"engine": {"servers": ["http://a:1", "http://b:1"]}}}, 640),
    ],
)
def test_by_default_a_quarter_more_than_the_engines_run_at_once(changed: dict[str, object], expected: int) -> None:
    assert flow.in_flight(Settings.model_validate(changed)) == expected


def test_a_lag_below_what_the_engine_runs_is_warned_of() -> None:
    assert flow.starved(Settings()) is None
    said = flow.starved(Settings.model_validate({"generate": {"lag": 8}}))
    assert said and said.startswith("generate.lag: only 8 ") and "256" in said
    assert flow.starved(Settings.model_validate({"generate": {"lag": 8, "order": "rounds"}})) is None


def test_each_head_is_read_once_by_each_replica_before_the_next() -> None:
    async def go() -> None:
        engine = Watched()
        warming = asyncio.ensure_future(flow.warm(engine, ["one", "two"], replicas=2))
        await settle()
        assert engine.sent == ["warm-0-0", "warm-0-1"]
        for _ in range(2):
            for future in list(engine.open.values()):
                future.set_result(None)
            await settle()
        assert engine.sent[2:] == ["warm-1-0", "warm-1-1"]
        assert await warming == 28

    asyncio.run(go())


def test_the_hit_rate_is_of_steps_2_and_3_as_the_engine_told_it() -> None:
    records = [
        {"id": "bootstrap-000000", "prompt_tokens": 900, "cached_tokens": 0},
        {"id": "classify-task-000000-00", "prompt_tokens": 100, "cached_tokens": 96},
        {"id": "instances-task-000000-00", "prompt_tokens": 300, "cached_tokens": 288},
        {"id": "instances-task-000000-01", "prompt_tokens": 300, "cached_tokens": None},
    ]
    assert flow.prefix_hits(records) == 0.96
    assert flow.prefix_hits(records[3:]) is None
    assert flow.prefix_hits([]) is None


def test_the_warm_requests_are_no_part_of_the_journal_and_their_tokens_are_told_apart(tmp_path: Path) -> None:
    class Remembering(ScriptedEngine):
        async def generate(self, request: Request) -> Completion:
            sent.append(request)
            return await super().generate(request)

    sent: list[Request] = []
    chosen = {"target_instructions": 5, "max_requests": 8, "in_flight": 3}
    servers = {"servers": ["http://a:1", "http://b:1"]}
    both = Settings.model_validate({"generate": chosen, "model": {"engine": "server"}, "run": {"engine": servers}})
    given_inputs = inputs.load(both, inputs.sources(both), context=10_000)

    async def start() -> Remembering:
        return Remembering(seed=3)

    outcome = asyncio.run(session.run(tmp_path, given_inputs, start, lambda: lambda text: len(text.split())))
    heads = [given_inputs.demonstrations.classification, given_inputs.demonstrations.input_first]
    heads.append(given_inputs.demonstrations.output_first)
    assert [request.prompt for request in sent[:6]] == [head for head in heads for _ in range(2)]
    assert all(request.sampling.max_tokens == 1 for request in sent[:6])
    assert not [request.id for request in sent[6:] if request.id.startswith("warm")]
    assert {record["id"] for record in outcome.records} <= {request.id for request in sent[6:]}
    facts = session.summarize(tmp_path, outcome.result, "x", outcome.records)
    assert facts["warm_prompt_tokens"] == 2 * sum(len(head.split()) for head in heads)
    assert facts["prompt_tokens"] == sum(record["prompt_tokens"] for record in outcome.records)


def test_an_engine_that_fails_while_it_is_warmed_is_closed(tmp_path: Path) -> None:
    class Dying(ScriptedEngine):
        async def generate(self, request: Request) -> Completion:
            raise EngineDiedError("out of memory")

        async def close(self) -> None:
            closed.append(True)

    closed: list[bool] = []
    served = Settings.model_validate({"model": {"engine": "vllm"}})
    given_inputs = inputs.load(served, inputs.sources(served), context=10_000)

    async def start() -> Dying:
        return Dying()

    with pytest.raises(EngineDiedError, match="out of memory"):
        asyncio.run(session.run(tmp_path, given_inputs, start, lambda: lambda text: len(text.split())))
    assert closed == [True]
