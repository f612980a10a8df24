"""Lowering: a copy of a network in which every layer computes on fixed-point integers (fixed.py).

`lower` swaps the layers; everything between them (adding, concatenating, masking, pixel shuffle) is exact on whole
numbers as it stands, so the prior's code runs unchanged. A layer accepts float64 (fast) or int64 (reference). What is
neither in `LOWERED` nor said to be a mere container of layers (`Composite`) is refused.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, ClassVar, TypeVar, cast

import numpy as np
import torch
from torch import Tensor, nn

from mvc.blocks.conv import GDN, Conv, Deconv, DropPath
from mvc.blocks.layers import (
    Average,
    Clamp,
    Composite,
    Depthwise,
    GatedNorm,
    HalfTanh,
    Leaky,
    Linear,
    LogScale,
    Norm,
    QualityGain,
    SigmoidGate,
    SiluGate,
    ToEighths,
)
from mvc.blocks.lite import GroupedScan
from mvc.blocks.semantic import SemanticScan
from mvc.blocks.vss import Scan
from mvc.blocks.window import WindowAttention
from mvc.entropy.tables import ROWS_PER_OCTAVE
from mvc.errors import WeightsError
from mvc.exact import functions, weighted_numba
from mvc.exact.attention import ExactWindowAttention
from mvc.exact.fixed import COARSE, EXACT_FLOAT64, GAIN_BITS, WEIGHT_LIMIT, Grid, Ranges, divide, shift_round
from mvc.exact.functions import ExactFunction, ExactSigmoidGate, ExactSiluGate
from mvc.exact.norms import ExactGatedNorm, ExactGDN, ExactLayerNorm, ExactNorm
from mvc.exact.scan import ExactScan, ExactSemanticScan
from mvc.exact.weighted import (
    LARGEST_INT32,
    ExactConv,
    ExactDeconv,
    ExactDepthwise,
    ExactLinear,
    Weighted,
    depthwise_of,
    leaky,
)
from mvc.ops.norm_numba import EPSILON
from mvc.ops.parallel import array, run
from mvc.quality import INDICES

GAIN_LIMIT = 4 * WEIGHT_LIMIT

Network = TypeVar("Network", bound=nn.Module)


class ExactLeaky(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        if x.dtype == torch.float64 and x.device.type == "cpu":
            out = torch.empty_like(x, memory_format=torch.contiguous_format)
            flat = [array(t.view(-1, x.shape[-1])) for t in (x.contiguous(), out)]
            run(weighted_numba.leaky, len(flat[0]), *flat)
            return out
        return leaky(x)


class ExactClamp(nn.Module):
    """To -1/2 ... 1/2."""

    def __init__(self, grid: Grid = COARSE) -> None:
        super().__init__()
        self.most = grid.one // 2

    def forward(self, x: Tensor) -> Tensor:
        return x.clamp(-self.most, self.most)


class ExactAverage(nn.Module):
    def forward(self, total: Tensor, count: Tensor) -> Tensor:
        return divide(total, count.clamp_min(1).to(total.dtype))


class ExactToEighths(nn.Module):
    def __init__(self, grid: Grid) -> None:
        super().__init__()
        self.bits = grid.fraction_bits - 3

    def forward(self, x: Tensor) -> Tensor:
        return shift_round(x, self.bits) * (1 << self.bits)


class ExactGain(nn.Module):
    """A table of gains with GAIN_BITS fraction bits, one row per quality index."""

    table: Tensor  # int32 [64, C]
    limits: ClassVar[Ranges] = {"table": (0, GAIN_LIMIT)}

    def __init__(self, layer: QualityGain, grid: Grid = COARSE) -> None:
        super().__init__()
        self.limit = grid.limit
        with torch.no_grad():
            gains = layer.gains(torch.arange(INDICES)).double()
        self.register_buffer("table", torch.round(gains * (1 << GAIN_BITS)).clamp(0, GAIN_LIMIT).to(torch.int32))

    def forward(self, x: Tensor, quality: Tensor) -> Tensor:
        gains = self.table[quality].to(x.dtype)
        if x.dtype == torch.float64 and x.device.type == "cpu" and len(gains) == 1:
            out = torch.empty_like(x, memory_format=torch.contiguous_format)
            flat, target = (array(t.view(-1, x.shape[-1])) for t in (x.contiguous(), out))
            run(weighted_numba.gain, len(flat), flat, array(gains[0]), 2.0**-GAIN_BITS, float(self.limit), target)
            return out
        return shift_round(x * gains[:, None, None], GAIN_BITS).clamp_(-self.limit, self.limit)


class ExactLogScale(nn.Module):
    """log2(scale / low), rounded to a row of the latent tables by comparing the scale with the rows' edges."""

    edges: Tensor  # int32 [rows - 1]: the smallest scale of each row but the first, ascending
    limits: ClassVar[Ranges] = {"edges": (0, LARGEST_INT32)}

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


def _function(function: Callable[[np.ndarray], np.ndarray], rises: bool) -> Callable[[Any, Grid], nn.Module]:
    return lambda _, grid: ExactFunction(function, grid, rises)


def _gelu(layer: nn.GELU, grid: Grid) -> nn.Module:
    if layer.approximate != "none":
        raise WeightsError(f"it is approximated by {layer.approximate}", hint="use the exact GELU")
    return ExactFunction(functions.gelu, grid)


LOWERED: dict[type[nn.Module], Callable[[Any, Grid], nn.Module]] = {
    Linear: lambda layer, grid: ExactLinear(layer.weight, layer.bias, grid),
    Depthwise: lambda m, grid: ExactDepthwise(m.weight, m.bias, m.activation, grid),
    Leaky: lambda _, grid: ExactLeaky(),
    QualityGain: ExactGain,
    Average: lambda _, grid: ExactAverage(),
    ToEighths: lambda _, grid: ExactToEighths(grid),
    Clamp: lambda _, grid: ExactClamp(grid),
    Conv: lambda layer, grid: depthwise_of(layer, grid) if layer.groups > 1 else ExactConv(layer, grid),
    Deconv: ExactDeconv,
    GDN: ExactGDN,
    DropPath: lambda _, grid: nn.Identity(),
    nn.LayerNorm: ExactLayerNorm,
    Norm: lambda _, grid: ExactNorm(float(EPSILON), grid),
    GatedNorm: lambda _, grid: ExactGatedNorm(float(EPSILON), grid),
    nn.GELU: _gelu,
    nn.Identity: lambda _, grid: nn.Identity(),
    nn.ReLU: lambda _, grid: nn.ReLU(),
    nn.SiLU: _function(functions.silu, True),
    HalfTanh: _function(functions.half_tanh, False),
    SigmoidGate: lambda _, grid: ExactSigmoidGate(grid),
    SiluGate: lambda _, grid: ExactSiluGate(grid),
    LogScale: ExactLogScale,
    WindowAttention: ExactWindowAttention,
    Scan: ExactScan,
    GroupedScan: ExactScan,
    SemanticScan: _semantic,
}


CONTAINERS = (Composite, nn.Sequential, nn.ModuleList)


def _lowered(module: nn.Module, grid: Grid, name: str = "") -> nn.Module:
    """The exact counterpart of a layer; a container of layers is changed in place and returned."""
    kind = f"{type(module).__module__}.{type(module).__qualname__}" + (f" (layer {name})" if name else "")
    if exact := LOWERED.get(type(module)):
        try:
            return exact(module, grid)
        except WeightsError as error:
            raise WeightsError(f"{kind} cannot be lowered: {error}", hint=error.hint) from error
    if not isinstance(module, CONTAINERS):
        hint = "add one to LOWERED in mvc/exact/lower.py, or make it a Composite if all its arithmetic is in layers"
        raise WeightsError(f"there is no exact counterpart of {kind}", hint=hint)
    for own in (*module._parameters, *module._buffers):
        raise WeightsError(f"{kind} has a tensor of its own, {own}", hint="put it into a layer that can be lowered")
    for own, child in list(module.named_children()):
        setattr(module, own, _lowered(child, grid, f"{name}.{own}" if name else own))
    return module


def lower(prior: Network, grid: Grid = COARSE) -> Network:
    """A copy of a network whose layers compute on integers.

    WeightsError for a layer that has no exact counterpart, and where 2^53 cannot be proven to suffice.
    """
    lowered = cast("Network", _lowered(copy.deepcopy(prior), grid))
    check_exact(lowered)
    return lowered.eval()


def check_exact(lowered: nn.Module) -> None:
    """WeightsError for an integer outside its range (spec, sections 5.4 and 5.9), or sums that 2^53 may not hold.

    What may be at fault is a checkpoint's weights, or the file from which the integers come.
    """
    for name, module in lowered.named_modules():
        for own, (low, high) in getattr(module, "limits", {}).items():
            values: Tensor = getattr(module, own)
            if values.numel() and not (low <= int(values.min()) and int(values.max()) <= high):
                raise WeightsError(f"the exact prior's {name}.{own} is outside {low}..{high}")
        if isinstance(module, ExactLogScale) and (module.edges.diff() < 0).any():
            raise WeightsError(f"the exact prior's {name}.edges do not ascend")
        if isinstance(module, Weighted) and module.bound() >= EXACT_FLOAT64:
            raise WeightsError(f"the exact prior's layer {name} can exceed 2^53")


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
