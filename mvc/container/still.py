"""Still pictures: a header and coded streams to file bytes and back (spec section 3).

Reading goes outside in: first the framing, then the checksum, and only then the meaning of any chunk. So a
damaged file is reported as damaged, and an intact one only is told to need a newer mvc.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any, Literal

from mvc.container import fields
from mvc.container.chunks import (
    CRC_BYTES,
    HEAD,
    HYPR,
    SIGNATURE,
    SLIC,
    VERSION,
    Chunk,
    assemble,
    check_crc,
    chunk_size,
    crc32c,
    walk,
)
from mvc.errors import Corrupt, Limit, Unsupported

Colour = Literal["rgb", "gray"]

MAX_PIXELS = 1 << 28
MAX_SLICES = 16


@dataclass(frozen=True)
class Header:
    """What a decoder must know before the first stream (the HEAD chunk, spec section 3.1).

    `width`, `height` in pixels; `depth` in bits per sample; `quality` is the index 0..63; `model_id` is the
    first 8 bytes of the SHA-256 of the model's exact part.
    """

    width: int
    height: int
    colour: Colour
    depth: int
    quality: int
    model_id: bytes


@dataclass(frozen=True)
class Still:
    """A still picture as coded: the hyperlatent stream and one stream per latent slice, in coding order."""

    header: Header
    hyper: bytes
    slices: tuple[bytes, ...]


def write_still(still: Still) -> bytes:
    """The file for a still picture: the only one that has these contents and no ancillary chunks.

    Raises:
        Limit: a number outside the limits of the format. Unsupported: a colour or depth it does not have.
    """
    _check_slices(len(still.slices))
    records = [(HEAD, _head_record(still.header)), (HYPR, {"stream": still.hyper})]
    records += [(SLIC, {"stream": stream}) for stream in still.slices]
    return assemble([(kind.code, fields.write(kind.fields, record)) for kind, record in records])


def still_size(header: Header, stream_bytes: Iterable[int]) -> int:
    """The size in bytes of a file whose streams, the hyperlatent one first, have the given sizes."""
    head_bytes = fields.size(HEAD.fields, _head_record(header))
    return len(SIGNATURE) + sum(map(chunk_size, (head_bytes, *stream_bytes, CRC_BYTES)))


def read_still(data: bytes) -> Still:
    """Parse and check a whole file, its checksum included; unknown ancillary chunks are skipped.

    Raises:
        FormatError: NotMvc, Truncated, Checksum or Corrupt, with the place.
        Unsupported: a file that needs a newer mvc. Limit: a number beyond the format's limits.
    """
    chunks = list(walk(data))
    check_crc(data, chunks[-1])
    header = _read_head(chunks[0])
    hyper: bytes | None = None
    slices: list[bytes] = []
    for chunk in chunks[1:-1]:
        if not chunk.known:
            if chunk.critical:
                raise Unsupported(
                    f"the critical chunk {chunk.label} at byte {chunk.offset} is unknown", hint=fields.UPGRADE
                )
        elif chunk.code == HYPR.code and hyper is None:
            hyper = chunk.record()["stream"]
        elif chunk.code == SLIC.code and hyper is not None:
            slices.append(chunk.record()["stream"])
        else:
            raise Corrupt("the chunk is repeated or out of order", offset=chunk.offset, chunk=chunk.label)
    if hyper is None:
        raise Corrupt("the file has no hyperlatent stream", offset=chunks[-1].offset)
    if not slices:
        raise Corrupt("the file has no latent slice", offset=chunks[-1].offset)
    _check_slices(len(slices))
    return Still(header, hyper, tuple(slices))


def read_header(data: bytes) -> Header:
    """Parse the HEAD chunk alone; the first 26 bytes of a file suffice, and its checksum is not looked at.

    Raises:
        FormatError, Unsupported, Limit: as `read_still`.
    """
    return _read_head(next(walk(data)))


def describe(data: bytes) -> dict[str, Any]:
    """What `mvc info` prints, in JSON-ready values: the header's fields, the checksum, every chunk.

    Unlike `read_still` it does not refuse a wrong checksum (`intact` is False then), unknown chunks, or
    chunks out of order: it is there to look at such files.

    Raises:
        FormatError, Unsupported, Limit: the framing or the header cannot be parsed.
    """
    chunks = list(walk(data))
    header, end = _read_head(chunks[0]), chunks[-1]
    return {
        "version": VERSION,
        **fields.show(HEAD.fields, _head_record(header)),
        "size_bytes": len(data),
        "bits_per_pixel": 8 * len(data) / (header.width * header.height),
        "intact": end.record()["crc"] == crc32c(data[: end.start]),
        "chunks": [
            {
                "name": chunk.label,
                "offset": chunk.offset,
                "length": chunk.length,
                "critical": chunk.critical,
                "known": chunk.known,
            }
            for chunk in chunks
        ],
    }


def _head_record(header: Header) -> dict[str, Any]:
    _check_pixels(header.width, header.height)
    return {"kind": "still", **asdict(header)}


def _read_head(chunk: Chunk) -> Header:
    if chunk.code != HEAD.code:
        raise Corrupt("the first chunk must be HEAD", offset=chunk.offset, chunk=chunk.label)
    record = chunk.record()
    del record["kind"]  # a Header describes a still picture, the only kind that the fields let pass
    _check_pixels(record["width"], record["height"])
    return Header(**record)


def _check_pixels(width: int, height: int) -> None:
    if width * height > MAX_PIXELS:
        raise Limit(f"{width} x {height} pixels are more than {MAX_PIXELS}")


def _check_slices(count: int) -> None:
    if not 1 <= count <= MAX_SLICES:
        raise Limit(f"a still picture has 1..{MAX_SLICES} slices, not {count}")
