"""What is to be rated, and what ratings say of models: counted by hand."""

from __future__ import annotations

from pathlib import Path

import pytest

from sample_runs import evaluated, items, stored_suite
from self_instruct.evaluate import joined, rating_results, rating_sets, store
from self_instruct.evaluate.corpora import Corpus
from self_instruct.evaluate.rating_sets import RatingSet, Target, digest
from self_instruct.records import EvalItem, Instance, Level, Rating, Review

MODELS = ("base", "tuned", "third")


def answer(model: str, item: EvalItem) -> str:
    return "the same" if item.id in ("task_0", "task_1") and model != "third" else f"of {model}"


@pytest.fixture
def rated(tmp_path: Path) -> RatingSet:
    """6 instructions, of the first two of which base and tuned gave the same answer."""
    run = evaluated(tmp_path / "run", [stored_suite(items(6), answer, MODELS)], MODELS)
    (made,) = rating_sets.of_answers(joined.join([store.read(run)]).suites, 42)
    return made


def target(one: RatingSet, item: str, model: str) -> Target:
    subject = next(subject for subject in one.subjects if subject.item == item)
    return subject.key, next(answer.key for answer in subject.answers if model in answer.models)


def corpus(count: int = 50) -> Corpus:
    return Corpus(
        place="a corpus",
        kind="tasks",
        sha256="0" * 64,
        instructions=tuple(f"Do {n}." for n in range(count)),
        classification=(None,) * count,
        instances=tuple(tuple(Instance(input=f"{n}", output=f"{n} {m}") for m in range(n % 3)) for n in range(count)),
    )


def test_equal_answers_are_one_to_rate_and_count_for_both_models(rated: RatingSet) -> None:
    assert rated.total == 16
    assert {answer.models for subject in rated.subjects for answer in subject.answers if len(answer.models) > 1} == {
        ("base", "tuned")
    }
    levels: dict[Target, Level] = {target(rated, "task_0", "base"): "A"}
    assert [(one.model, one.rated, one.total, one.counts) for one in rating_results.of_models(rated, levels)] == [
        ("base", 1, 6, (1, 0, 0, 0)),
        ("tuned", 1, 6, (1, 0, 0, 0)),
        ("third", 0, 6, (0, 0, 0, 0)),
    ]


def test_nothing_rated_has_no_share(rated: RatingSet) -> None:
    assert all(one.a is None and one.a_or_b is None for one in rating_results.of_models(rated, {}))
    assert rating_results.compare(rated, {}, 42) == ()


def test_a_key_tells_the_content_and_nothing_else(rated: RatingSet) -> None:
    subject = next(subject for subject in rated.subjects if subject.item == "task_2")
    assert subject.key == digest(subject.instruction, subject.input, *subject.references)
    assert digest("a", "b") != digest("ab", "") != digest("a\ud800", "b")


def test_raters_share_the_order_of_instructions(tmp_path: Path, rated: RatingSet) -> None:
    run = evaluated(tmp_path / "again", [stored_suite(items(6), answer, MODELS)], MODELS)
    (again,) = rating_sets.of_answers(joined.join([store.read(run)]).suites, 42)
    (other,) = rating_sets.of_answers(joined.join([store.read(run)]).suites, 43)
    assert again == rated
    assert [subject.item for subject in other.subjects] != [subject.item for subject in rated.subjects]
    assert sorted(subject.item for subject in other.subjects) == [f"task_{n}" for n in range(6)]


def test_answers_come_in_every_order(rated: RatingSet) -> None:
    subject = next(subject for subject in rated.subjects if len(subject.answers) == 3)
    orders = {tuple(answer.key for answer in rated.shown(subject, f"rater {n}")) for n in range(200)}
    assert len(orders) == 6


def test_a_review_takes_one_instance_of_those_that_have_one_and_fewer_begin_the_more() -> None:
    whole, some = (rating_sets.of_corpus(corpus(), count, 42, "title") for count in (None, 10))
    assert len(whole.subjects) == sum(1 for n in range(50) if n % 3)
    assert some.subjects == whole.subjects[:10]
    assert len({subject.item for subject in whole.subjects}) == len(whole.subjects)
    assert {int(subject.answers[0].text.split()[1]) for subject in whole.subjects} == {0, 1}
    assert [subject.item for subject in whole.subjects] != sorted((subject.item for subject in whole.subjects), key=int)


@pytest.mark.parametrize(
    ("given", "median"),
    [("A", "A"), ("AB", "B"), ("BA", "B"), ("AD", "D"), ("AAD", "A"), ("ABD", "B"), ("ABCD", "C"), ("DDDA", "D"), ("AABB", "B")],
)
def test_several_peoples_levels_become_their_median_the_worse_of_two(given: str, median: str) -> None:
    raters: list[dict[Target, Level]] = [{("s", "a"): level} for level in given]  # type: ignore[dict-item]
    assert rating_results.consensus(raters) == {("s", "a"): median}


def test_a_comparison_counts_the_instructions_with_both(rated: RatingSet) -> None:
    given: dict[tuple[str, str], Level] = {
        ("task_0", "base"): "B",  # one answer of both: the same level
        ("task_2", "base"): "D",
        ("task_2", "tuned"): "A",
        ("task_3", "base"): "A",
        ("task_3", "tuned"): "C",
        ("task_4", "base"): "C",
        ("task_4", "tuned"): "B",
        ("task_5", "base"): "A",  # tuned isn't rated
    }
    levels = {target(rated, *where): level for where, level in given.items()}
    (one,) = (pair for pair in rating_results.compare(rated, levels, 42) if (pair.base, pair.model) == ("base", "tuned"))
    assert (one.subjects, one.better, one.same, one.worse) == (4, 2, 1, 1)
    assert one.a_or_b.value == pytest.approx(100 * (3 - 2) / 4)
    assert one.net.value == pytest.approx(100 * (2 - 1) / 4)
    assert one.a_or_b.low is not None and one.a_or_b.low <= 25 <= (one.a_or_b.high or 0)


def test_ratings_of_other_answers_are_left_out(rated: RatingSet) -> None:
    here, elsewhere = target(rated, "task_2", "base"), ("0" * 16, "1" * 16)
    given = [
        Rating(rater=rater, subject=where[0], answer=where[1], level="A", comment="", time_s=0.0)
        for rater, where in (("Bob", elsewhere), ("Ann", here), ("Bob", here))
    ]
    assert rating_results.by_rater(given, rated) == {"Ann": {here: "A"}, "Bob": {here: "A"}}


def said(rater: str, one: RatingSet, place: int, *answers: bool | None, form: str | None = None) -> Review:
    subject = one.subjects[place]
    instruction, input_, output = answers
    return Review(
        rater=rater, subject=subject.key, answer=subject.answers[0].key, instruction=instruction, input=input_, output=output,
        format=form, comment="", time_s=0.0,  # type: ignore[arg-type]
    )  # fmt: skip


def test_a_review_counts_each_question_and_all_three_where_all_are_answered() -> None:
    one = rating_sets.of_corpus(corpus(), None, 42, "title")
    given = [
        said("Ann", one, 0, True, True, True, form="right"),
        said("Ann", one, 1, True, False, True, form="partly"),
        said("Ann", one, 2, False, None, None),
        said("Bob", one, 0, False, True, True),  # one of two: no
    ]
    found = rating_results.review(one, given)
    assert (found.reviewed, found.reviewers) == (3, ("Ann", "Bob"))
    assert {name: counted[:2] for name, counted in found.yes.items()} == {
        "instruction": (1, 3),
        "input": (1, 2),
        "output": (2, 2),
        "all": (0, 2),
    }
    assert dict(found.formats) == {"right": 1, "partly": 1, "wrong": 0}
    assert rating_results.answers_to("instruction", one, given)["Bob"] == {
        (one.subjects[0].key, one.subjects[0].answers[0].key): False
    }


def test_nothing_reviewed_has_no_share() -> None:
    found = rating_results.review(rating_sets.of_corpus(corpus(), None, 42, "title"), [])
    assert found.reviewed == 0
    assert {counted for counted in found.yes.values()} == {(0, 0, None)}
