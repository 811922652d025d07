"""A deterministic fake engine for tests: answers are a pure function of the prompt and the seed.

Knows no model; nothing it gives says anything about one. It can be told to be slow, to fail or to die.
"""

from __future__ import annotations

import asyncio
import math
import re
from collections.abc import Callable

from self_instruct.engine import refuse_scoring
from self_instruct.errors import EngineDiedError, EngineError
from self_instruct.randomness import generator
from self_instruct.records import Completion, Request

VERBS = [
    "Describe",
    "Compare",
    "List",
    "Explain",
    "Summarize",
    "Translate",
    "Rewrite",
    "Rank",
    "Invent",
    "Classify",
    "Estimate",
    "Outline",
    "Criticize",
    "Recommend",
]
NOUNS = "river engine sonnet budget garden theorem recipe contract planet rumour bicycle orchestra vaccine harbour novel".split()  # noqa: SIM905
QUALITIES = "quiet ancient electric bitter playful distant orange fragile honest crowded silver hungry formal lazy".split()  # noqa: SIM905
PLACES = "Lisbon Nairobi Oslo Quito Hanoi Cairo Perth Lima Turin Kyoto Accra Leeds Minsk Porto Dakar Sofia".split()  # noqa: SIM905


def answer(request: Request, seed: int) -> str:
    """Text in the form that the prompt asks for, told by the prompt's last line."""
    draws = generator(seed, "scripted", request.prompt, request.sampling.seed or 0)

    def phrase() -> str:
        return f"{draws.choice(QUALITIES)} {draws.choice(NOUNS)} from {draws.choice(PLACES)}"

    last = request.prompt.rsplit("\n", 1)[-1]
    numbered = re.fullmatch(r"(\d+)\.", last)
    if numbered:
        first = int(numbered[1])
        items = [f"{draws.choice(VERBS)} the {phrase()} for a {phrase()}." for _ in range(draws.randint(1, 7))]
        lines = [items[0], *(f"{number}. {item}" for number, item in enumerate(items[1:], start=first + 1))]
        return " " + "\n".join(lines)
    if last == "Example 1":
        shown = [f"\nInput: {phrase()}\nOutput: {phrase()}" for _ in range(draws.randint(1, 3))]
        if draws.random() < 0.3:
            shown = [f"\nOutput: {phrase()}"]
        return "".join(f"\nExample {number}{text}" if number > 1 else text for number, text in enumerate(shown, start=1))
    if last == "Class label:":
        return (
            f" {draws.choice(QUALITIES)}\nInput: {phrase()}\nExample 2\nClass label: {draws.choice(QUALITIES)}\nInput: {phrase()}"
        )
    return f" {phrase()}"


class ScriptedEngine:
    """`script` replaces the built-in answers; it may raise. `delay_s` is the longest wait of an answer, drawn per request;
    `dies_after` answers the engine is dead."""

    def __init__(
        self,
        seed: int = 0,
        *,
        script: Callable[[Request], str] | None = None,
        delay_s: float = 0.0,
        dies_after: int | None = None,
    ) -> None:
        self._seed, self._delay_s, self._dies_after = seed, delay_s, dies_after
        self._script = script or (lambda request: answer(request, seed))
        self._served = 0
        self._running = 0
        self._closed = False
        self._counts = {"prompt_tokens": 0.0, "output_tokens": 0.0}

    async def generate(self, request: Request) -> Completion:
        """See `Engine.generate`. A token is a word with the white space before it."""
        if self._closed:
            raise EngineDiedError("the scripted engine is closed")
        refuse_scoring(request, "scripted")
        if self._dies_after is not None and self._served >= self._dies_after:
            raise EngineDiedError(f"the scripted engine died after {self._dies_after} answers, as told")
        self._served += 1
        self._running += 1
        try:
            await asyncio.sleep(self._delay_s * generator(self._seed, "delay", request.id).random())
        finally:
            self._running -= 1
        prompt_tokens = len(request.prompt.split())
        if request.choices:
            return self._choose(request, prompt_tokens)
        text, finish = self._script(request), "stop"
        for stop in request.sampling.stop:
            text = text.split(stop, 1)[0]
        ends = [word.end() for word in re.finditer(r"\S+", text)]
        if len(ends) > request.sampling.max_tokens:
            ends, finish = ends[: request.sampling.max_tokens], "length"
            text = text[: ends[-1]]
        self._count(prompt_tokens, len(ends))
        return Completion(
            request_id=request.id, text=text, finish_reason=finish, prompt_tokens=prompt_tokens, output_tokens=len(ends)
        )

    def _choose(self, request: Request, prompt_tokens: int) -> Completion:
        if len(set(request.choices)) < len(request.choices):
            raise EngineError(f"request {request.id}: the choices {list(request.choices)} can't be told apart")
        draws = generator(self._seed, "choice", request.prompt)
        weights = [draws.random() + 1e-6 for _ in request.choices]
        scores = tuple(math.log(weight / sum(weights)) for weight in weights)
        self._count(prompt_tokens, 1)
        return Completion(
            request_id=request.id,
            text=request.choices[scores.index(max(scores))],
            finish_reason="stop",
            prompt_tokens=prompt_tokens,
            output_tokens=1,
            choice_logprobs=scores,
        )

    def _count(self, prompt_tokens: int, output_tokens: int) -> None:
        self._counts["prompt_tokens"] += prompt_tokens
        self._counts["output_tokens"] += output_tokens

    async def metrics(self) -> dict[str, float]:
        """`prompt_tokens`, `output_tokens`, `running`."""
        return {**self._counts, "running": float(self._running)}

    async def close(self) -> None:
        self._closed = True
