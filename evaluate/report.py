"""The report: one tree of plain numbers and texts, from what runs stored, as HTML, Markdown and JSON.

Knows no engine. Everything in it comes from stored results, manifests and journals, so the same runs give the same bytes. The
page is made of the tree alone: all three files hold the same numbers.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from self_instruct import rundir
from self_instruct.evaluate import (
    comparison,
    document_html,
    document_markdown,
    finished,
    joined,
    matrix,
    paper,
    rating_runs,
    report_agreement,
    report_by_role,
    report_data,
    report_matrix,
    report_matrix_tree,
    report_numbers,
    report_pairs,
    report_ratings,
    report_results,
    report_run,
    report_sizes,
    roles,
    store,
)
from self_instruct.evaluate.document import Block, Bullets, Details, Figure, Heading, Notice, Paragraph, Table, Verbatim
from self_instruct.evaluate.document_markdown import NONE, number
from self_instruct.randomness import generator

FORMAT = 3
SHOWN_CHARACTERS = 1_500  # of a text in an example
FILES = ("report.html", "report.md", "report.json")


def write(places: Sequence[Path], out: Path | None, examples: int | None) -> Path:
    """The report of runs or of a comparison, in `out`, without it in the one folder itself. Raises as those below."""
    if len(places) == 1 and matrix.is_matrix(places[0]):
        return write_matrix(places[0], out, examples)
    return write_run(places[0], examples) if out is None else write_runs(places, out, examples)


def write_run(run: Path, examples: int | None) -> Path:
    """Write `<run>/evaluate/report` aside and rename it into place; it is derived, so an older one is replaced.

    `examples` for each evaluation set; None takes the number that the run was made with. Returns the path of `report.html`.
    Raises RunFolderError and DataError where the run has no finished evaluation or it is damaged.
    """
    return _write([store.read(run)], run / "evaluate" / "report", examples)


def write_runs(runs: Sequence[Path], place: Path, examples: int | None) -> Path:
    """One report of several runs in `place`. Raises RunFolderError where `place` holds something else than a report."""
    rundir.require_own(place, "report.json", "report")
    return _write(matrix.runs(runs), place, examples)


def write_matrix(folder: Path, place: Path | None, examples: int | None) -> Path:
    """The report of a comparison, in `<folder>/report` or in `place`. Raises DataError where its matrix.json is damaged or nothing
    was measured, RunFolderError where `place` holds something else than a report."""
    found = matrix.read(folder)
    if place is not None:
        rundir.require_own(place, "report.json", "report")
    return _write(found.runs, place or folder / "report", examples, found)


def _write(runs: Sequence[store.StoredRun], place: Path, examples: int | None, compared: matrix.Matrix | None = None) -> Path:
    with rundir.new_folder(place) as aside:
        for name, text in files(runs, place, examples, compared).items():
            rundir.write_text(aside / name, text)
    return place / "report.html"


def files(
    runs: Sequence[store.StoredRun], place: Path, examples: int | None, compared: matrix.Matrix | None = None
) -> dict[str, str]:
    """The texts of the files of a report in `place`, by their names; where its runs lie is told as seen from there. `compared`: the
    comparison whose `runs` they are."""
    if examples is None:
        examples = int(runs[0].manifest["settings"]["evaluate.examples"]["value"])
    tree = assemble(runs, examples, compared) | {"examples_each": examples}
    tree["folders"] = [os.path.relpath(run.run, place) for run in runs]
    if compared:
        tree["comparison"] = os.path.relpath(compared.place, place)
    blocks = render(tree)
    return {f"{figure.name}.svg": figure.svg for figure in figures_of(blocks)} | {
        "report.json": rundir.json_text(tree),
        "report.md": document_markdown.render(blocks),
        "report.html": document_html.render(tree["title"], blocks),
    }


def figures_of(blocks: Sequence[Block]) -> list[Figure]:
    """Every figure, also those inside of details."""
    found: list[Figure] = []
    for block in blocks:
        if isinstance(block, Figure):
            found.append(block)
        elif isinstance(block, Details):
            found += figures_of(block.blocks)
    return found


def means(path: Path) -> dict[str, dict[str, float]]:
    """ROUGE-L by evaluation set and model, from `report.json`."""
    return {
        suite["name"]: {model["model"]: model["rouge_l"]["value"] for model in suite["models"]}
        for suite in rundir.read_json(path)["suites"]
    }


def assemble(runs: Sequence[store.StoredRun], examples: int, compared: matrix.Matrix | None = None) -> dict[str, Any]:
    """The report's tree of plain JSON values, every number rounded as it is shown. The first run's seed draws for all."""
    together = joined.join(runs)
    seed = runs[0].seed
    labels = joined.labels(runs)
    titles = ", ".join(dict.fromkeys(run.model["title"] for run in runs))
    tree: dict[str, Any] = {
        "format": FORMAT,
        "title": f"Self-Instruct comparison: {compared.name}" if compared else f"Self-Instruct report: {titles}",
        "scripted": any(run.scripted for run in runs),
        "paper": paper.tree(),
        "models": {name: dict(facts) for name, facts in together.models.items()},
        "suites": [
            report_numbers.suite_tree(suite, comparison.measure(seed, [one.item for one in suite.prompted], suite.answers))
            for suite in together.suites
        ],
        "ratings": ratings(runs, labels, together, seed),
        "statistics": [
            {"run": label, "found": run.statistics} for label, run in zip(labels, runs, strict=True) if run.statistics is not None
        ],
        "contamination": [{"run": label, "sets": run.contamination} for label, run in zip(labels, runs, strict=True)],
        "generation": [
            {"run": label, "found": found}
            for label, run in zip(labels, runs, strict=True)
            if (found := report_run.generation(run.run)) is not None
        ],
        "training": [
            {"run": label, "found": found, "curve": finished.loss_curve(run.run)}
            for label, run in zip(labels, runs, strict=True)
            if (found := report_run.training(run.run)) is not None
        ],
        "answering": [
            {"run": label, **report_run.answering(run.run / "evaluate")} for label, run in zip(labels, runs, strict=True)
        ],
        "examples": [_examples(suite, examples, seed) for suite in together.suites],
        "provenance": [
            {"run": label, **report_run.provenance(run.run, run.manifest, run.model, run.models, run.statistics)}
            for label, run in zip(labels, runs, strict=True)
        ],
    }
    return tree | ({"matrix": report_matrix_tree.build(compared, tree["suites"], tree["ratings"])} if compared else {})


def ratings(runs: Sequence[store.StoredRun], labels: Sequence[str], together: joined.Joined, seed: int) -> dict[str, Any]:
    """What people and judges said (`rating_tree.build`); nothing where nobody said anything."""
    if not any(rating_runs.file(run).is_file() for run in runs):
        return {"sets": [], "reviews": [], "elsewhere": {"ratings": 0, "reviews": 0}}
    from self_instruct.evaluate import rating_tree  # with scikit-learn and scipy, a second or two

    return rating_tree.build(runs, labels, together.suites, seed)


def _examples(suite: joined.JoinedSuite, count: int, seed: int) -> dict[str, Any]:
    """`count` items of a set, drawn by the seed, in file order, with every model's answer; of as many tasks as there are."""
    draws = generator(seed, "evaluate", "examples")
    order = draws.sample(range(len(suite.prompted)), len(suite.prompted))
    seen: Counter[str] = Counter()
    rounds = []  # how many items of its task come before it
    for place in order:
        rounds.append(seen[suite.prompted[place].item.task])
        seen[suite.prompted[place].item.task] += 1
    drawn = [place for _, place in sorted(zip(rounds, order, strict=True), key=lambda pair: pair[0])][:count]
    rows = []
    for place in sorted(drawn):
        item = suite.prompted[place].item
        answers = [
            {
                "model": model,
                "rouge_l": round(100 * given[place].rouge_l, 2),
                "hit_limit": given[place].hit_limit,
                **_shown(given[place].text),
            }
            for model, given in suite.answers.items()
        ]
        rows.append(
            {
                "id": item.id,
                "task": item.task,
                "group": item.group,
                "instruction": _shown(item.instruction),
                "input": _shown(item.input),
                "references": [_shown(reference) for reference in item.references],
                "answers": answers,
            }
        )
    return {"suite": suite.facts["name"], "of": len(suite.prompted), "rows": rows}


def _shown(text: str) -> dict[str, Any]:
    """A text's first characters, and how many it has; what UTF-8 can't hold becomes a question mark."""
    return {"text": text[:SHOWN_CHARACTERS].encode("utf-8", "replace").decode("utf-8"), "characters": len(text)}


def render(tree: Mapping[str, Any]) -> list[Block]:
    """The whole report, first what users ask first: is it better, by how much, how sure."""
    blocks: list[Block] = [Heading(level=1, text=tree["title"])]
    if tree["scripted"]:
        blocks.append(
            Notice(
                kind="warning", text="Answered by the scripted engine, a fake for tests: these numbers say nothing about any model."
            )
        )
    pairs, several = report_pairs.Pairs(tree), "matrix" in tree
    blocks += [
        *report_ratings.verdicts(tree["ratings"], pairs),
        *report_results.verdicts(tree),
        *_about_bases(tree),
        *(report_matrix.summary(tree) if several else [_models(tree)]),
        *report_results.results(tree),
    ]
    blocks += report_by_role.table_3(tree)
    blocks += report_data.data([(one["run"], one["found"]) for one in tree["statistics"]], tree["paper"], ratings=tree["ratings"])
    blocks += report_ratings.figure_6(tree["ratings"], tree["paper"], pairs)
    blocks += report_by_role.figure_6(tree) if several else []
    blocks += report_agreement.agreement(tree["ratings"], tree["paper"])
    blocks += report_sizes.figure_7(tree["paper"], tree if several else None)
    blocks += report_data.contamination([(one["run"], one["sets"]) for one in tree["contamination"] if one["sets"] or not several])
    blocks += report_run.generation_blocks(tree["generation"])
    blocks += report_run.training_blocks(tree["training"], pairs.label if several else None)
    blocks += _example_blocks(tree["examples"], {one["name"]: report_numbers.title(one) for one in tree["suites"]}, pairs.label)
    blocks += report_matrix.cells(tree["matrix"]) if several else []
    blocks += report_run.provenance_blocks(tree["provenance"], tree["answering"], folded=several)
    return [*blocks, *_limitations(tree)]


def _about_bases(tree: Mapping[str, Any]) -> list[Block]:
    """What a reader must know of the base model."""
    if not any(one["model"]["source"] == "embedded" for one in tree["provenance"]):
        return []
    text = (
        "The embedded model is an instruct checkpoint, stored in 4 bits, that is asked here by plain completion, as a base model "
        "is. The run shows that the path works, not what the method gives on a base model."
    )
    chats = [row["row"] for row in tree["matrix"]["rows"] if row["prompt"] == "chat"] if "matrix" in tree else []
    if chats:
        text += f" In its chat template it is asked in {', '.join(chats)}."
    return [Notice(kind="warning", text=text)]


def _models(tree: Mapping[str, Any]) -> Table:
    rows = []
    for name, one in tree["models"].items():
        training = one["training"] or {}
        sources = ", ".join(f"{source['name']} {number(source['rows'])}" for source in training.get("sources") or ())
        rows.append((name, one["title"], one["run"], roles.TITLES[one["role"]], sources or NONE, number(training.get("examples"))))
    head = ("model", "base model", "run", "what it stands for", "trained on, rows by source", "rows")
    return Table(head=head, rows=tuple(rows), left=5, caption="The models of this report")


def _example_blocks(sets: Sequence[Mapping[str, Any]], titles: Mapping[str, str], label: Callable[[str], str]) -> list[Block]:
    if not any(one["rows"] for one in sets):
        return []
    blocks: list[Block] = [
        Heading(level=2, text="Example outputs"),
        Paragraph(text="Drawn by the seed, not by their scores. A run has all answers in its evaluate/results/answers.jsonl."),
    ]
    for one in sets:
        if one["rows"]:
            blocks.append(Heading(level=3, text=f"{titles[one['suite']]}: {len(one['rows'])} of {one['of']:,} items"))
        for position, row in enumerate(one["rows"], 1):
            where = row["group"] if row["task"] == row["id"] else f"{row['group']}, {row['task']}"
            blocks.append(Details(summary=f"{position}. {where} ({row['id']})", blocks=tuple(_example(row, label))))
    return blocks


def _example(row: Mapping[str, Any], label: Callable[[str], str]) -> list[Block]:
    blocks: list[Block] = [_verbatim("Instruction", row["instruction"])]
    if row["input"]["text"].strip():
        blocks.append(_verbatim("Input", row["input"]))
    blocks += [_verbatim("Reference", reference) for reference in row["references"]]
    for answer in row["answers"]:
        limit = ", stopped by the token limit" if answer["hit_limit"] else ""
        blocks.append(_verbatim(f"{label(answer['model'])}, ROUGE-L {answer['rouge_l']:.2f}{limit}", answer))
    return blocks


def _verbatim(label: str, text: Mapping[str, Any]) -> Verbatim:
    return Verbatim(text=text["text"], label=label, left_out=max(0, text["characters"] - SHOWN_CHARACTERS))


def _limitations(tree: Mapping[str, Any]) -> list[Block]:
    sizes = ", ".join(f"{suite['items']:,} items ({report_numbers.title(suite)})" for suite in tree["suites"])
    return [
        Heading(level=2, text="What these numbers don't say"),
        Bullets(
            items=(
                "ROUGE-L counts words shared with references. It stands in for a person's judgement: a good answer in other words "
                "scores low, and a fluent wrong one may score high. Read the examples.",
                f"All of it rests on {sizes}, with one greedy answer of each model. The intervals cover the choice of tasks and "
                "items, not another training run, another seed or another prompt.",
                "Several comparisons are made at 95 % each; among twenty of models that are alike, one is expected to leave out 0.",
                "The paper's numbers come from other, far larger models; its ratings from people. They are here for orientation.",
            )
        ),
    ]
