"""The order of work on the scripted engine: what is sent when doesn't change what comes of it, and rounds are the authors'."""

from __future__ import annotations

import asyncio
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scripted_runs import DEMONSTRATIONS, SEEDS, Jittery, run, words
from self_instruct.engine_scripted import answer
from self_instruct.errors import ConfigError, DataError
from self_instruct.generate.pipeline import Pipeline
from self_instruct.loading import load
from self_instruct.records import Request
from self_instruct.settings import Settings

UNHURRIED = run(Jittery())


@given(timing=st.integers(0, 2**32), in_flight=st.integers(1, 50))
@settings(max_examples=25, deadline=None)
def test_neither_timing_nor_the_requests_in_flight_change_the_result(timing: int, in_flight: int) -> None:
    engine = Jittery(random.Random(timing))
    assert run(engine, in_flight=in_flight) == UNHURRIED
    assert engine.most <= in_flight


def test_nor_do_replicas_or_how_much_the_engine_runs_at_once() -> None:
    chosen = {"target_instructions": 40, "lag": 16, "max_requests": 60}
    servers = {"servers": ["http://a:1", "http://b:1"], "max_num_seqs": 3}
    pipeline = Pipeline(
        Settings.model_validate({"generate": chosen, "model": {"engine": "server"}, "run": {"engine": servers}}),
        SEEDS, DEMONSTRATIONS, engine := Jittery(), count_tokens=words, context=10_000,
    )  # fmt: skip
    assert asyncio.run(pipeline.run()) == UNHURRIED
    assert engine.most == 8  # 1.25 x 3 x 2, rounded to an even number as Python does


def test_the_oldest_bootstrapping_request_goes_first_and_tasks_queue_behind_those_open_before_them() -> None:
    engine = Jittery()
    run(engine, in_flight=2, target_instructions=120)
    begun = [id for event, id in engine.log if event == "begin"]
    bootstraps = [id for id in begun if id.startswith("bootstrap")]
    assert bootstraps == sorted(bootstraps)
    # With two at a time the first eight are sent before any task of the first commit; then tasks fill in between.
    assert all(id.startswith("bootstrap") for id in begun[:8])
    first = next(number for number, id in enumerate(begun) if id.startswith("classify"))
    assert first < begun.index(bootstraps[-1])
    for id, request in engine.requests.items():
        number = int(id.split("-")[1 if id.startswith("bootstrap") else 2])
        assert request.priority == (number if id.startswith("bootstrap") else number + 1 + min(16, 8 + number + 1))


def test_towards_the_end_no_more_is_asked_than_the_rest_is_likely_to_need() -> None:
    def one_each(request: Request) -> str:
        return answer(request, 3).split("\n")[0] if request.id.startswith("bootstrap") else answer(request, 3)

    engine = Jittery(script=one_each)
    result = run(engine, lag=1024, max_requests=200, target_instructions=60)
    asked = sum(id.startswith("bootstrap") for id in engine.requests)
    assert len(result.instructions) == 60
    # Of a window of 60 open requests at the end but 8 would be wasted.
    assert result.requests < asked <= result.requests + 8


def test_rounds_are_the_authors_order_three_passes_in_lock_step() -> None:
    engine = Jittery(random.Random(1))
    result = run(engine, order="rounds", round_size=5, target_instructions=23)
    assert engine.most == 5
    passes = [id.split("-")[0] for event, id in engine.log if event == "begin"]
    assert [name for number, name in enumerate(passes) if passes[:number].count(name) == 0] == [
        "bootstrap",
        "classify",
        "instances",
    ]
    assert passes == sorted(passes)  # the names happen to be in alphabetical order
    # Each round has ended before the next begins.
    for kind in ("bootstrap", "classify", "instances"):
        events = [event for event, id in engine.log if id.startswith(kind)]
        for start in range(0, len(events), 10):
            this = events[start : start + 10]
            assert this == sorted(this), (kind, start)
    assert result.requests <= passes.count("bootstrap") < result.requests + 5
    assert passes.count("classify") == passes.count("instances") == len(result.instructions) == 23
    # A prompt shows instructions of earlier rounds alone.
    for task in result.instructions:
        shown = [int(parent.split("-")[1]) for parent in task.instruction.parents if parent.startswith("task-")]
        assert all(number < task.instruction.request // 5 * 5 for number in shown)
        assert bool(shown) == (task.instruction.request >= 5)


def test_the_overlay_of_the_authors_order_changes_the_order_alone() -> None:
    plain, authors = load(["configs/demo.yaml"]).settings, load(["configs/demo.yaml", "configs/authors-order.yaml"]).settings
    changed = plain.generate.model_copy(update={"order": "rounds", "round_size": 5})
    assert authors == plain.model_copy(update={"generate": changed})


def test_a_failure_in_a_later_pass_ends_it_and_leaves_nothing_open() -> None:
    def script(request: Request) -> str:
        return answer(request, 3) if request.id.startswith("bootstrap") else ":"

    engine = Jittery(script=script)
    with pytest.raises(DataError, match="no acceptable instance"):
        run(engine, order="rounds", target_instructions=8)
    assert engine.open == 0


@given(timing=st.integers(0, 2**32))
@settings(max_examples=10, deadline=None)
def test_whether_barren_tasks_end_the_run_does_not_depend_on_timing(timing: int) -> None:
    # The first 12 tasks have no instance: that ends the run, however early the later ones come.
    first = {task.instruction.id for task in UNHURRIED.instructions[:12]}

    def script(request: Request) -> str:
        return ":" if request.id.removeprefix("instances-") in first else answer(request, 3)

    with pytest.raises(DataError, match="no acceptable instance"):
        run(Jittery(random.Random(timing), script=script), acceptance_window=12, min_acceptance=0.0)
    assert run(Jittery(random.Random(timing), script=script), acceptance_window=13, min_acceptance=0.0).instances


def test_the_variant_that_shows_classification_seeds_alone() -> None:
    result = run(Jittery(), seed_subset="classification")
    labels = {task.id for task in SEEDS if task.is_classification}
    for task in result.instructions:
        assert {parent for parent in task.instruction.parents if not parent.startswith("task-")} <= labels
    # Novelty is still measured against every seed.
    assert (
        {near.id for task in result.instructions for near in task.instruction.nearest}
        - labels
        - {task.instruction.id for task in result.instructions}
    )
    with pytest.raises(ConfigError, match=r"is 26, but there are 25 classification seed tasks \(generate.seed_subset\)"):
        run(Jittery(), seed_subset="classification", prompt_seeds=24, last_item=40)
