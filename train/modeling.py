"""Loading a base model and its tokenizer, and putting LoRA on it.

Knows nothing of data and steps. Every choice made for the user comes with its reason.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoConfig, AutoModelForCausalLM
from transformers.utils import logging as hub_logging

from self_instruct import hardware, randomness
from self_instruct.errors import ConfigError
from self_instruct.settings import TrainSettings
from self_instruct.train.masking import Tokenize


def set_threads(wanted: int | None, local_processes: int = 1) -> int:
    """Give torch its CPU threads and return their number: `wanted`, else this process's share of the cores.

    accelerate exports OMP_NUM_THREADS=1 where there is no GPU, which would leave all other cores idle.
    """
    threads = wanted or max(hardware.cores() // local_processes, 1)
    torch.set_num_threads(threads)
    return threads


def usable_gpus() -> list[hardware.Gpu]:
    """The GPUs that this torch computes on: none for its CPU build.

    Raises ConfigError where a CUDA build finds none of the machine's GPUs usable: training would go on, slowly, on the CPU.
    """
    found = hardware.gpus() if torch.version.cuda else []
    if found and not torch.cuda.is_available():
        raise ConfigError(
            f"{found[0].name}: torch for CUDA {torch.version.cuda} can't use it (its driver is {found[0].driver})",
            hint="install a newer driver; ./launch.sh doctor names the oldest that fits",
        )
    return found


def choose_dtype(wanted: str) -> tuple[str, str]:
    """The number format to train in, and why. Never float16: small gradients vanish in it."""
    dtype, reason = hardware.choose_dtype(wanted, found=usable_gpus())
    if dtype == "float16":
        return "float32", f"gradients vanish in float16, which was chosen because {reason}"
    return dtype, reason


def tokenize_with(tokenizer: Any) -> Tokenize:
    """A `transformers` tokenizer as masking wants it.

    SentencePiece's families put a space in front of every text. In a continuation that would be a second one, so
    there the ids are taken from behind a line break, where none is added.
    """

    def ids(text: str, specials: bool) -> list[int]:
        return list(tokenizer(text, add_special_tokens=specials, verbose=False).input_ids)

    line_break = ids("\n", False)
    adds_space = str(tokenizer.convert_ids_to_tokens(ids("x", False))[0]).startswith("\u2581")

    def tokenize(text: str, *, prompt: bool) -> list[int]:
        if adds_space and not prompt:
            behind = ids(f"\n{text}", False)
            if behind[: len(line_break)] == line_break:
                return behind[len(line_break) :]
        return ids(text, prompt)

    return tokenize


def load_base(folder: str, dtype: str) -> Any:
    """The frozen causal model in `dtype`. Raises ConfigError for an architecture that isn't one."""
    quiet: Any = hub_logging
    quiet.disable_progress_bar()
    path = str(Path(folder).resolve())  # goes into adapter_config.json, which must hold from any directory
    config = AutoConfig.from_pretrained(path, local_files_only=True)
    if config.is_encoder_decoder:
        raise ConfigError(
            f"model.name: {folder} is an encoder-decoder ({config.model_type}); this stage trains decoder-only models",
            hint="name a causal language model",
        )
    try:
        return AutoModelForCausalLM.from_pretrained(path, dtype=getattr(torch, dtype), local_files_only=True)
    except Exception as error:  # a damaged file or another kind of model shows as any of many types
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ConfigError(
            f"model.name: {folder} can't be loaded as a causal language model: {first:.200}",
            hint="name a causal language model; if it is one, copy or download it again",
        ) from None


def linear_names(base: Any) -> list[str]:
    """The names, within their blocks, of all linear layers but the output head: what vLLM can serve LoRA on."""
    from transformers.pytorch_utils import Conv1D

    head = base.get_output_embeddings()
    found = {
        name.split(".")[-1]
        for name, module in base.named_modules()
        if isinstance(module, torch.nn.Linear | Conv1D) and module is not head
    }
    if not found:
        raise ConfigError(f"model.name: {base.config.name_or_path} has no linear layers to put LoRA on")
    return sorted(found)


def add_lora(base: Any, settings: TrainSettings, seed: int) -> Any:
    """The base with trainable float32 LoRA matrices on all linear layers; everything else stays frozen.

    No bias, no DoRA, no retrained embeddings: vLLM serves none of them. The matrices' start values are a
    function of `seed` alone.
    """
    torch.manual_seed(randomness.key(seed, "lora"))
    lora = LoraConfig(
        task_type="CAUSAL_LM",
        r=settings.lora_rank,
        lora_alpha=settings.lora_alpha,
        lora_dropout=settings.lora_dropout,
        target_modules=linear_names(base),
        bias="none",
    )
    return get_peft_model(base, lora, autocast_adapter_dtype=True)


def trainable(model: Any) -> int:
    """Trainable parameters."""
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)


def accelerator() -> Any:
    """accelerate's view of the processes and devices. The number format is ours to choose, not its config's.

    Raises ConfigError where a launcher started several processes that don't know of each other.
    """
    import accelerate

    made = accelerate.Accelerator(mixed_precision="no")
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if world > 1 and made.num_processes == 1:
        raise ConfigError(
            f"WORLD_SIZE is {world}, but accelerate sees one process: each would train alone and overwrite the others",
            hint="without GPUs launch with torchrun, or with an accelerate config of distributed_type: MULTI_CPU and use_cpu: true",
        )
    return made
