"""The storage of the novelty index: where each token occurs in the pool.

Knows no texts or ids: tokens, entries and places are numbers. Also finds the kernel's loops in their compiled form.
"""

from __future__ import annotations

import importlib
import logging
from functools import cache
from typing import Any

import numpy as np

from self_instruct import novelty_kernel as kernel
from self_instruct.novelty_kernel import WORD

log = logging.getLogger("self_instruct")
MOST_PLACES = 2**26  # entries, or words of long ones: a posting has 32 bits, 6 of them the position


class Postings:
    """Where each token occurs: postings place * 64 + position, text by text from its end, and columns for frequent tokens.

    A column holds a mask of the token's positions in each place, in as many bits as `dtype` has; the token then has no postings.
    """

    def __init__(self, dtype: type[np.unsignedinteger[Any]]) -> None:
        self.column = np.zeros(0, np.int32)  # of each token, -1: none
        self.columns = np.zeros((0, 0), dtype)  # (columns, places)
        self.start = np.zeros(0, np.int64)  # of each token's postings
        self.held = np.zeros(0, np.int32)
        self.room = np.zeros(0, np.int32)
        self.posts = np.zeros(0, np.uint32)
        self.used = 0

    def note(self, place: int, tokens: Any, vocabulary: int, *, compiled: bool) -> None:
        """Append a text's tokens, numbers below `vocabulary`, at a place above all earlier ones."""
        if vocabulary > len(self.start):
            size = max(1024, vocabulary * 3 // 2)
            self.column = longer(self.column, size, -1)
            self.start, self.held, self.room = (longer(each, size) for each in (self.start, self.held, self.room))
        assert place < MOST_PLACES
        append = compiled_loop("append") if compiled else kernel.append
        left = len(tokens)
        while left:
            self.used, left = append(
                place, tokens[:left], self.start, self.held, self.room, self.posts, self.used, self.column, self.columns
            )
            if left:
                self._make_room()

    def of(self, token: int) -> Any:
        """A token's postings, none for one that is unknown here."""
        if not 0 <= token < len(self.start):
            return self.posts[:0]
        return self.posts[self.start[token] : self.start[token] + self.held[token]]

    def masks(self, token: int, places: int) -> Any:
        """A token's column for the first `places`, None where it has none."""
        if not 0 <= token < len(self.column) or self.column[token] < 0:
            return None
        return self.columns[self.column[token], :places].astype(np.uint64)

    def widen(self, places: int, room: int, *, least: float) -> None:
        """Make the columns `room` places long, and give one to each token with more than `least` postings."""
        frequent = np.flatnonzero((self.held > least) & (self.column < 0))
        old = len(self.columns)
        columns = np.zeros((old + len(frequent), room), self.columns.dtype)
        columns[:old, :places] = self.columns[:, :places]
        for number, token in enumerate(frequent, start=old):
            posts = self.of(token)
            np.bitwise_or.at(columns[number], posts // WORD, columns.dtype.type(1) << (posts % WORD).astype(columns.dtype))
            self.column[token], self.held[token] = number, 0
        self.columns = columns

    def _make_room(self) -> None:
        """Close the gaps that moved postings left, and make room for a third more."""
        room = np.where(self.held > 0, self.held + self.held // 4 + 1, 0).astype(np.int32)
        start = np.cumsum(room, dtype=np.int64) - room
        used = int(room.sum())
        posts = np.zeros(used * 4 // 3 + 4096, np.uint32)
        counts = self.held[self.held > 0]
        offset = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        posts[np.repeat(start[self.held > 0], counts) + offset] = self.posts[np.repeat(self.start[self.held > 0], counts) + offset]
        self.posts, self.start, self.room, self.used = posts, start, room, used


class Bank:
    """The entries of one width: their words have the type `dtype`, and no more tokens than its bits."""

    def __init__(self, dtype: type[np.unsignedinteger[Any]]) -> None:
        self.postings = Postings(dtype)
        self.entries = np.zeros(0, np.int32)  # of each place: the entry
        self.base = np.zeros(0, np.uint16)  # its key without the LCS
        self.places = 0

    def add(self, entry: int, tokens: Any, vocabulary: int, *, share: float, compiled: bool) -> None:
        """Append an entry. When the arrays grow, tokens in more than a `share` of the places get a column."""
        if self.places == len(self.base):
            room = max(256, self.places * 5 // 4)
            self.entries, self.base = longer(self.entries, room), longer(self.base, room)
            self.postings.widen(self.places, room, least=share * self.places)
        self.entries[self.places], self.base[self.places] = entry, WORD * len(tokens)
        self.postings.note(self.places, tokens, vocabulary, compiled=compiled)
        self.places += 1


class LongBank:
    """The entries of 64 tokens and more, each in several words of 64 bits, the highest bit of the last one free."""

    def __init__(self) -> None:
        self.postings = Postings(np.uint64)  # places are words
        self.entries = np.zeros(0, np.int32)
        self.lengths = np.zeros(0, np.int64)  # in tokens
        self.first = np.zeros(1, np.int64)  # each entry's first word, and one more at the end
        self.ends = np.zeros(0, np.uint8)  # of each word: 1 for the last of an entry
        self.size = 0

    def add(self, entry: int, tokens: Any, vocabulary: int, *, share: float, compiled: bool) -> None:
        """As `Bank.add`."""
        word = int(self.first[self.size])
        end = word + len(tokens) // WORD + 1
        if self.size == len(self.entries):
            room = max(16, self.size * 5 // 4)
            self.entries, self.lengths, self.first = (
                longer(self.entries, room),
                longer(self.lengths, room),
                longer(self.first, room + 1),
            )
        if end > len(self.ends):
            room = max(256, end * 5 // 4)
            self.ends = longer(self.ends, room)
            self.postings.widen(word, room, least=share * word)
        self.entries[self.size], self.lengths[self.size] = entry, len(tokens)
        self.first[self.size + 1], self.ends[end - 1] = end, 1
        self.postings.note(word, tokens, vocabulary, compiled=compiled)
        self.size += 1


@cache
def numba_available() -> bool:
    """Whether numba is there and works with this numpy."""
    try:
        importlib.import_module("numba")
    except ImportError as error:
        log.warning("numba can't be imported (%s): novelty is computed by numpy, slower and with the same results", error)
        return False
    return True


@cache
def compiled_loop(name: str) -> Any:
    """A loop of the kernel, compiled once in seconds, later read from numba's cache on disk."""
    import numba

    loop = getattr(kernel, name)
    try:
        return numba.njit(cache=True)(loop)
    except RuntimeError:  # no folder to keep it in
        return numba.njit(loop)


def longer(array: Any, room: int, fill: int = 0) -> Any:
    longer = np.full(room, fill, array.dtype)
    longer[: len(array)] = array
    return longer
