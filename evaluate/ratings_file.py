"""The file of a store of ratings: opened, checked, locked, never written once it is gone.

Knows the tables, not what their rows mean.
"""

from __future__ import annotations

import os
import secrets
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from self_instruct.errors import DataError, RunFolderError

FORMAT = 1
WAIT_S = 30.0  # for another process that writes
_SCHEMA = """
CREATE TABLE raters (
  id INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE, name TEXT NOT NULL, kind TEXT NOT NULL, facts TEXT NOT NULL,
  session TEXT, seen_s REAL NOT NULL
);
CREATE TABLE actions (
  id INTEGER PRIMARY KEY AUTOINCREMENT, rater INTEGER NOT NULL REFERENCES raters(id), kind TEXT NOT NULL,
  subject TEXT NOT NULL, answer TEXT NOT NULL, value TEXT NOT NULL, comment TEXT NOT NULL, time_s REAL NOT NULL,
  nonce TEXT NOT NULL, undoes INTEGER UNIQUE REFERENCES actions(id), UNIQUE (rater, nonce)
);
CREATE INDEX by_rater ON actions (rater, kind, subject, answer, id);
CREATE TABLE notes (name TEXT PRIMARY KEY, value TEXT NOT NULL);
"""


class NotWrittenError(RunFolderError):
    """Something wasn't saved; it may be tried again."""


class StoreFile:
    """Open the SQLite file at `path`, made where it isn't there; with `read_only` it must be there, and nothing is written.

    Raises DataError for a file that is no store, or one of another version; it stays as it is. Raises RunFolderError where it can't
    be opened now: another process holds it, or the disk refuses.
    """

    def __init__(self, path: Path, *, read_only: bool = False) -> None:
        self.path = path
        try:
            if not read_only:
                path.parent.mkdir(parents=True, exist_ok=True)
                os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))  # whoever may read it may read the token in it
            self.connection = self._connect("mode=ro" if read_only else "mode=rw")
            try:
                self._open(read_only)
            except BaseException:
                self.connection.close()
                raise
        except OSError as error:
            raise RunFolderError(f"{path}: {error.strerror}", hint="look at the permissions and at what lies there") from None
        except sqlite3.OperationalError as error:
            raise RunFolderError(
                f"{path}: can't be opened: {error}", hint="another process may hold it: end that, or wait; nothing was changed"
            ) from None
        except sqlite3.DatabaseError as error:
            raise DataError(f"{path}: no store of ratings: {error}", hint="move it away, or restore it from a copy") from None
        self._file = self._identity()

    def _connect(self, mode: str) -> sqlite3.Connection:
        uri = f"{self.path.absolute().as_uri()}?{mode}"
        made = sqlite3.connect(uri, uri=True, timeout=WAIT_S, isolation_level=None, check_same_thread=False)
        made.row_factory = sqlite3.Row
        return made

    def _open(self, read_only: bool) -> None:
        # Looked at before anything is changed: another version's store, or another program's, stays as it is. The tables first:
        # they come with the version, and another process may be making them.
        try:
            tables = self._tables()
        except sqlite3.OperationalError:
            if not read_only or self.path.with_name(f"{self.path.name}-wal").exists():
                raise
            # An archived run: in a folder that can't be written SQLite can't keep its lock file.
            self.connection.close()
            self.connection = self._connect("immutable=1")
            tables = self._tables()
        version = int(self.connection.execute("PRAGMA user_version").fetchone()[0])
        if version != FORMAT and (version or tables or read_only):
            raise DataError(
                f"{self.path}: a store of ratings of format {version}, this version of self-instruct reads {FORMAT}",
                hint="export it with the version that made it, or move it away; nothing was changed",
            )
        if read_only:
            return
        self._write_ahead()
        self.connection.execute("PRAGMA synchronous=FULL")  # a confirmed rating survives a power cut, too
        self.connection.execute("PRAGMA foreign_keys=ON")
        if version != FORMAT:
            self._make()

    def _tables(self) -> int:
        return int(self.connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0])

    def _write_ahead(self) -> None:
        """SQLite doesn't wait for others who switch to the write-ahead log at the same moment."""
        begun = time.monotonic()
        while True:
            try:
                self.connection.execute("PRAGMA journal_mode=WAL")
                return
            except sqlite3.OperationalError as error:
                if "locked" not in str(error) or time.monotonic() - begun > WAIT_S:
                    raise
                time.sleep(0.02)

    def _make(self) -> None:
        self.connection.execute("BEGIN IMMEDIATE")
        if not self.connection.execute("PRAGMA user_version").fetchone()[0]:  # else another process was quicker
            for statement in _SCHEMA.split(";"):
                self.connection.execute(statement)
            self.connection.execute(f"PRAGMA user_version={FORMAT}")
        self.connection.execute("COMMIT")

    def _identity(self) -> tuple[int, int] | None:
        try:
            found = os.stat(self.path)
        except FileNotFoundError:
            return None
        return found.st_dev, found.st_ino

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Everything in it is written, or nothing. Raises NotWrittenError where that can't be."""
        try:
            if self._identity() != self._file:  # the system would take what is written, and keep none of it
                raise sqlite3.OperationalError("it was deleted or replaced while it was open; start the command again")
            self.connection.execute("BEGIN IMMEDIATE")
            try:
                yield
                self.connection.execute("COMMIT")
            except BaseException:
                if self.connection.in_transaction:
                    self.connection.execute("ROLLBACK")
                raise
        except sqlite3.OperationalError as error:
            raise NotWrittenError(
                f"{self.path}: can't be written: {error}", hint="look at its disk, and at what other process holds it"
            ) from None

    def secret(self, name: str) -> str:
        """A random text of this store, drawn when it is first asked for."""
        with self.transaction():
            self.connection.execute("INSERT OR IGNORE INTO notes VALUES (?, ?)", (name, secrets.token_urlsafe(24)))
            return str(self.connection.execute("SELECT value FROM notes WHERE name = ?", (name,)).fetchone()[0])

    def note(self, name: str) -> str | None:
        """What was noted, None where nothing was."""
        row = self.connection.execute("SELECT value FROM notes WHERE name = ?", (name,)).fetchone()
        return None if row is None else str(row[0])

    def put_note(self, name: str, value: str) -> None:
        """Note something in the stead of what was noted under this name."""
        with self.transaction():
            self.connection.execute("INSERT OR REPLACE INTO notes VALUES (?, ?)", (name, value))

    def close(self) -> None:
        self.connection.close()
