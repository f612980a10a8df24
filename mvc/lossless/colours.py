"""Fewer colours for a picture of which an encoder may lose some: entropy-constrained quantisation.

As Chou, Lookabaugh and Gray (1989) have it, a colour becomes that for which its error and its bits cost least, and bits
are told from how often a colour occurs. What is drawn has hundreds of shades between few colours at its edges, and
takes far fewer bits with some of them. Nothing here decides what a decoder makes of a stream.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import float64, int64
from numpy.typing import NDArray

from mvc.jit import inner, kernel

__all__ = ["MOST", "fewer"]

MOST = 1 << 15
"""A picture of more colours is a photograph."""
SHARE = 0.3
"""What a pixel costs of the bits that the frequency of its colour says: neighbours tell the rest."""
NEW_BITS = 20.0  # of a colour that was not there before
APART_BITS = 0.8  # of a pixel that is not like the one on the left or above


def fewer(samples: NDArray[np.uint8], weight: float) -> NDArray[np.uint8] | None:
    """The picture, uint8 [H, W] or [H, W, C], in fewer colours; None if it has more than MOST.

    `weight` is what a mean squared error of 1 costs in a pixel, in bits.
    """
    channels = samples.shape[2] if samples.ndim == 3 else 1
    pixels, places = np.ascontiguousarray(samples).reshape(-1, channels), 256 ** np.arange(channels)
    keys, numbers, counts = np.unique(pixels @ places, return_inverse=True, return_counts=True)
    count = len(keys)
    if count > MOST:
        return None
    order = np.argsort(-counts, kind="stable")
    own, often, owner = keys[order, None] // places % 256, counts[order].astype(np.float64), np.zeros(count, np.int64)
    work = np.zeros(count), np.zeros(count, np.int64), np.zeros(count, np.int64), np.full(256, -1)
    groups = _merge(own, often, weight / channels, SHARE, NEW_BITS, owner, *work)
    total = np.bincount(owner, often, groups)
    means = np.stack([np.bincount(owner, often * own[:, k], groups) / total for k in range(channels)], 1)
    new = np.empty((count, channels), np.uint8)
    new[order] = np.rint(means).astype(np.uint8)[owner]
    made = np.ascontiguousarray(new[numbers.reshape(-1)])
    _smooth(pixels, made, samples.shape[1], weight / channels, APART_BITS)
    return made.reshape(samples.shape)


@kernel(bare=True)
def _merge(
    colours: Any, counts: Any, weight: float, share: float, new_bits: float, owner: Any, masses: Any, places: Any,
    after: Any, first: Any,
) -> int:  # fmt: skip
    """Let `owner` be the group of each colour [n, C], the most frequent first; how many groups there are.

    `masses` [n] are the counts of groups and `places` their first colours. Those whose first samples are equal are in a
    list, which begins at `first` [256], -1 for none, and goes on by `after`.
    """
    found, largest = int64(0), 1.0
    for i in range(colours.shape[0]):
        least, best = new_bits / counts[i] - share * np.log2(counts[i]), int64(-1)
        reach = int64(np.sqrt(max(0.0, (least + share * np.log2(largest)) / weight)))
        for value in range(max(0, colours[i, 0] - reach), min(255, colours[i, 0] + reach) + 1):
            group = first[value]
            while group >= 0:
                cost = weight * float64(_squares(colours, i, colours, places[group])) - share * np.log2(masses[group])
                if cost < least:
                    least, best = cost, group
                group = after[group]
        if best < 0:
            best = found
            places[best] = i
            after[best] = first[colours[i, 0]]
            first[colours[i, 0]] = best
            found += 1
        masses[best] += counts[i]
        largest = max(largest, masses[best])
        owner[i] = best
    return found


@kernel(bare=True)
def _smooth(pixels: Any, made: Any, width: int, weight: float, apart_bits: float) -> None:
    """Let pixels of `made` [H * W, C], one behind the other, become W, N, NE or NW of them where that costs less.

    What is not like W or N is apart, and so by half is what was taken from NE or NW.
    """
    for at in range(made.shape[0]):
        least, best, column = weight * float64(_squares(pixels, at, made, at)) + apart_bits, at, at % width
        for turn in range(4):
            there = at - (1 if turn == 0 else (width if turn == 1 else (width - 1 if turn == 2 else width + 1)))
            outside = column == 0 if turn in (0, 3) else turn == 2 and column == width - 1
            if there < 0 or outside:
                continue
            cost = weight * float64(_squares(pixels, at, made, there)) + (0.5 * apart_bits if turn > 1 else 0.0)
            if cost < least:
                least, best = cost, there
        for k in range(made.shape[1]):
            made[at, k] = made[best, k]


@inner(bare=True)
def _squares(one: Any, i: int, other: Any, j: int) -> int:
    """The sum of squared differences of two colours, each in a list of them."""
    total = int64(0)
    for k in range(one.shape[1]):
        step = int64(one[i, k]) - int64(other[j, k])
        total += step * step
    return total
