"""What holds for the intervals of any scores."""

from __future__ import annotations

import random

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from self_instruct.evaluate import intervals
from self_instruct.evaluate.comparison import Answer, measure
from self_instruct.records import EvalItem

ANSWERS = st.tuples(st.sampled_from(["", "yes", "a long answer"]), st.floats(0, 1), st.booleans(), st.booleans())
patient = settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.too_slow])


@st.composite
def sets(draw: st.DrawFn) -> tuple[list[EvalItem], dict[str, list[Answer]]]:
    """A few tasks in a few groups, answered by two or three models."""
    tasks = draw(st.lists(st.integers(0, 4), min_size=1, max_size=12))
    items = [
        EvalItem(id=f"i{n}", suite="s", task=f"t{t}", group=f"g{t % 2}", instruction="", input="", references=("yes",))
        for n, t in enumerate(tasks)
    ]
    models = [f"m{number}" for number in range(draw(st.integers(2, 3)))]
    answers = {}
    for model in models:
        drawn = draw(st.lists(ANSWERS, min_size=len(items), max_size=len(items)))
        answers[model] = [
            Answer(text=text, rouge_l=rouge, exact_match=exact, hit_limit=limit, output_tokens=len(text))
            for text, rouge, exact, limit in drawn
        ]
    return items, answers


@given(st.integers(1, 10**6), st.data())
def test_wilson_brackets_the_share_and_mirrors(whole: int, data: st.DataObject) -> None:
    part = data.draw(st.integers(0, whole))
    found, mirrored = intervals.wilson(part, whole), intervals.wilson(whole - part, whole)
    assert found.low is not None and found.high is not None and mirrored.high is not None
    assert 0 <= found.low <= found.value <= found.high <= 1
    assert found.low < found.high
    assert abs(found.low - (1 - mirrored.high)) < 1e-12


@patient
@given(sets())
def test_a_model_is_measured_the_same_whoever_stands_beside_it(drawn: tuple[list[EvalItem], dict[str, list[Answer]]]) -> None:
    items, answers = drawn
    together = measure(5, items, answers)
    turned = {one.model: one for one in measure(5, items, dict(reversed(answers.items()))).models}
    for one in together.models:
        assert measure(5, items, {one.model: answers[one.model]}).models == (one,)
        assert turned[one.model] == one


@patient
@given(sets())
def test_differences_turn_round_with_the_pair(drawn: tuple[list[EvalItem], dict[str, list[Answer]]]) -> None:
    items, answers = drawn
    pair = {model: answers[model] for model in ("m0", "m1")}
    (one,) = measure(5, items, pair).comparisons
    (other,) = measure(5, items, dict(reversed(pair.items()))).comparisons
    assert (one.wins, one.ties, one.losses, one.same) == (other.losses, other.ties, other.wins, other.same)
    for first, second in (
        (one.rouge_l, other.rouge_l),
        (one.task_rouge_l, other.task_rouge_l),
        (one.exact_match, other.exact_match),
        *((a, b) for (_, a), (_, b) in zip(one.groups, other.groups, strict=True)),
    ):
        assert first.value == -second.value
        assert (first.low is None) == (second.low is None)
        if first.low is not None and first.high is not None and second.low is not None and second.high is not None:
            assert abs(first.low + second.high) < 1e-9
            assert abs(first.high + second.low) < 1e-9
            assert first.low <= first.high


@patient
@given(sets(), st.randoms(use_true_random=False))
def test_the_order_inside_a_task_changes_no_value(
    drawn: tuple[list[EvalItem], dict[str, list[Answer]]], order: random.Random
) -> None:
    items, answers = drawn
    moved = list(range(len(items)))
    order.shuffle(moved)
    moved.sort(key=lambda place: items[place].task)
    sorted_places = sorted(range(len(items)), key=lambda place: items[place].task)
    one = measure(5, [items[p] for p in sorted_places], {m: [given[p] for p in sorted_places] for m, given in answers.items()})
    other = measure(5, [items[p] for p in moved], {m: [given[p] for p in moved] for m, given in answers.items()})
    for first, second in zip(one.models, other.models, strict=True):
        assert (first.rouge_l.value, first.exact_match.value) == (second.rouge_l.value, second.exact_match.value)
        assert first.task_rouge_l.value == second.task_rouge_l.value
        assert [g.rouge_l.value for g in first.groups] == [g.rouge_l.value for g in second.groups]
        assert [t.rouge_l.value for t in first.tasks] == [t.rouge_l.value for t in second.tasks]
        assert (first.empty, first.hit_limit, first.mean_words) == (second.empty, second.hit_limit, second.mean_words)


@patient
@given(sets())
def test_groups_and_tasks_add_up_to_the_whole(drawn: tuple[list[EvalItem], dict[str, list[Answer]]]) -> None:
    items, answers = drawn
    found = measure(5, items, answers)
    for one in found.models:
        for parts in (one.groups, one.tasks):
            assert sum(part.items for part in parts) == len(items)
            assert abs(sum(part.items * part.rouge_l.value for part in parts) / len(items) - one.rouge_l.value) < 1e-9
        assert sum(group.tasks for group in one.groups) == found.tasks == len(one.tasks)
        assert abs(sum(task.rouge_l.value for task in one.tasks) / found.tasks - one.task_rouge_l.value) < 1e-9
