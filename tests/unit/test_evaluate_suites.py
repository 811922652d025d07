"""The evaluation sets that the settings name, and their prompts, cut where they don't fit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from self_instruct.errors import ConfigError, DataError
from self_instruct.evaluate import suites
from self_instruct.evaluate.suites import Prompted, Suite
from self_instruct.records import EvalItem
from self_instruct.seedbank import load_user_oriented
from self_instruct.settings_evaluate import EvaluateSettings
from superni_clones import Words, clone, no_tokenizer, task


def item(instruction: str, input: str) -> EvalItem:
    return EvalItem(id="t", suite="s", task="t", group="g", instruction=instruction, input=input, references=("r",))


def suite(*items: EvalItem, max_tokens: int = 10, kind: suites.Kind = "user_oriented") -> Suite:
    return Suite(name="s", kind=kind, items=items, max_tokens=max_tokens, counts={}, source="s.jsonl")


def prompt(one: EvalItem, limit: int, tokenizer: Any = None) -> Prompted:
    """With 10 tokens for the answer beside `limit` for the prompt; the special token is one of them."""
    made = suites.prompts(suite(one), EvaluateSettings(), limit + 10, no_tokenizer if tokenizer is None else lambda: tokenizer)
    assert [found.item for found in made] == [one]
    return made[0]


def settings(**values: Any) -> EvaluateSettings:
    return EvaluateSettings.model_validate(values)


def write(path: Path, *rows: tuple[str, int]) -> str:
    lines = [
        json.dumps(
            {"id": name, "motivation_app": "App", "instruction": "Do it.", "instances": [{"input": "", "output": "x"}] * count}
        )
        for name, count in rows
    ]
    path.parent.mkdir(exist_ok=True)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return str(path)


# Sets.


def test_without_a_word_the_shipped_set_is_the_only_one() -> None:
    (one,) = suites.load(settings())
    assert (one.name, one.kind, one.source, one.max_tokens, one.counts) == ("user_oriented", "user_oriented", "shipped", 512, {})
    assert one.items == load_user_oriented() and len(one.items) == 252


def test_each_user_oriented_set_is_cut_to_max_items(tmp_path: Path) -> None:
    path = write(tmp_path / "own.jsonl", ("a", 1), ("b", 2))
    found = suites.load(settings(user_oriented=("shipped", path), max_items=2, max_tokens=7))
    assert [(one.name, len(one.items), one.max_tokens) for one in found] == [("user_oriented", 2, 7), ("own", 2, 7)]
    assert suites.load(settings(max_items=10_000))[0].items == load_user_oriented()


def test_sets_are_called_after_their_files_and_numbered_apart(tmp_path: Path) -> None:
    places = [write(tmp_path / name, ("a", 1)) for name in ("x/own.jsonl", "y/own.jsonl", "user_oriented.jsonl", "superni.jsonl")]
    found = suites.load(settings(user_oriented=(places[0], places[1], places[2], "shipped", places[3])))
    assert [one.name for one in found] == ["own", "own-2", "user_oriented-2", "user_oriented", "superni-2"]
    assert [one.source for one in found] == [*places[:3], "shipped", places[3]]
    assert all(item.suite == one.name for one in found for item in one.items)
    assert [one.name for one in suites.load(settings(user_oriented=places[2]))] == ["user_oriented"]


def test_superni_is_a_set_with_limits_of_its_own(tmp_path: Path) -> None:
    folder = clone(tmp_path / "ni", {"a": task("a", 3)}, ["a", "gone"])
    limits = {"folder": str(folder), "instances": 2, "max_tokens": 9}
    user_oriented, superni = suites.load(settings(superni=limits, max_items=1))
    assert (user_oriented.name, len(user_oriented.items)) == ("user_oriented", 1)
    assert (superni.name, superni.kind, superni.source, superni.max_tokens) == ("superni", "superni", str(folder), 9)
    assert [(one.id, one.suite) for one in superni.items] == [("a-0", "superni"), ("a-1", "superni")]
    assert superni.counts == {"tasks of the split that aren't in tasks/": 1}
    assert suites.load(settings(superni=limits, user_oriented=())) == (superni,)


@pytest.mark.parametrize("empty", ["", ()])
def test_no_set_at_all_is_refused(empty: Any) -> None:
    with pytest.raises(DataError, match="no evaluation set") as caught:
        suites.load(settings(user_oriented=empty))
    assert "evaluate.superni.folder" in (caught.value.hint or "")


def test_what_cant_be_read_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "own.jsonl", ("b-1", 1), ("b", 2))
    with pytest.raises(DataError, match=r"own\.jsonl:2: field 'id': 'b-1' is given twice"):
        suites.load(settings(user_oriented=path))
    with pytest.raises(DataError, match=r"evaluate\.user_oriented: shipped is named twice"):
        suites.load(settings(user_oriented=("shipped", "shipped")))
    with pytest.raises(DataError, match="no folder splits in it"):
        suites.load(settings(superni={"folder": str(tmp_path)}))


def test_the_digest_is_of_the_content_in_its_order() -> None:
    one, other = item("a", "b"), item("ab", "")
    digest = suite(one, other).digest
    assert len(digest) == 64 and digest == suite(one, other, max_tokens=3).digest
    renamed = EvalItem(id="t", suite="mine", task="t", group="g", instruction="a", input="b", references=("r",))
    assert digest == suite(renamed, other).digest
    changed = [
        EvalItem(id="t", suite="s", task="t", group="g", instruction="a", input="b", references=two) for two in [(), ("r", "r")]
    ]
    others = [suite(other, one), suite(one), suite(item("ab", ""), item("a", "b")), *(suite(two, other) for two in changed)]
    assert digest not in {found.digest for found in others} and others[0].digest == others[2].digest


# Prompts.


def test_a_short_prompt_needs_no_tokenizer() -> None:
    assert prompt(item("Say it.", "hello"), 100) == Prompted(
        item=item("Say it.", "hello"), prompt="Say it.\n\nhello\n\nOutput:", cut=False
    )


def test_a_prompt_that_fits_by_tokens_is_left_whole() -> None:
    one = prompt(item("Say it.", "hello " * 50), 54, Words())
    assert (one.prompt, one.cut) == (f"Say it.\n\n{('hello ' * 50).strip()}\n\nOutput:", False)
    assert prompt(item("Say it.", "hello " * 50), 53, Words()).cut


@pytest.mark.parametrize("limit", [5, 6, 10, 31])
def test_a_long_input_loses_its_end_and_no_more_than_it_must(limit: int) -> None:
    text = " ".join(f"w{n}" for n in range(100))
    one = prompt(item("Say it.", text), limit, Words())
    assert one.cut
    assert one.prompt == f"Say it.\n\n{' '.join(f'w{n}' for n in range(limit - 4))}\n\nOutput:"


def test_where_no_word_of_the_input_fits_the_instruction_stands_alone() -> None:
    assert prompt(item("Say it.", "x " * 50), 4, Words()).prompt == "Say it.\n\nOutput:"


def test_an_instruction_that_is_too_long_is_an_error() -> None:
    with pytest.raises(DataError, match="evaluation task 't': its prompt has 52 tokens even without the input, 20 fit") as caught:
        prompt(item("word " * 50, "x " * 50), 20, Words())
    assert "model.max_length" in (caught.value.hint or "")


def test_superni_has_its_own_prompt_within_its_own_limit_and_the_models() -> None:
    one = suite(item("Sort", "x " * 100), max_tokens=30, kind="superni")

    def found(limit: int, **superni: Any) -> tuple[str, bool]:
        (made,) = suites.prompts(one, settings(superni=superni), limit, Words)
        return made.prompt, made.cut

    def expected(kept: int) -> str:
        return f"Definition: Sort.\n\nNow complete the following example -\nInput: {' '.join(['x'] * kept)}.\nOutput: "

    assert found(1000) == (expected(100), False)
    assert found(1000, prompt_tokens=50) == (expected(39), True)
    assert found(70, prompt_tokens=50) == (expected(29), True)
    assert found(70, prompt_tokens=50, cut="official") == (" ".join(expected(100).split()[:39]), True)


# In a chat template.


def chatty() -> Any:
    from sample_training import byte_level

    tokenizer = byte_level()
    tokenizer.chat_template = (
        "{% for m in messages %}<u>{{ m.content }}</u>{% endfor %}{% if add_generation_prompt %}<a>{% endif %}"
    )
    return tokenizer


def test_in_a_chat_a_task_is_what_a_user_says_without_a_cue() -> None:
    one = suite(item(" Name it. ", "a gull"), item("Name a fish.", ""))
    made = suites.prompts(one, EvaluateSettings(), 500, chatty, chat=True)
    assert [found.prompt for found in made] == ["<u>Name it.\n\na gull</u><a>", "<u>Name a fish.</u><a>"]
    assert not any(found.cut for found in made)


def test_in_a_chat_superni_asks_what_it_asks_elsewhere() -> None:
    one = suite(item("Name it", "a gull"), kind="superni")
    (made,) = suites.prompts(one, EvaluateSettings(), 500, chatty, chat=True)
    assert made.prompt == "<u>Definition: Name it.\n\nNow complete the following example -\nInput: a gull.\nOutput:</u><a>"


@pytest.mark.parametrize("kind", ["superni", "user_oriented"])
def test_in_a_chat_the_template_has_its_place_in_what_fits(kind: suites.Kind) -> None:
    tokenizer = chatty()
    one = suite(item("Name it.", "gull " * 300), kind=kind)
    (made,) = suites.prompts(one, EvaluateSettings(), 200, lambda: tokenizer, chat=True)
    assert made.cut and made.prompt.endswith("</u><a>")
    assert len(tokenizer(made.prompt).input_ids) <= 190


def test_a_chat_needs_a_template() -> None:
    from sample_training import byte_level

    with pytest.raises(ConfigError, match="has no chat template"):
        suites.prompts(suite(item("Name it.", "")), EvaluateSettings(), 500, byte_level, chat=True)
