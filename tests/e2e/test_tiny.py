"""The whole path as a user runs it: real vLLM, real model, real commands, on configs/tiny.yaml."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import sample_runs

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.e2e
BIN = Path(sys.executable).parent


def stage(*words: str) -> dict[str, object]:
    """Run one command from the repository's root; returns the JSON line that it ends with."""
    environment = dict(os.environ) | {"PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}", "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(words, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    return dict(json.loads(done.stdout.strip().splitlines()[-1]))


@pytest.fixture(scope="session")
def tiny_run(embedded_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("tiny") / "run"
    flags = ("--config", "configs/tiny.yaml", "--out", str(out))
    stage("python", "generate", *flags)
    stage("accelerate", "launch", "train", *flags)
    tasks = sample_runs.clone(out.parent / "natural-instructions")
    # A cache of its own: else a second run of the tests would ask the engine nothing.
    own = ("--set", f"evaluate.superni.folder={tasks}", "--set", f"evaluate.cache={out.parent / 'cache'}")
    stage("python", "evaluate", *flags, *own)
    return out


def test_the_corpus_opens_with_load_dataset(tiny_run: Path) -> None:
    from datasets import load_dataset

    rows = load_dataset(str(tiny_run / "generate" / "corpus"))["train"]
    assert len(rows) > 0
    assert set(rows.column_names) == {"id", "instruction", "input", "output", "is_classification", "instruction_id"}
    instructions = load_dataset(str(tiny_run / "generate" / "corpus"), "instructions")["train"]
    assert set(rows["instruction_id"]) <= set(instructions["id"])


def test_the_adapter_loads_with_peft_and_changes_the_answers(tiny_run: Path) -> None:
    import torch
    from peft import AutoPeftModelForCausalLM
    from transformers import AutoTokenizer

    folder = tiny_run / "train" / "adapter"
    model = AutoPeftModelForCausalLM.from_pretrained(str(folder), dtype=torch.float32)
    ids = AutoTokenizer.from_pretrained(str(folder))("Name a colour.\n\nOutput:", return_tensors="pt")
    with torch.no_grad():
        tuned = model(**ids).logits
        with model.disable_adapter():
            base = model(**ids).logits
    assert not torch.equal(tuned, base)


def test_the_report_puts_base_and_tuned_side_by_side(tiny_run: Path) -> None:
    folder = tiny_run / "evaluate" / "report"
    numbers = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    assert [(suite["name"], suite["items"]) for suite in numbers["suites"]] == [("user_oriented", 4), ("superni", 6)]
    for suite in numbers["suites"]:
        assert [model["model"] for model in suite["models"]] == ["base", "tuned"]
    assert numbers["answering"][0]["requests"] == 2 * (4 + 6)
    assert numbers["statistics"][0]["found"]["verb_noun"] and numbers["contamination"][0]["sets"]
    page, text = (folder / "report.html").read_text("utf-8"), (folder / "report.md").read_text("utf-8")
    for name in ("figure-3", "figure-4", "figure-5", "figure-6", "figure-7"):
        assert f"({name}.svg)" in text and (folder / f"{name}.svg").is_file()
    assert page.count("<svg") >= 8


def test_a_finished_run_is_not_done_again(tiny_run: Path, snapshot_of: Callable[[Path], dict[str, int]]) -> None:
    before = snapshot_of(tiny_run / "generate" / "corpus")
    stage("python", "generate", "--config", "configs/tiny.yaml", "--out", str(tiny_run))
    assert snapshot_of(tiny_run / "generate" / "corpus") == before


def test_another_config_is_refused_and_nothing_written(tiny_run: Path, snapshot_of: Callable[[Path], dict[str, int]]) -> None:
    before = snapshot_of(tiny_run)
    done = subprocess.run(
        [sys.executable, "generate", "--config", "configs/tiny.yaml", "--out", str(tiny_run), "--set", "generate.top_p=0.9"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert "generate.top_p was 0.5, is 0.9" in done.stderr
    assert snapshot_of(tiny_run) == before


@pytest.fixture
def snapshot_of() -> Callable[[Path], dict[str, int]]:
    """Modification times of all files below a folder, in nanoseconds."""
    return lambda folder: {str(p): p.stat().st_mtime_ns for p in sorted(folder.rglob("*")) if p.is_file()}
