"""The loop on a tiny random Llama: what a step and an epoch come to, held-out losses, going on from any step, stopping."""

from __future__ import annotations

import itertools
import json
import math
import os
import shutil
import signal
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState

from sample_training import byte_level, examples, tiny_llama
from self_instruct import runlog
from self_instruct.errors import TrainingDivergedError
from self_instruct.records import TrainingExample
from self_instruct.runlog import Metrics
from self_instruct.settings import TrainSettings
from self_instruct.train import checkpoint, loop
from self_instruct.train.batching import Preparation
from self_instruct.train.modeling import build_objective, make_trainable
from self_instruct.train.sources import Sources
from self_instruct.train.step import NotFiniteError, Stepper
from self_instruct.train.tokens import Tokens

TOKENIZER = byte_level()
TOKENS = Tokens(TOKENIZER)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Tiny products are faster on one, and much faster where other processes use the cores."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
    AcceleratorState._reset_state(True)


class Run:
    """One training of a fresh tiny model. `before` may change the model first; `llama` are changes of its config; `resume` is the
    step of `folder`'s checkpoint to go on from."""

    def __init__(
        self,
        folder: Path,
        rows: Sequence[TrainingExample],
        before: Callable[[Any], object] = lambda model: None,
        *,
        held_out: Sequence[TrainingExample] = (),
        llama: dict[str, Any] | None = None,
        resume: int | None = None,
        note: Callable[[dict[str, Any]], object] = lambda line: None,
        **changes: Any,
    ) -> None:
        self.settings = TrainSettings(**({"batch_size": 8, "learning_rate": 1e-3, "lora_rank": 4} | changes))
        self.model = make_trainable(tiny_llama(len(TOKENIZER), **(llama or {})), self.settings, seed=1)
        before(self.model)
        self.rows, self.held_out, self.preparation = rows, held_out, prepared(self.settings)
        ids = list(self.preparation.encode(rows[0], 0).ids[:16])
        objective, layout, _ = build_objective(self.model, self.settings, 128, ids)
        trained = [parameter for parameter in objective.parameters() if parameter.requires_grad]
        optimizer = torch.optim.AdamW(trained, lr=1.0, weight_decay=self.settings.weight_decay)
        accelerator = Accelerator(cpu=True)
        self.stepper = Stepper(objective, accelerator, optimizer, layout, self.settings.micro_batch_tokens or 512)
        data = Sources(
            examples=tuple(rows),
            weights=(1.0,) * len(rows),
            names=("here",) * len(rows),
            held_out=tuple(held_out),
            dropped=(),
            kinds={},
            instructions=len(rows) + len(held_out),
            available=len(rows) + len(held_out),
        )
        self.checkpoints = folder / "checkpoints"
        found = None
        if resume is not None:
            place = self.checkpoints / checkpoint.name(resume)
            found = checkpoint.Checkpoint(path=place, state=json.loads((place / checkpoint.STATE).read_text()))
        path = folder / f"{len(list(folder.iterdir()))}.jsonl"
        metrics = Metrics(path)
        self.lines: list[dict[str, Any]] = []
        try:
            self.state = loop.fit(
                self.stepper,
                accelerator,
                self.preparation,
                data,
                self.settings,
                loop.Checkpoints(folder=self.checkpoints, fingerprint={"run.seed": 1}, resume=found),
                metrics=metrics,
                track=lambda line, step: note({"step": step} | line),
            )
        finally:
            metrics.close()
            self.lines = [json.loads(line) for line in path.read_text().splitlines()]

    @property
    def steps(self) -> list[dict[str, Any]]:
        return [line for line in self.lines if "loss" in line]

    def losses(self) -> list[float]:
        return [line["loss"] for line in self.steps]

    def matrices(self) -> dict[str, torch.Tensor]:
        return {name: p.detach().clone() for name, p in self.model.named_parameters() if p.requires_grad}


def prepared(settings: TrainSettings) -> Preparation:
    return Preparation(
        tokens=TOKENS,
        eos_id=TOKENIZER.eos_token_id,
        limit=128,
        prompt_weight=settings.prompt_loss_weight,
        seed=1,
        template_draw=settings.template_draw,
    )


def plain_loss(model: Any, rows: Sequence[TrainingExample], settings: TrainSettings) -> float:
    """The weighted mean over all tokens of all rows, from log-probabilities of every row alone."""
    preparation = prepared(settings)
    total = weights = 0.0
    for row in rows:
        one = preparation.encode(row, 0)
        with torch.no_grad():
            scores = torch.log_softmax(model(input_ids=torch.tensor([one.ids])).logits[0].double(), dim=-1)
        total -= sum(w * float(scores[i, token]) for i, (token, w) in enumerate(zip(one.ids[1:], one.weights[1:], strict=True)))
        weights += sum(one.weights)
    return total / weights


@pytest.mark.parametrize("weight", [0.0, 0.3, 1.0])
def test_an_epochs_loss_is_the_weighted_mean_over_all_its_tokens(tmp_path: Path, weight: float) -> None:
    """With a learning rate of next to nothing; the last step is a short one."""
    run = Run(tmp_path, examples(13), epochs=1, learning_rate=1e-30, prompt_loss_weight=weight)
    expected = plain_loss(tiny_llama(len(TOKENIZER)), run.rows, run.settings)
    assert run.state.epochs[0]["loss"] == pytest.approx(expected, rel=1e-6)
    assert (run.state.step, run.state.epoch, run.state.index) == (2, 1, 0)


@pytest.mark.parametrize("weight", [0.0, 0.3])
def test_the_micro_batch_budget_changes_nothing(tmp_path: Path, weight: float) -> None:
    rows = examples(20)
    runs = [Run(tmp_path, rows, micro_batch_tokens=size, prompt_loss_weight=weight) for size in (1, 100, 300, 10_000)]
    runs.append(Run(tmp_path, rows, attention="padded", prompt_loss_weight=weight))
    assert [run.stepper.layout for run in runs] == ["packed"] * 4 + ["padded"]
    for other in runs[1:]:
        assert other.losses() == pytest.approx(runs[0].losses(), rel=1e-6)
        assert [line["grad_norm"] for line in other.steps] == pytest.approx([line["grad_norm"] for line in runs[0].steps], rel=1e-5)


def test_the_same_training_gives_the_same_bits(tmp_path: Path) -> None:
    first, second = (Run(tmp_path, examples(12)) for _ in range(2))
    assert first.losses() == second.losses()
    assert all(torch.equal(value, second.matrices()[name]) for name, value in first.matrices().items())


def test_dropout_is_drawn_from_the_seed(tmp_path: Path) -> None:
    def disturbed(model: Any) -> None:
        torch.manual_seed(99)

    # From the second epoch on: LoRA begins as nothing, and what is dropped of nothing makes no difference.
    first = Run(tmp_path, examples(12), lora_dropout=0.5)
    second = Run(tmp_path, examples(12), disturbed, lora_dropout=0.5)
    without = Run(tmp_path, examples(12))
    assert first.losses() == second.losses()
    assert first.losses()[-1] != without.losses()[-1]


def test_the_loss_falls_and_only_lora_moves(tmp_path: Path) -> None:
    run = Run(tmp_path, examples(16), epochs=12, learning_rate=2e-2, template_draw="once")
    losses = [epoch["loss"] for epoch in run.state.epochs]
    assert losses[-1] < 0.6 * losses[0]
    base = tiny_llama(len(TOKENIZER)).state_dict()
    for name, parameter in run.model.named_parameters():
        if "lora_" in name:
            assert parameter.requires_grad and parameter.dtype == torch.float32
        else:
            plain = name.removeprefix("base_model.model.").replace(".base_layer", "")
            assert torch.equal(parameter, base[plain])
    assert all(value.any() for name, value in run.matrices().items() if "lora_B" in name)


def test_what_a_step_and_an_epoch_report(tmp_path: Path) -> None:
    run = Run(tmp_path, examples(11), epochs=2)
    encoded = [[run.preparation.encode(row, epoch) for row in run.rows] for epoch in (0, 1)]
    assert [line["step"] for line in run.lines] == [1, 2, 3, 4]
    assert [line["epoch"] for line in run.lines] == [1, 1, 2, 2]
    assert [line["examples"] for line in run.lines] == [8, 3, 8, 3]
    for epoch, (rows, outcome) in enumerate(zip(encoded, run.state.epochs, strict=True), start=1):
        assert outcome["completion_tokens"] == sum(len(row.labels) for row in rows)
        assert outcome["tokens"] == sum(len(row.ids) for row in rows)
        lines = [line for line in run.lines if line["epoch"] == epoch]
        assert sum(line["completion_tokens"] for line in lines) == outcome["completion_tokens"]
        mean = sum(line["loss"] * line["completion_tokens"] for line in lines) / outcome["completion_tokens"]
        assert outcome["loss"] == pytest.approx(mean, rel=1e-9)
        assert outcome["epoch"] == epoch and outcome["seconds"] > 0
        assert outcome["held_out_loss"] is None
    assert sum(run.state.forms.values()) == 22
    assert run.state.held_out_before is None
    assert all(line["learning_rate"] > 0 and line["grad_norm"] > 0 for line in run.lines)
    assert [path.name for path in run.checkpoints.iterdir()] == [checkpoint.name(run.state.step)]  # none was due before the end


def test_cut_examples_are_counted(tmp_path: Path) -> None:
    row = examples(1)[0]
    rows = (
        row,
        replace(row, id="p", instruction="long " * 200),
        replace(row, id="c", instruction="Go.", input="", output="long " * 200),
    )
    state = Run(tmp_path, rows, epochs=1).state
    assert (state.prompts_cut, state.completions_cut) == (1, 1)


def test_held_out_losses_are_those_of_the_completions_of_rows_never_trained_on(tmp_path: Path) -> None:
    """Also with weighted prompts: what is measured is the completion."""
    every = examples(20)
    rows, kept = every[:12], every[12:]
    run = Run(tmp_path, rows, held_out=kept, epochs=3, learning_rate=2e-2, prompt_loss_weight=0.3, template_draw="epoch")
    measured = [(line["step"], line["epoch"]) for line in run.lines if "held_out_loss" in line]
    assert measured == [(0, 0), (2, 1), (4, 2), (6, 3)]
    completions = run.settings.model_copy(update={"prompt_loss_weight": 0.0})
    values = [line["held_out_loss"] for line in run.lines if "held_out_loss" in line]
    assert values[0] == pytest.approx(plain_loss(tiny_llama(len(TOKENIZER)), kept, completions), rel=1e-6)
    trained = make_trainable(tiny_llama(len(TOKENIZER)), run.settings, seed=1)
    trained.load_state_dict(run.matrices(), strict=False)
    assert values[3] == pytest.approx(plain_loss(trained.eval(), kept, completions), rel=1e-6)
    assert values[3] != pytest.approx(values[0], rel=1e-3)
    assert run.state.held_out_before == values[0]
    assert [epoch["held_out_loss"] for epoch in run.state.epochs] == values[1:]
    without = Run(tmp_path, rows, epochs=3, learning_rate=2e-2, prompt_loss_weight=0.3, template_draw="epoch")
    assert all(torch.equal(value, run.matrices()[name]) for name, value in without.matrices().items())
    assert without.losses() == run.losses()


TIED = {"tie_word_embeddings": True}


@pytest.mark.parametrize(("method", "llama"), [("lora", {}), ("full", TIED), ("full", {})], ids=["lora", "full-tied", "full"])
def test_going_on_from_any_step_gives_the_same_bits(tmp_path: Path, method: str, llama: dict[str, Any]) -> None:
    """Dropout, weighted prompts, a template draw for each epoch, several micro-batches, steps at the end of an epoch."""
    every = examples(22)
    common: dict[str, Any] = {
        "held_out": every[18:], "llama": llama, "method": method, "lora_dropout": 0.0 if method == "full" else 0.2, "epochs": 3,
        "prompt_loss_weight": 0.3, "micro_batch_tokens": 100, "weight_decay": 0.1, "checkpoint_every_s": 0.0,
        "keep_checkpoints": 100,
    }  # fmt: skip
    whole = Run(tmp_path, every[:18], **common)
    assert [path.name for path in sorted(whole.checkpoints.iterdir())] == [checkpoint.name(step) for step in range(1, 10)]
    told = [{name: value for name, value in line.items() if name not in ("time_s", "seconds")} for line in whole.lines]
    for step in (1, 3, 5, 8, 9):
        again = Run(tmp_path, every[:18], resume=step, **common)
        assert all(torch.equal(value, again.matrices()[name]) for name, value in whole.matrices().items())
        lines = [{name: value for name, value in line.items() if name not in ("time_s", "seconds")} for line in again.lines]
        assert lines == [line for line in told if line["step"] > step]
        strip = [[{k: v for k, v in e.items() if k != "seconds"} for e in run.state.epochs] for run in (whole, again)]
        assert strip[0] == strip[1]
        assert (again.state.forms, again.state.held_out_before) == (whole.state.forms, whole.state.held_out_before)


def test_the_budget_that_a_gpu_was_left_with_is_kept_unless_one_is_named(tmp_path: Path) -> None:
    first = Run(tmp_path, examples(8), checkpoint_every_s=0.0)
    assert first.stepper.budget == 512
    place = first.checkpoints / checkpoint.name(1) / checkpoint.STATE
    place.write_text(json.dumps(json.loads(place.read_text()) | {"budget": 70}))
    assert Run(tmp_path, examples(8), resume=1).stepper.budget == 70
    assert Run(tmp_path, examples(8), resume=1, micro_batch_tokens=90).stepper.budget == 90


def test_checkpoints_are_as_old_as_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock of one second a look: every step looks several times, so that all steps are due after 2 s and few after 15."""
    looks = itertools.count()
    monkeypatch.setattr("time.monotonic", lambda: float(next(looks)))
    Run(tmp_path, examples(32), epochs=4, checkpoint_every_s=15.0, keep_checkpoints=100)
    steps = [int(path.name.removeprefix("step-")) for path in sorted((tmp_path / "checkpoints").iterdir())]
    assert 2 <= len(steps) < 16
    assert len({after - before for before, after in itertools.pairwise(steps[:-1])}) == 1  # and one at the end


@pytest.fixture
def interruptible() -> Iterator[None]:
    """The handlers that commandline sets, but for SIGTERM's exit status."""
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, lambda number, frame: signal.getsignal(signal.SIGINT)(number, frame))  # type: ignore[operator,misc]
    yield
    for number, handler in handlers.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.usefixtures("interruptible")
def test_a_signal_ends_the_step_with_a_checkpoint(tmp_path: Path, number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = Run(tmp_path, examples(20), lora_dropout=0.2)

    def during(model: Any) -> None:
        """The signal comes in the forward pass of step 3: no step more."""
        passes = itertools.count(1)

        def hook(*_: Any) -> None:
            if torch.is_grad_enabled() and next(passes) == 3:
                os.kill(os.getpid(), number)

        model.get_input_embeddings().register_forward_hook(hook)

    said: list[str] = []
    monkeypatch.setattr(runlog.log, "info", said.append)
    with pytest.raises(KeyboardInterrupt):
        Run(tmp_path, examples(20), during, lora_dropout=0.2, micro_batch_tokens=100_000)
    assert said == ["stopping after this step, with a checkpoint; Ctrl-C again stops at once"]
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == [checkpoint.name(3)]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    again = Run(tmp_path, examples(20), lora_dropout=0.2, resume=3)
    assert again.losses() == whole.losses()[3:]
    assert all(torch.equal(value, again.matrices()[name]) for name, value in whole.matrices().items())


@pytest.mark.usefixtures("interruptible")
def test_a_second_ctrl_c_ends_at_once_but_an_echo_of_the_first_doesnt(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [100.0]
    monkeypatch.setattr("time.monotonic", lambda: clock[0])
    with loop.StopRequest() as stop:
        assert not stop.asked
        os.kill(os.getpid(), signal.SIGINT)
        clock[0] += loop.StopRequest.SAME_S / 2
        os.kill(os.getpid(), signal.SIGINT)  # torchrun's
        os.kill(os.getpid(), signal.SIGTERM)
        clock[0] += 60
        os.kill(os.getpid(), signal.SIGTERM)  # an impatient scheduler ends with SIGKILL anyway
        assert stop.asked
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), signal.SIGINT)


def _poison(model: Any) -> None:
    """Make the token of `~` not a number."""
    token = TOKENIZER("~").input_ids[0]
    with torch.no_grad():
        model.get_input_embeddings().weight[token] = math.nan


def test_a_loss_that_is_no_number_stops_names_step_and_row_and_saves(tmp_path: Path) -> None:
    bad = replace(examples(6)[5], id="the-bad-row", output="1 ~ 2")
    seen: list[Any] = []

    def before(model: Any) -> None:
        _poison(model)
        seen.append(model)

    saved = tmp_path / "checkpoints" / checkpoint.name(0)
    with pytest.raises(TrainingDivergedError) as caught:
        Run(tmp_path, (*examples(5), bad), before, micro_batch_tokens=1)
    assert caught.value.message == f"step 1: loss is nan, in rows the-bad-row; the state before it is in {saved}"
    assert "train.learning_rate" in str(caught.value.hint)
    assert not any(p.any() for name, p in seen[0].named_parameters() if "lora_B" in name)  # the step wasn't applied
    found = checkpoint.newest(saved.parent, {"run.seed": 1})
    assert found is not None and found.state["progress"]["step"] == 0


@pytest.mark.parametrize("failing", [0, 1, 2], ids=["before", "first epoch", "last epoch"])
def test_a_held_out_loss_that_is_no_number_stops_and_the_training_goes_on_to_the_same_bits(
    failing: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The state that it saves lies between a last step and the end of its epoch."""
    rows, kept = examples(9)[:6], examples(9)[6:]
    settings: dict[str, Any] = {"held_out": kept, "batch_size": 3, "epochs": 2}
    whole = Run(tmp_path, rows, **settings)
    shutil.rmtree(tmp_path / "checkpoints")
    measure, calls = Stepper.measure, itertools.count()

    def bad(self: Stepper, given: Any) -> float:
        if next(calls) == failing:
            raise NotFiniteError("held-out loss is nan", given)
        return measure(self, given)

    monkeypatch.setattr(Stepper, "measure", bad)
    with pytest.raises(TrainingDivergedError, match="held-out loss is nan, in rows"):
        Run(tmp_path, rows, **settings)
    again = Run(tmp_path, rows, resume=2 * failing, **settings)
    assert again.state.epochs[-1]["held_out_loss"] == whole.state.epochs[-1]["held_out_loss"]
    assert all(torch.equal(again.matrices()[name], value) for name, value in whole.matrices().items())


def test_an_infinite_gradient_stops_too(tmp_path: Path) -> None:
    """In the second step: what the first did is saved, what the second would have done isn't."""

    def before(model: Any) -> None:
        parameter = next(p for name, p in model.named_parameters() if "lora_B" in name)
        passes = itertools.count()
        parameter.register_hook(lambda gradient: gradient + (math.inf if next(passes) else 0))

    whole = Run(tmp_path, examples(6), batch_size=3, epochs=1, checkpoint_every_s=0.0)
    with pytest.raises(TrainingDivergedError, match="step 2: gradient norm is inf, in rows row"):
        Run(tmp_path, examples(6), before, batch_size=3, epochs=1)
    again = Run(tmp_path, examples(6), resume=1, batch_size=3, epochs=1)
    assert all(torch.equal(value, again.matrices()[name]) for name, value in whole.matrices().items())


def test_the_learning_rate_rises_then_falls_as_half_a_cosine() -> None:
    rates = [loop.learning_rate(step, 20, 1.0, 0.2) for step in range(20)]
    assert rates[:5] == pytest.approx([0.25, 0.5, 0.75, 1.0, 1.0])
    assert rates[12] == pytest.approx(0.5)
    assert all(after < before for before, after in itertools.pairwise(rates[4:]))
    assert 0 < rates[19] < 0.01
    assert loop.learning_rate(0, 1, 1.0, 0.0) == 1.0
    assert [loop.learning_rate(step, 4, 1.0, 1.0) for step in range(4)] == [0.25, 0.5, 0.75, 1.0]
