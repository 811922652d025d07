"""Two sections of benchmarks/train.py: what doesn't change a step's loss, and how fast rows become ids.

Knows nothing of speed beside TRL's steps; run through train.py.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from typing import Any

import reporting
import train

ROWS = 50_000
BUDGETS = (64, 256, 512, 1024, 4096)


def reference(kind: str) -> float:
    """The first step's loss in float64: the plain model, one example at a time, the whole head."""
    import torch
    from transformers import AutoModelForCausalLM

    model, steps = train.rows(kind)
    base = AutoModelForCausalLM.from_pretrained(model.path, dtype=torch.float64)
    total = weight = 0.0
    with torch.no_grad():
        for row in steps[0]:
            logs = torch.log_softmax(base(input_ids=torch.tensor([row.ids])).logits[0], dim=-1)
            for place in range(1, len(row.ids)):
                total -= row.weights[place] * float(logs[place - 1, row.ids[place]])
                weight += row.weights[place]
    return total / weight


def exact() -> None:
    """The losses of three steps for several budgets, padded, and on two ranks."""
    expected = reference("mixed")
    made = {f"{budget} tokens": train.child(train.OURS, "mixed", {"budget": budget}) for budget in BUDGETS}
    made["padded, 1024 tokens"] = train.child(train.OURS, "mixed", {"budget": 1024, "attention": "padded"})
    made["2 ranks (gloo), 512 tokens"] = _two_ranks()
    runs = {name: found["losses"] for name, found in made.items()}
    first = next(iter(runs.values()))
    lines = []
    for name, losses in runs.items():
        off = abs(losses[0] - expected) / expected
        apart = max(abs(loss - one) / one for loss, one in zip(losses, first, strict=True))
        cost = (made[name]["cpu_s"], made[name]["peak_gb"])
        lines.append((name, f"{losses[0]:.8f}", f"{off:.1e}", f"{apart:.1e}", reporting.target(apart <= 1e-6, "<= 1e-6"), *cost))
    print(f"The first step's loss in float64, plain, one example at a time: {expected:.8f}\n")
    columns = (
        "micro-batches of",
        "first step's loss",
        "off float64, relative",
        "3 steps, off the first line, relative",
        "target",
        "CPU s",
        "peak GB",
    )
    reporting.table(columns, lines)


def _two_ranks() -> dict[str, Any]:
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    words = [*torchrun, train.__file__, "--side", train.OURS, "--options", json.dumps({"budget": 512})]
    environment = os.environ | {"ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(words, capture_output=True, text=True, check=False, env=environment)
    if done.returncode:
        sys.exit(done.stderr[-3000:])
    return dict(json.loads(next(line for line in done.stdout.splitlines() if line.startswith("{"))))


def prepare() -> None:
    """CPU seconds from rows to ids."""
    ours, trl = train.child("prepare-ours", "mixed"), train.child("prepare-trl", "mixed")
    columns = ("side", "rows", "draws", "CPU s", "CPU s / TRL's", "target")
    ratio = ours["cpu_s"] / trl["cpu_s"]
    lines = [
        ("TRL, prompts and completions, once", ROWS, 1, trl["cpu_s"], None, ""),
        (train.OURS, ROWS, 2, ours["cpu_s"], ratio, reporting.target(ratio <= 1, "<= 1 x")),
    ]
    reporting.table(columns, lines)


def texts() -> list[Any]:
    """50,000 rows: the tasks that ship, numbered."""
    from self_instruct import seedbank
    from self_instruct.records import TrainingExample

    tasks = [(task.instruction, one.input, one.output) for task in seedbank.load_seeds() for one in task.instances]
    tasks += [(item.instruction, item.input, item.references[0]) for item in seedbank.load_user_oriented()]
    return [
        TrainingExample(id=f"row-{number}", instruction=f"{number}. {tasks[number % len(tasks)][0]}", input=one, output=answer)
        for number in range(ROWS)
        for _, one, answer in [tasks[number % len(tasks)]]
    ]


def prepare_ours() -> dict[str, Any]:
    """Duplicates and empty rows found, then every step of two epochs encoded, as training does."""
    from self_instruct.train import batching, sources

    given = texts()
    _, preparation = train.preparation()
    started = time.process_time()
    data = sources.combine([], [sources.source("rows", "corpus", given)], have_tokens=preparation.have_tokens)
    made = 0
    for epoch in range(2):
        for step in batching.steps(train.SEED, epoch, data.weights, 16):
            made += len(preparation.encode_all([data.examples[i] for i in step], epoch))
    assert made == 2 * ROWS
    return {"cpu_s": time.process_time() - started}


def prepare_trl() -> dict[str, Any]:
    """What SFTTrainer does with the same rows, as prompts and completions, before its first step; less what it does for one row."""
    from datasets import Dataset
    from transformers import LlamaConfig, LlamaForCausalLM
    from trl import SFTConfig, SFTTrainer

    from self_instruct.models import load_tokenizer

    model, preparation = train.preparation()
    given = [preparation.render(row, 0) for row in texts()]
    tokenizer = load_tokenizer(model.path)
    tiny = LlamaConfig(vocab_size=len(tokenizer), hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2)

    def pass_over(rows: list[Any]) -> float:
        data = Dataset.from_list([{"prompt": row.prompt, "completion": row.completion} for row in rows])
        with tempfile.TemporaryDirectory() as out:
            settings = SFTConfig(
                output_dir=out, bf16=False, use_cpu=True, report_to="none", disable_tqdm=True, max_length=train.LIMIT
            )
            network = LlamaForCausalLM(tiny)
            started = time.process_time()
            SFTTrainer(model=network, args=settings, train_dataset=data, processing_class=tokenizer)
            return time.process_time() - started

    pass_over(given[:1])
    return {"cpu_s": pass_over(given) - pass_over(given[:1])}
