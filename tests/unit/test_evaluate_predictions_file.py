"""Predictions made elsewhere, set against the items of a set: what is missing, unknown, repeated or of no known form."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from self_instruct.errors import DataError
from self_instruct.evaluate.predictions_file import PredictionsFile, read
from self_instruct.evaluate.suites import Suite
from self_instruct.records import EvalItem

ITEMS = tuple(
    EvalItem(id=name, suite="superni", task="t", group="g", instruction="i", input="", references=("r",))
    for name in ("a", "b", "c")
)
SUITE = Suite(name="superni", kind="superni", items=ITEMS, max_tokens=128, counts={}, source="ni")


def lines(path: Path, *rows: dict[str, Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def theirs(identity: Any, text: Any, **more: Any) -> dict[str, Any]:
    return {"id": identity, "prediction": text} | more


def ours(identity: Any, text: Any, **more: Any) -> dict[str, Any]:
    return {"suite": "superni", "item_id": identity, "model": "tuned", "text": text} | more


def refused(path: Path) -> str:
    with pytest.raises(DataError) as caught:
        read(path, SUITE)
    assert caught.value.hint
    return caught.value.message.removeprefix(f"{path}")


@pytest.mark.parametrize("row", [theirs, ours])
def test_texts_stand_in_the_items_order_as_they_are(tmp_path: Path, row: Any) -> None:
    path = lines(tmp_path / "p.jsonl", row("c", " three\n"), row("a", ""), row("b", "two", hit_limit=True))
    assert read(path, SUITE) == PredictionsFile(texts=("", "two", " three\n"), counts={})


def test_a_json_array_and_rows_without_set_and_model_are_read(tmp_path: Path) -> None:
    (tmp_path / "p.json").write_text(json.dumps([{"item_id": "a", "text": "one"}, theirs("b", "two")], indent=1))
    found = read(tmp_path / "p.json", SUITE)
    assert found == PredictionsFile(texts=("one", "two", None), counts={"items without a prediction (scored as empty)": 1})


def test_missing_unknown_and_repeated_ones_are_counted(tmp_path: Path) -> None:
    rows = [theirs("a", "x"), theirs(" b", "y"), theirs("a", "x"), theirs("d", "z"), theirs("d", "other"), theirs("B", "y")]
    found = read(lines(tmp_path / "p.jsonl", *rows), SUITE)
    assert found == PredictionsFile(
        texts=("x", None, None),
        counts={
            "predictions given twice (taken once)": 1,
            "ids that the set doesn't have (' b', 'd', 'B')": 3,
            "items without a prediction (scored as empty)": 2,
        },
    )


def test_the_first_unknown_ids_are_named_and_the_others_counted(tmp_path: Path) -> None:
    found = read(lines(tmp_path / "p.jsonl", theirs("a", "x"), *(theirs(f"u{n}", "y") for n in range(9))), SUITE)
    assert found and found.counts["ids that the set doesn't have ('u0', 'u1', 'u2', …)"] == 9


def test_rows_of_another_set_are_passed_over_and_counted(tmp_path: Path) -> None:
    rows = [
        ours("a", "x"),
        ours("a", "other", suite="user_oriented"),
        ours("e", "z", suite="user_oriented"),
        ours("b", "y"),
        ours("c", ""),
    ]
    found = read(lines(tmp_path / "p.jsonl", *rows), SUITE)
    assert found == PredictionsFile(texts=("x", "y", ""), counts={"predictions for other evaluation sets": 2})


@pytest.mark.parametrize("row", [theirs("d", "x"), ours("a", "x", suite="user_oriented")])
def test_a_file_without_a_prediction_for_the_set_is_none(tmp_path: Path, row: dict[str, Any]) -> None:
    assert read(lines(tmp_path / "p.jsonl", row), SUITE) is None


def test_two_predictions_of_one_item_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "p.jsonl"
    path.write_text('{"id": "a", "prediction": "x"}\n\n{"id": "b", "prediction": "x"}\n{"id": "a", "prediction": "y"}\n')
    assert refused(path) == ":4: another prediction for 'a' than in line 1"


def test_answers_of_two_models_in_one_file_are_refused(tmp_path: Path) -> None:
    path = lines(tmp_path / "answers.jsonl", ours("a", "x", model="base"), ours("b", "x", model="base"), ours("a", "x"))
    assert refused(path) == ":3: an answer of 'tuned', in line 1 is one of 'base': a file holds one model's"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", ": empty"),
        ("{broken", ":1: not JSON: "),
        ('{"id": "a", "prediction": "x"}\n[1]', ":2: [1] is no row"),
        ('{"id": "a", "Prediction": "x"}', ":1: no prediction, but the fields id, Prediction"),
        ("{}", ":1: no prediction, but the fields none"),
        ('{"id": "a", "prediction": "x"}\n{"id": "b", "prediction": null}', ":2: `prediction` is None, not text"),
        ('{"id": "a", "prediction": ["x"]}', ":1: `prediction` is ['x'], not text"),
        ('{"id": 3, "prediction": "x"}', ":1: `id` is 3, not text"),
        ('{"item_id": "a", "text": 1.5}', ":1: `text` is 1.5, not text"),
    ],
)
def test_rows_of_another_form_are_named_with_their_line(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "p.jsonl").write_text(content)
    assert refused(tmp_path / "p.jsonl").startswith(message)


def test_a_file_that_isnt_there_is_refused(tmp_path: Path) -> None:
    assert refused(tmp_path / "no.jsonl") == ": can't be read: No such file or directory"
