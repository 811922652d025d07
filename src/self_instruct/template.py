"""The one rendering of tasks into prompts, used by training and by evaluation.

Knows no tokenizer and no model. Forms: method.md, section 2 (the authors' `encode_instruction`).
"""

from __future__ import annotations

import random
import re
import string
from dataclasses import dataclass

# I instruction, X input. A form that ends in a cue colon is continued with one space, one that ends in line
# breaks is not: the space belongs to the completion, as BPE tokenizers keep it with the word that follows.
WITH_INPUT = (
    "{I}\nInput: {X}\nOutput:",
    "{I}\n\nInput: {X}\n\nOutput:",
    "Task: {I}\nInput: {X}\nOutput:",
    "{I}\n\n{X}\n\nOutput:",
    "{I}\n\n{X}\n\n",
    "{I}\n{X}\n\n",
    "Task: {I}\n\n{X}\n\n",
)
WITHOUT_INPUT = (
    "{I} Output:",
    "{I}\nOutput:",
    "{I}\n\nOutput:",
    "{I}\n",
    "{I}\n\n",
    "Task: {I}\n\n",
)
EVALUATION_WITH_INPUT = "{I}\n\n{X}\n\nOutput:"
EVALUATION_WITHOUT_INPUT = "{I}\n\nOutput:"
# The forms that aren't filled here: the chat template of a model's tokenizer, and a prompt that stays as it is.
CHAT = "chat"
VERBATIM = "verbatim"

# A field name alone at the start of an input: "Sentence: The cat sat." One field only, else the names are structure;
# white space must follow, else "https://…" would lose its scheme.
_FIELD = re.compile(r"^\s*[A-Za-z][A-Za-z ]{0,30}:\s+(?=\S)")
_ANY_FIELD = re.compile(r"^\s*[A-Za-z][A-Za-z ]{0,30}:", re.MULTILINE)


@dataclass(frozen=True, kw_only=True, slots=True)
class Rendered:
    """A prompt and the completion that follows it, white space in its place, without end-of-text; `form` as it stands above."""

    prompt: str
    completion: str
    form: str


def fill(form: str, instruction: str, input: str) -> str:
    """Put the texts into a form; braces in the texts stay as they are."""
    head, marker, tail = form.partition("{I}")
    assert marker, form
    return head + instruction + tail.replace("{X}", input)


def render(form: str, instruction: str, input: str, output: str) -> Rendered:
    """One example in one form."""
    prompt = fill(form, instruction, input)
    return Rendered(prompt=prompt, completion=f" {output}" if form.endswith(":") else output, form=form)


def simplify_input(input: str) -> str:
    """Remove a lone leading field name ("Sentence: …") and make double line breaks single."""
    if len(_ANY_FIELD.findall(input)) == 1:
        input = _FIELD.sub("", input)
    return re.sub(r"\n{2,}", "\n", input)


def draw(instruction: str, input: str, output: str, draws: random.Random) -> Rendered:
    """One example in a form drawn at random; in half of them the input is simplified (authors' `encode_instruction`)."""
    instruction, input, output = instruction.strip(), input.strip(), output.strip()
    if draws.random() < 0.5:
        input = simplify_input(input)
    form = draws.choice(WITH_INPUT if input else WITHOUT_INPUT)
    return render(form, instruction, input, output)


def evaluation_prompt(instruction: str, input: str) -> str:
    """The one fixed form of evaluation (method.md, section 3), the same for the base and every tuned model."""
    instruction, input = instruction.strip(), input.strip()
    return fill(EVALUATION_WITH_INPUT if input else EVALUATION_WITHOUT_INPUT, instruction, input)


def user_turn(instruction: str, input: str) -> str:
    """A task as what a user says in a chat: the instruction and, below a blank line, the input."""
    instruction, input = instruction.strip(), input.strip()
    return fill("{I}\n\n{X}" if input else "{I}", instruction, input)


def superni_prompt(definition: str, input: str) -> str:
    """The zero-shot prompt of SuperNI's reference evaluation (method.md, section 3, "SuperNI scoring, exactly", 2).

    A full stop is added to either text where its last character is no ASCII punctuation; so an empty input reads ".".
    """
    return (
        f"Definition: {_ended(definition.strip())}\n\n"
        f"Now complete the following example -\nInput: {_ended(input.strip())}\nOutput: "
    )


def _ended(text: str) -> str:
    return text if text[-1:] in string.punctuation and text else f"{text}."
