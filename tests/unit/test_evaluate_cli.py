"""The stage as a command, on the scripted engine: a whole run, resuming, kills and bad input."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import sample_runs
from self_instruct import commandline, embedded, engines, models, rundir, runlog
from self_instruct.engine_scripted import ScriptedEngine
from self_instruct.evaluate import answer_cache, cli, figures
from self_instruct.records import Request
from self_instruct.seedbank import load_user_oriented

SOURCE = Path(__file__).resolve().parents[2] / "src"


@pytest.fixture(autouse=True)
def without_plots_and_with_a_fresh_log(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(figures, "available", lambda: False)
    monkeypatch.setattr(runlog.log, "handlers", [])  # the first test's handler would write to that test's stderr


@pytest.fixture
def run(tmp_path: Path, tiny_model: Path) -> Path:
    """A run folder with an adapter, beside the model."""
    sample_runs.adapter(tmp_path / "run" / "train" / "adapter")
    return tmp_path / "run"


def arguments(run: Path, *more: str) -> list[str]:
    model = next(parent for parent in run.parents if (parent / "tiny-model").exists()) / "tiny-model"
    settings = [f"model.name={model}", "model.engine=scripted", "evaluate.max_tokens=20", "evaluate.max_items=6"]
    settings += [f"evaluate.cache={model.parent / 'cache'}", *more]
    return ["--out", str(run), *(word for setting in settings for word in ("--set", setting))]


def call(run: Path, *more: str, flags: tuple[str, ...] = ()) -> int:
    return commandline.run(cli.main, [*arguments(run, *more), *flags])


def spy(monkeypatch: pytest.MonkeyPatch, asked: list[str], **options: Any) -> None:
    """Let the stage use a scripted engine that notes the ids it is asked for."""

    def script(request: Request) -> str:
        asked.append(f"{'tuned' if request.adapter else 'base'}: {request.prompt}")
        return f"{'tuned' if request.adapter else 'base'} answer"

    async def open_engine(*_: Any) -> ScriptedEngine:
        return ScriptedEngine(script=script, **options)

    monkeypatch.setattr(engines, "open_engine", open_engine)


class Words:
    """A tokenizer of words."""

    def __call__(self, text: str) -> Any:
        return SimpleNamespace(input_ids=text.split())

    def decode(self, ids: list[str], **_: Any) -> str:
        return " ".join(ids)


def product(run: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (run / "evaluate" / "report").iterdir()}


def test_a_run_from_start_to_report(run: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert call(run) == 0
    out = capfd.readouterr().out
    (line,) = out.splitlines()
    told = json.loads(line)
    tree = json.loads((run / "evaluate/report/report.json").read_text("utf-8"))
    assert told == {
        "stage": "evaluate",
        "report": str(run / "evaluate/report/report.html"),
        "rouge_l": {"user_oriented": {model["model"]: model["rouge_l"]["value"] for model in tree["suites"][0]["models"]}},
    }
    assert list(told["rouge_l"]["user_oriented"]) == ["base", "tuned"]
    assert tree["scripted"] and tree["suites"][0]["items"] == 6
    manifest = json.loads((run / "evaluate/manifest.json").read_text("utf-8"))
    assert manifest["status"] == "finished"
    assert manifest["facts"]["rouge_l"] == told["rouge_l"]
    assert sorted(manifest["inputs"]) == ["adapter tuned", "model", "user_oriented"]
    assert len((run / "evaluate/journal/predictions.jsonl").read_text("utf-8").splitlines()) == 12


def test_a_finished_stage_says_where_the_report_is(
    run: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    asked: list[str] = []
    spy(monkeypatch, asked)
    assert call(run) == 0
    first, told = product(run), capfd.readouterr().out
    asked.clear()
    assert call(run) == 0
    again = capfd.readouterr()
    assert again.out == told
    assert f"already finished; the report is {run}" in again.err
    assert asked == []
    assert product(run) == first


def test_a_deleted_report_is_made_again_without_an_engine(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    spy(monkeypatch, asked)
    assert call(run) == 0
    first = product(run)
    manifest = (run / "evaluate/manifest.json").read_bytes()
    for path in (run / "evaluate/report").iterdir():
        path.unlink()
    (run / "evaluate/report").rmdir()
    asked.clear()
    assert call(run) == 0
    assert asked == []
    assert product(run) == first
    assert (run / "evaluate/manifest.json").read_bytes() == manifest


def test_deleted_results_are_made_again_without_an_engine(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert call(run) == 0
    first, seconds = product(run), json.loads((run / "evaluate/manifest.json").read_text())["seconds"]
    for name in ("results", "report"):
        shutil.rmtree(run / "evaluate" / name)
    monkeypatch.delattr(engines, "open_engine")
    assert call(run) == 0
    assert product(run) == first
    assert json.loads((run / "evaluate/manifest.json").read_text())["seconds"] == seconds


def test_contamination_is_of_what_the_adapter_was_trained_on(run: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    data, item = tmp_path / "mine.jsonl", load_user_oriented()[0]
    rows = [{"instruction": item.instruction, "input": "", "output": "x"}, {"instruction": "Say it.", "input": "", "output": "it"}]
    data.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    made = sample_runs.manifest("train", sample_runs.TRAIN_FACTS)
    values = {"train.data": str(data), "train.sample": 10, "run.seed": 1, "train.include_seeds": False}
    made["settings"] |= {name: {"value": value, "origin": "--set"} for name, value in values.items()}
    made["inputs"] = {"data": rundir.sha256(data)}
    (run / "train/manifest.json").write_text(json.dumps(made))
    assert call(run) == 0
    (found,) = json.loads((run / "evaluate/report/report.json").read_text("utf-8"))["contamination"][0]["sets"]
    assert (found["model"], found["rows"], found["overlapping_rows"], found["equal"]) == ("tuned", 2, 1, 1)
    data.write_text(data.read_text() + json.dumps(rows[1]) + "\n")
    shutil.rmtree(run / "evaluate")
    assert call(run) == 0
    (found,) = json.loads((run / "evaluate/report/report.json").read_text("utf-8"))["contamination"][0]["sets"]
    assert found["why_not"] == f"{data}: other data than {run}/train/adapter was trained on (its hash differs)"
    shutil.rmtree(run / "evaluate")
    assert call(run, "evaluate.adapters=[]") == 0
    assert json.loads((run / "evaluate/report/report.json").read_text("utf-8"))["contamination"][0]["sets"] == []


def test_a_run_folder_may_move(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    spy(monkeypatch, asked, dies_after=5)
    assert call(run) == 2
    moved = run.with_name("elsewhere")
    run.rename(moved)
    before = len(asked)
    spy(monkeypatch, asked)
    assert call(moved) == 0
    assert len(asked) - before <= 12 - 4


def test_an_engine_that_dies_is_exit_2_and_the_next_call_goes_on(
    run: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    first: list[str] = []
    spy(monkeypatch, first, dies_after=5)
    assert call(run) == 2
    error = capfd.readouterr().err
    assert "error: the scripted engine died after 5 answers" in error
    assert "Traceback" not in error
    assert not (run / "evaluate/report").exists()
    kept = (run / "evaluate/journal/predictions.jsonl").read_text("utf-8").splitlines()
    second: list[str] = []
    spy(monkeypatch, second)
    assert call(run) == 0
    assert len(second) == len(set(second)) == 12 - len(kept)
    assert len(set(first) | set(second)) == 12
    assert f"{len(kept)} of 12 answers are in the journal already" in (run / "evaluate/log.txt").read_text("utf-8")


def test_killed_in_the_middle_and_continued_gives_the_same_answers(run: Path, tmp_path: Path) -> None:
    """kill -9 in the middle of a real process; logical determinism: the answers are the same as without the kill."""
    slow = tmp_path / "slow.py"
    slow.write_text(
        "import os\n"
        "from self_instruct import commandline, engines\n"
        "from self_instruct.engine_scripted import ScriptedEngine\n"
        "from self_instruct.evaluate import cli\n"
        "async def open_engine(*_):\n"
        "    return ScriptedEngine(seed=42, delay_s=float(os.environ['DELAY_S']))\n"
        "engines.open_engine = open_engine\n"
        "raise SystemExit(commandline.run(cli.main))\n",
        encoding="utf-8",
    )
    environment = os.environ | {"PYTHONPATH": str(SOURCE), "DELAY_S": "20"}
    path = run / "evaluate" / "journal" / "predictions.jsonl"

    def lines() -> list[bytes]:
        return path.read_bytes().splitlines() if path.exists() else []

    process = subprocess.Popen([sys.executable, str(slow), *arguments(run)], env=environment, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while len(lines()) < 3 and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    killed = lines()
    assert 3 <= len(killed) < 12
    environment["DELAY_S"] = "0"
    done = subprocess.run(
        [sys.executable, str(slow), *arguments(run)], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert lines()[: len(killed)] == killed and len(lines()) == 12

    straight = tmp_path / "other" / "run"
    sample_runs.adapter(straight / "train" / "adapter")
    assert call(straight) == 0
    answers = "evaluate/results/answers.jsonl"
    assert (straight / answers).read_bytes() == (run / answers).read_bytes()


def test_dry_run_writes_nothing_and_needs_no_model(run: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert call(run, "model.name=Some/hub-model", flags=("--dry-run",)) == 0
    told = json.loads(capfd.readouterr().out)
    assert told == {
        "stage": "evaluate", "dry_run": True, "models": ["base", "tuned"], "items": {"user_oriented": 6}, "requests": 12,
    }  # fmt: skip
    assert not (run / "evaluate").exists()


def test_several_adapters_by_name(run: Path, tmp_path: Path) -> None:
    other = sample_runs.adapter(tmp_path / "mine" / "lora", content="two")
    assert call(run, f"evaluate.adapters=[{run}/train/adapter, {other}]") == 0
    tree = json.loads((run / "evaluate/report/report.json").read_text("utf-8"))
    assert list(tree["models"]) == ["base", "tuned", "lora"]


def test_an_adapter_named_twice(run: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert call(run, f"evaluate.adapters=[{run}/train/adapter, {run}/train/../train/adapter]") == 2
    assert "train/../train/adapter is named twice" in capfd.readouterr().err


def test_a_fully_tuned_run_is_measured_as_a_model_of_its_own(
    tmp_path: Path, tiny_model: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "run/train/model").mkdir(parents=True)
    assert call(tmp_path / "run") == 2
    error, hint = capfd.readouterr().err.splitlines()[-2:]
    assert error == f"error: {tmp_path}/run/train/adapter: no adapter: the run fine-tuned the whole model (train.method: full)"
    assert f"--set model.name={tmp_path}/run/train/model --set 'evaluate.adapters=[]'" in hint


def test_no_adapter_at_all_measures_the_base(run: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert call(run, "evaluate.adapters=[]") == 0
    assert list(json.loads(capfd.readouterr().out)["rouge_l"]["user_oriented"]) == ["base"]


def test_a_missing_adapter_is_one_line_with_a_hint(tmp_path: Path, tiny_model: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert call(tmp_path / "run") == 2
    assert capfd.readouterr().err.splitlines()[-2:] == [
        f"error: {tmp_path}/run/train/adapter: no LoRA adapter there (adapter_config.json)",
        "hint: train one first: ./launch.sh train with the same --config; or name one: --set evaluate.adapters=[FOLDER]",
    ]
    assert not (tmp_path / "run").exists()


def test_an_adapter_of_another_base_is_refused(run: Path, capfd: pytest.CaptureFixture[str]) -> None:
    base = {"base_model": {"reference": "other/model", "fingerprint": "0" * 64}}
    (run / "train/adapter/training_manifest.json").write_text(json.dumps(base), encoding="utf-8")
    assert call(run) == 2
    assert "adapter: trained on other/model (000000000000), model.name is" in capfd.readouterr().err
    assert not (run / "evaluate").exists()


def test_an_adapter_of_this_base_is_taken(run: Path, tiny_model: Path) -> None:
    from self_instruct.models import resolve
    from self_instruct.settings import ModelSettings

    fingerprint = resolve(ModelSettings(name=str(tiny_model))).fingerprint
    manifest = {"base_model": {"reference": "x", "fingerprint": fingerprint}}
    (run / "train/adapter/training_manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    assert call(run) == 0


@pytest.mark.parametrize("change", ["evaluate.max_tokens=21", "evaluate.max_items=7", "run.seed=1"])
def test_a_folder_of_another_config_is_refused(change: str, run: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert call(run) == 0
    first = product(run)
    assert call(run, change) == 2
    assert f"made with another config: {change.split('=')[0]} was" in capfd.readouterr().err
    assert product(run) == first


def test_a_retrained_adapter_is_refused(run: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert call(run) == 0
    (run / "train/adapter/adapter_model.safetensors").write_text("other", encoding="utf-8")
    assert call(run) == 2
    assert "input adapter tuned was" in capfd.readouterr().err


def test_no_room_for_a_prompt(run: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert call(run, "evaluate.max_tokens=4096") == 2
    error = capfd.readouterr().err
    assert "error: --set: 'evaluate.max_tokens' is 4096: no room for a prompt in a context of 4096 tokens" in error
    assert not (run / "evaluate").exists()


def test_a_long_prompt_is_cut_by_the_models_tokenizer(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    row = {"id": "long", "motivation_app": "App", "instruction": "Say it.", "instances": [{"input": "w " * 9000, "output": "w"}]}
    (tmp_path / "own.jsonl").write_text(json.dumps(row) + "\n", encoding="utf-8")
    monkeypatch.setattr(models, "load_tokenizer", lambda folder: Words())
    assert call(run, f"evaluate.user_oriented={tmp_path / 'own.jsonl'}") == 0
    (suite,) = json.loads((run / "evaluate/report/report.json").read_text("utf-8"))["suites"]
    assert suite["cut_inputs"] == 1 and suite["name"] == "own"


def test_a_damaged_journal_is_an_error(run: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    spy(monkeypatch, [], dies_after=5)
    assert call(run) == 2
    path = run / "evaluate/journal/predictions.jsonl"
    damaged = b"not json\n" + path.read_bytes()
    path.write_bytes(damaged)
    assert call(run) == 2
    assert "predictions.jsonl:1: damaged line" in capfd.readouterr().err
    assert path.read_bytes() == damaged


def test_help_and_dry_run_load_nothing_heavy() -> None:
    code = (
        "import sys; sys.argv=['x', '--help']\n"
        "from self_instruct.evaluate import cli\n"
        "try: cli.main(['--help'])\n"
        "except SystemExit: pass\n"
        "print(sorted({'torch', 'vllm', 'transformers', 'datasets', 'numpy', 'nltk', 'matplotlib', 'pyarrow'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | {"PYTHONPATH": str(SOURCE)}, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "[]"
    assert "--dry-run" in done.stdout


def test_the_embedded_model_is_not_touched_by_these_tests(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> Path:
        raise AssertionError("converted the embedded model")

    monkeypatch.setattr(embedded, "prepare", refuse)
    assert call(run) == 0


def test_superni_may_be_named_later_and_what_was_answered_stays(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    asked: list[str] = []
    spy(monkeypatch, asked)
    assert call(run) == 0
    before = json.loads((run / "evaluate/report/report.json").read_text("utf-8"))["suites"]
    asked.clear()
    assert call(run, f"evaluate.superni.folder={sample_runs.clone(tmp_path / 'ni')}") == 0
    assert len(asked) == 12
    after = json.loads((run / "evaluate/report/report.json").read_text("utf-8"))["suites"]
    assert [suite["name"] for suite in after] == ["user_oriented", "superni"] and after[:1] == before
    assert "SuperNI" in (run / "evaluate/report/report.html").read_text("utf-8")
    capfd.readouterr()
    assert call(run) == 2
    assert "evaluate.superni.folder was " in capfd.readouterr().err


def test_superni_and_two_files_of_user_oriented_tasks_in_one_run(
    run: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    row = {"id": "own_0", "motivation_app": "App", "instruction": "Say it.", "instances": [{"input": "", "output": "it"}]}
    (tmp_path / "own.jsonl").write_text(json.dumps(row) + "\n", encoding="utf-8")
    sets = (
        f"evaluate.user_oriented=[shipped, {tmp_path}/own.jsonl]",
        f"evaluate.superni.folder={sample_runs.clone(tmp_path / 'ni')}",
    )
    assert call(run, *sets, flags=("--dry-run",)) == 0
    told = json.loads(capfd.readouterr().out)
    assert told["items"] == {"user_oriented": 6, "own": 1, "superni": 6} and told["requests"] == 26
    assert call(run, *sets) == 0
    tree = json.loads((run / "evaluate/report/report.json").read_text("utf-8"))
    assert [(one["name"], one["items"], one["tasks"]) for one in tree["suites"]] == [
        ("user_oriented", 6, 6), ("own", 1, 1), ("superni", 6, 2),
    ]  # fmt: skip
    assert sorted(json.loads((run / "evaluate/manifest.json").read_text("utf-8"))["inputs"]) == [
        "adapter tuned", "model", "superni", "user_oriented", "user_oriented own",
    ]  # fmt: skip
    assert call(run, sets[0], f"evaluate.superni.folder={sample_runs.clone(tmp_path / 'moved')}") == 0  # the same content elsewhere
    assert call(run, sets[0], f"evaluate.superni.folder={sample_runs.clone(tmp_path / 'other', instances=2)}") == 2
    assert "(and input superni)" in capfd.readouterr().err


def test_a_folder_that_is_no_natural_instructions(run: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert call(run, f"evaluate.superni.folder={tmp_path}") == 2
    assert f"error: {tmp_path}" in capfd.readouterr().err
    assert not (run / "evaluate").exists()


def test_what_another_run_was_answered_is_not_asked_again(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(answer_cache, "model_key", lambda *_: "the same model")
    asked: list[str] = []
    spy(monkeypatch, asked)
    assert call(run) == 0
    assert len(asked) == 12
    other = tmp_path / "other" / "run"
    sample_runs.adapter(other / "train" / "adapter", content="another adapter")
    assert call(other) == 0
    assert len(asked) == 18 and all(one.startswith("tuned: ") for one in asked[12:])
    assert "6 answers were given in other runs" in capfd.readouterr().err
    again = tmp_path / "again" / "run"
    sample_runs.adapter(again / "train" / "adapter")
    monkeypatch.delattr(engines, "open_engine")  # none is started
    assert call(again) == 0
    tree = json.loads((again / "evaluate/report/report.json").read_text("utf-8"))
    assert tree["answering"][0]["cached"] == 12 and tree["answering"][0]["requests"] == 0
    assert (again / "evaluate/results/answers.jsonl").read_bytes() == (run / "evaluate/results/answers.jsonl").read_bytes()


def evaluate(*words: object) -> int:
    return commandline.run(cli.main, [str(word) for word in words])


def test_report_of_runs(run: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert call(run) == 0
    first = product(run)
    assert evaluate("report", run) == 0
    assert product(run) == first
    other = sample_runs.adapter(tmp_path / "other" / "train" / "adapter", content="two").parents[1]
    assert call(other) == 0
    capfd.readouterr()
    assert evaluate("report", run, other, "--out", tmp_path / "both", "--set", "evaluate.examples=1") == 0
    told = json.loads(capfd.readouterr().out)
    assert list(told["rouge_l"]["user_oriented"]) == ["base", "tuned", "other/tuned"]
    assert told["report"] == str(tmp_path / "both" / "report.html")
    tree = json.loads((tmp_path / "both" / "report.json").read_text("utf-8"))
    assert len(tree["examples"][0]["rows"]) == 1
    assert evaluate("report", run, other) == 2
    assert "error: evaluate report: 2 runs, and no place for their report" in capfd.readouterr().err
    assert evaluate("report", tmp_path / "nowhere") == 2
    assert "nowhere/evaluate: no run there" in capfd.readouterr().err


def test_a_report_made_again_has_as_many_examples_as_the_run_asked_for(run: Path) -> None:
    assert call(run, "evaluate.examples=2") == 0
    first = product(run)
    (run / "other.yaml").write_text("train:\n  epochs: 1\n")
    for more in ((), ("--config", run / "other.yaml")):
        assert evaluate("report", run, *more) == 0
        assert product(run) == first


def test_runs_of_other_sets_arent_compared(run: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    other = sample_runs.adapter(tmp_path / "other" / "train" / "adapter").parents[1]
    assert call(run) == 0 and call(other, "evaluate.max_items=5") == 0
    assert evaluate("report", run, other, "--out", tmp_path / "both") == 2
    error = capfd.readouterr().err
    assert f"{run} and {other} were measured on different sets named user_oriented: 6 and 5 items, 1 of them in one only" in error
    assert not (tmp_path / "both").exists()


def predictions(path: Path, **texts: str) -> Path:
    path.write_text(
        "".join(json.dumps({"id": f"task{id[1:].replace('_', '-')}", "prediction": t}) + "\n" for id, t in texts.items())
    )
    return path


def test_predictions_made_elsewhere_are_scored(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    sets = ("--set", f"evaluate.superni.folder={sample_runs.clone(tmp_path / 'ni')}", "--set", "evaluate.user_oriented=[]")
    good = predictions(tmp_path / "good.jsonl", t0_0="0 pears", t0_1="1 pears", t1_2="Pears", t9_9="of no task")
    bad = predictions(tmp_path / "bad.jsonl", t0_0="apples")
    assert evaluate("score", bad, good, *sets) == 0
    text = capfd.readouterr().out
    assert "| good | bad | +50.00" in text
    assert "good, superni: " in text and "bad, superni: " in text
    (row,) = [line for line in text.splitlines() if line.startswith("| good | 50.00")]
    assert row.rstrip(" |").endswith(" 3")  # missing
    nothing = predictions(tmp_path / "nothing.jsonl", t9_9="of no task")
    assert evaluate("score", nothing, *sets) == 2
    assert f"error: {nothing}" in capfd.readouterr().err


def test_statistics_of_a_corpus(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    rows = [{"instruction": f"Write a story about {what}.", "input": "", "output": "Once."} for what in ("frogs", "rain", "time")]
    (tmp_path / "mine.json").write_text(json.dumps(rows))
    assert evaluate("statistics", tmp_path / "mine.json", "--out", tmp_path / "page") == 0
    text = capfd.readouterr().out
    assert text.startswith("# Statistics of mine.json\n") and "| instructions | 52,445 | 3 |" in text
    assert sorted(path.name for path in (tmp_path / "page").iterdir()) == ["statistics.html", "statistics.json", "statistics.md"]
    assert evaluate("statistics", tmp_path / "mine.json", "--out", tmp_path) == 2
    assert "not empty, and no statistics" in capfd.readouterr().err
    assert evaluate("statistics", tmp_path / "none.json") == 2
    assert f"error: {tmp_path / 'none.json'}" in capfd.readouterr().err


@pytest.mark.parametrize("command", ["report", "score", "statistics", "seeds"])
def test_every_subcommand_has_help(command: str, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        cli.main([command, "--help"])
    assert end.value.code == 0
    assert capfd.readouterr().out.startswith(f"usage: self-instruct evaluate {command} ")
