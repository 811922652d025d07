"""The task pool: the seeds and the instructions that the model has added, in the order of their acceptance.

Knows nothing of filters or engines.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from self_instruct.errors import ConfigError
from self_instruct.randomness import generator
from self_instruct.records import Instruction, SeedTask
from self_instruct.settings import GenerateSettings


@dataclass(frozen=True, kw_only=True, slots=True)
class PoolEntry:
    """One instruction that a prompt can show."""

    id: str
    text: str


def shown_seeds(seeds: Sequence[SeedTask], settings: GenerateSettings) -> list[SeedTask]:
    """The seeds that prompts show: `generate.seed_subset` of them. Raises ConfigError where they don't fill a prompt."""
    shown = [task for task in seeds if task.is_classification or settings.seed_subset == "all"]
    needed = settings.prompt_seeds + settings.prompt_machine
    if len(shown) < needed:
        kind = "classification seed tasks (generate.seed_subset)" if settings.seed_subset == "classification" else "seed tasks"
        raise ConfigError(
            f"generate.prompt_seeds + generate.prompt_machine is {needed}, but there are {len(shown)} {kind}",
            hint="lower them, or add seed tasks: the first prompts show seeds alone",
        )
    return shown


class Pool:
    """Append-only; a draw names how many machine instructions it may see."""

    def __init__(self, seeds: Sequence[SeedTask], seed: int) -> None:
        self.seeds = [PoolEntry(id=task.id, text=task.instruction) for task in seeds]
        self.machine: list[PoolEntry] = []
        self._seed = seed

    def add(self, instruction: Instruction) -> None:
        self.machine.append(PoolEntry(id=instruction.id, text=instruction.text))

    def draw(self, number: int, *, from_seeds: int, from_machine: int) -> list[PoolEntry]:
        """The instructions that request `number` shows, shuffled (paper, section 2.2: 6 + 2).

        What the machine's instructions can't fill comes from the seeds, as in the authors' script. A pure function
        of (seed, number, the pool as it is).
        """
        draws = generator(self._seed, "bootstrap", number)
        shown = draws.sample(self.machine, min(from_machine, len(self.machine)))
        shown += draws.sample(self.seeds, min(from_seeds + from_machine - len(shown), len(self.seeds)))
        draws.shuffle(shown)
        return shown
