"""The state-space block of the MambaVC paper at full size: every channel along all four scan orders."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from mvc.blocks.conv import Conv, DropPath
from mvc.blocks.layers import Composite, Linear, SiluGate
from mvc.ops.scan import ORDERS, selective_scan


class Scan(nn.Module):
    """The input-dependent recurrence S6 along four orders, outputs added: v [B, H, W, D] -> y [B, H, W, D].

    One set of weights per order (VMamba's 2DSS). `selective_scan` gives a quarter of its channels to each order, so the
    channels are repeated four times. It runs in float32 whatever the type of v.
    """

    def __init__(self, channels: int, states: int, rank: int) -> None:
        super().__init__()
        self.rank = rank
        wide = ORDERS * channels
        bound = channels**-0.5
        self.projection = nn.Parameter(torch.empty(ORDERS * (rank + 2 * states), channels).uniform_(-bound, bound))
        self.dt_weight = nn.Parameter(torch.empty(rank, wide).uniform_(-(rank**-0.5), rank**-0.5))
        step = torch.exp(torch.empty(wide).uniform_(math.log(0.001), math.log(0.1)))
        self.dt_bias = nn.Parameter(step + torch.log(-torch.expm1(-step)))  # inverse softplus
        self.a_log = nn.Parameter(torch.log(torch.arange(1.0, states + 1))[:, None].repeat(1, wide))
        self.d = nn.Parameter(torch.ones(wide))

    def forward(self, v: Tensor) -> Tensor:
        batch, height, width, _ = v.shape
        tokens = v.float().flatten(1, 2)
        parameters = (tokens @ self.projection.t()).view(batch, height * width, ORDERS, -1)
        weights = torch.cat([self.dt_weight, self.dt_bias[None], -torch.exp(self.a_log), self.d[None]])
        y = selective_scan(v.float().repeat(1, 1, 1, ORDERS), parameters, weights, self.rank)
        return y.unflatten(-1, (ORDERS, -1)).sum(-2).to(v.dtype)


class SS2D(Composite):
    """out(norm(scan(silu(depthwise(value)))) * silu(gate)), value and gate of the in-projection (MambaVC, figure 3).

    Without `gated` there is only the value (SAMIC). `scan` maps [B, H, W, D] to the same; D = ratio * C.
    """

    def __init__(self, channels: int, inner: int, scan: nn.Module, gated: bool = True) -> None:
        super().__init__()
        self.gated = gated
        self.silu, self.gate = nn.SiLU(), SiluGate()
        self.inp = Linear(channels, 2 * inner if gated else inner, bias=False)
        self.conv = Conv(inner, inner, 3, groups=inner)
        self.scan = scan
        self.norm = nn.LayerNorm(inner)
        self.out = Linear(inner, channels, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        value, *gate = self.inp(x).chunk(2 if self.gated else 1, -1)
        y = self.norm(self.scan(self.silu(self.conv(value))))
        return self.out(self.gate(y, gate[0]) if self.gated else y)


def default_rank(channels: int) -> int:
    """Mamba's rank of the step sizes: one for sixteen channels."""
    return math.ceil(channels / 16)


class PaperVSSBlock(Composite):
    """x + SS2D(norm(x)), expansion 2, without an MLP (MambaVC, section 3.2): [B, H, W, C] -> same."""

    def __init__(self, channels: int, states: int = 16, drop: float = 0.0) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels)
        scan = Scan(2 * channels, states, default_rank(channels))
        self.mixer = SS2D(channels, 2 * channels, scan)
        self.drop = DropPath(drop)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.drop(self.mixer(self.norm(x)))
