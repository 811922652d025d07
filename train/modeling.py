"""Loading a base model and making it trainable: LoRA, QLoRA or all weights.

Knows nothing of data and steps. Every choice made for the user comes with its reason.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSeq2SeqLM
from transformers.utils import logging as hub_logging

from self_instruct import hardware, randomness
from self_instruct.errors import ConfigError
from self_instruct.settings_train import TrainSettings
from self_instruct.train import attention, objective
from self_instruct.train.lora_layer import LoraLinear

# Layers whose weights these architectures read past the layer's own forward pass; PEFT refuses to adapt them.
PASSED_BY = {kind: {"out_proj"} for kind in ("mamba", "mamba2", "falcon_mamba", "falcon_h1", "nemotron_h")}


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
    """The number format to compute in, and why. Never float16: small gradients vanish in it."""
    dtype, reason = hardware.choose_dtype(wanted, found=usable_gpus())
    if dtype == "float16":
        return "float32", f"gradients vanish in float16, which was chosen because {reason}"
    return dtype, reason


def check_method(method: str) -> None:
    """Raises ConfigError where `train.method` can't run on this machine, before anything is loaded."""
    if method == "qlora":
        if not usable_gpus():
            raise ConfigError(
                "train.method: qlora needs an NVIDIA GPU (bitsandbytes), and there is none", hint="set train.method=lora"
            )
        try:
            import bitsandbytes  # noqa: F401
        except ImportError:
            raise ConfigError(
                "train.method: qlora needs the package bitsandbytes, which isn't installed",
                hint="pip install bitsandbytes, or set train.method=lora",
            ) from None


def load_base(folder: str, dtype: str, method: str = "lora") -> Any:
    """The model in a local folder: frozen weights in `dtype` for LoRA, in 4 bits for QLoRA, in float32 where all are trained.

    Encoder-decoders (T5) load as such. Raises ConfigError for an architecture that is no language model.
    """
    quiet: Any = hub_logging
    quiet.disable_progress_bar()
    path = str(Path(folder).resolve())  # goes into adapter_config.json, which must hold from any directory
    config = AutoConfig.from_pretrained(path, local_files_only=True)
    kind = AutoModelForSeq2SeqLM if config.is_encoder_decoder else AutoModelForCausalLM
    _without_dropout(config)
    more: dict[str, Any] = {"config": config, "dtype": torch.float32 if method == "full" else getattr(torch, dtype)}
    if method == "qlora":
        from transformers import BitsAndBytesConfig

        # Dettmers et al. 2023 (QLoRA): NormalFloat4, the scales quantized too, products in bfloat16.
        more["quantization_config"] = BitsAndBytesConfig(  # type: ignore[no-untyped-call]
            load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True, bnb_4bit_compute_dtype=more["dtype"]
        )
        more["device_map"] = {"": int(os.environ.get("LOCAL_RANK", "0"))}
    try:
        return kind.from_pretrained(path, local_files_only=True, **more)
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # a damaged file or another kind of model shows as any of many types
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ConfigError(
            f"model.name: {folder} can't be loaded as a language model: {first:.200}",
            hint="name a causal language model or an encoder-decoder; if it is one, copy or download it again",
        ) from None


def _without_dropout(config: Any) -> None:
    """Set the model's own dropouts to 0 (T5's and GPT-2's are 0.1). Their draws depend on the shapes of micro-batches, and a step's
    loss mustn't; `train.lora_dropout` is the one there is to choose."""
    for part in {id(one): one for one in (config, config.get_text_config())}.values():
        for name, value in vars(part).items():
            if ("dropout" in name or "pdrop" in name) and isinstance(value, float):
                setattr(part, name, 0.0)


def linear_names(base: Any) -> list[str]:
    """The names, within their blocks, of all linear layers but the output head: what vLLM can serve LoRA on."""
    from transformers.pytorch_utils import Conv1D

    head = base.get_output_embeddings()
    found = {
        name.split(".")[-1]
        for name, module in base.named_modules()
        if isinstance(module, torch.nn.Linear | Conv1D) and module is not head
    } - PASSED_BY.get(base.config.model_type, set())
    if not found:
        raise ConfigError(f"model.name: {base.config.name_or_path} has no linear layers to put LoRA on")
    return sorted(found)


def make_trainable(base: Any, settings: TrainSettings, seed: int) -> Any:
    """`full`: the base with all its weights trained. Else the frozen base with float32 LoRA matrices on all linear layers.

    No bias, no DoRA, no retrained embeddings: vLLM serves none of them. The matrices' start values are a function of `seed` alone.
    """
    torch.manual_seed(randomness.key(seed, "lora"))
    if settings.method == "full":
        return base.requires_grad_(True)
    lora = LoraConfig(
        task_type="SEQ_2_SEQ_LM" if base.config.is_encoder_decoder else "CAUSAL_LM",
        r=settings.lora_rank,
        lora_alpha=settings.lora_alpha,
        lora_dropout=settings.lora_dropout,
        target_modules=linear_names(base),
        bias="none",
    )
    if settings.method == "lora":
        lora._register_custom_module({torch.nn.Linear: LoraLinear})  # PEFT's documented way in for a layer of one's own
    return get_peft_model(base, lora, autocast_adapter_dtype=True)


def build_objective(
    model: Any, settings: TrainSettings, limit: int, ids: list[int], device: torch.device | None = None
) -> tuple[objective.WeightedLoss, objective.Layout, str]:
    """The loss over a trainable model, how its micro-batches are laid out, and why, as a sentence.

    `limit`: the longest example in tokens. `ids`: a few, of any example. `device`: where it will run, if it isn't there
    yet.
    """
    inner = objective.causal(model)
    if inner.config.is_encoder_decoder:
        return (
            objective.WeightedLoss(model, plain_head=False),
            "encoder-decoder",
            "an encoder-decoder: prompts and completions are padded",
        )
    plain = objective.head_is_plain(model, ids)
    decoder, _ = objective.parts(model)
    reason: str | None = "train.attention says so"
    if settings.attention == "auto":
        reason = "its decoder can't be had apart" if decoder is None else attention.pack(inner, decoder, limit, device)
    layout: objective.Layout = "packed" if reason is None else "padded"
    said = "examples end to end in one row, without padding" if reason is None else f"padded micro-batches: {reason}"
    if not plain:
        said += "; this architecture does more than a matrix product in its output head: its own logits are used"
    return objective.WeightedLoss(model, plain_head=plain), layout, said


def trainable(model: Any) -> int:
    """Trainable parameters."""
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)


def accelerator(mixed_precision: str = "no") -> Any:
    """accelerate's view of the processes and devices. The number format is ours to choose, not its config's.

    Raises ConfigError where a launcher started several processes that don't know of each other, or where accelerate leaves FSDP out
    without a word, as it does on a CPU.
    """
    import accelerate

    made = accelerate.Accelerator(mixed_precision=mixed_precision)
    if mixed_precision == "bf16" and made.distributed_type == accelerate.DistributedType.FSDP:
        from torch.distributed.fsdp import MixedPrecisionPolicy

        # Losses, weights and the sums of gradients stay in float32; accelerate's own policy takes them to bfloat16 too.
        made.state.fsdp_plugin.mixed_precision_policy = MixedPrecisionPolicy(
            param_dtype=torch.bfloat16, reduce_dtype=torch.float32, output_dtype=torch.float32, cast_forward_inputs=False
        )
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if world > 1 and made.num_processes == 1:
        raise ConfigError(
            f"WORLD_SIZE is {world}, but accelerate sees one process: each would train alone and overwrite the others",
            hint="without GPUs set ACCELERATE_USE_CPU=true, and launch with torchrun or with configs/accelerate/cpu-2.yaml",
        )
    asked = os.environ.get("ACCELERATE_USE_FSDP", "false").lower() == "true"
    if asked and made.distributed_type != accelerate.DistributedType.FSDP:
        raise ConfigError(
            f"the accelerate config asks for FSDP, which accelerate has for GPUs alone; the device is {made.device}",
            hint="take configs/accelerate/cpu-2.yaml or another config",
        )
    return made
