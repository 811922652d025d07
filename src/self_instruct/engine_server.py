"""vLLM servers behind the engine seam: one or several OpenAI-compatible addresses.

Knows the protocol of `server_address`, not vLLM's Python API. Each request goes to the address with the fewest open
ones. A lost address is asked with back-off until it is back, and what was open on it is sent again, to any. One that
is silent for long is asked whether it is there.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any

from self_instruct import choices, prometheus, server_address
from self_instruct.engine import refuse_scoring
from self_instruct.engine_vllm import is_cpu_build
from self_instruct.errors import EngineDiedError, EngineError
from self_instruct.records import Completion, Request
from self_instruct.runlog import log
from self_instruct.server_address import Address, LostError
from self_instruct.settings import Settings
from self_instruct.tokenizing import HeadTokenizer

if TYPE_CHECKING:
    from self_instruct.models import Model

BACKOFF_S = 0.5  # between two looks at a lost address, doubled up to the longest (ours)
LONGEST_BACKOFF_S = 15.0
SILENCE_S = 60.0  # without an answer to any open request, after which a server is looked at (ours)
CLOSE_TIMEOUT_S = 2.0  # a hung server doesn't read what is still to be written to it
BUSY = (429, 503)  # says nothing of the request: not now
AGAIN = "then run the same command again to go on from what is journaled"
# The CPU build has no working `vllm` command: it asks for the version of the package `vllm`, which isn't installed.
CPU_BUILDS_SERVE = "python -m vllm.entrypoints.launchers.api_server.entry --model"
# Where a request is silent the server takes these from the model's generation_config.json; vLLM in process doesn't.
NEUTRAL = {"top_k": 0, "min_p": 0.0, "repetition_penalty": 1.0}


class ServerEngine:
    """The servers of `run.engine.servers`. Make it with `await ServerEngine.start(…)`; end it with `await close()`."""

    def __init__(self, model: Model, settings: Settings, adapters: tuple[str, ...], tokenizer: Any) -> None:
        self._tokenize, self._settings = HeadTokenizer(tokenizer), settings.run.engine
        self._context = min(settings.model.max_length, model.context)
        self._session = server_address.connections()
        urls = [url.rstrip("/") for url in settings.run.engine.servers]
        self._addresses = [Address(url, self._session) for url in dict.fromkeys(urls)]
        port = urls[0].rsplit(":", 1)[-1]
        program = CPU_BUILDS_SERVE if is_cpu_build() else "vllm serve"
        command = f"{program} {model.path} --max-model-len {self._context} --scheduling-policy priority"
        self._wanted = server_address.Wanted(
            names=(model.reference, model.path),
            context=self._context,
            adapters=adapters,
            how=f"start it: {command}{f' --port {port}' if port.isdigit() else ''} (docs/engines.md)",
        )
        self._changed = asyncio.Condition()
        self._tasks: set[asyncio.Task[None]] = set()
        self._closing = False

    @classmethod
    async def start(cls, model: Model, settings: Settings, adapters: tuple[str, ...] = ()) -> ServerEngine:
        """Connect, and check that each server that answers serves `model` and `adapters` at the length needed.

        Raises EngineError where one serves something else, and where none answers.
        """
        from self_instruct.models import load_tokenizer

        engine = cls(model, settings, adapters, load_tokenizer(model.path))
        try:
            for address in engine._addresses:
                try:
                    await address.look(engine._wanted)
                    await address.try_out()
                except LostError as loss:
                    address.lost_since, address.why = time.monotonic(), str(loss)
            if not engine._up():
                raise EngineError(f"run.engine.servers: no server answers: {engine._complaints()}", hint=engine._wanted.how)
            for address in engine._addresses:
                if address.lost_since is not None:
                    log.warning("going on without a server until it answers: %s", address.why)
                    engine._begin(engine._look_until_back(address))
            engine._begin(engine._watch())
        except BaseException:
            await engine.close()
            raise
        log.info("%d of %d servers are up", len(engine._up()), len(engine._addresses))
        return engine

    async def generate(self, request: Request) -> Completion:
        """See `Engine.generate`."""
        refuse_scoring(request, "server")
        try:
            body, heads = self._body(request)
        except ValueError as error:
            raise EngineError(f"request {request.id}: {error}") from None
        lost = 0
        while True:
            address = await self._least_loaded()
            if not address.open:
                address.heard = time.monotonic()
            address.open += 1
            try:
                answer = await address.complete({"model": address.names[request.adapter], **body})
            except LostError as loss:
                # One that refuses whatever it is asked says nothing of this request: `lost_timeout_s` bounds it.
                lost += loss.status is None or (loss.status not in BUSY and address.refused_since is None)
                self._lose(address, loss)
                if lost > self._settings.restarts and not self._closing:
                    hint = f"see the servers' logs, {AGAIN}"
                    raise EngineDiedError(f"request {request.id} was lost {lost} times, last at {loss}", hint=hint) from None
            except ValueError as error:
                raise EngineError(f"request {request.id}: {error}") from None
            else:
                self._heard(address)
                return _completion(request, len(body["prompt"]), heads, answer)
            finally:
                address.open -= 1

    async def metrics(self) -> dict[str, float]:
        """vLLM's counters and gauges under vLLM's names, summed over the addresses; shares (`…_perc`) are their mean.

        Counters count from this engine's start, over a server's restarts, and keep a lost server's last value.
        """
        for address in self._addresses:
            address.counters.gauges = {}
        await asyncio.gather(*(address.count() for address in self._up()))
        return prometheus.total([address.counters for address in self._addresses])

    async def close(self) -> None:
        """Close the connections; the servers abort what is open and go on running."""
        self._closing = True
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for address in self._addresses:
            address.cut_off()
        async with self._changed:
            self._changed.notify_all()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_TIMEOUT_S):
                await self._session.close()

    def _body(self, request: Request) -> tuple[dict[str, Any], list[int]]:
        """What to ask, without the model's name, and the choices' tokens. Raises ValueError where it can't be served."""
        if request.adapter is not None and request.adapter not in self._wanted.adapters:
            raise ValueError(f"the adapter {request.adapter} is not one of those that the engine was started with")
        heads: list[int] = []
        # Prompts go out as ids: the same tokens as every other engine's, whatever the server's tokenizer adds.
        if request.choices:
            ids, heads = choices.split(self._tokenize, request.prompt, request.choices)
            wanted: dict[str, Any] = {"max_tokens": 1, "temperature": 0.0, **server_address.scored(heads)}
        else:
            ids, sampling = self._tokenize(request.prompt), request.sampling
            wanted = {
                "max_tokens": min(sampling.max_tokens, self._context - len(ids)),
                "temperature": sampling.temperature,
                "top_p": sampling.top_p,
                "presence_penalty": sampling.presence_penalty,
                "frequency_penalty": sampling.frequency_penalty,
                "stop": list(sampling.stop),
                "seed": sampling.seed,
            }
        if len(ids) >= self._context:
            raise ValueError(f"{len(ids)} tokens are too many for the maximum context length of {self._context}")
        return {"prompt": ids, "priority": request.priority, **NEUTRAL, **wanted}, heads

    def _up(self) -> list[Address]:
        return [address for address in self._addresses if address.lost_since is None]

    async def _least_loaded(self) -> Address:
        """An address that is up; waits for one. Raises EngineDiedError where none comes back in time."""
        async with self._changed:
            while True:
                if self._closing:
                    raise EngineDiedError("the connections to the servers are closed")
                if up := self._up():
                    return min(up, key=lambda address: address.open)
                since = max(address.lost_since or 0.0 for address in self._addresses)
                left = since + self._settings.lost_timeout_s - time.monotonic()
                if left <= 0:
                    said = f"no server has answered for {self._settings.lost_timeout_s:.0f} s: {self._complaints()}"
                    raise EngineDiedError(said, hint=f"{self._wanted.how}; {AGAIN}")
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(left):
                        await self._changed.wait()

    def _heard(self, address: Address) -> None:
        """It has answered a request."""
        address.heard, address.refused_since, address.pause = time.monotonic(), None, 0.0

    def _lose(self, address: Address, loss: LostError | EngineError) -> None:
        """Look at it until it is back: at once where it may have been one connection only, else after a growing pause."""
        if address.lost_since is not None or self._closing:
            return
        now = time.monotonic()
        address.lost_since, address.why = now, str(loss)
        if isinstance(loss, LostError) and loss.status is not None:
            # A look finds a server that refuses all requests up again and again: only an answer ends its time.
            address.lost_since = address.refused_since = address.refused_since or now
            before, address.pause = address.pause, _longer(address.pause)
            if before < address.pause == LONGEST_BACKOFF_S:  # told once, and not where it was busy for a moment
                log.warning("a server answers no request: %s; %d others are up", loss, len(self._up()))
        self._begin(self._look_until_back(address))

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _look_until_back(self, address: Address) -> None:
        pause, told = address.pause, False
        while True:
            await asyncio.sleep(pause)
            try:
                await address.look(self._wanted)
                break
            except (LostError, EngineError) as error:
                if not told:
                    log.warning("lost a server: %s; %d others are up", address.why, len(self._up()))
                address.why, told = str(error), True
            pause = _longer(pause)
        if told:
            log.info("%s answers again", address.url)
        async with self._changed:
            address.lost_since = None
            self._changed.notify_all()

    async def _watch(self) -> None:
        """Look at every server that has been silent for long: a request may take minutes, a look takes a moment."""
        while True:
            await asyncio.sleep(SILENCE_S / 4)
            since = time.monotonic() - SILENCE_S
            await asyncio.gather(*(self._check(address) for address in self._addresses if address.open and address.heard < since))

    async def _check(self, address: Address) -> None:
        asked = time.monotonic()
        try:
            await address.look(self._wanted)
            address.heard = time.monotonic()
        except (LostError, EngineError) as error:
            if address.heard < asked:  # no request was answered meanwhile
                self._lose(address, error)
                address.cut_off()

    def _complaints(self) -> str:
        return "; ".join(address.why for address in self._addresses)


def _longer(pause: float) -> float:
    return min(max(2 * pause, BACKOFF_S), LONGEST_BACKOFF_S)


def _completion(request: Request, prompt_tokens: int, heads: list[int], answer: Any) -> Completion:
    try:
        choice, usage = answer["choices"][0], answer["usage"]
        text, reason = choice["text"], choice["finish_reason"]
        scores = choices.normalized(server_address.scores(heads, answer)) if heads else []
        output_tokens = int(usage["completion_tokens"])
    except (KeyError, TypeError, IndexError) as error:
        raise EngineError(f"request {request.id}: the server's answer lacks {error}") from None
    if reason not in ("stop", "length"):
        raise EngineError(f"request {request.id}: ended without an answer ({reason})")
    return Completion(
        request_id=request.id,
        text=request.choices[scores.index(max(scores))] if scores else text,
        finish_reason="stop" if scores else reason,
        prompt_tokens=prompt_tokens,
        output_tokens=output_tokens,
        choice_logprobs=tuple(scores),
        cached_tokens=(usage.get("prompt_tokens_details") or {}).get("cached_tokens"),
    )
