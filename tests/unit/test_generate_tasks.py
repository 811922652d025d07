"""Steps 2 to 4 for what overlaps an evaluation task, for texts that no file takes, and the counting of prompts."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from scripted_runs import DEMONSTRATIONS, run
from self_instruct.engine_scripted import ScriptedEngine, answer
from self_instruct.generate import parsing, prompts
from self_instruct.generate.tasks import new_tokens
from self_instruct.loading import shipped
from self_instruct.records import EvalItem, Request

TASK = EvalItem(
    id="held_out",
    suite="mine",
    task="held_out",
    group="",
    instruction="Name four rivers of central Asia",
    input="The Amu Darya, once called the Oxus.",
    references=("x",),
)


def test_what_overlaps_an_evaluation_task_is_rejected_and_says_what_it_overlaps() -> None:
    def script(request: Request) -> str:
        if request.id.startswith("bootstrap"):
            return " Name five rivers of central Asia\n10. Explain why leaves change their colour"
        if request.prompt.endswith("Class label:"):
            return " wet\nInput: the amu darya once called the Oxus\nExample 2\nClass label: dry\nInput: sand"
        return "\nInput: the amu darya once called the Oxus\nOutput: wet\nExample 2\nInput: sand\nOutput: dry"

    result = run(ScriptedEngine(script=script), (TASK,), max_requests=1)
    assert [task.instruction.text for task in result.instructions] == ["Explain why leaves change their colour"]
    assert [(r.step, r.rule, r.detail, r.nearest) for r in result.rejections] == [
        ("instruction", "contaminated", "held_out, instruction: ROUGE-L 0.8333", None),
        ("instance", "contaminated", "held_out, input: ROUGE-L 1.0000", None),
    ]
    assert result.rejections[1].text == "Input: the amu darya once called the Oxus\nOutput: wet"
    assert [(instance.order, instance.input) for instance in result.instances] == [(0, "sand")]


def test_a_contaminated_instruction_is_never_shown() -> None:
    clean = run(ScriptedEngine(seed=3))
    taken = clean.instructions[5].instruction
    held_out = EvalItem(id="taken", suite="mine", task="taken", group="", instruction=taken.text, input="", references=("x",))
    result = run(ScriptedEngine(seed=3), (held_out,))
    assert next(r.id for r in result.rejections if r.rule == "contaminated") == f"bootstrap-{taken.id.removeprefix('task-')}"
    assert all(taken.id not in task.instruction.parents for task in result.instructions)
    assert taken.id not in {task.instruction.id for task in result.instructions}


def test_halves_of_code_points_never_reach_a_record_or_a_prompt() -> None:
    prompts_seen: list[str] = []

    def script(request: Request) -> str:
        prompts_seen.append(request.prompt)
        if request.id.startswith("bootstrap"):
            return f" Name four\ud800 rivers {answer(request, 3)[:40]}\n10. \udfff"
        return f"{answer(request, 3)}\udc00"

    result = run(ScriptedEngine(script=script), max_requests=12)
    texts = [task.instruction.text for task in result.instructions] + [instance.output for instance in result.instances]
    texts += [rejection.text for rejection in result.rejections] + prompts_seen
    assert any("\ufffd" in text for text in texts)
    for text in texts:
        text.encode()


def test_an_instruction_that_would_crowd_out_a_prompt_is_too_long_whatever_its_words() -> None:
    # 4 words, and 700 tokens to this counter.
    def script(request: Request) -> str:
        if request.id.startswith("bootstrap"):
            return f" Name the {'river.' * 700} twice\n10. Explain why leaves change their colour"
        return answer(request, 3)

    result = run(ScriptedEngine(script=script), max_requests=3, context=2000, count_tokens=lambda text: len(text) // 4)
    dropped = [r for r in result.rejections if r.rule == "too_long"]
    assert len(dropped) == 3 and dropped[0].detail.endswith(" tokens")
    assert len(result.instructions) == 1


@pytest.mark.parametrize(
    ("text", "whole"),
    [("a\ud800b", "a\ufffdb"), ("\ud83d\ude00", "\U0001f600"), ("\ufeffx", "\ufeffx"), ("ä\0\x1b[31m", "ä\0\x1b[31m")],
)
def test_readable_replaces_halves_and_joins_pairs(text: str, whole: str) -> None:
    assert parsing.readable(text) == whole


def template(name: str) -> tuple[str, Callable[[str], str]]:
    render = {"classification": prompts.classification, "input_first": prompts.input_first, "output_first": prompts.output_first}
    return getattr(DEMONSTRATIONS, name), lambda text: render[name](DEMONSTRATIONS, text)


TEXTS = ("Sort these words.", "1. Add 2 and 3", "Übersetze: «ça»", "写一首关于河流的诗", "\u200b!", "the", "  x", "\x1b[31mred")


@pytest.mark.parametrize(
    ("prompt", "wanted", "given", "counted"),
    [
        ("a" * 82, 10, 10, False),  # 82 + 8 + 10 fit even if each character is a token
        ("a" * 83, 10, 10, True),
        ("a" * 196, 10, 2, True),
        ("a" * 300, 10, -50, True),
        ("ä" * 10, 10, 10, True),
    ],
)
def test_a_prompt_is_counted_only_where_it_may_leave_too_little(prompt: str, wanted: int, given: int, counted: bool) -> None:
    asked: list[str] = []

    def count(text: str) -> int:
        asked.append(text)
        return len(text) // 2

    assert new_tokens(prompt, wanted, 100, count) == given
    assert bool(asked) == counted


def test_demonstrations_come_first_byte_for_byte() -> None:
    shown = prompts.load_demonstrations(shipped("seeds/demonstrations"))
    for name in ("classification", "input_first", "output_first"):
        head, render = template(name)
        assert head == getattr(shown, name)
        assert all(render(text).startswith(head + "Task: ") for text in TEXTS)
