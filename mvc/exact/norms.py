"""Normalisation on integers: exact sums, a corrected division and a corrected square root."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from mvc.blocks.conv import GDN
from mvc.errors import WeightsError
from mvc.exact.fixed import FINE, WEIGHT_LIMIT, Grid, Ranges, divide, shift_round, square_root
from mvc.exact.functions import ExactSiluGate
from mvc.exact.weighted import LARGEST_INT32, Weighted

FACTOR_BITS = 12  # of the learned factors
FACTOR_LIMIT = (1 << 24) - 1
SPREAD_BITS = 20  # deviations from the mean are brought within 2^20, so that their squares can be added
ROOT_BITS = 6
POWER_LIMIT = 1 << 22  # of what GDN squares


class ExactNorm(nn.Module):
    """(x - mean) / sqrt(variance + eps) over the channels [..., C]."""

    def __init__(self, eps: float, grid: Grid = FINE) -> None:
        super().__init__()
        self.grid = grid
        self.eps = round(eps * grid.one**2)

    def forward(self, x: Tensor) -> Tensor:
        channels = x.shape[-1]
        x = x.clamp(-self.grid.input_limit, self.grid.input_limit)
        away = x - divide(x.sum(-1, keepdim=True), channels)
        _, exponent = torch.frexp(away.abs().amax(-1, keepdim=True).double())
        coarser = 1 << (exponent.long() - SPREAD_BITS).clamp_min(0)  # a power of two for each token
        away = divide(away, coarser.to(x.dtype))
        eps = torch.div(self.eps, coarser * coarser, rounding_mode="floor").to(x.dtype)
        variance = divide((away * away).sum(-1, keepdim=True), channels) + eps
        deviation = square_root((variance * 4**ROOT_BITS).clamp(1, 1 << 52))
        return divide(away * (self.grid.one << ROOT_BITS), deviation)


class ExactGatedNorm(nn.Module):
    """norm(x) * silu(gate)."""

    def __init__(self, eps: float, grid: Grid = FINE) -> None:
        super().__init__()
        self.norm, self.gate = ExactNorm(eps, grid), ExactSiluGate(grid)

    def forward(self, x: Tensor, gate: Tensor) -> Tensor:
        gated: Tensor = self.gate(self.norm(x), gate)
        return gated


class ExactLayerNorm(ExactNorm):
    """norm(x) * weight + bias."""

    weight: Tensor  # int32 [C], FACTOR_BITS fraction bits
    bias: Tensor  # int32 [C]
    limits: ClassVar[Ranges] = {"weight": (-FACTOR_LIMIT, FACTOR_LIMIT), "bias": (-FACTOR_LIMIT, FACTOR_LIMIT)}

    def __init__(self, layer: nn.LayerNorm, grid: Grid = FINE) -> None:
        super().__init__(layer.eps, grid)
        if len(layer.normalized_shape) != 1 or layer.bias is None:
            what = "a normalisation is over the channels, and has a factor and a bias for each"
            raise WeightsError(what, hint="use mvc.blocks.layers.Norm for one that has neither")
        for name, bits in (("weight", FACTOR_BITS), ("bias", grid.fraction_bits)):
            values = torch.round(getattr(layer, name).detach().double() * 2.0**bits)
            if not values.abs().max() <= FACTOR_LIMIT:
                raise WeightsError(f"a {name} of a normalisation is too large to be lowered")
            self.register_buffer(name, values.to(torch.int32))

    def forward(self, x: Tensor) -> Tensor:
        limit = self.grid.limit
        scaled = shift_round(super().forward(x) * self.weight.to(x.dtype), FACTOR_BITS)
        return (scaled + self.bias.to(x.dtype)).clamp(-limit, limit)


class ExactGDN(Weighted):
    """x / sqrt(beta + gamma x^2), or the product; the sum over the channels is a layer of its own, on x^2."""

    limits: ClassVar[Ranges] = Weighted.limits | {"weight": (0, WEIGHT_LIMIT), "bias": (0, LARGEST_INT32)}

    def __init__(self, layer: GDN, grid: Grid = FINE) -> None:
        super().__init__(layer.gamma_root.detach().square(), layer.beta_root.detach().square() + 1e-6, 0, grid)
        self.inverse = layer.inverse

    def bound(self) -> int:
        """As that of any layer, for squares of numbers within POWER_LIMIT."""
        terms = self.weight.long().sum(1) * (POWER_LIMIT**2 >> self.grid.fraction_bits)
        return int((terms + self.bias.long().abs()).max()) + (1 << int(self.shift))

    def forward(self, x: Tensor) -> Tensor:
        gamma, beta, _ = self.prepared(x)
        bits, limit = self.grid.fraction_bits, self.grid.limit
        x = x.clamp(-POWER_LIMIT, POWER_LIMIT)
        power = shift_round(shift_round(x * x, bits) @ gamma.t() + beta, self.bits()).clamp(1, 1 << 40)
        root = square_root(power * self.grid.one)  # of value sqrt(power), on the grid
        out = shift_round(x * root, bits) if self.inverse else divide(x * self.grid.one, root)
        return out.clamp(-limit, limit)
