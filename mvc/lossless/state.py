"""Everything the coder of one picture remembers, in arrays that kernels change."""

from __future__ import annotations

from typing import Any

import numpy as np

from mvc.lossless.decide import start
from mvc.lossless.tables import INPUTS, SIZES, SUBS

__all__ = ["Coder", "Flags", "Samples", "hash_bits"]

QUARTER = 16384
"""First weight of every counter, in 1/65536."""


def _mixer(size: int, rows: int, *shape: int) -> tuple[Any, Any]:
    """Counters that know nothing and the weights of `rows` mixers."""
    return np.full((*shape, INPUTS, size), 1 << 31, np.uint32), np.full((*shape, rows, INPUTS), QUARTER, np.int64)


def hash_bits(pixels: int) -> int:
    """log2 of the counters that hashed contexts share."""
    return min(max(pixels.bit_length() + 1, 12), 20)


class Coder:
    """The range coder of one stream; `words` is what it reads, or None to write."""

    def __init__(self, words: Any = None) -> None:
        self.decoding = words is not None
        self.words = np.zeros(1 << 12, np.uint16) if words is None else words
        self.state = start(self.words, self.decoding)
        self.singles = np.full(8 * 64, 1 << 15, np.int64)

    def reserve(self, count: int) -> None:
        """Make room for so many words more."""
        if not self.decoding and self.words.size < self.state[2] + count:
            grown = np.zeros(2 * int(self.state[2]) + count, np.uint16)
            grown[: self.words.size] = self.words
            self.words = grown

    def finish(self) -> bytes:
        """The stream: the words so far and one more, with which the value lies in the last interval."""
        last = (int(self.state[0]) + (1 << 32) - 1) >> 32
        count = int(self.state[2])
        value = int.from_bytes(self.words[:count].astype(">u2").tobytes(), "big") if last > 0xFFFF else 0
        if last > 0xFFFF:
            return ((value << 16) + last).to_bytes(2 * count + 2, "big")
        return self.words[:count].astype(">u2").tobytes() + last.to_bytes(2, "big")


class Samples:
    """State of sample by sample coding: C planes of H x W."""

    def __init__(self, planes: int, height: int, width: int, depth: int) -> None:
        self.planes = np.zeros((planes, height + 3, width + 4), np.int32)
        self.slips = np.zeros((planes, 3, width + 4), np.int32)
        self.misses = np.zeros((planes, 2, width + 4, SUBS), np.int32)
        self.errors = np.zeros((planes, height, width), np.int32)
        self.bias = np.zeros((planes, 2048), np.int64)
        nodes = 3 * depth
        self.counters, self.weights = _mixer(max(SIZES) * nodes, 11 * nodes, planes)
        self.singles = np.full((planes, 17 * 8), 1 << 15, np.int64)


class Flags:
    """State of matches, and of colours' numbers."""

    def __init__(self, height: int, width: int) -> None:
        bits = hash_bits(height * width)
        self.keys = np.zeros((height + 4, width + 8), np.int64)
        self.memory = np.zeros((2, 3, 1 << bits), np.int64)
        self.ranks = np.zeros((2, width + 8), np.int64)
        self.counters, self.weights = _mixer(1 << bits, 192)
        self.tree_counters, self.tree_weights = _mixer(1 << bits, 72)
