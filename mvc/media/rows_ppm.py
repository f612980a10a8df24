"""The rows of a binary PPM, PGM or PBM, one after the other."""

from __future__ import annotations

import io

import numpy as np
from numpy.typing import NDArray
from PIL.PpmImagePlugin import PpmImageFile

from mvc.media.facts import Facts, maximum_of
from mvc.media.window import Window

_HEADER_BYTES = 4096
_CHANNELS = {b"P4": 1, b"P5": 1, b"P6": 3}
_PLAIN = {255: np.dtype(np.uint8), 65535: np.dtype(">u2")}


class PpmRows:
    """Rows of a binary PPM, PGM or PBM; see `mvc.media.rows.RawRows`."""

    kind, may_have_alpha = "PPM", False

    def __init__(self, window: Window, label: str, size: tuple[int, int], start: int) -> None:
        self.window, self.label, self.start = window, label, start
        (self.width, self.height), head = size, window[:_HEADER_BYTES]
        self.magic, self.highest = head[:2], maximum_of(head)
        self.facts = Facts(b"", depth=max(8, self.highest.bit_length()))
        self.channels = _CHANNELS[self.magic]
        self.bits = 1 if self.magic == b"P4" else self.channels * (8 if self.highest < 256 else 16)
        self.plain = _PLAIN.get(self.highest)
        self.row_bytes = -(-self.width * self.bits // 8)
        self.restart()

    @classmethod
    def opened(cls, window: Window, label: str) -> PpmRows | None:
        """None for what only the ordinary reader reads, or knows what to say about."""
        head = window[:_HEADER_BYTES]
        if head[:2] not in _CHANNELS:
            return None
        try:
            image = PpmImageFile(io.BytesIO(head))  # by itself it has no limit of pixels
        except Exception:  # whatever is wrong with it
            return None
        deep = image.tile[0].args
        highest = deep[1] if isinstance(deep, tuple) else 65535 if deep == "I;16B" else 255
        if head[:2] != b"P4" and highest != maximum_of(head):  # a header in which comments part words
            return None
        width, height = image.size
        return cls(window, label, (width, height), image.tile[0].offset) if width > 0 and height > 0 else None

    def restart(self) -> None:
        """Go back to the first row."""
        self.done = 0

    def next(self, count: int) -> NDArray[np.uint8]:
        """The next rows [count, bytes]; `SourceError` where they are missing."""
        rows = np.empty((count, self.row_bytes), np.uint8)
        self.window.fill(rows.data.cast("B"), self.start + self.done * self.row_bytes)
        self.done += count
        return rows

    def small(self, rows: NDArray[np.uint8], width: int) -> bytes:
        """A file of these rows [n, bytes] alone."""
        last = b"" if self.magic == b"P4" else b"%d\n" % self.highest
        return b"%b\n%d %d\n%b" % (self.magic, width, len(rows), last) + rows.tobytes()
