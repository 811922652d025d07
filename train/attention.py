"""Causal attention within each example of a packed row, and the check whether a model can run that way.

Knows nothing of data. It enters a model by transformers' own `AttentionInterface`; no model's code is touched. A packed row built
of examples end to end needs no mask: `cu_seq_lens_q` tells where they begin, and each attends to itself alone.
Letters: T tokens of the row, S examples in it, H query heads, G key heads, D head size.
"""

from __future__ import annotations

import itertools
from typing import Any

import torch
from torch.nn import functional
from transformers import AttentionInterface

NAME = "self_instruct_packed"
# The largest relative difference of the hidden states, packed against one by one: rounding alone stays far below it, a row that
# sees its neighbour far above.
TOLERANCE = {torch.float32: 1e-4, torch.bfloat16: 5e-2, torch.float16: 1e-2}
# Where the families keep how far a token sees; beyond it attention is no longer plain causal.
WINDOWS = ("sliding_window", "attention_chunk_size", "window_size")
PROBE = (7, 12, 5)


class UnsupportedAttentionError(Exception):
    """An architecture asks of its attention what the packed row can't give."""


def packed_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    *,
    scaling: float | None = None,
    dropout: float = 0.0,
    sliding_window: int | None = None,
    cu_seq_lens_q: torch.Tensor | None = None,
    max_length_q: int | None = None,
    windows_seen: set[int] | None = None,
    **more: Any,
) -> tuple[torch.Tensor, None]:
    """Attention of query (1, H, T, D) over key and value (1, G, T, D) within each example; returns (1, T, H, D).

    `cu_seq_lens_q` (S + 1): where the examples begin, and T. On CUDA one variable-length kernel, elsewhere plain causal
    attention, example by example: dense (T, T) masks never arise. `windows_seen` collects the windows that layers ask for.
    Raises UnsupportedAttentionError for masks, attention sinks, soft caps and caches.
    """
    # None of these is rendered here; `pack` turns the error into the padded path.
    asked = [name for name in ("softcap", "s_aux", "position_bias", "cache") if more.get(name) is not None]
    if attention_mask is not None or cu_seq_lens_q is None or query.shape[2] != key.shape[2] or asked:
        raise UnsupportedAttentionError(", ".join(asked) or "its own mask")
    if windows_seen is not None and sliding_window is not None:
        windows_seen.add(sliding_window)
    shared = query.shape[1] != key.shape[1]
    if query.is_cuda and query.dtype in (torch.float16, torch.bfloat16) and not dropout:
        from torch.nn.attention.varlen import varlen_attn

        assert max_length_q is not None
        out = varlen_attn(
            query[0].transpose(0, 1), key[0].transpose(0, 1), value[0].transpose(0, 1),
            cu_seq_lens_q, cu_seq_lens_q, max_length_q, max_length_q,
            scale=scaling, enable_gqa=shared, window_size=(-1 if sliding_window is None else sliding_window - 1, 0),
        )  # fmt: skip
        return out.unsqueeze(0), None  # type: ignore[union-attr]
    bounds = cu_seq_lens_q.tolist()
    outs = []
    for start, end in itertools.pairwise(bounds):
        mask = None
        if sliding_window is not None and end - start > sliding_window:
            mask = torch.ones((end - start, end - start), dtype=torch.bool, device=query.device).tril_().triu_(1 - sliding_window)
        outs.append(
            functional.scaled_dot_product_attention(
                query[:, :, start:end], key[:, :, start:end], value[:, :, start:end],
                attn_mask=mask, is_causal=mask is None, dropout_p=dropout, scale=scaling, enable_gqa=shared,
            ).transpose(1, 2)
        )  # fmt: skip
    return torch.cat(outs, dim=1), None


AttentionInterface.register(NAME, packed_attention)


def row(lengths: list[int], device: torch.device | None = None) -> dict[str, Any]:
    """What a packed row of examples with these lengths is told to the model by: positions (1, T) that begin anew with each
    example, and the bounds (S + 1) under transformers' own names."""
    starts = torch.tensor([0, *lengths], device=device).cumsum(0).to(torch.int32)
    positions = torch.cat([torch.arange(length, device=device) for length in lengths]).unsqueeze(0)
    longest = max(lengths)
    return {
        "position_ids": positions, "cu_seq_lens_q": starts, "cu_seq_lens_k": starts,
        "max_length_q": longest, "max_length_k": longest,
    }  # fmt: skip


def pack(model: Any, decoder: Any, limit: int, runs_on: torch.device | None = None) -> str | None:
    """Switch `model` to packed attention. Returns None, or the reason why it must run padded; then it is left as it was.

    Not by a list of architectures: a few ids run packed and one by one, and the hidden states must agree. Where the config names a
    window shorter than `limit` tokens, one of the examples is longer than it, and a layer must ask for it: of a long window that
    went into a mask alone, which isn't rendered here, the hidden states would show next to nothing.
    """
    before = getattr(model.config, "_attn_implementation", None)
    device = next(model.parameters()).device
    text = getattr(model.config, "get_text_config", lambda: model.config)()
    windows = {w for name in WINDOWS if isinstance(w := getattr(text, name, None), int) and 0 < w < limit}
    lengths = [*PROBE, *(window + 9 for window in sorted(windows))]
    draws = torch.Generator().manual_seed(0)
    rows = [torch.randint(0, text.vocab_size, (1, length), generator=draws).to(device) for length in lengths]
    training = model.training
    model.eval()
    try:
        with torch.no_grad():
            alone = torch.cat([decoder(input_ids=ids, use_cache=False).last_hidden_state for ids in rows], dim=1)
            try:
                model.set_attn_implementation(NAME)
                seen: set[int] = set()
                told = row(lengths, device) | {"windows_seen": seen}
                together = decoder(input_ids=torch.cat(rows, dim=1), use_cache=False, **told).last_hidden_state
                difference = float((together - alone).float().norm() / alone.float().norm())
                reason = None if difference < TOLERANCE[alone.dtype] else f"packed and alone differ by {difference:.1e}"
                if reason is None and windows and not seen:
                    reason = f"its attention isn't told of its window of {min(windows)} tokens"
                if reason is None and runs_on is not None and runs_on.type == "cuda" and device.type != "cuda":
                    _try_kernel(text, alone.dtype, runs_on)  # FSDP takes the model there later
            except Exception as error:  # whatever a model's code does with arguments that it doesn't know
                reason = f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]:.100}"
    finally:
        model.train(training)
    if reason is not None:
        model.set_attn_implementation(before)
    return reason


def _try_kernel(config: Any, dtype: torch.dtype, device: torch.device) -> None:
    """Run the attention of a model with this config once on `device`; raises what its kernel raises."""
    heads = int(config.num_attention_heads)
    size = int(getattr(config, "head_dim", None) or config.hidden_size // heads)
    shared = int(getattr(config, "num_key_value_heads", None) or heads)
    query, key = (torch.zeros((1, count, sum(PROBE), size), dtype=dtype, device=device) for count in (heads, shared))
    told = row(list(PROBE), device)
    packed_attention(
        torch.nn.Module(), query, key, key, None, cu_seq_lens_q=told["cu_seq_lens_q"], max_length_q=told["max_length_q"]
    )
