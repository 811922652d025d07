"""Token counts of prompts, journaled: the room that a prompt leaves shapes a request, so a replay must know it.

Knows no tokenizer: it is handed in, and loaded only for a text that was never counted before.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

from self_instruct import journal
from self_instruct.errors import RunFolderError

Counter = Callable[[str], int]


class TokenCounts:
    """Counts a text's tokens. A record of the journal: `text`, 16 hex digits of the text's SHA-256, and `tokens`."""

    def __init__(self, path: Path, load: Callable[[], Counter] | None) -> None:
        """Read the counts at `path`; `load` gives the counter for new texts. Without it the journal is only read.

        Raises RunFolderError with file and line where it is damaged.
        """
        self._path, self._load = path, load
        self._count: Counter | None = None
        self._journal: journal.Journal | None = None
        self._known: dict[str, int] = {}
        for line, record in enumerate(journal.read(path), start=1):
            if not isinstance(record.get("text"), str) or not isinstance(record.get("tokens"), int):
                raise RunFolderError(f"{path}:{line}: not a token count", hint="restore the file from a copy")
            self._known[record["text"]] = record["tokens"]

    def __call__(self, text: str) -> int:
        """Raises RunFolderError where the text was never counted and there is no counter."""
        key = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]
        found = self._known.get(key)
        if found is not None:
            return found
        if self._load is None:
            raise RunFolderError(
                f"{self._path}: the tokens of a prompt are not in it: {text[-60:]!r}",
                hint="the run isn't finished, or was made by another version of self-instruct",
            )
        if self._count is None:
            self._count = self._load()
            self._journal = journal.Journal(self._path)
        assert self._journal is not None
        count = self._known[key] = self._count(text)
        self._journal.append({"text": key, "tokens": count})
        return count

    def close(self) -> None:
        if self._journal is not None:
            self._journal.close()
            self._journal = None
            self._count = None
