"""Metadata in a file: chunks META (spec section 3.9), which are written before the units and can do no harm."""

from __future__ import annotations

import io
import zlib
from collections.abc import Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Any, BinaryIO

from mvc.container import fields
from mvc.container.chunks import META, Chunk, Source, walk
from mvc.container.units import head_of
from mvc.errors import Corrupt, Limit, MvcError, Unsupported

if TYPE_CHECKING:
    from mvc.metadata import Metadata

_RAW_DEFLATE = -15  # without zlib's header and checksum: the file has one
_HEAD_BYTES = 1 + 5  # flags and size, at most


def payloads(metadata: Metadata) -> Iterator[bytes]:
    """The payload of a chunk META for each kind, deflated where that is shorter."""
    for kind, data in metadata.items():
        packer = zlib.compressobj(9, zlib.DEFLATED, _RAW_DEFLATE)
        packed = packer.compress(data) + packer.flush()
        smaller = len(packed) < len(data)
        record = {"kind": kind, "packed": smaller, "size": len(data), "data": packed if smaller else data}
        yield fields.write(META.fields, record)


def read_metadata(data: bytes | BinaryIO, *, partial: bool = False) -> Metadata:
    """What a whole .mvc file of a still holds; of each kind the first that is sound. Of a clip, nothing.

    `data` is the file, or a file object that can seek and stands at its beginning. With `partial` it may be cut: what
    there is of it before is found. Else what a walk over the chunks raises is raised: the file should have been read
    already.
    """
    from mvc.metadata import Metadata

    found: dict[str, bytes] = {}
    file = io.BytesIO(data) if isinstance(data, (bytes, bytearray, memoryview)) else data
    with suppress(*(MvcError,) * partial):
        for kind, own in _sound(file):
            found.setdefault(kind, own)
    return Metadata(**found)


def read_kind(file: BinaryIO, kind: str) -> bytes | None:
    """One kind of metadata alone, of a file that can seek: no more of it is read than has to be."""
    return next((own for found, own in _sound(file) if found == kind), None)


def _sound(file: BinaryIO) -> Iterator[tuple[str, bytes]]:
    from mvc.metadata import Metadata

    chunks = walk(Source(file, seek=True))
    if head_of(next(chunks)).kind != "still":
        return
    for chunk in chunks:
        if chunk.code == META.code:
            payload = chunk.payload()
            with suppress(Corrupt, Unsupported, Limit, ValueError):
                kind, own = content(chunk.record(payload))
                Metadata(**{kind: own})
                yield kind, own


def content(record: dict[str, Any]) -> tuple[str, bytes]:
    """Kind and bytes of a chunk's fields; Corrupt unless it holds as many bytes as it says, and no more."""
    size, data = record["size"], record["data"]
    if record["packed"]:
        unpacker = zlib.decompressobj(_RAW_DEFLATE)
        try:
            data = unpacker.decompress(data, size + 1)
        except zlib.error as error:
            raise Corrupt(f"the metadata cannot be inflated: {error}") from error
        if not unpacker.eof or unpacker.unused_data:
            raise Corrupt("the metadata goes on after its end, or has none")
    if len(data) != size:
        raise Corrupt(f"the metadata has not the {size} bytes that it says")
    return record["kind"], data


def glance(chunk: Chunk) -> dict[str, Any] | None:
    """Kind and bytes of the chunk META at which a walk stands, none of which is inflated; None where it is damaged."""
    first = chunk.source.take(min(chunk.length, _HEAD_BYTES), "the payload")
    with suppress(MvcError):
        cursor = fields.Cursor(first, chunk.start, chunk.length, chunk.label)
        record = fields.begin(META.fields[:-1], cursor)
        return {"kind": record["kind"], "bytes": record["size"], "stored_bytes": chunk.length}
    return None
