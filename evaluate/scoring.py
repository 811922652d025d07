"""Scores of answers against references: ROUGE-L F1 and exact match.

Knows neither engines nor files. ROUGE-L is google's `rouge_score` with the stemmer on, on raw strings (the SuperNI
reference evaluation), equal to the last bit; exact match is that evaluation's `normalize_answer`.
"""

from __future__ import annotations

import functools
import string
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from self_instruct.novelty import f_measure, tokenize
from self_instruct.records import EvalItem

STEMMED_FROM = 4  # rouge_score leaves shorter words as they are
# The endings that each step of Porter's stemmer, as NLTK has it, looks for. It does nothing to any other word, slowly.
ENDINGS: dict[str, tuple[str, ...]] = {
    "_step1a": ("s",),
    "_step1b": ("ed", "ing"),
    "_step1c": ("y",),
    "_step2": ("i", "al", "izer", "ation", "ator", "alism", "ness"),
    "_step3": ("ate", "ative", "alize", "iti", "ical", "ful", "ness"),
    "_step4": ("al", "ce", "er", "ic", "ble", "ant", "ent", "ion", "ou", "ism", "ate", "iti", "ous", "ive", "ize"),
    "_step5a": ("e",),
    "_step5b": ("ll",),
}
_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)


@dataclass(frozen=True, slots=True, eq=False)
class Scored:
    """One model's scores in the items' order: `rouge_l` 0 to 1, `exact` whether a reference is matched exactly."""

    rouge_l: npt.NDArray[np.float64]  # (items,)
    exact: npt.NDArray[np.bool_]  # (items,)


@functools.cache
def _stemmer() -> Callable[[str], str]:
    from nltk.stem.porter import PorterStemmer  # takes a second to import; comes with rouge-score

    made = PorterStemmer()
    for name, endings in ENDINGS.items():
        setattr(made, name, _guarded(getattr(made, name), endings))
    stem: Callable[[str], str] = made.stem
    return stem


def _guarded(step: Callable[[str], str], endings: tuple[str, ...]) -> Callable[[str], str]:
    return lambda word: step(word) if word.endswith(endings) else word


class _Stems(dict[str, str]):
    """Words to their stems, each computed once."""

    def __missing__(self, word: str) -> str:
        found = self[word] = _stemmer()(word) if len(word) >= STEMMED_FROM else word
        return found


_stem = _Stems().__getitem__


def tokens(text: str) -> list[str]:
    """`rouge_score`'s tokens: lower-case, everything outside a-z0-9 separates, Porter's stems."""
    return list(map(_stem, tokenize(text)))


def _places(sequence: Sequence[str]) -> dict[str, int]:
    """For each token where `sequence` has it, one bit a place."""
    found: dict[str, int] = {}
    bit = 1
    for token in sequence:
        found[token] = found.get(token, 0) | bit
        bit <<= 1
    return found


def _longest(places: Mapping[str, int], length: int, other: Iterable[str]) -> int:
    """Longest common subsequence of `other` and the sequence of `length` tokens with these places, which has all of its tokens.

    Bit-parallel (Hyyrö 2004): a bit of `row` falls where a common subsequence grows.
    """
    row = full = (1 << length) - 1
    for token in other:
        matches = row & places[token]
        row = ((row + matches) | (row - matches)) & full
    return length - row.bit_count()


def rouge_l(answer: str, reference: str) -> float:
    """ROUGE-L F1, 0 to 1, with `rouge_score`'s own arithmetic. A text without a-z0-9 scores 0, even against itself."""
    return _Reference(reference).better(tokens(answer), 0.0)


def plain(text: str) -> str:
    """What exact match compares: lower-case, ASCII punctuation removed, white space squeezed, articles kept."""
    return " ".join(text.lower().translate(_NO_PUNCTUATION).split())


class _Reference:
    """A reference, made ready once for the answers of all models."""

    def __init__(self, text: str) -> None:
        words = tokenize(text)
        self._text = text
        self._letters = "".join(words)
        self._tokens = list(map(_stem, words))
        self._known = frozenset(self._tokens)
        self._places: dict[str, int] | None = None

    def better(self, tokens: list[str], least: float) -> float:
        """The answer's ROUGE-L with this reference if it is above `least`, else `least`."""
        length = len(self._tokens)
        if length == 1:  # a label
            common = int(self._tokens[0] in tokens)
        else:
            shared = list(filter(self._known.__contains__, tokens))  # others are in no common subsequence
            common = min(len(shared), length)
            if common > 1 and shared != self._tokens:
                if f_measure(common, len(tokens), length) <= least:  # it can't be more
                    return least
                if self._places is None:
                    self._places = _places(self._tokens)
                common = _longest(self._places, length, shared)
        return max(least, f_measure(common, len(tokens), length))

    def equals(self, answer: str, letters: str) -> bool:
        """Exact match; `letters` are the answer's a-z0-9 in a row, which differ far more often than not."""
        return letters == self._letters and plain(answer) == plain(self._text)


def _best(references: Sequence[_Reference], answer: str) -> tuple[float, bool]:
    """Both scores of an answer, each the best over the references; 0 and False where there is none."""
    words = tokenize(answer)
    letters = "".join(words)
    stemmed = list(map(_stem, words))
    rouge = 0.0
    for one in references:
        if rouge == 1:
            break
        rouge = one.better(stemmed, rouge)
    return rouge, any(one.equals(answer, letters) for one in references)


def score_items(items: Sequence[EvalItem], texts: Mapping[str, Sequence[str]]) -> dict[str, Scored]:
    """Score every model's answers, `texts` by model in the items' order. An item without references scores 0 and False.

    References are tokenised once for all models, and equal answers to equal references are scored once.
    """
    assert all(len(answers) == len(items) for answers in texts.values()), "answers to other items"
    scored = {
        model: Scored(rouge_l=np.zeros(len(items), dtype=np.float64), exact=np.zeros(len(items), dtype=np.bool_)) for model in texts
    }
    columns = [(answers, scored[model].rouge_l, scored[model].exact) for model, answers in texts.items()]
    places: dict[tuple[str, ...], list[int]] = {}
    for place, item in enumerate(items):
        places.setdefault(item.references, []).append(place)
    for given, of_them in places.items():
        references = [_Reference(text) for text in dict.fromkeys(given)]
        known: dict[str, tuple[float, bool]] = {}
        for place in of_them:
            for answers, rouge, exact in columns:
                answer = answers[place]
                if answer not in known:
                    known[answer] = _best(references, answer)
                rouge[place], exact[place] = known[answer]
    return scored
