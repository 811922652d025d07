"""Checkpoints: whole or not there, checked against their manifest, refused for another training, the newest few kept."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import resource
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from self_instruct import rundir
from self_instruct.errors import RunFolderError
from self_instruct.runlog import log
from self_instruct.train import checkpoint

OWN = {"run.seed": 1, "train.epochs": 2, "rows": "abc"}
PARTS = (checkpoint.STATE, checkpoint.TENSORS)


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    lines: list[str] = []
    monkeypatch.setattr(log, "warning", lambda text, *values: lines.append(text % values))
    return lines


def save(folder: Path, step: int, keep: int = 10, fingerprint: dict[str, Any] | None = None) -> Path:
    tensors = {"a": torch.full((3, 5), float(step)), "b": torch.tensor(step)}
    return checkpoint.save(folder, step, tensors, {"fingerprint": fingerprint or OWN, "at": step}, keep)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def newest(folder: Path) -> int | None:
    found = checkpoint.newest(folder, OWN)
    return None if found is None else int(found.state["at"])


def test_a_checkpoint_comes_back_with_a_manifest_of_its_parts(tmp_path: Path) -> None:
    place = save(tmp_path / "checkpoints", 12)
    assert place == tmp_path / "checkpoints" / "step-00000012"
    assert names(place) == sorted([*PARTS, checkpoint.MANIFEST])
    told = json.loads((place / checkpoint.MANIFEST).read_text())
    assert told == {part: hashlib.sha256((place / part).read_bytes()).hexdigest() for part in PARTS}
    found = checkpoint.newest(place.parent, OWN)
    assert found is not None and found.path == place and found.state == {"fingerprint": OWN, "at": 12}
    tensors = found.tensors()
    assert torch.equal(tensors["a"], torch.full((3, 5), 12.0)) and int(tensors["b"]) == 12 and len(tensors) == 2


def test_the_newest_few_are_kept_by_number(tmp_path: Path) -> None:
    for step in (2, 9, 10, 100_000_000, 100_000_001):
        save(tmp_path, step, keep=3)
    assert names(tmp_path) == ["step-00000010", "step-100000000", "step-100000001"]
    assert newest(tmp_path) == 100_000_001
    assert names(save(tmp_path, 100_000_002, keep=1).parent) == ["step-100000002"]


def test_the_same_step_again_is_replaced_where_it_is_damaged_and_else_left(tmp_path: Path) -> None:
    """Replacing the only one would leave a moment without any."""
    save(tmp_path, 4)
    place = tmp_path / "step-00000004"
    (place / "more").write_text("")
    save(tmp_path, 4)
    assert "more" in names(place)
    (place / checkpoint.TENSORS).write_bytes(b"")
    save(tmp_path, 4)
    assert names(place) == sorted([*PARTS, checkpoint.MANIFEST])


def spoil(place: Path, how: str) -> None:
    file = place / checkpoint.TENSORS
    whole = file.read_bytes()
    match how:
        case "torn":
            file.write_bytes(whole[: len(whole) // 2])
        case "bit":
            file.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
        case "emptied":
            file.write_bytes(b"")
        case "gone":
            file.unlink()
        case "state":
            state = (place / checkpoint.STATE).read_text()
            (place / checkpoint.STATE).write_text(state.replace('"at": 7', '"at": 8'))
        case "manifest":
            (place / checkpoint.MANIFEST).write_text("{")
        case "no manifest":
            (place / checkpoint.MANIFEST).unlink()


REASONS = {
    "torn": "tensors.safetensors isn't what its manifest says",
    "bit": "tensors.safetensors isn't what its manifest says",
    "emptied": "tensors.safetensors isn't what its manifest says",
    "gone": "tensors.safetensors: No such file or directory",
    "state": "state.json isn't what its manifest says",
    "manifest": "manifest.json: Expecting property name",
    "no manifest": "manifest.json: ",
}


@pytest.mark.parametrize("how", REASONS)
def test_a_damaged_one_is_skipped_with_the_reason_and_the_one_before_is_used(tmp_path: Path, said: list[str], how: str) -> None:
    for step in (5, 6, 7):
        save(tmp_path, step)
    spoil(tmp_path / "step-00000007", how)
    assert newest(tmp_path) == 6
    (line,) = said
    assert line.startswith(f"checkpoint skipped: {tmp_path / 'step-00000007'}: ") and REASONS[how] in line


def test_none_where_none_is_usable(tmp_path: Path, said: list[str]) -> None:
    assert newest(tmp_path / "nowhere") is None
    for step in (1, 2):
        spoil(save(tmp_path, step), "bit")
    (tmp_path / "step-00000009").write_text("a file")
    assert newest(tmp_path) is None
    assert [line.split(": ")[1] for line in said] == [str(tmp_path / "step-00000002"), str(tmp_path / "step-00000001")]


@pytest.mark.parametrize("keep", [1, 2])
def test_what_was_skipped_doesnt_push_out_what_comes_after(tmp_path: Path, keep: int) -> None:
    """Step 9 is damaged; the training goes on after step 4, and is stopped again before step 9."""
    save(tmp_path, 4)
    spoil(save(tmp_path, 9), "bit")
    spoil(save(tmp_path, 10), "bit")
    assert newest(tmp_path) == 4
    save(tmp_path, 5, keep=keep)
    assert newest(tmp_path) == 5
    save(tmp_path, 6, keep=keep)
    assert names(tmp_path) == [checkpoint.name(step) for step in (5, 6)][-keep:]


def test_what_a_killed_process_left_of_any_step_goes(tmp_path: Path) -> None:
    left = tmp_path / ".step-00000003.4711.tmp"
    left.mkdir()
    (left / checkpoint.TENSORS).write_bytes(b"half")
    assert newest(tmp_path) is None
    save(tmp_path, 5)
    assert names(tmp_path) == ["step-00000005"]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"train.epochs": 3}, "train.epochs was 3, is 2"),
        ({"rows": "xyz", "train.epochs": 3}, "rows was 'xyz', is 'abc'"),
        ({"train.more": True}, "train.more was True, is None"),
    ],
)
def test_one_of_another_training_is_refused_and_named(tmp_path: Path, changes: dict[str, Any], words: str) -> None:
    save(tmp_path, 3)
    place = save(tmp_path, 8, fingerprint=OWN | changes)
    with pytest.raises(RunFolderError) as caught:
        newest(tmp_path)
    assert caught.value.message == f"{place}: a checkpoint of another training: {words}"
    assert caught.value.hint and names(tmp_path) == ["step-00000003", "step-00000008"]


def test_a_disk_without_room_leaves_the_older_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(tmp_path, 1, keep=1)
    asked: list[float] = []

    def refuse(path: Path, gib: float) -> None:
        asked.append(gib)
        raise RunFolderError("0.00 GiB free")

    monkeypatch.setattr(rundir, "require_disk", refuse)
    with pytest.raises(RunFolderError, match="GiB free"):
        checkpoint.save(tmp_path, 2, {"a": torch.zeros(2**20)}, {}, 1)
    assert asked[0] * 2**30 >= 2**22
    assert names(tmp_path) == ["step-00000001"] and newest(tmp_path) == 1


def test_a_disk_that_fills_meanwhile_leaves_the_older_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(tmp_path, 1, keep=1)

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(rundir, "write_json", full)
    with pytest.raises(OSError, match="No space left"):
        save(tmp_path, 2, keep=1)
    assert names(tmp_path) == ["step-00000001"] and newest(tmp_path) == 1


@pytest.fixture
def small_files() -> Iterator[None]:
    """No file may grow over 1 MiB: what a full disk is to safetensors, which isn't written in Python."""
    before, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2**20, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
    signal.signal(signal.SIGXFSZ, handler)


@pytest.mark.usefixtures("small_files")
def test_tensors_that_cant_be_written_leave_the_older_ones(tmp_path: Path) -> None:
    save(tmp_path, 1, keep=1)
    with pytest.raises(Exception, match=rf"os error {errno.EFBIG}"):  # commandline knows it by these words
        checkpoint.save(tmp_path, 2, {"a": torch.zeros(2**20)}, {}, 1)
    assert names(tmp_path) == ["step-00000001"] and newest(tmp_path) == 1
