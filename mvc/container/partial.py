"""What has arrived of a still: the units of a file that is cut, or of which some tiles are damaged."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import BinaryIO

from mvc.container import fields
from mvc.container.chunks import CODE, Chunk
from mvc.container.stream import Reader, checked
from mvc.container.units import AS_HEAD, Head, Place, Unit, place_of, unit_of
from mvc.errors import Checksum, Corrupt, FormatError, Limit, Unsupported


class Arrived:
    """A still of which the end may be missing: its `head`, and what there is of its units; `faults` says what is wrong.

    In tiles a unit is whole or not there. Of a still in one tile those streams of its unit come that are whole. Raises
    what `Reader` raises where not even HEAD is there, and Unsupported for a clip.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._reader = Reader(file, check=False, whole=False)
        self.head: Head = self._reader.head
        self.faults: list[FormatError] = []
        if self.head.kind != "still":
            raise Unsupported("the file is a clip, not a picture", hint="--recover is what clips have")

    def units(self) -> Iterator[Unit]:
        """What there is, in the order of the file."""
        last: Place = (-1, 0)
        try:
            for chunk in self._reader.codes():
                if not self.head.linked:
                    yield self._of_one(chunk)
                    continue
                payload = chunk.payload()
                with suppress(Checksum, Corrupt, Limit, Unsupported):
                    unit = unit_of(chunk, checked(chunk, payload, self._reader.link)[0], self.head, last[0])
                    if place_of(unit) > last:
                        last = place_of(unit)
                        yield unit
        except FormatError as error:
            self.faults.append(error)

    def _of_one(self, chunk: Chunk) -> Unit:
        """The unit of a still in one tile, as far as it is there."""
        payload = chunk.source.read(chunk.length)
        cursor = fields.Cursor(payload, chunk.start, chunk.length, chunk.label)
        record = fields.begin(CODE.fields[:-1], cursor)
        streams: list[bytes] = []
        for size in record["sizes"]:
            stream = payload[cursor.position - chunk.start :][:size]
            if len(stream) < size:
                break
            streams.append(stream)
            cursor.position += size
        quality = None if record["quality_index"] == AS_HEAD else record["quality_index"]
        return Unit(record["role"], record["index"], quality, tuple(streams))
