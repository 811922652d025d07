"""The loss and its gradients against plain PEFT and plain cross-entropy, over random rows, weights, layouts and budgets."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import peft
import pytest
import torch
from accelerate import Accelerator
from hypothesis import given, settings
from hypothesis import strategies as st

from sample_training import apart, gradients, one_thread, plain_loss, stir, tiny_llama
from self_instruct.settings import TrainSettings
from self_instruct.train import modeling, objective, packing
from self_instruct.train.masking import Encoded
from self_instruct.train.objective import Layout, collate
from self_instruct.train.step import Stepper

VOCABULARY = 40
LAYOUTS: tuple[Layout, ...] = ("packed", "padded")


@pytest.fixture(autouse=True, scope="module")
def _threads() -> Iterator[None]:
    with one_thread():
        yield


@functools.cache
def plain(double: bool = False) -> Any:
    """PEFT's own LoRA on the same base, without our layer, our attention and our loss."""
    base = tiny_llama(VOCABULARY)
    config = peft.LoraConfig(task_type="CAUSAL_LM", r=4, lora_alpha=6, target_modules=modeling.linear_names(base))
    model = stir(_same_start(peft.get_peft_model(base, config)))
    return model.double() if double else model


@functools.cache
def tuned(layout: Layout, double: bool = False) -> tuple[Any, objective.WeightedLoss]:
    model = _tuned(layout)
    if double:
        model[0].double()
    return model


def _tuned(layout: Layout) -> tuple[Any, objective.WeightedLoss]:
    config = TrainSettings(lora_rank=4, lora_alpha=6, attention="auto" if layout == "packed" else "padded")
    model = stir(_same_start(modeling.make_trainable(tiny_llama(VOCABULARY), config, seed=1)))
    loss, found, _ = modeling.build_objective(model, config, 64, [1, 2, 3])
    assert (found, loss.plain_head) == (layout, True)
    return model, loss


def _same_start(model: Any) -> Any:
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_A" in name:
                parameter.normal_(0, 0.2, generator=torch.Generator().manual_seed(len(name) + 100))
    return model


@st.composite
def batches(draw: st.DrawFn, least: int = 1) -> list[Encoded]:
    """Rows of 2 to 14 tokens with one weight for all prompts; the prompt takes between one token and all but one."""
    weight = draw(st.sampled_from([0.0, 0.3, 1.0]))
    made = []
    for number in range(draw(st.integers(least, 5))):
        ids = draw(st.lists(st.integers(0, VOCABULARY - 1), min_size=2, max_size=14))
        prompt = draw(st.integers(1, len(ids) - 1))
        weights = (0.0, *[weight] * (prompt - 1), *[1.0] * (len(ids) - prompt))
        made.append(Encoded(id=f"row{number}", form="", ids=tuple(ids), weights=weights, prompt_tokens=prompt))
    return made


def as_double(batch: dict[str, Any]) -> dict[str, Any]:
    return batch | {"weights": batch["weights"].double()}


@pytest.mark.parametrize("layout", LAYOUTS)
@settings(max_examples=25, deadline=None)
@given(rows=batches())
def test_loss_and_gradients_are_those_of_plain_peft_and_plain_cross_entropy(layout: Layout, rows: list[Encoded]) -> None:
    """Both in float32, so that the gradients differ by the rounding of either."""
    model, loss = tuned(layout)
    value = loss(**collate(rows, layout))
    value.backward()
    expected = plain_loss(plain(), rows)
    expected.backward()
    assert value.item() == pytest.approx(expected.item(), rel=1e-6)
    assert apart(gradients(model), gradients(plain())) < 1e-5


@pytest.mark.parametrize("layout", LAYOUTS)
@settings(max_examples=15, deadline=None)
@given(rows=batches())
def test_in_float64_the_gradients_agree_to_a_millionth(layout: Layout, rows: list[Encoded]) -> None:
    """The formulas themselves, without rounding in the way; our head still keeps its logits in float32."""
    model, loss = tuned(layout, True)
    loss(**as_double(collate(rows, layout))).backward()
    plain_loss(plain(True), rows).backward()
    assert apart(gradients(model), gradients(plain(True))) < 1e-6


@pytest.mark.parametrize("layout", LAYOUTS)
@settings(max_examples=20, deadline=None)
@given(rows=batches(least=2), data=st.data())
def test_an_examples_tokens_change_its_own_loss_alone(layout: Layout, rows: list[Encoded], data: st.DataObject) -> None:
    """Packing isolation: the others' loss, and their gradient, are those of before, to 1e-6."""
    model, loss = tuned(layout, True)
    place = data.draw(st.integers(0, len(rows) - 1))
    other = tuple(data.draw(st.lists(st.integers(0, VOCABULARY - 1), min_size=len(rows[place].ids), max_size=len(rows[place].ids))))
    changed = [*rows[:place], replace(rows[place], ids=other), *rows[place + 1 :]]

    def others(batch: list[Encoded]) -> tuple[float, dict[str, Any]]:
        """Only the other examples have weights; the changed one is there, and is read."""
        muted = [replace(row, weights=(0.0,) * len(row.ids)) if i == place else row for i, row in enumerate(batch)]
        value = loss(**as_double(collate(muted, layout)))
        value.backward()
        return value.item(), gradients(model)

    before, after = others(rows), others(changed)
    assert after[0] == pytest.approx(before[0], rel=1e-6)
    assert apart(after[1], before[1]) < 1e-6


@settings(max_examples=12, deadline=None)
@given(rows=batches(least=2), budget=st.integers(1, 80), layout=st.sampled_from(LAYOUTS))
def test_any_budget_gives_the_same_step(rows: list[Encoded], budget: int, layout: Layout) -> None:
    """Loss and gradient of the step, in float32, to 1e-6 relative: the gradient as a whole, where rounding is next to nothing."""
    model, loss = tuned(layout)
    found = []
    for tokens in (budget, 10**6):
        seen: list[dict[str, Any]] = []
        optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.0)
        optimizer.register_step_pre_hook(lambda *_, seen=seen: seen.append({"all": _flat(model)}))
        total, norm, _ = Stepper(loss, Accelerator(cpu=True), optimizer, layout, tokens).train(rows, 0.0, 1e9)
        found.append((total, norm, seen[0]))
    (one, first, some), (all_, whole, together) = found
    assert one == pytest.approx(all_, rel=1e-6)
    assert first == pytest.approx(whole, rel=1e-6)
    assert apart(some, together) < 1e-6


def _flat(model: Any) -> torch.Tensor:
    return torch.cat([p.grad.flatten() for p in model.parameters() if p.requires_grad])


@given(
    lengths=st.lists(st.integers(1, 300), min_size=1, max_size=40),
    budget=st.integers(1, 900),
    processes=st.integers(1, 9),
    padded=st.booleans(),
)
def test_a_plan_has_every_example_once_within_the_budget(lengths: list[int], budget: int, processes: int, padded: bool) -> None:
    ranks = [packing.plan(lengths, budget, rank, processes, padded=padded) for rank in range(processes)]
    assert len({len(groups) for groups in ranks}) == 1  # equally many, with empty ones at the end
    flat = [position for groups in ranks for group in groups for position in group]
    assert sorted(flat) == list(range(len(lengths)))
    for groups in ranks:
        assert all(group or not any(groups[number:]) for number, group in enumerate(groups))
        for group in filter(None, groups):
            own = [lengths[position] for position in group]
            assert (max(own) * len(own) if padded else sum(own)) <= budget or len(group) == 1
            assert own == sorted(own, reverse=True)
        for one, following in itertools.pairwise([group for group in groups if group]):
            least = [*(lengths[position] for position in one), lengths[following[0]]]
            assert (max(least) * len(least) if padded else sum(least)) > budget  # no group is ended before it is full


@given(lengths=st.lists(st.integers(1, 300), min_size=1, max_size=40), processes=st.integers(1, 9))
def test_ranks_get_about_as_many_tokens(lengths: list[int], processes: int) -> None:
    """Never further apart than the longest example."""
    shares = packing.deal(lengths, processes)
    assert shares == packing.deal(list(lengths), processes)
    loads = [sum(lengths[position] for position in share) for share in shares]
    assert max(loads) - min(loads) <= max(lengths)
    assert sum(not share for share in shares) == max(processes - len(lengths), 0)
