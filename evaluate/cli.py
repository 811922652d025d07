"""The evaluate stage's command: base and adapters answer the user-oriented tasks, and a report sets them side by side.

Knows the order of the stage's steps, and nothing of how each is done. The only module here that opens an engine,
a run folder or reads argv. Imports nothing heavy before it is needed.
"""

from __future__ import annotations

import argparse
import asyncio
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from self_instruct import commandline, rundir
from self_instruct.errors import ConfigError, DataError
from self_instruct.evaluate import predict, suites
from self_instruct.loading import Loaded
from self_instruct.records import Completion, Request
from self_instruct.rules import Rules
from self_instruct.runlog import log
from self_instruct.seedbank import seed_file, user_oriented_file

if TYPE_CHECKING:
    from self_instruct.models import Model

DISK_GIB = 0.1  # journal, report and engine log, with room


def main(argv: Sequence[str]) -> int:
    """Run the stage, or its subcommand `seeds`. Raises SelfInstructError for whatever the user can mend."""
    if list(argv[:1]) == ["seeds"]:
        return check_seeds(argv[1:])
    parser = commandline.parser("evaluate", "Measure the tuned model against its base and write a report.")
    parser.epilog = "`evaluate seeds FILE ...` checks files of seeds or user-oriented tasks and prints how diverse they are."
    arguments = parser.parse_args(argv)
    loaded = commandline.loaded(arguments)
    settings = loaded.settings
    items = suites.user_oriented(settings.evaluate)
    adapters = find_adapters(loaded)
    place = loaded.run_dir / "evaluate" / "report" / "report.md"
    count = len(items) * (1 + len(adapters))
    log.info("%d user-oriented tasks, base and %s: %d answers", len(items), ", ".join(adapters) or "no adapter", count)
    if arguments.dry_run:
        log.info("dry run: would ask %s and write %s", settings.model.name, place)
        print(json.dumps({"stage": "evaluate", "dry_run": True, "models": [predict.BASE, *adapters], "requests": count}))
        return 0

    from self_instruct.models import resolve

    model = resolve(settings.model)
    for path in adapters.values():
        require_base(path, model)
    limit = prompt_limit(loaded, model)
    rundir.require_disk(loaded.run_dir, DISK_GIB)
    contenders = (
        predict.Contender(name=predict.BASE, adapter=None, digest=""),
        *(predict.Contender(name=name, adapter=path, digest=rundir.sha256(path)) for name, path in adapters.items()),
    )
    inputs = {"model": model.fingerprint, "user_oriented": rundir.sha256(user_oriented_file(settings.evaluate.user_oriented))}
    inputs |= {f"adapter {contender.name}": contender.digest for contender in contenders if contender.adapter}
    stage = rundir.open_stage(loaded, "evaluate", list(argv), inputs)
    try:
        if stage.finished and place.exists():
            log.info("already finished; the report is %s", place)
        else:
            prompted = suites.prompts(items, limit, token_counter(model))
            evaluate(stage, model, contenders, prompted)
            log.info("the report is %s", place)
    finally:
        stage.close()
    tree = rundir.read_json(place.with_suffix(".json"))
    scores = {row["model"]: row["rouge_l"] for row in tree["models"]}
    print(json.dumps({"stage": "evaluate", "report": str(place), "rouge_l": scores}))
    return 0


def check_seeds(argv: Sequence[str]) -> int:
    """`evaluate seeds [FILE …]`: print what the files hold and what to mend. Raises DataError where one can't be used."""
    from self_instruct.evaluate import seed_report

    parser = argparse.ArgumentParser(
        prog="self-instruct evaluate seeds",
        description="Check files of seed tasks or user-oriented tasks, and print their figures.",
        allow_abbrev=False,
    )
    commandline.add_settings_flags(parser)
    parser.add_argument("files", nargs="*", metavar="FILE", help="JSON Lines; none: the seeds and user-oriented tasks that ship")
    arguments = parser.parse_args(argv)
    settings = commandline.loaded(arguments).settings
    files = [Path(name) for name in arguments.files]
    files = files or [seed_file(settings.generate.seeds), user_oriented_file(settings.evaluate.user_oriented)]
    sets = [seed_report.survey(path, Rules(settings.generate)) for path in files]
    print(seed_report.render(sets))
    for one in sets:
        if faults := sum(finding.fatal for finding in one.findings):
            raise DataError(
                f"{one.path}: can't be used as it is: {faults} {'fault' if faults == 1 else 'faults'}, listed above",
                hint="mend them; seeds/README.md shows the format",
            )
    return 0


def find_adapters(loaded: Loaded) -> dict[str, Path]:
    """The adapters to compare with the base, by model name. Raises DataError where one isn't there."""
    default = loaded.run_dir / "train" / "adapter"
    named = loaded.settings.evaluate.adapters
    paths = (default,) if named is None else tuple(Path(name) for name in named)
    for path in paths:
        if path == default and not path.exists() and (whole := path.with_name("model")).is_dir():
            raise DataError(
                f"{path}: no adapter: the run fine-tuned the whole model (train.method: full)",
                hint=f"measure {whole} in a run of its own: --set model.name={whole} --set 'evaluate.adapters=[]' --out DIR",
            )
        if not (path / "adapter_config.json").is_file():
            raise DataError(
                f"{path}: no LoRA adapter there (adapter_config.json)",
                hint="train one first: ./launch.sh train with the same --config; or name one: --set evaluate.adapters=[FOLDER]",
            )
    return dict(zip(predict.names(paths, default), paths, strict=True))


def require_base(adapter: Path, model: Model) -> None:
    """Raises DataError where the adapter was trained on another model, as far as its training manifest tells."""
    path = adapter / "training_manifest.json"
    if not path.exists():  # not made by the train stage
        return
    base = rundir.read_json(path).get("base_model", {})
    if base.get("fingerprint", model.fingerprint) != model.fingerprint:
        raise DataError(
            f"{adapter}: trained on {base.get('reference')} ({base['fingerprint'][:12]}), model.name is {model.reference} "
            f"({model.fingerprint[:12]})",
            hint="evaluate it with the config it was trained with",
        )


def prompt_limit(loaded: Loaded, model: Model) -> int:
    """Tokens left for a prompt in the context. Raises ConfigError where the answer leaves no room for one."""
    settings = loaded.settings
    context = min(settings.model.max_length, model.context)
    limit = context - settings.evaluate.max_tokens
    if limit < 1:
        raise ConfigError(
            f"{loaded.origins['evaluate.max_tokens']}: 'evaluate.max_tokens' is {settings.evaluate.max_tokens}: "
            f"no room for a prompt in a context of {context} tokens",
            hint="lower evaluate.max_tokens or raise model.max_length",
        )
    return limit


def token_counter(model: Model) -> Callable[[str], int]:
    """Counts a prompt's tokens with the model's tokenizer, loaded at the first call: most runs need none."""
    tokenizer: list[Any] = []

    def count(text: str) -> int:
        if not tokenizer:
            from self_instruct.models import load_tokenizer

            tokenizer.append(load_tokenizer(model.path))
        tokens: list[int] = tokenizer[0](text).input_ids
        return len(tokens)

    return count


def evaluate(
    stage: rundir.StageFolder, model: Model, contenders: tuple[predict.Contender, ...], prompted: tuple[suites.Prompted, ...]
) -> None:
    """Answers, scores, report; then the manifest says finished."""
    from self_instruct.evaluate import comparison, report

    settings = stage.loaded.settings
    path = stage.path / "journal" / "predictions.jsonl"
    asked = predict.requests(contenders, prompted, settings.evaluate.max_tokens)
    missing = predict.unanswered(path, asked)
    if len(missing) < len(asked):
        log.info("%d of %d answers are in the journal already", len(asked) - len(missing), len(asked))
    completions = asyncio.run(_answer(stage, model, contenders, asked, start=bool(missing)))
    results = comparison.measure(settings.run.seed, contenders, prompted, predict.predictions(contenders, prompted, completions))
    for one in results.comparisons:
        if one.same == one.items:
            log.warning("every answer of %s is the base's: the adapter does nothing, or wasn't applied", one.model)
    described = {
        "reference": model.reference,
        "source": model.source,
        "fingerprint": model.fingerprint,
        "architecture": model.architecture,
    }
    made = report.write(stage.path, settings, stage.manifest, described, results)
    if not stage.finished:  # a report that was deleted is made again, the manifest stays
        facts = {
            "items": len(prompted),
            "cut_inputs": sum(one.cut for one in prompted),
            "rouge_l": {name: round(summary.rouge_l, 2) for name, summary in results.summaries.items()},
        }
        stage.finish({"report": made.parent}, **facts)


async def _answer(
    stage: rundir.StageFolder,
    model: Model,
    contenders: Sequence[predict.Contender],
    asked: Sequence[Request],
    *,
    start: bool,
) -> dict[str, Completion]:
    """The completions by request id; an engine is started only where something is missing."""
    folders = {contender.digest: str(contender.adapter.resolve()) for contender in contenders if contender.adapter}
    path = stage.path / "journal" / "predictions.jsonl"
    if not start:
        return await predict.collect(path, None, asked, folders)

    from self_instruct.engines import open_engine

    engine = await open_engine(model, stage.loaded.settings, tuple(folders.values()), stage.path / "engine.log")
    return await predict.collect(path, engine, asked, folders)
