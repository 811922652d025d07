"""The command `generate`: opens the run folder and the engine, runs the pipeline, writes the corpus.

Knows nothing of prompts and filters. The only module of the stage that reads argv, opens a run folder or starts an engine.
"""

from __future__ import annotations

import argparse
import asyncio
import functools
import json
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from self_instruct import commandline, engines, rundir
from self_instruct.engine import Engine
from self_instruct.errors import ConfigError, RunFolderError
from self_instruct.generate import flow, inputs, publish, yields
from self_instruct.generate.token_counts import Counter
from self_instruct.loading import Loaded
from self_instruct.runlog import log
from self_instruct.settings import Settings

if TYPE_CHECKING:
    from self_instruct.models import Model

DISK_GIB = 0.5
ABOUT = (
    "A model writes its own instruction data from seed tasks. `generate plan` predicts time, tokens and disk; "
    "`generate replay RUN` rebuilds what a finished run derived from its journal; "
    "`generate lineage RUN ROW_ID` shows what a training row was made from."
)


@dataclass(frozen=True, kw_only=True)
class Preparation:
    """What the settings name, found and read. `load` gives the tokenizer's counter, which takes seconds the first time."""

    loaded: Loaded
    inputs: inputs.Inputs
    places: Mapping[str, Path]
    model: Model
    load: Callable[[], Counter]

    def hashes(self) -> dict[str, str]:
        """What tells the inputs from others: SHA-256 of files and folders, the model's fingerprint."""
        return {name: rundir.sha256(place) for name, place in self.places.items()} | {"model": self.model.fingerprint}

    def starter(self, stage: Path) -> Callable[[], Any]:
        async def start() -> Engine:
            return await engines.open_engine(self.model, self.loaded.settings, log_path=stage / "engine.log")

        return start


def main(argv: Sequence[str]) -> int:
    """Run the stage or a subcommand; returns the exit status. Raises SelfInstructError for what a user can mend."""
    subcommands = {"lineage": lineage_run, "plan": plan_run, "replay": replay_run}
    if argv and argv[0] in subcommands:
        return subcommands[argv[0]](argv[1:])
    arguments = commandline.parser("generate", ABOUT).parse_args(argv)
    loaded = commandline.loaded(arguments)
    if loaded.settings.generate.outputs_of is not None:
        return outputs_run(loaded, argv, dry_run=arguments.dry_run)
    settings = loaded.settings
    ready = prepare(loaded)
    stage = loaded.run_dir / "generate"
    if not (stage / "config.json").exists():  # else it passed when the run began: the folder refuses other settings
        inputs.check(ready.inputs, ready.load())
    log.info(
        "generate: %s, %d seeds, until %d instructions or %d requests, in %s",
        ready.model.reference,
        len(ready.inputs.seeds),
        settings.generate.target_instructions,
        settings.generate.max_requests,
        stage,
    )
    if warning := flow.starved(settings):
        log.warning("%s", warning)
    if arguments.dry_run:
        tokens = ready.load()(inputs.first_prompt(ready.inputs))
        said = {"seeds": len(ready.inputs.seeds), "context": ready.inputs.context, "prompt_tokens": tokens}
        print(json.dumps({"dry_run": True, **said}))
        return 0
    return _make(loaded, argv, ready.hashes(), lambda folder: generate(folder, ready))


def _make(loaded: Loaded, argv: Sequence[str], hashes: Mapping[str, str], work: Callable[[rundir.StageFolder], None]) -> int:
    """Let `work` finish the stage's folder, where it isn't finished yet, and tell of it. `hashes` are those of the inputs."""
    settings = loaded.settings
    hub_id = settings.generate.push_to_hub
    if hub_id is not None:
        publish.check(hub_id)
    rundir.require_disk(loaded.run_dir, DISK_GIB)
    folder = rundir.open_stage(loaded, "generate", list(argv), hashes)
    try:
        if folder.finished:
            log.info("generate: %s is finished already; --out DIR starts another run", folder.path)
            if not (folder.path / "corpus").is_dir():
                raise RunFolderError(
                    f"{folder.path / 'corpus'}: gone, though the run is finished",
                    hint=f"make it anew from the journal: python generate replay {loaded.run_dir}",
                )
            _warn_of_exports(folder.path, settings.generate.exports)
        else:
            work(folder)
        if hub_id is not None:
            log.info("generate: %s is at %s", folder.path / "corpus", publish.push(folder.path / "corpus", hub_id))
        facts = folder.manifest["facts"]
        print(json.dumps({"corpus": str(folder.path / "corpus"), **{k: facts[k] for k in ("accepted", "instances", "stopped_by")}}))
    finally:
        folder.close()
    return 0


def _warn_of_exports(stage: Path, wanted: Sequence[str]) -> None:
    """Say which of the exports asked for a finished run doesn't have."""
    from self_instruct.generate.export import EXPORTS

    if missing := [kind for kind in wanted if not (stage / "exports" / EXPORTS[kind][0]).exists()]:
        log.warning(
            "generate: generate.exports: %s: not in %s; a finished run keeps the exports that it was finished with; "
            "`generate replay` brings those back, and no others",
            ", ".join(missing),
            stage / "exports",
        )


def prepare(loaded: Loaded) -> Preparation:
    """Find the model, read seeds and demonstrations. Raises ConfigError and DataError where something can't be used."""
    settings = loaded.settings
    places = inputs.sources(settings)
    inputs.load(settings, places, settings.model.max_length)  # its errors come before a model is converted or downloaded
    model = engines.resolve_model(settings)
    return Preparation(
        loaded=loaded,
        inputs=inputs.load(settings, places, min(model.context, settings.model.max_length)),
        places=places,
        model=model,
        load=functools.cache(lambda: engines.token_counter(model, settings)),
    )


def generate(folder: rundir.StageFolder, ready: Preparation) -> None:
    """Run to the end, write the products, and close the manifest."""
    from self_instruct.generate import products, session  # numpy and numba come with them

    stage, settings = folder.path, folder.loaded.settings.generate
    inputs.keep(stage, ready.places, ready.inputs.context)
    outcome = asyncio.run(session.run(stage, ready.inputs, ready.starter(stage), ready.load, ready.model.revision))
    facts, made, report = session.derive(
        stage, ready.inputs, outcome.result, outcome.records, model=ready.model.reference, hashes=folder.manifest["inputs"]
    )
    with products.written(stage, outcome.result, made, report) as aside:
        places = products.install(aside, stage)
    folder.finish(places | {name: stage / place for name, place in session.TRUTH.items()}, **facts)
    log.info("generate: rejected: %s", yields.sentence(facts["rejected"]))
    log.info(
        "generate: %d of %d candidates accepted, %d classification, %d instances, ended by %s, corpus in %s",
        *(facts[name] for name in ("accepted", "candidates", "classification", "instances", "stopped_by")),
        stage / "corpus",
    )
    if facts["stopped_by"] == "min_acceptance":
        log.warning("generate: %s", yields.dried_up(settings, facts["accepted"]))


def outputs_run(loaded: Loaded, argv: Sequence[str], *, dry_run: bool) -> int:
    """`generate` with `generate.outputs_of`. Raises ConfigError and DataError where something can't be used."""
    from self_instruct.generate import outputs, outputs_products  # pyarrow and numba come with them

    settings = loaded.settings
    place = Path(str(settings.generate.outputs_of))
    source = outputs.load(place)
    model = engines.resolve_model(settings)
    given = outputs.Given(settings=settings, source=source, context=min(model.context, settings.model.max_length))
    outputs.check(given)
    asked = functools.cache(lambda: outputs.prompts(source, engines.token_counter(model, settings), _chat(model, settings)))
    log.info(
        "generate: %s writes the outputs of %d rows of %s anew, at most %d tokens each, in %s",
        *(model.reference, len(source.train), place, given.limit, loaded.run_dir / "generate"),
    )
    if dry_run:
        print(json.dumps({"dry_run": True, **outputs.described(given, asked())}))
        return 0
    if not (loaded.run_dir / "generate" / "config.json").exists():
        asked()  # a tokenizer without chat template is told before anything is written
    start = functools.partial(engines.open_engine, model, settings, log_path=loaded.run_dir / "generate" / "engine.log")
    hashes = {"outputs_of": rundir.sha256(place / "data"), "model": model.fingerprint}
    return _make(loaded, argv, hashes, lambda folder: outputs_products.finish(folder, given, model, asked, start))


def _chat(model: Model, settings: Settings) -> Callable[[str], str] | None:
    """What makes a prompt of a user's turn, for `model.prompt: chat`; the scripted engine is asked by the bare turn."""
    if settings.model.prompt == "completion":
        return None
    if settings.model.engine == "scripted":
        return str
    from self_instruct.chat import chat_prompt
    from self_instruct.models import load_tokenizer

    return functools.partial(chat_prompt, load_tokenizer(model.path))


def replay_run(argv: Sequence[str]) -> int:
    """`generate replay RUN`. Raises RunFolderError where the run isn't finished, or its journal gives something else."""
    from self_instruct.generate import replay

    parser = argparse.ArgumentParser(
        prog="self-instruct generate replay",
        description="Rebuild corpus, exports, report and ledger of a finished run from its journal, byte for byte, "
        "without any engine.",
        allow_abbrev=False,
    )
    parser.add_argument("run", metavar="RUN", help="the run folder, such as runs/demo")
    stage = Path(parser.parse_args(argv).run) / "generate"
    with rundir.finished_stage(stage) as manifest:
        places = replay.rebuild(stage, manifest)
    log.info("replay: the same bytes as the run wrote: %s", ", ".join(str(place) for place in places.values()))
    print(json.dumps({"replayed": str(stage), "identical": sorted(places)}))
    return 0


def lineage_run(argv: Sequence[str]) -> int:
    """`generate lineage RUN ROW_ID`. Raises DataError where there is no such row."""
    from self_instruct.generate import lineage

    parser = argparse.ArgumentParser(
        prog="self-instruct generate lineage",
        description="Show a training row with the completions, the prompt and the instructions that it descends from.",
        allow_abbrev=False,
    )
    parser.add_argument("run", metavar="RUN", help="the run folder, such as runs/demo")
    parser.add_argument("row", metavar="ROW_ID", help="the column `id` of the corpus's config `train`")
    arguments = parser.parse_args(argv)
    stage = Path(arguments.run) / "generate"
    with rundir.finished_stage(stage) as manifest:
        if "outputs_of" in manifest["inputs"]:
            raise RunFolderError(
                f"{stage}: wrote outputs anew for the rows of another corpus; no row descends from seeds here",
                hint="rows keep their ids: name the run that wrote the other corpus",
            )
        print(lineage.tell(lineage.trace(stage, manifest, arguments.row)))
    return 0


def plan_run(argv: Sequence[str]) -> int:
    """`generate plan`: a short trial in a folder of its own, and what a whole run would take. No run is touched."""
    from self_instruct.generate import plan

    parser = argparse.ArgumentParser(
        prog="self-instruct generate plan",
        description=f"Ask {plan.REQUESTS} bootstrapping requests with all that follows from them, and predict a run with "
        "the same settings: requests, time, tokens, disk.",
        allow_abbrev=False,
    )
    commandline.add_settings_flags(parser)
    loaded = commandline.loaded(parser.parse_args(argv))
    if loaded.settings.generate.outputs_of is not None:
        raise ConfigError(
            f"{loaded.origins['generate.outputs_of']}: 'generate.outputs_of' is set: a plan is for runs that write tasks",
            hint="--dry-run tells how many requests it takes; or take the setting out",
        )
    ready = prepare(loaded)
    inputs.check(ready.inputs, ready.load())
    stage = Path(tempfile.mkdtemp(prefix="self-instruct-plan-"))
    log.info("plan: %d requests in %s", plan.REQUESTS, stage)
    try:
        predicted = _trial(ready, stage)
    except KeyboardInterrupt:
        shutil.rmtree(stage, ignore_errors=True)
        raise
    shutil.rmtree(stage)  # kept where the trial failed: the engine's log is in it
    for line in plan.describe(predicted):
        log.info("plan: %s", line)
    print(json.dumps({"plan": predicted}))
    return 0


def _trial(ready: Preparation, stage: Path) -> dict[str, Any]:
    """The prediction from a trial in the folder `stage`. Raises DataError where it accepted nothing."""
    from self_instruct.generate import plan, products, session

    settings = ready.loaded.settings
    trial = inputs.trial(ready.inputs, plan.REQUESTS)
    outcome = asyncio.run(session.run(stage, trial, ready.starter(stage), ready.load, ready.model.revision))
    _, made, report = session.derive(
        stage, trial, outcome.result, outcome.records, model=ready.model.reference, hashes=ready.hashes()
    )
    with products.written(stage, outcome.result, made, report) as aside:
        sizes = {path.relative_to(aside): path.stat().st_size for path in aside.rglob("*") if path.is_file()}
    return plan.predict(
        settings.generate,
        outcome.curve,
        outcome.records,
        product_bytes=sum(sizes.values()),
        # The ledger's file and the corpus's config.
        rejected_bytes=sum(size for path, size in sizes.items() if "rejected" in (path.stem, path.parent.name)),
        most_open=outcome.most_open,
        most_running=settings.run.engine.max_num_seqs * settings.replicas,
    )
