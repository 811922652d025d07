"""One vLLM server by its address: asking it, what it serves, its counters.

Knows HTTP and vLLM's names in it, and nothing of requests and of other servers; `engine_server` does.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

from self_instruct import prometheus, rundir
from self_instruct.errors import EngineError

LOOK_TIMEOUT_S = 10.0
TRIAL_TIMEOUT_S = 120.0  # for one token, behind whatever the server is doing
LOADED = "self-instruct-"  # what the names begin with of adapters that we let a server load
# Below uvicorn's 5 s, after which the server closes an idle connection, perhaps while we write to it.
KEEP_ALIVE_S = 4.0
# A peer that vanished without a word is noticed after a minute: idle, interval and number of TCP's own probes.
TCP_PROBES = ((socket.TCP_KEEPIDLE, 30), (socket.TCP_KEEPINTVL, 10), (socket.TCP_KEEPCNT, 3))


class LostError(Exception):
    """An address didn't answer, or answered that it can't serve anything now. Never leaves the engine.

    `status` is HTTP's where it answered; none where the connection broke or it was silent.
    """

    def __init__(self, why: str, status: int | None = None) -> None:
        super().__init__(why)
        self.status = status


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What every server must serve: the model (names it may have), a context in tokens, LoRA folders; `how` to start one."""

    names: tuple[str, ...]
    context: int
    adapters: tuple[str, ...]
    how: str


@dataclass(eq=False)
class Address:
    """`open` requests, since when it is lost (none: it is up) and `why`; `names`: the served name of the base (None) and of
    each adapter's folder; `heard`: when it last gave a sign of life; since when it only refuses (none: it doesn't), and the
    `pause` before it is looked at after a loss, both until it answers a request."""

    url: str
    session: aiohttp.ClientSession
    open: int = 0
    lost_since: float | None = None
    why: str = ""
    heard: float = 0.0
    refused_since: float | None = None
    pause: float = 0.0
    names: dict[str | None, str] = field(default_factory=dict)
    counters: prometheus.Counters = field(default_factory=prometheus.Counters)
    _limits: set[asyncio.Timeout] = field(default_factory=set)

    async def ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> str:
        """The text of the answer.

        Raises LostError where none comes or the server is unwell, ValueError where it refuses the request, EngineError
        where it wants a key.
        """
        try:
            async with self.session.request(method, self.url + path, json=body) as response:
                text = await response.text()
        except (aiohttp.ClientError, OSError) as error:  # a TimeoutError is an OSError
            raise LostError(f"{self.url}: {str(error) or type(error).__name__}") from None
        if response.status in (401, 403):
            raise EngineError(f"{self.url}: wants a key (HTTP {response.status})", hint="start the server without --api-key")
        if response.status in (404, 429) or response.status >= 500:  # 404: it was started anew with another model
            raise LostError(f"{self.url}: HTTP {response.status}: {_said(text)}", response.status)
        if response.status != 200:
            raise ValueError(f"{self.url}: {_said(text)}")
        return text

    async def complete(self, body: dict[str, Any]) -> Any:
        """The answer of /v1/completions, as JSON. Raises as `ask` does, and LostError where it is cut off."""
        limit = asyncio.timeout(None)
        try:
            async with limit:
                self._limits.add(limit)
                text = await self.ask("POST", "/v1/completions", body)
        except TimeoutError:
            raise LostError(f"{self.url}: cut off, for it was silent") from None
        finally:
            self._limits.discard(limit)
        try:
            return json.loads(text)
        except ValueError:
            raise LostError(f"{self.url}: answered no JSON: {text[:80]!r}", 200) from None

    def cut_off(self) -> None:
        """End every open `complete` with a LostError. A timeout, unlike `cancel`, leaves its caller's cancellation alone."""
        while self._limits:
            self._limits.pop().reschedule(0.0)

    async def look(self, wanted: Wanted) -> None:
        """Find out under which names it serves what is wanted. Raises LostError, and EngineError where it doesn't."""
        try:
            cards = [card for card in json.loads(await self._get("/v1/models"))["data"] if isinstance(card["id"], str)]
            if not self.counters.started:
                with contextlib.suppress(LostError, ValueError):  # behind a proxy there may be none
                    self.counters.start(await self._get("/metrics"))
        except (ValueError, KeyError, TypeError):
            raise EngineError(f"{self.url}: its /v1/models is not an OpenAI server's", hint=wanted.how) from None
        bases = [card for card in cards if not card.get("parent")]
        base = next((card for card in bases if card["id"] in wanted.names or card.get("root") in wanted.names), None)
        if base is None:
            served = ", ".join(card["id"] for card in bases) or "nothing"
            raise EngineError(f"{self.url}: serves {served}, model.name is {wanted.names[0]}", hint=wanted.how)
        length = base.get("max_model_len")
        if isinstance(length, int) and length < wanted.context:
            hint = f"start it with --max-model-len {wanted.context}, or set model.max_length to {length}"
            raise EngineError(f"{self.url}: takes {length} tokens, model.max_length is {wanted.context}", hint=hint)
        loras = [card for card in cards if card.get("parent")]
        names: dict[str | None, str] = {None: base["id"]}
        for path in wanted.adapters:
            names[path] = self._served(path, loras, wanted.adapters) or await self._load(path, loras)
        self.names = names

    def _served(self, adapter: str, loras: list[dict[str, Any]], adapters: tuple[str, ...]) -> str | None:
        """The name under which an adapter is served: the one that we gave it, else by its folder, else by the folder's name."""
        ours = _own_name(adapter)
        if ours in [card["id"] for card in loras]:
            return ours
        for card in loras:
            # One that we had loaded before the folder's content changed has its place, and is another.
            if card["id"].startswith(LOADED):
                continue
            if card.get("root") and Path(card["root"]).resolve() == Path(adapter).resolve():
                return str(card["id"])
        # A server on another machine has the folder elsewhere; a name that several of ours share would be a guess.
        name = Path(adapter).name
        if name in [card["id"] for card in loras] and sum(Path(path).name == name for path in adapters) == 1:
            return name
        return None

    async def _load(self, adapter: str, loras: list[dict[str, Any]]) -> str:
        """Let the server load an adapter, which it does where it was started so. Raises EngineError where it doesn't."""
        name = _own_name(adapter)
        try:
            async with asyncio.timeout(TRIAL_TIMEOUT_S):
                body = {"lora_name": name, "lora_path": str(Path(adapter).resolve())}
                await self.ask("POST", "/v1/load_lora_adapter", body)
            return name
        except (LostError, ValueError, TimeoutError):
            served = ", ".join(card["id"] for card in loras) or "none"
            hint = f"start it with --enable-lora --lora-modules {Path(adapter).name}={adapter}, or with --enable-lora and "
            hint += "VLLM_ALLOW_RUNTIME_LORA_UPDATING=1 where it sees the same folders"
            raise EngineError(f"{self.url}: doesn't serve the adapter {adapter} (served: {served})", hint=hint) from None

    async def count(self) -> None:
        """Read the counters; where the server doesn't tell them, the last ones stay. Raises EngineError where it wants a key."""
        with contextlib.suppress(LostError, ValueError):
            text = await self._get("/metrics")
            # One whose counters weren't told at the start has counted what isn't ours.
            (self.counters.update if self.counters.started else self.counters.start)(text)

    async def _get(self, path: str) -> str:
        """As `ask`, for what a server answers at once."""
        try:
            async with asyncio.timeout(LOOK_TIMEOUT_S):
                return await self.ask("GET", path)
        except TimeoutError:
            raise LostError(f"{self.url}: no answer within {LOOK_TIMEOUT_S:.0f} s") from None

    async def try_out(self) -> None:
        """Ask for one scored token. Raises LostError, and EngineError where the server doesn't know how."""
        heads = [0, 1]
        body = {"model": self.names[None], "prompt": [heads[0]], "max_tokens": 1, "temperature": 0.0, **scored(heads)}
        try:
            async with asyncio.timeout(TRIAL_TIMEOUT_S):
                scores(heads, await self.complete(body))
        except TimeoutError:
            raise LostError(f"{self.url}: no token within {TRIAL_TIMEOUT_S:.0f} s") from None
        except (ValueError, KeyError, TypeError, IndexError) as error:
            why = f"doesn't score chosen tokens as vLLM's server does: {type(error).__name__}: {error}"
            raise EngineError(f"{self.url}: {why}", hint="take `vllm serve`, version 0.32 or newer") from None


def _own_name(adapter: str) -> str:
    """The name that we give an adapter: of its content, so that a folder with new content isn't taken for the old."""
    folder = Path(adapter)
    return f"{LOADED}{rundir.sha256(folder)[:16]}" if folder.is_dir() else f"{LOADED}none"


def scored(heads: list[int]) -> dict[str, Any]:
    """What asks a server to choose among these tokens and to tell each one's log-probability; read back by `scores`."""
    return {
        "allowed_token_ids": heads,
        "logprob_token_ids": heads,
        "logprobs": len(heads),
        "return_tokens_as_token_ids": True,
    }


def scores(heads: list[int], answer: Any) -> list[float]:
    """Log-probabilities (nats, among all tokens). Raises KeyError, TypeError or IndexError where the answer has none."""
    told = answer["choices"][0]["logprobs"]["top_logprobs"][0]
    return [float(told[f"token_id:{head}"]) for head in heads]


def connections() -> aiohttp.ClientSession:
    """Kept-alive connections without a limit of their number or of an answer's time. Needs a running loop."""
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=KEEP_ALIVE_S, socket_factory=_probed_socket),
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=LOOK_TIMEOUT_S),
    )


def _probed_socket(info: Any) -> socket.socket:
    family, kind, protocol, _, _ = info
    made = socket.socket(family, kind, protocol)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in TCP_PROBES:
        made.setsockopt(socket.IPPROTO_TCP, option, value)
    return made


def _said(text: str) -> str:
    """What an error answer says, in one line of 300 characters at most."""
    try:
        message = json.loads(text)["error"]["message"]
    except (ValueError, KeyError, TypeError):
        message = text
    return " ".join(str(message).split())[:300]
