"""The report: one tree of plain numbers and texts, written as JSON and rendered as Markdown.

Knows no engine. Everything in it comes from journals, manifests and the run's files, so the same run gives the
same bytes. `report_markdown` sees the tree only: both files hold the same numbers.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from self_instruct import rundir
from self_instruct.evaluate import corpus_statistics, figures, report_markdown, report_run
from self_instruct.evaluate.comparison import DRAWS, Comparison, Results
from self_instruct.evaluate.scoring import Summary
from self_instruct.models import EMBEDDED_TITLE
from self_instruct.randomness import generator
from self_instruct.settings import Settings

FORMAT = 1
SHOWN_CHARACTERS = 1_500  # of a text in an example


def write(stage: Path, settings: Settings, manifest: Mapping[str, Any], model: Mapping[str, str], results: Results) -> Path:
    """Write `<stage>/report` aside, then rename it into place. Returns the path of `report.md`.

    `manifest` is this stage's, `model` the model's reference, source, fingerprint and architecture.
    """
    place = stage / "report"
    with rundir.new_folder(place) as aside:
        tree = assemble(stage, settings, manifest, model, results, _draw(aside, stage.parent, results))
        rundir.write_json(aside / "report.json", tree)
        rundir.write_text(aside / "report.md", report_markdown.render(tree))
        rundir.write_text(aside / "answers.jsonl", answers(results))
    return place / "report.md"


def _draw(folder: Path, run: Path, results: Results) -> list[figures.Plot] | None:
    """Every plot there are data for; None without matplotlib."""
    if not figures.available():
        return None
    base = results.scores[results.contenders[0].name]
    plots = [figures.draw_items(folder, base, results.scores[c.name]) for c in results.contenders[1:]]
    corpus, curve = corpus_statistics.corpus(run), corpus_statistics.loss_curve(run)
    if corpus and corpus.lengths:
        plots.append(figures.draw_lengths(folder, corpus.lengths))
    if curve:
        plots.append(figures.draw_loss(folder, curve))
    return plots


def answers(results: Results) -> str:
    """Every answer with its scores, one JSON object a line, by item and then by model."""
    scores = {(score.item_id, score.model): score for of_model in results.scores.values() for score in of_model}
    rows = []
    for answer in results.predictions:
        score = scores[answer.item_id, answer.model]
        rows.append(json.dumps({**asdict(answer), "rouge_l": score.rouge_l, "exact_match": score.exact_match}) + "\n")
    return "".join(rows)


def assemble(
    stage: Path,
    settings: Settings,
    manifest: Mapping[str, Any],
    model: Mapping[str, str],
    results: Results,
    plots: Sequence[figures.Plot] | None,
) -> dict[str, Any]:
    """The report's tree of plain JSON values, every number rounded as it is shown."""
    run = stage.parent
    adapters = {contender.name: str(contender.adapter) for contender in results.contenders if contender.adapter}
    return {
        "format": FORMAT,
        "model": {"name": _title(model), **model},
        "scripted": settings.model.engine == "scripted",
        "suite": {
            "name": "user-oriented",
            "items": len(results.prompted),
            "cut_inputs": sum(one.cut for one in results.prompted),
            "max_tokens": settings.evaluate.max_tokens,
        },
        "models": [_summary(results.summaries[contender.name]) for contender in results.contenders],
        "comparisons": [_comparison(one) for one in results.comparisons],
        "bootstrap_draws": DRAWS,
        "data": report_run.data(run),
        "training": report_run.training(run),
        "answering": report_run.answering(stage),
        "figures": None if plots is None else [asdict(plot) for plot in plots],
        "examples": _examples(settings, results),
        "provenance": report_run.provenance(run, settings, manifest, adapters),
    }


def _title(model: Mapping[str, str]) -> str:
    if model["source"] == "embedded":
        return EMBEDDED_TITLE
    return Path(model["reference"]).resolve().name if model["source"] == "local" else model["reference"]


def _summary(one: Summary) -> dict[str, Any]:
    return {
        "model": one.model,
        "items": one.items,
        "rouge_l": round(one.rouge_l, 2),
        "exact_match": round(one.exact_match, 2),
        "empty_percent": round(100 * one.empty, 1),
        "hit_limit_percent": round(100 * one.hit_limit, 1),
        "mean_words": round(one.mean_words, 1),
        "missing": one.missing,
    }


def _comparison(one: Comparison) -> dict[str, Any]:
    return {name: round(value, 2) if isinstance(value, float) else value for name, value in asdict(one).items()}


def _examples(settings: Settings, results: Results) -> list[dict[str, Any]]:
    """`evaluate.examples` items, drawn by the run's seed, in file order, with every model's answer."""
    count = min(settings.evaluate.examples, len(results.prompted))
    chosen = sorted(generator(settings.run.seed, "evaluate", "examples").sample(range(len(results.prompted)), count))
    given = {(prediction.item_id, prediction.model): prediction for prediction in results.predictions}
    shown = []
    for place in chosen:
        item = results.prompted[place].item
        shown.append(
            {
                "id": item.id,
                "group": item.group,
                "instruction": _shown(item.instruction),
                "input": _shown(item.input),
                "references": [_shown(reference) for reference in item.references],
                "answers": [
                    {
                        "model": contender.name,
                        "rouge_l": round(100 * results.scores[contender.name][place].rouge_l, 2),
                        "hit_limit": given[item.id, contender.name].hit_limit,
                        **_shown(given[item.id, contender.name].text),
                    }
                    for contender in results.contenders
                ],
            }
        )
    return shown


def _shown(text: str) -> dict[str, Any]:
    """A text's first characters, and how many it has; what UTF-8 can't hold becomes a question mark."""
    return {"text": text[:SHOWN_CHARACTERS].encode("utf-8", "replace").decode("utf-8"), "characters": len(text)}
