"""The memory estimate against a direct count, and what is planned from it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from sample_training import encoded, one_thread, save_tiny_model, tiny, tiny_llama, tiny_t5
from self_instruct.settings import TrainSettings
from self_instruct.train import memory, modeling, objective
from self_instruct.train.memory import Estimate
from self_instruct.train.objective import collate
from self_instruct.train.step import checkpoint_activations

# At this width the activations of a layer outweigh what doesn't grow with the tokens.
WIDE: dict[str, Any] = {"hidden_size": 64, "intermediate_size": 256}


@pytest.fixture(autouse=True, scope="module")
def _threads() -> Iterator[None]:
    with one_thread():
        yield


def trained(model: Any, **changes: Any) -> tuple[Any, objective.WeightedLoss, objective.Layout]:
    settings = TrainSettings(**changes)
    made = modeling.make_trainable(model, settings, seed=1)
    loss, layout, _ = modeling.build_objective(made, settings, 64, [1, 2, 3])
    return made, loss, layout


def kept(model: Any, loss: objective.WeightedLoss, layout: objective.Layout, *tokens: int) -> int:
    """Bytes that a forward pass of rows of so many tokens keeps beside the parameters, counted by what autograd packs."""
    known = {part.untyped_storage().data_ptr() for part in [*model.parameters(), *model.buffers()]}
    found: dict[int, torch.Tensor] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        found[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    batch = collate(encoded(tokens, prompt=0.99), layout)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        loss(**batch)
    return sum(tensor.untyped_storage().nbytes() for place, tensor in found.items() if place not in known)


@pytest.mark.parametrize("changes", [{}, {"method": "full"}, {"attention": "padded"}])
@pytest.mark.parametrize("architecture", ["Llama", "GPT2"])
def test_kept_bytes_a_token_are_those_of_a_longer_row(architecture: str, changes: dict[str, Any]) -> None:
    model, loss, layout = trained(tiny(architecture, **(WIDE if architecture == "Llama" else {"n_embd": 64})), **changes)
    estimate = memory.estimate(model)
    assert estimate is not None
    grown = (kept(model, loss, layout, 200) - kept(model, loss, layout, 100)) / 100
    assert estimate.token == pytest.approx(grown, rel=0.05)


def test_checkpointing_keeps_about_what_is_estimated() -> None:
    """The inputs of the layers, and one layer's activations while it is computed again: more than what is kept, less than all."""
    model, loss, layout = trained(tiny("Llama", num_hidden_layers=6, **WIDE))
    estimate = memory.estimate(model)
    assert estimate is not None
    model.train()
    checkpoint_activations(objective.causal(model))
    inputs = (kept(model, loss, layout, 200) - kept(model, loss, layout, 100)) / 100
    assert inputs < estimate.token_checkpointed < 0.5 * estimate.token
    assert estimate.token_checkpointed == pytest.approx(inputs + estimate.token / 6, rel=0.25)


def test_weights_and_moments_are_counted_once() -> None:
    for tied in (True, False):
        model, _, _ = trained(tiny_llama(50, tie_word_embeddings=tied), method="full")
        estimate = memory.estimate(model)
        numbers = sum(parameter.numel() for parameter in model.parameters())
        assert estimate is not None and estimate.trained == 12 * numbers
        assert estimate.weights == pytest.approx(4 * numbers, rel=0.001)  # and a few buffers
    model, _, _ = trained(tiny_llama(50).to(torch.bfloat16), lora_rank=4)
    estimate = memory.estimate(model)
    assert estimate is not None and estimate.trained == 12 * modeling.trainable(model)


def test_the_logits_count_where_they_exist_at_once() -> None:
    """Gemma 2's own head, over a vocabulary that outweighs the rest; and the gradient of a head that is trained."""
    model, loss, layout = trained(tiny("Gemma2", 4000))
    estimate = memory.estimate(model, plain_head=loss.plain_head)
    assert estimate is not None and not loss.plain_head
    grown = (kept(model, loss, layout, 100, 100) - kept(model, loss, layout, 50, 50)) / 100
    assert 0.25 * estimate.token < grown < estimate.token  # the gradients, and copies on the way, aren't among what is kept
    one, two = (memory.estimate(trained(tiny_llama(4000), method=method)[0]) for method in ("lora", "full"))
    assert one is not None and two is not None
    assert two.head - one.head == 8 * 4000 * 32


def test_estimating_leaves_nothing_behind() -> None:
    model, _, _ = trained(tiny_llama(50))
    assert memory.estimate(model) == memory.estimate(model)
    assert all(parameter.grad is None for parameter in model.parameters())


@pytest.mark.parametrize("changes", [{}, {"method": "full"}])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_without_weights_it_is_about_the_same(tmp_path: Path, dtype: str, changes: dict[str, Any]) -> None:
    folder = tmp_path / "model"
    wide = {
        "hidden_size": 256,
        "intermediate_size": 1024,
        "head_dim": 64,
    }  # without weights attention is counted as its plain formula
    tiny("Llama", **wide).save_pretrained(folder)
    settings = TrainSettings(**changes)
    model, _, _ = trained(modeling.load_base(str(folder), dtype, settings.method), **changes)
    real, planned = memory.estimate(model), memory.estimate_without_weights(str(folder), settings, dtype)
    assert real is not None and planned is not None
    assert (planned.trained, planned.head) == (real.trained, real.head)
    assert planned.weights == pytest.approx(real.weights, rel=0.01)
    assert planned.token == pytest.approx(real.token, rel=0.25)
    assert planned.token_checkpointed == pytest.approx(real.token_checkpointed, rel=0.25)


def test_weights_in_4_bits_are_counted_so(tmp_path: Path) -> None:
    folder = str(save_tiny_model(tmp_path / "model"))
    whole = memory.estimate_without_weights(folder, TrainSettings(method="lora"), "bfloat16")
    quantized = memory.estimate_without_weights(folder, TrainSettings(method="qlora"), "bfloat16")
    assert whole is not None and quantized is not None
    linear = 2 * (2 * 32 * 32 + 2 * 32 * 16 + 3 * 32 * 64)  # two layers: q and o, k and v, the MLP
    assert whole.weights - quantized.weights == pytest.approx(linear * (2 - 0.516), rel=0.01)


def test_an_encoder_decoder_has_no_estimate(tmp_path: Path) -> None:
    tiny_t5().save_pretrained(tmp_path)
    assert memory.estimate(tiny_t5()) is None
    assert memory.estimate_without_weights(str(tmp_path), TrainSettings(), "float32") is None


def test_an_architecture_that_cannot_be_built_has_no_estimate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = save_tiny_model(tmp_path / "model")

    def broken(*args: Any, **more: Any) -> None:
        raise RuntimeError("not on meta")

    monkeypatch.setattr(memory, "make_trainable", broken)
    assert memory.estimate_without_weights(str(folder), TrainSettings(), "float32") is None


ESTIMATE = Estimate(weights=1000, trained=200, token=10, token_checkpointed=2, head=300)


def test_the_peak_is_a_sum() -> None:
    assert ESTIMATE.total(0) == 1500
    assert ESTIMATE.total(100) == 2500
    assert ESTIMATE.total(100, checkpointed=True) == 1700


@pytest.mark.parametrize("gpu", [True, False])
@pytest.mark.parametrize("wanted", [None, 50])
def test_activations_are_computed_twice_only_where_the_longest_example_wouldnt_fit(gpu: bool, wanted: int | None) -> None:
    fits = 2500 * 5 // 4  # four fifths of it are planned with
    assert ESTIMATE.plan(fits, 100, wanted, gpu=gpu)[1] is False
    assert ESTIMATE.plan(fits, 101, wanted, gpu=gpu)[1] is True
    assert ESTIMATE.plan(fits - 2, 100, wanted, gpu=gpu)[1] is True


def test_the_budget() -> None:
    assert ESTIMATE.plan(2500 * 5 // 4, 20, None, gpu=True) == (100, False)  # what is left for activations, 10 bytes a token
    assert ESTIMATE.plan(2500 * 5 // 4, 300, None, gpu=True) == (500, True)  # 2 bytes a token
    assert ESTIMATE.plan(1000, 300, None, gpu=True) == (300, True)  # nothing fits; the longest example is tried
    assert ESTIMATE.plan(10**9, 20, None, gpu=True) == (memory.LARGEST_BUDGET, False)
    assert ESTIMATE.plan(10**9, 20, None, gpu=False) == (memory.CPU_BUDGET, False)
    assert ESTIMATE.plan(10**9, 20, 77, gpu=True) == ESTIMATE.plan(10**9, 20, 77, gpu=False) == (77, False)


def test_a_cpu_has_the_machines_memory() -> None:
    total = next(line for line in Path("/proc/meminfo").read_text().splitlines() if line.startswith("MemTotal"))
    assert memory.device_bytes(torch.device("cpu")) == pytest.approx(int(total.split()[1]) * 1024, rel=0.01)
