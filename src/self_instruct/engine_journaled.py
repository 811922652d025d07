"""An engine in front of another one that journals every completion and never asks for one twice.

Knows nothing of the requests' meaning. Resuming is running the same pipeline again on this engine: what is in the
journal is answered from there, the rest is asked for. With no engine behind it, it replays.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path

from self_instruct import journal
from self_instruct.engine import Engine
from self_instruct.errors import RunFolderError
from self_instruct.records import Completion, Request


def payload_hash(request: Request) -> str:
    """What was asked, without the parts that don't shape the answer (id, priority): 16 hex digits of SHA-256."""
    content = dataclasses.asdict(request)
    del content["id"], content["priority"]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


class JournaledEngine:
    """`answered` counts the requests served from the journal, `asked` those sent to the engine.

    `prompt_tokens` and `output_tokens` are of all answers, `asked_output_tokens` of those that the engine gave.
    """

    def __init__(self, path: Path, engine: Engine | None) -> None:
        """Read the journal at `path`. Raises RunFolderError where it is damaged."""
        self._path, self._engine = path, engine
        self._known = {record["id"]: record for record in journal.read(path)}
        self._journal = journal.Journal(path)
        self.answered = self.asked = 0
        self.prompt_tokens = self.output_tokens = self.asked_output_tokens = 0

    def attach(self, engine: Engine) -> None:
        """Put an engine behind the journal."""
        self._engine = engine

    @property
    def known(self) -> int:
        """Completions in the journal."""
        return len(self._known)

    async def generate(self, request: Request) -> Completion:
        """See `Engine.generate`. Raises RunFolderError where the journal holds another request under this id."""
        payload = payload_hash(request)
        record = self._known.get(request.id)
        if record is not None:
            if record["payload"] != payload:
                raise RunFolderError(
                    f"{self._path}: request {request.id} was another one ({record['payload']}, now {payload})",
                    hint="the run was made by another version of self-instruct; start a new one with --out",
                )
            self.answered += 1
            return self._count(
                Completion(
                    request_id=request.id,
                    text=record["text"],
                    finish_reason=record["finish_reason"],
                    prompt_tokens=record["prompt_tokens"],
                    output_tokens=record["output_tokens"],
                    choice_logprobs=tuple(record["choice_logprobs"]),
                )
            )
        if self._engine is None:
            raise RunFolderError(
                f"{self._path}: request {request.id} is not in it", hint="the run isn't finished; continue it first"
            )
        completion = await self._engine.generate(request)
        record = {"id": request.id, "payload": payload, **dataclasses.asdict(completion)}
        del record["request_id"]
        self._known[request.id] = record
        self._journal.append(record)
        self.asked += 1
        self.asked_output_tokens += completion.output_tokens
        return self._count(completion)

    def _count(self, completion: Completion) -> Completion:
        self.prompt_tokens += completion.prompt_tokens
        self.output_tokens += completion.output_tokens
        return completion

    async def metrics(self) -> dict[str, float]:
        return await self._engine.metrics() if self._engine else {}

    async def close(self) -> None:
        """Close the journal and the engine behind it."""
        self._journal.close()
        if self._engine:
            await self._engine.close()
