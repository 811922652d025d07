"""The training loop: epochs of weighted steps, held-out losses, checkpoints; the same result for any interruption.

Knows nothing of models and of where files lie: metrics, progress and the folder of the checkpoints are handed in. Only rank 0 is
given metrics and progress.
"""

from __future__ import annotations

import math
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any

import torch
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_model_state_dict,
    get_optimizer_state_dict,
    set_model_state_dict,
    set_optimizer_state_dict,
)

from self_instruct import randomness
from self_instruct.runlog import Metrics, Progress, log
from self_instruct.settings_train import TrainSettings
from self_instruct.train import checkpoint
from self_instruct.train.batching import Preparation, epoch_steps, steps
from self_instruct.train.masking import Encoded
from self_instruct.train.preview import form_name
from self_instruct.train.sources import Sources
from self_instruct.train.step import NotFiniteError, Stepper

WHOLE = StateDictOptions(full_state_dict=True, cpu_offload=True, ignore_frozen_params=True, strict=False)
PARTS = StateDictOptions(ignore_frozen_params=True, strict=False)


@dataclass(frozen=True, kw_only=True)
class Epoch:
    """One pass over the data: the weighted mean loss in nats a token, how much was trained on in which time, and the loss of the
    held-out completions after it (none where none is held out)."""

    epoch: int
    loss: float
    completion_tokens: int
    tokens: int
    seconds: float
    held_out_loss: float | None


@dataclass(kw_only=True)
class State:
    """Where a training stands, and what it has counted. `step` steps are done, `index` of them in epoch `epoch` (from 0).

    `prompts_cut` and `completions_cut` count examples over the limit, over all epochs.
    """

    step: int = 0
    epoch: int = 0
    index: int = 0
    loss_sum: float = 0.0
    weight_sum: float = 0.0
    completion_tokens: int = 0
    tokens: int = 0
    seconds: float = 0.0
    forms: dict[str, int] = field(default_factory=dict)
    prompts_cut: int = 0
    completions_cut: int = 0
    held_out_before: float | None = None
    epochs: list[dict[str, Any]] = field(default_factory=list)

    def count(self, rows: Sequence[Encoded], loss_sum: float, seconds: float) -> dict[str, Any]:
        """Add a step; returns what its line in the metrics says of it."""
        weight = sum(sum(row.weights) for row in rows)
        completion, tokens = sum(row.completion_tokens for row in rows), sum(len(row.ids) for row in rows)
        self.step, self.index = self.step + 1, self.index + 1
        self.loss_sum, self.weight_sum = self.loss_sum + loss_sum, self.weight_sum + weight
        self.completion_tokens, self.tokens = self.completion_tokens + completion, self.tokens + tokens
        self.seconds += seconds
        self.forms = dict(Counter(self.forms) + Counter(form_name(row.form) for row in rows))
        self.prompts_cut += sum(row.prompt_cut > 0 for row in rows)
        self.completions_cut += sum(row.completion_cut > 0 for row in rows)
        return {
            "step": self.step, "epoch": self.epoch + 1, "loss": loss_sum / weight, "examples": len(rows),
            "completion_tokens": completion, "tokens": tokens, "seconds": round(seconds, 4),
        }  # fmt: skip

    def close_epoch(self, held_out_loss: float | None) -> None:
        done = Epoch(
            epoch=self.epoch + 1,
            loss=self.loss_sum / self.weight_sum,
            completion_tokens=self.completion_tokens,
            tokens=self.tokens,
            seconds=round(self.seconds, 3),
            held_out_loss=held_out_loss,
        )
        self.epochs = [*self.epochs, asdict(done)]
        self.epoch, self.index = self.epoch + 1, 0
        self.loss_sum = self.weight_sum = self.seconds = 0.0
        self.completion_tokens = self.tokens = 0


class StopRequest:
    """Within it Ctrl-C and SIGTERM ask for an end after the current step; a second Ctrl-C ends at once, as anywhere else.

    torchrun hands a Ctrl-C on that the terminal has sent to its processes too: within `SAME_S` seconds it is the same one.
    """

    SAME_S = 0.5

    def __init__(self) -> None:
        self.asked = False
        self._since = 0.0

    def __enter__(self) -> StopRequest:
        self._before = signal.getsignal(signal.SIGINT)
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, self._ask)  # commandline hands SIGTERM on to it
        return self

    def _ask(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if self.asked and number == signal.SIGINT and now - self._since > self.SAME_S:
            raise KeyboardInterrupt
        if not self.asked:
            self.asked, self._since = True, now
            log.info("stopping after this step, with a checkpoint; Ctrl-C again stops at once")

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, self._before)


@dataclass(frozen=True, kw_only=True)
class Checkpoints:
    """Where checkpoints go, which training they are of, and the one to go on from (none: from the start)."""

    folder: Path
    fingerprint: Mapping[str, Any]
    resume: checkpoint.Checkpoint | None


def learning_rate(step: int, total: int, peak: float, warmup_ratio: float) -> float:
    """The rate of step 0 … total - 1: a linear rise over the first `warmup_ratio`, then half a cosine towards 0."""
    warmup = math.ceil(warmup_ratio * total)
    if step < warmup:
        return peak * (step + 1) / warmup
    return peak * 0.5 * (1.0 + math.cos(math.pi * (step - warmup) / max(total - warmup, 1)))


def fit(
    stepper: Stepper,
    accelerator: Any,
    preparation: Preparation,
    data: Sources,
    settings: TrainSettings,
    checkpoints: Checkpoints,
    *,
    metrics: Metrics | None = None,
    progress: Progress | None = None,
    track: Callable[[dict[str, Any], int], None] | None = None,
) -> State:
    """Train the parameters of the stepper's objective, in place, from the checkpoint to go on from, if any. Returns the last state.

    Every rank encodes the whole step, so that all know the sum of the weights without asking.
    Raises TrainingDivergedError, before the step is applied and with a checkpoint, where loss or gradient isn't finite;
    KeyboardInterrupt, with a checkpoint, after Ctrl-C or SIGTERM.
    """
    state = State()
    if checkpoints.resume is not None:
        state = _restore(stepper, checkpoints.resume)
        if settings.micro_batch_tokens is None:
            stepper.budget = int(checkpoints.resume.state["budget"])
    total = settings.epochs * epoch_steps(data.weights, settings.batch_size, data.names)
    saved_s, saved_step = time.monotonic(), state.step if checkpoints.resume is not None else -1

    def save() -> Path:
        nonlocal saved_s, saved_step
        place = _save(stepper, accelerator, state, checkpoints, settings.keep_checkpoints)
        saved_s, saved_step = time.monotonic(), state.step
        return place

    def held_out_loss() -> float | None:
        try:
            return _held_out(stepper, preparation, data)
        except NotFiniteError as error:
            raise error.told(state.step, str(save())) from None

    def note(line: dict[str, Any]) -> None:
        if metrics is not None:
            metrics.write(**line)
        if track is not None:
            track({name: value for name, value in line.items() if name != "step"}, line["step"])

    with StopRequest() as stop:

        def settle(due: bool, stopping: bool) -> None:
            if due or stopping:
                save()
            if stopping:
                raise KeyboardInterrupt

        def asked() -> tuple[bool, bool]:
            return time.monotonic() - saved_s >= settings.checkpoint_every_s, stop.asked

        if state.step == 0:
            state.held_out_before = held_out_loss()
            if state.held_out_before is not None:
                note({"step": 0, "epoch": 0, "held_out_loss": state.held_out_before})
        while state.epoch < settings.epochs:
            planned = steps(preparation.seed, state.epoch, data.weights, settings.batch_size, data.names)
            due = stopping = False
            while state.index < len(planned):
                began = time.monotonic()
                rows = preparation.encode_all([data.examples[i] for i in planned[state.index]], state.epoch)
                rate = learning_rate(state.step, total, settings.rate, settings.warmup_ratio)
                torch.manual_seed(randomness.key(preparation.seed, "dropout", state.step, accelerator.process_index))
                try:
                    loss_sum, norm, (due, stopping) = stepper.train(rows, rate, settings.max_grad_norm, asked)
                except NotFiniteError as error:
                    raise error.told(state.step + 1, str(save())) from None
                line = state.count(rows, loss_sum, time.monotonic() - began)
                note(line | {"learning_rate": rate, "grad_norm": norm})
                if progress is not None:
                    speed = state.completion_tokens / state.seconds
                    progress.advance(note=f"loss {state.loss_sum / state.weight_sum:.4f}, {speed:.0f} completion tokens/s")
                if state.index < len(planned):
                    settle(due, stopping)
            held_out = held_out_loss()
            state.close_epoch(held_out)
            if held_out is not None:
                note({"step": state.step, "epoch": state.epoch, "held_out_loss": held_out})
            settle(due, stopping)
        if saved_step < state.step:
            save()  # what comes after may be stopped too
    return state


def _held_out(stepper: Stepper, preparation: Preparation, data: Sources) -> float | None:
    """The mean loss, in nats a token, of the held-out completions in the templates of the first epoch; none without any."""
    if not data.held_out:
        return None
    total = weight = 0.0
    size = 64  # examples encoded at a time
    for start in range(0, len(data.held_out), size):
        rows = [_completion_only(row) for row in preparation.encode_all(data.held_out[start : start + size], 0)]
        weight += sum(sum(row.weights) for row in rows)
        total += stepper.measure(rows)
    return total / weight


def _completion_only(row: Encoded) -> Encoded:
    return replace(row, weights=(0.0,) * row.prompt_tokens + (1.0,) * row.completion_tokens)


def tensors(stepper: Stepper) -> dict[str, torch.Tensor]:
    """The trained tensors, whole and on the CPU, by their names in the objective; every rank has to call it."""
    known = {name.removeprefix("module.") for name, part in stepper.wrapped.named_parameters() if part.requires_grad}
    found: dict[str, Any] = get_model_state_dict(stepper.wrapped, options=WHOLE)
    return {name: value for name, value in found.items() if name in known}


def _save(stepper: Stepper, accelerator: Any, state: State, checkpoints: Checkpoints, keep: int) -> Path:
    """Every rank takes part in gathering; rank 0 writes."""
    held = {f"model/{name}": value for name, value in tensors(stepper).items()}
    moments: dict[str, Any] = {"state": {}}
    if state.step:  # torch would count a step of its own where none was taken
        moments = get_optimizer_state_dict(stepper.wrapped, _plain(stepper.optimizer), options=WHOLE)
    if accelerator.is_main_process:
        for name, own in moments["state"].items():
            held |= {f"optimizer/{name}/{key}": value for key, value in own.items()}
        told = {"fingerprint": dict(checkpoints.fingerprint), "budget": stepper.budget, "progress": asdict(state)}
        checkpoint.save(checkpoints.folder, state.step, held, told, keep)
    accelerator.wait_for_everyone()
    return checkpoints.folder / checkpoint.name(state.step)


def _restore(stepper: Stepper, found: checkpoint.Checkpoint) -> State:
    held = found.tensors()
    model: dict[str, Any] = {name.removeprefix("model/"): value for name, value in held.items() if name.startswith("model/")}
    moments: dict[str, Any] = {}
    for name, value in held.items():
        if name.startswith("optimizer/"):
            owner, key = name.removeprefix("optimizer/").rsplit("/", 1)
            moments.setdefault(owner, {})[key] = value
    set_model_state_dict(stepper.wrapped, model, options=WHOLE)
    if not moments:
        return State(**found.state["progress"])
    optimizer = _plain(stepper.optimizer)
    groups: Any = get_optimizer_state_dict(stepper.wrapped, optimizer, options=PARTS)["param_groups"]  # WHOLE is on rank 0 alone
    set_optimizer_state_dict(stepper.wrapped, optimizer, {"state": moments, "param_groups": groups}, options=WHOLE)
    return State(**found.state["progress"])


def _plain(optimizer: Any) -> torch.optim.Optimizer:
    """torch's optimizer inside accelerate's."""
    inner: torch.optim.Optimizer = getattr(optimizer, "optimizer", optimizer)
    return inner
