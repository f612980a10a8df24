"""What is left of a damaged clip: every unit whose own checksum is right, wherever it lies, and where others are lost.

Where the walk from chunk to chunk breaks (a unit is not what was written, or its length is not), the next unit is
looked for byte by byte: a checksum of 32 bits over unit and beginning of the file says when it is found. As that of a
frame "inter" or "between" begins with the checksum before it, such frames count as lost up to the next "picture".
Ancillary chunks may be anything: a unit whose type was changed into that of an ancillary chunk is passed by as one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from mvc.container.chunks import ANCILLARY, END, UNITS, Chunk, Link, Source
from mvc.container.stream import Reader, checked
from mvc.container.units import Head, Unit, unit_of
from mvc.errors import MvcError, Unsupported

WINDOW = 1 << 16
_UNIT_TYPE = re.compile(b"[%b]" % re.escape(bytes(UNITS)))
PATIENCE = 64  # bytes that are read in looking for units, for each byte of the file


@dataclass(frozen=True)
class Lost:
    """Bytes of a file in which no unit could be read: from `start` up to `end`."""

    start: int
    end: int


def salvage(file: BinaryIO) -> tuple[Head, Iterator[Unit | Lost]]:
    """The head of a clip and, in the order of the file, what can be read of it and what is lost.

    Raises Unsupported for a still or a pipe, and what `Reader` raises where HEAD or CLIP cannot be read.
    """
    if not file.seekable():
        raise Unsupported("what comes through a pipe cannot be searched", hint="write it to a file first")
    start = file.tell()
    reader = Reader(file)
    if reader.head.kind != "clip":
        raise Unsupported("a still picture has one checksum for all its bytes, so no part of it can be trusted")
    return reader.head, _Search(file, start, reader.head, reader.link).units(reader.beginning)


class _Search:
    """In a file whose first byte is at `origin`; all other offsets count from there."""

    def __init__(self, file: BinaryIO, origin: int, head: Head, link: Link) -> None:
        self.file, self.origin, self.head, self.link = file, origin, head, link
        self.size = file.seek(0, 2) - origin
        self.left = PATIENCE * (self.size + WINDOW)

    def units(self, place: int) -> Iterator[Unit | Lost]:
        last, sure = -1, place  # all is accounted for up to there
        while sure < self.size:
            chunk = self._chunk(place)
            found = self._unit(chunk, last) if chunk and chunk.code in UNITS else None
            if chunk and found and found[0].index > last:
                unit, self.link = found
                yield unit
                last, sure = unit.index, chunk.start + chunk.length
                place = sure
            elif chunk and chunk.code == END.code and chunk.start + chunk.length == self.size:
                return
            elif chunk and chunk.code & ANCILLARY:
                place = chunk.start + chunk.length  # which is not checked: if it is wrong, the search begins at `sure`
            else:
                place = self._next(sure + 1, last)
                yield Lost(sure, place)
                sure = place

    def _chunk(self, place: int) -> Chunk | None:
        """The chunk whose framing seems to begin at a place, if the file has all of it."""
        self.file.seek(self.origin + place)
        source = Source(self.file)
        source.position = place
        try:
            code, length = source.number(1, "type"), source.varint("length")
        except MvcError:
            return None
        end = source.position + length
        return Chunk(code, "CODE", place, source.position, length, source) if end <= self.size else None

    def _unit(self, chunk: Chunk, last: int) -> tuple[Unit, Link] | None:
        """The unit in a chunk at which the file stands, if it is what was written, and the link for the next.

        `last` is the index of the unit that was found before it, -1 if there is none.
        """
        self.left -= chunk.length
        try:
            body, link = checked(chunk, chunk.payload(), self.link)
            return unit_of(chunk, body, self.head, last), link
        except MvcError:
            return None

    def _next(self, place: int, last: int) -> int:
        """Where the next unit behind a place begins that can be used, or the end of the file."""
        while place < self.size and self.left > 0:
            self.file.seek(self.origin + place)
            window = self.file.read(WINDOW)
            for match in _UNIT_TYPE.finditer(window):
                if self.left <= 0:
                    break
                chunk = self._chunk(place + match.start())
                found = self._unit(chunk, last) if chunk and chunk.length else None
                if found and found[0].index > last:
                    return place + match.start()
            place += len(window)
        return self.size
