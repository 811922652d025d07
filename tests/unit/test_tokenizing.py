"""Prompts with one head: the same ids as whole, and the head is read no more after the second."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from self_instruct.generate import prompts
from self_instruct.loading import shipped
from self_instruct.models import load_tokenizer
from self_instruct.tokenizing import BREAK, KEPT, HeadTokenizer

SHOWN = prompts.load_demonstrations(shipped("seeds/demonstrations"))
TEXTS = ("Sort these words.", "1. Add 2 and 3", "Übersetze: «ça»", "写一首关于河流的诗", "\u200b!", "the", "  x", "\x1b[31mred", "")


class Watched:
    """A tokenizer, and the length of all that it was given."""

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer, self.is_fast, self.read = tokenizer, tokenizer.is_fast, 0

    def __call__(self, text: str, **options: Any) -> Any:
        self.read += len(text)
        return self.tokenizer(text, **options)


@pytest.fixture(scope="module")
def tokenizer(embedded_model: Path) -> Any:
    return load_tokenizer(str(embedded_model))


@pytest.mark.parametrize("render", [prompts.classification, prompts.input_first, prompts.output_first])
def test_the_demonstrations_are_tokenised_once(tokenizer: Any, render: Any) -> None:
    watched = Watched(tokenizer)
    tokenize = HeadTokenizer(watched)
    asked = [render(SHOWN, text) for text in TEXTS]
    assert [tokenize(prompt) for prompt in asked] == [tokenizer(prompt).input_ids for prompt in asked]
    watched.read = 0
    for prompt in asked:
        tokenize(prompt)
        tokenize(prompt + " Yes")
    assert watched.read < 2 * len(asked) * 250


@given(head=st.text(min_size=1), tails=st.lists(st.text(), min_size=3, max_size=6))
@settings(max_examples=60, deadline=None)
def test_any_texts_have_the_ids_that_they_have_whole(tokenizer: Any, head: str, tails: list[str]) -> None:
    tokenize = HeadTokenizer(tokenizer)
    for tail in tails:
        text = head * (400 // len(head) + 1) + BREAK + tail
        assert tokenize(text) == tokenizer(text).input_ids


def test_a_tokenizer_that_falls_apart_nowhere_is_given_whole_texts(tokenizer: Any) -> None:
    class Signed(Watched):
        def __call__(self, text: str, **options: Any) -> Any:
            made = super().__call__(text, **options)
            if not options.get("add_special_tokens", True):
                made["input_ids"] = [7, *made["input_ids"]]  # as those that put a space before every text
            return made

    tokenize = HeadTokenizer(Signed(tokenizer))
    for text in TEXTS:
        prompt = prompts.classification(SHOWN, text)
        assert tokenize(prompt) == tokenizer(prompt).input_ids


def test_few_heads_are_kept(tokenizer: Any) -> None:
    tokenize = HeadTokenizer(tokenizer)
    for number in range(3 * KEPT):
        tokenize(f"{number} " * 300 + BREAK + "x")
    assert len(tokenize._heads) == KEPT
