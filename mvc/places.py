"""Noise that follows from the place of a pixel alone, so that every part of a picture has that of the whole."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

VARIANCE = 4 * (256**2 - 1) // 12
"""Of a sum of four bytes."""


def byte_sums(rows: range, columns: range, seed: int = 0) -> NDArray[np.int32]:
    """The sum of the four bytes of a hash of each row and column, less its mean 510: [rows, columns] (spec 6.8)."""
    across = np.arange(columns.start, columns.stop, dtype=np.uint32)
    down = np.arange(rows.start, rows.stop, dtype=np.uint32)[:, None]
    h = across * np.uint32(0x9E3779B1) + down * np.uint32(0x85EBCA77)
    h += np.uint32(seed & 0xFFFFFFFF)
    for shift, factor in ((16, 0x7FEB352D), (15, 0x846CA68B)):
        h ^= h >> np.uint32(shift)
        h *= np.uint32(factor)
    h ^= h >> np.uint32(16)
    pairs = (h & np.uint32(0x00FF00FF)) + (h >> np.uint32(8) & np.uint32(0x00FF00FF))
    total = (pairs & np.uint32(0xFFFF)) + (pairs >> np.uint32(16))
    return total.view(np.int32) - np.int32(510)
