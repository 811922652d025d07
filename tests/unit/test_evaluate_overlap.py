"""Which training rows overlap an evaluation set, and what of a row is compared."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import sample_runs
from self_instruct import readers
from self_instruct.evaluate import overlap
from self_instruct.evaluate.intervals import wilson
from self_instruct.records import ChatExample, EvalItem, Instance, PromptExample, SeedTask, TrainingExample

WORDS = "one two three four five six seven eight nine ten eleven twelve thirteen fourteen"


def item(id: str, instruction: str, input: str = "") -> EvalItem:
    return EvalItem(id=id, suite="mine", task="t", group="", instruction=instruction, input=input, references=("x",))


def test_rows_are_counted_by_each_way_and_once_in_all() -> None:
    items = [item("a", "Sort the list", WORDS), item("b", "Sort the list"), item("c", "p q r s t u v w x y")]
    rows: list[overlap.Row] = [
        ("clean", ("Greet me", "")),
        ("equal", ("sort  the list", "nothing of that kind here")),
        ("two texts", ("Sort the list", f"{'so ' * 90}{WORDS}")),
        ("words", ("Count", f"{'so ' * 90}{WORDS}")),
        ("near", ("p q r s t u v", "")),
        ("empty", ("", " ")),
    ]
    found = overlap.measure(rows, items, "mine")
    estimate = wilson(4, 6)
    assert found["share"] == {"value": estimate.value, "low": estimate.low, "high": estimate.high}
    counts = {name: found[name] for name in ("items", "rows", "overlapping_rows", "equal", "thirteen_words", "rouge_l")}
    # What is equal has a ROUGE-L of 1.
    assert counts == {"items": 3, "rows": 6, "overlapping_rows": 4, "equal": 2, "thirteen_words": 2, "rouge_l": 3}
    assert (found["set"], found["highest"], found["items_touched"]) == ("mine", 1.0, 3)
    assert found["examples"] == [
        {"row": "equal", "text": "sort the list", "item": "a", "detail": "instruction: equal"},
        {"row": "two texts", "text": "Sort the list", "item": "a", "detail": "instruction: equal"},
        {"row": "words", "text": f"{'so ' * 90}{WORDS}"[:160], "item": "a", "detail": "input: 13 words in a row"},
        {"row": "near", "text": "p q r s t u v", "item": "c", "detail": "instruction: ROUGE-L 0.8235"},
    ]
    assert json.loads(json.dumps(found)) == found


def test_five_examples_are_shown() -> None:
    found = overlap.measure([(str(n), ("Sort the list",)) for n in range(9)], [item("a", "Sort the list")], "mine")
    assert [one["row"] for one in found["examples"]] == list("01234") and found["equal"] == 9


def test_rows_that_overlap_nothing() -> None:
    found = overlap.measure([("a", ("p q r s", "")), ("b", ("z", ""))], [item("a", "p q x y z v")], "mine")
    assert (found["overlapping_rows"], found["items_touched"], found["examples"]) == (0, 0, [])
    assert found["highest"] == pytest.approx(0.4)


def test_no_rows_have_no_share() -> None:
    found = overlap.measure([], [item("a", "Sort the list")], "mine")
    assert (found["rows"], found["share"], found["highest"], found["items_touched"]) == (0, None, 0.0, 0)


def test_what_of_a_row_is_compared() -> None:
    examples = readers.source(
        "mixed",
        "alpaca",
        [
            TrainingExample(id="a", instruction="Sort", input="b a", output="a b"),
            PromptExample(id="p", prompt="Say it:", completion="it"),
            ChatExample(id="c", messages=(("system", "Be kind"), ("user", "Hi"), ("assistant", "Hello"), ("user", "Bye"))),
        ],
    )
    instances = (Instance(input="x", output="y"), Instance(input="", output="z"))
    seed = SeedTask(id="s", name="", instruction="Do it", instances=instances, is_classification=False)
    assert overlap.training_rows([examples], [seed]) == [
        ("s.0", ("Do it", "x")),
        ("s.1", ("Do it", "")),
        ("a", ("Sort", "b a")),
        ("p", ("Say it:",)),
        ("c", ("Hi", "Bye")),
    ]


def test_training_on_the_evaluation_set_itself_is_seen_whole(tmp_path: Path) -> None:
    clone = sample_runs.clone(tmp_path / "clone", tasks=2, instances=3)
    splits = clone / "splits" / "default"
    (splits / "train_tasks.txt").write_text((splits / "test_tasks.txt").read_text("utf-8"), encoding="utf-8")
    rows = overlap.training_rows([readers.read(clone, sample=100, seed=1)], [])
    assert rows[1] == ("task0-1", ("Exchange the fruit of task 0.", "1 apples."))
    items = tuple(
        item(f"task{task}-{number}", f"Exchange the fruit of task {task}.", f"{number} apples")
        for task in range(2)
        for number in range(3)
    )
    inputs_alone = overlap.measure([(id, texts[1:]) for id, texts in rows], items, "superni")
    assert (inputs_alone["equal"], inputs_alone["items_touched"]) == (6, 6)
    assert overlap.measure(rows, items, "superni")["equal"] == 6


def test_one_row_with_a_definition_touches_all_items_of_its_task() -> None:
    items = [item(str(number), "Exchange the fruit.", f"{number} apples") for number in range(100)]
    assert overlap.measure([("a", ("Exchange the fruit", "none at all"))], items, "superni")["items_touched"] == 100


def test_the_authors_seeds_against_their_tasks(shared_data: Path) -> None:
    from self_instruct import seedbank

    folder = shared_data / "self_instruct"
    rows = overlap.training_rows([], seedbank.load_seeds(str(folder / "seed_tasks.jsonl")))
    items = seedbank.load_user_oriented(str(folder / "user_oriented_instructions.jsonl"))
    found = overlap.measure([(id, texts[:1]) for id, texts in rows], items, "user_oriented")
    assert (found["overlapping_rows"], found["equal"], found["rouge_l"], found["highest"]) == (3, 1, 3, 1.0)
