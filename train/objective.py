"""The loss: a weighted sum of cross-entropies, the head run on weighted positions alone.

Knows nothing of steps and optimizers. Letters: S examples, T tokens of a row, K weighted positions of the micro-batch, V
vocabulary, H hidden size.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch.nn import functional

from self_instruct.train import attention
from self_instruct.train.masking import Encoded

Layout = Literal["packed", "padded", "encoder-decoder"]
# Padding comes at the end. Decoders need no mask for it: causal attention never looks ahead, and its own positions have no weight.
PADDING = 0
# Logits that exist at a time, as numbers: 32 MiB in float32 on a CPU, near what its caches and its allocator like.
CHUNK = {"cpu": 2**23, "cuda": 2**26}


def collate(rows: Sequence[Encoded], layout: Layout, start_id: int = 0) -> dict[str, Any]:
    """What `WeightedLoss` takes, for these examples.

    `inputs`: the model's arguments. Packed: ids and positions (1, T), bounds (S + 1). Padded: ids (S, T). Encoder-decoder: prompts
    with their mask (S, T), and the completions (S, T') behind `start_id`, the token that decoding begins with.
    `keep` (K): the positions, in the flattened output, whose next token has a weight above 0; `targets` (K) those tokens, `weights`
    (K) their weights. Tensors of int64 and float32 on the CPU.
    """
    if layout == "encoder-decoder":
        sequences = [row.ids[row.prompt_tokens :] for row in rows]
        weights = [row.weights[row.prompt_tokens :] for row in rows]
        prompts, mask = _pad([row.ids[: row.prompt_tokens] for row in rows])
        decoded, _ = _pad([(start_id, *ids[:-1]) for ids in sequences])
        inputs = {"input_ids": prompts, "attention_mask": mask, "decoder_input_ids": decoded}
        width, offset = decoded.shape[1], 0
    else:
        sequences, weights = [row.ids for row in rows], [row.weights for row in rows]
        offset = 1  # position i predicts token i + 1
        if layout == "packed":
            inputs = {
                "input_ids": torch.tensor([[token for ids in sequences for token in ids]]),
                **attention.row([*map(len, sequences)]),
            }
            width = 0
        else:
            inputs = {"input_ids": _pad(sequences)[0]}
            width = inputs["input_ids"].shape[1]
    keep: list[int] = []
    targets: list[int] = []
    kept: list[float] = []
    begin = 0
    for ids, own in zip(sequences, weights, strict=True):
        for place in range(offset, len(ids)):
            if own[place] > 0:
                keep.append(begin + place - offset)
                targets.append(ids[place])
                kept.append(own[place])
        begin += width or len(ids)
    return {
        "inputs": inputs,
        "keep": torch.tensor(keep, dtype=torch.int64),
        "targets": torch.tensor(targets, dtype=torch.int64),
        "weights": torch.tensor(kept, dtype=torch.float32),
    }


def _pad(sequences: Sequence[Sequence[int]]) -> tuple[torch.Tensor, torch.Tensor]:
    """Ids (S, T) padded at the end, and 1 where they are real."""
    longest = max(map(len, sequences))
    ids = torch.full((len(sequences), longest), PADDING, dtype=torch.int64)
    mask = torch.zeros((len(sequences), longest), dtype=torch.int64)
    for number, sequence in enumerate(sequences):
        ids[number, : len(sequence)] = torch.tensor(sequence, dtype=torch.int64)
        mask[number, : len(sequence)] = 1
    return ids, mask


def to_device(batch: dict[str, Any], device: torch.device) -> dict[str, Any]:
    """The same on `device`."""
    if device.type == "cpu":
        return batch
    move = {name: value.to(device) if isinstance(value, torch.Tensor) else value for name, value in batch["inputs"].items()}
    return {name: move if name == "inputs" else value.to(device) for name, value in batch.items()}


class _HeadLoss(torch.autograd.Function):
    """sum(w * ce) of hidden states (K, H) under a head (V, H), with its gradients made in the same pass, chunk by chunk.

    The logits of all K never exist together, and the softmax is computed once, not again for the backward pass.
    """

    @staticmethod
    def forward(
        ctx: Any,
        hidden: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor | None,
        targets: torch.Tensor,
        weights: torch.Tensor,
    ) -> torch.Tensor:
        device = hidden.device.type
        head = weight
        if torch.is_autocast_enabled(device):
            head = weight.to(torch.get_autocast_dtype(device))
        needs = ctx.needs_input_grad
        to_hidden = torch.zeros_like(hidden) if needs[0] else None
        to_weight = torch.zeros_like(weight, dtype=torch.float32) if needs[1] else None
        to_bias = torch.zeros_like(bias, dtype=torch.float32) if bias is not None and needs[2] else None
        total = torch.zeros((), dtype=torch.float64, device=hidden.device)
        rows = max(CHUNK.get(device, CHUNK["cuda"]) // weight.shape[0], 1)
        with torch.autocast(device, enabled=False):
            for start in range(0, len(targets), rows):
                part = slice(start, start + rows)
                inner, wanted = hidden[part].to(head.dtype), targets[part].unsqueeze(1)
                logits = functional.linear(inner, head, None if bias is None else bias.to(head.dtype)).float()  # (k, V)
                # By hand: torch's log_softmax on a CPU sums V terms naively, and is off by 4e-6 for a vocabulary of 49,152.
                logits -= logits.amax(dim=-1, keepdim=True)
                picked = logits.gather(1, wanted).squeeze(1)  # (k,)
                terms = logits.exp_()
                sums = terms.sum(dim=-1)  # (k,)
                total += ((sums.log() - picked).double() * weights[part]).sum()
                if to_hidden is None and to_weight is None:
                    continue
                # The gradient of the logits is w * (softmax - one-hot) = w / sums * (terms - sums at the target). The difference is
                # taken before rounding to the head's format: for a token that is all but certain it is next to nothing.
                terms.scatter_add_(1, wanted, -sums.unsqueeze(1))
                scale = (weights[part] / sums).unsqueeze(1)  # (k, 1)
                if to_bias is not None:
                    to_bias += (terms * scale).sum(0)
                terms = terms.to(head.dtype)
                if to_hidden is not None:
                    to_hidden[part] = (torch.mm(terms, head).float() * scale).to(hidden.dtype)
                if to_weight is not None:
                    to_weight += torch.mm(terms.t(), (inner.float() * scale).to(head.dtype))
        ctx.save_for_backward(to_hidden, to_weight, to_bias)
        ctx.formats = (weight.dtype, None if bias is None else bias.dtype)
        return total.float()

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        to_hidden, to_weight, to_bias = ctx.saved_tensors
        return (
            None if to_hidden is None else (to_hidden * gradient).to(to_hidden.dtype),
            None if to_weight is None else (to_weight * gradient).to(ctx.formats[0]),
            None if to_bias is None else (to_bias * gradient).to(ctx.formats[1]),
            None,
            None,
        )


class WeightedLoss(torch.nn.Module):
    """A model whose forward pass returns sum(w * ce), so that a wrapper (FSDP2) sees the whole of it.

    With `plain_head` the hidden states go through the head here, on the weighted positions alone; see `head_is_plain`. Else the
    model makes its own logits, of the weighted positions where it can.
    """

    def __init__(self, model: Any, *, plain_head: bool) -> None:
        super().__init__()
        self.model = model
        self.plain_head = plain_head
        self._no_split_modules = getattr(model, "_no_split_modules", None)  # what FSDP wraps one by one
        self._picks = "logits_to_keep" in inspect.signature(causal(model).forward).parameters

    def forward(self, inputs: dict[str, Any], keep: torch.Tensor, targets: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        """The sum, a float32 scalar, of a batch that `collate` made; 0, with a gradient of 0, where no weight is above 0."""
        if self.plain_head:
            decoder, head = parts(self.model)
            hidden = decoder(**inputs, use_cache=False).last_hidden_state  # (S, T, H)
            hidden = hidden.flatten(0, 1).index_select(0, keep)  # (K, H)
            return _HeadLoss.apply(hidden, head.weight, head.bias, targets, weights)  # type: ignore[no-any-return, no-untyped-call]
        if self._picks and inputs["input_ids"].shape[0] == 1:
            logits = self.model(**inputs, use_cache=False, logits_to_keep=keep).logits[0]  # (K, V)
        else:
            logits = self.model(**inputs, use_cache=False).logits.flatten(0, 1).index_select(0, keep)  # (K, V)
        logits = logits.float()
        losses = logits.logsumexp(dim=-1) - logits.gather(1, targets.unsqueeze(1)).squeeze(1)  # (K,)
        total: torch.Tensor = (losses * weights).sum()
        return total


def head_is_plain(model: Any, ids: Sequence[int]) -> bool:
    """Whether the model's logits are its output head, a linear layer, on its last hidden states, and nothing else.

    Some architectures scale or bend the logits on the way (Gemma, Cohere, Granite). Rather than list them, one
    forward pass over a few ids compares both ways; where they differ, training uses the model's own.
    """
    decoder, head = parts(model)
    if decoder is None or type(head) is not torch.nn.Linear:
        return False
    tokens = torch.tensor([list(ids)], device=next(model.parameters()).device)  # (1, T)
    training = model.training
    model.eval()
    try:
        with torch.no_grad():
            own = causal(model)(input_ids=tokens, use_cache=False).logits.float()  # (1, T, V)
            output = decoder(input_ids=tokens, use_cache=False)
            if getattr(output, "last_hidden_state", None) is None:
                return False
            plain = head(output.last_hidden_state).float()
    finally:
        model.train(training)
    return own.shape == plain.shape and torch.allclose(own, plain, rtol=1e-4, atol=1e-4)


def causal(model: Any) -> Any:
    """The transformers model inside PEFT's."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def parts(model: Any) -> tuple[Any, Any]:
    """The decoder without its head, and the head; none for a decoder that can't be had apart."""
    inner = causal(model)
    decoder = inner.base_model
    return (None if decoder is inner or inner.config.is_encoder_decoder else decoder), inner.get_output_embeddings()
