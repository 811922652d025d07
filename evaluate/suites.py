"""The evaluation sets that the settings name, and the prompts of their items.

Knows no engine. A tokenizer is asked for only where a prompt may be too long.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from self_instruct import seedbank
from self_instruct.chat import chat_prompt
from self_instruct.errors import ConfigError, DataError
from self_instruct.evaluate import superni
from self_instruct.evaluate.cutting import Tokens, longest_prefix
from self_instruct.loading import Loaded
from self_instruct.records import EvalItem
from self_instruct.settings_evaluate import EvaluateSettings
from self_instruct.template import evaluation_prompt, user_turn

if TYPE_CHECKING:
    from self_instruct.models import Model

Kind = Literal["superni", "user_oriented"]
SUPERNI: Kind = "superni"
USER_ORIENTED: Kind = "user_oriented"


@dataclass(frozen=True, kw_only=True, slots=True)
class Suite:
    """One evaluation set. `max_tokens` is an answer's limit, `source` the path as it was named, or `shipped`.

    `counts`: what was missing, left out or odd when it was loaded, by what it is; those above 0.
    """

    name: str
    kind: Kind
    items: tuple[EvalItem, ...]
    max_tokens: int
    counts: dict[str, int]
    source: str

    @property
    def digest(self) -> str:
        """SHA-256 (hex) of the items' content in their order, whatever the set is called."""
        hashed = hashlib.sha256()
        for item in self.items:
            content = (item.id, item.task, item.group, item.instruction, item.input, item.references)
            hashed.update(json.dumps(content).encode() + b"\n")
        return hashed.hexdigest()


@dataclass(frozen=True, kw_only=True, slots=True)
class Prompted:
    """An item with the prompt that every model answers. `cut`: the prompt was shortened to fit."""

    item: EvalItem
    prompt: str
    cut: bool


def user_oriented_names(settings: EvaluateSettings) -> tuple[str, ...]:
    """The files of user-oriented tasks as they are named; `shipped` is the set that ships."""
    named = settings.user_oriented
    return ((named,) if named else ()) if isinstance(named, str) else named


def load(settings: EvaluateSettings) -> tuple[Suite, ...]:
    """Every evaluation set of the settings: the user-oriented ones as they are named, then SuperNI.

    `evaluate.max_items` cuts each user-oriented set. Sets are called `user_oriented` (the shipped one), `superni`, or after
    their file, numbered where that name is taken. Raises DataError for what can't be read, a set named twice, and no set at all.
    """
    named = user_oriented_names(settings)
    taken: set[str] = {SUPERNI} | ({USER_ORIENTED} if seedbank.SHIPPED in named else set())
    found: list[Suite] = []
    for place in named:
        if any(suite.source == place for suite in found):
            raise DataError(f"evaluate.user_oriented: {place} is named twice", hint="name each set once")
        name = USER_ORIENTED if place == seedbank.SHIPPED else _free(Path(place).stem, taken)
        items = seedbank.load_user_oriented(place, suite=name)[: settings.max_items]
        suite = Suite(name=name, kind=USER_ORIENTED, items=items, max_tokens=settings.max_tokens, counts={}, source=place)
        found.append(suite)
    if settings.superni.folder is not None:
        place, limits = settings.superni.folder, settings.superni
        items, counts = superni.load(Path(place), limits, SUPERNI)
        found.append(Suite(name=SUPERNI, kind=SUPERNI, items=items, max_tokens=limits.max_tokens, counts=counts, source=place))
    if not found:
        raise DataError(
            "no evaluation set: evaluate.user_oriented is empty and evaluate.superni.folder isn't set",
            hint="name one: --set evaluate.user_oriented=shipped or --set evaluate.superni.folder=FOLDER",
        )
    return tuple(found)


def _free(name: str, taken: set[str]) -> str:
    free, number = name, 1
    while free in taken:
        number += 1
        free = f"{name}-{number}"
    taken.add(free)
    return free


def prompts(
    suite: Suite, settings: EvaluateSettings, limit: int, tokenizer: Callable[[], Any], *, chat: bool = False
) -> tuple[Prompted, ...]:
    """The prompt of every item. Prompt and answer have at most `limit` tokens together.

    A user-oriented task that is too long loses the end of its input, so that instruction and cue survive; for SuperNI see
    `superni.prompt`. `tokenizer()` gives the model's tokenizer. With `chat` it is what a user says in the model's chat template:
    instruction and input without a cue, or SuperNI's whole prompt (method.md, section 3: the vendor's instruct model). Raises
    DataError where cutting doesn't help, and ConfigError where there is no template.
    """
    room, tokens = limit - suite.max_tokens, Tokens(tokenizer)
    form = user_turn if chat else evaluation_prompt
    if chat:
        room -= len(tokens.ids(chat_prompt(tokenizer(), "x")))
    made = []
    for item in suite.items:
        if suite.kind == SUPERNI:
            text, cut = superni.prompt(item, settings.superni, room, tokens)
        else:
            text, cut = _user_oriented_prompt(item, form, room, tokens)
        made.append(Prompted(item=item, prompt=chat_prompt(tokenizer(), text.strip()) if chat else text, cut=cut))
    return tuple(made)


def _user_oriented_prompt(item: EvalItem, form: Callable[[str, str], str], limit: int, tokens: Tokens) -> tuple[str, bool]:
    whole = form(item.instruction, item.input)
    if tokens.fits(whole, limit):
        return whole, False

    def shortened(kept: int) -> str:
        return form(item.instruction, item.input[:kept])

    kept = longest_prefix(len(item.input), lambda kept: tokens.count(shortened(kept)), limit)
    if kept is None:
        raise DataError(
            f"evaluation task '{item.id}': its prompt has {tokens.count(shortened(0))} tokens even without the input, {limit} fit",
            hint="raise model.max_length, lower evaluate.max_tokens, or shorten the instruction",
        )
    return shortened(kept), True


def context_tokens(loaded: Loaded, model: Model) -> int:
    """Tokens that prompt and answer may have together. Raises ConfigError where an answer leaves no room for a prompt."""
    settings = loaded.settings
    context = min(settings.model.max_length, model.context)
    limits = {"evaluate.max_tokens": settings.evaluate.max_tokens} if settings.evaluate.user_oriented else {}
    if settings.evaluate.superni.folder is not None:
        limits["evaluate.superni.max_tokens"] = settings.evaluate.superni.max_tokens
    for name, value in limits.items():
        if value >= context:
            raise ConfigError(
                f"{loaded.origins[name]}: '{name}' is {value}: no room for a prompt in a context of {context} tokens",
                hint=f"lower {name} or raise model.max_length",
            )
    return context
