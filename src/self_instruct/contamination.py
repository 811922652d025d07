"""Overlap of a text with evaluation tasks: what a model is measured on must not be among what it is trained on.

Knows nothing of runs. Two texts overlap where 13 words in a row are the same in both (Brown et al. 2020, appendix C), or where
their ROUGE-L F1 is at least 0.7, the measure and the threshold of novelty (Wang et al. 2022, section 2.2).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b

import numpy as np

from self_instruct.novelty import SORTED_FROM, NoveltyIndex, tokenize
from self_instruct.records import EvalItem

WORDS = 13
ROUGE_L = 0.7
_LAST_BITS = 1e-9  # an F1 of exactly 7/10 may come out a little lower in floats; the next lower F1 lies much further away


@dataclass(frozen=True, kw_only=True, slots=True)
class Measured:
    """All that a text has in common with evaluation tasks, each way by itself.

    `rouge_l`: the highest F1 with one of their texts, 0 to 1. `items`: the ids of the items that it overlaps in any of the ways;
    `detail` says which part of the first and how, empty where there is none.
    """

    by_equal: bool
    by_thirteen_words: bool
    by_rouge_l: bool
    rouge_l: float
    items: tuple[str, ...]
    detail: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Overlap:
    """The evaluation item that a text overlaps, and in words which part of it and how much."""

    item_id: str
    detail: str


class Contamination:
    """The instructions and inputs of evaluation tasks, to be compared with any text.

    Words are the tokens of `novelty.tokenize`. Texts in scripts that it doesn't see overlap only where they are equal.
    """

    def __init__(self, items: Iterable[EvalItem] = ()) -> None:
        self._names: list[tuple[str, str]] = []  # of each text: its first item and part
        self._items: list[list[str]] = []  # of each text: all its items
        self._equal: dict[str, int] = {}
        self._runs: dict[bytes, int] = {}  # a hash of each run of 13 words: the first text with it
        self._more: dict[bytes, list[int]] = {}  # the other texts with it
        self._index = NoveltyIndex()
        postings: dict[str, list[int]] = {}
        lengths: list[int] = []
        for item in items:
            for part, text in (("instruction", item.instruction), ("input", item.input)):
                plain, number = _plain(text), len(self._names)
                if not plain:
                    continue
                if plain in self._equal:
                    self._items[self._equal[plain]].append(item.id)
                    continue
                words = tokenize(text)
                self._names.append((item.id, part))
                self._items.append([item.id])
                lengths.append(len(words))
                self._equal[plain] = number
                self._index.add(str(number), text)
                for run in _runs(words):
                    if self._runs.setdefault(run, number) != number:
                        self._more.setdefault(run, []).append(number)
                for word in set(words):
                    postings.setdefault(word, []).append(number)
        self._postings = {word: np.array(numbers, np.int32) for word, numbers in postings.items()}
        self._lengths, self._longest = np.array(lengths, np.int32), max(lengths, default=0)

    def find(self, text: str) -> Overlap | None:
        """An overlap of `text`, none where there is none: an equal text, else 13 words in a row, else the nearest by ROUGE-L."""
        number = self._equal.get(_plain(text))
        if number is not None:
            return self._overlap(number, "equal")
        words = tokenize(text)
        for run in _runs(words):
            if run in self._runs:
                return self._overlap(self._runs[run], f"{WORDS} words in a row")
        if self._may_be_near(words):
            nearest = self._index.nearest(text, 1)[0]
            if nearest.score >= ROUGE_L - _LAST_BITS:
                return self._overlap(int(nearest.id), f"ROUGE-L {nearest.score:.4f}")
        return None

    def measure(self, text: str) -> Measured:
        """All overlaps of `text`, where `find` stops at the first. A full stop that `text` ends with doesn't make it unequal."""
        plain, words = _plain(text), tokenize(text)
        equal = [self._equal[one] for one in {plain, plain.removesuffix(".")} if one in self._equal]
        shared = [number for run in _runs(words) for number in self._with(run)]
        nearest = self._index.nearest(text, SORTED_FROM)  # exact at about the price of `_may_be_near`
        near = [int(one.id) for one in nearest if one.score >= ROUGE_L - _LAST_BITS]
        if len(near) == SORTED_FROM:  # there may be more
            near += np.flatnonzero(self._index.scores(text) >= ROUGE_L - _LAST_BITS).tolist()
        numbers = dict.fromkeys([*sorted(equal), *shared, *near])
        highest = nearest[0].score if nearest else 0.0
        how = "equal" if equal else f"{WORDS} words in a row" if shared else f"ROUGE-L {highest:.4f}"
        return Measured(
            by_equal=bool(equal),
            by_thirteen_words=bool(shared),
            by_rouge_l=bool(near),
            rouge_l=highest,
            items=tuple(dict.fromkeys(item for number in numbers for item in self._items[number])),
            detail=f"{self._names[next(iter(numbers))][1]}: {how}" if numbers else "",
        )

    def _with(self, run: bytes) -> Sequence[int]:
        """The texts that have a run of 13 words."""
        first = self._runs.get(run)
        return () if first is None else (first, *self._more.get(run, ()))

    def _overlap(self, number: int, what: str) -> Overlap:
        item_id, part = self._names[number]
        return Overlap(item_id=item_id, detail=f"{item_id}, {part}: {what}")

    def _may_be_near(self, words: Sequence[str]) -> bool:
        """Whether some text has enough of the words for F1 = 2·LCS/(m+n) >= 0.7. Hardly any candidate needs its LCS computed."""
        if 7 * len(words) > 13 * self._longest:  # F1 >= 0.7 with n words asks for n >= 7/13·m
            return False
        found = [self._postings[word] for word in words if word in self._postings]
        if not found:
            return False
        shared = np.bincount(np.concatenate(found), minlength=len(self._lengths))  # at least the LCS
        return bool((20 * shared >= 7 * (self._lengths + len(words))).any())


def _plain(text: str) -> str:
    """A text without the differences of case and white space."""
    return " ".join(text.lower().split())


def _runs(words: Sequence[str]) -> Iterator[bytes]:
    """A hash of each 13 words in a row, of 8 bytes: among millions of runs two hardly ever collide."""
    for start in range(len(words) - WORDS + 1):
        yield blake2b(" ".join(words[start : start + WORDS]).encode("ascii"), digest_size=8).digest()
