"""What holds for the scores of any texts."""

from __future__ import annotations

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rouge_score.rouge_scorer import RougeScorer

import strategies
from self_instruct.evaluate import scoring
from self_instruct.records import EvalItem, Prediction

REFERENCE = RougeScorer(["rougeL"], use_stemmer=True)
WORDS = st.sampled_from(
    ["the", "cat", "cats", "Dying", "flies", "agreed", "42", "generalizations", "hopping", "sky", "news", "x", "oscillators"]
)
SEPARATORS = st.sampled_from([" ", "\n", ", ", "-", "'", "é", "。"])
prose = st.lists(st.tuples(WORDS, SEPARATORS).map("".join), max_size=30).map("".join)
any_text = strategies.raw_texts | prose
# The first example pays for the import of the stemmer and for hypothesis' character tables.
patient = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
letters = st.text(alphabet="abcdefghijklmnopqrstuvwxyz0123456789", max_size=20)


@patient
@given(any_text, any_text)
def test_rouge_l_equals_rouge_score(answer: str, reference: str) -> None:
    assert scoring.rouge_l(answer, reference) == REFERENCE.score(reference, answer)["rougeL"].fmeasure


@patient
@given(letters)
def test_stems_equal_rouge_score(word: str) -> None:
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
def test_common_subsequence_equals_the_table(first: list[str], second: list[str]) -> None:
    table = [[0] * (len(second) + 1) for _ in range(len(first) + 1)]
    for i, one in enumerate(first):
        for j, other in enumerate(second):
            table[i + 1][j + 1] = table[i][j] + 1 if one == other else max(table[i][j + 1], table[i + 1][j])
    assert scoring.common_subsequence(first, second) == table[-1][-1]


@patient
@given(any_text)
def test_plain_text_stays_as_it_is(text: str) -> None:
    once = scoring.plain(text)
    assert scoring.plain(once) == once


@patient
@given(any_text, st.lists(any_text, min_size=1, max_size=4), any_text)
def test_another_reference_never_lowers_a_score(answer: str, references: list[str], more: str) -> None:
    def score(*given: str) -> tuple[float, bool]:
        item = EvalItem(id="a", suite="s", group="g", instruction="i", input="", references=given)
        found = scoring.score(item, Prediction(item_id="a", model="m", text=answer, hit_limit=False, output_tokens=0))
        return found.rouge_l, found.exact_match

    few, many = score(*references), score(*references, more)
    assert many[0] >= few[0]
    assert many[1] >= few[1]
    assert score(*references, answer)[1]
