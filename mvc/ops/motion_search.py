"""The encoder's search for motion: a vector for each 8 x 8 block of luma, by comparing blocks and counting bits.

A vector costs the mean absolute difference that it leaves plus `weight` times its estimated bits. Whole pixels are
searched in pictures an eighth and a quarter as wide; from there, and from what blocks around have, quarters of a pixel
for blocks of 16 x 16, each predicted by the median of its neighbours; then each quarter of a block may have a vector of
its own. Quarters are compared with the very samples that the warp makes (warp.py): a parabola fitted to whole pixels
sets still blocks moving. Padding is never compared, as its motion would be arbitrary and cost bits.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from mvc.ops import motion_search_numba as kernels
from mvc.ops.parallel import array, run

_BITS = (2 * np.log2(1 + np.arange(1024))).astype(np.float32)  # of an offset in quarters of a pixel, along one axis
_MARGIN = 16  # how far out of the picture a window may lie, in pixels of its picture
_REACH, _NEAR_REACH = 7, 2  # of the searches in the pictures an eighth and a quarter as wide


def halved(picture: np.ndarray) -> np.ndarray:
    """Means of 2 x 2 samples, uint8 [H, W] -> [H/2, W/2]; an odd row or column at the end is left out."""
    out = np.empty((picture.shape[0] // 2, picture.shape[1] // 2), np.uint8)
    run(kernels.halve, out.shape[0], picture, out)
    return out


def _extended(picture: np.ndarray, margin: int) -> np.ndarray:
    out = np.empty((picture.shape[0] + 2 * margin, picture.shape[1] + 2 * margin), np.uint8)
    run(kernels.extend, out.shape[0], picture, margin, out)
    return out


def _quarters(picture: np.ndarray) -> np.ndarray:
    """[4, 4, H + 2 margins, W + 2 margins]."""
    wide = _extended(picture, _MARGIN + 2)
    out = np.empty((4, 4, wide.shape[0] - 4, wide.shape[1] - 4), np.uint8)
    run(kernels.quarters, out.shape[2], wide, out)
    return out


def search(current: Tensor, reference: Tensor, weight: float, inside: tuple[int, int] | None = None) -> Tensor:
    """The flow from a picture to its reference: float32 [H/8, W/8, 2], right and down, in quarters of a pixel exactly.

    current, reference: luma, uint8 [H, W] on CPU, H and W multiples of 16. weight: what a bit is worth in levels (of
    255) of mean absolute difference in a block of 8 x 8. inside: height and width of the real picture; the rest is
    padding, whose blocks repeat the nearest real one's vector.
    """
    height, width = current.shape
    inside = inside or (height, width)
    full = array(current.contiguous()), array(reference.contiguous())
    half = halved(full[0]), halved(full[1])
    quarter = halved(half[0]), halved(half[1])
    eighth = halved(quarter[0]), halved(quarter[1])
    bit = np.float32(weight)

    def place(pictures: tuple[np.ndarray, np.ndarray], zoom: int) -> tuple[Any, ...]:
        return pictures[0], _extended(pictures[1], _MARGIN)[None, None], _MARGIN, bit, _BITS, zoom

    def shrunk(times: int) -> tuple[int, int]:
        return -(-inside[0] // times), -(-inside[1] // times)

    far = np.zeros((-(-height // 32), -(-width // 32), 2), np.int64)
    kernels.coarse(place(eighth, 8), np.zeros_like(far[:1, :1]), far, _REACH, shrunk(8))
    near = np.zeros((height // 16, width // 16, 2), np.int64)
    kernels.coarse(place(quarter, 4), far, near, _NEAR_REACH, shrunk(4))
    planes, blocks = _quarters(full[1]), np.zeros_like(near)
    kernels.blocks((full[0], planes, _MARGIN, bit / np.float32(2), _BITS, 1), near, blocks, inside)
    leaves = np.zeros((height // 8, width // 8, 2), np.int64)
    kernels.leaves((full[0], planes, _MARGIN, bit, _BITS, 1), blocks, leaves, inside)
    rows = np.minimum(np.arange(height // 8), (inside[0] - 1) // 8)
    columns = np.minimum(np.arange(width // 8), (inside[1] - 1) // 8)
    return torch.from_numpy(leaves[rows][:, columns, ::-1].astype(np.float32) * np.float32(0.25))
