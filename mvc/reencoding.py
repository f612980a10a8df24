"""What of a file another picture would have, too, that claims to be what the file holds."""

from __future__ import annotations

from mvc import tiled
from mvc.codec import Codec
from mvc.models.comparing import Symbols
from mvc.picture import Picture
from mvc.still_file import StillFile


def symbols_of(file: StillFile, shown: Picture, codec: Codec) -> Symbols:
    """How many symbols of what a network made are those of `shown`, of the same size, too, each given those before it.

    `codec` is of the file's model.
    """
    units = {unit.index: unit for unit in file.units() if unit.role == "picture"}
    total = Symbols()
    for row in tiled.cuts(shown, file.head.tile_px):
        for cut in row:
            if cut.number in units:
                total += codec.same_symbols(file.head, units[cut.number], cut)
    return total
