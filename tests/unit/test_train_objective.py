"""How examples are laid out, and the loss: heads of all kinds, tied embeddings, autocast, T5. The property tests have the rest."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from torch.nn import functional

from sample_training import apart, encoded, gradients, one_thread, plain_loss, tiny, tiny_llama, tiny_t5
from self_instruct.settings import TrainSettings
from self_instruct.train import modeling, objective
from self_instruct.train.masking import Encoded
from self_instruct.train.objective import WeightedLoss, collate
from self_instruct.train.step import Stepper

FULL = TrainSettings(method="full")


@pytest.fixture(autouse=True, scope="module")
def _threads() -> Iterator[None]:
    with one_thread():
        yield


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """The head runs over 3 positions at a time."""
    monkeypatch.setitem(objective.CHUNK, "cpu", 3 * 50 + 7)


def full(model: Any, layout: str = "packed") -> WeightedLoss:
    loss, found, _ = modeling.build_objective(model.requires_grad_(True), FULL, 64, [1, 2, 3])
    assert found == layout
    return loss


ONE = Encoded(id="one", form="", ids=(11, 12, 13, 14), weights=(0.0, 0.5, 1.0, 1.0), prompt_tokens=2)
TWO = Encoded(id="two", form="", ids=(21, 22), weights=(0.0, 1.0), prompt_tokens=1)


def test_a_packed_row_has_the_examples_end_to_end() -> None:
    batch = collate([ONE, TWO], "packed")
    assert batch["inputs"]["input_ids"].tolist() == [[11, 12, 13, 14, 21, 22]]
    assert batch["inputs"]["position_ids"].tolist() == [[0, 1, 2, 3, 0, 1]]
    assert batch["inputs"]["cu_seq_lens_q"].tolist() == [0, 4, 6]
    assert batch["keep"].tolist() == [0, 1, 2, 4]
    assert batch["targets"].tolist() == [12, 13, 14, 22]
    assert batch["weights"].tolist() == [0.5, 1.0, 1.0, 1.0]


def test_padding_comes_at_the_end_and_is_no_target() -> None:
    batch = collate([TWO, ONE], "padded")
    assert batch["inputs"]["input_ids"].tolist() == [[21, 22, 0, 0], [11, 12, 13, 14]]
    assert batch["keep"].tolist() == [0, 4, 5, 6]
    assert batch["targets"].tolist() == [22, 12, 13, 14]


def test_an_encoder_reads_prompts_and_a_decoder_completions_behind_the_start() -> None:
    batch = collate([ONE, TWO], "encoder-decoder", start_id=3)
    assert batch["inputs"]["input_ids"].tolist() == [[11, 12], [21, 0]]
    assert batch["inputs"]["attention_mask"].tolist() == [[1, 1], [1, 0]]
    assert batch["inputs"]["decoder_input_ids"].tolist() == [[3, 13], [3, 0]]
    assert batch["keep"].tolist() == [0, 1, 2]
    assert batch["targets"].tolist() == [13, 14, 22]
    assert batch["weights"].tolist() == [1.0, 1.0, 1.0]


def test_the_head_runs_on_weighted_positions_alone_and_in_chunks(monkeypatch: pytest.MonkeyPatch, small_chunks: None) -> None:
    shapes: list[tuple[int, ...]] = []
    plain = functional.linear

    def watched(inner: torch.Tensor, weight: torch.Tensor, *more: Any) -> torch.Tensor:
        if weight.shape[0] == 50:
            shapes.append(tuple(inner.shape))
        return plain(inner, weight, *more)

    monkeypatch.setattr(objective.functional, "linear", watched)
    loss = full(tiny_llama(50))
    shapes.clear()
    loss(**collate(encoded((14, 9)), "packed"))
    assert shapes == [(3, 32), (3, 32), (3, 32), (3, 32)]  # 7 + 5 weighted positions of 23


@pytest.mark.parametrize("tied", [True, False])
def test_full_fine_tuning_has_the_gradients_of_plain_autograd(tied: bool, small_chunks: None) -> None:
    """A tied weight gets the head's gradient and the embedding's."""
    model, own = (tiny_llama(50, tie_word_embeddings=tied) for _ in range(2))
    rows = encoded(weight=0.3)
    full(model)(**collate(rows, "packed")).backward()
    plain_loss(own, rows).backward()
    found, wanted = gradients(model), gradients(own)
    assert ("lm_head.weight" in found) is not tied
    assert apart(found, wanted) < 1e-5
    embedding = "model.embed_tokens.weight"
    assert float((found[embedding] - wanted[embedding]).norm() / wanted[embedding].norm()) < 1e-5


def test_a_head_with_a_bias(small_chunks: None) -> None:
    def biased() -> Any:
        model = tiny_llama(50)
        torch.manual_seed(1)
        model.lm_head.bias = torch.nn.Parameter(torch.randn(50))
        return model

    model, own = biased(), biased()
    loss = full(model)
    assert loss.plain_head
    rows = encoded(weight=0.3)
    value, expected = loss(**collate(rows, "packed")), plain_loss(own, rows)
    value.backward()
    expected.backward()
    assert value.item() == pytest.approx(expected.item(), rel=1e-6)
    found, wanted = gradients(model), gradients(own)
    assert apart(found, wanted) < 1e-5
    assert torch.allclose(found["lm_head.bias"], wanted["lm_head.bias"], rtol=1e-4, atol=1e-5)


def test_a_rounded_head_loses_nothing_where_the_model_is_all_but_certain() -> None:
    """In bfloat16 the gradient of a token of probability 0.99 is a hundredth of that of an unlikely one, and as exact."""
    torch.manual_seed(2)
    head = torch.randn(50, 32, dtype=torch.bfloat16)
    hidden = (head[:8].float() * 0.35).to(torch.bfloat16)
    targets, weights = torch.arange(8), torch.ones(8)
    exact = hidden.double().requires_grad_()
    logits = exact @ head.double().t()
    assert logits.softmax(-1).gather(1, targets.unsqueeze(1)).median() > 0.98
    functional.cross_entropy(logits, targets, reduction="sum").backward()
    assert exact.grad is not None
    own = hidden.clone().requires_grad_()
    objective._HeadLoss.apply(own, head, None, targets, weights).backward()
    assert own.grad is not None
    off = (own.grad.double() - exact.grad).norm(dim=-1) / exact.grad.norm(dim=-1)
    assert off.max() < 0.05  # what the rounding of the logits does; the two parts rounded apart are off by 0.86


def test_a_batch_without_weights_has_loss_and_gradient_zero() -> None:
    rows = [replace(row, weights=(0.0,) * len(row.ids)) for row in encoded()]
    for model, layout in ((tiny_llama(50), "packed"), (tiny("Gemma2"), "padded")):
        loss = full(model, layout)
        value = loss(**collate(rows, layout))  # type: ignore[arg-type]
        value.backward()
        found = gradients(model)
        assert value.item() == 0.0 and found
        assert not any(gradient.any() for gradient in found.values())


def test_a_plain_head_is_recognised() -> None:
    for architecture in ("Llama", "Qwen3", "GPT2", "Mamba"):
        model = tiny(architecture)
        assert objective.head_is_plain(model, [1, 2, 3])
        assert model.training
    assert objective.head_is_plain(modeling.make_trainable(tiny_llama(50), TrainSettings(), 1), [1, 2, 3])
    assert not objective.head_is_plain(tiny_t5(), [1, 2, 3])


@pytest.mark.parametrize("count", [1, 4])
def test_a_head_that_bends_its_logits_is_trained_as_it_is(count: int) -> None:
    """Gemma 2 squeezes its logits through a tanh; the plain head would silently train another model."""
    model, own = tiny("Gemma2"), tiny("Gemma2")
    loss = full(model, "padded")
    assert not loss.plain_head
    rows = encoded(weight=0.3)[:count]
    value, expected = loss(**collate(rows, "padded")), plain_loss(own, rows)
    value.backward()
    expected.backward()
    assert value.item() == pytest.approx(expected.item(), rel=1e-6)
    assert apart(gradients(model), gradients(own)) < 1e-5
    with torch.no_grad():
        assert WeightedLoss(own, plain_head=True)(**collate(rows, "padded")).item() != pytest.approx(expected.item(), rel=1e-3)


@pytest.mark.parametrize("architecture", ["Llama", "GPT2"])
def test_full_fine_tuning_in_bfloat16_is_near_float32(architecture: str) -> None:
    """accelerate's mixed precision: weights and gradients stay in float32."""
    from accelerate.state import AcceleratorState

    rows = encoded((9, 14, 5, 11, 20), weight=0.3)
    own = tiny(architecture)
    expected = plain_loss(own, rows)
    expected.backward()
    AcceleratorState._reset_state(reset_partial_state=True)
    try:
        model = tiny(architecture)
        loss = full(model)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
        seen: list[dict[str, Any]] = []
        optimizer.register_step_pre_hook(lambda *_: seen.append(gradients(model)))
        stepper = Stepper(loss, Accelerator(cpu=True, mixed_precision="bf16"), optimizer, "packed", 64)
        total, norm, _ = stepper.train(rows, 0.0, 1e9)
    finally:
        AcceleratorState._reset_state(reset_partial_state=True)
    assert total == pytest.approx(expected.item(), rel=1e-2) and total != pytest.approx(expected.item(), rel=1e-7)
    assert 0 < norm < float("inf")
    assert {value.dtype for value in seen[0].values()} == {torch.float32}
    weight = sum(sum(row.weights) for row in rows)
    assert apart(seen[0], {name: value / weight for name, value in gradients(own).items()}) < 0.1


def t5_loss(model: Any, rows: list[Encoded]) -> torch.Tensor:
    """T5 as transformers documents it: `labels`, which it shifts itself, one row at a time."""
    total = torch.zeros(())
    for row in rows:
        prompt, completion = torch.tensor([row.ids[: row.prompt_tokens]]), torch.tensor([row.labels])
        total = total + model(input_ids=prompt, labels=completion).loss * len(row.labels)
    return total


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("method", ["lora", "full"])
def test_t5_trains(method: str, tied: bool) -> None:
    """The loss of the first step is that of T5's own labels, with its gradient, and a few steps on the same rows lower it."""
    settings = TrainSettings(method=method, lora_rank=4)  # type: ignore[arg-type]
    model = modeling.make_trainable(tiny_t5(tie_word_embeddings=tied), settings, seed=1)
    own = modeling.make_trainable(tiny_t5(tie_word_embeddings=tied), settings, seed=1)
    loss, layout, said = modeling.build_objective(model, settings, 64, [1, 2, 3])
    assert layout == "encoder-decoder" and "encoder-decoder" in said
    rows = encoded((9, 14, 6, 11))
    weight = sum(sum(row.weights) for row in rows)
    expected = t5_loss(own, rows)
    expected.backward()
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=0.01)
    stepper = Stepper(loss, Accelerator(cpu=True), optimizer, layout, 30)
    assert stepper.measure(rows) == pytest.approx(expected.item(), rel=1e-5)
    first: dict[str, Any] = {}

    def note(*_: Any) -> None:
        first.update({name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None})

    hook = optimizer.register_step_pre_hook(note)
    losses = [stepper.train(rows, 0.03, 1e9)[0] / weight]
    hook.remove()
    assert losses[0] == pytest.approx(expected.item() / weight, rel=1e-5)
    assert apart(first, {name: value / weight for name, value in gradients(own).items()}) < 1e-5
    losses += [stepper.train(rows, 0.03, 1e9)[0] / weight for _ in range(12)]
    assert losses[-1] < 0.97 * losses[0]
