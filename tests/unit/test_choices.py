"""Choices as tokens: the cases in which tokenizers differ, and probabilities that sum to one."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from self_instruct import choices


def words(text: str) -> list[int]:
    """A token for each word and each single space."""
    return [sum(map(ord, part)) for part in text.replace(" ", "| |").split("|") if part]


def merging(text: str) -> list[int]:
    """Merges across the border: "is " + "yes" is one token less than its parts."""
    return [*range(text.count("is")), sum(map(ord, text))]


def test_the_shared_tokens_go_into_the_prompt() -> None:
    shared, heads = choices.split(words, "ab", (" yes", " no"))
    assert shared == words("ab ")
    assert heads == [words("yes")[0], words("no")[0]]


def test_a_tokenizer_that_merges_across_the_border_is_asked_for_the_whole() -> None:
    assert choices.split(merging, "this is ", ("yes", "no")) == ([0, 1], [merging("this is yes")[-1], merging("this is no")[-1]])


@pytest.mark.parametrize("same", [(" yes", " yes"), (" yes", " yes please"), ("", " a")])
def test_choices_that_one_token_does_not_tell_apart_are_refused(same: tuple[str, str]) -> None:
    with pytest.raises(ValueError, match="told apart"):
        choices.split(words, "ab", same)


@given(st.lists(st.floats(-9999, 0), min_size=1, max_size=8))
def test_probabilities_sum_to_one_and_keep_their_order(scores: list[float]) -> None:
    normal = choices.normalized(scores)
    assert math.isclose(sum(map(math.exp, normal)), 1.0, rel_tol=1e-9)
    assert normal[scores.index(max(scores))] == max(normal)
