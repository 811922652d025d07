"""The parent's side of the vLLM engine, against a worker of the tests' own that speaks the same lines."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from self_instruct import engine_vllm, hardware
from self_instruct.engine_vllm import VllmEngine, engine_arguments
from self_instruct.errors import EngineDiedError, EngineError
from self_instruct.models import Model
from self_instruct.records import Request, Sampling
from self_instruct.settings import Settings

MODEL = Model(
    reference="m",
    source="local",
    path="/models/m",
    fingerprint="f",
    context=2048,
    eos_token="</s>",
    eos_token_id=2,
    architecture="LlamaForCausalLM",
)
FAKE = """
import json, os, sys, time
def send(event, **values):
    print(json.dumps({"event": event, **values}), flush=True)
for line in sys.stdin:
    message = json.loads(line)
    if message["op"] == "start":
        MODE
        send("ready")
    elif message["op"] == "generate":
        prompt = message["prompt"]
        if prompt == "die": sys.exit(3)
        if prompt == "torn": print('{"event": "comp', end="", flush=True); os.kill(os.getpid(), 9)
        if prompt == "fatal": send("fatal", error="the engine died: no KV cache blocks")
        if prompt == "refuse": send("failed", request_id=message["id"], error="ValueError: too long")
        if prompt == "wait": continue
        send("completion", request_id=message["id"], text=prompt.upper(), finish_reason="stop", prompt_tokens=1,
             output_tokens=1, choice_logprobs=[-0.5] * len(message["choices"]),
             logprobs=[-0.25] * len(message["scored"]), likeliest=message["scored"])
    elif message["op"] == "metrics":
        send("metrics", values={"x": 1.0})
    elif message["op"] == "close":
        break
"""


def request(prompt: str) -> Request:
    return Request(id=prompt, prompt=prompt, sampling=Sampling(max_tokens=4))


@pytest.fixture
def with_engine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., None]:
    """Runs a coroutine function on an engine whose worker is the fake; `mode` is what it does at its start."""

    def run(use: Callable[[VllmEngine], Coroutine[Any, Any, None]], mode: str = "pass", **engine: Any) -> None:
        monkeypatch.setattr(engine_vllm, "WORKER", ("-c", FAKE.replace("MODE", mode)))
        monkeypatch.setattr(hardware, "gpus", list)
        settings = Settings.model_validate({"run": {"engine": engine}})

        async def main() -> None:
            started = await VllmEngine.start(MODEL, settings, (), tmp_path / "engine.log")
            try:
                await use(started)
            finally:
                await started.close()

        asyncio.run(main())

    return run


def test_requests_get_their_answers(with_engine: Callable[..., None]) -> None:
    async def use(engine: VllmEngine) -> None:
        answers = await asyncio.gather(*(engine.generate(request(text)) for text in ("a", "b", "c")))
        assert [answer.text for answer in answers] == ["A", "B", "C"]
        assert await engine.metrics() == {"x": 1.0}

    with_engine(use)


def test_tokens_to_score_go_to_the_process_and_their_scores_come_back(with_engine: Callable[..., None]) -> None:
    async def use(engine: VllmEngine) -> None:
        asked = Request(id="s", prompt="", sampling=Sampling(max_tokens=1), scored=(5, 6))
        answer = await engine.generate(asked)
        assert (answer.logprobs, answer.likeliest) == ((-0.25, -0.25), (5, 6))

    with_engine(use)


def test_a_refused_request_is_an_error_and_the_others_go_on(with_engine: Callable[..., None]) -> None:
    async def use(engine: VllmEngine) -> None:
        with pytest.raises(EngineError, match="request refuse: ValueError: too long"):
            await engine.generate(request("refuse"))
        assert (await engine.generate(request("a"))).text == "A"

    with_engine(use)


@pytest.mark.parametrize(
    ("prompt", "what"), [("die", "its process ended"), ("torn", "its process ended"), ("fatal", "no KV cache blocks")]
)
def test_a_dead_process_ends_every_open_request(with_engine: Callable[..., None], prompt: str, what: str) -> None:
    async def use(engine: VllmEngine) -> None:
        waiting = asyncio.ensure_future(engine.generate(request("wait")))
        await asyncio.sleep(0)
        with pytest.raises(EngineDiedError, match=what) as caught:
            await engine.generate(request(prompt))
        assert "go on from what is journaled" in str(caught.value.hint)
        with pytest.raises(EngineDiedError):
            await waiting
        with pytest.raises(EngineDiedError):
            await engine.generate(request("a"))

    with_engine(use)


def test_kill_9_of_the_process_is_noticed(with_engine: Callable[..., None]) -> None:
    async def use(engine: VllmEngine) -> None:
        waiting = asyncio.ensure_future(engine.generate(request("wait")))
        await asyncio.sleep(0.1)
        os.kill(engine._process.pid, signal.SIGKILL)
        with pytest.raises(EngineDiedError, match="its process ended"):
            await waiting

    with_engine(use)


def test_a_child_that_outlives_a_killed_process_does_not_keep_the_parent_waiting(with_engine: Callable[..., None]) -> None:
    async def use(engine: VllmEngine) -> None:
        waiting = asyncio.ensure_future(engine.generate(request("wait")))
        await asyncio.sleep(0.1)
        os.kill(engine._process.pid, signal.SIGKILL)
        with pytest.raises(EngineDiedError):
            await asyncio.wait_for(waiting, 10)

    # The child holds the worker's stdout open, as a forked engine would.
    with_engine(use, mode='__import__("subprocess").Popen(["sleep", "60"])')


def test_the_logs_last_error_is_told(with_engine: Callable[..., None], tmp_path: Path) -> None:
    async def use(engine: VllmEngine) -> None:
        raise AssertionError("started")

    told = 'print("(EngineCore) ValueError: 9 GiB KV cache is needed", file=sys.stderr); sys.exit(1)'
    with pytest.raises(EngineDiedError, match=r"its process ended.*; ValueError: 9 GiB KV cache is needed") as caught:
        with_engine(use, mode=told)
    assert "run.engine.kv_cache_gib" in str(caught.value.hint)
    assert "journaled" not in str(caught.value.hint)


def test_a_worker_ends_its_group_when_its_parent_is_gone(tmp_path: Path) -> None:
    """The guard alone, without vLLM: a parent starts it in a session of its own and is killed."""
    guard = "import threading, os, time; from self_instruct import vllm_worker as w; w.PARENT_CHECK_S = 0.05; w.GRACE_S = 0.05; "
    guard += "threading.Thread(target=w._end_with_parent, args=(os.getppid(),), daemon=True).start(); "
    guard += f"open({str(tmp_path / 'pid')!r}, 'w').write(str(os.getpid())); time.sleep(60)"
    parent = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {guard!r}], start_new_session=True).wait()"
    process = subprocess.Popen([sys.executable, "-c", parent])
    deadline = time.monotonic() + 20
    while not (tmp_path / "pid").exists() or not (tmp_path / "pid").read_text():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.kill()
    process.wait()
    pid = int((tmp_path / "pid").read_text())
    while alive(pid):
        assert time.monotonic() < deadline, "the worker outlived its parent"
        time.sleep(0.02)


def alive(pid: int) -> bool:
    """A zombie that nobody has waited for is not alive."""
    stat = Path(f"/proc/{pid}/stat")
    return stat.exists() and stat.read_text().rsplit(")", 1)[1].split()[0] != "Z"


def test_a_failed_start_tells_why_and_where_the_log_is(with_engine: Callable[..., None]) -> None:
    async def use(engine: VllmEngine) -> None:
        raise AssertionError("started")

    with pytest.raises(EngineDiedError, match="out of memory") as caught:
        with_engine(use, mode='send("fatal", error="RuntimeError: out of memory"); sys.exit(1)')
    assert "engine.log" in str(caught.value.hint)
    with pytest.raises(EngineError, match=r"didn't start within 0 s"):
        with_engine(use, mode="time.sleep(60)", start_timeout_s=0.3)


def test_the_group_of_a_closed_engine_is_gone(with_engine: Callable[..., None]) -> None:
    groups: list[int] = []

    async def use(engine: VllmEngine) -> None:
        groups.append(engine._process.pid)

    with_engine(use)
    with pytest.raises(ProcessLookupError):
        os.killpg(groups[0], 0)


def test_arguments_on_a_cpu_avoid_split_prefills() -> None:
    arguments = engine_arguments(MODEL, Settings(), (), "float32", cuda=False)
    assert arguments["max_model_len"] == 2048
    assert arguments["enable_chunked_prefill"] is False
    assert arguments["max_num_batched_tokens"] >= arguments["max_model_len"]
    assert "enforce_eager" not in engine_arguments(MODEL, Settings(), (), "bfloat16", cuda=True)


@pytest.mark.parametrize(("rank", "engine_rank"), [(4, 8), (16, 16), (20, 32), (512, 512)])
def test_the_engines_lora_rank_is_the_next_allowed_one(tmp_path: Path, rank: int, engine_rank: int) -> None:
    (tmp_path / "adapter_config.json").write_text(json.dumps({"r": rank}))
    arguments = engine_arguments(MODEL, Settings(), (str(tmp_path),), "float32", cuda=False)
    assert arguments["max_lora_rank"] == engine_rank


@pytest.mark.parametrize(
    ("named", "told"),
    [
        ([["v_proj", "q_proj"], ["o_proj", "q_proj"]], ["o_proj", "q_proj", "v_proj"]),
        ([["q_proj"], ["model.layers.0.self_attn.q_proj"]], None),
        (["all-linear"], None),
    ],
)
def test_only_the_adapters_own_modules_are_prepared_for_it(tmp_path: Path, named: list[Any], told: list[str] | None) -> None:
    for number, names in enumerate(named):
        (tmp_path / str(number)).mkdir()
        (tmp_path / str(number) / "adapter_config.json").write_text(json.dumps({"r": 8, "target_modules": names}))
    folders = tuple(str(tmp_path / str(number)) for number in range(len(named)))
    assert engine_arguments(MODEL, Settings(), folders, "float32", cuda=False).get("lora_target_modules") == told


@pytest.mark.parametrize("content", ["", "{}", '{"r": 600}', None])
def test_a_folder_that_is_no_adapter_is_refused(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "adapter_config.json").write_text(content)
    with pytest.raises(EngineError, match=str(tmp_path)):
        engine_arguments(MODEL, Settings(), (str(tmp_path),), "float32", cuda=False)
