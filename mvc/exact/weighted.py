"""Layers that are sums of products: weights lowered to integers, and the proof that their sums stay exact.

A layer accepts float64 (fast) or int64 (reference) tensors of fixed-point values, channels last.
"""

from __future__ import annotations

import math
from types import ModuleType
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mvc.blocks.conv import Conv, Deconv
from mvc.errors import WeightsError
from mvc.exact import weighted_numba
from mvc.exact.fixed import COARSE, EXACT_FLOAT32, EXACT_FLOAT64, FINE, WEIGHT_LIMIT, Grid, Ranges, shift_round
from mvc.exact.functions import ExactFunction, silu
from mvc.ops import mixer
from mvc.ops.parallel import array, run

MAX_SHIFT = 14
BLOCK_ROWS = 1024  # of a matrix product on the CPU: more leave its cache and take up to a third longer
LARGEST_INT32 = 2**31 - 1
HALF = torch.tensor(0.5, dtype=torch.float64)


def gpu_kernels(x: Tensor) -> ModuleType | None:
    """Triton's (weighted_triton.py) for numbers in float64 on a GPU, where the mixer takes Triton's as well."""
    if x.dtype != torch.float64 or not x.is_cuda or mixer.on_gpus() is None:
        return None
    from mvc.exact import weighted_triton

    return weighted_triton


def shift_for(weight: Tensor) -> int:
    """Largest number of fraction bits, at most MAX_SHIFT, that keeps every weight within WEIGHT_LIMIT."""
    largest = float(weight.detach().abs().max())
    if not largest <= WEIGHT_LIMIT:  # or not a number
        raise WeightsError(f"a weight of the prior has the magnitude {largest:g}, more than {WEIGHT_LIMIT}")
    return max(0, min(MAX_SHIFT, math.floor(math.log2(WEIGHT_LIMIT / largest)))) if largest > 0 else MAX_SHIFT


class Weighted(nn.Module):
    """Integer weight and bias with a common shift; proves its bound and finishes its sums."""

    weight: Tensor  # int16
    bias: Tensor  # int32
    shift: Tensor  # int32, one number
    limits: ClassVar[Ranges] = {
        "weight": (-WEIGHT_LIMIT, WEIGHT_LIMIT),
        "bias": (-LARGEST_INT32, LARGEST_INT32),
        "shift": (0, MAX_SHIFT),
    }

    def __init__(self, weight: Tensor, bias: Tensor | None, outputs: int, grid: Grid) -> None:
        """`outputs` is the dimension of the weight that counts the output channels."""
        super().__init__()
        self.grid, self.outputs = grid, outputs
        bias = torch.zeros(weight.shape[outputs]) if bias is None else bias
        shift = shift_for(weight)
        self.register_buffer("weight", torch.round(weight.detach().double() * 2.0**shift).to(torch.int16))
        scaled = torch.round(bias.detach().double() * 2.0 ** (shift + grid.fraction_bits))
        self.register_buffer("bias", scaled.clamp(-LARGEST_INT32, LARGEST_INT32).to(torch.int32))
        self.register_buffer("shift", torch.tensor(shift, dtype=torch.int32))
        self._bits: int | None = None
        self._ready: dict[tuple[torch.dtype, torch.device], tuple[Tensor, Tensor, bool]] = {}

    def bound(self) -> int:
        """Largest absolute partial sum that any input within the grid's limit can give, rounding term included."""
        terms = self.weight.long().abs().movedim(self.outputs, 0).flatten(1).sum(1)
        return int((terms * self.grid.input_limit + self.bias.long().abs()).max()) + (1 << int(self.shift))

    def bits(self) -> int:
        """The shift, asked of the device once: each time would wait for all that a GPU has to do."""
        if self._bits is None:
            self._bits = int(self.shift)
        return self._bits

    def prepared(self, like: Tensor) -> tuple[Tensor, Tensor, bool]:
        """Weight and bias in the type of `like` and where it is, made once, and whether float32 can hold the sums."""
        key = like.dtype, like.device
        if key not in self._ready:
            bound = self.bound()
            if bound >= EXACT_FLOAT64:
                raise WeightsError("a layer of the exact prior can exceed 2^53", hint="the weights file is damaged")
            self._ready[key] = (self.weight.to(like), self.bias.to(like), bound < EXACT_FLOAT32)
        return self._ready[key]

    def taken(self, x: Tensor) -> Tensor:
        """The input within its limit; on the coarse grid the networks' structure sees to that."""
        limit = self.grid.input_limit
        return x if self.grid is COARSE else x.clamp(-limit, limit)

    def finish(self, sums: Tensor, bias: Tensor, leak: bool = False) -> Tensor:
        """Add the bias, shift, clamp and activate; overwrites sums [..., C]."""
        shift, limit = self.bits(), self.grid.limit
        if sums.dtype == torch.float64 and sums.device.type == "cpu":
            flat = sums.view(-1, sums.shape[-1])
            run(weighted_numba.finish, len(flat), array(flat), array(bias), 2.0**-shift, float(limit), leak)
            return sums
        out = shift_round(sums + bias, shift).clamp(-limit, limit)
        return leaky(out) if leak else out


def leaky(x: Tensor) -> Tensor:
    """The larger of x and x / 8, rounded."""
    eighth = shift_round(x, 3) if x.dtype == torch.int64 else torch.add(HALF, x, alpha=0.125).floor_()
    return torch.maximum(x, eighth)


class ExactLinear(Weighted):
    """weight [out, in]. An input in float32 (models/coding.py keeps latents so) is widened here, block by block."""

    def __init__(self, weight: Tensor, bias: Tensor | None, grid: Grid = COARSE) -> None:
        super().__init__(weight, bias, 0, grid)
        self._folds: dict[tuple[torch.dtype, torch.device], tuple[Tensor, Tensor]] = {}

    def forward(self, x: Tensor) -> Tensor:
        wide = x if x.dtype == torch.int64 else x.new_empty(0, dtype=torch.float64)
        weight, bias, narrow = self.prepared(wide)
        narrow = narrow and wide is not x and torch.get_float32_matmul_precision() == "highest"
        flat = self.taken(x).reshape(-1, x.shape[-1])
        if x.is_cuda and wide.dtype == torch.float64:
            return self.at_once(flat, narrow).view(*x.shape[:-1], -1)
        sums = wide.new_empty(len(flat), len(weight))
        rows = BLOCK_ROWS if x.device.type == "cpu" else max(1, len(flat))
        for own, target in zip(flat.split(rows), sums.split(rows), strict=True):
            if narrow:
                target.copy_(own.float() @ weight.float().t())
            else:
                torch.mm(own.to(wide.dtype), weight.t(), out=target)
        return self.finish(sums.view(*x.shape[:-1], -1), bias)

    def at_once(self, x: Tensor, narrow: bool) -> Tensor:
        """Of x [T, in] in three or four operations, since on a GPU each costs more than its work.

        The shift is in the weights, and the half that is added before it in the bias: all are multiples of 2^-shift
        then, and the bound of their sums is the same.
        """
        kind = torch.float32 if narrow else torch.float64
        weight, bias = self._folded(x.new_empty(0, dtype=kind))
        sums = torch.addmm(bias, x.to(kind), weight.t()).floor_().clamp_(-self.grid.limit, self.grid.limit)
        return sums.to(torch.float64)

    def _folded(self, like: Tensor) -> tuple[Tensor, Tensor]:
        key = like.dtype, like.device
        if key not in self._folds:
            scale, half = 2.0 ** -self.bits(), 0.5 if self.bits() else 0.0  # without a shift there is nothing to round
            parts = self.weight.double() * scale, self.bias.double() * scale + half
            self._folds[key] = (parts[0].to(like), parts[1].to(like))
        return self._folds[key]


class ExactDepthwise(Weighted):
    """K x K, zero padding, each channel for itself, then none, silu or leaky: weight [K*K, C]."""

    def __init__(self, weight: Tensor, bias: Tensor | None, activation: str = "none", grid: Grid = COARSE) -> None:
        super().__init__(weight, bias, 1, grid)
        if activation not in ("none", "silu", "leaky"):
            raise WeightsError(f"there is no exact activation {activation!r}")
        self.leak = activation == "leaky"
        self.silu = ExactFunction(silu, grid) if activation == "silu" else None
        self.size = math.isqrt(weight.shape[0])

    def forward(self, x: Tensor) -> Tensor:
        sums = self._convolved(x)
        return sums if self.silu is None else self.silu(sums)

    def _convolved(self, x: Tensor) -> Tensor:
        weight, bias, _ = self.prepared(x)
        x = self.taken(x)
        if (kernels := gpu_kernels(x)) is not None:
            made: Tensor = kernels.depthwise(x, weight, bias, 2.0 ** -self.bits(), float(self.grid.limit), self.leak)
            return made
        batch, height, width, channels = x.shape
        if x.dtype == torch.float64 and x.device.type == "cpu":
            out = torch.empty_like(x, memory_format=torch.contiguous_format)
            taps = weight.view(self.size, self.size, channels)
            arrays = [array(t) for t in (x.contiguous(), taps, bias)]
            scale = 2.0 ** -self.bits()
            run(weighted_numba.depthwise, batch * height, *arrays, scale, float(self.grid.limit), self.leak, array(out))
            return out
        pad = self.size // 2
        padded = F.pad(x, (0, 0, pad, pad, pad, pad))
        sums = torch.zeros_like(x)
        for r in range(self.size):
            for s in range(self.size):
                sums += padded[:, r : r + height, s : s + width] * weight[r * self.size + s]
        return self.finish(sums, bias, self.leak)


class ExactConv(Weighted):
    """K x K convolution with zero padding, tap by tap as matrix products: weight [out, in, K, K]."""

    def __init__(self, layer: Conv, grid: Grid = FINE) -> None:
        super().__init__(layer.weight, layer.bias, 0, grid)
        self.size, self.stride = layer.kernel_size[0], layer.stride[0]

    def forward(self, x: Tensor) -> Tensor:
        weight, bias, _ = self.prepared(x)
        batch, height, width, _ = x.shape
        pad, step = self.size // 2, self.stride
        padded = F.pad(self.taken(x), (0, 0, pad, pad, pad, pad))
        sums = x.new_zeros(batch, -(-height // step), -(-width // step), len(weight))
        for r in range(self.size):
            for s in range(self.size):
                sums += padded[:, r : r + height : step, s : s + width : step] @ weight[:, :, r, s].t()
        return self.finish(sums, bias)


class ExactDeconv(Weighted):
    """K x K transposed convolution of stride 2, tap by tap: weight [in, out, K, K]."""

    def __init__(self, layer: Deconv, grid: Grid = FINE) -> None:
        super().__init__(layer.weight, layer.bias, 1, grid)
        self.size = layer.kernel_size[0]

    def forward(self, x: Tensor) -> Tensor:
        weight, bias, _ = self.prepared(x)
        x = self.taken(x)
        batch, height, width, _ = x.shape
        pad = self.size // 2
        sums = x.new_zeros(batch, 2 * height + 2 * pad, 2 * width + 2 * pad, weight.shape[1])
        for r in range(self.size):
            for s in range(self.size):
                sums[:, r : r + 2 * height : 2, s : s + 2 * width : 2] += x @ weight[:, :, r, s]
        return self.finish(sums[:, pad : pad + 2 * height, pad : pad + 2 * width].contiguous(), bias)


def depthwise_of(layer: Conv, grid: Grid = FINE) -> ExactDepthwise:
    """A grouped convolution of one channel per group; WeightsError for any other grouping."""
    if not layer.groups == layer.in_channels == layer.out_channels or layer.stride[0] != 1:
        raise WeightsError(f"a convolution in {layer.groups} groups of several channels, or with a stride")
    return ExactDepthwise(layer.weight.flatten(1).t(), layer.bias, grid=grid)
