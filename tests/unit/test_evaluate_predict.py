"""Requests, answers, resuming and failures of the answering step."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pytest

from self_instruct import journal
from self_instruct.engine_scripted import ScriptedEngine
from self_instruct.errors import EngineDiedError, EngineError, RunFolderError
from self_instruct.evaluate import predict
from self_instruct.evaluate.answer_cache import AnswerCache
from self_instruct.evaluate.suites import Prompted, Suite
from self_instruct.records import Completion, EvalItem, Request

BASE = predict.Contender(name="base", adapter=None, digest="")
TUNED = predict.Contender(name="tuned", adapter=Path("somewhere/adapter"), digest="d1")
FOLDERS = {"d1": "/moved/adapter"}


def prompted(count: int) -> tuple[Prompted, ...]:
    return tuple(
        Prompted(
            item=EvalItem(id=f"t{n}", suite="s", task="t", group="g", instruction=f"Do {n}.", input="", references=("r",)),
            prompt=f"Do {n}.\n\nOutput:",
            cut=False,
        )
        for n in range(count)
    )


def asked_of(count: int, max_tokens: int = 50, name: str = "s") -> predict.Asked:
    """A set of so many items with different prompts."""
    given = prompted(count)
    items = tuple(one.item for one in given)
    suite = Suite(name=name, kind="user_oriented", items=items, max_tokens=max_tokens, counts={}, source="shipped")
    return predict.Asked(suite=suite, prompted=given)


def requests_of(count: int, *contenders: predict.Contender, max_tokens: int = 50) -> tuple[Request, ...]:
    return predict.requests(contenders or (BASE,), [asked_of(count, max_tokens)])


def prompts_of(requests: Iterable[Request]) -> list[tuple[str, str]]:
    """What was asked, as (model, first line of the prompt)."""
    return [("tuned" if request.adapter else "base", request.prompt.splitlines()[0]) for request in requests]


def engine(asked: list[Request], **options: int | float) -> ScriptedEngine:
    """Answers "<adapter> <prompt's first line>" between white space, and notes what it was asked."""

    def script(request: Request) -> str:
        asked.append(request)
        return f"\n {request.adapter or 'no adapter'}: {request.prompt.splitlines()[0]} \n"

    return ScriptedEngine(script=script, **options)  # type: ignore[arg-type]


def collect(path: Path, behind: ScriptedEngine | None, requests: tuple[Request, ...]) -> dict[str, Completion]:
    return asyncio.run(predict.collect(path, behind, requests, FOLDERS))


def test_requests_are_greedy_with_end_of_text_as_the_only_stop() -> None:
    requests = requests_of(2, BASE, TUNED, max_tokens=77)
    assert prompts_of(requests) == [("base", "Do 0."), ("tuned", "Do 0."), ("base", "Do 1."), ("tuned", "Do 1.")]
    assert [request.adapter for request in requests] == [None, "d1", None, "d1"]
    for request in requests:
        sampling = request.sampling
        assert (sampling.temperature, sampling.max_tokens, sampling.stop, sampling.presence_penalty) == (0.0, 77, (), 0.0)


def test_the_same_prompt_in_two_sets_is_asked_once() -> None:
    one, other, longer = asked_of(3), asked_of(5, name="other"), asked_of(3, max_tokens=51, name="longer")
    assert len(predict.requests([BASE], [one, other])) == 5
    assert len(predict.requests([BASE, TUNED], [one, other])) == 10
    assert len(predict.requests([BASE], [one, longer])) == 6
    assert predict.requests([BASE], [one]) == predict.requests([BASE], [one, one])


def test_two_adapters_of_one_content_are_asked_once(tmp_path: Path) -> None:
    copy = replace(TUNED, name="copy", adapter=Path("elsewhere/adapter"))
    requests = requests_of(3, TUNED, copy)
    assert len(requests) == 3
    asked: list[Request] = []
    cache = AnswerCache(tmp_path / "cache", "model")
    completions = asyncio.run(predict.collect(tmp_path / "p.jsonl", engine(asked), requests, FOLDERS, cache))
    assert len(asked) == 3
    one, other = (predict.predictions(contender, asked_of(3), completions) for contender in (TUNED, copy))
    assert [answer.text for answer in one] == [answer.text for answer in other]
    assert len(cache.get(requests)) == 3


def test_ids_say_what_is_asked_whatever_else_is() -> None:
    few, many = requests_of(2, TUNED), requests_of(5, BASE, TUNED)
    assert set(few) < set(many)
    assert len({request.id for request in many}) == 10


@pytest.mark.parametrize(
    ("folders", "names"),
    [
        (["run/train/adapter"], ("tuned",)),
        (["other/lora"], ("lora",)),
        (["a/lora", "b/lora", "run/train/adapter", "c/base"], ("lora", "lora-2", "tuned", "base-2")),
        (["x/tuned", "run/train/../train/adapter"], ("tuned", "tuned-2")),
        ([], ()),
    ],
)
def test_names(folders: list[str], names: tuple[str, ...], tmp_path: Path) -> None:
    assert predict.names([tmp_path / folder for folder in folders], tmp_path / "run/train/adapter") == names


def test_answers_are_stripped_and_by_model(tmp_path: Path) -> None:
    asked: list[Request] = []
    completions = collect(tmp_path / "p.jsonl", engine(asked), requests_of(3, BASE, TUNED))
    found = [predict.predictions(contender, asked_of(3), completions)[0] for contender in (BASE, TUNED)]
    assert [(one.item_id, one.model, one.text) for one in found] == [
        ("t0", "base", "no adapter: Do 0."),
        ("t0", "tuned", "/moved/adapter: Do 0."),
    ]
    assert not any(one.hit_limit for one in found)
    assert {request.adapter for request in asked} == {None, "/moved/adapter"}  # the engine is given folders


def test_the_limit_is_noticed(tmp_path: Path) -> None:
    completions = collect(tmp_path / "p.jsonl", engine([]), requests_of(1, max_tokens=2))
    (one,) = predict.predictions(BASE, asked_of(1, 2), completions)
    assert one.hit_limit
    assert (one.text, one.output_tokens) == ("no adapter:", 2)


def test_what_other_runs_were_answered_is_journaled_and_not_asked(tmp_path: Path) -> None:
    cache = AnswerCache(tmp_path / "cache", "model")
    few, many = requests_of(3, BASE, TUNED), requests_of(5, BASE, TUNED)
    first = asyncio.run(predict.collect(tmp_path / "a" / "p.jsonl", engine([]), few, FOLDERS, cache))
    path = tmp_path / "b" / "p.jsonl"
    assert asyncio.run(predict.take(path, cache, many)) == 6
    asked: list[Request] = []
    found = asyncio.run(predict.collect(path, engine(asked), many, FOLDERS, cache))
    assert prompts_of(asked) == [(name, f"Do {n}.") for n in (3, 4) for name in ("base", "tuned")]
    assert {id: one.text for id, one in found.items() if id in first} == {id: one.text for id, one in first.items()}
    assert [(one["requests"], one["cached"]) for one in journal.read(path.with_name("sessions.jsonl"))] == [(0, 6), (4, 0)]
    assert asyncio.run(predict.take(path, cache, many)) == 0  # all of it is in the journal
    assert asyncio.run(predict.take(tmp_path / "c" / "p.jsonl", cache, many)) == 10


def test_all_requests_are_open_at_once(tmp_path: Path) -> None:
    class Counting(ScriptedEngine):
        most = 0

        async def generate(self, request: Request) -> Completion:
            Counting.most = max(Counting.most, self._running + 1)
            return await super().generate(request)

    collect(tmp_path / "p.jsonl", Counting(delay_s=0.2), requests_of(20, BASE, TUNED))
    assert Counting.most == 40


def answers(path: Path) -> list[dict[str, object]]:
    """The journal by request, less when and in which order each was sent."""
    own = ("number", "session", "asked_s", "answered_s")
    records = sorted(journal.read(path), key=lambda record: str(record["id"]))
    return [{name: value for name, value in record.items() if name not in own} for record in records]


@pytest.mark.parametrize("torn", [b"", b'{"id": "tuned/t1", "text": "cut off in the mi'])
def test_a_cut_journal_is_continued_and_nothing_is_asked_twice(tmp_path: Path, torn: bytes) -> None:
    requests = requests_of(8, BASE, TUNED)
    whole = collect(tmp_path / "whole.jsonl", engine([], delay_s=0.01), requests)
    lines = (tmp_path / "whole.jsonl").read_bytes().splitlines(keepends=True)
    half = tmp_path / "half" / "p.jsonl"
    half.parent.mkdir()
    half.write_bytes(b"".join(lines[:7]) + torn)
    asked: list[Request] = []
    assert collect(half, engine(asked), requests) == whole
    kept = {json.loads(line)["id"] for line in lines[:7]}
    assert {request.id for request in asked} == {request.id for request in requests} - kept
    assert len(asked) == 9
    assert answers(half) == answers(tmp_path / "whole.jsonl")
    (session,) = journal.read(half.with_name("sessions.jsonl"))
    assert session["requests"] == 9
    assert session["output_tokens"] == sum(whole[request.id].output_tokens for request in asked)


def test_a_whole_journal_needs_no_engine(tmp_path: Path) -> None:
    requests = requests_of(3)
    first = collect(tmp_path / "p.jsonl", engine([]), requests)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert predict.unanswered(tmp_path / "p.jsonl", requests) == ()
    assert collect(tmp_path / "p.jsonl", None, requests) == first
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_an_answer_journaled_under_an_id_of_another_prompt_is_refused(tmp_path: Path) -> None:
    (one,) = requests_of(1)
    collect(tmp_path / "p.jsonl", engine([]), (one,))
    with pytest.raises(RunFolderError, match="was another one"):
        collect(tmp_path / "p.jsonl", engine([]), (replace(one, prompt="other"),))


def test_a_failed_request_is_an_error_and_what_came_before_is_kept(tmp_path: Path) -> None:
    requests = requests_of(6)

    def script(request: Request) -> str:
        if request.prompt.startswith("Do 3."):
            raise EngineError("request 3: too long")
        return "fine"

    with pytest.raises(EngineError, match="3: too long"):
        collect(tmp_path / "p.jsonl", ScriptedEngine(script=script), requests)
    known = {record["id"] for record in journal.read(tmp_path / "p.jsonl")}
    ids = [request.id for request in requests]
    assert known >= set(ids[:3])
    assert ids[3] not in known
    assert set(collect(tmp_path / "p.jsonl", engine([]), requests)) == {request.id for request in requests}


def test_an_engine_that_dies_leaves_its_answers_in_the_journal(tmp_path: Path) -> None:
    requests = requests_of(5, BASE, TUNED)
    with pytest.raises(EngineDiedError):
        collect(tmp_path / "p.jsonl", engine([], dies_after=4), requests)
    first = {record["id"] for record in journal.read(tmp_path / "p.jsonl")}
    asked: list[Request] = []
    collect(tmp_path / "p.jsonl", engine(asked), requests)
    assert {request.id for request in asked} == {request.id for request in requests} - first
    assert [s["requests"] for s in journal.read(tmp_path / "sessions.jsonl")] == [len(first), 10 - len(first)]


def test_the_engine_is_closed_also_after_a_failure(tmp_path: Path) -> None:
    for options in ({}, {"dies_after": 1}):
        behind = engine([], **options)
        try:
            collect(tmp_path / f"{len(options)}.jsonl", behind, requests_of(3))
        except EngineDiedError:
            assert options
        assert behind._closed
