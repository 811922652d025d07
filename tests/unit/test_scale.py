"""docs/scale.md: two addresses give the corpus and the answers of one, with the scripted engine behind them.

That two ranks train as one does is in tests/e2e/test_train_ranks.py and tests/unit/test_train_cli.py.
"""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from conftest import EMPTY_WEIGHTS
from http_server import HttpServer
from sample_runs import adapter
from sample_training import byte_level
from self_instruct import engine_scripted, engine_server, rundir
from self_instruct.evaluate import cli as evaluate
from self_instruct.generate import cli as generate
from self_instruct.records import Request, Sampling

CONTEXT = 100_000


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A folder with a real tokenizer and no weights: nobody computes."""
    folder = tmp_path / "model"
    byte_level().save_pretrained(folder)
    config = {"architectures": ["LlamaForCausalLM"], "max_position_embeddings": CONTEXT, "eos_token_id": 0}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "model.safetensors").write_bytes(EMPTY_WEIGHTS)
    return folder


def scripted(model: Path) -> HttpServer:
    """A server that answers as the scripted engine does."""
    tokenizer = byte_level()

    def answer(body: dict[str, Any]) -> str:
        sampling = Sampling(max_tokens=body["max_tokens"], seed=body.get("seed"))
        text = engine_scripted.answer(Request(id="", prompt=tokenizer.decode(body["prompt"]), sampling=sampling), 0)
        for stop in body.get("stop", ()):
            text = text.split(stop, 1)[0]
        return f"{text} ({body['model']})" if body["model"] != str(model) else text

    return HttpServer(str(model), context=CONTEXT, answer=answer, loads=True)


@contextmanager
def serving(model: Path, count: int) -> Iterator[list[HttpServer]]:
    """Servers in a thread, with a loop of their own."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()

    async def start() -> list[HttpServer]:
        return [await scripted(model).start() for _ in range(count)]

    servers = asyncio.run_coroutine_threadsafe(start(), loop).result(30)
    try:
        yield servers
    finally:
        for server in servers:
            asyncio.run_coroutine_threadsafe(server.stop(), loop).result(30)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def flags(model: Path, servers: list[HttpServer], out: Path, *more: str) -> list[str]:
    urls = json.dumps([server.url for server in servers])
    settings = [f"model.name={model}", "model.engine=server", f"model.max_length={CONTEXT}", f"run.engine.servers={urls}", *more]
    return ["--out", str(out), *(word for setting in settings for word in ("--set", setting))]


def test_two_servers_write_the_corpus_of_one(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_server, "is_cpu_build", lambda: False)
    corpora = []
    for count in (1, 2):
        with serving(model, count) as servers:
            out = tmp_path / f"servers-{count}"
            more = ("generate.target_instructions=30", "generate.lag=16")
            assert generate.main(flags(model, servers, out, *more)) == 0
            assert all(server.asked for server in servers)
        corpora.append(rundir.sha256(out / "generate" / "corpus" / "data"))
    assert corpora[0] == corpora[1]


def test_two_servers_answer_as_one_also_with_an_adapter_that_they_load(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine_server, "is_cpu_build", lambda: False)
    tuned = adapter(tmp_path / "adapter")
    results = []
    for count in (1, 2):
        with serving(model, count) as servers:
            out = tmp_path / f"servers-{count}"
            more = (f"evaluate.adapters=[{tuned}]", "evaluate.max_items=20", "evaluate.max_tokens=32")
            assert evaluate.main(flags(model, servers, out, *more)) == 0
            assert all(server.asked and len(server.loaded) == 1 for server in servers)
        results.append((out / "evaluate" / "results" / "answers.jsonl").read_bytes())
    assert results[0] == results[1]
    assert b"self-instruct-" in results[0], "the adapter answered"
