"""The training loop: two epochs of weighted steps, the same result for any micro-batch size.

Knows nothing of files: metrics and progress are handed in. Only rank 0 is given either.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from self_instruct import randomness
from self_instruct.errors import TrainingDivergedError
from self_instruct.records import TrainingExample
from self_instruct.runlog import Metrics, Progress
from self_instruct.settings import TrainSettings
from self_instruct.train.batching import Preparation, micro_batches, steps
from self_instruct.train.masking import Encoded
from self_instruct.train.objective import WeightedLoss, collate
from self_instruct.train.preview import form_name


@dataclass(frozen=True, kw_only=True)
class Epoch:
    """One pass over the data: the weighted mean loss in nats a token, and how much was trained on in which time."""

    epoch: int
    loss: float
    completion_tokens: int
    tokens: int
    seconds: float


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a finished training tells. `prompts_cut` and `completions_cut` count examples over the limit, over all epochs."""

    steps: int
    epochs: tuple[Epoch, ...]
    forms: dict[str, int]
    prompts_cut: int
    completions_cut: int


def learning_rate(step: int, total: int, peak: float, warmup_ratio: float) -> float:
    """The rate of step 0 … total - 1: a linear rise over the first `warmup_ratio`, then half a cosine towards 0."""
    warmup = math.ceil(warmup_ratio * total)
    if step < warmup:
        return peak * (step + 1) / warmup
    return peak * 0.5 * (1.0 + math.cos(math.pi * (step - warmup) / max(total - warmup, 1)))


def total_steps(examples: int, settings: TrainSettings) -> int:
    return settings.epochs * math.ceil(examples / settings.batch_size)


def fit(
    objective: WeightedLoss,
    accelerator: Any,
    preparation: Preparation,
    examples: Sequence[TrainingExample],
    settings: TrainSettings,
    *,
    metrics: Metrics | None = None,
    progress: Progress | None = None,
) -> Outcome:
    """Train the parameters of `objective` that require a gradient, in place.

    The loss of a step is sum(w * ce) / sum(w) over all its examples, whatever micro-batches and ranks they run in.
    Every rank encodes the whole step, so that all know the sum of the weights without asking.
    Raises TrainingDivergedError, before the step is applied, where the loss or the gradient isn't finite.
    """
    parameters = [parameter for parameter in objective.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=settings.learning_rate, weight_decay=settings.weight_decay)
    wrapped, optimizer = accelerator.prepare(objective, optimizer)
    wrapped.train()
    total = total_steps(len(examples), settings)
    forms: Counter[str] = Counter()
    cut = [0, 0]
    epochs: list[Epoch] = []
    number = 0
    for epoch in range(settings.epochs):
        started = time.monotonic()
        loss_sum = weight_sum = 0.0
        completion_tokens = tokens = 0
        for chosen in steps(preparation.seed, epoch, len(examples), settings.batch_size):
            began = time.monotonic()
            rows = [preparation.encode(examples[i], epoch) for i in chosen]
            weight = sum(sum(row.weights) for row in rows)
            rate = learning_rate(number, total, settings.learning_rate, settings.warmup_ratio)
            for group in optimizer.param_groups:
                group["lr"] = rate
            torch.manual_seed(randomness.key(preparation.seed, "dropout", number, accelerator.process_index))
            step_sum = _backward(wrapped, accelerator, rows, weight, settings, number)
            norm = float(accelerator.clip_grad_norm_(parameters, settings.max_grad_norm))
            if not math.isfinite(norm):
                raise _diverged(number, f"gradient norm is {norm}", rows)
            optimizer.step()
            optimizer.zero_grad()

            number += 1
            forms.update(form_name(row.form) for row in rows)
            cut = [cut[0] + sum(row.prompt_cut > 0 for row in rows), cut[1] + sum(row.completion_cut > 0 for row in rows)]
            loss_sum, weight_sum = loss_sum + step_sum, weight_sum + weight
            step_completion, step_tokens = sum(row.completion_tokens for row in rows), sum(len(row.ids) for row in rows)
            completion_tokens, tokens = completion_tokens + step_completion, tokens + step_tokens
            seconds = time.monotonic() - began
            if metrics is not None:
                metrics.write(
                    step=number, epoch=epoch + 1, loss=step_sum / weight, learning_rate=rate, grad_norm=norm, examples=len(rows),
                    completion_tokens=step_completion, tokens=step_tokens, seconds=round(seconds, 4),
                )  # fmt: skip
            if progress is not None:
                speed = completion_tokens / (time.monotonic() - started)
                progress.advance(note=f"loss {loss_sum / weight_sum:.4f}, {speed:.0f} completion tokens/s")
        epochs.append(
            Epoch(
                epoch=epoch + 1,
                loss=loss_sum / weight_sum,
                completion_tokens=completion_tokens,
                tokens=tokens,
                seconds=round(time.monotonic() - started, 3),
            )
        )
    return Outcome(
        steps=number,
        epochs=tuple(epochs),
        forms=dict(sorted(forms.items(), key=lambda item: (-item[1], item[0]))),
        prompts_cut=cut[0],
        completions_cut=cut[1],
    )


def _backward(wrapped: Any, accelerator: Any, rows: list[Encoded], weight: float, settings: TrainSettings, step: int) -> float:
    """Leave the step's gradient on the parameters; return its sum(w * ce) over all ranks.

    DDP averages gradients over the ranks, so each rank's part is multiplied by their number.
    """
    lengths = [len(row.ids) for row in rows]
    groups = [
        [rows[i] for i in group]
        for group in micro_batches(lengths, settings.micro_batch_size, accelerator.process_index, accelerator.num_processes)
    ]
    idle = not groups
    if idle:  # a rank without a share still has to meet the others in the gradient's reduction
        groups = [[min(rows, key=lambda row: len(row.ids))]]
    scale = 0.0 if idle else accelerator.num_processes / weight
    sums: list[torch.Tensor] = []
    for number, group in enumerate(groups):
        ids, weights = (part.to(accelerator.device) for part in collate(group))
        last = number == len(groups) - 1
        with contextlib.nullcontext() if last else accelerator.no_sync(wrapped):
            part = wrapped(ids, weights)
            accelerator.backward(part * scale)
        sums.append(torch.zeros_like(part) if idle else part.detach())
    own = torch.stack(sums).double().cpu()
    total = float(accelerator.reduce(own.sum().to(accelerator.device), reduction="sum"))
    if not math.isfinite(total):
        bad = [row for group, part in zip(groups, own.tolist(), strict=True) if not math.isfinite(part) for row in group]
        raise _diverged(step, f"loss is {total / weight}", bad or rows)
    return total


def _diverged(step: int, what: str, rows: Sequence[Encoded]) -> TrainingDivergedError:
    names = ", ".join(row.id for row in rows[:16]) + (" …" if len(rows) > 16 else "")
    return TrainingDivergedError(
        f"step {step + 1}: {what}, in rows {names}",
        hint="lower train.learning_rate, or set model.dtype=float32; if it is always the same rows, look at them",
    )
