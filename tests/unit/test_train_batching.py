"""The plan of the steps is a pure function of (seed, epoch, n)."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sample_training import byte_level, examples
from self_instruct.template import WITH_INPUT, WITHOUT_INPUT
from self_instruct.train.batching import Preparation, micro_batches, steps
from self_instruct.train.modeling import tokenize_with


@given(seed=st.integers(0, 5), epoch=st.integers(0, 3), count=st.integers(1, 70), size=st.integers(1, 20))
def test_an_epoch_shows_every_example_once(seed: int, epoch: int, count: int, size: int) -> None:
    plan = steps(seed, epoch, count, size)
    assert sorted(i for step in plan for i in step) == list(range(count))
    assert all(len(step) == size for step in plan[:-1])
    assert 1 <= len(plan[-1]) <= size


def test_the_order_is_keyed_by_seed_and_epoch() -> None:
    plans = {(seed, epoch): steps(seed, epoch, 50, 8) for seed in (1, 2) for epoch in (0, 1)}
    assert len(set(plans.values())) == 4
    assert steps(1, 0, 50, 8) == plans[1, 0]
    assert plans[1, 0] != tuple(tuple(range(i, min(i + 8, 50))) for i in range(0, 50, 8))


def test_the_order_stays_what_it_was() -> None:
    """A change here would make old runs impossible to repeat."""
    assert steps(42, 0, 7, 3) == ((1, 3, 5), (2, 4, 6), (0,))


@given(lengths=st.lists(st.integers(1, 99), min_size=1, max_size=40), size=st.integers(1, 9), processes=st.integers(1, 5))
def test_micro_batches_share_a_step_out(lengths: list[int], size: int, processes: int) -> None:
    shares = [micro_batches(lengths, size, rank, processes) for rank in range(processes)]
    assert sorted(i for share in shares for group in share for i in group) == list(range(len(lengths)))
    assert all(1 <= len(group) <= size for share in shares for group in share)
    for share in shares:
        dealt = [lengths[i] for group in share for i in group]
        assert dealt == sorted(dealt, reverse=True)
    counts = [sum(len(group) for group in share) for share in shares]
    assert max(counts) - min(counts) <= 1


def test_like_lengths_run_together() -> None:
    assert micro_batches([5, 90, 6, 91], 2) == ((3, 1), (2, 0))
    assert micro_batches([7, 7, 7], 2) == ((0, 1), (2,))
    assert micro_batches([5, 90, 6, 91], 2, rank=0, processes=2) == ((3, 2),)
    assert micro_batches([5], 2, rank=1, processes=2) == ()


def preparation(draw: str = "epoch", seed: int = 42, limit: int = 256) -> Preparation:
    tokenizer = byte_level()
    return Preparation(
        tokenize=tokenize_with(tokenizer),
        eos_id=tokenizer.eos_token_id,
        limit=limit,
        prompt_weight=0.25,
        seed=seed,
        template_draw=draw,  # type: ignore[arg-type]
    )


@pytest.mark.parametrize(("draw", "same"), [("epoch", False), ("once", True)])
def test_templates_are_drawn_anew_each_epoch_or_once(draw: str, same: bool) -> None:
    chosen = preparation(draw)
    first, second = ([chosen.render(example, epoch) for example in examples(30)] for epoch in (0, 1))
    assert (first == second) is same


def test_a_template_depends_on_the_seed_and_the_example_alone() -> None:
    rows = examples(30)
    chosen = preparation()
    forward = [chosen.render(row, 1) for row in rows]
    assert [chosen.render(row, 1) for row in reversed(rows)][::-1] == forward
    assert [preparation(seed=43).render(row, 1) for row in rows] != forward


def test_all_forms_are_drawn() -> None:
    chosen = preparation()
    counts = Counter(chosen.render(row, epoch).form for row in examples(60) for epoch in range(10))
    assert set(counts) == set(WITH_INPUT + WITHOUT_INPUT)


def test_an_example_is_encoded_as_the_preparation_says() -> None:
    row = examples(60)[59]
    long = replace(row, instruction=row.instruction * 5)
    one = preparation(limit=64).encode(long, 0)
    assert one.id == long.id
    assert len(one.ids) == 64 and one.prompt_cut > 0
    assert set(one.weights) == {0.0, 0.25, 1.0}
    assert one.form == preparation().render(long, 0).form
