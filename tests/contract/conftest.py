"""One engine of each kind for the whole session: starting vLLM takes a minute on a CPU."""

from __future__ import annotations

import asyncio
import importlib.util
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from self_instruct.engine_scripted import ScriptedEngine
from self_instruct.settings import Settings
from serving import CONTEXT, Served


@pytest.fixture(scope="session")
def random_adapter(embedded_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A LoRA adapter with large random weights, so that its answers differ from the base's."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    torch.manual_seed(0)
    base = AutoModelForCausalLM.from_pretrained(embedded_model, dtype=torch.float32)
    model = get_peft_model(base, LoraConfig(r=8, target_modules=["q_proj", "v_proj"], init_lora_weights=False))
    folder = tmp_path_factory.mktemp("adapter")
    model.save_pretrained(str(folder))
    return folder


@pytest.fixture(scope="session")
def vllm(embedded_model: Path, random_adapter: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    from self_instruct.engine_vllm import VllmEngine
    from self_instruct.models import resolve

    if importlib.util.find_spec("vllm") is None:
        if os.environ.get("CI"):
            pytest.fail("vLLM isn't installed though launch.sh should have done it")
        pytest.skip("vLLM isn't installed")
    settings = Settings.model_validate(
        {"model": {"max_length": CONTEXT, "dtype": "float32"}, "run": {"engine": {"max_num_seqs": 16, "kv_cache_gib": 1.0}}}
    )
    loop = asyncio.new_event_loop()
    adapter = str(random_adapter)
    log_path = tmp_path_factory.mktemp("vllm") / "engine.log"
    engine = loop.run_until_complete(VllmEngine.start(resolve(settings.model), settings, (adapter,), log_path))
    yield Served(engine, loop, adapter)
    loop.run_until_complete(engine.close())
    loop.close()


@pytest.fixture(scope="session")
def scripted() -> Iterator[Served]:
    loop = asyncio.new_event_loop()
    yield Served(ScriptedEngine(seed=1), loop, None)
    loop.close()


@pytest.fixture(params=["scripted", "vllm"])
def served(request: pytest.FixtureRequest) -> Served:
    """Each engine in turn: what the fake does and the real one doesn't is a lie of the fake."""
    return request.getfixturevalue(request.param)  # type: ignore[no-any-return]
