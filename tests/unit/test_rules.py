"""Every filter of step 4 drops what it should, under its own name."""

from __future__ import annotations

import pytest

from self_instruct import rules
from self_instruct.generate import clean
from self_instruct.records import Instance
from self_instruct.rules import Rules
from self_instruct.settings import GenerateSettings

RULES = Rules(GenerateSettings())


@pytest.mark.parametrize(
    ("text", "rule", "detail"),
    [
        ("Sort the list", "too_short", "3 words"),
        ("word " * 151, "too_long", "151 words"),
        ("Describe the Picture in words.", "keyword", "picture"),
        ("Tell me where to go to eat.", "keyword", "go to"),
        ("Plot the values of x.", "keyword", "plot"),
        ("write a program that sorts numbers", "write_a_program", "Write a program"),
        ("Write a programme for the concert", "write_a_program", "Write a program"),  # as with the authors' startswith
        ("- Sort the given list", "starts_with_punctuation", "-"),
        ("Übersetze den Satz bitte sofort", "starts_non_ascii", "Ü"),
    ],
)
def test_each_rule_drops_under_its_name(text: str, rule: str, detail: str) -> None:
    verdict = RULES.check(RULES.normalize(text))
    assert verdict is not None
    assert (verdict.rule, verdict.detail) == (rule, detail)


@pytest.mark.parametrize(
    "text", ["Sort the list now", "word " * 150, "Explain mapping and profiles here", "Please write a program"]
)
def test_what_may_stay(text: str) -> None:
    assert RULES.check(RULES.normalize(text)) is None


def test_first_letter_is_raised_and_the_rest_stays() -> None:
    assert RULES.normalize("  explain\n SQL   joins ") == "Explain SQL joins"
    authors = Rules(GenerateSettings(capitalization="authors"))
    assert authors.normalize("explain SQL joins") == "Explain sql joins"


def test_keywords_and_the_ascii_rule_can_be_switched_off() -> None:
    off = Rules(GenerateSettings(keywords=(), ascii_start=False))
    assert off.check("Übersetze den Satz über das File bitte") is None


def test_every_rule_name_is_reachable() -> None:
    texts = ["a b c", "word " * 151, "draw a cat now", "Write a program in C", "? what is it now", "Äpfel und Birnen sind reif"]
    assert [verdict.rule for text in texts if (verdict := RULES.check(text))] == list(rules.NAMES)


def instances(*pairs: tuple[str, str]) -> list[Instance]:
    return [Instance(input=given, output=output) for given, output in pairs]


@pytest.mark.parametrize(
    ("pairs", "cut", "kept", "dropped"),
    [
        ([("a", "b")], False, [("a", "b")], []),
        ([("same", "same")], False, [], ["input_equals_output"]),
        ([("a", "")], False, [], ["empty_output"]),
        ([("", "")], False, [], ["empty_output"]),
        ([("a:", "b")], False, [], ["ends_with_colon"]),
        ([("a", "b:")], False, [], ["ends_with_colon"]),
        ([("a", "b"), ("c", "d")], True, [("a", "b")], ["cut_off"]),
        ([("a", "b"), ("c", "d"), ("a", "e")], False, [], ["conflicting_outputs"] * 3),
        ([("", "b"), ("", "d")], False, [("", "b"), ("", "d")], []),
        ([("a", "b"), ("a", "b")], False, [("a", "b")], ["duplicate"]),
        ([("", str(n)) for n in range(7)], False, [("", str(n)) for n in range(5)], ["too_many"] * 2),
    ],
)
def test_instances(pairs: list[tuple[str, str]], cut: bool, kept: list[tuple[str, str]], dropped: list[str]) -> None:
    good, bad = clean.clean(instances(*pairs), cut_off=cut, max_instances=5)
    assert good == instances(*kept)
    assert [rule for rule, _ in bad] == dropped
    assert len(good) + len(bad) == len(pairs)
