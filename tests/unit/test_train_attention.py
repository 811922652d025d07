"""Packed attention against each model's own, on tiny random models of many architectures, and what runs padded instead."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from torch.nn import functional

from sample_training import apart, encoded, gradients, one_thread, plain_loss, tiny
from self_instruct import rundir
from self_instruct.settings import TrainSettings
from self_instruct.train import attention, modeling, objective
from self_instruct.train.objective import collate
from self_instruct.train.step import Stepper

LENGTHS = (9, 30, 5, 17)
FULL = TrainSettings(method="full")


@pytest.fixture(autouse=True, scope="module")
def _threads() -> Iterator[None]:
    with one_thread():
        yield


def pack(model: Any, limit: int = 64) -> str | None:
    return attention.pack(model, objective.parts(model)[0], limit)


@pytest.mark.parametrize(
    ("architecture", "changes", "reason"),
    [
        ("Llama", {}, None),
        ("Qwen2", {}, None),
        ("Qwen2", {"sliding_window": 6, "use_sliding_window": True, "max_window_layers": 1}, None),  # in one of its layers
        ("Qwen3", {}, None),
        ("GPT2", {}, None),
        ("Mistral", {}, None),
        ("Mistral", {"sliding_window": 6}, None),
        ("Gemma2", {"attn_logit_softcapping": None, "sliding_window": 6}, None),
        ("Qwen2Moe", {}, None),
        ("Gemma2", {}, "softcap"),
        ("GptOss", {}, "s_aux"),
        ("Mamba", {}, "packed and alone differ by"),
        ("Qwen2Moe", {"sliding_window": 6, "use_sliding_window": True, "max_window_layers": 2}, "packed and alone differ by"),
    ],
)
def test_an_architecture_trains_packed_or_padded_with_the_same_loss(
    architecture: str, changes: dict[str, Any], reason: str | None
) -> None:
    """Whichever way it takes: loss and gradient are those of a model of the same weights with its own attention, row by row."""
    model, own = tiny(architecture, **changes), tiny(architecture, **changes)
    before = model.config._attn_implementation
    loss, layout, said = modeling.build_objective(model.requires_grad_(True), FULL, 64, [1, 2, 3, 4])
    if reason is None:
        assert (layout, model.config._attn_implementation) == ("packed", attention.NAME), said
    else:
        assert (layout, model.config._attn_implementation) == ("padded", before), said
        assert reason in said
    rows = encoded(LENGTHS, weight=0.3)
    expected = plain_loss(own, rows)
    expected.backward()
    seen: list[dict[str, Any]] = []
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    optimizer.register_step_pre_hook(lambda *_: seen.append(gradients(model)))
    weight = sum(sum(row.weights) for row in rows)
    total, norm, _ = Stepper(loss, Accelerator(cpu=True), optimizer, layout, 40).train(rows, 0.1, 1e9)
    assert total == pytest.approx(expected.item(), rel=1e-6)
    assert norm > 0
    wanted = {name: gradient / weight for name, gradient in gradients(own).items()}
    assert apart(seen[0], wanted) < 1e-5


def test_a_window_is_no_matter_where_no_example_reaches_it() -> None:
    model = tiny("Qwen2Moe", sliding_window=64, use_sliding_window=True, max_window_layers=2)
    assert pack(model, 64) is None
    assert "differ" in str(pack(tiny("Qwen2Moe", sliding_window=63, use_sliding_window=True, max_window_layers=2), 64))


def test_a_window_that_no_layer_asks_for_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond a window of thousands of tokens the hidden states would differ by less than rounding in bfloat16."""
    monkeypatch.setitem(attention.TOLERANCE, torch.float32, 10.0)
    model = tiny("Qwen2Moe", sliding_window=6, use_sliding_window=True, max_window_layers=2)
    assert pack(model) == "its attention isn't told of its window of 6 tokens"
    assert model.config._attn_implementation == "sdpa"


def test_a_refused_model_computes_as_before() -> None:
    for architecture in ("Gemma2", "GptOss", "Mamba"):
        model = tiny(architecture).eval()
        ids = torch.arange(12).unsqueeze(0)
        with torch.no_grad():
            before = model(input_ids=ids).logits
            assert pack(model) is not None
            assert torch.equal(model(input_ids=ids).logits, before)


def test_a_model_in_training_stays_so() -> None:
    for architecture in ("Llama", "Gemma2"):
        for training in (True, False):
            model = tiny(architecture).train(training)
            pack(model)
            assert model.training is training and model.base_model.training is training


def test_a_model_that_breaks_under_the_probe_runs_padded(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*args: Any, **more: Any) -> None:
        raise RuntimeError("no such\nthing")

    model = tiny("Llama")
    monkeypatch.setattr(attention, "row", broken)
    assert pack(model) == "RuntimeError: no such"
    assert model.config._attn_implementation == "sdpa"


def test_a_packed_models_config_is_saved_as_any(tmp_path: Path) -> None:
    model = tiny("Llama")
    assert pack(model) is None
    model.save_pretrained(tmp_path)
    assert attention.NAME not in (tmp_path / "config.json").read_text()
    assert rundir.read_json(tmp_path / "config.json")["model_type"] == "llama"


def test_a_row_tells_positions_and_bounds() -> None:
    told = attention.row([3, 1, 2])
    assert told["position_ids"].tolist() == [[0, 1, 2, 0, 0, 1]]
    assert told["cu_seq_lens_q"].tolist() == told["cu_seq_lens_k"].tolist() == [0, 3, 4, 6]
    assert told["cu_seq_lens_q"].dtype == torch.int32
    assert told["max_length_q"] == told["max_length_k"] == 3


@pytest.mark.parametrize("window", [None, 1, 3, 100])
@pytest.mark.parametrize("heads", [(4, 4), (4, 2)])
def test_attention_is_the_formula_within_each_example(heads: tuple[int, int], window: int | None) -> None:
    draws = torch.Generator().manual_seed(1)
    bounds = [0, 4, 5, 12]
    query, key, value = (
        torch.randn((1, count, 12, 6), generator=draws, dtype=torch.float64) for count in (heads[0], *heads[1:] * 2)
    )
    told = torch.tensor(bounds, dtype=torch.int32)
    module = torch.nn.Module()
    out, weights = attention.packed_attention(
        module, query, key, value, None, scaling=0.3, sliding_window=window, cu_seq_lens_q=told, max_length_q=7
    )
    assert weights is None and out.shape == (1, 12, heads[0], 6)
    example = [sum(place >= bound for bound in bounds[1:]) for place in range(12)]
    repeat = heads[0] // heads[1]
    for head in range(heads[0]):
        for place in range(12):
            sees = [
                other
                for other in range(place + 1)
                if example[other] == example[place] and (window is None or place - other < window)
            ]
            scores = functional.softmax(0.3 * key[0, head // repeat, sees] @ query[0, head, place], dim=0)
            assert torch.allclose(out[0, place, head], scores @ value[0, head // repeat, sees])


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"softcap": 30.0}, "softcap"),
        ({"s_aux": torch.zeros(4)}, "s_aux"),
        ({"attention_mask": torch.zeros(1, 1, 5, 5)}, "its own mask"),
        ({"cu_seq_lens_q": None}, "its own mask"),
        ({"key": torch.zeros(1, 4, 6, 8), "value": torch.zeros(1, 4, 6, 8)}, "its own mask"),
    ],
)
def test_what_isnt_rendered_is_refused(more: dict[str, Any], said: str) -> None:
    tensors = dict.fromkeys(("query", "key", "value"), torch.zeros(1, 4, 5, 8))
    given = tensors | {"attention_mask": None, "cu_seq_lens_q": torch.tensor([0, 5])} | more
    with pytest.raises(attention.UnsupportedAttentionError, match=f"^{said}$"):
        attention.packed_attention(torch.nn.Module(), **given)


def test_no_mask_of_the_whole_row_arises(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is computed grows with each example, not with the row."""
    model = tiny("Llama")
    assert pack(model) is None
    shapes: list[tuple[int, ...]] = []
    plain = functional.scaled_dot_product_attention

    def watched(query: torch.Tensor, *args: Any, **more: Any) -> torch.Tensor:
        assert more["attn_mask"] is None and more["is_causal"]
        shapes.append(tuple(query.shape))
        return plain(query, *args, **more)

    monkeypatch.setattr(attention.functional, "scaled_dot_product_attention", watched)
    inputs = collate(encoded(LENGTHS), "packed")["inputs"]
    model.base_model(**inputs, use_cache=False)
    assert sorted(shapes) == sorted((1, 4, length, 8) for length in LENGTHS * 2)
