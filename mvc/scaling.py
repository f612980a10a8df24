"""A smaller picture by means over squares of its samples, from strip to strip: no more is in memory than of a strip."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mvc.picture import Samples
from mvc.strips import Strip
from mvc.tiling import cells

Sums = NDArray[Any]
"""Of unsigned integers."""


def averaged(strips: Iterable[Strip], divisor: int) -> Iterator[Strip]:
    """Strips of the picture whose sides are `divisor` times shorter, rounded up, given all of it from top to bottom.

    A sample is the mean of those of a square, halves rounded up; at the right and bottom edge of what there is of one.
    Colour counts as much as it is opaque, and where nothing is to be seen as if it were.
    """
    top, kept = 0, None
    for strip in strips:
        kept = strip if kept is None else _joined(kept, strip)
        rows = len(kept.samples) // divisor * divisor
        if rows:
            yield _mean(_rows(kept, slice(0, rows)), divisor, top)
            top, kept = top + rows // divisor, _rows(kept, slice(rows, None))
    if kept is not None and len(kept.samples):
        yield _mean(kept, divisor, top)


def _joined(above: Strip, below: Strip) -> Strip:
    if not len(above.samples):
        return below
    alpha = None if above.alpha is None or below.alpha is None else np.concatenate([above.alpha, below.alpha])
    return Strip(above.top, np.concatenate([above.samples, below.samples]), alpha)


def _rows(strip: Strip, rows: slice) -> Strip:
    return Strip(strip.top, strip.samples[rows], None if strip.alpha is None else strip.alpha[rows])


def _mean(strip: Strip, divisor: int, top: int) -> Strip:
    """A strip, of whole squares or the last one, on a smaller scale."""
    samples, alpha = strip.samples, strip.alpha
    made = np.empty((cells(len(samples), divisor), cells(samples.shape[1], divisor), *samples.shape[2:]), samples.dtype)
    opaque = None if alpha is None else np.empty(made.shape[:2], samples.dtype)
    for row in range(len(made)):
        rows = slice(row * divisor, (row + 1) * divisor)
        if alpha is None or opaque is None:
            made[row] = _row(samples[rows], divisor)
        else:
            made[row], opaque[row] = _row_with_alpha(samples[rows], alpha[rows], divisor)
    return Strip(top, made, opaque)


def _row(samples: Samples, divisor: int) -> Samples:
    """The means of one row of squares, [n, W] or [n, W, C]."""
    sums, counts = _sums(samples, divisor, np.uint32), _counts(samples, divisor)
    return ((sums + counts // 2) // counts).astype(samples.dtype)


def _row_with_alpha(samples: Samples, alpha: Samples, divisor: int) -> tuple[Samples, Samples]:
    weights = _sums(alpha, divisor, np.uint64).reshape(-1, *[1] * (samples.ndim - 2))
    shares = samples * alpha.reshape(*alpha.shape, *[1] * (samples.ndim - 2)).astype(np.uint64)
    seen = (_sums(shares, divisor, np.uint64) + weights // 2) // np.maximum(weights, 1)
    colour = np.where(weights > 0, seen, _row(samples, divisor)).astype(samples.dtype)
    return colour, _row(alpha, divisor)


def _sums(samples: Samples, divisor: int, kind: Any) -> Sums:
    """Of squares [n, divisor]: [W / divisor, ...]; no sum of 256 samples of 16 bits is too large for 32."""
    lines = samples.sum(0, dtype=kind)
    return np.add.reduceat(lines, range(0, len(lines), divisor), 0)


def _counts(samples: Samples, divisor: int) -> Sums:
    """How many pixels the squares of a row have."""
    count = np.full(cells(samples.shape[1], divisor), divisor, np.uint32)
    count[-1] = (samples.shape[1] - 1) % divisor + 1
    return (count * np.uint32(len(samples))).reshape(-1, *[1] * (samples.ndim - 2))
