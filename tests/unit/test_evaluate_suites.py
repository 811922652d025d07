"""The user-oriented items and their prompts, cut where they don't fit."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from self_instruct.errors import DataError
from self_instruct.evaluate import suites
from self_instruct.records import EvalItem
from self_instruct.settings import EvaluateSettings


def item(instruction: str, input: str) -> EvalItem:
    return EvalItem(id="t", suite="s", group="g", instruction=instruction, input=input, references=("r",))


def words(text: str) -> int:
    return len(text.split())


def write(path: Path, *rows: tuple[str, int]) -> str:
    lines = [
        json.dumps(
            {"id": name, "motivation_app": "App", "instruction": "Do it.", "instances": [{"input": "", "output": "x"}] * count}
        )
        for name, count in rows
    ]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return str(path)


def test_the_shipped_set_is_read_whole_or_up_to_max_items() -> None:
    everything = suites.user_oriented(EvaluateSettings())
    assert len(everything) >= 20
    assert suites.user_oriented(EvaluateSettings(max_items=5)) == everything[:5]
    assert suites.user_oriented(EvaluateSettings(max_items=10_000)) == everything


def test_a_file_of_ones_own(tmp_path: Path) -> None:
    settings = EvaluateSettings(user_oriented=write(tmp_path / "own.jsonl", ("a", 1), ("b", 2)))
    assert [one.id for one in suites.user_oriented(settings)] == ["a", "b-0", "b-1"]


def test_two_items_of_one_id_are_refused(tmp_path: Path) -> None:
    settings = EvaluateSettings(user_oriented=write(tmp_path / "own.jsonl", ("b-1", 1), ("b", 2)))
    with pytest.raises(DataError, match=r"own\.jsonl:2: field 'id': 'b-1' is given twice"):
        suites.user_oriented(settings)


def test_a_short_prompt_needs_no_tokenizer() -> None:
    def never(text: str) -> int:
        raise AssertionError(text)

    (one,) = suites.prompts([item("Say it.", "hello")], 100, never)
    assert (one.prompt, one.cut) == ("Say it.\n\nhello\n\nOutput:", False)


def test_a_prompt_that_fits_by_tokens_is_left_whole() -> None:
    (one,) = suites.prompts([item("Say it.", "hello " * 50)], 60, words)
    assert not one.cut
    assert one.prompt == f"Say it.\n\n{('hello ' * 50).strip()}\n\nOutput:"


@pytest.mark.parametrize("limit", [4, 5, 9, 30])
def test_a_long_input_loses_its_end_and_no_more_than_it_must(limit: int) -> None:
    text = " ".join(f"w{n}" for n in range(100))
    (one,) = suites.prompts([item("Say it.", text)], limit, words)
    assert one.cut
    assert words(one.prompt) == limit
    assert one.prompt == f"Say it.\n\n{' '.join(f'w{n}' for n in range(limit - 3))}\n\nOutput:"


def test_an_instruction_that_is_too_long_is_an_error() -> None:
    with pytest.raises(DataError, match="evaluation task 't': its prompt has 51 tokens even without the input, 20 fit") as caught:
        suites.prompts([item("word " * 50, "x " * 50)], 20, words)
    assert "model.max_length" in (caught.value.hint or "")
