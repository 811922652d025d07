"""The order of the data: which examples form a step, in which template, and which run together.

Knows no model. Everything here is a pure function of (seed, epoch, example), never of what was drawn before it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from self_instruct import randomness, template
from self_instruct.records import ChatExample, Example, PromptExample
from self_instruct.template import CHAT, VERBATIM, Rendered
from self_instruct.train.masking import Encoded, before_end, join
from self_instruct.train.tokens import Tokens

HEAD = 64  # characters of an answer that nearly always tell whether it has tokens


def steps(
    seed: int, epoch: int, weights: Sequence[float], batch_size: int, names: Sequence[str] = ()
) -> tuple[tuple[int, ...], ...]:
    """The example numbers of each optimizer step of an epoch, in a random order of its own.

    `weights` are the passes over each example in an epoch: 2 is two copies; 0.5 takes half of the examples of its source
    (`names`, of each example), and the next epoch goes on with the others. So every epoch has as many examples. The last step
    takes what is left.
    """
    order = [number for number, weight in enumerate(weights) for _ in range(math.floor(weight))]
    for (name, weight), numbers in _partial(weights, names).items():
        wanted = _share(weight, len(numbers))
        randomness.generator(seed, "share", name, repr(weight)).shuffle(numbers)
        order += [numbers[(epoch * wanted + place) % len(numbers)] for place in range(wanted)]
    randomness.generator(seed, "order", epoch).shuffle(order)
    return tuple(tuple(order[i : i + batch_size]) for i in range(0, len(order), batch_size))


def epoch_examples(weights: Sequence[float], names: Sequence[str] = ()) -> int:
    """How many examples an epoch of `steps` has: the same in each."""
    shares = sum(_share(weight, len(numbers)) for (_, weight), numbers in _partial(weights, names).items())
    return sum(math.floor(weight) for weight in weights) + shares


def epoch_steps(weights: Sequence[float], batch_size: int, names: Sequence[str] = ()) -> int:
    """How many steps an epoch has: the same in each."""
    return math.ceil(epoch_examples(weights, names) / batch_size)


def _partial(weights: Sequence[float], names: Sequence[str]) -> dict[tuple[str, float], list[int]]:
    """The numbers of the examples whose weight isn't whole, by source and weight."""
    found: dict[tuple[str, float], list[int]] = {}
    for number, weight in enumerate(weights):
        if weight != math.floor(weight):
            found.setdefault((names[number] if names else "", weight), []).append(number)
    return found


def _share(weight: float, examples: int) -> int:
    """How many of the examples a weight's fraction takes."""
    return round((weight - math.floor(weight)) * examples)


@dataclass(frozen=True, kw_only=True)
class Preparation:
    """How an example becomes ids in a given epoch.

    `template` is for examples of instruction, input and output; prompts stay as they are, and conversations always take
    the tokenizer's chat template. With `encoder_decoder` a completion is a text of its own, not the end of one.
    """

    tokens: Tokens
    eos_id: int
    limit: int
    prompt_weight: float = 0.0
    seed: int = 0
    template_draw: Literal["epoch", "once"] = "epoch"
    template: Literal["forms", "chat"] = "forms"
    encoder_decoder: bool = False

    def render(self, example: Example, epoch: int) -> Rendered:
        """The example in the template that belongs to (seed, epoch, id); with `once` it is the same in every epoch.

        Raises what `Tokens.chat` raises.
        """
        if isinstance(example, PromptExample):
            return Rendered(prompt=example.prompt, completion=example.completion, form=VERBATIM)
        if isinstance(example, ChatExample):
            return self.tokens.chat(example.id, example.messages)
        if self.template == "chat":
            asked = template.user_turn(example.instruction, example.input)
            return self.tokens.chat(example.id, (("user", asked), ("assistant", example.output.strip())))
        draws = randomness.generator(self.seed, "template", epoch if self.template_draw == "epoch" else 0, example.id)
        return template.draw(example.instruction, example.input, example.output, draws)

    def encode_all(self, examples: Sequence[Example], epoch: int) -> list[Encoded]:
        """The examples as the model sees them in this epoch, in order; raises what `render` raises.

        Prompt and completion are tokenised apart. A completion that spells out its end ends there.
        """
        rendered = [self.render(example, epoch) for example in examples]
        prompts = self._prompts(rendered)
        completions = self._completions([one.completion for one in rendered])
        made = []
        for example, one, prompt, completion in zip(examples, rendered, prompts, completions, strict=True):
            end = self._chat_end if one.form == CHAT else self.eos_id
            body = before_end(completion, end, self.eos_id)
            made.append(join(example.id, one.form, prompt, body, end_id=end, limit=self.limit, prompt_weight=self.prompt_weight))
        return made

    def encode(self, example: Example, epoch: int) -> Encoded:
        return self.encode_all([example], epoch)[0]

    def have_tokens(self, answers: Sequence[str]) -> list[bool]:
        """Which answers leave something to train on before their end."""
        ends = {self.eos_id, self._chat_end} if self.template == "chat" else {self.eos_id}
        heads = self._completions([answer[:HEAD] for answer in answers])
        found = [bool(before_end(ids, *ends)) for ids in heads]
        doubtful = [number for number, some in enumerate(found) if not some and len(answers[number]) > HEAD]
        for number, ids in zip(doubtful, self._completions([answers[number] for number in doubtful]), strict=True):
            found[number] = bool(before_end(ids, *ends))
        return found

    def stop_ids(self, examples: Sequence[Example]) -> tuple[int, ...]:
        """The ids that end an answer of a model trained on these examples: end-of-text, and a chat's end of turn."""
        found = {self.eos_id}
        if self.template == "chat" or any(isinstance(example, ChatExample) for example in examples):
            found.add(self._chat_end)
        return tuple(sorted(found))

    @property
    def _chat_end(self) -> int:
        """What ends a chat's answer: the template's own end of turn, or end-of-text where it writes none."""
        return self.eos_id if self.tokens.turn_end is None else self.tokens.turn_end

    def _prompts(self, rendered: Sequence[Rendered]) -> list[list[int]]:
        """A chat's text has its own beginning-of-text where the model wants one; other prompts get the tokenizer's."""
        plain = iter(self.tokens.prompts([one.prompt for one in rendered if one.form != CHAT]))
        chats = iter(self.tokens.alone([one.prompt for one in rendered if one.form == CHAT]))
        return [next(chats if one.form == CHAT else plain) for one in rendered]

    def _completions(self, texts: Sequence[str]) -> list[list[int]]:
        if self.encoder_decoder:
            return self.tokens.alone([text.lstrip(" ") for text in texts])
        return self.tokens.continuations(texts)
