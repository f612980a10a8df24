"""Samples of 16 bits that came from fewer: their numbers are coded, and how they were spread over the whole range.

A picture of 10 bits takes less than half of what its samples in 16 would. What is off the grid of all samples stays.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mvc.errors import Corrupt, Truncated
from mvc.lossless.tables import HEADER

__all__ = ["SPREAD", "Levels", "is_spread", "levels_of", "taken"]

SPREAD = 0x81
DEPTH = 16
SHARE, REPEAT, SHIFT = range(3)
"""How: by its share of the greatest number, rounded; by its bits, again and again; by zeros behind them."""


class Levels(NamedTuple):
    """The samples of 16 bits that numbers of `bits` (1 to 15) stand for."""

    bits: int
    kind: int

    def samples(self) -> NDArray[np.uint16]:
        """That of each number."""
        numbers = np.arange(1 << self.bits, dtype=np.uint32)
        if self.kind == SHARE:
            most = (1 << self.bits) - 1
            return ((numbers * 0xFFFF + most // 2) // most).astype(np.uint16)
        top = numbers << (DEPTH - self.bits)
        for place in range(self.bits, DEPTH if self.kind == REPEAT else 0, self.bits):
            top |= numbers << (DEPTH - self.bits) >> place
        return top.astype(np.uint16)

    def numbers_of(self, planes: Sequence[NDArray[Any]]) -> list[NDArray[Any]]:
        """The numbers whose samples these are: of 8 bits where that is enough."""
        table = np.zeros(1 << DEPTH, np.uint8 if self.bits <= 8 else np.uint16)
        table[self.samples()] = np.arange(1 << self.bits)
        return [table[plane] for plane in planes]

    def samples_of(self, planes: Sequence[NDArray[Any]]) -> tuple[NDArray[np.uint16], ...]:
        """The samples of numbers; Corrupt where one is too large."""
        table = self.samples()
        if any(int(plane.max()) >> self.bits for plane in planes):
            raise Corrupt(f"a number of the exact picture has more than {self.bits} bits")
        return tuple(table[plane] for plane in planes)

    def header(self) -> bytes:
        """What stands in front of the stream of the numbers."""
        return bytes([SPREAD, DEPTH, 0, self.bits | self.kind << 4])


def levels_of(planes: Sequence[NDArray[Any]]) -> Levels | None:
    """The fewest bits from which all samples can be had; None where they fill 16, or have no more than 8."""
    if planes[0].dtype != np.uint16:
        return None
    there = np.zeros(1 << DEPTH, bool)
    for plane in planes:
        there[plane] = True
    values = np.flatnonzero(there)
    if values[-1] <= 0xFF:
        return None
    for bits in range(1, DEPTH):
        if len(values) > 1 << bits:
            continue
        for kind in (SHARE, REPEAT, SHIFT):
            levels = Levels(bits, kind)
            if np.isin(values, levels.samples()).all():
                return levels
    return None


def is_spread(data: bytes) -> bool:
    """Whether the first byte of a stream says so."""
    return data[:1] == bytes([SPREAD])


def taken(data: bytes) -> tuple[Levels, bytes]:
    """The levels, and the stream of the numbers. Truncated or Corrupt where the header is not one."""
    if len(data) < HEADER:
        raise Truncated("the exact picture ends too early")
    depth, near, both = data[1:HEADER]
    bits, kind = both & 15, both >> 4
    if depth != DEPTH or near or not bits or kind > SHIFT or is_spread(data[HEADER:]):
        raise Corrupt("the exact picture has an impossible header")
    return Levels(bits, kind), data[HEADER:]
