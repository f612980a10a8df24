"""A file of coded units: a head, then one chunk CODE for each unit (spec section 3), read and written in order.

Files are walked, never held: neither side has more than one unit in memory. A still picture has one checksum at its
end. `Reader` compares it before it hands out anything, if it can go back in the file, so a damaged file is called
damaged, and only an intact one is told to need a newer mvc. In a clip every unit has a checksum of its own.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from itertools import accumulate, pairwise
from typing import Any, BinaryIO, Literal

from mvc.container import fields
from mvc.container.chunks import (
    ANCILLARY,
    CHUNK_TYPES,
    CODE,
    CRC_BYTES,
    END,
    HEAD,
    SIGNATURE,
    Chunk,
    Source,
    check_crc,
    crc32c,
    frame,
    walk,
)
from mvc.errors import Checksum, Corrupt, Limit, MvcError, Unsupported

Kind = Literal["still", "clip"]
Colour = Literal["rgb", "gray"]
Role = Literal["picture"]

AS_HEAD = 64  # a unit's quality_index in the file where it has none of its own
UNIT_HEAD_BYTES = 1 + 5 + 1 + 1 + 254 * 5  # of a CODE before its streams, at most


@dataclass(frozen=True)
class Head:
    """What a decoder must know before the first unit (the HEAD chunk, spec section 3.1).

    `width`, `height` in pixels; `depth` in bits per sample; `quality_index` is 0..63; `model_id` is the first 8 bytes
    of the SHA-256 of the model's exact part.
    """

    kind: Kind
    width: int
    height: int
    colour: Colour
    depth: int
    quality_index: int
    model_id: bytes


@dataclass(frozen=True)
class Unit:
    """What is coded at once, and one chunk CODE of the file (spec section 3.2): a picture or a tile of it.

    `role` says what the streams mean, `index` which one of its role it is: a number of a tile, or a time. Units of one
    role come in ascending order of their indices. `quality_index` is 0..63, or None for that of the head. `streams` are
    1 to 255; a latent is its hyperlatent's stream and then its slices' in coding order.
    """

    role: Role
    index: int
    quality_index: int | None
    streams: tuple[bytes, ...]


@dataclass(frozen=True)
class UnitHead:
    """A unit without its streams: their `sizes`, and the `offset` of the first in the file, all in bytes."""

    role: Role
    index: int
    quality_index: int | None
    sizes: tuple[int, ...]
    offset: int


class Reader:
    """Reads a binary file object, or a pipe, unit by unit: `head`, then `for unit in reader`, once.

    A still picture in a file that can seek is read twice, the first time for its checksum alone; `check=False` leaves
    that out. On a pipe the checksum is compared at the end: until then no unit is known to be undamaged. `ancillary`
    has the name and fields of every known ancillary chunk passed so far; one that cannot be parsed is left out.

    Raises, here and in the loop:
        FormatError: NotMvc, Truncated, Checksum or Corrupt, with the place.
        Unsupported: a file that needs a newer mvc. Limit: a number beyond the format's limits.
    """

    def __init__(self, file: BinaryIO, *, check: bool = True) -> None:
        again = check and file.seekable()
        start = file.tell() if again else 0
        self.ancillary: list[tuple[str, dict[str, Any]]] = []
        self._last: dict[str, int] = {}
        self._source = Source(file)
        self._chunks = walk(self._source)
        first = next(self._chunks)
        try:
            self.head = head_of(first)
        except MvcError:
            if again:
                file.seek(start)
                _verify(file)
            raise
        self._crc = self._source.crc or 0
        if again and self.head.kind == "still":
            file.seek(start)
            _verify(file)
            file.seek(start + self._source.position)

    def __iter__(self) -> Iterator[Unit]:
        for chunk in self._codes():
            payload = chunk.payload()
            if self.head.kind == "clip":
                payload = self._checked(chunk, payload)
            unit = _unit(chunk.record(payload))
            self._in_order(unit, chunk)
            yield unit

    def heads(self) -> Iterator[UnitHead]:
        """The units without their streams, which are passed by unread where the file can seek; instead of the loop."""
        self._source.seek = self._source.file.seekable()
        for chunk in self._codes():
            head = unit_head(chunk, self.head)
            self._in_order(head, chunk)
            yield head

    def _codes(self) -> Iterator[Chunk]:
        """The chunks CODE of the file; the others are dealt with here."""
        found = False
        for chunk in self._chunks:
            if chunk.code == CODE.code:
                found = True
                yield chunk
            elif chunk.code == END.code:
                check_crc(self._chunks, chunk)
                if not found:
                    raise Corrupt("the file has no coded unit", offset=chunk.offset)
            elif not chunk.critical:
                if chunk.known:
                    self._note(chunk)
            else:
                chunk.leave()  # framing before meaning
                if chunk.known:
                    raise Corrupt("the chunk is repeated or out of order", offset=chunk.offset, chunk=chunk.label)
                where = f"{chunk.label} at byte {chunk.offset}"
                raise Unsupported(f"the critical chunk {where} is unknown", hint=fields.UPGRADE)

    def _note(self, chunk: Chunk) -> None:
        payload = chunk.payload()
        with suppress(MvcError):  # whatever an ancillary chunk holds, the picture can be decoded
            self.ancillary.append((CHUNK_TYPES[chunk.code].name, chunk.record(payload)))

    def _checked(self, chunk: Chunk, payload: bytes) -> bytes:
        """The payload of a unit of a clip without its checksum, which begins with the bytes up to the end of HEAD."""
        body, stored = payload[:-CRC_BYTES], int.from_bytes(payload[-CRC_BYTES:], "little")
        if len(payload) < CRC_BYTES:
            raise Corrupt("the chunk is too short for its checksum", offset=chunk.start, chunk=chunk.label)
        actual = crc32c(frame(chunk.code, chunk.length) + body, self._crc)
        if actual != stored:
            raise Checksum(
                f"the unit is damaged: its checksum is {actual:08x}, it should be {stored:08x}",
                offset=chunk.start + len(body),
                chunk=chunk.label,
            )
        return body

    def _in_order(self, unit: Unit | UnitHead, chunk: Chunk) -> None:
        if unit.index <= self._last.get(unit.role, -1):
            raise Corrupt(f"{unit.role} {unit.index} is out of order", offset=chunk.offset, chunk=chunk.label)
        self._last[unit.role] = unit.index


class Writer:
    """Writes a file, or to a pipe, unit by unit; `close` writes its end and leaves the file object open.

    Raises Limit for a number outside the limits of the format, Unsupported for a value that it does not have, and
    ValueError for units out of order; nothing of the unit is written then. `size` is the bytes written so far.
    """

    def __init__(self, file: BinaryIO, head: Head) -> None:
        self.size = 0
        self._file, self._clip = file, head.kind == "clip"
        self._last: dict[str, int] = {}
        payload = fields.write(HEAD.fields, asdict(head))
        self._crc = 0
        self._write(SIGNATURE)
        self._chunk(HEAD.code, payload)
        self._head_crc = self._crc

    def put(self, unit: Unit) -> None:
        """Write a unit."""
        before = self._last.get(unit.role)
        if before is not None and unit.index <= before:
            raise ValueError(f"{unit.role} {unit.index} cannot come behind {unit.role} {before}")
        payload = fields.write(CODE.fields, _record(unit))
        if self._clip:
            framed = frame(CODE.code, len(payload) + CRC_BYTES) + payload
            payload += crc32c(framed, self._head_crc).to_bytes(CRC_BYTES, "little")
        self._chunk(CODE.code, payload)
        self._last[unit.role] = unit.index

    def ancillary(self, code: int, payload: bytes) -> None:
        """Write an ancillary chunk, code 0x80..0xff."""
        if not ANCILLARY <= code <= 0xFF:
            raise ValueError(f"0x{code:02x} is not the code of an ancillary chunk")
        self._chunk(code, payload)

    def close(self) -> None:
        """Write END, once, behind at least one unit."""
        if not self._last:
            raise ValueError("a file has at least one unit")
        self._write(frame(END.code, CRC_BYTES))
        self._write(fields.write(END.fields, {"crc": self._crc}))

    def _chunk(self, code: int, payload: bytes) -> None:
        self._write(frame(code, len(payload)) + payload)

    def _write(self, data: bytes) -> None:
        view = memoryview(data)
        while view:  # a raw pipe may take less than it is given
            written = self._file.write(view)
            if not written:
                raise BlockingIOError("the file takes no bytes now")
            view = view[written:]
        self._crc = crc32c(data, self._crc)
        self.size += len(data)


def _verify(file: BinaryIO) -> None:
    """Walk a file from here to its end: raise what is wrong with its framing, or else with its checksum."""
    chunks = walk(Source(file))
    for chunk in chunks:
        if chunk.code == END.code:
            check_crc(chunks, chunk)


def write_file(head: Head, units: Iterable[Unit]) -> bytes:
    """The file with these contents: the only one that has no ancillary chunks. Raises as `Writer`."""
    file = io.BytesIO()
    writer = Writer(file, head)
    for unit in units:
        writer.put(unit)
    writer.close()
    return file.getvalue()


def read_file(data: bytes) -> tuple[Head, list[Unit]]:
    """Parse and check a whole file. Raises as `Reader`."""
    reader = Reader(io.BytesIO(data))
    return reader.head, list(reader)


def read_head(data: bytes) -> Head:
    """Parse HEAD alone; the first 26 bytes of a file suffice, and no checksum is looked at. Raises as `Reader`."""
    return Reader(io.BytesIO(data), check=False).head


def head_of(chunk: Chunk) -> Head:
    """The head in a file's first chunk. Raises Corrupt for another chunk, else as `Chunk.record`."""
    if chunk.code != HEAD.code:
        raise Corrupt("the first chunk must be HEAD", offset=chunk.offset, chunk=chunk.label)
    return Head(**chunk.record(chunk.payload()))


def _record(unit: Unit) -> dict[str, Any]:
    quality = AS_HEAD if unit.quality_index is None else unit.quality_index
    if unit.quality_index == AS_HEAD:
        raise Limit(f"quality_index is {AS_HEAD}, outside 0..{AS_HEAD - 1}")
    own = {"role": unit.role, "index": unit.index, "quality_index": quality}
    return own | {"sizes": tuple(map(len, unit.streams)), "streams": b"".join(unit.streams)}


def _own_quality(record: Mapping[str, Any]) -> int | None:
    return None if record["quality_index"] == AS_HEAD else record["quality_index"]


def _unit(record: Mapping[str, Any]) -> Unit:
    ends = list(accumulate(record["sizes"], initial=0))
    streams = tuple(record["streams"][start:end] for start, end in pairwise(ends))
    return Unit(record["role"], record["index"], _own_quality(record), streams)


def unit_head(chunk: Chunk, head: Head) -> UnitHead:
    """The head of the unit at which a walk stands, of whose payload no more is read than that may take."""
    length = chunk.length - (CRC_BYTES if head.kind == "clip" else 0)
    first = chunk.source.take(min(chunk.length, UNIT_HEAD_BYTES), "the payload")
    cursor = fields.Cursor(first, chunk.start, length, chunk.label)
    record = fields.begin(CODE.fields[:-1], cursor)
    return UnitHead(record["role"], record["index"], _own_quality(record), record["sizes"], cursor.position)
