"""The layers every network here is made of. Tensors are channels last: [B, H, W, C]."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Protocol, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mvc.ops import mixer

QUALITIES = 64
STRIP_TOKENS = 4096


class Linear(nn.Linear):
    """A linear layer that computes in the type of its input; the weights stay float32."""

    def forward(self, x: Tensor) -> Tensor:
        bias = None if self.bias is None else self.bias.to(x.dtype)
        return F.linear(x, self.weight.to(x.dtype), bias)


def small(layer: Linear) -> Linear:
    """The layer, started near zero: what it adds to is there first."""
    nn.init.normal_(layer.weight, std=0.02 * layer.in_features**-0.5)
    nn.init.zeros_(layer.bias)
    return layer


class Depthwise(nn.Module):
    """Depthwise K x K convolution with bias and activation (none, silu, leaky with slope 1/8)."""

    def __init__(self, channels: int, size: int, activation: str = "none") -> None:
        super().__init__()
        self.activation = activation
        self.weight = nn.Parameter(torch.empty(size * size, channels).uniform_(-1 / size, 1 / size))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        return mixer.depthwise(x, self.weight, self.bias, self.activation)


class Leaky(nn.Module):
    """max(x, x / 8): the prior's activation, exact in integers."""

    def forward(self, x: Tensor) -> Tensor:
        return F.leaky_relu(x, mixer.LEAK)


class Clamp(nn.Module):
    """Clamp to -1/2 ... 1/2, the range of a rounding error."""

    def forward(self, x: Tensor) -> Tensor:
        return x.clamp(-0.5, 0.5)


def at_quality(table: Tensor, quality: Tensor) -> Tensor:
    """Rows of a table [anchors, C] spread over the quality indices, interpolated linearly: [B] -> [B, C]."""
    position = quality.float() * ((table.shape[0] - 1) / (QUALITIES - 1))
    low = position.floor().clamp(max=table.shape[0] - 2).long()
    share = (position - low)[:, None]
    return table[low] * (1 - share) + table[low + 1] * share


class QualityGain(nn.Module):
    """A positive gain per channel for each quality index: exp of a table of anchors, interpolated linearly."""

    def __init__(self, channels: int, anchors: int = 8) -> None:
        super().__init__()
        self.log_gain = nn.Parameter(torch.zeros(anchors, channels))

    def gains(self, quality: Tensor) -> Tensor:
        """quality index [B] in 0..63 -> gains [B, C]."""
        return torch.exp(at_quality(self.log_gain, quality))

    def forward(self, x: Tensor, quality: Tensor) -> Tensor:
        return x * self.gains(quality).to(x.dtype)[:, None, None]


class VSSBlock(nn.Module):
    """x + out(mix(in(norm(x)))): the visual state-space block of MambaVC (figure 3), expansion 1, grouped 2DSS."""

    def __init__(self, channels: int, states: int = 1, rank: int = 4) -> None:
        super().__init__()
        self.rank = rank
        self.in_proj = Linear(channels, 2 * channels)
        self.conv = nn.Parameter(torch.empty(9, channels).uniform_(-1 / 3, 1 / 3))
        self.conv_bias = nn.Parameter(torch.zeros(channels))
        self.projection = nn.Parameter(
            torch.empty(4 * (rank + 2 * states), channels).normal_(std=channels**-0.5)
        )
        self.dt_weight = nn.Parameter(torch.empty(rank, channels).uniform_(-(rank**-0.5), rank**-0.5))
        step = torch.exp(torch.empty(channels).uniform_(math.log(0.003), math.log(0.3)))
        self.dt_bias = nn.Parameter(step + torch.log(-torch.expm1(-step)))  # inverse softplus
        self.a_log = nn.Parameter(torch.log(torch.arange(1.0, states + 1))[:, None].repeat(1, channels))
        self.d = nn.Parameter(torch.ones(channels))
        self.out_proj = small(Linear(channels, channels))  # near identity: a model can be deepened

    def _scan_weights(self) -> Tensor:
        return torch.cat([self.dt_weight, self.dt_bias[None], -torch.exp(self.a_log), self.d[None]])

    def forward(self, x: Tensor) -> Tensor:
        gates = self.in_proj(mixer.norm(x))
        mixed = mixer.mix(gates, self.conv, self.conv_bias, self.projection, self._scan_weights(), self.rank)
        return x + self.out_proj(mixed)

    def update_(self, x: Tensor) -> None:
        """x becomes forward(x); without gradients, on contiguous tensors that mixer.is_fused.

        What concerns single tokens runs strip by strip: at 4K every full-size tensor takes 66 MB, and memory that is
        touched for the first time costs more than the normalisation that is done twice here.
        """
        tokens = x.view(-1, x.shape[-1])
        weight, gate_weight = self.in_proj.weight.to(x.dtype).chunk(2)
        bias, gate_bias = self.in_proj.bias.to(x.dtype).chunk(2)
        value = torch.empty_like(x)
        for strip, target in zip(tokens.split(STRIP_TOKENS), value.view_as(tokens).split(STRIP_TOKENS), strict=True):
            torch.addmm(bias, mixer.norm(strip), weight.t(), out=target)
        y = mixer.scanned(value, self.conv, self.conv_bias, self.projection, self._scan_weights(), self.rank)
        for strip, own in zip(tokens.split(STRIP_TOKENS), y.view_as(tokens).split(STRIP_TOKENS), strict=True):
            gate = torch.addmm(gate_bias, mixer.norm(strip), gate_weight.t())
            strip += self.out_proj(mixer.gated_norm_(own, gate))


class Block(Protocol):
    """What a `Stage` is made of: a module with a form that works in place."""

    def update_(self, x: Tensor) -> None: ...


class Stage(nn.Sequential):
    """Blocks one after the other. Without gradients they overwrite their input."""

    def forward(self, x: Tensor) -> Tensor:
        if torch.is_grad_enabled() or not mixer.is_fused(x, x.shape[-1]):
            return super().forward(x)
        x = x.contiguous()
        for block in cast("Iterable[Block]", self):
            block.update_(x)
        return x


def unshuffle(x: Tensor, factor: int) -> Tensor:
    """[B, H, W, C] -> [B, H/f, W/f, f*f*C], order (row, column, channel) inside a patch."""
    batch, height, width, channels = x.shape
    x = x.reshape(batch, height // factor, factor, width // factor, factor, channels)
    return x.permute(0, 1, 3, 2, 4, 5).reshape(batch, height // factor, width // factor, -1)


def shuffle(x: Tensor, factor: int) -> Tensor:
    """Inverse of `unshuffle`."""
    batch, height, width, channels = x.shape
    x = x.reshape(batch, height, width, factor, factor, channels // factor**2)
    return x.permute(0, 1, 3, 2, 4, 5).reshape(batch, height * factor, width * factor, -1)
