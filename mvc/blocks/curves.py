"""Small element-wise functions of the papers' priors as modules, so that mvc/exact can put integers in their place."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class _Bound(torch.autograd.Function):
    """Clamp whose gradient still passes when it points back inside."""

    @staticmethod
    def forward(ctx, x, low, high):
        ctx.save_for_backward(x)
        ctx.low, ctx.high = low, high
        return x.clamp(low, high)

    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        stuck = ((x < ctx.low) & (grad > 0)) | ((x > ctx.high) & (grad < 0))
        return grad.masked_fill(stuck, 0.0), None, None


def bound(x: Tensor, low: float, high: float) -> Tensor:
    """x clamped to low ... high; outside, gradients that would bring it back still pass."""
    return _Bound.apply(x, low, high)


class HalfTanh(nn.Module):
    """tanh(x) / 2."""

    def forward(self, x: Tensor) -> Tensor:
        return 0.5 * torch.tanh(x)


class SigmoidGate(nn.Module):
    """a * sigmoid(b)."""

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        return a * torch.sigmoid(b)


class SiluGate(nn.Module):
    """a * silu(b)."""

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        return a * F.silu(b)


class LogScale(nn.Module):
    """log2(scale / low) of a standard deviation, which is first pulled into low ... high."""

    def __init__(self, low: float, high: float) -> None:
        super().__init__()
        self.low, self.high = low, high

    @property
    def span(self) -> float:
        """The largest result."""
        return math.log2(self.high / self.low)

    def forward(self, scale: Tensor) -> Tensor:
        return torch.log2(bound(scale, self.low, self.high) / self.low)
