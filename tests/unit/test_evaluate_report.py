"""The report: its content, that JSON and Markdown agree, and that any text is safe in it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import sample_runs
from self_instruct.evaluate import figures, report, report_markdown
from self_instruct.evaluate.comparison import Results
from self_instruct.records import EvalItem
from self_instruct.settings import Settings

MODEL = {"reference": "tiny", "source": "local", "fingerprint": "f00d", "architecture": "LlamaForCausalLM"}
HEADINGS = ["## Results", "## Data", "## Training", "## Example outputs", "## Provenance", "## What these numbers don't say"]


@pytest.fixture(autouse=True)
def no_plots(monkeypatch: pytest.MonkeyPatch) -> None:
    """The plots have tests of their own."""
    monkeypatch.setattr(figures, "available", lambda: False)


def write(place: Path, results: Results | None = None, /, **settings: Any) -> tuple[str, dict[str, Any]]:
    """The report of the run folder `place`: Markdown and JSON."""
    stage = place / "evaluate"
    stage.mkdir(parents=True, exist_ok=True)
    manifest = sample_runs.manifest("evaluate")
    made = report.write(stage, Settings.model_validate(settings), manifest, MODEL, results or sample_runs.results())
    assert made == stage / "report" / "report.md"
    return made.read_text(encoding="utf-8"), json.loads(made.with_suffix(".json").read_text(encoding="utf-8"))


def full_run(run: Path) -> Path:
    sample_runs.generated(run)
    sample_runs.trained(run)
    sessions = run / "evaluate" / "journal" / "sessions.jsonl"
    sessions.parent.mkdir(parents=True)
    sessions.write_text(
        '{"requests": 8, "output_tokens": 100, "seconds": 8.0}\n{"requests": 4, "output_tokens": 50, "seconds": 4.5}\n'
    )
    return run


def section(text: str, heading: str) -> str:
    return text.split(f"\n{heading}\n", 1)[1].split("\n## ", 1)[0]


def test_the_sections_in_order(tmp_path: Path) -> None:
    text, _ = write(full_run(tmp_path))
    assert text.startswith("# Self-Instruct report: tiny\n")
    assert [line for line in text.splitlines() if line.startswith("## ")] == HEADINGS
    assert "scripted" not in text


def test_the_summary_says_what_was_measured(tmp_path: Path) -> None:
    text, tree = write(tmp_path)
    (one,) = tree["comparisons"]
    assert one["model_rouge_l"] == 100.0
    assert (
        f"**tuned** against base on 6 user-oriented tasks: ROUGE-L {one['base_rouge_l']:.2f} → 100.00, "
        f"difference {one['difference']:+.2f} [{one['low']:+.2f}, {one['high']:+.2f}]. "
        "The interval leaves out 0: on tasks like these, tuned is closer to the references." in text
    )


def test_a_worse_adapter_and_an_unclear_one_are_called_so(tmp_path: Path) -> None:
    worse, _ = write(tmp_path / "a", sample_runs.results(answer=lambda n, item: item.references[0] if n == "base" else "x"))
    assert "on tasks like these, base is closer to the references." in worse
    same, tree = write(tmp_path / "b", sample_runs.results(answer=lambda name, item: f"the number{'!' * len(name)}"))
    assert "difference +0.00 [+0.00, +0.00]. The interval holds 0: these tasks don't tell" in same
    assert (tree["comparisons"][0]["wins"], tree["comparisons"][0]["ties"]) == (0, 6)
    assert "Every answer" not in same
    single, tree = write(tmp_path / "c", sample_runs.results(1))
    assert "on 1 user-oriented task: ROUGE-L" in single
    assert "One task is too few for an interval." in single
    assert tree["comparisons"][0]["low"] is None


def test_an_adapter_that_changes_no_answer_is_called_so(tmp_path: Path) -> None:
    text, tree = write(tmp_path, sample_runs.results(answer=lambda name, item: "the number"))
    assert tree["comparisons"][0]["same"] == 6
    assert "**Every answer of tuned is the base's: the adapter does nothing, or wasn't applied.** **tuned** against" in text


def test_base_alone_and_several_adapters(tmp_path: Path) -> None:
    alone, _ = write(tmp_path / "a", sample_runs.results(models=["base"]))
    assert "**base** on 6 user-oriented tasks: ROUGE-L" in alone
    assert "No adapter was compared." in alone
    several, tree = write(
        tmp_path / "b", sample_runs.results(answer=lambda name, _: f"the {name}", models=["base", "tuned", "lora"])
    )
    assert "|  | base | tuned | lora |" in several
    assert [one["model"] for one in tree["comparisons"]] == ["tuned", "lora"]
    assert len(re.findall(r"^\*\*\w+\*\* against base on 6", several, re.MULTILINE)) == 2


def test_data_stands_beside_the_papers(tmp_path: Path) -> None:
    data = section(write(full_run(tmp_path))[0], "## Data")
    for row in (
        "| counts | this run | paper (GPT-3) |",
        "| instructions accepted | 20 | 52,445 |",
        "| accepted, % of proposed | 32.3 | - |",
        "| ROUGE-L F1 with the nearest in the pool, mean | 0.35 | - |",
        "| classification, % of instructions | 25.0 | 22.1 |",
        "| instances per instruction | 1.5 | 1.57 |",
        "| empty inputs, % of instances | 40.0 | 43.5 |",
        "| instruction | 3 | 5.3 | 15.9 | 5.0 | 2.6 | 8.2 | 9 |",
        "| instruction | novelty | 40 |",
        "| instruction | too_short | 2 |",
        "| instance | empty_output | 7 |",
    ):
        assert row in data.splitlines()
    assert "12,345 prompt tokens, 6,789 output tokens, 98.8 output tokens/s; " in data
    assert "of the prompt tokens of steps 2 and 3 96.1 % came from the prefix cache. Ended by: target_instructions." in data


def test_training_and_speed(tmp_path: Path) -> None:
    text, _ = write(full_run(tmp_path))
    training = section(text, "## Training")
    assert "| 1 | 2.9876 | 1,000 | 20.0 |" in training.splitlines()
    assert "| 2 | 2.5123 | 1,000 | 20.0 |" in training.splitlines()
    assert "78 examples (of seed tasks: 48; dropped: duplicates 3, empty 0), 10 steps, 4,884,480 trainable" in training
    assert "Answering: 12 requests, 150 output tokens in 12.5 s (12.0 tokens/s" in text


def test_what_was_not_run_is_said(tmp_path: Path) -> None:
    text, tree = write(tmp_path)
    assert section(text, "## Data").strip().startswith("Not run:")
    assert section(text, "## Training").strip().startswith("Not run:")
    assert (tree["data"], tree["training"], tree["figures"]) == (None, None, None)
    assert "No plots: matplotlib isn't installed (extra `report`)." in text


def test_a_manifest_without_some_facts_is_reported_with_dashes(tmp_path: Path) -> None:
    sample_runs.generated(tmp_path, {"accepted": 0, "candidates": 0, "rejected": {}})
    data = section(write(tmp_path)[0], "## Data")
    assert "| accepted, % of proposed | - | - |" in data.splitlines()
    assert "| instances | - | 82,439 |" in data.splitlines()


def test_a_scripted_engine_is_announced_on_top(tmp_path: Path) -> None:
    text, tree = write(tmp_path, model={"engine": "scripted"})
    assert tree["scripted"]
    assert text.split("\n\n")[1].startswith("**A scripted engine made these outputs, no model did. The numbers mean nothing")


def test_cut_inputs_are_counted(tmp_path: Path) -> None:
    results = sample_runs.results()
    assert "were cut" not in write(tmp_path / "a", results)[0]
    cut = tuple(type(one)(item=one.item, prompt="p", cut=n < 2) for n, one in enumerate(results.prompted))
    text, tree = write(tmp_path / "b", _with(results, prompted=cut))
    assert tree["suite"]["cut_inputs"] == 2
    assert "2 of 6 inputs were cut at their end to fit the model's context." in text


def _with(results: Results, **changes: Any) -> Results:
    fields = {name: getattr(results, name) for name in Results.__dataclass_fields__}
    return Results(**{**fields, **changes})


def test_markdown_is_a_function_of_the_json(tmp_path: Path) -> None:
    """So every number in it is in the JSON, rounded alike."""
    text, tree = write(full_run(tmp_path))
    assert report_markdown.render(tree) == text


def test_numbers_of_both_files_are_equal(tmp_path: Path) -> None:
    text, tree = write(full_run(tmp_path))
    rows = dict(line.strip("| ").split(" | ", 1) for line in section(text, "## Results").splitlines() if line.count(" | ") == 2)
    for label, name in {
        "ROUGE-L F1, mean times 100": "rouge_l",
        "exact match, %": "exact_match",
        "empty answers, %": "empty_percent",
        "stopped by the limit of 512 tokens, %": "hit_limit_percent",
        "mean length of an answer, words": "mean_words",
        "tasks": "items",
    }.items():
        assert [float(cell) for cell in rows[label].split(" | ")] == [model[name] for model in tree["models"]]


def test_the_same_run_gives_the_same_bytes(tmp_path: Path) -> None:
    full_run(tmp_path)
    write(tmp_path)
    place = tmp_path / "evaluate" / "report"
    first = {path.name: path.read_bytes() for path in place.iterdir()}
    (place / "leftover.png").write_bytes(b"of an older version")
    (tmp_path / "evaluate" / ".report.new.tmp").mkdir()  # of a killed process
    write(tmp_path)
    assert {path.name: path.read_bytes() for path in place.iterdir()} == first
    assert sorted(path.name for path in place.parent.iterdir()) == ["journal", "report"]


def test_every_answer_is_kept_with_its_scores(tmp_path: Path) -> None:
    write(tmp_path)
    rows = [json.loads(line) for line in (tmp_path / "evaluate/report/answers.jsonl").read_text("utf-8").splitlines()]
    assert [(row["item_id"], row["model"]) for row in rows[:3]] == [("task_0", "base"), ("task_0", "tuned"), ("task_1", "base")]
    assert len(rows) == 12
    assert rows[1]["rouge_l"] == 1.0 and rows[1]["exact_match"]


def test_examples_are_drawn_by_the_seed(tmp_path: Path) -> None:
    def chosen(seed: int, count: int) -> list[str]:
        tree = write(tmp_path, sample_runs.results(30), run={"seed": seed}, evaluate={"examples": count})[1]
        return [example["id"] for example in tree["examples"]]

    assert chosen(1, 8) == chosen(1, 8) != chosen(2, 8)
    assert len(set(chosen(1, 8))) == 8
    assert chosen(1, 100) == [f"task_{n}" for n in range(30)]
    assert chosen(1, 0) == []
    assert "## Example outputs" not in (tmp_path / "evaluate/report/report.md").read_text("utf-8")


def test_a_long_text_is_cut_with_a_note(tmp_path: Path) -> None:
    text, _ = write(tmp_path, sample_runs.results(2, answer=lambda name, item: "word " * 1000))
    assert "word word" in text
    assert text.count("*(cut: the first 1,500 of 5,000 characters)*") == 4


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
def test_any_text_stays_inside_its_fence(nasty: str, tmp_path: Path) -> None:
    item = EvalItem(id="i`d|", suite="s", group="App\n# x", instruction=nasty or "x", input=nasty, references=(nasty or "x",))
    other = EvalItem(id="plain", suite="s", group="App", instruction="x", input="", references=("x",))
    text, tree = write(tmp_path, sample_runs.results(answer=lambda name, one: nasty, made=(item, other)))
    assert [line for line in outside(text).splitlines() if line.startswith("## ")] == HEADINGS
    assert "script" not in outside(text).replace("scripted", "")
    assert not re.search(r"[\x00-\x08\x0b-\x1f]", text)
    shown = tree["examples"][0]["answers"][0]["text"]
    assert shown == nasty.strip().encode("utf-8", "replace").decode() or shown == nasty.encode("utf-8", "replace").decode()
    assert report_markdown.render(tree) == text


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
    text, tree = write(full_run(tmp_path))
    provenance = section(text, "## Provenance")
    for row in (
        "| model | `tiny`, local, LlamaForCausalLM |",
        "| model's fingerprint | `f00d` |",
        "| adapter of tuned | `train/adapter` |",
        "| versions | self-instruct 0.1.0, python 3.11.9 |",
        "| code | commit c0ffee |",
        "| machine | a processor, 2 cores, 8.0 GiB, no GPU, Linux |",
        "| seed | 42 |",
        "| generate | 2023-11-14T22:13:20+00:00 | `--config configs/tiny.yaml` | 61.2 |",
        "| evaluate | 2023-11-14T22:13:20+00:00 | `--config configs/tiny.yaml` | - |",
        "| train.epochs | `3` | --set |",
    ):
        assert row in provenance.splitlines()
    assert "logical: " in provenance
    assert "run.seed" not in provenance  # as by default
    assert tree["provenance"]["determinism"] == "logical"


@pytest.mark.parametrize(
    ("reference", "source", "title"),
    [
        ("embedded", "embedded", "SmolLM2-135M-Instruct, from 4 bits (embedded)"),
        ("/a/b/my-model", "local", "my-model"),
        ("Org/Name", "hub", "Org/Name"),
    ],
)
def test_the_title_names_the_model(
    reference: str, source: str, title: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(MODEL, "reference", reference)
    monkeypatch.setitem(MODEL, "source", source)
    assert write(tmp_path)[0].startswith(f"# Self-Instruct report: {title}\n")


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: report_markdown.number(None), "-"),
        (lambda: report_markdown.number(12345), "12,345"),
        (lambda: report_markdown.number(1234.5, 2), "1,234.50"),
        (lambda: report_markdown.signed(-0.5), "-0.50"),
        (lambda: report_markdown.code("a`b"), "`` a`b ``"),
        (lambda: report_markdown.table(["a", "b"], [["x|y", "1\n2"]]), "| a | b |\n|---|---:|\n| x\\|y | 1 2 |"),
    ],
)
def test_small_pieces(call: Callable[[], str], text: str) -> None:
    assert call() == text
