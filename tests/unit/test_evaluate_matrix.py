"""A comparison's folder: its rows as models of one report, what it says of each, and rating it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

import sample_matrix
import sample_runs
from self_instruct.errors import DataError, RunFolderError
from self_instruct.evaluate import cli, figures, matrix, rating_runs, report, report_sizes, store
from self_instruct.evaluate.ratings import RatingStore

UNMEASURED = {
    "t0": {"state": "not run", "why": "data.t0 isn't set"},
    "superni": {"state": "failed", "why": "superni/train failed"},
}
FEW = ("base", "self-instruct", "seeds")


@pytest.fixture
def no_plots(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(figures, "available", lambda: False)


def made(place: Path) -> tuple[str, dict[str, Any]]:
    """The comparison's report: Markdown and JSON."""
    page = report.write([place], None, 1)
    assert page == place / "report" / "report.html"
    return page.with_suffix(".md").read_text("utf-8"), json.loads(page.with_suffix(".json").read_text("utf-8"))


def section(text: str, heading: str) -> str:
    return text.split(f"\n{heading}\n", 1)[1].split("\n## ", 1)[0]


def line(text: str, first: str) -> list[str]:
    """The cells of the first table row that begins with a cell."""
    found = next(one for one in text.splitlines() if one.startswith(f"| {first} |"))
    return [cell.strip().replace("\\", "") for cell in found.strip("|").split(" | ")]


def summary_line(text: str, first: str) -> list[str]:
    return line(section(text, "## The comparison: every row"), first)


def test_rows_are_models_by_their_names(tmp_path: Path) -> None:
    found = matrix.read(sample_matrix.folder(tmp_path, changes=UNMEASURED))
    models = [name for run in found.runs for name in run.models]
    assert models[0] == "base" and models[-2:] == ["self-instruct", "self-instruct+superni"]
    assert set(models) == set(sample_matrix.ROWS) - {"t0", "superni", "size-800"}
    assert all(list(suite.answers) == list(run.models) for run in found.runs for suite in run.suites)
    against = {row.row: row.against for row in found.rows}
    assert against["self-instruct"] == against["seeds"] == against["size-800"] == against["instruct"] == "base"
    assert against["t5-superni"] == "t5-lm" and against["base"] is None and against["t0"] is None
    assert {name: run.models[name]["role"] for run in found.runs for name in run.models} == {
        name: sample_matrix.ROWS[name][0] for name in models
    }
    assert found.run("size-800") is found.run("self-instruct") and found.run("t0") is None


def test_a_base_without_a_row_is_kept_once(tmp_path: Path) -> None:
    place = sample_matrix.folder(tmp_path, ("seeds", "self-instruct", "t5-superni"))
    found = matrix.read(place)
    assert [row.row for row in found.rows] == ["base", "seeds", "self-instruct", "t5-superni's base", "t5-superni"]
    assert [row.against for row in found.rows] == [None, "base", "base", None, "t5-superni's base"]
    assert [list(run.models) for run in found.runs] == [["base", "seeds"], ["t5-superni's base", "t5-superni"], ["self-instruct"]]
    text, tree = made(place)
    assert summary_line(text, "base")[1] == "the base model itself"
    values = {row["row"]: row["suites"]["superni"] for row in tree["matrix"]["rows"]}
    gain = values["self-instruct"]["rouge_l"]["value"] - values["base"]["rouge_l"]["value"]
    assert values["self-instruct"]["difference"]["value"] == pytest.approx(gain, abs=0.011)


def test_a_failed_base_leaves_its_name(tmp_path: Path) -> None:
    changes = {"base": {"state": "failed", "why": "base/evaluate failed"}}
    found = matrix.read(sample_matrix.folder(tmp_path, FEW, changes=changes))
    assert [row.row for row in found.rows] == ["base", "self-instruct's base", "self-instruct", "seeds"]
    assert found.rows[3].against == "self-instruct's base"


def test_a_damaged_row_fails_and_the_others_stay(tmp_path: Path, no_plots: None) -> None:
    place = sample_matrix.folder(tmp_path, (*FEW, "superni", "size-800"))
    answers = place / "rows" / "self-instruct" / "evaluate" / "results" / "answers.jsonl"
    answers.write_text(answers.read_text()[:-20])
    (place / "rows" / "superni" / "train" / "manifest.json").write_text("{")
    text, tree = made(place)
    states = {row["row"]: (row["state"], row["why"]) for row in tree["matrix"]["rows"]}
    assert states["base"] == states["seeds"] == ("measured", None)
    assert states["self-instruct"][0] == "failed" and "answers.jsonl:" in states["self-instruct"][1]
    assert states["size-800"] == states["self-instruct"]  # it has that row's numbers
    assert states["superni"][0] == "failed" and "manifest.json" in states["superni"][1]
    assert str(tmp_path) not in text
    assert "failed" in summary_line(text, "self-instruct")[2:]
    assert "self-instruct is failed: rows/self-instruct/evaluate/results/answers.jsonl" in text.split("\n## ")[0]


def test_a_row_measured_on_another_set_fails(tmp_path: Path) -> None:
    place = sample_matrix.folder(tmp_path, ("base", "seeds"))
    sample_matrix.row(place, "t0", items=9)
    tree = json.loads((place / "matrix.json").read_text())
    sample_matrix.write(place, tree | {"rows": [*tree["rows"], sample_matrix.entry("t0")]})
    (*_, last) = matrix.read(place).rows
    assert last.state == "failed" and "different sets" in str(last.why)


def test_a_row_of_other_contenders_fails(tmp_path: Path) -> None:
    place = sample_matrix.folder(tmp_path, FEW, changes={"seeds": {"contender": "lora"}})
    (*_, last) = matrix.read(place).rows
    assert last.why == "rows/seeds: no model lora in its results"


@pytest.mark.parametrize(
    ("tree", "said"),
    [
        ({"format": 2}, "of format 2, this version reads 1"),
        ({"format": 1, "name": "x", "cells": []}, "damaged: KeyError"),
        ({"format": 1, "name": "x", "rows": [{"row": "a"}], "cells": []}, "damaged: KeyError"),
        ({"format": 1, "name": "x", "rows": [sample_matrix.entry("base", state="?")], "cells": []}, "row base: state '\\?'"),
        ({"format": 1, "name": "x", "rows": [sample_matrix.entry("base", role="x")], "cells": []}, "row base: role 'x'"),
        ({"format": 1, "name": "x", "rows": [sample_matrix.entry("base")] * 2, "cells": []}, "two rows of one name"),
        ({"format": 1, "name": "x", "rows": [sample_matrix.entry("base")], "cells": [{}]}, "damaged: KeyError: 'cell'"),
        ({"format": 1, "name": "x", "rows": [sample_matrix.entry("base")], "cells": []}, "none of its rows is measured: base: "),
        ({"format": 1, "name": "x", "rows": [], "cells": []}, "none of its rows is measured: it has none"),
        ([], "matrix.json"),
    ],
)
def test_a_damaged_matrix_is_told_with_a_hint(tree: Any, said: str, tmp_path: Path) -> None:
    sample_matrix.write(tmp_path, tree)
    with pytest.raises(DataError, match=said) as error:
        matrix.read(tmp_path)
    assert error.value.hint


def test_a_file_that_is_no_json(tmp_path: Path) -> None:
    (tmp_path / "matrix.json").write_text("{")
    assert matrix.is_matrix(tmp_path) and not matrix.is_matrix(tmp_path / "x")
    with pytest.raises(DataError, match=r"matrix\.json"):
        report.write([tmp_path], None, None)


def test_a_comparison_among_runs_is_refused(tmp_path: Path) -> None:
    place = sample_matrix.folder(tmp_path / "all", FEW)
    run = place / "rows" / "seeds"
    with pytest.raises(DataError, match="a comparison's folder among 2 run folders"):
        report.write([run, place], tmp_path / "out", None)
    assert [one.run for one in matrix.runs([run])] == [run]


def test_the_summary_has_every_row(tmp_path: Path, no_plots: None) -> None:
    place = sample_matrix.folder(tmp_path, changes=UNMEASURED)
    text, tree = made(place)
    assert text.startswith("# Self-Instruct comparison: sample\n")
    rows = {row["row"]: row for row in tree["matrix"]["rows"]}
    assert list(rows) == list(sample_matrix.ROWS)
    for name, row in rows.items():
        cells = summary_line(text, name)
        if name in UNMEASURED:
            assert f"{row['state']}: {UNMEASURED[name]['why']}" in cells[1] and set(cells[2:]) == {
                row["state"],
                *("-" for one in ["superni"] if one not in row["measure"]),
            }
            continue
        score = row["suites"]["user_oriented"]
        assert cells[4] == "{value:.2f} [{low:.2f}, {high:.2f}]".format(**score["rouge_l"])
        if row["against"]:
            assert cells[5] == "{value:+.2f} [{low:+.2f}, {high:+.2f}]".format(**score["difference"])
    assert summary_line(text, "size-10")[2:4] == ["-", "-"]  # not measured on SuperNI
    assert summary_line(text, "size-800")[1].endswith("(the same as self-instruct)")
    assert summary_line(text, "better-outputs")[1].endswith("(seeds 48, outputs by instruct; 40 different instructions)")
    assert "points from t5-lm (t5-superni), from base (instruct, self-instruct, self-instruct+superni, seeds, size-10, " in text


def test_the_verdicts_are_on_self_instruct_alone(tmp_path: Path, no_plots: None) -> None:
    top = made(sample_matrix.folder(tmp_path))[0].split("\n## ")[0]
    assert top.count("> ") == top.count("of self-instruct ") == 4
    assert top.count(", of base ") == top.count(", of seeds ") == 2, "each set: against its base, and the seeds alone"


def test_without_self_instruct_there_is_no_verdict(tmp_path: Path, no_plots: None) -> None:
    assert "No row is self-instruct: no verdict." in made(sample_matrix.folder(tmp_path / "a", ("base", "seeds")))[0]
    changes = {"self-instruct": {"state": "failed", "why": "self-instruct/generate failed"}}
    text = made(sample_matrix.folder(tmp_path / "b", FEW, changes=changes))[0]
    assert "self-instruct is failed: self-instruct/generate failed: no verdict." in text.split("\n## ")[0]


def test_of_many_models_the_planned_pairs_are_shown_and_the_others_in_details(tmp_path: Path, no_plots: None) -> None:
    text, tree = made(sample_matrix.folder(tmp_path))
    part = section(text, "## SuperNI")
    main, details = part.split("**All other pairs: ")
    pairs = [tuple(one.split(" | ")[:2]) for one in main.split("Differences in points")[1].splitlines() if one.startswith("| ")][1:]
    assert {(one[0].strip("| "), one[1]) for one in pairs} == {
        *((name, "base") for name in sample_matrix.ROWS if name != "base" and name not in sample_matrix.SIZED),
        ("t5-superni", "t5-lm"),
        *(("self-instruct", name) for name in ("instruct", "t0", "superni", "seeds")),
        ("self-instruct+superni", "superni"),
    }
    suite = next(one for one in tree["suites"] if one["name"] == "superni")
    assert details.startswith(f"{len(suite['comparisons']) - len(pairs)}**")
    assert "| category | tasks | items | ROUGE-L, base | ROUGE-L, self-instruct | self-instruct minus base |" in part
    assert ("self-instruct", "better-outputs") in {
        (one["model"], one["base"]) for one in tree["suites"][1]["comparisons"]
    }  # the other's outputs are what it is set against


def test_few_rows_are_compared_pair_by_pair(tmp_path: Path, no_plots: None) -> None:
    text, _ = made(sample_matrix.folder(tmp_path, FEW))
    assert "All other pairs" not in text
    assert "| category | tasks | items | ROUGE-L, base | ROUGE-L, seeds | ROUGE-L, self-instruct |" in text


def test_table_3_has_all_roles_and_why_not(tmp_path: Path, no_plots: None) -> None:
    text, _ = made(sample_matrix.folder(tmp_path, changes=UNMEASURED))
    table = section(text, "## Table 3: zero-shot on SuperNI, the paper's models and ours")
    found = {cells[1]: cells for one in table.splitlines() if one.startswith("| ") for cells in [one.strip("| ").split(" | ")]}
    assert found["Tk-Instruct 11B"][3] == "t5-superni" and found["T5-LM 11B"][3] == "t5-lm"
    assert found["InstructGPT-001"][3] == "instruct"
    assert found["GPT3 + T0 training"][-1] == "not run: data.t0 isn't set"
    assert found["GPT3 + SuperNI training"][-1] == "failed: superni/train failed"
    assert found["T0 11B"][-1] == "not run"  # the comparison has no such row


def test_figure_6_has_our_rows_beside_the_papers_models(tmp_path: Path, no_plots: None) -> None:
    place = sample_matrix.folder(tmp_path, changes=UNMEASURED)
    rate(place, "Ann", "AB")
    text, tree = made(place)
    table = section(text, "## What raters said: Figure 6").partition("Figure 6: the paper's models and ours")[2]
    table = table.replace("\\", "")
    found = {cells[0]: cells for one in table.splitlines() if one.startswith("| ") for cells in [one.strip("| ").split(" | ")]}
    rows = {row["row"]: row for row in tree["matrix"]["rows"]}
    assert found["GPT3 Self-Inst"][1:3] == ["44.4", "self-instruct"]
    assert found["GPT3 Self-Inst"][3] == "{value:.1f} [{low:.1f}, {high:.1f}]".format(
        **rows["self-instruct"]["rated"][0]["a_percent"]
    )
    score = rows["self-instruct"]["suites"]["user_oriented"]["rouge_l"]
    assert found["GPT3 Self-Inst"][4] == "{value:.2f} [{low:.2f}, {high:.2f}]".format(**score)
    assert found["GPT3 + T0"][2:] == ["t0", "not run: data.t0 isn't set", "-"]
    assert found["InstructGPT-003"][2:] == ["no counterpart here", "-", "-"]


def test_figure_7_has_our_sizes(tmp_path: Path, no_plots: None) -> None:
    text, tree = made(sample_matrix.folder(tmp_path))
    table = section(text, "## Size and quality of the data: Figure 7").split("our rows")[1]
    rows = [one.strip("| ").split(" | ") for one in table.splitlines() if one.startswith("| ")][1:]
    assert [(one[0], one[2]) for one in rows] == [
        ("seeds", "4"),
        ("size-10", "10"),
        ("size-800", "40"),
        ("self-instruct", "40"),
        ("better-outputs", "40"),
    ]
    assert rows[2][1] == "asked for 800, clipped: the corpus has only 40; the same as self-instruct"
    assert rows[4][1] == "outputs by instruct" and {one[3] for one in rows} == {"not rated"}
    score = next(row for row in tree["matrix"]["rows"] if row["row"] == "seeds")["suites"]["user_oriented"]["rouge_l"]
    assert rows[0][4].startswith(f"{score['value']:.2f} ")


def test_figure_7_without_smaller_sizes(tmp_path: Path, no_plots: None) -> None:
    text, _ = made(sample_matrix.folder(tmp_path, ("base", "self-instruct")))
    assert "Not run: no row is tuned on the seeds alone" in section(text, "## Size and quality of the data: Figure 7")
    changes = {"size-10": {"state": "not run", "why": "not yet run"}}
    text, _ = made(sample_matrix.folder(tmp_path / "b", ("base", "self-instruct", "size-10"), changes=changes))
    found = line(section(text, "## Size and quality of the data: Figure 7").split("our rows")[1], "size-10")
    assert found[1:] == ["not run: not yet run", "10", "not run", "not run"]


@pytest.mark.parametrize("how", ["scripted", "toy", "tuned toy"])
def test_random_weights_are_labelled(how: str, tmp_path: Path, no_plots: None) -> None:
    place = sample_matrix.folder(tmp_path, ("base", "t5-superni"))
    results = place / "rows" / "t5-superni" / "evaluate" / "results" / "results.json"
    head = json.loads(results.read_text())
    if how == "scripted":
        head["scripted"] = True
    elif how == "toy":
        head["model"] |= {"source": "toy", "reference": "toy-seq2seq"}
    else:
        train = place / "rows" / "t5-superni" / "train" / "manifest.json"
        manifest = json.loads(train.read_text())
        manifest["settings"]["model.name"] = {"value": "toy-seq2seq", "origin": "--set"}
        train.write_text(json.dumps(manifest))
    results.write_text(json.dumps(head))
    text, _ = made(place)
    assert "random weights: shows the path, not a result" in summary_line(text, "t5-superni")[1]
    assert "random weights" not in summary_line(text, "base")[1]
    for part in ("User-oriented instructions", "SuperNI", "Table 3: zero-shot on SuperNI, the paper's models and ours"):
        assert "| t5-superni (random weights) |" in section(text, f"## {part}")
    assert "t5-superni (random weights), ROUGE-L" in section(text, "## Example outputs")


def test_every_cell_has_its_provenance(tmp_path: Path, no_plots: None) -> None:
    place = sample_matrix.folder(tmp_path, FEW)
    train = place / "rows" / "seeds" / "train" / "manifest.json"
    manifest = json.loads(train.read_text())
    manifest["settings"] |= {"model.name": {"value": "a/b"}, "model.revision": {"value": "v1"}}
    manifest["inputs"] = {"model": "ab" * 32, "data": "cd" * 32}
    train.write_text(json.dumps(manifest))
    text, tree = made(place)
    assert [cell["cell"] for cell in tree["matrix"]["cells"]] == [
        "base/evaluate", "self-instruct/train", "self-instruct/evaluate", "seeds/train", "seeds/evaluate",
    ]  # fmt: skip
    part = section(text, "## Where every number comes from: the cells")
    assert line(part, "seeds/train")[1:] == ["finished", "`a/b`", "v1", f"`{'ab' * 4}`", f"`{'e' * 8}`", "42", "61.2"]
    details = part.split("**seeds/train**")[1]
    for row in (
        "| machine | a processor, 2 cores, 8.0 GiB, no GPU, Linux |",
        "| determinism | logical |",
        "| code | commit c0ffee |",
    ):
        assert row in details
    assert f"| hash of data | `{'cd' * 32}` |" in part and f"| config | `{'e' * 64}` |" in part


def test_a_cell_that_was_not_run_says_why(tmp_path: Path, no_plots: None) -> None:
    text, _ = made(sample_matrix.folder(tmp_path, (*FEW, "t0"), changes=UNMEASURED))
    part = section(text, "## Where every number comes from: the cells")
    assert line(part, "t0/train")[1:] == ["not run: data.t0 isn't set", *["-"] * 6]


def test_html_markdown_and_json_agree_and_stay_the_same(tmp_path: Path) -> None:
    place = sample_matrix.folder(tmp_path, changes=UNMEASURED)
    text, tree = made(place)
    first = {path.name: path.read_bytes() for path in (place / "report").iterdir()}
    made(place)
    assert {path.name: path.read_bytes() for path in (place / "report").iterdir()} == first
    found = matrix.read(place)
    assert {name: text.encode() for name, text in report.files(found.runs, place / "report", 1, found).items()} == first
    numbers = set(re.findall(r"\d[\d,]*\.\d+", text))
    page = first["report.html"].decode()
    assert len(numbers) > 60 and [one for one in numbers if one not in page] == []
    known = {f"{abs(value) * scale:,.{digits}f}" for value in leaves(tree) for scale in (1, 100) for digits in range(5)}
    tables = [one for one in text.split("\n## Where every")[0].splitlines() if one.startswith("| ")]
    cells = [cell for one in tables for cell in one.strip("| ").split(" | ") if not re.search("[a-z]{3}|[A-Z]", cell)]
    assert sorted({one for cell in cells for one in re.findall(r"\d[\d,]*(?:\.\d+)?", cell)} - known) == []
    if figures.available():
        assert {"rows-superni.svg", "rows-user_oriented.svg", "sizes-user_oriented.svg", "figure-7.svg"} <= first.keys()
        assert {name for name in first if name.startswith("tasks-")} == {
            "tasks-superni-self-instruct.svg", "tasks-user_oriented-self-instruct.svg",
        }  # fmt: skip


def leaves(value: Any) -> list[float]:
    """Every number of a JSON value."""
    if isinstance(value, dict):
        return [number for one in value.values() for number in leaves(one)]
    if isinstance(value, list):
        return [number for one in value for number in leaves(one)]
    return [float(value)] if isinstance(value, int | float) and not isinstance(value, bool) else []


def test_a_report_goes_where_it_is_asked_to(tmp_path: Path, capsys: pytest.CaptureFixture[str], no_plots: None) -> None:
    place = sample_matrix.folder(tmp_path / "all", FEW)
    assert cli.main(["report", str(place), "--out", str(tmp_path / "out")]) == 0
    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert told["report"] == str(tmp_path / "out" / "report.html") and set(told["rouge_l"]["superni"]) == set(FEW)
    assert not (place / "report").exists()
    with pytest.raises(RunFolderError, match="not empty, and no report"):
        report.write([place], tmp_path, None)


def rate(place: Path, rater: str, levels: str) -> None:
    """A person's levels of every answer, in turn; `-` for none."""
    runs = matrix.runs([place])
    answers = rating_runs.load(runs, 0)[0]
    kept = RatingStore(rating_runs.file(runs[0]))
    entered = kept.enter(rater, rater.casefold(), None, True, 0.0).rater
    for subject in answers.subjects:
        for number, answer in enumerate(subject.answers):
            if (level := levels[number % len(levels)]) != "-":
                kept.save(entered, "answers", (subject.key, answer.key), level, "", f"{subject.key}{number}", float(number))
    kept.close()


def test_ratings_lie_in_the_comparison_and_count_for_its_rows(tmp_path: Path, no_plots: None) -> None:
    place = sample_matrix.folder(tmp_path, (*FEW, "size-10", "better-outputs"))
    rate(place, "Ann", "DABCA")
    assert (place / "ratings" / "ratings.sqlite").is_file() and not list(place.glob("rows/*/ratings"))
    text, tree = made(place)
    (one,) = tree["ratings"]["sets"]
    rated = {row["row"]: row["rated"][0]["a_percent"]["value"] for row in tree["matrix"]["rows"]}
    assert rated == {model["model"]: model["a_percent"]["value"] for model in one["sources"][0]["models"]}
    assert set(rated.values()) == {0.0, 100.0}
    assert summary_line(text, "base")[-1].startswith("0.0 [")
    table = section(text, "## Size and quality of the data: Figure 7").split("our rows")[1]
    shown = {name: line(table, name)[3] for name in ("seeds", "size-10", "self-instruct", "better-outputs")}
    assert {name: float(cell.split(" ")[0]) for name, cell in shown.items()} == {name: rated[name] for name in shown}
    top = text.split("\n## ")[0]
    assert "rated by a person: self-instruct better than base" in top or "rated by a person: self-instruct" in top


def test_a_judge_rates_a_comparison_and_agreement_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], no_plots: None
) -> None:
    place = sample_matrix.folder(tmp_path, FEW, items=3)
    rate(place, "Ann", "ABC")
    assert cli.main(["judge", str(place), "--set", "model.engine=scripted"]) == 0
    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert told["store"] == str(place / "ratings" / "ratings.sqlite") and told["ratings"] == 9
    text, tree = made(place)
    sources = [rated["source"] for rated in tree["matrix"]["rows"][0]["rated"]]
    assert sources == ["people", told["judge"]]
    assert f"rated A, % ({told['judge']})" in text.replace("\\", "")
    assert cli.main(["agree", str(place)]) == 0
    assert "Ann" in capsys.readouterr().out


def test_nobody_rated_is_told_of_the_comparison(tmp_path: Path) -> None:
    place = sample_matrix.folder(tmp_path, FEW)
    with pytest.raises(DataError, match="nobody has rated it") as error:
        cli.main(["agree", str(place)])
    assert str(place) in str(error.value) and "rows" not in str(error.value)


def test_figure_7_is_of_people_or_says_that_it_is_a_judges(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    place = sample_matrix.folder(tmp_path, (*FEW, "better-outputs"), items=3)
    _, tree = made(place)
    for row in tree["matrix"]["rows"]:
        row["rated"] = [
            {"set": "x", "source": "judge m", "a_percent": {"value": 50.0, "low": 40.0, "high": 60.0}, "rated": 3, "of": 3}
        ]

    def alt() -> str:
        blocks = report_sizes.figure_7(tree["paper"], tree)
        return report.figures_of(blocks)[0].alt

    assert "this run, rated by judge m 50.0 % with 4, 50.0 % with 40" in alt()
    for row in tree["matrix"]["rows"]:
        people = {"set": "x", "source": "people", "a_percent": {"value": 20.0, "low": 10.0, "high": 30.0}, "rated": 3, "of": 3}
        row["rated"].append(people)
    assert "this run, rated by people 20.0 % with 4" in alt() and "other outputs, rated by people 20.0 %" in alt()


def test_a_copy_keeps_what_it_names(tmp_path: Path) -> None:
    told = [{"model": "tuned", "why_not": "gone"}, {"model": "other", "why_not": "gone"}]
    run = store.read(sample_runs.evaluated(tmp_path / "run", contamination=told))
    copy = matrix.named(run, {"tuned": "mine"}, {"mine": "seeds"}, tmp_path)
    assert list(copy.models) == ["mine"] and copy.models["mine"]["role"] == "seeds" and copy.keeper == tmp_path
    assert copy.contamination == [{"model": "mine", "why_not": "gone"}]
    assert run.models.keys() == {"base", "tuned"}
