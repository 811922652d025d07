"""What every engine must do, run on each of them; then what only a real model or vLLM can show."""

from __future__ import annotations

import asyncio
import math

import pytest

from self_instruct.engine_vllm import VllmEngine
from self_instruct.errors import EngineError
from self_instruct.records import Request, Sampling
from serving import CONTEXT, Served

pytestmark = pytest.mark.contract
COUNTER = iter(range(10**9))
PROMPT = "The capital of France is"


def request(prompt: str = PROMPT, **more: object) -> Request:
    sampling = more.pop("sampling", Sampling(max_tokens=12))
    return Request(id=f"request-{next(COUNTER)}", prompt=prompt, sampling=sampling, **more)  # type: ignore[arg-type]


def test_greedy_answers_repeat(served: Served) -> None:
    first, second = request(), request()
    one, two = served.do(served.engine.generate(first)), served.do(served.engine.generate(second))
    assert one.text == two.text != ""
    assert (one.request_id, two.request_id) == (first.id, second.id)


def test_many_at_once_each_gets_its_own_answer(served: Served) -> None:
    asked = [request(f"Count: {n}, {n + 1},", sampling=Sampling(max_tokens=4)) for n in range(40)]

    async def all_of_them() -> list[str]:
        return [c.request_id for c in await asyncio.gather(*(served.engine.generate(r) for r in asked))]

    assert served.do(all_of_them()) == [r.id for r in asked]


def test_a_seed_makes_sampling_repeat(served: Served) -> None:
    async def texts(*seeds: int) -> list[str]:
        asked = [request("Once upon a", sampling=Sampling(max_tokens=12, temperature=1.0, seed=seed)) for seed in seeds]
        return [c.text for c in await asyncio.gather(*(served.engine.generate(r) for r in asked))]

    one, again, *others = served.do(texts(5, 5, 1, 2, 3))
    assert one == again
    assert len({one, *others}) > 1


def test_the_token_limit_is_told(served: Served) -> None:
    completion = served.do(served.engine.generate(request(sampling=Sampling(max_tokens=2))))
    assert (completion.finish_reason, completion.output_tokens) == ("length", 2)
    assert completion.prompt_tokens > 4


def test_a_stop_string_ends_the_answer_and_is_left_out(served: Served) -> None:
    whole = served.do(served.engine.generate(request(sampling=Sampling(max_tokens=8)))).text
    stop = whole.split()[1]
    cut = served.do(served.engine.generate(request(sampling=Sampling(max_tokens=8, stop=(stop,)))))
    assert cut.finish_reason == "stop"
    assert cut.text == whole.split(stop)[0]


def test_choices_constrain_and_score(served: Served) -> None:
    choices = (" Yes", " No", " Maybe")
    completion = served.do(served.engine.generate(request(choices=choices, sampling=Sampling(max_tokens=1))))
    assert completion.text in choices
    assert math.isclose(sum(math.exp(score) for score in completion.choice_logprobs), 1.0, rel_tol=1e-6)
    assert choices[completion.choice_logprobs.index(max(completion.choice_logprobs))] == completion.text


def test_choices_that_cannot_be_told_apart_are_an_error(served: Served) -> None:
    with pytest.raises(EngineError, match="told apart"):
        served.do(served.engine.generate(request(choices=(" Yes", " Yes"), sampling=Sampling(max_tokens=1))))


def test_tokens_are_scored_by_vllm_and_refused_by_the_others(served: Served) -> None:
    asked = [request("", scored=tuple(range(500, 540)), adapter=adapter) for adapter in (None, served.adapter)]
    if not isinstance(served.engine, VllmEngine):
        with pytest.raises(EngineError, match="engine scores no tokens"):
            served.do(served.engine.generate(asked[0]))
        return
    base, tuned = (served.do(served.engine.generate(one)) for one in asked)
    again = served.do(served.engine.generate(request("", scored=tuple(range(500, 540)))))  # not cut short by the prefix cache
    assert (len(base.logprobs), len(base.likeliest), base.prompt_tokens) == (39, 39, 40)
    assert all(score <= 0 for score in base.logprobs)
    assert again.logprobs == pytest.approx(base.logprobs, abs=1e-4)
    assert tuned.logprobs != pytest.approx(base.logprobs, abs=1e-2)


def test_metrics_are_numbers(served: Served) -> None:
    values = served.do(served.engine.metrics())
    assert values
    assert all(isinstance(value, float) for value in values.values())


def test_a_prompt_that_is_too_long_is_refused_and_the_next_is_answered(real: Served) -> None:
    with pytest.raises(EngineError, match="maximum context length"):
        real.do(real.engine.generate(request("word " * (CONTEXT + 100))))
    assert real.do(real.engine.generate(request())).text


def test_an_answer_ends_where_the_context_ends(real: Served) -> None:
    head = "word " * (CONTEXT - 20)
    completion = real.do(real.engine.generate(request(head, sampling=Sampling(max_tokens=100, temperature=1.0, seed=3))))
    assert completion.prompt_tokens + completion.output_tokens <= CONTEXT
    assert completion.finish_reason == "length"


def test_an_unknown_adapter_is_refused(real: Served) -> None:
    with pytest.raises(EngineError):
        real.do(real.engine.generate(request(adapter="/no/such/adapter")))


def test_base_and_adapter_are_kept_apart_in_one_batch(real: Served) -> None:
    """vLLM 0.32 on CPU gave base rows of a mixed batch the last adapter's answers; see engine_vllm."""

    async def mixed() -> list[tuple[str, str]]:
        asked = [request(f"{PROMPT}{end}", adapter=adapter) for end in ("", " the", " a") for adapter in (None, real.adapter)]
        texts = [c.text for c in await asyncio.gather(*(real.engine.generate(r) for r in asked))]
        return list(zip(texts[::2], texts[1::2], strict=True))

    pairs = real.do(mixed())
    alone = [real.do(real.engine.generate(request(f"{PROMPT}{end}"))).text for end in ("", " the", " a")]
    assert [base for base, _ in pairs] == alone
    assert all(base != tuned for base, tuned in pairs)


def test_it_knows_the_capital_of_france(real: Served) -> None:
    assert "Paris" in real.do(real.engine.generate(request(sampling=Sampling(max_tokens=16)))).text


def test_a_penalty_takes_words_off_that_were_written(real: Served) -> None:
    """vLLM's penalties count the answer's tokens, not the prompt's: what the prompt repeats may be said once."""
    prompt = "red red red red red red red red red"
    free = real.do(real.engine.generate(request(prompt, sampling=Sampling(max_tokens=12))))
    assert free.text.split().count("red") > 6
    held = real.do(real.engine.generate(request(prompt, sampling=Sampling(max_tokens=12, frequency_penalty=2.0))))
    assert 1 <= held.text.split().count("red") < 6


def test_of_a_distribution_cut_to_its_likeliest_token_no_seed_draws_another(real: Served) -> None:
    async def texts() -> list[str]:
        narrow = [Sampling(max_tokens=8, temperature=1.0, top_p=1e-6, seed=seed) for seed in range(4)]
        asked = [request(sampling=sampling) for sampling in (Sampling(max_tokens=8), *narrow)]
        return [c.text for c in await asyncio.gather(*(real.engine.generate(r) for r in asked))]

    assert len(set(real.do(texts()))) == 1


def test_engines_agree_on_a_model(vllm: Served, server: Served, transformers: Served) -> None:
    """Greedy text and the choices' scores of the three; the seeded draws of vLLM in its two ways."""
    choices = (" Yes", " No", " Maybe")
    question = "Is Paris the capital of France? Answer:"
    drawn = Sampling(max_tokens=20, temperature=0.7, top_p=0.5, presence_penalty=2.0, stop=("\n\n",), seed=11)
    greedy, scores, texts = [], [], []
    for served in (vllm, server, transformers):
        greedy.append(served.do(served.engine.generate(request(sampling=Sampling(max_tokens=12)))))
        scores.append(served.do(served.engine.generate(request(question, choices=choices, sampling=Sampling(max_tokens=1)))))
        texts.append(served.do(served.engine.generate(request("Tasks:\n1.", sampling=drawn))).text)
    assert greedy[0].text == greedy[1].text == greedy[2].text
    assert len({(c.prompt_tokens, c.output_tokens, c.finish_reason) for c in greedy}) == 1
    assert len({(c.prompt_tokens, c.output_tokens, c.finish_reason) for c in scores}) == 1
    for other in scores[1:]:
        assert other.text == scores[0].text
        assert other.choice_logprobs == pytest.approx(scores[0].choice_logprobs, abs=1e-3)
    assert texts[0] == texts[1]


def test_vllm_caches_a_shared_prefix(of_vllm: Served) -> None:
    head = "The list of rivers: " + ", ".join(f"river {n}" for n in range(60))
    before = of_vllm.do(of_vllm.engine.metrics())["vllm:prefix_cache_hits_total"]
    of_vllm.do(of_vllm.engine.generate(request(head + ". First:")))
    second = of_vllm.do(of_vllm.engine.generate(request(head + ". Second:")))
    hits = of_vllm.do(of_vllm.engine.metrics())["vllm:prefix_cache_hits_total"] - before
    assert second.cached_tokens is not None and second.cached_tokens >= 96
    assert hits >= second.cached_tokens


def test_vllm_samples_with_a_seed_in_long_mixed_batches(of_vllm: Served) -> None:
    """Requests with a seed whose prefill was split over steps ended vLLM 0.32 on CPU; see engine_vllm."""
    asked = [
        request("word " * (400 - n), sampling=Sampling(max_tokens=8, temperature=0.7, top_p=0.5, presence_penalty=2.0, seed=n))
        for n in range(24)
    ]

    async def all_of_them() -> int:
        return len(await asyncio.gather(*(of_vllm.engine.generate(r) for r in asked)))

    assert of_vllm.do(all_of_them()) == 24


def test_a_cancelled_request_is_aborted(of_vllm: Served) -> None:
    async def cancel() -> float:
        task = asyncio.ensure_future(of_vllm.engine.generate(request("Once upon a time", sampling=Sampling(max_tokens=400))))
        await asyncio.sleep(0.5)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        for _ in range(50):
            running = (await of_vllm.engine.metrics())["vllm:num_requests_running"]
            if not running:
                break
            await asyncio.sleep(0.2)
        return running

    assert of_vllm.do(cancel()) == 0
