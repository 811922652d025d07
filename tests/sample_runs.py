"""Small made-up adapters and stage folders for tests of the evaluate stage. No library loads a model from them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet

from self_instruct import corpus
from self_instruct.evaluate.comparison import Answer
from self_instruct.evaluate.scoring import score_items
from self_instruct.evaluate.store import StoredSuite, write
from self_instruct.evaluate.suites import Prompted
from self_instruct.records import EvalItem

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


def whole_corpus(run: Path, count: int = 4) -> None:
    """In the stead of `generated`'s corpus one with all columns that the stage writes, an instance an instruction."""
    folder = run / "generate" / "corpus"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    more = {"margin": 0.5, "request": 0, "parents": [], "nearest_ids": [], "nearest_scores": [], "is_classification": False}
    instructions, instances = [], []
    for n in range(count):
        instructions.append({"id": f"task-{n}", "instruction": f"Do number {n}.", "position": n, **more})
        told = {"id": f"task-{n}-i0", "instruction_id": f"task-{n}", "order": 0}
        instances.append({**told, "input": str(n), "output": f"done {n}"})
    corpus.write(folder, {"instructions": instructions, "instances": instances}, "# Card\n")


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
            task=f"task_{n}",
            group=f"App {n}",
            instruction=f"Write the number {n} in words.",
            input="" if n % 2 else f"{n}",
            references=(f"the number {n} in words",),
        )
        for n in range(count)
    )


def clone(folder: Path, tasks: int = 2, instances: int = 3) -> Path:
    """A made-up folder in the layout of natural-instructions."""
    (folder / "splits" / "default").mkdir(parents=True)
    (folder / "tasks").mkdir()
    names = [f"task{number}_sample" for number in range(tasks)]
    (folder / "splits" / "default" / "test_tasks.txt").write_text("\n".join(names) + "\n")
    for number, name in enumerate(names):
        rows = [{"id": f"task{number}-{n}", "input": f"{n} apples", "output": [f"{n} pears", "pears"]} for n in range(instances)]
        task = {"Definition": [f"Exchange the fruit of task {number}."], "Categories": [f"Category {number}"], "Instances": rows}
        (folder / "tasks" / f"{name}.json").write_text(json.dumps(task))
    return folder


def superni_items(count: int, tasks: int = 3) -> tuple[EvalItem, ...]:
    """Made-up items of `tasks` tasks in two categories, two references each."""
    return tuple(
        EvalItem(
            id=f"task{n % tasks}-{n:03d}",
            suite="superni",
            task=f"task{n % tasks}_sample",
            group=f"Category {n % tasks % 2}",
            instruction=f"Name the number of task {n % tasks}.",
            input=str(n),
            references=(f"the number {n}", f"number {n} in words"),
        )
        for n in sorted(range(count), key=lambda n: n % tasks)
    )


def stored_suite(
    made: Sequence[EvalItem],
    answer: Callable[[str, EvalItem], str] = lambda name, item: "the number" if name == "base" else item.references[0],
    models: Sequence[str] = ("base", "tuned"),
    **facts: Any,
) -> StoredSuite:
    """Made-up answers, scored; a model called base answers worse than the others."""
    kind = "superni" if made[0].suite == "superni" else "user_oriented"
    texts = {name: [answer(name, item) for item in made] for name in models}
    scored = score_items(made, texts)
    return StoredSuite(
        facts={
            "name": made[0].suite, "kind": kind, "source": "shipped", "digest": "ab" * 32, "max_tokens": 20, "cut_inputs": 0,
            "prompt_tokens": 1024 if kind == "superni" else None, "cut": "input" if kind == "superni" else None, "counts": {},
        } | facts,
        prompted=tuple(Prompted(item=item, prompt=f"prompt of {item.id}", cut=False) for item in made),
        answers={
            name: tuple(
                Answer(text=text, hit_limit=False, output_tokens=3, rouge_l=float(r), exact_match=bool(e))
                for text, r, e in zip(given, scored[name].rouge_l, scored[name].exact, strict=True)
            )
            for name, given in texts.items()
        },
    )  # fmt: skip


def evaluated(
    run: Path,
    suites: Sequence[StoredSuite] | None = None,
    models: Sequence[str] = ("base", "tuned"),
    *,
    statistics: dict[str, Any] | None = None,
    contamination: list[dict[str, Any]] | None = None,
    scripted: bool = False,
    digests: dict[str, str] | None = None,
) -> Path:
    """`<run>/evaluate`, finished, with stored results and no report."""
    stage = run / "evaluate"
    stage.mkdir(parents=True, exist_ok=True)
    trained = {"examples": 78, "seed_examples": 48, "sources": [{"name": "seeds", "kind": "seeds", "rows": 48, "weight": 1.0}]}
    facts = {
        name: {
            "role": "self_inst" if place else "base",
            "adapter": f"train/{name}" if place else None,
            "digest": (digests or {}).get(name, f"{name}-digest"),
            "training": trained if place else None,
        }
        for place, name in enumerate(models)
    }
    write(
        stage,
        model={
            "title": "tiny", "reference": "models/tiny", "source": "local", "fingerprint": "f" * 64,
            "architecture": "LlamaForCausalLM",
        },
        scripted=scripted,
        seed=42,
        models=facts,
        suites=suites if suites is not None else (stored_suite(items(6)), stored_suite(superni_items(9))),
        statistics=statistics,
        contamination=contamination,
    )  # fmt: skip
    settings = {
        "run.seed": {"value": 42, "origin": "default"},
        "train.epochs": {"value": 3, "origin": "--set"},
        "evaluate.examples": {"value": 2, "origin": "configs/tiny.yaml:24"},
    }
    (stage / "config.json").write_text("{}", encoding="utf-8")
    (stage / "manifest.json").write_text(json.dumps(manifest("evaluate", {}, settings=settings)), encoding="utf-8")
    return run
