"""Lowering: a copy of a network in which every layer computes on fixed-point integers (fixed.py).

`lower` swaps the layers; everything between them (adding, concatenating, masking, pixel shuffle) is exact on whole
numbers as it stands, so the prior's code runs unchanged. A layer accepts float64 (fast) or int64 (reference).
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, TypeVar, cast

import numpy as np
import torch
from torch import Tensor, nn

from mvc.blocks import layers as floating
from mvc.blocks.conv import GDN, Conv, Deconv, DropPath
from mvc.blocks.curves import HalfTanh, LogScale, SigmoidGate, SiluGate
from mvc.blocks.semantic import SemanticScan
from mvc.blocks.vss import Scan
from mvc.blocks.window import WindowAttention
from mvc.entropy.tables import ROWS_PER_OCTAVE
from mvc.errors import WeightsError
from mvc.exact import curves, kernels
from mvc.exact.attention import ExactWindowAttention
from mvc.exact.curves import ExactCurve, ExactSigmoidGate, ExactSiluGate
from mvc.exact.fixed import COARSE, EXACT_FLOAT64, GAIN_BITS, WEIGHT_LIMIT, Grid, shift_round
from mvc.exact.norms import ExactGDN, ExactLayerNorm
from mvc.exact.scan import ExactScan, ExactSemanticScan
from mvc.exact.weighted import ExactConv, ExactDeconv, ExactDepthwise, ExactLinear, Weighted, depthwise_of
from mvc.ops.parallel import array, run

Network = TypeVar("Network", bound=nn.Module)


class ExactLeaky(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        if x.dtype == torch.float64 and x.device.type == "cpu":
            out = torch.empty_like(x, memory_format=torch.contiguous_format)
            flat = [array(t.view(-1, x.shape[-1])) for t in (x.contiguous(), out)]
            run(kernels.leaky, len(flat[0]), *flat)
            return out
        return torch.maximum(x, shift_round(x, 3))


class ExactClamp(nn.Module):
    """To -1/2 ... 1/2."""

    def __init__(self, grid: Grid = COARSE) -> None:
        super().__init__()
        self.most = grid.one // 2

    def forward(self, x: Tensor) -> Tensor:
        return x.clamp(-self.most, self.most)


class ExactGain(nn.Module):
    """A table of gains with GAIN_BITS fraction bits, one row per quality index."""

    table: Tensor  # int32 [64, C]

    def __init__(self, layer: floating.QualityGain, grid: Grid = COARSE) -> None:
        super().__init__()
        self.limit = grid.limit
        with torch.no_grad():
            gains = layer.gains(torch.arange(floating.QUALITIES)).double()
        self.register_buffer("table", torch.round(gains * (1 << GAIN_BITS)).clamp(0, WEIGHT_LIMIT * 4).to(torch.int32))

    def forward(self, x: Tensor, quality: Tensor) -> Tensor:
        gains = self.table[quality].to(x.dtype)[:, None, None]
        return shift_round(x * gains, GAIN_BITS).clamp(-self.limit, self.limit)


class ExactLogScale(nn.Module):
    """log2(scale / low), rounded to a row of the latent tables by comparing the scale with the rows' edges."""

    edges: Tensor  # int32 [rows - 1]: the smallest scale of each row but the first

    def __init__(self, layer: LogScale, grid: Grid) -> None:
        super().__init__()
        self.row = grid.one // ROWS_PER_OCTAVE
        rows = round(ROWS_PER_OCTAVE * layer.span)
        middles = (np.arange(rows) + 0.5) / ROWS_PER_OCTAVE
        edges = np.ceil(layer.low * np.exp2(middles) * grid.one)
        self.register_buffer("edges", torch.from_numpy(edges).int())

    def forward(self, scale: Tensor) -> Tensor:
        return torch.bucketize(scale.contiguous(), self.edges.to(scale.dtype), right=True).to(scale.dtype) * self.row


def _semantic(layer: SemanticScan, grid: Grid) -> nn.Module:
    return ExactSemanticScan(layer, _lowered(layer.clustering.features, grid), grid)


def _curve(function: Callable[[np.ndarray], np.ndarray], rises: bool) -> Callable[[Any, Grid], nn.Module]:
    return lambda _, grid: ExactCurve(function, grid, rises)


LOWERED: dict[type[nn.Module], Callable[[Any, Grid], nn.Module]] = {
    floating.Linear: lambda layer, grid: ExactLinear(layer.weight, layer.bias, grid),
    floating.Depthwise: lambda m, grid: ExactDepthwise(m.weight, m.bias, m.activation == "leaky", grid),
    floating.Leaky: lambda _, grid: ExactLeaky(),
    floating.QualityGain: ExactGain,
    floating.Clamp: lambda _, grid: ExactClamp(grid),
    Conv: lambda layer, grid: depthwise_of(layer, grid) if layer.groups > 1 else ExactConv(layer, grid),
    Deconv: ExactDeconv,
    GDN: ExactGDN,
    DropPath: lambda _, grid: nn.Identity(),
    nn.LayerNorm: ExactLayerNorm,
    nn.GELU: _curve(curves.gelu, True),
    nn.SiLU: _curve(curves.silu, True),
    HalfTanh: _curve(curves.half_tanh, False),
    SigmoidGate: lambda _, grid: ExactSigmoidGate(grid),
    SiluGate: lambda _, grid: ExactSiluGate(grid),
    LogScale: ExactLogScale,
    WindowAttention: ExactWindowAttention,
    Scan: ExactScan,
    SemanticScan: _semantic,
}


def _lowered(module: nn.Module, grid: Grid) -> nn.Module:
    """The exact counterpart of a layer; a container of layers is changed in place and returned."""
    exact = LOWERED.get(type(module))
    if exact is not None:
        return exact(module, grid)
    for name, child in list(module.named_children()):
        setattr(module, name, _lowered(child, grid))
    return module


def lower(prior: Network, grid: Grid = COARSE) -> Network:
    """A copy of a network whose layers compute on integers; WeightsError where 2^53 cannot be proven to suffice."""
    lowered = cast("Network", _lowered(copy.deepcopy(prior), grid))
    for name, module in lowered.named_modules():
        if isinstance(module, Weighted) and module.bound() >= EXACT_FLOAT64:
            raise WeightsError(f"the exact prior's layer {name} can exceed 2^53")
    for parameter in lowered.parameters():
        raise WeightsError(f"a float parameter of shape {tuple(parameter.shape)} is left in the lowered prior")
    return lowered.eval()


@torch.no_grad()
def to_float(lowered: nn.Module, network: Network) -> Network:
    """Give the float `network` the values of its lowered copy, and return it: for estimates, never for symbols.

    For networks of linear, depthwise and gain layers, as mambavc-lite has them.
    """
    for name, module in lowered.named_modules():
        own: Any = network.get_submodule(name)
        if isinstance(module, Weighted):
            own.weight.copy_(module.weight.double() / 2.0 ** int(module.shift))
            if own.bias is not None:
                own.bias.copy_(module.bias.double() / 2.0 ** (int(module.shift) + module.grid.fraction_bits))
        elif isinstance(module, ExactGain):
            own.log_gain = nn.Parameter(torch.log(module.table.clamp_min(1) / 2.0**GAIN_BITS))
    return network
