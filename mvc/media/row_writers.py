"""PNG, TIFF and PPM written by rows: what each kind of file takes of a picture from the top on."""

from __future__ import annotations

import struct
from typing import Any, BinaryIO, Literal, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from mvc.media import png, tiff
from mvc.media.deflate import Deflater, InOrder, packed
from mvc.media.exif import Tag, laid
from mvc.metadata import Metadata

Samples = NDArray[Any]
"""Of uint8 or uint16."""

_CHUNK_BYTES = 1 << 20
_STRIP_BYTES = 1 << 18
_MOST_SMALL_BYTES = 4_000_000_000
"""A TIFF that might become larger is a BigTIFF."""


class Asked(NamedTuple):
    """The picture that is written: gray (1), gray and alpha (2), RGB (3) or RGB and alpha (4) of 8 or 16 bits."""

    width: int
    height: int
    channels: int
    depth: int
    metadata: Metadata


class Writer(Protocol):
    """A picture in a file that is written as it is made."""

    def __init__(self, file: BinaryIO, asked: Asked) -> None: ...

    def write(self, samples: Samples) -> None:
        """The next rows [n, W, channels]."""

    def finish(self) -> None:
        """What is left, behind the last row."""


class PngWriter:
    """A PNG, each row by its best filter, with a chunk for each megabyte of rows."""

    def __init__(self, file: BinaryIO, asked: Asked) -> None:
        kind = {1: 0, 2: 4, 3: 2, 4: 6}[asked.channels]
        header = struct.pack(">IIBBBBB", asked.width, asked.height, asked.depth, kind, 0, 0, 0)
        file.write(png.with_metadata(png.SIGNATURE + png.chunk(b"IHDR", header), asked.metadata))
        self.file, self.step = file, asked.channels * asked.depth // 8
        self.above = np.zeros(asked.width * self.step, np.uint8)
        self.waiting = bytearray()
        self.packer = Deflater(lambda data: file.write(png.chunk(b"IDAT", data)))

    def write(self, samples: Samples) -> None:
        """See `Writer`."""
        from mvc.media.png_filters import choose_filters

        rows = np.empty((len(samples) + 1, len(self.above)), np.uint8)
        rows[0], rows[1:] = self.above, _in_order(samples, ">")
        lines = np.empty((len(samples), 1 + len(self.above)), np.uint8)
        choose_filters(rows, lines, self.step)
        self.above = rows[-1].copy()
        self.waiting += lines.data.cast("B")
        while len(self.waiting) >= _CHUNK_BYTES:
            self.packer.give(bytes(self.waiting[:_CHUNK_BYTES]))
            del self.waiting[:_CHUNK_BYTES]

    def finish(self) -> None:
        """See `Writer`."""
        self.packer.give(bytes(self.waiting))
        self.packer.finish()
        self.file.write(png.chunk(b"IEND", b""))


class PpmWriter:
    """A PPM or PGM."""

    def __init__(self, file: BinaryIO, asked: Asked) -> None:
        magic = b"P5" if asked.channels == 1 else b"P6"
        file.write(b"%b\n%d %d\n%d\n" % (magic, asked.width, asked.height, (1 << asked.depth) - 1))
        self.file = file

    def write(self, samples: Samples) -> None:
        """See `Writer`."""
        self.file.write(_in_order(samples, ">").tobytes())

    def finish(self) -> None:
        """See `Writer`."""


class TiffWriter:
    """A TIFF in deflated strips of differences, its directory in front of them; the file must be one to seek in.

    Gray with alpha of 16 bits becomes RGB with alpha, as few programs read two such samples to a pixel.
    """

    def __init__(self, file: BinaryIO, asked: Asked) -> None:
        self.file, self.asked = file, asked
        self.channels = 4 if asked.channels == 2 and asked.depth == 16 else asked.channels
        row_bytes = asked.width * self.channels * asked.depth // 8
        self.strip_rows = max(1, _STRIP_BYTES // row_bytes)
        self.big = row_bytes * asked.height > _MOST_SMALL_BYTES
        self.waiting: list[Samples] = []
        self.held = 0
        self.packer = InOrder(self._packed)
        self.places: list[int] = []
        self.sizes: list[int] = []
        count = -(-asked.height // self.strip_rows)
        file.write(struct.pack("<2sHHHQ", b"II", 43, 8, 0, 16) if self.big else struct.pack("<2sHI", b"II", 42, 8))
        directory = self._directory([0] * count, [0] * count)
        file.write(directory + bytes(len(directory) % 2))

    def write(self, samples: Samples) -> None:
        """See `Writer`."""
        while len(samples):
            part, samples = np.split(samples, [self.strip_rows - self.held])
            self.waiting.append(part)
            self.held += len(part)
            if self.held == self.strip_rows:
                self._strip()

    def finish(self) -> None:
        """See `Writer`."""
        if self.held:
            self._strip()
        self.packer.finish()
        self.file.seek(16 if self.big else 8)
        self.file.write(self._directory(self.places, self.sizes))

    def _strip(self) -> None:
        samples = np.concatenate(self.waiting)
        if self.channels > samples.shape[2] == 2:
            samples = samples[..., [0, 0, 0, 1]]
        samples[:, 1:] -= samples[:, :-1].copy()
        self.packer.give(packed, _in_order(samples, "<").tobytes())
        self.waiting, self.held = [], 0

    def _packed(self, data: bytes) -> None:
        self.places.append(self.file.tell())
        self.sizes.append(len(data))
        self.file.write(data + bytes(len(data) % 2))

    def _directory(self, places: list[int], sizes: list[int]) -> bytes:
        """As long for whatever places and sizes."""
        depth, channels = self.asked.depth, self.channels
        place = (16, "<u8") if self.big else (4, "<u4")
        numbers: dict[int, tuple[int, str, list[int]]] = {
            256: (4, "<u4", [self.asked.width]),
            257: (4, "<u4", [self.asked.height]),
            258: (3, "<u2", [depth] * channels),
            259: (3, "<u2", [8]),  # deflate
            262: (3, "<u2", [1 if channels < 3 else 2]),
            273: (*place, places),
            277: (3, "<u2", [channels]),
            278: (4, "<u4", [self.strip_rows]),
            279: (*place, sizes),
            284: (3, "<u2", [1]),
            317: (3, "<u2", [2]),  # differences
        }
        if channels in (2, 4):
            numbers[338] = 3, "<u2", [2]  # alpha that is not multiplied in
        tags = tiff.metadata_tags(self.asked.metadata)
        for number, (kind, form, values) in numbers.items():
            tags[number] = Tag(number, kind, len(values), np.array(values, form).tobytes())
        return laid(tags.values(), 16 if self.big else 8, big=self.big)


def _in_order(samples: Samples, order: Literal["<", ">"]) -> NDArray[np.uint8]:
    """The bytes [n, bytes] of rows."""
    ordered = np.ascontiguousarray(samples, samples.dtype.newbyteorder(order))
    return ordered.reshape(len(samples), -1).view(np.uint8)
