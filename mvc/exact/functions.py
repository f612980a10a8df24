"""Element-wise functions as tables of integers that come out the same on every machine (bitstream_spec.md, section 5).

The tables are not stored: they are computed from additions, multiplications and divisions of float64 alone, which
IEEE 754 defines to the last bit, one array operation at a time. tests/test_exact_layers.py holds their hashes.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from mvc.exact.fixed import FINE, Grid, shift_round

REACH = 16  # tables end here; beyond, a function is constant or rises by one per unit
SIGMOID_BITS = 16
STEP_BITS = 20  # fraction bits of the scan's step sizes
Array = np.ndarray


def exp(x: Array) -> Array:
    """e^x, x float64."""
    whole = np.floor(x * 1.4426950408889634 + 0.5)
    rest = (x - whole * 0.6931471805599453) - whole * 2.3190468138462996e-17
    result = np.ones_like(x)
    for k in range(22, 0, -1):
        result = result * rest / k + 1.0
    return np.ldexp(result, whole.astype(np.int64))


def sigmoid(x: Array) -> Array:
    small = exp(-np.abs(x))
    return np.where(x < 0, small, 1.0) / (1.0 + small)


def silu(x: Array) -> Array:
    return x * sigmoid(x)


def softplus(x: Array) -> Array:
    """log(1 + e^x), the logarithm as 2 artanh(t / (2 + t))."""
    small = exp(-np.abs(x))
    s = small / (2.0 + small)
    square, series = s * s, np.zeros_like(s)
    for k in range(40, -1, -1):
        series = series * square + 1.0 / (2 * k + 1)
    return np.maximum(x, 0.0) + 2.0 * s * series


def half_tanh(x: Array) -> Array:
    small = exp(-2.0 * np.abs(x))
    return 0.5 * np.sign(x) * (1.0 - small) / (1.0 + small)


def gelu(x: Array) -> Array:
    """x Phi(x), where Phi(z) = 1/2 + e^(-z^2/2) / sqrt(2 pi) (z + z^3/3 + z^5/15 + ...)."""
    z = np.minimum(np.abs(x), 8.0)
    square, series = z * z, np.ones_like(z)
    for k in range(120, 0, -1):
        series = series * square / (2 * k + 1) + 1.0
    beyond = 0.5 - np.minimum(0.3989422804014327 * exp(-0.5 * square) * z * series, 0.5)  # 1 - Phi(|x|)
    return x * np.where(x < 0, beyond, 1.0 - beyond)


def sin_half_turns(x: Array) -> Array:
    """sin(pi x) for x in 0 ... 1."""
    angle = 3.141592653589793 * np.minimum(x, 1.0 - x)
    square, series = angle * angle, np.ones_like(angle)
    for k in range(12, 0, -1):
        series = 1.0 - series * square / ((2 * k) * (2 * k + 1))
    return angle * series


def rounded(values: Array, bits: int) -> Array:
    """Nearest integers to values * 2^bits, int64."""
    return np.floor(np.ldexp(values, bits) + 0.5).astype(np.int64)


@cache
def table(function: Callable[[Array], Array], grid: Grid, bits: int) -> Array:
    """The function at every grid point of -REACH ... REACH, with `bits` fraction bits, int64."""
    points = np.arange(-REACH * grid.one, REACH * grid.one + 1) / grid.one
    return rounded(function(points), bits)


@cache
def falling(step_bits: int, bits: int, entries: int) -> Array:
    """e^(-i / 2^step_bits) for i = 0 ... entries - 1 with `bits` fraction bits, int64."""
    return rounded(exp(-np.arange(entries) / (1 << step_bits)), bits)


@cache
def on(device: torch.device, dtype: torch.dtype, make: Callable[..., Array], *arguments: Any) -> Tensor:
    """The table `make(*arguments)` as a tensor."""
    return torch.from_numpy(make(*arguments)).to(device, dtype)


def look_up(function: Callable[[Array], Array], x: Tensor, grid: Grid, bits: int | None = None) -> Tensor:
    """The function of fixed-point x, constant beyond the table, with `bits` fraction bits (the grid's if None)."""
    values = on(x.device, x.dtype, table, function, grid, grid.fraction_bits if bits is None else bits)
    reach = REACH * grid.one
    return values[(x.clamp(-reach, reach) + reach).long()]


class ExactFunction(nn.Module):
    """A function of each value; beyond the table it is constant, or `rises` by one per unit on the right."""

    def __init__(self, function: Callable[[Array], Array], grid: Grid = FINE, rises: bool = True) -> None:
        super().__init__()
        self.function, self.grid, self.rises = function, grid, rises

    def forward(self, x: Tensor) -> Tensor:
        y = look_up(self.function, x, self.grid)
        return y + (x - REACH * self.grid.one).clamp(min=0) if self.rises else y


class ExactSigmoidGate(nn.Module):
    """a * sigmoid(b)."""

    def __init__(self, grid: Grid = FINE) -> None:
        super().__init__()
        self.grid = grid

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        return shift_round(a * look_up(sigmoid, b, self.grid, SIGMOID_BITS), SIGMOID_BITS)


class ExactSiluGate(nn.Module):
    """a * silu(b), clamped."""

    def __init__(self, grid: Grid = FINE) -> None:
        super().__init__()
        self.grid, self.silu = grid, ExactFunction(silu, grid)

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        limit = self.grid.limit
        return shift_round(a * self.silu(b.clamp(-limit, limit)), self.grid.fraction_bits).clamp(-limit, limit)
