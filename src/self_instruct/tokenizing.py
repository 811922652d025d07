"""Prompts as tokens, where many begin with the same demonstrations: those are tokenised once.

Knows no model. Every engine that tokenises prompts does it here, so that their tokens agree.
"""

from __future__ import annotations

from collections import OrderedDict
from itertools import takewhile
from typing import Any

BREAK = "\n\n"  # before a prompt's own task
SHORTEST = 400  # characters of a head that is worth it
MARGIN = 8  # tokens at a head's end that are tokenised with what follows, as it may merge with them
KEPT = 16  # heads


class HeadTokenizer:
    """Calls give the ids of a text, special tokens included: those that `tokenizer(text)` gives.

    A text's head ends at its last blank line. At the second text with one head it is looked for a border inside the head, at
    which both texts fall apart into the ids that they have whole; later texts are tokenised from there on. Where there is
    no such border (tokenizers that aren't fast, or treat a beginning in a way of its own) every text is tokenised whole.
    """

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        # By head: its first text, then its border (characters, ids before it), or that there is none.
        self._heads: OrderedDict[str, str | tuple[int, list[int]] | None] = OrderedDict()

    def __call__(self, text: str) -> list[int]:
        head = text[: max(text.rfind(BREAK), 0)]
        if len(head) < SHORTEST or not getattr(self._tokenizer, "is_fast", False):
            return self._whole(text)
        if head not in self._heads:
            self._heads[head] = text
            if len(self._heads) > KEPT:
                self._heads.popitem(last=False)
            return self._whole(text)
        self._heads.move_to_end(head)
        known = self._heads[head]
        if isinstance(known, str):
            known = self._heads[head] = self._border(len(head), known, text)
        return self._whole(text) if known is None else known[1] + self._rest(text[known[0] :])

    def _border(self, end: int, one: str, other: str) -> tuple[int, list[int]] | None:
        encoded = self._tokenizer(one, return_offsets_mapping=True)
        ids, offsets, others = list(encoded.input_ids), encoded.offset_mapping, self._whole(other)
        tokens = zip(ids, others, offsets, strict=False)
        shared = sum(1 for _ in takewhile(lambda token: token[0] == token[1] and token[2][1] <= end, tokens))
        for count in range(shared - MARGIN, 0, -1):
            border = offsets[count - 1][1]
            if border and offsets[count][0] == border:  # else a space or a part of a character lies between
                apart = (self._rest(one[border:]), self._rest(other[border:]))
                return (border, ids[:count]) if apart == (ids[count:], others[count:]) else None
        return None

    def _whole(self, text: str) -> list[int]:
        return list(self._tokenizer(text).input_ids)

    def _rest(self, text: str) -> list[int]:
        return list(self._tokenizer(text, add_special_tokens=False).input_ids)
