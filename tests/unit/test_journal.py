"""The journal: what was appended is there after kill -9 and after a full disk, and damage is never passed over."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from self_instruct import journal
from self_instruct.errors import RunFolderError
from self_instruct.journal import Journal, read

WRITER = """
import os, sys
from pathlib import Path
from self_instruct.journal import Journal
journal, number = Journal(Path(sys.argv[1])), int(sys.argv[2])
while True:
    journal.append({"number": number, "text": "x" * (number % 7 * 1000)})
    os.write(1, b"%d\\n" % number)
    number += 1
"""

FULL_DISK = """
import resource, sys
from pathlib import Path
from self_instruct.journal import Journal
path = Path(sys.argv[1])
journal = Journal(path)
_, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
appended = 0
try:
    while True:
        journal.append({"number": appended, "text": "x" * 90})
        appended += 1
except OSError as error:
    print(appended, type(error).__name__)
resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
journal.append({"number": appended})
journal.close()
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal" / "completions.jsonl"


def written(path: Path, *records: dict[str, object]) -> None:
    log = Journal(path)
    for record in records:
        log.append(record)
    log.close()


def test_records_come_back_in_order(path: Path) -> None:
    written(path, {"a": 1}, {"b": [None, "é\u2028\x85 \n"]})
    written(path, {"c": {}})
    assert read(path) == [{"a": 1}, {"b": [None, "é\u2028\x85 \n"]}, {"c": {}}]


def test_lone_surrogates_come_back_even_where_they_would_make_a_pair(path: Path) -> None:
    text = "\ud800 \udc00 \ud83d" + "\ude00 😀"
    written(path, {text: text})
    assert read(path) == [{text: text}]


def test_same_record_gives_the_same_bytes(path: Path, tmp_path: Path) -> None:
    written(path, {"b": 1, "a": "é"})
    written(tmp_path / "other.jsonl", {"a": "é", "b": 1})
    assert path.read_bytes() == (tmp_path / "other.jsonl").read_bytes() == '{"a": "é", "b": 1}\n'.encode()


def test_missing_journal_is_empty(path: Path) -> None:
    assert read(path) == []
    assert not path.parent.exists()


def test_fresh_journal_is_emptied(path: Path) -> None:
    written(path, {"a": 1})
    Journal(path, fresh=True).close()
    assert path.read_bytes() == b""


@pytest.mark.parametrize("size", [0, 1, journal.CHUNK - 1, journal.CHUNK, journal.CHUNK + 1, 3 * journal.CHUNK])
@pytest.mark.parametrize("whole", [{}, {"a": 1}], ids=["first-line", "later-line"])
def test_torn_tail_is_no_record_and_is_cut_when_appending(path: Path, size: int, whole: dict[str, object]) -> None:
    if whole:
        written(path, whole)
    else:
        path.parent.mkdir()
    with path.open("ab") as file:
        file.write(b"x" * size)
    before = path.read_bytes()
    assert read(path) == ([whole] if whole else [])
    assert path.read_bytes() == before, "reading changes nothing: another process may be in the middle of a line"
    written(path, {"b": 2})
    assert read(path) == [*([whole] if whole else []), {"b": 2}]


@pytest.mark.parametrize("damage", [b'{"a": 1', b"", b"\x00\x00\x00", b"[1]", b'"a"', b'{"a": \xff}', b'{"a": 1}{"b": 2}'])
def test_damaged_middle_line_is_refused_with_its_number_and_nothing_changes(path: Path, damage: bytes) -> None:
    path.parent.mkdir()
    path.write_bytes(b'{"a": 1}\n' + damage + b'\n{"c": 3}\n{"torn')
    before = path.read_bytes()
    with pytest.raises(RunFolderError, match=r"completions\.jsonl:2: damaged line") as caught:
        read(path)
    assert "\n" not in caught.value.message and caught.value.hint
    assert path.read_bytes() == before


def test_killed_writer_loses_no_appended_line(path: Path) -> None:
    """kill -9 at three moments of one growing journal; every acknowledged line is there, in order, without a gap."""
    number = 0
    for moment in (3, 50, 200):
        writer = subprocess.Popen([sys.executable, "-c", WRITER, str(path), str(number)], stdout=subprocess.PIPE)
        assert writer.stdout is not None
        for _ in range(moment):
            acknowledged = int(writer.stdout.readline())
        writer.send_signal(signal.SIGKILL)
        acknowledged = max([acknowledged, *map(int, writer.stdout.read().split(b"\n")[:-1])])
        writer.stdout.close()
        assert writer.wait() == -signal.SIGKILL
        records = read(path)
        assert [record["number"] for record in records] == list(range(len(records)))
        assert len(records) - 1 >= acknowledged
        number = len(records)


def test_full_disk_leaves_whole_lines_and_later_lines_stay_readable(path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", FULL_DISK, str(path)], capture_output=True, text=True, check=True)
    appended, error = done.stdout.split()
    assert error == "OSError"
    assert int(appended) > 0
    assert [record["number"] for record in read(path)] == list(range(int(appended) + 1))


def test_fsync_is_at_most_one_a_second(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[int] = []
    now = 100.0
    monkeypatch.setattr(os, "fsync", synced.append)
    monkeypatch.setattr("time.monotonic", lambda: now)
    log = Journal(path)
    for _ in range(10):
        log.append({})
    assert len(synced) == 0
    now += journal.SYNC_EVERY_S + 0.1
    for _ in range(10):
        log.append({})
    assert len(synced) == 1
    log.close()
    assert len(synced) == 2


def test_what_is_not_durable_is_never_synced(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", synced.append)
    monkeypatch.setattr(journal, "SYNC_EVERY_S", 0.0)
    log = Journal(path, durable=False)
    for _ in range(3):
        log.append({})
    log.close()
    assert synced == [] and len(read(path)) == 3
