"""What overlaps an evaluation task is found, by words in a row, by ROUGE-L, by equality; what doesn't isn't."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from self_instruct.contamination import ROUGE_L, WORDS, Contamination
from self_instruct.novelty import SORTED_FROM, NoveltyIndex
from self_instruct.records import EvalItem
from self_instruct.seedbank import load_evaluation, load_seeds, load_user_oriented

LETTER = "one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen"


def item(id: str, instruction: str, input: str = "") -> EvalItem:
    return EvalItem(id=id, suite="mine", task="t", group="", instruction=instruction, input=input, references=("x",))


def detail(contamination: Contamination, text: str) -> str | None:
    overlap = contamination.find(text)
    return overlap.detail if overlap else None


@pytest.mark.parametrize(("words", "found"), [(WORDS - 1, None), (WORDS, "a, input: 13 words in a row")])
def test_thirteen_words_in_a_row_anywhere(words: int, found: str | None) -> None:
    shared = " ".join(LETTER.split()[2 : 2 + words])
    contamination = Contamination([item("a", "Count on", LETTER)])
    # In a text too long for ROUGE-L to see it.
    assert detail(contamination, f"Say {shared.upper()}, and then {'go on and on ' * 30}") == found


def test_rouge_l_from_seven_tenths_on() -> None:
    contamination = Contamination([item("a", "a b c d e f g h i"), item("b", "p q r s t u v w x y", "Nothing like it")])
    # 11 words, 7 of them in order, against 9: F1 is 7/10 exactly.
    assert detail(contamination, "a b c d e f g 1 2 3 4") == "a, instruction: ROUGE-L 0.7000"
    assert detail(contamination, "a b c d e f 1 2 3 4 5") is None
    assert detail(contamination, "P, Q. R; s t u v w x!") == "b, instruction: ROUGE-L 0.9474"
    found = contamination.find("nothing like it at all")
    assert found and (found.item_id, found.detail) == ("b", "b, input: ROUGE-L 0.7500")


def test_equal_texts_overlap_in_any_script() -> None:
    contamination = Contamination([item("a", "列出 五条 河流"), item("b", "Sort", "Ä, ö")])
    assert detail(contamination, "列出  五条\n河流") == "a, instruction: equal"
    assert detail(contamination, "ä, Ö") == "b, input: equal"
    assert detail(contamination, "列出 六条 河流") is None


@pytest.mark.parametrize("text", ["", " \n", "?"])
def test_nothing_overlaps_nothing(text: str) -> None:
    assert Contamination().find(text) is None
    assert Contamination([item("a", "Sort the list", "")]).find(text) is None


TEXTS = st.lists(st.sampled_from("a b c d e f g".split()), max_size=11).map(" ".join)


@given(items=st.lists(TEXTS, max_size=6), text=TEXTS)
def test_by_rouge_l_the_same_as_comparing_with_every_text(items: list[str], text: str) -> None:
    index = NoveltyIndex()
    index.extend((str(number), one) for number, one in enumerate(items))
    nearest = index.nearest(text, 1)
    found = Contamination([item(str(number), one) for number, one in enumerate(items)]).find(text)
    assert (found is not None) == bool(nearest and nearest[0].score > ROUGE_L - 1e-9)


def test_the_shipped_tasks_are_found_and_the_shipped_seeds_are_clean() -> None:
    tasks = load_user_oriented()
    contamination = Contamination(tasks)
    assert all(contamination.find(text) for task in tasks for text in (task.instruction, task.input) if text.strip())
    assert not [seed.id for seed in load_seeds() if contamination.find(seed.instruction)]


def test_the_authors_sets_overlap_where_they_are_known_to(shared_data: Path) -> None:
    folder = shared_data / "self_instruct"
    contamination = Contamination(load_evaluation(folder / "user_oriented_instructions.jsonl"))
    seeds = load_seeds(str(folder / "seed_tasks.jsonl"))
    found = {seed.id: detail(contamination, seed.instruction) for seed in seeds}
    assert {id: what for id, what in found.items() if what} == {
        "seed_task_47": "user_oriented_task_32, instruction: ROUGE-L 0.7500",
        "seed_task_48": "user_oriented_task_89, instruction: equal",
        "seed_task_74": "user_oriented_task_32, instruction: ROUGE-L 0.7059",
    }


def measured(contamination: Contamination, text: str) -> tuple[bool, bool, bool, tuple[str, ...]]:
    found = contamination.measure(text)
    return found.by_equal, found.by_thirteen_words, found.by_rouge_l, found.items


def test_each_way_is_measured_by_itself_and_every_item_told() -> None:
    inside = " ".join(LETTER.split()[1 : 1 + WORDS])
    contamination = Contamination(
        [
            item("a", "Count on", LETTER),
            item("b", "Count on", f"zero zero zero zero zero zero {inside} zero zero zero zero zero"),
            item("c", "列出 五条 河流", "count  ON"),
            item("d", "p q r s t u v w x y"),
        ]
    )
    assert measured(contamination, LETTER) == (True, True, True, ("a", "b"))
    assert measured(contamination, f"{'so ' * 90}{inside}") == (False, True, False, ("a", "b"))
    assert measured(contamination, "count on.") == (True, False, True, ("a", "b", "c"))
    assert measured(contamination, "列出 五条 河流") == (True, False, False, ("c",))
    assert measured(contamination, "p q r s t u v") == (False, False, True, ("d",))
    assert measured(contamination, "q r s t") == (False, False, False, ())
    found = contamination.measure("q r s t")
    assert (found.rouge_l, found.detail) == (pytest.approx(8 / 14), "")
    details = [contamination.measure(text).detail for text in ("count on", f"so so {inside}", "p q r s t u v")]
    assert details == ["instruction: equal", "input: 13 words in a row", "instruction: ROUGE-L 0.8235"]


def test_every_near_text_counts_however_many_there_are() -> None:
    near = [item(str(number), f"a b c d e f g h i {number}") for number in range(SORTED_FROM + 9)]
    contamination = Contamination([*near, item("other", "p q r s t u v w x y")])
    found = contamination.measure("a b c d e f g h i j")
    assert sorted(found.items, key=int) == [one.id for one in near] and found.by_rouge_l


@pytest.mark.parametrize("text", ["", " \n", "?", "."])
def test_nothing_has_nothing_in_common(text: str) -> None:
    for contamination in (Contamination(), Contamination([item("a", "Sort the list", "")])):
        assert measured(contamination, text) == (False, False, False, ()) and contamination.measure(text).rouge_l == 0


@given(items=st.lists(TEXTS, max_size=6), text=TEXTS)
def test_what_is_measured_is_what_is_found(items: list[str], text: str) -> None:
    contamination = Contamination([item(str(number), one) for number, one in enumerate(items)])
    found, measured = contamination.find(text), contamination.measure(text)
    assert (found is not None) == bool(measured.items) == (measured.by_equal or measured.by_thirteen_words or measured.by_rouge_l)
    index = NoveltyIndex()
    index.extend((str(number), one) for number, one in enumerate(items))
    scores = index.scores(text).tolist()
    assert measured.rouge_l == max(scores, default=0.0)
    assert {id for id in measured.items if scores[int(id)] < ROUGE_L - 1e-9} == set()
    assert {str(number) for number, score in enumerate(scores) if score > ROUGE_L - 1e-9} <= set(measured.items)
