"""One optimizer step: micro-batches forward and backward, over all ranks, within the memory there is.

Knows nothing of epochs, files and schedules. The loss of a step is sum(w * ce) / sum(w) over all its examples, whatever
micro-batches and ranks they run in.
"""

from __future__ import annotations

import contextlib
import gc
import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from accelerate import DistributedType

from self_instruct.errors import TrainingDivergedError
from self_instruct.runlog import log
from self_instruct.train import packing
from self_instruct.train.masking import Encoded
from self_instruct.train.objective import Layout, WeightedLoss, causal, collate, to_device

BUCKET = 2**25  # gradients that are summed over the ranks at a time


class NotFiniteError(Exception):
    """The loss or the gradient of a step is not a number; the step wasn't applied. `rows` are the ids of the examples."""

    def __init__(self, what: str, rows: Sequence[Encoded]) -> None:
        super().__init__(what)
        self.what, self.rows = what, [row.id for row in rows]

    def told(self, step: int, saved: str) -> TrainingDivergedError:
        """The error for the user; `step` counts from 1, `saved` says where the state before it lies."""
        names = ", ".join(self.rows[:16]) + (" …" if len(self.rows) > 16 else "")
        return TrainingDivergedError(
            f"step {step}: {self.what}, in rows {names}; the state before it is in {saved}",
            hint="lower train.learning_rate, or set model.dtype=float32, in another run (--out); if it is always the same rows, "
            "look at them",
        )


class Stepper:
    """Runs steps of an objective on the ranks of an `accelerate.Accelerator`; `budget` is in tokens a micro-batch."""

    def __init__(
        self, objective: WeightedLoss, accelerator: Any, optimizer: torch.optim.Optimizer, layout: Layout, budget: int
    ) -> None:
        self.layout, self.budget = layout, budget
        self.inner = objective
        self.parameters = [parameter for parameter in objective.parameters() if parameter.requires_grad]
        self._accelerator = accelerator
        self._start_id = int(getattr(causal(objective.model).config, "decoder_start_token_id", None) or 0)
        self.sharded = accelerator.distributed_type == DistributedType.FSDP
        if self.sharded:
            self.wrapped, self.optimizer = accelerator.prepare(objective, optimizer)
            self.parameters = [parameter for parameter in self.wrapped.parameters() if parameter.requires_grad]
        else:
            # Not in DDP: its one gain, sums that overlap with the backward pass, is small beside many micro-batches; its end can
            # hang over gloo (torch 2.13: the reducer joins a thread that waits for the GIL), and a rank that runs out of memory
            # inside it leaves the others waiting. `_sum_gradients` does what is left of it.
            self.optimizer = accelerator.prepare(optimizer)
            self.wrapped = accelerator.prepare_model(objective, evaluation_mode=True)

    def train(
        self, rows: Sequence[Encoded], rate: float, max_norm: float, flags: Callable[[], tuple[bool, ...]] = tuple
    ) -> tuple[float, float, tuple[bool, ...]]:
        """Apply one step of examples `rows` at a learning rate; every rank is given all of them.

        Returns its sum(w * ce), the norm of its gradient before clipping, and which of the `flags`, asked for once the
        gradient is there, any rank has raised.
        Raises NotFiniteError, with nothing applied, where loss or gradient isn't finite. Where a GPU's memory doesn't suffice
        the budget is halved, on all ranks, and the step done again; under FSDP, whose ranks can't stop between, and where
        nothing is left to halve torch.OutOfMemoryError is raised.
        """
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.wrapped.train()
        while True:
            total, raised, failed = self._backward(rows, flags)
            if failed is None:
                break
            self.optimizer.zero_grad()
            if not self._shrink(rows):
                raise failed
        self._sum_gradients()
        norm = float(self._accelerator.clip_grad_norm_(self.parameters, max_norm))
        if not math.isfinite(norm):
            self.optimizer.zero_grad()
            raise NotFiniteError(f"gradient norm is {norm}", rows)
        self.optimizer.step()
        self.optimizer.zero_grad()
        return total, norm, raised

    def measure(self, rows: Sequence[Encoded]) -> float:
        """sum(w * ce) of the examples over all ranks, without training on them. Raises NotFiniteError where it is no number; memory
        is met as in `train`."""
        self.wrapped.eval()
        while True:
            values, failed = self._values(rows)
            total, short = self._all([sum(values), failed is not None])
            if not short:
                break
            if not self._shrink(rows):
                raise failed or torch.OutOfMemoryError("on another rank")
        if not math.isfinite(total):
            raise NotFiniteError(f"held-out loss is {total}", rows)
        return total

    def _values(self, rows: Sequence[Encoded]) -> tuple[list[float], torch.OutOfMemoryError | None]:
        """The sums of this rank's micro-batches, or why they couldn't be had."""
        values: list[float] = []
        try:
            with torch.no_grad():
                for group, _ in self._groups(rows):
                    batch = to_device(collate(group or [_shortest(rows)], self.layout, self._start_id), self._device)
                    values.append(float(self.wrapped(**batch)) if group else 0.0)
        except torch.OutOfMemoryError as error:
            if self.sharded:
                raise
            return [], error.with_traceback(None)
        return values, None

    def _all(self, numbers: Sequence[float]) -> list[float]:
        """The sums of some numbers over all ranks."""
        told = torch.tensor(list(map(float, numbers)), dtype=torch.float64, device=self._device)
        found: list[float] = self._accelerator.reduce(told, reduction="sum").tolist()
        return found

    @property
    def _device(self) -> torch.device:
        device: torch.device = self._accelerator.device
        return device

    def _groups(self, rows: Sequence[Encoded]) -> list[tuple[list[Encoded], bool]]:
        """This rank's micro-batches, and whether each is the last."""
        lengths = [len(row.ids) for row in rows]
        rank, processes = self._accelerator.process_index, self._accelerator.num_processes
        groups = packing.plan(lengths, self.budget, rank, processes, padded=self.layout != "packed")
        return [([rows[i] for i in group], number == len(groups) - 1) for number, group in enumerate(groups)]

    def _backward(
        self, rows: Sequence[Encoded], flags: Callable[[], tuple[bool, ...]]
    ) -> tuple[float, tuple[bool, ...], torch.OutOfMemoryError | None]:
        """Leave this rank's part of the step's gradient on the parameters (FSDP: the sum over all), and tell all ranks of it."""
        weight = sum(sum(row.weights) for row in rows)
        sums: list[float] = []
        failed: torch.OutOfMemoryError | None = None
        groups = self._groups(rows)
        # FSDP averages gradients over the ranks.
        scale = (self._accelerator.num_processes if self.sharded else 1) / weight
        try:
            for group, last in groups:
                batch = to_device(collate(group or [_shortest(rows)], self.layout, self._start_id), self._device)
                with self._accelerator.no_sync(self.wrapped) if self.sharded and not last else contextlib.nullcontext():
                    part = self.wrapped(**batch)
                    self._accelerator.backward(part * (scale if group else 0.0))
                sums.append(float(part.detach()) if group else 0.0)
        except torch.OutOfMemoryError as error:
            if self.sharded:
                raise
            failed = error.with_traceback(None)  # its frames hold the activations that are to be freed
        total, short, *raised = self._all([sum(sums), failed is not None, *flags()])
        if short:
            return 0.0, (), failed or torch.OutOfMemoryError("on another rank")
        if not math.isfinite(total):
            self.optimizer.zero_grad()
            own = {row.id for (group, _), value in zip(groups, sums, strict=True) if not math.isfinite(value) for row in group}
            marked = self._all([row.id in own for row in rows])  # any rank may have them
            bad = [row for row, mark in zip(rows, marked, strict=True) if mark]
            raise NotFiniteError(f"loss is {total / weight}", bad or rows)
        return total, tuple(count > 0 for count in raised), None

    def _sum_gradients(self) -> None:
        """Add the gradients of all ranks up, many at a time."""
        if self.sharded or self._accelerator.num_processes == 1:
            return
        bucket: list[torch.Tensor] = []
        for number, parameter in enumerate(self.parameters):
            bucket.append(parameter.grad if parameter.grad is not None else torch.zeros_like(parameter))
            parameter.grad = bucket[-1]
            if number == len(self.parameters) - 1 or sum(one.numel() for one in bucket) >= BUCKET:
                flat = self._accelerator.reduce(torch.cat([one.flatten() for one in bucket]), reduction="sum")
                for one, part in zip(bucket, flat.split([one.numel() for one in bucket]), strict=True):
                    one.copy_(part.view_as(one))
                bucket = []

    def _shrink(self, rows: Sequence[Encoded]) -> bool:
        """Make the next try need less memory; False where nothing is left to try."""
        longest = max(len(row.ids) for row in rows)
        model = causal(self.inner.model)
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        if self.budget > longest:
            self.budget = max(min(self.budget, sum(len(row.ids) for row in rows)) // 2, 1)
            log.warning("out of GPU memory: micro-batches of %d tokens from here on, and the step again", self.budget)
            return True
        if model.supports_gradient_checkpointing and not model.is_gradient_checkpointing:
            checkpoint_activations(model)
            log.warning("out of GPU memory with one example: activations are computed again in the backward pass from here on")
            return True
        return False


def checkpoint_activations(model: Any) -> None:
    """Keep the inputs of the layers alone and compute the rest again in the backward pass: slower, much less memory."""
    model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})


def _shortest(rows: Sequence[Encoded]) -> Encoded:
    """What a rank without a share runs, with a scale of 0, to meet the others."""
    return min(rows, key=lambda row: len(row.ids))
