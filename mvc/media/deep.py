"""Pictures of 16 bits as files: Pillow writes those in gray alone, and none of colour or with alpha."""

from __future__ import annotations

import struct
import zlib

import numpy as np

from mvc.media.bands import widened
from mvc.media.png import SIGNATURE, chunk
from mvc.picture import Picture

__all__ = ["png", "ppm", "tiff"]

_PNG_KINDS = {1: 0, 2: 4, 3: 2, 4: 6}  # the colour type by the number of samples of a pixel
_LEVEL = 4  # of deflate, as for pictures of 8 bits


def _rows(picture: Picture, order: str) -> np.ndarray:
    """[H, W, C] in a byte order."""
    return np.atleast_3d(np.asarray(picture)).astype(f"{order}u2")


def png(picture: Picture) -> bytes:
    """A PNG of 16 bits, each row as its difference from the one above."""
    samples = _rows(picture, ">")
    height, width, count = samples.shape
    rows = samples.reshape(height, -1).view(np.uint8)
    lines = np.empty((height, 1 + rows.shape[1]), np.uint8)
    lines[:, 0], lines[0, 1:] = 2, rows[0]  # filter 2: up
    np.subtract(rows[1:], rows[:-1], out=lines[1:, 1:])
    header = struct.pack(">IIBBBBB", width, height, 16, _PNG_KINDS[count], 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(lines.tobytes(), _LEVEL)), (b"IEND", b""))
    return SIGNATURE + b"".join(chunk(*own) for own in chunks)


def ppm(picture: Picture) -> bytes:
    """A PPM or PGM of 16 bits, or of those that the samples had before, without alpha."""
    kind = b"P5" if picture.colour == "gray" else b"P6"
    most, numbers = numbers_of(picture.samples, picture.metadata.depth)
    return b"%b %d %d %d\n" % (kind, picture.width, picture.height, most) + numbers.astype(">u2").tobytes()


def numbers_of(samples: np.ndarray, depth: bytes | None) -> tuple[int, np.ndarray]:
    """The greatest number of a depth, and those that were widened to samples; of 16 bits where not all were."""
    if depth is not None:
        most = (1 << depth[0]) - 1
        numbers = ((samples.astype(np.uint32) * most + 0x7FFF) // 0xFFFF).astype(np.uint16)
        if np.array_equal(widened(numbers, most), samples):
            return most, numbers
    return 0xFFFF, samples


def tiff(picture: Picture) -> bytes:
    """A TIFF of 16 bits in one deflated strip, with alpha that is not multiplied in; gray with alpha as RGB with alpha.

    Few programs read two samples of 16 bits to a pixel, and Pillow does not.
    """
    if picture.alpha is not None and picture.colour == "gray":
        picture = Picture(np.dstack([picture.samples] * 3), picture.alpha)
    samples = _rows(picture, "<")
    height, width, count = samples.shape
    data = zlib.compress(samples.tobytes(), _LEVEL)
    data += b"\0" * (len(data) % 2)
    depths = 8 + len(data)  # where the lists of numbers lie, if they are too long for their entries
    tags = [(256, 4, 1, width), (257, 4, 1, height)]
    tags += [(258, 3, count, 16 if count == 1 else depths)]
    tags += [(259, 3, 1, 8), (262, 3, 1, 1 if count < 3 else 2), (273, 4, 1, 8), (277, 3, 1, count)]
    tags += [(278, 4, 1, height), (279, 4, 1, len(data)), (284, 3, 1, 1)]
    tags += [(338, 3, 1, 2)] if count == 4 else []  # alpha
    lists = struct.pack(f"<{count}H", *[16] * count) if count > 1 else b""
    directory = struct.pack("<H", len(tags)) + b"".join(struct.pack("<HHII", *tag) for tag in tags) + bytes(4)
    return struct.pack("<2sHI", b"II", 42, depths + len(lists)) + data + lists + directory
