"""Seed and evaluation files: what is refused, with file, line and field; what loads."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from self_instruct.errors import DataError
from self_instruct.seedbank import MINIMUM_SEEDS, load_seeds, load_user_oriented


def seed(number: int, **changes: Any) -> dict[str, Any]:
    row = {
        "id": f"task_{number}",
        "name": f"name_{number}",
        "instruction": f"Do thing number {number}.",
        "instances": [{"input": "", "output": "Done."}],
        "is_classification": False,
    }
    return {name: value for name, value in {**row, **changes}.items() if value is not ...}


def user_task(number: int, **changes: Any) -> dict[str, Any]:
    row = {"motivation_app": "Mail", **seed(number), "name": ..., "is_classification": ..., **changes}
    return {name: value for name, value in row.items() if value is not ...}


def write(path: Path, rows: list[Any]) -> str:
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows), encoding="utf-8")
    return str(path)


BAD_SEEDS = [
    ({"id": ...}, "field 'id': missing"),
    ({"id": 3}, "field 'id': input should be a valid string, found 3"),
    ({"id": " "}, "field 'id': "),
    ({"id": "task_0"}, "field 'id': 'task_0' is given twice (first in line 1)"),
    ({"instruction": ...}, "field 'instruction': missing"),
    ({"instruction": ""}, "field 'instruction': "),
    ({"instruction": "\n"}, "field 'instruction': "),
    ({"instruction": None}, "field 'instruction': input should be a valid string, found None"),
    ({"instruction": "lone \ud800"}, "field 'instruction': input should be a valid string"),
    ({"name": 1}, "field 'name': "),
    ({"is_classification": ...}, "field 'is_classification': missing"),
    ({"is_classification": "false"}, "field 'is_classification': input should be a valid boolean, found 'false'"),
    ({"is_classification": 0}, "field 'is_classification': "),
    ({"instances": ...}, "field 'instances': missing"),
    ({"instances": []}, "field 'instances': "),
    ({"instances": {}}, "field 'instances': input should be a valid list"),
    ({"instances": ["x"]}, "field 'instances.0': "),
    ({"instances": [{"input": ""}]}, "field 'instances.0.output': missing"),
    ({"instances": [{"output": "a"}]}, "field 'instances.0.input': missing"),
    ({"instances": [{"input": None, "output": "a"}]}, "field 'instances.0.input': "),
    ({"instances": [{"input": "", "output": " "}]}, "field 'instances.0.output': "),
    ({"instances": [{"input": "", "output": "a"}, {"input": "", "output": 4}]}, "field 'instances.1.output': "),
    ({"motivation_app": "Mail"}, "field 'motivation_app': this is an evaluation task, not a seed"),
]  # fmt: skip


@pytest.mark.parametrize(("changes", "complaint"), BAD_SEEDS)
def test_bad_seed_is_refused_with_line_and_field(tmp_path: Path, changes: dict[str, Any], complaint: str) -> None:
    path = write(tmp_path / "seeds.jsonl", [*(seed(n) for n in range(3)), "", seed(3, **changes), *(seed(n) for n in range(4, 10))])
    with pytest.raises(DataError) as caught:
        load_seeds(path)
    assert caught.value.message.startswith(f"{path}:5: {complaint}")
    assert "\n" not in caught.value.message and caught.value.hint


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("{", "not valid JSON"),
        ('{"id": "a"} {"id": "b"}', "not valid JSON"),
        ("[]", "list where an object was expected"),
        ('"a"', "str where an object was expected"),
        ("null", "NoneType where an object was expected"),
    ],
)
@pytest.mark.parametrize("load", [load_seeds, load_user_oriented])
def test_line_that_is_no_object_is_refused(tmp_path: Path, load: Any, line: str, complaint: str) -> None:
    good = user_task if load is load_user_oriented else seed
    path = write(tmp_path / "tasks.jsonl", [good(1), line])
    with pytest.raises(DataError) as caught:
        load(path)
    assert caught.value.message.startswith(f"{path}:2: {complaint}")


@pytest.mark.parametrize("load", [load_seeds, load_user_oriented])
def test_unreadable_file_is_refused(tmp_path: Path, load: Any) -> None:
    with pytest.raises(DataError, match="no such file"):
        load(str(tmp_path / "missing.jsonl"))
    with pytest.raises(DataError, match="can't be read: Is a directory"):
        load(str(tmp_path))
    (tmp_path / "latin.jsonl").write_bytes(b'\n{"id": "caf\xe9"}\n')
    with pytest.raises(DataError, match=r"latin\.jsonl:2: not UTF-8"):
        load(str(tmp_path / "latin.jsonl"))


@pytest.mark.parametrize("count", [0, 1, MINIMUM_SEEDS - 1])
def test_too_few_seeds_are_refused(tmp_path: Path, count: int) -> None:
    path = write(tmp_path / "seeds.jsonl", [seed(n) for n in range(count)])
    with pytest.raises(DataError, match=f"{count} seed tasks, at least 8 needed"):
        load_seeds(path)


def test_eight_seeds_load_in_file_order_normalised(tmp_path: Path) -> None:
    rows = [seed(n) for n in range(7)]
    rows.append(
        seed(7, instruction=" Cafe\u0301? ", instances=[{"input": "e\u0301 ", "output": "\n e\u0301"}], note="extra", name=...)
    )
    tasks = load_seeds(write(tmp_path / "seeds.jsonl", rows))
    assert [task.id for task in tasks] == [f"task_{n}" for n in range(8)]
    assert tasks[7].instruction == "Café?"
    assert (tasks[7].instances[0].input, tasks[7].instances[0].output) == ("é ", "\n é")
    assert tasks[7].name == ""


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"motivation_app": ...}, "field 'motivation_app': missing"),
        ({"instances": []}, "field 'instances': "),
        ({"instances": [{"input": "", "output": ""}]}, "field 'instances.0.output': "),
        ({"id": "task_0"}, "field 'id': 'task_0' is given twice (first in line 1)"),
    ],
)
def test_bad_evaluation_task_is_refused_with_line_and_field(tmp_path: Path, changes: dict[str, Any], complaint: str) -> None:
    path = write(tmp_path / "tasks.jsonl", [user_task(0), user_task(1, **changes)])
    with pytest.raises(DataError) as caught:
        load_user_oriented(path)
    assert caught.value.message.startswith(f"{path}:2: {complaint}")


def test_evaluation_item_is_one_an_instance(tmp_path: Path) -> None:
    two = [{"input": "a", "output": "b"}, {"input": "c", "output": "d"}]
    items = load_user_oriented(write(tmp_path / "tasks.jsonl", [user_task(0), user_task(1, instances=two)]))
    assert [(item.id, item.group, item.input, item.references) for item in items] == [
        ("task_0", "Mail", "", ("Done.",)),
        ("task_1-0", "Mail", "a", ("b",)),
        ("task_1-1", "Mail", "c", ("d",)),
    ]


def test_ids_that_collide_after_numbering_are_refused(tmp_path: Path) -> None:
    two = [{"input": "a", "output": "b"}, {"input": "c", "output": "d"}]
    path = write(tmp_path / "tasks.jsonl", [user_task(0, instances=two), user_task(1, id="task_0-1")])
    with pytest.raises(DataError, match="'task_0-1' is given twice"):
        load_user_oriented(path)


def test_empty_evaluation_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no tasks in it"):
        load_user_oriented(write(tmp_path / "tasks.jsonl", [""]))


def test_shipped_files_load() -> None:
    seeds, items = load_seeds(), load_user_oriented()
    assert len(seeds) >= 20 and len(items) >= 20
    assert any(task.is_classification for task in seeds) and not all(task.is_classification for task in seeds)
    assert not {task.instruction for task in seeds} & {item.instruction for item in items}


def test_authors_files_load(shared_data: Path) -> None:
    folder = shared_data / "self_instruct"
    seeds = load_seeds(str(folder / "seed_tasks.jsonl"))
    assert len(seeds) == 175
    assert len(load_user_oriented(str(folder / "user_oriented_instructions.jsonl"))) == 252
    with pytest.raises(DataError, match="this is an evaluation task"):
        load_seeds(str(folder / "user_oriented_instructions.jsonl"))


def test_a_mark_at_the_start_is_passed_over(tmp_path: Path) -> None:
    """Windows' editors put one there."""
    path = tmp_path / "seeds.jsonl"
    path.write_bytes(b"\xef\xbb\xbf" + "".join(json.dumps(seed(n)) + "\n" for n in range(8)).encode())
    assert len(load_seeds(str(path))) == 8


@pytest.mark.parametrize("content", ["[]", "\n [\n{}\n]", "[" * 100_000])
def test_an_array_is_refused_as_one(tmp_path: Path, content: str) -> None:
    (tmp_path / "seeds.jsonl").write_text(content)
    with pytest.raises(DataError, match="a JSON array where JSON Lines were expected"):
        load_seeds(str(tmp_path / "seeds.jsonl"))


def test_deep_nesting_is_refused_with_its_line(tmp_path: Path) -> None:
    path = write(tmp_path / "seeds.jsonl", [seed(0), '{"a":' * 100_000])
    with pytest.raises(DataError, match=r"seeds\.jsonl:2: not valid JSON"):
        load_seeds(path)


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"instances": [{"input": "", "output": " "}]}, "field 'instances.0.output': blank"),
        ({"instances": []}, "field 'instances': an empty list"),
        ({"instruction": ""}, "field 'instruction': empty"),
    ],
)
def test_complaints_are_in_plain_words(tmp_path: Path, changes: dict[str, Any], complaint: str) -> None:
    with pytest.raises(DataError) as caught:
        load_seeds(write(tmp_path / "seeds.jsonl", [seed(0, **changes)]))
    assert f":1: {complaint}" in caught.value.message
