"""Ordered commit over a lagged pool: many requests open, answers in any order, commits strictly by number.

Knows nothing of what is asked or committed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

Answer = TypeVar("Answer")
START = 8  # requests open before the first commit


def window(committed: int, lag: int) -> int:
    """Requests that may be open after so many commits: it grows from 8 by one a commit, up to `lag`.

    So the model's own tasks enter prompts early, however large the lag.
    """
    return min(lag, START + committed)


def round_window(committed: int, size: int) -> int:
    """The authors' order: a round's requests are open until the last of them is committed, and then the next round's."""
    return size - committed % size


async def run_in_order(
    ask: Callable[[int], Awaitable[Answer]],
    commit: Callable[[int, Answer], bool],
    *,
    opened: Callable[[int], int],
    limit: int,
) -> int:
    """Ask for 0, 1, 2 … and commit the answers in that order; returns how many were committed.

    After c commits requests below c + opened(c) are asked, so what `ask` sees before its first await is a pure function of
    its number and the committed answers. Ends when `commit` returns False or `limit` requests are committed; what is open
    then is cancelled, and has no effect. An exception of `ask` is raised at its number's turn.
    """
    open_requests: dict[int, asyncio.Future[Answer]] = {}
    asked = committed = 0
    try:
        while committed < limit:
            most = min(committed + opened(committed), limit)
            if asked < most:
                for number in range(asked, most):
                    open_requests[number] = asyncio.ensure_future(ask(number))
                asked = most
                # A request reads the pool before its first await; let all do it, before anything else is committed.
                await asyncio.sleep(0)
            answer = await open_requests.pop(committed)
            committed += 1
            if not commit(committed - 1, answer):
                break
        return committed
    finally:
        for request in open_requests.values():
            request.cancel()
        await asyncio.gather(*open_requests.values(), return_exceptions=True)
