"""The store of ratings: one SQLite file that raters, judges and reports share.

Knows neither models nor pages: what is rated is named by hashes (`rating_sets`). Every action of a person is a row that is never
changed or deleted, so nothing is lost by rating anew or by undoing; what counts is each rater's last action on an answer that
wasn't taken back. A row is committed before it is confirmed, and SQLite's write-ahead log keeps what was committed through
kill -9.
"""

from __future__ import annotations

import json
import re
import secrets
import sqlite3
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any, Literal

from self_instruct.errors import DataError, SelfInstructError
from self_instruct.evaluate.rating_sets import Kind, Target
from self_instruct.records import LEVELS, Rating, Review

FORMAT = 1
FOLDER, FILE = "ratings", "ratings.sqlite"
SKIP = "skip"
QUESTIONS = ("instruction", "input", "output")  # of the review, as in `Review`
WAIT_S = 30.0  # for another process that writes
IN_USE_S = 120.0  # a name is in use until so long after its window's last word
PAUSE_S = 300.0  # a longer time between two ratings was a pause
PACED = 50  # the last ratings that tell somebody's pace
JUDGE = "judge "  # how a judge's name begins; a person's can't
_SESSION = re.compile(r"(\d{1,15})-[0-9a-f]{32}")

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
CREATE TABLE secrets (name TEXT PRIMARY KEY, value TEXT NOT NULL);
"""
# What counts: of each rater's actions on an answer the last that is neither an undoing nor undone.
_COUNTING = """
SELECT max(a.id) AS id, a.rater, r.name, a.kind, a.subject, a.answer, a.value, a.comment, a.time_s
FROM actions a JOIN raters r ON r.id = a.rater
WHERE a.undoes IS NULL AND NOT EXISTS (SELECT 1 FROM actions u WHERE u.undoes = a.id) AND {where}
GROUP BY a.rater, a.kind, a.subject, a.answer ORDER BY id
"""


class InUseError(SelfInstructError):
    """Somebody rates under this name in another window."""


class NotEnteredError(SelfInstructError):
    """The session isn't known (any more)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Rater:
    """Who rates. `facts` tell of a judge: its model, its orders, its probabilities."""

    name: str
    kind: Literal["person", "judge"]
    facts: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class Entered:
    """A person who may rate: the row's `rater`, and `session`, which their window shows at every call."""

    rater: int
    name: str
    session: str
    known: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Value:
    """What a rater said of one answer: a level, a review's answers by question, or `skip`."""

    value: Any
    comment: str
    time_s: float


class RatingStore:
    """Open the store at `path`, made where it isn't there. May be used from any one thread at a time.

    Raises DataError for a file that is no store, or one of another version; it stays as it is.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._connection = sqlite3.connect(path, timeout=WAIT_S, isolation_level=None, check_same_thread=False)
            self._connection.row_factory = sqlite3.Row
            self._open()
        except sqlite3.DatabaseError as error:
            raise DataError(
                f"{path}: can't be read as a store of ratings: {error}", hint="move it away, or restore it from a copy"
            ) from None

    def _open(self) -> None:
        try:
            # Looked at before anything is changed: another version's store, or another program's, stays as it is.
            version = int(self._connection.execute("PRAGMA user_version").fetchone()[0])
            tables = self._connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
            if version != FORMAT and (version or tables):
                raise DataError(
                    f"{self.path}: a store of ratings of format {version}, this version of self-instruct reads {FORMAT}",
                    hint="export it with the version that made it, or move it away; nothing was changed",
                )
            self._connection.execute("PRAGMA journal_mode=WAL")
            self._connection.execute("PRAGMA synchronous=FULL")  # a confirmed rating survives a power cut, too
            self._connection.execute("PRAGMA foreign_keys=ON")
            if version != FORMAT:
                with self._transaction():
                    if not self._connection.execute("PRAGMA user_version").fetchone()[0]:  # another process may have been quicker
                        for statement in _SCHEMA.split(";"):
                            self._connection.execute(statement)
                        self._connection.execute(f"PRAGMA user_version={FORMAT}")
        except BaseException:
            self._connection.close()
            raise

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._connection.execute("COMMIT")
        except BaseException:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            raise

    def token(self) -> str:
        """What visitors from other machines must know: drawn once for this store, so that a link stays good."""
        with self._transaction():
            self._connection.execute("INSERT OR IGNORE INTO secrets VALUES ('token', ?)", (secrets.token_urlsafe(24),))
            return str(self._connection.execute("SELECT value FROM secrets WHERE name = 'token'").fetchone()[0])

    def enter(self, shown: str, key: str, session: str | None, take_over: bool, now: float) -> Entered:
        """Let a person rate, by a name as it is `shown` and by the `key` that tells it from others (`rating_input.person`), under
        the session they had or a new one. `now` in seconds. Raises InUseError where the name is in use in another window, unless
        `take_over`."""
        with self._transaction():
            row = self._connection.execute("SELECT * FROM raters WHERE key = ?", (key,)).fetchone()
            if row is None:
                told = (key, shown, "person", "{}", now)
                added = self._connection.execute("INSERT INTO raters (key, name, kind, facts, seen_s) VALUES (?, ?, ?, ?, ?)", told)
                rater, old, seen_s = int(added.lastrowid or 0), None, now
            else:
                rater, shown, old, seen_s = row["id"], row["name"], row["session"], row["seen_s"]
            mine = old is not None and session is not None and secrets.compare_digest(old.encode(), session.encode())
            if old is not None and not mine and not take_over and now - seen_s < IN_USE_S:
                raise InUseError(
                    f"{shown} is rating in another window, last seen {max(0, now - seen_s):.0f} s ago",
                    hint="take over here if that is you, or take another name",
                )
            given = old if mine else f"{rater}-{secrets.token_hex(16)}"
            self._connection.execute("UPDATE raters SET session = ?, seen_s = ? WHERE id = ?", (given, now, rater))
            known = self._connection.execute("SELECT 1 FROM actions WHERE rater = ? LIMIT 1", (rater,)).fetchone() is not None
        return Entered(rater=rater, name=shown, session=str(given), known=known)

    def of_session(self, session: str) -> Entered:
        """Whose session it is. Raises NotEnteredError for an unknown one and InUseError for one that was taken over."""
        match = _SESSION.fullmatch(session)
        row = (
            match and self._connection.execute("SELECT * FROM raters WHERE id = ? AND kind = 'person'", (int(match[1]),)).fetchone()
        )
        if not row or row["session"] is None:
            raise NotEnteredError("this window isn't known here", hint="enter your name")
        if not secrets.compare_digest(row["session"].encode(), session.encode()):
            raise InUseError(f"{row['name']} is rating in another window now", hint="take over here if that is you")
        return Entered(rater=row["id"], name=row["name"], session=session, known=True)

    def leave(self, rater: int) -> None:
        """Free the name."""
        self._connection.execute("UPDATE raters SET session = NULL WHERE id = ?", (rater,))

    def save(self, rater: int, kind: Kind, target: Target, value: Any, comment: str, nonce: str, now: float) -> None:
        """Keep an action; the same `nonce` again changes nothing. It is on the disk when this returns."""
        with self._transaction():
            self._connection.execute(
                "INSERT OR IGNORE INTO actions (rater, kind, subject, answer, value, comment, time_s, nonce) "
                "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (rater, kind, *target, json.dumps(value), comment, now, nonce),
            )
            self._seen(rater, now)

    def undo(self, rater: int, kind: Kind, targets: Collection[Target], nonce: str, now: float) -> Target | None:
        """Take back the rater's last action on one of `targets`; what it was on, None where nothing is left to take back."""
        with self._transaction():
            self._seen(rater, now)
            done = self._connection.execute(
                "SELECT subject, answer FROM actions WHERE rater = ? AND nonce = ? AND undoes IS NOT NULL", (rater, nonce)
            ).fetchone()
            if done:
                return done["subject"], done["answer"]
            rows = self._connection.execute(
                "SELECT id, subject, answer FROM actions a WHERE rater = ? AND kind = ? AND undoes IS NULL "
                "AND NOT EXISTS (SELECT 1 FROM actions u WHERE u.undoes = a.id) ORDER BY id DESC",
                (rater, kind),
            )
            last = next((row for row in rows if (row["subject"], row["answer"]) in targets), None)
            if last is None:
                return None
            target = last["subject"], last["answer"]
            self._connection.execute(
                "INSERT INTO actions (rater, kind, subject, answer, value, comment, time_s, nonce, undoes) "
                "VALUES (?, ?, ?, ?, 'null', '', ?, ?, ?)",
                (rater, kind, *target, now, nonce, last["id"]),
            )
        return target

    def _seen(self, rater: int, now: float) -> None:
        self._connection.execute("UPDATE raters SET seen_s = ? WHERE id = ?", (now, rater))

    def values(self, rater: int, kind: Kind) -> dict[Target, Value]:
        """What counts of one rater's actions; those without a value are left out."""
        rows = self._connection.execute(_COUNTING.format(where="a.rater = ? AND a.kind = ?"), (rater, kind))
        found = {
            (row["subject"], row["answer"]): Value(value=json.loads(row["value"]), comment=row["comment"], time_s=row["time_s"])
            for row in rows
        }
        return {target: value for target, value in found.items() if value.value is not None or value.comment}

    def pace_s(self, rater: int, kind: Kind) -> float | None:
        """Seconds that the rater takes for an action: the median of late; None where that isn't known yet."""
        rows = self._connection.execute(
            "SELECT time_s FROM actions WHERE rater = ? AND kind = ? AND undoes IS NULL ORDER BY id DESC LIMIT ?",
            (rater, kind, PACED),
        ).fetchall()
        times = [row["time_s"] for row in rows]
        gaps = [late - early for late, early in pairwise(times) if 0 <= late - early <= PAUSE_S]
        return median(gaps) if gaps else None

    def ratings(self) -> tuple[Rating, ...]:
        """What counts of every rater's levels, in the order of time."""
        return tuple(
            Rating(
                rater=row["name"],
                subject=row["subject"],
                answer=row["answer"],
                level=value,
                comment=row["comment"],
                time_s=row["time_s"],
            )
            for row in self._connection.execute(_COUNTING.format(where="a.kind = 'answers'"))
            if (value := json.loads(row["value"])) in LEVELS
        )

    def reviews(self) -> tuple[Review, ...]:
        """What counts of every rater's review, in the order of time."""
        return tuple(
            Review(
                rater=row["name"],
                subject=row["subject"],
                answer=row["answer"],
                comment=row["comment"],
                time_s=row["time_s"],
                **value,
            )
            for row in self._connection.execute(_COUNTING.format(where="a.kind = 'review'"))
            if isinstance(value := json.loads(row["value"]), dict)
        )

    def raters(self) -> Mapping[str, Rater]:
        """Everybody who has rated, by name."""
        rows = self._connection.execute(
            "SELECT * FROM raters r WHERE EXISTS (SELECT 1 FROM actions a WHERE a.rater = r.id) ORDER BY id"
        )
        return {row["name"]: Rater(name=row["name"], kind=row["kind"], facts=json.loads(row["facts"])) for row in rows}

    def actions(self) -> int:
        """Everything that anybody ever did here, undone or not."""
        return int(self._connection.execute("SELECT count(*) FROM actions").fetchone()[0])

    def put_judge(self, name: str, facts: Mapping[str, Any], ratings: Sequence[Rating]) -> None:
        """Keep a judge's ratings in the stead of those it gave before, all or none."""
        assert name.startswith(JUDGE), name
        now = max((rating.time_s for rating in ratings), default=0.0)
        with self._transaction():
            self._connection.execute(
                "INSERT INTO raters (key, name, kind, facts, seen_s) VALUES (?, ?, 'judge', ?, ?) "
                "ON CONFLICT (key) DO UPDATE SET facts = excluded.facts, seen_s = excluded.seen_s",
                (name, name, json.dumps(facts), now),
            )
            rater = self._connection.execute("SELECT id FROM raters WHERE key = ?", (name,)).fetchone()["id"]
            self._connection.execute("DELETE FROM actions WHERE rater = ?", (rater,))
            self._connection.executemany(
                "INSERT INTO actions (rater, kind, subject, answer, value, comment, time_s, nonce) "
                "VALUES (?, 'answers', ?, ?, ?, ?, ?, ?)",
                [
                    (rater, one.subject, one.answer, json.dumps(one.level), one.comment, one.time_s, str(number))
                    for number, one in enumerate(ratings)
                ],
            )

    def close(self) -> None:
        self._connection.close()
