"""What is in a file, as values: heads and units, and the chunks they are read from (spec section 3)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from itertools import accumulate, pairwise
from typing import Any, Literal

from mvc.container import fields
from mvc.container.chunks import CLIP, CODE, CRC_BYTES, HEAD, Chunk
from mvc.errors import Corrupt, Limit

Kind = Literal["still", "clip"]
Colour = Literal["rgb", "gray"]
Role = Literal["picture", "inter"]

AS_HEAD = 64  # a unit's quality_index in the file where it has none of its own
UNIT_HEAD_BYTES = 1 + 5 + 1 + 1 + 254 * 5  # of a CODE before its streams, at most


@dataclass(frozen=True)
class ClipHead:
    """What is the same for all frames of a clip (the CLIP chunk, spec section 3.3).

    Times of units count in `time_numerator` / `time_denominator` seconds. The rest says how the samples of the source
    were to be understood and is given back: `primaries`, `transfer` and `matrix` are codes of ITU-T H.273 (2: not
    known), `range`, `chroma` and `siting` those of its luma and chroma planes.
    """

    time_numerator: int = 1
    time_denominator: int = 25
    range: Literal["limited", "full"] = "limited"
    chroma: Literal["444", "422", "420", "gray", "rgb"] = "420"
    siting: Literal["unknown", "left", "centre", "top-left", "top", "bottom-left", "bottom"] = "unknown"
    primaries: int = 2
    transfer: int = 2
    matrix: int = 2

    @property
    def time_base(self) -> Fraction:
        """In seconds."""
        return Fraction(self.time_numerator, self.time_denominator)


@dataclass(frozen=True)
class Head:
    """What a decoder must know before the first unit (the HEAD chunk, spec section 3.1; of a clip CLIP, too).

    `width`, `height` in pixels; `depth` in bits per sample; `quality_index` is 0..63; `model_id` is the first 8 bytes
    of the SHA-256 of the model's exact part. `clip` is there for the kind "clip" alone.
    """

    kind: Kind
    width: int
    height: int
    colour: Colour
    depth: int
    quality_index: int
    model_id: bytes
    clip: ClipHead | None = None


@dataclass(frozen=True)
class Unit:
    """What is coded at once, and one chunk CODE of the file (spec section 3.2): a picture, a tile of it, or a frame.

    `role` says what the streams mean: "picture" what stands for itself, "inter" a frame given the one before it.
    `index` is the number of a tile, or in a clip the time of a frame; units come in ascending order of it.
    `quality_index` is 0..63, or None for that of the head. `streams` are 1 to 255; a latent is its hyperlatent's stream
    and then its slices' in coding order, and a frame "inter" has those of its motion and then those of its residual.
    """

    role: Role
    index: int
    quality_index: int | None
    streams: tuple[bytes, ...]


@dataclass(frozen=True)
class UnitHead:
    """A unit without its streams: their `sizes`, and the `offset` of the first in the file, all in bytes.

    Its chunk begins at `start` and is CODE `number` of the file.
    """

    role: Role
    index: int
    quality_index: int | None
    sizes: tuple[int, ...]
    offset: int
    start: int
    number: int


def head_of(chunk: Chunk) -> Head:
    """The head in a file's first chunk. Raises Corrupt for another chunk, else as `Chunk.record`."""
    if chunk.code != HEAD.code:
        raise Corrupt("the first chunk must be HEAD", offset=chunk.offset, chunk=chunk.label)
    return Head(**chunk.record(chunk.payload()))


def clip_head_of(chunk: Chunk) -> ClipHead:
    """What a clip's second chunk says. Raises Corrupt for another chunk, else as `Chunk.record`."""
    if chunk.code != CLIP.code:
        chunk.leave()  # framing before meaning
        raise Corrupt("the second chunk of a clip must be CLIP", offset=chunk.offset, chunk=chunk.label)
    return ClipHead(**chunk.record(chunk.payload()))


def record_of(unit: Unit) -> dict[str, Any]:
    """The fields of a unit's CODE."""
    quality = AS_HEAD if unit.quality_index is None else unit.quality_index
    if unit.quality_index == AS_HEAD:
        raise Limit(f"quality_index is {AS_HEAD}, outside 0..{AS_HEAD - 1}")
    own = {"role": unit.role, "index": unit.index, "quality_index": quality}
    return own | {"sizes": tuple(map(len, unit.streams)), "streams": b"".join(unit.streams)}


def _own_quality(record: Mapping[str, Any]) -> int | None:
    return None if record["quality_index"] == AS_HEAD else record["quality_index"]


def unit_of(record: Mapping[str, Any]) -> Unit:
    """The unit that a CODE's fields say."""
    ends = list(accumulate(record["sizes"], initial=0))
    streams = tuple(record["streams"][start:end] for start, end in pairwise(ends))
    return Unit(record["role"], record["index"], _own_quality(record), streams)


def unit_head(chunk: Chunk, head: Head) -> UnitHead:
    """The head of the unit at which a walk stands, of whose payload no more is read than that may take."""
    length = chunk.length - (CRC_BYTES if head.kind == "clip" else 0)
    first = chunk.source.take(min(chunk.length, UNIT_HEAD_BYTES), "the payload")
    cursor = fields.Cursor(first, chunk.start, length, chunk.label)
    record = fields.begin(CODE.fields[:-1], cursor)
    return UnitHead(
        record["role"],
        record["index"],
        _own_quality(record),
        record["sizes"],
        cursor.position,
        chunk.offset,
        chunk.number,
    )
