"""What a judge is asked: definitions, worked examples, one answer, and the four levels in some order.

Knows no engine. Head and item are byte-identical in every order of the levels, which stands in the prompt's tail alone, so that the
engine's prefix cache holds all but the tail. The item's texts are quoted line by line: no line of theirs begins like one of
the prompt's own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import permutations
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from self_instruct.chat import chat_prompt, has_template
from self_instruct.errors import ConfigError, DataError
from self_instruct.evaluate.cutting import longest_prefix
from self_instruct.loading import shipped
from self_instruct.randomness import generator
from self_instruct.records import LEVELS, Level

# Wang et al. 2022, section 5.4 (method.md, "Experiment 2").
DEFINITIONS: dict[Level, str] = {
    "A": "valid and satisfying",
    "B": "acceptable with minor errors",
    "C": "relevant and responsive but with significant errors",
    "D": "irrelevant or invalid",
}
CUE = "Level:"
MARK = "[... {:,} characters left out ...]"
EMPTY = "(empty)"  # unquoted, so no text can be mistaken for it
Order = tuple[Level, ...]
# A Latin square: every level stands once in every place, so that the examples teach no place.
SHOWN_ORDERS: tuple[Order, ...] = (("A", "B", "C", "D"), ("D", "C", "B", "A"), ("B", "D", "A", "C"), ("C", "A", "D", "B"))
LEAST_ANSWER = 400  # characters: below it the other texts are cut too
ROOM = 256  # tokens of the context that examples leave to what is judged, else fewer are shown
SPARE = 16  # tokens: the answer, and what another order of the same lines may add
Form = Literal["completion", "chat"]
Text = Annotated[str, Field(min_length=1, pattern=r"\S")]


class _Strict(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class _Example(_Strict):
    instruction: Text
    input: str
    reference: Text
    answer: Text
    level: Level


class _File(_Strict):
    lead: Text
    tasks: Annotated[list[_Example], Field(min_length=1)]


@dataclass(frozen=True, kw_only=True, slots=True)
class Item:
    """One answer to judge, with what it answers; `input` and `reference` may be empty."""

    instruction: str
    input: str
    reference: str
    answer: str


FIELDS = ("instruction", "input", "reference", "answer")


def load_heads(path: Path | None = None) -> tuple[str, ...]:
    """The task, the definitions and the worked examples of a file such as `judge.yaml` (none: the one that ships), each head ending
    in a blank line: with all examples, with the first half of them, and with none, for short contexts.

    Raises DataError that names the file and the field.
    """
    path = path or shipped("seeds/judge.yaml")
    try:
        read = _File.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        raise DataError(f"{path}: no such file", hint="seeds/README.md names the files of demonstrations") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: not valid YAML: {str(error).splitlines()[0]}") from None
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        raise DataError(f"{path}: field '{field}': {first['msg']}", hint="seeds/README.md shows the format") from None
    shown = [f"{read.lead.strip()}\n{listed(LEVELS)}"]
    for place, one in enumerate(read.tasks):
        item = Item(instruction=one.instruction, input=one.input, reference=one.reference, answer=one.answer)
        shown.append(f"{item_text(item)}{tail(SHOWN_ORDERS[place % len(SHOWN_ORDERS)])} {one.level}")
    counts = (len(read.tasks), len(read.tasks) // 2, 0)
    return tuple("\n\n".join(shown[: 1 + count]) + "\n\n" for count in dict.fromkeys(counts))


def orders(count: int, seed: int) -> tuple[Order, ...]:
    """So many different orders of the levels: those of `SHOWN_ORDERS`, in whose four every level stands once in every place, so
    that a judge that follows places alone votes for all alike; then others drawn by the seed. The first ones are the same for every
    count, so that asking in more orders later asks only what is new."""
    found: list[Order] = list(SHOWN_ORDERS)
    rest = [order for order in permutations(LEVELS) if order not in found]
    for number in range(len(found) + 1, count + 1):
        found.append(rest.pop(generator(seed, "evaluate", "judge", number).randrange(len(rest))))
    return tuple(found[:count])


def listed(order: Sequence[Level]) -> str:
    """The levels with their definitions, a line each."""
    return "\n".join(f"{level}: {DEFINITIONS[level]}" for level in order)


def tail(order: Sequence[Level]) -> str:
    """What follows the item: the levels in this order, and the cue."""
    return f"Levels:\n{listed(order)}\n{CUE}"


def item_text(item: Item) -> str:
    """The item's texts under their names, the answer last, ending in a line break. Input and reference are left out where empty."""
    parts = [("Task", item.instruction), ("Input", item.input), ("Reference", item.reference)]
    shown = [f"{name}:\n{quoted(text)}\n" for name, text in parts if text.strip()]
    answer = quoted(item.answer) if item.answer.strip() else EMPTY
    return "".join(shown) + f"Answer:\n{answer}\n"


def quoted(text: str) -> str:
    """Every line, by any of Unicode's line breaks, behind a mark; lone surrogates, which tokenizers refuse, become `?`."""
    lines = text.strip().encode("utf-8", "replace").decode("utf-8").splitlines()
    return "\n".join(f"> {line}" if line else ">" for line in lines)


def shortened(text: str, limit: int) -> str:
    """A text of more than `limit` characters without its middle, and how much that was."""
    if len(text) <= limit:
        return text
    begin = (limit + 1) // 2
    return f"{text[:begin]} {MARK.format(len(text) - limit)} {text[len(text) - (limit - begin) :]}"


class Asking:
    """The prompts of one judge: `form` is how it is asked. Without a tokenizer (the scripted engine has none) tokens are words."""

    def __init__(self, heads: Sequence[str], tokenizer: Any, prompt: Literal["auto", "completion", "chat"], context: int) -> None:
        """`heads` as `load_heads` gives them; `context`: tokens that prompt and answer may have together.

        Raises ConfigError for `chat` without a chat template, and where the context doesn't even hold the shortest head.
        """
        self.form: Form = ("chat" if has_template(tokenizer) else "completion") if prompt == "auto" else prompt
        self._tokenizer, self._limit = tokenizer, context - SPARE
        bare = Item(**dict.fromkeys(FIELDS, MARK.format(10**9)))  # as short as an item gets
        for self.head in heads:
            if (needed := self._count(bare)) + ROOM <= self._limit:
                break
        if needed > self._limit:
            raise ConfigError(
                f"model.max_length: a judge's shortest prompt has {needed} tokens, the context {context}",
                hint="raise model.max_length, or name a judge with a longer context: --set evaluate.judge.model=...",
            )

    @property
    def choices(self) -> tuple[str, ...]:
        """What the judge may answer, in the order of LEVELS, with a space where the prompt ends in a word or a colon."""
        end = self.prompt(Item(**dict.fromkeys(FIELDS, "")), LEVELS)[-1]
        return LEVELS if end.isspace() or end == ">" else tuple(f" {level}" for level in LEVELS)

    def prompt(self, item: Item, order: Sequence[Level]) -> str:
        """The whole prompt; `item` as `fitted` gives it."""
        text = self.head + item_text(item) + tail(order)
        return chat_prompt(self._tokenizer, text) if self.form == "chat" else text

    def fitted(self, item: Item) -> tuple[Item, int]:
        """The item with texts that can't open a special token and that fit the context, and the characters left out for that: from
        the answer's middle, and where a short answer would remain, from the middle of every text that is long."""
        item = replace(item, **{name: self._harmless(getattr(item, name)) for name in FIELDS})
        if self._count(item) <= self._limit:
            return item, 0
        length = len(item.answer)
        kept = self._longest(length, lambda limit: replace(item, answer=shortened(item.answer, limit)))
        if kept is not None and kept >= min(length, LEAST_ANSWER):
            return replace(item, answer=shortened(item.answer, kept)), length - kept
        lengths = [len(getattr(item, name)) for name in FIELDS]
        kept = self._longest(max(lengths), lambda limit: _all_shortened(item, limit)) or 0
        return _all_shortened(item, kept), sum(max(0, length - kept) for length in lengths)

    def _longest(self, length: int, made: Callable[[int], Item]) -> int | None:
        return longest_prefix(length, lambda limit: self._count(made(limit)), self._limit)

    def _count(self, item: Item) -> int:
        prompt = self.prompt(item, LEVELS)
        return len(prompt.split()) if self._tokenizer is None else len(self._tokenizer(prompt, verbose=False).input_ids)

    def _harmless(self, text: str) -> str:
        """The text with a space inside whatever the tokenizer would take for a special token: else an answer could end its turn."""
        for token in self._specials:
            text = text.replace(token, f"{token[0]} {token[1:]}")
        return text

    @cached_property
    def _specials(self) -> tuple[str, ...]:
        """Special tokens, and whatever else has a token of its own and a part in the chat template; the longest first."""
        template = str(getattr(self._tokenizer, "chat_template", None))
        added = getattr(self._tokenizer, "added_tokens_decoder", {}).values()
        texts = {str(token.content).strip() for token in added if token.special or str(token.content) in template}
        return tuple(sorted((text for text in texts if len(text) > 1), key=lambda text: (-len(text), text)))


def _all_shortened(item: Item, limit: int) -> Item:
    return replace(item, **{name: shortened(getattr(item, name), limit) for name in FIELDS})
