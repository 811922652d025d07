"""An engine with the loop it lives in, for the contract tests."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

from self_instruct.engine import Engine

CONTEXT = 512


@dataclass
class Served:
    """An engine, the loop it lives in, and an adapter it can answer with (none for the scripted one)."""

    engine: Engine
    loop: asyncio.AbstractEventLoop
    adapter: str | None

    def do(self, coroutine: Any) -> Any:
        return self.loop.run_until_complete(asyncio.wait_for(coroutine, 300))
