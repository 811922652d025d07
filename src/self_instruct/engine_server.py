"""vLLM servers behind the engine seam: one or several OpenAI-compatible addresses.

Knows the protocol of `server_address`, not vLLM's Python API. Each request goes to the address with the fewest open
ones. A lost address is asked with back-off until it is back, and what was open on it is sent again, to any.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING, Any

from self_instruct import choices, prometheus, server_address
from self_instruct.engine_vllm import is_cpu_build
from self_instruct.errors import EngineDiedError, EngineError
from self_instruct.records import Completion, Request
from self_instruct.runlog import log
from self_instruct.server_address import Address, LostError
from self_instruct.settings import Settings

if TYPE_CHECKING:
    from self_instruct.models import Model

BACKOFF_S = 0.5  # between two looks at a lost address, doubled up to the longest (ours)
LONGEST_BACKOFF_S = 15.0
AGAIN = "then run the same command again to go on from what is journaled"
# The CPU build has no working `vllm` command: it asks for the version of the package `vllm`, which isn't installed.
CPU_BUILDS_SERVE = "python -m vllm.entrypoints.launchers.api_server.entry --model"
# Where a request is silent the server takes these from the model's generation_config.json; vLLM in process doesn't.
NEUTRAL = {"top_k": 0, "min_p": 0.0, "repetition_penalty": 1.0}


class ServerEngine:
    """The servers of `run.engine.servers`. Make it with `await ServerEngine.start(…)`; end it with `await close()`."""

    def __init__(self, model: Model, settings: Settings, adapters: tuple[str, ...], tokenizer: Any) -> None:
        self._tokenizer, self._settings = tokenizer, settings.run.engine
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
        self._recoveries: set[asyncio.Task[None]] = set()
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
                    engine._recover(address)
        except BaseException:
            await engine.close()
            raise
        log.info("%d of %d servers are up", len(engine._up()), len(engine._addresses))
        return engine

    async def generate(self, request: Request) -> Completion:
        """See `Engine.generate`."""
        try:
            body, heads = self._body(request)
        except ValueError as error:
            raise EngineError(f"request {request.id}: {error}") from None
        lost = 0
        while True:
            address = await self._least_loaded()
            address.open += 1
            try:
                answer = await address.complete({"model": address.names[request.adapter], **body})
            except LostError as loss:
                self._lose(address, str(loss))
                lost += 1
                if lost > self._settings.restarts and not self._closing:
                    hint = f"see the servers' logs, {AGAIN}"
                    raise EngineDiedError(f"request {request.id} was lost {lost} times, last at {loss}", hint=hint) from None
            except ValueError as error:
                raise EngineError(f"request {request.id}: {error}") from None
            else:
                return _completion(request, len(body["prompt"]), heads, answer)
            finally:
                address.open -= 1

    async def metrics(self) -> dict[str, float]:
        """vLLM's counters and gauges under vLLM's names, summed over the addresses; shares (`…_perc`) are their mean.

        Counters count from this engine's start, over a server's restarts, and keep a lost server's last value.
        """
        for address in self._addresses:
            address.counters.gauges = {}
            if address.lost_since is None:
                with contextlib.suppress(LostError, ValueError):
                    address.counters.update(await address.ask("GET", "/metrics"))
        return prometheus.total([address.counters for address in self._addresses])

    async def close(self) -> None:
        """Close the connections; the servers abort what is open and go on running."""
        self._closing = True
        for task in self._recoveries:
            task.cancel()
        await asyncio.gather(*self._recoveries, return_exceptions=True)
        async with self._changed:
            self._changed.notify_all()
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

    def _tokenize(self, text: str) -> list[int]:
        ids: list[int] = self._tokenizer(text).input_ids
        return ids

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
                try:
                    async with asyncio.timeout(max(left, 0.0)):
                        await self._changed.wait()
                except TimeoutError:
                    if not self._up() and not self._closing:
                        said = f"no server has answered for {self._settings.lost_timeout_s:.0f} s: {self._complaints()}"
                        raise EngineDiedError(said, hint=f"{self._wanted.how}; {AGAIN}") from None

    def _lose(self, address: Address, why: str) -> None:
        if address.lost_since is None and not self._closing:
            address.lost_since, address.why = time.monotonic(), why
            self._recover(address)

    def _recover(self, address: Address) -> None:
        task = asyncio.create_task(self._look_until_back(address))
        self._recoveries.add(task)
        task.add_done_callback(self._recoveries.discard)

    async def _look_until_back(self, address: Address) -> None:
        """The first look is at once: often it was one connection only."""
        pause = 0.0
        while True:
            await asyncio.sleep(pause)
            try:
                await address.look(self._wanted)
                break
            except (LostError, EngineError) as error:
                if not pause:
                    log.warning("lost a server: %s; %d others are up", address.why, len(self._up()))
                address.why = str(error)
            pause = min(max(2 * pause, BACKOFF_S), LONGEST_BACKOFF_S)
        if pause:
            log.info("%s answers again", address.url)
        async with self._changed:
            address.lost_since = None
            self._changed.notify_all()

    def _complaints(self) -> str:
        return "; ".join(address.why for address in self._addresses)


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
