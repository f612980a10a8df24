"""What a caller says besides quality (quality.py): limits, and checks before anything is loaded.

A wrong value is a `ValueError`, a wrong kind of value a `TypeError`, both with a sentence.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from fractions import Fraction
from typing import SupportsIndex

from mvc.quality import whole_number
from mvc.tiling import TILES, Region

MAX_PIXELS = 8192 * 8192
"""Largest picture, in pixels, that is decoded unless the caller says otherwise."""
SCALES = (1, 2, 4, 8, 16)
"""By how much the sides of a picture may be divided when it is decoded."""
DEVICES = ("auto", "cpu", "cuda")
LOOKS = {"faithful": 0.0, "natural": 1.0}
MAX_THREADS = max(64, os.cpu_count() or 1)
"""More are only slower, and some thousands end the process."""


def check_threads(threads: SupportsIndex | None) -> int | None:
    """A number of threads, or None: one per core."""
    return None if threads is None else whole_number("threads", threads, 1, MAX_THREADS)


def check_device(device: str) -> str:
    """One of `DEVICES`."""
    if not isinstance(device, str):
        raise TypeError(f"device must be a name, not {device!r:.40}")
    if device not in DEVICES:
        raise ValueError(f"device must be {', '.join(DEVICES[:-1])} or {DEVICES[-1]}, not {device!r:.40}")
    return device


def check_model(model: str | os.PathLike[str]) -> str:
    """A model's name, or the path of a folder of weights, as text."""
    if not isinstance(model, (str, os.PathLike)) or not isinstance(os.fspath(model), str):
        raise TypeError(f"model must be a name or the path of a folder, not {model!r:.40}")
    return os.fspath(model)


def check_tile(tile: SupportsIndex | None) -> int | None:
    """The side of tiles in pixels, 0 for one tile, or None."""
    if tile is None:
        return None
    side = whole_number("tile", tile, 0)
    if side not in (0, *TILES):
        raise ValueError(f"tile must be 0, {', '.join(map(str, TILES[:-1]))} or {TILES[-1]}, not {side}")
    return side


def check_region(region: Sequence[SupportsIndex] | None) -> Region | None:
    """Left, top, width and height in pixels, or None."""
    if region is None:
        return None
    values = tuple(region)
    if len(values) != 4:
        raise ValueError(f"region must be left, top, width and height, not {len(values)} numbers")
    names = ("left", "top", "width", "height")
    least = (0, 0, 1, 1)
    return Region(*(whole_number(f"region's {n}", v, low) for n, v, low in zip(names, values, least, strict=True)))


def check_scale(scale: str | float | Fraction) -> int:
    """What 1, 1/2, 1/4, 1/8 or 1/16 divides sides by: a number, or text ("1/4")."""
    if isinstance(scale, bool) or not isinstance(scale, (str, int, float, Fraction)):
        raise TypeError(f"scale must be a number or text like 1/4, not {scale!r:.40}")
    for divisor in SCALES:
        with suppress(ValueError, ZeroDivisionError, OverflowError):  # of text, infinity, and what is no number
            if Fraction(scale) == Fraction(1, divisor):
                return divisor
    names = ", ".join(f"1/{divisor}" for divisor in SCALES[1:-1])
    raise ValueError(f"scale must be 1, {names} or 1/{SCALES[-1]}, not {scale!s:.40}")


def check_most(name: str, most: SupportsIndex | None) -> int | None:
    """An upper limit, at least 1, or None for no limit."""
    return None if most is None else whole_number(name, most, 1)


def check_look(look: str | float) -> float:
    """Which share of the natural look: 0 or "faithful", 1 or "natural", or what lies between, a number or text."""
    if isinstance(look, bool) or not isinstance(look, (str, int, float)):
        raise TypeError(f"look must be a name or a number, not {look!r:.40}")
    if look in LOOKS:
        return LOOKS[str(look)]
    with suppress(ValueError):  # of text
        if 0 <= float(look) <= 1:
            return float(look)
    raise ValueError(f"look must be {', '.join(LOOKS)} or a number from 0 to 1, not {look!s:.40}")
