"""How far raters agree: values worked out by hand, and what has none."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from functools import cache

import krippendorff
import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score

from self_instruct.evaluate import agreement
from self_instruct.evaluate.agreement import Alpha, Pair
from self_instruct.evaluate.intervals import DRAWS, Estimate
from self_instruct.evaluate.rating_sets import Target
from self_instruct.randomness import key
from self_instruct.records import LEVELS, Level

# No warning of a library may reach a user.
pytestmark = pytest.mark.filterwarnings("error")

STATISTICS = ("same", "kappa", "weighted", "binary", "spearman")
NOBODY, ALIKE = "no value, as no answer was rated by two", "no value, as one level alone was given"
WORDS = ("equal levels", "kappa", "quadratic kappa", "kappa of A or B", "Spearman")

# 20 answers to 20 instructions; rows: the first's levels A to D, columns: the second's. Both have 5, 4, 5 and 6 of them.
TABLE = ((4, 1, 0, 0), (1, 2, 1, 0), (0, 1, 3, 1), (0, 0, 1, 5))


def given(levels: str) -> dict[Target, Level]:
    """One answer to each of as many instructions; a dot is an answer that isn't rated."""
    return {(f"s{n:03}", "a"): level for n, letter in enumerate(levels) for level in LEVELS if letter == level}


def of_table(table: Sequence[Sequence[int]]) -> dict[str, dict[Target, Level]]:
    cells = [(one, other) for i, one in enumerate(LEVELS) for j, other in enumerate(LEVELS) for _ in range(table[i][j])]
    return {"ann": given("".join(one for one, _ in cells)), "ben": given("".join(other for _, other in cells))}


def two(first: str, second: str, seed: int = 1) -> Pair:
    return agreement.pair("ann", "ben", {"ann": given(first), "ben": given(second)}, seed)


def values(one: Pair) -> dict[str, float | None]:
    found: dict[str, Estimate | None] = {name: getattr(one, name) for name in STATISTICS}
    return {name: None if estimate is None else estimate.value for name, estimate in found.items()}


def test_a_table_worked_out_by_hand() -> None:
    found = agreement.pair("ann", "ben", of_table(TABLE), 1)
    assert (found.first, found.second, found.units, found.subjects) == ("ann", "ben", 20, 20)
    assert found.confusion == TABLE
    assert found.undefined == ()
    assert values(found) == pytest.approx(
        {
            # 4 + 2 + 3 + 5 of 20.
            "same": 0.7,
            # Expected (25 + 16 + 25 + 36) / 400 = 0.255: (0.7 - 0.255) / (1 - 0.255).
            "kappa": 89 / 149,
            # Observed: six answers one step apart, 6 / 20. Expected: the squared steps between two draws of 5, 4, 5 and 6,
            # 2 (20 * 78 - 32 * 32) / 400 = 2.68, as the levels 0 to 3 sum to 32 and their squares to 78.
            "weighted": 1 - 0.3 / 2.68,
            # 8 and 10 of 20 on the diagonal; expected (9 * 9 + 11 * 11) / 400 = 0.505: (0.9 - 0.505) / (1 - 0.505).
            "binary": 79 / 99,
            # Mid-ranks 3, 7.5, 12 and 17.5, less their mean 10.5: -7.5, -3, 1.5 and 7. Squares: 5 * 56.25 + 4 * 9 + 5 * 2.25
            # + 6 * 49 = 622.5. Products: 225 + 2 * 22.5 + 18 - 2 * 4.5 + 6.75 + 2 * 10.5 + 245 = 551.75.
            "spearman": 551.75 / 622.5,
        },
        abs=1e-12,
    )


def test_raters_with_unlike_shares_worked_out_by_hand() -> None:
    found = two("AABD", "ABBC")
    assert found.confusion == ((1, 1, 0, 0), (0, 1, 0, 0), (0, 0, 0, 0), (0, 0, 1, 0))
    assert values(found) == pytest.approx(
        {
            "same": 0.5,
            # Expected (2 * 1 + 1 * 2) / 16: (0.5 - 0.25) / 0.75.
            "kappa": 1 / 3,
            # Observed (1 + 1) / 4. Expected (2 * (2 * 1 + 1 * 4) + 1 * (1 + 1) + 1 * (9 + 2 * 4 + 1)) / 16 = 2.
            "weighted": 0.75,
            "binary": 1,
            # Ranks 1.5 1.5 3 4 and 1 2.5 2.5 4, less 2.5: (1.5 + 2.25) / (1 + 1 + 0.25 + 2.25).
            "spearman": 5 / 6,
        },
        abs=1e-12,
    )


def test_perfect_agreement_is_one_and_no_bootstrap_says_how_sure() -> None:
    found = two("ABCD" * 10, "ABCD" * 10)
    for name in STATISTICS:
        estimate = getattr(found, name)
        assert estimate.value == pytest.approx(1, abs=1e-12)
        assert estimate.low is estimate.high is None
    assert found.undefined == (f"no interval of {', '.join(WORDS)}, as it is the same in every draw",)


def test_complete_disagreement_is_minus_one() -> None:
    assert values(two("ADADAD", "DADADA")) == pytest.approx(
        {"same": 0, "kappa": -1, "weighted": -1, "binary": -1, "spearman": -1}, abs=1e-12
    )


def test_two_constant_raters_have_a_share_and_nothing_else() -> None:
    for first, second, same in (("AAAA", "AAAA", 1.0), ("AAAA", "DDDD", 0.0)):
        found = two(first, second)
        assert values(found) == {"same": same, "kappa": None, "weighted": None, "binary": None, "spearman": None}
        assert found.undefined == (
            "no interval of equal levels, as it is the same in every draw",
            "no value of kappa, quadratic kappa, kappa of A or B, Spearman, as ann and ben gave one level only",
        )


def test_one_constant_rater_agrees_as_chance_does() -> None:
    found = two("ABCD" * 10, "C" * 40)
    assert values(found) == {"same": 0.25, "kappa": 0, "weighted": 0, "binary": 0, "spearman": None}
    assert found.kappa == Estimate(0, None, None)
    assert found.undefined == (
        "no interval of kappa, quadratic kappa, kappa of A or B, as it is the same in every draw",
        "no value of Spearman, as ben gave one level only",
    )


def test_levels_of_one_half_each_have_no_binary_kappa() -> None:
    found = two("ABAB" * 10, "ABBA" * 10)
    assert found.binary is None and found.kappa is not None and found.spearman is not None
    assert found.undefined == ("no value of kappa of A or B, as each kept to A and B, or to C and D",)


def test_nothing_rated_by_both_has_no_value() -> None:
    for first, second in (("AB..", "..CD"), ("", ""), ("ABCD", "")):
        found = two(first, second)
        assert (found.units, found.subjects) == (0, 0)
        assert found.confusion == ((0,) * 4,) * 4
        assert set(values(found).values()) == {None}
        assert found.undefined == (
            "no value of equal levels, kappa, quadratic kappa, kappa of A or B, Spearman, as no answer was rated by both",
        )


def test_one_answer_has_a_share_without_an_interval() -> None:
    found = two("A", "A")
    assert found.same == Estimate(1, None, None)
    assert found.kappa is None and found.spearman is None
    assert "no interval of equal levels, as all answers are to one instruction" in found.undefined


def test_answers_to_one_instruction_have_values_without_intervals() -> None:
    ratings: dict[str, dict[Target, Level]] = {
        "ann": {("s", "1"): "A", ("s", "2"): "C"},
        "ben": {("s", "1"): "A", ("s", "2"): "C"},
    }
    found = agreement.pair("ann", "ben", ratings, 1)
    assert (found.units, found.subjects) == (2, 1)
    assert found.same == found.kappa == found.weighted == found.binary == Estimate(1, None, None)
    assert len(found.undefined) == 1 and found.undefined[0].startswith("no interval of equal levels, kappa,")


def test_too_many_draws_without_a_value_give_no_interval() -> None:
    # Half of the draws take one of the two instructions twice.
    found = two("AC", "AC")
    assert found.same == found.kappa == Estimate(1, None, None)
    steady, why = found.undefined
    assert steady == "no interval of equal levels, as it is the same in every draw"
    assert why.startswith("no interval of kappa, quadratic kappa, kappa of A or B, Spearman, as it has no value in ")
    assert 45 < float(why.split(" % ")[0].split()[-1]) < 55


def test_few_draws_without_a_value_are_left_out() -> None:
    # A draw keeps to A and B with (4 / 7) ** 7 = 2 %, to C and D with 0.3 %.
    found = two("ABCABCD", "ABCACDC")  # B and C in one, too: the kappa of A or B varies
    assert found.binary is not None and found.binary.low is not None
    assert found.undefined == ()


def test_only_what_both_rated_counts() -> None:
    ratings = of_table(TABLE)
    lone: dict[Target, Level] = {("s500", "a"): "A", ("s000", "another"): "D"}
    alone = agreement.pair("ann", "ben", ratings, 1)
    assert agreement.pair("ann", "ben", {"ann": {**ratings["ann"], **lone}, "ben": ratings["ben"]}, 1) == alone


def close(one: Estimate | None, other: Estimate | None) -> None:
    assert one is not None and other is not None
    assert (one.value, one.low, one.high) == pytest.approx((other.value, other.low, other.high), abs=1e-9)


def shuffled(ratings: Mapping[Target, Level]) -> dict[Target, Level]:
    items = list(ratings.items())
    random.Random(3).shuffle(items)
    return dict(items)


def test_neither_the_order_of_raters_nor_of_answers_matters() -> None:
    ratings = of_table(((4, 3, 0, 0), (1, 2, 1, 0), (0, 1, 3, 1), (2, 0, 1, 5)))
    one = agreement.pair("ann", "ben", ratings, 1)
    assert agreement.pair("ann", "ben", {name: shuffled(ratings[name]) for name in reversed(ratings)}, 1) == one
    turned = agreement.pair("ben", "ann", ratings, 1)
    assert turned.confusion == tuple(zip(*one.confusion, strict=True))
    for name in STATISTICS:
        close(getattr(turned, name), getattr(one, name))


def test_the_seed_and_the_raters_key_the_draws() -> None:
    ratings = of_table(TABLE)
    one = agreement.pair("ann", "ben", ratings, 1)
    assert agreement.pair("ann", "ben", ratings, 1) == one
    other_seed = agreement.pair("ann", "ben", ratings, 2)
    other_raters = agreement.pair("ann", "eve", {"ann": ratings["ann"], "eve": ratings["ben"]}, 1)
    for other in (other_seed, other_raters):
        assert values(other) == values(one)
        assert other.spearman != one.spearman


def test_an_interval_has_its_value_inside_and_narrows_with_more_instructions() -> None:
    few = agreement.pair("ann", "ben", of_table(TABLE), 1)
    many = agreement.pair("ann", "ben", of_table([[16 * count for count in row] for row in TABLE]), 1)
    for name in STATISTICS:
        small, large = getattr(few, name), getattr(many, name)
        assert small.low < small.value < small.high
        # 16 times as many: about a quarter as wide.
        assert 3 < (small.high - small.low) / (large.high - large.low) < 5.5


def test_the_intervals_are_those_of_resampled_instructions() -> None:
    """The libraries' values of every resample, one after the other."""
    draw = random.Random(2)
    units = [(subject, f"a{n}") for subject in range(6) for n in range(subject + 1)]
    places = [{unit: min(3, max(0, unit[0] // 2 + draw.randint(-1, 1))) for unit in units} for _ in range(2)]
    ratings = {
        name: {(f"s{subject}", answer): LEVELS[place] for (subject, answer), place in one.items()}
        for name, one in zip(("ann", "ben"), places, strict=True)
    }

    def drawn(taken: tuple[int, ...]) -> list[list[int]]:
        return [[one[unit] for subject in taken for unit in units if unit[0] == subject] for one in places]

    @cache
    def weighted(taken: tuple[int, ...]) -> float:
        first, second = drawn(taken)
        if len(set(first)) == len(set(second)) == 1:
            return math.nan
        return float(cohen_kappa_score(first, second, labels=[0, 1, 2, 3], weights="quadratic"))

    @cache
    def binary(taken: tuple[int, ...]) -> float:
        first, second = ([place // 2 for place in one] for one in drawn(taken))
        return math.nan if len(set(first)) == len(set(second)) == 1 else float(cohen_kappa_score(first, second, labels=[0, 1]))

    @cache
    def alpha(taken: tuple[int, ...]) -> float:
        both = drawn(taken)
        if len({place for one in both for place in one}) == 1:
            return math.nan
        return float(krippendorff.alpha(reliability_data=both, value_domain=range(4), level_of_measurement="ordinal"))

    found = agreement.pair("ann", "ben", ratings, 7)
    of_all = agreement.alpha(ratings, 7).value
    for one, of_draw, parts in (
        (found.weighted, weighted, ("ann", "ben")),
        (found.binary, binary, ("ann", "ben")),
        (of_all, alpha, ("alpha",)),
    ):
        slots = np.random.default_rng(key(7, "evaluate", "agreement", *parts)).integers(0, 6, size=(DRAWS, 6))
        bounds = np.nanpercentile([of_draw(tuple(sorted(map(int, taken)))) for taken in slots], [2.5, 97.5])
        assert one is not None
        assert (one.low, one.high) == pytest.approx(tuple(bounds), abs=1e-9)


def test_instructions_are_drawn_not_answers() -> None:
    """Five answers of an instruction that are all rated alike say no more than one."""
    ratings = of_table(TABLE)
    fold = {
        name: {(subject, f"{answer}{n}"): level for (subject, answer), level in one.items() for n in range(5)}
        for name, one in ratings.items()
    }
    one, five = agreement.pair("ann", "ben", ratings, 1), agreement.pair("ann", "ben", fold, 1)
    assert (five.units, five.subjects) == (100, 20)
    for name in STATISTICS:
        close(getattr(five, name), getattr(one, name))


def test_names_may_be_anything() -> None:
    odd = "\ud800 \x00 '"
    assert agreement.pair(odd, "ben", {odd: given("AB" * 9), "ben": given("AB" * 9)}, 1).kappa == Estimate(1, None, None)


# Answers 1 to 4 count; the fifth was rated once.
WITH_GAPS = {"ann": given("AABCD"), "ben": given("ABB.."), "eve": given("A.CC.")}


def test_alpha_with_missing_ratings_worked_out_by_hand() -> None:
    # Coincidences: AAA gives AA 3; AB gives AB and BA 1; BBC gives BB 1, BC and CB 1; CC gives CC 2. So A has 4, B 3, C 3 of 10.
    # Ordinal distances: AB (2 + 1.5)^2 = 12.25; BC (1.5 + 1.5)^2 = 9; AC (2 + 3 + 1.5)^2 = 42.25.
    # Observed 2 * 12.25 + 2 * 9 = 42.5; expected 2 (12 * 12.25 + 9 * 9 + 12 * 42.25) / 9 = 1470 / 9.
    found = agreement.alpha(WITH_GAPS, 1)
    assert (found.raters, found.units, found.missing) == (3, 4, True)
    assert found.value is not None
    assert found.value.value == pytest.approx(1 - 42.5 * 9 / 1470, abs=1e-12)


def test_alpha_of_two_worked_out_by_hand() -> None:
    # Coincidences: AA 2, AB and BA 1; A has 3 of 4, B 1. One distance alone cancels: 1 - (2 / 4) / (2 * 3 * 1 / (4 * 3)).
    found = agreement.alpha({"ann": given("AA"), "ben": given("AB")}, 1)
    assert found.value is not None and found.value.value == pytest.approx(0, abs=1e-12)
    assert not found.missing


def test_alpha_knows_no_order() -> None:
    found = agreement.alpha(WITH_GAPS, 1)
    assert agreement.alpha({name: shuffled(WITH_GAPS[name]) for name in reversed(WITH_GAPS)}, 1) == found
    assert agreement.alpha({**WITH_GAPS, "nobody": {}}, 1) == found


def test_alpha_has_an_interval_over_instructions() -> None:
    ratings = of_table(TABLE)
    one = agreement.alpha(ratings, 1)
    assert one.value is not None and one.value.low is not None and one.value.high is not None
    assert 0 < one.value.low < one.value.value < one.value.high < 1
    assert agreement.alpha(ratings, 1) == one
    assert agreement.alpha(ratings, 2).value != one.value


@pytest.mark.parametrize(
    "ratings, expected",
    [
        ({}, Alpha(raters=0, units=0, value=None, missing=False, undefined=NOBODY)),
        ({"ann": given("ABCD")}, Alpha(raters=1, units=0, value=None, missing=False, undefined=NOBODY)),
        ({"ann": given("AB.."), "ben": given("..CD")}, Alpha(raters=2, units=0, value=None, missing=True, undefined=NOBODY)),
        ({"ann": given("BBB"), "ben": given("BBB")}, Alpha(raters=2, units=3, value=None, missing=False, undefined=ALIKE)),
        # The C was rated once: what was rated twice is all of one level.
        ({"ann": given("BBC"), "ben": given("BB.")}, Alpha(raters=2, units=2, value=None, missing=True, undefined=ALIKE)),
    ],
)
def test_alpha_without_a_value(ratings: Mapping[str, Mapping[Target, Level]], expected: Alpha) -> None:
    assert agreement.alpha(ratings, 1) == expected


def test_alpha_of_one_instruction_has_no_interval() -> None:
    ann: dict[Target, Level] = {("s", "1"): "A", ("s", "2"): "C"}
    assert agreement.alpha({"ann": ann, "ben": ann}, 1).value == Estimate(1, None, None)


def test_reviewers_worked_out_by_hand() -> None:
    # Yes and yes 6, yes and no 1, no and yes 2, no and no 3 of 12: 9 / 12 agree; expected (7 * 8 + 5 * 4) / 144 = 19 / 36.
    cells = [(True, True)] * 6 + [(True, False)] + [(False, True)] * 2 + [(False, False)] * 3
    first = {(f"s{n}", "a"): one for n, (one, _) in enumerate(cells)}
    second = {(f"s{n}", "a"): other for n, (_, other) in enumerate(cells)} | {("s99", "a"): True}
    units, same, kappa = agreement.yes_no(first, second, 1, "output", "ann", "ben")
    assert units == 12
    assert same is not None and same.value == 0.75
    assert kappa is not None and kappa.value == pytest.approx((3 / 4 - 19 / 36) / (1 - 19 / 36), abs=1e-12)
    for one in (same, kappa):
        assert one.low is not None and one.high is not None and one.low < one.value < one.high
    assert agreement.yes_no(first, second, 1, "output", "ann", "ben") == (units, same, kappa)


def test_the_question_keys_the_draws() -> None:
    draw = random.Random(1)
    first, second = ({(f"s{n}", "a"): draw.random() < 0.6 for n in range(150)} for _ in range(2))
    assert agreement.yes_no(first, second, 1, "output")[2] != agreement.yes_no(first, second, 1, "input")[2]


def test_reviewers_who_always_say_yes_have_no_kappa() -> None:
    yes = {(f"s{n}", "a"): True for n in range(4)}
    assert agreement.yes_no(yes, yes, 1, "output") == (4, Estimate(1, None, None), None)
    assert agreement.yes_no(yes, {}, 1, "output") == (0, None, None)


def test_self_agreement_worked_out_by_hand() -> None:
    # Equal pairs: 1, 3 and 1 of 3 each. Coincidences: AA 1, AB and BA 1; CC 3; DD 1, DC and CD 1. A has 2, B 1, C 4, D 2 of 9.
    # Distances: AB 1.5^2, CD 3^2, AC 4^2, AD 7^2, BC 2.5^2, BD 5.5^2. Observed 2 * 2.25 + 2 * 9 = 22.5;
    # expected 2 (2 * 2.25 + 8 * 16 + 4 * 49 + 4 * 6.25 + 2 * 30.25 + 8 * 9) / 8 = 121.5.
    share, alpha = agreement.self_agreement(["AAB", "CCC", "DDC"])  # type: ignore[list-item]
    assert share == pytest.approx(5 / 9, abs=1e-12)
    assert alpha == pytest.approx(1 - 22.5 / 121.5, abs=1e-12)


def test_self_agreement_of_a_judge_asked_once_or_of_one_mind() -> None:
    assert agreement.self_agreement([]) == (None, None)
    assert agreement.self_agreement([("A",), ("B",)]) == (None, None)
    assert agreement.self_agreement([("B", "B"), ("B", "B")]) == (1, None)
    # Asked about the D but once: it is in no pair.
    assert agreement.self_agreement([("B", "B"), ("D",)]) == (1, None)
