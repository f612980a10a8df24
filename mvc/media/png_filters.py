"""The five filters of PNG, both ways, and the differences of TIFF: loops over rows of bytes."""

from __future__ import annotations

from typing import Any

from numba import int64

from mvc.jit import inner, kernel

__all__ = ["choose_filters", "sum_up", "unfilter"]


@inner(bare=True)
def _paeth(a: Any, b: Any, c: Any) -> Any:
    """Of left, above and above left the one nearest to a + b - c (PNG specification, third edition, 9.4).

    As stb_image has it; with masks, since a branch would be guessed wrongly every other time.
    """
    place, low, high = 3 * c - a - b, min(a, b), max(a, b)
    guess = c ^ ((c ^ low) & ~((place - high) >> 63))  # low where place >= high
    return guess ^ ((guess ^ high) & ~((low - place) >> 63))  # high where place <= low


@kernel(bare=True)
def unfilter(lines: Any, rows: Any, step: int) -> Any:
    """Rows [n + 1, bytes], whose first is the one above, from lines [n, 1 + bytes] with their filters in front.

    `step` is the number of bytes from a pixel to the next, at least 1. Returns how many lines were done: it stops at
    a filter that is none.
    """
    count, width = lines.shape[0], rows.shape[1]
    for y in range(count):
        kind = lines[y, 0]
        if kind == 0:
            for x in range(width):
                rows[y + 1, x] = lines[y, x + 1]
        elif kind == 1:
            for x in range(width):
                left = int64(rows[y + 1, x - step]) if x >= step else 0
                rows[y + 1, x] = (lines[y, x + 1] + left) & 255
        elif kind == 2:
            for x in range(width):
                rows[y + 1, x] = (int64(lines[y, x + 1]) + rows[y, x]) & 255
        elif kind == 3:
            for x in range(width):
                left = int64(rows[y + 1, x - step]) if x >= step else 0
                rows[y + 1, x] = (lines[y, x + 1] + ((left + rows[y, x]) >> 1)) & 255
        elif kind == 4:
            for x in range(min(step, width)):
                rows[y + 1, x] = (int64(lines[y, x + 1]) + rows[y, x]) & 255
            for x in range(step, width):
                guess = _paeth(int64(rows[y + 1, x - step]), int64(rows[y, x]), int64(rows[y, x - step]))
                rows[y + 1, x] = (lines[y, x + 1] + guess) & 255
        else:
            return y
    return count


@inner(bare=True)
def _size(difference: Any) -> Any:
    """The absolute value of a byte taken as a signed one."""
    low = difference & 255
    return low if low < 128 else 256 - low


@kernel(bare=True)
def choose_filters(rows: Any, lines: Any, step: int) -> None:
    """Lines [n, 1 + bytes] from rows [n + 1, bytes], whose first is the one above, each by its best filter.

    That is the one whose bytes, signed, have the least sum of absolute values: the rule that libpng goes by.
    """
    width = rows.shape[1]
    for y in range(lines.shape[0]):
        row, above, line = rows[y + 1], rows[y], lines[y]
        none = sub = up = mean = paeth = 0
        for x in range(width):
            own, b = int64(row[x]), int64(above[x])
            a, c = (int64(row[x - step]), int64(above[x - step])) if x >= step else (0, 0)
            none += _size(own)
            sub += _size(own - a)
            up += _size(own - b)
            mean += _size(own - ((a + b) >> 1))
            paeth += _size(own - _paeth(a, b, c))
        least = min(none, sub, up, mean, paeth)
        if none == least:
            line[0] = 0
            for x in range(width):
                line[x + 1] = row[x]
        elif sub == least:
            line[0] = 1
            for x in range(width):
                line[x + 1] = (int64(row[x]) - (int64(row[x - step]) if x >= step else 0)) & 255
        elif up == least:
            line[0] = 2
            for x in range(width):
                line[x + 1] = (int64(row[x]) - int64(above[x])) & 255
        elif mean == least:
            line[0] = 3
            for x in range(width):
                left = int64(row[x - step]) if x >= step else 0
                line[x + 1] = (int64(row[x]) - ((left + int64(above[x])) >> 1)) & 255
        else:
            line[0] = 4
            for x in range(width):
                a, c = (int64(row[x - step]), int64(above[x - step])) if x >= step else (0, 0)
                line[x + 1] = (int64(row[x]) - _paeth(a, int64(above[x]), c)) & 255


@kernel(bare=True)
def sum_up(rows: Any, step: int) -> None:
    """Undo predictor 2 of TIFF in place: samples [n, W * step] are differences from the pixel before them."""
    for y in range(rows.shape[0]):
        for x in range(step, rows.shape[1]):
            rows[y, x] += rows[y, x - step]
