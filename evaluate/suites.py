"""The evaluation sets and their prompts. So far one: the user-oriented tasks.

Knows no engine; how many tokens a prompt has is told by a function it is given.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from self_instruct import seedbank
from self_instruct.errors import DataError
from self_instruct.records import EvalItem
from self_instruct.settings import EvaluateSettings
from self_instruct.template import evaluation_prompt


@dataclass(frozen=True, kw_only=True, slots=True)
class Prompted:
    """An item with the prompt that every model answers. `cut`: its input was shortened to fit the context."""

    item: EvalItem
    prompt: str
    cut: bool


def user_oriented(settings: EvaluateSettings) -> tuple[EvalItem, ...]:
    """The first `evaluate.max_items` user-oriented tasks (all where unset), in file order.

    Raises DataError for a missing or malformed file.
    """
    return seedbank.load_user_oriented(settings.user_oriented)[: settings.max_items]


def prompts(items: Sequence[EvalItem], limit: int, count: Callable[[str], int]) -> tuple[Prompted, ...]:
    """The prompt of every item, at most `limit` tokens each as `count` counts them.

    What is too long loses the end of its input, so that instruction and cue survive. Raises DataError where even
    the instruction alone is too long.
    """
    return tuple(_fit(item, limit, count) for item in items)


def _fit(item: EvalItem, limit: int, count: Callable[[str], int]) -> Prompted:
    whole = evaluation_prompt(item.instruction, item.input)
    # A token holds a byte at least, so a short prompt fits without asking the tokenizer; 8 for what it may add.
    if len(whole.encode("utf-8", "replace")) + 8 <= limit or count(whole) <= limit:
        return Prompted(item=item, prompt=whole, cut=False)
    low, high = 0, len(item.input)  # characters kept: `low` fits or is 0, `high` doesn't
    while high - low > 1:
        middle = (low + high) // 2
        fits = count(evaluation_prompt(item.instruction, item.input[:middle])) <= limit
        low, high = (middle, high) if fits else (low, middle)
    shortened = evaluation_prompt(item.instruction, item.input[:low])
    tokens = count(shortened)
    if tokens > limit:
        raise DataError(
            f"evaluation task '{item.id}': its prompt has {tokens} tokens even without the input, {limit} fit",
            hint="raise model.max_length, lower evaluate.max_tokens, or shorten the instruction",
        )
    return Prompted(item=item, prompt=shortened, cut=True)
