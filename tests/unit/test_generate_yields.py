"""The acceptance curve: exact where it is a power law, and the first of the three ends."""

from __future__ import annotations

import math

import pytest

from self_instruct.generate.yields import Curve, Yield, dried_up
from self_instruct.settings import GenerateSettings


def power_law(candidates: int, scale: float, exponent: float) -> Curve:
    """accepted = scale · candidates^exponent, rounded down."""
    curve, accepted = Curve(), 0
    for number in range(1, candidates + 1):
        more = int(scale * number**exponent) > accepted
        accepted += more
        curve.count(more)
    return curve


@pytest.mark.parametrize("exponent", [0.6, 0.8, 0.95])
def test_a_power_law_is_found_and_goes_on(exponent: float) -> None:
    curve = power_law(4000, 1.0, exponent)
    assert curve.exponent == pytest.approx(exponent, abs=0.01)
    found = curve.forecast(target=2 * curve.accepted, min_acceptance=0.0)
    assert found is not None
    assert found.counted == pytest.approx(4000 * 2 ** (1 / exponent), rel=0.02)
    assert (found.ends_by, round(found.accepted)) == ("target_instructions", 2 * curve.accepted)


def test_constant_acceptance_is_a_line() -> None:
    curve = Curve()
    for number in range(200):
        curve.count(number % 2 == 0)
    assert (curve.exponent, curve.acceptance(50), curve.candidates, curve.accepted) == (1.0, 0.5, 200, 100)
    found = curve.forecast(target=1000, min_acceptance=0.3)
    assert found is not None and (found.counted, found.ends_by) == (2000, "target_instructions")
    found = curve.forecast(target=1000, min_acceptance=0.6)
    assert found is not None and (found.counted, found.accepted, found.ends_by) == (200, 100, "min_acceptance")
    found = curve.forecast(target=1000, min_acceptance=0.3, most=500)
    assert found is not None and (found.counted, found.accepted, found.ends_by) == (500, 250, "max_requests")


def test_novelty_that_dries_up_is_foretold() -> None:
    curve = power_law(4000, 10.0, 0.5)
    found = curve.forecast(target=100_000, min_acceptance=0.02)
    assert found is not None and found.ends_by == "min_acceptance"
    # The slope 5 / sqrt(n) is 0.02 at n = 62,500.
    assert found.counted == pytest.approx(62_500, rel=0.05)
    assert found.accepted == pytest.approx(2500, rel=0.03)


def test_no_data_no_forecast_and_a_reached_target_is_now() -> None:
    curve = Curve()
    assert curve.forecast(target=5, min_acceptance=0.1) is None
    assert (curve.acceptance(10), curve.exponent) == (0.0, 1.0)
    for _ in range(8):
        curve.count(True)
    found = curve.forecast(target=5, min_acceptance=0.1)
    assert found is not None and (found.counted, found.accepted, found.ends_by) == (8, 8, "target_instructions")


def test_a_curve_that_stands_still_never_reaches_the_target() -> None:
    curve = Curve()
    for number in range(100):
        curve.count(number < 10)
    assert curve.exponent == 0.0
    found = curve.forecast(target=20, min_acceptance=0.0)
    assert found is not None and math.isinf(found.counted)
    assert curve.forecast(target=20, min_acceptance=0.02).ends_by == "min_acceptance"  # type: ignore[union-attr]


def test_a_completion_without_candidates_lowers_the_acceptance_and_is_no_candidate() -> None:
    """As in `Yield`, which ends the run."""
    settings = GenerateSettings(acceptance_window=10, min_acceptance=0.3, target_instructions=1000)
    curve, counts = Curve(), Yield(settings)
    for number in range(40):
        accepted, candidate = number < 20, number % 4 != 3
        assert curve.over(settings) == bool(counts.stopped_by)
        curve.count(accepted and candidate, candidate=candidate)
        counts.count(accepted=accepted and candidate, candidate=candidate)
        assert (curve.candidates, curve.accepted) == (counts.candidates, counts.accepted)
        assert curve.acceptance(10) == counts.acceptance
        if counts.stopped_by:
            break
    assert (curve.counted, curve.candidates, counts.stopped_by) == (27, 21, "min_acceptance")
    found = curve.forecast(target=1000, min_acceptance=0.0, most=52)
    assert found is not None and (found.counted, found.ends_by) == (52, "max_requests")


def test_a_reached_target_is_over() -> None:
    curve = Curve()
    curve.count(True)
    assert curve.over(GenerateSettings(target_instructions=1)) and not curve.over(GenerateSettings(target_instructions=2))


def test_dried_up_names_the_setting_and_what_there_is() -> None:
    settings = GenerateSettings(min_acceptance=0.05, acceptance_window=20, target_instructions=1000)
    said = dried_up(settings, 123)
    assert "less than 5.0% of the last 20 candidates" in said
    assert "generate.min_acceptance" in said and "123 of the 1000 instructions" in said


def test_the_run_ends_at_the_floor_only_with_a_full_window() -> None:
    counts = Yield(GenerateSettings(min_acceptance=0.5, acceptance_window=4, target_instructions=100))
    for accepted in (False, False, False):
        counts.count(accepted=accepted)
    assert counts.stopped_by == ""
    counts.count(accepted=True)
    assert counts.stopped_by == "min_acceptance"
