"""Corpora of instructions for statistics: ours, and the authors' and Alpaca's files.

Knows no statistics. A format is told by a folder's tables or a row's fields, never by a name.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from self_instruct import corpus, readers, rundir
from self_instruct.errors import DataError
from self_instruct.records import Instance

TASKS, INSTANCES, INSTRUCTIONS, OURS = "tasks", "instances", "instructions", "corpus"
HINT = (
    "a corpus of instructions is asked for: a folder of the generate stage (generate/corpus), or a file whose rows have "
    "`instruction` and `instances`; or `instruction`, `output` and maybe `input`; or `instruction` alone"
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Corpus:
    """The instructions of one place in their order, and for each of them its label and its instances.

    `kind`: `corpus` (ours), `tasks` (rows with their instances), `instances` (a row an instance: rows of one instruction are
    one task, at the place of the first), `instructions` (no instances at all). Only in `instances` no instruction repeats.
    `classification` is None where a task has no label. `sha256` is that of the file, or of the tables' files.
    """

    place: str
    kind: str
    sha256: str
    instructions: tuple[str, ...]
    classification: tuple[bool | None, ...]
    instances: tuple[tuple[Instance, ...], ...]


@dataclass(slots=True)
class _Task:
    instruction: str
    classification: bool | None
    instances: list[Instance] = field(default_factory=list)


def read(place: Path) -> Corpus:
    """The corpus at `place`: a folder of the generate stage, or a JSON array or JSON Lines.

    A label is a truth value or text; of texts `yes` (in any case) says classification and every other one doesn't, as in the
    authors' `prepare_for_finetuning.py`. An `input` that is null or missing is empty. Raises DataError, with the file and the
    line, for a row without instruction or of another kind than the first one's, for labels that contradict each other, and for
    what is no corpus of instructions (SuperNI, T0).
    """
    if not place.exists():
        raise DataError(f"{place}: no such file or folder", hint=HINT)
    kind, tasks = (OURS, _ours(place)) if place.is_dir() else _file(place)
    return Corpus(
        place=str(place),
        kind=kind,
        sha256=_digest(place),
        instructions=tuple(task.instruction for task in tasks),
        classification=tuple(task.classification for task in tasks),
        instances=tuple(tuple(task.instances) for task in tasks),
    )


def _tables(folder: Path) -> list[Path]:
    return [path for table in ("instructions", "instances") for path in sorted((folder / "data" / table).glob("*.parquet"))]


def _digest(place: Path) -> str:
    if place.is_file():
        return rundir.sha256(place)
    return hashlib.sha256("".join(rundir.sha256(path) for path in _tables(place)).encode()).hexdigest()


def _ours(folder: Path) -> list[_Task]:
    if not (folder / "data" / "instructions").is_dir():
        found = ""
        if (folder / "splits").is_dir():
            found = ": this is a clone of natural-instructions"
        elif any(folder.glob("*.jsonl")):
            found = ": name one of its files"
        raise DataError(f"{folder}: no corpus of instructions (data/instructions/*.parquet){found}", hint=HINT)
    tasks: dict[str, _Task] = {}
    for path, row in corpus.read_rows(folder, "instructions", ("id", "instruction", "is_classification")):
        where = f"{path}: row {len(tasks) + 1}"
        identity = _text(row, "id", where)
        if identity in tasks:
            raise DataError(f"{where}: the id {identity} is given again", hint="generate the corpus again")
        tasks[identity] = _Task(_instruction(row, where), _label(row, where))
    if not (folder / "data" / "instances").is_dir():  # a table without rows isn't written
        return list(tasks.values())
    for number, (path, row) in enumerate(corpus.read_rows(folder, "instances", ("instruction_id", "input", "output")), 1):
        where = f"{path}: row {number}"
        identity = _text(row, "instruction_id", where)
        if identity not in tasks:
            raise DataError(f"{where}: no instruction has the id {identity}", hint="generate the corpus again")
        tasks[identity].instances.append(_instance(row, where))
    return list(tasks.values())


def _file(path: Path) -> tuple[str, list[_Task]]:
    kind = ""
    tasks: list[_Task] = []
    grouped: dict[str, _Task] = {}
    for line, row in readers.json_rows(path, HINT):
        where = f"{path}:{line}"
        found = _kind(row, where)
        if found != (kind := kind or found):
            raise DataError(f"{where}: a row of kind {found}, the file's first is of kind {kind}", hint=HINT)
        task = _Task(_instruction(row, where), _label(row, where))
        if kind == INSTANCES:
            known = grouped.setdefault(task.instruction, task)
            if known is not task and known.classification is not task.classification:
                raise DataError(f"{where}: an earlier row of this instruction has another label", hint=HINT)
            known.instances.append(_instance(row, where))
            if known is not task:
                continue
        elif kind == TASKS:
            task.instances += _listed(row, where)
        tasks.append(task)
    return kind, tasks


def _kind(row: Mapping[str, Any], where: str) -> str:
    if "instruction" not in row:
        raise DataError(f"{where}: `instruction` is missing, with the fields {', '.join(row) or 'none'}", hint=HINT)
    return TASKS if "instances" in row else INSTANCES if "output" in row else INSTRUCTIONS


def _listed(row: Mapping[str, Any], where: str) -> Iterator[Instance]:
    if not isinstance(row["instances"], list):
        raise DataError(f"{where}: `instances` is {row['instances']!r:.80}, not a list", hint=HINT)
    for number, instance in enumerate(row["instances"], 1):
        if not isinstance(instance, dict):
            raise DataError(f"{where}: instance {number} is {instance!r:.80}, not an object", hint=HINT)
        yield _instance(corpus.whole(instance), f"{where}: instance {number}")


def _instance(row: Mapping[str, Any], where: str) -> Instance:
    input = "" if row.get("input") is None else _text(row, "input", where)
    return Instance(input=input, output=_text(row, "output", where))


def _instruction(row: Mapping[str, Any], where: str) -> str:
    text = _text(row, "instruction", where)
    if not text.strip():
        raise DataError(f"{where}: `instruction` is blank", hint="take the row out, or write its instruction")
    return text


def _label(row: Mapping[str, Any], where: str) -> bool | None:
    label = row.get("is_classification")
    if isinstance(label, str):
        return label.strip().lower() == "yes"
    if label is not None and not isinstance(label, bool):
        raise DataError(f"{where}: `is_classification` is {label!r:.80}, neither true nor false", hint=HINT)
    return label


def _text(row: Mapping[str, Any], name: str, where: str) -> str:
    value = row.get(name)
    if not isinstance(value, str):
        raise DataError(f"{where}: `{name}` is {f'{value!r:.80}' if name in row else 'missing'}, not text", hint=HINT)
    return value
