"""The trainer beside TRL 1.16: CPU seconds of the same three optimizer steps on one thread, peak memory, and the same losses.

    python benchmarks/train.py                       the table, interleaved rounds, medians
    python benchmarks/train.py --section tune        which of TRL's settings is its best: that one is "tuned" in the table
    python benchmarks/train.py --section exact       a step's loss for any budget, and on two ranks
    python benchmarks/train.py --section prepare     rows to ids: 50,000 rows, two template draws, beside TRL's one pass

Needs `pip install --no-deps "trl==1.16.*"`, which nothing else here does. Every side runs in a process of its own, from the same
ids with the same labels, 8 examples an optimizer step: the embedded model's shape in float32, LoRA of rank 16 on all linear layers
but the head. The rows are the seeds and the user-oriented tasks that ship; "prompts" takes those whose prompts are long.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from importlib import metadata
from typing import Any

import reporting

STEPS, BATCH, LIMIT, SEED = 3, 8, 1024, 5
LORA = {"r": 16, "lora_alpha": 32, "lora_dropout": 0.0}
TRAIN = {"batch_size": BATCH, "lora_rank": 16, "lora_alpha": 32, "held_out": 0.0}
# TRL's settings of each side, beside what all have; the tuned one is the best of `--section tune`.
TRL = {
    "TRL by default": {"per_device_train_batch_size": 8},
    "TRL tuned": {"per_device_train_batch_size": 1, "padding_free": True, "gradient_checkpointing": False},
}
OURS = "ours"
TARGETS = {("mixed", "TRL by default"): 3.5, ("mixed", "TRL tuned"): 1.5, ("prompts", "TRL tuned"): 1.7}


def preparation(prompt_weight: float = 0.0) -> Any:
    """How rows become ids here, with the embedded model's tokenizer."""
    from self_instruct.models import load_tokenizer, resolve
    from self_instruct.settings import ModelSettings
    from self_instruct.train.batching import Preparation
    from self_instruct.train.tokens import Tokens

    model = resolve(ModelSettings())
    tokens = Tokens(load_tokenizer(model.path))
    return model, Preparation(
        tokens=tokens, eos_id=model.eos_token_id, limit=LIMIT, prompt_weight=prompt_weight, seed=SEED, template_draw="epoch"
    )


def rows(kind: str, prompt_weight: float = 0.0) -> tuple[Any, list[list[Any]]]:
    """The model, and the encoded examples of each step."""
    from self_instruct import seedbank
    from self_instruct.records import TrainingExample
    from self_instruct.train import sources

    model, prepare = preparation(prompt_weight)
    tasks = [
        TrainingExample(id=item.id, instruction=item.instruction, input=item.input, output=item.references[0])
        for item in seedbank.load_user_oriented()
    ]
    encoded = prepare.encode_all([*sources.from_seeds(seedbank.load_seeds()), *tasks], 0)
    if kind == "prompts":
        encoded = [row for row in encoded if 0.72 < row.prompt_tokens / len(row.ids) < 0.95 and len(row.ids) > 100]
    chosen = random.Random(SEED).sample(encoded, STEPS * BATCH)
    return model, [chosen[start : start + BATCH] for start in range(0, len(chosen), BATCH)]


def peak_gb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9


def ours(kind: str, budget: int | None = None, attention: str = "auto") -> dict[str, Any]:
    """Three steps of `self_instruct.train` in this process."""
    import torch

    from self_instruct.settings_train import TrainSettings
    from self_instruct.train import memory, modeling
    from self_instruct.train.step import Stepper

    torch.set_num_threads(1)
    model, steps = rows(kind)
    settings = TrainSettings(**TRAIN, attention=attention)  # type: ignore[arg-type]
    accelerator = modeling.accelerator()
    tuned = modeling.make_trainable(modeling.load_base(model.path, "float32"), settings, SEED)
    objective, layout, _ = modeling.build_objective(tuned, settings, LIMIT, list(steps[0][0].ids[:16]))
    trained = [parameter for parameter in objective.parameters() if parameter.requires_grad]
    stepper = Stepper(objective, accelerator, torch.optim.AdamW(trained, lr=2e-4), layout, budget or memory.CPU_BUDGET)
    losses = []
    started = time.process_time()
    for examples in steps:
        total, _, _ = stepper.train(examples, 2e-4, 1.0)
        losses.append(total / sum(sum(row.weights) for row in examples))
    return {"cpu_s": time.process_time() - started, "losses": losses, "peak_gb": peak_gb()}


def trl(kind: str, options: dict[str, Any]) -> dict[str, Any]:
    """The same with TRL's SFTTrainer."""
    import torch
    from datasets import Dataset
    from peft import LoraConfig
    from transformers import AutoModelForCausalLM, TrainerCallback
    from trl import SFTConfig, SFTTrainer

    from self_instruct.models import load_tokenizer
    from self_instruct.train.modeling import linear_names

    torch.set_num_threads(1)
    model, steps = rows(kind)
    data = Dataset.from_list(
        [
            {"input_ids": list(row.ids), "completion_mask": [int(weight > 0) for weight in row.weights]}
            for examples in steps
            for row in examples
        ]
    )
    base = AutoModelForCausalLM.from_pretrained(model.path, dtype=torch.float32)
    clock: dict[str, Any] = {"losses": []}

    class Watch(TrainerCallback):  # type: ignore[misc]
        def on_step_begin(self, args: Any, state: Any, control: Any, **more: Any) -> None:
            clock.setdefault("began", time.process_time())

        def on_step_end(self, args: Any, state: Any, control: Any, **more: Any) -> None:
            clock["ended"] = time.process_time()

        def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **more: Any) -> None:
            if "loss" in logs:
                clock["losses"].append(float(logs["loss"]))

    size = options.get("per_device_train_batch_size", 8)
    with tempfile.TemporaryDirectory() as out:
        arguments = {
            "output_dir": out, "bf16": False, "use_cpu": True, "num_train_epochs": 1, "learning_rate": 2e-4, "logging_steps": 1,
            "report_to": "none", "save_strategy": "no", "disable_tqdm": True, "lr_scheduler_type": "constant",
            "completion_only_loss": True, "max_length": None, "train_sampling_strategy": "sequential",
            "gradient_accumulation_steps": BATCH // size,
        }  # fmt: skip
        trainer = SFTTrainer(
            model=base,
            args=SFTConfig(**arguments | options),
            train_dataset=data,
            processing_class=load_tokenizer(model.path),
            peft_config=LoraConfig(task_type="CAUSAL_LM", target_modules=linear_names(base), **LORA),
            callbacks=[Watch()],
        )
        trainer.train()
    return {"cpu_s": clock["ended"] - clock["began"], "losses": clock["losses"], "peak_gb": peak_gb()}


def child(side: str, kind: str, options: dict[str, Any] | None = None) -> dict[str, Any]:
    """One side in a process of its own, on one thread."""
    environment = os.environ | {name: "1" for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "RAYON_NUM_THREADS", "HF_HUB_OFFLINE")}
    environment |= {"TOKENIZERS_PARALLELISM": "false", "CUDA_VISIBLE_DEVICES": "", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
    words = [sys.executable, __file__, "--side", side, "--data", kind, "--options", json.dumps(options or {})]
    done = subprocess.run(words, capture_output=True, text=True, env=environment, check=False)
    if done.returncode:
        sys.exit(done.stderr[-3000:])
    return dict(json.loads(done.stdout.strip().splitlines()[-1]))


def speed(rounds: int) -> None:
    """The table: each side in turn, `rounds` times, medians."""
    for kind in ("mixed", "prompts"):
        _, steps = rows(kind)
        tokens = sum(len(row.ids) for step in steps for row in step)
        completion = sum(row.completion_tokens for step in steps for row in step)
        sides = [*TRL, OURS]
        runs: dict[str, list[dict[str, Any]]] = {side: [] for side in sides}
        for _ in range(rounds):
            for side in sides:
                runs[side].append(child(side, kind))
        cpu = {side: statistics.median(run["cpu_s"] for run in found) for side, found in runs.items()}
        peak = {side: statistics.median(run["peak_gb"] for run in found) for side, found in runs.items()}
        first = {side: found[0]["losses"][0] for side, found in runs.items()}
        share = 1 - completion / tokens
        print(f"Rows: {kind}, {tokens} tokens in {STEPS} steps, {completion} of them completion ({share:.0%} prompt)\n")
        lines = []
        for side in sides:
            ratio = cpu[side] / cpu[OURS]
            wanted = TARGETS.get((kind, side))
            lines.append(
                (
                    side, cpu[side], f"{min(r['cpu_s'] for r in runs[side]):.1f}-{max(r['cpu_s'] for r in runs[side]):.1f}",
                    completion / cpu[side], None if side == OURS else ratio,
                    "" if wanted is None else reporting.target(ratio >= wanted, f">= {wanted} x"),
                    peak[side], None if side == OURS else peak[OURS] / peak[side],
                    "" if side == OURS else reporting.target(peak[OURS] / peak[side] <= (0.5 if "default" in side else 1.0),
                                                             "<= 0.5 x" if "default" in side else "<= 1.0 x"),
                    f"{first[side]:.6f}", None if side == OURS else f"{abs(first[side] - first[OURS]):.1e}",
                )
            )  # fmt: skip
        columns = (
            "side", "CPU s", "lowest-highest", "completion tokens / CPU s", "CPU s / ours", "target", "peak GB", "ours / peak",
            "target", "first step's loss", "difference",
        )  # fmt: skip
        reporting.table(columns, lines)


def tune() -> None:
    """TRL's combinations, once each: no checkpointing; padded or padding-free; rows by length; micro-batch size."""
    lines = []
    for kind in ("mixed", "prompts"):
        for free in (False, True):
            for size in (1, 2, 4, 8):
                options = {"per_device_train_batch_size": size, "padding_free": free, "gradient_checkpointing": False}
                found = child("trl", kind, options)
                lines.append((kind, "padding_free" if free else "padded", size, found["cpu_s"], found["peak_gb"]))
                if not free and size in (2, 4):
                    found = child("trl", kind, options | {"train_sampling_strategy": "group_by_length"})
                    lines.append((kind, "padded, group_by_length", size, found["cpu_s"], found["peak_gb"]))
    reporting.table(("rows", "batch", "micro-batch", "CPU s", "peak GB"), lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--section", choices=("speed", "tune", "exact", "prepare"), default="speed")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--side", help=argparse.SUPPRESS)
    parser.add_argument("--data", default="mixed", help=argparse.SUPPRESS)
    parser.add_argument("--options", default="{}", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.side is not None:
        options = json.loads(arguments.options)
        if arguments.side == OURS:
            made = ours(arguments.data, **options)
        elif arguments.side.startswith("prepare"):
            import train_exact

            made = train_exact.prepare_ours() if arguments.side == "prepare-ours" else train_exact.prepare_trl()
        else:
            made = trl(arguments.data, TRL.get(arguments.side, {}) | options)
        if os.environ.get("RANK", "0") == "0":
            print(json.dumps(made))
        return
    os.environ["HF_HUB_OFFLINE"] = "1"
    reporting.heading(f"The trainer beside TRL {metadata.version('trl')}")
    if arguments.section == "speed":
        speed(arguments.rounds)
    elif arguments.section == "tune":
        tune()
    else:
        import train_exact

        (train_exact.exact if arguments.section == "exact" else train_exact.prepare)()


if __name__ == "__main__":
    main()
