"""`PictureFile`: an .mvc file with a still picture, of which nothing is decoded before it is asked for.

What the file says of itself needs neither weights nor torch, nor even numpy.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import cached_property
from typing import TYPE_CHECKING, Any, BinaryIO, Literal, SupportsIndex

from mvc.arguments import MAX_PIXELS, check_look, check_most, check_region, check_scale
from mvc.container import describe, read_kind, read_metadata, whole
from mvc.errors import Limit, Unsupported, libraries
from mvc.metadata import Metadata
from mvc.quality import whole_number
from mvc.stored import Stored

if TYPE_CHECKING:
    from fractions import Fraction

    from mvc.picture import Picture
    from mvc.strips import Decoder

Mode = Literal["RGB", "RGBA", "L", "LA", "I;16"]


class PictureFile:
    """A still picture in an .mvc file. It is given by `mvc.open`; a context manager.

    `width` and `height` are in pixels, `depth` is 8 or 16 bits per sample, `colour` "rgb" or "gray", `quality_index`
    0..63, or None where the exact coder made it all. `load` gives the codec for a model id. Raises `Unsupported` for a
    clip.
    """

    kind: Literal["still"] = "still"

    def __init__(self, stored: Stored, load: Callable[[bytes], Decoder]) -> None:
        if stored.head.kind != "still":
            raise Unsupported(f"{stored.name} is a clip, not a picture", hint="mvc.open reads its frames")
        self._stored, self._load = stored, load
        self.name, self.head = stored.name, stored.head
        self.width, self.height, self.depth = self.head.width, self.head.height, self.head.depth
        self.colour, self.has_alpha, self.quality_index = self.head.colour, self.head.alpha, self.head.quality_index

    @property
    def size(self) -> tuple[int, int]:
        """Width and height."""
        return self.width, self.height

    @property
    def mode(self) -> Mode:
        """The mode of `read().to_pil()`: 16 bits in colour or with alpha come in 8 bits there."""
        if self.colour == "rgb":
            return "RGBA" if self.has_alpha else "RGB"
        if self.has_alpha:
            return "LA"
        return "I;16" if self.depth == 16 else "L"

    @cached_property
    def metadata(self) -> Metadata:
        """ICC profile, EXIF, XMP and the rest, as far as the file is there. No picture is refused for them."""
        with self._stored.opened() as file:
            return read_metadata(file, partial=True)

    @property
    def facts(self) -> dict[str, Any]:
        """What `mvc.info` says: all of the file is read for it, and its checksum looked at."""
        with self._stored.opened() as file:
            return describe(file)

    def thumbnail(self) -> bytes | None:
        """The JPEG beside the picture, or None: see `mvc.thumbnail`."""
        with self._stored.opened() as file:
            return read_kind(file, "thumbnail")

    def read(
        self,
        *,
        region: tuple[int, int, int, int] | None = None,
        scale: str | float | Fraction = 1,
        slices: SupportsIndex | None = None,
        partial: bool = False,
        grain: bool = False,
        look: str | float = "faithful",
        max_pixels: int | None = MAX_PIXELS,
        max_memory: int | None = None,
    ) -> Picture:
        """The picture, a part of it, a smaller one or a preview, decoded now; arguments and errors as for `mvc.decode`.

        Of a picture in tiles no more than what a region takes is read.
        """
        limits = check_most("max_pixels", max_pixels), check_most("max_memory", max_memory)
        first = None if slices is None else whole_number("slices", slices, 0)
        part, divisor, share = check_region(region), check_scale(scale), check_look(look)
        with libraries():
            from mvc.still_file import StillFile

        with self._stored.opened() as file:
            self._check_length(file)
            still = StillFile(
                file, part, divisor=divisor, slices=first, partial=bool(partial), grain=bool(grain), look=share
            )
            return still.decode_within(*limits, self._load)

    def opened(self) -> AbstractContextManager[BinaryIO]:
        """The file from its beginning, a new one each time where it has a name. SourceError where that cannot be."""
        return self._stored.opened()

    def close(self) -> None:
        """Nothing can be read any more. A file object that was given stays open."""
        self._stored.close()

    def __enter__(self) -> PictureFile:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"PictureFile({self.name!r}, {self.width}x{self.height}, {self.mode})"

    def _check_length(self, file: BinaryIO) -> None:
        """Of a picture in one tile, or one that is no file, no more is read at once than can be a picture."""
        start = file.tell()
        length = file.seek(0, os.SEEK_END) - start
        file.seek(start)
        if length > whole.MAX_BYTES and not self.head.tile_px:
            raise Limit(f"{self.name} is larger than {whole.MAX_BYTES >> 20} MiB, the most that is read at once")
