"""The statistics of whole tables are the libraries' of the single ratings, and what holds for any ratings."""

from __future__ import annotations

import math

import krippendorff
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import spearmanr
from sklearn.metrics import cohen_kappa_score

from self_instruct.evaluate import agreement
from self_instruct.evaluate.rating_sets import Target
from self_instruct.records import LEVELS, Level

pytestmark = pytest.mark.filterwarnings("error")

quick = settings(deadline=None, max_examples=300)
few = settings(deadline=None, max_examples=60)  # each with its bootstraps

places = st.integers(0, 3)
weights = st.lists(st.integers(0, 3), min_size=5, max_size=5).filter(any)
# Answers to five instructions: which one, and the levels of the two raters. Often few levels, as real raters have.
answers = st.sampled_from([places, st.sampled_from([0, 3]), st.integers(1, 2), st.just(2)]).flatmap(
    lambda one: st.lists(st.tuples(st.integers(0, 4), one, places), min_size=1, max_size=25)
)
# Answers to five instructions with the levels that two to five raters gave.
several = st.lists(st.tuples(st.integers(0, 4), st.lists(places, min_size=2, max_size=5)), min_size=1, max_size=15)


def constant(levels: list[int]) -> bool:
    return len(set(levels)) < 2


@quick
@given(answers, weights)
def test_tables_give_what_the_libraries_give_for_repeated_instructions(rated: list[tuple[int, int, int]], often: list[int]) -> None:
    tables = np.zeros((5, 4, 4))
    for subject, one, other in rated:
        tables[subject, one, other] += 1
    # Beside it a table that is none of ours: no draw may see another.
    drawn = np.stack([np.tensordot(often, tables, 1), np.diag([5.0, 1, 2, 3])])
    repeated = [(one, other) for subject, one, other in rated for _ in range(often[subject])]
    if not repeated:
        return
    first, second = [one for one, _ in repeated], [other for _, other in repeated]
    assert agreement.sames(drawn)[0] == pytest.approx(np.mean(np.equal(first, second)), abs=1e-9)
    halves = [level // 2 for level in first], [level // 2 for level in second]
    for found, levels, labels, weighting in (
        (agreement.kappas(drawn), (first, second), range(4), None),
        (agreement.quadratic_kappas(drawn), (first, second), range(4), "quadratic"),
        (agreement.kappas(agreement.halved(drawn)), halves, range(2), None),
    ):
        if all(map(constant, levels)):
            assert math.isnan(found[0])
        else:
            assert found[0] == pytest.approx(cohen_kappa_score(*levels, labels=list(labels), weights=weighting), abs=1e-9)
        assert found[1] == 1
    rho = agreement.spearmans(drawn)
    if constant(first) or constant(second):
        assert math.isnan(rho[0])
    else:
        assert rho[0] == pytest.approx(spearmanr(first, second).statistic, abs=1e-9)
    assert rho[1] == pytest.approx(1, abs=1e-9)


@quick
@given(several, weights)
def test_coincidences_give_what_krippendorff_gives_for_repeated_instructions(
    rated: list[tuple[int, list[int]]], often: list[int]
) -> None:
    counts = np.array([[levels.count(level) for level in range(4)] for _, levels in rated])
    pairs = np.zeros((5, 4, 4))
    np.add.at(pairs, [subject for subject, _ in rated], agreement.coincidences(counts))
    drawn = np.stack([np.tensordot(often, pairs, 1), np.diag([5.0, 1, 2, 3])])
    repeated = [levels + [np.nan] * (5 - len(levels)) for subject, levels in rated for _ in range(often[subject])]
    if not repeated:
        return
    found = agreement.alphas(drawn)
    if len({level for levels in repeated for level in levels if not math.isnan(level)}) < 2:
        assert math.isnan(found[0])
    else:
        theirs = krippendorff.alpha(
            reliability_data=np.array(repeated, dtype=float).T, level_of_measurement="ordinal", value_domain=[0, 1, 2, 3]
        )
        assert found[0] == pytest.approx(theirs, abs=1e-9)
    assert found[1] == 1


def ratings_of(rated: list[tuple[int, int, int]]) -> dict[str, dict[Target, Level]]:
    return {
        name: {(f"s{one[0]}", f"a{n}"): LEVELS[one[place]] for n, one in enumerate(rated)}
        for name, place in (("ann", 1), ("ben", 2))
    }


@few
@given(answers)
def test_a_pair_is_within_its_bounds_and_says_what_is_missing(rated: list[tuple[int, int, int]]) -> None:
    found = agreement.pair("ann", "ben", ratings_of(rated), 5)
    assert found.units == len(rated) == sum(map(sum, found.confusion))
    assert found.subjects == len({subject for subject, _, _ in rated})
    said = " ".join(found.undefined)
    for field, name in (
        ("same", "equal levels"),
        ("kappa", " kappa"),
        ("weighted", "quadratic kappa"),
        ("binary", "kappa of A or B"),
        ("spearman", "Spearman"),
    ):
        one = getattr(found, field)
        if one is None or one.low is None:
            assert name in said
        else:
            assert -1 - 1e-9 <= one.low <= one.high <= 1 + 1e-9
        assert one is None or -1 - 1e-9 <= one.value <= 1 + 1e-9
    assert (said == "") == all(
        one is not None and one.low is not None for one in (found.same, found.kappa, found.weighted, found.binary, found.spearman)
    )


@few
@given(answers)
def test_turning_raters_and_mixing_answers_changes_nothing(rated: list[tuple[int, int, int]]) -> None:
    ratings = ratings_of(rated)
    one, turned = agreement.pair("ann", "ben", ratings, 5), agreement.pair("ben", "ann", ratings, 5)
    backwards = {name: dict(reversed(given.items())) for name, given in ratings.items()}
    assert agreement.pair("ann", "ben", backwards, 5) == one
    assert turned.confusion == tuple(zip(*one.confusion, strict=True))
    for name in ("same", "kappa", "weighted", "binary", "spearman"):
        first, second = getattr(one, name), getattr(turned, name)
        assert (first is None) == (second is None)
        if first is not None:
            assert first.value == pytest.approx(second.value, abs=1e-9)
            assert (first.low is None) == (second.low is None)
            if first.low is not None:
                assert (first.low, first.high) == pytest.approx((second.low, second.high), abs=1e-9)
    assert agreement.alpha(backwards, 5) == agreement.alpha(ratings, 5)
