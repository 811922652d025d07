"""`python generate` with a log of what reaches the engine and what it answers, line by line; for `kill_generate`.

argv: the log file, the scripted engine's longest wait for an answer (seconds), then the stage's own arguments.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from self_instruct import commandline, engines
from self_instruct.engine import Engine
from self_instruct.engine_scripted import ScriptedEngine
from self_instruct.generate.cli import main
from self_instruct.records import Completion, Request


class Logged:
    """Any engine; a line is with the operating system before the request goes on."""

    def __init__(self, engine: Engine, path: Path) -> None:
        self._engine = engine
        self._log = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)

    async def generate(self, request: Request) -> Completion:
        os.write(self._log, f"sent {request.id}\n".encode())
        completion = await self._engine.generate(request)
        os.write(self._log, f"answered {request.id}\n".encode())
        return completion

    async def metrics(self) -> dict[str, float]:
        return await self._engine.metrics()

    async def close(self) -> None:
        await self._engine.close()


def logging_to(path: Path, delay_s: float) -> None:
    """From now on every engine that is opened logs to `path`."""
    started = engines.open_engine

    async def open_logged(model: Any, settings: Any, *more: Any, **named: Any) -> Engine:
        if settings.model.engine == "scripted":
            return Logged(ScriptedEngine(seed=settings.run.seed, delay_s=delay_s), path)
        return Logged(await started(model, settings, *more, **named), path)

    engines.open_engine = open_logged


if __name__ == "__main__":
    logging_to(Path(sys.argv[1]), float(sys.argv[2]))
    sys.exit(commandline.run(main, sys.argv[3:]))
