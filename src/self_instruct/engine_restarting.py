"""An engine that is started anew when it dies, and the requests it took with it are sent again.

Knows no engine: it is given a function that starts one. What can't be mended by restarts ends as EngineDiedError.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from self_instruct.engine import Engine
from self_instruct.errors import EngineDiedError, EngineError
from self_instruct.records import Completion, Request
from self_instruct.runlog import log

BACKOFF_S = 2.0  # before the first restart, twice as long before each further one (ours)
LONGEST_BACKOFF_S = 60.0


class RestartingEngine:
    """Make it with `await RestartingEngine.start(…)`. The first start isn't repeated: its errors are the user's to mend."""

    def __init__(self, engine: Engine, start: Callable[[], Awaitable[Engine]], restarts: int) -> None:
        """`restarts`: times in a row without an answer in between; also the times that one request is sent again."""
        self._engine, self._start, self._restarts = engine, start, restarts
        self._lock = asyncio.Lock()
        self._deaths = 0
        self._dead: Engine | None = None
        self._over: EngineDiedError | None = None
        self._starting: asyncio.Future[Engine] | None = None
        self._seen: dict[str, float] = {}
        self._before: dict[str, float] = {}

    @classmethod
    async def start(cls, start: Callable[[], Awaitable[Engine]], restarts: int) -> RestartingEngine:
        """Start the first engine. Raises what `start` raises."""
        return cls(await start(), start, restarts)

    async def generate(self, request: Request) -> Completion:
        """See `Engine.generate`. Raises EngineDiedError where the restarts are used up."""
        lost = 0
        while True:
            engine = self._engine
            try:
                completion = await engine.generate(request)
            except EngineDiedError as error:
                lost += 1
                await self._replace(engine, error)
                if lost > self._restarts:
                    self._over = EngineDiedError(f"{error.message}; request {request.id} was lost {lost} times", hint=error.hint)
                    raise self._over from None
            else:
                if engine is not self._dead:  # its last answers may come after it was found dead
                    self._deaths = 0
                return completion

    async def _replace(self, dead: Engine, error: EngineError) -> None:
        """Start a successor, unless another loser has done it. Raises EngineDiedError where there will be none."""
        async with self._lock:
            while self._engine is dead:
                if self._over is None and self._starting is None and self._deaths >= self._restarts:
                    tried = f"; started anew {self._deaths} times" if self._deaths else ""
                    self._over = EngineDiedError(f"{error.message}{tried}", hint=error.hint)
                if self._over is not None:
                    raise self._over from None
                if self._starting is None:
                    pause = min(BACKOFF_S * 2**self._deaths, LONGEST_BACKOFF_S)
                    self._deaths += 1
                    self._dead = dead
                    log.warning("%s: restart %d of %d in %.0f s", error.message, self._deaths, self._restarts, pause)
                    self._starting = asyncio.ensure_future(self._successor(dead, pause))
                try:
                    # Shielded: the successor is everybody's, whoever is cancelled while waiting for it.
                    self._engine = await asyncio.shield(self._starting)
                    self._starting = None
                except EngineError as again:
                    error, self._starting = again, None
                except asyncio.CancelledError:
                    if self._over is None:  # the asker was cancelled; another loser waits on
                        raise

    async def _successor(self, dead: Engine, pause: float) -> Engine:
        await dead.close()
        await asyncio.sleep(pause)
        engine = await self._start()
        for name, value in self._seen.items():  # a new engine counts from zero
            if name.endswith("_total"):
                self._before[name] = value
        return engine

    async def metrics(self) -> dict[str, float]:
        """The engine's, with the counters (`…_total`) of its forerunners added as they were last read."""
        try:
            found = await self._engine.metrics()
        except EngineDiedError:
            if self._over is not None:
                raise
            return dict(self._seen)
        self._seen = found | {name: found.get(name, 0.0) + value for name, value in self._before.items()}
        return dict(self._seen)

    async def close(self) -> None:
        """Stop the engine, also one that is just being started."""
        self._over = self._over or EngineDiedError("the engine is closed")
        starting = self._starting  # whoever waits for it forgets it when it ends
        if starting is not None:
            starting.cancel()
            await asyncio.wait([starting])
            if not starting.cancelled() and starting.exception() is None:
                await starting.result().close()
        await self._engine.close()
