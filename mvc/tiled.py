"""A picture tile by tile, to be coded: rows of samples in, tiles out. The way back is in strips.py.

A picture is a tiling of one. Of a larger one no more is in memory than a row of tiles, which are coded side by side.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol, TypeVar

from mvc.container import Colour
from mvc.picture import Picture
from mvc.threads import in_threads
from mvc.tiling import Part, Tile, Tiling, grown, moved

T = TypeVar("T")

TILE_PX = 512
"""Side of the tiles of large pictures: a region is read quickly, and what tiles cost is not to be seen."""
WHOLE_PIXELS = 1 << 23
"""What has no more pixels, as 3840x2160, is one tile: tiles side by side are faster and take more memory."""
EXACT_TILE_PX = 1024
"""The same of exact files, whose coder learns as it goes."""
MARGIN_PX = 16
"""What an encoder shows a network of a picture around a tile."""


def usual_tile(width: int, height: int) -> int:
    """The side of the tiles of a picture where nobody says it; 0 for one tile."""
    return TILE_PX if width * height > WHOLE_PIXELS else 0


def usual_exact_tile(width: int, height: int) -> int:
    """The same of exact files."""
    return EXACT_TILE_PX if width * height > WHOLE_PIXELS else 0


class Source(Protocol):
    """A picture whose rows are asked for from top to bottom: a `Picture`, or a file that is read in that order."""

    @property
    def width(self) -> int: ...
    @property
    def height(self) -> int: ...
    @property
    def colour(self) -> Colour: ...
    @property
    def depth(self) -> int: ...
    @property
    def has_alpha(self) -> bool: ...

    def rows(self, rows: slice) -> Picture:
        """Some rows, without metadata. They overlap those of the call before, or follow them."""
        ...


@dataclass(frozen=True)
class Cut:
    """A tile of a picture: its own samples, and those with some around it, in which it has the place `own`."""

    number: int
    tile: Tile
    picture: Picture
    around: Picture
    own: Part


def cuts(source: Source, tile_px: int) -> Iterator[list[Cut]]:
    """The tiles of a picture, a row of them at a time."""
    tiling = Tiling(source.width, source.height, tile_px)
    for row in range(tiling.rows):
        tiles = [tiling.tile(row, column) for column in range(tiling.columns)]
        rows = grown(tiles[0].rows, MARGIN_PX, source.height)
        strip = source.rows(rows)
        yield [_cut(strip, rows.start, tile, row * tiling.columns + column) for column, tile in enumerate(tiles)]


def _cut(strip: Picture, top: int, tile: Tile, number: int) -> Cut:
    rows, columns = moved(tile.rows, -top), grown(tile.columns, MARGIN_PX, strip.width)
    around = strip.part(slice(0, strip.height), columns)
    own = rows, moved(tile.columns, -columns.start)
    return Cut(number, tile, around.part(*own), around, own)


def encode(source: Source, tile_px: int, code: Callable[[Cut], T], threads: int = 1) -> Iterator[T]:
    """What `code` makes of each tile of a picture, so many at a time."""
    run = in_threads(threads)
    for row in cuts(source, tile_px):
        yield from run(code, row)
