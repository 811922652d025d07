"""`generate plan`: arithmetic that can be checked by hand, a trial in a folder of its own, and a prediction that fits the run."""

from __future__ import annotations

import json
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
    made = predict(settings, curve(100, 50), records(10, 100), product_bytes=5000, most_open=20, most_running=64)
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
    sized = {"product_bytes": 0, "most_open": 64, "most_running": 64}
    made = predict(settings, falling, records(10, 140), **sized)
    assert made["requests"] > made["requests_at_constant_acceptance"] == 143
    assert not [line for line in describe(made) if "requests open" in line]
    limited = predict(settings.model_copy(update={"max_requests": 50}), falling, records(10, 140), **sized)
    assert (limited["requests"], limited["ends_by"]) == (50, "max_requests")
    assert limited["accepted"] < 1000
    dry = predict(settings.model_copy(update={"min_acceptance": 0.4}), falling, records(10, 140), **sized)
    assert dry["ends_by"] == "min_acceptance" and dry["accepted"] < 1000


def test_nothing_accepted_is_nothing_to_plan_with() -> None:
    with pytest.raises(DataError, match="accepted nothing"):
        predict(GenerateSettings(), curve(20, 0), records(4, 0), product_bytes=0, most_open=1, most_running=1)


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
