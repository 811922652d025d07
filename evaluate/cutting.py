"""Prompts that are too long: how many tokens one has, and how much of a text can stay.

Knows neither forms of prompts nor evaluation sets.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

SPECIAL = 8  # tokens that a tokenizer may add around a text


class Tokens:
    """A `transformers` tokenizer that is made only when a text may be too long."""

    def __init__(self, make: Callable[[], Any]) -> None:
        self._make = make
        self._made: Any = None
        self._last: tuple[str, list[int]] = "", []  # whoever finds a text too long asks for its tokens again

    def ids(self, text: str) -> list[int]:
        """The ids of a text, special tokens included, as an engine serves it."""
        if text != self._last[0] or not text:
            self._last = text, list(self._tokenizer()(text).input_ids)
        return self._last[1]

    def count(self, text: str) -> int:
        """Tokens of a text, special ones included."""
        return len(self.ids(text))

    def decode(self, ids: list[int]) -> str:
        """The text of ids without special tokens."""
        return str(self._tokenizer().decode(ids, skip_special_tokens=True))

    def fits(self, text: str, limit: int) -> bool:
        """Whether a text has at most `limit` tokens. Short ones aren't tokenised: a token holds a byte at least."""
        return len(text.encode("utf-8", "replace")) + SPECIAL <= limit or self.count(text) <= limit

    def _tokenizer(self) -> Any:
        if self._made is None:
            self._made = self._make()
        return self._made


def longest_prefix(length: int, count: Callable[[int], int], limit: int) -> int | None:
    """How many of a text's `length` characters can stay: `count(kept)` tokens are at most `limit`, with one more they aren't.

    `count(length)` must be above `limit`. Returns None where even `count(0)` is. Tokens grow about evenly with the
    characters, so each try is where a straight line says; every third halves what is left, whatever the text is like.
    """
    low, high = 0, length
    most, fewest = count(length), count(0)
    assert most > limit
    if fewest > limit:
        return None
    tries = 0
    while high - low > 1:
        tries += 1
        if tries % 3:
            place = low + (limit - fewest) * (high - low) // (most - fewest)
            place = min(max(place, low + 1), high - 1)
        else:
            place = (low + high) // 2
        tokens = count(place)
        if tokens <= limit:
            low, fewest = place, tokens
        else:
            high, most = place, tokens
    return low
