"""Geometry, all of it: padding, the cells of latents, and the parts of a picture. No tensors, no samples.

A picture is a tiling of one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise, product
from typing import NamedTuple


def cells(side: int, cell: int) -> int:
    """How many cells of this size cover a side, the last one perhaps reaching beyond it."""
    return -(-side // cell)


def round_up(side: int, multiple: int) -> int:
    """The side of the cells that cover a side."""
    return cells(side, multiple) * multiple


@dataclass(frozen=True)
class Tile:
    """A part of a picture that is coded as one unit, in pixels."""

    row: int
    column: int
    top: int
    left: int
    height: int
    width: int

    def cells(self, cell: int) -> tuple[int, int]:
        """Rows and columns of cells that cover it."""
        return cells(self.height, cell), cells(self.width, cell)

    def padding(self, stride: int) -> tuple[int, int]:
        """What is missing to multiples of the stride, below and to the right."""
        return -self.height % stride, -self.width % stride


@dataclass(frozen=True)
class Tiling:
    """The tiles of a picture, row by row; `tile_px` is the side of all but the last of each row and column.

    0 stands for one tile, whatever the size.
    """

    width: int
    height: int
    tile_px: int = 0

    def __iter__(self) -> Iterator[Tile]:
        rows, columns = _starts(self.height, self.tile_px), _starts(self.width, self.tile_px)
        for (row, (top, bottom)), (column, (left, right)) in product(
            enumerate(pairwise(rows)), enumerate(pairwise(columns))
        ):
            yield Tile(row, column, top, left, bottom - top, right - left)

    def __len__(self) -> int:
        return (len(_starts(self.height, self.tile_px)) - 1) * (len(_starts(self.width, self.tile_px)) - 1)


def _starts(side: int, tile_px: int) -> list[int]:
    return [*range(0, side, tile_px or side), side]


def even_parts(length: int, most: int) -> list[slice]:
    """The fewest parts of at most about `most`, of nearly one size, that begin at even places."""
    count = cells(length, most)
    edges = [length * i // count // 2 * 2 for i in range(count)] + [length]
    return [slice(a, b) for a, b in pairwise(edges) if a < b]


def widened(part: slice, reach: int, length: int) -> tuple[slice, slice]:
    """A part with `reach` more on both sides, where there is any; and where in that the part itself lies."""
    begin, end = max(0, part.start - reach), min(length, part.stop + reach)
    return slice(begin, end), slice(part.start - begin, part.stop - begin)


class Window(NamedTuple):
    """A part of a plane of cells, the larger part that is worked on for it, and where in that it lies."""

    rows: slice
    columns: slice
    wide: tuple[slice, slice]
    own: tuple[slice, slice]


def windows(height: int, width: int, side: int, margin: int) -> Iterator[Window]:
    """Windows of at most about `side` cells that cover a plane, each worked on with `margin` cells around it."""
    for rows, columns in product(even_parts(height, side), even_parts(width, side)):
        wide_rows, own_rows = widened(rows, margin, height)
        wide_columns, own_columns = widened(columns, margin, width)
        yield Window(rows, columns, (wide_rows, wide_columns), (own_rows, own_columns))


def scaled(part: slice, factor: int) -> slice:
    """The same part of a plane with `factor` times as many cells."""
    return slice(part.start * factor, part.stop * factor)


def central(side: int, most: int, stride: int) -> tuple[int, int]:
    """Begin and length of the middle of a side: at most `most`, a multiple of the stride."""
    length = min(side // stride * stride, most // stride * stride)
    return (side - length) // 2, length
