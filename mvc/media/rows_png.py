"""The rows of a PNG, one after the other, as bytes without filters."""

from __future__ import annotations

import struct
import zlib

import numpy as np
from numpy.typing import NDArray

from mvc.errors import SourceError
from mvc.media import png
from mvc.media.deflate import Inflater
from mvc.media.facts import Facts
from mvc.media.window import PART_BYTES, Window

_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
_MOST_OTHERS_BYTES = 32 << 20
"""Most that is kept of what is not pixels."""
_NO_PIXELS = png.chunk(b"IDAT", b"")


class PngRows:
    """Rows of a PNG that is not interlaced; see `mvc.media.rows.RawRows`."""

    kind = "PNG"

    def __init__(self, window: Window, label: str, facts: Facts, pixels: int) -> None:
        self.window, self.label, self.facts, self.pixels = window, label, facts, pixels
        self.header = window[16:29]
        self.width, self.height, depth, colours = struct.unpack(">IIBB", self.header[:10])
        self.channels = _CHANNELS[colours]
        self.bits = depth * self.channels
        self.kept = [chunk for chunk in png.chunks_of(facts.data) if chunk.name != b"IHDR"]
        keyed = any(chunk.name == b"tRNS" for chunk in self.kept)
        self.may_have_alpha = keyed or colours in (4, 6)
        self.plain = np.dtype(np.uint8 if depth == 8 else ">u2") if depth >= 8 and colours != 3 and not keyed else None
        self.restart()

    @classmethod
    def opened(cls, window: Window, label: str) -> PngRows | None:
        """None for what only the ordinary reader reads, or knows what to say about."""
        found = _without_pixels(window)
        header = window[16:29]
        if found is None or window[12:16] != b"IHDR" or len(header) < 13:
            return None
        width, height, depth, colours = struct.unpack(">IIBB", header[:10])
        if not width or not height or depth not in (1, 2, 4, 8, 16) or colours not in _CHANNELS or header[12]:
            return None
        rest, pixels = found
        return cls(window, label, png.look(rest, label), pixels)

    def restart(self) -> None:
        """Go back to the first row."""
        self.at, self.left, self.crc = self.pixels, 0, 0
        self.inflater, self.done = Inflater(self._part, self.label), 0
        self.above: NDArray[np.uint8] = np.zeros(-(-self.width * self.bits // 8), np.uint8)

    def next(self, count: int) -> NDArray[np.uint8]:
        """The next rows [count, bytes]; `SourceError` where they are damaged or missing."""
        from mvc.media.png_filters import unfilter

        lines = np.empty((count, 1 + len(self.above)), np.uint8)
        self.inflater.fill(lines.data.cast("B"))
        rows = np.empty((count + 1, len(self.above)), np.uint8)
        rows[0] = self.above
        if unfilter(lines, rows, max(1, self.bits // 8)) < count:
            raise SourceError(f"{self.label} is broken: its samples are damaged")
        self.above = rows[-1].copy()
        self.done += count
        if self.done == self.height:
            self.inflater.finish()
            while self._part():
                pass
        return rows[1:]

    def small(self, rows: NDArray[np.uint8], width: int) -> bytes:
        """A PNG of these rows [n, bytes] alone."""
        lines = np.zeros((len(rows), 1 + rows.shape[1]), np.uint8)
        lines[:, 1:] = rows
        pixels = png.chunk(b"IDAT", zlib.compress(lines.data, 0))
        header = png.chunk(b"IHDR", struct.pack(">II", width, len(rows)) + self.header[8:])
        others = [pixels if chunk.name == b"IDAT" else bytes(chunk.whole) for chunk in self.kept]
        return png.SIGNATURE + header + b"".join(others)

    def _part(self) -> bytes:
        """The next bytes of what is deflated; empty at the end, `SourceError` where a checksum is wrong."""
        while not self.left:
            start = self.window[self.at : self.at + 8]
            if len(start) < 8 or start[4:] != b"IDAT":
                return b""
            self.at, self.left, self.crc = self.at + 8, int.from_bytes(start[:4], "big"), zlib.crc32(b"IDAT")
            if not self.left:
                self._check()
        part = self.window[self.at : self.at + min(self.left, PART_BYTES)]
        self.at, self.left, self.crc = self.at + len(part), self.left - len(part), zlib.crc32(part, self.crc)
        if part and not self.left:
            self._check()
        return part

    def _check(self) -> None:
        """Behind a chunk: compare its checksum, if the file has it."""
        checksum = self.window[self.at : self.at + 4]
        if len(checksum) == 4 and int.from_bytes(checksum, "big") != self.crc:
            raise SourceError(f"{self.label} is broken: its IDAT chunk is damaged")
        self.at += 4


def _without_pixels(window: Window) -> tuple[bytes, int] | None:
    """The file with one empty chunk of pixels in the place of all, and where they start.

    None without pixels, with pixels in more than one place, and for animations.
    """
    kept, total, pixels, at, before = [png.SIGNATURE], 0, 0, len(png.SIGNATURE), b""
    while at + 8 < len(window):
        start = window[at : at + 8]
        length, name = int.from_bytes(start[:4], "big"), start[4:]
        if name == b"IDAT":
            if pixels and before != b"IDAT":
                return None
            kept += [] if pixels else [_NO_PIXELS]
            pixels = pixels or at
        else:
            total += 12 + length
            if total > _MOST_OTHERS_BYTES or name == b"fdAT":
                return None
            kept.append(window[at : at + 12 + length])
        before, at = name, at + 12 + length
        if name == b"IEND":
            break
    return (b"".join(kept), pixels) if pixels else None
