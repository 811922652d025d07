"""Ordered commit: what a request sees depends on committed answers alone, never on timing."""

from __future__ import annotations

import asyncio
import random

from hypothesis import given, settings
from hypothesis import strategies as st

from self_instruct.generate.window import run_in_order


@settings(max_examples=30, deadline=None)
@given(lag=st.integers(1, 30), limit=st.integers(1, 60), timing=st.integers(0, 10_000))
def test_what_a_request_sees_depends_on_its_number_alone(lag: int, limit: int, timing: int) -> None:
    delays = random.Random(timing)
    committed: list[int] = []
    seen: dict[int, int] = {}
    running = most = 0

    async def ask(number: int) -> int:
        nonlocal running, most
        seen[number] = len(committed)
        running += 1
        most = max(most, running)
        for _ in range(delays.randint(0, 4)):
            await asyncio.sleep(0)
        running -= 1
        return number * 10

    def commit(number: int, answer: int) -> bool:
        assert answer == number * 10
        committed.append(number)
        return True

    assert asyncio.run(run_in_order(ask, commit, lag=lag, limit=limit)) == limit
    assert committed == list(range(limit))
    # Number n is asked at the first commit count c with n < c + min(lag, 8 + c).
    expected = {n: next(c for c in range(limit) if n < c + min(lag, 8 + c)) for n in range(limit)}
    assert seen == expected
    assert most <= lag


def test_the_end_cancels_what_is_open() -> None:
    cancelled: list[int] = []

    async def ask(number: int) -> int:
        try:
            await asyncio.sleep(0 if number < 3 else 60)
        except asyncio.CancelledError:
            cancelled.append(number)
            raise
        return number

    assert asyncio.run(run_in_order(ask, lambda number, _: number < 2, lag=4, limit=100)) == 3
    assert cancelled == [3, 4, 5]
