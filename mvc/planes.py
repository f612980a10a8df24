"""Planes of 4:2:0 packed into one array: a position for each 2 x 2 square of pixels, with all that belongs to it.

[H/2, W/2, 6] holds Y at (0, 0), (0, 1), (1, 0) and (1, 1) of the square, then U and V. Networks for clips work on this:
nothing is converted, and planes of two sizes are one tensor.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from mvc.ops import planes
from mvc.ops.planes import CHANNELS

PACKING = 2  # pixels to a side of each position
SAMPLES = CHANNELS
FLIPPED = [1, 0, 3, 2, 4, 5]  # channels of what is mirrored left to right
TRANSPOSED = [0, 2, 1, 3, 4, 5]


def pack(frame: tuple[NDArray[np.uint8], ...], height: int, width: int) -> NDArray[np.uint8]:
    """uint8 [height/2, width/2, 6] of three planes, cut or continued at the right and bottom; even sides."""
    luma, *chroma = frame
    small = (fitted(plane, height // 2, width // 2) for plane in chroma)
    return planes.pack(fitted(luma, height, width), *small)


def unpack(packed: NDArray[np.uint8], height: int, width: int) -> tuple[NDArray[np.uint8], ...]:
    """The planes of a picture of height x width, any sides, from an array at least as large."""
    luma, *chroma = planes.unpack(packed)
    small = (np.ascontiguousarray(plane[: -(-height // 2), : -(-width // 2)]) for plane in chroma)
    return (np.ascontiguousarray(luma[:height, :width]), *small)


def luma_of(packed: torch.Tensor) -> torch.Tensor:
    """Luma [..., H, W] of packed frames."""
    return planes.unpack(packed)[0]


def fitted(plane: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    """A plane cut, or continued with its last row and column, to a size."""
    missing = ((0, max(0, height - plane.shape[0])), (0, max(0, width - plane.shape[1])))
    cut = plane[:height, :width]
    return np.pad(cut, missing, mode="edge") if any(after for _, after in missing) else cut


def mirrored(packed: NDArray[Any]) -> NDArray[Any]:
    """Packed pictures [..., H/2, W/2, 6] left to right."""
    return packed[..., ::-1, :][..., FLIPPED]


def transposed(packed: NDArray[Any]) -> NDArray[Any]:
    """Packed pictures with rows and columns exchanged."""
    return packed.swapaxes(-3, -2)[..., TRANSPOSED]
