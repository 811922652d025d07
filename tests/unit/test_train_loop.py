"""The loop on a tiny random Llama: the step's loss, any micro-batch size, divergence, the schedule."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator

from sample_training import byte_level, examples, tiny_llama
from self_instruct.errors import TrainingDivergedError
from self_instruct.records import TrainingExample
from self_instruct.runlog import Metrics
from self_instruct.settings import TrainSettings
from self_instruct.train import loop
from self_instruct.train.batching import Preparation
from self_instruct.train.modeling import add_lora, tokenize_with
from self_instruct.train.objective import WeightedLoss

TOKENIZER = byte_level()


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Tiny products are faster on one, and much faster where other processes use the cores."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


class Run:
    """One training of a fresh tiny model; `before` may change the model first."""

    def __init__(
        self, folder: Path, rows: Sequence[TrainingExample], before: Callable[[Any], object] = lambda model: None, **changes: Any
    ) -> None:
        self.settings = TrainSettings(**({"batch_size": 8, "learning_rate": 1e-3, "lora_rank": 4} | changes))
        self.model = add_lora(tiny_llama(len(TOKENIZER)), self.settings, seed=1)
        before(self.model)
        self.preparation = Preparation(
            tokenize=tokenize_with(TOKENIZER),
            eos_id=TOKENIZER.eos_token_id,
            limit=128,
            prompt_weight=self.settings.prompt_loss_weight,
            seed=1,
            template_draw=self.settings.template_draw,
        )
        self.rows = rows
        path = folder / f"{len(list(folder.iterdir()))}.jsonl"
        self.metrics = Metrics(path)
        objective = WeightedLoss(self.model, rows_only=True)
        self.outcome = loop.fit(objective, Accelerator(cpu=True), self.preparation, rows, self.settings, metrics=self.metrics)
        self.metrics.close()
        self.lines = [json.loads(line) for line in path.read_text().splitlines()]

    def losses(self) -> list[float]:
        return [line["loss"] for line in self.lines]

    def matrices(self) -> dict[str, torch.Tensor]:
        return {name: p.detach().clone() for name, p in self.model.named_parameters() if p.requires_grad}


@pytest.mark.parametrize("weight", [0.0, 0.3, 1.0])
def test_an_epochs_loss_is_the_weighted_mean_over_all_its_tokens(tmp_path: Path, weight: float) -> None:
    """With a learning rate of next to nothing, against log-probabilities of every row alone; the last step is a short one."""
    run = Run(tmp_path, examples(13), epochs=1, learning_rate=1e-30, prompt_loss_weight=weight)
    base = tiny_llama(len(TOKENIZER))
    total = weights = 0.0
    for row in run.rows:
        one = run.preparation.encode(row, 0)
        with torch.no_grad():
            scores = torch.log_softmax(base(input_ids=torch.tensor([one.ids])).logits[0].double(), dim=-1)
        total -= sum(w * float(scores[i, token]) for i, (token, w) in enumerate(zip(one.ids[1:], one.weights[1:], strict=True)))
        weights += sum(one.weights)
    assert run.outcome.epochs[0].loss == pytest.approx(total / weights, rel=1e-6)
    assert run.outcome.steps == 2


@pytest.mark.parametrize("weight", [0.0, 0.3])
def test_the_micro_batch_size_changes_nothing(tmp_path: Path, weight: float) -> None:
    rows = examples(20)
    runs = [Run(tmp_path, rows, micro_batch_size=size, prompt_loss_weight=weight) for size in (1, 3, 8, 64)]
    for other in runs[1:]:
        assert other.losses() == pytest.approx(runs[0].losses(), rel=1e-6)
        assert [line["grad_norm"] for line in other.lines] == pytest.approx([line["grad_norm"] for line in runs[0].lines], rel=1e-5)


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
    losses = [epoch.loss for epoch in run.outcome.epochs]
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
    for epoch, (rows, outcome) in enumerate(zip(encoded, run.outcome.epochs, strict=True), start=1):
        assert outcome.completion_tokens == sum(len(row.labels) for row in rows)
        assert outcome.tokens == sum(len(row.ids) for row in rows)
        lines = [line for line in run.lines if line["epoch"] == epoch]
        assert sum(line["completion_tokens"] for line in lines) == outcome.completion_tokens
        mean = sum(line["loss"] * line["completion_tokens"] for line in lines) / outcome.completion_tokens
        assert outcome.loss == pytest.approx(mean, rel=1e-9)
        assert outcome.epoch == epoch and outcome.seconds > 0
    assert sum(run.outcome.forms.values()) == 22
    assert all(line["learning_rate"] > 0 and line["grad_norm"] > 0 for line in run.lines)


def test_cut_examples_are_counted(tmp_path: Path) -> None:
    row = examples(1)[0]
    rows = (
        row,
        replace(row, id="p", instruction="long " * 200),
        replace(row, id="c", instruction="Go.", input="", output="long " * 200),
    )
    outcome = Run(tmp_path, rows, epochs=1).outcome
    assert (outcome.prompts_cut, outcome.completions_cut) == (1, 1)


def _poison(model: Any) -> None:
    """Make the token of `~` not a number."""
    token = TOKENIZER("~").input_ids[0]
    with torch.no_grad():
        model.get_input_embeddings().weight[token] = math.nan


def test_a_loss_that_is_no_number_stops_and_names_step_and_row(tmp_path: Path) -> None:
    bad = replace(examples(6)[5], id="the-bad-row", output="1 ~ 2")
    seen: list[Any] = []

    def before(model: Any) -> None:
        _poison(model)
        seen.append(model)

    with pytest.raises(TrainingDivergedError, match=r"^step 1: loss is nan, in rows the-bad-row$") as caught:
        Run(tmp_path, (*examples(5), bad), before, micro_batch_size=1)
    assert "train.learning_rate" in str(caught.value.hint)
    assert not any(p.any() for name, p in seen[0].named_parameters() if "lora_B" in name)  # the step wasn't applied


def test_an_infinite_gradient_stops_too(tmp_path: Path) -> None:
    def before(model: Any) -> None:
        parameter = next(p for name, p in model.named_parameters() if "lora_B" in name)
        parameter.register_hook(lambda gradient: gradient + math.inf)

    with pytest.raises(TrainingDivergedError, match="step 1: gradient norm is inf, in rows row"):
        Run(tmp_path, examples(3), before)


def test_the_learning_rate_rises_then_falls_as_half_a_cosine() -> None:
    rates = [loop.learning_rate(step, 20, 1.0, 0.2) for step in range(20)]
    assert rates[:5] == pytest.approx([0.25, 0.5, 0.75, 1.0, 1.0])
    assert rates[12] == pytest.approx(0.5)
    assert all(after < before for before, after in itertools.pairwise(rates[4:]))
    assert 0 < rates[19] < 0.01
    assert loop.learning_rate(0, 1, 1.0, 0.0) == 1.0
    assert [loop.learning_rate(step, 4, 1.0, 1.0) for step in range(4)] == [0.25, 0.5, 0.75, 1.0]


def test_steps_are_counted_with_the_short_last_one() -> None:
    assert loop.total_steps(17, TrainSettings(batch_size=8, epochs=2)) == 6
    assert loop.total_steps(16, TrainSettings(batch_size=8, epochs=3)) == 6
