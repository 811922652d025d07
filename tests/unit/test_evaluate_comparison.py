"""Differences, wins and bootstrap intervals."""

from __future__ import annotations

import numpy as np
import pytest

from self_instruct.evaluate import comparison
from self_instruct.records import Prediction, Score


def scores(model: str, values: list[float], exact: list[bool] | None = None) -> list[Score]:
    matches = exact or [False] * len(values)
    return [Score(item_id=f"i{n}", model=model, rouge_l=v, exact_match=matches[n]) for n, v in enumerate(values)]


def test_compare_by_hand() -> None:
    base = scores("base", [0.1, 0.5, 0.3, 0.3], [False, False, True, False])
    tuned = scores("tuned", [0.3, 0.4, 0.3, 0.8], [True, False, True, True])
    found = comparison.compare(base, tuned, seed=42, same=1)
    assert (found.model, found.base, found.items) == ("tuned", "base", 4)
    assert found.base_rouge_l == pytest.approx(30)
    assert found.model_rouge_l == pytest.approx(45)
    assert found.difference == pytest.approx(15)
    assert (found.wins, found.ties, found.losses) == (2, 1, 1)
    assert found.exact_match_difference == pytest.approx(50)
    assert found.low is not None and found.high is not None
    assert -10 <= found.low < found.difference < found.high <= 50


def test_a_rounding_difference_is_a_tie() -> None:
    found = comparison.compare(scores("base", [0.1 + 0.2, 0.5]), scores("tuned", [0.3, 0.5]), seed=1, same=2)
    assert (found.wins, found.ties, found.losses) == (0, 2, 0)


def test_one_item_has_no_interval() -> None:
    found = comparison.compare(scores("base", [0.1]), scores("tuned", [0.4]), seed=42, same=0)
    assert (found.low, found.high) == (None, None)
    assert found.difference == pytest.approx(30)


def test_the_seed_decides_the_interval() -> None:
    gains = np.random.default_rng(0).normal(size=50)
    assert comparison.interval(gains, 1) == comparison.interval(gains, 1)
    assert comparison.interval(gains, 1) != comparison.interval(gains, 2)


def test_equal_gains_have_an_interval_of_no_width() -> None:
    assert comparison.interval(np.full(9, 2.5), 3) == (2.5, 2.5)


def test_the_interval_is_the_bootstrap_done_in_a_loop() -> None:
    gains = np.random.default_rng(5).normal(1.0, 3.0, size=30)
    draws = np.random.default_rng(11)
    means = sorted(float(np.mean([gains[i] for i in row])) for row in draws.integers(0, 30, size=(comparison.DRAWS, 30)))
    found = comparison.interval(gains, 11)
    assert found == pytest.approx((np.quantile(means, 0.025), np.quantile(means, 0.975)))


def test_the_interval_covers_the_true_mean_about_as_often_as_it_says() -> None:
    truth, samples = 2.0, np.random.default_rng(7).normal(2.0, 5.0, size=(300, 60))
    found = [comparison.interval(sample, 1, draws=400) for sample in samples]
    covered = sum(low <= truth <= high for low, high in (bounds for bounds in found if bounds)) / len(samples)
    assert 0.90 <= covered <= 0.99


def test_scores_of_other_items_are_refused() -> None:
    with pytest.raises(AssertionError, match="different items"):
        comparison.compare(scores("base", [0.1, 0.2]), scores("tuned", [0.1]), seed=0, same=0)


def test_same_answers_are_equal_to_the_letter() -> None:
    def prediction(item: str, model: str, text: str) -> Prediction:
        return Prediction(item_id=item, model=model, text=text, hit_limit=False, output_tokens=1)

    given = [prediction("a", "base", "x"), prediction("a", "tuned", "x"), prediction("a", "lora", "y")]
    given += [prediction("b", "tuned", "Y"), prediction("b", "base", "y"), prediction("b", "lora", "y")]
    assert comparison.same_answers(given, "base", "tuned") == 1
    assert comparison.same_answers(given, "base", "lora") == 1
