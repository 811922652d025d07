"""Our LoRA layer against PEFT's: the short way where it applies, PEFT's own elsewhere, and nothing of it in what is saved."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from peft.tuners.lora import Linear
from torch import nn

from sample_training import apart, gradients, one_thread, stir, tiny_llama
from self_instruct.settings import TrainSettings
from self_instruct.train import lora_layer, modeling
from self_instruct.train.lora_layer import LoraLinear


@pytest.fixture(autouse=True, scope="module")
def _threads() -> Iterator[None]:
    with one_thread():
        yield


class Base(nn.Module):
    """Two linear layers, one with a bias, in front of each other."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(5)
        self.one, self.two = nn.Linear(6, 10, bias=True), nn.Linear(10, 7, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.two(torch.tanh(self.one(x)))
        return out


def wrap(ours: bool, dtype: torch.dtype = torch.float64, **changes: Any) -> Any:
    """Base with LoRA of an effect, PEFT's or ours, of the same values."""
    config = peft.LoraConfig(**({"r": 3, "lora_alpha": 5, "target_modules": ["one", "two"]} | changes))
    if ours:
        config._register_custom_module({nn.Linear: LoraLinear})
    made = peft.get_peft_model(Base(), config, autocast_adapter_dtype=False)
    filled(made)
    return made.to(dtype)


def filled(model: Any) -> None:
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_" in name:
                parameter.normal_(0, 0.3, generator=torch.Generator().manual_seed(len(name)))


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """One entry for each time that the short way was taken."""
    taken: list[int] = []
    real = lora_layer._Product.apply
    monkeypatch.setattr(lora_layer._Product, "apply", lambda *given: taken.append(1) or real(*given))
    return taken


def data(*shape: int, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64).to(dtype)


def run(model: Any, x: torch.Tensor) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """The output, and the gradients of all matrices and of x, for an uneven gradient of the output."""
    own = x.clone().requires_grad_()
    out = model(own)
    (out * data(*out.shape, dtype=out.dtype).flip(0)).sum().backward()
    assert own.grad is not None
    return out.detach(), gradients(model) | {"x": own.grad}


@pytest.mark.parametrize("shape", [(4, 6), (2, 3, 6), (6,), (1, 1, 6)])
@pytest.mark.parametrize("changes", [{}, {"use_rslora": True}, {"lora_alpha": 1}])
def test_output_and_gradients_are_pefts(shape: tuple[int, ...], changes: dict[str, Any], short: list[int]) -> None:
    out, found = run(wrap(True, **changes), data(*shape))
    assert len(short) == 2
    expected, wanted = run(wrap(False, **changes), data(*shape))
    assert torch.allclose(out, expected, rtol=1e-12, atol=1e-12)
    assert len(found) == 5
    assert apart(found, wanted) < 1e-12


def test_the_gradient_is_the_difference_quotient() -> None:
    draws = [data(4, 6), data(10, 6), data(10), data(3, 6), data(10, 3)]
    x, weight, bias, a, b = (value.requires_grad_(place not in (1, 2)) for place, value in enumerate(draws))
    assert torch.autograd.gradcheck(lambda x, a, b: lora_layer._Product.apply(x, weight, bias, a, b, 1.7), (x, a, b))


def test_an_input_that_isnt_contiguous() -> None:
    x = data(6, 3, 2).transpose(0, 2)
    assert not x.is_contiguous()
    assert torch.allclose(wrap(True)(x), wrap(False)(x))


def test_evaluation_is_the_same() -> None:
    with torch.no_grad():
        assert torch.allclose(wrap(True).eval()(data(4, 6)), wrap(False).eval()(data(4, 6)))


def dropout(model: Any) -> None:
    torch.manual_seed(1)


def merged(model: Any) -> None:
    model.merge_adapter()


def disabled(model: Any) -> None:
    model.base_model.disable_adapter_layers()


def two(model: Any) -> None:
    model.add_adapter("more", peft.LoraConfig(r=2, target_modules=["one", "two"]))
    filled(model)
    model.to(next(model.parameters()).dtype)
    model.base_model.set_adapter(["default", "more"])


@pytest.mark.parametrize(
    ("changes", "before", "dtype"),
    [
        ({"lora_dropout": 0.5}, dropout, torch.float64),
        ({}, merged, torch.float64),
        ({}, disabled, torch.float64),
        ({}, two, torch.float64),
        ({"use_dora": True}, dropout, torch.float64),
        ({"lora_bias": True}, dropout, torch.float64),
    ],
)
def test_everything_else_goes_pefts_own_way(changes: dict[str, Any], before: Any, dtype: torch.dtype, short: list[int]) -> None:
    outs = []
    for ours in (True, False):
        model = wrap(ours, dtype, **changes).train()
        assert isinstance(model.base_model.model.one, LoraLinear) is ours
        before(model)
        outs.append(model(data(4, 6, dtype=dtype)))
    assert torch.equal(*outs)
    assert not short


def test_float32_matrices_on_a_bfloat16_base_go_pefts_own_way(short: list[int]) -> None:
    outs = []
    for ours in (True, False):
        model = wrap(ours, torch.bfloat16)
        for name, parameter in model.named_parameters():
            if "lora_" in name:
                parameter.data = parameter.data.float()
        out = model(data(4, 6, dtype=torch.bfloat16))
        assert out.dtype == torch.bfloat16
        outs.append(out)
    assert torch.equal(*outs)
    assert not short


def test_dropout_is_for_training_alone(short: list[int]) -> None:
    model = wrap(True, lora_dropout=0.5).eval()
    assert torch.allclose(model(data(4, 6)), wrap(False).eval()(data(4, 6)))
    assert len(short) == 2


def test_the_next_adapter_has_the_next_scale(short: list[int]) -> None:
    """One adapter at a time: which one is active is asked for in each pass."""
    outs = []
    for ours in (True, False):
        model = wrap(ours)
        model.add_adapter("more", peft.LoraConfig(r=2, lora_alpha=7, target_modules=["one", "two"]))
        filled(model)
        model.set_adapter("more")
        outs.append(model.double()(data(4, 6)))
    assert torch.allclose(*outs) and len(short) == 2


def test_what_is_saved_is_plain_peft(tmp_path: Path) -> None:
    """The same tensors by the same names and the same config as without our layer; plain PEFT loads it to the same outputs."""
    settings = TrainSettings(lora_rank=4, lora_alpha=6)
    tuned = stir(modeling.make_trainable(tiny_llama(40), settings, seed=1)).eval()
    assert sum(isinstance(module, LoraLinear) for module in tuned.modules()) == 14
    plain = peft.get_peft_model(
        tiny_llama(40),
        peft.LoraConfig(task_type="CAUSAL_LM", r=4, lora_alpha=6, target_modules=modeling.linear_names(tiny_llama(40))),
    )
    names = peft.get_peft_model_state_dict(plain)
    assert peft.get_peft_model_state_dict(tuned).keys() == names.keys()
    tuned.save_pretrained(tmp_path / "ours")
    plain.save_pretrained(tmp_path / "plain")
    ours, theirs = (json.loads((tmp_path / name / "adapter_config.json").read_text()) for name in ("ours", "plain"))
    for config in (ours, theirs):
        config["target_modules"].sort()
    assert ours == theirs
    loaded = peft.PeftModel.from_pretrained(tiny_llama(40), str(tmp_path / "ours")).eval()
    assert not any(isinstance(module, LoraLinear) for module in loaded.modules())
    assert any(type(module) is Linear for module in loaded.modules())
    ids = torch.arange(12).unsqueeze(0)
    with torch.no_grad():
        assert torch.allclose(loaded(input_ids=ids).logits, tuned(input_ids=ids).logits, rtol=1e-5, atol=1e-6)
