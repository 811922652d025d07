"""Every kind of source is read back as it was written, and what is none of them is named."""

from __future__ import annotations

import json
import logging
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from self_instruct import corpus
from self_instruct.errors import DataError
from self_instruct.generate.export import write_exports
from self_instruct.readers import Source, json_rows, read, spread
from self_instruct.records import ChatExample, PromptExample, TrainingExample
from self_instruct.template import evaluation_prompt, superni_prompt, user_turn
from self_instruct.train.sources import combine

ROWS = [
    {"id": "t1", "instruction": "Name a bird.", "input": "", "output": "gull"},
    {"id": "t2", "instruction": "Sort.", "input": "2, 1", "output": "1, 2\nthen"},
    {"id": "t3", "instruction": "Say it.", "input": "\u4e2d\n\nx", "output": "\u4e2d"},
]


def of(path: Path, sample: int = 1000, seed: int = 1) -> Source:
    return read(path, sample=sample, seed=seed)


def lines(path: Path, *rows: Any) -> Path:
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
    return path


def refused(path: Path) -> DataError:
    with pytest.raises(DataError) as caught:
        of(path)
    assert caught.value.hint
    assert "\n" not in caught.value.message
    return caught.value


@pytest.fixture
def exports(tmp_path: Path) -> Path:
    """What the generate stage exports of the rows."""
    write_exports(tmp_path / "exports", ROWS, ["alpaca", "messages", "prompt_completion"])
    return tmp_path / "exports"


def test_a_corpus_folder_is_read(tmp_path: Path) -> None:
    folder = tmp_path / "corpus"
    folder.mkdir()
    corpus.write(folder, {"train": [row | {"is_classification": False, "instruction_id": "i"} for row in ROWS]}, "# A card")
    found = of(folder)
    assert (found.name, found.kind) == ("corpus", "corpus")
    assert found.examples == tuple(TrainingExample(**row) for row in ROWS)
    assert found.instructions == ("Name a bird.", "Sort.", "Say it.")


def test_our_alpaca_export_is_read(exports: Path) -> None:
    found = of(exports / "alpaca.json")
    assert (found.name, found.kind) == ("alpaca", "alpaca")
    expected = [TrainingExample(**row | {"id": f"alpaca-{number:06d}"}) for number, row in enumerate(ROWS, 1)]
    assert found.examples == tuple(expected)


def test_our_messages_export_is_read(exports: Path) -> None:
    found = of(exports / "messages.jsonl")
    assert (found.name, found.kind) == ("messages", "messages")
    expected = [(("user", user_turn(row["instruction"], row["input"])), ("assistant", row["output"])) for row in ROWS]
    assert [one.messages for one in found.examples if isinstance(one, ChatExample)] == expected


def test_our_prompt_completion_export_is_read(exports: Path) -> None:
    found = of(exports / "prompt_completion.jsonl")
    assert (found.name, found.kind) == ("prompt_completion", "prompt_completion")
    expected = [(evaluation_prompt(row["instruction"], row["input"]), f" {row['output']}") for row in ROWS]
    assert [(one.prompt, one.completion) for one in found.examples if isinstance(one, PromptExample)] == expected


def test_alpaca_rows_may_stand_in_lines_without_input_and_with_an_id(tmp_path: Path) -> None:
    rows = [{"instruction": "a", "output": "b", "id": 7}, {"instruction": "c", "output": "d", "input": None, "other": [1]}]
    found = of(lines(tmp_path / "rows.json", *rows))
    assert found.examples == (
        TrainingExample(id="7", instruction="a", input="", output="b"),
        TrainingExample(id="rows-000002", instruction="c", input="", output="d"),
    )


def test_a_byte_order_mark_blank_lines_and_line_separators_in_texts_are_taken(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('\ufeff\n{"prompt": "a\u2028b", "completion": "\\ud800"}\r\n\n', encoding="utf-8")
    assert of(path).examples == (PromptExample(id="rows-000001", prompt="a\u2028b", completion="\ufffd"),)


def test_every_answer_of_a_conversation_is_an_example(tmp_path: Path) -> None:
    turns = [
        ("system", "Be brief."),
        ("assistant", "Ask me."),
        ("user", "Hi"),
        ("assistant", "Hello"),
        ("user", "?"),
        ("assistant", "!"),
    ]
    rows = [
        {"messages": [{"role": role, "content": content} for role, content in turns], "id": "long"},
        {"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Ho"}, {"role": "user", "content": "x"}]},
        {"messages": [{"role": "user", "content": "Anybody?"}]},
    ]
    found = of(lines(tmp_path / "rows.jsonl", *rows))
    assert [(one.id, one.messages) for one in found.examples if isinstance(one, ChatExample)] == [
        ("long.0", tuple(turns[:4])),
        ("long.1", tuple(turns)),
        ("rows-000002", (("user", "Hi"), ("assistant", "Ho"))),
        ("rows-000003", (("user", "Anybody?"), ("assistant", ""))),
    ]
    assert [(one.id, one.reason) for one in combine([], [found]).dropped] == [("rows-000003", "empty")]
    assert found.instructions[:2] == ("Hi", "Hi")


# What is none of them.

GOOD = '{"prompt": "a", "completion": "b"}'
TURN = '{"messages": [{"role": "user", "content": "x"}, %s]}'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "rows.jsonl: empty"),
        (" \n\n", "rows.jsonl: empty"),
        ("[]", "rows.jsonl: empty"),
        (f"{GOOD}\n{{broken", "rows.jsonl:2: not JSON: "),
        ('[\n{"prompt": "a",\n "completion": }]', "rows.jsonl:3: not JSON: "),
        ("hello", "rows.jsonl:1: not JSON: "),
        (f"{GOOD}\n\n[1]", "rows.jsonl:3: [1] is no row"),
        ('{"question": "a", "answer": "b"}', "rows.jsonl:1: a row of no known kind, with the fields question, answer"),
        ('{"conversations": []}', "rows.jsonl:1: a row of no known kind, with the fields conversations"),
        ("{}", "rows.jsonl:1: a row of no known kind, with the fields none"),
        (
            f'{GOOD}\n{{"instruction": "a", "output": "b"}}',
            "rows.jsonl:2: a row of kind alpaca, the file's first is of kind prompt_",
        ),
        ('{"prompt": "a", "completion": 3}', "rows.jsonl:1: `completion` is 3, not text"),
        ('{"instruction": "a", "input": [], "output": "b"}', "rows.jsonl:1: `input` is [], not text"),
        (f'[{GOOD},\n\n {{"prompt": null, "completion": "b"}}]', "rows.jsonl:3: `prompt` is None, not text"),
        ('{"prompt": "a", "completion": "b", "id": 1.5}', "rows.jsonl:1: `id` is 1.5, neither text nor a whole number"),
        ('{"messages": "x"}', "rows.jsonl:1: `messages` is 'x', not a list of turns"),
        (TURN % '{"role": "gpt", "content": "y"}', "rows.jsonl:1: the role of turn 2 is 'gpt'"),
        (TURN % '"y"', "rows.jsonl:1: the role of turn 2 is 'y'"),
        (TURN % '{"role": "assistant"}', "rows.jsonl:1: turn 2: `content` is missing, not text"),
        (
            TURN % '{"role": "assistant", "content": [{"text": "y"}]}',
            "rows.jsonl:1: turn 2: `content` is [{'text': 'y'}], not text",
        ),
        ("[" * 100_000, "rows.jsonl:1: not a row: nested too deeply"),
    ],
)
def test_what_is_no_source_is_named_with_its_line(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "rows.jsonl").write_text(text, encoding="utf-8")
    assert refused(tmp_path / "rows.jsonl").message.startswith(f"{tmp_path}/{message}")


def test_other_bytes_and_places_are_named(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_bytes(b"\n\xff\xfe")
    assert refused(tmp_path / "x.json").message == f"{tmp_path}/x.json:2: not text in UTF-8"
    assert refused(tmp_path / "no").message == f"{tmp_path}/no: no such file or folder (train.data)"
    (tmp_path / "void").mkdir()
    assert refused(tmp_path / "void").message.startswith(f"{tmp_path}/void: no corpus there")


def test_a_corpus_of_another_schema_is_named(tmp_path: Path) -> None:
    import pyarrow
    import pyarrow.parquet

    place = tmp_path / "data" / "train" / "x.parquet"
    place.parent.mkdir(parents=True)
    pyarrow.parquet.write_table(pyarrow.table({"question": ["a"], "answer": ["b"]}), place)
    assert "column 'id' is missing (found question, answer)" in refused(tmp_path).message


def test_the_rows_of_any_json_file_are_told_with_their_lines_and_a_hint_of_the_callers(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"a": "\\ud800"}\n\n{"a": [1]}\n"x"\n')
    rows = json_rows(path, "do this")
    assert [next(rows), next(rows)] == [(1, {"a": "\ufffd"}), (3, {"a": [1]})]
    with pytest.raises(DataError, match=r"rows\.jsonl:4: 'x' is no row") as caught:
        next(rows)
    assert caught.value.hint == "do this"


# Samples of tasks and templates.


@given(sizes=st.lists(st.integers(0, 30), min_size=1, max_size=12), sample=st.integers(1, 120))
def test_a_sample_is_spread_evenly(sizes: list[int], sample: int) -> None:
    groups = [(f"g{number}", [(number, place) for place in range(size)]) for number, size in enumerate(sizes)]
    chosen = spread(iter(groups), sample, 3)
    assert chosen == sorted(set(chosen))
    assert len(chosen) == min(sample, sum(sizes))
    counts = Counter(number for number, _ in chosen)
    most = max(counts.values(), default=0)
    assert all(counts[number] >= min(size, most - 1) for number, size in enumerate(sizes))


def test_a_sample_is_a_function_of_the_seed_and_the_group() -> None:
    groups = [(name, [f"{name}{place}" for place in range(50)]) for name in "abc"]
    assert spread(groups, 30, 1) == spread(groups, 30, 1) != spread(groups, 30, 2)
    other = spread([*groups[:2], ("d", groups[2][1])], 30, 1)
    assert other[:20] == spread(groups, 30, 1)[:20] and other[20:] != spread(groups, 30, 1)[20:]
    assert set(spread(groups, 30, 1)) < set(spread(groups, 60, 1))


def superni(folder: Path, listed: list[str], tasks: dict[str, Any]) -> Path:
    (folder / "splits" / "default").mkdir(parents=True)
    (folder / "tasks").mkdir()
    (folder / "splits" / "default" / "train_tasks.txt").write_text("\n".join(listed) + "\n")
    for name, task in tasks.items():
        (folder / "tasks" / f"{name}.json").write_text(json.dumps(task))
    return folder


def task(name: str, count: int, **changes: Any) -> dict[str, Any]:
    instances = [{"id": f"{name}-{n}", "input": f"in {n}", "output": [f"out {n}", f"other {n}"]} for n in range(count)]
    return {"Definition": [f"Do {name}", "unused"], "Instances": instances} | changes


def test_superni_is_sampled_over_its_train_split(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    tasks = {"t1": task("t1", 50), "t2": task("t2", 3), "t3": task("t3", 50), "test": task("test", 9)}
    folder = superni(tmp_path / "ni", ["t1", "t2", "gone", "t3"], tasks)
    with caplog.at_level(logging.INFO):
        found = of(folder, sample=21)
    assert "1 of the 4 tasks of the train split" in caplog.text
    assert (found.name, found.kind) == ("ni", "superni")
    assert Counter(found.instructions) == {"Do t1": 9, "Do t2": 3, "Do t3": 9}
    rows = [one for one in found.examples if isinstance(one, PromptExample)]
    numbers = [one.id.split("-")[1] for one in rows]
    assert [one.prompt for one in rows] == [
        superni_prompt(told, f"in {number}") for told, number in zip(found.instructions, numbers, strict=True)
    ]
    assert {one.completion.split()[0] for one in rows} == {"out", "other"}
    assert all(one.completion.split()[1] == number for one, number in zip(rows, numbers, strict=True))
    assert of(folder, sample=21) == found
    assert {one.id for one in of(folder, sample=21, seed=2).examples} != {one.id for one in rows}


def test_superni_instances_without_an_output_are_counted_and_not_sampled(tmp_path: Path) -> None:
    instances = [
        {"id": "a", "input": "", "output": [" "]},
        {"id": "b", "input": "x", "output": "y"},
        {"input": "x", "output": ["", "z"]},
    ]
    found = of(superni(tmp_path, ["t"], {"t": {"Definition": "Do", "Instances": instances}}), sample=2)
    assert [(one.id, one.completion) for one in found.examples if isinstance(one, PromptExample)] == [
        ("b", "y"), ("t-000003", "z"), ("a", ""),
    ]  # fmt: skip
    assert [one.id for one in combine([], [found]).dropped] == ["a"]


@pytest.mark.parametrize(
    ("made", "message"),
    [
        ({}, "none of the 1 tasks of splits/default/train_tasks.txt is in tasks/"),
        ({"t": []}, "tasks/t.json: not a task: no text as `Definition`, or no list as `Instances` (its fields: list)"),
        (
            {"t": {"Definition": "Do"}},
            "tasks/t.json: not a task: no text as `Definition`, or no list as `Instances` (its fields: Definition)",
        ),
        ({"t": task("t", 1, Instances=["x"])}, "tasks/t.json: instance 1: 'x' is no object"),
        (
            {"t": task("t", 1, Instances=[{"input": "x", "output": 3}])},
            "tasks/t.json: instance 1: `output` is 3, not a list of texts",
        ),
        ({"t": task("t", 1, Instances=[{"input": 3, "output": "x"}])}, "tasks/t.json: instance 1: `input` is 3, not text"),
        ({"t": task("t", 1, Instances=[{"input": "x"}])}, "tasks/t.json: instance 1: `output` is missing"),
    ],
)
def test_a_damaged_superni_is_named(tmp_path: Path, made: dict[str, Any], message: str) -> None:
    assert message in refused(superni(tmp_path, ["t"], made)).message


def test_t0_is_sampled_over_its_templates_and_loses_the_authors_end_of_text(tmp_path: Path) -> None:
    for name, count in (("a", 40), ("b", 2), ("c", 40)):
        rows = [{"prompt": f"{name} {n}?\n", "completion": f"{n}<|endoftext|>"} for n in range(count)]
        lines(tmp_path / f"{name}.jsonl", *rows, {"prompt": "x", "completion": "<|endoftext|>"})
    found = of(tmp_path, sample=12)
    assert found.kind == "t0" and found.name == tmp_path.name
    rows_of = [one for one in found.examples if isinstance(one, PromptExample)]
    assert Counter(one.id.split("-")[0] for one in rows_of[:12]) == {"a": 5, "b": 2, "c": 5}
    assert all(one.prompt == f"{one.id[0]} {one.completion}?\n" for one in rows_of[:12])
    assert [(one.id, one.completion) for one in rows_of[12:]] == [("a-000041", ""), ("b-000003", ""), ("c-000041", "")]


def test_a_folder_of_other_files_is_named(exports: Path) -> None:
    assert refused(exports).message.startswith(f"{exports}/messages.jsonl: rows of kind messages; a folder of files has")


def test_the_real_files_are_read(shared_data: Path) -> None:
    """The authors' own formats: 5 tasks of 100 instances; 12 templates, of which one has no answers."""
    found = combine([], [of(shared_data / "superni", 200), of(shared_data / "t0", 220)], held_out=0.02)
    assert found.counts["superni"] + found.counts["t0"] + len(found.held_out) + found.drops["duplicate"] == 420
    assert found.drops["empty"] == 200
    assert not [one for one in found.examples if isinstance(one, PromptExample) and "<|endoftext|>" in one.completion]
    assert set(Counter(one.id.split("-")[0] for one in of(shared_data / "superni", 200).examples).values()) == {40}
