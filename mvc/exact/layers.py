"""Layers lowered to integers. Each takes and gives fixed-point tensors (fixed.py) and mirrors one float layer.

`lower(prior)` swaps them in; everything between the layers (adding, concatenating, masking, pixel shuffle) is exact on
whole numbers as it stands, so the prior's code runs unchanged. A layer accepts float64 (fast) or int64 (reference).
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mvc.blocks import layers as floating
from mvc.errors import WeightsError
from mvc.exact import kernels
from mvc.exact.fixed import (
    EXACT_FLOAT32,
    EXACT_FLOAT64,
    FRACTION_BITS,
    GAIN_BITS,
    INPUT_LIMIT,
    LIMIT,
    ONE,
    WEIGHT_LIMIT,
    shift_round,
)
from mvc.ops.parallel import array, run

Network = TypeVar("Network", bound=nn.Module)


def _shift_for(weight: Tensor) -> int:
    """Largest number of fraction bits, at most 14, that keeps every weight within WEIGHT_LIMIT."""
    largest = float(weight.detach().abs().max())
    if not largest <= WEIGHT_LIMIT:  # or not a number
        raise WeightsError(f"a weight of the prior has the magnitude {largest:g}, more than {WEIGHT_LIMIT}")
    return max(0, min(14, math.floor(math.log2(WEIGHT_LIMIT / largest)))) if largest > 0 else 14


class _Weighted(nn.Module):
    """Integer weight and bias with a common shift; proves its bound and finishes its sums."""

    weight: Tensor  # int16
    bias: Tensor  # int32
    shift: Tensor  # int32, one number

    def __init__(self, weight: Tensor, bias: Tensor, fan_in_dim: int) -> None:
        super().__init__()
        shift = _shift_for(weight)
        self.register_buffer("weight", torch.round(weight.detach().double() * 2.0**shift).to(torch.int16))
        scaled = torch.round(bias.detach().double() * 2.0 ** (shift + FRACTION_BITS))
        self.register_buffer("bias", scaled.clamp(-(2**31 - 1), 2**31 - 1).to(torch.int32))
        self.register_buffer("shift", torch.tensor(shift, dtype=torch.int32))
        self.fan_in_dim = fan_in_dim
        self._ready: dict[tuple[torch.dtype, torch.device], tuple[Tensor, Tensor, bool]] = {}

    def bound(self) -> int:
        """Largest absolute partial sum that any input within INPUT_LIMIT can give, rounding term included."""
        sums = self.weight.long().abs().sum(self.fan_in_dim) * INPUT_LIMIT + self.bias.long().abs()
        return int(sums.max()) + (1 << int(self.shift))

    def prepared(self, like: Tensor) -> tuple[Tensor, Tensor, bool]:
        """Weight and bias in the type of `like` and where it is, made once, and whether float32 can hold the sums."""
        key = like.dtype, like.device
        if key not in self._ready:
            bound = self.bound()
            if bound >= EXACT_FLOAT64:
                raise WeightsError("a layer of the exact prior can exceed 2^53", hint="the weights file is damaged")
            self._ready[key] = (self.weight.to(like), self.bias.to(like), bound < EXACT_FLOAT32)
        return self._ready[key]

    def finish(self, sums: Tensor, bias: Tensor, leak: bool) -> Tensor:
        """Add the bias, shift, clamp and activate; overwrites sums [..., C]."""
        shift = int(self.shift)
        if sums.dtype == torch.float64 and sums.device.type == "cpu":
            flat = sums.view(-1, sums.shape[-1])
            run(kernels.finish, len(flat), array(flat), array(bias), 2.0**-shift, float(LIMIT), leak)
            return sums
        out = shift_round(sums + bias, shift).clamp(-LIMIT, LIMIT)
        return torch.maximum(out, shift_round(out, 3)) if leak else out


class ExactLinear(_Weighted):
    def __init__(self, layer: floating.Linear) -> None:
        bias = torch.zeros(layer.out_features) if layer.bias is None else layer.bias
        super().__init__(layer.weight, bias, fan_in_dim=1)

    def forward(self, x: Tensor) -> Tensor:
        weight, bias, narrow = self.prepared(x)
        flat = x.reshape(-1, x.shape[-1])
        if narrow and x.dtype == torch.float64 and torch.get_float32_matmul_precision() == "highest":
            sums = (flat.float() @ weight.float().t()).double()
        else:
            sums = flat @ weight.t()
        return self.finish(sums.view(*x.shape[:-1], -1), bias, leak=False)


class ExactDepthwise(_Weighted):
    def __init__(self, layer: floating.Depthwise) -> None:
        super().__init__(layer.weight, layer.bias, fan_in_dim=0)
        self.leak = layer.activation == "leaky"
        self.size = math.isqrt(layer.weight.shape[0])

    def forward(self, x: Tensor) -> Tensor:
        weight, bias, _ = self.prepared(x)
        batch, height, width, channels = x.shape
        if x.dtype == torch.float64 and x.device.type == "cpu":
            out = torch.empty_like(x, memory_format=torch.contiguous_format)
            taps = weight.view(self.size, self.size, channels)
            arrays = [array(t) for t in (x.contiguous(), taps, bias)]
            scale = 2.0 ** -int(self.shift)
            run(kernels.depthwise, batch * height, *arrays, scale, float(LIMIT), self.leak, array(out))
            return out
        pad = self.size // 2
        padded = F.pad(x, (0, 0, pad, pad, pad, pad))
        sums = torch.zeros_like(x)
        for r in range(self.size):
            for s in range(self.size):
                sums += padded[:, r : r + height, s : s + width] * weight[r * self.size + s]
        return self.finish(sums, bias, self.leak)


class ExactLeaky(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        if x.dtype == torch.float64 and x.device.type == "cpu":
            out = torch.empty_like(x, memory_format=torch.contiguous_format)
            flat = [array(t.view(-1, x.shape[-1])) for t in (x.contiguous(), out)]
            run(kernels.leaky, len(flat[0]), *flat)
            return out
        return torch.maximum(x, shift_round(x, 3))


class ExactClamp(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.clamp(-ONE // 2, ONE // 2)


class ExactGain(nn.Module):
    """A table of gains with GAIN_BITS fraction bits, one row per quality index."""

    table: Tensor  # int32 [64, C]

    def __init__(self, layer: floating.QualityGain) -> None:
        super().__init__()
        with torch.no_grad():
            gains = layer.gains(torch.arange(floating.QUALITIES)).double()
        self.register_buffer("table", torch.round(gains * (1 << GAIN_BITS)).clamp(0, WEIGHT_LIMIT * 4).to(torch.int32))

    def forward(self, x: Tensor, quality: Tensor) -> Tensor:
        gains = self.table[quality].to(x.dtype)[:, None, None]
        return shift_round(x * gains, GAIN_BITS).clamp(-LIMIT, LIMIT)


LOWERED: dict[type[nn.Module], Callable[[Any], nn.Module]] = {
    floating.Linear: ExactLinear,
    floating.Depthwise: ExactDepthwise,
    floating.Leaky: lambda _: ExactLeaky(),
    floating.QualityGain: ExactGain,
    floating.Clamp: lambda _: ExactClamp(),
}


def lower(prior: Network) -> Network:
    """A copy of a network whose layers compute on integers; WeightsError where 2^53 cannot be proven to suffice."""
    lowered = copy.deepcopy(prior)
    for name, module in list(lowered.named_modules()):
        exact = LOWERED.get(type(module))
        if exact is not None:
            parent = lowered.get_submodule(name.rpartition(".")[0])
            replacement = exact(module)
            if isinstance(replacement, _Weighted) and replacement.bound() >= EXACT_FLOAT64:
                raise WeightsError(f"the exact prior's layer {name} can exceed 2^53")
            setattr(parent, name.rpartition(".")[2], replacement)
    for parameter in lowered.parameters():
        raise WeightsError(f"a float parameter of shape {tuple(parameter.shape)} is left in the lowered prior")
    return lowered.eval()


@torch.no_grad()
def to_float(lowered: nn.Module, network: Network) -> Network:
    """Give the float `network` the values of its lowered copy, and return it: for estimates, never for symbols."""
    for name, module in lowered.named_modules():
        own: Any = network.get_submodule(name)
        if isinstance(module, _Weighted):
            own.weight.copy_(module.weight.double() / 2.0 ** int(module.shift))
            if own.bias is not None:
                own.bias.copy_(module.bias.double() / 2.0 ** (int(module.shift) + FRACTION_BITS))
        elif isinstance(module, ExactGain):
            own.log_gain = nn.Parameter(torch.log(module.table.clamp_min(1) / 2.0**GAIN_BITS))
    return network
