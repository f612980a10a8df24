"""Pictures that do not fit in memory, read by rows: what `read_picture` would give, a few rows at a time.

Each kind of file (rows_png.py, rows_tiff.py, rows_ppm.py) gives its rows as bytes without compression. Samples of 8 or
16 bits are those bytes; all else (palettes, transparent colours, fewer or odd numbers of bits, inks, what is told as
lost) is left to the ordinary reader, which gets some rows at a time as a small file of the same kind.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from typing import Any, BinaryIO, Literal, Protocol, cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mvc import files
from mvc.errors import MvcError, SourceError
from mvc.media import kinds
from mvc.media.facts import Facts
from mvc.media.rows_png import PngRows
from mvc.media.rows_ppm import PpmRows
from mvc.media.rows_tiff import TiffRows
from mvc.media.samples import convert
from mvc.media.trouble import pillow_errors
from mvc.media.window import Window
from mvc.metadata import Metadata
from mvc.picture import Picture

__all__ = ["MOST_SIDE_PX", "RowSource", "open_rows"]

MOST_SIDE_PX = 65535
"""Largest width and height that are read here."""
_BAND_BYTES = 1 << 20
_PIECE_PX = 4096  # of a row, for the ordinary reader; whole bytes whatever the number of bits

Samples = NDArray[Any]
"""Of uint8 or uint16."""


class RowSource(Protocol):
    """A picture of which rows [rows, width, channels] can be had from the top on.

    Channels are gray or RGB, then alpha if there is any that is not opaque; uint8 or uint16 as `depth` says.
    `metadata` and `losses` are those of `read_picture`.
    """

    width: int
    height: int
    colour: Literal["rgb", "gray"]
    depth: Literal[8, 16]
    alpha: bool
    metadata: Metadata
    losses: list[str]
    name: str

    def read(self, rows: int) -> Samples:
        """The next rows, at most so many; none at the end. Raises `SourceError` where they are damaged or missing."""

    def close(self) -> None:
        """Close the file, if it was opened here."""


class RawRows(Protocol):
    """The rows of a file as bytes, from the top on; a pixel has `bits` in `channels`.

    `plain` is the type of its samples if they need no conversion, `facts` what the file says beside them.
    """

    kind: str
    label: str
    facts: Facts
    width: int
    height: int
    channels: int
    bits: int
    plain: np.dtype[Any] | None
    may_have_alpha: bool

    def next(self, count: int) -> NDArray[np.uint8]:
        """The next rows [count, bytes]."""

    def restart(self) -> None:
        """Go back to the first row."""

    def small(self, rows: NDArray[np.uint8], width: int) -> bytes:
        """A picture file of some rows [n, bytes], or of a part of them that is `width` wide, in the same way."""


_KINDS: dict[str, type[PngRows] | type[TiffRows] | type[PpmRows]] = {"PNG": PngRows, "TIFF": TiffRows, "PPM": PpmRows}


def open_rows(
    source: str | os.PathLike[str] | BinaryIO,
    *,
    name: str | None = None,
    deep: bool = True,
    keep_alpha: bool = True,
    beyond: int = 0,
) -> RowSource | None:
    """A path, or a binary stream that can be read from several places, as rows; None where only `read_picture` can.

    Read so are PNG that is not interlaced, TIFF in strips (as it is, deflate, LZW or PackBits) and binary PPM, PGM and
    PBM, all upright. `deep` and `keep_alpha` as for `read_picture`. Of a picture that may have alpha, rows are
    read up to the first pixel that is not opaque: without one it has none. Of a picture that has no more pixels than
    `beyond` only the head is read, and None is the answer.
    Raises `SourceError` for a file that cannot be read, or is damaged as far as it was looked at. A stream of which
    nothing can be said is left where it was.
    """
    with ExitStack() as stack:
        if isinstance(source, (str, os.PathLike)):
            files.check_input(source)
            if files.is_stream(source):
                return None
            label = name or os.fspath(source)
            try:
                file: BinaryIO = stack.enter_context(open(source, "rb"))
            except OSError as error:
                raise SourceError(f"cannot read {label}: {files.reason(error)}") from error
        else:
            known = getattr(source, "name", None)
            label, file = name or (known if isinstance(known, str) else "the picture"), source
            if hasattr(file, "encoding") or not getattr(file, "seekable", bool)():  # text, a pipe: let others say so
                return None
        start = file.tell()
        found = _opened(Window(file, label), label)
        if found is not None and found.width * found.height <= beyond:
            found = None
        if found is not None:
            try:
                rows = _Rows(found, deep, keep_alpha)
            except _NotByRows:
                found = None
        if found is None:
            file.seek(start)
            return None
        rows.owned = stack.pop_all()
        return rows


def _opened(window: Window, label: str) -> RawRows | None:
    kind = kinds.kind_of(window[: kinds.SNIFFED_BYTES])
    if kind not in _KINDS:
        return None
    rows = cast("RawRows | None", _KINDS[kind].opened(window, label))
    if rows is None or rows.facts.orientation != 1 or not max(rows.width, rows.height) <= MOST_SIDE_PX:
        return None
    return rows


class _NotByRows(Exception):
    """The ordinary reader refuses a part of the picture, and shall say why for all of it."""


class _Rows:
    """`RowSource` of any kind of file."""

    def __init__(self, raw: RawRows, deep: bool, keep_alpha: bool) -> None:
        self.raw, self.deep, self.keep_alpha = raw, deep, keep_alpha
        self.width, self.height, self.name = raw.width, raw.height, raw.label
        self.owned, self.done = ExitStack(), 0
        self.band_rows = max(1, 8 * _BAND_BYTES // (raw.bits * raw.width))
        block, left, right = self._first_transparent()
        found, losses = self._tried(block, left, right, keep_alpha)
        self.metadata, self.losses = found.metadata, list(losses)
        self.colour: Literal["rgb", "gray"] = found.colour
        self.depth: Literal[8, 16] = 16 if found.depth == 16 else 8
        self.channels = (3 if self.colour == "rgb" else 1) + self.alpha
        raw.restart()

    def read(self, rows: int) -> Samples:
        """See `RowSource.read`."""
        count = max(0, min(rows, self.height - self.done))
        out = np.empty((count, self.width, self.channels), np.uint8 if self.depth == 8 else np.uint16)
        for top, bottom in self._bands(count):
            block = self.raw.next(bottom - top)
            plain = self._plain
            if plain is not None:
                samples = block.view(plain).reshape(bottom - top, self.width, self.raw.channels)
                out[top:bottom] = samples[..., : self.channels]
                continue
            for left, right in self._pieces():
                picture, _ = self._converted(block, left, right, self.keep_alpha)
                piece = out[top:bottom, left:right]
                piece[..., : self.channels - self.alpha] = np.atleast_3d(picture.samples)
                if self.alpha:
                    piece[..., -1] = np.iinfo(out.dtype).max if picture.alpha is None else picture.alpha
        self.done += count
        return out

    def close(self) -> None:
        """See `RowSource.close`."""
        self.owned.close()

    @property
    def _plain(self) -> np.dtype[Any] | None:
        """The type of the samples where they come as they are."""
        plain = self.raw.plain
        if plain is None or (plain.itemsize == 2 and not self.deep) or (self.transparent and not self.keep_alpha):
            return None
        return plain

    def _first_transparent(self) -> tuple[NDArray[np.uint8], int, int]:
        """A part of the picture that is not opaque, where there is one, or else its start: rows, first and last column.

        The samples of a picture that cannot have alpha are not looked at, but for its first row.
        """
        self.transparent = self.alpha = False
        block = self.raw.next(1)
        start = block, 0, min(self.width, _PIECE_PX)
        if not self.raw.may_have_alpha:
            return start
        self.raw.restart()
        for top, bottom in self._bands(self.height):
            block = self.raw.next(bottom - top)
            if self.raw.plain is not None:
                alpha = block.view(self.raw.plain).reshape(len(block), self.width, -1)[..., -1]
                if alpha.min() == np.iinfo(alpha.dtype).max:
                    continue
            for left, right in self._pieces():
                if self._tried(block, left, right, True)[0].alpha is not None:
                    self.transparent, self.alpha = True, self.keep_alpha
                    return block, left, right
        return start

    def _tried(
        self, block: NDArray[np.uint8], left: int, right: int, keep_alpha: bool
    ) -> tuple[Picture, tuple[str, ...]]:
        try:
            return self._converted(block, left, right, keep_alpha)
        except MvcError as error:
            raise _NotByRows from error

    def _converted(
        self, block: NDArray[np.uint8], left: int, right: int, keep_alpha: bool
    ) -> tuple[Picture, tuple[str, ...]]:
        """Columns of some rows as the ordinary reader reads them, and what it tells as lost."""
        raw = self.raw
        part = block[:, left * raw.bits // 8 : -(-right * raw.bits // 8)]
        data = raw.small(part, right - left)
        facts = replace(raw.facts, data=data, metadata=set(raw.facts.metadata))
        with pillow_errors(raw.label, raw.kind), Image.open(io.BytesIO(data), formats=(raw.kind,)) as image:
            return convert(image, facts, raw.label, deep=self.deep, keep_alpha=keep_alpha)

    def _bands(self, count: int) -> Iterator[tuple[int, int]]:
        return ((top, min(count, top + self.band_rows)) for top in range(0, count, self.band_rows))

    def _pieces(self) -> Iterator[tuple[int, int]]:
        return ((left, min(self.width, left + _PIECE_PX)) for left in range(0, self.width, _PIECE_PX))
