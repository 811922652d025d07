"""A text as a user's turn in a chat template."""

from __future__ import annotations

import pytest

from sample_training import byte_level, metaspace
from self_instruct.chat import chat_prompt, has_template
from self_instruct.errors import ConfigError

TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}[{{ m.role }}]{{ m.content }}{% endfor %}"
    "{% if add_generation_prompt %}[answer]{% if enable_thinking is false %}no thoughts{% endif %}{% endif %}"
)


def test_one_user_message_and_the_cue_without_thinking() -> None:
    tokenizer = byte_level()
    tokenizer.bos_token, tokenizer.chat_template = tokenizer.eos_token, TEMPLATE
    # This tokenizer adds no beginning-of-text, so the template's stays.
    assert chat_prompt(tokenizer, "a  b\n{{ c }}") == f"{tokenizer.bos_token}[user]a  b\n{{{{ c }}}}[answer]no thoughts"


def test_a_beginning_that_the_tokenizer_adds_is_there_once() -> None:
    tokenizer = metaspace()
    tokenizer.chat_template = TEMPLATE
    prompt = chat_prompt(tokenizer, "a")
    assert prompt == "[user]a[answer]no thoughts"
    assert tokenizer(prompt).input_ids.count(tokenizer.bos_token_id) == 1


def test_what_has_no_template_or_refuses_is_an_error() -> None:
    tokenizer = byte_level()
    assert not has_template(tokenizer) and not has_template(None)
    with pytest.raises(ConfigError, match="its tokenizer has no chat template"):
        chat_prompt(tokenizer, "a")
    tokenizer.chat_template = "{{ raise_exception('only systems\nspeak here') }}"
    assert has_template(tokenizer)
    with pytest.raises(ConfigError, match=r"refuses a user's message: only systems$"):
        chat_prompt(tokenizer, "a")
