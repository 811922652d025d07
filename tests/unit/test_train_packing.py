"""Which examples run together: small plans by hand. tests/property/test_objective.py has what holds for any."""

from __future__ import annotations

from self_instruct.train import packing


def test_the_longest_go_first_to_the_rank_with_the_fewest_tokens() -> None:
    assert packing.deal([5, 9, 2, 8, 4], 2) == ((1, 4, 2), (3, 0))
    assert packing.deal([3, 3, 3], 1) == ((0, 1, 2),)  # equal ones in their order
    assert packing.deal([7], 3) == ((0,), (), ())


def test_micro_batches_are_neighbours_in_length_under_the_budget() -> None:
    lengths = [5, 9, 2, 8, 4]
    share = packing.deal(lengths, 1)[0]
    assert packing.micro_batches(lengths, share, 11) == ((1,), (3,), (0, 4, 2))
    assert packing.micro_batches(lengths, share, 10, padded=True) == ((1,), (3,), (0, 4), (2,))
    assert packing.micro_batches(lengths, share, 1) == ((1,), (3,), (0,), (4,), (2,))  # each is over it, and alone
    assert packing.micro_batches(lengths, share, 28) == ((1, 3, 0, 4, 2),)
    assert packing.micro_batches(lengths, (), 10) == ()


def test_ranks_with_less_to_do_get_empty_micro_batches() -> None:
    lengths = [9, 1, 1]
    assert packing.plan(lengths, 1, 0, 2) == ((0,), ())
    assert packing.plan(lengths, 1, 1, 2) == ((1,), (2,))
    assert packing.plan([4], 8, 2, 3) == ((),)
