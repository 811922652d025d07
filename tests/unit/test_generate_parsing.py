"""Completions of every shape become candidates, and never an exception."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from self_instruct.generate import parsing
from self_instruct.records import Instance

MARKS = st.sampled_from(
    ["\n", "9.", "10. ", "Example 2\n", "Input:", "Output:", "Class label:", "\x1b[31m", "\0", " ", "text", "}"]
)
HOSTILE = st.lists(MARKS | st.text(max_size=8), max_size=40).map("".join)


@pytest.mark.parametrize(
    ("text", "items"),
    [
        (" Sort it.\n10. Name a colour.\n11. Say hi", ["Sort it.", "Name a colour.", "Say hi"]),
        (" Sort it\nby size.\n10)  Next  one ", ["Sort it by size.", "Next one"]),
        (" 10.\n11. First real item", ["First real item"]),
        (" Compute 3.5 + 2 in 1. 5 steps\n10.", ["Compute 3.5 + 2 in 1. 5 steps"]),
        ("", []),
        (" \n \n", []),
    ],
)
def test_numbered_list(text: str, items: list[str]) -> None:
    assert parsing.instructions(text) == items


def test_input_first_examples() -> None:
    text = "\nInput: 3 1 2\nOutput: 1 2 3\nExample 2\nInput: b\na\nOutput: a\nb\nExample 3\nOutput: nothing to sort\n"
    assert parsing.input_first(text).instances == (
        Instance(input="3 1 2", output="1 2 3"),
        Instance(input="b\na", output="a\nb"),
        Instance(input="", output="nothing to sort"),
    )


def test_what_models_write_for_no_input_is_an_empty_input() -> None:
    for word in ("None", "N/A", "(no input)", "<none>"):
        assert parsing.input_first(f"\nInput: {word}\nOutput: x").instances == (Instance(input="", output="x"),)


def test_examples_without_output_are_malformed() -> None:
    parsed = parsing.input_first("\nInput: a\nExample 2\nInput: b\nOutput: c")
    assert parsed.instances == (Instance(input="b", output="c"),)
    assert parsed.malformed == ("Input: a",)
    assert parsed.open_end is None


@pytest.mark.parametrize(("end", "left"), [("\nExample 2", ""), ("\nExample 2\n", ""), ("\nExample 2\nInput: b", "Input: b")])
def test_an_example_that_is_only_begun_is_the_open_end(end: str, left: str) -> None:
    parsed = parsing.input_first(f"\nInput: a\nOutput: c{end}")
    assert (parsed.instances, parsed.malformed, parsed.open_end) == ((Instance(input="a", output="c"),), (), left)
    parsed = parsing.output_first(f" Ham\nInput: a{end}")
    assert (parsed.instances, parsed.malformed, parsed.open_end) == ((Instance(input="a", output="Ham"),), (), left)


def test_output_first_examples() -> None:
    text = " Spam\nInput: Win now\nExample 2\nClass label: Ham\nInput: See you\nat noon\n"
    text += "Example 3\nClass label: Ham\nExample 4\nInput: x"
    parsed = parsing.output_first(text)
    assert parsed.instances == (
        Instance(input="Win now", output="Spam"),
        Instance(input="See you\nat noon", output="Ham"),
        Instance(input="", output="Ham"),
    )
    assert (parsed.malformed, parsed.open_end) == ((), "Input: x")


@given(text=HOSTILE)
def test_any_text_is_parsed_and_nothing_is_invented(text: str) -> None:
    for item in parsing.instructions(text):
        assert item == " ".join(item.split()) != ""
    for parse in (parsing.input_first, parsing.output_first):
        for instance in parse(text).instances:
            assert instance.output in text
            assert instance.input in text


def test_long_lines_and_a_thousand_examples() -> None:
    assert parsing.instructions("x" * 100_000) == ["x" * 100_000]
    many = "".join(f"\nExample {number}\nInput: i{number}\nOutput: o{number}" for number in range(2, 1002))
    assert len(parsing.input_first(many).instances) == 1000


def test_a_heading_with_endless_white_space_takes_linear_time() -> None:
    begun = time.process_time()
    text = f"\nOutput: a\nExample 2{' ' * 50_000}x"
    assert parsing.input_first(text).instances == (Instance(input="", output=text.partition("Output: ")[2]),)
    assert time.process_time() - begun < 1
