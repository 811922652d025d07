"""Super-NaturalInstructions as it lies on disk: a clone of natural-instructions with `splits/` and `tasks/`.

Knows neither training nor evaluation: which instances are used, and how, is theirs. Layout: Wang et al. 2022 (Super-NI), the
repository's README and schema.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from self_instruct import corpus
from self_instruct.errors import DataError

Part = Literal["train", "test"]
CLONE = "name a clone of natural-instructions: a folder with splits/ and tasks/"
AGAIN = "copy the file again"
LONGEST_NAME = 200  # a file's name has 255 bytes at most on all common file systems


@dataclass(frozen=True, kw_only=True, slots=True)
class Split:
    """One part of a split: the files of its tasks in the list's order, the names listed that have no file, and how many
    names are listed again."""

    tasks: tuple[Path, ...]
    missing: tuple[str, ...]
    repeated: int


@dataclass(frozen=True, kw_only=True, slots=True)
class TaskInstance:
    """One instance. `outputs` are all accepted answers as they stand, maybe none; None where the field is missing or null."""

    id: str
    input: str
    outputs: tuple[str, ...] | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Task:
    """One task file. `categories` and `languages` (of inputs and outputs) are empty where the file doesn't tell."""

    name: str
    definition: str
    categories: tuple[str, ...]
    languages: tuple[str, ...]
    instances: tuple[TaskInstance, ...]


def task_list(folder: Path, split: str, part: Part) -> Path:
    """The file that lists a part's tasks, a name a line."""
    return folder / "splits" / split / f"{part}_tasks.txt"


def read_split(folder: Path, split: str, part: Part) -> Split:
    """The tasks of one part of a split. Names may end in `.json`; blank lines are passed over, repeated names taken once.

    Raises DataError for a folder that isn't there, one without splits, without this one (naming those that are there) or
    without its list, for a list without a task, and where none of its tasks is in `tasks/`.
    """
    path = task_list(folder, split, part)
    listed = path.relative_to(folder)
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder", hint=CLONE)
    if not (splits := folder / "splits").is_dir():
        raise DataError(f"{folder}: no folder splits in it", hint=CLONE)
    if not path.parent.is_dir():
        there = ", ".join(sorted(place.name for place in splits.iterdir() if place.is_dir())) or "none"
        raise DataError(f"{folder}: no split '{split}' in splits/; there: {there:.200}", hint="name one that is there")
    if not path.is_file():
        raise DataError(f"{folder}: no {listed}", hint=CLONE)
    names: dict[str, int] = {}
    for line, text in enumerate(_text(path).split("\n"), 1):
        name = text.strip().removesuffix(".json")
        if "/" in name or len(name) > LONGEST_NAME:
            raise DataError(f"{path}:{line}: not the name of a task: {name:.80}", hint=AGAIN)
        if name:
            names[name] = names.get(name, 0) + 1
    if not names:
        raise DataError(f"{path}: lists no task", hint=AGAIN)
    files = {name: folder / "tasks" / f"{name}.json" for name in names}
    tasks = tuple(file for file in files.values() if file.is_file())
    if not tasks:
        raise DataError(
            f"{folder}: none of the {len(names)} tasks of {listed} is in tasks/",
            hint="name a whole checkout of natural-instructions",
        )
    missing = tuple(name for name, file in files.items() if not file.is_file())
    return Split(tasks=tasks, missing=missing, repeated=sum(names.values()) - len(names))


def read_task(path: Path) -> Task:
    """One task file, with every instance in file order.

    The definition is the first of a list, as in the reference evaluation. An instance without an id gets `<task>-<number>`,
    counted from 1 in six digits. Raises DataError, with the file and the instance's number, for what isn't of that form.
    """
    try:
        task = json.loads(_text(path))
    except json.JSONDecodeError as error:
        raise DataError(f"{path}:{error.lineno}: not JSON: {error.msg}, column {error.colno}", hint=AGAIN) from None
    except (ValueError, RecursionError) as error:  # numbers of thousands of digits; nested too deeply
        raise DataError(f"{path}: not JSON: {error}", hint=AGAIN) from None
    definition = task.get("Definition") if isinstance(task, dict) else None
    if isinstance(definition, list) and definition:
        definition = definition[0]
    instances = task.get("Instances") if isinstance(task, dict) else None
    if not isinstance(definition, str) or not isinstance(instances, list):
        fields = ", ".join(task) if isinstance(task, dict) else type(task).__name__
        raise DataError(
            f"{path}: not a task: no text as `Definition`, or no list as `Instances` (its fields: {fields:.200})", hint=AGAIN
        )
    if not definition.strip():
        raise DataError(f"{path}: its `Definition` is blank", hint=AGAIN)
    languages = (language for name in ("Input_language", "Output_language") for language in _texts(task, name, str(path)) or ())
    return Task(
        name=path.stem,
        definition=_clean(definition),
        categories=_texts(task, "Categories", str(path)) or (),
        languages=tuple(dict.fromkeys(languages)),
        instances=tuple(_instance(row, path, number) for number, row in enumerate(instances, 1)),
    )


def _instance(row: Any, path: Path, number: int) -> TaskInstance:
    where = f"{path}: instance {number}"
    if not isinstance(row, dict):
        raise DataError(f"{where}: {row!r:.80} is no object", hint=AGAIN)
    identity = row.get("id")
    if identity is None or (isinstance(identity, str) and not identity.strip()):
        identity = f"{path.stem}-{number:06d}"
    elif isinstance(identity, bool) or not isinstance(identity, str | int):
        raise DataError(f"{where}: `id` is {identity!r:.80}, neither text nor a whole number", hint=AGAIN)
    if not isinstance(row.get("input"), str):
        found = f"{row['input']!r:.80}" if "input" in row else "missing"
        raise DataError(f"{where}: `input` is {found}, not text", hint=AGAIN)
    return TaskInstance(id=_clean(str(identity)), input=_clean(row["input"]), outputs=_texts(row, "output", where))


def _texts(row: dict[str, Any], name: str, where: str) -> tuple[str, ...] | None:
    """A field that is one text or a list of texts; None where it is missing or null."""
    value = row.get(name)
    if value is None:
        return None
    value = [value] if isinstance(value, str) else value
    if not isinstance(value, list) or not all(isinstance(text, str) for text in value):
        raise DataError(f"{where}: `{name}` is {row[name]!r:.80}, not a list of texts", hint=AGAIN)
    return tuple(_clean(text) for text in value)


def _clean(text: str) -> str:
    return str(corpus.whole({"text": text})["text"])


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        line = 1 + error.object[: error.start].count(b"\n")
        raise DataError(f"{path}:{line}: not text in UTF-8", hint=AGAIN) from None
    except OSError as error:
        raise DataError(f"{path}: can't be read: {error.strerror}", hint="mend its permissions, or name another") from None
