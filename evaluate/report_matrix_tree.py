"""A comparison as the report's tree holds it: rows with their numbers, cells with where they come from. Plain JSON values.

Knows neither blocks nor how rows are run. Every number of a row is a copy of one that a set or a rating of the tree has.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from self_instruct import rundir, toy_seq2seq
from self_instruct.errors import RunFolderError
from self_instruct.evaluate import report_run
from self_instruct.evaluate.finished import finished_facts, finished_manifest
from self_instruct.evaluate.matrix import MEASURED, Matrix, Row
from self_instruct.evaluate.store import StoredRun

Tree = Mapping[str, Any]


def build(matrix: Matrix, suites: Sequence[Tree], ratings: Tree) -> dict[str, Any]:
    """`suites` and `ratings` are the tree's (`report_numbers.suite_tree`, `rating_tree.build`). Raises RunFolderError for a damaged
    manifest."""
    return {
        "name": matrix.name,
        "rows": [_row(row, matrix, suites, ratings) for row in matrix.rows],
        "cells": [_cell(cell, matrix) for cell in matrix.cells],
    }


def _row(row: Row, matrix: Matrix, suites: Sequence[Tree], ratings: Tree) -> dict[str, Any]:
    run = matrix.run(row.row)
    shown = row.same_as or row.row
    trained = run.models[shown]["training"] or {} if run else {}
    facts = (finished_facts(run.run, "train") or {}) if run and row.data else {}
    written = (finished_facts(run.run, "generate") or {}) if run and row.outputs_by else {}
    return {
        "row": row.row,
        "role": row.role,
        "state": row.state,
        "why": row.why,
        "same_as": row.same_as,
        "against": row.against,
        "random": run is not None and _is_random(run),
        "model": row.model,
        "prompt": row.prompt,
        "data": list(row.data),
        "measure": list(row.measure),
        "outputs_by": row.outputs_by,
        "instructions_asked": row.instructions,
        "instructions": facts.get("instructions"),
        "instructions_available": facts.get("instructions_available"),
        "outputs_kept": written.get("instances"),
        "outputs_of": written.get("rows"),
        "trained_on": [{"name": one["name"], "rows": one["rows"]} for one in trained.get("sources") or ()],
        "suites": {one["name"]: found for one in suites if run and (found := _scores(one, shown, row.against))},
        "rated": [
            {"set": one["title"], "source": source["source"], **{name: model[name] for name in ("a_percent", "rated", "of")}}
            for one in ratings["sets"]
            for source in one["sources"]
            for model in source["models"]
            if run and model["model"] == shown and model["rated"]
        ],
    }


def _scores(suite: Tree, name: str, against: str | None) -> dict[str, Any] | None:
    """ROUGE-L of a model in points, and its difference from the other; None where the model wasn't measured on the set."""
    score = next((one["rouge_l"] for one in suite["models"] if one["model"] == name), None)
    pair = next((one for one in suite["comparisons"] if (one["model"], one["base"]) == (name, against)), None)
    return score and {"rouge_l": score, "difference": pair and pair["rouge_l"]}


def _is_random(run: StoredRun) -> bool:
    """Whether the answers come from the scripted engine or from random weights, tuned or not."""
    trained = finished_manifest(run.run, "train")
    tuned_from = trained["settings"].get("model.name", {}).get("value") if trained else None
    return run.scripted or run.model["source"] == "toy" or toy_seq2seq.NAME in (run.model["reference"], tuned_from)


def _cell(cell: Tree, matrix: Matrix) -> dict[str, Any]:
    """A cell with what its stage's manifest tells; None for what isn't known, as of a cell that wasn't run."""
    try:
        manifest = finished_manifest(matrix.place / "rows" / cell["row"], cell["stage"])
    except RunFolderError as error:
        return {**cell, "why": error.message.replace(f"{matrix.place}/", ""), "run": None}
    if manifest is None or cell["state"] != "finished":
        return {**cell, "run": None}
    settings = {name: entry["value"] for name, entry in manifest["settings"].items()}
    inputs = dict(manifest["inputs"])
    digest = inputs.pop("model", None)
    run = matrix.run(cell["row"])
    resolved = run.model.get("revision") if run and run.model["fingerprint"] == digest else None
    told = {
        "model": settings.get("model.name"),
        "revision": resolved or settings.get("model.revision"),
        "model_fingerprint": digest,
        "engine": settings.get("model.engine") if cell["stage"] != "train" else None,
        "inputs": inputs,
        "versions": manifest["versions"],
        "commit": manifest["git"].get("commit"),
        "seed": settings.get("run.seed"),
        "hardware": report_run.machine(manifest["hardware"]),
        "seconds": report_run.rounded(manifest["seconds"]),
        "determinism": manifest.get("determinism", "logical"),
        "manifest": rundir.sha256(matrix.place / "rows" / cell["row"] / cell["stage"] / "manifest.json"),
    }
    return {**cell, "run": told}


def measured(tree: Tree) -> list[Tree]:
    """The measured rows of a comparison's tree."""
    return [row for row in tree["rows"] if row["state"] == MEASURED]
