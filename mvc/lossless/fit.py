"""What only the encoder does: linear predictors by least squares, and which ways of coding are worth trying."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mvc.lossless.tables import COEF_BITS, LOG, MAX_COLOURS, Way, class_map, taps_of

__all__ = ["fitted", "ways_of"]

Ints = NDArray[np.int32]
MOST_SAMPLES = 1 << 19
"""A fit looks at about so many samples of a plane, in whole rows."""


def fitted(planes: Ints, k: int, classes: int, apart: bool) -> NDArray[np.int64]:
    """[classes, taps] coefficients for plane k of padded planes int32 [C, H + 3, W + 4], in 1 / 2^COEF_BITS.

    Weighted least squares by class; samples that equal their left or upper neighbour do not count if the planes are
    coded together (`apart` is False), as most of those will be matched.
    """
    height, width = planes.shape[1] - 3, planes.shape[2] - 4
    rows = np.arange(0, height, -(-height * width // MOST_SAMPLES)) + 2

    def at(plane: int, dy: int, dx: int) -> NDArray[np.float64]:
        return planes[plane, rows + dy, 2 + dx : 2 + dx + width].astype(np.float64)

    w, ww, n, nw, ne, nn, nne = (
        at(k, *place) for place in ((0, -1), (0, -2), (-1, 0), (-1, -1), (-1, 1), (-2, 0), (-2, 1))
    )
    taps = [n - w, nw - w, ne - w, ww - w, nn - w, nne - w]
    for other in range(max(0, k - 2), k):
        base = at(other, 0, -1)
        places = [(0, 0), (-1, 0), (-1, -1), (-1, 1)] + ([(0, 1), (1, 0)] if apart else [])
        taps += [at(other, *place) - base for place in places]
    across, down = abs(w - ww) + abs(n - nw) + abs(ne - n), abs(w - nw) + abs(n - nn) + abs(ne - nne)
    energy = np.minimum(LOG[np.minimum(across + down, 65535).astype(np.int64)], 15)
    way = np.where(across > 2 * down + 2, 2, np.where(down > 2 * across + 2, 0, 1))
    kind, wanted = class_map(classes)[energy, way], at(k, 0, 0)
    counts = np.ones_like(wanted, bool) if apart else (wanted != w) & (wanted != n)
    design, target, weight = np.stack(taps, -1), wanted - w, 1 / (3 + across + down)
    assert design.shape[-1] == taps_of(k, apart)
    everything = _solve(design[counts], target[counts], weight[counts])
    result = np.empty((classes, design.shape[-1]), np.int64)
    for i in range(classes):
        mine = counts & (kind == i)
        enough = np.count_nonzero(mine) >= 16 * design.shape[-1]
        result[i] = _solve(design[mine], target[mine], weight[mine]) if enough else everything
    return result


def _solve(design: NDArray[np.float64], target: NDArray[np.float64], weight: NDArray[np.float64]) -> NDArray[np.int64]:
    weighted = (design * weight[:, None]).T
    normal = weighted @ design + np.eye(design.shape[-1])
    coefs = np.linalg.solve(normal, weighted @ target)
    return np.rint(np.clip(coefs, -8, 8) * (1 << COEF_BITS)).astype(np.int64)


def _repeats(keys: NDArray[np.int64]) -> float:
    """Share of pixels [H, W] that equal the one on the left or the one above."""
    same = np.zeros(keys.shape, bool)
    same[:, 1:] |= keys[:, 1:] == keys[:, :-1]
    same[1:] |= keys[1:] == keys[:-1]
    return float(same.mean())


def _are_few(keys: NDArray[np.int64]) -> bool:
    """Whether there are at most MAX_COLOURS different keys."""
    some = np.unique(keys[:: max(1, keys.shape[0] // 16)])
    return some.size <= MAX_COLOURS and np.unique(keys).size <= MAX_COLOURS


def _differences_are_smaller(source: Ints) -> bool:
    """Whether red - green and blue - green vary less from pixel to pixel than red and blue do; planes G, R, B ..."""

    def bits(plane: Ints) -> float:
        steps = plane[1:, 1:] - plane[1:, :-1] - plane[:-1, 1:] + plane[:-1, :-1]
        return float(np.log2(1 + np.abs(steps[:: max(1, steps.shape[0] >> 8)])).mean())

    if min(source.shape[1:]) < 2:
        return False
    green, red, blue = source[:3]
    return bits(red - green) + bits(blue - green) < bits(red) + bits(blue)


def ways_of(source: Ints, depth: int, near: int, can_turn: bool) -> list[tuple[Way, bool]]:
    """Ways of coding worth a trial for planes [C, H, W], and whether with turned colours."""
    turn = can_turn and _differences_are_smaller(source)
    if source.shape[0] * (depth + 1) > 62:
        return [(Way.SMOOTH, turn)]
    keys = np.zeros(source.shape[1:], np.int64)
    for k, plane in enumerate(source):
        keys |= plane.astype(np.int64) << (depth * k)
    share = _repeats(keys)
    ways = [(Way.SMOOTH, turn)] if share < 0.5 else []
    if share > 0.08:
        ways += [(Way.GRAPHIC, False)] + [(Way.GRAPHIC, True)] * can_turn
    if near == 0 and _are_few(keys):
        ways = [*(ways if source.shape[0] == 1 else []), (Way.INDEXED, False), (Way.MATCHED, False)]
    return ways
