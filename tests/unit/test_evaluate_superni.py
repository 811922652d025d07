"""The items of SuperNI's test split, their prompts byte for byte, and both cuts."""

from __future__ import annotations

import json
import string
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from self_instruct.errors import DataError
from self_instruct.evaluate import superni
from self_instruct.evaluate.cutting import Tokens
from self_instruct.models import load_tokenizer
from self_instruct.records import EvalItem
from self_instruct.settings_evaluate import SuperNISettings
from superni_clones import Bytes, Encoding, Words, clone, no_tokenizer, task

CUE = "\nOutput: "
FRAME = "Definition: {}\n\nNow complete the following example -\nInput: {}\nOutput: "
FRAME_WORDS = 9 + 1  # and the special token


def load(folder: Path, **settings: Any) -> tuple[tuple[EvalItem, ...], dict[str, int]]:
    return superni.load(folder, SuperNISettings(**settings), "superni")


def refused(folder: Path, **settings: Any) -> str:
    with pytest.raises(DataError) as caught:
        load(folder, **settings)
    assert caught.value.hint
    return caught.value.message.removeprefix(str(folder))


def item(definition: str, input: str) -> EvalItem:
    return EvalItem(id="i", suite="superni", task="t", group="g", instruction=definition, input=input, references=("r",))


def prompt(one: EvalItem, tokens: int, tokenizer: Any, cut: str = "input", room: int = 10_000) -> tuple[str, bool]:
    settings = SuperNISettings.model_validate({"prompt_tokens": tokens, "cut": cut})
    return superni.prompt(one, settings, room, Tokens(lambda: tokenizer))


# Items.


def test_the_first_instances_of_each_task_are_items_in_file_order(tmp_path: Path) -> None:
    clone(tmp_path, {"b": task("b", 5), "a": task("a", 2), "unlisted": task("u", 1)}, ["b", "a"])
    items, counts = load(tmp_path, instances=3)
    assert [one.id for one in items] == ["b-0", "b-1", "b-2", "a-0", "a-1"]
    assert items[1] == EvalItem(
        id="b-1", suite="superni", task="b", group="Kind b", instruction="Do b", input="in 1", references=("out 1", "other 1")
    )
    assert counts == {}


def test_whatever_is_odd_is_counted(tmp_path: Path) -> None:
    instances = [
        {"id": "1", "input": "a", "output": []},
        {"id": "2", "input": "b"},
        {"id": "3", "input": "c", "output": [" ", ""]},
        {"id": "4", "input": "d", "output": ["", "e"]},
        {"id": "4", "input": "d", "output": ["", "e"]},
        {"id": "", "input": "f", "output": "g"},
        {"id": "1", "input": "beyond the first six", "output": []},
    ]
    odd = task("odd", 0, Instances=instances, Input_language=["English"], Output_language=["Hausa"])
    tasks = {"odd": odd, "none": task("none", 0), "plain": task("plain", 1, Categories=[])}
    items, counts = load(clone(tmp_path, tasks, ["odd", "none", "gone", "plain", "odd", "lost"]), instances=6)
    assert [(one.id, one.group, one.references) for one in items] == [
        ("3", "Kind odd", (" ", "")),
        ("4", "Kind odd", ("", "e")),
        ("odd-000006", "Kind odd", ("g",)),
        ("plain-0", "no category", ("out 0", "other 0")),
    ]
    assert counts == {
        "tasks that the split lists again (taken once)": 1,
        "tasks of the split that aren't in tasks/": 2,
        "tasks without an instance": 1,
        "tasks in other languages than English (kept)": 1,
        "tasks without a category (kept)": 1,
        "instances without a reference (left out)": 2,
        "instances whose references are all blank (kept; their ROUGE-L is 0)": 1,
        "instances given twice (kept once)": 1,
    }


@pytest.mark.parametrize("change", [{"input": "other"}, {"output": ["out 0"]}])
def test_one_id_with_two_contents_is_refused(tmp_path: Path, change: dict[str, Any]) -> None:
    first, _ = (given := task("t", 2)["Instances"])
    clone(tmp_path, {"t": task("t", 0, Instances=[*given, first | change])})
    assert (
        refused(tmp_path)
        == f"/tasks/t.json: instance 3: the id 't-0' stands for other content already, in {tmp_path}/tasks/t.json: instance 1"
    )
    assert len(load(tmp_path, instances=2)[0]) == 2


def test_one_id_in_two_tasks_is_refused(tmp_path: Path) -> None:
    clone(tmp_path, {"a": task("a", 1), "b": task("b", 1, Instances=task("a", 1)["Instances"])})
    assert refused(tmp_path).startswith("/tasks/b.json: instance 1: the id 'a-0' stands for other content already, in ")


def test_a_folder_without_an_item_is_refused(tmp_path: Path) -> None:
    clone(tmp_path, {"a": task("a", 0), "b": task("b", 0, Instances=[{"input": "x", "output": []}])})
    assert refused(tmp_path) == ": no instance with a reference in the 2 tasks there"
    assert refused(tmp_path, split="other") == ": no split 'other' in splits/; there: default"
    assert refused(clone(tmp_path, {"b": task("b", 0, Instances=[3])})) == "/tasks/b.json: instance 1: 3 is no object"


# Prompts.


def test_a_short_prompt_needs_no_tokenizer() -> None:
    given = superni.prompt(item("Sort", "3, 1"), SuperNISettings(), 1000, Tokens(no_tokenizer))
    assert given == (FRAME.format("Sort.", "3, 1."), False)


def test_a_prompt_that_fits_by_tokens_is_left_whole() -> None:
    one = item("Sort the words.", "longish words " * 5)
    whole = FRAME.format("Sort the words.", ("longish words " * 5).strip() + ".")
    exact = FRAME_WORDS + 13
    assert len(whole) > exact
    assert prompt(one, exact, Words()) == prompt(one, exact, Words(), "official") == (whole, False)
    assert prompt(one, 1000, Words(), room=exact) == (whole, False)
    assert prompt(one, exact - 1, Words())[1] and prompt(one, 1000, Words(), room=exact - 1)[1]


def test_what_a_tokenizer_adds_counts_too() -> None:
    class Framed(Bytes):
        def __call__(self, text: str) -> Encoding:
            return Encoding([0, *text.encode(), 0])

    tokens = Tokens(Framed)
    assert tokens.fits("x" * 30, 32) and not tokens.fits("x" * 30, 31) and not tokens.fits("x" * 30, 30)


@pytest.mark.parametrize("kept", [3, 7, 199])
def test_the_input_loses_its_end_and_the_cue_survives(kept: int) -> None:
    words = [f"w{n}" for n in range(200)]
    one = item("Sort the words.", " ".join(words))
    found = prompt(one, FRAME_WORDS + 3 + kept, Words())
    assert found == (FRAME.format("Sort the words.", " ".join(words[:kept]) + "."), True)


def test_where_no_input_fits_the_definition_loses_its_end() -> None:
    one = item("Sort " + "all of these " * 50 + "words.", "3, 1")
    text, cut = prompt(one, FRAME_WORDS + 6, Words())
    assert (text, cut) == (FRAME.format("Sort all of these all.", "."), True)


def test_a_limit_below_the_cue_is_refused() -> None:
    with pytest.raises(
        DataError, match="SuperNI item 'i': its prompt has 12 tokens without definition and input, 11 fit"
    ) as caught:
        prompt(item("Sort " * 50, "x " * 50), 16, Words(), room=11)
    assert "evaluate.superni.prompt_tokens" in (caught.value.hint or "")


def test_the_official_cut_keeps_the_first_tokens() -> None:
    text, cut = prompt(item("Sort the words.", "w " * 200), 40, Words(), "official")
    words = FRAME.format("Sort the words.", ("w " * 200).strip() + ".").split()
    assert cut and text.split() == words[:39]  # the special token in front is one of the 40, and isn't decoded
    assert text.split()[-1] == "w"


def test_the_official_cut_never_leaves_more_than_the_model_takes() -> None:
    one = item("Sort the words.", "\u00e9" * 200)
    whole = FRAME.format("Sort the words.", "\u00e9" * 200 + ".").encode()
    odd = len(whole[: whole.index("\u00e9".encode())]) + 11  # in the middle of a character
    assert prompt(one, odd, Bytes(), "official") == (whole[:odd].decode(errors="replace"), True)
    assert prompt(one, odd, Bytes(), "official", room=odd) == (whole[: odd - 1].decode(), True)


# The real tasks.


def test_the_real_items_are_those_of_the_files(shared_data: Path) -> None:
    items, counts = load(shared_data / "superni")
    assert (len(items), len({one.task for one in items}), counts) == (429, 20, {})
    assert Counter(one.group for one in items) == {
        "Coreference Resolution": 222,
        "Keyword Tagging": 100,
        "Word Analogy": 30,
        "Textual Entailment": 26,
        "Overlap Extraction": 14,
        "Answerability Classification": 11,
        "Dialogue Act Recognition": 10,
        "Data to Text": 8,
        "Grammar Error Correction": 8,
    }
    listed = (shared_data / "superni/splits/default/test_tasks.txt").read_text().split()
    files = [json.loads((shared_data / f"superni/tasks/{name}.json").read_text("utf-8")) for name in listed]
    assert [(one.id, one.input, list(one.references)) for one in items] == [
        (row["id"], row["input"], row["output"]) for file in files for row in file["Instances"]
    ]
    assert len(load(shared_data / "superni", instances=5)[0]) == 100


def expected(definition: str, input: str) -> str:
    """The zero-shot prompt, spelled out anew from method.md."""
    lines = []
    for label, text in (("Definition", definition), ("Input", input)):
        text = text.strip()
        if not text or text[-1] not in string.punctuation:
            text += "."
        lines.append(f"{label}: {text}")
    return "\n".join([lines[0], "", "Now complete the following example -", lines[1], "Output: "])


def test_the_real_prompts_are_whole_to_the_byte(shared_data: Path) -> None:
    items, _ = load(shared_data / "superni")
    for one in items:
        found, cut = superni.prompt(one, SuperNISettings(prompt_tokens=8000), 8000, Tokens(no_tokenizer))
        assert not cut and found.encode() == expected(one.instruction, one.input).encode()


@pytest.mark.parametrize(("limit", "cut"), [(128, 102), (200, 14), (1024, 0)])
def test_both_cuts_of_the_real_prompts_with_a_real_tokenizer(shared_data: Path, embedded_model: Path, limit: int, cut: int) -> None:
    """At 128 tokens 16 of the definitions are too long by themselves. No prompt reaches the reference evaluation's 1,024."""
    tokenizer = load_tokenizer(str(embedded_model))
    items, _ = load(shared_data / "superni")
    cuts = 0
    for one in items:
        whole = expected(one.instruction, one.input)
        ids = tokenizer(whole).input_ids
        official, was_cut = prompt(one, limit, tokenizer, "official")
        ours, ours_cut = prompt(one, limit, tokenizer)
        assert was_cut == ours_cut == (len(ids) > limit)
        if not was_cut:
            assert official == ours == whole
            continue
        cuts += 1
        assert official == tokenizer.decode(ids[:limit], skip_special_tokens=True)
        assert len(tokenizer(ours).input_ids) <= limit and ours.endswith(CUE)
        if len(tokenizer(expected(one.instruction, "")).input_ids) <= limit:
            kept = next(n for n in range(len(one.input)) if expected(one.instruction, one.input[:n]) == ours)
            longer = (expected(one.instruction, one.input[:n]) for n in range(kept, len(one.input) + 1))
            following = next(text for text in longer if text != ours)
            assert len(tokenizer(following).input_ids) > limit
        else:
            definition = ours.removeprefix("Definition: ").split("\n\nNow complete")[0]
            assert one.instruction.strip().startswith(definition.removesuffix(".")) and ours == expected(definition, "")
    assert cuts == cut
