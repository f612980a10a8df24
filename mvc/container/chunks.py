"""Chunks: the types this version knows, and the walk over a file's chunks (spec sections 2 and 3).

A new ancillary chunk type is one record here and one table in bitstream_spec.md; `Reader.ancillary` then holds it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any, BinaryIO, NamedTuple

import google_crc32c

from mvc.container import fields
from mvc.container.fields import UPGRADE, Bits, Cursor, Field, Flags, Number, Raw, Sizes, Supply, Tail
from mvc.errors import Checksum, Corrupt, Limit, NotMvc, Truncated, Unsupported
from mvc.tiling import TILES

MAGIC = b"\x93MVC\r\n\x1a"
VERSION = 0
SIGNATURE = MAGIC + bytes([VERSION])

ANCILLARY = 0x80
MAX_CHUNK_BYTES = 1 << 30
CRC_BYTES = 4  # the payload of END, and the end of every CODE, NEXT, TRACK and SOUND of a file whose units are linked
PIECE_BYTES = 1 << 18  # read at once: a length that the file does not keep costs no more memory


class ChunkType(NamedTuple):
    """A known chunk type; one that `repeats` is numbered in messages ("CODE 2")."""

    code: int
    name: str
    fields: tuple[Field, ...]
    repeats: bool = False


HEAD = ChunkType(
    0x01,
    "HEAD",
    (
        Flags(
            (
                Bits("kind", 2, ("still", "clip")),
                Bits("colour", 1, ("rgb", "gray")),
                Bits("alpha", 1, (False, True)),
                Bits("depth", 2, (8, 16)),
                Bits("tile_px", 2, (0, *TILES)),
            )
        ),
        Number("width", 1, 65535),
        Number("height", 1, 65535),
        Tail((Number("quality_index", 0, 63, width_bytes=1), Raw("model_id", 8))),
    ),
)
CODE = ChunkType(
    0x02,
    "CODE",
    (
        Flags((Bits("role", 4, ("picture", "inter", "exact", "alpha", "between")),)),
        Number("index", 0, 0xFFFFFFFF),
        Number("quality_index", 0, 64, width_bytes=1),  # 64: that of HEAD
        Sizes("sizes"),
        Raw("streams"),
    ),
    repeats=True,
)
CLIP = ChunkType(
    0x03,
    "CLIP",
    (
        Flags(
            (
                Bits("range", 1, ("limited", "full")),
                Bits("chroma", 3, ("444", "422", "420", "gray", "rgb")),
                Bits("siting", 3, ("unknown", "left", "centre", "top-left", "top", "bottom-left", "bottom")),
            )
        ),
        Number("time_numerator", 1, 0xFFFFFFFF),
        Number("time_denominator", 1, 0xFFFFFFFF),
        Number("primaries", 0, 255, width_bytes=1),
        Number("transfer", 0, 255, width_bytes=1),
        Number("matrix", 0, 255, width_bytes=1),
        Number("aspect_numerator", 1, 65535),
        Number("aspect_denominator", 1, 65535),
        Number("step", 1, 0xFFFFFFFF),
    ),
)
NEXT = ChunkType(
    0x04,
    "NEXT",
    (
        Flags((Bits("quality_index", 7, range(65)), Bits("role", 1, ("inter", "between")))),  # 64: that of HEAD
        Raw("stream"),
    ),
    repeats=True,
)
SUMS = ChunkType(0x05, "SUMS", (Raw("sums"),))
SUM_BYTES = 4  # of each tile in SUMS
REFERRING = (b"\x01", b"\x04")  # flags of a CODE that is coded given the one before: inter and between
END = ChunkType(0x7F, "END", (Number("crc", 0, 0xFFFFFFFF, width_bytes=CRC_BYTES),))
TRACK = ChunkType(
    0x81,
    "TRACK",
    (
        Number("number", 0, 254, width_bytes=1),
        Number("sample_rate", 1, 0xFFFFFFFF),
        Number("channels", 1, 255, width_bytes=1),
        Number("time_numerator", 1, 0xFFFFFFFF),
        Number("time_denominator", 1, 0xFFFFFFFF),
        Sizes("sizes"),
        Raw("parts"),
    ),
    repeats=True,
)
SOUND = ChunkType(
    0x82,
    "SOUND",
    (
        Flags((Bits("timed", 1, (False, True)),)),
        Number("number", 0, 254, width_bytes=1),
        Number("time", 0, 0xFFFFFFFFFFFFFFFF, width_bytes=8),
        Number("duration", 0, 0xFFFFFFFF),
        Sizes("sizes"),
        Raw("packets"),
    ),
    repeats=True,
)
META_KINDS = "icc", "exif", "xmp", "cicp", "thumbnail", "gainmap", "depth", "resolution", "gamma", "grain"
META = ChunkType(
    0x83,
    "META",
    (
        Flags(
            (
                Bits("kind", 4, META_KINDS),
                Bits("packed", 1, (False, True)),
            )
        ),
        Number("size", 1, 4 << 20),
        Raw("data"),
    ),
    repeats=True,
)
ANCILLARY_TYPES = (TRACK, SOUND, META)

CHUNK_TYPES = {kind.code: kind for kind in (HEAD, CODE, CLIP, NEXT, SUMS, END, *ANCILLARY_TYPES)}
UNITS = (CODE.code, NEXT.code)


def crc32c(data: bytes, before: int = 0) -> int:
    """CRC-32C (Castagnoli) of `data`, as in RFC 3720 (spec section 2.4), behind bytes whose CRC-32C is `before`."""
    return int(google_crc32c.extend(before, data))


class Source(Supply):
    """A binary file, or a pipe, that is read in order and never beyond what is asked for.

    `position` counts from where the file stood at first. `crc` is the CRC-32C of all bytes so far, and None once
    bytes have been passed by unread. With `seek`, `skip` does that.
    """

    def __init__(self, file: BinaryIO, *, seek: bool = False) -> None:
        self.file = file
        self.position = 0
        self.crc: int | None = 0
        self.seek = seek and file.seekable()

    def _piece(self, count: int) -> bytes:
        """At least one of the next `count` bytes, and none where the file ends."""
        piece = self.file.read(min(count, PIECE_BYTES))
        self.position += len(piece)
        if self.crc is not None:
            self.crc = crc32c(piece, self.crc)
        return piece

    def read(self, count: int) -> bytes:
        """The next `count` bytes; fewer only where the file ends."""
        data = self._piece(count)
        if not 0 < len(data) < count:
            return data
        pieces, count = [data], count - len(data)
        while count and (piece := self._piece(count)):
            pieces.append(piece)
            count -= len(piece)
        return b"".join(pieces)

    def take(self, count: int, what: str) -> bytes:
        start = self.position
        data = self.read(count)
        if len(data) < count:
            raise self.cut(start, len(data), count, what)
        return data

    def skip(self, count: int) -> None:
        """Leave the next `count` bytes out, as far as there are so many."""
        if not self.seek:
            while count and (piece := self._piece(count)):
                count -= len(piece)
        elif count:
            here = self.file.tell()
            count = min(count, self.file.seek(0, 2) - here)
            self.file.seek(here + count)
            self.position += count
            self.crc = None

    def back_to(self, position: int) -> None:
        """Go back to a place, in a file that can seek."""
        self.file.seek(position - self.position, 1)
        self.position, self.crc = position, None

    def cut(self, start: int, count: int, expected: int, what: str) -> Truncated:
        """The error of a file that has only `count` of `expected` bytes from byte `start` on."""
        message = f"the file ends too early: {what} has {count} of {expected} bytes"
        return Truncated(message, offset=start, chunk=self.chunk)


class Chunk(NamedTuple):
    """A chunk that a walk has come to: `offset` of its type byte, `start` and `length` of its payload in the file."""

    code: int
    label: str
    offset: int
    start: int
    length: int
    source: Source
    number: int = 0  # among those of its type, of a CODE and a NEXT among both

    @property
    def known(self) -> bool:
        """Whether this version has a record for the chunk's type."""
        return self.code in CHUNK_TYPES

    @property
    def critical(self) -> bool:
        """Whether a reader that does not know the type must refuse the file."""
        return not self.code & ANCILLARY

    def payload(self) -> bytes:
        """Read the payload, while the walk stands here. Raises Truncated where the file ends in it."""
        return self.source.take(self.length, "the payload")

    def leave(self) -> None:
        """Pass by what is unread of the payload. Raises Truncated where the file ends in it."""
        end = self.start + self.length
        self.source.skip(end - self.source.position)
        if self.source.position < end:
            raise self.source.cut(self.start, self.source.position - self.start, self.length, "the payload")

    def record(self, payload: bytes) -> dict[str, Any]:
        """The fields of the chunk's payload; for known types only.

        Raises:
            Corrupt: too few bytes or too many. Unsupported, Limit: a value that this version does not take.
        """
        return fields.read(CHUNK_TYPES[self.code].fields, Cursor(payload, self.start, chunk=self.label))


def frame(code: int, length: int) -> bytes:
    """The type and length in front of a payload. Raises Limit for one that is too long."""
    if length > MAX_CHUNK_BYTES:
        raise Limit(f"chunk 0x{code:02x} has {length} bytes, more than {MAX_CHUNK_BYTES}")
    out = bytearray([code])
    fields.write_varint(length, out)
    return bytes(out)


class Link(NamedTuple):
    """What the checksum of a clip's next unit begins with: the beginning of the file, and what the unit refers to."""

    beginning: int  # CRC-32C of the bytes up to the end of CLIP
    last: bytes = b""  # the checksum of the unit before

    def crc(self, body: bytes, code: int = CODE.code) -> bytes:
        """The checksum of a chunk whose payload begins with `body`: of a unit, or of sound, which refers to none."""
        refers = code == NEXT.code or (code == CODE.code and body[:1] in REFERRING)
        before = crc32c(self.last, self.beginning) if refers else self.beginning
        framed = frame(code, len(body) + CRC_BYTES)
        return crc32c(framed + body, before).to_bytes(CRC_BYTES, "little")


def check_signature(data: bytes) -> None:
    """Raise unless `data`, the first bytes of a file, is the signature of a version that can be read.

    Raises:
        NotMvc: other bytes. Truncated: fewer bytes, all of them right. Unsupported: a newer version.
    """
    magic = data[: len(MAGIC)]
    if not MAGIC.startswith(magic):
        mangled = MAGIC[1:4] in data[:8]  # the letters survive a transfer as text, the other bytes do not
        hint = "it seems to have been transferred as text; transfer it as binary data" if mangled else None
        raise NotMvc("not an mvc file: the signature is missing", hint=hint, offset=0)
    if len(data) < len(SIGNATURE):
        raise Truncated("the file ends inside its signature", offset=len(data))
    if data[len(MAGIC)] > VERSION:
        raise Unsupported(
            f"format version {data[len(MAGIC)]} is newer than version {VERSION}, the newest known here",
            hint=UPGRADE,
        )


def walk(source: Source) -> Iterator[Chunk]:
    """The chunks of a file up to END, which must be its last bytes (spec section 2.3).

    The walk knows framing only and passes unknown types on. At each chunk the caller may read from the source as much
    of the payload as it wants; the walk leaves the rest out.

    Raises:
        NotMvc, Unsupported: as `check_signature`. Truncated: the file ends before END does.
        Corrupt: a malformed length, or bytes after END. Limit: too long a chunk.
    """
    check_signature(source.read(len(SIGNATURE)))
    yield from walk_on(source, Counter())


def walk_on(source: Source, seen: Counter[int]) -> Iterator[Chunk]:
    """The chunks from here on, as `walk`; `seen` says how many of each type came before."""
    code = None
    while code != END.code:
        offset, source.chunk = source.position, None
        code = source.number(1, "a chunk's type")
        kind = CODE.code if code == NEXT.code else code  # units are counted together
        source.chunk = label = _label(code, seen[kind])
        seen[kind] += 1
        length = source.varint("a chunk's length")
        if length > MAX_CHUNK_BYTES:
            raise Limit(f"chunk {label} at byte {offset} claims {length} bytes, more than {MAX_CHUNK_BYTES}")
        chunk = Chunk(code, label, offset, source.position, length, source, seen[kind] - 1)
        yield chunk
        chunk.leave()
    if source.read(1):
        raise Corrupt("the file goes on after its END chunk", offset=source.position - 1)


def _label(code: int, index: int) -> str:
    kind = CHUNK_TYPES.get(code)
    if kind is None:
        return f"0x{code:02x}"
    return f"{kind.name} {index}" if kind.repeats else kind.name


def finish(chunks: Iterator[Chunk], end: Chunk) -> tuple[int, int | None]:
    """At END: the file's checksum as it is stored, and as it is (None where the walk has left bytes out).

    Raises:
        Truncated: END is cut. Corrupt: it is too short or too long, or not the end.
    """
    actual, payload = end.source.crc, end.payload()
    for _ in chunks:
        pass
    return end.record(payload)["crc"], actual


def check_crc(chunks: Iterator[Chunk], end: Chunk) -> None:
    """At END: raise Checksum unless it holds the CRC-32C of the bytes before its payload, else as `finish`."""
    stored, actual = finish(chunks, end)
    if actual not in (None, stored):
        raise Checksum(
            f"the file is damaged: its checksum is {actual:08x}, it should be {stored:08x}",
            offset=end.start,
            chunk=end.label,
        )
