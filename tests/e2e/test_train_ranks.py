"""Training on two CPU ranks through the shipped accelerate configs: the losses, checkpoints and weights of one process."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate.state import AcceleratorState
from safetensors.torch import load_file

from sample_training import save_inputs
from self_instruct import commandline, runlog
from self_instruct.train import cli

pytestmark = pytest.mark.e2e
ROOT = Path(__file__).resolve().parents[2]
FULL = ("train.method=full", "train.learning_rate=1e-3")
TIMEOUT_S = 300


@pytest.fixture(autouse=True)
def on_cpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(runlog.log, "handlers", [])
    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)
    AcceleratorState._reset_state(True)


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_inputs(tmp_path_factory.mktemp("inputs"))


def flags(inputs: Path, out: Path, *more: str) -> list[str]:
    settings = [
        f"model.name={inputs / 'model'}", "model.dtype=float32", f"train.data={inputs / 'data.json'}", "train.include_seeds=false",
        "train.batch_size=8", "train.micro_batch_tokens=150", "train.held_out=0.1", "train.checkpoint_every_s=0",
        "train.keep_checkpoints=99", "run.threads=1", *more,
    ]  # fmt: skip
    return ["--out", str(out), *(word for setting in settings for word in ("--set", setting))]


def alone(inputs: Path, out: Path, *more: str) -> Path:
    assert commandline.run(cli.main, flags(inputs, out, *more)) == 0
    return out / "train"


def together(config: str, script: str, inputs: Path, out: Path, *more: str) -> Path:
    launcher = ["-m", "accelerate.commands.launch", "--config_file", f"configs/accelerate/{config}.yaml"]
    words = [*launcher, "--main_process_port", "0", script, *flags(inputs, out, *more)]
    done = subprocess.run([sys.executable, *words], cwd=ROOT, capture_output=True, text=True, timeout=TIMEOUT_S)
    assert done.returncode == 0, done.stderr[-4000:]
    return out / "train"


def metrics(stage: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (stage / "metrics.jsonl").read_text().splitlines()]


def check_same(found: Path, expected: Path, product: str) -> None:
    """Every loss and gradient norm to 1e-6, relative; the weights, and the moments in the last checkpoint, to 1e-5."""
    told, known = metrics(found), metrics(expected)
    assert [line["step"] for line in told] == [line["step"] for line in known]
    for name in ("loss", "held_out_loss", "grad_norm"):
        values = [line[name] for line in known if name in line]
        assert values and [line[name] for line in told if name in line] == pytest.approx(values, rel=1e-6)
    for place in (product, "checkpoints/step-00000010/tensors.safetensors"):
        tensors, wanted = load_file(found / place), load_file(expected / place)
        assert tensors.keys() == wanted.keys()
        for name, tensor in tensors.items():
            torch.testing.assert_close(tensor, wanted[name], rtol=1e-5, atol=1e-5)


def test_ddp_is_one_process(inputs: Path, tmp_path: Path) -> None:
    expected = alone(inputs, tmp_path / "alone")
    found = together("cpu-2", "train", inputs, tmp_path / "ddp")
    check_same(found, expected, "adapter/adapter_model.safetensors")


def test_fsdp2_with_lora_is_one_process(inputs: Path, tmp_path: Path) -> None:
    expected = alone(inputs, tmp_path / "alone")
    found = together("fsdp2", "tests/e2e/fsdp_on_cpu.py", inputs, tmp_path / "fsdp")
    check_same(found, expected, "adapter/adapter_model.safetensors")


def test_fsdp2_goes_on_from_a_checkpoint_of_one_process(inputs: Path, tmp_path: Path) -> None:
    """All weights trained; the last four of ten steps sharded."""
    expected = alone(inputs, tmp_path / "alone", *FULL)
    stage = tmp_path / "fsdp" / "train"
    kept = [stage.relative_to(tmp_path / "fsdp") / "checkpoints" / f"step-{step:08d}" for step in (5, 6)]
    for place in kept:
        shutil.copytree(tmp_path / "alone" / place, tmp_path / "fsdp" / place)
    shutil.copy(expected / "metrics.jsonl", stage)
    shutil.copy(expected / "config.json", stage)
    found = together("fsdp2", "tests/e2e/fsdp_on_cpu.py", inputs, tmp_path / "fsdp", *FULL)
    assert "going on after step 6 of 10" in (found / "log.txt").read_text()
    check_same(found, expected, "model/model.safetensors")
