"""An engine with the loop it lives in, and a running `vllm serve`, for the contract tests."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from self_instruct.engine import Engine
from self_instruct.models import Model
from self_instruct.settings import Settings

CONTEXT = 512
SETTINGS = Settings.model_validate(
    {"model": {"max_length": CONTEXT, "dtype": "float32"}, "run": {"engine": {"max_num_seqs": 16, "kv_cache_gib": 1.0}}}
)


@dataclass
class Served:
    """An engine, the loop it lives in, and an adapter it can answer with (none for the scripted one)."""

    engine: Engine
    loop: asyncio.AbstractEventLoop
    adapter: str | None

    def do(self, coroutine: Any) -> Any:
        return self.loop.run_until_complete(asyncio.wait_for(coroutine, 300))


@dataclass
class Process:
    """A running `vllm serve`."""

    url: str
    process: subprocess.Popen[bytes]
    model: Model

    def kill(self) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


def server_settings(*urls: str) -> Settings:
    """SETTINGS for the server engine on these addresses."""
    engine = SETTINGS.run.engine.model_copy(update={"servers": urls, "lost_timeout_s": 30.0})
    return SETTINGS.model_copy(update={"run": SETTINGS.run.model_copy(update={"engine": engine})})
