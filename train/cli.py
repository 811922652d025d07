"""The train stage's command line: checks everything, then trains, and writes the adapter or the model.

Knows nothing of templates, masks and losses. torch is imported once all that can be checked without it is right.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import logging
import os
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from self_instruct import commandline, hardware, journal, readers, rundir, seedbank
from self_instruct.errors import ConfigError, DataError, SelfInstructError
from self_instruct.loading import Loaded, load
from self_instruct.models import Model
from self_instruct.runlog import Metrics, Progress, log
from self_instruct.settings import reads, shaping
from self_instruct.train import session, trackers
from self_instruct.train.masking import MINIMUM_LENGTH
from self_instruct.train.session import Gathered

PR_SET_PDEATHSIG = 1  # Linux, prctl(2)


def main(argv: Sequence[str]) -> int:
    """Train on instruction data and the seeds. Returns 0; raises SelfInstructError for what the user can mend."""
    if list(argv[:1]) == ["merge"]:
        return merge_run(argv[1:])
    description = "Fine-tune the model on the completions of instruction data; `train merge RUN` merges what came of it."
    arguments = commandline.parser("train", description).parse_args(list(argv))
    loaded = commandline.loaded(arguments)
    first = int(os.environ.get("RANK", "0")) == 0
    if not first:
        log.setLevel(logging.ERROR)
    _end_with_launcher()

    from self_instruct import models

    settings = loaded.settings.train
    places = _places(loaded)
    sources = [readers.read(place, sample=settings.sample, seed=loaded.settings.run.seed) for place in places]
    seeds = seedbank.load_seeds(_seeds(loaded)) if settings.include_seeds else ()
    trackers.check(settings.log_with)
    model = models.resolve(loaded.settings.model)
    gathered = session.gather(loaded.settings, model, _limit(loaded, model), sources, seeds)
    stage = loaded.run_dir / "train"
    if arguments.dry_run:
        if first:
            print(json.dumps({"stage": "train", "dry_run": True, **session.dry_run(gathered)}, ensure_ascii=False))
        return 0

    from self_instruct.train import modeling

    modeling.check_method(settings.method)
    # Before anything is written: it may find that the processes don't know of each other.
    accelerator = modeling.accelerator(session.precision(gathered))
    inputs = _inputs(loaded, places, model)
    fingerprint = _fingerprint(loaded, inputs, gathered)
    if not first:
        return 0 if _finished(stage) else _train(gathered, accelerator, stage, fingerprint, None)
    folder = rundir.open_stage(loaded, "train", list(argv), inputs=inputs)
    try:
        if folder.finished:
            log.info("%s: finished already; nothing to do", stage)
            _say(stage, folder.manifest["facts"])
            return 0
        return _train(gathered, accelerator, stage, fingerprint, folder)
    finally:
        folder.close()


def _end_with_launcher() -> None:
    """`accelerate launch` doesn't hand a SIGTERM on: without this, training would go on when its launcher is ended."""
    if sys.platform == "linux" and "ACCELERATE_MIXED_PRECISION" in os.environ:
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def _places(loaded: Loaded) -> list[Path]:
    """What to train on. Raises DataError, with how to make one, where the run has no corpus and nothing is named."""
    named = loaded.settings.train.data
    if named is not None:
        return [Path(place) for place in ((named,) if isinstance(named, str) else named)]
    place = loaded.run_dir / "generate" / "corpus"
    if not place.is_dir():
        raise DataError(
            f"{place}: no corpus there (the run's own corpus)",
            hint="make one with: ./launch.sh generate --config configs/demo.yaml; or name one with: --set train.data=FOLDER",
        )
    return [place]


def _seeds(loaded: Loaded) -> str | None:
    """The seed file to include: train's, else the one that the corpus was grown from; none is the set that ships."""
    return loaded.settings.train.seeds or loaded.settings.generate.seeds


def _limit(loaded: Loaded, model: Model) -> int:
    """The longest example in tokens: `train.max_length`, within the model's context."""
    if model.context < MINIMUM_LENGTH:
        raise ConfigError(
            f"model.name: {model.reference} has a context of {model.context} tokens, at least {MINIMUM_LENGTH} are needed",
            hint="name a model with a longer context",
        )
    return min(loaded.settings.train.max_length, model.context)


def _inputs(loaded: Loaded, places: Sequence[Path], model: Model) -> dict[str, str]:
    """Hashes of what is read: other data, other seeds or another model make another training."""
    found = {"model": model.fingerprint}
    for number, place in enumerate(places):
        rows = place / "data" / "train"  # of a corpus folder: its card may change
        found["data" if len(places) == 1 else f"data.{number}"] = rundir.sha256(rows if rows.is_dir() else place)
    if loaded.settings.train.include_seeds:
        found["seeds"] = rundir.sha256(seedbank.seed_file(_seeds(loaded)))
    return found


def _fingerprint(loaded: Loaded, inputs: dict[str, str], gathered: Gathered) -> dict[str, Any]:
    """What a checkpoint must be of: the settings that shape the training, what it reads, and the rows that came of it."""
    moved = reads()
    settings = {name: value for name, value in shaping(loaded.settings, "train").items() if name not in moved}
    told = settings | {f"input {name}": digest for name, digest in inputs.items()} | {"rows": gathered.digest}
    plain: dict[str, Any] = json.loads(json.dumps(told))  # as it comes back from a file
    return plain


def _finished(stage: Path) -> bool:
    manifest = stage / "manifest.json"
    return manifest.exists() and rundir.read_json(manifest).get("status") == "finished"


def _train(
    gathered: Gathered, accelerator: Any, stage: Path, fingerprint: dict[str, Any], folder: rundir.StageFolder | None
) -> int:
    """Train; with a folder (rank 0 alone) write what comes of it."""
    import torch
    from accelerate.utils import broadcast_object_list

    from self_instruct.train import checkpoint, loop

    started = time.monotonic()
    found = [checkpoint.newest(stage / "checkpoints", fingerprint) if folder is not None else None]
    resume = broadcast_object_list(found)[0] if accelerator.num_processes > 1 else found[0]
    training = session.prepare(gathered, accelerator)
    checkpoints = loop.Checkpoints(folder=stage / "checkpoints", fingerprint=fingerprint, resume=resume)
    done = 0 if resume is None else int(resume.state["progress"]["step"])
    try:
        if folder is None:
            training.fit(checkpoints)
            session.whole(training)  # the ranks give their parts to rank 0
            accelerator.end_training()
            return 0
        rundir.require_disk(folder.path, training.product_bytes / 2**30)
        session.list_dropped(gathered, stage)
        metrics = _metrics(stage, done)
        if resume is not None:
            log.info("going on after step %d of %d, from %s", done, gathered.steps, resume.path)
        elif (stage / "checkpoints").exists():
            log.info("no checkpoint can be used: from the first step, with the same draws")
        open_trackers = trackers.Trackers(gathered.settings.train.log_with, stage, shaping(gathered.settings, "train"))
        try:
            with Progress("train", gathered.steps, "steps", done) as progress:
                state = training.fit(
                    checkpoints, metrics=metrics, progress=progress, track=lambda line, step: open_trackers.log(step, line)
                )
        finally:
            metrics.close()
            open_trackers.close()
    except torch.OutOfMemoryError as error:
        raise _no_memory(error, accelerator.num_processes) from None
    place = session.write(training, state, stage, session.whole(training))
    facts = session.facts(training, state)
    folder.finish({place.name: place}, **facts)
    accelerator.end_training()
    log.info("%s in %s after %.0f s", place.name, place, time.monotonic() - started)
    _say(stage, facts)
    return 0


def _metrics(stage: Path, done: int) -> Metrics:
    """metrics.jsonl, cut back to what the checkpoint to go on from had seen."""
    place = stage / "metrics.jsonl"
    kept = [line for line in journal.read(place) if line["step"] <= done] if done else []
    if place.exists():
        rundir.write_text(place, "".join(json.dumps(line, ensure_ascii=False, sort_keys=True) + "\n" for line in kept))
    return Metrics(place)


def _no_memory(error: Exception, processes: int) -> SelfInstructError:
    """What a GPU without enough memory ends in, with who holds it."""
    holders = ", ".join(hardware.gpu_holders()) or "processes that nvidia-smi does not show"
    return SelfInstructError(
        f"out of GPU memory: {str(error).splitlines()[0][:160]}; held by {holders}",
        hint="end them, or lower train.max_length"
        + (" or train.micro_batch_tokens; the same command goes on from the last checkpoint" if processes > 1 else ""),
    )


def _say(stage: Path, facts: dict[str, Any]) -> None:
    """The one line on stdout."""
    chosen = {name: facts[name] for name in ("examples", "steps", "completion_tokens_per_s")}
    losses = [round(epoch["loss"], 4) for epoch in facts["epochs"]]
    product = "model" if facts["method"] == "full" else "adapter"
    print(json.dumps({"stage": "train", product: str(stage / product), **chosen, "loss_by_epoch": losses}))


def merge_run(argv: Sequence[str]) -> int:
    """`train merge RUN`. Raises SelfInstructError where the run has no adapter that can be merged."""
    from self_instruct import engines
    from self_instruct.train import merge

    parser = argparse.ArgumentParser(
        prog="self-instruct train merge",
        description="Add a run's adapter to its base's weights, and compare adapter, merged model and vLLM on 20 prompts.",
        allow_abbrev=False,
    )
    parser.add_argument("run", metavar="RUN", help="the run folder, such as runs/demo")
    commandline.add_set_flag(parser, "run.threads, run.engine.NAME, model.engine or model.dtype; the rest is as in the run")
    arguments = parser.parse_args(list(argv))
    stage = Path(arguments.run) / "train"
    with rundir.finished_stage(stage) as manifest:
        settings = merge.settings_of(manifest, load(overrides=arguments.overrides), stage / "manifest.json")
        planned = merge.plan(stage, settings)
        made = merge.run(planned, engines.open_engine)
    print(json.dumps(merge.told(planned, made)))
    return 0
