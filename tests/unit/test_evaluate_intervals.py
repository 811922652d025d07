"""Wilson's interval against published values, and the bootstrap against itself done slowly."""

from __future__ import annotations

import numpy as np
import pytest

from self_instruct.evaluate import intervals
from self_instruct.evaluate.intervals import Estimate
from self_instruct.randomness import key


@pytest.mark.parametrize(
    ("part", "whole", "low", "high"),
    [
        # Newcombe, Statistics in Medicine 17 (1998), table I, method 3: the score interval without continuity correction.
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_wilson_equals_the_published_values(part: int, whole: int, low: float, high: float) -> None:
    found = intervals.wilson(part, whole)
    assert found.value == part / whole
    assert (found.low, found.high) == pytest.approx((low, high), abs=5e-5)


def test_wilson_at_the_ends_reaches_them_and_never_leaves_0_to_1() -> None:
    for whole in (1, 2, 7, 252, 52_445):
        assert intervals.wilson(0, whole).low == 0.0
        assert intervals.wilson(whole, whole).high == 1.0
        for part in {0, 1, whole // 2, whole}:
            found = intervals.wilson(part, whole)
            assert found.low is not None and found.high is not None
            assert 0 <= found.low <= found.value <= found.high <= 1


@pytest.mark.parametrize(("part", "whole"), [(0, 0), (3, 2), (-1, 2)])
def test_a_share_of_nothing_is_refused(part: int, whole: int) -> None:
    with pytest.raises(AssertionError, match="no share"):
        intervals.wilson(part, whole)


def slowly(values: list[float], tasks: list[str], seed: int, draws: int) -> tuple[list[float], list[float]]:
    """Both means of every draw, from the same numbers in the same order: tasks taken, then each one's instances."""
    members: dict[str, list[float]] = {}
    for value, task in zip(values, tasks, strict=True):
        members.setdefault(task, []).append(value)
    lists = list(members.values())
    stream = np.random.default_rng(key(seed, "evaluate", "bootstrap"))
    taken = stream.integers(0, len(lists), size=(draws, len(lists)))
    numbers = iter(stream.random(sum(len(lists[task]) for row in taken for task in row)))
    means, task_means = [], []
    for row in taken:
        drawn = [[lists[task][int(next(numbers) * len(lists[task]))] for _ in lists[task]] for task in row]
        means.append(sum(map(sum, drawn)) / sum(map(len, drawn)))
        task_means.append(sum(sum(one) / len(one) for one in drawn) / len(drawn))
    return means, task_means


@pytest.mark.parametrize("sizes", [[4, 1, 7, 2], [5], [1, 1, 1, 1, 1, 1], [1, 1]])
def test_the_bootstrap_is_a_double_loop(sizes: list[int]) -> None:
    tasks = [f"t{task}" for task, size in enumerate(sizes) for _ in range(size)]
    np.random.default_rng(3).shuffle(tasks)  # a task's items needn't stand together
    values = np.random.default_rng(4).normal(30, 20, size=(2, len(tasks)))
    found = intervals.bootstrap(values, tasks, 42, draws=200)
    assert found is not None
    for column, row in enumerate(values):
        means, task_means = slowly([float(one) for one in row], tasks, 42, 200)
        assert found.means[column] == pytest.approx(means, abs=1e-10)
        assert found.task_means[column] == pytest.approx(task_means, abs=1e-10)


def test_chunks_only_share_out_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many draws are weighed at once, they are draws of the same kind: the spread stays."""
    tasks = [f"t{place % 9}" for place in range(90)]
    values = np.random.default_rng(4).normal(0, 20, size=(1, 90))
    whole = intervals.bootstrap(values, tasks, 1)
    monkeypatch.setattr(intervals, "CHUNK", 91)
    single = intervals.bootstrap(values, tasks, 1)
    assert whole is not None and single is not None
    assert single.means.shape == whole.means.shape == (1, intervals.DRAWS)
    assert single.means.std() == pytest.approx(whole.means.std(), rel=0.1)


def test_a_column_is_the_same_alone_and_among_others() -> None:
    tasks = [f"t{place % 17}" for place in range(1_001)]
    values = np.random.default_rng(0).random((11, 1_001)) * 100
    together = intervals.bootstrap(values, tasks, 7)
    turned = intervals.bootstrap(values[::-1], tasks, 7)
    assert together is not None and turned is not None
    for column in range(11):
        alone = intervals.bootstrap(values[column : column + 1], tasks, 7)
        assert alone is not None
        assert (alone.means[0] == together.means[column]).all()
        assert (alone.task_means[0] == together.task_means[column]).all()
        assert (turned.means[10 - column] == together.means[column]).all()


def test_seed_and_name_decide_the_draws() -> None:
    tasks = [f"t{place % 5}" for place in range(50)]
    values = np.random.default_rng(0).random((1, 50))

    def means(seed: int, *parts: str) -> list[float]:
        found = intervals.bootstrap(values, tasks, seed, *parts, draws=20)
        assert found is not None
        return [float(one) for one in found.means[0]]

    assert means(1) == means(1)
    assert means(1, "group", "a") == means(1, "group", "a")
    assert means(1) != means(2)
    assert means(1, "group", "a") != means(1, "group", "b") != means(1)


def test_fewer_than_two_items_give_no_interval() -> None:
    assert intervals.bootstrap(np.zeros((3, 1)), ["t"], 1) is None
    assert intervals.bootstrap(np.zeros((3, 0)), [], 1) is None
    assert intervals.interval(4.0, None) == Estimate(4.0, None, None)
    assert intervals.intervals([1.0, 2.0], None) == [Estimate(1.0, None, None), Estimate(2.0, None, None)]


def test_equal_scores_have_an_interval_of_no_width() -> None:
    tasks = ["a", "a", "a", "b", "c", "c"]
    found = intervals.bootstrap(np.full((1, 6), 100 / 3), tasks, 3)
    assert found is not None
    for draws in (found.means[0], found.task_means[0]):
        estimate = intervals.interval(100 / 3, draws)
        assert (estimate.low, estimate.high) == pytest.approx((100 / 3, 100 / 3), abs=1e-12)


def test_the_bounds_are_percentiles() -> None:
    draws = np.random.default_rng(1).permutation(2_001).astype(float)
    for level, low, high in ((0.95, 50, 1_950), (0.9, 100, 1_900)):
        found = intervals.interval(1_000.0, draws, level)
        assert (found.value, found.low, found.high) == pytest.approx((1_000, low, high), abs=1e-9)


def test_the_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    """Simulated sets of 25 tasks with 8 instances whose spread is mostly between tasks: an interval over instances would fail."""
    stream = np.random.default_rng(7)
    tasks = [f"t{task}" for task in range(25) for _ in range(8)]
    samples = (50 + stream.normal(0, 10, size=(400, 25, 1)) + stream.normal(0, 8, size=(400, 25, 8))).reshape(400, -1)
    found = intervals.bootstrap(samples, tasks, 1, draws=500)
    plain = intervals.bootstrap(samples, list(range(200)), 1, draws=500)
    assert found is not None and plain is not None

    def coverage(draws: intervals.Floats) -> float:
        low, high = np.quantile(draws, [0.025, 0.975], axis=1)
        return float(np.mean((low <= 50) & (high >= 50)))

    assert 0.91 <= coverage(found.means) <= 0.99
    assert coverage(plain.means) < 0.75
