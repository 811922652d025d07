"""Hugging Face transformers behind the engine seam: for machines without vLLM, and for encoder-decoder models.

Simple and correct rather than fast: small batches, one after the other, in a thread. Knows nothing of torch; that is in
`transformers_runner`. The memory of a GPU is free again when this process ends, not earlier.
"""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import itertools
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Protocol

from self_instruct.engine import refuse_scoring
from self_instruct.errors import EngineDiedError, EngineError
from self_instruct.records import Completion, Request
from self_instruct.runlog import log
from self_instruct.settings import Settings
from self_instruct.transformers_rows import Row

if TYPE_CHECKING:
    from self_instruct.models import Model

LONGEST_BATCH = 16  # a batch ends with its longest answer, so a larger one wastes more (ours)


class Runner(Protocol):
    """What runs a model: `prepare` in the caller's thread, `complete` in another."""

    def prepare(self, request: Request) -> Row: ...
    def complete(self, rows: list[Row]) -> None: ...


class TransformersEngine:
    """One model in this process. Make it with `await TransformersEngine.start(…)`; end it with `await close()`."""

    def __init__(self, runner: Runner, longest_batch: int = LONGEST_BATCH) -> None:
        self._runner, self._longest_batch = runner, longest_batch
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="transformers")
        self._waiting: list[tuple[int, int, Row, asyncio.Future[Completion]]] = []  # a heap: priority, then age
        self._ages = itertools.count()
        self._arrived = asyncio.Event()
        self._running: list[Row] = []
        self._counts = {"prompt_tokens": 0.0, "output_tokens": 0.0}
        self._closing = False
        self._server = asyncio.create_task(self._serve())

    @classmethod
    async def start(cls, model: Model, settings: Settings, adapters: tuple[str, ...] = ()) -> TransformersEngine:
        """Load `model` and the LoRA folders `adapters`. Raises EngineError where they don't load."""
        from self_instruct.transformers_runner import load

        log.info("loading %s with transformers", model.reference)
        runner = await asyncio.to_thread(load, model, settings, adapters)
        return cls(runner, min(LONGEST_BATCH, settings.run.engine.max_num_seqs))

    async def generate(self, request: Request) -> Completion:
        """See `Engine.generate`."""
        if self._closing:
            raise EngineDiedError("the transformers engine is closed")
        refuse_scoring(request, "transformers")
        try:
            row = self._runner.prepare(request)
        except ValueError as error:
            raise EngineError(f"request {request.id}: {error}") from None
        future: asyncio.Future[Completion] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._waiting, (request.priority, next(self._ages), row, future))
        self._arrived.set()
        try:
            return await future
        finally:
            row.unwanted = not future.done() or future.cancelled()

    async def metrics(self) -> dict[str, float]:
        """`prompt_tokens`, `output_tokens`, `running`, `waiting`."""
        return {**self._counts, "running": float(len(self._running)), "waiting": float(len(self._waiting))}

    async def close(self) -> None:
        """Stop after the token that is being computed."""
        self._closing = True
        for row in self._running:
            row.unwanted = True
        self._arrived.set()
        with contextlib.suppress(asyncio.CancelledError):
            await self._server
        self._thread.shutdown()

    async def _serve(self) -> None:
        while not self._closing:
            if not self._waiting:
                self._arrived.clear()
                await self._arrived.wait()
            await asyncio.sleep(0)  # those who ask in the same moment go along
            batch = self._batch()
            if not batch:
                continue
            self._running = [row for row, _ in batch]
            try:
                await asyncio.get_running_loop().run_in_executor(self._thread, self._runner.complete, self._running)
            except Exception as error:  # torch's errors have many types; every asker must hear of them
                cause = (str(error).splitlines() or [""])[0][:200]
                for row, future in batch:
                    if not future.done():
                        hint = "run.engine.max_num_seqs and model.max_length decide on memory"
                        future.set_exception(EngineError(f"request {row.request.id}: {type(error).__name__}: {cause}", hint=hint))
            self._running = []
            for row, future in batch:
                if row.unwanted:
                    future.cancel()
                elif not future.done():
                    future.set_result(self._completion(row))
        for _, _, _, future in self._waiting:
            future.cancel()

    def _batch(self) -> list[tuple[Row, asyncio.Future[Completion]]]:
        """The first of those that wait, and those behind it that can be run with it."""
        taken: list[tuple[Row, asyncio.Future[Completion]]] = []
        left = []
        while self._waiting and len(taken) < self._longest_batch:
            entry = heapq.heappop(self._waiting)
            _, _, row, future = entry
            if row.unwanted:
                continue
            if taken and row.kind != taken[0][0].kind:
                left.append(entry)
            else:
                taken.append((row, future))
        for entry in left:
            heapq.heappush(self._waiting, entry)
        return taken

    def _completion(self, row: Row) -> Completion:
        self._counts["prompt_tokens"] += len(row.prompt)
        self._counts["output_tokens"] += len(row.output)
        return row.completion()
