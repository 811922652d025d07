"""What holds for the scores of any texts."""

from __future__ import annotations

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rouge_score.rouge_scorer import RougeScorer

import strategies
from self_instruct.evaluate import scoring
from self_instruct.records import EvalItem

REFERENCE = RougeScorer(["rougeL"], use_stemmer=True)
WORDS = st.sampled_from(
    ["the", "cat", "cats", "Dying", "flies", "agreed", "42", "generalizations", "hopping", "sky", "news", "x", "oscillators"]
)
SEPARATORS = st.sampled_from([" ", "\n", ", ", "-", "'", "é", "。"])
prose = st.lists(st.tuples(WORDS, SEPARATORS).map("".join), max_size=30).map("".join)
any_text = strategies.raw_texts | prose
# The first example pays for the import of the stemmer and for hypothesis' character tables.
patient = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
endings = st.sampled_from([ending for step in scoring.ENDINGS.values() for ending in step])
letters = st.text(alphabet="abcdefghijklmnopqrstuvwxyz0123456789", max_size=20)


@patient
@given(any_text, any_text)
def test_rouge_l_equals_rouge_score(answer: str, reference: str) -> None:
    assert scoring.rouge_l(answer, reference) == REFERENCE.score(reference, answer)["rougeL"].fmeasure


def item(*references: str, id: str = "a") -> EvalItem:
    return EvalItem(id=id, suite="s", task="t", group="g", instruction="i", input="", references=references)


@patient
@given(letters, st.lists(endings, max_size=2).map("".join))
def test_stems_equal_rouge_score(beginning: str, ending: str) -> None:
    word = beginning + ending
    assert scoring.tokens(word) == REFERENCE._tokenizer.tokenize(word)


@patient
@given(any_text, any_text)
def test_rouge_l_is_a_symmetric_share(first: str, second: str) -> None:
    score = scoring.rouge_l(first, second)
    assert 0 <= score <= 1
    assert score == scoring.rouge_l(second, first)
    assert (score == 1) == (scoring.tokens(first) == scoring.tokens(second) != [])


@patient
@given(st.lists(st.sampled_from("abc"), max_size=12), st.lists(st.sampled_from("abc"), max_size=12))
def test_few_words_in_many_orders_equal_rouge_score(first: list[str], second: list[str]) -> None:
    answer, reference = " ".join(first), " ".join(second)
    assert scoring.rouge_l(answer, reference) == REFERENCE.score(reference, answer)["rougeL"].fmeasure


@patient
@given(any_text)
def test_plain_text_stays_as_it_is(text: str) -> None:
    once = scoring.plain(text)
    assert scoring.plain(once) == once


@patient
@given(st.lists(st.tuples(st.lists(any_text, min_size=1, max_size=4), any_text, any_text), min_size=1, max_size=4))
def test_score_items_equals_the_loop(drawn: list[tuple[list[str], str, str]]) -> None:
    items = [item(*references, id=str(number)) for number, (references, _, _) in enumerate(drawn)]
    texts = {"one": [first for _, first, _ in drawn], "other": [second for _, _, second in drawn]}
    found = scoring.score_items(items, texts)
    for model, answers in texts.items():
        for place, (one, answer) in enumerate(zip(items, answers, strict=True)):
            rouge = max(REFERENCE.score(reference, answer)["rougeL"].fmeasure for reference in one.references)
            assert found[model].rouge_l[place] == rouge
            assert found[model].exact[place] == any(scoring.plain(answer) == scoring.plain(one) for one in one.references)


@patient
@given(any_text, st.lists(any_text, min_size=1, max_size=4), any_text)
def test_another_reference_never_lowers_a_score(answer: str, references: list[str], more: str) -> None:
    items = [item(*references), item(*references, more), item(*references, answer)]
    found = scoring.score_items(items, {"m": [answer] * 3})["m"]
    assert found.rouge_l[0] <= found.rouge_l[1]
    assert found.exact[0] <= found.exact[1]
    assert found.exact[2]
