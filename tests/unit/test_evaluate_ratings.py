"""The store of ratings: what counts, what is confirmed, who may write, what it refuses."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from self_instruct.errors import DataError, RunFolderError
from self_instruct.evaluate.ratings import IN_USE_S, InUseError, NotEnteredError, RatingStore
from self_instruct.evaluate.ratings_file import FORMAT, NotWrittenError
from self_instruct.records import Rating, Review

ONE, OTHER = ("s1", "a1"), ("s2", "a2")


@pytest.fixture
def store(tmp_path: Path) -> RatingStore:
    return RatingStore(tmp_path / "ratings" / "ratings.sqlite")


def enter(store: RatingStore, name: str = "Ann", now: float = 0.0) -> int:
    return store.enter(name, name.casefold(), None, True, now).rater


def levels(store: RatingStore) -> list[tuple[str, str, str]]:
    return [(one.rater, one.answer, one.level) for one in store.ratings()]


def test_the_last_word_on_an_answer_counts(store: RatingStore) -> None:
    ann, bob = enter(store), enter(store, "Bob")
    store.save(ann, "answers", ONE, "A", "", "n1", 1.0)
    store.save(ann, "answers", ONE, "C", "why", "n2", 2.0)
    store.save(bob, "answers", ONE, "B", "", "n1", 3.0)
    assert store.ratings() == (
        Rating(rater="Ann", subject="s1", answer="a1", level="C", comment="why", time_s=2.0),
        Rating(rater="Bob", subject="s1", answer="a1", level="B", comment="", time_s=3.0),
    )


def test_the_same_action_sent_twice_is_one(store: RatingStore) -> None:
    ann = enter(store)
    store.save(ann, "answers", ONE, "A", "", "n1", 1.0)
    store.save(ann, "answers", ONE, "B", "", "n2", 2.0)
    store.save(ann, "answers", ONE, "A", "", "n1", 3.0)  # a late repetition of the first
    assert levels(store) == [("Ann", "a1", "B")]


def test_undo_goes_back_step_by_step_and_only_once_for_one_nonce(store: RatingStore) -> None:
    ann = enter(store)
    for number, (target, level) in enumerate([(ONE, "A"), (OTHER, "B"), (ONE, "D")]):
        store.save(ann, "answers", target, level, "", f"n{number}", float(number))
    assert store.undo(ann, "answers", {ONE, OTHER}, "u1", 9.0) == ONE
    assert store.undo(ann, "answers", {ONE, OTHER}, "u1", 9.5) == ONE
    assert levels(store) == [("Ann", "a1", "A"), ("Ann", "a2", "B")]
    assert store.undo(ann, "answers", {ONE, OTHER}, "u2", 10.0) == OTHER
    assert store.undo(ann, "answers", {ONE, OTHER}, "u3", 11.0) == ONE
    assert store.undo(ann, "answers", {ONE, OTHER}, "u4", 12.0) is None
    assert levels(store) == []
    store.save(ann, "answers", ONE, "B", "", "n9", 13.0)
    assert levels(store) == [("Ann", "a1", "B")]


def test_undo_touches_only_the_set_it_is_asked_for(store: RatingStore) -> None:
    ann = enter(store)
    store.save(ann, "answers", ONE, "A", "", "n1", 1.0)
    store.save(ann, "answers", OTHER, "B", "", "n2", 2.0)
    store.save(ann, "review", ONE, {"instruction": True, "input": None, "output": None, "format": None}, "", "n3", 3.0)
    assert store.undo(ann, "answers", {ONE}, "u1", 4.0) == ONE
    assert levels(store) == [("Ann", "a2", "B")]
    assert len(store.reviews()) == 1


def test_a_skip_is_no_rating_and_a_comment_alone_is_kept(store: RatingStore) -> None:
    ann = enter(store)
    store.save(ann, "answers", ONE, "skip", "", "n1", 1.0)
    store.save(ann, "answers", OTHER, None, "odd", "n2", 2.0)
    assert store.ratings() == ()
    assert {target: (value.value, value.comment) for target, value in store.values(ann, "answers").items()} == {
        ONE: ("skip", ""),
        OTHER: (None, "odd"),
    }


def test_reviews_come_back_as_they_were(store: RatingStore) -> None:
    ann = enter(store)
    said = {"instruction": True, "input": False, "output": None, "format": "partly"}
    store.save(ann, "review", ONE, said, "c", "n1", 5.0)
    store.save(ann, "review", OTHER, "skip", "", "n2", 6.0)
    assert store.reviews() == (
        Review(
            rater="Ann",
            subject="s1",
            answer="a1",
            instruction=True,
            input=False,
            output=None,
            format="partly",
            comment="c",
            time_s=5.0,
        ),
    )


def test_a_name_in_use_is_refused_until_it_is_quiet_left_or_taken_over(store: RatingStore) -> None:
    first = store.enter("Ann", "ann", None, False, 0.0)
    with pytest.raises(InUseError, match="Ann is rating in another window, last seen 5 s ago"):
        store.enter("ANN", "ann", None, False, 5.0)
    assert store.enter("Ann", "ann", first.session, False, 6.0) == first  # a reload of the same window
    second = store.enter("ann", "ann", None, True, 7.0)
    assert (second.name, second.rater) == ("Ann", first.rater)
    with pytest.raises(InUseError, match="in another window now"):
        store.of_session(first.session, 8.0)
    assert store.of_session(second.session, 8.0).rater == first.rater
    third = store.enter("Ann", "ann", None, False, 7.0 + IN_USE_S)
    store.leave(third.rater)
    with pytest.raises(NotEnteredError):
        store.of_session(third.session, 5000.0)
    store.enter("Ann", "ann", None, False, 8.0 + IN_USE_S)


@pytest.mark.parametrize("session", ["", "1", "1-00", "999-" + "0" * 32, "1-" + "g" * 32, "1' OR 1=1 --", "\ud800"])
def test_an_invented_session_is_nobodys(store: RatingStore, session: str) -> None:
    enter(store)
    with pytest.raises(NotEnteredError):
        store.of_session(session, 0.0)


def test_the_pace_counts_reading_and_leaves_pauses_out(store: RatingStore) -> None:
    ann = enter(store)
    assert store.pace_s(ann, "answers") is None
    # Three instructions of two answers: 30 s of reading, then 2 s between the answers; once a pause.
    times = [0.0, 2.0, 32.0, 34.0, 5000.0, 5002.0]
    for number, time_s in enumerate(times):
        store.save(ann, "answers", (f"s{number // 2}", f"a{number}"), "A", "", f"n{number}", time_s)
    assert store.pace_s(ann, "answers") == pytest.approx((2 + 30 + 2 + 2) / 5)
    # A review's three keys are one instance: 40 s each.
    for number in range(30):
        value = {"instruction": True, "input": True, "output": True, "format": None}
        store.save(ann, "review", (f"s{number // 3}", "a"), value, "", f"r{number}", 40.0 * (number // 3) + number % 3)
    assert store.pace_s(ann, "review") == pytest.approx(40, rel=0.02)


def test_reading_is_being_there(store: RatingStore) -> None:
    first = store.enter("Ann", "ann", None, False, 0.0)
    store.of_session(first.session, IN_USE_S)
    with pytest.raises(InUseError):
        store.enter("Ann", "ann", None, False, IN_USE_S + 5)


def test_a_nonce_is_of_one_action(store: RatingStore) -> None:
    ann = enter(store)
    store.save(ann, "answers", ONE, "A", "", "n1", 1.0)
    for target, level, comment in ((OTHER, "A", ""), (ONE, "B", ""), (ONE, "A", "more")):
        with pytest.raises(DataError, match="another action's"):
            store.save(ann, "answers", target, level, comment, "n1", 2.0)
    with pytest.raises(DataError, match="another action's"):
        store.undo(ann, "answers", {ONE}, "n1", 3.0)
    store.undo(ann, "answers", {ONE}, "u1", 3.0)
    with pytest.raises(DataError, match="another action's"):
        store.save(ann, "answers", ONE, "A", "", "u1", 4.0)
    assert levels(store) == []


def test_nothing_is_confirmed_into_a_store_that_was_deleted_or_replaced(store: RatingStore) -> None:
    ann = enter(store)
    aside = store.path.with_name("aside")
    store.path.rename(aside)
    with pytest.raises(NotWrittenError, match="deleted or replaced"):
        store.save(ann, "answers", ONE, "A", "", "n1", 1.0)
    RatingStore(store.path).close()
    with pytest.raises(NotWrittenError, match="deleted or replaced"):
        store.save(ann, "answers", ONE, "A", "", "n1", 1.0)


def test_a_locked_store_is_said_to_be_held(store: RatingStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("self_instruct.evaluate.ratings_file.WAIT_S", 0.05)
    other = RatingStore(store.path)
    store.connection.execute("BEGIN EXCLUSIVE")
    with pytest.raises(NotWrittenError, match="locked"):
        other.token()
    store.connection.execute("COMMIT")
    assert other.token() == store.token() != store.identity()


def test_a_reader_needs_no_right_to_write(store: RatingStore) -> None:
    ann = enter(store)
    store.save(ann, "answers", ONE, "A", "", "n1", 1.0)
    store.close()
    reader = RatingStore(store.path, read_only=True)
    assert levels(reader) == [("Ann", "a1", "A")]
    with pytest.raises(NotWrittenError, match="readonly"):
        reader.save(ann, "answers", ONE, "B", "", "n2", 2.0)
    with pytest.raises(RunFolderError):
        RatingStore(store.path.with_name("nothing.sqlite"), read_only=True)


def test_a_folder_that_is_a_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "ratings").write_text("mine")
    with pytest.raises(RunFolderError, match="File exists"):
        RatingStore(tmp_path / "ratings" / "ratings.sqlite")
    assert (tmp_path / "ratings").read_text() == "mine"


def test_nobody_else_may_read_the_token(store: RatingStore) -> None:
    store.token()
    assert store.path.stat().st_mode & 0o077 == 0


def test_a_judges_ratings_replace_those_of_the_same_answers(store: RatingStore) -> None:
    ann = enter(store)
    store.save(ann, "answers", ONE, "A", "", "n1", 1.0)
    old = [Rating(rater="judge x", subject=f"s{n}", answer="a", level="B", comment="", time_s=2.0) for n in range(3)]
    store.put_judge("judge x", {"orders": [1], "answers": {"s0 a": 1, "s1 a": 1}}, old)
    new = Rating(rater="judge x", subject="s1", answer="a", level="D", comment="", time_s=3.0)
    store.put_judge("judge x", {"orders": [2], "answers": {"s1 a": 2}}, [new])
    assert [(one.rater, one.subject, one.level) for one in store.ratings()] == [
        ("Ann", "s1", "A"),
        ("judge x", "s0", "B"),
        ("judge x", "s2", "B"),
        ("judge x", "s1", "D"),
    ]
    assert [(one.name, one.kind, one.facts) for one in store.raters().values()] == [
        ("Ann", "person", {}),
        ("judge x", "judge", {"orders": [2], "answers": {"s0 a": 1, "s1 a": 2}}),
    ]


def test_all_of_it_is_there_when_opened_again(store: RatingStore) -> None:
    ann = enter(store)
    store.save(ann, "answers", ONE, "A", "", "n1", 1.0)
    token = store.token()
    again = RatingStore(store.path)
    assert again.ratings() == store.ratings()
    assert again.token() == token
    assert len(token) >= 32


def test_a_store_of_another_version_stays_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "ratings.sqlite"
    RatingStore(path).close()
    with sqlite3.connect(path) as connection:
        connection.execute(f"PRAGMA user_version={FORMAT + 1}")
    connection.close()
    before = path.read_bytes()
    with pytest.raises(DataError, match=f"of format {FORMAT + 1}, this version of self-instruct reads {FORMAT}"):
        RatingStore(path)
    assert path.read_bytes() == before


def test_another_programs_database_and_a_file_that_is_none_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.sqlite"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE things (name TEXT)")
    connection.close()
    with pytest.raises(DataError, match="of format 0"):
        RatingStore(path)
    text = tmp_path / "notes.txt"
    text.write_text("no database, but rather long " * 100)
    with pytest.raises(DataError, match="no store of ratings"):
        RatingStore(text)
    assert text.read_text().startswith("no database")


WRITER = """
import sys
from pathlib import Path
from self_instruct.evaluate.ratings import RatingStore
store = RatingStore(Path(sys.argv[1]))
rater = store.enter(sys.argv[2], sys.argv[2], None, True, 0.0).rater
for n in range(25):
    store.save(rater, "answers", (f"s{n}", "a"), "B", "", f"n{n}", float(n))
"""


def test_two_processes_write_one_store(tmp_path: Path) -> None:
    path = tmp_path / "ratings.sqlite"
    writers = [subprocess.Popen([sys.executable, "-c", WRITER, str(path), name]) for name in ("ann", "bob")]
    assert [writer.wait(60) for writer in writers] == [0, 0]
    assert len(RatingStore(path).ratings()) == 50
