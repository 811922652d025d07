"""What only an NVIDIA GPU can show: `./launch.sh test --gpu`, some minutes. Nothing here has run on a GPU yet.

Each test says what it found, so that a user's first run on a GPU tells what we couldn't know.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from pathlib import Path

import pytest

from self_instruct import hardware
from self_instruct.engine_vllm import VllmEngine
from self_instruct.models import Model, resolve
from self_instruct.records import Completion, Request, Sampling
from self_instruct.settings import EngineSettings, ModelSettings, RunSettings, Settings

pytestmark = pytest.mark.gpu

SETTINGS = Settings(model=ModelSettings(max_length=1024), run=RunSettings(engine=EngineSettings(gpu_memory=0.5, max_num_seqs=16)))
RETURNED_MIB = 500  # what another process may take meanwhile; the model and its cache are far more
ADAPTER = """
import sys, torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM

torch.manual_seed(0)
model = AutoModelForCausalLM.from_pretrained(sys.argv[1], dtype=torch.float32)
tuned = get_peft_model(model, LoraConfig(r=8, lora_alpha=64, target_modules="all-linear", task_type="CAUSAL_LM"))
for name, parameter in tuned.named_parameters():
    if "lora_B" in name:  # peft starts B at zero, and then the adapter changes nothing
        torch.nn.init.normal_(parameter, std=0.05)
tuned.save_pretrained(sys.argv[2])
"""


@pytest.fixture(scope="module", autouse=True)
def device() -> hardware.Gpu:
    found = hardware.gpus()
    assert found, "no NVIDIA GPU: nvidia-smi finds none"
    return found[0]


@pytest.fixture(scope="module")
def model(embedded_model: Path) -> Model:
    return resolve(SETTINGS.model)


@pytest.fixture(scope="module")
def adapter(model: Model, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A random LoRA strong enough to change an answer. Made in a process of its own, so that this one never holds the GPU."""
    folder = tmp_path_factory.mktemp("adapter")
    subprocess.run([sys.executable, "-c", ADAPTER, model.path, str(folder)], check=True)
    assert (folder / "adapter_config.json").is_file()
    return str(folder)


def request(name: str, adapter: str | None = None, prompt: str = "The capital of France is") -> Request:
    return Request(id=name, prompt=prompt, sampling=Sampling(max_tokens=16), adapter=adapter)


def used_mib() -> int:
    """Memory used on the first GPU, MiB."""
    query = ["nvidia-smi", "--query-gpu=memory.used", "--format=csv,noheader,nounits"]
    return int(subprocess.run(query, capture_output=True, text=True, check=True).stdout.splitlines()[0])


def log_of(tmp_path: Path) -> Path:
    return tmp_path / "engine.log"


def test_bf16_is_chosen_where_the_gpu_has_it(device: hardware.Gpu) -> None:
    dtype, reason = hardware.choose_dtype("auto")
    assert dtype == ("bfloat16" if device.capability >= (8, 0) else "float16"), reason


def test_it_starts_answers_and_frees_the_device(model: Model, tmp_path: Path) -> None:
    before = used_mib()

    async def run() -> tuple[Completion, list[Completion], int]:
        engine = await VllmEngine.start(model, SETTINGS, log_path=log_of(tmp_path))
        try:
            one = await engine.generate(request("one"))
            many = await asyncio.gather(*(engine.generate(request(f"many-{n}")) for n in range(16)))
            return one, list(many), used_mib()
        finally:
            await engine.close()

    one, many, during = asyncio.run(run())
    assert "Paris" in one.text
    assert one.output_tokens == 16
    same = sum(answer.text == one.text for answer in many)
    print(f"{same} of {len(many)} greedy answers equal the one that ran alone")
    assert same > 0
    assert during > before + RETURNED_MIB, "the engine took no memory on the first GPU"
    deadline = time.monotonic() + 30
    while used_mib() > before + RETURNED_MIB and time.monotonic() < deadline:
        time.sleep(1)
    after = used_mib()
    print(f"memory used: {before} MiB before, {during} MiB while it ran, {after} MiB after close")
    assert after <= before + RETURNED_MIB


def test_choices_are_constrained(model: Model, tmp_path: Path) -> None:
    async def run() -> Completion:
        engine = await VllmEngine.start(model, SETTINGS, log_path=log_of(tmp_path))
        try:
            asked = request("choice", prompt="Is water wet? Answer:")
            return await engine.generate(
                Request(id=asked.id, prompt=asked.prompt, sampling=Sampling(max_tokens=1), choices=(" Yes", " No"))
            )
        finally:
            await engine.close()

    answer = asyncio.run(run())
    assert answer.text in (" Yes", " No")
    assert len(answer.choice_logprobs) == 2


def test_an_adapter_is_loaded_hot_beside_the_base(model: Model, adapter: str, tmp_path: Path) -> None:
    async def run() -> list[Completion]:
        engine = await VllmEngine.start(model, SETTINGS, (adapter,), log_path=log_of(tmp_path))
        try:
            asked = (request("base"), request("tuned", adapter), request("base-again"))
            return list(await asyncio.gather(*map(engine.generate, asked)))
        finally:
            await engine.close()

    base, tuned, again = asyncio.run(run())
    assert base.text != tuned.text, "the adapter changed nothing"
    assert base.text == again.text, "the adapter leaked into the base's answer"
