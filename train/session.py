"""A training put together: rows, templates, model and steps before it; adapter, card and curve after it.

Knows no command line and opens no run folder. torch is imported where a model is.
"""

from __future__ import annotations

import functools
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from self_instruct import __version__, journal, provenance, rundir
from self_instruct.errors import ConfigError
from self_instruct.models import Model, load_tokenizer
from self_instruct.readers import Source
from self_instruct.records import ChatExample, SeedTask
from self_instruct.runlog import log
from self_instruct.settings import Settings, shaping
from self_instruct.train import adapter, batching, curve, preview, sources
from self_instruct.train.batching import Preparation
from self_instruct.train.sources import Sources
from self_instruct.train.tokens import Tokens

if TYPE_CHECKING:
    from self_instruct.train.loop import Checkpoints, State
    from self_instruct.train.step import Stepper

SAMPLES = 3
LISTED = 5  # dropped rows that the log names; dropped.jsonl has all


@dataclass(frozen=True, kw_only=True)
class Gathered:
    """All that is known before a model is loaded: the rows, how they become ids, and how many optimizer steps they make."""

    settings: Settings
    model: Model
    tokenizer: Any
    data: Sources
    preparation: Preparation

    @property
    def steps(self) -> int:
        train = self.settings.train
        return train.epochs * batching.epoch_steps(self.data.weights, train.batch_size, self.data.names)

    @functools.cached_property
    def digest(self) -> str:
        """SHA-256 over the rows that are trained on."""
        return sources.fingerprint(self.data.examples)

    @functools.cached_property
    def dtype(self) -> tuple[str, str]:
        """The number format to compute in, and why."""
        from self_instruct.train import modeling

        return modeling.choose_dtype(self.settings.model.dtype)


@dataclass(frozen=True, kw_only=True)
class Training:
    """A model ready to be trained."""

    gathered: Gathered
    accelerator: Any
    model: Any
    stepper: Stepper
    parameters: int

    @property
    def product_bytes(self) -> int:
        """About what the product takes on disk: float32 matrices, and the tokenizer's files."""
        return 4 * self.parameters + 2**26

    def fit(self, checkpoints: Checkpoints, **seen: Any) -> State:
        from self_instruct.train import loop

        one = self.gathered
        return loop.fit(self.stepper, self.accelerator, one.preparation, one.data, one.settings.train, checkpoints, **seen)


def gather(settings: Settings, model: Model, limit: int, found: Sequence[Source], seeds: Sequence[SeedTask]) -> Gathered:
    """The rows of all sources and the seeds, without those that can't be trained on. Raises DataError where none is left, and
    ConfigError where the model can't be trained as the settings say."""
    train, tokenizer = settings.train, load_tokenizer(model.path)
    encoder_decoder = bool(rundir.read_json(Path(model.path) / "config.json").get("is_encoder_decoder"))
    if encoder_decoder and train.prompt_loss_weight:
        raise ConfigError(
            f"train.prompt_loss_weight: {train.prompt_loss_weight:g}, but {model.reference} is an encoder-decoder, which doesn't "
            "predict its prompt",
            hint="set train.prompt_loss_weight=0",
        )
    preparation = Preparation(
        tokens=Tokens(tokenizer),
        eos_id=model.eos_token_id,
        limit=limit,
        prompt_weight=train.prompt_loss_weight,
        seed=settings.run.seed,
        template_draw=train.template_draw,
        template=train.template,
        encoder_decoder=encoder_decoder,
    )
    data = sources.combine(
        sources.from_seeds(seeds),
        found,
        train.weights,
        have_tokens=preparation.have_tokens,
        instructions=train.instructions,
        held_out=train.held_out,
        seed=settings.run.seed,
    )
    for source in found:
        log.info("%s: %s, %d rows", source.name, source.kind, len(source.examples))
    log.info(
        "%d examples, %d of them from seeds; %d held out; left out: %d repeated, %d without an output",
        len(data.examples), data.seed_examples, len(data.held_out), data.drops["duplicate"], data.drops["empty"],
    )  # fmt: skip
    if train.instructions is not None:
        log.info("%d of %d instructions (train.instructions=%d)", data.instructions, data.available, train.instructions)
    for example in (*data.examples, *data.held_out):
        if train.template == "chat" or isinstance(example, ChatExample):
            preparation.render(example, 0)  # a chat template may refuse a conversation: now, not after hours
    for one in data.dropped[:LISTED]:
        log.info("left out: %s of %s: %s", one.id, one.source, one.reason)
    return Gathered(settings=settings, model=model, tokenizer=tokenizer, data=data, preparation=preparation)


def dry_run(gathered: Gathered) -> dict[str, Any]:
    """Say what the training would do; returns the numbers of it."""
    from self_instruct.train import memory

    settings, preparation, data = gathered.settings.train, gathered.preparation, gathered.data
    passes = dict(zip(data.names, data.weights, strict=True))
    for line in preview.sources(data.counts, passes):
        log.info("%s", line)
    encoded = preparation.encode_all(data.examples, 0)
    tokens, completion = sum(len(one.ids) for one in encoded), sum(one.completion_tokens for one in encoded)
    cut, longest = sum(one.prompt_cut > 0 for one in encoded), max(len(one.ids) for one in encoded)
    dtype, reason = gathered.dtype
    log.info("model %s, %s, %s: %s", gathered.model.reference, settings.method, dtype, reason)
    log.info(
        "%d steps of %d examples in %d epochs; all rows once: %d tokens, %d of them completion; longest %d of at most %d, %d cut",
        gathered.steps, settings.batch_size, settings.epochs, tokens, completion, longest, preparation.limit, cut,
    )  # fmt: skip
    facts: dict[str, Any] = {}
    estimate = memory.estimate_without_weights(gathered.model.path, settings, dtype)
    if estimate is None:
        log.info("memory: no estimate for this architecture")
    else:
        device, limit = memory.main_device(), preparation.limit
        estimate = estimate.spread(memory.shards(), whole=settings.method == "qlora")
        budget, twice = estimate.plan(memory.device_bytes(device), limit, settings.micro_batch_tokens, gpu=device.type == "cuda")
        peak = estimate.total(max(budget, longest), checkpointed=twice)
        facts = {"memory_gib": round(peak / 2**30, 2), "micro_batch_tokens": budget, "checkpointed_activations": twice}
        log.info(
            "memory: about %.1f of %.0f GiB on the %s: weights %.2f, gradients and AdamW %.2f, %.2f for %d tokens at a time%s",
            peak / 2**30, memory.device_bytes(device) / 2**30, device.type, estimate.weights / 2**30, estimate.trained / 2**30,
            (peak - estimate.weights - estimate.trained) / 2**30, max(budget, longest),
            ", activations computed twice" if twice else "",
        )  # fmt: skip
    forms = preview.count_forms(encoded)
    log.info("templates in the first epoch:\n%s", "\n".join(preview.histogram(forms)))
    for one in encoded[:: max(len(encoded) // SAMPLES, 1)][:SAMPLES]:
        log.info("%s", "\n".join(preview.sample(one, gathered.tokenizer.decode, grey=sys.stderr.isatty())))
    numbers = {"examples": len(encoded), "held_out": len(data.held_out), "steps": gathered.steps, "tokens": tokens}
    return numbers | {"completion_tokens": completion, "template_counts": forms} | facts


def precision(gathered: Gathered) -> str:
    """accelerate's mixed precision. Frozen weights are in the format that is computed in; trained ones stay in float32."""
    return "bf16" if gathered.settings.train.method == "full" and gathered.dtype[0] == "bfloat16" else "no"


def prepare(gathered: Gathered, accelerator: Any) -> Training:
    """Load the model, make it trainable and give it to the accelerator."""
    import torch

    from self_instruct.train import memory, modeling
    from self_instruct.train.objective import causal
    from self_instruct.train.step import Stepper, checkpoint_activations

    settings, seed = gathered.settings.train, gathered.settings.run.seed
    threads = modeling.set_threads(gathered.settings.run.threads, int(os.environ.get("LOCAL_WORLD_SIZE", "1")))
    dtype, reason = gathered.dtype
    log.info("%s on %s with %d CPU threads: %s", dtype, accelerator.device, threads, reason)
    model = modeling.make_trainable(modeling.load_base(gathered.model.path, dtype, settings.method), settings, seed)
    if memory.shards() == 1:
        model.to(accelerator.device)  # where it will run is where it is tried, below
    parameters = modeling.trainable(model)
    what = "all weights" if settings.method == "full" else f"LoRA of rank {settings.lora_rank}"
    log.info("%s: %d trainable parameters", what, parameters)
    limit, first = gathered.preparation.limit, gathered.preparation.encode(gathered.data.examples[0], 0)
    objective, layout, said = modeling.build_objective(model, settings, limit, list(first.ids[:16]), accelerator.device)
    log.info("%s", said)
    estimate = memory.estimate(model, plain_head=objective.plain_head)
    gpu = accelerator.device.type == "cuda"
    budget, twice = settings.micro_batch_tokens or (memory.BLIND_BUDGET if gpu else memory.CPU_BUDGET), False
    if estimate is not None:
        room = memory.device_bytes(accelerator.device)
        budget, twice = estimate.spread(memory.shards(), whole=settings.method == "qlora").plan(
            room, limit, settings.micro_batch_tokens, gpu=gpu
        )
    if twice and causal(model).supports_gradient_checkpointing:
        checkpoint_activations(causal(model))
        log.info("activations are computed twice: memory wouldn't hold those of %d tokens", limit)
    log.info("micro-batches of at most %d tokens", budget)
    trained = [parameter for parameter in objective.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=settings.rate, weight_decay=settings.weight_decay)
    stepper = Stepper(objective, accelerator, optimizer, layout, budget)
    return Training(gathered=gathered, accelerator=accelerator, model=model, stepper=stepper, parameters=parameters)


def write(training: Training, state: State, stage: Path, tensors: dict[str, Any] | None) -> Path:
    """Write the adapter, or the whole model, with its card and the loss curve. Returns its folder. `tensors`: what `whole` gave."""
    gathered, full = training.gathered, training.gathered.settings.train.method == "full"
    drawn = curve.write(stage / "loss.png", journal.read(stage / "metrics.jsonl"))
    ends = gathered.preparation.stop_ids(gathered.data.examples)
    generation = adapter.generation(gathered.model, [end for end in ends if end != gathered.model.eos_token_id])
    place = stage / ("model" if full else "adapter")
    put = adapter.write_model if full else adapter.write
    put(
        place,
        training.model,
        gathered.tokenizer,
        manifest(training, state),
        generation,
        stage / "loss.png" if drawn else None,
        tensors,
    )
    return place


def list_dropped(gathered: Gathered, stage: Path) -> None:
    """Write dropped.jsonl: the rows left out, each with its source and the reason."""
    rundir.write_text(stage / "dropped.jsonl", "".join(f"{line}\n" for line in map(_dropped, gathered.data.dropped)))


def whole(training: Training) -> dict[str, Any] | None:
    """The trained tensors in one piece, where they are spread over the ranks (FSDP); every rank has to call it. None elsewhere."""
    from accelerate import DistributedType

    from self_instruct.train import loop

    if training.accelerator.distributed_type != DistributedType.FSDP:
        return None
    return {name.removeprefix("model."): value for name, value in loop.tensors(training.stepper).items()}


def _dropped(row: sources.Dropped) -> str:
    return json.dumps({"id": row.id, "source": row.source, "reason": row.reason}, ensure_ascii=False)


def facts(training: Training, state: State) -> dict[str, Any]:
    """The stage's facts in its manifest."""
    gathered = training.gathered
    seconds = max(sum(epoch["seconds"] for epoch in state.epochs), 1e-9)
    return {
        "method": gathered.settings.train.method,
        "examples": len(gathered.data.examples),
        "instructions": gathered.data.instructions,
        "instructions_available": gathered.data.available,
        "seed_examples": gathered.data.seed_examples,
        "sources": gathered.data.counts,
        "held_out": len(gathered.data.held_out),
        "dropped": gathered.data.drops,
        "prompts_cut": state.prompts_cut,
        "completions_cut": state.completions_cut,
        "steps": state.step,
        "epochs": state.epochs,
        "held_out_before": state.held_out_before,
        "completion_tokens_per_s": round(sum(epoch["completion_tokens"] for epoch in state.epochs) / seconds, 1),
        "tokens_per_s": round(sum(epoch["tokens"] for epoch in state.epochs) / seconds, 1),
        "template_counts": _by_count(state.forms),
        "dtype": gathered.dtype[0],
        "dtype_reason": gathered.dtype[1],
        "layout": training.stepper.layout,
        "micro_batch_tokens": training.stepper.budget,
        "trainable_parameters": training.parameters,
    }


def manifest(training: Training, state: State) -> dict[str, Any]:
    """What travels with the product. No times and no speeds in it: the same training writes the same bytes."""
    gathered, data = training.gathered, training.gathered.data
    passes = dict(zip(data.names, data.weights, strict=True))
    before = [] if state.held_out_before is None else [state.held_out_before]
    return {
        "self_instruct": __version__,
        "base_model": {
            "reference": gathered.model.reference,
            "revision": gathered.model.revision or gathered.settings.model.revision,
            "fingerprint": gathered.model.fingerprint,
        },
        "data": {
            "sha256": gathered.digest,
            "examples": len(data.examples),
            "instructions": data.instructions,
            "seed_examples": data.seed_examples,
            "held_out": len(data.held_out),
            "dropped": data.drops,
            "sources": [
                {"name": name, "kind": data.kinds[name], "rows": rows, "weight": passes[name]} for name, rows in data.counts.items()
            ],
        },
        "settings": shaping(gathered.settings, "train"),
        "dtype": gathered.dtype[0],
        "versions": provenance.versions(),
        "template_counts": _by_count(state.forms),
        "loss_by_epoch": [epoch["loss"] for epoch in state.epochs],
        "held_out_loss": before + [epoch["held_out_loss"] for epoch in state.epochs if epoch["held_out_loss"] is not None],
    }


def _by_count(forms: dict[str, int]) -> dict[str, int]:
    return dict(sorted(forms.items(), key=lambda item: (-item[1], item[0])))
