"""`evaluate rate` as a command: what it prints, how it ends, what it refuses."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from rating_site import Server
from sample_runs import evaluated, generated, items, manifest, stored_suite, superni_items, whole_corpus
from self_instruct.evaluate import rating_runs, store
from self_instruct.evaluate.rating_server import link
from self_instruct.evaluate.ratings_file import FORMAT
from self_instruct.loading import REPOSITORY


def refused(*words: str) -> str:
    """What the command says where it ends with status 2."""
    command = [sys.executable, "-m", "self_instruct.evaluate", "rate", *words]
    ended = subprocess.run(command, capture_output=True, text=True, cwd=REPOSITORY, timeout=60)
    assert ended.returncode == 2, ended.stderr
    assert "hint: " in ended.stderr
    return ended.stderr


def test_ctrl_c_ends_it_in_order_and_names_the_store(tmp_path: Path) -> None:
    run = evaluated(tmp_path / "run", [stored_suite(items(3))])
    server = Server(run)
    server.start()
    assert server.stop() == 0
    told = json.loads(server.said().splitlines()[-1])
    assert told == {"stage": "evaluate", "store": str(rating_runs.place(run)), "ratings": 0, "reviews": 0}
    assert f"rate at {server.url}/" in server.said()


def test_a_run_without_predictions_is_refused(tmp_path: Path) -> None:
    assert f"{tmp_path / 'run' / 'evaluate'}: no run there" in refused(str(tmp_path / "run"))
    run = evaluated(tmp_path / "unfinished", [stored_suite(items(3))])
    (run / "evaluate" / "manifest.json").write_text(json.dumps(manifest("evaluate")))
    assert "not finished" in refused(str(run))


def test_a_run_without_user_oriented_answers_is_refused(tmp_path: Path) -> None:
    run = evaluated(tmp_path / "run", [stored_suite(superni_items(6))])
    assert "nothing to rate" in refused(str(run))
    assert not rating_runs.place(run).exists()


def test_a_port_in_use_and_an_address_of_another_machine_are_refused(tmp_path: Path) -> None:
    run = evaluated(tmp_path / "run", [stored_suite(items(3))])
    with socket.socket() as busy:
        busy.bind(("127.0.0.1", 0))
        busy.listen()
        port = busy.getsockname()[1]
        said = refused(str(run), "--set", f"evaluate.rate.port={port}")
        assert f"evaluate.rate: 127.0.0.1:{port} can't be listened on" in said
    assert "192.0.2.1" in refused(str(run), "--set", "evaluate.rate.host=192.0.2.1", "--set", "evaluate.rate.port=0")


def test_an_older_store_is_refused_and_stays(tmp_path: Path) -> None:
    import sqlite3

    run = evaluated(tmp_path / "run", [stored_suite(items(3))])
    place = rating_runs.place(run)
    place.parent.mkdir()
    with sqlite3.connect(place) as connection:
        connection.execute(f"PRAGMA user_version={FORMAT + 7}")
    connection.close()
    before = place.read_bytes()
    assert f"of format {FORMAT + 7}" in refused(str(run))
    assert place.read_bytes() == before


def test_the_corpus_of_a_run_is_there_to_review(tmp_path: Path) -> None:
    run = evaluated(tmp_path / "run", [stored_suite(items(3))])
    generated(run)
    whole_corpus(run)
    stored = [store.read(run)]
    answers, review = rating_runs.load(stored, 200)
    assert (answers.kind, review.kind, review.title) == ("answers", "review", "Data quality review")
    assert [one.kind for one in rating_runs.load(stored, 0)] == ["answers"]
    assert [one.kind for one in rating_runs.answered(stored)] == ["answers"]


@pytest.mark.parametrize(
    ("host", "token", "made"),
    [
        ("127.0.0.1", None, "http://127.0.0.1:80/"),
        ("::1", None, "http://[::1]:80/"),
        ("0.0.0.0", "t-1", f"http://{socket.gethostname()}:80/?token=t-1"),
    ],
)
def test_the_link_that_is_printed(host: str, token: str | None, made: str) -> None:
    assert link(host, 80, token) == made
