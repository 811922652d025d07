"""The stage as a command on tiny random models: whole runs on all kinds of data, going on, stopping, the plan and bad input."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from accelerate import tracking
from accelerate.state import AcceleratorState
from safetensors.torch import load_file, save_file

from e2e.kill_train import Forked
from sample_training import byte_level, examples, save_tiny_model, tiny_llama
from self_instruct import commandline, corpus, runlog
from self_instruct.rundir import read_json
from self_instruct.train import checkpoint, cli, loop

ROOT = Path(__file__).resolve().parents[2]
EVERY = "train.checkpoint_every_s=0"
CHAT = (
    "{% for m in messages %}<|turn|>{{ m.role }}\n{{ m.content }}<|end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|turn|>assistant\n{% endif %}"
)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def chatting(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model with a chat template, whose turns end in a token of their own."""
    folder, tokenizer = tmp_path_factory.mktemp("chatting"), byte_level()
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|turn|>", "<|end|>"]})
    tokenizer.chat_template = CHAT
    tiny_llama(len(tokenizer), eos_token_id=tokenizer.eos_token_id, bos_token_id=None).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def t5(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from transformers import T5Config, T5ForConditionalGeneration

    folder, tokenizer = tmp_path_factory.mktemp("t5"), byte_level()
    torch.manual_seed(0)
    shape: dict[str, Any] = {"d_model": 32, "d_kv": 8, "d_ff": 64, "num_layers": 2, "num_heads": 4, "n_positions": 512}
    ends = {"eos_token_id": tokenizer.eos_token_id, "pad_token_id": 0, "decoder_start_token_id": 0}
    T5ForConditionalGeneration(T5Config(vocab_size=len(tokenizer), **shape, **ends)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


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


def write_rows(place: Path, rows: list[dict[str, Any]]) -> Path:
    place.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return place


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


def metrics(out: Path) -> list[dict[str, Any]]:
    """The lines of the metrics, without what is a matter of time."""
    lines = [json.loads(line) for line in (out / "train" / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in line.items() if name not in ("time_s", "seconds")} for line in lines]


def saved(out: Path) -> list[str]:
    return sorted(path.name for path in (out / "train" / "checkpoints").iterdir())


def interrupted(model: Path, data: Path, out: Path, monkeypatch: pytest.MonkeyPatch, *more: str, after: int = 3) -> None:
    """A run that ends like a killed one, with no checkpoint of the step it was in: when step `after` is told."""
    write = runlog.Metrics.write

    def stop(self: runlog.Metrics, **values: Any) -> None:
        write(self, **values)
        if values["step"] == after:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(runlog.Metrics, "write", stop)
        assert call(model, data, out, EVERY, *more) == 130
    AcceleratorState._reset_state(True)


def test_a_whole_run(model: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(model, data, tmp_path) == 0
    printed, said = capsys.readouterr()
    line = json.loads(printed)
    assert printed.count("\n") == 1
    assert (line["stage"], line["examples"], line["steps"]) == ("train", 20, 6)
    assert line["adapter"] == str(tmp_path / "train" / "adapter")
    assert "20 examples, 0 of them from seeds; 0 held out; left out: 0 repeated, 0 without an output" in said
    assert "LoRA of rank 16: " in said

    facts = read_json(tmp_path / "train" / "manifest.json")["facts"]
    assert (facts["examples"], facts["seed_examples"], facts["steps"]) == (20, 0, 6)
    assert facts["dropped"] == {"duplicate": 0, "empty": 0}
    assert facts["held_out_before"] is None and [epoch["held_out_loss"] for epoch in facts["epochs"]] == [None, None]
    assert facts["sources"] == {data.name: 20}
    assert (facts["method"], facts["layout"]) == ("lora", "packed")
    assert line["loss_by_epoch"] == [round(epoch["loss"], 4) for epoch in facts["epochs"]]
    assert facts["dtype"] in ("float32", "bfloat16") and facts["dtype_reason"]
    assert facts["trainable_parameters"] > 0 and facts["completion_tokens_per_s"] > 0
    assert sum(facts["template_counts"].values()) == 40
    assert [line["step"] for line in metrics(tmp_path)] == [1, 2, 3, 4, 5, 6]
    assert (tmp_path / "train" / "dropped.jsonl").read_text() == ""
    assert (tmp_path / "train" / "loss.png").read_bytes().startswith(b"\x89PNG")
    assert not list((tmp_path / "train").rglob("*.tmp"))

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


def test_held_out_rows_and_dropped_rows_are_told(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [{"prompt": f"Say {number}:", "completion": f" {number}"} for number in range(20)]
    more = [{"prompt": "Nothing:", "completion": " \n"}, rows[3]]
    place = write_rows(tmp_path / "rows.jsonl", [*rows, *more])
    assert call(model, place, tmp_path / "run", "train.held_out=0.2") == 0
    assert "16 examples, 0 of them from seeds; 4 held out; left out: 1 repeated, 1 without an output" in capsys.readouterr().err
    facts = read_json(tmp_path / "run" / "train" / "manifest.json")["facts"]
    assert (facts["examples"], facts["held_out"], facts["dropped"]) == (16, 4, {"duplicate": 1, "empty": 1})
    measured = [line["held_out_loss"] for line in metrics(tmp_path / "run") if "held_out_loss" in line]
    assert measured == [facts["held_out_before"], *(epoch["held_out_loss"] for epoch in facts["epochs"])]
    assert len(measured) == 3 and len(set(measured)) == 3
    told = read_json(tmp_path / "run" / "train" / "adapter" / "training_manifest.json")
    assert told["held_out_loss"] == measured and told["data"]["held_out"] == 4
    listed = [json.loads(line) for line in (tmp_path / "run" / "train" / "dropped.jsonl").read_text().splitlines()]
    assert [(row["source"], row["reason"]) for row in listed] == [("rows", "empty"), ("rows", "duplicate")]


def test_all_weights_can_be_trained(model: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(model, data, tmp_path, "train.method=full", "train.learning_rate=1e-2") == 0
    printed, said = capsys.readouterr()
    folder = tmp_path / "train" / "model"
    assert json.loads(printed)["model"] == str(folder) and "all weights: " in said
    before, after = load_file(model / "model.safetensors"), load_file(folder / "model.safetensors")
    assert before.keys() == after.keys()
    assert all(not torch.equal(before[name], value) and value.dtype == torch.float32 for name, value in after.items())
    assert not (tmp_path / "train" / "adapter").exists()


def kinds(folder: Path) -> dict[str, Path]:
    """The same eight tasks as Alpaca has them, as prompts and completions, and as conversations."""
    tasks = [(f"Count to {number}.", "" if number % 2 else "slowly", f"{number}") for number in range(8)]
    alpaca = folder / "alpaca.json"
    alpaca.write_text(json.dumps([{"instruction": i, "input": x, "output": o} for i, x, o in tasks]))
    plain = write_rows(folder / "plain.jsonl", [{"prompt": f"{i} {x}\n", "completion": o} for i, x, o in tasks])
    turns = [[{"role": "user", "content": i}, {"role": "assistant", "content": o}] for i, _, o in tasks]
    chats = write_rows(folder / "chats.jsonl", [{"messages": turn} for turn in turns])
    (folder / "t0").mkdir()
    write_rows(folder / "t0" / "one.jsonl", [{"prompt": f"{i} {x}", "completion": f"{o}<|endoftext|>"} for i, x, o in tasks])
    return {"alpaca": alpaca, "prompts": plain, "conversations": chats, "t0": folder / "t0"}


@pytest.mark.parametrize("kind", ["alpaca", "prompts", "conversations", "t0"])
def test_each_kind_of_data_trains(chatting: Path, tmp_path: Path, kind: str) -> None:
    place = kinds(tmp_path)[kind]
    assert call(chatting, place, tmp_path / "run", "train.epochs=1") == 0
    facts = read_json(tmp_path / "run" / "train" / "manifest.json")["facts"]
    assert (facts["examples"], facts["steps"], facts["sources"]) == (8, 1, {place.stem: 8})
    forms = set(facts["template_counts"])
    assert {"alpaca": len(forms) > 1, "prompts": forms == {"verbatim"}, "t0": forms == {"verbatim"}}.get(kind, forms == {"chat"})


def test_a_mix_takes_each_source_as_often_as_asked(chatting: Path, data: Path, tmp_path: Path) -> None:
    places = kinds(tmp_path)
    mix = json.dumps([str(places["prompts"]), str(data), str(places["conversations"])])
    assert call(chatting, mix, tmp_path / "run", "train.weights=[2, 0.5, 1]", "train.batch_size=5", "train.held_out=0") == 0
    manifest = read_json(tmp_path / "run" / "train" / "manifest.json")
    assert manifest["facts"]["sources"] == {"plain": 8, data.name: 20, "chats": 8}
    assert manifest["facts"]["steps"] == 2 * 7  # 16 + 10 + 8 = 34 examples an epoch
    assert set(manifest["inputs"]) == {"data.0", "data.1", "data.2", "model"}
    counts = manifest["facts"]["template_counts"]
    assert (counts["verbatim"], counts["chat"], sum(counts.values())) == (32, 16, 68)


def test_a_chat_templates_end_of_turn_ends_an_answer(chatting: Path, data: Path, tmp_path: Path) -> None:
    assert call(chatting, data, tmp_path / "forms", "train.epochs=1") == 0
    assert call(chatting, data, tmp_path / "chat", "train.epochs=1", "train.template=chat") == 0
    tokenizer = json.loads((chatting / "tokenizer.json").read_text())
    ids = {token["content"]: token["id"] for token in tokenizer["added_tokens"]}
    ends = [read_json(tmp_path / run / "train" / "adapter" / "generation_config.json")["eos_token_id"] for run in ("forms", "chat")]
    assert ends == [ids["</s>"], [ids["</s>"], ids["<|end|>"]]]
    assert set(read_json(tmp_path / "chat" / "train" / "manifest.json")["facts"]["template_counts"]) == {"chat"}


def test_an_encoder_decoder_trains_and_peft_loads_its_adapter(
    t5: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from peft import PeftModel
    from transformers import T5ForConditionalGeneration

    wanted = ("model.dtype=float32", "train.learning_rate=1e-2", "train.epochs=4", "train.held_out=0.2", EVERY)
    assert call(t5, data, tmp_path / "whole", *wanted) == 0
    assert "an encoder-decoder: prompts and completions are padded" in capsys.readouterr().err
    facts = read_json(tmp_path / "whole" / "train" / "manifest.json")["facts"]
    losses = [facts["held_out_before"], *(epoch["held_out_loss"] for epoch in facts["epochs"])]
    assert losses[-1] < losses[0] - 0.05 and facts["layout"] == "encoder-decoder"
    folder = tmp_path / "whole" / "train" / "adapter"
    assert read_json(folder / "adapter_config.json")["task_type"] == "SEQ_2_SEQ_LM"
    base = T5ForConditionalGeneration.from_pretrained(t5).eval()
    inputs = {"input_ids": torch.arange(5, 15)[None], "decoder_input_ids": torch.tensor([[0, 7, 9]])}
    with torch.no_grad():
        before = base(**inputs).logits
        after = PeftModel.from_pretrained(base, str(folder)).eval()(**inputs).logits
    assert float((before - after).abs().max()) > 1e-2


class Fake:
    """A tracker of accelerate's that keeps what it is told."""

    name = "fake"
    requires_logging_directory = True
    told: ClassVar[list[Any]] = []

    def __init__(self, run_name: str, logging_dir: str) -> None:
        self.told.append((run_name, logging_dir))

    def start(self) -> None: ...

    def store_init_configuration(self, values: dict[str, Any]) -> None:
        self.told.append(values["train.batch_size"])

    def log(self, values: dict[str, Any], step: int) -> None:
        self.told.append((step, values))

    def finish(self) -> None:
        self.told.append("finished")


def test_a_tracker_gets_what_the_metrics_get(model: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(tracking.LOGGER_TYPE_TO_CLASS, "fake", Fake)
    monkeypatch.setattr(Fake, "told", [])
    assert call(model, data, tmp_path, "train.log_with=[fake]", "train.held_out=0.2") == 0
    first, batch, *lines, last = Fake.told
    assert (first, batch, last) == (("self-instruct", str(tmp_path / "train")), 8, "finished")
    told = [{"step": step} | {name: value for name, value in values.items() if name != "seconds"} for step, values in lines]
    assert told == metrics(tmp_path)
    assert [line["step"] for line in told] == [0, 1, 2, 2, 3, 4, 4]


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
    assert manifest["facts"]["dropped"] == {"duplicate": 1, "empty": 0}
    assert set(manifest["inputs"]) == {"data", "model", "seeds"}


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


HARD = (
    "model.dtype=float32", "train.lora_dropout=0.2", "train.held_out=0.2", "train.prompt_loss_weight=0.3",
    "train.template_draw=epoch", "train.micro_batch_tokens=100", "train.epochs=3",
)  # fmt: skip


@pytest.mark.parametrize("method", ["lora", "full"])
def test_a_broken_run_goes_on_and_ends_in_the_same_bytes(
    model: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    more = (*HARD, f"train.method={method}")
    assert call(model, data, whole, *more) == 0
    interrupted(model, data, broken, monkeypatch, *more)
    assert saved(broken) == [checkpoint.name(1), checkpoint.name(2)]
    assert [line["step"] for line in metrics(broken)] == [0, 1, 2, 2, 3]
    name = "model" if method == "full" else "adapter"
    assert not (broken / "train" / name).exists()
    (broken / "train" / f".{name}.1.tmp").mkdir()
    capsys.readouterr()
    assert call(model, data, broken, *more) == 0
    assert f"going on after step 2 of 6, from {broken / 'train' / 'checkpoints' / checkpoint.name(2)}" in capsys.readouterr().err
    files = [sorted(path.name for path in (run / "train" / name).iterdir()) for run in (whole, broken)]
    assert files[0] == files[1]
    for file in files[0]:
        assert (whole / "train" / name / file).read_bytes() == (broken / "train" / name / file).read_bytes(), file
    assert metrics(broken) == metrics(whole)
    assert not list((broken / "train").rglob("*.tmp"))
    facts = [read_json(run / "train" / "manifest.json")["facts"] for run in (whole, broken)]
    for one in facts:
        del one["completion_tokens_per_s"], one["tokens_per_s"]
        for epoch in one["epochs"]:
            del epoch["seconds"]
    assert facts[0] == facts[1]


def test_a_spoiled_checkpoint_is_skipped_and_without_any_all_starts_again(
    model: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, broken, none = tmp_path / "whole", tmp_path / "broken", tmp_path / "none"
    assert call(model, data, whole) == 0
    interrupted(model, data, broken, monkeypatch)
    shutil.copytree(broken, none)
    places = [run / "train" / "checkpoints" / checkpoint.name(step) for run, step in ((broken, 2), (none, 2), (none, 1))]
    for place in places:
        with (place / checkpoint.TENSORS).open("r+b") as file:
            file.truncate(100)
    reason = "tensors.safetensors isn't what its manifest says"
    capsys.readouterr()
    assert call(model, data, broken) == 0
    said = capsys.readouterr().err
    assert f"checkpoint skipped: {places[0]}: {reason}" in said and "going on after step 1 of 6" in said
    assert call(model, data, none) == 0
    said = capsys.readouterr().err
    assert all(f"checkpoint skipped: {place}: {reason}" in said for place in places[1:])
    assert "no checkpoint can be used: from the first step, with the same draws" in said
    assert product(broken) == product(none) == product(whole)
    assert metrics(broken) == metrics(none) == metrics(whole)


def test_a_checkpoint_of_another_run_is_refused(
    model: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    mine, other = tmp_path / "mine", tmp_path / "other"
    interrupted(model, data, mine, monkeypatch)
    interrupted(model, data, other, monkeypatch, "train.lora_rank=8", after=5)
    shutil.copytree(other / "train" / "checkpoints", mine / "train" / "checkpoints", dirs_exist_ok=True)
    before = saved(mine)
    capsys.readouterr()
    error, hint = fails(capsys, flags(model, data, mine))
    newest = mine / "train" / "checkpoints" / checkpoint.name(4)
    assert error == f"error: {newest}: a checkpoint of another training: train.lora_rank was 8, is 16" and hint
    assert saved(mine) == before


def test_the_same_data_elsewhere_is_no_other_training(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a").mkdir()
    first = write_corpus(tmp_path / "a", 20)
    interrupted(model, first, tmp_path / "run", monkeypatch)
    (tmp_path / "elsewhere").mkdir()
    moved = shutil.move(str(first), str(tmp_path / "elsewhere"))
    capsys.readouterr()
    assert call(model, Path(moved), tmp_path / "run") == 0
    assert "going on after step 2 of 6" in capsys.readouterr().err


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_stops_with_a_checkpoint_and_the_exit_status_says_which(
    model: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, number: int,
    status: int,
) -> None:  # fmt: skip
    """With checkpoints that aren't due for minutes."""
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    assert call(model, data, whole, *HARD) == 0
    write = runlog.Metrics.write

    def send(self: runlog.Metrics, **values: Any) -> None:
        write(self, **values)
        if values["step"] == 2 and "loss" in values:
            os.kill(os.getpid(), number)

    with monkeypatch.context() as patch:
        patch.setattr(runlog.Metrics, "write", send)
        assert call(model, data, broken, *HARD) == status
    said = capsys.readouterr().err
    assert "stopping after this step, with a checkpoint" in said and "run the same command again to go on" in said
    assert saved(broken) == [checkpoint.name(3)]  # it came when step 2 had been told
    AcceleratorState._reset_state(True)
    assert call(model, data, broken, *HARD) == 0
    assert "going on after step 3 of 6" in capsys.readouterr().err
    assert product(broken) == product(whole) and metrics(broken) == metrics(whole)


def test_a_full_disk_ends_with_status_2_and_leaves_the_checkpoints(
    model: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    class SafetensorError(Exception):
        """What safetensors raises."""

    def full(tensors: Any, place: Path) -> None:
        if place.parent.name.startswith(".step-00000003"):
            raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")
        save_file(tensors, place)

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "save_file", full)
        error, hint = fails(capsys, flags(model, data, tmp_path, EVERY))
    assert error == "error: No space left on device" and "free disk space" in hint
    assert saved(tmp_path) == [checkpoint.name(1), checkpoint.name(2)]
    AcceleratorState._reset_state(True)
    assert call(model, data, tmp_path) == 0
    assert "going on after step 2 of 6" in capsys.readouterr().err


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
    assert f"     20 rows x 1 an epoch: {data.name}" in said and "6 steps of 8 examples in 2 epochs" in said
    assert "memory: about " in said and plan["memory_gib"] >= 0 and plan["micro_batch_tokens"] > 0
    assert plan["tokens"] > plan["completion_tokens"] > 0
    assert not out.exists()


def test_a_prompt_with_weight_is_not_called_masked(
    model: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert commandline.run(cli.main, [*flags(model, data, tmp_path, "train.prompt_loss_weight=0.3"), "--dry-run"]) == 0
    said = capsys.readouterr().err
    assert "weighted | " in said and "  masked | " not in said


def test_the_dry_run_of_an_encoder_decoder(t5: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert commandline.run(cli.main, [*flags(t5, data, tmp_path / "run"), "--dry-run"]) == 0
    printed, said = capsys.readouterr()
    assert json.loads(printed)["examples"] == 20
    assert said.count(" trained | ") == 3 and "memory: " in said


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
    assert error == "error: nowhere: no such file or folder (train.data)"
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


def parquet_corpus(folder: Path, columns: dict[str, list[str]]) -> list[str]:
    import pyarrow
    from pyarrow import parquet

    (folder / "corpus" / "data" / "train").mkdir(parents=True)
    table = pyarrow.table({name: pyarrow.array(values, pyarrow.string()) for name, values in columns.items()})
    parquet.write_table(table, folder / "corpus" / "data" / "train" / "0.parquet")
    return [f"train.data={folder / 'corpus'}"]


def other_schema(folder: Path) -> list[str]:
    return parquet_corpus(folder, {"question": ["a"]})


def empty_corpus(folder: Path) -> list[str]:
    return parquet_corpus(folder, {name: [] for name in ("id", "instruction", "input", "output")})


def white_space(folder: Path) -> list[str]:
    place = write_rows(folder / "rows.jsonl", [{"prompt": "a", "completion": " \n\t"}, {"prompt": "b", "completion": ""}])
    return [f"train.data={place}"]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (empty_corpus, "the corpus has no training row"),
        (other_schema, "corpus/data/train/0.parquet: column 'id' is missing (found question)"),
        (white_space, "training data: no row is left (2 without an output)"),
        (["train.lora_rank=513"], "train.lora_rank"),
        (["train.method=qlora"], "train.method: qlora needs an NVIDIA GPU (bitsandbytes), and there is none"),
        (["train.log_with=[nothing]"], "train.log_with: no tracker 'nothing'"),
        (["train.weights=[1, 2]"], "'train.weights' is [1, 2]: must have one number for each source of train.data, 1"),
        (["train.template=chat"], "chat template"),
        (["train.held_out=1"], "train.held_out"),
    ],
)
def test_bad_input_is_one_line(
    model: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
    changes: list[str] | Callable[[Path], list[str]], words: str,
) -> None:  # fmt: skip
    from self_instruct.train import modeling

    monkeypatch.setattr(modeling, "usable_gpus", list)
    settings = changes(tmp_path) if callable(changes) else changes
    error, _ = fails(capsys, flags(model, data, tmp_path / "run", *settings))
    assert words in error
    assert not (tmp_path / "run").exists()


def test_prompts_cant_have_weight_in_an_encoder_decoder(
    t5: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    error, hint = fails(capsys, flags(t5, data, tmp_path / "run", "train.prompt_loss_weight=0.3"))
    assert "train.prompt_loss_weight: 0.3, but" in error and hint == "hint: set train.prompt_loss_weight=0"
    assert not (tmp_path / "run").exists()


def test_conversations_need_a_chat_template(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    error, _ = fails(capsys, flags(model, kinds(tmp_path)["conversations"], tmp_path / "run"))
    assert "chat template" in error
    assert not (tmp_path / "run").exists()


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
    assert "input data was" in error or ("train.data was" in error and "input data" in error)
    assert product(tmp_path) == before


def test_a_loss_that_is_no_number_ends_with_status_2(
    model: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from self_instruct.train import modeling

    load = modeling.load_base

    def poisoned(*arguments: Any) -> Any:
        base = load(*arguments)
        with torch.no_grad():
            base.get_input_embeddings().weight.fill_(float("nan"))
        return base

    monkeypatch.setattr(modeling, "load_base", poisoned)
    error, hint = fails(capsys, flags(model, data, tmp_path))
    place = tmp_path / "train" / "checkpoints" / checkpoint.name(0)
    assert error.startswith("error: step 1: loss is nan, in rows row") and "train.learning_rate" in hint
    assert error.endswith(f"; the state before it is in {place}") and place.is_dir()
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
    """A Python in a process group of its own, as a shell starts it."""
    return subprocess.Popen(
        [sys.executable, *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        start_new_session=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT / "src"), "HF_HUB_OFFLINE": "1", **environment},
    )


LONG = ("model.dtype=float32", "train.epochs=60", "train.held_out=0.2", "train.lora_dropout=0.2")  # 120 steps


def underway(process: subprocess.Popen[str], out: Path) -> None:
    """Wait until some steps are done."""
    place = out / "train" / "metrics.jsonl"
    deadline = time.monotonic() + 120
    while not (place.exists() and place.read_text().count("\n") >= 4):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.005)


def still_written(out: Path) -> bool:
    """Whether a process holds the stage's lock."""
    import fcntl

    with (out / "train" / ".lock").open("r+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


@pytest.mark.e2e
@pytest.mark.parametrize("whom", ["the launcher", "the group"])
def test_ending_accelerates_launcher_ends_the_training_with_a_checkpoint(
    model: Path, data: Path, tmp_path: Path, whom: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """SIGTERM goes to the launcher alone, Ctrl-C to all of the terminal's group. The command is the one that users know."""
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    assert call(model, data, whole, *LONG) == 0
    launched = start(["-m", "accelerate.commands.launch", "train", *flags(model, data, broken, *LONG)])
    underway(launched, broken)
    if whom == "the launcher":
        launched.terminate()
    else:
        os.killpg(launched.pid, signal.SIGINT)
    _, said = launched.communicate(timeout=60)  # until all that hold its stderr have ended
    assert launched.returncode != 0
    assert "stopping after this step, with a checkpoint" in said and "run the same command again to go on" in said, said
    assert not still_written(broken)
    assert not (broken / "train" / "adapter").exists()
    (only,) = saved(broken)
    capsys.readouterr()
    AcceleratorState._reset_state(True)
    assert call(model, data, broken, *LONG) == 0
    assert f"going on after step {int(only.removeprefix('step-'))} of 120" in capsys.readouterr().err
    assert product(broken) == product(whole) and metrics(broken) == metrics(whole)


def both(folder: Path, arguments: list[str]) -> None:
    """Train on two ranks over gloo, as torchrun's environment has them."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    common = {
        "WORLD_SIZE": "2",
        "LOCAL_WORLD_SIZE": "2",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": port,
        "ACCELERATE_USE_CPU": "true",
    }
    said = [folder / f"said-{rank}.txt" for rank in range(2)]
    ranks = [Forked(arguments, said[rank], RANK=str(rank), LOCAL_RANK=str(rank), **common) for rank in range(2)]
    assert [rank.wait() for rank in ranks] == [0, 0], "".join(place.read_text() for place in said)


@pytest.mark.e2e
def test_two_ranks_learn_what_one_does_and_go_on_after_ctrl_c(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also in a last step with fewer examples (1) than ranks. Without dropout, which each rank draws for itself."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    (tmp_path / "corpus").mkdir()
    odd = write_corpus(tmp_path / "corpus", 22)  # 17 and 5 held out
    more = (
        "model.dtype=float32", "train.micro_batch_tokens=60", "train.prompt_loss_weight=0.3", "train.held_out=0.2",
        "train.epochs=6", "train.learning_rate=1e-3",
    )  # fmt: skip
    one, two, broken = tmp_path / "one", tmp_path / "two", tmp_path / "broken"
    assert call(model, odd, one, *more) == 0
    both(tmp_path, flags(model, odd, two, *more))
    steps = [[line["loss"] for line in metrics(run) if "loss" in line] for run in (one, two)]
    held = [[line["held_out_loss"] for line in metrics(run) if "held_out_loss" in line] for run in (one, two)]
    assert len(steps[0]) == 18 and len(held[0]) == 7
    assert steps[1] == pytest.approx(steps[0], rel=1e-6)
    assert held[1] == pytest.approx(held[0], rel=1e-6)
    matrices = [load_file(run / "train" / "adapter" / "adapter_model.safetensors") for run in (one, two)]
    assert all(torch.allclose(value, matrices[1][name], rtol=1e-3, atol=1e-5) for name, value in matrices[0].items())

    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m", "self_instruct.train"]
    launched = start([*torchrun, *flags(model, odd, broken, *more, EVERY)], ACCELERATE_USE_CPU="true")
    underway(launched, broken)
    os.killpg(launched.pid, signal.SIGINT)  # torchrun sends its processes another
    _, said = launched.communicate(timeout=120)
    assert "run the same command again to go on" in said and "this is a bug" not in said, said
    assert not (broken / "train" / "adapter").exists()
    both(tmp_path, flags(model, odd, broken, *more))
    assert "going on after step " in (tmp_path / "said-0.txt").read_text()
    assert product(broken) == product(two) and metrics(broken) == metrics(two)


@pytest.mark.e2e
def test_accelerate_launches_the_folder(model: Path, data: Path, tmp_path: Path) -> None:
    """The command that users know, from the root: the folder itself is first on the path, and torch has its threads."""
    launched = start(["-m", "accelerate.commands.launch", "train", *flags(model, data, tmp_path, "run.threads=2")])
    printed, said = launched.communicate(timeout=300)
    assert launched.returncode == 0, said
    assert json.loads(printed)["steps"] == 6
    assert "with 2 CPU threads" in said
