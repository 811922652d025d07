"""Made-up clones of natural-instructions, and tokenizers that are as good as a model's for cutting."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple


class Encoding(NamedTuple):
    input_ids: list[int]


class Words:
    """A token a word and one in front that is special; ids stand for words in the order in which they came."""

    def __init__(self) -> None:
        self.known: list[str] = ["<s>"]
        self.asked: list[str] = []

    def __call__(self, text: str) -> Encoding:
        self.asked.append(text)
        for word in text.split():
            if word not in self.known:
                self.known.append(word)
        return Encoding([0, *(self.known.index(word) for word in text.split())])

    def decode(self, ids: list[int], skip_special_tokens: bool) -> str:
        return " ".join(self.known[number] for number in ids if number or not skip_special_tokens)


class Bytes:
    """A token a byte; half a character reads as U+FFFD, which is three bytes again."""

    def __call__(self, text: str) -> Encoding:
        return Encoding(list(text.encode()))

    def decode(self, ids: list[int], skip_special_tokens: bool) -> str:
        return bytes(ids).decode(errors="replace")


def no_tokenizer() -> Any:
    raise AssertionError("a tokenizer was asked for")


def clone(
    folder: Path, tasks: Mapping[str, Any], listed: Sequence[str] | None = None, split: str = "default", part: str = "test"
) -> Path:
    """A folder whose part of the split lists `listed`, or else the tasks; a text is a file's content as it stands."""
    place = folder / "splits" / split
    place.mkdir(parents=True, exist_ok=True)
    (folder / "tasks").mkdir(exist_ok=True)
    (place / f"{part}_tasks.txt").write_text("\n".join(tasks if listed is None else listed) + "\n", encoding="utf-8")
    for name, task in tasks.items():
        content = task if isinstance(task, str) else json.dumps(task)
        (folder / "tasks" / f"{name}.json").write_text(content, encoding="utf-8")
    return folder


def task(name: str, count: int, **changes: Any) -> dict[str, Any]:
    """A task of so many instances with two outputs each."""
    instances = [{"id": f"{name}-{n}", "input": f"in {n}", "output": [f"out {n}", f"other {n}"]} for n in range(count)]
    made = {"Definition": [f"Do {name}", "unused"], "Categories": [f"Kind {name}", "unused"], "Instances": instances}
    return made | {"Input_language": ["English"], "Output_language": ["English"]} | changes
