"""Requests, answers, resuming and failures of the answering step."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from self_instruct import journal
from self_instruct.engine_scripted import ScriptedEngine
from self_instruct.errors import EngineDiedError, EngineError, RunFolderError
from self_instruct.evaluate import predict
from self_instruct.evaluate.suites import Prompted
from self_instruct.records import Completion, EvalItem, Request

BASE = predict.Contender(name="base", adapter=None, digest="")
TUNED = predict.Contender(name="tuned", adapter=Path("somewhere/adapter"), digest="d1")
FOLDERS = {"d1": "/moved/adapter"}


def prompted(count: int) -> tuple[Prompted, ...]:
    return tuple(
        Prompted(
            item=EvalItem(id=f"t{n}", suite="s", group="g", instruction=f"Do {n}.", input="", references=("r",)),
            prompt=f"Do {n}.\n\nOutput:",
            cut=False,
        )
        for n in range(count)
    )


def engine(asked: list[Request], **options: int | float) -> ScriptedEngine:
    """Answers "<adapter> <prompt's first line>" between white space, and notes what it was asked."""

    def script(request: Request) -> str:
        asked.append(request)
        return f"\n {request.adapter or 'no adapter'}: {request.prompt.splitlines()[0]} \n"

    return ScriptedEngine(script=script, **options)  # type: ignore[arg-type]


def collect(path: Path, behind: ScriptedEngine | None, requests: tuple[Request, ...]) -> dict[str, Completion]:
    return asyncio.run(predict.collect(path, behind, requests, FOLDERS))


def test_requests_are_greedy_with_end_of_text_as_the_only_stop() -> None:
    requests = predict.requests([BASE, TUNED], prompted(2), 77)
    assert [request.id for request in requests] == ["base/t0", "tuned/t0", "base/t1", "tuned/t1"]
    assert [request.adapter for request in requests] == [None, "d1", None, "d1"]
    assert {request.prompt for request in requests} == {"Do 0.\n\nOutput:", "Do 1.\n\nOutput:"}
    for request in requests:
        sampling = request.sampling
        assert (sampling.temperature, sampling.max_tokens, sampling.stop, sampling.presence_penalty) == (0.0, 77, (), 0.0)


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
    requests = predict.requests([BASE, TUNED], prompted(3), 50)
    completions = collect(tmp_path / "p.jsonl", engine(asked), requests)
    found = predict.predictions([BASE, TUNED], prompted(3), completions)
    assert [(one.item_id, one.model, one.text) for one in found[:2]] == [
        ("t0", "base", "no adapter: Do 0."),
        ("t0", "tuned", "/moved/adapter: Do 0."),
    ]
    assert not any(one.hit_limit for one in found)
    assert {request.adapter for request in asked} == {None, "/moved/adapter"}  # the engine is given folders


def test_the_limit_is_noticed(tmp_path: Path) -> None:
    requests = predict.requests([BASE], prompted(1), 2)
    (one,) = predict.predictions([BASE], prompted(1), collect(tmp_path / "p.jsonl", engine([]), requests))
    assert one.hit_limit
    assert (one.text, one.output_tokens) == ("no adapter:", 2)


def test_all_requests_are_open_at_once(tmp_path: Path) -> None:
    class Counting(ScriptedEngine):
        most = 0

        async def generate(self, request: Request) -> Completion:
            Counting.most = max(Counting.most, self._running + 1)
            return await super().generate(request)

    collect(tmp_path / "p.jsonl", Counting(delay_s=0.2), predict.requests([BASE, TUNED], prompted(20), 5))
    assert Counting.most == 40


def answers(path: Path) -> list[dict[str, object]]:
    """The journal by request, less when and in which order each was sent."""
    own = ("number", "session", "asked_s", "answered_s")
    records = sorted(journal.read(path), key=lambda record: str(record["id"]))
    return [{name: value for name, value in record.items() if name not in own} for record in records]


@pytest.mark.parametrize("torn", [b"", b'{"id": "tuned/t1", "text": "cut off in the mi'])
def test_a_cut_journal_is_continued_and_nothing_is_asked_twice(tmp_path: Path, torn: bytes) -> None:
    requests = predict.requests([BASE, TUNED], prompted(8), 50)
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
    requests = predict.requests([BASE], prompted(3), 50)
    first = collect(tmp_path / "p.jsonl", engine([]), requests)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert predict.unanswered(tmp_path / "p.jsonl", requests) == ()
    assert collect(tmp_path / "p.jsonl", None, requests) == first
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_another_prompt_under_a_journaled_id_is_refused(tmp_path: Path) -> None:
    collect(tmp_path / "p.jsonl", engine([]), predict.requests([BASE], prompted(1), 50))
    with pytest.raises(RunFolderError, match="was another one"):
        collect(tmp_path / "p.jsonl", engine([]), predict.requests([BASE], prompted(1), 51))


def test_a_failed_request_is_an_error_and_what_came_before_is_kept(tmp_path: Path) -> None:
    requests = predict.requests([BASE], prompted(6), 50)

    def script(request: Request) -> str:
        if request.id == "base/t3":
            raise EngineError("request base/t3: too long")
        return "fine"

    with pytest.raises(EngineError, match="base/t3: too long"):
        collect(tmp_path / "p.jsonl", ScriptedEngine(script=script), requests)
    known = {record["id"] for record in journal.read(tmp_path / "p.jsonl")}
    assert known >= {"base/t0", "base/t1", "base/t2"}
    assert "base/t3" not in known
    assert set(collect(tmp_path / "p.jsonl", engine([]), requests)) == {request.id for request in requests}


def test_an_engine_that_dies_leaves_its_answers_in_the_journal(tmp_path: Path) -> None:
    requests = predict.requests([BASE, TUNED], prompted(5), 50)
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
            collect(tmp_path / f"{len(options)}.jsonl", behind, predict.requests([BASE], prompted(3), 50))
        except EngineDiedError:
            assert options
        assert behind._closed
