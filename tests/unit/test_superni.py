"""The layout of natural-instructions on disk, and what isn't of that layout."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from self_instruct.errors import DataError
from self_instruct.superni import TaskInstance, read_split, read_task, task_list
from superni_clones import clone, task


def written(folder: Path, content: Any) -> Path:
    return clone(folder, {"t": content}) / "tasks" / "t.json"


def test_a_split_is_read_in_the_lists_order(tmp_path: Path) -> None:
    listed = ["\ufeffb", "", "  a.json ", "gone", "b", "a", "lost.json", "\r"]
    split = read_split(clone(tmp_path, {"a": task("a", 1), "b": task("b", 1), "c": task("c", 1)}, listed), "default", "test")
    assert [path.name for path in split.tasks] == ["b.json", "a.json"]
    assert split.missing == ("gone", "lost")
    assert split.repeated == 2


def test_each_part_of_each_split_has_a_list_of_its_own(tmp_path: Path) -> None:
    tasks = {"a": task("a", 1), "b": task("b", 1)}
    clone(tmp_path, tasks, ["a"])
    clone(tmp_path, tasks, ["b"], split="xlingual", part="train")
    assert [path.stem for path in read_split(tmp_path, "default", "test").tasks] == ["a"]
    assert [path.stem for path in read_split(tmp_path, "xlingual", "train").tasks] == ["b"]
    assert task_list(tmp_path, "xlingual", "train").is_file()


def test_a_folder_without_its_parts_is_named(tmp_path: Path) -> None:
    def refused(split: str = "default") -> str:
        with pytest.raises(DataError) as caught:
            read_split(tmp_path / "ni", split, "test")
        assert caught.value.hint
        return caught.value.message.removeprefix(str(tmp_path))

    assert refused() == "/ni: no such folder"
    (tmp_path / "ni").mkdir()
    assert refused() == "/ni: no folder splits in it"
    (tmp_path / "ni" / "splits").mkdir()
    assert refused() == "/ni: no split 'default' in splits/; there: none"
    clone(tmp_path / "ni", {}, ["t"], split="xlingual", part="train")
    clone(tmp_path / "ni", {}, ["t"], split="add_task")
    assert refused() == "/ni: no split 'default' in splits/; there: add_task, xlingual"
    assert refused("xlingual") == "/ni: no splits/xlingual/test_tasks.txt"
    clone(tmp_path / "ni", {}, [" ", ""])
    assert refused() == "/ni/splits/default/test_tasks.txt: lists no task"
    clone(tmp_path / "ni", {}, ["t", "", "u", "t"])
    assert refused() == "/ni: none of the 2 tasks of splits/default/test_tasks.txt is in tasks/"
    clone(tmp_path / "ni", {}, ["t", "../tasks/u"])
    assert refused() == "/ni/splits/default/test_tasks.txt:2: not the name of a task: ../tasks/u"
    clone(tmp_path / "ni", {}, ["x" * 300])
    assert refused().startswith("/ni/splits/default/test_tasks.txt:1: not the name of a task: xxx")
    task_list(tmp_path / "ni", "default", "test").write_bytes(b"t\n\xff")
    assert refused() == "/ni/splits/default/test_tasks.txt:2: not text in UTF-8"


def test_a_task_is_read_whole(tmp_path: Path) -> None:
    found = read_task(written(tmp_path, task("t", 3, Output_language=["Hausa", "English"])))
    assert (found.name, found.definition, found.categories) == ("t", "Do t", ("Kind t", "unused"))
    assert found.languages == ("English", "Hausa")
    assert [one.id for one in found.instances] == ["t-0", "t-1", "t-2"]
    assert found.instances[1] == TaskInstance(id="t-1", input="in 1", outputs=("out 1", "other 1"))


def test_texts_may_stand_alone_and_ids_be_missing(tmp_path: Path) -> None:
    instances = [
        {"input": "", "output": "y"},
        {"id": "", "input": "b", "output": []},
        {"id": " ", "input": "c", "output": ["", " z "]},
        {"id": None, "input": "d"},
        {"id": 7, "input": "\ud800e", "output": ["\udfff"], "more": 1},
    ]
    found = read_task(written(tmp_path, {"Definition": "Do", "Categories": "One", "Instances": instances}))
    assert (found.definition, found.categories, found.languages) == ("Do", ("One",), ())
    assert [(one.id, one.input, one.outputs) for one in found.instances] == [
        ("t-000001", "", ("y",)),
        ("t-000002", "b", ()),
        ("t-000003", "c", ("", " z ")),
        ("t-000004", "d", None),
        ("7", "\ufffde", ("\ufffd",)),
    ]


def one(**instance: Any) -> dict[str, Any]:
    return {"Definition": "Do", "Instances": [{"input": "x", "output": "y"}, {"input": "x", "output": "y"} | instance]}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"Definition":\n}', ":2: not JSON: Expecting value, column 1"),
        ("[" * 100_000, ": not JSON: "),
        (f'{{"Definition": {"9" * 5000}}}', ": not JSON: "),
        ([], ": not a task: no text as `Definition`, or no list as `Instances` (its fields: list)"),
        ({"Definition": "Do"}, ": not a task: no text as `Definition`, or no list as `Instances` (its fields: Definition)"),
        (
            {"Definition": [], "Instances": []},
            ": not a task: no text as `Definition`, or no list as `Instances` (its fields: Definition, Instances)",
        ),
        (
            {"Definition": "Do", "Instances": {}},
            ": not a task: no text as `Definition`, or no list as `Instances` (its fields: Definition, Instances)",
        ),
        ({"Definition": [" \n"], "Instances": []}, ": its `Definition` is blank"),
        (one() | {"Categories": 3}, ": `Categories` is 3, not a list of texts"),
        (one() | {"Input_language": [None]}, ": `Input_language` is [None], not a list of texts"),
        ({"Definition": "Do", "Instances": ["x"]}, ": instance 1: 'x' is no object"),
        (one(input=3), ": instance 2: `input` is 3, not text"),
        (one(output={"a": 1}), ": instance 2: `output` is {'a': 1}, not a list of texts"),
        (one(output=["a", 4]), ": instance 2: `output` is ['a', 4], not a list of texts"),
        (one(id=True), ": instance 2: `id` is True, neither text nor a whole number"),
        (one(id=["a"]), ": instance 2: `id` is ['a'], neither text nor a whole number"),
        ({"Definition": "Do", "Instances": [{"output": "y"}]}, ": instance 1: `input` is missing, not text"),
    ],
)
def test_what_is_no_task_is_named_with_its_instance(tmp_path: Path, content: Any, message: str) -> None:
    path = written(tmp_path, content)
    with pytest.raises(DataError) as caught:
        read_task(path)
    assert caught.value.message.startswith(f"{path}{message}") and caught.value.hint


def test_a_task_that_cant_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "t.json").write_bytes(b"{\n\n\xff")
    with pytest.raises(DataError, match=r"t\.json:3: not text in UTF-8"):
        read_task(tmp_path / "t.json")
    with pytest.raises(DataError, match=r"u\.json: can't be read: No such file"):
        read_task(tmp_path / "u.json")


def test_every_real_task_is_read(shared_data: Path) -> None:
    """5 tasks of 100 instances train, 20 test; every instance has an id, an input and an output."""
    train, test = (read_split(shared_data / "superni", "default", part) for part in ("train", "test"))
    assert (len(train.tasks), len(test.tasks), train.missing, test.missing) == (5, 20, (), ())
    found = [read_task(path) for path in (*train.tasks, *test.tasks)]
    assert sum(len(one.instances) for one in found) == 929
    assert all(instance.outputs and instance.id.startswith(one.name.split("_")[0]) for one in found for instance in one.instances)
    assert {one.languages for one in found} == {("English",)}
