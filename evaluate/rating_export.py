"""Ratings as rows for other programs: JSON Lines, and CSV for spreadsheets.

Knows neither the server nor the store. Models are named only where the caller gives them: what the page exports is blind.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from self_instruct.evaluate.rating_input import visible
from self_instruct.evaluate.rating_sets import AnswerText, RatingSet, Subject
from self_instruct.evaluate.ratings import QUESTIONS, SKIP, Value
from self_instruct.records import LEVELS

_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def row(rater: str, one: RatingSet, subject: Subject, answer: AnswerText, value: Value) -> dict[str, Any]:
    """One rating or review with the texts that it is about."""
    said = value.value
    if one.kind == "review":
        questions = said if isinstance(said, dict) else {}
        told = {f"{name}_ok": questions.get(name) for name in QUESTIONS} | {"format": questions.get("format")}
    else:
        told = {"level": said if said in LEVELS else None}
    return {
        "rater": rater,
        "set": one.title,
        "item": subject.item,
        **told,
        "skipped": said == SKIP,
        "comment": value.comment,
        "time": datetime.fromtimestamp(value.time_s, UTC).isoformat(timespec="milliseconds"),
        "instruction": subject.instruction,
        "input": subject.input,
        "answer": answer.text,
        "subject_key": subject.key,
        "answer_key": answer.key,
    }


def as_jsonl(rows: Sequence[dict[str, Any]]) -> str:
    """Every row exactly, one a line."""
    return "".join(json.dumps(one) + "\n" for one in rows)


def as_csv(rows: Sequence[dict[str, Any]]) -> str:
    """The rows for a spreadsheet: control characters as visible signs, and what it would take for a formula behind a quote."""
    names = list(dict.fromkeys(name for one in rows for name in one))
    text = io.StringIO()
    table = csv.DictWriter(text, names)
    table.writeheader()
    table.writerows({name: _cell(given) for name, given in one.items()} for one in rows)
    return text.getvalue()


def _cell(given: Any) -> str:
    if given is None:
        return ""
    if isinstance(given, bool):
        return "yes" if given else "no"
    text = visible(str(given))
    return f"'{text}" if text.startswith(_FORMULA) else text
