"""Frames of PyAV -> planes as they are, without a conversion by its library; and frames made of planes."""

from __future__ import annotations

import ctypes
import re
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mvc.colour import Colour, Planes, resized
from mvc.errors import SourceError
from mvc.frames import FACTORS, PixelFormat

LAYOUTS: dict[tuple[int, int], PixelFormat] = {
    (2, 2): "yuv420p",
    (2, 1): "yuv422p",
    (1, 1): "yuv444p",
    (1, 2): "yuv444p",
    (4, 1): "yuv422p",
    (4, 4): "yuv420p",
}
"""The layout that planes with chroma so many times smaller (across, down) get here."""

_HALVES = {"nv12": (2, 2), "nv21": (2, 2), "nv16": (2, 1), "nv24": (1, 1), "nv42": (1, 1)}
for _depth in ("10", "12", "16"):
    _HALVES |= {f"p0{_depth}": (2, 2), f"p2{_depth}": (2, 1), f"p4{_depth}": (1, 1)}
_ORDERS = ("rgb", "bgr", "rgba", "bgra", "argb", "abgr", "rgb0", "bgr0", "0rgb", "0bgr")
_PAIRS = {"yuyv422": (0, 1, 3), "uyvy422": (1, 0, 2), "yvyu422": (0, 3, 1)}  # places of Y, U, V in four bytes


class Unpacked(NamedTuple):
    """Samples of up to 16 bits; planes (Y, U, V), (Y,) or (G, B, R) with what their chroma is smaller by."""

    planes: tuple[NDArray[Any], ...]
    factors: tuple[int, int] | None
    depth: int
    rgb: bool
    alpha: NDArray[Any] | None


def eight_bits(plane: NDArray[Any], depth: int, full_range: bool) -> NDArray[np.uint8]:
    """Samples of `depth` bits at 8: in the full range 2^depth - 1 becomes 255, in the limited one bits are cut off."""
    if depth == 8:
        eight: NDArray[np.uint8] = plane.astype(np.uint8, copy=False)
        return eight
    wide = plane.astype(np.uint32)
    highest = (1 << depth) - 1
    rounded = (wide * 255 + highest // 2) // highest if full_range else (wide + (1 << (depth - 9))) >> (depth - 8)
    return np.minimum(rounded, 255, dtype=np.uint32).astype(np.uint8)


def laid_out(planes: Planes, factors: tuple[int, int] | None, colour: Colour) -> Planes:
    """Planes in one of our layouts: those of rarer ones (4:1:1, 4:4:0) get the next larger chroma."""
    if factors is None or FACTORS[LAYOUTS[factors]] == factors:
        return planes
    size = (planes[0].shape[0], planes[0].shape[1])
    return (planes[0], *(resized(plane, size, FACTORS[LAYOUTS[factors]], colour) for plane in planes[1:]))


def unpack(frame: Any, label: str) -> Unpacked:
    """The samples of a frame. Raises `SourceError` for a pixel format that is not known here."""
    name, big = _plain_name(frame.format.name)
    kind = ">u2" if big else "<u2"
    if name in _HALVES:
        return _two_planes(frame, name, kind)
    if name in _PAIRS:
        width = frame.width + frame.width % 2
        four = _rows(frame, 0, np.uint8, width * 2).reshape(frame.height, -1, 4)
        luma = four[:, :, _PAIRS[name][0] % 2 :: 2].reshape(frame.height, width)[:, : frame.width]
        sampled = (luma, four[:, :, _PAIRS[name][1]], four[:, :, _PAIRS[name][2]])
        return Unpacked(sampled, (2, 1), 8, False, None)
    packed = re.fullmatch(r"([rgba0]{3,4})(24|48|64)?", name)
    if packed and packed[1] in _ORDERS:
        order, deep = packed[1], packed[2] in ("48", "64")
        samples = _rows(frame, 0, kind if deep else np.uint8, frame.width * len(order))
        samples = samples.reshape(frame.height, frame.width, len(order))
        alpha = samples[:, :, order.index("a")] if "a" in order else None
        planes = tuple(samples[:, :, order.index(channel)] for channel in "gbr")
        return Unpacked(planes, (1, 1), 16 if deep else 8, True, alpha)
    if name in ("ya8", "ya16"):
        both = _rows(frame, 0, np.uint8 if name == "ya8" else kind, frame.width * 2).reshape(frame.height, -1, 2)
        return Unpacked((both[:, :, 0],), None, 8 if name == "ya8" else 16, False, both[:, :, 1])
    if _is_planar(frame):
        return _planar(frame, kind)
    if frame.format.is_rgb or frame.format.has_palette or name in ("monob", "monow"):
        return unpack(frame.reformat(format="rgba"), label)  # as it is, only in whole bytes
    raise SourceError(f"{label} has samples as {name}, which are not read here")


def _plain_name(name: str) -> tuple[str, bool]:
    """A pixel format without the order of its bytes, and whether the high byte comes first."""
    return (name[:-2], name.endswith("be")) if re.fullmatch(r".*\d(le|be)", name) else (name, False)


def _is_planar(frame: Any) -> bool:
    components = frame.format.components
    if frame.format.has_palette or frame.format.is_bit_stream or re.search(r"f\d+", frame.format.name):
        return False
    return len({component.plane for component in components}) == len(components)


def _planar(frame: Any, kind: str) -> Unpacked:
    components = frame.format.components
    depth = components[0].bits
    planes = [
        _rows(frame, component.plane, np.uint8 if depth <= 8 else kind, component.width)[:, : component.width]
        for component in components
    ]
    alpha = planes.pop() if components[-1].is_alpha else None
    if frame.format.is_rgb:  # components are told as R, G, B
        return Unpacked((planes[1], planes[2], planes[0]), (1, 1), depth, True, alpha)
    factors = _factors(frame) if len(planes) == 3 else None
    return Unpacked(tuple(planes), factors, depth, False, alpha)


def _factors(frame: Any) -> tuple[int, int]:
    """By what chroma is smaller, which small pictures do not show."""
    return 64 // frame.format.chroma_width(64), 64 // frame.format.chroma_height(64)


def _two_planes(frame: Any, name: str, kind: str) -> Unpacked:
    factors = _HALVES[name]
    depth = 8 if name.startswith("nv") else int(name[2:])
    width = -(-frame.width // factors[0])
    sample = np.uint8 if depth == 8 else kind
    luma, both = _rows(frame, 0, sample, frame.width), _rows(frame, 1, sample, width * 2)
    planes = [luma, both[:, 0::2], both[:, 1::2]]
    if name in ("nv21", "nv42"):
        planes[1:] = planes[:0:-1]
    if depth > 8:  # the bits lie at the top
        planes = [plane >> (16 - depth) for plane in planes]
    return Unpacked(tuple(planes), factors, depth, False, None)


def _rows(frame: Any, index: int, kind: Any, count: int) -> NDArray[Any]:
    """`count` samples of each row of a plane; a view, which is valid as long as the frame."""
    plane = frame.planes[index]
    kind = np.dtype(kind)
    height = plane.height
    if plane.line_size < 0:  # the last row comes first in memory, and the address is that of the first
        size = -plane.line_size * height
        start = plane.buffer_ptr + plane.line_size * (height - 1)
        data = np.frombuffer(memoryview((ctypes.c_uint8 * size).from_address(start)), np.uint8)
        rows = data.reshape(height, -plane.line_size)[::-1]
    else:
        rows = np.frombuffer(memoryview(plane), np.uint8).reshape(height, plane.line_size)
    samples: NDArray[Any] = rows[:, : count * kind.itemsize].copy().view(kind)
    return samples
