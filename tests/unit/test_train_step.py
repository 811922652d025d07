"""One step: applied as told, nothing applied where it isn't finite, and what happens when memory runs out."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
import torch
from accelerate import Accelerator

from sample_training import apart, encoded, gradients, one_thread, plain_loss, stir, tiny, tiny_llama
from self_instruct.settings import TrainSettings
from self_instruct.train import modeling, objective
from self_instruct.train.masking import Encoded
from self_instruct.train.objective import collate
from self_instruct.train.step import NotFiniteError, Stepper, checkpoint_activations

ROWS = encoded((9, 14, 5, 11), weight=0.3)
WEIGHT = sum(sum(row.weights) for row in ROWS)
NO_LIMIT = 1e9


@pytest.fixture(autouse=True, scope="module")
def _threads() -> Iterator[None]:
    with one_thread():
        yield


class Made:
    """A stepper over a tiny model, with all that its tests look at."""

    def __init__(self, budget: int = 64, sgd: bool = True, **changes: Any) -> None:
        settings = TrainSettings(**({"lora_rank": 4} | changes))
        self.model = stir(modeling.make_trainable(tiny_llama(50), settings, seed=1))
        self.loss, self.layout, _ = modeling.build_objective(self.model, settings, 64, [1, 2, 3])
        kind: Any = torch.optim.SGD if sgd else torch.optim.AdamW
        self.optimizer = kind([p for p in self.model.parameters() if p.requires_grad], lr=1.0)
        self.stepper = Stepper(self.loss, Accelerator(cpu=True), self.optimizer, self.layout, budget)
        self.seen: list[int] = []  # tokens of each micro-batch
        self.loss.register_forward_pre_hook(
            lambda _, given, named: self.seen.append(named["inputs"]["input_ids"].numel()), with_kwargs=True
        )

    def weights(self) -> dict[str, torch.Tensor]:
        return {name: p.detach().clone() for name, p in self.model.named_parameters() if p.requires_grad}

    def starve(self, limit: int, enough: Callable[[], bool] = lambda: False) -> None:
        """Memory for so many tokens at a time; for any where `enough`."""

        def check(_: Any, given: Any, named: dict[str, Any]) -> None:
            if named["inputs"]["input_ids"].numel() > limit and not enough():
                raise torch.OutOfMemoryError("CUDA out of memory, pretended")

        self.loss.register_forward_pre_hook(check, with_kwargs=True)

    @property
    def checkpointed(self) -> bool:
        return bool(objective.causal(self.model).is_gradient_checkpointing)


def test_a_step_moves_by_rate_times_the_gradient_of_the_weighted_mean() -> None:
    made, own = Made(budget=16), Made()
    before = made.weights()
    expected = plain_loss_of(own, ROWS)
    total, norm, flags = made.stepper.train(ROWS, 0.5, NO_LIMIT)
    assert total == pytest.approx(float(expected), rel=1e-6)
    wanted = gradients(own.model)
    whole = math.sqrt(sum(float((value / WEIGHT).square().sum()) for value in wanted.values()))
    assert norm == pytest.approx(whole, rel=1e-5)
    moved = {name: (before[name] - value) / 0.5 for name, value in made.weights().items()}
    assert apart(moved, {name: value / WEIGHT for name, value in wanted.items()}) < 1e-4  # of subtracting weights in float32
    assert flags == ()
    assert made.seen == [14, 11, 14]  # 9 and 5 together
    assert all(p.grad is None for p in made.model.parameters())


def plain_loss_of(made: Made, rows: Sequence[Encoded]) -> float:
    """By a model of the same weights with its own attention; its gradient stays on `made`'s parameters."""
    objective.causal(made.model).set_attn_implementation("eager")
    value = plain_loss(made.model, rows)
    value.backward()
    return float(value.detach())


def test_the_gradient_is_clipped_after_it_is_measured() -> None:
    made, free = Made(), Made()
    before = made.weights()
    norm = made.stepper.train(ROWS, 1.0, 0.01)[1]
    assert norm == pytest.approx(free.stepper.train(ROWS, 1.0, NO_LIMIT)[1], rel=1e-6) and norm > 0.1
    moved = math.sqrt(sum(float((value - before[name]).square().sum()) for name, value in made.weights().items()))
    assert moved == pytest.approx(0.01, rel=1e-3)


def test_flags_are_asked_for_when_the_gradient_is_there() -> None:
    made = Made()

    def flags() -> tuple[bool, ...]:
        assert all(p.grad is not None for p in made.model.parameters() if p.requires_grad)
        return True, False

    assert made.stepper.train(ROWS, 0.1, NO_LIMIT, flags)[2] == (True, False)


def test_measuring_doesnt_train() -> None:
    made = Made(budget=16)
    before = made.weights()
    value = made.stepper.measure(ROWS)
    assert value == pytest.approx(plain_loss_of(Made(), ROWS), rel=1e-6)
    assert all(p.grad is None for p in made.model.parameters())
    assert all(torch.equal(value, before[name]) for name, value in made.weights().items())
    assert not made.model.training
    made.stepper.train(ROWS, 0.1, NO_LIMIT)
    assert made.model.training


def test_dropout_is_for_training_alone() -> None:
    made = Made(lora_dropout=0.5)
    assert made.stepper.measure(ROWS) == made.stepper.measure(ROWS)
    assert made.stepper.train(ROWS, 0.0, NO_LIMIT)[0] != pytest.approx(made.stepper.train(ROWS, 0.0, NO_LIMIT)[0], rel=1e-6)


def unmoved(made: Made, before: dict[str, torch.Tensor]) -> bool:
    same = all(torch.equal(value, before[name]) for name, value in made.weights().items())
    return same and all(p.grad is None for p in made.model.parameters()) and not made.optimizer.state


def test_a_loss_that_is_no_number_names_the_rows_of_its_micro_batch_and_applies_nothing() -> None:
    made = Made(budget=14, sgd=False)
    with torch.no_grad():
        made.model.get_input_embeddings().weight[49] = math.nan
    rows = [row for row in encoded((9, 14, 5, 11), vocabulary=49)]
    bad = Encoded(id="bad", form="", ids=(1, 49, 3, 4, 5, 6, 7), weights=(0.0,) * 3 + (1.0,) * 4, prompt_tokens=3)
    before = made.weights()
    with pytest.raises(NotFiniteError) as caught:
        made.stepper.train([*rows, bad], 0.1, NO_LIMIT)
    assert caught.value.rows == ["row2", "bad"]  # 7 and 5 tokens, together
    assert caught.value.what == "loss is nan"
    assert unmoved(made, before)
    made.stepper.train(rows, 0.1, NO_LIMIT)  # without it, it goes on
    assert not unmoved(made, before)


@pytest.mark.parametrize("value", [math.inf, math.nan])
def test_a_gradient_that_isnt_finite_applies_nothing(value: float) -> None:
    made = Made(sgd=False)
    before = made.weights()
    parameter = next(p for name, p in made.model.named_parameters() if "lora_B" in name)
    hook = parameter.register_hook(lambda gradient: gradient + value)
    with pytest.raises(NotFiniteError, match=f"^gradient norm is {value}$") as caught:
        made.stepper.train(ROWS, 0.1, 1.0)
    assert caught.value.rows == [row.id for row in ROWS]
    assert unmoved(made, before)
    hook.remove()
    made.stepper.train(ROWS, 0.1, 1.0)


def test_the_user_is_told_step_rows_and_where_the_state_is() -> None:
    told = NotFiniteError("loss is nan", encoded((3,) * 20)).told(7, "runs/x/train/checkpoints/step-6")
    assert told.message.startswith("step 7: loss is nan, in rows row0, row1, ") and "row15 …;" in told.message
    assert told.message.endswith("the state before it is in runs/x/train/checkpoints/step-6") and "\n" not in told.message
    assert "row16" not in told.message and "train.learning_rate" in str(told.hint)
    assert "…" not in NotFiniteError("loss is nan", encoded((3,))).told(1, "x").message


def test_out_of_memory_halves_the_budget_and_redoes_the_step() -> None:
    made, free = Made(), Made()
    made.starve(20)
    total, norm, _ = made.stepper.train(ROWS, 0.5, NO_LIMIT)
    assert made.stepper.budget == 19  # half of the step's 39 tokens, for the budget was more than those
    assert made.seen == [39, 14, 11, 14]
    assert not made.checkpointed
    wanted = free.stepper.train(ROWS, 0.5, NO_LIMIT)
    assert (total, norm) == pytest.approx(wanted[:2], rel=1e-6)
    assert apart(made.weights(), free.weights()) < 1e-6
    made.stepper.train(ROWS, 0.5, NO_LIMIT)
    assert made.seen[4:] == [14, 11, 14]  # at once


def test_what_was_added_up_before_memory_ran_out_is_thrown_away() -> None:
    """The third of four micro-batches fails."""
    made, free = Made(budget=15), Made()
    failed: list[int] = []

    def check(_: Any, given: Any) -> None:
        if len(made.seen) == 3 and not failed:
            failed.append(1)
            raise torch.OutOfMemoryError("CUDA out of memory, pretended")

    made.loss.register_forward_pre_hook(check)
    made.stepper.train(ROWS, 0.5, NO_LIMIT)
    assert failed and made.seen[:3] == [14, 11, 14]
    free.stepper.train(ROWS, 0.5, NO_LIMIT)
    assert apart(made.weights(), free.weights()) < 1e-6


def test_with_one_example_too_long_activations_are_computed_twice() -> None:
    made, free = Made(), Made()
    made.starve(13, enough=lambda: made.checkpointed)
    total, norm, _ = made.stepper.train(ROWS, 0.5, NO_LIMIT)
    assert made.checkpointed and made.stepper.budget == 9  # 19, then below the longest example
    assert (total, norm) == pytest.approx(free.stepper.train(ROWS, 0.5, NO_LIMIT)[:2], rel=1e-6)
    assert apart(made.weights(), free.weights()) < 1e-6


def test_in_the_end_memory_has_run_out() -> None:
    made = Made(sgd=False)
    before = made.weights()
    made.starve(13)
    with pytest.raises(torch.OutOfMemoryError, match="pretended"):
        made.stepper.train(ROWS, 0.5, NO_LIMIT)
    assert made.checkpointed
    assert unmoved(made, before)


def test_the_activations_of_a_failed_try_are_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a traceback holds can't be freed: the next try would have less memory than the first."""
    import gc
    import weakref

    made = Made()
    alive: list[weakref.ref[torch.Tensor]] = []

    def fail(_: Any, given: Any, out: torch.Tensor) -> None:
        alive.append(weakref.ref(out))
        if len(alive) == 1:
            raise torch.OutOfMemoryError("CUDA out of memory, pretended")

    made.loss.register_forward_hook(fail)
    at_collection: list[bool] = []
    real = gc.collect
    monkeypatch.setattr("self_instruct.train.step.gc.collect", lambda: at_collection.append(alive[0]() is None) or real())
    made.stepper.train(ROWS, 0.5, NO_LIMIT)
    assert at_collection == [True]


@pytest.mark.parametrize("method", ["lora", "full"])
@pytest.mark.parametrize("architecture", ["Llama", "GPT2"])
def test_activations_computed_twice_give_the_same_gradients(architecture: str, method: Any) -> None:
    found = []
    for twice in (False, True):
        settings = TrainSettings(method=method, lora_rank=4)
        model = stir(modeling.make_trainable(tiny(architecture), settings, seed=1))
        loss, layout, _ = modeling.build_objective(model, settings, 64, [1, 2, 3])
        if twice:
            checkpoint_activations(objective.causal(model))
        runs: list[int] = []
        layer = next(module for module in model.modules() if type(module).__name__ in ("LlamaMLP", "GPT2MLP"))
        layer.register_forward_pre_hook(lambda *_, runs=runs: runs.append(1))
        model.train()
        loss(**collate(ROWS, layout)).backward()
        assert len(runs) == 1 + twice
        found.append(gradients(model))
    assert apart(found[1], found[0]) < 1e-6


class Ranks:
    """The first of two ranks, alone: what the other says of memory in each try, and nothing else of it."""

    num_processes, process_index = 2, 0

    def __init__(self, inner: Any, short: list[float]) -> None:
        self._inner, self._short = inner, short
        self.sums = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def reduce(self, tensor: torch.Tensor, reduction: str) -> torch.Tensor:
        assert reduction == "sum"
        if tensor.dtype == torch.float64:
            tensor[1] += self._short.pop(0)
        else:
            self.sums += 1
        return tensor


def test_a_rank_that_runs_out_of_memory_halves_the_budget_of_all() -> None:
    rows = encoded((30, 30))
    made, free = Made(), Made()
    ranks = Ranks(made.stepper._accelerator, short=[1.0, 0.0])
    made.stepper._accelerator = ranks
    total, norm, _ = made.stepper.train(rows, 0.5, NO_LIMIT)
    assert made.stepper.budget == 30 and made.seen == [30, 30]  # its own example, twice
    assert ranks.sums == 1  # gradients are added up in one piece, of the try that went well
    alone, whole, _ = free.stepper.train(rows[:1], 0.5, NO_LIMIT)
    assert total == pytest.approx(alone, rel=1e-6)
    assert norm == pytest.approx(whole / 2, rel=1e-5)  # divided by the weights of both examples


def test_where_nothing_is_left_to_halve_the_other_ranks_stop_too() -> None:
    made = Made(budget=20)
    made.stepper._accelerator = Ranks(made.stepper._accelerator, short=[1.0, 1.0])
    with pytest.raises(torch.OutOfMemoryError, match="on another rank"):
        made.stepper.train(encoded((30, 30)), 0.5, NO_LIMIT)
    assert made.checkpointed


def test_ranks_with_parts_of_the_parameters_cant_try_again() -> None:
    """Under FSDP each micro-batch needs all ranks: one that stops between leaves the others waiting."""
    made = Made()
    made.starve(20)
    made.stepper.sharded = True
    with pytest.raises(torch.OutOfMemoryError, match="pretended"):
        made.stepper.train(ROWS, 0.5, NO_LIMIT)
    assert made.stepper.budget == 64 and not made.checkpointed
