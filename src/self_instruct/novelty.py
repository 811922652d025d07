"""Novelty of an instruction: exact ROUGE-L F1 with every instruction in the pool.

Knows nothing of runs or rules. Scores equal google's `rouge_score` without stemmer to the last bit: its tokens,
its arithmetic, in its order of operations. The loops over a large pool are numba's (`novelty_kernel`); a small one, or
a machine without numba, is served by numpy with the same results to the last bit.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from self_instruct import novelty_kernel as kernel
from self_instruct.novelty_kernel import LONG, WORD
from self_instruct.novelty_postings import MOST_PLACES, Postings, compiled_loop, longer, numba_available
from self_instruct.records import Neighbour

COMPILED_FROM = 2_000  # entries; numpy needs some 0.3 ms there, and compiling takes seconds
COLUMN_SHARE = 0.15  # of the entries: a token in more of them has a column
SORTED_FROM = 64  # neighbours; more are sorted by numpy, not inserted one by one
_SEPARATORS = bytes(byte if chr(byte).isdigit() or 97 <= byte <= 122 else 32 for byte in range(128)).ljust(256)
_ONE, _ONES = kernel.ONE, kernel.ONES


def tokenize(text: str) -> list[str]:
    """`rouge_score`'s tokens: lower-case, everything outside a-z0-9 separates."""
    return text.lower().encode("ascii", "replace").translate(_SEPARATORS).decode("ascii").split()


def f_measure(lcs: int, length: int, other: int) -> float:
    """ROUGE-L F1 from the LCS and the two lengths in tokens; 0 where one is empty.

    As 2PR/(P+R) in floats, not 2·LCS/(m+n): the two differ in the last bit, which decides at F = 7/10.
    """
    if lcs == 0:
        return 0.0
    precision, recall = lcs / length, lcs / other
    return 2 * precision * recall / (precision + recall)


@dataclass(frozen=True, kw_only=True, slots=True)
class Similarity:
    """The entries nearest to a text, best first, and the mean of its scores with all entries (0 for an empty pool)."""

    neighbours: tuple[Neighbour, ...]
    mean: float


class NoveltyIndex:
    """An append-only pool of texts that answers which of them a text is nearest to."""

    def __init__(self) -> None:
        self._ids: list[str] = []
        self._vocabulary: dict[str, int] = {}
        self._base = np.zeros(0, np.uint16)  # of each entry: its key without the LCS
        self._short = Postings(np.uint32)  # places are entries
        self._long = Postings(np.uint64)  # places are words
        self._long_lengths = np.zeros(0, np.int64)  # tokens of each long entry
        self._long_first = np.zeros(1, np.int64)  # its first word; one more at the end
        self._long_ends = np.zeros(0, np.uint8)  # of each word: 1 for the last of an entry
        self._longs = 0

    def __len__(self) -> int:
        return len(self._ids)

    def add(self, id: str, text: str) -> None:
        """Append one pool entry. Ids are the caller's and aren't checked."""
        vocabulary = self._vocabulary
        tokens = np.array([vocabulary.setdefault(token, len(vocabulary)) for token in tokenize(text)], np.int32)
        entry = len(self._ids)
        assert entry < MOST_PLACES
        compiled = self._runscompiled_loop()
        if entry == len(self._base):
            room = max(256, entry * 5 // 4)
            self._base = longer(self._base, room)
            self._short.widen(entry, room, least=self._least(entry))
        if len(tokens) < WORD:
            self._base[entry] = WORD * len(tokens)
            self._short.note(entry, tokens, len(vocabulary), compiled=compiled)
        else:
            self._base[entry] = LONG
            self._add_long(tokens, compiled=compiled)
        self._ids.append(id)

    def extend(self, entries: Iterable[tuple[str, str]]) -> None:
        """Append (id, text) pairs in order."""
        for id, text in entries:
            self.add(id, text)

    def nearest(self, text: str, count: int = 10) -> tuple[Neighbour, ...]:
        """The `count` most similar entries, best first; equal scores keep the older entry first."""
        return self.similarity(text, count).neighbours

    def similarity(self, text: str, count: int = 10) -> Similarity:
        """The `count` most similar entries, as `nearest` gives them, and the mean score over the pool."""
        entries = len(self._ids)
        if entries == 0:
            return Similarity(neighbours=(), mean=0.0)
        known = self._vocabulary.get
        tokens = np.array([known(word, -1) for word in tokenize(text)], np.int32)
        look = self._by_kernel if self._runscompiled_loop() and 0 < count <= SORTED_FROM else self._by_numpy
        best, scores, total = look(tokens, min(count, entries))
        ids = self._ids
        return Similarity(
            neighbours=tuple([Neighbour(id=ids[entry], score=score) for entry, score in zip(best, scores, strict=True)]),
            mean=total / entries,
        )

    def _by_kernel(self, tokens: Any, count: int) -> tuple[list[int], list[float], float]:
        short, long = self._short, self._long
        long_scores = np.empty(self._longs)
        if self._longs:
            compiled_loop("long_scores")(
                tokens, long.start, long.held, long.posts, long.column, long.columns, self._long_first, self._long_lengths,
                self._long_ends, long_scores,
            )  # fmt: skip
        best, scores = np.empty(count, np.int64), np.empty(count)
        total = compiled_loop("nearest")(
            tokens, len(self._ids), self._base, short.start, short.held, short.posts, short.column, short.columns, long_scores,
            _table(len(tokens)), best, scores,
        )  # fmt: skip
        return best.tolist(), scores.tolist(), total

    def _by_numpy(self, tokens: Any, count: int) -> tuple[list[int], list[float], float]:
        entries = len(self._ids)
        base = self._base[:entries]
        v = np.full(entries, _ONES)
        for token in tokens.tolist():
            posts = self._short.of(token)
            while len(posts):  # each round takes the last position that a place has left
                last = np.append(True, posts[1:] // WORD != posts[:-1] // WORD)
                _step(v, posts[last] // WORD, _bits(posts[last]))
                posts = posts[~last]
            if (column := self._short.masks(token, entries)) is not None:
                _step(v, slice(None), column)
        keys = base + np.bitwise_count(~v)
        table = _table(len(tokens))
        scores = table[keys]
        counts = np.bincount(keys, minlength=LONG + 1)[:LONG]
        scores[base == LONG] = long_scores = self._long_by_integer(tokens.tolist())
        best = np.argsort(-scores, kind="stable")[:count]
        # One by one and in this order, as the kernel adds them.
        total = np.cumsum(np.concatenate([counts * table[:LONG], long_scores]))[-1]
        return best.tolist(), scores[best].tolist(), float(total)

    def _long_by_integer(self, tokens: list[int]) -> Any:
        """Scores with the long entries: all their words in one Python integer, a free bit above each entry for its carry."""
        if not self._longs:
            return np.zeros(0)
        first = self._long_first[: self._longs + 1]
        free = np.zeros(first[-1], np.uint64)
        free[first[1:] - 1] = _ONE << np.uint64(WORD - 1)
        v = ones = _integer(~free)
        for token in tokens:
            masks = np.zeros(first[-1], np.uint64)
            posts = self._long.of(token)
            np.bitwise_or.at(masks, posts // WORD, _bits(posts))
            if (column := self._long.masks(token, len(masks))) is not None:
                masks |= column
            u = v & _integer(masks)
            v = ((v + u) | (v - u)) & ones
        zeros = np.bitwise_count(np.frombuffer((ones & ~v).to_bytes(8 * len(free), "little"), np.uint64))
        found = np.add.reduceat(zeros, first[:-1], dtype=np.int64).tolist()
        lengths = self._long_lengths[: self._longs].tolist()
        return np.array([f_measure(lcs, len(tokens), length) for lcs, length in zip(found, lengths, strict=True)])

    def _add_long(self, tokens: Any, *, compiled: bool) -> None:
        place, longs = int(self._long_first[self._longs]), self._longs + 1
        end = place + len(tokens) // WORD + 1  # the last word keeps a free bit
        assert end <= MOST_PLACES
        if longs == len(self._long_first):
            self._long_first, self._long_lengths = longer(self._long_first, 2 * longs), longer(self._long_lengths, 2 * longs)
        if end > len(self._long_ends):
            room = max(256, end * 5 // 4)
            self._long_ends = longer(self._long_ends, room)
            self._long.widen(place, room, least=self._least(place))
        self._long_first[longs], self._long_lengths[longs - 1], self._long_ends[end - 1] = end, len(tokens), 1
        self._longs = longs
        self._long.note(place, tokens, len(self._vocabulary), compiled=compiled)

    def _least(self, places: int) -> float:
        """The postings from which a token has a column."""
        return COLUMN_SHARE * places if len(self._ids) >= COMPILED_FROM else np.inf

    def _runscompiled_loop(self) -> bool:
        return len(self._ids) >= COMPILED_FROM and numba_available()


@lru_cache(maxsize=128)
def _table(length: int) -> Any:
    """By an entry's key: its score with a candidate of `length` tokens; 2 for a long one."""
    other, lcs = np.mgrid[:WORD, :WORD]
    with np.errstate(divide="ignore", invalid="ignore"):
        precision, recall = lcs / length, lcs / other  # numpy's arithmetic is Python's
        table = 2 * precision * recall / (precision + recall)
    table[(lcs == 0) | (lcs > other) | (lcs > length)] = 0.0
    return np.append(table, 2.0)


def _step(v: Any, places: Any, masks: Any) -> None:
    """Hyyrö's step in each of the places."""
    old = v[places]
    u = old & masks
    v[places] = (old + u) | (old - u)


def _bits(posts: Any) -> Any:
    return _ONE << (posts % WORD).astype(np.uint64)


def _integer(words: Any) -> int:
    return int.from_bytes(words.tobytes(), "little")
