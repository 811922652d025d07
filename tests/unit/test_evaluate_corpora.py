"""Every format of a corpus is read as what it is, and nothing else is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import sample_runs
from self_instruct import corpus as kernel
from self_instruct.errors import DataError
from self_instruct.evaluate import corpora
from self_instruct.records import Instance


def lines(path: Path, *rows: Any) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def pair(input: str, output: str) -> Instance:
    return Instance(input=input, output=output)


def ours(folder: Path, labels: dict[str, bool], instances: list[tuple[str, str, str]]) -> Path:
    """A corpus as the generate stage writes it."""
    folder.mkdir()
    instructions = [
        {
            "id": id, "instruction": f"Do {id}.", "is_classification": label, "margin": 0.5, "request": 0, "position": n,
            "parents": [], "nearest_ids": [], "nearest_scores": [],
        }
        for n, (id, label) in enumerate(labels.items())
    ]  # fmt: skip
    rows = [
        {"id": f"{n}", "instruction_id": id, "order": n, "input": input, "output": output}
        for n, (id, input, output) in enumerate(instances)
    ]
    kernel.write(folder, {"instructions": instructions, "instances": rows}, "# Card\n")
    return folder


def test_ours(tmp_path: Path) -> None:
    place = ours(tmp_path / "corpus", {"a": True, "b": False}, [("b", "x", "y"), ("a", "", "z"), ("b", "v", "w")])
    found = corpora.read(place)
    assert (found.kind, found.place) == ("corpus", str(place))
    assert found.instructions == ("Do a.", "Do b.") and found.classification == (True, False)
    assert found.instances == ((pair("", "z"),), (pair("x", "y"), pair("v", "w")))
    copied = ours(tmp_path / "copy", {"a": True, "b": False}, [("b", "x", "y"), ("a", "", "z"), ("b", "v", "w")])
    assert corpora.read(copied).sha256 == found.sha256
    other = ours(tmp_path / "other", {"a": True, "b": False}, [("b", "x", "y"), ("a", "", "z"), ("b", "v", "u")])
    assert corpora.read(other).sha256 != found.sha256


def test_ours_without_an_instance(tmp_path: Path) -> None:
    assert corpora.read(ours(tmp_path / "corpus", {"a": True}, [])).instances == ((),)


def test_ours_with_an_instance_of_nothing(tmp_path: Path) -> None:
    place = ours(tmp_path / "corpus", {"a": True}, [("a", "", "z"), ("c", "", "z")])
    with pytest.raises(DataError, match=r"\.parquet: row 2: no instruction has the id c"):
        corpora.read(place)


def test_tasks_with_their_instances(tmp_path: Path) -> None:
    path = lines(
        tmp_path / "seeds.jsonl",
        {"id": "s", "instruction": "Sort.", "instances": [{"input": "b a", "output": "a b"}], "is_classification": False},
        {"instruction": "Sort.", "instances": []},
        {"instruction": "Is it?", "instances": [{"output": "no"}, {"input": None, "output": "yes"}], "is_classification": True},
    )
    found = corpora.read(path)
    assert (found.kind, found.instructions) == ("tasks", ("Sort.", "Sort.", "Is it?"))  # repeated, and still there
    assert found.classification == (False, None, True)
    assert found.instances == ((pair("b a", "a b"),), (), (pair("", "no"), pair("", "yes")))


def test_rows_of_one_instruction_are_one_task_at_the_first_ones_place(tmp_path: Path) -> None:
    rows = [
        {"instruction": "Sort.", "input": "b a", "output": "a b"},
        {"instruction": "Greet.", "output": "Hello"},
        {"instruction": "Sort.", "input": "b a", "output": "a b"},
        {"instruction": "sort.", "input": "", "output": "Sorted."},
    ]
    found = corpora.read(lines(tmp_path / "all_instances.jsonl", *rows))
    assert (found.kind, found.instructions) == ("instances", ("Sort.", "Greet.", "sort."))
    assert found.instances == ((pair("b a", "a b"),) * 2, (pair("", "Hello"),), (pair("", "Sorted."),))
    array = tmp_path / "alpaca.json"
    array.write_text(json.dumps(rows, indent=1), encoding="utf-8")
    assert corpora.read(array).instances == found.instances


def test_instructions_alone_with_labels_as_the_authors_write_them(tmp_path: Path) -> None:
    labels = [" Yes", "No", "YES", "", None]
    rows = [{"instruction": f"Do {n}.", "is_classification": label} for n, label in enumerate(labels)]
    found = corpora.read(lines(tmp_path / "is_clf.jsonl", *rows))
    assert found.kind == "instructions" and found.classification == (True, False, True, False, None)
    assert found.instances == ((),) * 5


GOOD = {"instruction": "Sort.", "output": "x", "is_classification": True}


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"prompt": "a", "completion": "b"}, "`instruction` is missing, with the fields prompt, completion"),
        ({"instruction": " \n", "output": "x"}, "`instruction` is blank"),
        ({"instruction": 3, "output": "x"}, "`instruction` is 3, not text"),
        ({"instruction": "Greet.", "output": None}, "`output` is None, not text"),
        ({"instruction": "Greet.", "output": "x", "input": ["a"]}, "`input` is ['a'], not text"),
        ({"instruction": "Greet.", "output": "x", "is_classification": 1}, "`is_classification` is 1, neither true nor false"),
        ({"instruction": "Greet."}, "a row of kind instructions, the file's first is of kind instances"),
        ({"instruction": "Greet.", "instances": []}, "a row of kind tasks, the file's first is of kind instances"),
        (
            {"instruction": "Sort.", "output": "y", "is_classification": False},
            "an earlier row of this instruction has another label",
        ),
        ([1], "[1] is no row"),
    ],
)
def test_a_wrong_row_is_named_with_its_line(tmp_path: Path, row: Any, said: str) -> None:
    path = lines(tmp_path / "rows.jsonl", GOOD, GOOD, row)
    with pytest.raises(DataError) as error:
        corpora.read(path)
    assert error.value.message == f"{path}:3: {said}" and error.value.hint


@pytest.mark.parametrize(
    ("instances", "said"),
    [
        ("none", "`instances` is 'none', not a list"),
        ([{"input": "a", "output": "b"}, "c"], "instance 2 is 'c', not an object"),
        ([{"input": "a"}], "instance 1: `output` is missing, not text"),
    ],
)
def test_wrong_instances_are_named(tmp_path: Path, instances: Any, said: str) -> None:
    path = lines(tmp_path / "tasks.jsonl", {"instruction": "Sort.", "instances": instances})
    with pytest.raises(DataError) as error:
        corpora.read(path)
    assert error.value.message == f"{path}:1: {said}"


def test_what_is_no_corpus_of_instructions(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file or folder"):
        corpora.read(tmp_path / "nothing")
    with pytest.raises(DataError, match="this is a clone of natural-instructions"):
        corpora.read(sample_runs.clone(tmp_path / "superni"))
    t0 = tmp_path / "t0"
    t0.mkdir()
    lines(t0 / "one.jsonl", {"prompt": "a", "completion": "b"})
    with pytest.raises(DataError, match="name one of its files"):
        corpora.read(t0)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"no corpus of instructions \(data/instructions/\*\.parquet\)$") as error:
        corpora.read(tmp_path / "empty")
    assert "generate/corpus" in (error.value.hint or "")


def test_the_authors_seeds(shared_data: Path) -> None:
    found = corpora.read(shared_data / "self_instruct" / "seed_tasks.jsonl")
    assert (found.kind, len(found.instructions), sum(map(bool, found.classification))) == ("tasks", 175, 26)
    assert sum(not task[0].input for task in found.instances) == 50
