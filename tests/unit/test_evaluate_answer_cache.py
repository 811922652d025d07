"""The cache of answers: what its keys tell apart, and that a broken one stops nothing."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from self_instruct import embedded
from self_instruct.engine_scripted import ScriptedEngine
from self_instruct.evaluate.answer_cache import AnswerCache, Known, Remembering, model_key, place
from self_instruct.models import Model, resolve
from self_instruct.records import Completion, Request, Sampling
from self_instruct.settings import ModelSettings, Settings

ASKED = Request(id="base/1", prompt="Say so.", sampling=Sampling(max_tokens=8))


def given(request: Request, text: str = "so") -> Completion:
    return Completion(request_id=request.id, text=text, finish_reason="stop", prompt_tokens=3, output_tokens=2, cached_tokens=1)


def test_what_was_put_is_found_under_any_id(tmp_path: Path) -> None:
    cache = AnswerCache(tmp_path / "new" / "place", "model")
    assert cache.get([ASKED]) == {}
    cache.put(ASKED, given(ASKED, "so \ud800 \u2028"))
    cache.close()
    other = replace(ASKED, id="tuned/7", priority=5, parents=("x",))
    found = AnswerCache(tmp_path / "new" / "place", "model").get([other])
    assert found == {"tuned/7": replace(given(other, "so \ud800 \u2028"), cached_tokens=None)}


@pytest.mark.parametrize(
    "other",
    [
        replace(ASKED, prompt="Say so. "),
        replace(ASKED, adapter="d" * 64),
        replace(ASKED, sampling=Sampling(max_tokens=9)),
        replace(ASKED, sampling=Sampling(max_tokens=8, temperature=0.5, seed=1)),
    ],
)
def test_another_prompt_adapter_or_parameter_is_another_answer(tmp_path: Path, other: Request) -> None:
    cache = AnswerCache(tmp_path, "model")
    cache.put(ASKED, given(ASKED))
    assert cache.get([other]) == {}


def test_another_model_is_another_answer(tmp_path: Path) -> None:
    AnswerCache(tmp_path, "one").put(ASKED, given(ASKED))
    assert AnswerCache(tmp_path, "two").get([ASKED]) == {}


def test_the_first_answer_stays(tmp_path: Path) -> None:
    one, two = AnswerCache(tmp_path, "m"), AnswerCache(tmp_path, "m")
    one.put(ASKED, given(ASKED, "first"))
    two.put(ASKED, given(ASKED, "second"))
    assert two.get([ASKED])[ASKED.id].text == "first"


def test_more_requests_than_a_query_takes(tmp_path: Path) -> None:
    cache = AnswerCache(tmp_path, "m")
    many = [replace(ASKED, id=str(n), prompt=str(n)) for n in range(1203)]
    for one in many:
        cache.put(one, given(one, f"answer {one.id}"))
    found = cache.get(many)
    assert [found[one.id].text for one in many] == [f"answer {n}" for n in range(1203)]


def test_a_file_that_is_no_database_is_left_out_with_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "answers.sqlite").write_bytes(b"not a database, but a long enough text to be read as one\n" * 20)
    cache = AnswerCache(tmp_path, "m")
    cache.put(ASKED, given(ASKED))
    assert cache.get([ASKED]) == {}
    assert f"{tmp_path / 'answers.sqlite'}: answers aren't shared with other runs" in caplog.text
    assert (tmp_path / "answers.sqlite").read_bytes().startswith(b"not a database")


def test_a_damaged_answer_is_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    cache = AnswerCache(tmp_path, "m")
    cache.put(ASKED, given(ASKED))
    with sqlite3.connect(tmp_path / "answers.sqlite") as connection:
        connection.execute("UPDATE answers SET answer = '{'")
    assert cache.get([ASKED]) == {}
    assert "answers aren't shared" in caplog.text


def test_a_place_that_cant_be_made_is_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").write_text("")
    assert AnswerCache(tmp_path / "file" / "inside", "m").get([ASKED]) == {}
    assert "answers aren't shared" in caplog.text


def test_an_engine_in_front_of_the_cache_remembers(tmp_path: Path) -> None:
    cache = AnswerCache(tmp_path, "m")
    engine = Remembering(ScriptedEngine(script=lambda request: "from the engine"), cache)
    answer = asyncio.run(engine.generate(ASKED))
    assert cache.get([ASKED])[ASKED.id].text == answer.text == "from the engine"
    assert asyncio.run(Known({ASKED.id: answer}).generate(ASKED)) == answer


def real(folder: Path) -> Model:
    return resolve(ModelSettings(name=str(folder)))


def settings(**model: Any) -> Settings:
    return Settings.model_validate({"model": model})


def test_a_models_key_is_its_content(tiny_model: Path, tmp_path: Path) -> None:
    """`Model.fingerprint` knows the weights' size alone: two trainings of one model would share answers."""
    header = json.dumps({"w": {"dtype": "U8", "shape": [1], "data_offsets": [0, 1]}}).encode()
    weights = tiny_model / "model.safetensors"
    weights.write_bytes(len(header).to_bytes(8, "little") + header + b"a")
    first, fingerprint = model_key(real(tiny_model), settings(), "float32"), real(tiny_model).fingerprint
    assert first is not None and first == model_key(real(tiny_model), settings(), "float32")
    assert model_key(real(tiny_model), settings(), "bfloat16") != first
    assert model_key(real(tiny_model), settings(engine="transformers"), "float32") != first
    weights.write_bytes(weights.read_bytes()[:-1] + b"b")
    assert real(tiny_model).fingerprint == fingerprint
    assert model_key(real(tiny_model), settings(), "float32") != first


@pytest.mark.parametrize("name", ["merges.txt", "vocab.txt", "qwen.tiktoken", "modeling.py", "chat_template.jinja"])
def test_whatever_an_engine_reads_of_a_model_is_in_its_key(tiny_model: Path, name: str) -> None:
    before = model_key(real(tiny_model), settings(), "float32")
    (tiny_model / "README.md").write_text("a card")
    assert model_key(real(tiny_model), settings(), "float32") == before
    (tiny_model / name).write_text("one")
    one = model_key(real(tiny_model), settings(), "float32")
    (tiny_model / name).write_text("two")
    assert len({before, one, model_key(real(tiny_model), settings(), "float32")}) == 3


@pytest.mark.parametrize("engine", ["server", "scripted"])
def test_what_cant_be_told_by_content_isnt_shared(tiny_model: Path, engine: str) -> None:
    assert model_key(real(tiny_model), settings(engine=engine), "float32") is None


def test_the_place(tmp_path: Path) -> None:
    assert place(Settings.model_validate({"evaluate": {"cache": str(tmp_path)}})) == tmp_path
    assert place(Settings()) == embedded.cache().parent / "answers"


def test_answers_are_plain_json(tmp_path: Path) -> None:
    AnswerCache(tmp_path, "m").put(ASKED, given(ASKED))
    with sqlite3.connect(tmp_path / "answers.sqlite") as connection:
        ((answer,),) = connection.execute("SELECT answer FROM answers").fetchall()
    assert json.loads(answer) == {
        "text": "so", "finish_reason": "stop", "prompt_tokens": 3, "output_tokens": 2, "choice_logprobs": [],
    }  # fmt: skip
