"""From completions to candidates: the numbered list of step 1 and the examples of step 3.

Knows neither filters nor engines, and takes any text: it never raises.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from self_instruct.records import Instance

_ITEM = re.compile(r"^[ \t]*\d{1,3}[ \t]?[.)](?:[ \t]|$)", re.MULTILINE)
_EXAMPLE = re.compile(r"^[ \t]*Example \d{1,4}[ \t]*(?::[ \t]*)?$", re.MULTILINE)
_INPUT = re.compile(r"^[ \t]*Input:", re.MULTILINE)
_OUTPUT = re.compile(r"^[ \t]*Output:", re.MULTILINE)
# What models write for "this task needs no input".
_NO_INPUT = {"none", "n/a", "no input", "no input needed", "not applicable", "empty"}


@dataclass(frozen=True, kw_only=True, slots=True)
class ParsedInstances:
    """`instances` in order, and the text of examples without an output to tell (`malformed`).

    `open_end` is the text of a last example without an output, "" if only its `Example N` is there, none if the
    last example has one: what a token limit cut off, where there was one.
    """

    instances: tuple[Instance, ...]
    malformed: tuple[str, ...]
    open_end: str | None


def readable(text: str) -> str:
    """The text with a replacement character for each half of a code point, which no UTF-8 file and no tokenizer takes."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def instructions(text: str) -> list[str]:
    """The items of a numbered list whose first number stands in the prompt, white space collapsed, in order.

    A line without a number belongs to the item above it. Items without any text are left out.
    """
    items = [" ".join(item.split()) for item in _ITEM.split(text)]
    return [item for item in items if item]


def input_first(text: str) -> ParsedInstances:
    """Examples as `Input: …` (or none) and `Output: …`; the head `Example 1` stands in the prompt."""
    parsed: list[Instance | str] = []
    for block in _EXAMPLE.split(text):
        output = _OUTPUT.search(block)
        if output is None:
            parsed.append(block.strip())
            continue
        given = _INPUT.sub("", block[: output.start()], count=1)
        parsed.append(Instance(input=_input(given), output=block[output.end() :].strip()))
    return _collect(parsed)


def output_first(text: str) -> ParsedInstances:
    """Examples as `Class label: …` and `Input: …` (or none); the first `Class label:` stands in the prompt."""
    parsed: list[Instance | str] = []
    for block in _EXAMPLE.split(f"Class label:{text}"):
        head, cue, body = block.partition("Class label:")
        if not cue or head.strip():
            parsed.append(block.strip())
            continue
        given = _INPUT.search(body)
        label = body[: given.start()] if given else body
        parsed.append(Instance(input=_input(body[given.end() :]) if given else "", output=label.strip()))
    return _collect(parsed)


def _collect(parsed: list[Instance | str]) -> ParsedInstances:
    """Sort instances from the texts of examples without an output; empty texts matter at the end alone."""
    last = parsed[-1]
    open_end = last if isinstance(last, str) else None
    body = parsed[:-1] if open_end is not None else parsed
    return ParsedInstances(
        instances=tuple(one for one in body if isinstance(one, Instance)),
        malformed=tuple(one for one in body if isinstance(one, str) and one),
        open_end=open_end,
    )


def _input(text: str) -> str:
    text = text.strip()
    return "" if text.lower().strip(" .<>()[]") in _NO_INPUT else text
