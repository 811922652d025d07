"""The loss against a plain reference, row by row."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from sample_training import tiny_llama
from self_instruct.settings import TrainSettings
from self_instruct.train.masking import Encoded
from self_instruct.train.modeling import add_lora
from self_instruct.train.objective import WeightedLoss, collate, head_is_plain

VOCABULARY = 50


def rows(weight: float, lengths: tuple[int, ...] = (9, 14, 5, 11)) -> list[Encoded]:
    draws = torch.Generator().manual_seed(3)
    made = []
    for number, length in enumerate(lengths):
        ids = torch.randint(0, VOCABULARY, (length,), generator=draws).tolist()
        prompt = length // 2
        weights = (0.0, *[weight] * (prompt - 1), *[1.0] * (length - prompt))
        made.append(Encoded(id=f"row{number}", form="", ids=tuple(ids), weights=weights, prompt_tokens=prompt))
    return made


def reference(model: Any, row: Encoded) -> float:
    """sum(w * ce) of one row, alone, from log-probabilities in float64."""
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([row.ids])).logits[0].double()
    total = 0.0
    for position in range(1, len(row.ids)):
        total -= row.weights[position] * float(torch.log_softmax(logits[position - 1], dim=-1)[row.ids[position]])
    return total


def value(objective: WeightedLoss, batch: list[Encoded]) -> float:
    with torch.no_grad():
        return float(objective(*collate(batch)))


@pytest.fixture(scope="module")
def tuned() -> Any:
    model = add_lora(tiny_llama(VOCABULARY), TrainSettings(), seed=1)
    with torch.no_grad():  # LoRA begins as nothing at all; give it an effect
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.normal_(0, 0.1, generator=torch.Generator().manual_seed(len(name)))
    return model


@pytest.mark.parametrize("rows_only", [True, False])
@pytest.mark.parametrize("weight", [0.0, 0.3, 1.0])
def test_the_loss_is_that_of_a_plain_computation(tuned: Any, weight: float, rows_only: bool) -> None:
    batch = rows(weight)
    found = value(WeightedLoss(tuned, rows_only=rows_only), batch)
    assert found == pytest.approx(sum(reference(tuned, row) for row in batch), rel=1e-6)


def test_padding_and_neighbours_change_nothing(tuned: Any) -> None:
    """One row's loss is the same alone and beside a longer one; changing that one's tokens changes only its own part."""
    objective = WeightedLoss(tuned, rows_only=True)
    short, long = rows(0.3, (5, 14))
    other = Encoded(id="o", form="", ids=tuple((i + 1) % VOCABULARY for i in long.ids), weights=long.weights, prompt_tokens=7)
    alone = value(objective, [short])
    for beside in (long, other):
        together = value(objective, [short, beside])
        assert together - value(objective, [beside]) == pytest.approx(alone, rel=1e-5)


def test_tokens_without_weight_are_no_targets(tuned: Any) -> None:
    """Moving a weight moves the loss; a prompt's own tokens are never targets at weight 0."""
    row = rows(0.0, (12,))[0]
    ids, weights = collate([row])
    objective = WeightedLoss(tuned, rows_only=True)
    seen: list[torch.Tensor] = []
    hook = tuned.get_output_embeddings().register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    try:
        objective(ids, weights)
    finally:
        hook.remove()
    assert [tuple(hidden.shape) for hidden in seen] == [(6, 32)]  # the head ran on the 6 weighted positions and no others


def test_a_batch_without_weights_has_loss_and_gradient_zero(tuned: Any) -> None:
    ids, weights = collate(rows(0.0))
    tuned.zero_grad()
    loss = WeightedLoss(tuned, rows_only=True)(ids, torch.zeros_like(weights))
    loss.backward()
    gradients = [parameter.grad for parameter in tuned.parameters() if parameter.requires_grad]
    assert float(loss.detach()) == 0.0
    assert all(gradient is not None and not gradient.any() for gradient in gradients)
    tuned.zero_grad()


def test_collating_pads_at_the_end() -> None:
    ids, weights = collate(rows(1.0, (3, 5)))
    assert ids.shape == weights.shape == (2, 5)
    assert ids[0, 3:].tolist() == [0, 0] and weights[0, 3:].tolist() == [0.0, 0.0]
    assert weights[1].tolist() == [0.0, 1.0, 1.0, 1.0, 1.0]


def test_a_plain_head_is_recognised(tuned: Any) -> None:
    assert head_is_plain(tuned, [1, 2, 3, 4])
    assert head_is_plain(tiny_llama(VOCABULARY), [1, 2, 3, 4])


def test_a_head_that_bends_its_logits_is_recognised_and_trained_as_it_is() -> None:
    """Gemma 2 squeezes its logits through a tanh; the rows-only way would silently train another model."""
    from transformers import Gemma2Config, Gemma2ForCausalLM

    torch.manual_seed(5)
    config = Gemma2Config(
        vocab_size=VOCABULARY, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, head_dim=8, max_position_embeddings=64, final_logit_softcapping=0.5, initializer_range=0.5,
    )  # fmt: skip
    model = Gemma2ForCausalLM(config).float().eval()
    assert not head_is_plain(model, [1, 2, 3, 4])
    batch = rows(0.3)
    expected = sum(reference(model, row) for row in batch)
    assert value(WeightedLoss(model, rows_only=False), batch) == pytest.approx(expected, rel=1e-5)
    assert value(WeightedLoss(model, rows_only=True), batch) != pytest.approx(expected, rel=1e-3)
