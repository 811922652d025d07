"""A scripted HTTP server that speaks as `vllm serve` does, for the tests of the server engine."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from typing import Any

from aiohttp import web

Answer = Callable[[dict[str, Any]], Any]


class HttpServer:
    """Serves one model. `answer` may return a web.Response of its own or raise; `hold` is what every answer waits for.

    `loads`: it loads adapters that it is asked to. Without `awake` it takes connections and answers nothing, as a stopped process
    does; without `counting` it hangs at /metrics.
    """

    def __init__(
        self, model: str, *, context: int = 512, loras: tuple[str, ...] = (), answer: Answer | None = None, loads: bool = False
    ) -> None:
        self.model, self.context, self.loras, self._answer = model, context, loras, answer
        self.loads, self.loaded = loads, dict[str, str]()
        self.asked: list[dict[str, Any]] = []
        self.connections: set[Any] = set()
        self.open = self.most_open = self.aborted = 0
        self.hold = asyncio.Event()
        self.awake, self.counting = asyncio.Event(), asyncio.Event()
        for event in (self.hold, self.awake, self.counting):
            event.set()
        self.looks = 0
        self.counters = {"hits": 100.0, "queries": 200.0}
        self.port = 0
        self._runner: web.AppRunner | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def start(self) -> HttpServer:
        """Listen, on the same port as before where it was started before."""
        app = web.Application()
        app.add_routes([web.get("/v1/models", self._models), web.get("/metrics", self._metrics)])
        app.add_routes([web.post("/v1/completions", self._complete)])
        if self.loads:
            app.add_routes([web.post("/v1/load_lora_adapter", self._load)])
        self._runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.01)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self.port, reuse_address=True)
        await site.start()
        self.port = self._runner.addresses[0][1]
        return self

    async def stop(self) -> None:
        """End every connection at once, whatever is open on it."""
        assert self._runner is not None
        await self._runner.cleanup()

    async def _models(self, request: web.Request) -> web.Response:
        self.connections.add(request.transport)
        self.looks += 1
        await self.awake.wait()
        base = {"id": self.model, "root": self.model, "parent": None, "max_model_len": self.context}
        loras = [{"id": path.rsplit("/", 1)[-1], "root": path, "parent": self.model} for path in self.loras]
        loras += [{"id": name, "root": path, "parent": self.model} for name, path in self.loaded.items()]
        return web.json_response({"object": "list", "data": [base, *loras]})

    async def _load(self, request: web.Request) -> web.Response:
        body = await request.json()
        if body["lora_name"] in self.loaded:
            return error(400, f"{body['lora_name']} is loaded already")
        self.loaded[body["lora_name"]] = body["lora_path"]
        return web.Response(text="done")

    async def _metrics(self, request: web.Request) -> web.Response:
        self.connections.add(request.transport)
        await self.awake.wait()
        await self.counting.wait()
        return web.Response(
            text=(
                "# TYPE vllm:prefix_cache_hits_total counter\n"
                f'vllm:prefix_cache_hits_total{{engine="0",model_name="a b"}} {self.counters["hits"]}\n'
                "# TYPE vllm:prefix_cache_queries_total counter\n"
                f'vllm:prefix_cache_queries_total{{engine="0"}} {self.counters["queries"]}\n'
                "# TYPE vllm:num_requests_running gauge\n"
                f'vllm:num_requests_running{{engine="0"}} {self.open}\n'
                "# TYPE vllm:kv_cache_usage_perc gauge\n"
                'vllm:kv_cache_usage_perc{engine="0"} 0.5\n'
                "# TYPE vllm:e2e_request_latency_seconds histogram\n"
                'vllm:e2e_request_latency_seconds_sum{engine="0"} 9.0\n'
            )
        )

    async def _complete(self, request: web.Request) -> web.Response:
        self.connections.add(request.transport)
        await self.awake.wait()
        body = await request.json()
        trial = body["prompt"] == [0]
        self.open += 1
        self.most_open = max(self.most_open, self.open)
        try:
            if not trial:
                self.asked.append(body)
                await self.hold.wait()
            if not trial and self._answer:
                said = self._answer(body)
                if isinstance(said, web.Response):
                    return said
            else:
                said = f"answer to {len(body['prompt'])} tokens"
        except asyncio.CancelledError:
            self.aborted += 1
            raise
        finally:
            self.open -= 1
        choice: dict[str, Any] = {"index": 0, "text": said, "finish_reason": "stop", "logprobs": None}
        if wanted := body.get("logprob_token_ids"):
            told = {f"token_id:{token}": math.log(1 / 2 ** (place + 1)) for place, token in enumerate(wanted)}
            choice["logprobs"] = {"top_logprobs": [told]}
        usage = {"prompt_tokens": len(body["prompt"]), "completion_tokens": 3, "prompt_tokens_details": {"cached_tokens": 1}}
        return web.json_response({"choices": [choice], "usage": usage, "model": body["model"]})


def error(status: int, message: str) -> web.Response:
    """What vLLM answers where it refuses a request."""
    return web.json_response({"error": {"message": message, "code": status}}, status=status)
