"""The queue and the rows of the transformers engine, on a runner that needs no torch."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from self_instruct.engine_transformers import TransformersEngine
from self_instruct.errors import EngineDiedError, EngineError
from self_instruct.records import Completion, Request, Sampling
from self_instruct.transformers_rows import Row

END = 0


class Letters:
    """A tokenizer with a token for each byte, so that a character may be cut in two."""

    def decode(self, ids: list[int], **_: Any) -> str:
        return bytes(ids).decode(errors="replace")


def row(request: Request, ids: list[int] | None = None, limit: int | None = None) -> Row:
    prompt = list(request.prompt.encode()) if ids is None else ids
    return Row(
        request=request,
        tokenizer=Letters(),
        prompt=prompt,
        limit=limit or request.sampling.max_tokens,
        ends=frozenset({END}),
        shown=prompt[-6:],
    )


def request(number: int = 0, prompt: str = "say", **more: Any) -> Request:
    return Request(id=f"r{number}", prompt=prompt, sampling=more.pop("sampling", Sampling(max_tokens=50)), **more)


def fed(one: Row, text: bytes) -> Row:
    for token in text:
        if not one.done:
            one.add(token)
    return one


def sampling(max_tokens: int = 50, *stop: str) -> Sampling:
    return Sampling(max_tokens=max_tokens, stop=stop)


def test_end_of_text_ends_an_answer_and_counts_as_a_token() -> None:
    done = fed(row(request()), b" yes\0more").completion()
    assert (done.text, done.finish_reason, done.output_tokens, done.prompt_tokens) == (" yes", "stop", 5, 3)


def test_the_limit_ends_an_answer_without_half_a_character() -> None:
    done = fed(row(request(sampling=sampling(5))), "abcdé".encode()).completion()
    assert (done.text, done.finish_reason, done.output_tokens) == ("abcd", "length", 5)


def test_a_stop_string_ends_an_answer_and_is_left_out() -> None:
    done = fed(row(request(sampling=sampling(50, "\n\n", "9."))), b"one 9\n\n two").completion()
    assert (done.text, done.finish_reason, done.output_tokens) == ("one 9", "stop", 7)


def test_of_two_stop_strings_the_one_that_is_complete_first_counts() -> None:
    done = fed(row(request(sampling=sampling(50, "bcde", "cd"))), b"abcdef").completion()
    assert done.text == "ab"


def test_a_stop_string_in_the_prompt_does_not_count() -> None:
    done = fed(row(request(prompt="a\n", sampling=sampling(4, "\n\n"))), b"\nbcd").completion()
    assert done.text == "\nbcd"


class Runner:
    """Answers each prompt with itself in capitals, a batch at a time."""

    def __init__(self) -> None:
        self.batches: list[list[str]] = []
        self.go = threading.Event()
        self.go.set()
        self.fails: Exception | None = None

    def prepare(self, request: Request) -> Row:
        if request.prompt == "refuse":
            raise ValueError("too long")
        return row(request)

    def complete(self, rows: list[Row]) -> None:
        self.batches.append([one.request.id for one in rows])
        while not self.go.wait(0.005):
            if all(one.unwanted for one in rows):
                return
        if self.fails:
            raise self.fails
        for one in rows:
            fed(one, one.request.prompt.upper().encode() + b"\0")


def run(runner: Runner, use: Callable[[TransformersEngine], Awaitable[None]], longest: int = 3) -> None:
    async def main() -> None:
        engine = TransformersEngine(runner, longest)
        try:
            async with asyncio.timeout(20):
                await use(engine)
        finally:
            await engine.close()

    asyncio.run(main())


async def ask(engine: TransformersEngine, *requests: Request) -> list[Completion]:
    return list(await asyncio.gather(*map(engine.generate, requests)))


def test_those_that_ask_together_are_answered_together_in_small_batches() -> None:
    runner = Runner()

    async def use(engine: TransformersEngine) -> None:
        done = await ask(engine, *(request(number, f"p{number}") for number in range(7)))
        assert [one.text for one in done] == [f"P{number}" for number in range(7)]
        metrics = await engine.metrics()
        assert (metrics["prompt_tokens"], metrics["output_tokens"], metrics["waiting"]) == (14.0, 21.0, 0.0)

    run(runner, use)
    assert [len(batch) for batch in runner.batches] == [3, 3, 1]


def test_the_smaller_priority_is_served_first_and_the_older_of_equals() -> None:
    runner = Runner()

    async def use(engine: TransformersEngine) -> None:
        await ask(engine, *(request(number, priority=-number % 3) for number in range(6)))

    run(runner, use, longest=2)
    assert runner.batches == [["r0", "r3"], ["r2", "r5"], ["r1", "r4"]]


def test_adapters_do_not_share_a_batch() -> None:
    runner = Runner()

    async def use(engine: TransformersEngine) -> None:
        await ask(engine, *(request(number, adapter="/a" if number % 2 else None) for number in range(4)))

    run(runner, use)
    assert runner.batches == [["r0", "r2"], ["r1", "r3"]]


def test_a_refused_request_is_an_error_and_the_others_go_on() -> None:
    async def use(engine: TransformersEngine) -> None:
        with pytest.raises(EngineError, match="request r0: too long"):
            await engine.generate(request(prompt="refuse"))
        assert (await engine.generate(request())).text == "SAY"

    run(Runner(), use)


def test_a_batch_that_fails_tells_all_who_asked_and_the_next_is_run() -> None:
    runner = Runner()

    async def use(engine: TransformersEngine) -> None:
        runner.fails = RuntimeError("out of memory\nand a trace")
        asked = await asyncio.gather(*(engine.generate(request(number)) for number in range(2)), return_exceptions=True)
        assert [str(one) for one in asked] == [f"request r{number}: RuntimeError: out of memory" for number in range(2)]
        assert all(isinstance(one, EngineError) and "max_num_seqs" in str(one.hint) for one in asked)
        runner.fails = None
        assert (await engine.generate(request())).text == "SAY"

    run(runner, use)


def test_a_cancelled_request_is_not_run() -> None:
    runner = Runner()

    async def use(engine: TransformersEngine) -> None:
        runner.go.clear()
        first = asyncio.ensure_future(engine.generate(request(0)))
        await asyncio.sleep(0.05)
        second = asyncio.ensure_future(engine.generate(request(1)))
        await asyncio.sleep(0)
        second.cancel()
        runner.go.set()
        await first
        await engine.generate(request(2))

    run(runner, use)
    assert runner.batches == [["r0"], ["r2"]]


def test_closing_ends_what_is_running_and_what_waits() -> None:
    runner = Runner()

    async def main() -> None:
        engine = TransformersEngine(runner, 1)
        runner.go.clear()
        asked = [asyncio.ensure_future(engine.generate(request(number))) for number in range(3)]
        await asyncio.sleep(0.05)
        async with asyncio.timeout(10):
            await engine.close()
            assert all(isinstance(one, asyncio.CancelledError) for one in await asyncio.gather(*asked, return_exceptions=True))
        await engine.close()
        with pytest.raises(EngineDiedError, match="closed"):
            await engine.generate(request())

    asyncio.run(main())
    assert runner.batches == [["r0"]]
