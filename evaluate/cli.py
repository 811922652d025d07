"""The evaluate stage's command: base and adapters answer the evaluation sets, and a report sets them side by side.

Knows the order of the stage's steps, and nothing of how each is done. The only module here that opens an engine
or a run folder; reads argv, as `cli_files` does. Imports nothing heavy before it is needed.
"""

from __future__ import annotations

import argparse
import asyncio
import functools
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from self_instruct import commandline, rundir
from self_instruct.errors import ConfigError
from self_instruct.evaluate import adapters, cli_files, predict, suites
from self_instruct.records import Completion, Request
from self_instruct.runlog import log

if TYPE_CHECKING:
    from self_instruct.evaluate.judge import Judged
    from self_instruct.evaluate.rating_sets import RatingSet
    from self_instruct.models import Model
    from self_instruct.settings import Settings

DISK_GIB = 0.1  # journal, results, report and engine log, with room


def main(argv: Sequence[str]) -> int:
    """Run the stage, or one of its subcommands. Raises SelfInstructError for whatever the user can mend."""
    commands = {
        "report": write_report,
        "rate": rate,
        "judge": judge_answers,
        "agree": show_agreement,
        "score": cli_files.score_files,
        "seeds": cli_files.check_seeds,
        "statistics": cli_files.measure_corpora,
        "verify": cli_files.verify_report,
    }
    if argv and argv[0] in commands:
        return commands[argv[0]](argv[1:])
    parser = commandline.parser("evaluate", "Measure the tuned model against its base and write a report.")
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = (
        "subcommands, each with a --help of its own:\n"
        "  evaluate report RUN ...       the report of a finished run again, one of several runs, or a comparison's\n"
        "  evaluate rate RUN ...         a page on which people rate the answers and review the data\n"
        "  evaluate judge RUN ...        a local model rates the answers as people do\n"
        "  evaluate agree RUN ...        how far raters agree, people and judges; with --out all ratings as files\n"
        "  evaluate verify REPORT        scores and report again from the journals, compared byte for byte\n"
        "  evaluate score FILE ...       score predictions that were made elsewhere, such as natural-instructions' files\n"
        "  evaluate statistics CORPUS    verbs and nouns, nearest seeds, lengths and shares of any corpus of instructions\n"
        "  evaluate seeds FILE ...       check files of seeds or user-oriented tasks, and print how diverse they are"
    )
    arguments = parser.parse_args(argv)
    loaded = commandline.loaded(arguments)
    settings = loaded.settings
    found = suites.load(settings.evaluate)
    named = adapters.find(loaded)
    place = loaded.run_dir / "evaluate" / "report" / "report.html"
    count = sum(len(suite.items) for suite in found) * (1 + len(named))
    for suite in found:
        log.info("%s: %d items of %d tasks", suite.name, len(suite.items), len({item.task for item in suite.items}))
        for what, number in suite.counts.items():
            log.warning("%s: %s: %d", suite.name, what, number)
    log.info("base and %s: %d answers", ", ".join(named) or "no adapter", count)
    if arguments.dry_run:
        log.info("dry run: would ask %s and write %s", settings.model.name, place)
        items = {suite.name: len(suite.items) for suite in found}
        told = {"stage": "evaluate", "dry_run": True, "models": [predict.BASE, *named], "items": items, "requests": count}
        print(json.dumps(told))
        return 0

    from self_instruct.evaluate import evaluation, report
    from self_instruct.models import load_tokenizer, resolve

    model = resolve(settings.model)
    for path in named.values():
        adapters.require_base(path, model)
    context = suites.context_tokens(loaded, model)
    rundir.require_disk(loaded.run_dir, DISK_GIB)
    contenders = (
        predict.Contender(name=predict.BASE, adapter=None, digest=""),
        *(predict.Contender(name=name, adapter=path, digest=rundir.sha256(path)) for name, path in named.items()),
    )
    inputs = {"model": model.fingerprint}
    inputs |= {(suite.name if suite.kind == suite.name else f"{suite.kind} {suite.name}"): suite.digest for suite in found}
    inputs |= {f"adapter {contender.name}": contender.digest for contender in contenders if contender.adapter}
    # A run that was measured without SuperNI may be measured on it later: its answers stay.
    stage = rundir.open_stage(loaded, "evaluate", list(argv), inputs, grows=("evaluate.superni.folder",))
    try:
        if not stage.finished:
            place.unlink(missing_ok=True)
        if not stage.finished or not (stage.path / "results").is_dir():
            tokenizer = functools.cache(lambda: load_tokenizer(model.path))
            chat = settings.model.prompt == "chat"
            asked = tuple(
                predict.Asked(suite=one, prompted=suites.prompts(one, settings.evaluate, context, tokenizer, chat=chat))
                for one in found
            )
            completions = asyncio.run(answers(stage, model, contenders, predict.requests(contenders, asked)))
            evaluation.finish(stage, model, contenders, asked, completions)
    finally:
        stage.close()
    if place.exists():
        log.info("already finished; the report is %s", place)
    else:
        report.write_run(loaded.run_dir, settings.evaluate.examples)
        log.info("the report is %s", place)
    print(json.dumps({"stage": "evaluate", "report": str(place), "rouge_l": report.means(place.with_name("report.json"))}))
    return 0


async def answers(
    stage: rundir.StageFolder, model: Model, contenders: Sequence[predict.Contender], asked: Sequence[Request]
) -> dict[str, Completion]:
    """The completions by request id: from the run's journal, from other runs' answers, and where some are missing from an engine,
    which is started for them alone."""
    from self_instruct import hardware
    from self_instruct.evaluate.answer_cache import AnswerCache, model_key, place

    settings = stage.loaded.settings
    path = stage.path / "journal" / "predictions.jsonl"
    folders = {contender.digest: str(contender.adapter.resolve()) for contender in contenders if contender.adapter}
    missing = predict.unanswered(path, asked)
    if len(missing) < len(asked):
        log.info("%d of %d answers are in the journal already", len(asked) - len(missing), len(asked))
    cache = None
    if missing and (key := model_key(model, settings, hardware.choose_dtype(settings.model.dtype)[0])):
        cache = AnswerCache(place(settings), key)
        if taken := await predict.take(path, cache, missing):
            log.info("%d answers were given in other runs (%s)", taken, cache.path)
            missing = predict.unanswered(path, asked)
    try:
        if not missing:
            return await predict.collect(path, None, asked, folders)

        from self_instruct.engines import open_engine

        engine = await open_engine(model, settings, tuple(folders.values()), stage.path / "engine.log")
        return await predict.collect(path, engine, asked, folders, cache)
    finally:
        if cache:
            cache.close()


def write_report(argv: Sequence[str]) -> int:
    """`evaluate report RUN …`: the report of finished runs, from what they stored. Raises DataError and RunFolderError."""
    parser = cli_files.subparser(
        "report", "Write the report of a finished run again, one report of several runs, or a comparison's."
    )
    parser.add_argument("runs", nargs="+", metavar="RUN", help="evaluated run folders, or the folder of a comparison (reproduce)")
    parser.add_argument("--out", metavar="DIR", help="where to write (default: RUN/evaluate/report; a comparison's: RUN/report)")
    arguments = parser.parse_args(argv)
    loaded = commandline.loaded(argparse.Namespace(config=arguments.config, overrides=arguments.overrides))
    examples = loaded.settings.evaluate.examples if loaded.given("evaluate.examples") else None

    from self_instruct.evaluate import report

    runs = [Path(name) for name in arguments.runs]
    if arguments.out is None and len(runs) > 1:
        raise ConfigError(f"evaluate report: {len(runs)} runs, and no place for their report", hint="name one with --out DIR")
    place = report.write(runs, Path(arguments.out) if arguments.out else None, examples)
    log.info("the report is %s", place)
    print(json.dumps({"stage": "evaluate", "report": str(place), "rouge_l": report.means(place.with_name("report.json"))}))
    return 0


def rate(argv: Sequence[str]) -> int:
    """`evaluate rate RUN …`: serve the page on which people rate. Raises DataError, RunFolderError and ConfigError."""
    parser = cli_files.subparser(
        "rate", "Serve a page on which people rate the answers of finished runs, blind, and review their data."
    )
    parser.add_argument("runs", nargs="+", metavar="RUN", help="evaluated run folders; the ratings are kept in the first")
    arguments = parser.parse_args(argv)
    settings = commandline.loaded(arguments).settings

    from self_instruct.evaluate import matrix, rating_runs, rating_server, ratings

    runs = matrix.runs([Path(name) for name in arguments.runs])
    sets = rating_runs.load(runs, settings.evaluate.rate.review)
    for one in sets:
        log.info("%s: %d instructions, %d answers to rate", one.title, len(one.subjects), one.total)
    kept = ratings.RatingStore(rating_runs.file(runs[0]))
    kept.put_note("review", str(settings.evaluate.rate.review))
    try:
        asyncio.run(rating_server.serve(sets, kept, settings.evaluate.rate))
        told = {"stage": "evaluate", "store": str(kept.path), "ratings": len(kept.ratings()), "reviews": len(kept.reviews())}
    finally:
        kept.close()
    names = " ".join(map(str, arguments.runs))
    log.info("%d ratings and %d reviews; evaluate agree %s, evaluate report %s", told["ratings"], told["reviews"], names, names)
    print(json.dumps(told))
    return 0


def judge_answers(argv: Sequence[str]) -> int:
    """`evaluate judge RUN …`: a local model rates the answers. Raises DataError, RunFolderError, ConfigError and EngineError."""
    parser = cli_files.subparser("judge", "A local model rates the answers of finished runs on the four levels that people have.")
    parser.add_argument("runs", nargs="+", metavar="RUN", help="evaluated run folders; the ratings are kept in the first")
    arguments = parser.parse_args(argv)
    given = commandline.loaded(arguments).settings
    named = given.evaluate.judge.model
    judging = given.model if named is None else given.model.model_copy(update={"name": named, "revision": None})
    settings = given.model_copy(update={"model": judging})

    from self_instruct import hardware
    from self_instruct.evaluate import judge, matrix, rating_runs, ratings
    from self_instruct.models import described, load_tokenizer, resolve

    runs = matrix.runs([Path(name) for name in arguments.runs])
    sets = rating_runs.answered(runs)
    model = resolve(judging)
    if warning := judge.family(described(model), [run.model for run in runs]):
        log.warning("%s", warning)
    tokenizer = None if judging.engine == "scripted" else load_tokenizer(model.path)
    place = rating_runs.file(runs[0])
    dtype = hardware.choose_dtype(judging.dtype)[0]
    folder = place.with_name(f"judge-{model.fingerprint[:12]}-{judging.engine}-{dtype}")
    with rundir.locked(folder):
        judged = asyncio.run(_judge(sets, tokenizer, model, settings, folder))
        kept = ratings.RatingStore(place)
        try:
            kept.put_judge(judged.name, judged.facts, judged.ratings)
        finally:
            kept.close()
    told = {name: judged.facts[name] for name in ("requests", "output_tokens", "hit_rate", "seconds")}
    print(json.dumps({"stage": "evaluate", "judge": judged.name, "store": str(place), "ratings": len(judged.ratings), **told}))
    return 0


async def _judge(sets: Sequence[RatingSet], tokenizer: Any, model: Model, settings: Settings, folder: Path) -> Judged:
    """Ask what the journal in `folder` doesn't have; an engine is started for that alone."""
    from self_instruct.engines import open_engine
    from self_instruct.evaluate import judge

    context = min(settings.model.max_length, model.context)
    how: dict[str, Any] = {"settings": settings.evaluate.judge, "seed": settings.run.seed, "context": context}
    plan = judge.build_requests(sets, tokenizer, **how)
    journal = folder / "completions.jsonl"
    missing = predict.unanswered(journal, plan.requests)
    log.info("%s: %d answers in %d orders, %s", model.reference, len(plan.questions), len(plan.orders), plan.form)
    log.info("%d of %d requests are in the journal already", len(plan.requests) - len(missing), len(plan.requests))
    engine = await open_engine(model, settings, (), folder / "engine.log") if missing else None
    scripted = settings.model.engine == "scripted"
    return await judge.judge(sets, engine, tokenizer, journal=journal, model=model, now=time.time(), scripted=scripted, **how)


def show_agreement(argv: Sequence[str]) -> int:
    """`evaluate agree RUN …`: how far raters agree, and every rating as a file. Raises DataError and RunFolderError."""
    parser = cli_files.subparser("agree", "How far people and judges agree, beside the paper's raters.")
    parser.add_argument("runs", nargs="+", metavar="RUN", help="evaluated run folders with ratings")
    parser.add_argument("--out", metavar="DIR", help="write it there, with all ratings and reviews as JSON Lines and CSV")
    arguments = parser.parse_args(argv)
    commandline.loaded(arguments)

    from self_instruct.evaluate import agreement_page

    out = Path(arguments.out) if arguments.out else None
    print(agreement_page.write([Path(name) for name in arguments.runs], out))
    return 0
