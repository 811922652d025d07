"""The loss: a weighted sum of cross-entropies over a padded batch.

Knows nothing of steps and optimizers. Letters: B rows, T tokens, K weighted positions of the batch, V vocabulary, H hidden size.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch.nn import functional

from self_instruct.train.masking import Encoded

# Rows are padded at their end with this id. No mask is needed: causal attention never looks ahead, and the
# padding's own positions have weight 0. So attention stays the plain causal one, which is the fastest.
PADDING = 0


def collate(rows: Sequence[Encoded]) -> tuple[torch.Tensor, torch.Tensor]:
    """Ids (B, T) as int64 and weights (B, T) as float32, padded at the end."""
    longest = max(len(row.ids) for row in rows)
    ids = torch.full((len(rows), longest), PADDING, dtype=torch.int64)
    weights = torch.zeros((len(rows), longest), dtype=torch.float32)
    for number, row in enumerate(rows):
        ids[number, : len(row.ids)] = torch.tensor(row.ids, dtype=torch.int64)
        weights[number, : len(row.ids)] = torch.tensor(row.weights, dtype=torch.float32)
    return ids, weights


class WeightedLoss(torch.nn.Module):
    """A causal model whose forward pass returns sum(w * ce), so that every wrapper (DDP) sees the whole of it.

    With `rows_only` the output head runs on the weighted positions alone; see `head_is_plain`.
    """

    def __init__(self, model: Any, *, rows_only: bool) -> None:
        super().__init__()
        self.model = model
        self.rows_only = rows_only

    def forward(self, ids: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        """The sum, a float32 scalar, over ids (B, T) with weights (B, T); 0, with a gradient of 0, where no weight is above 0."""
        targets, weights, ids = ids[:, 1:], weights[:, 1:], ids[:, :-1]  # (B, T-1): position i predicts token i+1
        counted = weights > 0  # (B, T-1) with K true
        if self.rows_only:
            decoder, head = _parts(self.model)
            hidden = decoder(input_ids=ids, use_cache=False).last_hidden_state  # (B, T-1, H)
            logits = head(hidden[counted])  # (K, V)
        else:
            logits = self.model(input_ids=ids, use_cache=False).logits[counted]  # (K, V)
        losses = functional.cross_entropy(logits.float(), targets[counted], reduction="none")  # (K,)
        return (losses * weights[counted]).sum()


def head_is_plain(model: Any, ids: Sequence[int]) -> bool:
    """Whether the model's logits are its output head on its last hidden states, and nothing else.

    Some architectures scale or bend the logits on the way (Gemma, Cohere, Granite). Rather than list them, one
    forward pass over a few ids compares both ways; where they differ, training uses the model's own.
    """
    decoder, head = _parts(model)
    if decoder is None or head is None:
        return False
    tokens = torch.tensor([list(ids)], device=next(model.parameters()).device)  # (1, T)
    training = model.training
    model.eval()
    try:
        with torch.no_grad():
            own = model(input_ids=tokens, use_cache=False).logits.float()  # (1, T, V)
            output = decoder(input_ids=tokens, use_cache=False)
            if getattr(output, "last_hidden_state", None) is None:
                return False
            plain = head(output.last_hidden_state).float()
    finally:
        model.train(training)
    return own.shape == plain.shape and torch.allclose(own, plain, rtol=1e-4, atol=1e-4)


def _parts(model: Any) -> tuple[Any, Any]:
    """The decoder without its head, and the head; none for a decoder that can't be had apart."""
    causal = model.get_base_model() if hasattr(model, "get_base_model") else model
    decoder = causal.base_model
    return (None if decoder is causal else decoder), causal.get_output_embeddings()
