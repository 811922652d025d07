"""What a tokenizer is asked."""

from __future__ import annotations

from typing import Any

import pytest

from sample_training import byte_level
from self_instruct.train.tokens import BATCH, Tokens


class Marked:
    """A slow tokenizer that shows what it was asked, one token a character."""

    def __init__(self, mark: str) -> None:
        self.mark = mark

    def __call__(self, text: str, add_special_tokens: bool, verbose: bool) -> Any:
        ids = ([1] if add_special_tokens else []) + ([2] if self.mark else []) + [ord(character) for character in text]
        return type("Answer", (), {"input_ids": ids})()

    def convert_ids_to_tokens(self, ids: list[int]) -> list[str]:
        return [self.mark + "x" for _ in ids]


def test_a_space_that_the_tokenizer_adds_is_left_out_of_continuations() -> None:
    plain, marking = Tokens(Marked("")), Tokens(Marked("\u2581"))
    assert (plain.prompts(["ab"]), plain.continuations(["ab"]), plain.alone(["ab"])) == ([[1, 97, 98]], [[97, 98]], [[97, 98]])
    assert marking.prompts(["ab"]) == [[1, 2, 97, 98]]
    assert marking.continuations(["ab", ""]) == [[97, 98], []]
    assert marking.alone(["ab"]) == [[2, 97, 98]]


def test_batches_join_in_order() -> None:
    texts = [str(number) for number in range(BATCH + 2)]
    tokenizer = byte_level()
    assert [tokenizer.decode(ids) for ids in Tokens(tokenizer).prompts(texts)] == texts
    assert Tokens(tokenizer).prompts([]) == []


def test_a_tokenizers_own_limit_cuts_nothing() -> None:
    tokenizer = byte_level()
    tokenizer("a b c", truncation=True, max_length=2, padding="max_length")
    tokens = Tokens(tokenizer)
    tokenizer("a b c", truncation=True, max_length=2, padding="max_length")
    assert tokenizer.decode(tokens.prompts(["a long prompt"])[0]) == "a long prompt"


@pytest.mark.parametrize(
    ("answer", "end"),
    [
        ("{{ m.content }}<|end|>\n", "<|end|>"),
        (" {{ m.content }} </s>", "</s>"),
        ("<|think|>\n{{ m.content }}<|end|>\n</s>", "<|end|>"),  # the first of several
        ("{{ m.content }}\n", None),
        ("{{ m.content }}<|plain|>", None),
    ],
)
def test_the_end_of_a_turn_is_the_templates_first_special_token_behind_the_answer(answer: str, end: str | None) -> None:
    tokenizer = byte_level()
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|turn|>", "<|end|>", "<|think|>"]})
    tokenizer.add_tokens(["<|plain|>"])
    tokenizer.chat_template = (
        "{% for m in messages %}<|turn|>{% if m.role == 'assistant' %}"
        + answer
        + "{% else %}{{ m.content }}{% endif %}{% endfor %}"
        "{% if add_generation_prompt %}<|turn|>{% endif %}"
    )
    assert Tokens(tokenizer).turn_end == (None if end is None else tokenizer.convert_tokens_to_ids(end))
