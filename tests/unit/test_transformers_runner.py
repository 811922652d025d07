"""The transformers runner on tiny random models, against the library's own greedy search and its plain forward pass."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast, T5Config, T5ForConditionalGeneration

from self_instruct.engine_transformers import TransformersEngine
from self_instruct.errors import EngineError
from self_instruct.models import Model, resolve
from self_instruct.records import Completion, Request, Sampling
from self_instruct.settings import ModelSettings, Settings
from self_instruct.transformers_runner import TransformersRunner, _next_token, _probabilities, load

WORDS = "the a of red blue yes no cat dog runs sleeps and sees big small one two three four five".split()
PROMPTS = ["the cat sees", "a big red dog runs and", "blue", "one two three four five the small cat of"]
SETTINGS = Settings.model_validate({"model": {"dtype": "float32", "max_length": 64}})


def save(folder: Path, network: Any, *, ends_prompts: bool) -> Model:
    vocabulary = {"<pad>": 0, "<end>": 1, "<unk>": 2} | {word: number for number, word in enumerate(WORDS, start=3)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    if ends_prompts:  # as T5's does
        tokenizer.post_processor = processors.TemplateProcessing(single="$A <end>", special_tokens=[("<end>", 1)])
    marks = {"eos_token": "<end>", "pad_token": "<pad>", "unk_token": "<unk>"}
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, **marks).save_pretrained(folder)
    network.save_pretrained(folder)
    return resolve(ModelSettings(name=str(folder)))


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """Where others compute too, threads of so small a model wait for one another most of the time."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def causal(tmp_path_factory: pytest.TempPathFactory) -> Model:
    torch.manual_seed(1)
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "initializer_range": 0.5}
    config = LlamaConfig(
        vocab_size=len(WORDS) + 3, max_position_embeddings=128, bos_token_id=None, eos_token_id=1, pad_token_id=0, **sizes
    )
    network = LlamaForCausalLM(config)
    # What a vendor's file asks for must not reach the answers.
    network.generation_config.update(do_sample=True, top_k=3, temperature=0.3, repetition_penalty=1.5, max_length=7)
    return save(tmp_path_factory.mktemp("causal"), network, ends_prompts=False)


@pytest.fixture(scope="module")
def encoder_decoder(tmp_path_factory: pytest.TempPathFactory) -> Model:
    torch.manual_seed(2)
    config = T5Config(
        vocab_size=len(WORDS) + 3, d_model=32, d_kv=8, d_ff=64, num_layers=2, num_heads=4, n_positions=128, initializer_factor=3.0
    )
    config.decoder_start_token_id = 0
    return save(tmp_path_factory.mktemp("t5"), T5ForConditionalGeneration(config), ends_prompts=True)


@pytest.fixture(params=["causal", "encoder_decoder"])
def model(request: pytest.FixtureRequest) -> Model:
    return request.getfixturevalue(request.param)  # type: ignore[no-any-return]


def request(prompt: str, number: int = 0, **more: Any) -> Request:
    return Request(id=f"r{number}", prompt=prompt, sampling=more.pop("sampling", Sampling(max_tokens=10)), **more)


def answers(runner: TransformersRunner, *requests: Request) -> list[Completion]:
    """Of one batch."""
    rows = [runner.prepare(one) for one in requests]
    runner.complete(rows)
    return [row.completion() for row in rows]


def by_hand(runner: TransformersRunner, prompt: str, penalty: float = 0.0) -> list[int]:
    """The greedy tokens by whole forward passes without cache, batch or padding; `penalty` is the frequency's."""
    network, ids = runner._network, runner._tokenize(prompt)
    out: list[int] = []
    for _ in range(10):
        if runner._beside_encoder:
            given = {"input_ids": torch.tensor([ids]), "decoder_input_ids": torch.tensor([[0, *out]])}
        else:
            given = {"input_ids": torch.tensor([ids + out])}
        with torch.no_grad():
            logits = network(**given).logits[0, -1]
        for token in out:
            logits[token] -= penalty
        out.append(int(logits.argmax()))
        if out[-1] == 1:
            break
    return out


def test_a_greedy_batch_is_what_each_prompt_gives_alone(model: Model) -> None:
    runner = load(model, SETTINGS, ())
    rows = [runner.prepare(request(prompt, number)) for number, prompt in enumerate(PROMPTS)]
    runner.complete(rows)
    assert [row.output for row in rows] == [by_hand(runner, prompt) for prompt in PROMPTS]
    assert len({tuple(row.output) for row in rows}) > 1


def test_penalties_are_on_the_answers_tokens_only(model: Model) -> None:
    runner = load(model, SETTINGS, ())
    rows = [runner.prepare(request(prompt, sampling=Sampling(max_tokens=10, frequency_penalty=1.5))) for prompt in PROMPTS]
    runner.complete(rows)
    assert [row.output for row in rows] == [by_hand(runner, prompt, 1.5) for prompt in PROMPTS]


def test_a_presence_penalty_counts_a_token_once(causal: Model) -> None:
    runner = load(causal, SETTINGS, ())
    row = runner.prepare(request("the cat", sampling=Sampling(max_tokens=4, presence_penalty=2.0, frequency_penalty=0.25)))
    row.add(5)
    row.add(5)
    row.add(6)
    logits = torch.zeros(23)
    logits[5], logits[6], logits[7] = 2.4, 2.3, 0.0
    # 2.4 - 2 - 2 * 0.25 = -0.1; 2.3 - 2 - 0.25 = 0.05
    assert _next_token(row, logits, None) == 6


def test_choices_are_scored_as_a_forward_pass_does(model: Model) -> None:
    runner = load(model, SETTINGS, ())
    choices = (" no cat", " no dog runs", " no the")
    done, _ = answers(runner, *(request(prompt, choices=choices) for prompt in ("the cat sees", "blue")))
    ids, no = runner._tokenize("the cat sees"), WORDS.index("no") + 3
    if runner._beside_encoder:
        given = {"input_ids": torch.tensor([ids]), "decoder_input_ids": torch.tensor([[0, no]])}
    else:
        given = {"input_ids": torch.tensor([[*ids, no]])}
    with torch.inference_mode():
        logits = runner._network(**given).logits[0, -1]
    expected = logits[[WORDS.index(word) + 3 for word in ("cat", "dog", "the")]].log_softmax(-1)
    assert done.choice_logprobs == pytest.approx(expected.tolist(), abs=1e-4)
    assert (done.text, done.finish_reason, done.output_tokens) == (choices[int(expected.argmax())], "stop", 1)


def test_a_seed_draws_the_same_alone_and_in_a_batch(model: Model) -> None:
    runner = load(model, SETTINGS, ())
    sampled = [
        request(prompt, number, sampling=Sampling(max_tokens=10, temperature=1.5, top_p=0.9, seed=number))
        for number, prompt in enumerate(PROMPTS)
    ]
    together = answers(runner, *sampled)
    assert together == [answers(runner, one)[0] for one in sampled]
    others = [request(PROMPTS[0], sampling=Sampling(max_tokens=10, temperature=1.5, seed=seed)) for seed in range(6)]
    assert len({one.text for one in answers(runner, *others)}) > 1


def test_limits_differ_within_a_batch(model: Model) -> None:
    runner = load(model, SETTINGS, ())
    done = answers(runner, *(request(PROMPTS[1], sampling=Sampling(max_tokens=limit)) for limit in (1, 3, 2)))
    assert [one.output_tokens for one in done] == [1, 3, 2]
    assert done[1].text.startswith(done[2].text) and done[2].text.startswith(done[0].text)


def test_top_p_keeps_the_likeliest_up_to_its_sum() -> None:
    logits = torch.tensor([0.5, 0.2, 0.2, 0.1]).log()
    kept = [
        (_probabilities(logits, Sampling(max_tokens=1, temperature=1.0, top_p=p)) > 0).sum().item() for p in (0.4, 0.6, 0.95, 1)
    ]
    assert kept == [1, 2, 4, 4]


def test_what_cannot_be_served_is_refused(model: Model) -> None:
    runner = load(model, SETTINGS, ())
    with pytest.raises(ValueError, match="maximum context length of 64"):
        runner.prepare(request("cat " * 64))
    with pytest.raises(ValueError, match="adapter"):
        runner.prepare(request("cat", adapter="/no"))
    with pytest.raises(ValueError, match="told apart"):
        runner.prepare(request("cat ", choices=("no", "no")))


def test_a_model_that_does_not_load_is_one_line(causal: Model, tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="transformers doesn't load it") as caught:
        load(causal, SETTINGS, (str(tmp_path),))
    assert "\n" not in caught.value.message


def test_the_engine_serves_it_whole(encoder_decoder: Model) -> None:
    async def main() -> list[Completion]:
        engine = await TransformersEngine.start(encoder_decoder, SETTINGS)
        try:
            return list(await asyncio.gather(*(engine.generate(request(prompt, number)) for number, prompt in enumerate(PROMPTS))))
        finally:
            await engine.close()

    done = asyncio.run(main())
    assert [one.request_id for one in done] == ["r0", "r1", "r2", "r3"]
    assert done[0].prompt_tokens == 4
