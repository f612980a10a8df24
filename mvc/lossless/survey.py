"""What an encoder counts in a picture, in compiled loops. Nothing here decides what a decoder makes of a stream."""

from __future__ import annotations

from typing import Any

from numba import float64, int64, uint64

from mvc.jit import kernel
from mvc.lossless.tables import LOG

__all__ = ["normals", "numbered", "repeats"]


@kernel(bare=True)
def repeats(source: Any, step: int, near: int) -> int:
    """Pixels of every `step`th row but the first, of planes [C, H, W], that are like the one on the left or above.

    None of their samples differs by more than `near`.
    """
    found = 0
    for y in range(step, source.shape[1], step):
        for x in range(1, source.shape[2]):
            left, above = True, True
            for k in range(source.shape[0]):
                value = source[k, y, x]
                left = left and abs(value - source[k, y, x - 1]) <= near
                above = above and abs(value - source[k, y - 1, x]) <= near
            found += 1 if left or above else 0
    return found


@kernel(bare=True)
def numbered(source: Any, depth: int, keys: Any, slots: Any, numbers: Any) -> int:
    """How many colours planes [C, H, W] have, at most one more than `keys` holds; which, and each pixel's number.

    The first plane is the highest part of a key. `slots` is int64 [2^n] of -1, more than twice as many as keys.
    """
    count, last, before = 0, int64(-1), int64(0)
    for y in range(source.shape[1]):
        for x in range(source.shape[2]):
            key = int64(0)
            for k in range(source.shape[0]):
                key = key << depth | int64(source[k, y, x])
            if key != last:
                slot = ((key ^ (key >> 24)) * 0x2C1B3C6D >> 20) & (slots.size - 1)
                while slots[slot] >= 0 and keys[slots[slot]] != key:
                    slot = (slot + 1) & (slots.size - 1)
                if slots[slot] < 0:
                    if count == keys.size:
                        return count + 1
                    slots[slot] = count
                    keys[count] = key
                    count += 1
                last, before = key, slots[slot]
            numbers[y, x] = before
    return count


@kernel(bare=True)
def normals(source: Any, k: int, wide: bool, every: bool, step: int, classes: Any, taps: Any, sums: Any) -> None:
    """Add the normal equations of plane k of [C, H, W] to `sums` [classes, taps + 1, taps + 1], taps and target last.

    Rows are `step` apart; the outermost two samples are left out. `wide`: with the taps of way 0. Unless `every`,
    samples that equal their left or upper neighbour do not count. `taps` is float64 [taps + 1], for work.
    """
    plane, size = source[k], taps.size
    for y in range(2, source.shape[1] - 1, step):
        for x in range(2, source.shape[2] - 1):
            w, ww = int64(plane[y, x - 1]), int64(plane[y, x - 2])
            n, nw, ne = int64(plane[y - 1, x]), int64(plane[y - 1, x - 1]), int64(plane[y - 1, x + 1])
            nn, nne, here = int64(plane[y - 2, x]), int64(plane[y - 2, x + 1]), int64(plane[y, x])
            if not every and here in (w, n):
                continue
            across, down = abs(w - ww) + abs(n - nw) + abs(ne - n), abs(w - nw) + abs(n - nn) + abs(ne - nne)
            way = 2 if across > 2 * down + 2 else (0 if down > 2 * across + 2 else 1)
            kind = int64(classes[min(int64(LOG[min(across + down, 65535)]), 15), way])
            taps[0], taps[1], taps[2], taps[3], taps[4], taps[5] = n - w, nw - w, ne - w, ww - w, nn - w, nne - w
            at = 6
            for other in range(max(0, k - 2), k):
                there = source[other]
                base = int64(there[y, x - 1])
                taps[at], taps[at + 1] = int64(there[y, x]) - base, int64(there[y - 1, x]) - base
                taps[at + 2], taps[at + 3] = int64(there[y - 1, x - 1]) - base, int64(there[y - 1, x + 1]) - base
                at += 4
                if wide:
                    taps[at], taps[at + 1] = int64(there[y, x + 1]) - base, int64(there[y + 1, x]) - base
                    at += 2
            taps[at] = here - w
            weight = 1 / float64(3 + across + down)
            for i in range(size):
                scaled = taps[uint64(i)] * weight
                for j in range(size):
                    sums[uint64(kind), uint64(i), uint64(j)] += scaled * taps[uint64(j)]
            sums[uint64(kind), 0, uint64(size)] += 1
