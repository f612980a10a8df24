"""Samples as they are, for what no prediction shortens: noise."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from mvc.errors import Corrupt, Truncated
from mvc.lossless.tables import HEADER

__all__ = ["is_stored", "planes_in", "shorter"]

STORED = 0x80


def is_stored(data: bytes) -> bool:
    """Whether the first byte of a stream says so."""
    return data[:1] == bytes([STORED])


def shorter(stream: bytes, planes: Sequence[Any], depth: int) -> bytes:
    """A stream of planes, or their samples as they are if that is shorter: bytes up to 8 bits, else u16."""
    width = 1 if depth <= 8 else 2
    if len(stream) <= HEADER + width * sum(plane.size for plane in planes):
        return stream
    kind = "u1" if width == 1 else "<u2"
    return bytes([STORED, depth, 0, 0]) + b"".join(plane.astype(kind).tobytes() for plane in planes)


def planes_in(data: bytes, shape: tuple[int, int, int]) -> tuple[Any, ...]:
    """The planes of a stored stream. Truncated or Corrupt if it is not one of this shape."""
    count, height, width = shape
    if len(data) < HEADER:
        raise Truncated("the stored picture ends too early")
    depth, *rest = data[1:HEADER]
    if not 1 <= depth <= 16 or any(rest):
        raise Corrupt("the stored picture has an impossible header")
    kind = np.dtype("u1" if depth <= 8 else "<u2")
    missing = HEADER + count * height * width * kind.itemsize - len(data)
    if missing:
        raise Truncated("the stored picture ends too early") if missing > 0 else Corrupt("bytes follow the picture")
    samples = np.frombuffer(data, kind, offset=HEADER).reshape(shape)
    if int(samples.max()) >> depth:
        raise Corrupt("a sample of the stored picture is out of range")
    native = samples.astype(np.uint8 if depth <= 8 else np.uint16)
    return tuple(native)
