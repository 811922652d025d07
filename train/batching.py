"""The order of the data: which examples form a step, in which template, and which run together.

Knows no model. Everything here is a pure function of (seed, epoch, example), never of what was drawn before it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from self_instruct import randomness, template
from self_instruct.records import TrainingExample
from self_instruct.template import Rendered
from self_instruct.train.masking import Encoded, Tokenize, encode


def steps(seed: int, epoch: int, examples: int, batch_size: int) -> tuple[tuple[int, ...], ...]:
    """The example numbers of each optimizer step of an epoch, in a random order of its own.

    The last step takes what is left.
    """
    order = list(range(examples))
    randomness.generator(seed, "order", epoch).shuffle(order)
    return tuple(tuple(order[i : i + batch_size]) for i in range(0, examples, batch_size))


def micro_batches(lengths: Sequence[int], size: int, rank: int = 0, processes: int = 1) -> tuple[tuple[int, ...], ...]:
    """The positions within a step that this rank runs together: at most `size`, of like length, the longest first.

    Examples are dealt to the ranks by length, so that all have about as many tokens. A rank gets none
    where a step has fewer examples than there are processes.
    """
    by_length = sorted(range(len(lengths)), key=lambda position: (-lengths[position], position))
    share = by_length[rank::processes]
    return tuple(tuple(share[i : i + size]) for i in range(0, len(share), size))


@dataclass(frozen=True, kw_only=True)
class Preparation:
    """How an example becomes ids in a given epoch."""

    tokenize: Tokenize
    eos_id: int
    limit: int
    prompt_weight: float
    seed: int
    template_draw: Literal["epoch", "once"]

    def render(self, example: TrainingExample, epoch: int) -> Rendered:
        """The example in the template that belongs to (seed, epoch, id); with `once` it is the same in every epoch."""
        draws = randomness.generator(self.seed, "template", epoch if self.template_draw == "epoch" else 0, example.id)
        return template.draw(example.instruction, example.input, example.output, draws)

    def encode(self, example: TrainingExample, epoch: int) -> Encoded:
        return encode(
            example.id,
            self.render(example, epoch),
            self.tokenize,
            eos_id=self.eos_id,
            limit=self.limit,
            prompt_weight=self.prompt_weight,
        )
