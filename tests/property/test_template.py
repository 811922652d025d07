"""Rendering for any text: nothing is lost, nothing is interpreted."""

from __future__ import annotations

import random
import string

from hypothesis import given
from hypothesis import strategies as st

from self_instruct.template import WITH_INPUT, WITHOUT_INPUT, draw, fill, render, simplify_input, superni_prompt, user_turn
from strategies import raw_texts, tricky_texts

anything = raw_texts | tricky_texts


@given(form=st.sampled_from(WITH_INPUT + WITHOUT_INPUT), instruction=anything, input=anything)
def test_fill_is_the_forms_parts_around_the_texts(form: str, instruction: str, input: str) -> None:
    head, rest = form.split("{I}")
    middle, *tail = rest.split("{X}")
    assert fill(form, instruction, input) == head + instruction + middle + "".join(input + part for part in tail)


@given(form=st.sampled_from(WITH_INPUT + WITHOUT_INPUT), instruction=anything, input=anything, output=anything)
def test_prompt_and_completion_join_with_one_space_after_a_cue_only(form: str, instruction: str, input: str, output: str) -> None:
    made = render(form, instruction, input, output)
    assert made.completion == (" " + output if form.endswith(":") else output)


@given(instruction=anything, input=anything, output=anything, seed=st.integers(0, 2**32))
def test_draw_keeps_instruction_input_and_output(instruction: str, input: str, output: str, seed: int) -> None:
    made = draw(instruction, input, output, random.Random(seed))
    assert instruction.strip() in made.prompt
    assert input.strip() in made.prompt or simplify_input(input.strip()) in made.prompt
    assert made.completion.removeprefix(" ") == output.strip()


@given(input=anything)
def test_simplifying_removes_a_field_name_and_line_breaks_only(input: str) -> None:
    simplified = simplify_input(input)
    squeezed = "".join(input.split())
    assert squeezed.endswith("".join(simplified.split()))
    removed = squeezed[: len(squeezed) - len("".join(simplified.split()))]
    assert removed == "" or (removed.endswith(":") and removed[:-1].isalpha())
    assert bool(simplified.strip()) == bool(input.strip())


@given(instruction=anything, input=anything)
def test_a_users_turn_is_the_instruction_and_the_input(instruction: str, input: str) -> None:
    made = user_turn(instruction, input)
    assert made == (f"{instruction.strip()}\n\n{input.strip()}" if input.strip() else instruction.strip())


@given(definition=anything, input=anything)
def test_a_superni_prompt_keeps_its_texts_and_ends_them(definition: str, input: str) -> None:
    ended = [text if text and text[-1] in string.punctuation else f"{text}." for text in (definition.strip(), input.strip())]
    assert superni_prompt(definition, input) == (
        "Definition: {}\n\nNow complete the following example -\nInput: {}\nOutput: ".format(*ended)
    )


def test_a_superni_prompt_is_the_reference_evaluations() -> None:
    """As method.md writes it; the punctuation that spares the full stop is ASCII's."""
    assert superni_prompt(" Sort the numbers ", "3, 1\n") == (
        "Definition: Sort the numbers.\n\nNow complete the following example -\nInput: 3, 1.\nOutput: "
    )
    assert superni_prompt("Why?", "a)") == "Definition: Why?\n\nNow complete the following example -\nInput: a)\nOutput: "
    assert superni_prompt("\u3053\u3002", "") == (
        "Definition: \u3053\u3002.\n\nNow complete the following example -\nInput: .\nOutput: "
    )
