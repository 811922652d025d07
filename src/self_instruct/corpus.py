"""The corpus on disk: records to and from a `datasets` folder in hub layout.

Knows nothing of how the records were made. One Parquet file a config; the card (README.md) names the configs,
so that `load_dataset(folder)` opens `train` and `load_dataset(folder, "instructions")` the others.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from self_instruct.errors import DataError
from self_instruct.records import TrainingExample

if TYPE_CHECKING:
    from datasets import Features

TEXT, INTEGER, NUMBER, FLAG = "string", "int64", "float64", "bool"
TRAIN_COLUMNS: dict[str, str] = {
    "id": TEXT,
    "instruction": TEXT,
    "input": TEXT,
    "output": TEXT,
    "is_classification": FLAG,
    "instruction_id": TEXT,
}
# Columns of each config, in order. A list type is written as [type].
COLUMNS: dict[str, dict[str, Any]] = {
    "train": TRAIN_COLUMNS,
    "instructions": {
        "id": TEXT,
        "instruction": TEXT,
        "is_classification": FLAG,
        "margin": NUMBER,
        "request": INTEGER,
        "position": INTEGER,
        "parents": [TEXT],
        "nearest_ids": [TEXT],
        "nearest_scores": [NUMBER],
    },
    "instances": {"id": TEXT, "instruction_id": TEXT, "order": INTEGER, "input": TEXT, "output": TEXT},
    # The nearest pool entry and its ROUGE-L F1 where the row wasn't novel, else null.
    "rejected": {
        "id": TEXT,
        "step": TEXT,
        "rule": TEXT,
        "text": TEXT,
        "detail": TEXT,
        "parent": TEXT,
        "nearest_id": TEXT,
        "nearest_score": NUMBER,
    },
}
# Half of a pair of UTF-16, which JSON can spell and UTF-8 can't.
_SURROGATE = re.compile("[\ud800-\udfff]")


def features(config: str) -> Features:
    """The declared `datasets.Features` of one config."""
    from datasets import Features, List, Value

    return Features({n: List(Value(t[0])) if isinstance(t, list) else Value(t) for n, t in COLUMNS[config].items()})


def whole(row: Mapping[str, Any]) -> dict[str, Any]:
    """The row with U+FFFD for every lone surrogate in its texts: what a model can write, and no file in UTF-8 can hold."""
    return {name: _SURROGATE.sub("\ufffd", value) if isinstance(value, str) else value for name, value in row.items()}


def write(folder: Path, tables: Mapping[str, Iterable[Mapping[str, Any]]], card: str) -> None:
    """Write every config's rows (plain values by column) and the card's text into an existing empty folder.

    A config without rows is left out: `load_dataset` fails on an empty file. File names hold a hash of the content,
    because `datasets` tells cached folders apart by their name and their card's head alone: without it a second
    run's `corpus` would open as the first one's.
    """
    from datasets import Dataset
    from datasets.utils import disable_progress_bars

    disable_progress_bars()
    paths: dict[str, str] = {}
    for config, rows in tables.items():
        if not (listed := [whole(row) for row in rows]):
            continue
        columns = {name: [row[name] for row in listed] for name in COLUMNS[config]}
        place = folder / "data" / config / "new.parquet"
        place.parent.mkdir(parents=True)
        Dataset.from_dict(columns, features=features(config)).to_parquet(str(place))
        digest = hashlib.sha256(place.read_bytes()).hexdigest()[:16]
        named = place.rename(place.with_name(f"train-00000-of-00001-{digest}.parquet"))
        paths[config] = named.relative_to(folder).as_posix()
    (folder / "README.md").write_text(front_matter(paths) + _SURROGATE.sub("\ufffd", card), encoding="utf-8")


def front_matter(paths: Mapping[str, str]) -> str:
    """The YAML head of a dataset card that tells `load_dataset` where each config's file lies; `train` is the default."""
    lines = ["---", "configs:"]
    for config, path in paths.items():
        lines += [f"- config_name: {config}", "  data_files:", "  - split: train", f"    path: {path}"]
        lines += ["  default: true"] if config == "train" else []
    return "\n".join([*lines, "task_categories:", "- text-generation", "tags:", "- synthetic", "- self-instruct", "---", "", ""])


def read_train(folder: Path) -> tuple[TrainingExample, ...]:
    """The training rows of a corpus in file order.

    Raises DataError where the folder is no corpus, misses a column, or has no row.
    """
    names = ("id", "instruction", "input", "output")
    examples: list[TrainingExample] = []
    for path, row in read_rows(folder, "train", names):
        bad = next((name for name, value in row.items() if not isinstance(value, str)), None)
        if bad is not None:
            raise DataError(f"{path}: row {len(examples)}: column '{bad}' is {row[bad]!r}, not text")
        examples.append(TrainingExample(**row))
    if not examples:
        raise DataError(f"{folder}: the corpus has no training row", hint="generate more, with another model or more seeds")
    return tuple(examples)


def read_rows(folder: Path, config: str, columns: Sequence[str]) -> Iterator[tuple[Path, dict[str, Any]]]:
    """The rows of one config in file order, some columns of them, each with the file it stands in.

    Raises DataError where the folder is no corpus, has no such config, or misses a column.
    """
    import pyarrow.parquet as parquet

    files = sorted((folder / "data" / config).glob("*.parquet"))
    if not files:
        hint = "run the generate stage first, or set train.data"
        raise DataError(f"{folder}: no corpus there (data/{config}/*.parquet)", hint=hint)
    for path in files:
        try:
            table = parquet.read_table(path)
        except (OSError, ValueError) as error:
            raise DataError(
                f"{path}: not a readable Parquet file: {str(error).splitlines()[0]}", hint="generate the corpus again"
            ) from None
        missing = [name for name in columns if name not in table.column_names]
        if missing:
            raise DataError(
                f"{path}: column '{missing[0]}' is missing (found {', '.join(table.column_names)})",
                hint="name a corpus made by the generate stage",
            )
        for row in table.select(list(columns)).to_pylist():
            yield path, row
