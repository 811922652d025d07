"""The tasks that ship: how many, how different, how tidy; and every result in them that can be worked out again."""

from __future__ import annotations

import importlib.util
import itertools
import json
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from self_instruct.evaluate import diversity, seed_report
from self_instruct.loading import REPOSITORY
from self_instruct.rules import Rules
from self_instruct.seedbank import load_seeds, load_user_oriented
from self_instruct.settings import GenerateSettings
from worked.runtimes import node

SEEDS, USERS = REPOSITORY / "seeds" / "seed_tasks.jsonl", REPOSITORY / "seeds" / "user_oriented.jsonl"
WORKED = REPOSITORY / "tests" / "worked"
ACCEPTED = REPOSITORY / "tests" / "data" / "accepted_words.txt"
Check = Callable[[str, str], None]


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@cache
def surveyed(path: Path) -> seed_report.TaskSet:
    return seed_report.survey(path, Rules(GenerateSettings()))


def test_seeds_count() -> None:
    tasks = rows(SEEDS)
    assert len(tasks) == 175 and sum(task["is_classification"] for task in tasks) == 25
    assert [task["id"] for task in tasks] == [f"seed_task_{number}" for number in range(175)]
    assert len({task["name"] for task in tasks}) == 175
    assert {tuple(task) for task in tasks} == {("id", "name", "instruction", "instances", "is_classification")}
    with_input = sum(bool(task["instances"][0]["input"]) for task in tasks)
    assert 0.45 * 175 <= with_input <= 0.55 * 175


def test_user_oriented_count() -> None:
    tasks = rows(USERS)
    assert len(tasks) == 252
    assert [task["id"] for task in tasks] == [f"user_oriented_task_{number}" for number in range(252)]
    assert {tuple(task) for task in tasks} == {("id", "motivation_app", "instruction", "instances")}
    applications = Counter(task["motivation_app"] for task in tasks)
    assert len({name.casefold() for name in applications}) == len(applications) >= 60


@pytest.mark.parametrize("path", [SEEDS, USERS], ids=["seeds", "users"])
def test_tasks_are_tidy(path: Path) -> None:
    assert all(len(task["instances"]) == 1 and set(task["instances"][0]) == {"input", "output"} for task in rows(path))
    raw = path.read_text(encoding="utf-8")
    assert raw == unicodedata.normalize("NFC", raw) and raw.endswith("}\n") and "\n\n" not in raw and "\r" not in raw
    assert raw == "".join(json.dumps(task, ensure_ascii=False) + "\n" for task in rows(path))
    assert [finding for finding in surveyed(path).findings if "alike" not in finding.what] == []


def test_instructions_of_seeds_have_4_to_60_words() -> None:
    assert [task["id"] for task in rows(SEEDS) if not 4 <= len(task["instruction"].split()) <= 60] == []


def test_labels_of_classification_seeds_are_short() -> None:
    labels = [task["instances"][0]["output"] for task in rows(SEEDS) if task["is_classification"]]
    assert max(len(label.split()) for label in labels) <= 4 and len(set(labels)) >= 15


@pytest.mark.parametrize(("path", "different"), [(SEEDS, 70), (USERS, 90)], ids=["seeds", "users"])
def test_root_verbs_differ(path: Path, different: int) -> None:
    found = surveyed(path).verbs
    assert found is not None
    verbs = Counter(verb for verb in found if verb)
    assert len(verbs) >= different and max(verbs.values()) <= 0.08 * len(found)


@pytest.mark.parametrize(("path", "pairs"), [(SEEDS, 0), (USERS, 1)], ids=["seeds", "users"])
def test_no_two_instructions_are_alike(path: Path, pairs: int) -> None:
    assert len(surveyed(path).likeness.alike) <= pairs


def test_no_seed_is_like_a_user_oriented_task() -> None:
    assert nearest(surveyed(SEEDS).instructions, surveyed(USERS).instructions) < 0.5


def nearest(texts: Sequence[str], others: Sequence[str]) -> float:
    """The highest ROUGE-L of any pair."""
    return max(diversity.across(texts, others, 1.0).nearest)


@pytest.mark.parametrize("path", [SEEDS, USERS], ids=["seeds", "users"])
def test_instructions_pass_the_filters(path: Path) -> None:
    assert surveyed(path).broken <= 0.02 * len(surveyed(path).rows)


@pytest.mark.parametrize("path", [SEEDS, USERS], ids=["seeds", "users"])
def test_nothing_is_like_the_authors_tasks(path: Path, shared_data: Path) -> None:
    for name in ("seed_tasks", "user_oriented_instructions"):
        theirs = surveyed(shared_data / "self_instruct" / f"{name}.jsonl")
        assert nearest(surveyed(path).instructions, theirs.instructions) < 0.6
        assert not seed_report.outputs(surveyed(path)) & seed_report.outputs(theirs)


def test_no_text_is_used_twice() -> None:
    """Neither an input nor an output of more than a label's length, nor one task's material in another."""
    texts = [
        text
        for task in rows(SEEDS) + rows(USERS)
        for text in (task["instruction"], *task["instances"][0].values())
        if len(text.split()) > 4
    ]
    assert [text for text, count in Counter(texts).items() if count > 1] == []


def test_the_readme_shows_what_the_command_prints(shared_data: Path) -> None:
    authors = shared_data / "self_instruct"
    sets = [surveyed(path) for path in (SEEDS, USERS, authors / "seed_tasks.jsonl", authors / "user_oriented_instructions.jsonl")]
    printed = "\n\n".join(seed_report.render(sets).split("\n\n")[:2])
    assert printed in (REPOSITORY / "seeds" / "README.md").read_text(encoding="utf-8")


def demonstrations() -> dict[str, Any]:
    """The files of few-shot demonstrations, and of the judge's, by name."""
    paths = sorted((REPOSITORY / "seeds").rglob("*.yaml"))
    return {path.stem: yaml.safe_load(path.read_text(encoding="utf-8")) for path in paths}


def test_demonstrations_are_as_many_as_method_asks() -> None:
    assert Counter(task["is_classification"] for task in demonstrations()["classification"]["tasks"]) == {True: 12, False: 19}
    shown = demonstrations()["input_first"]["tasks"]
    assert len(shown) >= 10 and {len(task["examples"]) for task in shown} == {1, 2, 3}
    assert any(task["examples"][0]["input"] == "" for task in shown)
    labelled = demonstrations()["output_first"]["tasks"]
    assert len(labelled) >= 8 and min(len(task["examples"]) for task in labelled) >= 2


def demonstrated_instructions() -> list[str]:
    return [task["instruction"] for shown in demonstrations().values() for task in shown["tasks"]]


@pytest.mark.parametrize("path", [SEEDS, USERS], ids=["seeds", "users"])
def test_demonstrations_are_no_seeds_or_evaluation_tasks(path: Path) -> None:
    assert nearest(demonstrated_instructions(), surveyed(path).instructions) < 0.6


def test_demonstrations_are_not_the_authors_tasks(shared_data: Path) -> None:
    for name in ("seed_tasks", "user_oriented_instructions"):
        theirs = surveyed(shared_data / "self_instruct" / f"{name}.jsonl")
        assert nearest(demonstrated_instructions(), theirs.instructions) < 0.5


# Spelling: every word of a text is in the American dictionary, or was accepted by an editor (names, British spelling).

WORD = re.compile(r"[^\W\d_]+(?:'[^\W\d_]+)*")


@cache
def dictionary() -> Any:
    from spylls.hunspell import Dictionary

    return Dictionary.from_files("en_US")


def unknown(text: str, accepted: set[str]) -> set[str]:
    words = {word for word in WORD.findall(text) if len(word) > 1 and word not in accepted and word.lower() not in accepted}
    return {word for word in words if not dictionary().lookup(word)}


def test_spelling_finds_a_mistake() -> None:
    assert unknown("Recieve teh letter in Paris.", set()) == {"Recieve", "teh"}
    assert unknown("Kolour", {"kolour"}) == set()


def demonstrated() -> list[str]:
    """The texts of the few-shot demonstrations."""

    def texts(node: Any) -> list[str]:
        if isinstance(node, dict | list):
            return [text for inner in (node.values() if isinstance(node, dict) else node) for text in texts(inner)]
        return [str(node)]

    return texts(demonstrations())


def test_words_are_spelt_right() -> None:
    accepted = set(ACCEPTED.read_text(encoding="utf-8").split())
    texts = [text for task in rows(SEEDS) + rows(USERS) for text in (task["instruction"], *task["instances"][0].values())]
    texts += [task.get("motivation_app", "") for task in rows(USERS)]
    texts += demonstrated()
    assert unknown(" ".join(texts), accepted) == set()


def test_accepted_words_are_used() -> None:
    text = " ".join([SEEDS.read_text(encoding="utf-8"), USERS.read_text(encoding="utf-8"), *demonstrated()]).replace("\\n", " ")
    used = {form for word in WORD.findall(text) for form in (word, word.lower())}
    accepted = ACCEPTED.read_text(encoding="utf-8").split()
    assert accepted == sorted(set(accepted)) and [word for word in accepted if word not in used] == []


# What can be worked out again: sums, dates, counts, code. tests/worked holds a function for each such task.


def checks() -> dict[str, Check]:
    """Functions by the task they check: a seed's name, or a user-oriented task's number and a name for the reader."""
    found: dict[str, Check] = {}
    for path in sorted(WORKED.glob("*.py")):
        spec = importlib.util.spec_from_file_location(f"worked.{path.stem}", path)
        assert spec and spec.loader
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        for name, value in vars(module).items():
            if name.startswith("check_"):
                assert name not in found, f"{name} is in two modules"
                found[name] = value
    return found


CHECKS = checks()


def name_of(check: str) -> str:
    """The key of the task that a check is for."""
    number = re.match(r"check_(\d+)_", check)
    return f"user_oriented_task_{number[1]}" if number else check.removeprefix("check_")


def by_name() -> dict[str, dict[str, str]]:
    return {task.get("name", task["id"]): task["instances"][0] for task in rows(SEEDS) + rows(USERS)}


@pytest.mark.parametrize("check", sorted(CHECKS))
def test_worked_result(check: str) -> None:
    instance = by_name()[name_of(check)]
    CHECKS[check](instance["input"], instance["output"])


# A number, perhaps with a unit after it: 1,240 or 16:30, 0.6 g, 44 km. A bracket belongs to a sum in brackets: not read.
UNIT = re.compile(r" (?:g|kg|m|km|cm|mm|ml|l|mol|minutes|euros?)\b")
NUMBER = rf"-?\d(?:[\d,]*\d)?(?:\.\d+)?(?::\d\d)?(?:/\d+)?%?(?:{UNIT.pattern})?"
SUM = re.compile(
    rf"(?<![\w.,/^*)])(?<!repeats of )(?<![-+x*/] ){NUMBER}(?: [-+x*/] {NUMBER})+(?: = {NUMBER}(?: [-+x*/] {NUMBER})*)+(?![\w^(])"
)
CODE = re.compile(
    r"^(def |class |SELECT |WITH |function |#include|public |fn |const |let |import |for |awk |sed |[\d*] [\d*] |=[A-Z]+\()", re.M
)


def value(text: str) -> Fraction:
    """The value of a printed sum, products first."""
    total = Fraction(0)
    for sign, product in re.findall(r"(^| [-+] )((?:(?! [-+] ).)+)", text):
        result = Fraction(1)
        for operator, factor in re.findall(r"(^| [x*/] )([^ ]+)", product.strip()):
            result = result / number(factor) if operator == " / " else result * number(factor)
        total += -result if sign == " - " else result
    return total


def number(text: str) -> Fraction:
    text = text.replace(",", "")
    if ":" in text:
        whole, part = text.split(":")
        return int(whole) + Fraction(int(part), 60)
    return Fraction(text.rstrip("%")) / (100 if text.endswith("%") else 1)


def sums(text: str) -> Iterator[tuple[str, bool]]:
    """Each chain of equations in a text, and whether its members are equal up to the rounding of the printed digits."""
    for match in SUM.finditer(text):
        members = [UNIT.sub("", one) for one in match[0].split(" = ")]
        yield match[0], all(same(one, other) for one, other in itertools.pairwise(members))


def same(one: str, other: str) -> bool:
    """Whether two members are equal, up to half a unit in the last digit that the second (or, a number, the first) shows."""

    def half_unit(member: str) -> Fraction:
        printed = re.fullmatch(r"-?[\d,]+(?:\.(\d+))?(%?)", member)
        if not printed or not (printed[1] or printed[2]):
            return Fraction(0)
        return Fraction(1, 2 * 10 ** (len(printed[1] or "") + 2 * bool(printed[2])))

    return abs(value(one) - value(other)) <= max(half_unit(one), half_unit(other))


@pytest.mark.parametrize(
    ("text", "right"),
    [
        ("1/12 - 1/20 = 5/60 - 3/60 = 2/60 = 1/30 of the bath", [True]),
        ("12 x 9.99 = 119.88 a year, 12 x 2.50 = 31.00", [True, False]),
        ("2:45 + 3:50 + 4:25 = 11:00", [True]),
        ("2:45 + 3:50 + 4:25 = 11:01", [False]),
        ("32 x 1.609 = 51.49 km", [True]),
        ("32 x 1.609 = 51.48 km", [False]),
        ("3 x 12 + 8 x 1 = 44 g", [True]),
        ("1,640 + 80 + 100 = 1,820 kcal", [True]),
        ("5 / 50 = 10%", [True]),
        ("5 / 50 = 12%", [False]),
    ],
)
def test_sums_are_read_right(text: str, right: list[bool]) -> None:
    assert [one for _, one in sums(text)] == right


def test_every_printed_sum_is_right() -> None:
    texts = [task["instances"][0]["output"] for task in rows(SEEDS) + rows(USERS)]
    texts += [text for text in demonstrated() if text not in ("9 x 7 = 64", "100 - 38 = 72")]  # labelled as wrong
    found = [one for text in texts for one in sums(text)]
    assert len(found) > 70 and [text for text, right in found if not right] == []


def test_no_calculation_or_code_goes_unchecked() -> None:
    checked = {name_of(check) for check in CHECKS}
    found = {name for name, one in by_name().items() if SUM.search(one["output"]) or CODE.search(one["output"])}
    assert found and found - checked == set()


def test_code_in_the_demonstrations_runs() -> None:
    (code,) = [text for text in demonstrated() if "function reverseWords" in text and "\n" in text]
    assert node(code + 'console.log(reverseWords(" one two  three "))') == "three two one"


def test_shipped_files_load() -> None:
    assert len(load_seeds()) == 175 and len(load_user_oriented()) == 252
