"""Novelty of any texts against rouge_score, by numpy and by the compiled loops."""

from __future__ import annotations

import re
from unittest.mock import patch

from hypothesis import given, settings
from hypothesis import strategies as st
from rouge_score.rouge_scorer import RougeScorer

from self_instruct import novelty
from self_instruct.novelty import NoveltyIndex, Similarity, tokenize
from strategies import raw_texts

SCORER = RougeScorer(["rougeL"], use_stemmer=False)
WORDS = ["the", "cat", "sat", "on", "a", "mat", "7", "x1", "dog"]
worded = st.lists(st.sampled_from(WORDS), max_size=30).map(" ".join)
lengthy = st.builds(
    lambda words, times, rest: " ".join(words * times + rest),
    st.lists(st.sampled_from(WORDS), min_size=1, max_size=12),
    st.integers(min_value=1, max_value=14),
    st.lists(st.sampled_from(WORDS), max_size=5),
)
any_texts = worded | lengthy | raw_texts


def similarity(texts: list[str], probe: str, *, compiled_from: int) -> Similarity:
    """With columns from the first growth of a pool that is compiled from its first entry."""
    with patch.object(novelty, "COMPILED_FROM", compiled_from):
        index = NoveltyIndex()
        index.extend((str(number), text) for number, text in enumerate(texts))
        return index.similarity(probe)


@given(texts=st.lists(any_texts, min_size=1, max_size=8), probe=any_texts)
@settings(deadline=None)  # the first example compiles
def test_scores_equal_rouge_score_to_the_last_bit(texts: list[str], probe: str) -> None:
    scores = [float(SCORER.score(probe, text)["rougeL"].fmeasure) for text in texts]
    order = sorted(range(len(texts)), key=lambda entry: (-scores[entry], entry))
    by_numpy = similarity(texts, probe, compiled_from=10**9)
    assert [(one.id, one.score) for one in by_numpy.neighbours] == [(str(entry), scores[entry]) for entry in order]
    assert abs(by_numpy.mean - sum(scores) / len(scores)) < 1e-12
    assert similarity(texts, probe, compiled_from=0) == by_numpy


@given(texts=st.lists(any_texts, min_size=1, max_size=6), probe=any_texts)
@settings(deadline=None, max_examples=30)
def test_columns_change_nothing(texts: list[str], probe: str) -> None:
    """More entries than the first arrays hold, so that their frequent tokens get columns."""
    many = texts * (300 // len(texts) + 1)
    assert similarity(many, probe, compiled_from=0) == similarity(many, probe, compiled_from=10**9)


@given(text=raw_texts)
def test_tokens_equal_rouge_scores(text: str) -> None:
    assert tokenize(text) == re.findall("[a-z0-9]+", text.lower()) == SCORER._tokenizer.tokenize(text)
