"""`generate.outputs_of`: the same instructions and inputs, every output anew; drops with reasons, resumed, replayed, refused."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as parquet
import pytest
from datasets import load_dataset

from self_instruct import commandline, corpus, engines, models, rundir, template
from self_instruct.engine_scripted import ScriptedEngine
from self_instruct.evaluate import corpora, corpus_statistics, report_run
from self_instruct.generate import cli
from self_instruct.records import Completion, Request

Call = Callable[..., tuple[int, str, str]]


class Watched(ScriptedEngine):
    """Notes what it is asked, and can stop after so many answers."""

    asked: list[Request]

    async def generate(self, request: Request) -> Completion:
        completion = await super().generate(request)
        self.asked.append(request)
        return completion


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The corpus of a small scripted run."""
    run = tmp_path_factory.mktemp("source") / "run"
    flags = ["--config", "configs/tiny.yaml", "--out", str(run), "--set", "model.engine=scripted"]
    flags += ["--set", "generate.target_instructions=30", "--set", "generate.max_requests=60"]
    assert commandline.run(cli.main, flags) == 0
    return run / "generate" / "corpus"


@pytest.fixture
def call(tmp_path: Path, source: Path, capsys: pytest.CaptureFixture[str]) -> Call:
    """Runs the command into tmp_path/run; returns status, stdout and stderr."""

    def run(*flags: str, of: Path = source, engine: str = "scripted") -> tuple[int, str, str]:
        capsys.readouterr()
        arguments = ["--config", "configs/tiny.yaml", "--out", str(tmp_path / "run"), "--set", f"model.engine={engine}"]
        status = commandline.run(cli.main, [*arguments, "--set", f"generate.outputs_of={of}", *flags])
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return run


@pytest.fixture
def scripted(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[Request]]:
    """Puts a scripted engine in the place of the next ones; returns the list of what they answered."""

    def use(script: Callable[[Request], str] | None = None, dies_after: int | None = None) -> list[Request]:
        asked: list[Request] = []

        async def start(*_: Any, **__: Any) -> ScriptedEngine:
            engine = Watched(seed=5, script=script, dies_after=dies_after)
            engine.asked = asked
            return engine

        monkeypatch.setattr(engines, "open_engine", start)
        return asked

    return use


def rows(folder: Path, config: str = "train") -> list[dict[str, Any]]:
    return [row for _, row in corpus.read_rows(folder, config, list(corpus.COLUMNS[config]))]


def without_output(row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name != "output"}


def files(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file() and p.name != ".lock"}


def small(folder: Path, texts: list[tuple[str, str]]) -> Path:
    """A corpus with one instruction for each different first text, and a row for each pair of instruction and input."""
    names = {text: f"m{place:06d}" for place, text in enumerate(dict.fromkeys(text for text, _ in texts), start=1)}
    made: dict[str, list[dict[str, Any]]] = {"train": [], "instructions": [], "instances": []}
    for text, name in names.items():
        own: dict[str, Any] = {"request": 0, "position": 0, "parents": [], "nearest_ids": [], "nearest_scores": []}
        made["instructions"].append(own | {"id": name, "instruction": text, "is_classification": False, "margin": -1.5})
    for place, (text, given) in enumerate(texts):
        shared = {"id": f"{names[text]}-i{place}", "input": given, "output": "old", "instruction_id": names[text]}
        made["train"].append(shared | {"instruction": text, "is_classification": False})
        made["instances"].append(shared | {"order": place})
    folder.mkdir()
    corpus.write(folder, made, "# small\n")
    return folder


def test_instructions_and_inputs_stay_in_their_order_and_outputs_are_new(
    call: Call, source: Path, tmp_path: Path, scripted: Callable[..., list[Request]]
) -> None:
    asked = scripted()
    status, out, _ = call()
    assert status == 0
    stage = tmp_path / "run" / "generate"
    old, new = rows(source), rows(stage / "corpus")
    assert len(old) > 20
    dropped = {row["id"] for row in rows(stage / "corpus", "rejected")} if len(new) < len(old) else set()
    assert [without_output(row) for row in new] == [without_output(row) for row in old if row["id"] not in dropped]
    before = {row["id"]: row["output"] for row in old}
    assert all(row["output"] != before[row["id"]] for row in new)
    # Each different prompt was asked once, greedily, in the order of the rows.
    prompts = list(dict.fromkeys(template.evaluation_prompt(row["instruction"], row["input"]) for row in old))
    assert sorted(request.prompt for request in asked) == sorted(prompts)
    journaled = [json.loads(line) for line in (stage / "journal" / "completions.jsonl").read_text().splitlines()]
    sent = [record["parents"][0] for record in sorted(journaled, key=lambda record: record["number"])]
    assert sent == sorted(sent, key=[row["id"] for row in old].index)
    assert {(r.sampling.temperature, r.sampling.max_tokens, r.sampling.stop) for r in asked} == {(0.0, 160, ())}
    # The other configs: whole rows of the source, and the new outputs.
    instructions = {row["id"]: row for row in rows(source, "instructions")}
    assert rows(stage / "corpus", "instructions") == [
        row for row in instructions.values() if row["id"] in {r["instruction_id"] for r in new}
    ]
    instances = {row["id"]: row for row in rows(source, "instances")}
    assert rows(stage / "corpus", "instances") == [instances[row["id"]] | {"output": row["output"]} for row in new]
    facts = rundir.read_json(stage / "manifest.json")["facts"]
    assert json.loads(out) == {
        "corpus": str(stage / "corpus"), "accepted": facts["accepted"], "instances": len(new), "stopped_by": "outputs_of",
    }  # fmt: skip
    assert facts["rows"] == len(old) == facts["instances"] + sum(facts["rejected"].get("output", {}).values())
    alpaca = json.loads((stage / "exports" / "alpaca.json").read_text())
    assert [row["output"] for row in alpaca] == [row["output"] for row in new]


def test_others_read_such_a_run(call: Call, source: Path, tmp_path: Path) -> None:
    assert call()[0] == 0
    folder = tmp_path / "run" / "generate" / "corpus"
    found = corpora.read(folder)
    assert sum(map(len, found.instances)) == len(rows(folder))
    assert set(found.instructions) <= set(corpora.read(source).instructions)
    assert corpus_statistics.measure(found, ["Name a colour."])["corpus"]["sha256"] == found.sha256
    assert load_dataset(str(folder), cache_dir=str(tmp_path / "cache"))["train"].num_rows == len(rows(folder))
    told = report_run.generation(tmp_path / "run")
    assert told is not None and (told["stopped_by"], told["candidates"]) == ("outputs_of", None)
    assert report_run.generation_blocks([{"run": "run", "found": told}])
    card = (folder / "README.md").read_text()
    inputs = rundir.read_json(tmp_path / "run" / "generate" / "config.json")["inputs"]
    assert inputs["outputs_of"] == rundir.sha256(source / "data")
    assert inputs["outputs_of"] in card and "a scripted engine" in card and str(tmp_path) not in card


def test_every_drop_has_its_rule(call: Call, tmp_path: Path, scripted: Callable[..., list[Request]]) -> None:
    place = small(
        tmp_path / "corpus",
        [
            ("Say nothing at all.", "now"),
            ("Repeat the input word.", "same"),
            ("Write a very long poem.", ""),
            ("Announce a list of things.", "x"),
            ("Name a colour you like.", ""),
            ("Name a colour you like.", ""),
            ("Name a colour you like.", "blue"),
            ("Sum this up. " + "word " * 3100, ""),
        ],
    )
    answers = {"nothing": "  \n ", "Repeat": " same\n", "poem": "la " * 200, "Announce": "Here they are:", "colour": " Red. "}
    asked = scripted(lambda request: next(text for word, text in answers.items() if word in request.prompt))
    assert call(of=place)[0] == 0
    assert len(asked) == 6  # two rows share a prompt, and one is too long to be asked
    stage = tmp_path / "run" / "generate"
    rejected = [(row["id"], row["step"], row["rule"], row["detail"], row["parent"]) for row in rows(stage / "corpus", "rejected")]
    assert rejected == [
        ("m000001-i0", "output", "empty_output", "", "m000001"),
        ("m000002-i1", "output", "input_equals_output", "", "m000002"),
        ("m000003-i2", "output", "cut_off", "160 tokens", "m000003"),
        ("m000004-i3", "output", "ends_with_colon", "", "m000004"),
        ("m000005-i5", "output", "duplicate", "m000005-i4", "m000005"),
        ("m000006-i7", "output", "too_long", "3104 + 160 of 3072 tokens", "m000006"),
    ]
    assert [(row["id"], row["output"]) for row in rows(stage / "corpus")] == [("m000005-i4", "Red."), ("m000005-i6", "Red.")]
    assert [row["id"] for row in rows(stage / "corpus", "instructions")] == ["m000005"]
    facts = rundir.read_json(stage / "manifest.json")["facts"]
    rules = ("cut_off", "duplicate", "empty_output", "ends_with_colon", "input_equals_output", "too_long")
    assert facts["rejected"] == {"output": dict.fromkeys(rules, 1)}
    assert (facts["accepted"], facts["instances"], facts["prompts"]) == (1, 2, 6)


def test_a_run_that_keeps_nothing_says_why(call: Call, tmp_path: Path, scripted: Callable[..., list[Request]]) -> None:
    scripted(lambda _: "")
    status, out, err = call(of=small(tmp_path / "corpus", [("Say nothing at all.", "now")]))
    assert (status, out) == (2, "")
    assert "no row is left of 1 (empty_output)" in err.strip().splitlines()[-2]


def test_killed_and_cut_it_goes_on_to_the_same_bytes(
    call: Call, tmp_path: Path, scripted: Callable[..., list[Request]], source: Path
) -> None:
    scripted()
    assert call()[0] == 0
    stage = tmp_path / "run" / "generate"
    whole = files(stage / "corpus" / "data") | files(stage / "exports")
    shutil.rmtree(tmp_path / "run")

    first = scripted(dies_after=7)
    assert call()[0] == 2
    assert len(first) == 7 and not (stage / "corpus").exists()
    path = stage / "journal" / "completions.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:6]) + lines[6][:40])  # torn in the middle of a line
    known = {json.loads(line)["id"] for line in lines[:6]}
    second = scripted()
    status, _, err = call()
    assert status == 0 and "going on from 6 journaled completions" in err
    assert not known & {request.id for request in second}
    assert files(stage / "corpus" / "data") | files(stage / "exports") == whole
    assert len(rundir.read_json(stage / "manifest.json")["facts"]["sessions"]) == 2
    third = scripted()
    assert call()[0] == 0 and third == []  # finished: nothing is asked
    moved = Path(shutil.copytree(source, tmp_path / "elsewhere"))
    assert call(of=moved)[0] == 0  # the same corpus in another place is the same input


def test_replay_gives_the_same_bytes_and_needs_nothing(
    call: Call, tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    mine = Path(shutil.copytree(source, tmp_path / "mine"))
    assert call(of=mine)[0] == 0
    shutil.rmtree(mine)

    def forbidden(*_: Any) -> Any:
        raise AssertionError("a replay needs none")

    for name in ("open_engine", "resolve_model", "token_counter"):
        monkeypatch.setattr(engines, name, forbidden)
    run = tmp_path / "run"
    before = files(run)
    shutil.rmtree(run / "generate" / "corpus")
    shutil.rmtree(run / "generate" / "exports")
    assert commandline.run(cli.main, ["replay", str(run)]) == 0
    assert json.loads(capsys.readouterr().out)["identical"] == ["corpus", "exports"]
    assert files(run) == before
    for name in ("completions.jsonl", "prompts.jsonl", "inputs/outputs_of/data"):
        damaged = Path(shutil.copytree(run, tmp_path / f"damaged-{Path(name).stem}"))
        path = damaged / "generate" / "journal" / name
        path = next(path.rglob("*.parquet")) if path.is_dir() else path
        path.write_bytes(path.read_bytes().replace(b"e", b"a", 1) if path.suffix == ".jsonl" else b"PAR1")
        assert commandline.run(cli.main, ["replay", str(damaged)]) == 2
        assert "not" in capsys.readouterr().err
        assert files(damaged / "generate" / "corpus") == files(run / "generate" / "corpus")


def test_lineage_and_plan_refuse(call: Call, tmp_path: Path, source: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call()[0] == 0
    capsys.readouterr()
    row = rows(tmp_path / "run" / "generate" / "corpus")[0]["id"]
    assert commandline.run(cli.main, ["lineage", str(tmp_path / "run"), row]) == 2
    assert "rows of another corpus" in capsys.readouterr().err
    flags = ["--config", "configs/tiny.yaml", "--set", "model.engine=scripted", "--set", f"generate.outputs_of={source}"]
    assert commandline.run(cli.main, ["plan", *flags]) == 2
    assert "'generate.outputs_of' is set: a plan is for runs that write tasks" in capsys.readouterr().err


def test_other_settings_and_another_corpus_are_refused(call: Call, tmp_path: Path) -> None:
    assert call()[0] == 0
    before = files(tmp_path / "run")
    status, _, err = call("--set", "model.prompt=chat")
    assert status == 2 and "model.prompt was 'completion', is 'chat'" in err
    status, _, err = call(of=small(tmp_path / "other", [("Say nothing at all.", "now")]))
    assert status == 2 and "input outputs_of" in err
    status, _, err = call("--set", "generate.outputs_of=null")
    assert status == 2 and "generate.outputs_of was" in err
    assert files(tmp_path / "run") == before


def test_chat_asks_by_the_template(call: Call, source: Path, tmp_path: Path, scripted: Callable[..., list[Request]]) -> None:
    """The scripted engine has no template: there the bare turn is sent."""
    asked = scripted()
    assert call("--set", "model.prompt=chat")[0] == 0
    assert {request.prompt for request in asked} == {template.user_turn(row["instruction"], row["input"]) for row in rows(source)}
    assert "in its chat template" in (tmp_path / "run" / "generate" / "corpus" / "README.md").read_text()


def test_a_template_is_put_around_and_a_missing_one_is_told(
    call: Call, tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch, scripted: Callable[..., list[Request]]
) -> None:
    @dataclasses.dataclass
    class Tokenizer:
        chat_template: str | None
        bos_token: str | None = None

        @dataclasses.dataclass
        class Encoded:
            input_ids: list[int]

        def __call__(self, text: str) -> Encoded:
            return self.Encoded([1] * len(text.split()))

        def apply_chat_template(self, turns: list[dict[str, str]], **_: Any) -> str:
            return f"<user> {turns[0]['content']} <assistant>"

    named = ("--set", f"model.name={tiny_model}", "--set", "model.prompt=chat")
    place = small(tmp_path / "corpus", [("Name a colour.", "blue")])
    monkeypatch.setattr(models, "load_tokenizer", lambda _: Tokenizer(chat_template=None))
    status, out, err = call(*named, of=place, engine="transformers")
    assert (status, out) == (2, "") and "its tokenizer has no chat template" in err
    assert not (tmp_path / "run").exists()
    monkeypatch.setattr(models, "load_tokenizer", lambda _: Tokenizer(chat_template="any"))
    asked = scripted(lambda _: "Red.")
    assert call(*named, of=place, engine="transformers")[0] == 0
    assert [request.prompt for request in asked] == ["<user> Name a colour.\n\nblue <assistant>"]


def test_a_dry_run_writes_nothing(call: Call, source: Path, tmp_path: Path) -> None:
    status, out, _ = call("--dry-run")
    said = json.loads(out)
    assert (status, said["rows"], said["too_long"], said["context"]) == (0, len(rows(source)), 0, 3072)
    assert 0 < said["requests"] <= said["rows"] and said["prompt_tokens"] > 5
    assert not (tmp_path / "run").exists()


def test_bad_places_and_limits_are_one_line(call: Call, source: Path, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    unknown = Path(shutil.copytree(source, tmp_path / "unknown"))
    path = next((unknown / "data" / "instances").glob("*.parquet"))
    parquet.write_table(parquet.read_table(path).slice(1), path)
    twice = Path(shutil.copytree(source, tmp_path / "twice"))
    path = next((twice / "data" / "train").glob("*.parquet"))
    table = parquet.read_table(path)
    parquet.write_table(pa.concat_tables([table, table.slice(0, 1)]), path)
    bare = Path(shutil.copytree(source, tmp_path / "bare"))
    parquet.write_table(table.slice(0, 0), next((bare / "data" / "train").glob("*.parquet")))
    cases = [
        (tmp_path / "nowhere", (), "nowhere: no such folder"),
        (empty, (), "empty: no corpus there (data/train/*.parquet)"),
        (unknown, (), "row 1 of `train`: no 'task-"),
        (twice, (), "is given again"),
        (bare, (), "bare: `train` has no row"),
        (source, ("--set", "generate.max_tokens=4000"), "4000 new tokens leave no room for a prompt in a context of 3072"),
    ]
    for place, flags, error in cases:
        status, out, err = call(*flags, of=place)
        lines = err.strip().splitlines()
        assert (status, out) == (2, "")
        assert error in lines[-2] and lines[-2].startswith("error: ") and lines[-1].startswith("hint: ")
        assert not (tmp_path / "run").exists()
