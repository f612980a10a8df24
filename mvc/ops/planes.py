"""4:2:0 planes of a frame, and the same samples packed on the grid of the chroma.

Packed, a frame is [..., H/2, W/2, 6]: Y at (0, 0), (0, 1), (1, 0) and (1, 1) of each 2 x 2 square, then U, then V. Both
functions take numpy arrays or tensors, of any type and with any leading dimensions, and copy.
"""

from __future__ import annotations

from typing import TypeVar

import numpy as np
import torch

Array = TypeVar("Array", np.ndarray, torch.Tensor)
CHANNELS = 6
SQUARE = ((0, 0), (0, 1), (1, 0), (1, 1))
"""Row and column in a 2 x 2 square of the first four channels."""


def pack(y: Array, u: Array, v: Array) -> Array:
    """Y [..., H, W], U and V [..., H/2, W/2], H and W even -> [..., H/2, W/2, 6]."""
    shape = (*u.shape, CHANNELS)
    packed = y.new_empty(shape) if isinstance(y, torch.Tensor) else np.empty(shape, y.dtype)
    for channel, (row, column) in enumerate(SQUARE):
        packed[..., channel] = y[..., row::2, column::2]
    packed[..., 4] = u
    packed[..., 5] = v
    return packed


def unpack(packed: Array) -> tuple[Array, Array, Array]:
    """[..., H/2, W/2, 6] -> Y [..., H, W], U and V [..., H/2, W/2], each contiguous."""
    *batch, height, width, _ = packed.shape
    shape = (*batch, 2 * height, 2 * width)
    if isinstance(packed, torch.Tensor):
        y, u, v = packed.new_empty(shape), packed[..., 4].contiguous(), packed[..., 5].contiguous()
    else:
        y, u, v = np.empty(shape, packed.dtype), packed[..., 4].copy(), packed[..., 5].copy()
    for channel, (row, column) in enumerate(SQUARE):
        y[..., row::2, column::2] = packed[..., channel]
    return y, u, v
