"""Whatever a model writes, the run goes on: nothing raises, nothing is lost without a rule, and a replay gives the same."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from sample_generation import generated
from self_instruct.engine import Engine
from self_instruct.engine_scripted import ScriptedEngine, answer
from self_instruct.errors import DataError
from self_instruct.generate import clean, inputs, parsing, session
from self_instruct.records import Request
from self_instruct.settings import Settings
from strategies import raw_texts

MARKS = st.sampled_from(
    ["\n", "\n\n", "9.", "10. ", "1000. ", "Example 2\n", "Example 2:", "Input:", "Output:", "Class label:", "Task:", " ", "\t"]
)
NOISE = st.sampled_from(
    ["\0", "\x07", "\x1b[31m", "\x1b]0;t\x07", "\x7f", "\x85", "\u2028", "\u202e", "\ufeff", "\ud800", "\udfff"]
)
JSON = st.sampled_from(['{"instruction": "', '", "input": null}', "[[[[", "\\u0000", "\\", '"}]', "```json"])
SHORT = st.lists(MARKS | NOISE | JSON | raw_texts, max_size=30).map("".join)
# One thing again and again: lines of 100,000 characters, a thousand examples, a list without end.
LONG = st.builds(lambda part, times: part * times, SHORT.filter(lambda text: 0 < len(text) <= 20), st.integers(1_000, 5_000))
HOSTILE = SHORT | LONG
WORST = (
    "",
    "\ud800",
    "a" * 100_000,
    " " * 100_000,
    "\n" * 100_000,
    "1. " * 30_000,
    "\n9. x" * 20_000,
    "\nExample 2\n" * 1_000,
    "\nExample 2\nInput: a\nOutput: b" * 1_000,
    "\nInput:" * 10_000,
    " A\nInput: \x1b[31mb\x1b[0m\nExample 2\nClass label: \udfff\nInput: \0",
    '{"instructions": ["Sort these four words by their length.", {"input": "',
)


@given(HOSTILE)
@settings(deadline=2000)
def test_parsing_never_raises_and_invents_nothing(text: str) -> None:
    items, squeezed = parsing.instructions(text), " ".join(text.split())
    assert all(item and item in squeezed for item in items[:100])
    for parse in (parsing.input_first, parsing.output_first):
        parsed = parse(text)
        for instance in parsed.instances:
            assert instance.input in text and instance.output in text
        for cut in (False, True):
            kept, dropped = clean.clean(parsed.instances, cut_off=cut, max_instances=5)
            assert sorted(map(repr, [*kept, *(one for _, one in dropped)])) == sorted(map(repr, parsed.instances))
            assert {rule for rule, _ in dropped} <= set(clean.NAMES)
            assert all(instance.output for instance in kept)


@pytest.mark.parametrize("text", WORST, ids=lambda text: f"{text[:12]!r}x{len(text)}")
def test_parsing_takes_the_worst_in_reasonable_time(text: str) -> None:
    test_parsing_never_raises_and_invents_nothing.hypothesis.inner_test(text)  # type: ignore[attr-defined]


def hostile(texts: list[str]) -> ScriptedEngine:
    """The scripted engine, with every other answer replaced by, or continued with, one of the texts."""

    def script(request: Request) -> str:
        number = sum(request.id.encode())
        text = texts[number % len(texts)]
        return text if number % 3 == 0 else answer(request, 3) + (text if number % 3 == 1 else "")

    return ScriptedEngine(seed=3, script=script)


@given(st.lists(HOSTILE, min_size=1, max_size=6))
@example(list(WORST))
@settings(deadline=None, max_examples=12, suppress_health_check=[HealthCheck.too_slow])
def test_a_run_takes_any_completion_and_its_replay_is_the_same(texts: list[str]) -> None:
    generate = {"target_instructions": 20, "max_requests": 12, "max_tokens": 10**6, "input_first_tokens": 10**6}
    chosen = Settings.model_validate({"model": {"engine": "scripted"}, "generate": generate})
    given_inputs = inputs.load(chosen, inputs.sources(chosen), context=10**7)

    async def start() -> Engine:
        return hostile(texts)

    with tempfile.TemporaryDirectory() as folder:
        stage = Path(folder)
        try:
            outcome = asyncio.run(session.run(stage, given_inputs, start, lambda: lambda text: len(text.split())))
        except DataError as error:
            assert "no acceptable" in error.message
            return
        result, records = session.replay(stage, given_inputs)
        assert result == outcome.result
        assert [record["text"] for record in records] == [record["text"] for record in outcome.records]


def test_corpus_exports_and_card_take_any_completion(tmp_path: Path) -> None:
    engine = hostile(list(WORST))
    result, _ = generated(tmp_path, script=engine._script, max_tokens=10**5, input_first_tokens=10**5)
    assert result.instances
    assert {path.name for path in (tmp_path / "generate").iterdir()} >= {"corpus", "journal"}
