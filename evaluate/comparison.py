"""Tuned models against their base, item by item: scores, differences, wins, and an interval for the mean difference.

Knows neither engines nor files.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from self_instruct.evaluate.predict import Contender
from self_instruct.evaluate.scoring import Summary, score_all
from self_instruct.evaluate.suites import Prompted
from self_instruct.randomness import key
from self_instruct.records import Prediction, Score

DRAWS = 2_000
LEVEL = 0.95


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """`model` against `base` on the same items, in ROUGE-L points (0 to 100); `difference` is model - base.

    `low` and `high` bound the mean difference by a paired bootstrap over the items (95 %, percentiles); None
    where there are fewer than two items. `wins`, `ties`, `losses` count items by ROUGE-L; `same` counts answers that
    are the base's to the letter: all of them the same means that the adapter wasn't applied, or does nothing.
    """

    model: str
    base: str
    items: int
    base_rouge_l: float
    model_rouge_l: float
    difference: float
    low: float | None
    high: float | None
    wins: int
    ties: int
    losses: int
    exact_match_difference: float
    same: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Results:
    """All that was measured. `scores` and `summaries` are by model name, scores in the items' order."""

    contenders: tuple[Contender, ...]
    prompted: tuple[Prompted, ...]
    predictions: tuple[Prediction, ...]
    scores: Mapping[str, tuple[Score, ...]]
    summaries: Mapping[str, Summary]
    comparisons: tuple[Comparison, ...]


def measure(
    seed: int, contenders: tuple[Contender, ...], prompted: tuple[Prompted, ...], predictions: tuple[Prediction, ...]
) -> Results:
    """Score every contender and compare all others with the first, the base; `seed` is the run's."""
    items = [one.item for one in prompted]
    scored = {contender.name: score_all(items, predictions, contender.name) for contender in contenders}
    base = scored[contenders[0].name][0]
    return Results(
        contenders=contenders,
        prompted=prompted,
        predictions=predictions,
        scores={name: scores for name, (scores, _) in scored.items()},
        summaries={name: summary for name, (_, summary) in scored.items()},
        comparisons=tuple(
            compare(base, scored[contender.name][0], seed, same_answers(predictions, contenders[0].name, contender.name))
            for contender in contenders[1:]
        ),
    )


def same_answers(predictions: Sequence[Prediction], base: str, model: str) -> int:
    """Items that both models answer with the same text."""
    texts = {prediction.item_id: prediction.text for prediction in predictions if prediction.model == base}
    return sum(one.text == texts[one.item_id] for one in predictions if one.model == model)


def compare(base: Sequence[Score], model: Sequence[Score], seed: int, same: int) -> Comparison:
    """Compare two models' scores of the same items in the same order; `seed` is the run's."""
    assert [s.item_id for s in base] == [s.item_id for s in model] and base, "scores of different items"
    before = 100 * np.array([s.rouge_l for s in base])  # (items,)
    after = 100 * np.array([s.rouge_l for s in model])  # (items,)
    exact = 100 * np.array([float(m.exact_match) - float(b.exact_match) for b, m in zip(base, model, strict=True)])
    gains = after - before
    even = np.isclose(gains, 0.0, rtol=0.0, atol=1e-9)
    bounds = interval(gains, key(seed, "evaluate", "bootstrap"))
    return Comparison(
        model=model[0].model,
        base=base[0].model,
        items=len(gains),
        base_rouge_l=float(before.mean()),
        model_rouge_l=float(after.mean()),
        difference=float(gains.mean()),
        low=bounds[0] if bounds else None,
        high=bounds[1] if bounds else None,
        wins=int((~even & (gains > 0)).sum()),
        ties=int(even.sum()),
        losses=int((~even & (gains < 0)).sum()),
        exact_match_difference=float(exact.mean()),
        same=same,
    )


def interval(gains: npt.NDArray[np.float64], seed: int, draws: int = DRAWS, level: float = LEVEL) -> tuple[float, float] | None:
    """Percentile bootstrap of the mean of `gains`, shape (items,); None for fewer than two items.

    The same seed gives the same resamples for every model, so intervals of several models can be set side by side.
    """
    count = len(gains)
    if count < 2:
        return None
    chosen = np.random.default_rng(seed).integers(0, count, size=(draws, count))  # (draws, items)
    means = gains[chosen].mean(axis=1)  # (draws,)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
