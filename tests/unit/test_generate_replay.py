"""`generate replay RUN`: the same bytes from the run's folder alone, and nothing changed where that can't be."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from self_instruct import commandline, engines, provenance
from self_instruct.engine_scripted import ScriptedEngine
from self_instruct.generate import cli
from self_instruct.loading import shipped
from self_instruct.settings import Settings

Replay = Callable[[Path], tuple[int, str, str]]
LEDGER = ("journal/accepted.jsonl", "journal/rejected.jsonl")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run on own seeds and demonstrations, which are gone since."""
    folder = tmp_path_factory.mktemp("finished")
    seeds, shown = folder / "mine.jsonl", folder / "shown"
    seeds.write_text("".join(shipped("seeds/seed_tasks.jsonl").read_text().splitlines(keepends=True)[:20]))
    shutil.copytree(shipped("seeds/demonstrations"), shown)
    flags = ["--config", "configs/tiny.yaml", "--out", str(folder / "run"), "--set", "model.engine=scripted"]
    flags += ["--set", f"generate.seeds={seeds}", "--set", f"generate.demonstrations={shown}"]
    flags += ["--set", "generate.target_instructions=60", "--set", "generate.max_requests=200"]
    flags += ["--set", "generate.novelty_threshold=0.6"]
    assert commandline.run(cli.main, flags) == 0
    seeds.unlink()
    shutil.rmtree(shown)
    return folder / "run"


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    """A copy of it in another place."""
    return Path(shutil.copytree(finished, tmp_path / "moved"))


@pytest.fixture
def replay(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Replay:
    """Replays a run; whatever would find a model, a tokenizer or an engine fails."""

    def forbidden(*_: Any) -> Any:
        raise AssertionError("a replay needs none")

    for name in ("open_engine", "resolve_model", "token_counter"):
        monkeypatch.setattr(engines, name, forbidden)

    def call(run: Path) -> tuple[int, str, str]:
        capsys.readouterr()
        status = commandline.run(cli.main, ["replay", str(run)])
        printed = capsys.readouterr()
        return status, printed.out, printed.err

    return call


def files(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != ".lock"
    }


def test_every_product_comes_back_byte_for_byte(run: Path, replay: Replay) -> None:
    before = files(run)
    shutil.rmtree(run / "generate" / "corpus")
    shutil.rmtree(run / "generate" / "exports")
    for name in LEDGER:
        (run / "generate" / name).unlink()
    status, out, _ = replay(run)
    assert status == 0
    assert json.loads(out)["identical"] == ["accepted", "corpus", "exports", "rejected", "report"]
    assert files(run) == before


def test_replaying_what_is_whole_changes_nothing(run: Path, replay: Replay) -> None:
    before = files(run)
    assert replay(run)[0] == 0
    assert files(run) == before


def test_a_card_of_several_sessions_and_a_hub_models_commit_comes_back(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Versions, days and the commit are in the journal alone."""
    here, resolve, open_engine = provenance.versions(), engines.resolve_model, engines.open_engine
    commit = "0123456789" * 4

    async def dying(model: Any, settings: Any, *_: Any, **__: Any) -> ScriptedEngine:
        return ScriptedEngine(seed=settings.run.seed, dies_after=10)

    flags = ["--config", "configs/tiny.yaml", "--out", str(tmp_path / "run"), "--set", "model.engine=scripted"]
    with monkeypatch.context() as patch:
        patch.setattr(engines, "resolve_model", lambda settings: dataclasses.replace(resolve(settings), revision=commit))
        patch.setattr(provenance, "versions", lambda: here | {"numba": "0.1"})
        patch.setattr(engines, "open_engine", dying)
        assert commandline.run(cli.main, flags) == 2
        patch.setattr(provenance, "versions", lambda: here | {"numba": "0.2"})
        patch.setattr(engines, "open_engine", open_engine)
        assert commandline.run(cli.main, flags) == 0
    before = files(tmp_path / "run")
    card = (tmp_path / "run" / "generate" / "corpus" / "README.md").read_text()
    assert f"| revision | `{commit}` |" in card and "| numba | 0.1, 0.2 |" in card and "| sessions begun on, UTC | 20" in card
    shutil.rmtree(tmp_path / "run" / "generate" / "corpus")
    assert commandline.run(cli.main, ["replay", str(tmp_path / "run")]) == 0
    assert files(tmp_path / "run") == before


def test_a_spoilt_product_is_mended(run: Path, replay: Replay) -> None:
    before = files(run)
    card = run / "generate" / "corpus" / "README.md"
    card.write_text("spoilt")
    (run / "generate" / "corpus" / "more.txt").write_text("not ours")
    assert replay(run)[0] == 0
    assert files(run) == before


def test_the_ledger_is_in_the_order_of_the_requests(finished: Path) -> None:
    rows = [json.loads(line) for line in (finished / "generate" / LEDGER[0]).read_text().splitlines()]
    accepted = [row["id"] for row in rows if row["kind"] == "instruction"]
    assert len(accepted) == 60 and accepted == sorted(accepted)
    assert [row["instruction_id"] for row in rows if row["kind"] == "label"] == accepted
    owner = ""
    for row in rows:
        owner = row["id"] if row["kind"] == "instruction" else owner
        assert row.get("instruction_id", owner) == owner
    rejected = [json.loads(line) for line in (finished / "generate" / LEDGER[1]).read_text().splitlines()]
    assert all(row["rule"] and row["step"] in ("instruction", "instance") for row in rejected)
    near = [row for row in rejected if row["rule"] == "not_novel"]
    assert near and all(row["nearest"]["score"] > 0.6 for row in near)


def change(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def cut_last_line(path: Path) -> None:
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-1]))


def damage_line_3(path: Path) -> None:
    lines = path.read_text().splitlines(keepends=True)
    lines[2] = lines[2][: len(lines[2]) // 2] + "\n"
    path.write_text("".join(lines))


def unfinish(path: Path) -> None:
    manifest = json.loads(path.read_text())
    path.write_text(json.dumps(manifest | {"status": "running"}))


@pytest.mark.parametrize(
    ("place", "spoil", "error"),
    [
        ("manifest.json", Path.unlink, "generate: not finished"),
        ("manifest.json", unfinish, "generate: not finished"),
        ("manifest.json", lambda path: change(path, '"completions": {', '"other": {'), "not the manifest of a finished run"),
        ("config.json", Path.unlink, "generate: no run there"),
        ("journal/completions.jsonl", Path.unlink, "completions.jsonl: gone"),
        ("journal/completions.jsonl", cut_last_line, "completions.jsonl: not the file that the run wrote"),
        ("journal/completions.jsonl", damage_line_3, "completions.jsonl:3: damaged line"),
        ("journal/completions.jsonl", lambda path: change(path, " the ", " a "), "not the file that the run wrote"),
        ("journal/completions.jsonl", lambda path: change(path, '_s": 0.', '_s": 1.'), "not the file that the run wrote"),
        ("journal/token_counts.jsonl", Path.unlink, "token_counts.jsonl: gone"),
        ("journal/token_counts.jsonl", cut_last_line, "token_counts.jsonl: not the file that the run wrote"),
        ("journal/token_counts.jsonl", damage_line_3, "token_counts.jsonl:3: damaged line"),
        ("journal/sessions.jsonl", Path.unlink, "sessions.jsonl: gone"),
        ("journal/inputs/seeds.jsonl", Path.unlink, "its copy of the seeds is missing"),
        ("journal/inputs/seeds.jsonl", cut_last_line, "its copy of the seeds is not what the run read"),
        ("journal/inputs/demonstrations", shutil.rmtree, "its copy of the demonstrations is missing"),
        ("journal/inputs/model.json", Path.unlink, "model.json: "),
        ("config.json", lambda path: change(path, '"generate.top_p": 0.5', '"generate.top_p": 0.6'), "was another one"),
        ("config.json", lambda path: change(path, '"generate.top_p"', '"generate.topp"'), "another version"),
    ],
)  # fmt: skip
def test_unfinished_or_damaged_is_one_line_and_nothing_changes(
    run: Path, replay: Replay, place: str, spoil: Callable[[Path], None], error: str
) -> None:
    spoil(run / "generate" / place)
    before = files(run)
    status, out, err = replay(run)
    assert (status, out) == (2, "")
    lines = err.strip().splitlines()
    assert lines[0].startswith("error: ") and error in err
    assert len(lines) == 2 and lines[1].startswith("hint: ")
    assert files(run) == before


def test_other_bytes_are_refused_with_the_versions_that_differ(run: Path, replay: Replay, monkeypatch: pytest.MonkeyPatch) -> None:
    from self_instruct.generate import export

    here = provenance.versions()
    monkeypatch.setattr(provenance, "versions", lambda: here | {"datasets": "99.0"})
    monkeypatch.setattr(export, "_alpaca", lambda row: {"other": row["output"]})
    monkeypatch.setitem(export.EXPORTS, "alpaca", ("alpaca.json", lambda row: {"other": row["output"]}))
    before = files(run)
    status, _, err = replay(run)
    assert status == 2 and "exports: the journal gives other bytes than the run wrote" in err
    assert f"take the versions that the run had: datasets {here['datasets']}" in err
    assert files(run) == before


def test_a_run_that_is_being_written_is_left_alone(run: Path, replay: Replay) -> None:
    import fcntl

    with (run / "generate" / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        status, _, err = replay(run)
    assert status == 2 and "another process is writing it" in err


def test_a_folder_that_is_no_run(tmp_path: Path, replay: Replay) -> None:
    status, _, err = replay(tmp_path / "nowhere")
    assert status == 2 and "no run there" in err
    assert not (tmp_path / "nowhere").exists()


def test_settings_that_only_the_manifest_has_are_the_runs(finished: Path) -> None:
    """What is written beside the corpus is chosen by a runtime setting: the replay takes the run's choice."""
    manifest = json.loads((finished / "generate" / "manifest.json").read_text())
    assert manifest["settings"]["generate.exports"]["value"] == list(Settings().generate.exports)
