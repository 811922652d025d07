"""`generate lineage RUN ROW_ID`: from a training row back to what it was made from, seeds included.

Knows no engine, and changes nothing: it reads a finished run's corpus, journal and kept inputs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from self_instruct import corpus, journal
from self_instruct.errors import DataError, RunFolderError
from self_instruct.generate import inputs, prompts, session
from self_instruct.generate.pool import PoolEntry
from self_instruct.records import Instruction, LabelledInstruction, Neighbour, TrainingExample

TRAIN = ("id", "instruction", "input", "output", "instruction_id")


@dataclass(frozen=True, kw_only=True, slots=True)
class Lineage:
    """Where a training row comes from.

    `bootstrap` and `instances` are the raw completions of steps 1 and 3, `prompt` is that of step 1, `shown` the
    instructions in it, in its order. `classify_prompt` and `instances_prompt` are those of steps 2 and 3, whole;
    `demonstrations` are what they begin with. `texts` has the instruction of every seed task and of all accepted ones by id;
    `seeds` are the ids of the former.
    """

    row: TrainingExample
    task: LabelledInstruction
    bootstrap: str
    instances: str
    prompt: str
    shown: tuple[PoolEntry, ...]
    classify_prompt: str
    instances_prompt: str
    demonstrations: prompts.Demonstrations
    texts: Mapping[str, str]
    seeds: frozenset[str]


def trace(stage: Path, manifest: Mapping[str, Any], row_id: str) -> Lineage:
    """The lineage of one row of the config `train` of the finished stage in the folder `stage`.

    Raises DataError where the corpus has no such row or isn't there, and RunFolderError where the journal lacks what
    the row was made from.
    """
    folder = stage / "corpus"
    rows = {row["id"]: row for _, row in corpus.read_rows(folder, "train", TRAIN)}
    if row_id not in rows:
        raise DataError(f"{folder}: no row '{row_id}' in `train`", hint=f"ids look like {next(iter(rows), 'none')}")
    row = rows[row_id]
    tasks = {task["id"]: task for _, task in corpus.read_rows(folder, "instructions", list(corpus.COLUMNS["instructions"]))}
    given = inputs.kept(stage, {name: setting["value"] for name, setting in manifest["settings"].items()})
    seeds = {task.id: task.instruction for task in given.seeds}
    texts = {**seeds, **{identity: task["instruction"] for identity, task in tasks.items()}}
    task = _task(tasks[row["instruction_id"]])
    wanted = (f"bootstrap-{task.instruction.request:06d}", f"instances-{task.instruction.id}")
    completions = stage / session.COMPLETIONS
    answers = {record["id"]: record["text"] for record in journal.read(completions) if record["id"] in wanted}
    for request in wanted:
        if request not in answers:
            raise RunFolderError(f"{completions}: request {request} is not in it", hint="restore the file from a copy")
    step_3 = prompts.output_first if task.is_classification else prompts.input_first
    shown = tuple(PoolEntry(id=parent, text=texts[parent]) for parent in task.instruction.parents)
    return Lineage(
        row=TrainingExample(**{name: row[name] for name in ("id", "instruction", "input", "output")}),
        task=task,
        bootstrap=answers[wanted[0]],
        instances=answers[wanted[1]],
        prompt=prompts.bootstrap([entry.text for entry in shown]),
        shown=shown,
        classify_prompt=prompts.classification(given.demonstrations, task.instruction.text),
        instances_prompt=step_3(given.demonstrations, task.instruction.text),
        demonstrations=given.demonstrations,
        texts=texts,
        seeds=frozenset(seeds),
    )


def tell(lineage: Lineage) -> str:
    """The lineage for people to read, from the row back to the instructions that it descends from."""
    row, task, made = lineage.row, lineage.task, lineage.task.instruction
    head = lineage.demonstrations.output_first if task.is_classification else lineage.demonstrations.input_first
    verdict = "classification" if task.is_classification else "no classification"
    near = [f"{one.score:.4f}  {_entry(lineage, one.id)}" for one in made.nearest]
    shown = [f"{number}. {_entry(lineage, entry.id)}" for number, entry in enumerate(lineage.shown, start=1)]
    sections = {
        f"row {row.id}": [f"instruction: {row.instruction}", f"input: {row.input}", f"output: {row.output}"],
        f"completion of step 3, instances-{made.id}": [lineage.instances],
        "prompt of step 3": [_shortened(lineage.instances_prompt, head)],
        f"verdict of step 2: {verdict}": [f"margin {task.margin:+.4f} nats: log p(yes) - log p(no)"],
        "prompt of step 2": [_shortened(lineage.classify_prompt, lineage.demonstrations.classification)],
        f"instruction {made.id}": [made.text],
        "nearest in the pool when it was accepted, ROUGE-L F1": near,
        f"completion of step 1, bootstrap-{made.request:06d}, of which it is item {made.position + 1}": [lineage.bootstrap],
        "prompt of step 1": [lineage.prompt],
        "shown in it": shown,
    }
    return "\n\n".join("\n".join([head, *(_indented(text) for text in texts)]) for head, texts in sections.items())


def _task(row: Mapping[str, Any]) -> LabelledInstruction:
    instruction = Instruction(
        id=row["id"],
        text=row["instruction"],
        request=row["request"],
        position=row["position"],
        parents=tuple(row["parents"]),
        nearest=tuple(Neighbour(id=i, score=s) for i, s in zip(row["nearest_ids"], row["nearest_scores"], strict=True)),
    )
    return LabelledInstruction(instruction=instruction, is_classification=row["is_classification"], margin=row["margin"])


def _entry(lineage: Lineage, identity: str) -> str:
    kind = "seed" if identity in lineage.seeds else "machine"
    return f"{identity} ({kind})  {' '.join(lineage.texts[identity].split())}"


def _shortened(prompt: str, head: str) -> str:
    """The prompt without the demonstrations that it begins with."""
    return f"({len(head)} characters of demonstrations from {inputs.KEPT / 'demonstrations'})\n{prompt.removeprefix(head)}"


def _indented(text: str) -> str:
    """The text with a margin; characters that a terminal would obey or can't show are spelled out."""
    shown = "".join(c if c.isprintable() or c == "\n" else c.encode("unicode_escape").decode("ascii") for c in text)
    return "\n".join(f"  {line}" for line in shown.split("\n"))
