"""Listens for raters until it is told to stop.

Knows addresses and signals; what is said is `rating_app`'s.
"""

from __future__ import annotations

import asyncio
import signal
import socket
from collections.abc import Sequence

from aiohttp import web

from self_instruct.errors import ConfigError
from self_instruct.evaluate.rating_app import RatingApp
from self_instruct.evaluate.rating_guard import is_own
from self_instruct.evaluate.rating_sets import RatingSet
from self_instruct.evaluate.ratings import RatingStore
from self_instruct.runlog import log
from self_instruct.settings_evaluate import RateSettings

CLOSE_S = 2.0  # for requests that are open at the end


async def serve(sets: Sequence[RatingSet], store: RatingStore, settings: RateSettings) -> None:
    """Serve the page until Ctrl-C or SIGTERM. Raises ConfigError where the address can't be listened on."""
    own = is_own(settings.host)
    token = None if own else store.token()
    app = RatingApp(sets, store, token)
    # A handler is never cancelled: what was sent is saved, also where the sender has gone meanwhile.
    runner = web.AppRunner(app.application(), access_log=None, shutdown_timeout=CLOSE_S)
    await runner.setup()
    stop = asyncio.Event()  # before the port is open: who sees it may end the server at once
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    try:
        try:
            await web.TCPSite(runner, settings.host, settings.port, reuse_address=True).start()
        except (OSError, UnicodeError) as error:
            raise ConfigError(
                f"evaluate.rate: {settings.host}:{settings.port} can't be listened on: {error}",
                hint="another port: --set evaluate.rate.port=0 takes a free one; another address: --set evaluate.rate.host=...",
            ) from None
        port = runner.addresses[0][1]
        log.info("rate at %s", link(settings.host, port, token))
        if not own:
            log.warning(
                "whoever has this link can rate; it travels as plain HTTP, which others on the network can read. "
                "An SSH tunnel to 127.0.0.1 hides it"
            )
        log.info("every rating is saved at once in %s; Ctrl-C ends", store.path)
        await stop.wait()
    finally:
        await runner.cleanup()
        app.close()


def link(host: str, port: int, token: str | None) -> str:
    """What to open in a browser."""
    name = socket.gethostname() if host in ("0.0.0.0", "::") else f"[{host}]" if ":" in host else host
    return f"http://{name}:{port}/" + (f"?token={token}" if token else "")
