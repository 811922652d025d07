"""The server engine against scripted HTTP servers: dispatch, lost addresses, refusals, checks at the start."""

from __future__ import annotations

import asyncio
import math
import socket
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from http_server import HttpServer, error
from self_instruct import engine_server, models, server_address
from self_instruct.engine_server import ServerEngine
from self_instruct.errors import EngineDiedError, EngineError, SelfInstructError
from self_instruct.models import Model
from self_instruct.records import Completion, Request, Sampling
from self_instruct.settings import Settings

MODEL = Model(
    reference="m",
    source="local",
    path="/models/m",
    fingerprint="f",
    context=64,
    eos_token="</s>",
    eos_token_id=2,
    architecture="LlamaForCausalLM",
)
Use = Callable[[ServerEngine], Coroutine[Any, Any, None]]


@pytest.fixture(autouse=True)
def letters(monkeypatch: pytest.MonkeyPatch) -> None:
    """A tokenizer with a token for each character; and no long waits."""
    monkeypatch.setattr(models, "load_tokenizer", lambda _: lambda text: SimpleNamespace(input_ids=[ord(c) for c in text]))
    monkeypatch.setattr(engine_server, "is_cpu_build", lambda: False)
    monkeypatch.setattr(engine_server, "BACKOFF_S", 0.02)
    monkeypatch.setattr(engine_server, "LONGEST_BACKOFF_S", 0.05)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A hung server is found within half a second."""
    monkeypatch.setattr(engine_server, "SILENCE_S", 0.1)
    monkeypatch.setattr(server_address, "LOOK_TIMEOUT_S", 0.3)


def settings(*servers: HttpServer | str, **engine: Any) -> Settings:
    urls = [server if isinstance(server, str) else server.url for server in servers]
    return Settings.model_validate({"model": {"engine": "server"}, "run": {"engine": {"servers": urls, **engine}}})


async def with_engine(use: Use, *servers: HttpServer | str, adapters: tuple[str, ...] = (), **engine: Any) -> None:
    for server in servers:
        if isinstance(server, HttpServer):
            await server.start()
    try:
        started = await ServerEngine.start(MODEL, settings(*servers, **engine), adapters)
        try:
            async with asyncio.timeout(20):
                await use(started)
        finally:
            await started.close()
    finally:
        for server in servers:
            if isinstance(server, HttpServer):
                await server.stop()


def run(use: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Servers need a running loop to be made, so that each test is a coroutine function."""
    asyncio.run(use())


def request(number: int = 0, prompt: str = "abc", **more: Any) -> Request:
    return Request(id=f"r{number}", prompt=prompt, sampling=more.pop("sampling", Sampling(max_tokens=8)), **more)


async def ask(engine: ServerEngine, count: int) -> list[Completion]:
    return list(await asyncio.gather(*(engine.generate(request(number)) for number in range(count))))


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.005)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_a_request_is_sent_as_tokens_with_all_that_shapes_the_answer() -> None:
    async def main() -> None:
        server = HttpServer("/models/m", loras=("/adapters/x",))
        sampling = Sampling(
            max_tokens=9, temperature=0.7, top_p=0.5, presence_penalty=2.0, frequency_penalty=0.5, stop=("\n\n",), seed=7
        )

        async def use(engine: ServerEngine) -> None:
            done = await engine.generate(request(prompt="ab", sampling=sampling, priority=-3, adapter="/adapters/x"))
            assert done == Completion(
                request_id="r0",
                text="answer to 2 tokens",
                finish_reason="stop",
                prompt_tokens=2,
                output_tokens=3,
                cached_tokens=1,
            )

        await with_engine(use, server, adapters=("/adapters/x",))
        assert server.asked == [
            {
                "model": "x",
                "prompt": [97, 98],
                "priority": -3,
                "max_tokens": 9,
                "temperature": 0.7,
                "top_p": 0.5,
                "presence_penalty": 2.0,
                "frequency_penalty": 0.5,
                "stop": ["\n\n"],
                "seed": 7,
                # The server would take these from generation_config.json.
                "top_k": 0,
                "min_p": 0.0,
                "repetition_penalty": 1.0,
            }
        ]

    run(main)


def test_choices_are_scored_at_the_first_token_in_which_they_differ() -> None:
    async def main() -> None:
        server = HttpServer("m")

        async def use(engine: ServerEngine) -> None:
            done = await engine.generate(request(prompt="ab", choices=(" no", " yes", " so")))
            assert (done.text, done.finish_reason, done.prompt_tokens) == (" no", "stop", 3)
            halves = [math.exp(score) * 7 for score in done.choice_logprobs]  # 1/2, 1/4 and 1/8 of all tokens
            assert halves == pytest.approx([4, 2, 1])
            with pytest.raises(EngineError, match="told apart"):
                await engine.generate(request(choices=(" no", " not")))

        await with_engine(use, server)
        (asked,) = server.asked
        assert asked["prompt"] == [97, 98, 32]
        assert asked["allowed_token_ids"] == asked["logprob_token_ids"] == [ord(c) for c in "nys"]
        assert (asked["max_tokens"], asked["temperature"]) == (1, 0.0)

    run(main)


def test_answers_are_cut_and_prompts_refused_at_the_configured_context() -> None:
    async def main() -> None:
        server = HttpServer("m", context=4096)

        async def use(engine: ServerEngine) -> None:
            await engine.generate(request(prompt="a" * 60, sampling=Sampling(max_tokens=100)))
            with pytest.raises(EngineError, match="64 tokens are too many for the maximum context length of 64"):
                await engine.generate(request(prompt="a" * 64))

        await with_engine(use, server)
        assert [asked["max_tokens"] for asked in server.asked] == [4]

    run(main)


def test_each_request_goes_to_the_address_with_the_fewest_open_ones() -> None:
    async def main() -> None:
        one, two = HttpServer("m"), HttpServer("m")
        two.hold.clear()

        async def use(engine: ServerEngine) -> None:
            held = asyncio.gather(*(engine.generate(request(number)) for number in range(10)))
            await until(lambda: two.open == 5)  # five each, whatever was answered when
            assert one.most_open <= 5
            for number in range(20):  # the fast one takes all while the slow one has more open
                await engine.generate(request(100 + number))
            assert (len(one.asked), len(two.asked)) == (25, 5)
            two.hold.set()
            assert len(await held) == 10

        await with_engine(use, one, two)

    run(main)


def test_connections_are_kept_and_not_limited() -> None:
    async def main() -> None:
        server = HttpServer("m")

        async def use(engine: ServerEngine) -> None:
            for number in range(20):
                await engine.generate(request(number))
            assert len(server.connections) == 1
            server.hold.clear()
            many = asyncio.gather(*(engine.generate(request(number)) for number in range(150)))  # aiohttp's own limit is 100
            await until(lambda: server.open == 150)
            server.hold.set()
            await many

        await with_engine(use, server)

    run(main)


def test_what_a_lost_address_held_is_sent_to_the_others() -> None:
    async def main() -> None:
        one, two = HttpServer("m"), HttpServer("m")
        one.hold.clear()

        async def use(engine: ServerEngine) -> None:
            asked = asyncio.ensure_future(ask(engine, 8))
            await until(lambda: one.open == 4 and len(two.asked) == 4)
            await one.stop()
            assert [done.request_id for done in await asked] == [f"r{number}" for number in range(8)]
            assert len(two.asked) == 8
            one.hold.set()
            await one.start()
            before = len(one.asked)

            async def until_asked() -> None:  # it is back
                while len(one.asked) == before:
                    await ask(engine, 2)
                    await asyncio.sleep(0.01)

            await asyncio.wait_for(until_asked(), 10)

        await with_engine(use, one, two)

    run(main)


def test_a_single_address_that_comes_back_answers_what_waited() -> None:
    async def main() -> None:
        server = HttpServer("m")
        server.hold.clear()

        async def use(engine: ServerEngine) -> None:
            asked = asyncio.ensure_future(ask(engine, 3))
            await until(lambda: server.open == 3)
            await server.stop()
            server.hold.set()
            await asyncio.sleep(0.1)
            assert not asked.done()
            await server.start()
            assert len(await asked) == 3

        await with_engine(use, server)

    run(main)


def test_a_server_that_comes_back_with_another_model_gets_nothing() -> None:
    async def main() -> None:
        server = HttpServer("m")
        server.hold.clear()

        async def use(engine: ServerEngine) -> None:
            asked = asyncio.ensure_future(ask(engine, 1))
            await until(lambda: server.open == 1)
            await server.stop()
            server.model = "other"
            await server.start()
            with pytest.raises(EngineDiedError, match=r"no server has answered for 0 s: .*serves other, model.name is m"):
                await asked
            assert len(server.asked) == 1

        await with_engine(use, server, lost_timeout_s=0.3)

    run(main)


def test_all_addresses_lost_for_too_long_is_the_end() -> None:
    async def main() -> None:
        one, two = HttpServer("m"), HttpServer("m")
        one.hold.clear()
        two.hold.clear()

        async def use(engine: ServerEngine) -> None:
            asked = [asyncio.ensure_future(engine.generate(request(number))) for number in range(4)]
            await until(lambda: one.open + two.open == 4)
            await asyncio.gather(one.stop(), two.stop())
            for future in asked:
                with pytest.raises(EngineDiedError, match="no server has answered") as caught:
                    await future
                assert "vllm serve /models/m --max-model-len 64" in str(caught.value.hint)
                assert "go on from what is journaled" in str(caught.value.hint)
                assert f":{one.port}" in caught.value.message and f":{two.port}" in caught.value.message
            await one.start()
            await two.start()

        await with_engine(use, one, two, lost_timeout_s=0.2)

    run(main)


@pytest.mark.parametrize("status", [500, 503, 429])
def test_a_server_that_is_unwell_for_a_moment_is_asked_again(status: int) -> None:
    async def main() -> None:
        refusals = iter([error(status, "not now")])
        server = HttpServer("m", answer=lambda _: next(refusals, "well"))

        async def use(engine: ServerEngine) -> None:
            assert (await engine.generate(request())).text == "well"

        await with_engine(use, server)
        assert len(server.asked) == 2

    run(main)


@pytest.mark.parametrize("status", [500, 503, 429])
def test_a_server_that_refuses_all_and_can_be_looked_at_is_asked_after_pauses_until_the_time_is_up(status: int) -> None:
    async def main() -> None:
        server = HttpServer("m", answer=lambda _: error(status, "not now"))

        async def use(engine: ServerEngine) -> None:
            begun = time.monotonic()
            found = await asyncio.gather(*(engine.generate(request(number)) for number in range(3)), return_exceptions=True)
            assert time.monotonic() - begun >= 0.5
            for ended in found:
                assert isinstance(ended, EngineDiedError)
                assert "no server has answered for" in ended.message and f"HTTP {status}: not now" in ended.message

        await with_engine(use, server, restarts=1, lost_timeout_s=0.5)
        rounds = 2 + 0.5 / 0.05  # the first at once, then after 0.02, 0.04, 0.05, 0.05 … s
        assert 3 < len(server.asked) <= 3 * (rounds + 1)

    run(main)


@pytest.mark.parametrize("status", [503, 429])
def test_a_busy_server_may_refuse_a_request_more_often_than_one_may_be_lost(status: int) -> None:
    async def main() -> None:
        refusals = iter([error(status, "not now") for _ in range(6)])
        server = HttpServer("m", answer=lambda body: next(refusals, "well") if body["max_tokens"] == 1 else "well")

        async def use(engine: ServerEngine) -> None:
            refused = asyncio.ensure_future(engine.generate(request(sampling=Sampling(max_tokens=1))))
            while not refused.done():  # it answers others in between
                await engine.generate(request(1))
            assert (await refused).text == "well"

        await with_engine(use, server, restarts=0)
        assert sum(body["max_tokens"] == 1 for body in server.asked) == 7

    run(main)


def test_the_others_answer_while_one_refuses_all() -> None:
    async def main() -> None:
        one, two = HttpServer("m", answer=lambda _: error(500, "the engine failed")), HttpServer("m")

        async def use(engine: ServerEngine) -> None:
            answered, begun = 0, time.monotonic()
            while time.monotonic() - begun < 0.5:
                answered += len(await ask(engine, 4))
            assert answered == len(two.asked)
            assert len(one.asked) > 2, "it is asked again"

        await with_engine(use, one, two, restarts=1, lost_timeout_s=0.2)

    run(main)


def test_a_request_that_a_server_fails_at_while_it_answers_others_is_sent_so_many_times() -> None:
    async def main() -> None:
        server = HttpServer("m", answer=lambda body: error(500, "it failed") if body["max_tokens"] == 1 else "well")

        async def use(engine: ServerEngine) -> None:
            failing = asyncio.ensure_future(engine.generate(request(sampling=Sampling(max_tokens=1))))
            while not failing.done():
                await engine.generate(request(1))
            with pytest.raises(EngineDiedError, match=r"request r0 was lost 3 times, last at .*HTTP 500: it failed"):
                await failing

        await with_engine(use, server, restarts=2)
        assert sum(body["max_tokens"] == 1 for body in server.asked) == 3

    run(main)


@pytest.mark.usefixtures("impatient")
def test_what_a_hung_server_holds_is_sent_to_the_others_and_it_comes_back() -> None:
    async def main() -> None:
        one, two = HttpServer("m"), HttpServer("m")

        async def use(engine: ServerEngine) -> None:
            one.awake.clear()
            assert [done.request_id for done in await ask(engine, 8)] == [f"r{number}" for number in range(8)]
            assert (len(one.asked), len(two.asked), one.aborted) == (0, 8, 0)
            one.awake.set()
            while not one.asked:
                await ask(engine, 2)
                await asyncio.sleep(0.01)

        await with_engine(use, one, two)

    run(main)


@pytest.mark.usefixtures("impatient")
def test_what_an_address_holds_that_hangs_after_it_was_lost_is_sent_again() -> None:
    async def main() -> None:
        server = HttpServer("m")

        async def use(engine: ServerEngine) -> None:
            server.hold.clear()
            asked = asyncio.ensure_future(ask(engine, 2))
            await until(lambda: server.open == 2)
            server.awake.clear()
            engine._lose(engine._addresses[0], server_address.LostError("one of its connections broke"))
            await until(lambda: server.aborted == 2)
            server.awake.set()
            server.hold.set()
            assert len(await asked) == 2

        await with_engine(use, server)

    run(main)


@pytest.mark.usefixtures("impatient")
def test_all_servers_hung_for_too_long_is_the_end() -> None:
    async def main() -> None:
        server = HttpServer("m")

        async def use(engine: ServerEngine) -> None:
            server.awake.clear()
            with pytest.raises(EngineDiedError, match=r"no server has answered for 0 s: .*no answer within 0 s"):
                await engine.generate(request())

        await with_engine(use, server, lost_timeout_s=0.4)

    run(main)


def test_a_server_that_takes_long_and_can_be_looked_at_keeps_its_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_server, "SILENCE_S", 0.02)

    async def main() -> None:
        server = HttpServer("m")
        server.hold.clear()

        async def use(engine: ServerEngine) -> None:
            asked = asyncio.ensure_future(ask(engine, 3))
            await until(lambda: server.open == 3)
            before = server.looks
            await until(lambda: server.looks >= before + 4)
            server.hold.set()
            assert len(await asked) == len(server.asked) == 3
            before = server.looks
            await asyncio.sleep(0.1)
            assert server.looks <= before + 1, "nothing is open"

        await with_engine(use, server)

    run(main)


@pytest.mark.parametrize("cancelled_first", [True, False])
def test_a_request_that_is_cancelled_as_its_server_is_given_up_is_not_sent_again(cancelled_first: bool) -> None:
    async def main() -> None:
        server = HttpServer("m")

        async def use(engine: ServerEngine) -> None:
            server.hold.clear()
            asked = asyncio.ensure_future(engine.generate(request()))
            await until(lambda: server.open == 1)
            steps: list[Callable[[], Any]] = [asked.cancel, engine._addresses[0].cut_off]
            for step in steps if cancelled_first else reversed(steps):
                step()
            with pytest.raises(asyncio.CancelledError):
                await asked
            assert len(server.asked) == 1

        await with_engine(use, server)

    run(main)


def test_a_refused_request_is_an_error_and_the_others_go_on() -> None:
    async def main() -> None:
        server = HttpServer("m", answer=lambda body: error(400, "bad\nstop") if body["max_tokens"] == 1 else "well")

        async def use(engine: ServerEngine) -> None:
            with pytest.raises(EngineError, match=r"request r0: http://.*: bad stop$") as caught:
                await engine.generate(request(sampling=Sampling(max_tokens=1)))
            assert not isinstance(caught.value, EngineDiedError)
            with pytest.raises(EngineError, match="adapter /no is not one"):
                await engine.generate(request(adapter="/no"))
            assert (await engine.generate(request())).text == "well"

        await with_engine(use, server)
        assert len(server.asked) == 2

    run(main)


def test_a_cancelled_request_is_given_up_at_the_server() -> None:
    async def main() -> None:
        server = HttpServer("m")
        server.hold.clear()

        async def use(engine: ServerEngine) -> None:
            asked = asyncio.ensure_future(engine.generate(request()))
            await until(lambda: server.open == 1)
            asked.cancel()
            await until(lambda: server.aborted == 1)
            server.hold.set()
            await engine.generate(request(1))

        await with_engine(use, server)

    run(main)


def test_metrics_are_summed_over_addresses_and_count_from_the_start() -> None:
    async def main() -> None:
        one, two = HttpServer("m"), HttpServer("m")

        async def use(engine: ServerEngine) -> None:
            assert (await engine.metrics())["vllm:prefix_cache_hits_total"] == 0
            one.counters |= {"hits": 110.0, "queries": 230.0}
            two.counters |= {"hits": 105.0}
            values = await engine.metrics()
            assert values == {
                "vllm:prefix_cache_hits_total": 15.0,
                "vllm:prefix_cache_queries_total": 30.0,
                "vllm:num_requests_running": 0.0,
                "vllm:kv_cache_usage_perc": 0.5,
            }
            one.counters |= {"hits": 4.0, "queries": 5.0}  # it was started anew
            values = await engine.metrics()
            assert (values["vllm:prefix_cache_hits_total"], values["vllm:prefix_cache_queries_total"]) == (19.0, 35.0)

        await with_engine(use, one, two)

    run(main)


@pytest.mark.usefixtures("impatient")
def test_hung_metrics_of_one_server_keep_its_last_counters() -> None:
    async def main() -> None:
        one, two = HttpServer("m"), HttpServer("m")

        async def use(engine: ServerEngine) -> None:
            one.counters |= {"hits": 110.0}
            assert (await engine.metrics())["vllm:prefix_cache_hits_total"] == 10.0
            one.counting.clear()
            two.counters |= {"hits": 105.0}
            values = await asyncio.wait_for(engine.metrics(), 5)
            assert (values["vllm:prefix_cache_hits_total"], values["vllm:kv_cache_usage_perc"]) == (15.0, 0.5)
            assert len(await ask(engine, 4)) == 4
            assert len(one.asked) == 2, "it isn't lost"

        await with_engine(use, one, two)

    run(main)


@pytest.mark.usefixtures("impatient")
def test_a_server_whose_metrics_hang_from_the_start_is_taken() -> None:
    async def main() -> None:
        server = HttpServer("m")
        server.counting.clear()

        async def use(engine: ServerEngine) -> None:
            assert len(await ask(engine, 2)) == 2
            assert await engine.metrics() == {}
            server.counting.set()
            assert (await engine.metrics())["vllm:prefix_cache_hits_total"] == 0, "what it had counted isn't ours"
            server.counters |= {"hits": 103.0}
            assert (await engine.metrics())["vllm:prefix_cache_hits_total"] == 3

        await with_engine(use, server)

    run(main)


async def nothing(_: ServerEngine) -> None:
    raise AssertionError("started")


def refusal(match: str, *servers: str, adapters: tuple[str, ...] = (), **server: Any) -> SelfInstructError:
    """The error of a start on these addresses, and on a scripted server where `server` says what it serves."""
    caught: list[SelfInstructError] = []

    async def main() -> None:
        with pytest.raises(EngineError, match=match) as info:
            await with_engine(nothing, *([HttpServer(**server)] if server else []), *servers, adapters=adapters)
        caught.append(info.value)

    run(main)
    assert "\n" not in caught[0].message
    return caught[0]


def test_a_server_with_another_model_is_refused() -> None:
    assert "vllm serve /models/m" in str(refusal(r"serves other, model.name is m", model="other").hint)


def test_a_server_with_too_short_a_context_is_refused() -> None:
    assert "--max-model-len 64" in str(refusal("takes 32 tokens, model.max_length is 64", model="m", context=32).hint)


def test_a_server_without_the_adapter_is_refused() -> None:
    found = refusal(r"doesn't serve the adapter /adapters/x \(served: y\)", adapters=("/adapters/x",), model="m", loras=("/z/y",))
    assert "--lora-modules x=/adapters/x" in str(found.hint)
    assert "VLLM_ALLOW_RUNTIME_LORA_UPDATING=1" in str(found.hint)


def test_an_adapter_is_loaded_where_the_server_may_once_for_each_content(tmp_path: Path) -> None:
    async def main() -> None:
        server = HttpServer("m", loads=True)
        folder = tmp_path / "adapter"
        folder.mkdir()

        async def use(engine: ServerEngine) -> None:
            await engine.generate(request(adapter=str(folder)))

        for content in ("one", "one", "two"):
            (folder / "adapter_model.safetensors").write_text(content)
            await with_engine(use, server, adapters=(str(folder),))
        first, again, other = (body["model"] for body in server.asked)
        assert first == again != other
        assert server.loaded == {first: str(folder), other: str(folder)}

    run(main)


def test_no_server_at_all_is_an_error_at_once() -> None:
    found = refusal("no server answers: http://127.0.0.1", f"http://127.0.0.1:{free_port()}")
    assert "start it: vllm serve" in str(found.hint)


def test_a_server_that_cannot_score_tokens_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(HttpServer, "_complete", _plain)
    assert "0.32" in str(refusal("doesn't score chosen tokens", model="m").hint)


async def _plain(_: HttpServer, __: Any) -> Any:
    from aiohttp import web

    return web.json_response({"choices": [{"text": "x", "finish_reason": "stop", "logprobs": None}]})


def test_one_address_that_does_not_answer_yet_is_taken_when_it_does() -> None:
    async def main() -> None:
        one, late = HttpServer("m"), HttpServer("m")
        late.port = free_port()

        async def use(engine: ServerEngine) -> None:
            await ask(engine, 4)
            await late.start()
            while not late.asked:
                await ask(engine, 2)
                await asyncio.sleep(0.01)
            assert (await engine.metrics())["vllm:prefix_cache_hits_total"] == 0  # what it had counted isn't ours
            await late.stop()

        await with_engine(use, one, f"http://127.0.0.1:{late.port}")

    run(main)


def test_a_closed_engine_answers_nobody() -> None:
    async def main() -> None:
        server = HttpServer("m")
        server.hold.clear()

        async def use(engine: ServerEngine) -> None:
            asked = asyncio.ensure_future(engine.generate(request()))
            await until(lambda: server.open == 1)
            await engine.close()
            with pytest.raises(EngineDiedError, match="closed"):
                await asked
            with pytest.raises(EngineDiedError, match="closed"):
                await engine.generate(request(1))

        await with_engine(use, server)

    run(main)


def test_an_engine_with_a_hung_server_closes_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_server, "CLOSE_TIMEOUT_S", 0.1)

    async def main() -> None:
        server = HttpServer("m")

        async def use(engine: ServerEngine) -> None:
            server.awake.clear()
            # More than the sockets' buffers hold: what is left is still to be written when the connection is closed.
            long = request(sampling=Sampling(max_tokens=8, stop=("x" * 2**24,)))
            waiting = [asyncio.ensure_future(work) for work in (engine.generate(long), engine.generate(request(1)))]
            counting = asyncio.ensure_future(engine.metrics())
            await until(lambda: len(server.connections) >= 3)
            begun = time.monotonic()
            await engine.close()
            for asked in waiting:
                with pytest.raises(EngineDiedError, match="closed"):
                    await asked
            await counting
            assert time.monotonic() - begun < 2

        await with_engine(use, server)

    run(main)


@pytest.mark.parametrize("servers", [[], ["localhost:8000"], ["ftp://a"]])
def test_addresses_that_are_none_are_refused_in_the_settings(servers: list[str]) -> None:
    with pytest.raises(ValueError, match="servers"):
        Settings.model_validate({"run": {"engine": {"servers": servers}}})
