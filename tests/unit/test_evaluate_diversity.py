"""Verbs and nouns by both searches, and which instructions are alike."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rouge_score import rouge_scorer

from self_instruct.evaluate import diversity


@pytest.mark.parametrize(
    ("instruction", "verb"),
    [
        ("Summarise the letter in two sentences.", "summarise"),
        ("Given a list of words, sort them by length.", "sort"),
        ("Can you explain why leaves change colour?", "explain"),
        ("The tap drips. Suggest a repair.", "drip"),  # the first sentence alone
        ("Which river flows through Vienna?", "flow"),
        ("I would like to bake a cake without eggs.", "like"),
        ("Synonyms for happy, please.", None),
        ("", None),
        ("   \n", None),
    ],
)
def test_root_verb(instruction: str, verb: str | None) -> None:
    assert diversity.parser_available()
    assert list(diversity.root_verbs([instruction])) == [verb]


def test_an_auxiliary_is_no_verb() -> None:
    assert list(diversity.root_verbs(["What is the capital of Peru?"])) == [None]


@pytest.mark.parametrize(
    ("name", "different", "top"), [("seed_tasks", 61, ("write", 21)), ("user_oriented_instructions", 78, ("give", 29))]
)
def test_the_authors_files_have_the_verbs_that_they_have(
    shared_data: Path, name: str, different: int, top: tuple[str, int]
) -> None:
    lines = (shared_data / "self_instruct" / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()
    verbs = [verb for verb in diversity.root_verbs(json.loads(line)["instruction"] for line in lines) if verb]
    assert len(set(verbs)) == different
    assert (top[0], verbs.count(top[0])) == top and max(map(verbs.count, set(verbs))) == top[1]


@pytest.mark.parametrize(
    ("instruction", "authors", "corrected"),
    [
        ("Write a short story about a fox.", ("write", "story"), ("write", "story")),
        ("Translate this into French.", ("translate", None), ("translate", None)),  # a pronoun is no noun
        ("The tap drips. Suggest a repair.", ("drip", None), ("drip", None)),
        # The root is the auxiliary; its first child is no verb and has no children, and its clause is its last one.
        ("Is it right to eat meat?", (None, None), ("eat", "meat")),
        ("A good name.", (None, None), (None, None)),
        ("", (None, None), (None, None)),
    ],
)
def test_both_searches(instruction: str, authors: diversity.Pair, corrected: diversity.Pair) -> None:
    found = list(diversity.verb_nouns([instruction]))
    assert found == [diversity.Structure(authors=authors, corrected=corrected)]


@pytest.mark.parametrize(("name", "by_authors", "corrected"), [("seed_tasks", 120, 123), ("user_oriented_instructions", 177, 182)])
def test_the_authors_files_have_the_objects_that_they_have(shared_data: Path, name: str, by_authors: int, corrected: int) -> None:
    lines = (shared_data / "self_instruct" / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()
    found = list(diversity.verb_nouns(json.loads(line)["instruction"] for line in lines))
    assert sum(one.authors[1] is not None for one in found) == by_authors
    assert sum(one.corrected[1] is not None for one in found) == corrected


def test_instructions_are_parsed_as_they_are_asked_for() -> None:
    taken: list[int] = []

    def texts() -> Iterator[str]:
        for number in range(3 * diversity.BATCH):
            taken.append(number)
            yield f"Write a story of {number} words."

    first = next(diversity.verb_nouns(texts()))
    assert first.corrected == ("write", "story") and len(taken) < 3 * diversity.BATCH


def rouge(one: str, other: str) -> float:
    return float(rouge_scorer.RougeScorer(["rougeL"]).score(one, other)["rougeL"].fmeasure)


TEXTS = st.lists(st.lists(st.sampled_from(["sort", "the", "list", "by", "size", "Ü"]), max_size=6).map(" ".join), max_size=6)


@given(texts=TEXTS)
def test_every_pair_comes_once_with_its_score(texts: list[str]) -> None:
    found = diversity.within(texts, 0.0)
    assert sorted((i, j) for i, j, _ in found.alike) == [(i, j) for i in range(len(texts)) for j in range(i + 1, len(texts))]
    scores = [score for _, _, score in found.alike]
    assert scores == sorted(scores, reverse=True)
    for i, j, score in found.alike:
        assert score == pytest.approx(rouge(texts[i], texts[j]), abs=1e-12)
    for i, text in enumerate(texts):
        others = [other for j, other in enumerate(texts) if j != i]
        assert found.nearest[i] == pytest.approx(max((rouge(text, other) for other in others), default=0.0), abs=1e-12)


@given(texts=TEXTS)
def test_pairs_below_the_least_are_left_out(texts: list[str]) -> None:
    every = diversity.within(texts, 0.0)
    some = diversity.within(texts, 0.5)
    assert some.nearest == every.nearest
    assert some.alike == tuple(pair for pair in every.alike if pair[2] >= 0.5)
    assert diversity.across(texts, texts, 0.5).alike == tuple(
        pair for pair in diversity.across(texts, texts, 0.0).alike if pair[2] >= 0.5
    )


@given(texts=TEXTS, others=TEXTS)
def test_across_two_sets(texts: list[str], others: list[str]) -> None:
    found = diversity.across(texts, others, 0.0)
    assert sorted((i, j) for i, j, _ in found.alike) == [(i, j) for i in range(len(texts)) for j in range(len(others))]
    for i, text in enumerate(texts):
        assert found.nearest[i] == pytest.approx(max((rouge(text, other) for other in others), default=0.0), abs=1e-12)


# With texts of 64 words and more, which the index holds in another way.
LONG = st.lists(st.sampled_from(["sort", "the", "list", "by", "size", "Ü"]), min_size=60, max_size=80).map(" ".join)


@given(texts=st.lists(st.one_of(LONG, st.sampled_from(["sort the list", "Ü", ""])), max_size=4), seeds=TEXTS)
def test_nearest_seed_to_the_last_bit(texts: list[str], seeds: list[str]) -> None:
    found = diversity.nearest_scores(texts, seeds)
    assert found == [max((rouge(seed, text) for seed in seeds), default=0.0) for text in texts]
    assert found == list(diversity.across(texts, seeds, 0.0).nearest)


def test_the_authors_seeds_are_as_near_to_their_tasks_as_they_are(shared_data: Path) -> None:
    named = [shared_data / "self_instruct" / f"{name}.jsonl" for name in ("seed_tasks", "user_oriented_instructions")]
    seeds, tasks = ([json.loads(line)["instruction"] for line in path.read_text("utf-8").splitlines()] for path in named)
    found = diversity.nearest_scores(seeds, tasks)
    assert sum(found) / len(found) == pytest.approx(0.3388, abs=5e-5)
    assert found.count(1.0) == 1
