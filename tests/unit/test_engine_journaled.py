"""The journaled engine: an engine only where one is needed, nothing asked twice, nothing written before it must be."""

from __future__ import annotations

import asyncio
import errno
import json
import os
from pathlib import Path
from typing import Any

import pytest

from self_instruct import journal
from self_instruct.engine import Engine
from self_instruct.engine_journaled import JournaledEngine, payload_hash
from self_instruct.engine_scripted import ScriptedEngine
from self_instruct.errors import EngineError, RunFolderError
from self_instruct.records import Completion, Request, Sampling


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal" / "completions.jsonl"


def request(number: int, **changes: Any) -> Request:
    return Request(id=f"r{number}", prompt=f"Say {number}\n9.", sampling=Sampling(max_tokens=50), **changes)


class Starter:
    """Starts a scripted engine after a moment, and counts how often it was asked to."""

    def __init__(self, error: Exception | None = None, delay_s: float = 0.01) -> None:
        self.times, self.error, self.delay_s = 0, error, delay_s
        self.engine = ScriptedEngine(seed=1)

    async def __call__(self) -> Engine:
        self.times += 1
        await asyncio.sleep(self.delay_s)
        if self.error:
            raise self.error
        return self.engine


def ask(path: Path, start: Starter | None, requests: list[Request], session: int = 1) -> list[Completion]:
    async def all_of_them() -> list[Completion]:
        engine = JournaledEngine(path, None, start=start, session=session)
        try:
            return await asyncio.gather(*(engine.generate(one) for one in requests))
        finally:
            await engine.close()

    return asyncio.run(all_of_them())


def test_the_engine_is_started_once_and_only_for_what_is_missing(path: Path) -> None:
    first, second = Starter(), Starter()
    asked = [request(number) for number in range(5)]
    answers = ask(path, first, asked)
    assert first.times == 1
    before = path.read_bytes()
    assert ask(path, second, asked) == answers
    assert (second.times, path.read_bytes()) == (0, before)
    assert ask(path, second, [*asked, request(5)])[:5] == answers
    assert second.times == 1
    with pytest.raises(Exception, match="closed"):
        asyncio.run(second.engine.generate(request(6)))


def test_what_was_open_beyond_the_end_starts_no_engine(path: Path) -> None:
    """A missing request waits as long as the journal still answers others: the run may end with them."""
    ask(path, Starter(), [request(number) for number in range(40)])
    start = Starter()

    async def forty_slowly() -> None:
        engine = JournaledEngine(path, None, start=start)
        missing = asyncio.ensure_future(engine.generate(request(99)))
        for number in range(40):
            await engine.generate(request(number))
            await asyncio.sleep(0.02)
        missing.cancel()
        await engine.close()

    asyncio.run(forty_slowly())
    assert start.times == 0


def test_an_engine_that_does_not_start_is_told_to_all_who_ask(path: Path) -> None:
    start = Starter(EngineError("no device"))

    async def both() -> list[BaseException | Completion]:
        engine = JournaledEngine(path, None, start=start)
        found = await asyncio.gather(*(engine.generate(request(n)) for n in range(2)), return_exceptions=True)
        await engine.close()
        return found

    assert [str(error) for error in asyncio.run(both())] == ["no device", "no device"]
    assert start.times == 1 and not path.exists()


def test_closing_while_the_engine_starts_ends_the_start(path: Path) -> None:
    start = Starter(delay_s=60)

    async def leave() -> None:
        engine = JournaledEngine(path, None, start=start)
        asking = asyncio.ensure_future(engine.generate(request(0)))
        await asyncio.sleep(0.01)
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
        await asyncio.wait_for(engine.close(), 5)

    asyncio.run(leave())
    assert start.times == 1


def test_what_a_record_holds(path: Path) -> None:
    ask(path, Starter(), [request(0, parents=("seed-1", "task-2"))])
    (answer,) = ask(path, Starter(), [request(1)], session=2)
    first, second = journal.read(path)
    assert (first["number"], first["session"], first["parents"]) == (0, 1, ["seed-1", "task-2"])
    assert (second["number"], second["session"], second["parents"]) == (1, 2, [])
    assert (second["text"], second["finish_reason"]) == (answer.text, answer.finish_reason)
    assert (second["prompt_tokens"], second["output_tokens"]) == (answer.prompt_tokens, answer.output_tokens)
    assert second["payload"] == payload_hash(request(1))
    for record in (first, second):
        assert 0 <= record["asked_s"] <= record["answered_s"]


def test_only_what_shapes_an_answer_is_in_its_hash() -> None:
    plain = payload_hash(request(0))
    assert plain == payload_hash(Request(id="x", prompt="Say 0\n9.", sampling=Sampling(max_tokens=50), priority=3, parents=("a",)))
    assert plain != payload_hash(request(1))
    assert plain != payload_hash(request(0, adapter="lora"))
    assert plain == "763c824693f9be42", "another hash refuses every run that was made before"


def test_a_record_has_no_fields_for_scores(path: Path) -> None:
    ask(path, Starter(), [request(0)])
    (record,) = journal.read(path)
    assert record.keys() & {"scored", "logprobs", "likeliest"} == set()


def test_without_an_engine_the_journal_is_only_read(path: Path) -> None:
    ask(path, Starter(), [request(0)])
    with path.open("ab") as file:
        file.write(b'{"torn')
    before = path.read_bytes()
    ask(path, None, [request(0)])
    with pytest.raises(RunFolderError, match="request r1 is not in it"):
        ask(path, None, [request(1)])
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda record: record | {"id": "r0"}, "2: request r0 a second time"),
        (lambda record: {name: value for name, value in record.items() if name != "payload"}, "2: no 'payload' in it"),
        (lambda record: record | {"id": ["r1"]}, r"2: 'id' is \['r1'\]"),
        (lambda record: record | {"number": "1"}, "2: 'number' is '1'"),
        (lambda record: record | {"choice_logprobs": None}, "2: 'choice_logprobs' is None"),
    ],
)
def test_records_that_are_no_completions_are_refused_with_their_line(path: Path, damage: Any, message: str) -> None:
    ask(path, Starter(), [request(0), request(1)])
    first, second = journal.read(path)
    path.write_text("".join(json.dumps(record) + "\n" for record in (first, damage(second))))
    before = path.read_bytes()
    with pytest.raises(RunFolderError, match=rf"completions\.jsonl:{message}"):
        JournaledEngine(path, None)
    assert path.read_bytes() == before


@pytest.mark.parametrize("turns", [None, 0, 1, 2])
def test_an_answer_that_comes_as_its_asker_is_cancelled_is_kept(path: Path, turns: int | None) -> None:
    """Ctrl-C and answers meet in one turn of the loop: what has come isn't asked for again."""

    async def meet() -> None:
        arrived: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        class Waiting(ScriptedEngine):
            async def generate(self, request: Request) -> Completion:
                await arrived
                return await super().generate(request)

        engine = JournaledEngine(path, Waiting(seed=1))
        asking = asyncio.ensure_future(engine.generate(request(0)))
        await asyncio.sleep(0.01)
        arrived.set_result(None)
        asking.cancel()
        if turns is not None:  # until it is cancelled once more
            for _ in range(turns):
                await asyncio.sleep(0)
            asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        await engine.close()

    asyncio.run(meet())
    assert [record["id"] for record in journal.read(path)] == ["r0"]


def test_a_cancelled_request_is_taken_back_from_the_engine(path: Path) -> None:
    async def cancel() -> list[str]:
        ended: list[str] = []

        class Slow(ScriptedEngine):
            async def generate(self, request: Request) -> Completion:
                try:
                    await asyncio.sleep(60)
                finally:
                    ended.append(request.id)
                return await super().generate(request)

        engine = JournaledEngine(path, Slow(seed=1))
        asking = asyncio.ensure_future(engine.generate(request(0)))
        await asyncio.sleep(0.01)
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
        await engine.close()
        return ended

    assert asyncio.run(cancel()) == ["r0"]
    assert journal.read(path) == []


def test_a_full_disk_is_told_to_who_asked_and_to_who_watches(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def until_full() -> None:
        engine = JournaledEngine(path, ScriptedEngine(seed=1))
        await engine.generate(request(0))
        with monkeypatch.context() as patch:

            def full(descriptor: int, data: bytes) -> int:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

            patch.setattr(os, "write", full)
            with pytest.raises(OSError, match="No space left"):
                await engine.generate(request(1))
        with pytest.raises(OSError, match="No space left"):
            await asyncio.wait_for(engine.failure(), 5)
        await engine.close()

    asyncio.run(until_full())
    assert [record["id"] for record in journal.read(path)] == ["r0"]


def test_a_record_that_comes_alone_is_synced_too(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal, "SYNC_EVERY_S", 0.05)
    synced: list[int] = []
    fsync = os.fsync

    def noted(descriptor: int) -> None:
        synced.append(descriptor)
        fsync(descriptor)

    async def one_then_nothing() -> int:
        engine = JournaledEngine(path, ScriptedEngine(seed=1))
        monkeypatch.setattr(os, "fsync", noted)
        await engine.generate(request(0))
        await asyncio.sleep(0.3)
        before_close = len(synced)
        await engine.close()
        return before_close

    assert asyncio.run(one_then_nothing()) == 1
    assert len(synced) == 1
