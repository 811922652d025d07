"""What one set says of models and pairs: sums done by hand, intervals against the bootstrap's own."""

from __future__ import annotations

import numpy as np
import pytest

from self_instruct.evaluate import intervals
from self_instruct.evaluate.comparison import Answer, Measured, measure
from self_instruct.evaluate.intervals import Estimate, wilson
from self_instruct.records import EvalItem

# Two tasks of one category, one of another; the third has one instance.
TASKS = [("t1", "g1"), ("t1", "g1"), ("t2", "g1"), ("t2", "g1"), ("t2", "g1"), ("t3", "g2")]
BASE, TUNED = [0.1, 0.5, 0.3, 0.3, 0.6, 0.2], [0.3, 0.7, 0.3, 0.6, 0.3, 0.1]


def items(tasks: list[tuple[str, str]]) -> list[EvalItem]:
    return [
        EvalItem(id=f"i{n}", suite="s", task=task, group=group, instruction="", input="", references=("a",))
        for n, (task, group) in enumerate(tasks)
    ]


def answers(scores: list[float], exact: list[bool] | None = None, texts: list[str] | None = None) -> list[Answer]:
    return [
        Answer(
            text=texts[n] if texts else f"answer {score}",
            hit_limit=False,
            output_tokens=2,
            rouge_l=score,
            exact_match=bool(exact and exact[n]),
        )
        for n, score in enumerate(scores)
    ]


@pytest.fixture(scope="module")
def measured() -> Measured:
    given = {
        "base": answers(BASE, [False, False, True, False, False, False]),
        "tuned": answers(TUNED, [True, False, True, False, False, True]),
    }
    return measure(42, items(TASKS), given)


def test_means_by_hand(measured: Measured) -> None:
    assert (measured.tasks, measured.items, measured.draws) == (3, 6, 2_000)
    base, tuned = measured.models
    assert (base.model, tuned.model) == ("base", "tuned")
    assert base.rouge_l.value == pytest.approx(100 * 2.0 / 6)
    assert base.task_rouge_l.value == pytest.approx(100 * (0.3 + 0.4 + 0.2) / 3)
    assert base.exact_match.value == pytest.approx(100 / 6)
    assert tuned.task_rouge_l.value == pytest.approx(100 * (0.5 + 0.4 + 0.1) / 3)
    assert [(one.group, one.tasks, one.items) for one in base.groups] == [("g1", 2, 5), ("g2", 1, 1)]
    assert [(one.task, one.group, one.items) for one in base.tasks] == [("t1", "g1", 2), ("t2", "g1", 3), ("t3", "g2", 1)]
    assert [one.rouge_l.value for one in base.groups] == pytest.approx([36, 20])
    assert [one.rouge_l.value for one in tuned.tasks] == pytest.approx([50, 40, 10])
    assert [one.exact_match.value for one in tuned.tasks] == pytest.approx([50, 100 / 3, 100])


def test_differences_and_wins_by_hand(measured: Measured) -> None:
    (found,) = measured.comparisons
    assert (found.model, found.base, found.items, found.tasks) == ("tuned", "base", 6, 3)
    assert found.rouge_l.value == pytest.approx(100 * 0.3 / 6)
    assert found.task_rouge_l.value == pytest.approx(100 * 0.1 / 3)
    assert found.exact_match.value == pytest.approx(100 * 2 / 6)
    assert (found.wins, found.ties, found.losses) == (1, 1, 1)  # t2: equal but for rounding
    assert found.same == 1
    assert [(name, pytest.approx(one.value)) for name, one in found.groups] == [("g1", 8.0), ("g2", -10.0)]


def test_intervals_are_the_bootstrap_of_their_own_items(measured: Measured) -> None:
    points = 100 * np.array([BASE, TUNED])
    tasks = [task for task, _ in TASKS]
    whole = intervals.bootstrap(points, tasks, 42)
    group = intervals.bootstrap(points[:, :5], tasks[:5], 42, "group", "g1")
    task = intervals.bootstrap(points[:, 2:5], tasks[2:5], 42, "task", "t2")
    assert whole is not None and group is not None and task is not None
    base, tuned = measured.models
    (pair,) = measured.comparisons
    for found, draws in (
        (base.rouge_l, whole.means[0]),
        (tuned.rouge_l, whole.means[1]),
        (tuned.task_rouge_l, whole.task_means[1]),
        (base.groups[0].rouge_l, group.means[0]),
        (base.tasks[1].rouge_l, task.means[0]),
        (pair.rouge_l, whole.means[1] - whole.means[0]),
        (pair.task_rouge_l, whole.task_means[1] - whole.task_means[0]),
        (pair.groups[0][1], group.means[1] - group.means[0]),
    ):
        assert found == intervals.interval(found.value, draws)
        assert found.low is not None and found.high is not None
        assert found.low < found.value < found.high


def test_a_part_of_one_item_has_no_interval(measured: Measured) -> None:
    alone = measured.models[0].groups[1]
    assert (alone.rouge_l, alone.exact_match) == (Estimate(20.0, None, None), Estimate(0.0, None, None))
    assert measured.models[0].tasks[2].rouge_l == Estimate(20.0, None, None)
    assert measured.comparisons[0].groups[1][1].low is None
    single = measure(1, items(TASKS[:1]), {"base": answers([0.4])})
    assert single.models[0].rouge_l == single.models[0].task_rouge_l == Estimate(40.0, None, None)
    assert single.comparisons == ()


def test_one_instance_a_task_makes_both_means_equal() -> None:
    """User-oriented sets: the hierarchy is the plain bootstrap over the items."""
    found = measure(3, items([(f"t{n}", "g") for n in range(9)]), {"base": answers([n / 9 for n in range(9)])})
    (base,) = found.models
    assert base.rouge_l == base.task_rouge_l
    assert base.tasks[0].rouge_l.low is None


def test_equal_models_differ_by_nothing() -> None:
    found = measure(3, items(TASKS), {"base": answers(BASE), "tuned": answers(BASE)})
    (pair,) = found.comparisons
    assert pair.rouge_l == pair.task_rouge_l == Estimate(0.0, 0.0, 0.0)
    assert pair.exact_match == Estimate(0.0, None, None)  # they differ nowhere: a width of 0 would claim too much
    assert (pair.wins, pair.ties, pair.losses, pair.same) == (0, 3, 0, 6)


@pytest.mark.parametrize("exact", [False, True])
def test_exact_matches_that_are_all_alike_get_wilsons_interval(exact: bool) -> None:
    """Of 0 in 6 nothing says that the share is 0."""
    made = [Answer(text="a", hit_limit=False, output_tokens=1, rouge_l=0.5, exact_match=exact) for _ in items(TASKS)]
    (one,) = measure(3, items(TASKS), {"base": made}).models
    share = wilson(len(made) * exact, len(made))
    assert one.exact_match == Estimate(100 * share.value, 100 * (share.low or 0), 100 * (share.high or 0))
    assert one.exact_match.low != one.exact_match.high
    assert all(task.exact_match.low != task.exact_match.high for task in one.tasks if task.items > 1)


def test_every_pair_is_compared_and_the_earlier_is_the_base() -> None:
    found = measure(3, items(TASKS), {name: answers(BASE) for name in ("base", "tuned", "vendor")})
    assert [(one.base, one.model) for one in found.comparisons] == [("base", "tuned"), ("base", "vendor"), ("tuned", "vendor")]


def test_shares_and_counts_by_hand() -> None:
    given = [
        Answer(text="two words", hit_limit=True, output_tokens=2, rouge_l=0.5, exact_match=False),
        Answer(text=" \n", hit_limit=True, output_tokens=1, rouge_l=0.0, exact_match=False),
        Answer(text="", hit_limit=False, output_tokens=0, rouge_l=0.0, exact_match=False, missing=True),
        Answer(text="one", hit_limit=False, output_tokens=1, rouge_l=1.0, exact_match=True),
    ]
    (base,) = measure(3, items(TASKS[:4]), {"base": given}).models
    assert base.empty == intervals.wilson(2, 4)
    assert base.hit_limit == intervals.wilson(2, 4)
    assert (base.mean_words, base.missing) == (3 / 4, 1)


def test_same_answers_are_equal_to_the_letter() -> None:
    texts = {"base": ["x", "y", "z"], "tuned": ["x", "Y", "z "]}
    found = measure(3, items(TASKS[:3]), {name: answers([0.1, 0.2, 0.3], texts=given) for name, given in texts.items()})
    assert found.comparisons[0].same == 1


@pytest.mark.parametrize("given", [{}, {"base": answers(BASE[:2])}])
def test_answers_to_other_items_are_refused(given: dict[str, list[Answer]]) -> None:
    with pytest.raises(AssertionError, match="other items"):
        measure(1, items(TASKS), given)
