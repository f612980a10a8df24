"""Geometry, all of it: padding, the cells of latents, and the parts of a picture. No tensors, no samples.

A picture is a tiling of one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise, product
from typing import NamedTuple, TypeVar

T = TypeVar("T")

TILES = (256, 512, 1024)
"""Sides that tiles may have, in pixels."""


def cells(side: int, cell: int) -> int:
    """How many cells of this size cover a side, the last one perhaps reaching beyond it."""
    return -(-side // cell)


def round_up(side: int, multiple: int) -> int:
    """The side of the cells that cover a side."""
    return cells(side, multiple) * multiple


class Rectangle:
    """What has a place in a picture, and a size, in pixels."""

    top: int
    left: int
    height: int
    width: int

    @property
    def rows(self) -> slice:
        """Its rows of the picture."""
        return slice(self.top, self.top + self.height)

    @property
    def columns(self) -> slice:
        """Its columns of the picture."""
        return slice(self.left, self.left + self.width)


@dataclass(frozen=True)
class Tile(Rectangle):
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

    Those have from a half to one and a half of it, or what there is. 0 stands for one tile, whatever the size.
    """

    width: int
    height: int
    tile_px: int = 0

    @property
    def rows(self) -> int:
        """How many rows of tiles there are."""
        return _count(self.height, self.tile_px)

    @property
    def columns(self) -> int:
        """How many tiles a row has."""
        return _count(self.width, self.tile_px)

    def __iter__(self) -> Iterator[Tile]:
        return (self.tile(row, column) for row, column in product(range(self.rows), range(self.columns)))

    def __len__(self) -> int:
        return self.rows * self.columns

    def __getitem__(self, number: int) -> Tile:
        """The tile of a number, in the order of `iter`; IndexError where there is none."""
        if not 0 <= number < len(self):
            raise IndexError(f"there is no tile {number}")
        return self.tile(*divmod(number, self.columns))

    def meeting(self, rows: slice, columns: slice) -> set[int]:
        """The numbers of the tiles that have any of these rows and columns of the picture."""

        def between(part: slice, side: int, count: int) -> range:
            first, last = (min(place // (self.tile_px or side), count - 1) for place in (part.start, part.stop - 1))
            return range(first, last + 1)

        found = product(between(rows, self.height, self.rows), between(columns, self.width, self.columns))
        return {row * self.columns + column for row, column in found}

    def tile(self, row: int, column: int) -> Tile:
        """The tile in a row and column of tiles."""
        top, height = _part(self.height, self.tile_px, row)
        left, width = _part(self.width, self.tile_px, column)
        return Tile(row, column, top, left, height, width)


def _count(side: int, tile_px: int) -> int:
    return max(1, (2 * side + tile_px) // (2 * tile_px)) if tile_px else 1


def _part(side: int, tile_px: int, number: int) -> tuple[int, int]:
    """Where a tile begins on a side, and its length."""
    start = number * tile_px
    return start, side - start if number == _count(side, tile_px) - 1 else tile_px


@dataclass(frozen=True)
class Region(Rectangle):
    """A rectangle of a picture, in pixels."""

    left: int
    top: int
    width: int
    height: int


def even_parts(length: int, most: int) -> list[slice]:
    """The fewest parts of at most about `most`, of nearly one size, that begin at even places."""
    count = cells(length, most)
    edges = [length * i // count // 2 * 2 for i in range(count)] + [length]
    return [slice(a, b) for a, b in pairwise(edges) if a < b]


def grown(part: slice, reach: int, side: int) -> slice:
    """A part of a side with `reach` more at both ends, where there is any."""
    return slice(max(0, part.start - reach), min(side, part.stop + reach))


def widened(part: slice, reach: int, side: int) -> tuple[slice, slice]:
    """A part with `reach` more at both ends, where there is any; and where in that the part itself lies."""
    wide = grown(part, reach, side)
    return wide, moved(part, -wide.start)


def meet(one: slice, other: slice) -> slice | None:
    """What is in both."""
    start, stop = max(one.start, other.start), min(one.stop, other.stop)
    return slice(start, stop) if start < stop else None


Part = tuple[slice, slice]
"""Rows and columns of a plane."""


class Window(NamedTuple):
    """A part of a plane of cells, the larger part that is worked on for it, and where in that it lies."""

    rows: slice
    columns: slice
    wide: Part
    own: Part

    @property
    def size(self) -> tuple[int, int]:
        """Rows and columns of what is worked on."""
        return extent(self.wide[0]), extent(self.wide[1])


def windows(height: int, width: int, side: int, margin: int, part: Part | None = None) -> Iterator[Window]:
    """Windows of at most about `side` cells that cover a plane, or a part of it.

    Each is worked on with `margin` cells of the plane around it; its rows and columns count from those of the part.
    """
    rows, columns = part or (slice(0, height), slice(0, width))
    for down, across in product(even_parts(extent(rows), side), even_parts(extent(columns), side)):
        wide_rows, own_rows = widened(moved(down, rows.start), margin, height)
        wide_columns, own_columns = widened(moved(across, columns.start), margin, width)
        yield Window(down, across, (wide_rows, wide_columns), (own_rows, own_columns))


def alike(things: Iterable[T], most: int, size: Callable[[T], tuple[int, int]]) -> Iterator[list[T]]:
    """Things in groups of at most `most`, of one size each, that can be worked on side by side."""
    waiting: dict[tuple[int, int], list[T]] = {}
    for thing in things:
        group = waiting.setdefault(size(thing), [])
        group.append(thing)
        if len(group) == most:
            yield waiting.pop(size(thing))
    yield from waiting.values()


def extent(part: slice) -> int:
    """How many cells a part has."""
    return int(part.stop - part.start)


def moved(part: slice, by: int) -> slice:
    """The same part of a plane that begins so much earlier."""
    return slice(part.start + by, part.stop + by)


def scaled(part: slice, factor: int) -> slice:
    """The same part of a plane with `factor` times as many cells."""
    return slice(part.start * factor, part.stop * factor)


def central(side: int, most: int, stride: int) -> tuple[int, int]:
    """Begin and length of the middle of a side: at most `most`, a multiple of the stride."""
    length = min(side // stride * stride, most // stride * stride)
    return (side - length) // 2, length
