"""A headless Chromium driven over its DevTools protocol, for tests of pages: sizes, colour scheme, JavaScript, clicks, pictures."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import os
import shutil
import signal
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
SILENT = "--headless --no-sandbox --disable-gpu --hide-scrollbars --no-first-run --no-proxy-server --disable-dev-shm-usage"
QUIET = "--disable-background-networking --disable-component-update --disable-extensions --disable-sync"
LIMIT_S = 30
# Contrast by WCAG 2.2, 1.4.3, of every element that holds text, against the nearest background that isn't see-through.
CONTRAST = """
(() => {
  const canvas = document.createElement("canvas").getContext("2d", {willReadFrequently: true});
  const rgba = colour => {
    canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data];
  };
  const light = colour => colour.slice(0, 3).map(c => c / 255)
    .map(c => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
    .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
  const back = e => {
    for (; e; e = e.parentElement) { const c = rgba(getComputedStyle(e).backgroundColor); if (c[3] == 255) return c; }
    return [255, 255, 255, 255];
  };
  const found = [];
  for (const e of document.body.querySelectorAll("*:not(svg, svg *)")) {
    if (![...e.childNodes].some(n => n.nodeType == 3 && n.textContent.trim())) continue;
    const a = light(rgba(getComputedStyle(e).color)), b = light(back(e));
    found.push([(Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05), e.tagName + "." + e.className]);
  }
  return found;
})()
"""


def find() -> str | None:
    """The path of a browser that is installed."""
    return next((path for name in NAMES if (path := shutil.which(name))), None)


class Page:
    """One tab. `requests` has every address it asked for, `errors` what it threw, logged as an error or wasn't allowed."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.requests: list[str] = []
        self.errors: list[str] = []
        self._socket = socket
        self._count = 0
        self._answers: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._loaded = asyncio.Event()
        self._reader = asyncio.create_task(self._read())

    async def show(self, *, width: int, height: int = 800, dark: bool = False, media: str = "") -> None:
        """The size of the window in CSS pixels, the colour scheme that the system prefers, and `media="print"` for paper."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        await self.send("Emulation.setDeviceMetricsOverride", **size)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        await self.send("Emulation.setEmulatedMedia", media=media, features=[scheme])

    async def open(self, url: str) -> None:
        """Go there, and wait until it is loaded."""
        self._loaded.clear()
        found = await self.send("Page.navigate", url=url)
        assert "errorText" not in found, f"{url}: {found['errorText']}"
        await asyncio.wait_for(self._loaded.wait(), LIMIT_S)

    async def run(self, script: str) -> Any:
        """The value of a JavaScript expression, as JSON can carry it; a promise is waited for."""
        found = await self.send("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    async def click(self, selector: str) -> None:
        """Click the middle of an element with the mouse, scrolled into view."""
        element = f"document.querySelector({selector!r})"
        where = await self.run(
            f"(e => {{ e.scrollIntoView({{block: 'center'}}); const b = e.getBoundingClientRect();"
            f" return [b.x + b.width / 2, b.y + b.height / 2]; }})({element})"
        )
        for kind in ("mousePressed", "mouseReleased"):
            await self.send("Input.dispatchMouseEvent", type=kind, x=where[0], y=where[1], button="left", clickCount=1)

    async def picture(self, file: Path, *, whole: bool = True) -> None:
        """A PNG of the whole page, or of what the window shows."""
        found = await self.send("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        file.write_bytes(base64.b64decode(found["data"]))

    async def send(self, method: str, **parameters: Any) -> dict[str, Any]:
        """One command of the protocol, and its result."""
        self._count += 1
        answer = self._answers[self._count] = asyncio.get_running_loop().create_future()
        await self._socket.send_json({"id": self._count, "method": method, "params": parameters})
        return await asyncio.wait_for(answer, LIMIT_S)

    async def close(self) -> None:
        self._reader.cancel()
        await self._socket.close()

    async def _read(self) -> None:
        async for message in self._socket:
            said = message.json()
            if (answer := self._answers.pop(said.get("id"), None)) is not None and not answer.done():
                if "error" in said:
                    answer.set_exception(RuntimeError(said["error"]["message"]))
                else:
                    answer.set_result(said["result"])
                continue
            event = said.get("params", {})
            match said.get("method"):
                case "Page.loadEventFired":
                    self._loaded.set()
                case "Network.requestWillBeSent":
                    self.requests.append(event["request"]["url"])
                case "Runtime.exceptionThrown":
                    self.errors.append(str(event["exceptionDetails"]))
                case "Log.entryAdded" if event["entry"]["level"] == "error":
                    self.errors.append(event["entry"]["text"])
                case "Runtime.consoleAPICalled" if event["type"] == "error":
                    self.errors.append(str(event["args"]))


@contextlib.asynccontextmanager
async def page(browser: str) -> AsyncIterator[Page]:
    """A browser with one empty page; its processes and files are gone afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="browser-"))
    command = [browser, *SILENT.split(), *QUIET.split(), "--remote-debugging-port=0", f"--user-data-dir={folder}", "about:blank"]
    with (folder / "log.txt").open("wb") as log:
        process = await asyncio.create_subprocess_exec(*command, stdout=log, stderr=log, start_new_session=True)
    try:
        port = await _port(folder, process)
        async with aiohttp.ClientSession() as session:
            async with session.get(f"http://127.0.0.1:{port}/json/list") as answer:
                tabs = await answer.json()
            tab = next(tab for tab in tabs if tab["type"] == "page")
            opened = Page(await session.ws_connect(tab["webSocketDebuggerUrl"], max_msg_size=0))
            try:
                for domain in ("Page", "Network", "Runtime", "Log"):
                    await opened.send(f"{domain}.enable")
                yield opened
            finally:
                await opened.close()
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()
        shutil.rmtree(folder, ignore_errors=True)


async def _port(folder: Path, process: asyncio.subprocess.Process) -> str:
    """The port that the browser chose, which it writes down once it listens there."""
    for _ in range(LIMIT_S * 20):
        lines = (folder / "DevToolsActivePort").read_text().split() if (folder / "DevToolsActivePort").is_file() else []
        if len(lines) == 2:
            return lines[0]
        if process.returncode is not None:
            break
        await asyncio.sleep(0.05)
    raise RuntimeError(f"the browser didn't start: {(folder / 'log.txt').read_text(errors='replace')[-1000:]}")
