"""Fixed-point arithmetic as integers carried in floating-point tensors (bitstream_spec.md, section 5).

A value v is stored as the integer round(v * 2^fraction_bits). Tensors are float64 holding whole numbers, or int64
(the plain reference): sums of products are the same in any order, on any device, while they stay below 2^53.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

MAGNITUDE = 4096  # every layer's output is clamped to below this
WEIGHT_LIMIT = (1 << 14) - 1
GAIN_BITS = 12
EXACT_FLOAT64, EXACT_FLOAT32 = 1 << 53, 1 << 24

Ranges = dict[str, tuple[int, int]]
"""Of a layer's integers: the least and the greatest that each of its tensors may hold (its `limits`)."""


@dataclass(frozen=True)
class Grid:
    """The integers that stand for a network's values: multiples of 2^-fraction_bits."""

    fraction_bits: int

    @property
    def one(self) -> int:
        return 1 << self.fraction_bits

    @property
    def limit(self) -> int:
        """Every layer's output is clamped to -limit ... limit."""
        return MAGNITUDE * self.one - 1

    @property
    def input_limit(self) -> int:
        """What a layer may be given: sums of a few clamped values stay within this."""
        return 4 * self.limit


COARSE = Grid(8)  # of mambavc-lite, whose layers are chosen so that this suffices
FINE = Grid(12)  # of the papers' models, with their norms, attention and scans
ONE, LIMIT, INPUT_LIMIT = COARSE.one, COARSE.limit, COARSE.input_limit


def shift_round(x: Tensor, bits: int | float) -> Tensor:
    """floor(x / 2^bits + 1/2): the one rounding rule of the format."""
    if x.dtype == torch.int64:
        return (x + ((1 << int(bits)) >> 1)) >> int(bits)
    return (x * 2.0 ** -int(bits)).add_(0.5).floor_()


def to_fixed(x: Tensor, grid: Grid = COARSE) -> Tensor:
    """Nearest fixed-point value of a float tensor, float64, clamped."""
    return torch.floor(x.double() * grid.one + 0.5).clamp(-grid.limit, grid.limit)


def divide(a: Tensor, b: Tensor | int) -> Tensor:
    """floor(a / b + 1/2) of whole numbers, b > 0, |2a| + b < 2^53.

    The quotient is corrected by its remainder, so that a division one unit off would do as well.
    """
    top, bottom = 2 * a + b, 2 * b
    if a.dtype == torch.int64:
        return torch.div(top, bottom, rounding_mode="floor")
    quotient = torch.floor(top / bottom)
    rest = top - quotient * bottom
    return quotient - (rest < 0).to(a.dtype) + (rest >= bottom).to(a.dtype)


def square_root(x: Tensor) -> Tensor:
    """floor(sqrt(x)) of whole numbers in 0 ... 2^52, corrected by its square whatever the processor's root."""
    root = torch.floor(torch.sqrt(x.double())).to(x.dtype)
    root = root - (root * root > x).to(x.dtype)
    return root + ((root + 1) * (root + 1) <= x).to(x.dtype)
