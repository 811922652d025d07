"""The statistics of a corpus, by hand and on the authors' files."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest

from self_instruct.evaluate import corpora, diversity
from self_instruct.evaluate import corpus_statistics as statistics
from self_instruct.evaluate.corpora import Corpus
from self_instruct.evaluate.diversity import Pair, Structure
from self_instruct.evaluate.intervals import wilson
from self_instruct.records import Instance


def corpus(
    instructions: list[str], labels: list[bool | None] | None = None, instances: list[list[tuple[str, str]]] | None = None,
    kind: str = "corpus",
) -> Corpus:  # fmt: skip
    return Corpus(
        place="here",
        kind=kind,
        sha256="ab" * 32,
        instructions=tuple(instructions),
        classification=tuple(labels or [None] * len(instructions)),
        instances=tuple(
            tuple(Instance(input=input, output=output) for input, output in task)
            for task in instances or [[] for _ in instructions]
        ),
    )


def share(part: int, whole: int) -> dict[str, float | None]:
    found = wilson(part, whole)
    return {"value": found.value, "low": found.low, "high": found.high}


@pytest.fixture
def no_parser(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(diversity, "SPACY_MODELS", ("no_such_model",))


@pytest.mark.usefixtures("no_parser")
def test_counts_shares_and_lengths_by_hand() -> None:
    found = statistics.measure(
        corpus(
            ["Sort these words.", "Greet", "Greet", "Is it so or not?"],
            [False, None, False, True],
            [[("a  b\nc", "c b a"), (" ", "")], [("", "Hello you")], [], [("", "no")]],
        ),
        [],
    )
    assert found["corpus"] == {"place": "here", "kind": "corpus", "sha256": "ab" * 32} and found["format"] == 1
    assert found["counts"] == {
        "instructions": 4, "classification": 1, "labelled": 3, "instances": 4, "empty_inputs": 3, "repeated_instructions": 1,
        "repeated_instances": 0, "without_letters": 0, "without_instance": 1,
    }  # fmt: skip
    assert found["shares"] == {"classification": share(1, 3), "empty_inputs": share(3, 4)}
    assert found["lengths"]["instruction"]["counts"] == [[1, 2], [3, 1], [5, 1]]
    assert found["lengths"]["input"] == {
        "texts": 1, "mean": 3.0, "median": 3.0, "p10": 3.0, "p90": 3.0, "longest": 3, "counts": [[3, 1]],
    }  # fmt: skip
    assert found["lengths"]["output"]["counts"] == [[0, 1], [1, 1], [2, 1], [3, 1]]
    assert found["verb_noun"] is None and found["nearest_seed"] is None
    assert json.loads(json.dumps(found)) == found


@pytest.mark.usefixtures("no_parser")
def test_what_instructions_alone_dont_tell_is_none() -> None:
    found = statistics.measure(corpus(["Sort these words."], kind=corpora.INSTRUCTIONS), [])
    names = ("classification", "instances", "empty_inputs", "without_instance")
    assert [found["counts"][name] for name in names] == [None] * 4 and found["counts"]["labelled"] == 0
    assert found["shares"] == {} and list(found["lengths"]) == ["instruction"]


def test_a_corpus_of_nothing_has_no_numbers_to_divide() -> None:
    found = statistics.measure(corpus([]), ["Sort."])
    assert (found["shares"], found["lengths"], found["verb_noun"], found["nearest_seed"]) == ({}, {}, None, None)


def test_lengths_by_hand() -> None:
    assert statistics.lengths(["a b c", "", "a", "a  b\nc d", "a b"]) == {
        "texts": 5, "mean": 2.0, "median": 2.0, "p10": pytest.approx(0.4), "p90": pytest.approx(3.6), "longest": 4,
        "counts": [[0, 1], [1, 1], [2, 1], [3, 1], [4, 1]],
    }  # fmt: skip


@pytest.mark.parametrize(("values", "at", "value"), [([5], 0.9, 5), ([1, 2], 0.5, 1.5), ([1, 2, 3, 4], 0.0, 1), ([1, 9], 1.0, 9)])
def test_quantile(values: list[int], at: float, value: float) -> None:
    assert statistics.quantile(values, at) == pytest.approx(value)


def test_the_top_verbs_with_their_nouns(monkeypatch: pytest.MonkeyPatch) -> None:
    none: Pair = (None, None)
    pairs: list[Pair] = [(f"verb{n:02d}", "thing") for n in range(21)]  # one too many: the last by the alphabet goes
    pairs += [("write", noun) for noun in ("poem", "poem", "ode", "song", "tale", "list", "list")]
    pairs += [("write", None), ("run", None), none]
    found = [Structure(authors=none, corrected=pair) for pair in pairs]
    monkeypatch.setattr(diversity, "parser_available", lambda: True)
    monkeypatch.setattr(diversity, "parser_name", lambda: "parser 1")
    monkeypatch.setattr(diversity, "verb_nouns", lambda texts: iter(found))
    verbs = statistics.measure(corpus(["x"] * len(pairs)), [])["verb_noun"]
    assert verbs["parser"] == "parser 1"
    one = verbs["corrected"]
    assert (one["pairs"], one["of"], one["share"], one["verbs"]) == (28, 31, share(28, 31), 23)
    # Verbs count with a noun alone; of the five nouns of one verb the four most frequent, then by the alphabet.
    assert one["top"][0] == {"verb": "write", "count": 7, "nouns": [["list", 2], ["poem", 2], ["ode", 1], ["song", 1]]}
    assert [row["verb"] for row in one["top"][1:]] == [f"verb{n:02d}" for n in range(19)]
    assert (one["top_count"], one["top_share"]) == (6 + 19, share(25, 31))
    empty: dict[str, Any] = {"pairs": 0, "of": 31, "share": share(0, 31), "verbs": 0, "top": [], "top_count": 0}
    assert verbs["authors"] == empty | {"top_share": share(0, 31)}


@pytest.mark.usefixtures("no_parser")
def test_nearest_seeds_by_hand() -> None:
    seeds = ["a b c d e f g h i j", "p q r s t u v"]
    texts = ["A, b; c d e f g h i j!", "a b c d e", "p q r s t u v 1 2 3 4 5 6", "nothing", "列出"]
    found = statistics.measure(corpus(texts), seeds)["nearest_seed"]
    # 1; 2·5/15; 2·7/20, which floats put a little above or below the edge of its bin; 0; 0 without a-z and 0-9.
    assert found["mean"] == pytest.approx((1 + 2 / 3 + 0.7) / 5) and found["median"] == pytest.approx(2 / 3)
    assert (found["seeds"], found["equal"], found["edges"]) == (2, 1, [n / 20 for n in range(21)])
    assert {n: count for n, count in enumerate(found["counts"]) if count} == {0: 2, 13: 1, 14: 1, 19: 1}


def test_many_instructions_show_how_far_the_parser_is(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(statistics, "MANY", 2)
    monkeypatch.setattr(logging.getLogger("self_instruct"), "propagate", True)
    with caplog.at_level(logging.INFO):
        statistics.measure(corpus(["Sort the words.", "Greet me."]), [])
    assert "verbs and nouns: 2 of 2 instructions" in caplog.text


def test_the_authors_seeds(shared_data: Path) -> None:
    folder = shared_data / "self_instruct"
    place = folder / "seed_tasks.jsonl"
    lines = (folder / "user_oriented_instructions.jsonl").read_text(encoding="utf-8").splitlines()
    found = statistics.measure(corpora.read(place), [json.loads(line)["instruction"] for line in lines])
    assert found["verb_noun"]["authors"]["pairs"] == 120 and found["verb_noun"]["corrected"]["pairs"] == 123
    assert found["nearest_seed"]["mean"] == pytest.approx(0.3388, abs=5e-5) and found["nearest_seed"]["equal"] == 1
    assert sum(found["nearest_seed"]["counts"]) == 175
