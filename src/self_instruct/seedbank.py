"""Human-written tasks from JSON Lines files: seeds for generation and training, user-oriented tasks for evaluation.

Knows nothing of prompts. Outside data is checked strictly; every complaint names the file, line and field.
"""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from self_instruct.errors import DataError
from self_instruct.loading import shipped
from self_instruct.records import EvalItem, Instance, SeedTask

SHIPPED = "shipped"
MINIMUM_SEEDS = 8  # a prompt shows 8 (paper, section 2.2)
# pydantic's kinds of error in the words of a person who writes tasks.
PLAIN = {"missing": "missing", "string_pattern_mismatch": "blank", "string_too_short": "empty", "too_short": "an empty list"}
Text = Annotated[str, Field(min_length=1, pattern=r"\S")]


class _Row(BaseModel):
    model_config = ConfigDict(strict=True, extra="ignore", frozen=True)


class _Instance(_Row):
    input: str
    output: Text


class _Task(_Row):
    id: Text
    instruction: Text
    instances: Annotated[list[_Instance], Field(min_length=1)]


class SeedRow(_Task):
    """A seed task as its line has it, texts untouched."""

    name: str = ""
    is_classification: bool


class UserRow(_Task):
    """A user-oriented task as its line has it, texts untouched."""

    motivation_app: Text


class EvaluationRow(_Task):
    """A task of any set that a model is measured on, texts untouched."""


Row = SeedRow | UserRow | EvaluationRow
Kind = type[SeedRow] | type[UserRow] | type[EvaluationRow]


def seed_file(path: str | None) -> Path:
    """The file of seed tasks that a setting names; `None` is the set that ships."""
    return Path(path) if path is not None else shipped("seeds/seed_tasks.jsonl")


def user_oriented_file(path: str | None) -> Path:
    """The file of user-oriented tasks that a setting names; `None` and `shipped` are the set that ships."""
    return Path(path) if path not in (None, SHIPPED) else shipped("seeds/user_oriented.jsonl")


def load_seeds(path: str | None = None) -> tuple[SeedTask, ...]:
    """Seed tasks in file order; `None` is the set that ships.

    Raises DataError for a missing or malformed file, a task given twice, fewer than 8 tasks, and for a file of
    evaluation tasks (those with `motivation_app`): they are never trained on.
    """
    where = seed_file(path)
    tasks = [
        SeedTask(
            id=row.id,
            name=row.name,
            instruction=_normal(row.instruction).strip(),
            instances=tuple(Instance(input=_normal(i.input), output=_normal(i.output)) for i in row.instances),
            is_classification=row.is_classification,
        )
        for _, row in _valid(where, SeedRow)
        if isinstance(row, SeedRow)
    ]
    if len(tasks) < MINIMUM_SEEDS:
        raise DataError(
            f"{where}: {len(tasks)} seed tasks, at least {MINIMUM_SEEDS} needed (a prompt shows {MINIMUM_SEEDS})",
            hint="add tasks of your own; seeds/README.md shows the format",
        )
    return tuple(tasks)


def load_user_oriented(path: str | None = None, suite: str = "user_oriented") -> tuple[EvalItem, ...]:
    """User-oriented evaluation tasks in file order, one item an instance; `None` and `shipped` are the set that ships.

    `suite` is the name that the items' evaluation set gets.

    Raises DataError for a missing or malformed file or a task given twice.
    """
    where = user_oriented_file(path)
    items: list[EvalItem] = []
    seen: dict[str, int] = {}
    for line, row in _valid(where, UserRow):
        assert isinstance(row, UserRow)
        for number, instance in enumerate(row.instances):
            identity = row.id if len(row.instances) == 1 else f"{row.id}-{number}"
            _refuse_repeat(seen, identity, where, line)
            items.append(
                EvalItem(
                    id=identity,
                    suite=suite,
                    task=row.id,
                    group=row.motivation_app,
                    instruction=_normal(row.instruction),
                    input=_normal(instance.input),
                    references=(_normal(instance.output),),
                )
            )
    if not items:
        raise DataError(f"{where}: no tasks in it", hint="one JSON object a line; seeds/README.md shows the format")
    return tuple(items)


def load_evaluation(path: Path) -> tuple[EvalItem, ...]:
    """The tasks of any evaluation set in file order, one item an instance: `id`, `instruction` and `instances` are read.

    Raises DataError for a missing or malformed file or a task given twice.
    """
    items = tuple(
        EvalItem(
            id=row.id,
            suite=path.stem,
            task=row.id,
            group="",
            instruction=_normal(row.instruction),
            input=_normal(instance.input),
            references=(_normal(instance.output),),
        )
        for _, row in _valid(path, EvaluationRow)
        for instance in row.instances
    )
    if not items:
        raise DataError(f"{path}: no tasks in it", hint="one JSON object a line; seeds/README.md shows the format")
    return items


def read(path: Path, kind: Kind | None = None) -> Iterator[tuple[int, Row | DataError]]:
    """Every task of a file with its line number, or what is wrong with that line. Blank lines are passed over.

    `kind` None takes the kind of the first task: user-oriented where it has `motivation_app`. Raises DataError for a
    file that can't be read.
    """
    seen: dict[str, int] = {}
    for line, found in _lines(path):
        if isinstance(found, DataError):
            yield line, found
            continue
        kind = kind or (UserRow if "motivation_app" in found else SeedRow)
        try:
            row = _check(kind, found, f"{path}:{line}")
            _refuse_repeat(seen, row.id, path, line)
        except DataError as error:
            yield line, error
        else:
            yield line, row


def _valid(path: Path, kind: Kind) -> Iterator[tuple[int, Row]]:
    """The tasks of a file with their line numbers. Raises the first complaint."""
    for line, row in read(path, kind):
        if isinstance(row, DataError):
            raise row
        yield line, row


def _lines(path: Path) -> Iterator[tuple[int, dict[str, Any] | DataError]]:
    """The JSON objects of a file with their line numbers, or why a line holds none. Raises DataError for the whole file."""
    try:
        text = path.read_bytes().decode("utf-8").removeprefix("\ufeff")  # a mark that Windows' editors put there
    except FileNotFoundError:
        raise DataError(f"{path}: no such file", hint="check the path; none set means the tasks that ship") from None
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise DataError(f"{path}:{line}: not UTF-8 (byte {error.start})", hint="save the file as UTF-8") from None
    except OSError as error:
        raise DataError(f"{path}: can't be read: {error.strerror}", hint="name a JSON Lines file") from None
    if text.lstrip().startswith("["):
        raise DataError(
            f"{path}: a JSON array where JSON Lines were expected", hint="one object a line: jq -c '.[]' FILE makes that"
        )
    for number, line_text in enumerate(text.split("\n"), start=1):
        if not line_text.strip():
            continue
        try:
            row = json.loads(line_text)
        except (ValueError, RecursionError) as error:
            yield number, DataError(f"{path}:{number}: not valid JSON: {error}", hint="one JSON object a line")
            continue
        if isinstance(row, dict):
            yield number, row
        else:
            problem = f"{type(row).__name__} where an object was expected"
            yield number, DataError(f"{path}:{number}: {problem}", hint="one JSON object a line")


def _check(kind: Kind, row: dict[str, Any], where: str) -> Row:
    if kind is SeedRow and "motivation_app" in row:
        raise DataError(
            f"{where}: field 'motivation_app': this is an evaluation task, not a seed",
            hint="evaluation tasks are never trained on; name a file of seed tasks",
        )
    try:
        return kind.model_validate(row)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        found = "" if first["type"] == "missing" else f", found {first['input']!r:.60}"
        problem = PLAIN.get(first["type"], first["msg"][:1].lower() + first["msg"][1:])
        raise DataError(f"{where}: field '{field}': {problem}{found}", hint="seeds/README.md shows the format") from None


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
