"""The stage's own report: its sums by hand, and that the Markdown shows the tree."""

from __future__ import annotations

from typing import Any

from self_instruct.generate import run_report
from self_instruct.generate.pipeline import Result
from self_instruct.records import Instruction, LabelledInstruction, Neighbour, Rejection

FACTS: dict[str, Any] = {
    "model": "a-model",
    "requests": 12,
    "candidates": 4,
    "accepted": 2,
    "classification": 1,
    "instances": 3,
    "empty_inputs": 1,
    "rejected": {"instruction": {"keyword": 1, "not_novel": 1}, "instance": {"cut_off": 2}},
    "mean_nearest": 0.25,
    "prefix_hit_rate": 0.5,
    "prefix_hit_rate_steps_2_3": 0.9612,
    "warm_prompt_tokens": 700,
    "sessions": [
        {"session": 1, "asked": 3, "prompt_tokens": 9, "output_tokens": 80, "seconds": 2.5, "output_tokens_per_s": 32.0},
        {"session": 3, "asked": 1, "prompt_tokens": 9, "output_tokens": 5, "seconds": 0.0, "output_tokens_per_s": None},
    ],
    "stopped_by": "max_requests",
}


def record(identity: str, prompt: int, cached: int | None, output: int, finish: str = "stop") -> dict[str, Any]:
    tokens = {"prompt_tokens": prompt, "cached_tokens": cached, "output_tokens": output}
    return {"id": identity, "finish_reason": finish, **tokens}


RECORDS = [
    record("bootstrap-000000", 200, 0, 90, "length"),
    record("bootstrap-000011", 210, 160, 60),
    record("classify-task-000000-00", 700, 640, 1),
    record("instances-task-000000-00", 900, None, 40),
]


def accepted(request: int) -> LabelledInstruction:
    made = Instruction(
        id=f"task-{request}", text="x", request=request, position=0, parents=(), nearest=(Neighbour(id="s", score=0.5),)
    )
    return LabelledInstruction(instruction=made, is_classification=False, margin=0.0)


def dropped(request: int, step: str, rule: str) -> Rejection:
    parent = f"bootstrap-{request:06d}" if step == "instruction" else "task-0"
    return Rejection(id="r", step=step, rule=rule, text="x", detail="", parent=parent)


RESULT = Result(
    instructions=[accepted(0), accepted(11)],
    rejections=[
        dropped(0, "instruction", "keyword"),
        dropped(6, "instruction", "not_novel"),
        dropped(7, "instruction", "no_items"),
        dropped(0, "instance", "cut_off"),
    ],
    requests=12,
)


def test_steps_sum_what_the_engine_told() -> None:
    bootstrap, classify, instances = run_report.steps(RECORDS)
    assert bootstrap == {
        "step": "1 instructions", "answers": 2, "prompt_tokens": 410, "cached_tokens": 160, "output_tokens": 150, "hit_limit": 1,
    }  # fmt: skip
    assert (classify["answers"], classify["cached_tokens"], classify["hit_limit"]) == (1, 640, 0)
    assert (instances["prompt_tokens"], instances["cached_tokens"]) == (900, None)


def test_the_curve_holds_every_candidate_once_in_the_order_of_the_requests() -> None:
    rows = run_report.curve(RESULT)
    assert [row["requests"] for row in rows][:3] == ["0 to 0", "1 to 1", "2 to 3"]
    assert rows[0] == {"requests": "0 to 0", "candidates": 2, "accepted": 1}
    assert rows[-1] == {"requests": "11 to 11", "candidates": 1, "accepted": 1}
    assert sum(row["candidates"] for row in rows) == 4  # what had no items and what is step 3's is none


def test_a_run_of_few_requests_has_a_row_for_each() -> None:
    few = Result(instructions=[accepted(1)], requests=2)
    assert [row["requests"] for row in run_report.curve(few)] == ["0 to 0", "1 to 1"]


def test_markdown_shows_the_tree() -> None:
    text = run_report.render(run_report.tree(RESULT, RECORDS, FACTS))
    for line in (
        "# generate: 2 instructions by a-model",
        "| 1 instructions | 2 | 410 | 39.0% | 150 | 1 |",
        "| 3 instances | 1 | 900 | - | 40 | 0 |",
        "| 3 | 1 | 0.0 | 5 | - |",
        "| 0 to 0 | 2 | 1 | 50.0% |",
        "| 2 to 3 | 0 | 0 | - |",
        "| instruction | not_novel | 1 |",
    ):
        assert line in text.splitlines()
    assert "96.1% of the prompt tokens of steps 2 and 3 came from the prefix cache" in text
    assert "50.0% of all prompt tokens" in text
    assert "700 prompt tokens more warmed the cache" in text


def test_an_engine_without_a_prefix_cache_is_said_to_tell_nothing() -> None:
    silent = FACTS | {"prefix_hit_rate": None, "prefix_hit_rate_steps_2_3": None, "warm_prompt_tokens": 0}
    assert "told nothing of a prefix cache" in run_report.render(run_report.tree(RESULT, RECORDS, silent))
