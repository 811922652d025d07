"""The four steps on the scripted engine: order, determinism, ends, failures. Its numbers say nothing of a model."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from self_instruct.engine import Engine
from self_instruct.engine_journaled import JournaledEngine
from self_instruct.engine_scripted import ScriptedEngine, answer
from self_instruct.errors import DataError, EngineDiedError, EngineError, RunFolderError
from self_instruct.generate import prompts
from self_instruct.generate.pipeline import Pipeline, Result
from self_instruct.loading import shipped
from self_instruct.records import Neighbour, Request
from self_instruct.seedbank import load_seeds
from self_instruct.settings import Settings

SEEDS = load_seeds()
DEMONSTRATIONS = prompts.load_demonstrations(shipped("seeds/demonstrations"))


def run(engine: Engine, told: list[tuple[str, Any]] | None = None, context: int = 10_000, **generate: Any) -> Result:
    settings = Settings.model_validate({"generate": {"target_instructions": 40, "lag": 4, "max_requests": 60} | generate})
    pipeline = Pipeline(
        settings,
        SEEDS,
        DEMONSTRATIONS,
        engine,
        count_tokens=lambda text: len(text.split()),
        context=context,
        tell=lambda kind, record: told.append((kind, record)) if told is not None else None,
    )
    return asyncio.run(pipeline.run())


def test_the_result_does_not_depend_on_timing() -> None:
    fast, slow = run(ScriptedEngine(seed=3)), run(ScriptedEngine(seed=3, delay_s=0.01))
    assert fast == slow
    assert len(fast.instructions) == 40
    assert fast.stopped_by == "target_instructions"
    assert run(ScriptedEngine(seed=4)) != fast


def test_a_prompt_shows_six_seeds_and_two_machine_instructions_once_there_are_two() -> None:
    result = run(ScriptedEngine(seed=3))
    by_request = {task.instruction.request: task.instruction.parents for task in result.instructions}
    seed_ids = {task.id for task in SEEDS}
    for number, parents in by_request.items():
        machine = [parent for parent in parents if parent not in seed_ids]
        assert len(parents) == len(set(parents)) == 8
        assert len(machine) == (0 if number < 4 else 2)
        # Only instructions of requests up to number - lag can be seen.
        assert all(int(parent.split("-")[1]) <= number - 4 for parent in machine)
    wide = run(ScriptedEngine(seed=3), lag=1024)
    shown = [task for task in wide.instructions if any(parent not in seed_ids for parent in task.instruction.parents)]
    assert shown, "however large the lag, the model's own tasks are shown early"


def test_every_record_leads_back_to_its_parents() -> None:
    told: list[tuple[str, Any]] = []
    result = run(ScriptedEngine(seed=3), told)
    known = {task.instruction.id for task in result.instructions}
    assert {instance.instruction_id for instance in result.instances} <= known
    assert all(len(task.instruction.nearest) == 10 for task in result.instructions)
    assert all(task.instruction.nearest[0].score <= 0.7 for task in result.instructions)
    assert all(task.is_classification == (task.margin > 0) for task in result.instructions)
    kinds = [kind for kind, _ in told]
    assert kinds.count("instruction") == len(result.instructions) == kinds.count("label")
    assert kinds.count("instance") == len(result.instances)
    assert kinds.count("rejection") == len(result.rejections)


def numbered(items: list[str]) -> str:
    return " " + "\n".join([items[0], *(f"{number}. {item}" for number, item in enumerate(items[1:], start=10))])


def scripted(items: list[str], instances: str | None = None) -> ScriptedEngine:
    def script(request: Request) -> str:
        if request.id.startswith("bootstrap"):
            return numbered(items)
        return answer(request, 0) if instances is None else instances

    return ScriptedEngine(script=script)


def test_rejections_carry_rule_and_nearest_neighbour() -> None:
    seed = SEEDS[0]
    items = [
        seed.instruction,
        "too short",
        "Draw a horse on paper",
        "Name four rivers of central Asia",
        "Name four rivers of central Asia",
    ]
    result = run(scripted(items), max_requests=1)
    assert [(r.rule, r.step, r.parent) for r in result.rejections if r.step == "instruction"] == [
        (rule, "instruction", "bootstrap-000000") for rule in ("not_novel", "too_short", "keyword", "not_novel")
    ]
    assert result.rejections[0].nearest == Neighbour(id=seed.id, score=1.0)
    assert result.rejections[3].nearest == Neighbour(id="task-000000-03", score=1.0)
    assert result.rejections[1].nearest is None
    assert result.stopped_by == "max_requests"


@pytest.mark.parametrize(("rule", "accepted", "cut"), [("keep_complete", 1, 1), ("drop", 0, 2)])
def test_a_completion_that_hit_the_limit(rule: str, accepted: int, cut: int) -> None:
    # The first request's ten words hold one item and half of the second; the other requests answer in full.
    def script(request: Request) -> str:
        if request.id == "bootstrap-000000":
            return numbered(["Name four rivers of central Asia", "Explain why leaves change their colour"])
        return numbered(["List three uses of vinegar"]) if request.id.startswith("bootstrap") else answer(request, 0)

    result = run(ScriptedEngine(script=script), max_requests=2, lag=1, max_tokens=10, cut_completion=rule)
    first = [task for task in result.instructions if task.instruction.request == 0]
    assert len(first) == accepted
    assert [r.rule for r in result.rejections if r.parent == "bootstrap-000000"] == ["cut_off"] * cut


def test_the_target_ends_the_run_inside_a_completion() -> None:
    told: list[tuple[str, Any]] = []
    result = run(ScriptedEngine(seed=3), told, target_instructions=5)
    longer = run(ScriptedEngine(seed=3))
    assert [t.instruction for t in result.instructions] == [t.instruction for t in longer.instructions][:5]
    assert len([1 for kind, _ in told if kind == "instruction"]) == 5


def test_dried_up_novelty_ends_the_run_with_what_there_is() -> None:
    result = run(scripted(["Name four rivers of central Asia"]), acceptance_window=10, min_acceptance=0.2)
    assert result.stopped_by == "min_acceptance"
    assert len(result.instructions) == 1


def test_nothing_acceptable_stops_with_the_last_completions_and_the_counts() -> None:
    with pytest.raises(DataError) as caught:
        run(scripted(["no"]), acceptance_window=10, min_acceptance=0.2)
    assert "too_short 10" in caught.value.message
    assert "' no'" in caught.value.message


def test_empty_completions_stop_too() -> None:
    with pytest.raises(DataError, match="no_items 12"):
        run(ScriptedEngine(script=lambda request: ""), acceptance_window=12, min_acceptance=0.1)


def test_no_instance_at_all_stops() -> None:
    with pytest.raises(DataError, match="no acceptable instance"):
        run(scripted(["Name four rivers of central Asia"], instances="\nExample 2\n"), max_requests=1)


def test_a_long_instruction_is_recorded_not_sent() -> None:
    words = "Name " + " ".join(f"river{number}" for number in range(120))
    tokens = len(prompts.classification(DEMONSTRATIONS, "x").split())
    result = run(scripted([words, "Name four lakes in Africa"]), context=tokens + 900, max_requests=1)
    assert not [r for r in result.rejections if r.rule == "too_long_for_context"]
    small = max(len(prompts.input_first(DEMONSTRATIONS, "x").split()), len(prompts.output_first(DEMONSTRATIONS, "x").split())) + 40
    result = run(scripted([words, "Name four lakes in Africa"]), context=small, max_requests=1, prompt_seeds=1)
    assert [r.rule for r in result.rejections] == ["too_long_for_context"]


def test_a_cut_before_the_output_drops_that_example_and_keeps_the_whole_one_before_it() -> None:
    def script(request: Request) -> str:
        if request.id.startswith("bootstrap"):
            return numbered(["Name four rivers of central Asia"])
        return "\nInput: a\nOutput: b\nExample 2\nInput: one two three four" if "Class label:" not in request.prompt[-12:] else " x"

    for seed in range(9):  # until step 2 says no
        engine = ScriptedEngine(seed=seed, script=script)
        result = run(engine, max_requests=1, input_first_tokens=9, output_first_tokens=1)
        if not result.instructions[0].is_classification:
            break
    assert [(instance.input, instance.output) for instance in result.instances] == [("a", "b")]
    assert [(r.rule, r.text) for r in result.rejections] == [("cut_off", "Input: one two")]


def test_only_tasks_without_an_instance_end_the_run_early() -> None:
    def script(request: Request) -> str:
        return answer(request, 3) if request.id.startswith("bootstrap") else ":"

    with pytest.raises(DataError, match="no acceptable instance") as caught:
        run(ScriptedEngine(script=script), target_instructions=400, max_requests=400, acceptance_window=20)
    assert int(caught.value.message.split(" in ")[1].split()[0]) < 120
    assert "last completions: ':'" in caught.value.message


def test_equal_texts_are_not_novel_even_where_rouge_sees_nothing() -> None:
    items = ["Ä 列出 五 条 河流", "Ä 列出 五 条 河流", "Ä 说明 为何 天空 是 蓝色"]
    result = run(scripted(items), max_requests=1, ascii_start=False)
    assert [task.instruction.text for task in result.instructions] == [items[0], items[2]]
    assert [(r.detail, r.nearest) for r in result.rejections if r.step == "instruction"] == [
        ("equal", Neighbour(id="task-000000-00", score=0.0))
    ]


def test_a_failed_request_of_step_3_ends_the_run_early() -> None:
    asked: list[str] = []

    def script(request: Request) -> str:
        asked.append(request.id)
        if request.id.startswith("instances"):
            raise EngineError(f"request {request.id}: refused")
        return answer(request, 3)

    with pytest.raises(EngineError, match="refused"):
        run(ScriptedEngine(script=script), target_instructions=400, max_requests=400)
    assert len([name for name in asked if name.startswith("bootstrap")]) < 40


def test_a_dead_engine_is_an_error_and_the_journal_goes_on_from_there(tmp_path: Path) -> None:
    whole = run(JournaledEngine(tmp_path / "whole.jsonl", ScriptedEngine(seed=3)))
    path = tmp_path / "cut.jsonl"
    with pytest.raises(EngineDiedError):
        run(JournaledEngine(path, ScriptedEngine(seed=3, dies_after=30)))
    resumed = JournaledEngine(path, ScriptedEngine(seed=3))
    before = resumed.known
    assert before > 0
    assert run(resumed) == whole
    assert resumed.answered == before
    replayed = JournaledEngine(path, None)
    assert run(replayed) == whole


def test_a_journal_of_another_request_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "completions.jsonl"
    run(JournaledEngine(path, ScriptedEngine(seed=3)))
    with pytest.raises(RunFolderError, match="bootstrap-000000 was another one"):
        run(JournaledEngine(path, ScriptedEngine(seed=3)), temperature=0.1)


def test_the_scripted_answers_follow_the_prompt() -> None:
    from self_instruct.records import Sampling

    request = Request(id="a", prompt=prompts.bootstrap(["x"] * 8), sampling=Sampling(max_tokens=9))
    assert answer(request, 1) == answer(request, 1) != answer(request, 2)
    assert prompts.input_first(DEMONSTRATIONS, "Do it").endswith("Task: Do it\nExample 1")
    assert prompts.output_first(DEMONSTRATIONS, "Do it").endswith("Task: Do it\nExample 1\nClass label:")
