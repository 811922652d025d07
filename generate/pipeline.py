"""The four steps of Self-Instruct (paper, figure 2): bootstrap, classify, instantiate, filter.

Knows nothing of files, folders or which engine answers. Given the completions, the result is a pure function of
the settings, the seeds, the demonstrations and the evaluation tasks, whatever the timing.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

from self_instruct.contamination import Contamination
from self_instruct.engine import Engine
from self_instruct.errors import DataError
from self_instruct.generate import parsing, prompts, yields
from self_instruct.generate.flow import InFlight, in_flight
from self_instruct.generate.pool import Pool, shown_seeds
from self_instruct.generate.tasks import LEAST_NEW_TOKENS, SHOWN_COMPLETIONS, CountTokens, Task, TaskMaker, Tell, new_tokens
from self_instruct.generate.window import START, round_window, run_in_order, window
from self_instruct.novelty import NoveltyIndex
from self_instruct.randomness import key
from self_instruct.records import (
    Completion,
    EvalItem,
    Instruction,
    LabelledInstruction,
    Neighbour,
    Rejection,
    Request,
    Sampling,
    SeedTask,
    TaskInstance,
)
from self_instruct.rules import Rules
from self_instruct.settings import Settings

NEAREST = 10  # neighbours recorded with each instruction (authors' script: most_similar_instructions)
SPARE = 1.25  # requests open for each that the rest of the instructions is likely to take (ours)
Given = TypeVar("Given")
Made = TypeVar("Made")


@dataclass(kw_only=True, repr=False)  # at its end `asyncio.run` makes a repr of what it returns, twice: seconds at 52k tasks
class Result:
    """What a run made, each list in an order that doesn't depend on timing."""

    instructions: list[LabelledInstruction] = field(default_factory=list)
    instances: list[TaskInstance] = field(default_factory=list)
    rejections: list[Rejection] = field(default_factory=list)
    requests: int = 0
    candidates: int = 0
    stopped_by: str = ""


class Pipeline:
    """One run. `count_tokens` counts as the engine does. `tell` hears of every accepted and rejected record as it comes, and of
    the number of a bootstrapping request that is `sent` or `committed`."""

    def __init__(
        self,
        settings: Settings,
        seeds: Sequence[SeedTask],
        demonstrations: prompts.Demonstrations,
        engine: Engine,
        *,
        count_tokens: CountTokens,
        context: int,
        evaluation: Iterable[EvalItem] = (),
        tell: Tell = lambda kind, record: None,
    ) -> None:
        self._settings, self._generate = settings, settings.generate
        self._engine = InFlight(engine, in_flight(settings))
        self._count_tokens, self._context, self._tell = count_tokens, context, tell
        shown = shown_seeds(seeds, settings.generate)
        self._pool = Pool(shown, settings.run.seed)
        self._longest = sorted((task.instruction for task in shown), key=len)[-settings.generate.prompt_seeds :]
        self._rules = Rules(settings.generate)
        self._contamination = Contamination(evaluation)
        self._novelty = NoveltyIndex()
        self._novelty.extend((task.id, task.instruction) for task in seeds)
        # ROUGE-L sees a-z0-9 alone: in other scripts a text scores 0 with itself, so equal texts are looked up.
        self._texts = {task.instruction: task.id for task in seeds}
        self._tasks = TaskMaker(
            settings.generate, demonstrations, self._engine, self._contamination,
            count_tokens=count_tokens, context=context, tell=tell,
        )  # fmt: skip
        self._yield = yields.Yield(settings.generate)
        self._parents: dict[int, tuple[str, ...]] = {}
        self._rejections: list[Rejection] = []
        self._accepted: list[Instruction] = []
        self._made: list[asyncio.Future[Task]] = []  # of the accepted instructions, in their order
        self._looked_at = 0
        self._fruitful = False
        self._failed: asyncio.Future[Task] | None = None
        self._last: deque[str] = deque(maxlen=SHOWN_COMPLETIONS)
        self._most_tokens: int | None = None

    async def run(self) -> Result:
        """All four steps. Raises DataError where nothing acceptable comes, and what the engine raises."""
        try:
            requests = await run_in_order(self._bootstrap, self._commit, opened=self._opened, limit=self._generate.max_requests)
            if not self._accepted:
                raise self._nothing("instruction", self._rejections)
            if self._generate.order == "rounds":
                tasks = await self._in_rounds(self._tasks.instantiate, await self._in_rounds(self._tasks.label, self._accepted))
            else:
                tasks = await asyncio.gather(*self._made)
                self._look_at_tasks()
        finally:
            await _cancel(self._made)
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

    def _opened(self, committed: int) -> int:
        """Requests open after so many commits: what the order of work allows, and not many more than the rest needs."""
        if self._generate.order == "rounds":
            return round_window(committed, self._generate.round_size)
        most, accepted = window(committed, self._generate.lag), self._yield.accepted
        if not accepted:
            return most
        needed = (self._generate.target_instructions - accepted) * committed / accepted
        return min(most, max(START, math.ceil(SPARE * needed)))

    # Step 1: eight instructions from the pool, and the model goes on with the list.
    async def _bootstrap(self, number: int) -> Completion:
        generate = self._generate
        shown = self._pool.draw(number, from_seeds=generate.prompt_seeds, from_machine=generate.prompt_machine)
        self._parents[number] = parents = tuple(entry.id for entry in shown)
        self._tell("sent", number)
        prompt = prompts.bootstrap([entry.text for entry in shown])
        new = new_tokens(prompt, generate.max_tokens, self._context, self._count_tokens)
        if new < min(LEAST_NEW_TOKENS, generate.max_tokens):
            raise DataError(
                f"request bootstrap-{number:06d}: its {len(shown)} instructions leave {new} of {self._context} tokens for others",
                hint="raise model.max_length, or lower generate.max_words",
            )
        return await self._engine.generate(
            Request(
                id=f"bootstrap-{number:06d}",
                prompt=prompt,
                sampling=Sampling(
                    max_tokens=new,
                    temperature=generate.temperature,
                    top_p=generate.top_p,
                    presence_penalty=generate.presence_penalty,
                    frequency_penalty=generate.frequency_penalty,
                    stop=prompts.bootstrap_stops(generate.last_item),
                    seed=key(self._settings.run.seed, "sampling", number),
                ),
                priority=number,  # commits wait for the oldest
                parents=parents,
            )
        )

    # Step 4 for instructions, in the order of the requests' numbers.
    def _commit(self, number: int, completion: Completion) -> bool:
        self._tell("committed", number)
        self._look_at_tasks()
        text = parsing.readable(completion.text)
        self._last.append(text)
        parents = self._parents.pop(number)
        items = parsing.instructions(text)
        cut: list[str] = []
        if completion.finish_reason == "length":
            keep = len(items) - 1 if self._generate.cut_completion == "keep_complete" else 0
            items, cut = items[: max(keep, 0)], items[max(keep, 0) :]
        if not items and not cut:
            self._reject(completion.request_id, 0, "no_items", text[:200], candidate=False)
        for position, item in enumerate(items):
            if self._yield.stopped_by:
                break
            self._judge(number, position, item, completion.request_id, parents)
        for position, item in enumerate(cut, start=len(items)):
            if not self._yield.stopped_by:
                self._reject(completion.request_id, position, "cut_off", item)
        return not self._yield.stopped_by

    def _judge(self, number: int, position: int, text: str, request_id: str, parents: tuple[str, ...]) -> None:
        text = self._rules.normalize(text)
        verdict = self._rules.check(text)
        if verdict:
            self._reject(request_id, position, verdict.rule, text, verdict.detail)
            return
        if tokens := self._too_many_tokens(text):
            self._reject(request_id, position, "too_long", text, f"{tokens} tokens")
            return
        if overlap := self._contamination.find(text):
            self._reject(request_id, position, "contaminated", text, overlap.detail)
            return
        nearest = self._novelty.nearest(text, NEAREST)
        if nearest and nearest[0].score > self._generate.novelty_threshold:
            self._reject(request_id, position, "not_novel", text, nearest=nearest[0])
            return
        if text in self._texts:
            # Its score with itself is the highest, even where that is 0.
            self._reject(request_id, position, "not_novel", text, "equal", nearest=replace(nearest[0], id=self._texts[text]))
            return
        instruction = Instruction(
            id=f"task-{number:06d}-{position:02d}",
            text=text,
            request=number,
            position=position,
            parents=parents,
            nearest=nearest,
        )
        self._accept(instruction)

    def _accept(self, instruction: Instruction) -> None:
        self._pool.add(instruction)
        self._novelty.add(instruction.id, instruction.text)
        self._texts[instruction.text] = instruction.id
        self._accepted.append(instruction)
        self._tell("instruction", instruction)
        self._yield.count(accepted=True)
        if self._generate.order == "window":
            # In line with the bootstrapping requests that this commit opens: behind what was open before, ahead of what comes
            # later. So a supply of such requests waits, and fills the gaps where commits wait for one long answer.
            committed = instruction.request + 1
            priority = committed + window(committed, self._generate.lag)
            task = asyncio.ensure_future(self._tasks.make(instruction, priority))
            task.add_done_callback(self._note_failure)
            self._made.append(task)

    def _too_many_tokens(self, text: str) -> int | None:
        """The tokens of an instruction with which a prompt, the other seeds being the longest, might leave no room; else none."""
        if self._most_tokens is None:
            seeds = self._count_tokens(prompts.bootstrap(self._longest))
            self._most_tokens = (self._context - LEAST_NEW_TOKENS - seeds) // max(self._generate.prompt_machine, 1)
        # A character beyond ASCII can be many tokens; one within it is one at most.
        if text.isascii() and len(text) + len(prompts.BOOTSTRAP_LEAD) < self._most_tokens:
            return None
        tokens = self._count_tokens(prompts.bootstrap([text]))  # with the lead: more than it adds to a prompt
        return tokens if tokens > self._most_tokens else None

    def _note_failure(self, task: asyncio.Future[Task]) -> None:
        if not task.cancelled() and task.exception() is not None:
            self._failed = self._failed or task

    def _look_at_tasks(self) -> None:
        """Raises what ends the run early: the failure of a task, or DataError where the first so many have no instance."""
        if self._failed:
            self._failed.result()
        if self._fruitful:
            return
        # In their order, so that no timing decides whether the run ends here.
        first = self._made[: self._generate.acceptance_window]
        while not self._fruitful and self._looked_at < len(first) and first[self._looked_at].done():
            self._fruitful = bool(first[self._looked_at].result().instances)
            self._looked_at += 1
        if not self._fruitful and self._looked_at == self._generate.acceptance_window:
            raise self._nothing("instance", [rejection for task in first for rejection in task.result().rejections])

    async def _in_rounds(self, step: Callable[[Given, int], Awaitable[Made]], given: Sequence[Given]) -> list[Made]:
        """What `step` makes of each, in rounds: one begins when the one before is over."""
        made: list[Made] = []
        for start in range(0, len(given), self._generate.round_size):
            open_ones = [asyncio.ensure_future(step(one, 0)) for one in given[start : start + self._generate.round_size]]
            try:
                made += await asyncio.gather(*open_ones)
            finally:
                await _cancel(open_ones)
        return made

    def _reject(
        self, parent: str, position: int, rule: str, text: str, detail: str = "", *,
        nearest: Neighbour | None = None, candidate: bool = True,
    ) -> None:  # fmt: skip
        identity = f"{parent}-{position:02d}"
        rejection = Rejection(id=identity, step="instruction", rule=rule, text=text, detail=detail, parent=parent, nearest=nearest)
        self._rejections.append(rejection)
        self._tell("rejection", rejection)
        self._yield.count(accepted=False, candidate=candidate)

    def _nothing(self, what: str, rejections: list[Rejection]) -> DataError:
        last = " | ".join(repr(text[:120]) for text in (self._last if what == "instruction" else self._tasks.last))
        return DataError(
            f"no acceptable {what} in {self._yield.candidates} candidates; rejected: "
            f"{yields.sentence(yields.by_rule(rejections))}; last completions: {last}",
            hint="try another model or more seeds, or look at journal/completions.jsonl; the rules are generate.* settings",
        )


async def _cancel(futures: Sequence[asyncio.Future[Made]]) -> None:
    for future in futures:
        future.cancel()
    await asyncio.gather(*futures, return_exceptions=True)
