"""Which examples of a step run together, and on which rank: micro-batches under a token budget.

Knows neither model nor tokens, only lengths. The result of a step doesn't depend on it, only its memory and speed do.
"""

from __future__ import annotations

from collections.abc import Sequence

Groups = tuple[tuple[int, ...], ...]


def deal(lengths: Sequence[int], processes: int) -> Groups:
    """The positions of each rank, longest first: each example goes to the rank with the fewest tokens so far.

    A rank gets none where there are fewer examples than ranks.
    """
    shares: list[list[int]] = [[] for _ in range(processes)]
    loads = [0] * processes
    for position in sorted(range(len(lengths)), key=lambda position: (-lengths[position], position)):
        rank = loads.index(min(loads))
        shares[rank].append(position)
        loads[rank] += lengths[position]
    return tuple(map(tuple, shares))


def micro_batches(lengths: Sequence[int], share: Sequence[int], budget: int, *, padded: bool = False) -> Groups:
    """The positions of `share` (longest first) that run together: neighbours in length, at most `budget` tokens.

    `padded` counts each example as long as the longest of its group. An example over the budget runs alone.
    """
    groups: list[list[int]] = []
    tokens = 0
    for position in share:
        length = lengths[position]
        if groups and padded:
            fits = lengths[groups[-1][0]] * (len(groups[-1]) + 1) <= budget
        else:
            fits = bool(groups) and tokens + length <= budget
        if fits:
            groups[-1].append(position)
            tokens += length
        else:
            groups.append([position])
            tokens = length
    return tuple(map(tuple, groups))


def plan(lengths: Sequence[int], budget: int, rank: int, processes: int, *, padded: bool = False) -> Groups:
    """The micro-batches of one rank. All ranks get equally many: an empty one is there only to meet the others, whose
    parameters may be spread over all ranks (FSDP)."""
    ranks = [micro_batches(lengths, share, budget, padded=padded) for share in deal(lengths, processes)]
    most = max(map(len, ranks))
    return ranks[rank] + ((),) * (most - len(ranks[rank]))
