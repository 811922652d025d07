"""`generate lineage`: from a training row back to the seeds, on a run of the scripted engine made by the command."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from self_instruct import commandline, corpus, journal, rundir
from self_instruct.engine_journaled import payload_hash
from self_instruct.errors import DataError, RunFolderError
from self_instruct.generate import prompts
from self_instruct.generate.cli import main
from self_instruct.generate.lineage import Lineage, tell, trace
from self_instruct.records import Request, Sampling
from self_instruct.seedbank import load_seeds
from self_instruct.settings import GenerateSettings

SEEDS = {task.id: task.instruction for task in load_seeds()}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("datasets")
    out = tmp_path_factory.mktemp("lineage") / "run"
    flags = ["--config", "configs/tiny.yaml", "--out", str(out), "--set", "model.engine=scripted"]
    flags += ["--set", "generate.target_instructions=60", "--set", "generate.max_requests=60"]
    assert commandline.run(main, flags) == 0
    return out


@pytest.fixture
def copy(run: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(run, tmp_path / "run"))


def rows(run: Path, config: str = "train") -> list[dict[str, Any]]:
    return [row for _, row in corpus.read_rows(run / "generate" / "corpus", config, list(corpus.COLUMNS[config]))]


def traced(run: Path, row_id: str) -> Lineage:
    return trace(run / "generate", rundir.read_json(run / "generate" / "manifest.json"), row_id)


def test_every_row_leads_to_its_completions_and_the_instructions_shown(run: Path) -> None:
    answers = {one["id"]: one["text"] for one in journal.read(run / "generate" / "journal" / "completions.jsonl")}
    tasks = {task["id"]: task for task in rows(run, "instructions")}
    machine = 0
    for row in rows(run)[::7]:
        found = traced(run, row["id"])
        task = tasks[row["instruction_id"]]
        assert (found.row.instruction, found.row.input, found.row.output) == (row["instruction"], row["input"], row["output"])
        assert (found.task.instruction.id, found.task.margin) == (task["id"], task["margin"])
        # What the pipeline took the row from.
        assert row["instruction"] in " ".join(found.bootstrap.split())
        assert row["output"] in found.instances and row["input"] in found.instances
        assert found.bootstrap == answers[f"bootstrap-{task['request']:06d}"]
        assert [entry.id for entry in found.shown] == task["parents"]
        assert [entry.text for entry in found.shown] == [
            SEEDS[parent] if parent in SEEDS else tasks[parent]["instruction"] for parent in task["parents"]
        ]
        machine += sum(entry.id in tasks for entry in found.shown)
        assert found.prompt == prompts.bootstrap([entry.text for entry in found.shown])
    assert machine > 0, "a row whose prompt showed machine instructions must be among them"


def test_the_prompt_is_the_one_that_was_sent(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rebuilt from the ids of the parents; the pipeline's own prompts are seen by asking it again."""
    from self_instruct.engine_journaled import JournaledEngine

    sent: dict[str, str] = {}
    generate = JournaledEngine.generate

    async def watch(self: JournaledEngine, request: Request) -> Any:
        sent[request.id] = request.prompt
        return await generate(self, request)

    monkeypatch.setattr(JournaledEngine, "generate", watch)
    assert commandline.run(main, ["replay", str(run)]) == 0
    for row in rows(run)[::9]:
        found = traced(run, row["id"])
        assert found.prompt == sent[f"bootstrap-{found.task.instruction.request:06d}"]


def test_the_prompts_of_steps_2_and_3_have_the_hash_that_the_journal_has(run: Path) -> None:
    payloads = {one["id"]: one["payload"] for one in journal.read(run / "generate" / "journal" / "completions.jsonl")}
    defaults = GenerateSettings()
    # The tiny config's 64 new tokens, for both kinds.
    step_3 = Sampling(
        max_tokens=64,
        presence_penalty=defaults.instance_presence_penalty,
        stop=prompts.instance_stops(defaults.max_instances),
    )
    kinds = set()
    for row in rows(run)[::5]:
        found = traced(run, row["id"])
        kinds.add(found.task.is_classification)
        classify, instances = (f"{step}-{found.task.instruction.id}" for step in ("classify", "instances"))
        asked = Request(
            id=classify, prompt=found.classify_prompt, sampling=Sampling(max_tokens=1), choices=(prompts.YES, prompts.NO)
        )
        assert payload_hash(asked) == payloads[classify]
        assert payload_hash(Request(id=instances, prompt=found.instances_prompt, sampling=step_3)) == payloads[instances]
    assert kinds == {True, False}


def test_demonstrations_are_told_by_their_length(run: Path) -> None:
    whole = rows(run)
    for verdict in (True, False):
        found = traced(run, next(row["id"] for row in whole if row["is_classification"] == verdict))
        shown = found.demonstrations
        head = shown.output_first if verdict else shown.input_first
        text, task = tell(found), f"  Task: {found.task.instruction.text}\n"
        place = "characters of demonstrations from journal/inputs/demonstrations"
        cue = "  Example 1\n  Class label:\n\n" if verdict else "  Example 1\n\n"
        assert f"prompt of step 3\n  ({len(head)} {place})\n{task}{cue}" in text
        assert f"prompt of step 2\n  ({len(shown.classification)} {place})\n{task}  {prompts.QUESTION}\n\n" in text
        assert found.instances_prompt.startswith(head) and head[:200] not in text


def test_the_command_prints_all_of_it(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    row = rows(run)[-1]
    capsys.readouterr()
    assert commandline.run(main, ["lineage", str(run), row["id"]]) == 0
    said, found = capsys.readouterr().out, traced(run, row["id"])
    assert said == tell(found) + "\n"
    made = found.task.instruction
    assert said.startswith(f"row {row['id']}\n  instruction: {row['instruction']}\n")
    assert f"margin {found.task.margin:+.4f} nats" in said
    for one in made.nearest:
        assert f"  {one.score:.4f}  {one.id} (" in said
    for number, entry in enumerate(found.shown, start=1):
        kind = "seed" if entry.id in SEEDS else "machine"
        assert f"  {number}. {entry.id} ({kind})  {entry.text}\n" in said + "\n"
    assert "of which it is item" in said


def test_nothing_is_changed(run: Path) -> None:
    def files() -> dict[str, bytes]:
        return {str(path): path.read_bytes() for path in sorted(run.rglob("*")) if path.is_file()}

    before = files()
    assert commandline.run(main, ["lineage", str(run), rows(run)[0]["id"]]) == 0
    assert files() == before


def test_characters_that_a_terminal_obeys_are_spelled_out(run: Path) -> None:
    import dataclasses

    found = dataclasses.replace(traced(run, rows(run)[0]["id"]), bootstrap="a\x1b[31mred\r\ud83d\x00\n é 漢")
    assert "\n  a\\x1b[31mred\\r\\ud83d\\x00\n   é 漢\n" in tell(found)


Damage = Callable[[Path], Any]


@pytest.mark.parametrize(
    ("damage", "kind", "said"),
    [
        (lambda stage: shutil.rmtree(stage / "corpus"), DataError, "corpus: no corpus there"),
        (
            lambda stage: (stage / "journal/completions.jsonl").write_text("", encoding="utf-8"),
            RunFolderError,
            r"completions\.jsonl: request bootstrap-\d+ is not in it",
        ),
        (lambda stage: shutil.rmtree(stage / "journal/inputs"), RunFolderError, "its copy of the seeds is missing"),
    ],
)
def test_what_is_gone_is_told(copy: Path, damage: Damage, kind: type[Exception], said: str) -> None:
    row = rows(copy)[0]["id"]
    damage(copy / "generate")
    with pytest.raises(kind, match=said):
        traced(copy, row)


def test_a_row_that_is_not_there(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert commandline.run(main, ["lineage", str(run), "task-1"]) == 2
    err = capsys.readouterr().err
    assert "no row 'task-1' in `train`\nhint: ids look like task-" in err
    assert commandline.run(main, ["lineage", str(tmp_path), "task-1"]) == 2
    assert "no run there" in capsys.readouterr().err


def test_it_needs_no_engine(run: Path) -> None:
    import subprocess
    import sys

    code = (
        "import sys; from self_instruct import commandline; from self_instruct.generate.cli import main\n"
        "status = commandline.run(main, sys.argv[1:])\n"
        "import json; print(json.dumps([m for m in ('torch', 'vllm', 'transformers', 'datasets') if m in sys.modules]))\n"
        "sys.exit(status)"
    )
    command = [sys.executable, "-c", code, "lineage", str(run), rows(run)[0]["id"]]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout.splitlines()[-1]) == []
