"""Ordered commit: what a request sees depends on committed answers alone, never on timing."""

from __future__ import annotations

import asyncio
import random

from hypothesis import given, settings
from hypothesis import strategies as st

from self_instruct.generate.window import round_window, run_in_order, window


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

    assert asyncio.run(run_in_order(ask, commit, opened=lambda count: window(count, lag), limit=limit)) == limit
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

    assert asyncio.run(run_in_order(ask, lambda number, _: number < 2, opened=lambda count: 4, limit=100)) == 3
    assert cancelled == [3, 4, 5]


def test_a_window_that_shrinks_asks_for_nothing_more_until_the_commits_are_there() -> None:
    seen: dict[int, int] = {}
    committed: list[int] = []

    async def ask(number: int) -> None:
        seen[number] = len(committed)

    def commit(number: int, _: None) -> bool:
        committed.append(number)
        return True

    asyncio.run(run_in_order(ask, commit, opened=lambda count: 5 if count < 2 else 1, limit=9))
    assert seen == {0: 0, 1: 0, 2: 0, 3: 0, 4: 0, 5: 1, 6: 6, 7: 7, 8: 8}


def test_in_rounds_a_request_sees_all_of_the_rounds_before_and_nothing_of_its_own() -> None:
    seen: dict[int, int] = {}
    committed: list[int] = []

    async def ask(number: int) -> int:
        seen[number] = len(committed)
        await asyncio.sleep(0.001 * (number % 3))
        return number

    def commit(number: int, _: int) -> bool:
        committed.append(number)
        return True

    asyncio.run(run_in_order(ask, commit, opened=lambda count: round_window(count, 5), limit=12))
    assert seen == {number: number // 5 * 5 for number in range(12)}
