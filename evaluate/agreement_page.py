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
    paper,
    rating_export,
    rating_runs,
    rating_sets,
    rating_tree,
    report_agreement,
    report_ratings,
    store,
)
from self_instruct.evaluate.ratings import QUESTIONS, Value

FILES = ("agreement.json", "agreement.md", "ratings.csv", "ratings.jsonl", "reviews.csv", "reviews.jsonl")


def write(places: Sequence[Path], out: Path | None) -> str:
    """The agreement of the runs' raters in Markdown; with `out`, that and all ratings and reviews in files there.

    Raises DataError where nobody has rated, and RunFolderError where `out` holds something else.
    """
    runs = [store.read(place) for place in places]
    if not any(rating_runs.place(run.run).is_file() for run in runs):
        raise DataError(
            f"{runs[0].run}: nobody has rated it", hint=f"./launch.sh evaluate rate {runs[0].run}, or evaluate judge {runs[0].run}"
        )
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
    """Every rating and review with its texts, and the models that gave the answer."""
    kept = rating_tree.Kept(runs)
    found: dict[str, list[dict[str, Any]]] = {"ratings": [], "reviews": []}
    by_target = {
        (subject.key, answer.key): (one, subject, answer)
        for one in rating_sets.of_answers(together.suites, seed)
        for subject in one.subjects
        for answer in subject.answers
    }
    for rating in kept.ratings:
        if (rating.subject, rating.answer) in by_target:
            one, subject, answer = by_target[rating.subject, rating.answer]
            value = Value(value=rating.level, comment=rating.comment, time_s=rating.time_s)
            row = rating_export.row(rating.rater, one, subject, answer, value)
            found["ratings"].append(row | {"models": list(answer.models), "kind": kept.raters[rating.rater].kind})
    corpora = [made for run in runs if (made := rating_runs.review(run, None, str(run.run))) is not None]
    for review in kept.reviews:
        for reviewed in corpora:
            for subject in reviewed.subjects:
                if (subject.key, subject.answers[0].key) == (review.subject, review.answer):
                    said = {name: getattr(review, name) for name in (*QUESTIONS, "format")}
                    value = Value(value=said, comment=review.comment, time_s=review.time_s)
                    found["reviews"].append(rating_export.row(review.rater, reviewed, subject, subject.answers[0], value))
    return found
