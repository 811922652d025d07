"""Keyed draws: pinned, because a change of any of these numbers changes every run."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from self_instruct.randomness import generator, key

GOLDEN: list[tuple[tuple[int | str, ...], int, list[int], list[int]]] = [
    ((42,), 2376719381931921175, [845, 612, 888, 857], [153, 127, 136, 151, 54, 77]),
    ((42, "bootstrap", 0), 3212695520137224860, [584, 566, 239, 458], [146, 141, 59, 114, 25, 93]),
    ((42, "bootstrap", 1), 6711186986625551492, [80, 143, 399, 592], [20, 35, 99, 148, 84, 145]),
    ((0, "", "a"), 3083149226439588848, [948, 783, 427, 224], [106, 56, 113, 71, 4, 81]),
    ((42, "é", 2**70), 3772943054839240769, [867, 732, 892, 357], [89, 96, 66, 6, 55, 39]),
    (("42",), 8122215944257524543, [638, 687, 399, 689], [159, 171, 99, 172, 52, 77]),
]


@pytest.mark.parametrize(("parts", "number", "draws", "sample"), GOLDEN)
def test_golden_values(parts: tuple[int | str, ...], number: int, draws: list[int], sample: list[int]) -> None:
    assert key(*parts) == number
    source = generator(*parts)
    assert [source.randrange(1000) for _ in range(4)] == draws
    assert generator(*parts).sample(range(175), 6) == sample


def test_parts_do_not_run_into_each_other() -> None:
    cases = [(), ("",), ("", ""), ("a", "b"), ("ab",), ("a,b",), ("a', 'b",), (1, 2), (12,), ("1", 2), (1, "2"), (-1, 2)]
    assert len({key(*case) for case in cases}) == len(cases)


def test_keys_fit_63_bits_and_spread() -> None:
    keys = [key(42, number) for number in range(2000)]
    assert all(0 <= number < 2**63 for number in keys)
    assert len(set(keys)) == len(keys)
    assert 900 < sum(number & 1 for number in keys) < 1100
    assert 900 < sum(number >> 62 for number in keys) < 1100


def test_keys_do_not_depend_on_the_process() -> None:
    code = "from self_instruct.randomness import key; print(key(42, 'bootstrap', 0))"
    for hash_seed in ("0", "1"):
        done = subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            check=True,
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
        )
        assert int(done.stdout) == GOLDEN[1][1]
