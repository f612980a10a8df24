"""Where the bits of a file of a still go, over its picture: by positions of latents, or by tiles."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO

import numpy as np
from numpy.typing import NDArray

from mvc.container import Head, Reader, Unit
from mvc.errors import Corrupt, Limit, Unsupported, libraries
from mvc.tiling import Tile, Tiling
from mvc.tiling import cells as cells_of

if TYPE_CHECKING:
    from mvc.codec import Codec

CELL_PX = 16
"""Side of the square that a position of latents speaks for."""
MOST_PIXELS = 1 << 24
"""Of a picture whose latents are decoded for its map."""
MOST_TILES = 1 << 14
"""Of a map."""


@dataclass(frozen=True, eq=False)
class BitMap:
    """`tiles` has every tile with the bits of its units in the file.

    `cells` [rows, columns] has bits of squares of `CELL_PX` pixels, where a network made any of the picture: the ideal
    code lengths of its latents, which come to all but some bytes of the units. What the exact coder made of such a
    picture is spread evenly over its tile. None where no more is known than `tiles`.
    """

    tiles: list[tuple[Tile, int]]
    cells: NDArray[np.float64] | None


def bit_map(file: BinaryIO, load: Callable[[bytes], Codec]) -> BitMap:
    """That of a still, of a file that can seek. `load` gives the codec of a model id, where one is needed.

    Of exact pictures, and of those of more than `MOST_PIXELS`, nothing is decoded: their tiles are all that is told.
    Raises as `mvc.container.Reader` and `Codec.latent`, and `Limit` for more than `MOST_TILES` tiles.
    """
    start = file.tell()
    reader = Reader(file)
    head = reader.head
    if head.kind != "still":
        raise Unsupported("the file is a clip, and bits are mapped of pictures")
    tiling = Tiling(head.width, head.height, head.tile_px)
    if len(tiling) > MOST_TILES:
        raise Limit(f"the picture has {len(tiling)} tiles; a map has at most {MOST_TILES}")
    bits: Counter[int] = Counter()
    for unit in reader.heads():
        bits[unit.index] += 8 * sum(unit.sizes)
    if any(number >= len(tiling) for number in bits):
        raise Corrupt(f"the picture has {len(tiling)} tile(s), and the file units of others")
    cells = None
    if head.model_id is not None and head.width * head.height <= MOST_PIXELS:
        codec = load(head.model_id)
        file.seek(start)
        cells = np.zeros((cells_of(head.height, CELL_PX), cells_of(head.width, CELL_PX)))
        for coded in Reader(file, check=False):
            tile = tiling[coded.index]
            rows, columns = tile.cells(CELL_PX)
            top, left = tile.top // CELL_PX, tile.left // CELL_PX
            cells[top : top + rows, left : left + columns] += _bits(codec, head, coded, tile)
    return BitMap([(tiling[number], bits[number]) for number in sorted(bits)], cells)


def _bits(codec: Codec, head: Head, unit: Unit, tile: Tile) -> NDArray[np.float64]:
    """Of the cells of a tile in a unit."""
    shape = tile.cells(CELL_PX)
    if unit.role != "picture":
        return np.full(shape, 8 * sum(map(len, unit.streams)) / (shape[0] * shape[1]))
    with libraries():
        from mvc.analysis.allocation import hyper_bits, latent_bits, map_of
        from mvc.analysis.record import decoded

    recorded = decoded(codec, head, unit, tile)
    index = head.quality_index if unit.quality_index is None else unit.quality_index
    assert index is not None
    network = codec.network
    made = map_of(latent_bits(recorded, network.latent_tables), hyper_bits(recorded, network.hyper_tables, index))
    return made[: shape[0], : shape[1]]
