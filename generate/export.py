"""What a run leaves for others: the corpus as a `datasets` folder with its card, and the files that trainers read.

Knows nothing of how records were made. All of it derives from the journal, and is written anew whole or not at all.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from self_instruct import corpus, rundir, template
from self_instruct.generate.card import Made, card
from self_instruct.generate.pipeline import Result
from self_instruct.records import Instruction, Rejection

Row = dict[str, Any]


def write_products(stage: Path, result: Result, made: Made) -> None:
    """Write `corpus/` and, where the settings ask for any, `exports/` into a stage's folder."""
    write_corpus(stage / "corpus", result, made)
    if made.settings.generate.exports:
        write_exports(stage / "exports", train_rows(result), made.settings.generate.exports)


def write_corpus(folder: Path, result: Result, made: Made) -> None:
    """Write the corpus beside `folder` and rename it there; an older one is replaced, as it derives from the same journal."""
    tables = {
        "train": train_rows(result),
        "instructions": [
            {
                **_instruction(task.instruction),
                "is_classification": task.is_classification,
                "margin": task.margin,
            }
            for task in result.instructions
        ],
        "instances": [{name: getattr(instance, name) for name in corpus.COLUMNS["instances"]} for instance in result.instances],
        "rejected": [rejection_row(rejection) for rejection in result.rejections],
    }
    with rundir.new_folder(folder) as aside:
        corpus.write(aside, tables, card(result, made))


def train_rows(result: Result) -> list[Row]:
    """The rows of the config `train`: an instance with its instruction each."""
    labelled = {task.instruction.id: task for task in result.instructions}
    return [
        {
            "id": instance.id,
            "instruction": labelled[instance.instruction_id].instruction.text,
            "input": instance.input,
            "output": instance.output,
            "is_classification": labelled[instance.instruction_id].is_classification,
            "instruction_id": instance.instruction_id,
        }
        for instance in result.instances
    ]


def _instruction(instruction: Instruction) -> Row:
    return {
        "id": instruction.id,
        "instruction": instruction.text,
        "request": instruction.request,
        "position": instruction.position,
        "parents": list(instruction.parents),
        "nearest_ids": [neighbour.id for neighbour in instruction.nearest],
        "nearest_scores": [neighbour.score for neighbour in instruction.nearest],
    }


def rejection_row(rejection: Rejection) -> Row:
    nearest = rejection.nearest
    return {
        **{name: getattr(rejection, name) for name in ("id", "step", "rule", "text", "detail", "parent")},
        "nearest_id": nearest.id if nearest else None,
        "nearest_score": nearest.score if nearest else None,
    }


# The exports: `generate.exports` names them.


def write_exports(folder: Path, rows: Sequence[Row], kinds: Iterable[str]) -> None:
    """Write the training rows as the files that `kinds` name into `folder`, replacing the whole folder.

    `alpaca`: one JSON array of instruction, input, output. `messages`: a chat of a user's and an assistant's turn a
    line. `prompt_completion`: a prompt and its completion a line, without end-of-text, which trainers add.
    """
    with rundir.new_folder(folder) as aside:
        for kind in kinds:
            name, shape = EXPORTS[kind]
            lines = [json.dumps(shape(corpus.whole(row)), ensure_ascii=False) for row in rows]
            text = "[\n" + ",\n".join(lines) + "\n]\n" if name.endswith(".json") else "".join(f"{line}\n" for line in lines)
            (aside / name).write_text(text, encoding="utf-8")


def _alpaca(row: Row) -> Row:
    return {name: row[name] for name in ("instruction", "input", "output")}


def _messages(row: Row) -> Row:
    asked = template.user_turn(row["instruction"], row["input"])
    return {"messages": [{"role": "user", "content": asked}, {"role": "assistant", "content": row["output"]}]}


def _prompt_completion(row: Row) -> Row:
    """In the form that evaluation asks in. It ends in a cue, so that prompt and completion are the same tokens apart as
    together, as most trainers take them; forms that end in line breaks aren't."""
    form = template.EVALUATION_WITH_INPUT if row["input"] else template.EVALUATION_WITHOUT_INPUT
    rendered = template.render(form, row["instruction"], row["input"], row["output"])
    return {"prompt": rendered.prompt, "completion": rendered.completion}


EXPORTS: dict[str, tuple[str, Callable[[Row], Row]]] = {
    "alpaca": ("alpaca.json", _alpaca),
    "messages": ("messages.jsonl", _messages),
    "prompt_completion": ("prompt_completion.jsonl", _prompt_completion),
}
