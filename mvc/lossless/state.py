"""Everything the coder of one picture remembers, in arrays that kernels change."""

from __future__ import annotations

from typing import Any

import numpy as np

from mvc.lossless.decide import start
from mvc.lossless.quick import Quick
from mvc.lossless.quick_pixel import BASES, QUICK_BITS, Matches
from mvc.lossless.recall import COUNTERS, HELD, SLOTS, WAYS, Recall
from mvc.lossless.tables import INPUTS, QUICK_CONTEXTS, SIZES, SUBS, Way, quick_rows

__all__ = ["Coder", "Flags", "Samples", "hash_bits", "quick_matches", "quick_state", "recalls"]

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
        self.scratch = np.zeros((7, 24), np.int64)

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
    """State of matches, and of colours' numbers; counters of what a way does not use are not made, as they are many."""

    def __init__(self, height: int, width: int, way: Way) -> None:
        bits = hash_bits(height * width)
        self.keys = np.zeros((height + 4, width + 8), np.int64)
        self.memory = np.zeros((2, 3, 1 << bits), np.int64)
        self.ranks = np.zeros((2, width + 8), np.int64)
        self.refused = np.zeros(4, np.int64)
        self.counters, self.weights = _mixer(1 << bits if way != Way.INDEXED else 1, 192)
        self.tree_counters, self.tree_weights = _mixer(1 << bits if way != Way.GRAPHIC else 1, 72)


def quick_state(planes: int, height: int, width: int, coefs: Any, classes: Any) -> Quick:
    """State of quick samples, with coefficients [C, 1, 4 or 12, 24] and the table of classes [16, 3]."""
    full = np.zeros((planes, 12, 24), np.int64)
    full[:, : coefs.shape[1]] = coefs
    return Quick(
        np.array([planes, height, width], np.int64),
        np.zeros(planes * (height + 3) * (width + 4), np.int32),
        np.zeros(planes * 3 * (width + 4), np.int32),
        np.zeros(planes * 2048, np.int64),
        np.tile(quick_rows().ravel(), planes),
        np.zeros(planes * QUICK_CONTEXTS, np.uint8),
        full.ravel(),
        classes.ravel(),
    )


def quick_matches(height: int, width: int) -> Matches:
    """State of quick matches; of no pixels where a picture has none."""
    slots = 1 << QUICK_BITS
    return Matches(
        np.zeros((height + 4) * (width + 8), np.int64),
        np.zeros(2 * slots, np.int64),
        np.zeros(2 * slots, np.uint8),
        np.zeros(2 * (width + 8), np.uint8),
        np.full(BASES[3] + slots, 1 << 31, np.uint32),
        np.full(192 * 4, 1 << 15, np.int64),
        np.zeros(2, np.int64),
        np.zeros(4, np.int64),
    )


def recalls(used: bool) -> Recall:
    """State of `recall`; of next to nothing where it is not used."""
    return Recall(
        np.full(HELD if used else 1, -1, np.int64),
        np.zeros(SLOTS + 1 if used else 1, np.uint8),
        np.full(COUNTERS, 1 << 31, np.uint32),
        np.zeros(WAYS, np.int32),
        np.zeros(2, np.int64),
    )
