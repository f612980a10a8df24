"""Planes before they are coded: their order, those that are there twice, and colours as differences."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mvc.errors import Corrupt

__all__ = ["different", "ordered", "turned", "turned_back"]


def ordered(planes: Sequence[Any]) -> list[Any]:
    """Green before red: its own inverse."""
    return [planes[1], planes[0], *planes[2:]] if len(planes) > 2 else list(planes)


def different(planes: Sequence[Any]) -> tuple[list[Any], int]:
    """The planes without those that equal the first, and a bit for each of those."""
    same = sum(1 << k for k, plane in enumerate(planes[1:]) if np.array_equal(plane, planes[0]))
    return [planes[0], *(plane for k, plane in enumerate(planes[1:]) if not same >> k & 1)], same


def turned(source: NDArray[np.int32], depth: int) -> NDArray[np.int32]:
    """Green, red and blue as (red + 2 green + blue) / 4, red - green and blue - green, above zero."""
    green, red, blue, *rest = source
    top = (1 << depth) - 1
    return np.stack([green + ((red + blue - 2 * green) >> 2), red - green + top, blue - green + top, *rest])


def turned_back(coded: NDArray[np.int32], depth: int) -> NDArray[np.int32]:
    """What `turned` was given."""
    luma, red, blue, *rest = coded
    top = (1 << depth) - 1
    green = luma - ((red + blue - 2 * top) >> 2)
    source = np.stack([green, red + green - top, blue + green - top, *rest])
    if source.min() < 0 or source.max() > top:
        raise Corrupt("a sample of the exact picture is out of range")
    return source
