"""The mask: what is trained on is the completion and its end-of-text, in every template, with every tokenizer."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sample_training import FAMILIES
from self_instruct.records import ChatExample, PromptExample, TrainingExample
from self_instruct.template import CHAT, WITH_INPUT, WITHOUT_INPUT, Rendered, render
from self_instruct.train.batching import Preparation
from self_instruct.train.masking import MINIMUM_LENGTH, PROMPT_FLOOR, Encoded, before_end, join
from self_instruct.train.tokens import PROBES, Tokens

FORMS = WITH_INPUT + WITHOUT_INPUT
SPACED = ("byte_level", "metaspace", "byte_fallback")  # families that keep white space
SETTINGS = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\r\0"), min_size=1, max_size=60).map(str.strip).filter(bool)


tokens_of = functools.cache(Tokens)


@functools.cache
def family(name: str) -> Any:
    return FAMILIES[name]()


# Two chat templates: one without beginning-of-text whose turns end in a token of their own, behind which comes a line
# break; one that writes the beginning-of-text itself, and ends an answer in end-of-text.
CHATML = (
    "{% for m in messages %}<|turn|>{{ m.role }}\n{{ m.content }}<|end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|turn|>assistant\n{% endif %}"
)
BEGINS = (
    "{{ bos_token or '' }}{% for m in messages %}{% if m.role == 'assistant' %} {{ m.content }} {{ eos_token }}"
    "{% else %}[INST] {{ m.content }} [/INST]{% endif %}{% endfor %}"
)


@functools.cache
def chatting(name: str, template: str) -> Any:
    """A tokenizer of this family with a chat template, and the tokens of turns in its vocabulary."""
    tokenizer = FAMILIES[name]()
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|turn|>", "<|end|>"]})
    tokenizer.chat_template = template
    return tokenizer


def prepared(tokenizer: Any, limit: int = 4096, prompt_weight: float = 0.0, **changes: Any) -> Preparation:
    return Preparation(
        tokens=tokens_of(tokenizer), eos_id=tokenizer.eos_token_id, limit=limit, prompt_weight=prompt_weight, **changes
    )


def encoded(tokenizer: Any, rendered: Rendered, limit: int = 4096, prompt_weight: float = 0.0) -> Encoded:
    row = PromptExample(id="row", prompt=rendered.prompt, completion=rendered.completion)
    return prepared(tokenizer, limit, prompt_weight).encode(row, 0)


def trained(one: Encoded) -> tuple[int, ...]:
    """The ids that the loss looks at."""
    return tuple(token for token, weight in zip(one.ids, one.weights, strict=True) if weight)


def check(tokenizer: Any, form: str, instruction: str, input: str, output: str) -> None:
    """All that the mask promises, for one example that fits."""
    rendered = render(form, instruction, input, output)
    one = encoded(tokenizer, rendered)
    expected = [*tokens_of(tokenizer).continuations([rendered.completion])[0], tokenizer.eos_token_id]
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
    spaced, bare = tokens_of(family(name)).continuations([f" {completion}", completion])
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
    tokens, end = tokens_of(tokenizer), tokenizer.eos_token_id
    rendered = render(WITH_INPUT[4], "Name three birds.", "of the sea", output)
    (prompt,), (completion,) = tokens.prompts([rendered.prompt]), tokens.continuations([rendered.completion])
    place = data.draw(st.integers(0, len(prompt) - 1))
    prompt[place] = other = data.draw(st.integers(0, len(tokenizer) - 1))
    before, after = encoded(tokenizer, rendered), join("row", "", prompt, completion, end_id=end, limit=4096)
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
    assert one.labels[:-1] == tuple(tokens_of(tokenizer).continuations([rendered.completion])[0])


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
    assert prepared(tokenizer).have_tokens(["</s> and more", "a gull", " "]) == [False, True, name in SPACED]


def _number(text: str) -> list[int]:
    """One token a character, so that lengths can be chosen; 0 is end-of-text, 1 beginning-of-text."""
    return [ord(character) for character in text]


def _cut(prompt: int, completion: int, limit: int) -> tuple[Encoded, Rendered]:
    head = "".join(chr(1000 + i) for i in range(prompt - 8))
    rendered = Rendered(prompt=head + "\nOutput:", completion="".join(chr(20000 + i) for i in range(completion)), form="")
    ids = [1, *_number(rendered.prompt)], _number(rendered.completion)
    return join("row", "", *ids, end_id=0, limit=limit), rendered


@SETTINGS
@given(prompt=st.integers(9, 300), completion=st.integers(1, 300), limit=st.integers(MINIMUM_LENGTH, 200))
def test_cutting(prompt: int, completion: int, limit: int) -> None:
    """Whatever the lengths: the limit holds, both ends of the prompt stay, and end-of-text follows whole completions only."""
    one, rendered = _cut(prompt, completion, limit)
    whole = _number(rendered.prompt)
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
        assert one.labels == tuple(_number(rendered.completion))[: len(one.labels)]
        assert len(kept) == min(1 + prompt, PROMPT_FLOOR)
        assert one.completion_cut == completion + 1 - len(one.labels)
    else:
        assert one.labels == (*_number(rendered.completion), 0)


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


@given(ids=st.lists(st.integers(0, 6), max_size=12), ends=st.lists(st.integers(0, 6), min_size=1, max_size=2))
def test_before_end_stops_at_the_first_of_the_ends(ids: list[int], ends: list[int]) -> None:
    found = before_end(ids, *ends)
    assert not set(found) & set(ends)
    assert found == ids[: len(found)]
    assert found == ids or ids[len(found)] in ends


# Many texts at once, and conversations.


@pytest.mark.parametrize("name", FAMILIES)
@SETTINGS
@given(texts=st.lists(st.text(st.characters(codec="utf-8"), max_size=60), max_size=9))
def test_many_at_once_have_the_ids_of_each_alone(name: str, texts: list[str]) -> None:
    tokenizer, tokens = family(name), tokens_of(family(name))
    assert tokens.fast
    assert tokens.prompts(texts) == [list(tokenizer(text).input_ids) for text in texts]
    assert tokens.alone(texts) == [list(tokenizer(text, add_special_tokens=False).input_ids) for text in texts]
    assert tokens.continuations(texts) == [tokens.continuations([text])[0] for text in texts]


def test_a_tokenizer_that_does_more_than_its_backend_is_asked_one_by_one() -> None:
    class Prefixing(type(family("byte_level"))):  # type: ignore[misc]
        def __call__(self, text: Any, **options: Any) -> Any:
            return super().__call__(f"> {text}", **options)

    tokenizer = Prefixing(tokenizer_object=family("byte_level").backend_tokenizer, eos_token="</s>")
    tokens = Tokens(tokenizer)
    assert not tokens.fast
    assert tokens.prompts(PROBES) == [list(tokenizer(text).input_ids) for text in PROBES]


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("template", [CHATML, BEGINS])
@SETTINGS
@given(asked=TEXT, output=TEXT, before=st.lists(st.tuples(TEXT, TEXT), max_size=2))
def test_a_conversations_prompt_has_the_ids_that_it_has_when_served(
    name: str, template: str, asked: str, output: str, before: list[tuple[str, str]]
) -> None:
    """As a chat endpoint renders and tokenises it: nothing is put around the template's text."""
    tokenizer = chatting(name, template)
    turns = [turn for ask, answer in before for turn in (("user", ask), ("assistant", answer))] + [("user", asked)]
    one = prepared(tokenizer).encode(ChatExample(id="row", messages=(*turns, ("assistant", output))), 0)
    messages = [{"role": role, "content": content} for role, content in turns]
    text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    served = tokenizer(text, add_special_tokens=False).input_ids
    assert one.ids[: one.prompt_tokens] == tuple(served)
    assert trained(one) == one.labels
    end = "<|end|>" if template == CHATML else tokenizer.eos_token
    assert one.labels[-1] == tokenizer.convert_tokens_to_ids(end) and one.labels.count(one.labels[-1]) == 1
    lead, tail = ("", "") if template == CHATML else (" ", " ")
    assert one.labels[:-1] == tuple(
        before_end(tokens_of(tokenizer).continuations([f"{lead}{output}{tail}{end}"])[0], one.labels[-1])
    )
    assert one.form == CHAT


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("template", [CHATML, BEGINS])
def test_the_chat_template_begins_a_text_once_and_never_the_tokenizer(name: str, template: str) -> None:
    tokenizer = chatting(name, template)
    row = TrainingExample(id="row", instruction="Name a bird. ", input=" of the sea", output=" gull\n")
    one = prepared(tokenizer, template="chat").encode(row, 0)
    begins = template == BEGINS and tokenizer.bos_token_id is not None
    assert one.ids.count(tokenizer.bos_token_id) == begins
    shown = tokenizer.decode(one.ids[: one.prompt_tokens])
    assert "".join("Name a bird.\n\nof the sea".split()) in "".join(shown.split())


@pytest.mark.parametrize("name", FAMILIES)
def test_what_ends_an_answer_is_told_for_serving(name: str) -> None:
    tokenizer = chatting(name, CHATML)
    end, eos = tokenizer.convert_tokens_to_ids("<|end|>"), tokenizer.eos_token_id
    rows = [TrainingExample(id="row", instruction="Name a bird.", input="", output="gull")]
    chat = ChatExample(id="chat", messages=(("user", "Hi"), ("assistant", "Hello")))
    assert prepared(tokenizer).stop_ids(rows) == (eos,)
    assert prepared(tokenizer).stop_ids([*rows, chat]) == tuple(sorted((eos, end)))
    assert prepared(tokenizer, template="chat").stop_ids(rows) == tuple(sorted((eos, end)))


@pytest.mark.parametrize("name", FAMILIES)
def test_a_chat_template_that_writes_no_end_gets_end_of_text(name: str) -> None:
    tokenizer = chatting(
        name,
        "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}{% if add_generation_prompt %}assistant:{% endif %}",
    )
    one = prepared(tokenizer).encode(ChatExample(id="row", messages=(("user", "Hi"), ("assistant", "Hello"))), 0)
    assert one.labels[-1] == tokenizer.eos_token_id and one.labels.count(tokenizer.eos_token_id) == 1


@pytest.mark.parametrize("name", FAMILIES)
def test_a_turns_end_spelled_out_ends_the_answer(name: str) -> None:
    tokenizer = chatting(name, CHATML)
    rows = [ChatExample(id="row", messages=(("user", "Hi"), ("assistant", text))) for text in ("Hello<|end|> there", "Hello")]
    first, second = prepared(tokenizer).encode_all(rows, 0)
    assert first.ids == second.ids


@pytest.mark.parametrize("name", ["metaspace", "byte_fallback"])
def test_a_decoder_writes_a_text_of_its_own(name: str) -> None:
    """An encoder-decoder reads the prompt with the tokenizer's own marks; its answer begins as any text does."""
    tokenizer = family(name)
    row = PromptExample(id="row", prompt="Name a bird. Output:", completion=" gull")
    one = prepared(tokenizer, encoder_decoder=True).encode(row, 0)
    assert one.ids[: one.prompt_tokens] == tuple(tokenizer(row.prompt).input_ids)
    assert one.labels == (*tokenizer("gull", add_special_tokens=False).input_ids, tokenizer.eos_token_id)
