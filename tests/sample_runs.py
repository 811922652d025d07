"""Small made-up adapters and stage folders for tests of the evaluate stage. No library loads a model from them."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet

from self_instruct.evaluate.comparison import Results, measure
from self_instruct.evaluate.predict import Contender
from self_instruct.evaluate.suites import Prompted
from self_instruct.records import EvalItem, Prediction

REJECTED = {"instruction": {"novelty": 40, "too_short": 2}, "instance": {"empty_output": 7}}
GENERATE_FACTS: dict[str, Any] = {
    "requests": 31,
    "candidates": 62,
    "accepted": 20,
    "classification": 5,
    "instances": 30,
    "empty_inputs": 12,
    "rejected": REJECTED,
    "mean_nearest": 0.3456,
    "prompt_tokens": 12345,
    "output_tokens": 6789,
    "output_tokens_per_s": 98.76,
    "prefix_hit_rate_steps_2_3": 0.9612,
    "seconds": 68.7,
    "stopped_by": "target_instructions",
    "model": "tiny",
}
TRAIN_FACTS: dict[str, Any] = {
    "examples": 78,
    "seed_examples": 48,
    "dropped": {"duplicates": 3, "empty": 0},
    "steps": 10,
    "epochs": [
        {"epoch": 1, "loss": 2.98765, "completion_tokens": 1000, "tokens": 3000, "seconds": 20.04},
        {"epoch": 2, "loss": 2.51234, "completion_tokens": 1000, "tokens": 3000, "seconds": 19.96},
    ],
    "dtype": "float32",
    "dtype_reason": "this CPU has no bfloat16 units",
    "completion_tokens_per_s": 50.0,
    "trainable_parameters": 4_884_480,
}
MACHINE = {"system": "Linux", "processor": "a processor", "cores": 2, "memory_gib": 8.0, "gpus": []}


def adapter(folder: Path, content: str = "one") -> Path:
    """A folder that looks like a LoRA adapter."""
    folder.mkdir(parents=True)
    (folder / "adapter_config.json").write_text(json.dumps({"r": 8, "peft_type": "LORA"}), encoding="utf-8")
    (folder / "adapter_model.safetensors").write_text(content, encoding="utf-8")
    return folder


def manifest(stage: str, facts: dict[str, Any] | None = None, **changes: Any) -> dict[str, Any]:
    """A manifest such as `rundir` writes; finished where there are facts."""
    made: dict[str, Any] = {
        "stage": stage,
        "status": "running" if facts is None else "finished",
        "argv": ["--config", "configs/tiny.yaml"],
        "settings": {"run.seed": {"value": 42, "origin": "default"}, "train.epochs": {"value": 3, "origin": "--set"}},
        "inputs": {"user_oriented": "ab" * 32},
        "versions": {"self-instruct": "0.1.0", "python": "3.11.9"},
        "git": {"commit": "c0ffee", "dirty": False},
        "hardware": MACHINE,
        "started_s": 1_700_000_000.0,
        "seconds": 61.25,
    }
    return made | ({} if facts is None else {"facts": facts}) | changes


def generated(run: Path, facts: dict[str, Any] | None = None) -> None:
    """`<run>/generate` with a corpus of 3 instructions and 4 instances."""
    folder = run / "generate"
    tables: dict[str, dict[str, list[str]]] = {
        "instructions": {"instruction": ["Sort the words by length.", "Name a river in Asia and one in Africa.", "Greet me"]},
        "instances": {"input": ["", "one two three", " ", "five"], "output": ["a b", "c", "d e f g", "h"]},
    }
    for name, columns in tables.items():
        place = folder / "corpus" / "data" / name
        place.mkdir(parents=True)
        pyarrow.parquet.write_table(pyarrow.table(columns), place / "train-00000-of-00001.parquet")
    (folder / "manifest.json").write_text(json.dumps(manifest("generate", facts or GENERATE_FACTS)), encoding="utf-8")


def trained(run: Path) -> None:
    """`<run>/train` with its facts and 10 steps of metrics; the adapter is made by `adapter`."""
    folder = run / "train"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "manifest.json").write_text(json.dumps(manifest("train", TRAIN_FACTS)), encoding="utf-8")
    lines = [json.dumps({"time_s": 1.5, "step": step, "epoch": 1, "loss": 3.0 - step / 20}) for step in range(1, 11)]
    (folder / "metrics.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")


def items(count: int) -> tuple[EvalItem, ...]:
    return tuple(
        EvalItem(
            id=f"task_{n}",
            suite="user_oriented",
            group=f"App {n}",
            instruction=f"Write the number {n} in words.",
            input="" if n % 2 else f"{n}",
            references=(f"the number {n} in words",),
        )
        for n in range(count)
    )


def results(
    count: int = 6,
    answer: Callable[[str, EvalItem], str] = lambda name, item: item.references[0] if name == "tuned" else "the number",
    models: Sequence[str] = ("base", "tuned"),
    made: tuple[EvalItem, ...] = (),
) -> Results:
    """Results of made-up answers, measured."""
    contenders = tuple(
        Contender(name=n, adapter=Path("train/adapter") if place else None, digest="d" * place) for place, n in enumerate(models)
    )
    prompted = tuple(Prompted(item=item, prompt="p", cut=False) for item in made or items(count))
    predictions = tuple(
        Prediction(item_id=one.item.id, model=name, text=answer(name, one.item), hit_limit=False, output_tokens=3)
        for one in prompted
        for name in models
    )
    return measure(42, contenders, prompted, predictions)
