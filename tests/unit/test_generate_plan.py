"""`generate plan`: arithmetic that can be checked by hand, a trial in a folder of its own, and a prediction that fits the run."""

from __future__ import annotations

import asyncio
import json
import signal
import tempfile
from pathlib import Path
from typing import Any

import pytest

from self_instruct import commandline, engines
from self_instruct.errors import DataError, EngineError
from self_instruct.generate.cli import main
from self_instruct.generate.plan import describe, predict
from self_instruct.generate.yields import Curve
from self_instruct.settings import GenerateSettings


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where temporary folders come to lie."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    return tmp_path / "temporary"


def curve(candidates: int, accepted: int) -> Curve:
    made = Curve()
    for number in range(candidates):
        made.count(number * accepted // candidates < (number + 1) * accepted // candidates)
    return made


def records(first: int, rest: int) -> list[dict[str, Any]]:
    def record(identity: str, tokens: int, prompt: int) -> dict[str, Any]:
        times = {"session": 1, "asked_s": 2.0, "answered_s": 12.0}
        return {"id": identity, "output_tokens": tokens, "prompt_tokens": prompt, **times}

    return [record(f"bootstrap-{n}", 100, 200) for n in range(first)] + [record(f"classify-{n}", 10, 1000) for n in range(rest)]


def test_each_step_grows_with_its_own_count() -> None:
    settings = GenerateSettings(target_instructions=1000, min_acceptance=0.0)
    made = predict(
        settings, curve(100, 50), records(10, 100), product_bytes=5000, rejected_bytes=1000, most_open=20, most_running=64
    )
    # 100 candidates in 10 requests, half accepted: 200 requests make 1,000 instructions, with 2,000 other completions.
    assert (made["requests"], made["requests_at_constant_acceptance"], made["accepted"]) == (200, 200, 1000)
    assert (made["completions"], made["ends_by"]) == (2200, "target_instructions")
    assert made["output_tokens"] == 200 * 100 + 2000 * 10
    assert made["prompt_tokens"] == 200 * 200 + 2000 * 1000
    assert made["trial"]["output_tokens_per_s"] == 200.0
    assert made["seconds"] == 200.0
    assert made["disk_bytes"] > 20 * 5000
    said = "\n".join(describe(made))
    for part in ("1000 instructions", "about 200 bootstrapping requests", "3 min", "candidates^1.0", "at most 20 requests open"):
        assert part in said


def test_a_falling_curve_costs_more_and_a_limit_ends_it() -> None:
    falling = Curve()
    for number in range(100):
        falling.count(number < 40 or number % 2 == 0)
    settings = GenerateSettings(target_instructions=1000, min_acceptance=0.0)
    sized = {"product_bytes": 0, "rejected_bytes": 0, "most_open": 64, "most_running": 64}
    made = predict(settings, falling, records(10, 140), **sized)
    assert made["requests"] > made["requests_at_constant_acceptance"] == 143
    assert not [line for line in describe(made) if "requests open" in line]
    limited = predict(settings.model_copy(update={"max_requests": 50}), falling, records(10, 140), **sized)
    assert (limited["requests"], limited["ends_by"]) == (50, "max_requests")
    assert limited["accepted"] < 1000
    dry = predict(settings.model_copy(update={"min_acceptance": 0.4}), falling, records(10, 140), **sized)
    assert dry["ends_by"] == "min_acceptance" and dry["accepted"] < 1000


def test_rejected_rows_grow_with_the_requests() -> None:
    falling = Curve()
    for number in range(100):
        falling.count(number < 40 or number % 2 == 0)
    settings = GenerateSettings(target_instructions=1000, min_acceptance=0.0)

    def planned(product: int, rejected: int) -> dict[str, Any]:
        sizes = {"product_bytes": product, "rejected_bytes": rejected, "most_open": 64, "most_running": 64}
        return predict(settings, falling, records(10, 140), **sizes)

    nothing, made = planned(0, 0), planned(100_000, 0)
    assert made["disk_bytes"] - nothing["disk_bytes"] == round(100_000 * 1000 / 70)
    more = planned(100_000, 40_000)["disk_bytes"] - nothing["disk_bytes"]
    assert more == round(60_000 * 1000 / 70 + 40_000 * made["requests"] / 10) > made["disk_bytes"] - nothing["disk_bytes"]


def test_a_completion_without_candidates_counts_as_a_request_and_not_as_a_candidate() -> None:
    with_empty = Curve()
    for number in range(100):
        with_empty.count(number % 2 == 0, candidate=number % 4 != 1)
    settings = GenerateSettings(target_instructions=1000, min_acceptance=0.0)
    made = predict(settings, with_empty, records(10, 0), product_bytes=0, rejected_bytes=0, most_open=9, most_running=9)
    assert (made["requests"], made["trial"]["candidates"], made["trial"]["accepted"]) == (200, 75, 50)


def test_the_rate_is_that_of_the_trials_middle() -> None:
    """Of 40 s the first 10 and the last 10 are one request's; between them ten more write."""

    def record(identity: str, asked_s: float, answered_s: float, tokens: int) -> dict[str, Any]:
        times = {"session": 1, "asked_s": asked_s, "answered_s": answered_s}
        return {"id": identity, "output_tokens": tokens, "prompt_tokens": 1, **times}

    trial = [record("bootstrap-0", 0.0, 40.0, 400), *(record(f"classify-{n}", 10.0, 30.0, 200) for n in range(10))]
    settings = GenerateSettings(target_instructions=50, min_acceptance=0.0)
    sized = {"product_bytes": 0, "rejected_bytes": 0, "most_open": 9, "most_running": 9}
    made = predict(settings, curve(100, 50), trial, **sized)
    # 10 a second of the long one and 10 each of ten others; over the whole trial it would be 60.
    assert (made["trial"]["output_tokens_per_s"], made["seconds"]) == (110.0, round(2400 / 110, 1))
    # Where nothing was open in the middle, it is the whole trial's.
    apart = [record("bootstrap-0", 0.0, 1.0, 100), record("classify-0", 99.0, 100.0, 100)]
    assert predict(settings, curve(100, 50), apart, **sized)["trial"]["output_tokens_per_s"] == 2.0
    at_once = [record("bootstrap-0", 3.0, 3.0, 100)]
    assert predict(settings, curve(100, 50), at_once, **sized)["trial"]["output_tokens_per_s"] == pytest.approx(100_000)


def test_nothing_accepted_is_nothing_to_plan_with() -> None:
    with pytest.raises(DataError, match="accepted nothing"):
        predict(GenerateSettings(), curve(20, 0), records(4, 0), product_bytes=0, rejected_bytes=0, most_open=1, most_running=1)


def test_the_command_touches_no_run_and_predicts_what_the_run_does(
    tmp_path: Path, temporary: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    flags = ["--config", "configs/tiny.yaml", "--set", "model.engine=scripted", "--set", f"run.dir={run}"]
    flags += ["--set", "generate.target_instructions=400", "--set", "generate.max_requests=1000"]
    assert commandline.run(main, ["plan", *flags]) == 0
    printed = capsys.readouterr()
    plan = json.loads(printed.out)["plan"]
    assert not run.exists() and not list(temporary.iterdir())
    assert plan["trial"]["requests"] == 32
    assert "plan: assumed: accepted grows as" in printed.err
    assert commandline.run(main, flags) == 0
    facts = json.loads((run / "generate" / "manifest.json").read_text())["facts"]
    assert plan["requests"] == pytest.approx(facts["requests"], rel=0.15)
    assert plan["output_tokens"] == pytest.approx(facts["output_tokens"], rel=0.15)
    assert plan["prompt_tokens"] == pytest.approx(facts["prompt_tokens"], rel=0.15)
    parts = [run / "generate" / part for part in ("journal", "corpus", "exports")]
    written = sum(path.stat().st_size for part in parts for path in part.rglob("*") if path.is_file())
    assert written / 3 < plan["disk_bytes"] < 3 * written


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_trial_leaves_nothing(
    temporary: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals, status: int
) -> None:
    async def interrupted(*_: Any, **__: Any) -> Any:
        assert len(list(temporary.iterdir())) == 1
        signal.raise_signal(number)
        await asyncio.sleep(60)

    monkeypatch.setattr(engines, "open_engine", interrupted)
    assert commandline.run(main, ["plan", "--config", "configs/tiny.yaml", "--set", "model.engine=scripted"]) == status
    assert not list(temporary.iterdir())


def test_a_trial_that_fails_keeps_its_folder(
    temporary: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*_: Any, **__: Any) -> Any:
        raise EngineError("no device")

    monkeypatch.setattr(engines, "open_engine", broken)
    assert commandline.run(main, ["plan", "--config", "configs/tiny.yaml", "--set", "model.engine=scripted"]) == 2
    err = capsys.readouterr().err
    (left,) = temporary.iterdir()
    assert str(left) in err and "error: no device" in err
