"""A file of coded units: a head, then one chunk CODE for each unit (spec section 3), read and written in order.

Files are walked, never held: neither side has more than one unit in memory. A still picture has one checksum at its
end. `Reader` compares it before it hands out anything, if it can go back in the file, so a damaged file is called
damaged, and only an intact one is told to need a newer mvc. In a clip, and in a still of tiles, every unit has a
checksum of its own, and the file can be entered at any unit.
"""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Container, Iterable, Iterator
from contextlib import suppress
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any, BinaryIO

from mvc.container import fields
from mvc.container.chunks import (
    ANCILLARY,
    CHUNK_TYPES,
    CLIP,
    CODE,
    CRC_BYTES,
    END,
    HEAD,
    META,
    NEXT,
    SIGNATURE,
    SUM_BYTES,
    SUMS,
    Chunk,
    Link,
    Source,
    check_crc,
    crc32c,
    frame,
    walk,
    walk_on,
)
from mvc.container.meta import payloads
from mvc.container.units import (
    Head,
    Place,
    Unit,
    UnitHead,
    clip_head_of,
    head_of,
    is_next,
    place_of,
    record_of,
    unit_head,
    unit_of,
)
from mvc.errors import Checksum, Corrupt, MvcError, Unsupported
from mvc.tiling import Tiling

if TYPE_CHECKING:
    from mvc.metadata import Metadata


class Reader:
    """Reads a binary file object, or a pipe, unit by unit: `head`, then `for unit in reader`, once.

    A still picture in a file that can seek is read twice, the first time for its checksum alone; `check=False` leaves
    that out. On a pipe the checksum is compared at the end: until then no unit is known to be undamaged. `ancillary`
    has the name and fields of every known ancillary chunk passed so far; one that cannot be parsed is left out, and so
    are those that may come without end: sound.py reads them. `sums` has the checksums of the latents of a still's tiles
when all units have passed, if the file states them; not `whole` is one of whose tiles some may be missing.

    Raises, here and in the loop:
        FormatError: NotMvc, Truncated, Checksum or Corrupt, with the place.
        Unsupported: a file that needs a newer mvc. Limit: a number beyond the format's limits.
    """

    def __init__(self, file: BinaryIO, *, check: bool = True, whole: bool = True) -> None:
        again = check and file.seekable()
        self._start = start = file.tell() if file.seekable() else 0
        self.ancillary: list[tuple[str, dict[str, Any]]] = []
        self.sums: list[int] = []
        self._last: Place = (-1, 0)
        self._whole = whole
        self._tiles = 0  # units so far that are no alpha
        self._source = Source(file)
        self._chunks = walk(self._source)
        first = next(self._chunks)
        try:
            self.head = head_of(first)
            if self.head.kind == "clip":
                self.head = replace(self.head, clip=clip_head_of(next(self._chunks)))
        except MvcError:
            if again:
                file.seek(start)
                _verify(file)
            raise
        self.link, self.beginning = Link(self._source.crc or 0), self._source.position
        if again and self.head.kind == "still":
            file.seek(start)
            _verify(file)
            file.seek(start + self._source.position)

    def __iter__(self) -> Iterator[Unit]:
        return self.units()

    def units(self, needed: Container[int] | None = None) -> Iterator[Unit]:
        """The units, or those of some indices: others are passed by, unread where the file can seek."""
        self._source.seek = needed is not None and self._source.file.seekable()
        for chunk in self.codes():
            if needed is not None and self._source.seek:
                head = unit_head(chunk, self.head, self._last[0])
                if head.index not in needed:
                    self._in_order(head, chunk)
                    continue
                self._source.back_to(chunk.start)
            payload = chunk.payload()
            if self.head.linked:
                payload, self.link = checked(chunk, payload, self.link)
            unit = unit_of(chunk, payload, self.head, self._last[0])
            self._in_order(unit, chunk)
            if needed is None or unit.index in needed:
                yield unit

    def heads(self) -> Iterator[UnitHead]:
        """The units without their streams, which are passed by unread where the file can seek; instead of the loop."""
        self._source.seek = self._source.file.seekable()
        for chunk in self.codes():
            head = unit_head(chunk, self.head, self._last[0])
            self._in_order(head, chunk)
            yield head

    def go_to(self, unit: UnitHead) -> None:
        """Let a new loop begin with a unit "picture" that `heads` told of, in a file that can seek.

        What only the whole file tells, its checksum, is not compared then.
        """
        self.link = Link(self.link.beginning)
        self._source = Source(self._source.file)
        self._source.file.seek(self._start + unit.start)
        self._source.position, self._source.crc = unit.start, None
        self._chunks, self._last = walk_on(self._source, Counter({CODE.code: unit.number})), (-1, 0)

    def codes(self) -> Iterator[Chunk]:
        """The units' chunks of the file; the others are dealt with here."""
        found = False
        for chunk in self._chunks:
            if (chunk.code == CODE.code and not self.sums) or (chunk.code == NEXT.code and self.head.kind == "clip"):
                found = True
                yield chunk
            elif chunk.code == SUMS.code and found and not self.sums:
                if self._whole:
                    self.sums = self._sums_of(chunk)
            elif chunk.code == END.code:
                check_crc(self._chunks, chunk)
                if not found:
                    raise Corrupt("the file has no coded unit", offset=chunk.offset)
            elif not chunk.critical:
                if chunk.known and not CHUNK_TYPES[chunk.code].repeats:
                    self._note(chunk)
            else:
                chunk.leave()  # framing before meaning
                if chunk.known:
                    raise Corrupt("the chunk is repeated or out of order", offset=chunk.offset, chunk=chunk.label)
                where = f"{chunk.label} at byte {chunk.offset}"
                raise Unsupported(f"the critical chunk {where} is unknown", hint=fields.UPGRADE)

    def _sums_of(self, chunk: Chunk) -> list[int]:
        sums: bytes = chunk.record(chunk.payload())["sums"]
        tiles = len(Tiling(self.head.width, self.head.height, self.head.tile_px))
        there = self._tiles == self._last[0] + 1 == tiles  # they ascend, so they are 0, 1, 2 ...
        if self.head.kind == "clip" or not there or len(sums) != SUM_BYTES * tiles or not any(sums):
            what = "a clip" if self.head.kind == "clip" else f"a picture of {tiles} tile(s)"
            raise Corrupt(f"{len(sums)} bytes are no checksums of {what}", offset=chunk.start, chunk=chunk.label)
        return [int.from_bytes(sums[i : i + SUM_BYTES], "little") for i in range(0, len(sums), SUM_BYTES)]

    def _note(self, chunk: Chunk) -> None:
        payload = chunk.payload()
        with suppress(MvcError):  # whatever an ancillary chunk holds, the picture can be decoded
            self.ancillary.append((CHUNK_TYPES[chunk.code].name, chunk.record(payload)))

    def _in_order(self, unit: Unit | UnitHead, chunk: Chunk) -> None:
        if place_of(unit) <= self._last:
            raise Corrupt(f"{unit.role} {unit.index} is out of order", offset=chunk.offset, chunk=chunk.label)
        if chunk.code == CODE.code and is_next(unit, self.head, self._last[0]):
            raise Corrupt("a frame a step behind the one before must be NEXT", offset=chunk.offset, chunk=chunk.label)
        self._last = place_of(unit)
        self._tiles += unit.role != "alpha"


class Writer:
    """Writes a file, or to a pipe, unit by unit; `close` writes its end and leaves the file object open.

    Raises Limit for a number outside the limits of the format, Unsupported for a value that it does not have, and
    ValueError for units out of order; nothing of the unit is written then. `size` is the bytes written so far.
    """

    def __init__(self, file: BinaryIO, head: Head) -> None:
        self.size = 0
        self._file, self._head = file, head
        self._last: Unit | None = None
        self._sums = bytearray()
        if (head.kind == "clip") != (head.clip is not None):
            raise ValueError(f"a {head.kind} has {'no' if head.kind == 'clip' else 'a'} clip")
        payload = fields.write(HEAD.fields, asdict(head))
        clip = fields.write(CLIP.fields, asdict(head.clip)) if head.clip else None
        self._crc = 0
        self._write(SIGNATURE)
        self._chunk(HEAD.code, payload)
        if clip is not None:
            self._chunk(CLIP.code, clip)
        self._link = Link(self._crc)

    def put(self, unit: Unit) -> None:
        """Write a unit."""
        last = self._last
        if last is not None and place_of(unit) <= place_of(last):
            raise ValueError(f"{unit.role} {unit.index} cannot come behind {last.role} {last.index}")
        kind = NEXT if is_next(unit, self._head, last.index if last else -1) else CODE
        payload = fields.write(kind.fields, record_of(unit))
        if self._head.linked:
            crc = self._link.crc(payload, kind.code)
            payload, self._link = payload + crc, self._link._replace(last=crc)
        self._chunk(kind.code, payload)
        self._last = unit
        if unit.role != "alpha" and self._head.kind == "still":
            self._sums += unit.latent_sum.to_bytes(SUM_BYTES, "little")

    def linked(self, code: int, payload: bytes) -> None:
        """Write an ancillary chunk of a clip with the checksum that units have (spec section 2.4)."""
        self.ancillary(code, payload + self._link.crc(payload, code))

    def ancillary(self, code: int, payload: bytes) -> None:
        """Write an ancillary chunk, code 0x80..0xff."""
        if not ANCILLARY <= code <= 0xFF:
            raise ValueError(f"0x{code:02x} is not the code of an ancillary chunk")
        self._chunk(code, payload)

    def close(self) -> None:
        """Write END, once, behind at least one unit."""
        if self._last is None:
            raise ValueError("a file has at least one unit")
        if any(self._sums):
            self._chunk(SUMS.code, fields.write(SUMS.fields, {"sums": bytes(self._sums)}))
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


def write_file(head: Head, units: Iterable[Unit], metadata: Metadata | None = None) -> bytes:
    """The file with these contents: the only one that has no other ancillary chunks. Raises as `Writer`."""
    file = io.BytesIO()
    writer = Writer(file, head)
    for payload in payloads(metadata) if metadata else ():
        writer.ancillary(META.code, payload)
    for unit in units:
        writer.put(unit)
    writer.close()
    return file.getvalue()


def read_file(data: bytes) -> tuple[Head, list[Unit]]:
    """Parse and check a whole file. Raises as `Reader`."""
    reader = Reader(io.BytesIO(data))
    units = list(reader)
    if reader.sums:
        known = dict(enumerate(reader.sums))
        units = [one if one.role == "alpha" else replace(one, latent_sum=known.get(one.index, 0)) for one in units]
    return reader.head, units


def read_head(data: bytes) -> Head:
    """Parse HEAD, and CLIP where there is one: the first 26, or 54, bytes of a file suffice. Raises as `Reader`.

    No checksum is looked at.
    """
    return Reader(io.BytesIO(data), check=False).head


def checked(chunk: Chunk, payload: bytes, link: Link) -> tuple[bytes, Link]:
    """The payload of a unit of a clip without its checksum, which must be right, and the link for the next unit."""
    body, stored = payload[:-CRC_BYTES], payload[-CRC_BYTES:]
    if len(payload) < CRC_BYTES:
        raise Corrupt("the chunk is too short for its checksum", offset=chunk.start, chunk=chunk.label)
    actual = link.crc(body, chunk.code)
    if actual != stored:
        values = [f"{int.from_bytes(crc, 'little'):08x}" for crc in (actual, stored)]
        raise Checksum(
            "the unit is damaged, or what it refers to is not there: "
            f"its checksum is {values[0]}, it should be {values[1]}",
            offset=chunk.start + len(body),
            chunk=chunk.label,
        )
    return body, link._replace(last=stored)
