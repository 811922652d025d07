"""One session of a run: the pipeline on a journaled engine, its numbers while it goes, and its counts at the end.

Knows neither argv nor how an engine is started; the stage's folder is handed in, open.
"""

from __future__ import annotations

import asyncio
import contextlib
import statistics
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from self_instruct import hardware, journal, provenance
from self_instruct.engine import Engine
from self_instruct.engine_journaled import JournaledEngine
from self_instruct.errors import RunFolderError
from self_instruct.generate import flow, run_report, yields
from self_instruct.generate.card import Made
from self_instruct.generate.inputs import Inputs
from self_instruct.generate.live import HITS, QUERIES, Live
from self_instruct.generate.pipeline import Pipeline, Result
from self_instruct.generate.pool import shown_seeds
from self_instruct.generate.products import ACCEPTED, REJECTED
from self_instruct.generate.token_counts import Counter, TokenCounts
from self_instruct.journal import Journal
from self_instruct.runlog import Metrics, Progress, log

JOURNAL = Path("journal")
COMPLETIONS, COUNTS, SESSIONS = JOURNAL / "completions.jsonl", JOURNAL / "token_counts.jsonl", JOURNAL / "sessions.jsonl"
TRUTH = {"completions": COMPLETIONS, "token_counts": COUNTS, "sessions": SESSIONS}
Record = Mapping[str, Any]
CACHING = ("vllm", "server")  # engines with a prefix cache


@dataclass(frozen=True, kw_only=True, repr=False)  # see Result
class Outcome:
    """What a session came to: `records` are all of completions.jsonl, `most_open` the requests that were open at once."""

    result: Result
    records: tuple[Record, ...]
    curve: yields.Curve
    most_open: int


async def run(
    stage: Path,
    inputs: Inputs,
    start: Callable[[], Awaitable[Engine]],
    load: Callable[[], Counter],
    revision: str | None = None,
) -> Outcome:
    """Run the pipeline to its end in the folder `stage`, going on from its journal.

    `start` starts the engine and `load` the tokenizer; each is called at the first request or prompt that the journal
    doesn't hold. `revision`: the commit of a hub model, noted for the card. Raises what the pipeline raises, and OSError
    where the journal can't be written; cancelled, it closes everything in order.
    """
    session = 1 + len(starts(stage))

    async def begin() -> Engine:
        note_start(stage, session, revision)
        engine = await start()
        if inputs.settings.model.engine in CACHING:
            shown = inputs.demonstrations
            heads = (shown.classification, shown.input_first, shown.output_first)
            try:
                tokens = await flow.warm(engine, heads, inputs.settings.replicas)
            except BaseException:
                await engine.close()  # nobody else knows of it yet
                raise
            _note(stage, "warm", session=session, prompt_tokens=tokens)
        return engine

    engine = JournaledEngine(stage / COMPLETIONS, None, start=begin, session=session)
    if engine.known:
        log.info("generate: going on from %d journaled completions", engine.known)
    counts = TokenCounts(stage / COUNTS, load)
    generate = inputs.settings.generate
    with contextlib.ExitStack() as files:
        # The ledger in the order of this session; at the end it is written anew in the order of the requests.
        accepted, rejected = (
            files.enter_context(contextlib.closing(Journal(stage / name, fresh=True, durable=False)))
            for name in (ACCEPTED, REJECTED)
        )
        metrics = files.enter_context(contextlib.closing(Metrics(stage / "metrics.jsonl")))
        files.callback(counts.close)
        progress = files.enter_context(Progress("instructions", generate.target_instructions, "accepted"))
        live = Live(
            generate, engine, session=session, metrics=metrics, progress=progress, accepted=accepted, rejected=rejected
        )  # fmt: skip
        try:
            result = await _attend(pipeline(inputs, engine, counts, live.tell), engine, live)
            await live.write()
            if engine.asked:
                _note(stage, "end", session=session, engine=live.counters)
        finally:
            await engine.close()
    return Outcome(result=result, records=tuple(engine.records()), curve=live.curve, most_open=engine.most_open)


def pipeline(inputs: Inputs, engine: Engine, counts: TokenCounts, tell: Callable[[str, Any], None] = lambda k, r: None) -> Pipeline:
    return Pipeline(
        inputs.settings, inputs.seeds, inputs.demonstrations, engine, count_tokens=counts, context=inputs.context,
        evaluation=inputs.evaluation, tell=tell,
    )  # fmt: skip


async def _attend(work: Pipeline, engine: JournaledEngine, live: Live) -> Result:
    """The pipeline's result, while the numbers are polled. A journal that can't be written ends it at once."""
    running, polling = asyncio.ensure_future(work.run()), asyncio.ensure_future(live.poll())
    failure = engine.failure()
    watched: list[asyncio.Future[Any]] = [failure, polling, running]
    try:
        await asyncio.wait(watched, return_when=asyncio.FIRST_COMPLETED)
        for ended in watched:
            if ended.done():
                ended.result()  # raises what ended it
        return running.result()
    finally:
        for task in (running, polling):
            task.cancel()
        await asyncio.gather(running, polling, return_exceptions=True)


def replay(stage: Path, inputs: Inputs) -> tuple[Result, tuple[Record, ...]]:
    """The result and the records of the journal in `stage`, without engine and tokenizer; nothing is written.

    Raises RunFolderError where the journal is damaged, or lacks what the run needed.
    """
    engine = JournaledEngine(stage / COMPLETIONS, None)
    result = asyncio.run(pipeline(inputs, engine, TokenCounts(stage / COUNTS, None)).run())
    return result, tuple(engine.records())


def starts(stage: Path) -> list[dict[str, Any]]:
    """The sessions that asked an engine for something, in order: number, start (UNIX time), model's commit, versions, hardware."""
    return [record for record in journal.read(stage / SESSIONS) if record.get("event") == "start"]


def derive(
    stage: Path, inputs: Inputs, result: Result, records: tuple[Record, ...], *, model: str, hashes: Mapping[str, str]
) -> tuple[dict[str, Any], Made, dict[str, Any]]:
    """The counts of a run, what its card says beside its records, and its report, all from the result and the journal.

    `model` is how the settings name it, `hashes` are those of the stage's inputs. Raises RunFolderError where no session asked
    for something.
    """
    facts = summarize(stage, result, model, records)
    return facts, _made(stage, inputs, facts["sessions"], hashes), run_report.tree(result, records, facts)


def _made(stage: Path, inputs: Inputs, sessions: list[dict[str, Any]], hashes: Mapping[str, str]) -> Made:
    found = starts(stage)
    if not found:
        raise RunFolderError(f"{stage / SESSIONS}: no session in it", hint="restore the file from a copy of the run folder")
    return Made(
        settings=inputs.settings,
        inputs=hashes,
        starts=found,
        seeds=len(inputs.seeds),
        shown=len(shown_seeds(inputs.seeds, inputs.settings.generate)),
        sessions=sessions,
    )


def note_start(stage: Path, session: int, revision: str | None) -> None:
    """Note that a session is about to start an engine; `revision` is the model's commit on the hub."""
    noted = {"session": session, "started_s": round(time.time(), 3)}
    _note(stage, "start", **noted, revision=revision, versions=provenance.versions(), hardware=hardware.summary())


def _note(stage: Path, event: str, **values: Any) -> None:
    sessions = Journal(stage / SESSIONS)
    sessions.append({"event": event, **values})
    sessions.close()


def work(records: Iterable[Record]) -> list[dict[str, Any]]:
    """What each session got from the engine: completions, tokens, seconds from its first request to its last answer, rate.

    From the journal alone, so that a killed session counts too. Answers that came beyond the run's end count as well.
    """
    by_session: dict[int, list[Record]] = {}
    for record in records:
        by_session.setdefault(record["session"], []).append(record)
    rows = []
    for session, of_it in sorted(by_session.items()):
        seconds = max(record["answered_s"] for record in of_it) - min(record["asked_s"] for record in of_it)
        output = sum(record["output_tokens"] for record in of_it)
        rows.append(
            {
                "session": session,
                "asked": len(of_it),
                "prompt_tokens": sum(record["prompt_tokens"] for record in of_it),
                "output_tokens": output,
                "seconds": round(seconds, 3),
                "output_tokens_per_s": round(output / seconds, 1) if seconds else None,
            }
        )
    return rows


def prefix_hit_rate(stage: Path) -> float | None:
    """Share of the prompt tokens that the engine found in its prefix cache, by its own counters, over the sessions that
    ended in order; none where it doesn't count."""
    ended = [record["engine"] for record in journal.read(stage / SESSIONS) if record.get("event") == "end"]
    queries = sum(counters.get(QUERIES, 0.0) for counters in ended)
    return round(sum(counters.get(HITS, 0.0) for counters in ended) / queries, 4) if queries else None


def summarize(stage: Path, result: Result, model: str, records: Iterable[Record]) -> dict[str, Any]:
    """The run's counts for the manifest and the report; tokens, seconds and rate are sums over `sessions`."""
    records = list(records)
    sessions = work(records)
    seconds, output = (sum(row[name] for row in sessions) for name in ("seconds", "output_tokens"))
    return {
        "model": model,
        "requests": result.requests,
        "candidates": result.candidates,
        "accepted": len(result.instructions),
        "classification": sum(task.is_classification for task in result.instructions),
        "instances": len(result.instances),
        "empty_inputs": sum(not instance.input for instance in result.instances),
        "rejected": yields.by_rule(result.rejections),
        "mean_nearest": round(statistics.fmean(task.instruction.nearest[0].score for task in result.instructions), 4),
        "prompt_tokens": sum(row["prompt_tokens"] for row in sessions),
        "output_tokens": output,
        "output_tokens_per_s": round(output / seconds, 1) if seconds else None,
        "seconds": round(seconds, 3),
        "prefix_hit_rate": prefix_hit_rate(stage),
        "prefix_hit_rate_steps_2_3": flow.prefix_hits(records),
        "warm_prompt_tokens": sum(one["prompt_tokens"] for one in journal.read(stage / SESSIONS) if one.get("event") == "warm"),
        "sessions": sessions,
        "stopped_by": result.stopped_by,
    }
