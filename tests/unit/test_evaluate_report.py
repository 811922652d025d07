"""The report: what it says of a run, that its three files agree, and what it says where something wasn't run."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import sample_runs
from self_instruct.errors import RunFolderError
from self_instruct.evaluate import document_html, document_markdown, figures, paper, report
from self_instruct.records import EvalItem

SECTIONS = [
    "## User-oriented instructions",
    "## SuperNI",
    "## Table 3: zero-shot on SuperNI, the paper's models and ours",
    "## The instruction data: Tables 1 and 2, Figures 3 to 5",
    "## What raters said: Figure 6",
    "## How far raters agree",
    "## Size and quality of the data: Figure 7",
    "## Contamination: training data against the evaluation sets",
    "## Generation",
    "## Training",
    "## Example outputs",
    "## Provenance",
    "## What these numbers don't say",
]
E = {"value": 0.25, "low": 0.125, "high": 0.5}
VERBS: dict[str, Any] = {
    "pairs": 12, "of": 20, "share": E, "verbs": 7, "top": [{"verb": "write", "count": 5, "nouns": [["story", 3], ["poem", 2]]}],
    "top_count": 5, "top_share": E,
}  # fmt: skip
LENGTHS = {"texts": 20, "mean": 14.25, "median": 13.0, "p10": 8.0, "p90": 22.0, "longest": 52, "counts": [[10, 12], [20, 8]]}
STATISTICS: dict[str, Any] = {
    "format": 1,
    "corpus": {"place": "x", "kind": "corpus", "sha256": "c" * 64},
    "counts": {
        "instructions": 20, "classification": 5, "labelled": 20, "instances": 30, "empty_inputs": 12, "repeated_instructions": 0,
        "repeated_instances": 0, "without_letters": 0, "without_instance": 1,
    },
    "shares": {"classification": E, "empty_inputs": {"value": 0.4, "low": 0.25, "high": 0.575}},
    "lengths": {"instruction": LENGTHS, "input": LENGTHS | {"mean": 6.9}, "output": LENGTHS | {"mean": 8.2}},
    "verb_noun": {"parser": "en_core_web_sm 3.8.0", "authors": VERBS | {"pairs": 9}, "corrected": VERBS},
    "nearest_seed": {
        "source": "shipped", "seeds": 175, "mean": 0.2345, "median": 0.2, "equal": 1,
        "edges": [n / 20 for n in range(21)], "counts": [1] * 20,
    },
}  # fmt: skip
CONTAMINATION = [
    {
        "model": "tuned", "why_not": None, "set": "superni", "items": 9, "rows": 78, "overlapping_rows": 2, "share": E, "equal": 1,
        "thirteen_words": 1, "rouge_l": 2, "highest": 0.912, "items_touched": 3,
        "examples": [{"row": "r1", "text": "Do it.", "item": "i1", "detail": "equal"}],
    },
    {"model": "lora", "why_not": "its data are gone"},
]  # fmt: skip


@pytest.fixture(autouse=True)
def no_plots(monkeypatch: pytest.MonkeyPatch) -> None:
    """The plots have tests of their own."""
    monkeypatch.setattr(figures, "available", lambda: False)


def written(run: Path, **made: Any) -> tuple[str, dict[str, Any]]:
    """The report of an evaluated run: Markdown and JSON."""
    sample_runs.evaluated(run, **made)
    place = report.write_run(run, 2)
    assert place == run / "evaluate" / "report" / "report.html"
    return place.with_suffix(".md").read_text("utf-8"), json.loads(place.with_suffix(".json").read_text("utf-8"))


def full_run(run: Path) -> tuple[str, dict[str, Any]]:
    sample_runs.generated(run)
    sample_runs.trained(run)
    sessions = run / "evaluate" / "journal" / "sessions.jsonl"
    sessions.parent.mkdir(parents=True)
    sessions.write_text(
        '{"requests": 8, "output_tokens": 100, "seconds": 8.0, "cached": 0}\n'
        '{"requests": 4, "output_tokens": 50, "seconds": 4.5, "cached": 7}\n'
    )
    return written(run, statistics=STATISTICS, contamination=CONTAMINATION)


def section(text: str, heading: str) -> str:
    return text.split(f"\n{heading}\n", 1)[1].split("\n## ", 1)[0]


def table_row(text: str, first: str) -> list[str]:
    """The cells of the table row that begins with a cell."""
    (line,) = [line for line in text.splitlines() if line.startswith(f"| {first} |")]
    return [cell.strip() for cell in line.strip("|").split(" | ")]


def test_the_sections_in_order(tmp_path: Path) -> None:
    text, _ = full_run(tmp_path)
    assert text.startswith("# Self-Instruct report: tiny\n")
    assert [line for line in text.splitlines() if line.startswith("## ")] == SECTIONS
    assert "scripted" not in text


def test_html_markdown_and_json_hold_the_same_numbers(tmp_path: Path) -> None:
    """Both pages are made of the tree's blocks, and the tree is what the JSON is."""
    text, tree = full_run(tmp_path)
    blocks = report.render(tree)
    assert document_markdown.render(blocks) == text
    page = (tmp_path / "evaluate/report/report.html").read_text("utf-8")
    assert page == document_html.render(tree["title"], blocks)
    numbers = re.findall(r"\d[\d,]*\.\d+", text)
    assert len(numbers) > 100
    assert [one for one in numbers if one not in page] == []


def leaves(value: Any) -> list[float]:
    """Every number of a JSON value."""
    if isinstance(value, dict):
        return [number for one in value.values() for number in leaves(one)]
    if isinstance(value, list):
        return [number for one in value for number in leaves(one)]
    return [float(value)] if isinstance(value, int | float) and not isinstance(value, bool) else []


def test_every_number_of_the_tables_is_in_the_json(tmp_path: Path) -> None:
    """Ours and the paper's; shares from 0 to 1 are shown in percent."""
    text, _ = full_run(tmp_path)
    tree = json.loads((tmp_path / "evaluate/report/report.json").read_text("utf-8"))
    known = {f"{abs(value) * scale:,.{digits}f}" for value in leaves(tree) for scale in (1, 100) for digits in range(5)}
    tables = [line for line in text.split("\n## Provenance")[0].splitlines() if line.startswith("| ")]
    cells = [cell for line in tables for cell in line.strip("| ").split(" | ") if not re.search("[a-z]{3}|[A-Z]", cell)]
    found = [number for cell in cells for number in re.findall(r"\d[\d,]*(?:\.\d+)?", cell)]
    assert len(found) > 200 and {"52,445", "26,559", "82,439", "46.0", "187", "44.4"} <= set(found)
    assert sorted(set(found) - known) == []


def test_the_verdict_stands_on_top(tmp_path: Path) -> None:
    text, tree = written(tmp_path, suites=[sample_runs.stored_suite(sample_runs.superni_items(60, 20))])
    one = tree["suites"][0]["comparisons"][0]["rouge_l"]
    top = text.split("\n## ")[0]
    assert "60 items of 20 tasks" in top and f"+{one['value']:.2f}" in top
    assert f"95 % interval +{one['low']:.2f} to +{one['high']:.2f}" in top
    assert "tuned is closer to the references than base" in top


def answers(base: str, tuned: str | None = None) -> Any:
    return lambda name, item: base if name == "base" else tuned if tuned is not None else item.references[0]


@pytest.mark.parametrize(
    ("answer", "count", "said"),
    [
        (lambda name, item: item.references[0] if name == "base" else "x", 20, "is further from the references than base"),
        (lambda name, item: item.references[0], 19, "every answer of tuned is base's"),
        (answers("the number"), 19, "19 items are too few for a verdict"),
        (answers("the number", "the number!"), 20, "It includes 0"),
        (answers("the number"), 1, "Too few items for an interval."),
        (answers("same", "same"), 6, "every answer of tuned is base's: the training between them did nothing, or wasn't applied"),
    ],
)
def test_verdicts_of_other_kinds(tmp_path: Path, answer: Any, count: int, said: str) -> None:
    text, _ = written(tmp_path, suites=[sample_runs.stored_suite(sample_runs.items(count), answer)])
    assert said in text.split("\n## ")[0]


def test_a_few_large_tasks_are_no_verdict(tmp_path: Path) -> None:
    """The mean over items says better, the mean of task means doesn't."""
    items = sample_runs.superni_items(400, 10) + tuple(
        replace(item, id=f"small-{n}", task=f"small{n}") for n, item in enumerate(sample_runs.superni_items(12, 1))
    )

    def answer(name: str, item: EvalItem) -> str:
        good = (name == "tuned") == (not item.id.startswith("small-"))
        return item.references[0] if good else "nothing"

    text, tree = written(tmp_path, suites=[sample_runs.stored_suite(items, answer)])
    assert tree["suites"][0]["comparisons"][0]["rouge_l"]["value"] > 0
    top = text.split("\n## ")[0]
    assert "**Better.**" not in top and "which includes 0: 10 tasks won, 12 lost. A few large tasks decide." in top


def test_the_embedded_model_is_told_of(tmp_path: Path) -> None:
    assert "instruct checkpoint" not in written(tmp_path / "a")[0]
    run = sample_runs.evaluated(tmp_path / "b")
    place = run / "evaluate" / "results" / "results.json"
    place.write_text(place.read_text().replace('"source": "local"', '"source": "embedded"'))
    assert "instruct checkpoint, stored in 4 bits" in report.write_run(run, 0).with_suffix(".md").read_text("utf-8")


def test_examples_are_of_as_many_tasks_as_there_are(tmp_path: Path) -> None:
    sample_runs.evaluated(tmp_path, [sample_runs.stored_suite(sample_runs.superni_items(60, 5))])
    for count in (3, 5, 7):
        tree = json.loads(report.write_run(tmp_path, count).with_suffix(".json").read_text("utf-8"))
        rows = tree["examples"][0]["rows"]
        assert len(rows) == count and len({row["task"] for row in rows}) == min(count, 5)


def test_one_model_alone(tmp_path: Path) -> None:
    made = [sample_runs.stored_suite(sample_runs.items(3), models=["base"])]
    text, tree = written(tmp_path, suites=made, models=["base"])
    assert "Only one model was measured: nothing is compared." in text
    assert tree["suites"][0]["comparisons"] == []


def test_several_models_are_compared_pair_by_pair(tmp_path: Path) -> None:
    names = ["base", "tuned", "lora"]
    made = [sample_runs.stored_suite(sample_runs.superni_items(9), lambda name, item: f"number {name}", models=names)]
    text, tree = written(tmp_path, suites=made, models=names)
    pairs = [(one["base"], one["model"]) for one in tree["suites"][0]["comparisons"]]
    assert pairs == [("base", "tuned"), ("base", "lora"), ("tuned", "lora")]
    assert (
        "| category | tasks | items | ROUGE-L, base | ROUGE-L, tuned | ROUGE-L, lora | tuned minus base | lora minus base |" in text
    )


def test_a_small_superni_isnt_set_beside_published_scores(tmp_path: Path) -> None:
    text, _ = written(tmp_path)
    assert (
        "3 tasks and 9 items; the paper's evaluation has 119 and 11,900. These scores can't be set beside published ones." in text
    )


def test_categories_and_tasks_with_their_items(tmp_path: Path) -> None:
    text, tree = written(tmp_path)
    suite = tree["suites"][1]
    assert [(row["group"], row["tasks"], row["items"]) for row in suite["by_group"]] == [("Category 0", 2, 6), ("Category 1", 1, 3)]
    assert [(row["task"], row["items"]) for row in suite["by_task"]] == [(f"task{n}_sample", 3) for n in range(3)]
    one = suite["by_group"][0]["tuned"]["rouge_l"]
    assert table_row(text, "Category 0")[4] == f"{one['value']:.2f} \\[{one['low']:.2f}, {one['high']:.2f}\\]"
    assert table_row(text, "task1_sample")[1:3] == ["Category 1", "3"]


def test_what_was_counted_while_loading_is_told(tmp_path: Path) -> None:
    made = sample_runs.stored_suite(sample_runs.superni_items(9), cut_inputs=2, counts={"instances without a reference": 3})
    text, _ = written(tmp_path, suites=[made])
    assert "Counted while loading: instances without a reference: 3; prompts that were cut to fit: 2." in text


def test_table_3_has_every_row_of_the_paper_and_ours_by_role(tmp_path: Path) -> None:
    text, tree = written(tmp_path)
    table = section(text, SECTIONS[2])
    lines = [line for line in table.splitlines() if line.startswith("|")][2:]
    assert len(lines) == len(paper.TABLE_3)
    for row, line in zip(paper.TABLE_3, lines, strict=True):
        assert f"| {row.model} |" in line and f"| {row.rouge_l:.1f} |" in line
        ours = {"base": "base", "self_inst": "tuned"}.get(row.role or "")
        value = next((m["rouge_l"]["value"] for m in tree["suites"][1]["models"] if m["model"] == ours), None)
        assert (
            line.endswith("| not run |" if row.role else "| - |")
            if value is None
            else f"| {ours} |" in line and f"{value:.2f}" in line
        )


def test_table_3_without_superni(tmp_path: Path) -> None:
    text, _ = written(tmp_path, suites=[sample_runs.stored_suite(sample_runs.items(3))])
    assert "SuperNI wasn't run: set evaluate.superni.folder" in section(text, SECTIONS[2])


def test_data_stands_beside_the_papers(tmp_path: Path) -> None:
    data = section(full_run(tmp_path)[0], SECTIONS[3])
    for row in (
        "| instructions | 52,445 | 20 |",
        "| classification instructions | 11,584 | 5 |",
        "| their share | 22.1 % | 25.0 % \\[12.5, 50.0\\] |",
        "| other instructions | 40,861 | 15 |",
        "| instances | 82,439 | 30 |",
        "| with an empty input | 35,878 | 12 |",
        "| mean words, instruction | 15.9 | 14.2 |",
        "| mean words, non-empty input | 12.7 | 6.9 |",
        "| Is the output a correct and acceptable response? | 58 % | not run |",
        "| instructions with a verb and its noun object | 26,559 of 52,445 | 9 of 20 | 12 of 20 |",
        "| write | 5 | story 3, poem 2 |",
        "| instruction | 20 | 14.2 | 15.9 | 13.0 | 8.0 | 22.0 | 52 |",
    ):
        assert row in data.splitlines()
    assert "nearest of 175 seeds (`shipped`): mean 0.234, median 0.200; equal to a seed: 1." in data


def test_contamination(tmp_path: Path) -> None:
    text = section(full_run(tmp_path)[0], SECTIONS[7])
    assert table_row(text, "tuned")[1:] == ["superni", "78", "2", "25.0 % \\[12.5, 50.0\\]", "1", "1", "2", "0.912", "3 of 9"]
    assert "Rows of the training data overlap items" in text
    assert "`r1`: Do it. (`i1`: equal)" in text
    assert "lora: not measured: its data are gone." in text


def test_generation_training_and_speed(tmp_path: Path) -> None:
    text, _ = full_run(tmp_path)
    generation, training = section(text, "## Generation"), section(text, "## Training")
    assert "| accepted, % of proposed | 32.3 |" in generation.splitlines()
    assert "| prefix cache, % of the prompt tokens of steps 2 and 3 | 96.1 |" in generation.splitlines()
    assert f"| {tmp_path.name} | instruction | novelty | 40 |" in generation.splitlines()
    assert "| 1 | 2.9876 | - | 1,000 | 20.0 |" in training.splitlines()
    assert "78 examples (of seed tasks: 48; held out: -; dropped: duplicates 3, empty 0), 10 steps, 4,884,480" in training
    assert (
        "0 answers, 7 of them from earlier runs. In sessions that ended in order: 12 requests, 150 output tokens in 12.5 s" in text
    )


def test_what_was_not_run_is_said(tmp_path: Path) -> None:
    text, tree = written(tmp_path)
    data = section(text, SECTIONS[3])
    assert "Not run: no statistics of a corpus are stored, as the run folder has no finished generate stage." in data
    assert "Figure 4, nearest seeds: not run." in data
    for row in (
        "| instructions | 52,445 | not run |",
        "| instructions with a verb and its noun object | 26,559 of 52,445 | not run | not run |",
        "| share of the top 20 verbs with their top 4 nouns | 14 % | not run | not run |",
        "| output | 18.9 | not run |",
    ):
        assert row in data.splitlines()
    assert "Not measured: no tuned model" in section(text, SECTIONS[7])
    assert "Not run: no finished train stage" in section(text, "## Training")
    assert "## Generation" not in text
    assert (tree["statistics"], tree["training"], tree["generation"]) == ([], [], [])


def test_a_scripted_engine_is_announced_on_top(tmp_path: Path) -> None:
    text, tree = written(tmp_path, scripted=True)
    assert tree["scripted"]
    assert "a fake for tests: these numbers say nothing about any model" in text.split("\n\n")[1]


def test_the_same_run_gives_the_same_bytes(tmp_path: Path) -> None:
    full_run(tmp_path)
    place = tmp_path / "evaluate" / "report"
    first = {path.name: path.read_bytes() for path in place.iterdir()}
    assert set(first) == {"report.html", "report.md", "report.json"}
    (place / "leftover.png").write_bytes(b"of an older version")
    report.write_run(tmp_path, 2)
    assert {path.name: path.read_bytes() for path in place.iterdir()} == first


def test_the_number_of_examples_is_the_runs_own_unless_it_is_named(tmp_path: Path) -> None:
    sample_runs.evaluated(tmp_path)

    def counts(examples: int | None) -> list[int]:
        tree = json.loads(report.write_run(tmp_path, examples).with_suffix(".json").read_text("utf-8"))
        return [len(one["rows"]) for one in tree["examples"]]

    assert counts(None) == [2, 2] and counts(5) == [5, 5] and counts(100) == [6, 9] and counts(0) == [0, 0]
    assert "## Example outputs" not in (tmp_path / "evaluate/report/report.md").read_text("utf-8")


def test_a_long_text_is_cut_with_a_note(tmp_path: Path) -> None:
    made = sample_runs.stored_suite(sample_runs.items(2), answers("word " * 1000, "word " * 1001))
    text, tree = written(tmp_path, suites=[made])
    assert tree["examples"][0]["rows"][0]["answers"][0]["characters"] == 5000
    assert "3,500" in text


NASTY = [
    "```\n# Not a heading\n```",
    "~~~\n````markdown\n`````",
    "a\x00b\x1b[31m\rc",
    "<script>alert(1)</script> | pipe | \\",
    "",
    "   \n",
    "\ud800 alone",
    "</details>\n\n## Results\n",
]


@pytest.mark.parametrize("nasty", NASTY)
def test_any_text_stays_inside_its_place(nasty: str, tmp_path: Path) -> None:
    item = EvalItem(
        id="i`d|",
        suite="user_oriented",
        task="t",
        group="App\n# x",
        instruction=nasty or "x",
        input=nasty,
        references=(nasty or "x",),
    )
    other = EvalItem(id="plain", suite="user_oriented", task="u", group="App", instruction="x", input="", references=("x",))
    made = sample_runs.stored_suite((item, other), lambda name, one: nasty)
    text, _ = written(tmp_path, suites=[made])
    assert [line for line in outside(text).splitlines() if line.startswith("## ")] == [
        one for one in SECTIONS if one not in ("## SuperNI", "## Generation")
    ]
    assert "script>" not in outside(text)
    assert not re.search(r"[\x00-\x08\x0b-\x1f]", text)
    assert "<script" not in (tmp_path / "evaluate/report/report.html").read_text("utf-8")


def outside(text: str) -> str:
    """What stands outside of fenced blocks, by CommonMark's rule: a fence ends at a line of as many back-ticks or more."""
    kept, fence = [], ""
    for line in text.split("\n"):
        opening = re.fullmatch(r"(`{3,})(\w*)", line)
        if fence:
            if opening and not opening[2] and len(opening[1]) >= len(fence):
                fence = ""
        elif opening:
            fence = opening[1]
        else:
            kept.append(line)
    assert not fence, "an open fence"
    return "\n".join(kept)


def test_provenance(tmp_path: Path) -> None:
    provenance = section(full_run(tmp_path)[0], "## Provenance")
    for row in (
        "| model | `models/tiny`, local, LlamaForCausalLM |",
        "| adapter of tuned | `train/tuned` |",
        f"| hash of user_oriented | `{'ab' * 32}` |",
        f"| hash of corpus | `{'c' * 64}` |",
        "| versions | self-instruct 0.1.0, python 3.11.9 |",
        "| code | commit c0ffee |",
        "| machine | a processor, 2 cores, 8.0 GiB, no GPU, Linux |",
        "| seed | 42 |",
        "| generate | 2023-11-14T22:13:20+00:00 | `--config configs/tiny.yaml` | 61.2 |",
        "| evaluate | 2023-11-14T22:13:20+00:00 | `--config configs/tiny.yaml` | 61.2 |",
        "| train.epochs | `3` | --set |",
    ):
        assert row in provenance.splitlines()
    assert "run.seed" not in provenance  # as by default


def test_two_runs_in_one_report(tmp_path: Path) -> None:
    one = sample_runs.evaluated(tmp_path / "one")
    two = sample_runs.evaluated(tmp_path / "two", digests={"tuned": "another"}, statistics=STATISTICS)
    place = report.write_runs([one, two], tmp_path / "both", None)
    tree = json.loads(place.with_suffix(".json").read_text("utf-8"))
    assert list(tree["models"]) == ["base", "tuned", "two/tuned"]
    assert [one["run"] for one in tree["statistics"]] == ["two"]
    assert [one["run"] for one in tree["provenance"]] == ["one", "two"]
    assert report.means(place.with_suffix(".json"))["superni"].keys() == {"base", "tuned", "two/tuned"}
    assert report.write_runs([one, two], tmp_path / "both", None) == place  # an older report is derived, and replaced


def test_a_place_of_something_else_is_left_alone(tmp_path: Path) -> None:
    run = sample_runs.evaluated(tmp_path / "run")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    (tmp_path / "file").write_text("x")
    for place in (tmp_path / "mine", tmp_path / "file"):
        with pytest.raises(RunFolderError, match="not empty, and no report"):
            report.write_runs([run], place, None)
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "years of work"


def test_many_models_of_one_run_are_shown_against_the_base(tmp_path: Path) -> None:
    names = ["base", *(f"lora{n}" for n in range(7))]
    made = [sample_runs.stored_suite(sample_runs.superni_items(9), lambda name, item: f"number {name}", models=names)]
    text, tree = written(tmp_path, suites=made, models=names)
    assert len(tree["suites"][0]["comparisons"]) == 28
    main, others = section(text, "## SuperNI").split("**All other pairs: 21**")
    assert [f"| {name} | base |" in main for name in names[1:]] == [True] * 7 and "| lora1 | lora0 |" in others
