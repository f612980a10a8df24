"""Convolutions and divisive normalisation of the papers' networks. Tensors are channels last: [B, H, W, C].

A permuted channels-last tensor is what torch calls `channels_last` memory: the convolutions copy nothing.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mvc.blocks.layers import Composite


class Conv(nn.Conv2d):
    """K x K convolution with zero padding: [B, H, W, in] -> [B, H/stride, W/stride, out]."""

    def __init__(self, inputs: int, outputs: int, size: int, stride: int = 1, groups: int = 1) -> None:
        super().__init__(inputs, outputs, size, stride, padding=size // 2, groups=groups)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)


class Deconv(nn.ConvTranspose2d):
    """K x K transposed convolution of stride 2: [B, H, W, in] -> [B, 2H, 2W, out]."""

    def __init__(self, inputs: int, outputs: int, size: int) -> None:
        super().__init__(inputs, outputs, size, 2, padding=size // 2, output_padding=1)

    def forward(self, x: Tensor, output_size: list[int] | None = None) -> Tensor:
        return super().forward(x.permute(0, 3, 1, 2), output_size).permute(0, 2, 3, 1)


class GDN(nn.Module):
    """Generalised divisive normalisation, x / sqrt(beta + gamma x^2) over the channels, or its inverse with a product.

    Balle, Laparra & Simoncelli 2016, equation 3 (simplified exponents). beta and gamma are squares: never negative.
    """

    def __init__(self, channels: int, inverse: bool = False) -> None:
        super().__init__()
        self.inverse = inverse
        self.beta_root = nn.Parameter(torch.ones(channels))
        # a little everywhere: the gradient of a square is zero at zero
        self.gamma_root = nn.Parameter((0.1 * torch.eye(channels) + 1e-4).sqrt())

    def forward(self, x: Tensor) -> Tensor:
        power = F.linear(x.square(), self.gamma_root.square(), self.beta_root.square() + 1e-6)
        return x * (power.sqrt() if self.inverse else power.rsqrt())


class Bottleneck(Composite):
    """relu(x + 1x1(3x3(1x1(x)))) at half the width (the residual unit of Cheng et al. 2020): [B, H, W, C] -> same."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        half = channels // 2
        self.layers = nn.Sequential(
            Conv(channels, half, 1), nn.ReLU(), Conv(half, half, 3), nn.ReLU(), Conv(half, channels, 1)
        )

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x + self.layers(x))


class DropPath(nn.Module):
    """In training, leaves a branch out for whole samples with this probability (stochastic depth)."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.rate == 0:
            return x
        kept = torch.rand(x.shape[0], *[1] * (x.dim() - 1), device=x.device) >= self.rate
        return x * (kept / (1 - self.rate)).to(x.dtype)
