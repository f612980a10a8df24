"""What only the encoder does: linear predictors by least squares, and which ways of coding are worth trying."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mvc.lossless import survey
from mvc.lossless.tables import COEF_BITS, MAX_COLOURS, Way, class_map, taps_of

__all__ = ["MATCHING", "bands", "colours_of", "fitted", "repeating", "ways_of"]

Ints = NDArray[np.int32]
MATCHING = 0.08
"""Where less of the pixels is like a neighbour, matches are not tried."""


def fitted(source: Ints, k: int, classes: int, wide: bool, every: bool, most: int) -> NDArray[np.int64]:
    """[classes, taps] coefficients for plane k of planes [C, H, W], in 1 / 2^COEF_BITS.

    Weighted least squares by class over about `most` samples; `wide` and `every` as in `survey.normals`.
    """
    taps = taps_of(k, wide)
    step = -(-source[0].size // most)
    sums = np.zeros((classes, taps + 1, taps + 2))
    survey.normals(source, k, wide, every, step, class_map(classes), np.zeros(taps + 1), sums)
    normal, target, counts = sums[:, :taps, :taps], sums[:, :taps, taps], sums[:, 0, taps + 1]
    poor = counts < 16 * taps
    normal[poor], target[poor] = normal.sum(0), target.sum(0)
    solved = np.linalg.solve(normal + np.eye(taps), target[..., None])[..., 0]
    return np.rint(np.clip(solved, -8, 8) * (1 << COEF_BITS)).astype(np.int64)


def colours_of(source: Ints, depth: int) -> tuple[NDArray[np.int64], NDArray[np.int64]] | None:
    """(colours [n, C] that rise, the number of each pixel [H, W]) of planes [C, H, W]; None if there are too many."""
    keys, slots = np.zeros(MAX_COLOURS, np.int64), np.full(4 * MAX_COLOURS, -1, np.int64)
    numbers = np.zeros(source.shape[1:], np.int64)
    count = survey.numbered(source, depth, keys, slots, numbers)
    if count > MAX_COLOURS:
        return None
    order = np.argsort(keys[:count])
    places = np.empty(count, np.int64)
    places[order] = np.arange(count)
    shifts = depth * np.arange(source.shape[0] - 1, -1, -1)
    return keys[order][:, None] >> shifts & ((1 << depth) - 1), places[numbers]


def bands(source: Ints, pixels: int) -> Ints:
    """About so many pixels of planes [C, H, W]: four bands of rows that lie evenly, or all where those are most."""
    height, width = source.shape[1:]
    rows = max(pixels // width // 4, 4)
    if height <= 8 * rows:
        return source
    tops = [(height - rows) * (2 * i + 1) // 8 for i in range(4)]
    return np.ascontiguousarray(np.concatenate([source[:, top : top + rows] for top in tops], 1))


def _differences_are_smaller(source: Ints) -> bool:
    """Whether red - green and blue - green vary less from pixel to pixel than red and blue do; planes G, R, B ..."""

    def bits(plane: Ints) -> float:
        steps = plane[1:, 1:] - plane[1:, :-1] - plane[:-1, 1:] + plane[:-1, :-1]
        return float(np.log2(1 + np.abs(steps[:: max(1, steps.shape[0] >> 8)])).mean())

    if min(source.shape[1:]) < 2:
        return False
    green, red, blue = source[:3]
    return bits(red - green) + bits(blue - green) < bits(red) + bits(blue)


def repeating(source: Ints, near: int = 0) -> float:
    """The share of pixels of planes [C, H, W] that differ by at most `near` from the one on the left or above."""
    step = max(1, source[0].size >> 17)
    return survey.repeats(source, step, near) / max(1, (source.shape[1] - 1) // step * (source.shape[2] - 1))


def ways_of(source: Ints, depth: int, few: bool, share: float, can_turn: bool, quick: bool) -> list[tuple[Way, bool]]:
    """Ways of coding worth a trial for planes [C, H, W], and whether with turned colours.

    `few`: the picture may be coded by numbers of colours; `share` as `repeating` has it. Matches cost time, so `quick`
    wants them to help more.
    """
    both = [False, True] if can_turn else [False]
    smooth = [(Way.SMOOTH, turn) for turn in both]
    if not quick:
        smooth = [(Way.SMOOTH, can_turn and _differences_are_smaller(source))]
    if source.shape[0] * (depth + 1) > 62:
        return smooth
    if few:
        return [*(smooth if share < 0.5 and source.shape[0] == 1 else []), (Way.INDEXED, False), (Way.MATCHED, False)]
    ways = smooth if share < 0.5 else []
    if share > (0.25 if quick else MATCHING):
        ways = ways + [(Way.GRAPHIC, turn) for turn in both]
    return ways
