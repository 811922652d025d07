"""What a run shows of itself while it goes: the progress line, metrics.jsonl, and the ledger as it grows.

Knows nothing of prompts and filters; it hears of records and asks the engine for its counters.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import math
import time
from collections import Counter, deque
from collections.abc import Mapping
from typing import Any

from self_instruct.engine_journaled import JournaledEngine
from self_instruct.errors import EngineError
from self_instruct.generate.yields import Curve, nested
from self_instruct.journal import Journal
from self_instruct.records import Instruction, LabelledInstruction, Neighbour, Rejection, TaskInstance
from self_instruct.runlog import Metrics, Progress
from self_instruct.settings import GenerateSettings

POLL_S = 5.0
RATE_WINDOW_S = 120.0
SHOWN_RULES = 3
LEAST_SHOWN = 0.005  # of the candidates; less would read 0%
NO_CANDIDATE = "no_items"  # the rule that rejects a completion without candidates
FEWEST_CANDIDATES = 50  # before so many the acceptance curve is noise, and no end is foretold
# The engines' names for one thing: vLLM's (in process and served), and those of the others.
GAUGES = {
    "running": ("vllm:num_requests_running", "running"),
    "waiting": ("vllm:num_requests_waiting", "waiting"),
    "kv_cache_use": ("vllm:kv_cache_usage_perc",),
}
LEDGER = {kind: tuple(field.name for field in dataclasses.fields(kind)) for kind in (Instruction, TaskInstance, Rejection)}
QUERIES, HITS = "vllm:prefix_cache_queries_total", "vllm:prefix_cache_hits_total"


def gauges(counters: Mapping[str, float]) -> dict[str, float]:
    """`running` and `waiting` requests, `kv_cache_use` and `prefix_hit_rate` (shares), as far as the engine tells them."""
    found = {}
    for name, names in GAUGES.items():
        known = [counters[one] for one in names if one in counters]
        if known:
            found[name] = round(known[0], 4)
    if counters.get(QUERIES):
        found["prefix_hit_rate"] = round(counters.get(HITS, 0.0) / counters[QUERIES], 4)
    return found


class Live:
    """One session's numbers. `tell` is for the pipeline; `poll` writes a line of metrics every few seconds."""

    def __init__(
        self,
        settings: GenerateSettings,
        engine: JournaledEngine,
        *,
        session: int,
        metrics: Metrics,
        progress: Progress,
        accepted: Journal,
        rejected: Journal,
    ) -> None:
        self._settings, self._engine, self._session = settings, engine, session
        self._metrics, self._progress = metrics, progress
        self._accepted, self._rejected = accepted, rejected
        self.curve = Curve()
        self.counters: dict[str, float] = {}
        self._counts: Counter[tuple[str, str]] = Counter()
        self._sent = self._committed = 0
        self._rates: deque[tuple[float, int, int, int]] = deque()

    def tell(self, kind: str, record: Any) -> None:
        """Hear of a record by its kind; of `sent` and `committed` the number of a bootstrapping request."""
        match kind:
            case "sent":
                self._sent = max(self._sent, record + 1)
                return
            case "committed":
                self._committed = record + 1
                return
            case "rejection":
                self._counts[record.step, record.rule] += 1
                if record.step == "instruction":
                    self.curve.count(False, candidate=record.rule != NO_CANDIDATE)
            case "instruction":
                self.curve.count(True)
                self._progress.advance(1)
        journal = self._rejected if kind == "rejection" else self._accepted
        journal.append(entry(kind, record))

    async def poll(self) -> None:
        """Write metrics and move the line every few seconds, until cancelled."""
        while True:
            await self.write()
            await asyncio.sleep(POLL_S)

    async def write(self) -> None:
        """One line of metrics."""
        with contextlib.suppress(EngineError):  # whoever waits for an answer hears of it
            self.counters = await self._engine.metrics() or self.counters
        row = self._row()
        self._metrics.write(session=self._session, **row)
        self._progress.estimate(sentence(row), row.get("eta_s"))

    def _row(self) -> dict[str, Any]:
        generate, curve, engine = self._settings, self.curve, self._engine
        now = time.monotonic()
        if not engine.asked:
            self._rates.clear()  # what comes from the journal comes at no engine's speed
        self._rates.append((now, curve.counted, curve.candidates, engine.asked_output_tokens))
        while now - self._rates[0][0] > RATE_WINDOW_S and len(self._rates) > 2:
            self._rates.popleft()
        then, counted, candidates, tokens = self._rates[0]
        seconds = max(now - then, 1e-9)
        speed = (curve.counted - counted) / seconds
        row: dict[str, Any] = {
            "accepted": curve.accepted,
            "candidates": curve.candidates,
            "acceptance": round(curve.acceptance(generate.acceptance_window), 4),
            "rejected": nested(self._counts),
            "requests": self._committed,
            "lag": self._sent - self._committed,
            "answered": engine.answered,
            "asked": engine.asked,
            "open": engine.open,
            "candidates_per_s": round((curve.candidates - candidates) / seconds, 2),
            "output_tokens_per_s": round((engine.asked_output_tokens - tokens) / seconds, 1),
            **gauges(self.counters),
        }
        forecast = None
        over = curve.over(generate) or self._committed >= generate.max_requests  # how long the rest takes, no curve knows
        if curve.counted >= FEWEST_CANDIDATES and not over:
            most = generate.max_requests * curve.counted / self._committed if self._committed else math.inf
            forecast = curve.forecast(target=generate.target_instructions, min_acceptance=generate.min_acceptance, most=most)
        if forecast and speed and math.isfinite(forecast.counted):
            if forecast.counted > curve.counted:
                row["eta_s"] = round((forecast.counted - curve.counted) / speed, 1)
            row["expected"] = round(forecast.accepted)
            row["ends_by"] = forecast.ends_by
        return row


def entry(kind: str, record: Any) -> dict[str, Any]:
    """A record as a line of the ledger; of a verdict only what is new."""
    if isinstance(record, LabelledInstruction):
        made = {"instruction_id": record.instruction.id, "is_classification": record.is_classification, "margin": record.margin}
    else:
        made = {name: getattr(record, name) for name in LEDGER[type(record)]}  # dataclasses.asdict takes ten times as long
        if isinstance(record, Instruction):
            made["nearest"] = [_neighbour(one) for one in record.nearest]
        elif isinstance(record, Rejection) and record.nearest is not None:
            made["nearest"] = _neighbour(record.nearest)
    return {"kind": kind, **made}


def _neighbour(one: Neighbour) -> dict[str, Any]:
    return {"id": one.id, "score": one.score}


def _most_rejected(row: Mapping[str, Any]) -> str:
    """The rules of step 1 that rejected most so far, with their shares of what was judged: all candidates, and completions
    without any."""
    rules: Mapping[str, int] = row["rejected"].get("instruction", {})
    judged = row["accepted"] + sum(rules.values())
    shares = sorted(((count / judged, rule) for rule, count in rules.items()), key=lambda pair: (-pair[0], pair[1]))
    return ", ".join(f"{rule} {share:.0%}" for share, rule in shares[:SHOWN_RULES] if share >= LEAST_SHOWN)


def sentence(row: Mapping[str, Any]) -> str:
    """The live line's words for a row of metrics."""
    parts = [
        f"{row['acceptance']:.0%} of the last candidates accepted",
        f"{row['candidates_per_s']:.1f} candidates/s",
        f"{row['output_tokens_per_s']:.0f} output tokens/s",
        f"{row.get('running', row['open']):.0f} running",
    ]
    if "waiting" in row:
        parts.append(f"{row['waiting']:.0f} waiting")
    if "kv_cache_use" in row:
        parts.append(f"KV cache {row['kv_cache_use']:.0%}")
    if "prefix_hit_rate" in row:
        parts.append(f"prefix hits {row['prefix_hit_rate']:.0%}")
    parts.append(f"lag {row['lag']}")
    if rejected := _most_rejected(row):
        parts.append(f"rejected: {rejected}")
    if row.get("ends_by", "target_instructions") != "target_instructions":
        parts.append(f"will end by {row['ends_by']} at about {row['expected']}")
    return ", ".join(parts)
