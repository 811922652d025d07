"""One engine of each kind for the whole session: starting vLLM takes a minute on a CPU."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from self_instruct import engine_vllm
from self_instruct.engine_scripted import ScriptedEngine
from self_instruct.models import resolve
from serving import SETTINGS, Process, Served, server_settings

START_TIMEOUT_S = 600.0


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
def installed_vllm() -> None:
    if importlib.util.find_spec("vllm") is None:
        if os.environ.get("CI"):
            pytest.fail("vLLM isn't installed though launch.sh should have done it")
        pytest.skip("vLLM isn't installed")


@pytest.fixture(scope="session")
def vllm(
    embedded_model: Path, random_adapter: Path, installed_vllm: None, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Served]:
    loop = asyncio.new_event_loop()
    adapter = str(random_adapter)
    log_path = tmp_path_factory.mktemp("vllm") / "engine.log"
    started = engine_vllm.VllmEngine.start(resolve(SETTINGS.model), SETTINGS, (adapter,), log_path)
    engine = loop.run_until_complete(started)
    yield Served(engine, loop, adapter)
    loop.run_until_complete(engine.close())
    loop.close()


@pytest.fixture(scope="session")
def vllm_serve(
    embedded_model: Path, random_adapter: Path, installed_vllm: None, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Process]:
    """The embedded model and the adapter behind `vllm serve`, with the arguments and environment of the vllm engine."""
    model = resolve(SETTINGS.model)
    arguments = engine_vllm.engine_arguments(model, SETTINGS, (str(random_adapter),), "float32", cuda=False)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    flags = ["--host", "127.0.0.1", "--port", str(port), "--enable-prompt-tokens-details", "--disable-uvicorn-access-log"]
    flags += ["--lora-modules", f"{random_adapter.name}={random_adapter}"]
    assert arguments.pop("disable_log_stats") is False  # the server has only a flag that sets it
    for name, value in arguments.items():
        flag = name.replace("_", "-")
        if isinstance(value, bool):
            flags.append(f"--{flag}" if value else f"--no-{flag}")
        else:
            flags += [f"--{flag}", *map(str, value if isinstance(value, list) else [value])]
    log_path = tmp_path_factory.mktemp("serve") / "server.log"
    with log_path.open("wb") as log_file:
        process = subprocess.Popen(
            [sys.executable, "-m", "vllm.entrypoints.launchers.api_server.entry", *flags],
            stdout=log_file,
            stderr=subprocess.STDOUT,
            env=engine_vllm.environment(SETTINGS, cuda=False) | {"VLLM_ALLOW_RUNTIME_LORA_UPDATING": "1"},
            start_new_session=True,
        )
    served = Process(f"http://127.0.0.1:{port}", process, model)
    try:
        _wait_for(served, log_path)
        yield served
    finally:
        served.kill()


def _wait_for(served: Process, log_path: Path) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while True:
        try:
            with urllib.request.urlopen(f"{served.url}/health", timeout=5):
                return
        except OSError:
            ended = served.process.poll() is not None
            if ended or time.monotonic() > deadline:
                pytest.fail(f"vllm serve {'ended' if ended else 'is late'}: {log_path.read_text()[-2000:]}")
            time.sleep(0.2)


@pytest.fixture(scope="session")
def server(vllm_serve: Process, random_adapter: Path) -> Iterator[Served]:
    from self_instruct.engine_server import ServerEngine

    loop = asyncio.new_event_loop()
    started = ServerEngine.start(vllm_serve.model, server_settings(vllm_serve.url), (str(random_adapter),))
    engine = loop.run_until_complete(started)
    yield Served(engine, loop, str(random_adapter))
    loop.run_until_complete(engine.close())
    loop.close()


@pytest.fixture(scope="session")
def transformers(embedded_model: Path, random_adapter: Path) -> Iterator[Served]:
    from self_instruct.engine_transformers import TransformersEngine

    loop = asyncio.new_event_loop()
    # One thread: where others compute too, the threads of so small a model wait for one another most of the time.
    settings = SETTINGS.model_copy(update={"run": SETTINGS.run.model_copy(update={"threads": 1})})
    started = TransformersEngine.start(resolve(settings.model), settings, (str(random_adapter),))
    engine = loop.run_until_complete(started)
    yield Served(engine, loop, str(random_adapter))
    loop.run_until_complete(engine.close())
    loop.close()


@pytest.fixture(scope="session")
def scripted() -> Iterator[Served]:
    loop = asyncio.new_event_loop()
    yield Served(ScriptedEngine(seed=1), loop, None)
    loop.close()


@pytest.fixture(params=["scripted", "transformers", "vllm", "server"])
def served(request: pytest.FixtureRequest) -> Served:
    """Each engine in turn: what the fake does and the real one doesn't is a lie of the fake."""
    return request.getfixturevalue(request.param)  # type: ignore[no-any-return]


@pytest.fixture(params=["transformers", "vllm", "server"])
def real(request: pytest.FixtureRequest) -> Served:
    """Each engine that runs a model."""
    return request.getfixturevalue(request.param)  # type: ignore[no-any-return]


@pytest.fixture(params=["vllm", "server"])
def of_vllm(request: pytest.FixtureRequest) -> Served:
    """vLLM in its two ways."""
    return request.getfixturevalue(request.param)  # type: ignore[no-any-return]
