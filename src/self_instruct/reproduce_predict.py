"""How long a cell of the comparison will take, and what it leaves on the disk: an estimate, before anything is measured.

Pure but for looking at this machine. On GPUs a roofline: the vendor's figures, and shares of them that are assumptions, not
measurements. On CPUs what 2 cores needed with the embedded model, scaled by parameters and cores.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from self_instruct import hardware
from self_instruct.engine_transformers import LONGEST_BATCH
from self_instruct.errors import ConfigError
from self_instruct.settings import Settings

Stage = Literal["generate", "train", "evaluate"]

# Dense bfloat16 FLOP/s, bytes/s of memory, GB of memory: the vendors' data sheets.
GPUS: Mapping[str, tuple[float, float, int]] = {
    "RTX 3090": (71e12, 0.936e12, 24),
    "RTX 4090": (165e12, 1.008e12, 24),
    "L4": (121e12, 0.300e12, 24),
    "L40S": (362e12, 0.864e12, 48),
    "A100 40GB": (312e12, 1.555e12, 40),
    "A100": (312e12, 2.039e12, 80),
    "H100": (989e12, 3.35e12, 80),
    "H200": (989e12, 4.8e12, 141),
    "B200": (2250e12, 8.0e12, 180),
}
# Assumptions. Shares of the peak: prefill and training, decoding's products, memory traffic; LoRA in vLLM; several GPUs in step.
PREFILL, TRAINING, DECODING, TRAFFIC, WITH_LORA, IN_STEP = 0.4, 0.35, 0.2, 0.6, 0.7, 0.9
GPU_START_S = {"generate": 120.0, "train": 60.0, "evaluate": 120.0}

# Measured on 2 cores of a Xeon with bfloat16 units with the embedded model (docs/reproduce.md), in seconds a token.
CPU_PARAMETERS, CPU_CORES = 134.5e6, 2
CPU_GENERATED_S = 0.0090  # an output token of generate: 8,000 in 72 s, prompts through the prefix cache
CPU_TRAINED_S = 0.0038  # a token of a training step, prompt or completion
CPU_ANSWERED_S, CPU_TUNED_S = 0.00064, 0.0048  # a token of evaluate, prompt or answer; with an adapter
CPU_START_S = {"generate": 36.0, "train": 5.0, "evaluate": 40.0}

# Tokens, measured in the same runs: of an accepted instruction with its instances, of a training row, of an evaluation's prompt.
OUTPUT_TOKENS, PROMPT_TOKENS, CACHED = 80, 1670, 0.9
ROW_TOKENS, INSTANCES = 100, 1.25
ASKED_TOKENS = {"user_oriented": 50, "superni": 170}
ANSWER_SHARE = {False: 0.8, True: 0.5}  # of the token limit, untuned and tuned (ours)
USER_ORIENTED, SUPERNI_TASKS, SEEDS = 252, 119, 175
INSTRUCTION_BYTES, ANSWER_BYTES = 5_500, 8_000  # of the folders, with journals and reports
TRAINABLE, TRAINABLE_POWER = 4.9e6, 0.55  # LoRA of rank 16 on 134.5M parameters; about 46M on 8B


@dataclass(frozen=True, kw_only=True, slots=True)
class Machine:
    """Where it will run. `flops` (FLOP/s) and `traffic` (bytes/s) are a GPU's; without one `gpus` is 0."""

    name: str
    gpus: int
    flops: float = 0.0
    traffic: float = 0.0
    cores: int = CPU_CORES


@dataclass(frozen=True, kw_only=True, slots=True)
class Predicted:
    """An estimate: seconds, and bytes on the disk."""

    seconds: float
    disk: float


def machine(wanted: str | None) -> Machine:
    """`reproduce.hardware`, such as "8 x H100", or this machine. Raises ConfigError for a GPU that isn't in the table."""
    if wanted is None:
        found = hardware.gpus()
        if not found:
            return Machine(name=f"{hardware.cores()} CPU cores", gpus=0, cores=hardware.cores())
        known = next((name for name in sorted(GPUS, key=len, reverse=True) if name in found[0].name), None)
        return _gpus(known, len(found)) if known else Machine(name=found[0].name, gpus=len(found))
    said = re.fullmatch(r"(?:(\d+)\s*x\s*)?(.+)", wanted.strip())
    count, name = (int(said[1] or 1), said[2]) if said else (0, wanted)
    if name not in GPUS or not count:
        close = difflib.get_close_matches(name, GPUS, n=1)
        raise ConfigError(
            f"reproduce.hardware: {wanted!r} isn't a count and a known GPU",
            hint=f"did you mean '{max(count, 1)} x {close[0]}'?" if close else f"known: {', '.join(GPUS)}; such as '1 x H100'",
        )
    return _gpus(name, count)


def _gpus(name: str, count: int) -> Machine:
    flops, traffic, _ = GPUS[name]
    return Machine(name=f"{count} x {name}", gpus=count, flops=flops, traffic=traffic)


def parameters(name: str) -> float | None:
    """About how many parameters a model has: by a local one's weights, else by its name; none where that doesn't tell."""
    if name == "embedded":
        return CPU_PARAMETERS
    if name == "toy-seq2seq":
        return 6.4e6
    if Path(name).is_dir():
        size = sum(path.stat().st_size for path in Path(name).glob("*.safetensors"))
        return size / 2 if size else None  # bfloat16's two bytes each
    name = name.rpartition("/")[2].lower()
    if said := re.search(r"(?<![a-z0-9.])(\d+(?:\.\d+)?)\s*([bm])(?![a-z])", name):
        return float(said[1]) * (1e9 if said[2] == "b" else 1e6)
    t5 = re.search(r"t5-(?:v1_1-)?(small|base|large|xxl|xl)", name)
    return {"small": 77e6, "base": 248e6, "large": 783e6, "xl": 2.85e9, "xxl": 11.1e9}[t5[1]] if t5 else None


def predict(
    stage: Stage, settings: Settings, on: Machine, *, model: str | None = None, tasks: int = SUPERNI_TASKS
) -> Predicted | None:
    """One cell by its own settings; none where the model's size or the GPU's speed isn't known.

    `model`: what the row is tuned from, of a tuned one. `tasks`: of SuperNI's test split.
    """
    size = parameters(settings.model.name if model is None or stage == "generate" else model)
    if size is None or (on.gpus and not on.flops):
        return None
    if stage == "evaluate":
        return _evaluation(settings, size, on, tasks, tuned=model is not None)
    return (_generation if stage == "generate" else _training)(settings, size, on)


def _generation(settings: Settings, size: float, on: Machine) -> Predicted:
    accepted = settings.generate.target_instructions
    outputs = accepted * OUTPUT_TOKENS
    disk = accepted * INSTRUCTION_BYTES
    if not on.gpus:
        return Predicted(seconds=CPU_START_S["generate"] + outputs * CPU_GENERATED_S * _slower(size, on), disk=disk)
    prompts = accepted * PROMPT_TOKENS * (1 - CACHED)
    return Predicted(seconds=GPU_START_S["generate"] + _asked(settings, size, on, prompts, outputs), disk=disk)


def _training(settings: Settings, size: float, on: Machine) -> Predicted:
    train = settings.train
    rows = 0.0
    named = (train.data,) if isinstance(train.data, str) else train.data or ()
    for place in named:
        own = "/generate/corpus" in place
        rows += settings.generate.target_instructions * INSTANCES if own else train.sample
    rows += SEEDS if train.include_seeds else 0
    rows = min(rows, train.instructions * INSTANCES) if train.instructions else rows
    tokens = rows * train.epochs * ROW_TOKENS
    trainable = size if train.method == "full" else TRAINABLE * train.lora_rank / 16 * (size / CPU_PARAMETERS) ** TRAINABLE_POWER
    disk = 4 * trainable * (1 + 3 * train.keep_checkpoints)  # the product; checkpoints with AdamW's two moments
    if not on.gpus:
        return Predicted(seconds=CPU_START_S["train"] + tokens * CPU_TRAINED_S * _slower(size, on), disk=disk)
    passes = 6 if train.method == "full" else 4  # FLOP a parameter and token: frozen weights have no gradient of their own
    rate = on.flops * TRAINING * (on.gpus * IN_STEP if on.gpus > 1 else 1)
    return Predicted(seconds=GPU_START_S["train"] + tokens * passes * size / rate, disk=disk)


def _evaluation(settings: Settings, size: float, on: Machine, tasks: int, *, tuned: bool) -> Predicted:
    chosen, adapter = settings.evaluate, settings.evaluate.adapters is None
    named = chosen.user_oriented
    sets = (1 if named else 0) if isinstance(named, str) else len(named)
    items = {
        "user_oriented": (sets * min(chosen.max_items or USER_ORIENTED, USER_ORIENTED), chosen.max_tokens),
        "superni": (tasks * chosen.superni.instances if chosen.superni.folder else 0, chosen.superni.max_tokens),
    }
    prompts = sum(count * ASKED_TOKENS[name] for name, (count, _) in items.items())
    outputs = sum(count * limit * ANSWER_SHARE[tuned] for count, limit in items.values())
    disk = sum(count for count, _ in items.values()) * ANSWER_BYTES
    if not on.gpus:
        each = CPU_TUNED_S if adapter else CPU_ANSWERED_S
        return Predicted(seconds=CPU_START_S["evaluate"] + (prompts + outputs) * each * _slower(size, on), disk=disk)
    slower = WITH_LORA if adapter else 1
    return Predicted(seconds=GPU_START_S["evaluate"] + _asked(settings, size, on, prompts, outputs) / slower, disk=disk)


def _slower(size: float, on: Machine) -> float:
    return size / CPU_PARAMETERS * CPU_CORES / on.cores


def _asked(settings: Settings, size: float, on: Machine, prompts: float, outputs: float) -> float:
    """Seconds to read and write so many tokens, on one GPU, or on each of the servers that are asked.

    A step of decoding writes a token of each sequence: it reads all weights once, or computes 2 FLOP a parameter and token.
    """
    batch = settings.run.engine.max_num_seqs
    if settings.model.engine == "transformers":
        batch = min(batch, LONGEST_BATCH)
    step = max(2 * size / (on.traffic * TRAFFIC), 2 * size * batch / (on.flops * DECODING))
    engines = min(on.gpus, settings.replicas) if settings.model.engine == "server" else 1
    return (prompts * 2 * size / (on.flops * PREFILL) + outputs * step / batch) / engines
