"""From a rendered example to token ids with a loss weight each.

Knows no model, no file and no random number. Letters: T tokens of one example.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from self_instruct.template import Rendered

# The shortest limit in tokens that leaves room for the two ends of a prompt and an answer.
MINIMUM_LENGTH = 64
# What a prompt keeps where its completion would fill the limit alone: as many tokens of its head (beginning-of-text,
# start of the instruction) as of its tail. 16 hold the longest cue, a blank line and "Output:", even byte by byte.
PROMPT_FLOOR = 32


class Tokenize(Protocol):
    """A tokenizer as training needs it: for a prompt, whatever it puts around one (beginning-of-text) is added; else
    the text continues another, and nothing is put in front of it."""

    def __call__(self, text: str, *, prompt: bool) -> list[int]: ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Encoded:
    """One example as the model sees it.

    `ids` (T) and `weights` (T): `weights[i]` is the weight in the loss of predicting `ids[i]` from those before it.
    The first `prompt_tokens` ids are the prompt. `form` is the template it was rendered in; `prompt_cut` and
    `completion_cut` count the tokens that were cut off to keep the limit.
    """

    id: str
    form: str
    ids: tuple[int, ...]
    weights: tuple[float, ...]
    prompt_tokens: int
    prompt_cut: int = 0
    completion_cut: int = 0

    @property
    def completion_tokens(self) -> int:
        """Tokens of the completion, with its end-of-text."""
        return len(self.ids) - self.prompt_tokens

    @property
    def labels(self) -> tuple[int, ...]:
        """The ids that are trained on fully: the completion and its end-of-text."""
        return self.ids[self.prompt_tokens :]


def completion_ids(tokenize: Tokenize, completion: str, eos_id: int) -> list[int]:
    """The ids of a completion without its end-of-text.

    A text that spells out the end-of-text token ends there: what follows it could never be generated.
    """
    ids = tokenize(completion, prompt=False)
    return ids[: ids.index(eos_id)] if eos_id in ids else ids


def encode(
    identity: str, rendered: Rendered, tokenize: Tokenize, *, eos_id: int, limit: int, prompt_weight: float = 0.0
) -> Encoded:
    """Tokenise prompt and completion apart and join their ids, so that a prompt has the ids it has when served.

    The prompt's ids are the tokenizer's own for a prompt, beginning-of-text included. End-of-text is appended once
    and is labelled, also where it doubles as padding. Weights are 1 on the completion and its end-of-text, and
    `prompt_weight` (0 to 1) on the prompt. The very first token has weight 0: nothing precedes it.

    Over `limit` tokens the prompt is cut in its middle, so that its beginning and its cue stay. A completion for
    which even the shortest prompt leaves no room is cut at its end and gets no end-of-text, because the model
    would learn to stop in the middle.
    """
    assert limit >= MINIMUM_LENGTH, limit
    prompt = tokenize(rendered.prompt, prompt=True)
    whole = completion_ids(tokenize, rendered.completion, eos_id)
    completion = [*whole, eos_id]
    keep = max(limit - len(completion), min(len(prompt), PROMPT_FLOOR))
    prompt_cut = max(len(prompt) - keep, 0)
    if prompt_cut:
        tail = keep // 2
        prompt = prompt[: keep - tail] + prompt[len(prompt) - tail :]
    room = limit - len(prompt)
    completion_cut = max(len(completion) - room, 0)
    if completion_cut:
        completion = whole[:room]
    weights = [prompt_weight] * len(prompt) + [1.0] * len(completion)
    weights[0] = 0.0
    return Encoded(
        id=identity,
        form=rendered.form,
        ids=(*prompt, *completion),
        weights=tuple(weights),
        prompt_tokens=len(prompt),
        prompt_cut=prompt_cut,
        completion_cut=completion_cut,
    )
