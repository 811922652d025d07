"""The live line and metrics.jsonl: what the engine's counters become, the rates, the foretold end."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from self_instruct.engine_journaled import JournaledEngine
from self_instruct.errors import EngineDiedError
from self_instruct.generate import live
from self_instruct.generate.live import Live, gauges, sentence
from self_instruct.journal import Journal, read
from self_instruct.records import Instruction, Rejection
from self_instruct.runlog import Metrics, Progress
from self_instruct.settings import GenerateSettings

VLLM = {
    "vllm:num_requests_running": 31.0,
    "vllm:num_requests_waiting": 4.0,
    "vllm:kv_cache_usage_perc": 0.25,
    "vllm:prefix_cache_queries_total": 1000.0,
    "vllm:prefix_cache_hits_total": 960.0,
}


class Counted:
    """An engine that has counters and nothing else; it may be dead."""

    def __init__(self, counters: dict[str, float] | None) -> None:
        self.counters = counters

    async def metrics(self) -> dict[str, float]:
        if self.counters is None:
            raise EngineDiedError("gone")
        return self.counters


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    clock = [1000.0]
    monkeypatch.setattr("time.monotonic", lambda: clock[0])
    return clock


def made(folder: Path, engine: Any, **generate: Any) -> Live:
    settings = GenerateSettings(**({"target_instructions": 1000, "min_acceptance": 0.0} | generate))
    return Live(
        settings,
        JournaledEngine(folder / "completions.jsonl", engine),
        session=2,
        metrics=Metrics(folder / "metrics.jsonl"),
        progress=Progress("instructions", 1000, "accepted"),
        accepted=Journal(folder / "accepted.jsonl"),
        rejected=Journal(folder / "rejected.jsonl"),
    )


def instruction(number: int) -> Instruction:
    return Instruction(id=f"task-{number}", text="Say it", request=number, position=0, parents=(), nearest=())


def rejection(number: int, step: str = "instruction", rule: str = "not_novel") -> Rejection:
    return Rejection(id=f"r{number}", step=step, rule=rule, text="x", detail="", parent="p")


def rows(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_counters_of_the_engines_have_one_name_each() -> None:
    assert gauges(VLLM) == {"running": 31.0, "waiting": 4.0, "kv_cache_use": 0.25, "prefix_hit_rate": 0.96}
    assert gauges({"running": 3.0, "prompt_tokens": 9.0}) == {"running": 3.0}
    assert gauges({"vllm:prefix_cache_queries_total": 0.0}) == {}


def test_a_row_counts_by_rule_and_foretells_the_end(tmp_path: Path, now: list[float]) -> None:
    shown = made(tmp_path, Counted(VLLM))
    shown._engine.asked = 1
    asyncio.run(shown.write())
    for number in range(100):
        shown.tell("sent", number)
    for number in range(60):
        shown.tell("committed", number)
        shown.tell("instruction", instruction(number))
        shown.tell("rejection", rejection(number))
    shown.tell("rejection", rejection(0, "instance", "empty_output"))
    shown._engine.asked_output_tokens = 900
    now[0] += 60
    asyncio.run(shown.write())
    row = rows(tmp_path)[-1]
    assert (row["session"], row["accepted"], row["candidates"], row["acceptance"]) == (2, 60, 120, 0.5)
    assert row["rejected"] == {"instance": {"empty_output": 1}, "instruction": {"not_novel": 60}}
    assert (row["requests"], row["lag"]) == (60, 40)
    assert (row["candidates_per_s"], row["output_tokens_per_s"]) == (2.0, 15.0)
    # At constant acceptance 2,000 candidates make the target of 1,000: 1,880 more at 2 a second.
    assert (row["eta_s"], row["expected"], row["ends_by"]) == (940.0, 1000, "target_instructions")
    assert sentence(row) == (
        "50% of the last candidates accepted, 2.0 candidates/s, 15 output tokens/s, 31 running, 4 waiting, KV cache 25%, "
        "prefix hits 96%, lag 40, rejected: not_novel 50%"
    )
    assert [record["kind"] for record in read(tmp_path / "accepted.jsonl")] == ["instruction"] * 60
    assert [record["rule"] for record in read(tmp_path / "rejected.jsonl")] == ["not_novel"] * 60 + ["empty_output"]


def test_the_line_names_the_rules_that_reject_most(tmp_path: Path, now: list[float]) -> None:
    shown = made(tmp_path, Counted({}))
    dropped = {"too_short": 1, "keyword": 3, "not_novel": 9, "cut_off": 3, "no_items": 2}
    for rule, count in dropped.items():
        for number in range(count):
            shown.tell("rejection", rejection(number, rule=rule))
    for number in range(7):
        shown.tell("rejection", rejection(number, "instance", "malformed"))
    for number in range(32):
        shown.tell("instruction", instruction(number))
    asyncio.run(shown.write())
    row = rows(tmp_path)[-1]
    assert sentence(row).endswith("lag 0, rejected: not_novel 18%, cut_off 6%, keyword 6%")
    # What had no items is no candidate, as in the manifest, but lowers the acceptance.
    assert (row["candidates"], row["accepted"], row["acceptance"]) == (48, 32, 0.64)


@pytest.mark.parametrize(
    ("generate", "rejections"),
    [
        ({"target_instructions": 60}, 0),
        ({"max_requests": 60}, 0),
        ({"min_acceptance": 0.5, "acceptance_window": 60}, 60),
    ],
)
def test_no_time_is_foretold_once_only_instances_are_missing(
    tmp_path: Path, now: list[float], generate: dict[str, Any], rejections: int
) -> None:
    shown = made(tmp_path, Counted({}), **generate)
    shown._engine.asked = 1
    asyncio.run(shown.write())
    for number in range(60 - 1):
        shown.tell("committed", number)
        shown.tell("instruction", instruction(number))
    now[0] += 10
    asyncio.run(shown.write())
    assert rows(tmp_path)[-1]["eta_s"] > 0
    shown.tell("committed", 59)
    shown.tell("instruction", instruction(59))
    for number in range(rejections):
        shown.tell("rejection", rejection(number))
    now[0] += 10
    asyncio.run(shown.write())
    assert "eta_s" not in rows(tmp_path)[-1]


def test_another_end_than_the_target_is_said(tmp_path: Path, now: list[float]) -> None:
    shown = made(tmp_path, Counted({}), max_requests=100)
    shown._engine.asked = 1
    asyncio.run(shown.write())
    for number in range(50):
        shown.tell("committed", number)
        shown.tell("instruction", instruction(number))
    now[0] += 10
    asyncio.run(shown.write())
    row = rows(tmp_path)[-1]
    assert (row["eta_s"], row["ends_by"]) == (10.0, "max_requests")
    assert sentence(row).endswith("will end by max_requests at about 100")


def test_what_comes_from_the_journal_is_no_rate(tmp_path: Path, now: list[float]) -> None:
    shown = made(tmp_path, None)
    asyncio.run(shown.write())
    for number in range(200):
        shown.tell("instruction", instruction(number))
    now[0] += 1
    asyncio.run(shown.write())
    assert rows(tmp_path)[-1]["candidates_per_s"] == 0.0
    assert "eta_s" not in rows(tmp_path)[-1]


def test_rates_are_of_the_last_two_minutes(tmp_path: Path, now: list[float]) -> None:
    shown = made(tmp_path, Counted({}))
    shown._engine.asked = 1
    for number in range(40):  # 10 s apart: ten candidates each, then none
        asyncio.run(shown.write())
        for candidate in range(10 if number < 20 else 0):
            shown.tell("rejection", rejection(candidate))
        now[0] += 10
    found = [row["candidates_per_s"] for row in rows(tmp_path)]
    assert found[20] == 1.0 and found[-1] == 0.0


def test_a_dead_engine_ends_no_polling(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "POLL_S", 0.01)
    engine = Counted(VLLM)
    shown = made(tmp_path, engine)

    async def poll_a_while() -> None:
        polling = asyncio.ensure_future(shown.poll())
        await asyncio.sleep(0.05)
        engine.counters = None
        before = len(rows(tmp_path))
        await asyncio.sleep(0.05)
        assert len(rows(tmp_path)) > before and not polling.done()
        polling.cancel()

    asyncio.run(poll_a_while())
    assert rows(tmp_path)[-1]["running"] == 31.0, "what was last known"
