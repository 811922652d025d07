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
from self_instruct.novelty_kernel import WORD
from self_instruct.novelty_postings import Bank, LongBank, compiled_loop, numba_available
from self_instruct.records import Neighbour

COMPILED_FROM = 500  # entries; fewer are quick by numpy, and compiling takes seconds
COLUMN_SHARE = 0.15  # of the entries: a token in more of them has a column
SORTED_FROM = 64  # neighbours; more are sorted by numpy, not inserted one by one
_SEPARATORS = bytes(byte if chr(byte).isdigit() or 97 <= byte <= 122 else 32 for byte in range(128)).ljust(256)


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
        # By length: shorter words, more of them in a vector register and less to read.
        self._banks = (Bank(np.uint16), Bank(np.uint32), Bank(np.uint64))
        self._long = LongBank()

    def __len__(self) -> int:
        return len(self._ids)

    def add(self, id: str, text: str) -> None:
        """Append one pool entry. Ids are the caller's and aren't checked."""
        vocabulary = self._vocabulary
        tokens = np.array([vocabulary.setdefault(token, len(vocabulary)) for token in tokenize(text)], np.int32)
        short, middle, wide = self._banks
        bank = short if len(tokens) <= 16 else middle if len(tokens) <= 32 else wide if len(tokens) < WORD else self._long
        large = len(self._ids) >= COMPILED_FROM
        bank.add(
            len(self._ids), tokens, len(vocabulary), share=COLUMN_SHARE if large else np.inf, compiled=large and numba_available()
        )
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
        compiled = entries >= COMPILED_FROM and 0 < count <= SORTED_FROM and numba_available()
        look = self._by_kernel if compiled else self._by_numpy
        best, scores, total = look(tokens, min(count, entries))
        ids = self._ids
        return Similarity(
            neighbours=tuple([Neighbour(id=ids[entry], score=score) for entry, score in zip(best, scores, strict=True)]),
            mean=total / entries,
        )

    def _by_kernel(self, tokens: Any, count: int) -> tuple[list[int], list[float], float]:
        best, scores = np.zeros(count, np.int32), np.full(count, -1.0)
        table, total = _table(len(tokens)), 0.0
        for bank in self._banks:
            if bank.places:
                where = bank.postings
                total = compiled_loop("nearest")(
                    tokens, bank.places, bank.entries, bank.base, where.start, where.held, where.posts, where.column,
                    where.columns, table, best, scores, total,
                )  # fmt: skip
        if self._long.size:
            long, where = self._long, self._long.postings
            total = compiled_loop("nearest_long")(
                tokens, long.size, long.entries, long.first, long.lengths, long.ends, where.start, where.held, where.posts,
                where.column, where.columns, best, scores, total,
            )  # fmt: skip
        return best.tolist(), scores.tolist(), total

    def scores(self, text: str) -> Any:
        """The score of a text with each entry in the order they were added, float64 (entries,); by numpy, whatever their number."""
        known = self._vocabulary.get
        return self._every(np.array([known(word, -1) for word in tokenize(text)], np.int32))[0]

    def _by_numpy(self, tokens: Any, count: int) -> tuple[list[int], list[float], float]:
        scores, total = self._every(tokens)
        best = np.argsort(-scores, kind="stable")[:count]
        return best.tolist(), scores[best].tolist(), total

    def _every(self, tokens: Any) -> tuple[Any, float]:
        """Each entry's score, and their sum."""
        table = _table(len(tokens))
        counts = np.zeros(len(table), np.int64)
        scores = np.zeros(len(self._ids))
        for bank in self._banks:
            keys = bank.base[: bank.places] + _lcs(bank, tokens)
            counts += np.bincount(keys, minlength=len(table))
            scores[bank.entries[: bank.places]] = table[keys]
        long_scores = _long_scores(self._long, tokens.tolist())
        scores[self._long.entries[: self._long.size]] = long_scores
        # One by one and in this order, as the kernel adds them.
        total = np.cumsum(np.concatenate([counts * table, long_scores]))[-1]
        return scores, float(total)


def _lcs(bank: Bank, tokens: Any) -> Any:
    """The LCS of a candidate's tokens (-1: unknown) with each entry of a bank."""
    v = np.full(bank.places, kernel.ONES)
    for token in tokens.tolist():
        posts = bank.postings.of(token)
        while len(posts):  # each round takes the last position that a place has left
            last = np.append(True, posts[1:] // WORD != posts[:-1] // WORD)
            _step(v, posts[last] // WORD, _bits(posts[last]))
            posts = posts[~last]
        if (masks := bank.postings.masks(token, bank.places)) is not None:
            _step(v, slice(None), masks)
    return np.bitwise_count(~v)


def _long_scores(bank: LongBank, tokens: list[int]) -> Any:
    """The scores with the long entries: all their words in one Python integer, a free bit above each entry for its carry."""
    if not bank.size:
        return np.zeros(0)
    first = bank.first[: bank.size + 1]
    free = np.zeros(first[-1], np.uint64)
    free[first[1:] - 1] = kernel.ONE << np.uint64(WORD - 1)
    v = ones = _integer(~free)
    for token in tokens:
        masks = bank.postings.masks(token, len(free))
        if masks is None:
            masks = np.zeros(len(free), np.uint64)
            posts = bank.postings.of(token)
            np.bitwise_or.at(masks, posts // WORD, _bits(posts))
        u = v & _integer(masks)
        v = ((v + u) | (v - u)) & ones
    zeros = np.bitwise_count(np.frombuffer((ones & ~v).to_bytes(8 * len(free), "little"), np.uint64))
    found = np.add.reduceat(zeros, first[:-1], dtype=np.int64).tolist()
    lengths = bank.lengths[: bank.size].tolist()
    return np.array([f_measure(lcs, len(tokens), length) for lcs, length in zip(found, lengths, strict=True)])


@lru_cache(maxsize=128)
def _table(length: int) -> Any:
    """By an entry's key: its score with a candidate of `length` tokens."""
    other, lcs = np.mgrid[:WORD, :WORD]
    with np.errstate(divide="ignore", invalid="ignore"):
        precision, recall = lcs / length, lcs / other  # numpy's arithmetic is Python's
        table = 2 * precision * recall / (precision + recall)
    table[(lcs == 0) | (lcs > other) | (lcs > length)] = 0.0
    return table.ravel()


def _step(v: Any, places: Any, masks: Any) -> None:
    """Hyyrö's step in each of the places."""
    old = v[places]
    u = old & masks
    v[places] = (old + u) | (old - u)


def _bits(posts: Any) -> Any:
    return kernel.ONE << (posts % WORD).astype(np.uint64)


def _integer(words: Any) -> int:
    return int.from_bytes(words.tobytes(), "little")
