"""The rows to train on: the sources and the seed tasks, without duplicates, rows without an answer and what is held out.

Knows neither files, tokenizer nor model.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from self_instruct import randomness
from self_instruct.errors import DataError
from self_instruct.readers import Source, source
from self_instruct.records import ChatExample, Example, PromptExample, SeedTask, TrainingExample

SEEDS = "seeds"


@dataclass(frozen=True, kw_only=True, slots=True)
class Dropped:
    """A row that isn't trained on, and why: it repeats an earlier one, or its answer is empty."""

    id: str
    source: str
    reason: Literal["duplicate", "empty"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Sources:
    """What is trained on, seeds first, with each example's source and its passes in an epoch; what is held out; what was dropped.

    `examples`, `weights` and `names` go together; `kinds` gives the kind of each source by its name. `instructions`: different ones
    among the examples and what is held out; `available`: among all rows, also those beyond `train.instructions`.
    """

    examples: tuple[Example, ...]
    weights: tuple[float, ...]
    names: tuple[str, ...]
    held_out: tuple[Example, ...]
    dropped: tuple[Dropped, ...]
    kinds: Mapping[str, str]
    instructions: int
    available: int

    @property
    def counts(self) -> dict[str, int]:
        """The examples of each source, in order."""
        return dict(Counter(self.names))

    @property
    def seed_examples(self) -> int:
        return self.names.count(SEEDS)

    @property
    def drops(self) -> dict[str, int]:
        """The dropped rows by reason."""
        found = Counter(one.reason for one in self.dropped)
        return {"duplicate": found["duplicate"], "empty": found["empty"]}


def from_seeds(tasks: Iterable[SeedTask]) -> tuple[TrainingExample, ...]:
    """One example an instance of every seed task (paper, section 2.4: the seeds are part of the training data)."""
    return tuple(
        TrainingExample(id=f"{task.id}.{number}", instruction=task.instruction, input=instance.input, output=instance.output)
        for task in tasks
        for number, instance in enumerate(task.instances)
    )


def answer(example: Example) -> str:
    """The text that a row is trained on."""
    if isinstance(example, TrainingExample):
        return example.output
    return example.completion if isinstance(example, PromptExample) else example.messages[-1][1]


def combine(
    seeds: Iterable[TrainingExample],
    sources: Sequence[Source],
    weights: Sequence[float] = (),
    *,
    have_tokens: Callable[[Sequence[str]], Sequence[bool]] | None = None,
    instructions: int | None = None,
    held_out: float = 0.0,
    seed: int = 0,
) -> Sources:
    """Join the rows, seeds first; drop those whose answer has no tokens or only white space, then those that repeat another.

    Of what is left `instructions` are taken with all their rows: the seeds' first, among them and behind them those whose keyed
    number, a function of (`seed`, text), is lowest. So a smaller set is part of a larger one (paper, section 5.5).

    `weights` are the passes over each source in an epoch, 1 where there are none; a seed's is 1. Two rows repeat one
    another where all their texts are equal, without white space around. `have_tokens` tells of many answers which leave
    something to train on. Sources that share an id with an earlier one get their name in front of all of theirs.

    Of the instructions that no seed has the share `held_out` is kept out of training, with all their rows: those whose
    keyed number, a function of (`seed`, text), is lowest. So neither the order of rows nor their number matters.

    Raises DataError where nothing is left to train on, and where two rows of one source have one id (the template of a
    row is drawn by its id).
    """
    first = source(SEEDS, SEEDS, seeds)
    given = [first, *_named_apart(sources, {row.id for row in first.examples})]
    passes = [1.0, *(weights or (1.0,) * len(sources))]
    assert len(passes) == len(given), (len(weights), len(sources))
    seen: set[tuple[object, ...]] = set()
    identities: set[str] = set()
    dropped: list[Dropped] = []
    kept: list[tuple[Example, str, float, str]] = []
    for one, weight in zip(given, passes, strict=True):
        for row, task, full in zip(one.examples, one.instructions, _full(one.examples, have_tokens), strict=True):
            texts = _texts(row)
            if not full or texts in seen:
                dropped.append(Dropped(id=row.id, source=one.name, reason="duplicate" if full else "empty"))
                continue
            if row.id in identities:
                raise DataError(
                    f"training data: {one.name}: id '{row.id}' is given to two different rows", hint="give each row its own id"
                )
            identities.add(row.id)
            seen.add(texts)
            kept.append((row, one.name, weight, task.strip()))
    if not kept:
        empty = sum(one.reason == "empty" for one in dropped)
        raise DataError(f"training data: no row is left ({empty} without an output)", hint="name another corpus with train.data")
    tasks = {task for _, _, _, task in kept}
    own = {task for _, name, _, task in kept if name == SEEDS}
    taken = set(sorted(tasks, key=lambda text: (text not in own, randomness.key(seed, "subset", text), text))[:instructions])
    kept = [one for one in kept if one[3] in taken]
    out = _held_out(taken - own, held_out, seed)
    training = [one for one in kept if one[1] == SEEDS or one[3] not in out]
    if not training:
        raise DataError(
            f"training data: all {len(kept)} rows are held out (train.held_out={held_out:g} of {len(out)} instructions)",
            hint="set train.held_out=0, or name more data",
        )
    return Sources(
        examples=tuple(row for row, _, _, _ in training),
        weights=tuple(weight for _, _, weight, _ in training),
        names=tuple(name for _, name, _, _ in training),
        held_out=tuple(row for row, name, _, task in kept if name != SEEDS and task in out),
        dropped=tuple(dropped),
        kinds={one.name: one.kind for one in given},
        instructions=len(taken),
        available=len(tasks),
    )


def _named_apart(sources: Sequence[Source], identities: set[str]) -> list[Source]:
    """The sources with a name each of their own, and with no id in two of them nor among the given ones."""
    names: set[str] = {SEEDS}
    found: list[Source] = []
    for one in sources:
        name, number = one.name, 1
        while name in names:
            number += 1
            name = f"{one.name}-{number}"
        names.add(name)
        rows = one.examples
        if not identities.isdisjoint(row.id for row in rows):
            rows = tuple(replace(row, id=f"{name}/{row.id}") for row in rows)
        identities.update(row.id for row in rows)
        found.append(replace(one, name=name, examples=rows))
    return found


def _full(rows: Sequence[Example], have_tokens: Callable[[Sequence[str]], Sequence[bool]] | None) -> list[bool]:
    """Which rows have an answer."""
    answers = [answer(row).strip() for row in rows]
    told = have_tokens(answers) if have_tokens and answers else [True] * len(answers)
    return [bool(text) and some for text, some in zip(answers, told, strict=True)]


def _texts(row: Example) -> tuple[object, ...]:
    """What makes two rows the same, by the kind of row."""
    if isinstance(row, TrainingExample):
        return (TrainingExample, row.instruction.strip(), row.input.strip(), row.output.strip())
    if isinstance(row, PromptExample):
        return (PromptExample, row.prompt.strip(), row.completion.strip())
    return (ChatExample, *((role, content.strip()) for role, content in row.messages))


def _held_out(instructions: set[str], share: float, seed: int) -> set[str]:
    """The share of the instructions, rounded to a whole number of them, whose keyed number is lowest."""
    wanted = round(share * len(instructions))
    return set(sorted(instructions, key=lambda text: (randomness.key(seed, "held_out", text), text))[:wanted]) if wanted else set()


def fingerprint(examples: Iterable[Example]) -> str:
    """SHA-256 over the rows in order; two data sets with the same one train alike."""
    digest = hashlib.sha256()
    for row in examples:
        texts: list[object]
        if isinstance(row, TrainingExample):
            texts = [row.instruction, row.input, row.output]
        elif isinstance(row, PromptExample):
            texts = [row.prompt, row.completion]
        else:
            texts = [row.messages]
        line = json.dumps([row.id, *texts], ensure_ascii=False)
        digest.update(line.encode("utf-8", "surrogatepass") + b"\n")
    return digest.hexdigest()
