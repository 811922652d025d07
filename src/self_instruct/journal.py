"""Append-only JSON Lines files that survive kill -9.

Knows nothing of the records' meaning. A line is handed to the operating system before `append` returns, so a
killed process loses nothing that was appended; against power cuts there is an fsync at most every `SYNC_EVERY_S`
seconds of appending, and one at the end.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

from self_instruct.errors import RunFolderError

SYNC_EVERY_S = 1.0
CHUNK = 2**16


def read(path: Path) -> list[dict[str, Any]]:
    """The records of a journal in order; none where the file doesn't exist.

    A torn last line (killed while writing) is no record; opening a `Journal` cuts it off, reading changes nothing.
    Raises RunFolderError with file and line for a damaged line elsewhere.
    """
    if not path.exists():
        return []
    records = []
    for number, line in enumerate(path.read_bytes().split(b"\n")[:-1], start=1):
        try:
            record = json.loads(line)
            if not isinstance(record, dict):
                raise ValueError
        except ValueError:
            raise RunFolderError(
                f"{path}:{number}: damaged line: {line[:60]!r}",
                hint="restore the file from a copy, or start a new run with --out; nothing was changed",
            ) from None
        records.append(record)
    return records


def _cut_tail(path: Path) -> None:
    """Cut what follows the last line break."""
    if not path.exists():
        return
    with path.open("r+b") as file:
        end = file.seek(0, os.SEEK_END)
        while end:
            start = max(0, end - CHUNK)
            file.seek(start)
            whole = file.read(end - start).rfind(b"\n") + 1
            if whole:
                file.truncate(start + whole)
                return
            end = start
        file.truncate(0)


class Journal:
    """One open journal. `fresh` empties it first: for files that are derived from another journal. What isn't `durable` is
    left to the operating system: such a file may be lost in a power cut.

    Any text that Python holds comes back as it was, lone surrogates too (their lines aren't valid UTF-8 to others).
    """

    def __init__(self, path: Path, *, fresh: bool = False, durable: bool = True) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        if not fresh:
            _cut_tail(path)
        self._path, self._durable = path, durable
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | (os.O_TRUNC if fresh else 0), 0o644)
        self._synced = time.monotonic()
        self._dirty = False

    def append(self, record: dict[str, Any]) -> None:
        """Write one record as one line. Raises OSError (a full disk) with the file left at whole lines."""
        line = (json.dumps(record, ensure_ascii=False, sort_keys=True) + "\n").encode("utf-8", "surrogatepass")
        before = os.fstat(self._descriptor).st_size
        try:
            while line:
                line = line[os.write(self._descriptor, line) :]
        except BaseException as error:
            os.ftruncate(self._descriptor, before)  # else the next append would continue half a line
            if isinstance(error, OSError):
                raise OSError(error.errno, error.strerror, str(self._path)) from None
            raise
        self._dirty = self._durable
        if self._dirty and time.monotonic() - self._synced > SYNC_EVERY_S:
            self.sync()

    def sync(self) -> None:
        """Wait until what was appended is on the disk. Raises OSError with the file's name."""
        if self._dirty:
            try:
                os.fsync(self._descriptor)
            except OSError as error:
                raise OSError(error.errno, error.strerror, str(self._path)) from None
        self._dirty = False
        self._synced = time.monotonic()

    def close(self) -> None:
        try:
            self.sync()
        finally:
            os.close(self._descriptor)
