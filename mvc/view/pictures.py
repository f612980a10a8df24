"""What is seen of pictures and clips: blocks of them on several scales, small images, and where their bits are.

A picture is cut into blocks on every scale, so that what may be asked for is bounded, and can be kept. Of a picture in
tiles a block is decoded with what it takes of the file; what is one tile is decoded whole, once.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from mvc.errors import FormatError, Limit, Unsupported, libraries
from mvc.picture_file import PictureFile
from mvc.tiling import Region, cells
from mvc.video.cursor import Cursor
from mvc.video.reader import ClipFile
from mvc.view.cache import Cache
from mvc.view.library import File, Library, Stamp

if TYPE_CHECKING:
    from PIL import Image

    from mvc.codec import Codec
    from mvc.picture import Picture

BLOCK_PX = {1: 1024, 2: 2048, 4: 2048, 8: 2048, 16: 2048}
"""Side of the blocks of a scale, in pixels of the picture: the most that is decoded for one where there are tiles."""
THUMBNAIL_PX = 256
THUMBNAIL_PIXELS = 1 << 23
"""Pixels of the largest picture that is decoded for a small image of it."""
_SAMPLES_BYTES, _BLOCKS_BYTES, _SMALL_BYTES = 512 << 20, 256 << 20, 64 << 20
FAITHFUL = "faithful"
_PNG_LEVEL = 1  # of zlib: the way is short

Made = tuple[bytes, str | None]
"""A PNG, and what is wrong with the file, if that could be seen."""


class Pictures:
    """Decodes for one caller at a time, but for `thumbnail_in_file`. `load` gives the codec of a model id.

    Files are decoded with `limits`, `max_pixels` and `max_memory` as for `mvc.decode`. Everything raises as that does.
    """

    def __init__(self, library: Library, load: Callable[[bytes], Codec], **limits: int | None) -> None:
        self._library, self._load, self._limits = library, load, limits
        self._samples = Cache[tuple["Picture", str | None]](_SAMPLES_BYTES, lambda made: _size(made[0]))
        self._blocks = Cache[Made](_BLOCKS_BYTES, lambda made: len(made[0]))
        self._small = Cache[bytes](_SMALL_BYTES, len)
        self._maps = Cache[dict[str, Any]](_SMALL_BYTES, lambda made: 64 * len(made["bits"]))
        self._cursor: tuple[int, Stamp, Cursor] | None = None

    def block(self, number: int, divisor: int, column: int, row: int, frame: int = 0, look: str = FAITHFUL) -> Made:
        """A block of a file as a PNG, of sides that are `divisor` (1, 2, 4, 8 or 16) times shorter.

        `column` and `row` count blocks; `frame` is that of a clip, from 0. `Limit` where there is none. The look is one
        of `mvc.decode`'s, and clips have one alone.
        """
        stamp = self._library.stamp(number)
        key = number, stamp, divisor, column, row, frame, look
        made = self._blocks.get(key)
        if made is None:
            file = self._library.open(number)
            region = block(file.width, file.height, divisor, column, row)
            picture, wrong = self._part(number, stamp, file, region, divisor, frame, look)
            made = self._blocks.put(key, (png_of(picture), wrong))
        return made

    def _part(
        self, number: int, stamp: Stamp, file: File, region: Region, divisor: int, frame: int, look: str
    ) -> tuple[Picture, str | None]:
        if not isinstance(file, ClipFile) and file.head.tile_px:
            scale = f"1/{divisor}" if divisor > 1 else 1
            return _read(file, self._limits, region=_numbers(region), scale=scale, look=look)
        key = number, stamp, frame, look
        kept = self._samples.get(key)
        if kept is None:
            if isinstance(file, ClipFile):
                if look != FAITHFUL:
                    raise Unsupported("clips have no other look")
                kept = self._frame(number, stamp, file, frame), None
            else:
                kept = _read(file, self._limits, look=look)
            self._samples.put(key, kept)
        return _smaller(kept[0], region, divisor), kept[1]

    def _frame(self, number: int, stamp: Stamp, file: ClipFile, frame: int) -> Picture:
        from mvc.picture import check_decoding

        check_decoding(*file.size, self._limits.get("max_pixels"), self._limits.get("max_memory"))
        if self._cursor is None or self._cursor[:2] != (number, stamp):
            self._cursor = number, stamp, Cursor(file)
        return self._cursor[2].frame(frame).to_picture()

    def thumbnail_in_file(self, number: int) -> bytes | None:
        """A small image if it is there already, in memory or in the file; a JPEG or PNG. Nothing is decoded for it."""
        from mvc.previews import in_file

        stamp = self._library.stamp(number)
        kept = self._small.get((number, stamp))
        if kept is None and (image := in_file(self._library.open(number))) is not None:
            kept = self._small.put((number, stamp), _png(image))
        return kept

    def thumbnail(self, number: int) -> bytes:
        """A small image, decoded if it has to be; `Limit` for what is too large for that."""
        from mvc.previews import preview

        stamp = self._library.stamp(number)
        kept = self._small.get((number, stamp))
        if kept is None:
            file = self._library.open(number)
            try:
                image = preview(file, THUMBNAIL_PX, max_pixels=THUMBNAIL_PIXELS)
            except FormatError:
                image = preview(file, THUMBNAIL_PX, max_pixels=THUMBNAIL_PIXELS, partial=True)
            kept = self._small.put((number, stamp), _png(image))
        return kept

    def bits(self, number: int) -> dict[str, Any]:
        """Where the bits of a still are, ready for JSON.

        `cells` of `cell_px` pixels in `columns` have each a number in `bits`; without `columns` those are of `tiles`
        (left, top, width, height). `file_bits` is all of the units in the file.
        """
        with libraries():
            from mvc.analysis.bitmap import CELL_PX, bit_map

        stamp = self._library.stamp(number)
        kept = self._maps.get((number, stamp))
        if kept is None:
            file = self._library.open(number)
            with file.opened() as opened:
                made = bit_map(opened, self._load)
            kept = {"file_bits": sum(bits for _, bits in made.tiles)}
            if made.cells is None:
                kept["tiles"] = [(tile.left, tile.top, tile.width, tile.height) for tile, _ in made.tiles]
                kept["bits"] = [bits for _, bits in made.tiles]
            else:
                kept |= {"cell_px": CELL_PX, "columns": made.cells.shape[1]}
                kept["bits"] = [round(bits, 1) for bits in made.cells.ravel().tolist()]
            self._maps.put((number, stamp), kept)
        return kept


def block(width: int, height: int, divisor: int, column: int, row: int) -> Region:
    """The part of a picture of this size that is a block of a scale; `Limit` where there is none."""
    side = BLOCK_PX.get(divisor)
    if side is None or column >= cells(width, side) or row >= cells(height, side):
        raise Limit(f"a picture of {width}x{height} has no block {column},{row} at 1/{divisor}")
    left, top = column * side, row * side
    return Region(left, top, min(side, width - left), min(side, height - top))


def _numbers(region: Region) -> tuple[int, int, int, int]:
    return region.left, region.top, region.width, region.height


def _read(file: PictureFile, limits: dict[str, Any], **part: Any) -> tuple[Picture, str | None]:
    """A picture, or a part of it; of a damaged file what can be decoded, and what is wrong."""
    try:
        return file.read(**part, **limits), None
    except FormatError as error:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # `error` says it
            return file.read(**part, **limits, partial=True), str(error)


def _smaller(picture: Picture, region: Region, divisor: int) -> Picture:
    """A part of a picture, on a smaller scale, with its metadata."""
    from mvc import stills
    from mvc.scaling import averaged
    from mvc.strips import Strip

    part = picture.part(region.rows, region.columns)
    strips = [Strip(0, part.samples, part.alpha)]
    return stills.whole(strips if divisor == 1 else averaged(strips, divisor), picture.metadata)


def png_of(picture: Picture) -> bytes:
    """A picture in 8 bits as a PNG that says which colours are meant, and nothing else of its metadata."""
    from mvc.media import png
    from mvc.metadata import Metadata
    from mvc.picture import Picture

    shown, own = picture.eight_bit(), picture.metadata
    colours = Metadata(icc=own.icc, cicp=own.cicp, gamma=own.gamma)
    return png.with_metadata(_png(Picture(shown.samples, shown.alpha).to_pil()), colours)


def _png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG", compress_level=_PNG_LEVEL)
    return buffer.getvalue()


def _size(picture: Picture) -> int:
    return int(picture.samples.nbytes) + (0 if picture.alpha is None else int(picture.alpha.nbytes))
