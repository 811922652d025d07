"""From completions to candidates: the numbered list of step 1 and the examples of step 3.

Knows neither filters nor engines, and takes any text: it never raises.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from self_instruct.records import Instance

_ITEM = re.compile(r"^[ \t]*\d{1,3}[ \t]?[.)](?:[ \t]|$)", re.MULTILINE)
_EXAMPLE = re.compile(r"^[ \t]*Example \d{1,4}[ \t]*:?[ \t]*$", re.MULTILINE)
_INPUT = re.compile(r"^[ \t]*Input:", re.MULTILINE)
_OUTPUT = re.compile(r"^[ \t]*Output:", re.MULTILINE)
# What models write for "this task needs no input".
_NO_INPUT = {"none", "n/a", "no input", "no input needed", "not applicable", "empty"}


@dataclass(frozen=True, kw_only=True, slots=True)
class ParsedInstances:
    """`instances` in order, the text of examples without an output to tell (`malformed`), and whether the last
    example is one of those."""

    instances: tuple[Instance, ...]
    malformed: tuple[str, ...]
    ends_malformed: bool


def instructions(text: str) -> list[str]:
    """The items of a numbered list whose first number stands in the prompt, white space collapsed, in order.

    A line without a number belongs to the item above it. Items without any text are left out.
    """
    items = [" ".join(item.split()) for item in _ITEM.split(text)]
    return [item for item in items if item]


def input_first(text: str) -> ParsedInstances:
    """Examples as `Input: …` (or none) and `Output: …`; the head `Example 1` stands in the prompt."""
    instances, malformed, ends_malformed = [], [], False
    for block in _blocks(text):
        output = _OUTPUT.search(block)
        ends_malformed = output is None
        if output is None:
            malformed.append(block.strip())
            continue
        given = _INPUT.sub("", block[: output.start()], count=1)
        instances.append(Instance(input=_input(given), output=block[output.end() :].strip()))
    return ParsedInstances(instances=tuple(instances), malformed=tuple(malformed), ends_malformed=ends_malformed)


def output_first(text: str) -> ParsedInstances:
    """Examples as `Class label: …` and `Input: …` (or none); the first `Class label:` stands in the prompt."""
    instances, malformed, ends_malformed = [], [], False
    for block in _blocks(f"Class label:{text}"):
        head, cue, body = block.partition("Class label:")
        ends_malformed = not cue or bool(head.strip())
        if ends_malformed:
            malformed.append(block.strip())
            continue
        given = _INPUT.search(body)
        label = body[: given.start()] if given else body
        instances.append(Instance(input=_input(body[given.end() :]) if given else "", output=label.strip()))
    return ParsedInstances(instances=tuple(instances), malformed=tuple(malformed), ends_malformed=ends_malformed)


def _blocks(text: str) -> list[str]:
    """The texts between `Example N` lines; blocks without any text are left out."""
    return [block for block in _EXAMPLE.split(text) if block.strip()]


def _input(text: str) -> str:
    text = text.strip()
    return "" if text.lower().strip(" .<>()[]") in _NO_INPUT else text
