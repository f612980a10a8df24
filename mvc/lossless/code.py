"""Pictures to bytes and back, exactly, or within `near` of every sample."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mvc.errors import Corrupt, Truncated
from mvc.lossless import stored
from mvc.lossless.body import CLASSES, Plan, classes_of, code_body
from mvc.lossless.fit import bands, colours_of, ways_of
from mvc.lossless.planes import different, ordered, turned, turned_back
from mvc.lossless.state import Coder
from mvc.lossless.tables import HEADER, Way

__all__ = ["MAX_PLANES", "Way", "decode", "encode"]

Plane = NDArray[np.uint8] | NDArray[np.uint16]
MAX_PLANES = 4
MAX_DEPTH = 16
TURN, QUICK = 1, 2
"""Bits of byte 3 of the header. Streams that are not quick are mixed."""
TRIAL_PIXELS, QUICK_TRIAL_PIXELS = 1 << 16, 1 << 13
"""Ways of coding are compared on about so many pixels."""


def encode(planes: Sequence[Plane], near: int = 0, way: Way | None = None, effort: int = 1) -> bytes:
    """The stream of 1 to 4 planes [H, W], all uint8 or all uint16, of which no sample changes by more than `near`.

    A picture of three or four planes should start with red, green and blue. `way` is chosen if it is None, and
    samples are stored where that is shorter. Effort 0 and 1 are quick in both directions; more is smaller, and slow.
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
    quick, forced = effort < 2, way is not None
    way, turn = _choice(source, depth, near, same == 0, way, quick)
    plan = Plan(way, classes_of(way, first.size), depth + turn, near, quick and way < Way.INDEXED)
    coder = Coder()
    code_body(coder, plan, turned(source, depth) if turn else source, source.shape)
    head = bytes([way | CLASSES.index(plan.classes) << 2 | same << 4, depth, near, turn * TURN | plan.quick * QUICK])
    stream = head + coder.finish()
    return stream if forced else stored.shorter(stream, planes, depth)


def decode(data: bytes, shape: tuple[int, int, int]) -> tuple[Plane, ...]:
    """The planes of a stream; `shape` is (planes, H, W). Truncated or Corrupt if it is not a stream of these.

    They are uint8 if no sample can be above 255, else uint16.
    """
    count, height, width = shape
    if not 1 <= count <= MAX_PLANES or height < 1 or width < 1:
        raise ValueError("one to four planes of at least one sample are needed")
    if stored.is_stored(data):
        return stored.planes_in(data, shape)
    if len(data) < HEADER + 2:
        raise Truncated("the exact picture ends too early")
    way, classes, same = Way(data[0] & 3), CLASSES[data[0] >> 2 & 3], data[0] >> 4
    depth, near, turn, quick = data[1], data[2], bool(data[3] & TURN), bool(data[3] & QUICK)
    impossible = not 1 <= depth <= MAX_DEPTH or same >> (count - 1) or data[3] > TURN + QUICK
    if turn:
        impossible |= count < 3 or same > 0 or near > 0 or depth == MAX_DEPTH or way >= Way.INDEXED
    if impossible or (quick and way >= Way.INDEXED):
        raise Corrupt("the exact picture has an impossible header")
    if len(data) % 2 != HEADER % 2:
        raise Truncated("the exact picture ends within a word")
    coder = Coder(np.frombuffer(data, ">u2", offset=HEADER).astype(np.uint16))
    kept = (count - same.bit_count(), height, width)
    found = code_body(coder, Plan(way, classes, depth + turn, near, quick), None, kept)
    used, there = int(coder.state[2]) - 2, coder.words.size
    if used != there:
        raise Truncated("the exact picture ends too early") if used > there else Corrupt("bytes follow the picture")
    if turn:
        found = turned_back(found, depth)
    rest = iter(found[1:])
    full = [found[0], *(found[0] if same >> k & 1 else next(rest) for k in range(count - 1))]
    kind_of: Any = np.uint8 if depth <= 8 else np.uint16
    return tuple(np.ascontiguousarray(plane, kind_of) for plane in ordered(full))


def _choice(
    source: NDArray[np.int32], depth: int, near: int, all_differ: bool, way: Way | None, quick: bool
) -> tuple[Way, bool]:
    """(way, whether colours are turned) whose stream is shortest, tried on some of the picture."""
    can_turn = source.shape[0] > 2 and all_differ and not near and depth < MAX_DEPTH
    few = near == 0 and source.shape[0] * depth <= 62 and colours_of(source, depth) is not None
    choices = ways_of(source, depth, few, can_turn, quick)
    if way is not None:
        choices = [choice for choice in choices if choice[0] == way] or [(way, False)]
    if len(choices) == 1:
        return choices[0]
    part = bands(source, QUICK_TRIAL_PIXELS if quick else TRIAL_PIXELS)

    def cost(choice: tuple[Way, bool]) -> int:
        way, turn = choice
        coder, planes = Coder(), turned(part, depth) if turn else part
        plan = Plan(way, classes_of(way, part[0].size), depth + turn, near, quick and way < Way.INDEXED)
        code_body(coder, plan, planes, part.shape)
        return int(coder.state[2])

    return min(choices, key=cost)
