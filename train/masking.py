"""From a rendered example's token ids to one row with a loss weight for each.

Knows no model, no tokenizer, no file and no random number. Letters: T tokens of one example.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

# The shortest limit in tokens that leaves room for the two ends of a prompt and an answer.
MINIMUM_LENGTH = 64
# What a prompt keeps where its completion would fill the limit alone: as many tokens of its head (beginning-of-text,
# start of the instruction) as of its tail. 16 hold the longest cue, a blank line and "Output:", even byte by byte.
PROMPT_FLOOR = 32


@dataclass(frozen=True, kw_only=True, slots=True)
class Encoded:
    """One example as the model sees it.

    `ids` (T) and `weights` (T): `weights[i]` is the weight in the loss of predicting `ids[i]` from those before it.
    The first `prompt_tokens` ids are the prompt; an encoder-decoder's encoder reads those, its decoder writes the others.
    `form` is the template it was rendered in; `prompt_cut` and `completion_cut` count the tokens that were cut off to
    keep the limit.
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


def before_end(ids: Sequence[int], *ends: int) -> list[int]:
    """The ids before the first of `ends`: what follows a spelled-out end-of-text could never be generated."""
    return list(ids[: next((place for place, token in enumerate(ids) if token in ends), len(ids))])


def join(
    identity: str,
    form: str,
    prompt: Sequence[int],
    completion: Sequence[int],
    *,
    end_id: int,
    limit: int,
    prompt_weight: float = 0.0,
) -> Encoded:
    """One row of a prompt's ids and a completion's, which were made apart: so a prompt has the ids it has when served.

    `prompt` has what the tokenizer puts around a prompt (beginning-of-text), `completion` has no end. `end_id`, the
    end-of-text or the end of a chat's turn, is appended once and is labelled, also where it doubles as padding. Weights
    are 1 on the completion and its end, and `prompt_weight` (0 to 1) on the prompt. The very first token has weight 0:
    nothing precedes it.

    Over `limit` tokens the prompt is cut in its middle, so that its beginning and its cue stay. A completion for
    which even the shortest prompt leaves no room is cut at its end and gets no end, because the model would learn to
    stop in the middle.
    """
    assert limit >= MINIMUM_LENGTH, limit
    kept, answer = list(prompt), [*completion, end_id]
    room = max(limit - len(answer), min(len(prompt), PROMPT_FLOOR))
    prompt_cut = max(len(prompt) - room, 0)
    if prompt_cut:
        tail = room // 2
        kept = [*prompt[: room - tail], *prompt[len(prompt) - tail :]]
    completion_cut = max(len(kept) + len(answer) - limit, 0)
    if completion_cut:
        answer = list(completion[: limit - len(kept)])
    weights = [prompt_weight] * len(kept) + [1.0] * len(answer)
    weights[0] = 0.0
    return Encoded(
        id=identity,
        form=form,
        ids=(*kept, *answer),
        weights=tuple(weights),
        prompt_tokens=len(kept),
        prompt_cut=prompt_cut,
        completion_cut=completion_cut,
    )
