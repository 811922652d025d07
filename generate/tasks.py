"""Steps 2 and 3 for one accepted instruction, and step 4 for its instances (paper, sections 2.2 and 2.3).

Knows neither the pool nor the order of work. Given the completions, a task is a pure function of its instruction.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from self_instruct.contamination import Contamination
from self_instruct.engine import Engine
from self_instruct.generate import clean, parsing, prompts
from self_instruct.records import (
    Completion,
    Instance,
    Instruction,
    LabelledInstruction,
    Rejection,
    Request,
    Sampling,
    TaskInstance,
)
from self_instruct.settings import GenerateSettings

SHOWN_COMPLETIONS = 3
LEAST_NEW_TOKENS = 16
SPECIAL_TOKENS = 8  # more than any tokenizer puts around a text
Tell = Callable[[str, Any], None]
CountTokens = Callable[[str], int]


@dataclass(frozen=True, kw_only=True)
class Task:
    """What steps 2 and 3 made of one instruction."""

    labelled: LabelledInstruction
    instances: tuple[TaskInstance, ...]
    rejections: tuple[Rejection, ...]


@dataclass(frozen=True, kw_only=True)
class _Parsed:
    """`rows` are the dropped examples: rule, text, detail."""

    kept: list[Instance]
    rows: list[tuple[str, str, str]]


def new_tokens(prompt: str, wanted: int, context: int, count_tokens: CountTokens) -> int:
    """Tokens that an answer may have: `wanted`, or the fewer that `prompt` leaves of the context (none: 0 or less).

    Counts only where it matters: an ASCII character is one token at most, in any tokenizer.
    """
    if prompt.isascii() and len(prompt) + SPECIAL_TOKENS + wanted <= context:
        return wanted
    return min(wanted, context - count_tokens(prompt))


class TaskMaker:
    """Asks `engine` for steps 2 and 3. `tell` hears of each label, instance and rejection as it comes."""

    def __init__(
        self,
        settings: GenerateSettings,
        demonstrations: prompts.Demonstrations,
        engine: Engine,
        contamination: Contamination,
        *,
        count_tokens: CountTokens,
        context: int,
        tell: Tell,
    ) -> None:
        self._settings, self._demonstrations, self._engine = settings, demonstrations, engine
        self._contamination, self._count_tokens, self._context, self._tell = contamination, count_tokens, context, tell
        self.last: deque[str] = deque(maxlen=SHOWN_COMPLETIONS)

    async def make(self, instruction: Instruction, priority: int) -> Task:
        """Both steps, one after the other."""
        labelled = await self.label(instruction, priority)
        return await self.instantiate(labelled, priority)

    async def label(self, instruction: Instruction, priority: int) -> LabelledInstruction | Task:
        """Step 2. An instruction that doesn't fit behind the demonstrations is a task without instances."""
        prompt = prompts.classification(self._demonstrations, instruction.text)
        if self._new_tokens(prompt, 1) < 1:
            return self._too_long(LabelledInstruction(instruction=instruction, is_classification=False, margin=0.0), prompt)
        answer = await self._engine.generate(
            Request(
                id=f"classify-{instruction.id}",
                prompt=prompt,
                sampling=Sampling(max_tokens=1),
                choices=(prompts.YES, prompts.NO),
                priority=priority,
                parents=(instruction.id,),
            )
        )
        yes, no = answer.choice_logprobs
        labelled = LabelledInstruction(instruction=instruction, is_classification=yes > no, margin=yes - no)
        self._tell("label", labelled)
        return labelled

    async def instantiate(self, labelled: LabelledInstruction | Task, priority: int) -> Task:
        """Step 3, and step 4 for what it gives. What is a task already stays so."""
        if isinstance(labelled, Task):
            return labelled
        instruction, settings, shown = labelled.instruction, self._settings, self._demonstrations
        if labelled.is_classification:
            prompt, limit = prompts.output_first(shown, instruction.text), settings.output_first_tokens
        else:
            prompt, limit = prompts.input_first(shown, instruction.text), settings.input_first_tokens
        new = self._new_tokens(prompt, limit)
        if new < min(LEAST_NEW_TOKENS, limit):
            return self._too_long(labelled, prompt)
        completion = await self._engine.generate(
            Request(
                id=f"instances-{instruction.id}",
                prompt=prompt,
                sampling=Sampling(
                    max_tokens=new,
                    presence_penalty=settings.instance_presence_penalty,
                    stop=prompts.instance_stops(settings.max_instances),
                ),
                priority=priority,
                parents=(instruction.id,),
            )
        )
        self.last.append(completion.text)
        parsed = self._filter(completion, is_classification=labelled.is_classification)
        rejections = tuple(
            Rejection(
                id=f"{completion.request_id}-{order:02d}",
                step="instance",
                rule=rule,
                text=text,
                detail=detail,
                parent=instruction.id,
            )
            for order, (rule, text, detail) in enumerate(parsed.rows)
        )
        instances = tuple(
            TaskInstance(
                id=f"{instruction.id}-i{order}",
                instruction_id=instruction.id,
                order=order,
                input=instance.input,
                output=instance.output,
            )
            for order, instance in enumerate(parsed.kept)
        )
        for record in instances:
            self._tell("instance", record)
        for rejection in rejections:
            self._tell("rejection", rejection)
        return Task(labelled=labelled, instances=instances, rejections=rejections)

    # Step 4 for instances.
    def _filter(self, completion: Completion, *, is_classification: bool) -> _Parsed:
        text = parsing.readable(completion.text)
        parsed = parsing.output_first(text) if is_classification else parsing.input_first(text)
        cut = completion.finish_reason == "length"
        # Where the cut fell before the last example's output, that example is the one cut off, not the whole one before it.
        clean_ones, dropped = clean.clean(
            parsed.instances, cut_off=cut and parsed.open_end is None, max_instances=self._settings.max_instances
        )
        rows = [("malformed", example, "") for example in parsed.malformed]
        if parsed.open_end:
            rows.append(("cut_off" if cut else "malformed", parsed.open_end, ""))
        rows += [(rule, _shown(instance), "") for rule, instance in dropped]
        kept = []
        for instance in clean_ones:
            if overlap := self._contamination.find(instance.input):
                rows.append(("contaminated", _shown(instance), overlap.detail))
            else:
                kept.append(instance)
        return _Parsed(kept=kept, rows=rows)

    def _new_tokens(self, prompt: str, wanted: int) -> int:
        return new_tokens(prompt, wanted, self._context, self._count_tokens)

    def _too_long(self, labelled: LabelledInstruction, prompt: str) -> Task:
        instruction = labelled.instruction
        rejection = Rejection(
            id=f"instances-{instruction.id}-00",
            step="instance",
            rule="too_long_for_context",
            text=instruction.text,
            detail=f"{self._count_tokens(prompt)} of {self._context} tokens",
            parent=instruction.id,
        )
        self._tell("rejection", rejection)
        return Task(labelled=labelled, instances=(), rejections=(rejection,))


def _shown(instance: Instance) -> str:
    return f"Input: {instance.input}\nOutput: {instance.output}"
