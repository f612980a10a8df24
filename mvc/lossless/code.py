"""Pictures to bytes and back, exactly, or within `near` of every sample."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mvc.errors import Corrupt, Truncated
from mvc.lossless import kernels
from mvc.lossless.fit import fitted, ways_of
from mvc.lossless.planes import different, ordered, turned, turned_back
from mvc.lossless.state import Coder, Flags, Samples
from mvc.lossless.tables import COEF_BITS, MAX_COLOURS, Way, class_map, taps_of

__all__ = ["MAX_PLANES", "Way", "decode", "encode"]

Plane = NDArray[np.uint8] | NDArray[np.uint16]
MAX_PLANES = 4
MAX_DEPTH = 16
HEADER = 4
CLASSES = (0, 1, 4, 12)
TRIAL_PIXELS = 1 << 17
"""Ways of coding are compared on about so many pixels in the middle of a picture."""


def encode(planes: Sequence[Plane], near: int = 0, way: Way | None = None) -> bytes:
    """The stream of 1 to 4 planes [H, W], all uint8 or all uint16, of which no sample changes by more than `near`.

    A picture of three or four planes should start with red, green and blue. `way` is chosen if it is None.
    """
    if not 1 <= len(planes) <= MAX_PLANES:
        raise ValueError("one to four planes are needed")
    first = planes[0]
    if any(p.shape != first.shape or p.dtype != first.dtype for p in planes):
        raise ValueError("planes of one size and type are needed")
    if first.ndim != 2 or first.size == 0 or first.dtype not in (np.uint8, np.uint16) or not 0 <= near < 256:
        raise ValueError("planes are uint8 or uint16 [H, W], 0 <= near <= 255")
    depth = max(1, max(int(plane.max()) for plane in planes).bit_length())
    kept, same = different(ordered(planes))
    source = np.stack(kept).astype(np.int32)
    way, turn = _choice(source, depth, near, same == 0, way)
    if turn:
        source = turned(source, depth)
    coder, classes = Coder(), _classes(way, source)
    head = bytes([way | CLASSES.index(classes) << 2 | same << 4, depth, near, turn])
    _code(coder, way, classes, source, source.shape, depth + turn, near)
    return head + coder.finish()


def decode(data: bytes, shape: tuple[int, int, int]) -> tuple[Plane, ...]:
    """The planes of a stream; `shape` is (planes, H, W). Truncated or Corrupt if it is not a stream of these.

    They are uint8 if no sample can be above 255, else uint16.
    """
    count, height, width = shape
    if not 1 <= count <= MAX_PLANES or height < 1 or width < 1:
        raise ValueError("one to four planes of at least one sample are needed")
    if len(data) < HEADER + 2:
        raise Truncated("the exact picture ends too early")
    way, classes, same = Way(data[0] & 3), CLASSES[data[0] >> 2 & 3], data[0] >> 4
    depth, near, turn = data[1:HEADER]
    if not 1 <= depth <= MAX_DEPTH or same >> (count - 1) or turn > 1:
        raise Corrupt("the exact picture has an impossible header")
    if turn and (count < 3 or same or near or depth == MAX_DEPTH or way >= Way.INDEXED):
        raise Corrupt("the exact picture has an impossible header")
    if len(data) % 2 != HEADER % 2:
        raise Truncated("the exact picture ends within a word")
    coder = Coder(np.frombuffer(data, ">u2", offset=HEADER).astype(np.uint16))
    kept = count - same.bit_count()
    found = _code(coder, way, classes, None, (kept, height, width), depth + turn, near)
    used, there = int(coder.state[2]) - 2, coder.words.size
    if used != there:
        raise Truncated("the exact picture ends too early") if used > there else Corrupt("bytes follow the picture")
    if turn:
        found = turned_back(found, depth)
    rest = iter(found[1:])
    full = [found[0], *(found[0] if same >> k & 1 else next(rest) for k in range(count - 1))]
    kind: Any = np.uint8 if depth <= 8 else np.uint16
    return tuple(np.ascontiguousarray(plane, kind) for plane in ordered(full))


def _choice(source: NDArray[np.int32], depth: int, near: int, all_differ: bool, way: Way | None) -> tuple[Way, bool]:
    """(way, whether colours are turned) whose stream is shortest, tried on the middle of the picture."""
    can_turn = source.shape[0] > 2 and all_differ and not near and depth < MAX_DEPTH
    choices = ways_of(source, depth, near, can_turn)
    if way is not None:
        choices = [choice for choice in choices if choice[0] == way] or [(way, False)]
    if len(choices) == 1:
        return choices[0]
    rows = min(source.shape[1], max(1, TRIAL_PIXELS // source.shape[2]))
    top = (source.shape[1] - rows) // 2
    part = np.ascontiguousarray(source[:, top : top + rows])

    def cost(choice: tuple[Way, bool]) -> int:
        way, turn = choice
        coder, planes = Coder(), turned(part, depth) if turn else part
        _code(coder, way, _classes(way, part), planes, part.shape, depth + turn, near)
        return int(coder.state[2])

    return min(choices, key=cost)


def _classes(way: Way, source: NDArray[np.int32]) -> int:
    """How many linear predictors a plane gets: their coefficients must pay for themselves."""
    pixels = source[0].size
    if way >= Way.INDEXED or pixels < 1 << 11:
        return 0
    return 1 if pixels < 1 << 14 else (4 if pixels < 1 << 17 else 12)


def _code(
    coder: Coder,
    way: Way,
    classes: int,
    source: NDArray[np.int32] | None,
    shape: tuple[int, ...],
    depth: int,
    near: int,
) -> NDArray[np.int32]:
    """Code the planes [C, H, W] of `source`, or None to decode, and return what the decoder gets."""
    count, height, width = shape
    if way != Way.SMOOTH and (count * depth > 62 or (way >= Way.INDEXED and (near or classes))):
        raise Corrupt("the exact picture has an impossible header")
    if way >= Way.INDEXED:
        return _indexed(coder, way == Way.MATCHED, source, shape, depth)
    state, flags = Samples(count, height, width, depth), Flags(height, width) if way == Way.GRAPHIC else None
    coefs, table = _coefs(coder, classes, source, count, way == Way.SMOOTH)
    given = np.zeros((count, 1, 1), np.int32) if source is None else source
    samples = (
        state.planes, coefs, table, state.slips, state.misses, state.errors, state.bias, state.counters,
        state.weights, state.singles,
    )  # fmt: skip
    room = width * (2 * depth + 4)
    if flags is None:
        for k in range(count):
            for y in range(height):
                coder.reserve(room)
                kernels.smooth_row(coder.decoding, k, y, depth, near, given, *samples, coder.state, coder.words)
                _check(coder)
    else:
        for y in range(height):
            coder.reserve(room * count)
            kernels.graphic_row(
                coder.decoding, y, depth, near, given, *samples, flags.keys, flags.memory, flags.ranks,
                flags.counters, flags.weights, coder.state, coder.words,
            )  # fmt: skip
            _check(coder)
    return state.planes[:, 2:-1, 2:-2]


def _check(coder: Coder) -> None:
    """Stop decoding where the words have ended."""
    if coder.decoding and coder.state[2] > coder.words.size + 2:
        raise Truncated("the exact picture ends too early")


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


def _coefs(
    coder: Coder, classes: int, source: NDArray[np.int32] | None, count: int, apart: bool
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Coefficients [C, classes, 24] and the table of classes; without any, w + n - nw predicts."""
    coefs = np.zeros((count, max(classes, 1), 24), np.int64)
    coefs[:, :, :2] = (1 << COEF_BITS, -1 << COEF_BITS)
    padded = _padded(source) if source is not None and classes else None
    for k in range(count if classes else 0):
        taps = taps_of(k, apart)
        wanted = np.zeros((classes, taps), np.int64) if padded is None else fitted(padded, k, classes, apart)
        before = np.zeros(taps, np.int64)
        for i in range(classes):
            before = before + _signed(coder, wanted[i] - before, 0 if i == 0 else 1)
            coefs[k, i, :taps] = before
    return coefs, class_map(max(classes, 1))


def _padded(source: NDArray[np.int32]) -> NDArray[np.int32]:
    """[C, 2 + H + 1, 2 + W + 2] with the margins that the kernels make."""
    padded = np.zeros((source.shape[0], source.shape[1] + 3, source.shape[2] + 4), np.int32)
    padded[:, 2:-1, 2:-2] = source
    padded[:, 2:-1, -2:] = source[:, :, -1:]
    padded[:, 3:, :2] = source[:, :, :1]
    padded[:, -1, 2:] = padded[:, -2, 2:]
    return padded


def _indexed(
    coder: Coder, matching: bool, source: NDArray[np.int32] | None, shape: tuple[int, ...], depth: int
) -> NDArray[np.int32]:
    """Code a picture by a list of its colours and their numbers."""
    count, height, width = shape
    flags, colours = Flags(height, width), np.zeros((0, count), np.int64)
    if source is not None:
        pixels = source.reshape(count, -1).T.astype(np.int64)
        colours, numbers = np.unique(pixels, axis=0, return_inverse=True)
        flags.keys[4:, 4:-4] = numbers.reshape(height, width)
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
            flags.tree_counters, flags.tree_weights, coder.state, coder.words,
        )  # fmt: skip
        _check(coder)
    found = flags.keys[4:, 4:-4]
    if found.max() >= total:
        raise Corrupt("the exact picture has a colour that is not in its list")
    return np.moveaxis(colours[found], -1, 0).astype(np.int32)
