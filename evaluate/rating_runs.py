"""What of finished runs is to be rated, and where their ratings lie.

Knows neither people nor pages.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from self_instruct.errors import DataError
from self_instruct.evaluate import corpora, joined, rating_sets, ratings, store
from self_instruct.evaluate.finished import finished_manifest
from self_instruct.evaluate.rating_sets import RatingSet


def place(run: Path) -> Path:
    """A run's store: beside the stages, as a stage's folder may be deleted and made again, and hours of people may not."""
    return run / ratings.FOLDER / ratings.FILE


def file(run: store.StoredRun) -> Path:
    """Where a run's ratings lie: in its own store, or in its comparison's."""
    return place(run.keeper or run.run)


def load(runs: Sequence[store.StoredRun], review: int) -> tuple[RatingSet, ...]:
    """The user-oriented sets with every model's answers, and for each run with a corpus the `review` of its data.

    Raises DataError where there is nothing of either.
    """
    found = _answers(runs) + reviews(runs, review)
    if not found:
        raise DataError(
            f"{runs[0].run}: nothing to rate: no user-oriented instructions were answered, and there is no corpus to review",
            hint="evaluate it on some: --set evaluate.user_oriented=shipped --out DIR",
        )
    return found


def answered(runs: Sequence[store.StoredRun]) -> tuple[RatingSet, ...]:
    """The user-oriented sets alone. Raises DataError where there is none."""
    if not (found := _answers(runs)):
        raise DataError(
            f"{runs[0].run}: no user-oriented instructions were answered",
            hint="evaluate it on some: --set evaluate.user_oriented=shipped --out DIR",
        )
    return found


def _answers(runs: Sequence[store.StoredRun]) -> tuple[RatingSet, ...]:
    return rating_sets.of_answers(joined.join(runs).suites, runs[0].seed)


def reviews(runs: Sequence[store.StoredRun], count: int) -> tuple[RatingSet, ...]:
    """Of each run's corpus `count` instructions to review; nothing of a run without one, and of one that was shown already."""
    found: list[RatingSet] = []
    for run in runs:
        # No folder's name: it may be a model's.
        made = review(run, count, "Data quality review" + (f" {len(found) + 1}" if found else ""))
        if count and made is not None and all(made.subjects != other.subjects for other in found):
            found.append(made)
    return tuple(found)


def review(run: store.StoredRun, count: int | None, title: str) -> RatingSet | None:
    """The review of a run's own corpus; None where it has none."""
    folder = run.run / "generate" / "corpus"
    if finished_manifest(run.run, "generate") is None or not folder.is_dir():
        return None
    made = rating_sets.of_corpus(corpora.read(folder), count, run.seed, title)
    return made if made.subjects else None


def open_stores(runs: Sequence[store.StoredRun]) -> tuple[ratings.RatingStore, ...]:
    """The stores that are there. Raises DataError for a damaged one or one of another version."""
    return tuple(ratings.RatingStore(path, read_only=True) for path in dict.fromkeys(map(file, runs)) if path.is_file())
