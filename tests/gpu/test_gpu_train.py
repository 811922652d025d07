"""The trainer on an NVIDIA GPU: `./launch.sh test --gpu`. Nothing here has run on a GPU yet.

Tiny random models: a minute.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from accelerate import Accelerator

from sample_training import apart, encoded, gradients, save_tiny_model, stir, tiny
from self_instruct import commandline
from self_instruct.settings import TrainSettings
from self_instruct.train import cli, modeling, objective
from self_instruct.train.objective import collate, to_device
from self_instruct.train.step import Stepper

pytestmark = pytest.mark.gpu

ROWS = encoded((40, 9, 75, 130, 21), weight=0.3)
# Head sizes that the kernels have.
SHAPE: dict[str, Any] = {"hidden_size": 128, "intermediate_size": 256, "head_dim": 32}


def prepared(architecture: str, dtype: torch.dtype, attention: Any, **changes: Any) -> tuple[Any, Any, Any, str]:
    settings = TrainSettings(lora_rank=8, attention=attention)
    base = tiny(architecture, **SHAPE, **changes).to("cuda", dtype)
    model = stir(modeling.make_trainable(base, settings, seed=1).to("cpu")).to("cuda")
    return model, *modeling.build_objective(model, settings, 256, [1, 2, 3])


def loss_and_gradients(model: Any, loss: Any, layout: Any) -> tuple[float, dict[str, Any]]:
    value = loss(**to_device(collate(ROWS, layout), torch.device("cuda")))
    value.backward()
    return value.item(), gradients(model)


@pytest.mark.parametrize(
    ("dtype", "of_loss", "of_gradient"), [(torch.bfloat16, 1e-2, 5e-2), (torch.float32, 1e-5, 1e-4)], ids=["bfloat16", "float32"]
)
@pytest.mark.parametrize(("architecture", "changes"), [("Llama", {}), ("Mistral", {"sliding_window": 32})])
def test_packed_is_padded(architecture: str, changes: Any, dtype: torch.dtype, of_loss: float, of_gradient: float) -> None:
    """In bfloat16 by the variable-length kernel, in float32 example by example."""
    packed, padded = (prepared(architecture, dtype, setting, **changes) for setting in ("auto", "padded"))
    assert packed[2] == "packed", packed[3]
    (one, some), (other, others) = (loss_and_gradients(*made[:3]) for made in (packed, padded))
    print(f"loss packed {one}, padded {other}; gradients apart by {apart(some, others):.1e}")
    assert one == pytest.approx(other, rel=of_loss)
    assert apart(some, others) < of_gradient


def trained(model: Any, loss: Any, layout: Any, steps: int) -> list[float]:
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=0.01)
    stepper = Stepper(loss, Accelerator(), optimizer, layout, 128)
    return [stepper.train(ROWS, 0.01, 1.0)[0] for _ in range(steps)] + [stepper.measure(ROWS)]


@pytest.mark.parametrize("attention", ["auto", "padded"])
def test_three_steps_of_lora_in_bfloat16_lower_the_loss(attention: Any) -> None:
    losses = trained(*prepared("Llama", torch.bfloat16, attention)[:3], steps=3)
    print("losses:", losses)
    assert losses[-1] < losses[0]


def test_full_fine_tuning_in_bfloat16_keeps_float32_weights() -> None:
    settings = TrainSettings(method="full")
    model = modeling.make_trainable(tiny("Llama", **SHAPE).to("cuda"), settings, seed=1)
    loss, layout, said = modeling.build_objective(model, settings, 256, [1, 2, 3])
    print(said)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    stepper = Stepper(loss, Accelerator(mixed_precision="bf16"), optimizer, layout, 512)
    losses = [stepper.train(ROWS, 1e-3, 1.0)[0] for _ in range(4)]
    assert losses[-1] < losses[0]
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}


def test_qlora_trains_and_its_adapter_fits_the_bfloat16_base(tmp_path: Path) -> None:
    modeling.check_method("qlora")
    folder = str(save_tiny_model(tmp_path / "model"))
    settings = TrainSettings(method="qlora", lora_rank=8)
    model = modeling.make_trainable(modeling.load_base(folder, "bfloat16", "qlora"), settings, seed=1)
    names = {type(module).__name__ for module in model.modules()}
    assert "Linear4bit" in names
    loss, layout, said = modeling.build_objective(model, settings, 256, [1, 2, 3])
    print(said)
    losses = trained(model, loss, layout, steps=8)
    assert losses[-1] < losses[0]
    model.save_pretrained(tmp_path / "adapter")
    base = modeling.load_base(folder, "bfloat16").to("cuda").eval()

    def measured(one: Any) -> float:
        with torch.no_grad():
            value = objective.WeightedLoss(one, plain_head=True)(**to_device(collate(ROWS, "padded"), torch.device("cuda")))
        return float(value)

    before = measured(base)
    after = measured(peft.PeftModel.from_pretrained(base, str(tmp_path / "adapter")).eval())
    print(f"loss over the 4-bit base {losses[0]} to {losses[-1]}; the bfloat16 base alone {before}, with the adapter {after}")
    assert after < before


@pytest.mark.parametrize("method", ["lora", "qlora", "full"])
def test_the_whole_stage(method: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """With what only the command does: the probe and the memory estimate where the model runs, a checkpoint, the product."""
    model = save_tiny_model(tmp_path / "model")
    rows = [{"prompt": f"Count to {number}.\n\nOutput:", "completion": f" {number}"} for number in range(24)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    settings = [
        f"model.name={model}",
        f"train.data={tmp_path / 'rows.jsonl'}",
        "train.include_seeds=false",
        f"train.method={method}",
    ]
    words = [word for setting in [*settings, "train.checkpoint_every_s=0"] for word in ("--set", setting)]
    assert commandline.run(cli.main, ["--out", str(tmp_path / "run"), *words]) == 0, capfd.readouterr().err
    assert (tmp_path / "run" / "train" / ("model" if method == "full" else "adapter") / "README.md").is_file()
