"""Run folders: created, resumed, refused without a trace, locked, finished."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
import sys
from collections import namedtuple
from pathlib import Path
from typing import Any

import pytest

from self_instruct import rundir
from self_instruct.errors import RunFolderError
from self_instruct.loading import load
from self_instruct.rundir import StageFolder, open_stage, read_json, require_disk, sha256, write_json, write_text
from self_instruct.runlog import log
from self_instruct.settings import fields, reads, shaping

HOLDER = """
import fcntl, os, sys
lock = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT)
fcntl.flock(lock, fcntl.LOCK_EX)
print("held", flush=True)
sys.stdin.read()
"""

Snapshot = dict[str, tuple[bytes, int]]


def snapshot(folder: Path) -> Snapshot:
    """Every file's bytes and time of change."""
    return {str(p.relative_to(folder)): (p.read_bytes(), p.stat().st_mtime_ns) for p in folder.rglob("*") if p.is_file()}


def opened(out: Path, *overrides: str, stage: str = "train", inputs: dict[str, str] | None = None) -> StageFolder:
    return open_stage(load([], overrides, str(out)), stage, ["--out", str(out)], inputs or {"data": "abc"})


def made(out: Path, *overrides: str) -> Path:
    folder = opened(out, *overrides)
    folder.close()
    return folder.path


def refused(out: Path, *overrides: str, inputs: dict[str, str] | None = None) -> RunFolderError:
    before = snapshot(out)
    with pytest.raises(RunFolderError) as caught:
        opened(out, *overrides, inputs=inputs)
    assert snapshot(out) == before
    assert "\n" not in caught.value.message and caught.value.hint
    return caught.value


def test_the_time_of_an_unfinished_session_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([100.0, 130.0, 200.0, 205.0])
    monkeypatch.setattr(rundir.time, "time", lambda: next(clock))
    opened(tmp_path / "run").close()
    assert read_json(tmp_path / "run/train/manifest.json")["seconds"] == 30.0
    folder = opened(tmp_path / "run")
    folder.finish({})
    folder.close()
    assert read_json(tmp_path / "run/train/manifest.json")["seconds"] == 35.0


def test_new_folder_records_config_and_manifest(tmp_path: Path) -> None:
    folder = opened(tmp_path / "a" / "run", "train.epochs=3")
    folder.close()
    assert folder.path == tmp_path / "a" / "run" / "train"
    config = read_json(folder.path / "config.json")
    assert config["stage"] == "train" and config["inputs"] == {"data": "abc"}
    assert config["settings"]["train.epochs"] == 3 and "run.dir" not in config["settings"]
    manifest = read_json(folder.path / "manifest.json")
    assert manifest["status"] == "running" and not folder.finished
    assert manifest["argv"] == ["--out", str(tmp_path / "a" / "run")]
    assert manifest["settings"]["train.epochs"] == {"value": 3, "origin": "--set"}
    assert manifest["settings"]["train.seeds"]["origin"].startswith("configs/default.yaml:")
    assert set(manifest["settings"]) == set(fields())
    assert manifest["versions"]["python"] == sys.version.split()[0]
    assert manifest["hardware"]["cores"] >= 1


def test_same_settings_resume_and_keep_the_start(tmp_path: Path) -> None:
    path = made(tmp_path / "run")
    (path / "journal").mkdir()
    (path / "journal" / "x.jsonl").write_text("{}\n")
    started = read_json(path / "manifest.json")["started_s"]
    made(tmp_path / "run")
    assert read_json(path / "manifest.json")["started_s"] == started
    assert (path / "journal" / "x.jsonl").read_text() == "{}\n"


def test_runtime_settings_may_change(tmp_path: Path) -> None:
    path = made(tmp_path / "run")
    made(tmp_path / "run", "train.micro_batch_tokens=512", "run.threads=1", "run.engine.max_num_seqs=2")
    assert read_json(path / "manifest.json")["settings"]["run.threads"] == {"value": 1, "origin": "--set"}


def test_another_stages_settings_may_change(tmp_path: Path) -> None:
    made(tmp_path / "run")
    made(tmp_path / "run", "generate.lag=3", "evaluate.examples=0")


def test_other_settings_are_refused_by_name_with_the_folder_unchanged(tmp_path: Path) -> None:
    made(tmp_path / "run")
    error = refused(tmp_path / "run", "train.epochs=5", "model.name=else", "run.seed=1")
    assert "made with another config: model.name was 'embedded', is 'else' (and run.seed, train.epochs)" in error.message
    assert str(tmp_path / "run" / "train") in error.message


def test_other_inputs_are_refused(tmp_path: Path) -> None:
    made(tmp_path / "run")
    assert "input data was 'abc', is 'xyz'" in refused(tmp_path / "run", inputs={"data": "xyz"}).message
    assert "input seeds was None, is 'd'" in refused(tmp_path / "run", inputs={"data": "abc", "seeds": "d"}).message


def test_what_may_be_named_later_begins_a_finished_stage_anew_and_nothing_else_does(tmp_path: Path) -> None:
    def named(*overrides: str, inputs: dict[str, str], grows: tuple[str, ...] = ("evaluate.superni.folder",)) -> StageFolder:
        loaded = load(overrides=overrides, out=str(tmp_path / "run"))
        return open_stage(loaded, "evaluate", [], inputs, grows=grows)

    one, two = {"model": "m"}, {"model": "m", "superni": "s"}
    folder = named(inputs=one)
    folder.finish({})
    folder.close()
    for more, inputs, grows in (
        (["evaluate.superni.folder=x"], two, ()),
        (["evaluate.superni.folder=x", "evaluate.max_tokens=9"], two, ("evaluate.superni.folder",)),
        (["evaluate.superni.folder=x"], {"model": "n", "superni": "s"}, ("evaluate.superni.folder",)),
        ([], two, ("evaluate.superni.folder",)),
    ):
        with pytest.raises(RunFolderError, match="made with another config"):
            named(*more, inputs=inputs, grows=grows)
    before = read_json(folder.path / "manifest.json")
    folder = named("evaluate.superni.folder=x", inputs=two)
    assert not folder.finished
    folder.finish({})
    folder.close()
    assert read_json(folder.path / "manifest.json")["started_s"] == before["started_s"]
    assert read_json(folder.path / "config.json")["inputs"] == two
    with pytest.raises(RunFolderError, match="was 'x', is None"):
        named(inputs=one)


def test_what_is_read_may_lie_elsewhere_and_must_be_the_same(tmp_path: Path) -> None:
    read = {"data": "abc", "seeds": "d"}
    opened(tmp_path / "run", "train.data=/old/corpus", "train.seeds=/old/seeds.jsonl", inputs=read).close()
    opened(tmp_path / "run", "train.data=/new/corpus", "train.seeds=/new/seeds.jsonl", inputs=read).close()
    error = refused(tmp_path / "run", "train.data=/new/corpus", "train.seeds=/new/seeds.jsonl", inputs=read | {"seeds": "e"})
    assert "train.seeds was '/old/seeds.jsonl', is '/new/seeds.jsonl'" in error.message
    assert "train.data" not in error.message


def test_every_setting_that_names_what_is_read_is_known() -> None:
    assert set(reads()) == {
        "generate.seeds", "generate.demonstrations", "generate.decontaminate", "train.data",
        "train.seeds", "evaluate.adapters", "evaluate.user_oriented", "evaluate.superni.folder", "generate.outputs_of",
    }  # fmt: skip


@pytest.mark.parametrize("name", ["notes.txt", "sub/notes.txt"])
def test_foreign_folder_is_refused(tmp_path: Path, name: str) -> None:
    file = tmp_path / "run" / "train" / name
    file.parent.mkdir(parents=True)
    file.write_text("mine")
    assert "not empty and not a run folder" in refused(tmp_path / "run").message


@pytest.mark.parametrize("text", ["{}", '{"settings": 1, "inputs": {}}', "[]", "{", '{"model_type": "llama"}'])
def test_foreign_or_damaged_config_is_refused(tmp_path: Path, text: str) -> None:
    config = tmp_path / "run" / "train" / "config.json"
    config.parent.mkdir(parents=True)
    config.write_text(text)
    assert "config.json" in refused(tmp_path / "run").message


def test_file_in_the_folders_place_is_refused(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "train").write_text("mine")
    assert "a file, not a folder" in refused(tmp_path / "run").message


def test_folder_of_a_start_that_was_killed_at_once_is_taken_over(tmp_path: Path) -> None:
    folder = tmp_path / "run" / "train"
    folder.mkdir(parents=True)
    (folder / ".lock").touch()
    (folder / ".config.json.12.tmp").write_text('{"stage')
    made(tmp_path / "run")
    assert read_json(folder / "config.json")["stage"] == "train"


def test_folder_that_another_process_writes_is_refused(tmp_path: Path) -> None:
    path = made(tmp_path / "run")
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(path / ".lock")], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert holder.stdin is not None and holder.stdout is not None
    try:
        assert holder.stdout.readline() == "held\n"
        assert "another process is writing it" in refused(tmp_path / "run").message
    finally:
        holder.stdin.close()
        holder.wait()
        holder.stdout.close()
    made(tmp_path / "run")


def test_open_folder_is_locked_until_closed(tmp_path: Path) -> None:
    folder = opened(tmp_path / "run")
    assert "another process is writing it" in refused(tmp_path / "run").message
    folder.close()
    made(tmp_path / "run")


def test_config_that_another_process_made_meanwhile_is_compared_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two starts at once: the second passes the first check while the folder is empty, and gets the lock after the other's end."""
    other = load([], ["train.epochs=7"], str(tmp_path / "run"))

    def lock_after_the_other(descriptor: int, how: int) -> None:
        config = tmp_path / "run" / "train" / "config.json"
        write_json(config, {"stage": "train", "settings": shaping(other.settings, "train"), "inputs": {"data": "abc"}})

    monkeypatch.setattr(fcntl, "flock", lock_after_the_other)
    with pytest.raises(RunFolderError, match=r"train\.epochs was 7, is 2"):
        opened(tmp_path / "run")


def test_damaged_manifest_is_refused_and_the_lock_given_back(tmp_path: Path) -> None:
    path = made(tmp_path / "run")
    (path / "manifest.json").write_text("{")
    for _ in range(2):
        assert "manifest.json" in refused(tmp_path / "run").message


def test_finished_stage_says_so_and_keeps_its_manifest(tmp_path: Path) -> None:
    folder = opened(tmp_path / "run")
    product = folder.path / "adapter"
    product.mkdir()
    (product / "weights").write_text("w")
    folder.finish({"adapter": product}, steps=3)
    assert folder.finished
    folder.close()
    before = (folder.path / "manifest.json").read_bytes()
    again = opened(tmp_path / "run")
    assert again.finished and again.manifest["facts"] == {"steps": 3}
    assert again.manifest["outputs"] == {"adapter": {"path": "adapter", "sha256": sha256(product)}}
    assert again.manifest["finished_s"] >= again.manifest["started_s"] and again.manifest["seconds"] >= 0
    again.close()
    assert (folder.path / "manifest.json").read_bytes() == before


def test_log_goes_to_the_folder_while_it_is_open(tmp_path: Path) -> None:
    folder = opened(tmp_path / "run")
    log.warning("heard")
    folder.close()
    log.warning("unheard")
    text = (folder.path / "log.txt").read_text()
    assert "WARNING heard" in text and "unheard" not in text


def test_disk_space_is_measured_where_the_folder_will_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Path] = []
    usage = namedtuple("usage", "total used free")

    def disk_usage(path: Path) -> Any:
        asked.append(path)
        return usage(10 * 2**30, 9 * 2**30, 2**30)

    monkeypatch.setattr(shutil, "disk_usage", disk_usage)
    require_disk(tmp_path / "not" / "yet", 1.0)
    with pytest.raises(RunFolderError, match=r"1\.00 GiB free on this disk, 1\.50 GiB needed"):
        require_disk(tmp_path / "not" / "yet", 1.5)
    assert asked == [tmp_path, tmp_path]


def test_writing_replaces_whole_files_or_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.txt"
    write_text(path, "old é\n")

    def full_disk(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(OSError, match="No space left"):
        write_text(path, "new\n")
    assert path.read_text(encoding="utf-8") == "old é\n"
    assert list(tmp_path.iterdir()) == [path]


def test_json_keeps_any_text(tmp_path: Path) -> None:
    value = {"a": "é\ud800\u2028", "b": [1, None]}
    write_json(tmp_path / "a.json", value)
    assert read_json(tmp_path / "a.json") == value
    assert json.loads((tmp_path / "a.json").read_text(encoding="utf-8")) == value


def test_hash_of_a_folder_is_of_names_and_contents(tmp_path: Path) -> None:
    for name, content in (("a/x", "1"), ("b/x", "1"), ("c/y", "1"), ("d/x", "2")):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_text(content)
    one, same, renamed, changed = (sha256(tmp_path / name) for name in "abcd")
    assert one == same
    assert len({one, renamed, changed}) == 3


def test_hash_of_nothing_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        sha256(tmp_path / "missing")


def test_a_new_folder_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    place = tmp_path / "product"
    (tmp_path / ".product.1.tmp").mkdir()  # of a killed process
    with pytest.raises(ZeroDivisionError), rundir.new_folder(place) as aside:
        (aside / "half").write_text("x")
        raise ZeroDivisionError
    assert list(tmp_path.iterdir()) == []
    for text in ("first", "second"):
        with rundir.new_folder(place) as aside:
            (aside / "file").write_text(text)
            assert text == "second" or not place.exists()
        assert [(p.name, p.read_text()) for p in place.iterdir()] == [("file", text)]
    assert [p.name for p in tmp_path.iterdir()] == ["product"]
