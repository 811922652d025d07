"""How much memory a training takes, and the micro-batches and the checkpointing of activations that follow from it.

Knows nothing of data. Counted, not guessed by formula: one forward pass over a few tokens shows which tensors autograd keeps, for
any architecture. For a plan the same is done on a model without weights (torch's `meta` device), in a moment. What doesn't show
there: the allocator's waste and the backward pass's own temporaries, which `SHARE` leaves room for.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM

from self_instruct.settings_train import TrainSettings
from self_instruct.train import attention
from self_instruct.train.modeling import make_trainable
from self_instruct.train.objective import CHUNK, causal, parts

PROBE_TOKENS = 32
SHARE = 0.8  # of the device's memory that may be planned with (ours)
CPU_BUDGET = 512  # tokens: more is no faster on a CPU and takes more memory (benchmarks/README.md)
NF4_BYTES = (4 + 0.127) / 8  # a weight with its share of the quantized scales (Dettmers et al. 2023, section 3)
BLIND_BUDGET = 4096  # tokens: on a GPU without an estimate, to be halved where it is too much
LARGEST_BUDGET = 2**16  # tokens: beyond it a GPU gains nothing


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """Bytes: the weights; gradients and AdamW's two moments of what is trained; kept activations a token, whole and with
    checkpointing; the logits that exist at a time."""

    weights: int
    trained: int
    token: int
    token_checkpointed: int
    head: int

    def spread(self, processes: int, *, whole: bool = False) -> Estimate:
        """The same for one of so many processes that share the weights out among them (FSDP); `whole`: all but the frozen ones,
        as those in 4 bits stay whole."""
        return replace(self, weights=self.weights if whole else self.weights // processes, trained=self.trained // processes)

    def total(self, tokens: int, *, checkpointed: bool = False) -> int:
        """Bytes at the peak of a micro-batch of so many tokens."""
        return self.weights + self.trained + self.head + tokens * (self.token_checkpointed if checkpointed else self.token)

    def plan(self, device_bytes: int, limit: int, wanted: int | None, *, gpu: bool) -> tuple[int, bool]:
        """The micro-batches' budget in tokens, and whether activations have to be computed twice.

        `limit`: the longest example, which must fit. `wanted`: the setting. Depends on the size of the device, not on what is free,
        so that a run that is continued computes as before.
        """
        room = int(device_bytes * SHARE)
        checkpointed = self.total(limit) > room
        if wanted is not None:
            return wanted, checkpointed
        if not gpu:
            return CPU_BUDGET, checkpointed
        token = self.token_checkpointed if checkpointed else self.token
        return max(min((room - self.total(0)) // max(token, 1), LARGEST_BUDGET), limit), checkpointed


def device_bytes(device: torch.device) -> int:
    """The memory of a device in bytes; a CPU's is this process's share of the machine's."""
    if device.type == "cuda":
        return int(torch.cuda.get_device_properties(device).total_memory)
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // int(os.environ.get("LOCAL_WORLD_SIZE", "1"))


def shards() -> int:
    """Over how many processes the weights are spread: all of them under an FSDP config of accelerate, else one."""
    return int(os.environ.get("WORLD_SIZE", "1")) if os.environ.get("ACCELERATE_USE_FSDP") == "true" else 1


def estimate(model: Any, *, plain_head: bool = True) -> Estimate | None:
    """The estimate for a trainable model, on whatever device it is; None for one that keeps its decoder to itself (T5).

    Without a `plain_head` (see `WeightedLoss`) the logits of all tokens exist at once.
    """
    decoder, head = parts(model)
    if decoder is None:
        return None
    parameters = {parameter.untyped_storage()._cdata: parameter for parameter in [*model.parameters(), *model.buffers()]}
    trained = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    config = causal(model).config.get_text_config()
    kept, widths = _kept(decoder, set(parameters), next(model.parameters()).device)
    layers = int(getattr(config, "num_hidden_layers", 1))
    vocabulary = head.weight.shape[0] if head is not None else config.vocab_size
    item = next(decoder.parameters()).element_size()
    logits = 0 if plain_head else 2 * vocabulary * (item + 4)  # the model's and, of weighted positions, float32; with gradients
    # A trained head's gradient is added up in float32, from products of its size.
    products = 2 * 4 * head.weight.numel() if head is not None and head.weight.requires_grad else 0
    return Estimate(
        weights=sum(parameter.numel() * parameter.element_size() for parameter in parameters.values()),
        trained=12 * trained,  # float32: a gradient and two moments
        token=kept + logits,
        token_checkpointed=layers * widths * item + kept // max(layers, 1) + logits,
        head=2 * 4 * max(CHUNK["cuda" if torch.cuda.is_available() else "cpu"], vocabulary) + products,
    )


def estimate_without_weights(folder: str, settings: TrainSettings, dtype: str) -> Estimate | None:
    """The same from a model's config alone; None where that can't be built or run without weights."""
    config = AutoConfig.from_pretrained(folder, local_files_only=True)
    if config.is_encoder_decoder:
        return None
    try:
        with torch.device("meta"):
            base: Any = AutoModelForCausalLM.from_config(  # type: ignore[no-untyped-call]
                config, dtype=torch.float32 if settings.method == "full" else getattr(torch, dtype)
            )
            model = make_trainable(base, settings, 0)
        found = estimate(model)
    except Exception:  # an architecture's own code, on a device that it wasn't written for
        return None
    if found is not None and settings.method == "qlora":  # the weights under LoRA will be in 4 bits
        under = [module.base_layer.weight for module in model.modules() if hasattr(module, "base_layer")]
        saved = sum(int(weight.numel() * (weight.element_size() - NF4_BYTES)) for weight in under)
        found = replace(found, weights=found.weights - saved)
    return found


def _kept(decoder: Any, parameters: set[int], device: torch.device) -> tuple[int, int]:
    """Bytes a token that autograd keeps of a forward pass, and the width of the hidden states."""
    storages: dict[int, torch.Tensor] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        if tensor.untyped_storage()._cdata not in parameters:
            storages[tensor.untyped_storage()._cdata] = tensor  # held, so that no other gets its address
        return tensor

    told: dict[str, Any] = {}
    if getattr(decoder.config, "_attn_implementation", None) == attention.NAME or device.type == "meta":
        if device.type == "meta":  # whose values can't be read, as masks are made from them
            decoder.set_attn_implementation(attention.NAME)
        told = attention.row([PROBE_TOKENS], None if device.type == "meta" else device)
        told["position_ids"] = told["position_ids"].to(device)
    ids = torch.zeros((1, PROBE_TOKENS), dtype=torch.int64, device=device)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        hidden = decoder(input_ids=ids, use_cache=False, **told).last_hidden_state
    total = sum(tensor.untyped_storage().nbytes() for tensor in storages.values())
    return total // PROBE_TOKENS, int(hidden.shape[-1])


def main_device() -> torch.device:
    """Where a training of one process would run."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")
