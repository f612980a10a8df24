"""Constants of the lossless coder. All are made by integer arithmetic: they are the same on every machine."""

from __future__ import annotations

from enum import IntEnum
from functools import cache

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "COEF_BITS",
    "EXTRA",
    "FASTER",
    "HEADER",
    "INPUTS",
    "LEAST",
    "LIMIT",
    "LOG",
    "MAX_COLOURS",
    "MAX_DEPTH",
    "OF_SIZE",
    "QUICK_CONTEXTS",
    "QUICK_FIRST",
    "RATES",
    "SHARES",
    "SIZES",
    "SQUASH",
    "STRETCH",
    "SUBS",
    "TRUST",
    "UNITS",
    "Way",
    "class_map",
    "quick_rows",
    "taps_of",
]

HEADER = 4
"""Bytes in front of what is coded."""
MAX_DEPTH = 16
"""Bits of a sample, before colours are turned."""
MAX_COLOURS = 256
"""Colours of a picture that is coded by their numbers."""
INPUTS = 7
"""Counters that are mixed for one decision."""
LIMIT = 255
"""A counter's count stops here."""
SUBS = 8
"""Sub-predictors of a sample."""
COEF_BITS = 10
"""Fraction bits of a linear predictor's coefficients."""
SIZES = (160, 144, 1120, 432, 400, 256, 576)
"""Contexts of each of the INPUTS counters of a sample's decisions."""
UNITS: tuple[int, ...] = (
    32768,
    40793,
    47911,
    53581,
    57724,
    60565,
    62428,
    63615,
    64357,
    64816,
    65097,
    65269,
    65374,
    65438,
    65476,
)
UNITS += (65500, 65514, 65523, 65528, 65531, 65533, 65534, 65535, 65535, 65535)
"""65536 / (1 + exp(-i / 2)) for i = 0 .. 24, rounded, at most 65535."""


class Way(IntEnum):
    """How a picture is coded."""

    SMOOTH = 0  # plane after plane, sample by sample
    GRAPHIC = 1  # pixel by pixel: the same as one around, or sample by sample
    INDEXED = 2  # the number of its colour, bit by bit
    MATCHED = 3  # the same as one around, or the number of its colour


def _squash() -> NDArray[np.int32]:
    """[6145] probability of 1, in 1/65536, of a logit d - 3072 in 1/256: UNITS joined by straight lines."""
    points = [65536 - unit for unit in reversed(UNITS[1:])] + list(UNITS)
    table = [points[d >> 7] + ((points[(d >> 7) + 1] - points[d >> 7]) * (d & 127) >> 7) for d in range(6144)]
    return np.array([*table, points[-1]], np.int32)


def _stretch(squash: NDArray[np.int32]) -> NDArray[np.int32]:
    """[4096] the lowest logit whose probability is at least that of the middle of one of 4096 equal intervals."""
    return (np.searchsorted(squash, np.arange(4096) * 16 + 8) - 3072).astype(np.int32)


def _log() -> NDArray[np.int32]:
    """[65536] two steps to the octave: 0, 1, 2, then the whole part of 2 log2(i)."""
    return np.array([i if i < 3 else (i * i).bit_length() - 1 for i in range(1 << 16)], np.int32)


SQUASH = _squash()
STRETCH = _stretch(SQUASH)
LOG = _log()
RATES = np.array([655360 // (10 * n + 16) for n in range(LIMIT + 1)], np.int32)
"""[count] share of the error, in 1/65536, by which a counter moves."""
TRUST = np.array([min(65536, (1 << 22) // (i + 3) ** 2 + 1) for i in range(4096)], np.int32)
"""[error] weight of a sub-predictor."""
QUICK_FIRST = 40 * 20
"""Contexts of the first row of a quick sample."""
QUICK_CONTEXTS = QUICK_FIRST + 24 * 24
"""Contexts of both rows, for each plane."""
EXTRA = np.array([max(group - 8, 0) for group in range(16)], np.int64)
"""[16] bits that follow a quick symbol's group of sizes: 0 to 8 are alone, then groups of 2, 4 .. 128."""
LEAST = np.cumsum(np.append(0, 1 << EXTRA[:-1]))
"""[16] least size of a group."""
OF_SIZE = np.repeat(np.arange(16), 1 << EXTRA).astype(np.uint8)
"""[263] group of a size."""
FASTER = np.array([3] * 4 + [4] * 8 + [5] * 16 + [6] * 36, np.uint8)
"""[times seen, at most 63] a row of a quick sample moves by 2^-FASTER of its distance."""
SHARES = np.array([(0x2C1B3C6D * (2 * i + 1) * (2 * i + 1) & 0x7FFFFFFF) | 1 for i in range(14)], np.int64)
"""Factors of the hashes of quick matches."""


@cache
def quick_rows() -> NDArray[np.int16]:
    """[QUICK_CONTEXTS, 32] what rows of quick samples hold at first: sizes fall by m / (m + 1), m by the context."""
    levels = [max(3, 1 << min(level, 16) // 2) for level in range(40)]
    rows = [_falling(mean) for mean in levels for _ in range(QUICK_FIRST // 40)]
    return np.array(rows + [_falling(48)] * (QUICK_CONTEXTS - QUICK_FIRST), np.int16)


@cache
def _falling(mean: int) -> tuple[int, ...]:
    """Starts of 32 symbols, for sizes of about mean / 16."""
    chances: list[int] = []
    chance = 1 << 24
    for extra in EXTRA.tolist():
        total = 0
        for _ in range(1 << extra):
            total, chance = total + chance, chance * mean // (mean + 16)
        chances += [total] if not chances else [total // 2, total // 2]
    starts = [0]
    for chance in chances:
        starts.append(starts[-1] + 1 + chance * 32700 // sum(chances))
    return tuple(starts)


def class_map(classes: int) -> NDArray[np.int64]:
    """[16, 3] which of 1, 4 or 12 linear predictors serves an activity (LOG, at most 15) and a direction."""
    energy = np.array([0] * 5 + [1] * 3 + [2] * 3 + [3] * 5)
    direction = np.arange(3)
    if classes == 1:
        return np.zeros((16, 3), np.int64)
    return (energy[:, None] + 0 * direction) if classes == 4 else energy[:, None] * 3 + direction


def taps_of(plane: int, apart: bool) -> int:
    """Taps of the linear predictor of a plane; `apart`: the planes are coded one after the other."""
    return 6 + min(plane, 2) * (6 if apart else 4)
