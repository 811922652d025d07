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
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

from self_instruct.errors import DataError, SelfInstructError
from self_instruct.evaluate.rating_sets import Kind, Target
from self_instruct.evaluate.ratings_file import StoreFile
from self_instruct.records import LEVELS, Rating, Review

FOLDER, FILE = "ratings", "ratings.sqlite"
SKIP = "skip"
QUESTIONS = ("instruction", "input", "output")  # of the review, as in `Review`
SEEN_S = 10.0  # reading counts as being there; written down no more often than this
IN_USE_S = 300.0  # a name is in use until so long after its window's last word
PAUSE_S = 300.0  # a longer time between two ratings was a pause
PACED = 100  # the last actions that tell somebody's pace
JUDGE = "judge "  # how a judge's name begins; a person's can't
_TOLD = ("kind", "subject", "answer", "value", "comment")
_SESSION = re.compile(r"(\d{1,15})-[0-9a-f]{32}")

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


class RatingStore(StoreFile):
    """Who rates, what they did, and what counts of it. May be used from any one thread at a time."""

    def token(self) -> str:
        """What visitors from other machines must know: drawn once for this store, so that a link stays good."""
        return self.secret("token")

    def identity(self) -> str:
        """What tells this store from others, drawn once: a page that waits to save must not save into another one."""
        return self.secret("identity")

    def enter(self, shown: str, key: str, session: str | None, take_over: bool, now: float) -> Entered:
        """Let a person rate, by a name as it is `shown` and by the `key` that tells it from others (`rating_input.person`), under
        the session they had or a new one. `now` in seconds. Raises InUseError where the name is in use in another window, unless
        `take_over`."""
        with self.transaction():
            row = self.connection.execute("SELECT * FROM raters WHERE key = ?", (key,)).fetchone()
            if row is None:
                told = (key, shown, "person", "{}", now)
                added = self.connection.execute("INSERT INTO raters (key, name, kind, facts, seen_s) VALUES (?, ?, ?, ?, ?)", told)
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
            self.connection.execute("UPDATE raters SET session = ?, seen_s = ? WHERE id = ?", (given, now, rater))
            known = self.connection.execute("SELECT 1 FROM actions WHERE rater = ? LIMIT 1", (rater,)).fetchone() is not None
        return Entered(rater=rater, name=shown, session=str(given), known=known)

    def of_session(self, session: str, now: float) -> Entered:
        """Whose session it is, seen at `now`.

        Raises NotEnteredError for an unknown one and InUseError for one that was taken over.
        """
        match = _SESSION.fullmatch(session)
        row = (
            match and self.connection.execute("SELECT * FROM raters WHERE id = ? AND kind = 'person'", (int(match[1]),)).fetchone()
        )
        if not row or row["session"] is None:
            raise NotEnteredError("this window isn't known here", hint="enter your name")
        if not secrets.compare_digest(row["session"].encode(), session.encode()):
            raise InUseError(f"{row['name']} is rating in another window now", hint="take over here if that is you")
        if now - row["seen_s"] > SEEN_S:
            self._seen(row["id"], now)
        return Entered(rater=row["id"], name=row["name"], session=session, known=True)

    def leave(self, rater: int) -> None:
        """Free the name."""
        self.connection.execute("UPDATE raters SET session = NULL WHERE id = ?", (rater,))

    def save(self, rater: int, kind: Kind, target: Target, value: Any, comment: str, nonce: str, now: float) -> None:
        """Keep an action; the same again, with its `nonce`, changes nothing. It is on the disk when this returns.

        Raises DataError for a nonce that another action had.
        """
        told = (kind, *target, json.dumps(value), comment)
        with self.transaction():
            if (before := self._of_nonce(rater, nonce)) is not None:
                if before["undoes"] is not None or tuple(before[name] for name in _TOLD) != told:
                    raise DataError(f"nonce: {nonce} was another action's", hint="reload the page")
            else:
                self.connection.execute(
                    "INSERT INTO actions (rater, kind, subject, answer, value, comment, time_s, nonce) "
                    "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                    (rater, *told, now, nonce),
                )
            self._seen(rater, now)

    def undo(self, rater: int, kind: Kind, targets: Collection[Target], nonce: str, now: float) -> Target | None:
        """Take back the rater's last action on one of `targets`; what it was on, None where nothing is left to take back.

        Raises DataError for a nonce that another action had.
        """
        with self.transaction():
            self._seen(rater, now)
            if (before := self._of_nonce(rater, nonce)) is not None:
                if before["undoes"] is None:
                    raise DataError(f"nonce: {nonce} was another action's", hint="reload the page")
                return before["subject"], before["answer"]
            rows = self.connection.execute(
                "SELECT id, subject, answer FROM actions a WHERE rater = ? AND kind = ? AND undoes IS NULL "
                "AND NOT EXISTS (SELECT 1 FROM actions u WHERE u.undoes = a.id) ORDER BY id DESC",
                (rater, kind),
            )
            last = next((row for row in rows if (row["subject"], row["answer"]) in targets), None)
            if last is None:
                return None
            target = last["subject"], last["answer"]
            self.connection.execute(
                "INSERT INTO actions (rater, kind, subject, answer, value, comment, time_s, nonce, undoes) "
                "VALUES (?, ?, ?, ?, 'null', '', ?, ?, ?)",
                (rater, kind, *target, now, nonce, last["id"]),
            )
        return target

    def _of_nonce(self, rater: int, nonce: str) -> Any:
        return self.connection.execute("SELECT * FROM actions WHERE rater = ? AND nonce = ?", (rater, nonce)).fetchone()

    def _seen(self, rater: int, now: float) -> None:
        self.connection.execute("UPDATE raters SET seen_s = ? WHERE id = ?", (now, rater))

    def values(self, rater: int, kind: Kind) -> dict[Target, Value]:
        """What counts of one rater's actions; those without a value are left out."""
        rows = self.connection.execute(_COUNTING.format(where="a.rater = ? AND a.kind = ?"), (rater, kind))
        found = {(row["subject"], row["answer"]): _value(row) for row in rows}
        return {target: value for target, value in found.items() if value.value is not None or value.comment}

    def pace_s(self, rater: int, kind: Kind) -> float | None:
        """Seconds that the rater takes for an answer, reading included and pauses not, of late; None where that isn't known yet."""
        rows = self.connection.execute(
            "SELECT time_s, subject, answer FROM actions WHERE rater = ? AND kind = ? AND undoes IS NULL ORDER BY id DESC LIMIT ?",
            (rater, kind, PACED),
        ).fetchall()
        answers = {(row["subject"], row["answer"]) for row in rows}
        spent = sum(gap for late, early in pairwise(row["time_s"] for row in rows) if 0 <= (gap := late - early) <= PAUSE_S)
        return spent / (len(answers) - 1) if len(answers) > 1 else None

    def said(self, kind: Kind) -> tuple[tuple[str, Target, Value], ...]:
        """What counts of every rater's actions, skips and lone comments too, in the order of time."""
        found = (
            (row["name"], (row["subject"], row["answer"]), _value(row))
            for row in self.connection.execute(_COUNTING.format(where="a.kind = ?"), (kind,))
        )
        return tuple(one for one in found if one[2].value is not None or one[2].comment)

    def ratings(self) -> tuple[Rating, ...]:
        """What counts of every rater's levels, in the order of time."""
        return tuple(made for name, target, value in self.said("answers") if (made := rating(name, target, value)))

    def reviews(self) -> tuple[Review, ...]:
        """What counts of every rater's review, in the order of time."""
        return tuple(made for name, target, value in self.said("review") if (made := review(name, target, value)))

    def raters(self) -> Mapping[str, Rater]:
        """Everybody who has rated, by name."""
        rows = self.connection.execute(
            "SELECT * FROM raters r WHERE EXISTS (SELECT 1 FROM actions a WHERE a.rater = r.id) ORDER BY id"
        )
        return {row["name"]: Rater(name=row["name"], kind=row["kind"], facts=json.loads(row["facts"])) for row in rows}

    def actions(self) -> int:
        """Everything that anybody ever did here, undone or not."""
        return int(self.connection.execute("SELECT count(*) FROM actions").fetchone()[0])

    def put_judge(self, name: str, facts: Mapping[str, Any], ratings: Sequence[Rating]) -> None:
        """Keep a judge's ratings in the stead of those it gave of the same answers before, all or none; those of others stay.

        `facts["answers"]` are by answer, and stay with them.
        """
        assert name.startswith(JUDGE), name
        now = max((one.time_s for one in ratings), default=0.0)
        with self.transaction():
            row = self.connection.execute("SELECT id, facts FROM raters WHERE key = ?", (name,)).fetchone()
            before = json.loads(row["facts"]) if row else {}
            whole = json.dumps({**facts, "answers": {**before.get("answers", {}), **facts.get("answers", {})}})
            self.connection.execute(
                "INSERT INTO raters (key, name, kind, facts, seen_s) VALUES (?, ?, 'judge', ?, ?) "
                "ON CONFLICT (key) DO UPDATE SET facts = excluded.facts, seen_s = excluded.seen_s",
                (name, name, whole, now),
            )
            rater = self.connection.execute("SELECT id FROM raters WHERE key = ?", (name,)).fetchone()["id"]
            for one in ratings:
                target = one.subject, one.answer
                self.connection.execute("DELETE FROM actions WHERE rater = ? AND subject = ? AND answer = ?", (rater, *target))
                self.connection.execute(
                    "INSERT INTO actions (rater, kind, subject, answer, value, comment, time_s, nonce) "
                    "VALUES (?, 'answers', ?, ?, ?, ?, ?, ?)",
                    (rater, *target, json.dumps(one.level), one.comment, one.time_s, "-".join(target)),
                )


def _value(row: Any) -> Value:
    return Value(value=json.loads(row["value"]), comment=row["comment"], time_s=row["time_s"])


def rating(name: str, target: Target, one: Value) -> Rating | None:
    """A value as a rating; None for a skip and a lone comment."""
    if one.value not in LEVELS:
        return None
    subject, answer = target
    return Rating(rater=name, subject=subject, answer=answer, level=one.value, comment=one.comment, time_s=one.time_s)


def review(name: str, target: Target, one: Value) -> Review | None:
    """A value as a review; None for a skip and a lone comment."""
    if not isinstance(one.value, dict):
        return None
    subject, answer = target
    return Review(rater=name, subject=subject, answer=answer, comment=one.comment, time_s=one.time_s, **one.value)
