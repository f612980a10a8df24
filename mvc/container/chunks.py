"""Chunks: the types this version knows, and the walk over a file's chunks (spec sections 2 and 3).

A new chunk type is one record here and one table in bitstream_spec.md.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import google_crc32c

from mvc.container import fields
from mvc.container.fields import UPGRADE, Bits, Cursor, Field, Flags, Number, Raw, varint_size, write_varint
from mvc.errors import Checksum, Corrupt, Limit, NotMvc, Truncated, Unsupported

MAGIC = b"\x93MVC\r\n\x1a"
VERSION = 0
SIGNATURE = MAGIC + bytes([VERSION])

ANCILLARY = 0x80
MAX_CHUNKS = 1024
MAX_CHUNK_BYTES = 1 << 30
CRC_BYTES = 4  # the payload of END


@dataclass(frozen=True)
class ChunkType:
    """A known chunk type; one that `repeats` is numbered in messages ("SLIC 2")."""

    code: int
    name: str
    fields: tuple[Field, ...]
    repeats: bool = False


HEAD = ChunkType(
    0x01,
    "HEAD",
    (
        Flags((Bits("kind", 2, ("still",)), Bits("colour", 2, ("rgb", "gray")), Bits("depth", 2, (8,)))),
        Number("width", 1, 65535),
        Number("height", 1, 65535),
        Number("quality", 0, 63, width_bytes=1),
        Raw("model_id", 8),
    ),
)
HYPR = ChunkType(0x02, "HYPR", (Raw("stream"),))
SLIC = ChunkType(0x03, "SLIC", (Raw("stream"),), repeats=True)
END = ChunkType(0x7F, "END", (Number("crc", 0, 0xFFFFFFFF, width_bytes=CRC_BYTES),))

CHUNK_TYPES = {kind.code: kind for kind in (HEAD, HYPR, SLIC, END)}


@dataclass(frozen=True)
class Chunk:
    """A chunk as it stands in `file`: `offset` of its type byte, `start` and `length` of its payload."""

    code: int
    label: str
    offset: int
    start: int
    length: int
    file: memoryview

    @property
    def known(self) -> bool:
        """Whether this version has a record for the chunk's type."""
        return self.code in CHUNK_TYPES

    @property
    def critical(self) -> bool:
        """Whether a reader that does not know the type must refuse the file."""
        return not self.code & ANCILLARY

    def record(self) -> dict[str, Any]:
        """The payload's fields; for known types only.

        Raises:
            Corrupt: too few bytes or too many. Unsupported, Limit: a value that this version does not take.
        """
        cursor = Cursor(self.file, self.start, self.start + self.length, chunk=self.label, short=Corrupt)
        return fields.read(CHUNK_TYPES[self.code].fields, cursor)


def crc32c(data: bytes) -> int:
    """CRC-32C (Castagnoli) of `data`, as in RFC 3720 (spec section 2.4)."""
    return int(google_crc32c.value(data))


def check_signature(data: bytes) -> None:
    """Raise unless `data` starts with the signature of a version that can be read.

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


def walk(data: bytes) -> Iterator[Chunk]:
    """The chunks of a file up to END, which must be its last bytes (spec section 2.3).

    The walk knows framing only: it passes unknown types on, looks into no payload and copies none. A caller
    that needs the first chunk only may pass the first bytes of a file.

    Raises:
        NotMvc, Unsupported: as `check_signature`. Truncated: the file ends before END does.
        Corrupt: a malformed length, or bytes after END. Limit: too many or too long chunks.
    """
    check_signature(data)
    cursor = Cursor(memoryview(data), len(SIGNATURE))
    seen: Counter[int] = Counter()
    while True:
        if seen.total() == MAX_CHUNKS:
            raise Limit(f"the file has more than {MAX_CHUNKS} chunks")
        offset = cursor.position
        cursor.chunk = None
        code = cursor.number(1, "a chunk's type")
        cursor.chunk = label = _label(code, seen[code])
        length = cursor.varint("a chunk's length")
        if length > MAX_CHUNK_BYTES:
            raise Limit(f"chunk {label} at byte {offset} claims {length} bytes, more than {MAX_CHUNK_BYTES}")
        start = cursor.position
        cursor.take(length, "the payload")
        yield Chunk(code, label, offset, start, length, cursor.data)
        seen[code] += 1
        if code == END.code:
            if cursor.left():
                raise Corrupt("the file goes on after its END chunk", offset=cursor.position)
            return


def _label(code: int, index: int) -> str:
    kind = CHUNK_TYPES.get(code)
    if kind is None:
        return f"0x{code:02x}"
    return f"{kind.name} {index}" if kind.repeats else kind.name


def check_crc(data: bytes, end: Chunk) -> None:
    """Raise Checksum unless the END chunk holds the CRC-32C of the bytes before its payload."""
    stored, actual = end.record()["crc"], crc32c(data[: end.start])
    if stored != actual:
        raise Checksum(
            f"the file is damaged: its checksum is {actual:08x}, it should be {stored:08x}",
            offset=end.start,
            chunk=end.label,
        )


def chunk_size(payload_bytes: int) -> int:
    """The size in bytes of a chunk whose payload has `payload_bytes` bytes."""
    return 1 + varint_size(payload_bytes) + payload_bytes


def assemble(chunks: list[tuple[int, bytes]]) -> bytes:
    """A whole file from (type code, payload) pairs: the signature before them and END behind them.

    Raises:
        Limit: too many chunks, or a payload too long.
    """
    if len(chunks) >= MAX_CHUNKS:
        raise Limit(f"a file has at most {MAX_CHUNKS} chunks, END included; {len(chunks) + 1} were given")
    out = bytearray(SIGNATURE)
    for code, payload in chunks:
        if len(payload) > MAX_CHUNK_BYTES:
            raise Limit(f"chunk 0x{code:02x} has {len(payload)} bytes, more than {MAX_CHUNK_BYTES}")
        out.append(code)
        write_varint(len(payload), out)
        out += payload
    out.append(END.code)
    write_varint(CRC_BYTES, out)
    return bytes(out) + fields.write(END.fields, {"crc": crc32c(bytes(out))})
