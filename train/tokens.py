"""What a model's tokenizer makes of prompts, completions and conversations, many texts at once.

Knows nothing of data, masks and models.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

from self_instruct.errors import ConfigError, DataError
from self_instruct.template import CHAT, Rendered

Messages = Sequence[tuple[str, str]]
BATCH = 1024  # texts a call: enough to share its cost, few enough that their encodings take little memory
PROBE = "Two and two is 4."
PROBES = ("x", " Name a bird.\n\n", "\n\tx  y\u00e9\u4e2d", "")


class Tokens:
    """A `transformers` tokenizer as training needs it. Every list of ids is the one that `tokenizer(text)` gives.

    SentencePiece's families put a space in front of every text. In a continuation that would be a second one, so
    there the ids are taken from behind a line break, where none is added.
    """

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._backend = None
        if getattr(tokenizer, "is_fast", False):
            self._backend = tokenizer.backend_tokenizer
            if any(self._many(PROBES, specials) != self._singly(PROBES, specials) for specials in (True, False)):
                self._backend = None  # this tokenizer does more than its backend
        self._line_break, letter = self._many(("\n", "x"), False)
        self._adds_space = str(tokenizer.convert_ids_to_tokens(letter[:1])[0]).startswith("\u2581")
        added = getattr(tokenizer, "added_tokens_decoder", {})
        self._specials = {id for id, token in added.items() if token.special} - {getattr(tokenizer, "unk_token_id", None)}

    @property
    def fast(self) -> bool:
        """Whether many texts are tokenised in one call."""
        return self._backend is not None

    def prompts(self, texts: Sequence[str]) -> list[list[int]]:
        """The ids of each text as a prompt: with what the tokenizer puts around one, as the engine is sent it."""
        return self._many(texts, True)

    def alone(self, texts: Sequence[str]) -> list[list[int]]:
        """The ids of each text and nothing around it: a rendered chat, which has its own beginning; a decoder's answer."""
        return self._many(texts, False)

    def continuations(self, texts: Sequence[str]) -> list[list[int]]:
        """The ids of each text where it continues another: nothing is put in front of it."""
        if not self._adds_space:
            return self.alone(texts)
        size = len(self._line_break)
        found = self._many([f"\n{text}" for text in texts], False)
        merged = [place for place, ids in enumerate(found) if ids[:size] != self._line_break]
        found = [ids[size:] for ids in found]
        for place, ids in zip(merged, self.alone([texts[place] for place in merged]), strict=True):
            found[place] = ids
        return found

    def chat(self, identity: str, messages: Messages) -> Rendered:
        """A conversation in the tokenizer's chat template: all before its last turn and the cue for an answer, and the answer.

        So the prompt is the text that an engine's chat endpoint renders of the same turns; the completion may end in more
        than the turn's end (`turn_end`). Raises ConfigError for a tokenizer without chat template, and DataError, with the
        row's id, where the template refuses the turns or doesn't begin the whole conversation with the prompt.
        """
        if not getattr(self._tokenizer, "chat_template", None):
            raise ConfigError(
                "model.name: its tokenizer has no chat template",
                hint="name a model that has one, or set train.template=forms and train on data without `messages`",
            )
        turns = [{"role": role, "content": content} for role, content in messages]
        try:
            prompt = str(self._tokenizer.apply_chat_template(turns[:-1], tokenize=False, add_generation_prompt=True))
            whole = str(self._tokenizer.apply_chat_template(turns, tokenize=False))
        except Exception as error:  # a template is a program; what it refuses shows as any of many types
            first = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise DataError(
                f"row '{identity}': the chat template of the model's tokenizer refuses it: {first:.200}",
                hint="remove the row, or change its turns to what the model was made for",
            ) from None
        if not whole.startswith(prompt):
            cue = prompt[-40:]
            raise DataError(
                f"row '{identity}': the chat template of the model's tokenizer writes the conversation otherwise than the prompt "
                f"for its last turn, which ends in {cue!r}",
                hint="train.template=forms does without the chat template; rows of `messages` need another model",
            )
        return Rendered(prompt=prompt, completion=whole[len(prompt) :], form=CHAT)

    @functools.cached_property
    def turn_end(self) -> int | None:
        """The special token by which the chat template ends an answer, the first where it writes several; none where it
        writes none.

        Raises what `chat` raises.
        """
        whole = self.chat("of turn_end", (("user", PROBE), ("assistant", PROBE))).completion
        behind = self.continuations([whole.rpartition(PROBE)[2]])[0]
        return next((token for token in behind if token in self._specials and self._tokenizer.decode([token]).strip()), None)

    def _many(self, texts: Sequence[str], specials: bool) -> list[list[int]]:
        if self._backend is None:
            return self._singly(texts, specials)
        self._backend.no_truncation()
        self._backend.no_padding()
        found: list[list[int]] = []
        for start in range(0, len(texts), BATCH):
            batch = self._backend.encode_batch_fast(list(texts[start : start + BATCH]), add_special_tokens=specials)
            found += [one.ids for one in batch]
        return found

    def _singly(self, texts: Sequence[str], specials: bool) -> list[list[int]]:
        return [list(self._tokenizer(text, add_special_tokens=specials, verbose=False).input_ids) for text in texts]
