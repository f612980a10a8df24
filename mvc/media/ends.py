"""Where a file says that it ends, for those kinds whose readers take any end for the end of the clip."""

from __future__ import annotations

import os
from typing import BinaryIO


def stated_size(start: bytes) -> int:
    """How many bytes an AVI or Matroska file says it has; 0 where it does not say so, or is of another kind.

    FFmpeg takes the end of these for the end of the clip, wherever it is.
    """
    if start[:4] == b"RIFF" and start[8:12] == b"AVI ":
        size = int.from_bytes(start[4:8], "little")
        return 8 + size if 0 < size < 0xFFFFFFFF else 0
    if start[:4] != b"\x1a\x45\xdf\xa3":
        return 0
    head, at = _ebml_number(start, 4)
    at += head or 0
    if head is None or start[at : at + 4] != b"\x18\x53\x80\x67":
        return 0
    segment, at = _ebml_number(start, at + 4)
    return 0 if segment is None else at + segment


def _ebml_number(data: bytes, at: int) -> tuple[int | None, int]:
    """A length and where it ends; None where all its bits are set, or where it is not there: not known."""
    length = 9 - data[at].bit_length() if at < len(data) and data[at] else 0
    value = int.from_bytes(data[at : at + length], "big") & ((1 << 7 * length) - 1)
    return (None if not length or value == (1 << 7 * length) - 1 else value), at + length


def is_whole_gif(file: BinaryIO) -> bool:
    """Whether a GIF has its last byte, which Pillow does not miss: all blocks are skipped to see."""
    place = file.tell()
    try:
        file.seek(10)
        flags = file.read(3)[0]
        file.seek((3 << (flags & 7) + 1) * (flags >> 7), os.SEEK_CUR)  # the table of colours
        while (block := file.read(1)) in (b"!", b","):
            if block == b",":
                flags = file.read(9)[8]
                file.seek((3 << (flags & 7) + 1) * (flags >> 7), os.SEEK_CUR)
            file.read(1)  # what an extension is, or how many bits a code has
            while size := file.read(1)[0]:
                file.seek(size, os.SEEK_CUR)
        return block == b";"
    except IndexError:
        return False
    finally:
        file.seek(place)
