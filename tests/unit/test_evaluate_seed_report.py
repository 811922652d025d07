"""`evaluate seeds`: what it prints of a file, what it complains of, and how it ends."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from self_instruct import commandline
from self_instruct.evaluate import cli, diversity, seed_report
from self_instruct.rules import Rules
from self_instruct.settings import GenerateSettings

RULES = Rules(GenerateSettings())
WORDS = "apple brick cloud drum eagle fern glove harp iron jug kite lamp moss nest oak pear quill reef sand tent urn".split()


def task(number: int, **changes: Any) -> dict[str, Any]:
    word = WORDS[number % len(WORDS)]
    row = {
        "id": f"t{number}",
        "instruction": f"Describe {word} {number} {word[::-1]}",
        "instances": [{"input": "", "output": f"It is number {number}."}],
        "is_classification": number % 7 == 0,
    }
    return {**row, **changes}


def write(path: Path, rows: list[Any]) -> Path:
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows), encoding="utf-8")
    return path


def cells(text: str, name: str) -> list[str]:
    row = next(line for line in text.splitlines() if line.startswith(f"| {name} |"))
    return [cell.strip() for cell in row.strip("|").split("|")][1:]


def whats(found: seed_report.TaskSet) -> list[str]:
    return [finding.what for finding in found.findings]


def test_a_sound_file_has_nothing_to_look_at(tmp_path: Path) -> None:
    found = seed_report.survey(write(tmp_path / "own.jsonl", [task(n) for n in range(20)]), RULES)
    assert found.findings == ()
    assert "to look at" not in seed_report.render([found])


def test_figures_of_a_small_file(tmp_path: Path) -> None:
    rows = [task(n) for n in range(18)]
    rows.append(task(18, instruction="Sort the words by length.", instances=[{"input": "a bb", "output": "a, bb"}]))
    rows.append(
        task(
            19,
            instruction="Sort the words by sound.",
            instances=[{"input": "to two", "output": "to"}, {"input": "x", "output": "y"}],
        )
    )
    found = seed_report.survey(write(tmp_path / "own.jsonl", rows), RULES)
    text = seed_report.render([found])
    verbs = Counter(diversity.root_verbs(found.instructions))
    assert text.splitlines()[0] == "|  | own.jsonl |"
    assert cells(text, "tasks") == ["20"]
    assert cells(text, "classification tasks") == ["3"]
    assert cells(text, "applications") == ["-"]
    assert cells(text, "instances") == ["21"]
    assert cells(text, "with an input") == ["3 (14.3 %)"]
    assert cells(text, "words an instruction") == ["4.1 (4 to 5)"]
    assert cells(text, "words a non-empty input") == ["1.7 (1 to 2)"]
    assert cells(text, "different root verbs") == [str(len(verbs.keys() - {None}))]
    assert cells(text, "most frequent root verb") == [f"describe, {verbs['describe']} ({5 * verbs['describe']:.1f} %)"]
    assert cells(text, "no verb in the first sentence") == [str(verbs[None])]
    assert cells(text, "highest ROUGE-L of two instructions") == ["0.800"]
    assert cells(text, "pairs with ROUGE-L of 0.5 or more") == ["1"]
    assert cells(text, "tasks in such a pair") == ["2 (10.0 %)"]
    assert "- instructions that are alike (ROUGE-L of 0.5 or more): lines 19 and 20 (0.80)" in text


def test_every_fault_is_told_with_its_line_not_only_the_first(tmp_path: Path) -> None:
    rows = [*(task(n) for n in range(20)), "", {"id": 3}, "nope", task(0), task(21, instruction="Find the picture of a cat.")]
    found = seed_report.survey(write(tmp_path / "own.jsonl", rows), RULES)
    assert [(finding.line, finding.fatal) for finding in found.findings] == [(22, True), (23, True), (24, True), (25, False)]
    assert "field 'id': input should be a valid string" in whats(found)[0]
    assert whats(found)[1].startswith("not valid JSON")
    assert "'t0' is given twice (first in line 1)" in whats(found)[2]
    assert whats(found)[3] == "the filter keyword drops such an instruction (picture)"
    assert len(found.rows) == 21 and found.broken == 1


@pytest.mark.parametrize(
    ("instance", "complaint"),
    [
        ({"input": "a ", "output": "b"}, "spaces at a line's end"),
        ({"input": "a\x00", "output": "b"}, "control characters"),
        ({"input": "", "output": "b \nc"}, "spaces at a line's end"),
        ({"input": "", "output": "b\n"}, "spaces at a line's end"),
        ({"input": "cafe\u0301", "output": "b"}, "not in Unicode's NFC"),
        ({"input": "same", "output": "same"}, "the filter input_equals_output drops such an instance"),
        ({"input": "", "output": "as follows:"}, "the filter ends_with_colon drops such an instance"),
    ],
)
def test_untidy_texts_are_told(tmp_path: Path, instance: dict[str, str], complaint: str) -> None:
    rows = [*(task(n) for n in range(20)), task(20, instances=[instance])]
    found = seed_report.survey(write(tmp_path / "own.jsonl", rows), RULES)
    assert [finding.line for finding in found.findings] == [21] and whats(found)[0].startswith(complaint)
    assert not found.findings[0].fatal


def test_a_kind_of_fault_is_told_once_with_its_lines(tmp_path: Path) -> None:
    rows = [task(n, instances=[{"input": "", "output": f"b{n} "}]) for n in range(20)]
    text = seed_report.render([seed_report.survey(write(tmp_path / "own.jsonl", rows), RULES)])
    assert "- lines 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12 and 8 more: spaces at a line's end" in text


@pytest.mark.parametrize(("blind", "warned"), [(4, False), (5, True)])
def test_more_than_a_fifth_of_unseen_instructions_is_told(tmp_path: Path, blind: int, warned: bool) -> None:
    """ROUGE-L sees a-z0-9 alone."""
    rules = Rules(GenerateSettings(ascii_start=False, keywords=()))
    rows = [task(n, **({"instruction": f"Опиши коротко предмет {'я' * (n + 1)}"} if n < blind else {})) for n in range(20)]
    found = seed_report.survey(write(tmp_path / "own.jsonl", rows), rules)
    assert found.blind == blind and found.broken == 0
    assert [what for what in whats(found) if f"{blind} of 20 instructions have no a-z or 0-9" in what] == whats(found)
    assert bool(found.findings) == warned
    assert (found.verbs is None) == warned


@pytest.mark.parametrize(
    ("count", "complaint", "fatal"),
    [(7, "usable seed tasks: 7; at least 8 needed", True), (19, "19 seed tasks; with fewer than 20", False)],
)
def test_few_seeds_are_told(tmp_path: Path, count: int, complaint: str, fatal: bool) -> None:
    found = seed_report.survey(write(tmp_path / "own.jsonl", [task(n) for n in range(count)]), RULES)
    assert [finding.fatal for finding in found.findings] == [fatal] and whats(found)[0].startswith(complaint)


def test_no_classification_is_told(tmp_path: Path) -> None:
    found = seed_report.survey(write(tmp_path / "own.jsonl", [task(n, is_classification=False) for n in range(20)]), RULES)
    assert whats(found) == ["no classification task: the model will hardly write any"]


def test_user_oriented_tasks_are_known_by_their_application(tmp_path: Path) -> None:
    rows = [task(n, motivation_app=f"app {n % 2}") for n in range(3)]
    found = seed_report.survey(write(tmp_path / "own.jsonl", [*rows, task(4)]), RULES)
    assert [(finding.what, finding.line, finding.fatal) for finding in found.findings] == [
        ("field 'motivation_app': missing", 4, True)
    ]
    text = seed_report.render([found])
    assert cells(text, "applications") == ["2"] and cells(text, "classification tasks") == ["-"]


def test_two_files_are_compared(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    own = write(tmp_path / "own.jsonl", [task(n) for n in range(20)])
    rows = [task(n, instruction=f"Explain {WORDS[n]} to me") for n in range(20)]
    rows[0] = task(0, instances=[{"input": "", "output": "it  is Number 0."}])
    text = seed_report.render([seed_report.survey(path, RULES) for path in (own, write(tmp_path / "other" / "own.jsonl", rows))])
    assert text.splitlines()[0] == f"|  | {tmp_path.name}/own.jsonl | other/own.jsonl |"
    across = next(line for line in text.splitlines() if line.startswith(f"| {tmp_path.name}/own.jsonl | other/own.jsonl |"))
    assert across.split(" | ")[2:] == ["1.000", across.split(" | ")[3], "1", "20 |"]


def test_one_file_twice_still_has_columns(tmp_path: Path) -> None:
    path = write(tmp_path / "own.jsonl", [task(n) for n in range(20)])
    text = seed_report.render([seed_report.survey(path, RULES)] * 2)
    assert text.splitlines()[0] == f"|  | {path} | {path} |"


def test_without_spacy_the_verbs_are_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(diversity, "SPACY_MODELS", ("no_such_model",))
    text = seed_report.render([seed_report.survey(write(tmp_path / "own.jsonl", [task(n) for n in range(20)]), RULES)])
    assert cells(text, "different root verbs") == ["-"] and "Root verbs need spaCy" in text


def call(*arguments: str) -> int:
    return commandline.run(cli.main, ["seeds", *arguments])


def test_command_prints_the_shipped_files(capsys: pytest.CaptureFixture[str]) -> None:
    assert call() == 0
    printed = capsys.readouterr().out
    assert printed.splitlines()[0] == "|  | seed_tasks.jsonl | user_oriented.jsonl |"
    assert "to look at" not in printed


def test_command_ends_with_2_where_a_file_cant_be_used(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path / "own.jsonl", [*(task(n) for n in range(20)), "nope"])
    assert call(str(path)) == 2
    said = capsys.readouterr()
    assert "- line 21: not valid JSON" in said.out
    assert (
        said.err
        == f"error: {path}: can't be used as it is: 1 fault, listed above\nhint: mend them; seeds/README.md shows the format\n"
    )


@pytest.mark.parametrize(("content", "complaint"), [(None, "no such file"), ("", "no tasks in it")])
def test_command_refuses_what_holds_no_tasks(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: str | None, complaint: str
) -> None:
    if content is not None:
        (tmp_path / "own.jsonl").write_text(content)
    assert call(str(tmp_path / "own.jsonl")) == 2
    assert complaint in capsys.readouterr().err


def test_command_reads_the_rules_of_a_config(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path / "own.jsonl", [*(task(n) for n in range(20)), task(20, instruction="Find the picture of a cat.")])
    assert call(str(path)) == 0
    assert "the filter keyword" in capsys.readouterr().out
    assert call(str(path), "--set", "generate.keywords=[]") == 0
    assert "the filter" not in capsys.readouterr().out
