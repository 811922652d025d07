"""The train stage's command line: checks everything, then trains, and writes the adapter.

Knows nothing of templates, masks and losses. torch is imported once all that can be checked without it is right.
"""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from self_instruct import __version__, commandline, corpus, hardware, rundir, seedbank
from self_instruct.errors import ConfigError, DataError, SelfInstructError
from self_instruct.loading import Loaded
from self_instruct.models import Model, load_tokenizer
from self_instruct.runlog import Metrics, Progress, log
from self_instruct.settings import shaping
from self_instruct.train import adapter, batching, masking, preview, sources

if TYPE_CHECKING:
    from self_instruct.records import TrainingExample
    from self_instruct.train.loop import Outcome

SAMPLES = 3


def main(argv: Sequence[str]) -> int:
    """Train on a corpus and the seeds. Returns 0; raises SelfInstructError for what the user can mend."""
    description = "Fine-tune the model on the completions of a corpus, with LoRA."
    arguments = commandline.parser("train", description).parse_args(list(argv))
    loaded = commandline.loaded(arguments)
    first = int(os.environ.get("RANK", "0")) == 0
    if not first:
        log.setLevel(logging.ERROR)

    from self_instruct import models

    place = _corpus_place(loaded)
    rows, seeds = _read(loaded, place)
    model = models.resolve(loaded.settings.model)
    limit = _limit(loaded, model)
    stage = loaded.run_dir / "train"
    if arguments.dry_run:
        if first:
            _dry_run(loaded, rows, seeds, model, limit)
        return 0
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        from self_instruct.train import modeling

        modeling.accelerator()  # finds out, before anything is written, whether the processes know of each other
    if not first:
        return 0 if _finished(stage) else _train(loaded, rows, seeds, model, limit, None)
    folder = rundir.open_stage(loaded, "train", list(argv), inputs=_inputs(loaded, place, model))
    try:
        if folder.finished:
            log.info("%s: finished already; nothing to do", stage)
            _say(stage, folder.manifest["facts"])
            return 0
        if (stage / "metrics.jsonl").exists():
            log.info("an earlier run ended before its end: training starts again from the first step, with the same draws")
            (stage / "metrics.jsonl").unlink()
        return _train(loaded, rows, seeds, model, limit, folder)
    finally:
        folder.close()


def _corpus_place(loaded: Loaded) -> Path:
    """The corpus folder. Raises DataError, with how to make one, where there is none."""
    named = loaded.settings.train.data
    place = Path(named) if named is not None else loaded.run_dir / "generate" / "corpus"
    if not place.is_dir():
        source = "train.data" if named is not None else "the run's own corpus"
        raise DataError(
            f"{place}: no corpus there ({source})",
            hint="make one with: ./launch.sh generate --config configs/demo.yaml; or name one with: --set train.data=FOLDER",
        )
    return place


def _read(loaded: Loaded, place: Path) -> tuple[tuple[TrainingExample, ...], tuple[TrainingExample, ...]]:
    """The rows of the corpus and of the seeds."""
    seeds = sources.from_seeds(seedbank.load_seeds(_seeds(loaded))) if loaded.settings.train.include_seeds else ()
    return corpus.read_train(place), seeds


def _seeds(loaded: Loaded) -> str | None:
    """The seed file to include: train's, else the one that the corpus was grown from; none is the set that ships."""
    return loaded.settings.train.seeds or loaded.settings.generate.seeds


def _limit(loaded: Loaded, model: Model) -> int:
    """The longest example in tokens: `train.max_length`, within the model's context."""
    if model.context < masking.MINIMUM_LENGTH:
        raise ConfigError(
            f"model.name: {model.reference} has a context of {model.context} tokens, at least {masking.MINIMUM_LENGTH} are needed",
            hint="name a model with a longer context",
        )
    return min(loaded.settings.train.max_length, model.context)


def _inputs(loaded: Loaded, place: Path, model: Model) -> dict[str, str]:
    """Hashes of what is read: another corpus, other seeds or another model make another training."""
    found = {"corpus": rundir.sha256(place / "data" / "train"), "model": model.fingerprint}
    if loaded.settings.train.include_seeds:
        found["seeds"] = rundir.sha256(seedbank.seed_file(_seeds(loaded)))
    return found


def _finished(stage: Path) -> bool:
    manifest = stage / "manifest.json"
    return manifest.exists() and rundir.read_json(manifest).get("status") == "finished"


def _prepare(
    loaded: Loaded, rows: Sequence[TrainingExample], seeds: Sequence[TrainingExample], model: Model, limit: int, tokenizer: Any
) -> tuple[sources.Sources, batching.Preparation]:
    from self_instruct.train.modeling import tokenize_with

    tokenize, settings = tokenize_with(tokenizer), loaded.settings.train
    found = sources.combine(seeds, rows, lambda text: bool(masking.completion_ids(tokenize, text, model.eos_token_id)))
    log.info(
        "%d examples, %d of them from seeds; left out: %d repeated, %d without an output",
        len(found.examples), found.seed_examples, found.duplicates, found.empty,
    )  # fmt: skip
    return found, batching.Preparation(
        tokenize=tokenize,
        eos_id=model.eos_token_id,
        limit=limit,
        prompt_weight=settings.prompt_loss_weight,
        seed=loaded.settings.run.seed,
        template_draw=settings.template_draw,
    )


def _dry_run(loaded: Loaded, rows: Sequence[TrainingExample], seeds: Sequence[TrainingExample], model: Model, limit: int) -> None:
    from self_instruct.train import loop, modeling

    settings = loaded.settings.train
    tokenizer = load_tokenizer(model.path)
    found, preparation = _prepare(loaded, rows, seeds, model, limit, tokenizer)
    encoded = [preparation.encode(example, 0) for example in found.examples]
    dtype, reason = modeling.choose_dtype(loaded.settings.model.dtype)
    total = loop.total_steps(len(encoded), settings)
    tokens, completion = sum(len(one.ids) for one in encoded), sum(one.completion_tokens for one in encoded)
    cut = sum(one.prompt_cut > 0 for one in encoded)
    log.info("model %s, %s: %s", model.reference, dtype, reason)
    log.info(
        "%d steps of %d examples in %d epochs; one epoch: %d tokens, %d of them completion; longest %d of at most %d, %d cut",
        total, settings.batch_size, settings.epochs, tokens, completion, max(len(one.ids) for one in encoded), limit, cut,
    )  # fmt: skip
    forms = preview.count_forms(encoded)
    log.info("templates in the first epoch:\n%s", "\n".join(preview.histogram(forms)))
    for one in encoded[:: max(len(encoded) // SAMPLES, 1)][:SAMPLES]:
        log.info("%s", "\n".join(preview.sample(one, tokenizer.decode)))
    facts = {"examples": len(encoded), "steps": total, "tokens": tokens, "completion_tokens": completion, "template_counts": forms}
    print(json.dumps({"stage": "train", "dry_run": True, **facts}, ensure_ascii=False))


def _train(
    loaded: Loaded,
    rows: Sequence[TrainingExample],
    seeds: Sequence[TrainingExample],
    model: Model,
    limit: int,
    folder: rundir.StageFolder | None,
) -> int:
    """Train; with a folder (rank 0 alone) write what comes of it."""
    import torch

    from self_instruct.train import loop, modeling
    from self_instruct.train.objective import WeightedLoss, head_is_plain

    accelerator = modeling.accelerator()
    settings, seed = loaded.settings.train, loaded.settings.run.seed
    threads = modeling.set_threads(loaded.settings.run.threads, int(os.environ.get("LOCAL_WORLD_SIZE", "1")))
    tokenizer = load_tokenizer(model.path)
    found, preparation = _prepare(loaded, rows, seeds, model, limit, tokenizer)
    dtype, reason = modeling.choose_dtype(loaded.settings.model.dtype)
    log.info("%s on %s with %d CPU threads: %s", dtype, accelerator.device, threads, reason)
    tuned = modeling.add_lora(modeling.load_base(model.path, dtype), settings, seed)
    parameters = modeling.trainable(tuned)
    if folder is not None:
        rundir.require_disk(folder.path, (4 * parameters + 2**26) / 2**30)  # float32 matrices, and the tokenizer's files
    plain = head_is_plain(tuned, preparation.encode(found.examples[0], 0).ids[:16])
    log.info("LoRA of rank %d: %d trainable parameters", settings.lora_rank, parameters)
    if not plain:
        log.info("this architecture does more than a matrix product in its output head: it runs on all tokens, which is slower")
    total = loop.total_steps(len(found.examples), settings)
    started = time.monotonic()
    objective = WeightedLoss(tuned, rows_only=plain)
    if folder is None:
        loop.fit(objective, accelerator, preparation, found.examples, settings)
        accelerator.end_training()
        return 0
    metrics = Metrics(folder.path / "metrics.jsonl")
    with Progress("train", total, "steps") as progress:
        try:
            outcome = loop.fit(objective, accelerator, preparation, found.examples, settings, metrics=metrics, progress=progress)
        except torch.OutOfMemoryError as error:
            raise _no_memory(error) from None
        finally:
            metrics.close()
    facts = _facts(found, outcome) | {"dtype": dtype, "dtype_reason": reason, "trainable_parameters": parameters}
    place = folder.path / "adapter"
    adapter.write(place, tuned, tokenizer, _manifest(loaded, found, model, outcome, dtype))
    folder.finish({"adapter": place}, **facts)
    accelerator.end_training()
    log.info("adapter in %s after %.0f s", place, time.monotonic() - started)
    _say(folder.path, facts)
    return 0


def _no_memory(error: Exception) -> SelfInstructError:
    """What a GPU without enough free memory ends in, with who holds it."""
    holders = ", ".join(hardware.gpu_holders()) or "processes that nvidia-smi does not show"
    return SelfInstructError(
        f"out of GPU memory: {str(error).splitlines()[0][:160]}; held by {holders}",
        hint="end them, or lower train.micro_batch_size or train.max_length",
    )


def _facts(found: sources.Sources, outcome: Outcome) -> dict[str, Any]:
    seconds = sum(epoch.seconds for epoch in outcome.epochs)
    return {
        "examples": len(found.examples),
        "seed_examples": found.seed_examples,
        "dropped": {"duplicates": found.duplicates, "empty": found.empty},
        "prompts_cut": outcome.prompts_cut,
        "completions_cut": outcome.completions_cut,
        "steps": outcome.steps,
        "epochs": [asdict(epoch) for epoch in outcome.epochs],
        "completion_tokens_per_s": round(sum(epoch.completion_tokens for epoch in outcome.epochs) / seconds, 1),
        "tokens_per_s": round(sum(epoch.tokens for epoch in outcome.epochs) / seconds, 1),
        "template_counts": outcome.forms,
    }


def _manifest(loaded: Loaded, found: sources.Sources, model: Model, outcome: Outcome, dtype: str) -> dict[str, Any]:
    """What travels with the adapter. No times and no speeds in it: the same training writes the same bytes."""
    return {
        "self_instruct": __version__,
        "base_model": {"reference": model.reference, "revision": loaded.settings.model.revision, "fingerprint": model.fingerprint},
        "data": {
            "sha256": sources.fingerprint(found.examples),
            "examples": len(found.examples),
            "seed_examples": found.seed_examples,
        },
        "settings": shaping(loaded.settings, "train"),
        "dtype": dtype,
        "versions": rundir.versions(),
        "template_counts": outcome.forms,
        "loss_by_epoch": [epoch.loss for epoch in outcome.epochs],
    }


def _say(stage: Path, facts: dict[str, Any]) -> None:
    """The one line on stdout."""
    chosen = {name: facts[name] for name in ("examples", "steps", "completion_tokens_per_s")}
    losses = [round(epoch["loss"], 4) for epoch in facts["epochs"]]
    print(json.dumps({"stage": "train", "adapter": str(stage / "adapter"), **chosen, "loss_by_epoch": losses}))
