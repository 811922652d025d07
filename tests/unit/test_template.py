"""The rendering of tasks: the 13 forms to the byte, the completion's leading space, texts that look like forms."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from self_instruct.template import (
    EVALUATION_WITH_INPUT,
    EVALUATION_WITHOUT_INPUT,
    WITH_INPUT,
    WITHOUT_INPUT,
    draw,
    evaluation_prompt,
    fill,
    render,
    simplify_input,
)

# method.md's table, ¶ for a line break, and what follows the prompt.
EXPECTED_WITH_INPUT = [
    ("I¶Input: X¶Output:", " O"),
    ("I¶¶Input: X¶¶Output:", " O"),
    ("Task: I¶Input: X¶Output:", " O"),
    ("I¶¶X¶¶Output:", " O"),
    ("I¶¶X¶¶", "O"),
    ("I¶X¶¶", "O"),
    ("Task: I¶¶X¶¶", "O"),
]
EXPECTED_WITHOUT_INPUT = [
    ("I Output:", " O"),
    ("I¶Output:", " O"),
    ("I¶¶Output:", " O"),
    ("I¶", "O"),
    ("I¶¶", "O"),
    ("Task: I¶¶", "O"),
]


@pytest.mark.parametrize(
    ("form", "input", "prompt", "completion"),
    [
        *((form, "X", *expected) for form, expected in zip(WITH_INPUT, EXPECTED_WITH_INPUT, strict=True)),
        *((form, "", *expected) for form, expected in zip(WITHOUT_INPUT, EXPECTED_WITHOUT_INPUT, strict=True)),
    ],
)
def test_form_is_exact(form: str, input: str, prompt: str, completion: str) -> None:
    made = render(form, "I", input, "O")
    assert (made.prompt, made.completion) == (prompt.replace("¶", "\n"), completion)


def test_instruction_that_ends_in_a_colon_gets_no_space_where_the_form_ends_in_line_breaks() -> None:
    assert render("{I}\n\n", "Say:", "", "O").completion == "O"


def test_texts_that_look_like_markers_stay() -> None:
    assert fill(WITH_INPUT[0], "{X} {I} {0}", "{I} {X} \\1") == "{X} {I} {0}\nInput: {I} {X} \\1\nOutput:"


def test_evaluation_has_one_form_which_training_draws_too() -> None:
    assert evaluation_prompt(" I ", " X\n") == "I\n\nX\n\nOutput:"
    assert evaluation_prompt("I", " \n") == "I\n\nOutput:"
    assert EVALUATION_WITH_INPUT in WITH_INPUT and EVALUATION_WITHOUT_INPUT in WITHOUT_INPUT


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("Sentence: The cat sat.", "The cat sat."),
        ("  First name:\nAda", "Ada"),
        ("a\n\n\nb\n\nc", "a\nb\nc"),
        ("Sentence: a\nLabel: b", "Sentence: a\nLabel: b"),
        ("Sentence:", "Sentence:"),
        ("https://example.org/a", "https://example.org/a"),
        ("std::vector<int> v;", "std::vector<int> v;"),
        ("12:30 is late", "12:30 is late"),
        ("At noon he said: go", "go"),
        ("The quick brown fox jumps over the lazy dog: a sentence", "The quick brown fox jumps over the lazy dog: a sentence"),
        ("", ""),
    ],
)
def test_simplified_input(before: str, after: str) -> None:
    assert simplify_input(before) == after


def test_draw_takes_each_form_and_simplifies_half() -> None:
    with_input = Counter(draw("I", "Name: X", "O", random.Random(seed)).prompt for seed in range(4000))
    expected = {form.replace("{I}", "I").replace("{X}", input) for form in WITH_INPUT for input in ("Name: X", "X")}
    assert set(with_input) == expected
    simplified = sum(count for prompt, count in with_input.items() if "Name" not in prompt)
    assert 1850 < simplified < 2150
    assert min(with_input.values()) > 200
    without = Counter(draw("I", " \n", "O", random.Random(seed)).prompt for seed in range(2000))
    assert set(without) == {form.replace("{I}", "I") for form in WITHOUT_INPUT}


def test_draw_is_a_function_of_its_generator() -> None:
    first = [draw("I", "X", "O", random.Random(7)) for _ in range(3)]
    assert first[0] == first[1] == first[2]


def test_draw_strips_the_texts() -> None:
    made = draw(" I\n", "\nX ", "\nO ", random.Random(1))
    assert made.completion.strip(" ") == "O" and "I" in made.prompt and not made.prompt.startswith((" ", "\n"))
