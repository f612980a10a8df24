"""Pictures to bytes and back, exactly, or within `near` of every sample."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mvc.errors import Corrupt, Truncated
from mvc.lossless import stored
from mvc.lossless.body import CLASSES, Plan, code_body
from mvc.lossless.levels import is_spread, levels_of, taken
from mvc.lossless.planes import different, ordered, turned, turned_back
from mvc.lossless.search import Choice, choices
from mvc.lossless.state import Coder
from mvc.lossless.tables import HEADER, MAX_DEPTH, Way

__all__ = ["MAX_PLANES", "Way", "decode", "encode"]

Plane = NDArray[np.uint8] | NDArray[np.uint16]
MAX_PLANES = 4
TURN, QUICK, RECALL, CHANGED = 1, 2, 4, 8
"""Bits of byte 3 of the header. Streams that are not quick are mixed."""


def encode(
    planes: Sequence[Plane],
    near: int = 0,
    way: Way | None = None,
    effort: int = 1,
    spread: bool = True,
    changed: bool = False,
) -> bytes:
    """The stream of 1 to 4 planes [H, W], all uint8 or all uint16, of which no sample changes by more than `near`.

    A picture of three or four planes should start with red, green and blue. `way` is chosen if it is None, and
    samples are stored, or exact in spite of `near`, where that is shorter. Effort 0 is quick in both directions; 1 is
    that, or the mixed kind where a picture is small; 2 and 3 take the shorter of both kinds, and are slow.
    With `spread`, samples that came from fewer bits are coded as those. `changed` is for the header: that they are not
    the picture's any more (colours.py), whatever `near` says.
    """
    if not 1 <= len(planes) <= MAX_PLANES:
        raise ValueError("one to four planes are needed")
    first = planes[0]
    if any(p.shape != first.shape or p.dtype != first.dtype for p in planes):
        raise ValueError("planes of one size and type are needed")
    if first.ndim != 2 or first.size == 0 or first.dtype not in (np.uint8, np.uint16) or not 0 <= near < 256:
        raise ValueError("planes are uint8 or uint16 [H, W], 0 <= near <= 255")
    if spread and not near and way is None and (levels := levels_of(planes)):
        return levels.header() + encode(levels.numbers_of(planes), effort=effort, spread=False)
    depth = max(1, max(int(plane.max()) for plane in planes).bit_length())
    kept, same = different(ordered(planes))
    source = np.stack(kept).astype(np.int32)
    found = choices(source, depth, near, same == 0, way, effort)
    stream = min((_stream(source, depth, same, choice, changed) for choice in found), key=len)
    return stream if way is not None else stored.shorter(stream, planes, depth)


def _stream(source: NDArray[np.int32], depth: int, same: int, choice: Choice, changed: bool) -> bytes:
    """The stream of planes [C, H, W]; bit k of `same` says that plane k + 1 equals plane 0 and is not there."""
    plan, coder = choice.plan(depth, source[0].size), Coder()
    code_body(coder, plan, turned(source, depth) if choice.turn else source, source.shape)
    flags = choice.turn * TURN | choice.quick * QUICK | choice.recalling * RECALL | changed * CHANGED
    head = bytes([choice.way | CLASSES.index(plan.classes) << 2 | same << 4, depth, choice.near, flags])
    return head + coder.finish()


def decode(data: bytes, shape: tuple[int, int, int]) -> tuple[Plane, ...]:
    """The planes of a stream; `shape` is (planes, H, W). Truncated or Corrupt if it is not a stream of these.

    They are uint8 if no sample can be above 255, else uint16.
    """
    count, height, width = shape
    if not 1 <= count <= MAX_PLANES or height < 1 or width < 1:
        raise ValueError("one to four planes of at least one sample are needed")
    if is_spread(data):
        levels, numbers = taken(data)
        return levels.samples_of(decode(numbers, shape))
    if stored.is_stored(data):
        return stored.planes_in(data, shape)
    if len(data) < HEADER + 2:
        raise Truncated("the exact picture ends too early")
    way, classes, same = Way(data[0] & 3), CLASSES[data[0] >> 2 & 3], data[0] >> 4
    depth, near, turn = data[1], data[2], bool(data[3] & TURN)
    quick, recalling = bool(data[3] & QUICK), bool(data[3] & RECALL)
    impossible = not 1 <= depth <= MAX_DEPTH or same >> (count - 1) or data[3] >= 2 * CHANGED
    if turn:
        impossible |= count < 3 or same > 0 or near > 0 or depth == MAX_DEPTH or way >= Way.INDEXED
    if impossible or (quick and way >= Way.INDEXED):
        raise Corrupt("the exact picture has an impossible header")
    if len(data) % 2 != HEADER % 2:
        raise Truncated("the exact picture ends within a word")
    coder = Coder(np.frombuffer(data, ">u2", offset=HEADER).astype(np.uint16))
    kept = (count - same.bit_count(), height, width)
    found = code_body(coder, Plan(way, classes, depth + turn, near, quick, recalling), None, kept)
    used, there = int(coder.state[2]) - 2, coder.words.size
    if used != there:
        raise Truncated("the exact picture ends too early") if used > there else Corrupt("bytes follow the picture")
    if turn:
        found = turned_back(found, depth)
    rest = iter(found[1:])
    full = [found[0], *(found[0] if same >> k & 1 else next(rest) for k in range(count - 1))]
    kind_of: Any = np.uint8 if depth <= 8 else np.uint16
    return tuple(np.ascontiguousarray(plane, kind_of) for plane in ordered(full))
