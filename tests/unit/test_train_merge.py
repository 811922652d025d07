"""`train merge RUN` as a command on tiny models: the arithmetic of the merge, going on, and what is refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sample_training import byte_level, save_tiny_model
from self_instruct import commandline, engines, rundir
from self_instruct.records import Completion, Request
from self_instruct.train import cli, merge
from trained_runs import finished


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base in bfloat16, and a run with an adapter on it, in one folder."""
    import torch
    from transformers import AutoModelForCausalLM

    here = tmp_path_factory.mktemp("trained")
    base = save_tiny_model(here / "base")
    AutoModelForCausalLM.from_pretrained(base, dtype=torch.bfloat16).save_pretrained(base)
    finished(here / "run", base)
    return here


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Path:
    """A run of the test's own; the base stays where it is."""
    shutil.copytree(trained / "run", tmp_path / "run")
    return tmp_path / "run"


def call(*argv: str) -> int:
    return commandline.run(cli.main, ["merge", *argv])


def refused(capfd: pytest.CaptureFixture[str], *argv: str) -> str:
    """Status 2, an error and a hint; both lines."""
    assert call(*argv) == 2
    lines = capfd.readouterr().err.splitlines()[-2:]
    assert [line.split(": ")[0] for line in lines] == ["error", "hint"]
    return "\n".join(lines)


def edit(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_the_merged_weights_are_the_sum_in_float32_stored_as_the_base_is(
    run: Path, trained: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    import torch
    from safetensors.torch import load_file

    assert call(str(run)) == 0
    said = json.loads(capfd.readouterr().out)
    merged = run / "train" / "merged"
    assert said["merged"] == str(merged)
    weights, base = load_file(merged / "model.safetensors"), load_file(trained / "base" / "model.safetensors")
    lora = load_file(run / "train" / "adapter" / "adapter_model.safetensors")
    name = "model.layers.1.self_attn.q_proj"
    a, b = (lora[f"base_model.model.{name}.lora_{which}.weight"] for which in "AB")
    expected = (base[f"{name}.weight"].float() + 8 / 4 * (b @ a)).to(torch.bfloat16)
    assert not torch.equal(expected, base[f"{name}.weight"])
    torch.testing.assert_close(weights[f"{name}.weight"], expected, rtol=2**-7, atol=0)
    untouched = "model.layers.1.self_attn.k_proj.weight"
    assert torch.equal(weights[untouched], base[untouched]) and weights[untouched].dtype == torch.bfloat16
    assert {path.name for path in merged.iterdir()} >= {"config.json", "tokenizer.json", "generation_config.json", "README.md"}
    assert rundir.read_json(merged / "generation_config.json") == rundir.read_json(run / "train/adapter/generation_config.json")


def test_the_report_compares_and_says_why_vllm_is_absent(run: Path) -> None:
    assert call(str(run)) == 0
    made = rundir.read_json(run / "train" / "parity.json")
    assert made["summary"]["vllm"] == {"absent": "model.engine is transformers"}
    assert len(made["prompts"]) == 20 and made["merged_dtype"] == "bfloat16"
    assert 0 < made["summary"]["merged"]["largest_difference"] < 0.5, "what rounding to bfloat16 does, and no more"
    assert made["summary"]["merged"]["same_likeliest"] > 0.9
    assert "absent: model.engine is transformers" in (run / "train" / "parity.md").read_text()


def test_a_base_in_float32_loses_nothing(tmp_path: Path) -> None:
    finished(tmp_path / "run", save_tiny_model(tmp_path / "base"))
    assert call(str(tmp_path / "run")) == 0
    summary = rundir.read_json(tmp_path / "run" / "train" / "parity.json")["summary"]["merged"]
    assert summary["largest_difference"] < 1e-4 and summary["same_likeliest"] == 1


def test_an_encoder_decoder_is_merged_and_not_asked_of_vllm(tmp_path: Path) -> None:
    import torch
    from transformers import T5Config, T5ForConditionalGeneration

    torch.manual_seed(0)
    tokenizer = byte_level()
    shape = {"d_model": 32, "d_kv": 8, "d_ff": 64, "num_layers": 2, "num_heads": 4, "decoder_start_token_id": 0, "pad_token_id": 0}
    config = T5Config(vocab_size=len(tokenizer), eos_token_id=tokenizer.eos_token_id, **shape)
    T5ForConditionalGeneration(config).save_pretrained(tmp_path / "base")
    tokenizer.save_pretrained(tmp_path / "base")
    finished(tmp_path / "run", tmp_path / "base")
    assert call(str(tmp_path / "run"), "--set", "model.engine=vllm") == 0
    summary = rundir.read_json(tmp_path / "run" / "train" / "parity.json")["summary"]
    assert summary["vllm"] == {"absent": "vLLM doesn't serve encoder-decoder models"}
    assert summary["merged"]["largest_difference"] < 1e-4


def test_an_adapter_that_does_something_is_told_from_its_base(run: Path, trained: Path) -> None:
    """The parity of two models that are both the base would be perfect too."""
    manifest = rundir.read_json(run / "train" / "manifest.json")
    planned = merge.plan(run / "train", merge.settings_of(manifest, merge.loading.load(), run))
    asked = merge._prompts(planned)
    from self_instruct.train import modeling

    base = merge._score(modeling.load_base(str(trained / "base"), "float32").eval(), asked)
    tuned = merge._merge(planned, asked, write=False)
    assert max(abs(a - b) for one in asked for a, b in zip(base[one.id].logprobs, tuned[one.id].logprobs, strict=True)) > 0.5


def test_a_second_call_does_nothing_and_another_adapter_is_merged_anew(
    run: Path, trained: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert call(str(run)) == 0
    before = {path: path.stat().st_mtime_ns for path in (run / "train").rglob("*") if path.is_file() and path.name != ".lock"}
    capfd.readouterr()
    assert call(str(run)) == 0
    done = capfd.readouterr()
    assert "merged from this adapter already" in done.err and json.loads(done.out)["merged"]
    assert before == {path: path.stat().st_mtime_ns for path in before}
    edit(run / "train/adapter/generation_config.json", eos_token_id=[0, 3])
    assert call(str(run)) == 0
    assert "of another adapter; it is made anew" in capfd.readouterr().err
    assert rundir.read_json(run / "train/merged/generation_config.json")["eos_token_id"] == [0, 3]


def test_a_call_that_was_broken_off_goes_on_with_the_report(run: Path) -> None:
    assert call(str(run)) == 0
    written = (run / "train/merged/model.safetensors").stat().st_mtime_ns
    (run / "train/parity.json").unlink()
    assert call(str(run)) == 0
    assert (run / "train/merged/model.safetensors").stat().st_mtime_ns == written
    assert (run / "train/parity.json").is_file()


class Scoring:
    """An engine that gives each token the log-probability -n/1000 of its place n, and its successor as the likeliest."""

    def __init__(self) -> None:
        self.asked: list[Request] = []
        self.closed = False

    async def generate(self, request: Request) -> Completion:
        self.asked.append(request)
        places = range(1, len(request.scored))
        return Completion(
            request_id=request.id, text="", finish_reason="length", prompt_tokens=len(request.scored), output_tokens=1,
            logprobs=tuple(-n / 1000 for n in places), likeliest=tuple(n + 1 for n in places),
        )  # fmt: skip

    async def metrics(self) -> dict[str, float]:
        return {}

    async def close(self) -> None:
        self.closed = True


@pytest.fixture
def vllm(monkeypatch: pytest.MonkeyPatch) -> Callable[[], Scoring]:
    made: list[tuple[Scoring, Any]] = []

    async def start(model: Any, settings: Any, adapters: Any, log_path: Any) -> Scoring:
        made.append((Scoring(), settings))
        assert adapters == (str(log_path.parent.resolve() / "adapter"),)
        return made[-1][0]

    monkeypatch.setattr(engines, "open_engine", start)
    monkeypatch.setattr(merge.importlib.util, "find_spec", lambda name: name)

    def found() -> Scoring:
        ((engine, settings),) = made
        assert settings.run.engine.restarts == 0
        return engine

    return found


def test_vllm_scores_the_same_ids_with_the_adapter(run: Path, vllm: Callable[[], Scoring]) -> None:
    assert call(str(run), "--set", "model.engine=vllm", "--set", "model.dtype=float32") == 0
    engine = vllm()
    assert engine.closed and len(engine.asked) == 20
    made = rundir.read_json(run / "train" / "parity.json")
    assert made["summary"]["vllm"]["dtype"] == "float32"
    first, row = engine.asked[0], made["prompts"][0]
    places = range(len(first.scored) - row["tokens"], len(first.scored))  # of the completion
    assert row["logprob"]["vllm"] == pytest.approx(sum(-n / 1000 for n in places), abs=1e-5)
    assert first.scored[-1] == byte_level().eos_token_id


def test_a_report_without_vllm_is_completed_when_it_is_there(run: Path, vllm: Callable[[], Scoring]) -> None:
    assert call(str(run)) == 0
    assert call(str(run), "--set", "model.engine=vllm") == 0
    assert len(vllm().asked) == 20
    assert "absent" not in rundir.read_json(run / "train" / "parity.json")["summary"]["vllm"]


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"r": 640}, "its rank is 640, vLLM serves up to 512"),
        ({"rank_pattern": {"q_proj": 1024}}, "its rank is 1024"),
        ({"modules_to_save": ["lm_head"]}, "it holds retrained modules (lm_head)"),
        ({"use_dora": True}, "it uses DoRA"),
        ({"bias": "all"}, "it has biases (all)"),
        ({"peft_type": "LOHA"}, "its kind is LOHA, not LORA"),
    ],
)
def test_an_adapter_that_vllm_cannot_serve(
    run: Path, capfd: pytest.CaptureFixture[str], changes: dict[str, Any], told: str
) -> None:
    edit(run / "train/adapter/adapter_config.json", **changes)
    assert f"{run}/train/adapter: can't be merged: {told}" in refused(capfd, str(run))
    assert not (run / "train" / "merged").exists()


def test_an_adapter_of_another_base_names_both(run: Path, trained: Path, capfd: pytest.CaptureFixture[str]) -> None:
    base = rundir.read_json(run / "train/adapter/training_manifest.json")["base_model"]
    edit(run / "train/adapter/training_manifest.json", base_model=base | {"fingerprint": "0" * 64})
    said = refused(capfd, str(run))
    assert f"trained on {trained}/base (000000000000), what lies there now is another model ({base['fingerprint'][:12]})" in said


def test_weights_that_are_no_numbers(run: Path, capfd: pytest.CaptureFixture[str]) -> None:
    from safetensors.torch import load_file, save_file

    path = run / "train/adapter/adapter_model.safetensors"
    weights = load_file(path)
    next(iter(weights.values()))[0, 0] = float("nan")
    save_file(weights, path, {"format": "pt"})
    assert "can't be merged: NaNs detected" in refused(capfd, str(run))
    assert not (run / "train" / "merged").exists()


def test_full_fine_tuning_has_nothing_to_merge(run: Path, capfd: pytest.CaptureFixture[str]) -> None:
    manifest = rundir.read_json(run / "train/manifest.json")
    manifest["settings"]["train.method"]["value"] = "full"
    rundir.write_json(run / "train/manifest.json", manifest)
    said = refused(capfd, str(run))
    assert "train.method is full: nothing to merge" in said and f"{run}/train/model is a whole model already" in said


def test_no_run_an_unfinished_one_and_a_setting_of_the_run(run: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert "no run there" in refused(capfd, str(tmp_path / "none"))
    assert "--set train.epochs: merge takes the run's own" in refused(capfd, str(run), "--set", "train.epochs=3")
    edit(run / "train/manifest.json", status="running")
    assert "not finished" in refused(capfd, str(run))
