"""What a run leaves for others: every config opens with its declared columns, and the exports open as trainers read them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from sample_generation import generated
from self_instruct import corpus, template
from self_instruct.generate.card import card
from self_instruct.generate.export import EXPORTS, train_rows, write_exports
from self_instruct.records import Request

pytest.importorskip("datasets")

AWKWARD = 'a "quote" \\ back\u2028slash\n\n\ttab \x00 é 漢 😀 {I} {X} </s>'
ROWS: list[dict[str, Any]] = [
    {"id": "t0", "instruction": "Add.", "input": "1 1", "output": "2", "is_classification": False, "instruction_id": "i0"},
    {"id": "t1", "instruction": AWKWARD, "input": "", "output": AWKWARD, "is_classification": True, "instruction_id": "i1"},
    {
        "id": "t2",
        "instruction": "Say {X}.",
        "input": AWKWARD,
        "output": "2024-01-01",
        "is_classification": True,
        "instruction_id": "i2",
    },
]


def opened(path: Path, cache: Path) -> Any:
    from datasets import load_dataset

    return load_dataset("json", data_files=str(path), split="train", cache_dir=str(cache))


def test_every_config_of_a_run_opens_with_its_features(tmp_path: Path) -> None:
    from datasets import load_dataset

    result, made = generated(tmp_path / "run", target_instructions=120)
    folder = tmp_path / "run" / "generate" / "corpus"
    tables = {name: load_dataset(str(folder), name, split="train", cache_dir=str(tmp_path / "cache")) for name in corpus.COLUMNS}
    assert {name: table.features for name, table in tables.items()} == {name: corpus.features(name) for name in corpus.COLUMNS}
    assert list(tables["train"]) == train_rows(result)
    assert tables["instructions"]["parents"][:] == [list(task.instruction.parents) for task in result.instructions]
    near = {task.instruction.id: task.instruction.nearest for task in result.instructions}
    for row in tables["instructions"]:
        shown = list(zip(row["nearest_ids"], row["nearest_scores"], strict=True))
        assert shown == [(one.id, one.score) for one in near[row["id"]]]
    assert tables["instances"]["id"][:] == [instance.id for instance in result.instances]
    assert (folder / "README.md").read_text(encoding="utf-8").endswith(card(result, made))


def test_a_rejected_row_has_its_neighbour_in_columns_of_its_own(tmp_path: Path) -> None:
    from datasets import load_dataset

    def script(request: Request) -> str:
        if request.id.startswith("bootstrap"):
            return " Name four rivers of Asia.\n10. Name four rivers of Asia!\n11. too short"
        return " Oslo\n" if request.id.startswith("instances") else ""

    generated(tmp_path / "run", script=script, max_requests=1)
    folder = str(tmp_path / "run" / "generate" / "corpus")
    rows = list(load_dataset(folder, "rejected", split="train", cache_dir=str(tmp_path / "cache")))
    told = [tuple(row[name] for name in ("rule", "detail", "nearest_id", "nearest_score")) for row in rows]
    assert told[:2] == [("not_novel", "", "task-000000-00", 1.0), ("too_short", "2 words", None, None)]


def test_exports_of_a_run_hold_its_training_rows(tmp_path: Path) -> None:
    result, _ = generated(tmp_path / "run")
    folder = tmp_path / "run" / "generate" / "exports"
    rows = train_rows(result)
    alpaca, messages, pairs = (opened(folder / name, tmp_path / "cache") for name, _ in EXPORTS.values())
    assert list(alpaca) == [{name: row[name] for name in ("instruction", "input", "output")} for row in rows]
    assert messages.column_names == ["messages"]
    assert [[turn["role"] for turn in row["messages"]] for row in messages] == [["user", "assistant"]] * len(rows)
    assert [row["messages"][1]["content"] for row in messages] == [row["output"] for row in rows]
    assert pairs.column_names == ["prompt", "completion"]
    assert list(pairs["prompt"]) == [template.evaluation_prompt(row["instruction"], row["input"]) for row in rows]
    assert list(pairs["completion"]) == [f" {row['output']}" for row in rows]


def test_any_text_comes_back_as_it_was(tmp_path: Path) -> None:
    write_exports(tmp_path / "exports", ROWS, EXPORTS)
    alpaca, messages, pairs = (opened(tmp_path / "exports" / name, tmp_path / "cache") for name, _ in EXPORTS.values())
    assert list(alpaca) == [{name: row[name] for name in ("instruction", "input", "output")} for row in ROWS]
    asked = ["Add.\n\n1 1", AWKWARD, f"Say {{X}}.\n\n{AWKWARD}"]
    assert [[turn["content"] for turn in row["messages"]] for row in messages] == [
        [text, row["output"]] for text, row in zip(asked, ROWS, strict=True)
    ]
    assert list(pairs["prompt"]) == [f"{text}\n\nOutput:" for text in asked]
    assert list(pairs["completion"]) == [f" {row['output']}" for row in ROWS]


def test_half_code_points_become_replacement_characters(tmp_path: Path) -> None:
    row = {**ROWS[0], "output": "a\ud83d b"}
    write_exports(tmp_path / "exports", [row], ["alpaca"])
    assert json.loads((tmp_path / "exports" / "alpaca.json").read_text(encoding="utf-8"))[0]["output"] == "a\ufffd b"


def test_only_what_is_asked_for_is_there(tmp_path: Path) -> None:
    place = tmp_path / "exports"
    write_exports(place, ROWS, EXPORTS)
    assert {path.name for path in place.iterdir()} == {"alpaca.json", "messages.jsonl", "prompt_completion.jsonl"}
    write_exports(place, ROWS, ["messages"])
    assert [path.name for path in tmp_path.iterdir()] == ["exports"]
    assert [path.name for path in place.iterdir()] == ["messages.jsonl"]


def test_settings_and_exports_name_the_same_files() -> None:
    from self_instruct.settings import GenerateSettings

    assert GenerateSettings().exports == tuple(EXPORTS)


def test_an_export_that_fails_leaves_the_older_one(tmp_path: Path) -> None:
    place = tmp_path / "exports"
    write_exports(place, ROWS, ["alpaca"])
    before = (place / "alpaca.json").read_bytes()
    with pytest.raises(KeyError):
        write_exports(place, [{"instruction": "no output"}], ["alpaca"])
    assert [path.name for path in tmp_path.iterdir()] == ["exports"]
    assert (place / "alpaca.json").read_bytes() == before
