"""A look into an engine while it works: what was asked and when, how many sequences ran, and what a prefix cache could hold.

Knows nothing of the pipeline; it sits between it and the engine. The counters' names are vLLM's.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from self_instruct.engine import Engine
from self_instruct.records import Completion, Request

SAMPLE_EVERY_S = 0.5
RUNNING, WAITING = "vllm:num_requests_running", "vllm:num_requests_waiting"
OUTPUT, PROMPT = "vllm:generation_tokens_total", "vllm:prompt_tokens_total"
QUERIES, HITS = "vllm:prefix_cache_queries_total", "vllm:prefix_cache_hits_total"


@dataclass(frozen=True, kw_only=True)
class Sample:
    """The engine's counters at one moment (seconds of the monotonic clock)."""

    at_s: float
    counters: Mapping[str, float]

    @property
    def running(self) -> float:
        """Sequences that run. vLLM tells it after a step, without those that ended in it: low, most where answers are short."""
        return self.counters.get(RUNNING, 0.0)


@dataclass(kw_only=True)
class Asked:
    """One request, when it was sent and when that ended, and the answer; none where it was cancelled."""

    request: Request
    sent_s: float
    ended_s: float = 0.0
    completion: Completion | None = None

    @property
    def step(self) -> str:
        """`bootstrap`, `classify` or `instances`."""
        return self.request.id.partition("-")[0]


@dataclass(kw_only=True)
class Watched:
    """An engine with its samples and requests. `ended_s` is set when the work is over, before the engine is closed."""

    engine: Engine
    asked: list[Asked] = field(default_factory=list)
    samples: list[Sample] = field(default_factory=list)
    begun_s: float = field(default_factory=time.monotonic)
    ended_s: float = 0.0

    def __post_init__(self) -> None:
        self._sampling = asyncio.ensure_future(self._sample())

    async def _sample(self) -> None:
        while True:
            await self._look()
            await asyncio.sleep(SAMPLE_EVERY_S)

    async def _look(self) -> None:
        counters = await self.engine.metrics()
        self.samples.append(Sample(at_s=time.monotonic(), counters=counters))

    async def generate(self, request: Request) -> Completion:
        one = Asked(request=request, sent_s=time.monotonic())
        self.asked.append(one)
        try:
            one.completion = await self.engine.generate(request)
        finally:
            one.ended_s = time.monotonic()
        return one.completion

    async def metrics(self) -> dict[str, float]:
        return await self.engine.metrics()

    async def close(self) -> None:
        if self.ended_s:
            return
        self.ended_s = time.monotonic()
        self._sampling.cancel()
        await asyncio.wait([self._sampling])
        await self._look()
        await self.engine.close()

    @property
    def seconds(self) -> float:
        """From the engine's readiness to the end of the work."""
        return self.ended_s - self.begun_s

    def answered(self) -> list[Asked]:
        return [one for one in self.asked if one.completion is not None]


@dataclass(frozen=True, kw_only=True)
class Phase:
    """What the engine did from one sample to another."""

    samples: Sequence[Sample]

    @property
    def begun_s(self) -> float:
        return self.samples[0].at_s

    @property
    def ended_s(self) -> float:
        return self.samples[-1].at_s

    @property
    def seconds(self) -> float:
        return self.ended_s - self.begun_s

    @property
    def running(self) -> float:
        """Mean of the running sequences."""
        return sum(sample.running for sample in self.samples) / len(self.samples)

    def grown(self, counter: str) -> float:
        return self.samples[-1].counters.get(counter, 0.0) - self.samples[0].counters.get(counter, 0.0)

    @property
    def output_tokens_per_s(self) -> float:
        return self.grown(OUTPUT) / self.seconds if self.seconds else 0.0


def steady(samples: Sequence[Sample], full: int, not_before_s: float = 0.0) -> Phase:
    """Between ramp-up and ramp-down: from the first sample with `full` sequences running to the last one.

    A dip in between counts. `not_before_s`: the ramp-down doesn't begin earlier, however few are running; a run has that of
    its last bootstrapping request. Raises ValueError where the engine was never full.
    """
    places = [place for place, sample in enumerate(samples) if sample.running >= full]
    if not places:
        most = max((sample.running for sample in samples), default=0)
        raise ValueError(f"the engine never ran {full:.0f} sequences at once, at most {most:.0f}")
    end = max([places[-1], *(place for place, sample in enumerate(samples) if sample.at_s <= not_before_s)])
    return Phase(samples=samples[places[0] : end + 1])


def busy_s(spans: Iterable[tuple[float, float]]) -> float:
    """Seconds that at least one of the spans (begin, end) covers."""
    total, until = 0.0, float("-inf")
    for begin, end in sorted(spans):
        total += max(0.0, end - max(begin, until))
        until = max(until, end)
    return total


def cacheable(prompts: Sequence[Sequence[int]], block: int, warmed: Sequence[Sequence[int]] = ()) -> int:
    """Prompt tokens that a prefix cache of whole blocks, large enough for all of them, has when each prompt comes.

    `warmed` are prompts that came before and aren't counted.

    As vLLM does it: from the prompt's start, whole blocks of prompts that came before, and never the prompt's last token,
    which has to be computed to go on. Answers, which are cached too, are left out.
    """
    known: set[int] = set()
    found = 0
    for place, prompt in enumerate((*warmed, *prompts)):
        chain, hit = 0, place >= len(warmed)
        for end in range(block, len(prompt) + 1, block):
            chain = hash((chain, *prompt[end - block : end]))
            hit = hit and chain in known and end < len(prompt)
            found += block * hit
            known.add(chain)
    return found
