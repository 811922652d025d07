"""A text as a user's turn in a model's chat template, ready to be sent to an engine as a plain prompt.

Knows neither what is asked nor which engine answers.
"""

from __future__ import annotations

from typing import Any

from self_instruct.errors import ConfigError


def has_template(tokenizer: Any) -> bool:
    """Whether a `transformers` tokenizer comes with a chat template."""
    return bool(getattr(tokenizer, "chat_template", None))


def chat_prompt(tokenizer: Any, text: str) -> str:
    """`text` as one user message and the cue for an answer, in the chat template; models that can think are told not to.

    Engines tokenise prompts with special tokens, so a beginning-of-text that the tokenizer adds itself is left out here. Raises
    ConfigError for a tokenizer without chat template, and where its template refuses a single user message.
    """
    if not has_template(tokenizer):
        raise ConfigError(
            "model.name: its tokenizer has no chat template", hint="name a model that has one, or ask it by plain completion"
        )
    turns = [{"role": "user", "content": text}]
    # Some templates (Llama 3's) print today's date where they aren't given one; the same text must give the same prompt tomorrow.
    more = {"enable_thinking": False, "date_string": "26 Jul 2024"}
    try:
        prompt = str(tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True, **more))
    except Exception as error:  # a template is a program; what it refuses shows as any of many types
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ConfigError(
            f"model.name: the chat template of its tokenizer refuses a user's message: {first:.200}",
            hint="name another model, or ask it by plain completion",
        ) from None
    if prompt.rstrip().endswith("<think>"):  # a template that opens a block of thinking all the same: it is closed, empty
        prompt = f"{prompt.rstrip()}\n\n</think>\n\n"
    begin = getattr(tokenizer, "bos_token", None)
    return prompt.removeprefix(begin) if begin and _adds(tokenizer) else prompt


def _adds(tokenizer: Any) -> bool:
    """Whether the tokenizer puts a beginning-of-text in front of what it is given."""
    return list(tokenizer("x").input_ids)[:1] == [tokenizer.bos_token_id]
