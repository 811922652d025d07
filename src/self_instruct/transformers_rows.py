"""One request in a batch of the transformers engine: its tokens, its text so far, when it ends.

Knows tokenizers and no torch. Stop strings, limits and end-of-text mean here what they mean in vLLM.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from self_instruct import choices
from self_instruct.records import Completion, Request

CONTEXT_TOKENS = 6  # of the prompt, decoded with the answer, so that its first space is kept
CUT_CHARACTER = "\ufffd"  # what a decoder writes for a character whose last bytes aren't there


@dataclass(eq=False)
class Row:
    """`prompt` ids go into the model (an encoder, where it has one), `prefix` ids into a decoder beside an encoder.

    `heads`: the choices' tokens, for constrained requests. `limit`: new tokens at most. `unwanted`: nobody waits any more.
    """

    request: Request
    tokenizer: Any
    prompt: list[int]
    limit: int
    ends: frozenset[int]
    shown: list[int]
    prefix: tuple[int, ...] = ()
    heads: list[int] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)
    output: list[int] = field(default_factory=list)
    counts: Counter[int] = field(default_factory=Counter)
    text: str = ""
    finish_reason: str = ""
    unwanted: bool = False

    @property
    def kind(self) -> tuple[str | None, tuple[int, ...]]:
        """Rows of one kind can share a batch: the same adapter, the same tokens before the decoder's first new one."""
        return self.request.adapter, self.prefix

    @property
    def done(self) -> bool:
        return bool(self.finish_reason) or self.unwanted

    def add(self, token: int) -> None:
        """Take the next token; sets `finish_reason` and `text` where it is the last."""
        self.output.append(token)
        self.counts[token] += 1
        stops = self.request.sampling.stop
        if self.heads:
            self.finish_reason = "stop"
        elif token in self.ends:
            self._end("stop", self._decode(self.output[:-1]))
        elif stops and (cut := _first_stop(text := self._decode(self.output), stops)) is not None:
            self._end("stop", text[:cut])
        elif len(self.output) >= self.limit:
            self._end("length", self._decode(self.output).rstrip(CUT_CHARACTER))

    def completion(self) -> Completion:
        """The answer of a finished row."""
        scores = choices.normalized(self.scores) if self.heads else []
        return Completion(
            request_id=self.request.id,
            text=self.request.choices[scores.index(max(scores))] if scores else self.text,
            finish_reason=self.finish_reason,
            prompt_tokens=len(self.prompt),
            output_tokens=len(self.output),
            choice_logprobs=tuple(scores),
        )

    def _end(self, reason: str, text: str) -> None:
        self.finish_reason, self.text = reason, text

    def _decode(self, ids: list[int]) -> str:
        options = {"skip_special_tokens": True, "clean_up_tokenization_spaces": False}
        before: str = self.tokenizer.decode(self.shown, **options)
        whole: str = self.tokenizer.decode(self.shown + ids, **options)
        return whole[len(before) :]


def _first_stop(text: str, stops: tuple[str, ...]) -> int | None:
    """Where the stop string begins that is complete earliest (the earlier in the list, of two that end together)."""
    found = [(text.find(stop) + len(stop), order, text.find(stop)) for order, stop in enumerate(stops) if stop in text]
    return min(found)[2] if found else None
