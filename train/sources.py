"""The rows to train on: a corpus and the seed tasks, without duplicates and without empty answers.

Knows neither tokenizer nor model.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from self_instruct.errors import DataError
from self_instruct.records import SeedTask, TrainingExample


@dataclass(frozen=True, kw_only=True, slots=True)
class Sources:
    """What is trained on, seeds first, and what was left out: exact duplicates and rows without an answer."""

    examples: tuple[TrainingExample, ...]
    seed_examples: int
    duplicates: int
    empty: int


def from_seeds(tasks: Iterable[SeedTask]) -> tuple[TrainingExample, ...]:
    """One example an instance of every seed task (paper, section 2.4: the seeds are part of the training data)."""
    return tuple(
        TrainingExample(id=f"{task.id}.{number}", instruction=task.instruction, input=instance.input, output=instance.output)
        for task in tasks
        for number, instance in enumerate(task.instances)
    )


def combine(
    seeds: Iterable[TrainingExample], corpus: Iterable[TrainingExample], has_tokens: Callable[[str], bool] = lambda text: True
) -> Sources:
    """Join the rows; drop those whose output has no tokens or only white space, then repeated triples.

    A triple is (instruction, input, output) as it is rendered, without white space around. Raises DataError
    where nothing is left, and where two rows have one id (the template of a row is drawn by its id).
    """
    seen: set[tuple[str, str, str]] = set()
    identities: set[str] = set()
    kept: list[TrainingExample] = []
    counts = {"seeds": 0, "duplicates": 0, "empty": 0}
    for source, rows in (("seeds", seeds), ("corpus", corpus)):
        for row in rows:
            triple = (row.instruction.strip(), row.input.strip(), row.output.strip())
            if not triple[2] or not has_tokens(triple[2]):
                counts["empty"] += 1
            elif triple in seen:
                counts["duplicates"] += 1
            elif row.id in identities:
                raise DataError(f"training data: id '{row.id}' is given to two different rows", hint="give each row its own id")
            else:
                seen.add(triple)
                identities.add(row.id)
                kept.append(row)
                counts["seeds"] += source == "seeds"
    if not kept:
        raise DataError(
            f"training data: no row is left ({counts['empty']} without an output)", hint="name another corpus with train.data"
        )
    return Sources(examples=tuple(kept), seed_examples=counts["seeds"], duplicates=counts["duplicates"], empty=counts["empty"])


def fingerprint(examples: Iterable[TrainingExample]) -> str:
    """SHA-256 over the rows in order; two data sets with the same one train alike."""
    digest = hashlib.sha256()
    for row in examples:
        line = json.dumps([row.id, row.instruction, row.input, row.output], ensure_ascii=False)
        digest.update(line.encode("utf-8", "surrogatepass") + b"\n")
    return digest.hexdigest()
