"""A rating server in a process of its own, and raters that speak to it as the page does."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import aiohttp

from self_instruct.loading import REPOSITORY

START_S = 30.0


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


class Server:
    """`evaluate rate RUN` on a port that stays the same when it is started again."""

    def __init__(self, run: Path, settings: Sequence[str] = ()) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._said = run.parent / f"{run.name}-server.txt"
        words = [f"evaluate.rate.port={self.port}", *settings]
        self._command = [sys.executable, "-m", "self_instruct.evaluate", "rate", str(run)]
        self._command += [word for setting in words for word in ("--set", setting)]
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Returns once it takes connections."""
        with self._said.open("ab") as said:
            environment = {**os.environ, "PYTHONPATH": str(REPOSITORY / "src")}
            self._process = subprocess.Popen(self._command, stdout=said, stderr=said, cwd=REPOSITORY, env=environment)
        begun = time.monotonic()
        while time.monotonic() - begun < START_S:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            if self._process.poll() is not None:
                break
            time.sleep(0.02)
        raise RuntimeError(f"the server didn't start:\n{self.said()}")

    def said(self) -> str:
        return self._said.read_text(encoding="utf-8")

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def kill(self) -> None:
        assert self._process is not None
        self._process.kill()
        assert self._process.wait() == -signal.SIGKILL, self.said()

    def stop(self) -> int:
        """Ctrl-C; returns the exit status."""
        if self._process is None or self._process.poll() is not None:
            return -1
        self._process.send_signal(signal.SIGINT)
        return self._process.wait(START_S)


class Rater:
    """One person who rates as fast as the server confirms. `confirmed`: (subject's position, answer, level) by nonce; `seconds`
    of each request that saved something."""

    def __init__(self, url: str, name: str, client: aiohttp.ClientSession, seed: int = 0) -> None:
        self.name, self.confirmed, self.seconds = name, dict[str, tuple[int, str, str]](), list[float]()
        self._url, self._client, self._draws = url, client, random.Random(f"{seed} {name}")
        self._session = ""

    async def call(self, place: str, body: dict[str, Any] | None = None, *, timed: bool = False) -> Any:
        """One request, sent again until the server answers, as the page does."""
        headers = {"X-Session": self._session}
        while True:
            begun = time.perf_counter()
            try:
                method = "GET" if body is None else "POST"
                async with self._client.request(method, self._url + place, json=body, headers=headers) as response:
                    told = await response.json()
                    assert response.status == 200, told
                    if timed:
                        self.seconds.append(time.perf_counter() - begun)
                    return told
            except (TimeoutError, aiohttp.ClientConnectionError, aiohttp.ClientPayloadError):
                await asyncio.sleep(0.02)

    async def rate(self, count: int) -> None:
        """Rate `count` answers in the order of the page."""
        told = await self.call("/api/enter", {"name": self.name, "session": self._session or None})
        self._session = told["session"]
        position = 0
        while len(self.confirmed) < count:
            position = (await self.call(f"/api/next/0?after={position}"))["position"]
            shown = await self.call(f"/api/subject/0/{position}")
            for answer in shown["answers"]:
                if len(self.confirmed) < count and answer["value"] is None:
                    nonce = f"{self._draws.getrandbits(128):032x}"
                    level = self._draws.choice("ABCD")
                    body = {"set": 0, "position": position, "answer": answer["key"], "value": level, "comment": "", "nonce": nonce}
                    assert (await self.call("/api/rate", body, timed=True))["saved"]
                    self.confirmed[nonce] = position, answer["key"], level
