"""The mask: what is trained on is the completion and its end-of-text, in every template, with every tokenizer."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sample_training import FAMILIES
from self_instruct.records import TrainingExample
from self_instruct.template import WITH_INPUT, WITHOUT_INPUT, Rendered, render
from self_instruct.train.masking import MINIMUM_LENGTH, PROMPT_FLOOR, Encoded, Tokenize, completion_ids, encode
from self_instruct.train.modeling import tokenize_with

FORMS = WITH_INPUT + WITHOUT_INPUT
SETTINGS = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\r\0"), min_size=1, max_size=60).map(str.strip).filter(bool)


@functools.cache
def family(name: str) -> Any:
    return FAMILIES[name]()


def encoded(tokenizer: Any, rendered: Rendered, limit: int = 4096, prompt_weight: float = 0.0) -> Encoded:
    return encode(
        "row", rendered, tokenize_with(tokenizer), eos_id=tokenizer.eos_token_id, limit=limit, prompt_weight=prompt_weight
    )


def trained(one: Encoded) -> tuple[int, ...]:
    """The ids that the loss looks at."""
    return tuple(token for token, weight in zip(one.ids, one.weights, strict=True) if weight)


def check(tokenizer: Any, form: str, instruction: str, input: str, output: str) -> None:
    """All that the mask promises, for one example that fits."""
    rendered = render(form, instruction, input, output)
    one = encoded(tokenizer, rendered)
    expected = [*tokenize_with(tokenizer)(rendered.completion, prompt=False), tokenizer.eos_token_id]
    assert trained(one) == one.labels == tuple(expected)
    assert one.ids[: one.prompt_tokens] == tuple(tokenizer(rendered.prompt).input_ids)  # what the engine is sent
    assert one.ids.count(tokenizer.eos_token_id) == 1
    assert set(one.weights[: one.prompt_tokens]) <= {0.0} and set(one.weights[one.prompt_tokens :]) == {1.0}
    assert (one.prompt_cut, one.completion_cut) == (0, 0)


@pytest.mark.parametrize("name", FAMILIES)
@SETTINGS
@given(instruction=TEXT, input=TEXT, output=TEXT)
def test_the_labels_are_the_completion_and_end_of_text(name: str, instruction: str, input: str, output: str) -> None:
    for form in FORMS:
        check(family(name), form, instruction, input, output)


@SETTINGS
@given(instruction=TEXT, input=TEXT, output=TEXT)
def test_byte_level_labels_decode_to_exactly_the_completion(instruction: str, input: str, output: str) -> None:
    tokenizer = family("byte_level")
    for form in FORMS:
        rendered = render(form, instruction, input, output)
        assert tokenizer.decode(trained(encoded(tokenizer, rendered))) == rendered.completion + tokenizer.eos_token


@pytest.mark.parametrize("name", ["byte_level", "metaspace", "byte_fallback"])
@pytest.mark.parametrize("form", FORMS)
def test_all_ids_decode_to_prompt_and_completion(name: str, form: str) -> None:
    """No space too many where the two meet, though SentencePiece's families put one in front of every text."""
    tokenizer = family(name)
    rendered = render(form, "Name three birds.", "of the sea", "a gull, an owl\nand a wren")
    one = encoded(tokenizer, rendered)
    assert tokenizer.decode(one.ids, skip_special_tokens=True) == rendered.prompt + rendered.completion
    assert tokenizer.decode(trained(one)).lstrip(" ") == rendered.completion.lstrip(" ") + tokenizer.eos_token


@pytest.mark.parametrize("name", FAMILIES)
@SETTINGS
@given(prompt=TEXT, completion=TEXT)
def test_a_continuation_is_the_text_alone_where_no_space_is_added(name: str, prompt: str, completion: str) -> None:
    """Behind "Output:" and behind line breaks; what a tokenizer adds to a text of its own is not part of a continuation."""
    tokenize = tokenize_with(family(name))
    spaced, bare = tokenize(f" {completion}", prompt=False), tokenize(completion, prompt=False)
    if name in ("byte_level", "word_piece"):
        assert spaced == family(name)(f" {completion}", add_special_tokens=False).input_ids
        assert bare == family(name)(completion, add_special_tokens=False).input_ids
    elif name == "byte_fallback":
        assert family(name)(completion, add_special_tokens=False).input_ids == spaced


@SETTINGS
@given(instruction=TEXT, input=TEXT, output=TEXT)
def test_the_embedded_models_mask(embedded_model: Path, instruction: str, input: str, output: str) -> None:
    tokenizer = embedded_tokenizer(str(embedded_model))
    for form in FORMS:
        check(tokenizer, form, instruction, input, output)
        rendered = render(form, instruction, input, output)
        alone = tokenizer.decode(
            tokenizer(rendered.completion).input_ids
        )  # its vocabulary lacks bytes of rare and control characters
        assert tokenizer.decode(trained(encoded(tokenizer, rendered))) == alone + tokenizer.eos_token
        common = rendered.completion.isascii() and all(c.isprintable() or c == "\n" for c in rendered.completion)
        assert alone == rendered.completion or not common


@functools.cache
def embedded_tokenizer(folder: str) -> Any:
    from self_instruct.models import load_tokenizer

    return load_tokenizer(folder)


@pytest.mark.parametrize("name", FAMILIES)
@SETTINGS
@given(output=TEXT, data=st.data())
def test_no_prompt_token_touches_the_labels(name: str, output: str, data: st.DataObject) -> None:
    """Change any token of the prompt: the labels, and where they begin, stay as they are."""
    tokenizer = family(name)
    tokenize = tokenize_with(tokenizer)
    rendered = render(WITH_INPUT[4], "Name three birds.", "of the sea", output)
    place = data.draw(st.integers(0, len(tokenize(rendered.prompt, prompt=True)) - 1))
    other = data.draw(st.integers(0, len(tokenizer) - 1))

    def changed(text: str, *, prompt: bool) -> list[int]:
        ids = tokenize(text, prompt=prompt)
        if text == rendered.prompt:
            ids[place] = other
        return ids

    before, after = encoded(tokenizer, rendered), encode("row", rendered, changed, eos_id=tokenizer.eos_token_id, limit=4096)
    assert after.ids[place] == other
    assert trained(after) == trained(before)
    assert after.weights == before.weights


@pytest.mark.parametrize("name", FAMILIES)
def test_prompts_that_end_in_line_breaks_keep_the_ids_they_have_when_served(name: str) -> None:
    """Tokenised in one piece, a byte-level splitter draws the last line break into the completion's first token."""
    tokenizer = family(name)
    rendered = render(WITH_INPUT[4], "Name three birds.", "of the sea", "\n  indented")
    one = encoded(tokenizer, rendered)
    assert one.ids[: one.prompt_tokens] == tuple(tokenizer(rendered.prompt).input_ids)
    assert one.labels[:-1] == tuple(tokenize_with(tokenizer)(rendered.completion, prompt=False))


def test_one_piece_tokenisation_would_merge_across_the_border() -> None:
    """The reason for tokenising apart, shown: in one piece the prompt's ids aren't a beginning of the whole's."""
    tokenizer = family("byte_level")
    prompt, completion = "Name three birds.\n\n", "a gull"
    assert tokenizer(prompt + completion).input_ids != tokenizer(prompt).input_ids + tokenizer(completion).input_ids


@pytest.mark.parametrize("weight", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("name", FAMILIES)
def test_weights(name: str, weight: float) -> None:
    one = encoded(family(name), render(WITHOUT_INPUT[0], "Name a bird.", "", "gull"), prompt_weight=weight)
    assert one.weights == (0.0, *[weight] * (one.prompt_tokens - 1), *[1.0] * one.completion_tokens)


def test_beginning_of_text_comes_once_and_has_no_weight() -> None:
    tokenizer = family("metaspace")
    one = encoded(tokenizer, render(WITHOUT_INPUT[0], "Name a bird.", "", "gull"), prompt_weight=1.0)
    assert one.ids[0] == tokenizer.bos_token_id
    assert one.ids.count(tokenizer.bos_token_id) == 1
    assert one.weights[0] == 0.0


def test_end_of_text_is_labelled_where_it_doubles_as_padding() -> None:
    tokenizer = family("byte_level")
    assert tokenizer.pad_token_id == tokenizer.eos_token_id
    one = encoded(tokenizer, render(WITHOUT_INPUT[0], "Name a bird.", "", "gull"))
    assert (one.ids[-1], one.weights[-1]) == (tokenizer.eos_token_id, 1.0)


@pytest.mark.parametrize("name", FAMILIES)
def test_an_end_of_text_spelled_out_ends_the_completion(name: str) -> None:
    tokenizer = family(name)
    cut, plain = (encoded(tokenizer, Rendered(prompt="Say:", completion=c, form="")) for c in ("a gull</s> and more", "a gull"))
    assert cut.ids == plain.ids
    assert completion_ids(tokenize_with(tokenizer), "</s>", tokenizer.eos_token_id) == []


def _number(text: str, *, prompt: bool) -> list[int]:
    """A tokenizer with one token a character, so that lengths can be chosen; 0 is end-of-text, 1 beginning-of-text."""
    return [1] * prompt + [ord(character) for character in text]


def _cut(prompt: int, completion: int, limit: int) -> tuple[Encoded, Rendered]:
    head = "".join(chr(1000 + i) for i in range(prompt - 8))
    rendered = Rendered(prompt=head + "\nOutput:", completion="".join(chr(20000 + i) for i in range(completion)), form="")
    tokenize: Tokenize = _number
    return encode("row", rendered, tokenize, eos_id=0, limit=limit), rendered


@SETTINGS
@given(prompt=st.integers(9, 300), completion=st.integers(1, 300), limit=st.integers(MINIMUM_LENGTH, 200))
def test_cutting(prompt: int, completion: int, limit: int) -> None:
    """Whatever the lengths: the limit holds, both ends of the prompt stay, and end-of-text follows whole completions only."""
    one, rendered = _cut(prompt, completion, limit)
    whole = [ord(c) for c in rendered.prompt]
    kept, total = list(one.ids[: one.prompt_tokens]), 1 + prompt + completion + 1
    assert len(one.ids) == min(total, limit)
    assert kept[0] == 1  # beginning-of-text
    assert kept[-8:] == whole[-8:]  # the cue
    head = len(kept) - len(kept) // 2 if one.prompt_cut else len(kept)
    assert kept[1:head] == whole[: head - 1]
    assert not one.prompt_cut or kept[head:] == whole[len(whole) - len(kept) // 2 :]
    assert one.prompt_cut == 1 + prompt - len(kept)
    assert trained(one) == one.labels
    if one.completion_cut:
        assert one.labels == tuple(ord(c) for c in rendered.completion)[: len(one.labels)]
        assert len(kept) == min(1 + prompt, PROMPT_FLOOR)
        assert one.completion_cut == completion + 1 - len(one.labels)
    else:
        assert one.labels == (*(ord(c) for c in rendered.completion), 0)


@pytest.mark.parametrize(
    ("prompt", "completion", "prompt_tokens", "prompt_cut", "completion_cut", "ends"),
    [
        (20, 20, 21, 0, 0, True),
        (42, 20, 43, 0, 0, True),  # 43 + 20 + 1 = 64: fits exactly
        (43, 20, 43, 1, 0, True),
        (200, 31, 32, 169, 0, True),  # the completion with its end fills what the shortest prompt leaves
        (200, 32, 32, 169, 1, False),  # one more, and only end-of-text goes
        (10, 100, 11, 0, 48, False),  # a short prompt isn't cut at all
    ],
)
def test_cutting_at_the_borders(
    prompt: int, completion: int, prompt_tokens: int, prompt_cut: int, completion_cut: int, ends: bool
) -> None:
    one, _ = _cut(prompt, completion, 64)
    assert (one.prompt_tokens, one.prompt_cut, one.completion_cut) == (prompt_tokens, prompt_cut, completion_cut)
    assert (one.ids[-1] == 0) is ends


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("form", FORMS)
def test_the_cue_survives_the_shortest_limit(name: str, form: str) -> None:
    tokenizer = family(name)
    rendered = render(form, "Sort the numbers and say why. " * 30, "12, 7, 39 and 4. " * 30, "4, 7, 12, 39. " * 60)
    one = encoded(tokenizer, rendered, limit=MINIMUM_LENGTH)
    cue = rendered.prompt[len(rendered.prompt.removesuffix("Output:").rstrip()) :]
    whole = tokenizer(rendered.prompt).input_ids
    specials = len(whole) - len(tokenizer(rendered.prompt, add_special_tokens=False).input_ids)
    last = len(tokenizer(cue, add_special_tokens=False).input_ids) + specials
    kept = list(one.ids[: one.prompt_tokens])
    assert last <= PROMPT_FLOOR // 2
    assert kept[-last:] == whole[-last:] and kept[0] == whole[0]


def test_examples_of_one_text_differ_by_template_only() -> None:
    """The labels of an example are the same in all templates but for the space after a cue."""
    tokenizer = family("byte_level")
    row = TrainingExample(id="row", instruction="Name a bird.", input="of the sea", output="gull")
    decoded = {
        tokenizer.decode(trained(encoded(tokenizer, render(form, row.instruction, row.input, row.output)))).strip()
        for form in FORMS
    }
    assert decoded == {"gull</s>"}
