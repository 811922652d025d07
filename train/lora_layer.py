"""PEFT's LoRA layer with a forward and backward pass that touch the wide activations once.

Knows nothing of models. Same matrices, same names, same result as `peft.tuners.lora.Linear`: that computes
`base(x) + B(A(x)) * scale` and so scales and adds over every output, forward and backward; here the scale goes onto the
rank-sized middle and the product is added inside the matrix multiplication.
Letters: N rows, I inputs, O outputs, R rank.
"""

from __future__ import annotations

from typing import Any

import torch
from peft.tuners.lora import Linear
from torch.nn import functional


class _Product(torch.autograd.Function):
    """x Wᵀ + b + s (x Aᵀ) Bᵀ, for a frozen W."""

    @staticmethod
    def forward(
        ctx: Any, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, a: torch.Tensor, b: torch.Tensor, scale: float
    ) -> torch.Tensor:
        rows = x.reshape(-1, x.shape[-1])  # (N, I)
        middle = torch.mm(rows, a.t()).mul_(scale)  # (N, R)
        out = functional.linear(rows, weight, bias).addmm_(middle, b.t())  # (N, O)
        ctx.save_for_backward(rows, weight, a, b, middle)
        ctx.scale, ctx.shape = scale, x.shape
        return out.view(*x.shape[:-1], -1)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        rows, weight, a, b, middle = ctx.saved_tensors
        out = gradient.reshape(-1, gradient.shape[-1])  # (N, O)
        to_middle = torch.mm(out, b).mul_(ctx.scale)  # (N, R)
        to_x = torch.mm(out, weight).addmm_(to_middle, a).view(ctx.shape) if ctx.needs_input_grad[0] else None
        return to_x, None, None, torch.mm(to_middle.t(), rows), torch.mm(middle.t(), out).t(), None


class LoraLinear(Linear):
    """PEFT's layer; the short way where it applies: one active adapter in the base's number format, without dropout and bias."""

    def forward(self, x: torch.Tensor, *args: Any, **more: Any) -> torch.Tensor:
        active = self.active_adapters
        if args or more or self.disable_adapters or self.merged or len(active) != 1 or active[0] in self.lora_variant:
            return super().forward(x, *args, **more)
        name, base = active[0], self.base_layer
        a, b, extra = self.lora_A[name].weight, self.lora_B[name].weight, self.lora_B[name].bias
        dropped = self.training and not isinstance(self.lora_dropout[name], torch.nn.Identity)
        if dropped or extra is not None or not (x.dtype == base.weight.dtype == a.dtype):
            return super().forward(x)
        return _Product.apply(x, base.weight, base.bias, a, b, self.scaling[name])
