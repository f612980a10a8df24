"""Fixed-point arithmetic as integers carried in floating-point tensors (bitstream_spec.md, section 5).

A value v is stored as the integer round(v * 2^FRACTION_BITS). Tensors are float64 holding whole numbers, or int64
(the plain reference): sums of products are the same in any order, on any device, while they stay below 2^53.
"""

from __future__ import annotations

import torch
from torch import Tensor

FRACTION_BITS = 8
ONE = 1 << FRACTION_BITS
LIMIT = (1 << 20) - 1  # every layer's output is clamped to -LIMIT ... LIMIT
INPUT_LIMIT = 4 * LIMIT  # residual sums of clamped values stay within this
WEIGHT_LIMIT = (1 << 14) - 1
GAIN_BITS = 12
EXACT_FLOAT64, EXACT_FLOAT32 = 1 << 53, 1 << 24


def shift_round(x: Tensor, bits: int | float) -> Tensor:
    """floor(x / 2^bits + 1/2): the one rounding rule of the format."""
    if x.dtype == torch.int64:
        return (x + ((1 << int(bits)) >> 1)) >> int(bits)
    return torch.floor(x * 2.0 ** -int(bits) + 0.5)


def to_fixed(x: Tensor) -> Tensor:
    """Nearest fixed-point value of a float tensor, float64, clamped."""
    return torch.floor(x.double() * ONE + 0.5).clamp(-LIMIT, LIMIT)
