"""The corpus as a `datasets` folder, with a card that gives this run's own numbers.

Knows nothing of how records were made.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from self_instruct import corpus, rundir
from self_instruct.generate.pipeline import Result
from self_instruct.models import EMBEDDED, EMBEDDED_TITLE


def write_corpus(folder: Path, result: Result, facts: dict[str, Any]) -> None:
    """Write the corpus beside `folder` and rename it there; an older one is replaced, as it derives from the same journal."""
    labelled = {task.instruction.id: task for task in result.instructions}
    tables: dict[str, list[dict[str, Any]]] = {
        "train": [
            {
                "id": instance.id,
                "instruction": labelled[instance.instruction_id].instruction.text,
                "input": instance.input,
                "output": instance.output,
                "is_classification": labelled[instance.instruction_id].is_classification,
                "instruction_id": instance.instruction_id,
            }
            for instance in result.instances
        ],
        "instructions": [
            {
                "id": task.instruction.id,
                "instruction": task.instruction.text,
                "is_classification": task.is_classification,
                "margin": task.margin,
                "request": task.instruction.request,
                "position": task.instruction.position,
                "parents": list(task.instruction.parents),
                "nearest_ids": [neighbour.id for neighbour in task.instruction.nearest],
                "nearest_scores": [neighbour.score for neighbour in task.instruction.nearest],
            }
            for task in result.instructions
        ],
        "instances": [{name: getattr(instance, name) for name in corpus.COLUMNS["instances"]} for instance in result.instances],
        "rejected": [{name: getattr(rejection, name) for name in corpus.COLUMNS["rejected"]} for rejection in result.rejections],
    }
    with rundir.new_folder(folder) as aside:
        corpus.write(aside, tables, card(facts))


def card(facts: dict[str, Any]) -> str:
    """The text of the dataset card, without its YAML head."""
    author = EMBEDDED_TITLE if facts["model"] == EMBEDDED else facts["model"]
    rules = [f"| {step} | {rule} | {count} |" for step, by in facts["rejected"].items() for rule, count in by.items()]
    return "\n".join(
        [
            f"# Instruction data that {author} wrote",
            "",
            "Made by self-instruct (Wang et al. 2022, arXiv 2212.10560): the model continued lists of tasks that began with",
            "seed tasks, judged which are classification, and wrote inputs and outputs for them.",
            "",
            "| what | count |",
            "|---|---|",
            f"| bootstrapping requests | {facts['requests']} |",
            f"| candidates | {facts['candidates']} |",
            f"| accepted instructions | {facts['accepted']} |",
            f"| of these classification | {facts['classification']} |",
            f"| instances | {facts['instances']} |",
            f"| instances without input | {facts['empty_inputs']} |",
            "",
            "## Rejected",
            "",
            "| step | rule | count |",
            "|---|---|---|",
            *rules,
            "",
            "## Limitations",
            "",
            "Nobody has checked these rows. They hold the errors and the bias of the model that wrote them, and outputs may",
            "be wrong. The filters look at form and novelty only.",
            "",
        ]
    )
