"""Predictions that were made elsewhere, or by another run of ours, read for one evaluation set.

Knows no scores. Formats: natural-instructions' own (`id`, `prediction`), and the `answers.jsonl` of a run's results.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from self_instruct import readers
from self_instruct.errors import DataError
from self_instruct.evaluate.suites import Suite

SHAPES = "a row has `id` and `prediction`, as in natural-instructions, or `item_id` and `text`, as in a run's answers.jsonl"
SHOWN = 3  # unknown ids


@dataclass(frozen=True, kw_only=True, slots=True)
class PredictionsFile:
    """The texts for a set's items in their order, None where the file has none; and what was counted, those above 0."""

    texts: tuple[str | None, ...]
    counts: dict[str, int]


def read(path: Path, suite: Suite) -> PredictionsFile | None:
    """The predictions of a JSON Lines file or JSON array for one set; None where no row is for one of its items.

    Ids are compared to the letter. Counted are items without a prediction, ids that the set doesn't have (the first few named),
    rows that say they belong to another set, and exact repeats. Raises DataError, with the line, for rows of another form,
    for two different predictions of one item, and for a file with the answers of several models.
    """
    known = {item.id for item in suite.items}
    texts: dict[str, tuple[str, int]] = {}  # with the line of each
    unknown: dict[str, None] = {}
    models: dict[str, int] = {}
    counts: Counter[str] = Counter()
    for line, row in readers.json_rows(path, SHAPES):
        where = f"{path}:{line}"
        identity, text = _prediction(row, where)
        if (model := row.get("model")) is not None:
            models.setdefault(str(model), line)
            if len(models) > 1:
                (one, first), (other, _) = models.items()
                raise DataError(
                    f"{where}: an answer of '{other}', in line {first} is one of '{one}': a file holds one model's",
                    hint=f'split it, for instance: grep \'"model": "{one}"\' {path} > {one}.jsonl',
                )
        if row.get("suite") not in (None, suite.name):
            counts["predictions for other evaluation sets"] += 1
        elif identity not in known:
            unknown[identity] = None
        elif identity not in texts:
            texts[identity] = text, line
        elif texts[identity][0] == text:
            counts["predictions given twice (taken once)"] += 1
        else:
            raise DataError(
                f"{where}: another prediction for '{identity}' than in line {texts[identity][1]}",
                hint="keep one prediction for each item",
            )
    if not texts:
        return None
    if unknown:
        shown = ", ".join(f"'{identity:.40}'" for identity in list(unknown)[:SHOWN])
        counts[f"ids that the set doesn't have ({shown}{', …' if len(unknown) > SHOWN else ''})"] = len(unknown)
    if lost := len(suite.items) - len(texts):
        counts["items without a prediction (scored as empty)"] = lost
    found = tuple(texts[item.id][0] if item.id in texts else None for item in suite.items)
    return PredictionsFile(texts=found, counts=dict(counts))


def _prediction(row: dict[str, Any], where: str) -> tuple[str, str]:
    for name, content in (("id", "prediction"), ("item_id", "text")):
        if name in row and content in row:
            for field in (name, content):
                if not isinstance(row[field], str):
                    raise DataError(f"{where}: `{field}` is {row[field]!r:.80}, not text", hint=SHAPES)
            return row[name], row[content]
    raise DataError(f"{where}: no prediction, but the fields {', '.join(row) or 'none'}", hint=SHAPES)
