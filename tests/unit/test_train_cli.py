"""The stage as a command on a tiny random model: a whole run, resuming, the plan and bad input."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate.state import AcceleratorState

from sample_training import examples, save_tiny_model
from self_instruct import commandline, corpus, runlog
from self_instruct.rundir import read_json
from self_instruct.train import cli, loop

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_corpus(tmp_path_factory.mktemp("corpus"), 20)


def write_corpus(folder: Path, count: int, **changes: str) -> Path:
    rows = [
        {
            "id": e.id,
            "instruction": e.instruction,
            "input": e.input,
            "output": e.output,
            "is_classification": False,
            "instruction_id": e.id,
        }
        | changes
        for e in examples(count)
    ]
    corpus.write(folder, {"train": rows}, "Rows made for a test.\n")
    return folder


@pytest.fixture(autouse=True)
def fresh_log_and_accelerator(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(runlog.log, "handlers", [])  # the first test's handler would write to that test's stderr
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)
    AcceleratorState._reset_state(True)


def flags(model: Path, data: Path, out: Path, *more: str) -> list[str]:
    settings = [
        f"model.name={model}",
        f"train.data={data}",
        "train.include_seeds=false",
        "train.batch_size=8",
        "run.threads=1",
        *more,
    ]
    return ["--out", str(out), *(word for setting in settings for word in ("--set", setting))]


def call(*arguments: Any) -> int:
    return commandline.run(cli.main, flags(*arguments))


def product(out: Path) -> dict[str, bytes]:
    folder = out / "train" / "adapter"
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_a_whole_run(model: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(model, data, tmp_path) == 0
    printed, said = capsys.readouterr()
    line = json.loads(printed)
    assert printed.count("\n") == 1
    assert (line["stage"], line["examples"], line["steps"]) == ("train", 20, 6)
    assert line["adapter"] == str(tmp_path / "train" / "adapter")
    assert "20 examples, 0 of them from seeds; left out: 0 repeated, 0 without an output" in said
    assert "LoRA of rank 16: " in said

    facts = read_json(tmp_path / "train" / "manifest.json")["facts"]
    assert (facts["examples"], facts["seed_examples"], facts["steps"]) == (20, 0, 6)
    assert facts["dropped"] == {"duplicates": 0, "empty": 0}
    assert [set(epoch) for epoch in facts["epochs"]] == [{"epoch", "loss", "completion_tokens", "tokens", "seconds"}] * 2
    assert line["loss_by_epoch"] == [round(epoch["loss"], 4) for epoch in facts["epochs"]]
    assert facts["dtype"] in ("float32", "bfloat16") and facts["dtype_reason"]
    assert facts["trainable_parameters"] > 0 and facts["completion_tokens_per_s"] > 0
    assert sum(facts["template_counts"].values()) == 40
    assert len((tmp_path / "train" / "metrics.jsonl").read_text().splitlines()) == 6

    assert set(product(tmp_path)) >= {
        "adapter_model.safetensors",
        "adapter_config.json",
        "tokenizer.json",
        "training_manifest.json",
    }
    told = read_json(tmp_path / "train" / "adapter" / "training_manifest.json")
    assert told["loss_by_epoch"] == [epoch["loss"] for epoch in facts["epochs"]]
    assert told["template_counts"] == facts["template_counts"]
    assert told["data"]["examples"] == 20 and len(told["data"]["sha256"]) == 64
    assert told["settings"]["train.lora_rank"] == 16 and told["settings"]["run.seed"] == 42
    assert "torch" in told["versions"] and told["base_model"]["reference"] == str(model)


def test_peft_loads_the_adapter_and_it_has_an_effect(model: Path, data: Path, tmp_path: Path) -> None:
    from peft import AutoPeftModelForCausalLM
    from transformers import AutoModelForCausalLM, AutoTokenizer

    assert call(model, data, tmp_path, "model.dtype=float32", "train.learning_rate=1e-2") == 0
    folder = tmp_path / "train" / "adapter"
    config = read_json(folder / "adapter_config.json")
    assert config["base_model_name_or_path"] == str(model.resolve())
    assert config["target_modules"] == sorted(config["target_modules"])
    tuned = AutoPeftModelForCausalLM.from_pretrained(folder)
    base = AutoModelForCausalLM.from_pretrained(model)
    ids = AutoTokenizer.from_pretrained(folder)("Count to 3 and stop.\n\nOutput:", return_tensors="pt").input_ids
    with torch.no_grad():
        assert not torch.allclose(tuned(ids).logits, base(ids).logits, atol=1e-3)
    target = AutoTokenizer.from_pretrained(model)(" 0 1 2 3", return_tensors="pt").input_ids
    whole = torch.cat([ids, target], dim=1)

    def likelihood(found: Any) -> float:
        with torch.no_grad():
            scores = torch.log_softmax(found(whole).logits[0, ids.shape[1] - 1 : -1], dim=-1)
        return float(scores.gather(1, target[0][:, None]).sum())

    assert likelihood(tuned) > likelihood(base) + 1


def test_seeds_are_included_by_default(model: Path, data: Path, tmp_path: Path) -> None:
    rows = [
        {"id": f"s{i}", "instruction": f"Seed {i}.", "instances": [{"input": "", "output": f"{i}"}], "is_classification": False}
        for i in range(8)
    ]
    same = {"id": "s8", "instruction": "Count to 1 and stop. Take your time.", "instances": [{"input": "", "output": "0 1"}]}
    seeds = tmp_path / "seeds.jsonl"
    seeds.write_text("".join(json.dumps(row) + "\n" for row in [*rows, same | {"is_classification": False}]))
    out = tmp_path / "run"
    assert call(model, data, out, "train.include_seeds=true", f"train.seeds={seeds}", "train.epochs=1") == 0
    manifest = read_json(out / "train" / "manifest.json")
    assert (manifest["facts"]["examples"], manifest["facts"]["seed_examples"]) == (28, 9)
    assert manifest["facts"]["dropped"] == {"duplicates": 1, "empty": 0}
    assert set(manifest["inputs"]) == {"corpus", "model", "seeds"}


def test_a_finished_stage_says_so(
    model: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert call(model, data, tmp_path) == 0
    first = capsys.readouterr().out
    before = product(tmp_path)
    monkeypatch.setattr(loop, "fit", None)
    assert call(model, data, tmp_path) == 0
    again = capsys.readouterr()
    assert again.out == first
    assert "finished already" in again.err
    assert product(tmp_path) == before


def test_an_interrupted_run_starts_again_and_ends_in_the_same_bytes(
    model: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    assert call(model, data, whole) == 0
    write = runlog.Metrics.write
    with monkeypatch.context() as patch:

        def stop(self: runlog.Metrics, **values: Any) -> None:
            write(self, **values)
            if values["step"] == 3:
                raise KeyboardInterrupt

        patch.setattr(runlog.Metrics, "write", stop)
        assert call(model, data, broken) == 130
    assert not (broken / "train" / "adapter").exists()
    (broken / "train" / ".adapter.1.tmp").mkdir()
    capsys.readouterr()
    assert call(model, data, broken) == 0
    assert "training starts again from the first step" in capsys.readouterr().err
    assert product(broken) == product(whole)
    assert [path.name for path in (broken / "train").iterdir() if path.name.startswith(".adapter")] == []
    steps = [json.loads(line)["step"] for line in (broken / "train" / "metrics.jsonl").read_text().splitlines()]
    assert steps == [1, 2, 3, 4, 5, 6]


def test_the_dry_run_prints_the_plan_and_writes_nothing(
    model: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    assert commandline.run(cli.main, [*flags(model, data, out), "--dry-run"]) == 0
    printed, said = capsys.readouterr()
    plan = json.loads(printed)
    assert (plan["examples"], plan["steps"]) == (20, 6)
    assert sum(plan["template_counts"].values()) == 20
    assert all(name in said for name in plan["template_counts"])
    assert said.count(" trained | ") == 3 and said.count("</s>") == 3
    assert said.count("row0: ") == said.count("row6: ") == said.count("row12: ") == 1
    assert "  masked | " in said
    assert not out.exists()


def test_a_prompt_with_weight_is_not_called_masked(
    model: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert commandline.run(cli.main, [*flags(model, data, tmp_path, "train.prompt_loss_weight=0.3"), "--dry-run"]) == 0
    said = capsys.readouterr().err
    assert "weighted | " in said and "  masked | " not in said


def fails(capsys: pytest.CaptureFixture[str], arguments: list[str]) -> tuple[str, str]:
    """The error and the hint of a command that must end with status 2, nothing on stdout and no traceback."""
    assert commandline.run(cli.main, arguments) == 2
    printed, said = capsys.readouterr()
    assert printed == "" and "Traceback" not in said
    found = {line.partition(":")[0]: line for line in said.strip().splitlines()}
    return found["error"], found.get("hint", "")


def test_no_corpus(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """A bare command says how to make a corpus or name one, and leaves nothing behind."""
    monkeypatch.chdir(tmp_path)
    error, hint = fails(capsys, [])
    assert error == "error: runs/default/generate/corpus: no corpus there (the run's own corpus)"
    assert "./launch.sh generate --config" in hint and "--set train.data=FOLDER" in hint
    error, _ = fails(capsys, ["--set", "train.data=nowhere"])
    assert error == "error: nowhere: no corpus there (train.data)"
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_no_corpus(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "empty").mkdir()
    error, hint = fails(capsys, flags(model, tmp_path / "empty", tmp_path / "run"))
    assert "no corpus there" in error and hint
    assert not (tmp_path / "run").exists()


def test_a_corpus_without_outputs(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "corpus").mkdir()
    empty = write_corpus(tmp_path / "corpus", 3, output=" \n")
    error, hint = fails(capsys, flags(model, empty, tmp_path / "run"))
    assert error == "error: training data: no row is left (3 without an output)" and hint


def test_no_model(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "model").mkdir()
    error, hint = fails(capsys, flags(tmp_path / "model", data, tmp_path / "run"))
    assert "model.name" in error and hint
    assert not (tmp_path / "run").exists()


def test_a_model_with_a_short_context(model: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    short = tmp_path / "short"
    short.mkdir()
    for path in model.iterdir():
        (short / path.name).write_bytes(path.read_bytes())
    config = read_json(short / "config.json") | {"max_position_embeddings": 63}
    (short / "config.json").write_text(json.dumps(config))
    error, _ = fails(capsys, flags(short, data, tmp_path / "run"))
    assert "has a context of 63 tokens, at least 64 are needed" in error


def test_a_folder_of_another_config(model: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(model, data, tmp_path, "train.epochs=1") == 0
    before = product(tmp_path)
    capsys.readouterr()
    error, _ = fails(capsys, flags(model, data, tmp_path, "train.epochs=3"))
    assert "train.epochs was 1, is 3" in error
    (tmp_path / "corpus").mkdir()
    other = write_corpus(tmp_path / "corpus", 5)
    error, _ = fails(capsys, flags(model, other, tmp_path, "train.epochs=1"))
    assert "train.data was" in error and "input corpus" in error
    assert product(tmp_path) == before


def test_a_loss_that_is_no_number_ends_with_status_2(
    model: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from self_instruct.train import modeling

    load = modeling.load_base

    def poisoned(folder: str, dtype: str) -> Any:
        base = load(folder, dtype)
        with torch.no_grad():
            base.get_input_embeddings().weight.fill_(float("nan"))
        return base

    monkeypatch.setattr(modeling, "load_base", poisoned)
    error, hint = fails(capsys, flags(model, data, tmp_path))
    assert error.startswith("error: step 1: loss is nan, in rows row") and "train.learning_rate" in hint
    assert read_json(tmp_path / "train" / "manifest.json")["status"] == "running"
    assert not (tmp_path / "train" / "adapter").exists()


def test_two_processes_that_dont_know_of_each_other(
    model: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import accelerate

    class Alone:
        """What Accelerator is in a process whose launcher gave it a number, but no way to the others."""

        num_processes, process_index = 1, 0

        def __init__(self, **_: Any) -> None: ...

    monkeypatch.setattr(accelerate, "Accelerator", Alone)
    monkeypatch.setenv("WORLD_SIZE", "2")
    error, hint = fails(capsys, flags(model, data, tmp_path / "run"))
    assert "WORLD_SIZE is 2, but accelerate sees one process" in error and "torchrun" in hint
    assert not (tmp_path / "run").exists()


def start(words: list[str], **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src"), "HF_HUB_OFFLINE": "1", **environment},
    )


@pytest.mark.e2e
def test_accelerate_launches_the_folder(model: Path, data: Path, tmp_path: Path) -> None:
    """The command that users know, from the root: the folder itself is first on the path, and torch has its threads."""
    launched = start(["-m", "accelerate.commands.launch", "train", *flags(model, data, tmp_path, "run.threads=2")])
    printed, said = launched.communicate(timeout=300)
    assert launched.returncode == 0, said
    assert json.loads(printed)["steps"] == 6
    assert "with 2 CPU threads" in said


@pytest.mark.e2e
def test_two_ranks_have_the_losses_of_one(model: Path, data: Path, tmp_path: Path) -> None:
    """Also in a last step with fewer examples (1) than ranks. Two CPU processes over gloo, started by torchrun."""
    (tmp_path / "corpus").mkdir()
    odd = write_corpus(tmp_path / "corpus", 17)
    common = ["model.dtype=float32", "train.micro_batch_size=2", "train.prompt_loss_weight=0.3"]
    losses = []
    for ranks in (1, 2):
        out = tmp_path / str(ranks)
        torchrun = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={ranks}", "-m", "self_instruct.train"]
        launched = start([*torchrun, *flags(model, odd, out, *common)], ACCELERATE_USE_CPU="true")
        printed, said = launched.communicate(timeout=300)
        assert launched.returncode == 0, said
        assert printed.count("\n") == 1 and json.loads(printed)["steps"] == 6
        losses.append([json.loads(line)["loss"] for line in (out / "train" / "metrics.jsonl").read_text().splitlines()])
    assert losses[1] == pytest.approx(losses[0], rel=1e-6)


@pytest.mark.e2e
def test_a_kill_leaves_no_half_adapter(model: Path, data: Path, tmp_path: Path) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert call(model, data, whole, "train.epochs=40") == 0
    command = ["-m", "self_instruct.train", *flags(model, data, killed, "train.epochs=40")]
    process = start(command)
    metrics = killed / "train" / "metrics.jsonl"
    deadline = time.monotonic() + 120
    while not (metrics.exists() and metrics.read_text().count("\n") >= 3):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert not (killed / "train" / "adapter").exists()
    again = start(command)
    _, said = again.communicate(timeout=300)
    assert again.returncode == 0 and "training starts again from the first step" in said
    assert product(killed) == product(whole)
