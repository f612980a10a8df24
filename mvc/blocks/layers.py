"""The layers and element-wise functions that networks are made of. Tensors are channels last: [B, H, W, C].

Functions are modules too, so that mvc/exact can put integers in their place.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mvc.ops import mixer
from mvc.ops.product import linear
from mvc.ops.rate import bound
from mvc.quality import INDICES


class Composite(nn.Module):
    """A module that hands tensors from layer to layer, and beside that adds, joins, splits, masks or reorders them.

    That is exact on whole numbers as it stands, so mvc/exact lowers the layers inside and runs the rest unchanged. It
    goes into no other module: whoever writes arithmetic of their own into a forward pass gives it a layer's name there.
    """


class Linear(nn.Linear):
    """A linear layer that computes in the type of its input; the weights stay float32."""

    def forward(self, x: Tensor) -> Tensor:
        bias = None if self.bias is None else self.bias.to(x.dtype)
        return linear(x, self.weight.to(x.dtype), bias)


def small(layer: Linear) -> Linear:
    """The layer, started near zero: what it adds to is there first."""
    nn.init.normal_(layer.weight, std=0.02 * layer.in_features**-0.5)
    nn.init.zeros_(layer.bias)
    return layer


class Depthwise(nn.Module):
    """Depthwise K x K convolution with bias and activation (none, silu, leaky with slope 1/8)."""

    def __init__(self, channels: int, size: int, activation: str = "none") -> None:
        super().__init__()
        if activation not in mixer.ACTIVATIONS:
            raise ValueError(f"activation = {activation!r} should be one of {', '.join(mixer.ACTIVATIONS)}")
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


class Average(nn.Module):
    """The mean of what was added up: total [B, H, W, C] over count [H, W, 1]; 0 where nothing was."""

    def forward(self, total: Tensor, count: Tensor) -> Tensor:
        return total / count.clamp_min(1)


class ToEighths(nn.Module):
    """Rounded to multiples of 1/8, straight through: what is almost at rest is at rest."""

    def forward(self, x: Tensor) -> Tensor:
        return x + (torch.floor(8 * x.detach() + 0.5) / 8 - x.detach())


class Norm(nn.Module):
    """(x - mean) / std over the channels; gain and bias live in the linear layer that follows."""

    def forward(self, x: Tensor) -> Tensor:
        return mixer.norm(x)


class GatedNorm(nn.Module):
    """norm(x) * silu(gate), the norm without gain and bias."""

    def forward(self, x: Tensor, gate: Tensor) -> Tensor:
        return mixer.gated_norm(x, gate)


def at_quality(table: Tensor, quality: Tensor) -> Tensor:
    """Rows of a table [anchors, C] spread over the quality indices, interpolated linearly: [B] -> [B, C]."""
    position = quality.float() * ((table.shape[0] - 1) / (INDICES - 1))
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
