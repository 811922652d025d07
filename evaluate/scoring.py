"""Scores of answers against references: ROUGE-L F1 and exact match, and their summary by model.

Knows neither engines nor files. ROUGE-L is google's `rouge_score` with the stemmer on, on raw strings (the
SuperNI reference evaluation); exact match is that evaluation's `normalize_answer`.
"""

from __future__ import annotations

import functools
import re
import string
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from self_instruct.records import EvalItem, Prediction, Score

STEMMED_FROM = 4  # rouge_score leaves shorter words as they are
_WORD = re.compile(r"[a-z0-9]+")
_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)


@dataclass(frozen=True, kw_only=True, slots=True)
class Summary:
    """One model on one set of items.

    `rouge_l` and `exact_match` are means times 100; `empty` and `hit_limit` are shares (0 to 1) of all items;
    `mean_words` is the mean length of an answer in words; `missing` counts items without a prediction, which
    are scored as empty.
    """

    model: str
    items: int
    rouge_l: float
    exact_match: float
    empty: float
    hit_limit: float
    mean_words: float
    missing: int


@functools.cache
def _stemmer() -> Callable[[str], str]:
    from nltk.stem.porter import PorterStemmer  # takes a second to import; comes with rouge-score

    stem: Callable[[str], str] = PorterStemmer().stem
    return stem


@functools.lru_cache(maxsize=2**18)
def _stem(word: str) -> str:
    return _stemmer()(word) if len(word) >= STEMMED_FROM else word


def tokens(text: str) -> list[str]:
    """`rouge_score`'s tokens: lower-case, everything outside a-z0-9 separates, Porter's stems."""
    return [_stem(word) for word in _WORD.findall(text.lower())]


def common_subsequence(first: Sequence[str], second: Sequence[str]) -> int:
    """Length of the longest common subsequence, bit-parallel (Hyyrö 2004): one bit a position of `first`."""
    where: dict[str, int] = {}
    for position, token in enumerate(first):
        where[token] = where.get(token, 0) | 1 << position
    full = (1 << len(first)) - 1
    row = full
    for token in second:
        matches = row & where.get(token, 0)
        row = ((row + matches) | (row - matches)) & full
    return len(first) - row.bit_count()


def rouge_l(answer: str, reference: str) -> float:
    """ROUGE-L F1, 0 to 1, with `rouge_score`'s own arithmetic. A text without a-z0-9 scores 0, even against itself."""
    ours, theirs = tokens(answer), tokens(reference)
    if not ours or not theirs:
        return 0.0
    common = common_subsequence(ours, theirs)
    precision, recall = common / len(ours), common / len(theirs)
    return 2 * precision * recall / (precision + recall) if common else 0.0


def plain(text: str) -> str:
    """What exact match compares: lower-case, ASCII punctuation removed, white space squeezed, articles kept."""
    return " ".join(text.lower().translate(_NO_PUNCTUATION).split())


def score(item: EvalItem, prediction: Prediction) -> Score:
    """Both scores of one answer, each the best over the item's references."""
    return Score(
        item_id=item.id,
        model=prediction.model,
        rouge_l=max((rouge_l(prediction.text, reference) for reference in item.references), default=0.0),
        exact_match=any(plain(prediction.text) == plain(reference) for reference in item.references),
    )


def score_all(items: Sequence[EvalItem], predictions: Iterable[Prediction], model: str) -> tuple[tuple[Score, ...], Summary]:
    """Score one model on every item, in the items' order. An item without a prediction is scored as an empty answer."""
    given = {prediction.item_id: prediction for prediction in predictions if prediction.model == model}
    answers = [
        given.get(item.id) or Prediction(item_id=item.id, model=model, text="", hit_limit=False, output_tokens=0) for item in items
    ]
    scores = tuple(score(item, answer) for item, answer in zip(items, answers, strict=True))
    count = len(items)
    assert count, "no items to score"
    return scores, Summary(
        model=model,
        items=count,
        rouge_l=100 * sum(s.rouge_l for s in scores) / count,
        exact_match=100 * sum(s.exact_match for s in scores) / count,
        empty=sum(not answer.text.strip() for answer in answers) / count,
        hit_limit=sum(answer.hit_limit for answer in answers) / count,
        mean_words=sum(len(answer.text.split()) for answer in answers) / count,
        missing=sum(item.id not in given for item in items),
    )
