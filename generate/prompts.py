"""The few-shot prompts of steps 1 to 3, rendered from demonstrations that are kept as data.

Knows no engine and no tokenizer. Demonstrations come first, byte-identical in every request, and the task last, so
that the engine's prefix cache holds all but the task.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from self_instruct.errors import DataError

BOOTSTRAP_LEAD = "Write a list of new and varied tasks. Each one tells an assistant what to do."
YES, NO = " Yes", " No"
QUESTION = "Is it classification?"


class _Strict(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class _Judged(_Strict):
    instruction: Annotated[str, Field(min_length=1)]
    is_classification: bool


class _Example(_Strict):
    input: str
    output: Annotated[str, Field(min_length=1)]


class _Shown(_Strict):
    instruction: Annotated[str, Field(min_length=1)]
    examples: list[_Example]


class _JudgedFile(_Strict):
    lead: str
    tasks: Annotated[list[_Judged], Field(min_length=1)]


class _ShownFile(_Strict):
    lead: str
    tasks: Annotated[list[_Shown], Field(min_length=1)]


_File = TypeVar("_File", _JudgedFile, _ShownFile)


@dataclass(frozen=True, kw_only=True)
class Demonstrations:
    """The fixed heads of the prompts of steps 2 and 3, each ending in a blank line."""

    classification: str
    input_first: str
    output_first: str


def load_demonstrations(folder: Path) -> Demonstrations:
    """Read `classification.yaml`, `input_first.yaml` and `output_first.yaml`.

    Raises DataError that names the file and the field.
    """
    judged = _load(folder / "classification.yaml", _JudgedFile)
    inputs = _load(folder / "input_first.yaml", _ShownFile)
    outputs = _load(folder / "output_first.yaml", _ShownFile)
    return Demonstrations(
        classification=_join(
            judged.lead, [f"Task: {t.instruction}\n{QUESTION}{YES if t.is_classification else NO}" for t in judged.tasks]
        ),
        input_first=_join(inputs.lead, _show(inputs.tasks, _input_first)),
        output_first=_join(outputs.lead, _show(outputs.tasks, _output_first)),
    )


def bootstrap(instructions: Sequence[str]) -> str:
    """Step 1: the sampled instructions as a numbered list; the model goes on after the next number."""
    lines = [f"{number}. {_one_line(text)}" for number, text in enumerate(instructions, start=1)]
    return "\n".join([BOOTSTRAP_LEAD, "", *lines, f"{len(instructions) + 1}."])


def bootstrap_stops(last_item: int) -> tuple[str, ...]:
    """Step 1 ends at a blank line or where the item `last_item` would begin (authors' script: 16)."""
    return ("\n\n", f"\n{last_item}.", f"\n{last_item} .")


def classification(demonstrations: Demonstrations, instruction: str) -> str:
    """Step 2; answered with `YES` or `NO`."""
    return f"{demonstrations.classification}Task: {_one_line(instruction)}\n{QUESTION}"


def input_first(demonstrations: Demonstrations, instruction: str) -> str:
    """Step 3 for what is no classification: the model goes on with the first example's input or output."""
    return f"{demonstrations.input_first}Task: {_one_line(instruction)}\nExample 1"


def output_first(demonstrations: Demonstrations, instruction: str) -> str:
    """Step 3 for classification: the model goes on with the first example's label (paper, section 2.2)."""
    return f"{demonstrations.output_first}Task: {_one_line(instruction)}\nExample 1\nClass label:"


def instance_stops(max_instances: int) -> tuple[str, ...]:
    """Step 3 ends before a next task and before one example too many."""
    return ("\nTask:", f"\nExample {max_instances + 1}")


def _input_first(example: _Example) -> str:
    return f"{_given(example)}\nOutput: {example.output}"


def _output_first(example: _Example) -> str:
    return f"\nClass label: {example.output}{_given(example)}"


def _given(example: _Example) -> str:
    return f"\nInput: {example.input}" if example.input else ""


def _show(tasks: Sequence[_Shown], render: Callable[[_Example], str]) -> list[str]:
    """Each task with its numbered examples."""
    return [
        f"Task: {task.instruction}" + "".join(f"\nExample {n}{render(example)}" for n, example in enumerate(task.examples, start=1))
        for task in tasks
    ]


def _join(lead: str, tasks: list[str]) -> str:
    return "\n\n".join([lead.strip(), *tasks]) + "\n\n"


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _load(path: Path, kind: type[_File]) -> _File:
    try:
        raw: Any = yaml.safe_load(path.read_text(encoding="utf-8"))
        return kind.model_validate(raw)
    except FileNotFoundError:
        raise DataError(f"{path}: no such file", hint="seeds/README.md names the three files of demonstrations") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: not valid YAML: {str(error).splitlines()[0]}") from None
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        raise DataError(f"{path}: field '{field}': {first['msg']}", hint="seeds/README.md shows the format") from None
