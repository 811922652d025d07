"""The four steps of Self-Instruct (paper, figure 2): bootstrap, classify, instantiate, filter.

Knows nothing of files, folders or which engine answers. Given the completions, the result is a pure function of
the settings, the seeds and the demonstrations, whatever the timing.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from self_instruct.engine import Engine
from self_instruct.errors import DataError
from self_instruct.generate import clean, parsing, prompts, yields
from self_instruct.generate.pool import Pool
from self_instruct.generate.window import run_in_order
from self_instruct.novelty import NoveltyIndex
from self_instruct.randomness import key
from self_instruct.records import (
    Completion,
    Instruction,
    LabelledInstruction,
    Rejection,
    Request,
    Sampling,
    SeedTask,
    TaskInstance,
)
from self_instruct.rules import Rules
from self_instruct.settings import Settings

NEAREST = 10  # neighbours recorded with each instruction (authors' script: most_similar_instructions)
SHOWN_COMPLETIONS = 3
LEAST_NEW_TOKENS = 16
Tell = Callable[[str, Any], None]


@dataclass(kw_only=True)
class Result:
    """What a run made, each list in an order that doesn't depend on timing."""

    instructions: list[LabelledInstruction] = field(default_factory=list)
    instances: list[TaskInstance] = field(default_factory=list)
    rejections: list[Rejection] = field(default_factory=list)
    requests: int = 0
    candidates: int = 0
    stopped_by: str = ""


@dataclass(kw_only=True)
class Task:
    """What steps 2 and 3 made of one instruction."""

    labelled: LabelledInstruction
    instances: list[TaskInstance]
    rejections: list[Rejection]


class Pipeline:
    """One run. `tell` hears of every accepted and rejected record as it comes; `count_tokens` counts as the engine does."""

    def __init__(
        self,
        settings: Settings,
        seeds: Sequence[SeedTask],
        demonstrations: prompts.Demonstrations,
        engine: Engine,
        *,
        count_tokens: Callable[[str], int],
        context: int,
        tell: Tell = lambda kind, record: None,
    ) -> None:
        self._settings, self._generate = settings, settings.generate
        self._demonstrations, self._engine = demonstrations, engine
        self._count_tokens, self._context, self._tell = count_tokens, context, tell
        self._pool = Pool(seeds, settings.run.seed)
        self._rules = Rules(settings.generate)
        self._novelty = NoveltyIndex()
        self._novelty.extend((task.id, task.instruction) for task in seeds)
        # ROUGE-L sees a-z0-9 alone: in other scripts a text scores 0 with itself, so equal texts are looked up.
        self._texts = {task.instruction: task.id for task in seeds}
        self._yield = yields.Yield(settings.generate)
        self._parents: dict[int, tuple[str, ...]] = {}
        self._rejections: list[Rejection] = []
        self._tasks: dict[str, asyncio.Future[Task]] = {}
        self._last: deque[str] = deque(maxlen=SHOWN_COMPLETIONS)
        self._last_instances: deque[str] = deque(maxlen=SHOWN_COMPLETIONS)
        self._failed: asyncio.Future[Task] | None = None
        self._barren = 0  # tasks of steps 2 and 3 that ended without an instance, before the first with one
        self._fruitful = False

    async def run(self) -> Result:
        """All four steps. Raises DataError where nothing acceptable comes, and what the engine raises."""
        try:
            requests = await run_in_order(self._bootstrap, self._commit, lag=self._generate.lag, limit=self._generate.max_requests)
            if not self._tasks:
                raise self._nothing("instruction", self._rejections)
            tasks = await asyncio.gather(*self._tasks.values())
        finally:
            for task in self._tasks.values():
                task.cancel()
            await asyncio.gather(*self._tasks.values(), return_exceptions=True)
        result = Result(
            instructions=[task.labelled for task in tasks],
            instances=[instance for task in tasks for instance in task.instances],
            rejections=self._rejections + [rejection for task in tasks for rejection in task.rejections],
            requests=requests,
            candidates=self._yield.candidates,
            stopped_by=self._yield.stopped_by or "max_requests",
        )
        if not result.instances:
            raise self._nothing("instance", result.rejections)
        return result

    # Step 1: eight instructions from the pool, and the model goes on with the list.
    async def _bootstrap(self, number: int) -> Completion:
        shown = self._pool.draw(number, from_seeds=self._generate.prompt_seeds, from_machine=self._generate.prompt_machine)
        self._parents[number] = tuple(entry.id for entry in shown)
        request = Request(
            id=f"bootstrap-{number:06d}",
            prompt=prompts.bootstrap([entry.text for entry in shown]),
            sampling=Sampling(
                max_tokens=self._generate.max_tokens,
                temperature=self._generate.temperature,
                top_p=self._generate.top_p,
                presence_penalty=self._generate.presence_penalty,
                frequency_penalty=self._generate.frequency_penalty,
                stop=prompts.bootstrap_stops(self._generate.last_item),
                seed=key(self._settings.run.seed, "sampling", number),
            ),
        )
        room = self._context - self._count_tokens(request.prompt)
        if room < LEAST_NEW_TOKENS:
            raise DataError(
                f"request {request.id}: its {len(shown)} instructions leave {room} of {self._context} tokens for new ones",
                hint="raise model.max_length, or lower generate.max_words",
            )
        sampling = replace(request.sampling, max_tokens=min(request.sampling.max_tokens, room))
        return await self._engine.generate(replace(request, sampling=sampling))

    # Step 4 for instructions, in the order of the requests' numbers.
    def _commit(self, number: int, completion: Completion) -> bool:
        if self._failed:
            self._failed.result()  # raises what ended steps 2 and 3 of an earlier instruction
        if not self._fruitful and self._barren >= self._generate.acceptance_window:
            ended = [task.result() for task in self._tasks.values() if task.done()]
            raise self._nothing("instance", [rejection for task in ended for rejection in task.rejections])
        self._last.append(completion.text)
        parents = self._parents.pop(number)
        items = parsing.instructions(completion.text)
        cut: list[str] = []
        if completion.finish_reason == "length":
            keep = len(items) - 1 if self._generate.cut_completion == "keep_complete" else 0
            items, cut = items[: max(keep, 0)], items[max(keep, 0) :]
        if not items and not cut:
            self._reject(completion.request_id, 0, "no_items", completion.text[:200], "", candidate=False)
        for position, text in enumerate(items):
            if self._yield.stopped_by:
                break
            self._judge(number, position, text, completion.request_id, parents)
        for position, text in enumerate(cut, start=len(items)):
            if not self._yield.stopped_by:
                self._reject(completion.request_id, position, "cut_off", text, "")
        return not self._yield.stopped_by

    def _judge(self, number: int, position: int, text: str, request_id: str, parents: tuple[str, ...]) -> None:
        text = self._rules.normalize(text)
        verdict = self._rules.check(text)
        if verdict:
            self._reject(request_id, position, verdict.rule, text, verdict.detail)
            return
        nearest = self._novelty.nearest(text, NEAREST)
        if nearest and nearest[0].score > self._generate.novelty_threshold:
            self._reject(request_id, position, "not_novel", text, f"{nearest[0].id} {nearest[0].score:.4f}")
            return
        if text in self._texts:
            self._reject(request_id, position, "not_novel", text, f"{self._texts[text]} equal")
            return
        instruction = Instruction(
            id=f"task-{number:06d}-{position:02d}",
            text=text,
            request=number,
            position=position,
            parents=parents,
            nearest=nearest,
        )
        self._pool.add(instruction)
        self._novelty.add(instruction.id, text)
        self._texts[text] = instruction.id
        self._tell("instruction", instruction)
        self._yield.count(accepted=True)
        self._tasks[instruction.id] = asyncio.ensure_future(self._make_task(instruction))
        self._tasks[instruction.id].add_done_callback(self._note_end)

    def _note_end(self, task: asyncio.Future[Task]) -> None:
        """What must end the run early: a failure, or only tasks without an instance."""
        if task.cancelled():
            return
        if task.exception() is not None:
            self._failed = self._failed or task
        elif task.result().instances:
            self._fruitful = True
        else:
            self._barren += 1

    def _reject(self, request_id: str, position: int, rule: str, text: str, detail: str, *, candidate: bool = True) -> None:
        rejection = Rejection(
            id=f"{request_id}-{position:02d}", step="instruction", rule=rule, text=text, detail=detail, parent=request_id
        )
        self._rejections.append(rejection)
        self._tell("rejection", rejection)
        self._yield.count(accepted=False, candidate=candidate)

    # Steps 2 and 3 for one accepted instruction, while step 1 goes on.
    async def _make_task(self, instruction: Instruction) -> Task:
        prompt = prompts.classification(self._demonstrations, instruction.text)
        if self._count_tokens(prompt) + 1 > self._context:
            return self._too_long(LabelledInstruction(instruction=instruction, is_classification=False, margin=0.0), prompt)
        answer = await self._engine.generate(
            Request(
                id=f"classify-{instruction.id}",
                prompt=prompt,
                sampling=Sampling(max_tokens=1),
                choices=(prompts.YES, prompts.NO),
                priority=1,
            )
        )
        yes, no = answer.choice_logprobs
        labelled = LabelledInstruction(instruction=instruction, is_classification=yes > no, margin=yes - no)
        self._tell("label", labelled)
        return await self._instantiate(labelled)

    async def _instantiate(self, labelled: LabelledInstruction) -> Task:
        text, generate = labelled.instruction.text, self._generate
        if labelled.is_classification:
            prompt, limit, parse = (
                prompts.output_first(self._demonstrations, text),
                generate.output_first_tokens,
                parsing.output_first,
            )
        else:
            prompt, limit, parse = prompts.input_first(self._demonstrations, text), generate.input_first_tokens, parsing.input_first
        room = self._context - self._count_tokens(prompt)
        if room < LEAST_NEW_TOKENS:
            return self._too_long(labelled, prompt)
        completion = await self._engine.generate(
            Request(
                id=f"instances-{labelled.instruction.id}",
                prompt=prompt,
                sampling=Sampling(
                    max_tokens=min(limit, room),
                    presence_penalty=generate.instance_presence_penalty,
                    stop=prompts.instance_stops(generate.max_instances),
                ),
                priority=1,
            )
        )
        self._last_instances.append(completion.text)
        # Step 4 for instances.
        parsed = parse(completion.text)
        cut = completion.finish_reason == "length"
        # Where the cut fell before the last example's output, that example is the one cut off, not the whole one before it.
        kept, dropped = clean.clean(parsed.instances, cut_off=cut and parsed.open_end is None, max_instances=generate.max_instances)
        rows = [("malformed", text) for text in parsed.malformed]
        if parsed.open_end:
            rows.append(("cut_off" if cut else "malformed", parsed.open_end))
        rows += [(rule, f"Input: {instance.input}\nOutput: {instance.output}") for rule, instance in dropped]
        rejections = [
            Rejection(
                id=f"{completion.request_id}-{order:02d}",
                step="instance",
                rule=rule,
                text=row,
                detail="",
                parent=labelled.instruction.id,
            )
            for order, (rule, row) in enumerate(rows)
        ]
        instances = [
            TaskInstance(
                id=f"{labelled.instruction.id}-i{order}",
                instruction_id=labelled.instruction.id,
                order=order,
                input=instance.input,
                output=instance.output,
            )
            for order, instance in enumerate(kept)
        ]
        for instance in instances:
            self._tell("instance", instance)
        for rejection in rejections:
            self._tell("rejection", rejection)
        return Task(labelled=labelled, instances=instances, rejections=rejections)

    def _too_long(self, labelled: LabelledInstruction, prompt: str) -> Task:
        rejection = Rejection(
            id=f"instances-{labelled.instruction.id}-00",
            step="instance",
            rule="too_long_for_context",
            text=labelled.instruction.text,
            detail=f"{self._count_tokens(prompt)} of {self._context} tokens",
            parent=labelled.instruction.id,
        )
        self._tell("rejection", rejection)
        return Task(labelled=labelled, instances=[], rejections=[rejection])

    def _nothing(self, what: str, rejections: list[Rejection]) -> DataError:
        last = " | ".join(repr(text[:120]) for text in (self._last if what == "instruction" else self._last_instances))
        return DataError(
            f"no acceptable {what} in {self._yield.candidates} candidates; rejected: "
            f"{yields.sentence(yields.by_rule(rejections))}; last completions: {last}",
            hint="try another model or more seeds, or look at journal/completions.jsonl; the rules are generate.* settings",
        )
