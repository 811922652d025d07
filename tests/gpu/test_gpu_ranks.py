"""Training through the shipped accelerate configs on NVIDIA GPUs: DDP and FSDP2 against one process. Has not run on a GPU yet.

With one GPU the configs run on it alone: FSDP2's own path with nothing to share out.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from sample_training import save_inputs
from self_instruct import hardware

pytestmark = pytest.mark.gpu
ROOT = Path(__file__).resolve().parents[2]
PRODUCTS = {"lora": "adapter/adapter_model.safetensors", "full": "model/model.safetensors"}


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_inputs(tmp_path_factory.mktemp("inputs"))


def train(words: list[str], inputs: Path, out: Path, method: str) -> Path:
    settings = [
        f"model.name={inputs / 'model'}", "model.dtype=float32", f"train.data={inputs / 'data.json'}", "train.include_seeds=false",
        "train.batch_size=8", "train.micro_batch_tokens=150", f"train.method={method}",
    ]  # fmt: skip
    flags = [word for setting in settings for word in ("--set", setting)]
    done = subprocess.run(
        [sys.executable, *words, "train", "--out", str(out), *flags], cwd=ROOT, capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return out / "train"


def losses(stage: Path) -> list[float]:
    lines = [json.loads(line) for line in (stage / "metrics.jsonl").read_text().splitlines()]
    return [line["loss"] for line in lines if "loss" in line]


@pytest.mark.parametrize("config", ["ddp", "fsdp2"])
@pytest.mark.parametrize("method", ["lora", "full"])
def test_ranks_on_gpus(config: str, method: str, inputs: Path, tmp_path: Path) -> None:
    """In float32, to what a GPU's rounding leaves: TF32 is off by default."""
    count = min(len(hardware.gpus()), 2)
    assert count, "no NVIDIA GPU: nvidia-smi finds none"
    if config == "ddp" and count == 1:
        pytest.skip("DDP needs 2 GPUs")
    launcher = ["-m", "accelerate.commands.launch", "--config_file", f"configs/accelerate/{config}.yaml"]
    alone = train([], inputs, tmp_path / "alone", method)
    together = train([*launcher, "--main_process_port", "0", "--num_processes", str(count)], inputs, tmp_path / "together", method)
    assert losses(together) == pytest.approx(losses(alone), rel=1e-5)
    found, expected = load_file(together / PRODUCTS[method]), load_file(alone / PRODUCTS[method])
    assert found.keys() == expected.keys()
    for name, tensor in found.items():
        torch.testing.assert_close(tensor, expected[name], rtol=1e-3, atol=1e-4)
