"""Novelty of an instruction: exact ROUGE-L F1 with every instruction in the pool.

Knows nothing of runs or rules. Scores equal google's `rouge_score` without stemmer to the last bit: its tokens,
its arithmetic, in its order of operations.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from self_instruct.records import Neighbour

_TOKEN = re.compile(r"[a-z0-9]+")


def tokenize(text: str) -> list[str]:
    """`rouge_score`'s tokens: lower-case, everything outside a-z0-9 separates."""
    return _TOKEN.findall(text.lower())


def f_measure(lcs: int, length: int, other: int) -> float:
    """ROUGE-L F1 from the LCS and the two lengths in tokens; 0 where one is empty.

    As 2PR/(P+R) in floats, not 2·LCS/(m+n): the two differ in the last bit, which decides at F = 7/10.
    """
    if lcs == 0:
        return 0.0
    precision, recall = lcs / length, lcs / other
    return 2 * precision * recall / (precision + recall)


class NoveltyIndex:
    """The pool's tokens as bit masks: Hyyrö's bit-parallel LCS with a Python integer for each entry."""

    def __init__(self) -> None:
        self._ids: list[str] = []
        self._lengths: list[int] = []
        self._masks: list[dict[str, int]] = []

    def __len__(self) -> int:
        return len(self._ids)

    def add(self, id: str, text: str) -> None:
        """Append one pool entry. Ids are the caller's and aren't checked."""
        tokens = tokenize(text)
        masks: dict[str, int] = {}
        for position, token in enumerate(tokens):
            masks[token] = masks.get(token, 0) | 1 << position
        self._ids.append(id)
        self._lengths.append(len(tokens))
        self._masks.append(masks)

    def extend(self, entries: Iterable[tuple[str, str]]) -> None:
        """Append (id, text) pairs in order."""
        for id, text in entries:
            self.add(id, text)

    def nearest(self, text: str, count: int = 10) -> tuple[Neighbour, ...]:
        """The `count` most similar entries, best first; equal scores keep the older entry first."""
        tokens = tokenize(text)
        scores = [
            f_measure(_lcs(tokens, masks, length), len(tokens), length)
            for masks, length in zip(self._masks, self._lengths, strict=True)
        ]
        best = sorted(range(len(scores)), key=lambda entry: (-scores[entry], entry))[:count]
        return tuple(Neighbour(id=self._ids[entry], score=scores[entry]) for entry in best)


def _lcs(tokens: list[str], masks: dict[str, int], length: int) -> int:
    """Length of the longest common subsequence: the zeros that V has left of its `length` ones."""
    ones = (1 << length) - 1
    v = ones
    for token in tokens:
        mask = masks.get(token)
        if mask is not None:
            u = v & mask
            v = (v + u) | (v - u)
    return length - (v & ones).bit_count()
