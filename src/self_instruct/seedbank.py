"""Human-written tasks from JSON Lines files: seeds for generation and training, user-oriented tasks for evaluation.

Knows nothing of prompts. Outside data is checked strictly; every complaint names the file, line and field.
"""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from self_instruct.errors import DataError
from self_instruct.loading import shipped
from self_instruct.records import EvalItem, Instance, SeedTask

MINIMUM_SEEDS = 8  # a prompt shows 8 (paper, section 2.2)
Text = Annotated[str, Field(min_length=1, pattern=r"\S")]
_RowType = TypeVar("_RowType", bound="_Row")


class _Row(BaseModel):
    model_config = ConfigDict(strict=True, extra="ignore")


class _Instance(_Row):
    input: str
    output: Text


class _Seed(_Row):
    id: Text
    name: str = ""
    instruction: Text
    instances: Annotated[list[_Instance], Field(min_length=1)]
    is_classification: bool


class _UserTask(_Row):
    id: Text
    motivation_app: str
    instruction: Text
    instances: Annotated[list[_Instance], Field(min_length=1)]


def seed_file(path: str | None) -> Path:
    """The file of seed tasks that a setting names; `None` is the set that ships."""
    return Path(path) if path is not None else shipped("seeds/seed_tasks.jsonl")


def load_seeds(path: str | None = None) -> tuple[SeedTask, ...]:
    """Seed tasks in file order; `None` is the set that ships.

    Raises DataError for a missing or malformed file, a task given twice, fewer than 8 tasks, and for a file of
    evaluation tasks (those with `motivation_app`): they are never trained on.
    """
    where = seed_file(path)
    tasks: list[SeedTask] = []
    seen: dict[str, int] = {}
    for line, row in _rows(where):
        if "motivation_app" in row:
            raise DataError(
                f"{where}:{line}: field 'motivation_app': this is an evaluation task, not a seed",
                hint="evaluation tasks are never trained on; name a file of seed tasks",
            )
        task = _check(_Seed, row, where, line)
        _refuse_repeat(seen, task.id, where, line)
        tasks.append(
            SeedTask(
                id=task.id,
                name=task.name,
                instruction=_normal(task.instruction).strip(),
                instances=tuple(Instance(input=_normal(i.input), output=_normal(i.output)) for i in task.instances),
                is_classification=task.is_classification,
            )
        )
    if len(tasks) < MINIMUM_SEEDS:
        raise DataError(
            f"{where}: {len(tasks)} seed tasks, at least {MINIMUM_SEEDS} needed (a prompt shows {MINIMUM_SEEDS})",
            hint="add tasks of your own; seeds/README.md shows the format",
        )
    return tuple(tasks)


def load_user_oriented(path: str | None = None) -> tuple[EvalItem, ...]:
    """User-oriented evaluation tasks in file order, one item an instance; `None` is the set that ships.

    Raises DataError for a missing or malformed file or a task given twice.
    """
    where = Path(path) if path is not None else shipped("seeds/user_oriented.jsonl")
    items: list[EvalItem] = []
    seen: dict[str, int] = {}
    for line, row in _rows(where):
        task = _check(_UserTask, row, where, line)
        for number, instance in enumerate(task.instances):
            identity = task.id if len(task.instances) == 1 else f"{task.id}-{number}"
            _refuse_repeat(seen, identity, where, line)
            items.append(
                EvalItem(
                    id=identity,
                    suite="user_oriented",
                    group=task.motivation_app,
                    instruction=_normal(task.instruction),
                    input=_normal(instance.input),
                    references=(_normal(instance.output),),
                )
            )
    if not items:
        raise DataError(f"{where}: no tasks in it", hint="one JSON object a line; seeds/README.md shows the format")
    return tuple(items)


def _rows(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """The JSON objects of a file with their line numbers; blank lines are passed over."""
    try:
        text = path.read_bytes().decode("utf-8")
    except FileNotFoundError:
        raise DataError(f"{path}: no such file", hint="check the path; none set means the tasks that ship") from None
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise DataError(f"{path}:{line}: not UTF-8 (byte {error.start})", hint="save the file as UTF-8") from None
    except OSError as error:
        raise DataError(f"{path}: can't be read: {error.strerror}") from None
    for number, line_text in enumerate(text.split("\n"), start=1):
        if not line_text.strip():
            continue
        try:
            row = json.loads(line_text)
        except ValueError as error:
            raise DataError(f"{path}:{number}: not valid JSON: {error}", hint="one JSON object a line") from None
        if not isinstance(row, dict):
            raise DataError(f"{path}:{number}: {type(row).__name__} where an object was expected", hint="one JSON object a line")
        yield number, row


def _check(kind: type[_RowType], row: dict[str, Any], path: Path, line: int) -> _RowType:
    try:
        return kind.model_validate(row)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        found = "" if first["type"] == "missing" else f", found {first['input']!r:.60}"
        problem = "missing" if first["type"] == "missing" else first["msg"][:1].lower() + first["msg"][1:]
        raise DataError(f"{path}:{line}: field '{field}': {problem}{found}", hint="seeds/README.md shows the format") from None


def _normal(text: str) -> str:
    return unicodedata.normalize("NFC", text)


def _refuse_repeat(seen: dict[str, int], identity: str, path: Path, line: int) -> None:
    """Note the id with its line. Raises DataError where an earlier line has it."""
    if identity in seen:
        raise DataError(
            f"{path}:{line}: field 'id': '{identity}' is given twice (first in line {seen[identity]})",
            hint="give every task an id of its own",
        )
    seen[identity] = line
