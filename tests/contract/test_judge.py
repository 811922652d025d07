"""The judge on the real vLLM: one token a request, a probability for each level, the shared beginning from the prefix cache."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from sample_runs import evaluated, items, stored_suite
from self_instruct.evaluate import judge, rating_runs, store
from self_instruct.models import load_tokenizer, resolve
from self_instruct.records import LEVELS, Completion, Request
from self_instruct.settings_evaluate import JudgeSettings
from serving import CONTEXT, SETTINGS, Served

pytestmark = pytest.mark.contract


class Kept:
    """The session's engine, which stays open for other tests."""

    def __init__(self, served: Served) -> None:
        self._engine = served.engine

    async def generate(self, request: Request) -> Completion:
        return await self._engine.generate(request)

    async def metrics(self) -> dict[str, float]:
        return await self._engine.metrics()

    async def close(self) -> None:
        await asyncio.sleep(0)


@pytest.mark.parametrize("form", ["completion", "chat"])
def test_a_judge_says_a_level_of_every_answer(vllm: Served, tmp_path: Path, form: str) -> None:
    run = evaluated(tmp_path / "run", [stored_suite(items(3))])
    model = resolve(SETTINGS.model)
    judged = vllm.do(
        judge.judge(
            rating_runs.answered([store.read(run)]),
            Kept(vllm),
            load_tokenizer(model.path),
            journal=tmp_path / "judge" / "completions.jsonl",
            model=model,
            settings=JudgeSettings.model_validate({"prompt": form, "orders": 2}),
            seed=42,
            context=CONTEXT,
            now=1.0,
            scripted=False,
        )
    )
    assert len(judged.ratings) == 6
    assert {rating.level for rating in judged.ratings} <= set(LEVELS)
    assert judged.facts["requests"] == judged.facts["output_tokens"] == 12
    assert judged.facts["form"] == form
    assert judged.facts["hit_rate"] > 0.3
    for told in judged.facts["answers"].values():
        assert all(sum(row) == pytest.approx(1, abs=1e-4) and min(row) >= 0 for row in told["probabilities"])
