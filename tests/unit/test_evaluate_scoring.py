"""ROUGE-L and exact match against `rouge_score`, the reference evaluation's rules, and sums done by hand."""

from __future__ import annotations

import json
import string
from collections.abc import Sequence
from pathlib import Path

import pytest
from rouge_score.rouge_scorer import RougeScorer

from self_instruct.evaluate import scoring
from self_instruct.evaluate.comparison import Answer, measure
from self_instruct.loading import shipped
from self_instruct.records import EvalItem
from self_instruct.seedbank import load_seeds, load_user_oriented

REFERENCE = RougeScorer(["rougeL"], use_stemmer=True)


def reference(answer: str, expected: str) -> float:
    return float(REFERENCE.score(expected, answer)["rougeL"].fmeasure)


def item(*references: str, id: str = "a") -> EvalItem:
    return EvalItem(id=id, suite="s", task="t", group="g", instruction="i", input="", references=references)


def score(answer: str, *references: str) -> tuple[float, bool]:
    found = scoring.score_items([item(*references)], {"m": [answer]})["m"]
    return float(found.rouge_l[0]), bool(found.exact[0])


def test_rouge_l_equals_rouge_score_on_every_shipped_text() -> None:
    texts = [instance.output for task in load_seeds() for instance in task.instances]
    texts += [answer for one in load_user_oriented() for answer in (*one.references, one.instruction, one.input)]
    for first, second in zip(texts, texts[1:] + texts[:1], strict=True):
        assert scoring.rouge_l(first, second) == reference(first, second)
        assert scoring.rouge_l(first, first) == reference(first, first)


def test_stems_equal_rouge_score_on_every_word_of_the_shipped_files() -> None:
    words = (shipped("seeds/user_oriented.jsonl").read_text("utf-8") + shipped("seeds/seed_tasks.jsonl").read_text("utf-8")).split()
    assert len(words) > 2_000
    for word in sorted(set(words)):
        assert scoring.rouge_l(word, word) == reference(word, word)
        assert scoring.tokens(word) == REFERENCE._tokenizer.tokenize(word)


@pytest.mark.parametrize(
    ("answer", "expected", "score"),
    [
        ("the cat sat", "the cat sat", 1.0),
        ("The CAT, sat!", "the cat sat", 1.0),
        ("running dogs", "run dog", 1.0),  # stems
        ("cats", "cat", 1.0),
        ("was", "wa", 0.0),  # words of three letters keep their form
        ("a b c d", "a c", 2 * 0.5 * 1 / 1.5),
        ("c a", "a c", 0.5),  # order counts
        ("a a a", "a", 2 * (1 / 3) / (4 / 3)),
        ("", "a", 0.0),
        ("a", "", 0.0),
        ("", "", 0.0),
        ("你好", "你好", 0.0),  # nothing of a-z0-9, even against itself
        ("...", "...", 0.0),
        ("3.14", "3 14", 1.0),
        ("caf\u00e9", "caf", 1.0),  # everything outside a-z0-9 separates
        ("\u0130stanbul", "i stanbul", 1.0),  # lower() makes two characters of it
        ("\u212aelvin", "kelvin", 1.0),  # the Kelvin sign lowers to k
    ],
)
def test_rouge_l_by_hand(answer: str, expected: str, score: float) -> None:
    assert scoring.rouge_l(answer, expected) == pytest.approx(score, abs=1e-12)
    assert scoring.rouge_l(answer, expected) == reference(answer, expected)


@pytest.mark.parametrize("length", [63, 64, 65, 128, 129, 1000])
def test_rouge_l_of_texts_beyond_a_machine_word(length: int) -> None:
    first = " ".join(str(n * n % 97) for n in range(length))
    second = " ".join(str(n * 7 % 97) for n in range(length + 3))
    assert scoring.rouge_l(first, second) == reference(first, second)


@pytest.mark.parametrize(
    ("answer", "expected", "same"),
    [
        ("Yes.", "yes", True),
        ("  yes \n", "yes", True),
        ("a  b\tc", "a b c", True),
        ("the cat", "cat", False),  # articles are kept
        ("don't", "dont", True),
        ("a-b", "ab", True),  # punctuation is removed, not replaced
        ("«yes»", "yes", False),  # ASCII punctuation only
        ("", "", True),
        ("...", "", True),
        ("1,000", "1000", True),
        ("no", "yes", False),
    ],
)
def test_exact_match_by_hand(answer: str, expected: str, same: bool) -> None:
    assert score(answer, expected)[1] is same


def test_all_ascii_punctuation_is_removed() -> None:
    assert scoring.plain(f"a{string.punctuation}b") == "ab"


def test_the_best_reference_counts_for_each_score() -> None:
    assert score("the cat", "something else", "the cat sat there", "The cat") == (1.0, True)
    assert score("don't", "don x t", "dont") == (pytest.approx(2 * 1 * (2 / 3) / (1 + 2 / 3)), True)  # another reference each
    assert score("the cat") == (0.0, False)  # no reference


MANY = [("a b c d e f g h", "a b", "a", "a b c d"), ("", "x y"), ("a b a b a", "b a b", "b b b b b b")]


@pytest.mark.parametrize("references", MANY)
def test_many_references_are_searched_to_the_end(references: tuple[str, ...]) -> None:
    for answer in ("a b c", "a", "b a b a", "x y", "", "h g f e d c b a"):
        for order in (references, references[::-1]):
            assert score(answer, *order)[0] == max(reference(answer, one) for one in order)


def test_every_model_is_scored_in_the_items_order() -> None:
    items = [item("yes", id="a"), item("one two", "two", id="b"), item("yes", id="c"), item(id="d")]
    texts = {"base": ["yes", "two one", "no", "yes"], "tuned": ["no", "two", "Yes.", ""]}
    found = scoring.score_items(items, texts)
    assert list(found) == ["base", "tuned"]
    assert found["base"].rouge_l.tolist() == [1, pytest.approx(2 / 3), 0, 0]
    assert found["base"].exact.tolist() == [True, False, False, False]
    assert found["tuned"].rouge_l.tolist() == [0, 1, 1, 0]
    assert found["tuned"].exact.tolist() == [False, True, True, False]


def test_answers_to_other_items_are_refused() -> None:
    with pytest.raises(AssertionError, match="other items"):
        scoring.score_items([item("a"), item("b", id="b")], {"base": ["a"]})


def test_references_and_repeated_answers_are_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    tokenize = scoring.tokenize

    def counted(text: str) -> list[str]:
        read.append(text)
        return tokenize(text)

    monkeypatch.setattr(scoring, "tokenize", counted)
    items = [item("yes", "yes", id=str(number)) for number in range(5)]
    scoring.score_items(items, {"base": ["no"] * 5, "tuned": ["no", "maybe", "no", "no", "maybe"]})
    assert sorted(read) == ["maybe", "no", "yes"]


def official(answers: Sequence[str], items: Sequence[EvalItem]) -> tuple[float, float]:
    """Mean ROUGE-L and exact match by the reference evaluation's rules, from `rouge_score`."""

    def normal(text: str) -> list[str]:
        return "".join(letter for letter in text.lower() if letter not in string.punctuation).split()

    rouge = [max(reference(answer, one) for one in given.references) for answer, given in zip(answers, items, strict=True)]
    exact = [any(normal(answer) == normal(one) for one in given.references) for answer, given in zip(answers, items, strict=True)]
    return 100 * sum(rouge) / len(items), 100 * sum(exact) / len(items)


def test_superni_scores_equal_the_reference_evaluation(shared_data: Path) -> None:
    """Overall, by category and by task, for answers that are right, nearly right, wrong, long and empty."""
    names = (shared_data / "superni" / "splits" / "default" / "test_tasks.txt").read_text("utf-8").split()
    items: list[EvalItem] = []
    for name in names:
        task = json.loads((shared_data / "superni" / "tasks" / f"{name}.json").read_text("utf-8"))
        items += [
            EvalItem(
                id=one["id"],
                suite="superni",
                task=name,
                group=task["Categories"][0],
                instruction=task["Definition"][0],
                input=one["input"],
                references=tuple(one["output"]),
            )
            for one in task["Instances"]
        ]
    assert len(items) > 100
    firsts = [one.references[0] for one in items]
    answers = {
        "input": [one.input for one in items],
        "next": firsts[1:] + firsts[:1],
        "cut": [" ".join(first.split()[: -(len(first.split()) // 3) or None]) for first in firsts],
        "long": [f"{one.references[-1]}. {one.input}" for one in items],
        "mixed": ["" if n % 7 == 0 else first.upper() + "!" for n, first in enumerate(firsts)],
    }
    scored = scoring.score_items(items, answers)
    measured = measure(
        1,
        items,
        {
            name: [
                Answer(text=text, hit_limit=False, output_tokens=1, rouge_l=float(rouge), exact_match=bool(exact))
                for text, rouge, exact in zip(texts, scored[name].rouge_l, scored[name].exact, strict=True)
            ]
            for name, texts in answers.items()
        },
    )
    for result in measured.models:
        texts = answers[result.model]
        parts = {"": (result.rouge_l.value, result.exact_match.value)}
        parts |= {one.group: (one.rouge_l.value, one.exact_match.value) for one in result.groups}
        parts |= {one.task: (one.rouge_l.value, one.exact_match.value) for one in result.tasks}
        for part, found in parts.items():
            chosen = [n for n, one in enumerate(items) if part in ("", one.group, one.task)]
            assert found == pytest.approx(official([texts[n] for n in chosen], [items[n] for n in chosen]), abs=1e-10), part
    assert measured.models[0].rouge_l.value > 0
    assert {round(one.exact_match.value) for one in measured.models} != {0}
