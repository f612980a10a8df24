"""Pictures that do not fit in memory: from a file of rows to an .mvc file in tiles and back, a few rows at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from mvc import stills, tiled
from mvc.choice import Both
from mvc.container import Colour, Head, Unit, Writer
from mvc.container.chunks import META
from mvc.container.meta import payloads
from mvc.media.rows import RowSource
from mvc.picture import Picture
from mvc.quality import Coder
from mvc.strips import Strip
from mvc.threads import share
from mvc.tiled import Cut
from mvc.tiling import Tiling, extent

if TYPE_CHECKING:
    from mvc.codec import Codec
    from mvc.media.rows_out import RowTarget


class Rows:
    """A source of rows as pictures are asked for: rows may overlap those that were asked for before."""

    def __init__(self, source: RowSource) -> None:
        self._source = source
        self.width, self.height, self.depth, self.has_alpha = source.width, source.height, source.depth, source.alpha
        self.colour: Colour = source.colour
        self._kept = source.read(0)
        self._top = 0

    def rows(self, rows: slice) -> Picture:
        """Some rows of the picture; those above are forgotten."""
        kept = self._kept[max(0, rows.start - self._top) :]
        new = self._source.read(rows.stop - self._top - len(self._kept))
        self._kept, self._top = np.concatenate([kept, new]) if len(kept) else new, rows.start
        return Picture.of_array(self._kept[: extent(rows)])


def encode(
    source: RowSource,
    file: BinaryIO,
    load: Callable[[], Codec],
    *,
    index: int,
    effort: int,
    coder: Coder = "auto",
    near: int = 0,
    tile_px: int | None = None,
    told: Callable[[int, int], None] = lambda done, tiles: None,
) -> tuple[Head, int]:
    """Write the .mvc file of a picture as its rows are read, in tiles; returns its head, and how many bytes it has.

    The arguments are those of `mvc.choice.encode`. `told` hears how many tiles are done, and of how many. Raises what
    the source and the codec raise.
    """
    rows = Rows(source)
    if coder == "exact":
        head, threads = stills.exact_head(rows, tile_px or tiled.EXACT_TILE_PX), share()

        def code(cut: Cut) -> list[Unit]:
            return stills.exact_tile(cut, near, effort)
    else:
        codec = load()
        head = codec.head(rows, index, tile_px or tiled.TILE_PX)
        own, threads = codec.threads_for(head)
        both = Both(own, head, effort)

        def code(cut: Cut) -> list[Unit]:
            return both.code(cut).units if coder == "auto" else own.coded(head, cut, effort)[0]

    writer = Writer(file, head)
    for payload in payloads(source.metadata):
        writer.ancillary(META.code, payload)
    tiles = len(Tiling(head.width, head.height, head.tile_px))
    for done, units in enumerate(tiled.encode(rows, head.tile_px, code, threads)):
        for unit in units:
            writer.put(unit)
        told(done + 1, tiles)
    writer.close()
    return head, writer.size


def write(strips: Iterator[Strip], target: RowTarget, told: Callable[[int], None] = lambda row: None) -> None:
    """Write the strips of a picture into a file of rows; `told` hears how many are done."""
    for strip in strips:
        channels = [np.atleast_3d(strip.samples)] + ([] if strip.alpha is None else [strip.alpha[..., None]])
        target.write(channels[0] if len(channels) == 1 else np.concatenate(channels, 2))
        told(strip.top + len(strip.samples))
