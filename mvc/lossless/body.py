"""What follows the header of a stream, for both directions."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mvc.errors import Corrupt, Truncated
from mvc.lossless import kernels
from mvc.lossless.fit import colours_of, fitted
from mvc.lossless.state import Coder, Flags, Samples, quick_matches, quick_state, recalls
from mvc.lossless.tables import COEF_BITS, MAX_COLOURS, Way, class_map, taps_of

__all__ = ["CLASSES", "Plan", "classes_of", "code_body"]

Ints = NDArray[np.int32]
CLASSES = (0, 1, 4, 12)
ROWS_PIXELS = 1 << 16
"""Quick rows are coded about so many pixels at a time: one call costs as much as some hundred of them."""
FIT_SAMPLES = 1 << 19
QUICK_FIT_SAMPLES = 1 << 15


class Plan(NamedTuple):
    """How a picture is coded: what its header says, but for equal planes."""

    way: Way
    classes: int
    depth: int  # of coded planes
    near: int
    quick: bool
    recalling: bool = False
    slack: int = 0  # an encoder takes a match that is off by so much in a sample, at most near; no decoder knows of it


def classes_of(way: Way, pixels: int) -> int:
    """How many linear predictors a plane gets: their coefficients must pay for themselves."""
    if way >= Way.INDEXED or pixels < 1 << 11:
        return 0
    return 1 if pixels < 1 << 14 else (4 if pixels < 1 << 17 else 12)


def code_body(coder: Coder, plan: Plan, source: Ints | None, shape: tuple[int, ...]) -> Ints:
    """Code the planes [C, H, W] of `source`, or None to decode, and return what the decoder gets."""
    count, height, width = shape
    way, classes, depth, near, quick, recalling, slack = plan
    if way != Way.SMOOTH and (count * depth > 62 or (way >= Way.INDEXED and (near or classes or quick))):
        raise Corrupt("the exact picture has an impossible header")
    if recalling and (count < 2 or count * depth > 62 or not (quick or way == Way.GRAPHIC)):
        raise Corrupt("the exact picture has an impossible header")
    if way >= Way.INDEXED:
        return _indexed(coder, way == Way.MATCHED, source, shape, depth)
    coefs, table = _coefs(coder, plan, source, count)
    given = np.zeros((count, 1, 1), np.int32) if source is None else source
    if quick:
        return _quick(coder, plan, given, shape, coefs, table)
    state, flags = Samples(count, height, width, depth), Flags(height, width, way) if way == Way.GRAPHIC else None
    samples = (
        state.planes, coefs, table, state.slips, state.misses, state.errors, state.bias, state.counters,
        state.weights, state.singles,
    )  # fmt: skip
    room = width * (2 * depth + 4)
    if flags is None:
        for k in range(count):
            for y in range(height):
                coder.reserve(room)
                kernels.smooth_row(
                    coder.decoding, k, y, depth, near, given, *samples, coder.scratch, coder.state, coder.words
                )
                _check(coder)
    else:
        seen = recalls(recalling)
        for y in range(height):
            coder.reserve((room + 9) * count)
            kernels.graphic_row(
                coder.decoding, y, depth, near, slack, given, *samples, flags.keys, flags.memory, flags.ranks,
                flags.counters, flags.weights, recalling, flags.refused, seen, coder.scratch, coder.state, coder.words,
            )  # fmt: skip
            _check(coder)
    return state.planes[:, 2:-1, 2:-2]


def _check(coder: Coder) -> None:
    """Stop decoding where the words have ended."""
    if coder.decoding and coder.state[2] > coder.words.size + 2:
        raise Truncated("the exact picture ends too early")


def _quick(coder: Coder, plan: Plan, given: Ints, shape: tuple[int, ...], coefs: Any, table: Any) -> Ints:
    """Code planes by quick samples, and quick matches in way 1."""
    count, height, width = shape
    samples = quick_state(count, height, width, coefs, table)
    matching = plan.way == Way.GRAPHIC
    matches = quick_matches(height, width) if matching else quick_matches(0, 0)
    seen = recalls(plan.recalling)
    rows = max(1, ROWS_PIXELS // width)
    for begin in range(0, height, rows):
        end = min(begin + rows, height)
        coder.reserve((end - begin) * width * (3 * count + 12))
        kernels.quick_rows(
            coder.decoding, matching, plan.recalling, begin, end, plan.depth, plan.near, plan.slack, given, samples,
            matches, seen, coder.state, coder.words,
        )  # fmt: skip
        _check(coder)
    planes: Ints = samples.planes.reshape(count, height + 3, width + 4)[:, 2:-1, 2:-2]
    return planes


def _numbers(coder: Coder, values: NDArray[np.int64], context: int) -> NDArray[np.int64]:
    """Code integers, 0 <= value < 2^24 - 1."""
    coder.reserve(values.size * 50)
    values = values.copy()
    kernels.numbers(coder.decoding, values, context, coder.singles, coder.state, coder.words)
    return values


def _signed(coder: Coder, values: NDArray[np.int64], context: int) -> NDArray[np.int64]:
    """Code integers of either sign: 0, -1, 1, -2, 2 ..."""
    got = _numbers(coder, np.where(values < 0, -2 * values - 1, 2 * values), context)
    return np.where(got & 1, -(got + 1) // 2, got // 2)


def _coefs(coder: Coder, plan: Plan, source: Ints | None, count: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Coefficients [C, classes, 24] and the table of classes; without any, w + n - nw predicts."""
    classes, apart = plan.classes, plan.way == Way.SMOOTH
    wide, most = apart and not plan.quick, QUICK_FIT_SAMPLES if plan.quick else FIT_SAMPLES
    coefs = np.zeros((count, max(classes, 1), 24), np.int64)
    coefs[:, :, :2] = (1 << COEF_BITS, -1 << COEF_BITS)
    for k in range(count if classes else 0):
        taps = taps_of(k, wide)
        wanted = np.zeros((classes, taps), np.int64)
        if source is not None:
            wanted = fitted(source, k, classes, wide, apart, most)
        before = np.zeros(taps, np.int64)
        for i in range(classes):
            before = before + _signed(coder, wanted[i] - before, 0 if i == 0 else 1)
            coefs[k, i, :taps] = before
    return coefs, class_map(max(classes, 1))


def _indexed(coder: Coder, matching: bool, source: Ints | None, shape: tuple[int, ...], depth: int) -> Ints:
    """Code a picture by a list of its colours and their numbers."""
    count, height, width = shape
    flags = Flags(height, width, Way.MATCHED if matching else Way.INDEXED)
    colours = np.zeros((0, count), np.int64)
    if source is not None:
        found = colours_of(source, depth)
        if found is None:
            raise ValueError("the picture has too many colours for this way")
        colours, flags.keys[4:, 4:-4] = found
    total = int(_numbers(coder, np.array([colours.shape[0] - 1], np.int64), 2)[0]) + 1
    if total > MAX_COLOURS:
        raise Corrupt("the exact picture has too many colours")
    if source is None:
        colours = np.zeros((total, count), np.int64)
    colours = colours.copy()
    colours[:, 0] = np.cumsum(_numbers(coder, np.diff(colours[:, 0], prepend=0), 3))
    for k in range(1, count):
        colours[:, k] = _signed(coder, colours[:, k] - colours[:, 0], 3 + k) + colours[:, 0]
    if colours.min() < 0 or colours.max() >> depth:
        raise Corrupt("a colour of the exact picture is out of range")
    bits = (total - 1).bit_length()
    for y in range(height):
        coder.reserve(width * (bits + 4))
        kernels.indexed_row(
            coder.decoding, y, bits, matching, flags.keys, flags.memory, flags.ranks, flags.counters, flags.weights,
            flags.refused, flags.tree_counters, flags.tree_weights, coder.scratch, coder.state, coder.words,
        )  # fmt: skip
        _check(coder)
    numbers = flags.keys[4:, 4:-4]
    if numbers.max() >= total:
        raise Corrupt("the exact picture has a colour that is not in its list")
    return np.moveaxis(colours[numbers], -1, 0).astype(np.int32)
