"""How far the raters of finished runs agree, as Markdown; and on demand all of it as files.

Knows neither the page nor engines.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from self_instruct import rundir
from self_instruct.errors import DataError
from self_instruct.evaluate import (
    document_markdown,
    joined,
    matrix,
    paper,
    rating_export,
    rating_runs,
    rating_sets,
    rating_tree,
    report_agreement,
    report_ratings,
    store,
)
from self_instruct.evaluate.rating_sets import AnswerText, RatingSet, Subject

FILES = ("agreement.json", "agreement.md", "ratings.csv", "ratings.jsonl", "reviews.csv", "reviews.jsonl")


def write(places: Sequence[Path], out: Path | None) -> str:
    """The agreement of the runs' raters in Markdown; with `out`, that and all ratings and reviews in files there.

    Raises DataError where nobody has rated, and RunFolderError where `out` holds something else.
    """
    runs = matrix.runs(places)
    if not any(rating_runs.file(run).is_file() for run in runs):
        rated = runs[0].keeper or runs[0].run
        raise DataError(f"{rated}: nobody has rated it", hint=f"./launch.sh evaluate rate {rated}, or evaluate judge {rated}")
    labels, together, seed = joined.labels(runs), joined.join(runs), runs[0].seed
    tree = rating_tree.build(runs, labels, together.suites, seed)
    theirs = paper.tree()
    blocks = report_agreement.agreement(tree, theirs)
    blocks += [one for one in report_ratings.table_2(tree, theirs, "ours") if tree["reviews"]]
    text = document_markdown.render(blocks)
    if out is not None:
        rundir.require_own(out, FILES[0], "folder of ratings")
        with rundir.new_folder(out) as aside:
            rundir.write_json(aside / FILES[0], tree)
            rundir.write_text(aside / FILES[1], text)
            for name, rows in _rows(runs, together, seed).items():
                rundir.write_text(aside / f"{name}.jsonl", rating_export.as_jsonl(rows))
                rundir.write_text(aside / f"{name}.csv", rating_export.as_csv(rows))
    return text


def _rows(runs: Sequence[store.StoredRun], together: joined.Joined, seed: int) -> dict[str, list[dict[str, Any]]]:
    """Every rating and review with its texts, and the models that gave the answer; skips and lone comments too."""
    kept = rating_tree.Kept(runs)
    sets = [*rating_sets.of_answers(together.suites, seed)]
    sets += [made for run in runs if (made := rating_runs.review(run, None, str(run.run))) is not None]
    shown: dict[tuple[str, tuple[str, str]], tuple[RatingSet, Subject, AnswerText]] = {}
    for one in sets:
        for subject in one.subjects:
            for answer in subject.answers:
                shown.setdefault((one.kind, (subject.key, answer.key)), (one, subject, answer))
    found: dict[str, list[dict[str, Any]]] = {"ratings": [], "reviews": []}
    for (name, kind, target), value in kept.said.items():
        one, subject, answer = shown.get((kind, target)) or _gone(kind, target)
        row = rating_export.row(name, one, subject, answer, value)
        if kind == "answers":
            row |= {"models": list(answer.models), "kind": kept.raters[name].kind}
        found["ratings" if kind == "answers" else "reviews"].append(row)
    return found


def _gone(kind: rating_sets.Kind, target: rating_sets.Target) -> tuple[RatingSet, Subject, AnswerText]:
    """What stands for texts that the runs don't have (any more)."""
    answer = AnswerText(key=target[1], text="", models=())
    subject = Subject(key=target[0], item="", instruction="", input="", references=(), answers=(answer,))
    return RatingSet(kind=kind, suite="", title="not in these runs", seed=0, models=(), subjects=(subject,)), subject, answer
