"""What the exact coder would make of a picture, by a look at it: some milliseconds, where coding takes seconds."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mvc.picture import Picture

SEEN_PIXELS = 1 << 17
"""The estimate looks at about so many pixels, in bands of rows."""
BAND_ROWS = 16
FEW_COLOURS = 64  # seen: a gray photograph has 256
PALETTE = 256  # seen, of a picture in colour: a photograph has thousands
HOPES = (0.12, 0.25, 0.72)
"""What an exact file may take of its estimate, at the least: with few colours, much that repeats, or else."""
MOST_FRESH = 0.7
"""Share of pixels unlike those on the left and above. Photographs have more, and are the network's."""


def hopeless(picture: Picture) -> bool:
    """Whether a picture is the network's at a glance: little in it repeats, and it has many colours.

    Of a dither no two neighbours are alike, but it has few colours, and the network makes nothing of it.
    """
    if fresh_share(picture) <= MOST_FRESH:
        return False
    return np.unique(_some_rows(picture.samples)[0]).size > _palette(picture)


def _palette(picture: Picture) -> int:
    """The most colours, among those seen, that a picture with a palette has."""
    return PALETTE if picture.samples.ndim == 3 else FEW_COLOURS


def fresh_share(picture: Picture) -> float:
    """The share of pixels that are unlike those on the left and above."""
    samples = np.atleast_3d(picture.samples)
    here, left, above = samples[1:, 1:], samples[1:, :-1], samples[:-1, 1:]
    if not here.size:
        return 0.0
    fresh: NDArray[np.bool_] = (here != left).any(-1) & (here != above).any(-1)
    return float(fresh.mean())


def least_bytes(picture: Picture, near: int = 0) -> float:
    """What the exact file of a picture will hardly be below, in bytes, by a look at some of its rows.

    With `near` that of a file in which samples may be off by so much; infinite where too little repeats for that to be
    the way to code the picture.
    """
    return least_sizes(picture, [near])[near]


def least_sizes(picture: Picture, nears: Iterable[int]) -> dict[int, float]:
    """`least_bytes` with each of some errors.

    Pixels like the one on the left or the one above cost what saying so does; others the entropy of their errors of
    prediction (median of W, N, W + N - NW), red and blue as differences from green. The exact coder comes to 0.8 times
    that on photographs, and to far less where pictures repeat themselves in other ways.
    """
    keys, planes, share = _some_rows(picture.samples)
    if min(keys.shape[1:]) < 2:
        return dict.fromkeys(nears, 0.0)
    here, left, above = keys[:, 1:, 1:], keys[:, 1:, :-1], keys[:, :-1, 1:]
    fresh = (here != left) & (here != above)
    errors = []
    for plane in planes:
        w, n, nw = plane[:, 1:, :-1], plane[:, :-1, 1:], plane[:, :-1, :-1]
        guess = np.clip(w + n - nw, np.minimum(w, n), np.maximum(w, n))
        errors.append((plane[:, 1:, 1:] - guess)[fresh])
    colours = np.unique(keys).size
    fresh_pixels = fresh.mean()
    repeats = fresh_pixels < 0.5 or colours <= _palette(picture)
    hope = HOPES[0] if colours <= FEW_COLOURS else HOPES[1] if repeats else HOPES[2]
    saying = _entropy(fresh.ravel().astype(np.int64))

    def expected(near: int) -> float:
        if near and fresh_pixels > MOST_FRESH:
            return math.inf
        rounded = [own // (2 * near + 1) for own in errors if own.size]
        return hope * (saying + sum(_entropy(own - own.min()) for own in rounded)) / 8 / share

    return {near: expected(near) for near in nears}


def _some_rows(samples: NDArray[Any]) -> tuple[NDArray[np.int64], list[NDArray[np.int64]], float]:
    """Bands [bands, rows, W] of pixels as numbers, and of planes; and what share of the picture they are."""
    height, width = samples.shape[:2]
    rows = min(height, BAND_ROWS)
    count = max(1, min(height // rows, SEEN_PIXELS // (rows * width)))
    tops = [(height - rows) * i // max(1, count - 1) for i in range(count)] if count > 1 else [(height - rows) // 2]
    bands = np.stack([samples[top : top + rows] for top in tops]).astype(np.int64)
    share = count * max(rows - 1, 1) / height
    if bands.ndim == 3:
        return bands, [bands], share
    red, green, blue = (bands[..., k] for k in range(3))
    return (red << 32) | (green << 16) | blue, [green, red - green, blue - green], share


def _entropy(values: NDArray[np.int64]) -> float:
    """Bits that these values, 0 or more, take if each costs what its frequency says."""
    counts = np.bincount(values)
    counts = counts[counts > 0]
    return float((counts * np.log2(counts.sum() / counts)).sum())
