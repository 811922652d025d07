"""The command `generate`: opens the run folder and the engine, runs the pipeline, writes the corpus.

Knows nothing of prompts and filters. The only module of the stage that reads argv or touches a run folder.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from self_instruct import commandline, engines, rundir
from self_instruct.engine_journaled import JournaledEngine
from self_instruct.errors import ConfigError, RunFolderError
from self_instruct.generate import prompts, yields
from self_instruct.generate.pipeline import Pipeline, Result
from self_instruct.journal import Journal
from self_instruct.loading import Loaded, shipped
from self_instruct.records import SeedTask
from self_instruct.runlog import Metrics, Progress, log
from self_instruct.seedbank import load_seeds, seed_file

if TYPE_CHECKING:
    from self_instruct.models import Model

DISK_GIB = 0.5


def main(argv: Sequence[str]) -> int:
    """Run the stage; returns the exit status. Raises SelfInstructError for what a user can mend."""
    arguments = commandline.parser("generate", "A model writes its own instruction data from seed tasks.").parse_args(argv)
    loaded = commandline.loaded(arguments)
    settings = loaded.settings
    seeds = load_seeds(settings.generate.seeds)
    shown = settings.generate.prompt_seeds + settings.generate.prompt_machine
    if len(seeds) < shown:
        raise ConfigError(
            f"generate.prompt_seeds + generate.prompt_machine is {shown}, but there are {len(seeds)} seed tasks",
            hint="lower them, or add seed tasks: the first prompts show seeds alone",
        )
    where = Path(settings.generate.demonstrations) if settings.generate.demonstrations else shipped("seeds/demonstrations")
    demonstrations = prompts.load_demonstrations(where)
    model = engines.resolve_model(settings)
    count_tokens = engines.token_counter(model, settings)
    context = min(model.context, settings.model.max_length)
    check_context(loaded, seeds, demonstrations, count_tokens, context)
    log.info(
        "generate: %s, %d seeds, until %d instructions or %d requests, in %s",
        model.reference,
        len(seeds),
        settings.generate.target_instructions,
        settings.generate.max_requests,
        loaded.run_dir / "generate",
    )
    if arguments.dry_run:
        draft = prompts.bootstrap([task.instruction for task in seeds[:8]])
        print(json.dumps({"dry_run": True, "seeds": len(seeds), "context": context, "prompt_tokens": count_tokens(draft)}))
        return 0
    rundir.require_disk(loaded.run_dir, DISK_GIB)
    inputs = {
        "seeds": rundir.sha256(seed_file(settings.generate.seeds)),
        "demonstrations": rundir.sha256(where),
        "model": model.fingerprint,
    }
    folder = rundir.open_stage(loaded, "generate", list(argv), inputs)
    try:
        if folder.finished:
            log.info("generate: %s is finished already; --out DIR starts another run", folder.path)
            facts = folder.manifest["facts"]
            if not (folder.path / "corpus").is_dir():
                raise RunFolderError(
                    f"{folder.path / 'corpus'}: gone, though the run is finished",
                    hint=f"delete {folder.path / 'manifest.json'} and run again: it is made anew from the journal",
                )
        else:
            facts = asyncio.run(_generate(folder, loaded, seeds, demonstrations, model, count_tokens, context))
        print(json.dumps({"corpus": str(folder.path / "corpus"), **{k: facts[k] for k in ("accepted", "instances", "stopped_by")}}))
    finally:
        folder.close()
    return 0


async def _generate(
    folder: rundir.StageFolder,
    loaded: Loaded,
    seeds: tuple[SeedTask, ...],
    demonstrations: prompts.Demonstrations,
    model: Model,
    count_tokens: Callable[[str], int],
    context: int,
) -> dict[str, Any]:
    from self_instruct.generate.export import write_corpus  # imports nothing heavy itself; `datasets` comes when it writes

    settings = loaded.settings
    journals = folder.path / "journal"
    engine = JournaledEngine(journals / "completions.jsonl", None)
    if engine.known:
        log.info("generate: going on from %d journaled completions", engine.known)
    engine.attach(await engines.open_engine(model, settings, log_path=folder.path / "engine.log"))
    # Derived from completions.jsonl, in the order of this session: written anew each time.
    accepted = Journal(journals / "accepted.jsonl", fresh=True)
    rejected = Journal(journals / "rejected.jsonl", fresh=True)
    (folder.path / "metrics.jsonl").unlink(missing_ok=True)
    metrics = Metrics(folder.path / "metrics.jsonl")
    begun = time.monotonic()
    try:
        with Progress("instructions", settings.generate.target_instructions, "accepted") as progress:

            def tell(kind: str, record: Any) -> None:
                journal = rejected if kind == "rejection" else accepted
                journal.append({"kind": kind, **dataclasses.asdict(record)})
                rate = engine.asked_output_tokens / max(time.monotonic() - begun, 1e-9)
                progress.advance(int(kind == "instruction"), f"{engine.asked} completions, {rate:.0f} output tokens/s")
                metrics.write(kind=kind, id=record.id if hasattr(record, "id") else "", asked=engine.asked)

            pipeline = Pipeline(settings, seeds, demonstrations, engine, count_tokens=count_tokens, context=context, tell=tell)
            result = await pipeline.run()
        seconds = time.monotonic() - begun
        counters = await engine.metrics()
        metrics.write(kind="engine", **counters)
    finally:
        for journal in (accepted, rejected):
            journal.close()
        metrics.close()
        await engine.close()
    facts = summarize(result, model.reference, engine, seconds)
    write_corpus(folder.path / "corpus", result, facts)
    folder.finish({"corpus": folder.path / "corpus"}, **facts)
    log.info("generate: rejected: %s", yields.sentence(facts["rejected"]))
    log.info(
        "generate: %d of %d candidates accepted, %d classification, %d instances, ended by %s, corpus in %s",
        *(facts[name] for name in ("accepted", "candidates", "classification", "instances", "stopped_by")),
        folder.path / "corpus",
    )
    return facts


def summarize(result: Result, model: str, engine: JournaledEngine, seconds: float) -> dict[str, Any]:
    """The run's counts and rates for the manifest, the card and the report. `seconds` is this session's.

    Tokens are of all answers, also of those that came back beyond the target; the rate is of this session's answers,
    none where all came from the journal.
    """
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
        "prompt_tokens": engine.prompt_tokens,
        "output_tokens": engine.output_tokens,
        "output_tokens_per_s": round(engine.asked_output_tokens / seconds, 1) if engine.asked else None,
        "seconds": round(seconds, 1),
        "stopped_by": result.stopped_by,
    }


def check_context(
    loaded: Loaded,
    seeds: Sequence[SeedTask],
    demonstrations: prompts.Demonstrations,
    count_tokens: Callable[[str], int],
    context: int,
) -> None:
    """Raises ConfigError where the context doesn't hold the demonstrations, the longest seed and the new tokens."""
    generate = loaded.settings.generate
    longest = sorted((task.instruction for task in seeds), key=len)[-(generate.prompt_seeds + generate.prompt_machine) :]
    needs = {
        "generate.max_tokens": (prompts.bootstrap(longest), generate.max_tokens),
        "classification": (prompts.classification(demonstrations, longest[-1]), 1),
        "generate.input_first_tokens": (prompts.input_first(demonstrations, longest[-1]), generate.input_first_tokens),
        "generate.output_first_tokens": (prompts.output_first(demonstrations, longest[-1]), generate.output_first_tokens),
    }
    for name, (prompt, new) in needs.items():
        shown = count_tokens(prompt)
        if shown + new > context:
            raise ConfigError(
                f"model.max_length: a context of {context} tokens is shorter than {shown} shown + {new} new ones ({name})",
                hint="raise model.max_length, lower that setting, or take a model with a longer context",
            )
