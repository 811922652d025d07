"""Pushing a corpus, to a hub scripted on this machine that answers as the real one does. Nothing leaves this machine."""

from __future__ import annotations

import base64
import http.server
import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from self_instruct.corpus import write

COMMIT = "0123456789" * 4
OLD = "data/train/train-00000-of-00001-0000000000000000.parquet"
THEIRS = ["data/extra.csv", OLD, "data/train/own.parquet", "notes.md"]
ROW = {"id": "t0", "instruction": "Add.", "input": "1 1", "output": "2", "is_classification": False, "instruction_id": "i0"}


class Hub(http.server.ThreadingHTTPServer):
    """Takes commits, and keeps what was sent; accounts named `closed` may not write, `broken` ones fail."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.created: list[dict[str, Any]] = []
        self.files: dict[str, bytes] = {}
        self.deleted: list[str] = []
        self.exists = False
        self.tokens: set[str | None] = set()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    @property
    def page(self) -> str:
        return f"{self.address}/datasets/me/corpus"


class Handler(http.server.BaseHTTPRequestHandler):
    server: Hub

    def do_GET(self) -> None:
        path = self.path.split("?")[0]
        if "/tree/" in path:
            entries = [
                {"type": "file", "path": name, "size": 1, "oid": "0" * 40} for name in (THEIRS if self.server.exists else [])
            ]
            self.answer(200, entries)
        elif "closed" in path:
            self.answer(403, {"error": "no right to write there"})
        else:
            siblings = [{"rfilename": name} for name in (THEIRS if self.server.exists else [])]
            self.answer(200, {"id": "me/corpus", "sha": COMMIT, "siblings": siblings, "private": True})

    def do_POST(self) -> None:
        self.server.tokens.add(self.headers.get("Authorization"))
        body = self.rfile.read(int(self.headers["Content-Length"]))
        path = self.path.split("?")[0]
        if path == "/api/repos/create":
            self.create(json.loads(body))
        elif path.endswith("/preupload/main"):
            files = [{"path": f["path"], "uploadMode": "regular", "shouldIgnore": False} for f in json.loads(body)["files"]]
            self.answer(200, {"files": files})
        elif path.endswith("/commit/main"):
            for line in map(json.loads, body.splitlines()):
                if line["key"] == "file":
                    self.server.files[line["value"]["path"]] = base64.b64decode(line["value"]["content"])
                elif line["key"] == "deletedFile":
                    self.server.deleted.append(line["value"]["path"])
            self.answer(200, {"commitUrl": f"{self.server.page}/commit/{COMMIT}", "commitOid": COMMIT, "success": True})
        else:
            self.answer(200, {"errors": [], "warnings": []})  # the check of the card's head

    def create(self, asked: dict[str, Any]) -> None:
        self.server.created.append(asked)
        status = {"closed": 403, "broken": 418, "me": 409 if self.server.exists else 200}[asked["organization"]]
        self.answer(status, {"url": self.server.page} if status in (200, 409) else {"error": "it is so"})

    def answer(self, status: int, value: Any) -> None:
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *arguments: Any) -> None:
        """Quiet."""


@pytest.fixture
def hub() -> Iterator[Hub]:
    with Hub() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    pytest.importorskip("datasets")
    folder = tmp_path / "corpus"
    folder.mkdir()
    write(folder, {"train": [ROW], "instances": [], "instructions": [], "rejected": []}, "# A corpus\n")
    return folder


def push(corpus: Path, hub_id: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """`push` in a fresh process: the hub's client reads its environment when it is imported."""
    code = (
        "import sys; from pathlib import Path; from self_instruct import commandline; from self_instruct.generate import publish\n"
        f"push = lambda: publish.push(Path({str(corpus)!r}), {hub_id!r})\n"
        "sys.exit(commandline.run(lambda argv: print(push()) or 0, []))"
    )
    kept = {key: value for key, value in os.environ.items() if not key.startswith("HF_") and "proxy" not in key.lower()}
    home = {"HF_HOME": str(corpus.parent / "home"), "HF_HUB_DISABLE_TELEMETRY": "1"}
    command = [sys.executable, "-c", code]
    return subprocess.run(command, env=kept | home | environment, capture_output=True, text=True, check=False, timeout=120)


def error_of(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode == 2, done.stderr
    assert sum(line.startswith("error: ") for line in done.stderr.splitlines()) == 1
    assert "Traceback" not in done.stderr
    return done.stderr


def files(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_new_dataset_is_private_and_gets_the_whole_folder(corpus: Path, hub: Hub) -> None:
    done = push(corpus, "me/corpus", HF_ENDPOINT=hub.address, HF_TOKEN="hf_scripted")
    assert (done.returncode, done.stdout.strip()) == (0, hub.page), done.stderr
    assert [(one["type"], one["organization"], one["name"], one["visibility"]) for one in hub.created] == [
        ("dataset", "me", "corpus", "private")
    ]
    assert hub.files == files(corpus)
    assert "README.md" in hub.files and hub.deleted == []
    assert hub.tokens == {"Bearer hf_scripted"}


def test_an_older_push_is_replaced_and_what_is_not_ours_stays(corpus: Path, hub: Hub) -> None:
    hub.exists = True
    assert push(corpus, "me/corpus", HF_ENDPOINT=hub.address, HF_TOKEN="hf_scripted").returncode == 0
    assert hub.files == files(corpus)
    assert hub.deleted == [OLD]


@pytest.mark.parametrize(
    ("hub_id", "said"),
    [
        ("closed/corpus", r"closed/corpus: http://127\.0\.0\.1:\d+ refused your token \(403\): .*\nhint: `hf auth login`"),
        ("broken/corpus", r"broken/corpus: http://127\.0\.0\.1:\d+ failed \(418\): .*\nhint: the corpus is whole in .*again"),
        ("me/a--b", r"me/a--b: not a hub id: .*\nhint: name it as ACCOUNT/NAME"),
    ],
)
def test_what_the_hub_refuses_is_one_line(corpus: Path, hub: Hub, hub_id: str, said: str) -> None:
    assert re.search(said, error_of(push(corpus, hub_id, HF_ENDPOINT=hub.address, HF_TOKEN="hf_scripted")))
    assert hub.files == {}


def test_a_hub_that_is_not_there(corpus: Path) -> None:
    said = error_of(push(corpus, "me/corpus", HF_ENDPOINT="http://127.0.0.1:9", HF_TOKEN="hf_scripted"))
    assert re.search(r"me/corpus: http://127\.0\.0\.1:9 can't be reached: .*\nhint: the corpus is whole", said)


def test_without_a_token_or_offline_no_hub_is_asked(corpus: Path, hub: Hub) -> None:
    said = error_of(push(corpus, "me/corpus", HF_ENDPOINT=hub.address))
    assert re.search(r"me/corpus: no token of http.* on this machine\nhint: `hf auth login`", said)
    said = error_of(push(corpus, "me/corpus", HF_ENDPOINT=hub.address, HF_TOKEN="hf_scripted", HF_HUB_OFFLINE="1"))
    assert "me/corpus: HF_HUB_OFFLINE is set\nhint: unset it" in said
    assert (hub.created, hub.files) == ([], {})


def test_the_command_pushes_only_when_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from self_instruct import commandline
    from self_instruct.errors import ConfigError
    from self_instruct.generate import publish
    from self_instruct.generate.cli import main

    pytest.importorskip("datasets")
    checked: list[str] = []
    pushed: list[tuple[Path, str]] = []

    def refuse(folder: Path, hub_id: str) -> str:
        pushed.append((folder, hub_id))
        raise ConfigError("no network")

    monkeypatch.setattr(publish, "check", checked.append)
    monkeypatch.setattr(publish, "push", refuse)
    flags = ["--config", "configs/tiny.yaml", "--out", str(tmp_path / "run"), "--set", "model.engine=scripted"]
    asked = [*flags, "--set", "generate.push_to_hub=me/corpus"]
    stage = tmp_path / "run" / "generate"
    assert commandline.run(main, [*asked, "--dry-run"]) == 0
    assert commandline.run(main, flags) == 0
    assert (checked, pushed) == ([], [])
    # A finished run is pushed, and a push that fails leaves it finished.
    before = files(stage / "corpus")
    assert commandline.run(main, asked) == 2
    assert (checked, pushed) == (["me/corpus"], [(stage / "corpus", "me/corpus")])
    assert files(stage / "corpus") == before
    assert json.loads((stage / "manifest.json").read_text(encoding="utf-8"))["status"] == "finished"
