"""ROUGE-L and exact match against `rouge_score`, the reference evaluation's rules, and sums done by hand."""

from __future__ import annotations

import string

import pytest
from rouge_score.rouge_scorer import RougeScorer

from self_instruct.evaluate import scoring
from self_instruct.loading import shipped
from self_instruct.records import EvalItem, Prediction
from self_instruct.seedbank import load_seeds, load_user_oriented

REFERENCE = RougeScorer(["rougeL"], use_stemmer=True)


def reference(answer: str, expected: str) -> float:
    return float(REFERENCE.score(expected, answer)["rougeL"].fmeasure)


def item(*references: str, id: str = "a") -> EvalItem:
    return EvalItem(id=id, suite="s", group="g", instruction="i", input="", references=references)


def prediction(text: str, id: str = "a", model: str = "base", hit_limit: bool = False) -> Prediction:
    return Prediction(item_id=id, model=model, text=text, hit_limit=hit_limit, output_tokens=1)


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
    assert scoring.score(item(expected), prediction(answer)).exact_match is same


def test_all_ascii_punctuation_is_removed() -> None:
    assert scoring.plain(f"a{string.punctuation}b") == "ab"


def test_the_best_reference_counts_for_each_score() -> None:
    score = scoring.score(item("something else", "the cat sat there", "The cat"), prediction("the cat"))
    assert score.rouge_l == 1.0
    assert score.exact_match
    assert scoring.score(item(), prediction("the cat")).rouge_l == 0.0  # no reference


def test_summary_counts_missing_predictions_as_empty() -> None:
    items = [item("one two", id="a"), item("three", id="b"), item("four", id="c"), item("five", id="d")]
    given = [
        prediction("one two", id="a"),
        prediction("  ", id="b", hit_limit=True),
        prediction("four words are here", id="c", hit_limit=True),
        prediction("five", id="d", model="tuned"),
    ]
    scores, summary = scoring.score_all(items, given, "base")
    assert [score.item_id for score in scores] == ["a", "b", "c", "d"]
    assert [score.exact_match for score in scores] == [True, False, False, False]
    assert summary == scoring.Summary(
        model="base",
        items=4,
        rouge_l=100 * (1 + 0 + 2 * 0.25 / 1.25 + 0) / 4,
        exact_match=25.0,
        empty=0.5,
        hit_limit=0.5,
        mean_words=6 / 4,
        missing=1,
    )
