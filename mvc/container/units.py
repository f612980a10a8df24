"""What is in a file, as values: heads and units, and the chunks they are read from (spec section 3)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING, Any, Literal

from mvc.container import fields
from mvc.container.chunks import CLIP, CODE, CRC_BYTES, HEAD, NEXT, Chunk
from mvc.errors import Corrupt, Limit, Unsupported

if TYPE_CHECKING:
    from fractions import Fraction

Kind = Literal["still", "clip"]
Colour = Literal["rgb", "gray"]
Role = Literal["picture", "inter", "exact", "alpha", "between"]

MOST_INDEX = 0xFFFFFFFF
AS_HEAD = 64  # a unit's quality_index in the file where it has none of its own
NEAR_AT, CHANGED_AT, CHANGED = 2, 3, 8
"""The bytes of an exact coder's stream that say the greatest error, and whether samples were changed before: a bit."""
APART = 0x80  # from which first byte on a stream has another header
UNIT_HEAD_BYTES = 1 + 5 + 1 + 1 + 254 * 5 + CHANGED_AT + 1  # of a CODE that are read for its head, at most


@dataclass(frozen=True)
class ClipHead:
    """What is the same for all frames of a clip (the CLIP chunk, spec section 3.3).

    Times of units count in `time_numerator` / `time_denominator` seconds. The rest says how the samples of the source
    were to be understood and is given back: `primaries`, `transfer` and `matrix` are codes of ITU-T H.273 (2: not
    known), `range`, `chroma` and `siting` those of its luma and chroma planes. A pixel is `aspect_numerator` /
    `aspect_denominator` times as wide as it is high. A frame that comes `step` after the one before need not say its
    time.
    """

    time_numerator: int = 1
    time_denominator: int = 25
    range: Literal["limited", "full"] = "limited"
    chroma: Literal["444", "422", "420", "gray", "rgb"] = "420"
    siting: Literal["unknown", "left", "centre", "top-left", "top", "bottom-left", "bottom"] = "unknown"
    primaries: int = 2
    transfer: int = 2
    matrix: int = 2
    aspect_numerator: int = 1
    aspect_denominator: int = 1
    step: int = 1

    @property
    def time_base(self) -> Fraction:
        """In seconds."""
        from fractions import Fraction

        return Fraction(self.time_numerator, self.time_denominator)

    @property
    def aspect(self) -> Fraction:
        """The width of a pixel divided by its height."""
        from fractions import Fraction

        return Fraction(self.aspect_numerator, self.aspect_denominator)


@dataclass(frozen=True)
class Head:
    """What a decoder must know before the first unit (the HEAD chunk, spec section 3.1; of a clip CLIP, too).

    `width`, `height` in pixels; `depth` in bits per sample; `quality_index` is 0..63; `model_id` is the first 8 bytes
    of the SHA-256 of the model's exact part. Both are None where the exact coder made all units: no model is needed
    then. `clip` is there for the kind "clip" alone; `alpha` says that the picture has it; `tile_px` is the side of the
    tiles that a still is coded in, 0 where it is one.
    """

    kind: Kind
    width: int
    height: int
    colour: Colour
    depth: int
    quality_index: Any  # int or None, and bytes or None below: where there is no doubt it need not be asked
    model_id: Any
    clip: ClipHead | None = None
    alpha: bool = False
    tile_px: int = 0

    @property
    def linked(self) -> bool:
        """Whether every unit has a checksum of its own (spec section 2.4): the file can be entered at any of them."""
        return self.kind == "clip" or self.tile_px > 0

    @property
    def has_exact(self) -> bool:
        """Whether the exact coder made any of the units."""
        return self.model_id is None or self.alpha

    @property
    def coder(self) -> Literal["network", "exact"]:
        """What made the picture or the frames."""
        return "exact" if self.model_id is None else "network"


@dataclass(frozen=True)
class Unit:
    """What is coded at once, and one chunk CODE of the file (spec section 3.2): a picture, a tile of it, or a frame.

    `role` says what the streams mean: "picture" what stands for itself, "inter" a frame given the one before it
    that is not "between", "between" a frame given others on both sides of it (spec section 3.2),
    "exact" what the exact coder made, "alpha" (by the same coder) the alpha of the unit before it, of the same index.
    `index` is the number of a tile, or in a clip the time of a frame; units come in ascending order of it.
    `quality_index` is 0..63, or None for that of the head. `streams` are 1 to 255; a latent is its hyperlatent's stream
    and then its slices' in coding order, and a frame "inter" has those of its motion and then those of its residual.
    Units "exact" and "alpha" have one stream and no quality.
    `latent_sum` is the checksum of the latent of a still's "picture" (spec section 3.11), for the file's SUMS; units
    that a `Reader` gives have none.
    """

    role: Role
    index: int
    quality_index: int | None
    streams: tuple[bytes, ...]
    latent_sum: int = 0


@dataclass(frozen=True)
class UnitHead:
    """A unit without its streams: their `sizes`, and the `offset` of the first in the file, all in bytes.

    Its chunk begins at `start` and is unit `number` of the file. `near` is the greatest error of a sample that the
    exact coder says, None where another coder made the unit; `changed` that there are others, as it was given fewer
    colours.
    """

    role: Role
    index: int
    quality_index: int | None
    sizes: tuple[int, ...]
    offset: int
    start: int
    number: int
    near: int | None = None
    changed: bool = False


def head_of(chunk: Chunk) -> Head:
    """The head in a file's first chunk. Raises Corrupt for another chunk, else as `Chunk.record`."""
    if chunk.code != HEAD.code:
        raise Corrupt("the first chunk must be HEAD", offset=chunk.offset, chunk=chunk.label)
    head = Head(**chunk.record(chunk.payload()))
    if head.kind == "clip" and head.model_id is None:
        raise Corrupt("a clip must name a model", offset=chunk.start, chunk=chunk.label)
    if (head.kind == "clip" and head.alpha) or (head.model_id is not None and head.depth != 8):
        what = "alpha in a clip" if head.alpha and head.depth == 8 else f"{head.depth} bits per sample by a model"
        raise Unsupported(f"{what}: this version does not know that", hint=fields.UPGRADE)
    if head.kind == "clip" and head.tile_px:
        raise Unsupported("a clip in tiles: this version does not know that", hint=fields.UPGRADE)
    return head


def clip_head_of(chunk: Chunk) -> ClipHead:
    """What a clip's second chunk says. Raises Corrupt for another chunk, else as `Chunk.record`."""
    if chunk.code != CLIP.code:
        chunk.leave()  # framing before meaning
        raise Corrupt("the second chunk of a clip must be CLIP", offset=chunk.offset, chunk=chunk.label)
    return ClipHead(**chunk.record(chunk.payload()))


Place = tuple[int, int]
"""Where a unit stands among the others: its index, and 1 for what belongs to the unit before it, else 0."""


def place_of(unit: Unit | UnitHead) -> Place:
    """Units stand in ascending order of this."""
    return unit.index, int(unit.role == "alpha")


def record_of(unit: Unit) -> dict[str, Any]:
    """The fields of a unit's CODE, and of its NEXT."""
    quality = AS_HEAD if unit.quality_index is None else unit.quality_index
    if unit.quality_index == AS_HEAD:
        raise Limit(f"quality_index is {AS_HEAD}, outside 0..{AS_HEAD - 1}")
    own = {"role": unit.role, "index": unit.index, "quality_index": quality}
    streams = b"".join(unit.streams)
    return own | {"sizes": tuple(map(len, unit.streams)), "streams": streams, "stream": streams}


def is_next(unit: Unit | UnitHead, head: Head, last: int) -> bool:
    """Whether a unit behind one of the index `last` (-1: behind none) is to be a NEXT in the file, not a CODE."""
    if head.clip is None or last < 0 or unit.role not in ("inter", "between"):
        return False
    count = len(unit.streams if isinstance(unit, Unit) else unit.sizes)
    return count == 1 and unit.index == last + head.clip.step


def _next_index(chunk: Chunk, head: Head, last: int) -> int:
    """The index of a NEXT."""
    if head.clip is None or last < 0:
        raise Corrupt("there is no unit before it", offset=chunk.offset, chunk=chunk.label)
    index = last + head.clip.step
    if index > MOST_INDEX:
        raise Limit(f"index is {index}, outside 0..{MOST_INDEX}")
    return index


def _own_quality(record: Mapping[str, Any]) -> int | None:
    return None if record["quality_index"] == AS_HEAD else record["quality_index"]


def unit_of(chunk: Chunk, body: bytes, head: Head, last: int) -> Unit:
    """The unit that a CODE or NEXT behind one of the index `last` says. Raises as `Chunk.record`."""
    record = chunk.record(body)
    if chunk.code == NEXT.code:
        return Unit(record["role"], _next_index(chunk, head, last), _own_quality(record), (record["stream"],))
    ends = list(accumulate(record["sizes"], initial=0))
    streams = tuple(record["streams"][start:end] for start, end in pairwise(ends))
    return Unit(record["role"], record["index"], _own_quality(record), streams)


def unit_head(chunk: Chunk, head: Head, last: int) -> UnitHead:
    """The head of the unit at which a walk stands, of whose payload no more is read than that may take.

    `last` is the index of the unit before it, -1 where there is none.
    """
    length = chunk.length - (CRC_BYTES if head.linked else 0)
    first = chunk.source.take(min(chunk.length, UNIT_HEAD_BYTES), "the payload")
    cursor = fields.Cursor(first, chunk.start, length, chunk.label)
    near, changed = None, False
    if chunk.code == NEXT.code:
        record = fields.begin(NEXT.fields[:-1], cursor)
        record |= {"index": _next_index(chunk, head, last), "sizes": (cursor.left(),)}
    else:
        record = fields.begin(CODE.fields[:-1], cursor)
    if record["role"] in ("exact", "alpha") and record["sizes"][0] > NEAR_AT:
        stream = first[cursor.position - cursor.start :]
        near = stream[NEAR_AT]
        changed = record["sizes"][0] > CHANGED_AT and stream[0] < APART and stream[CHANGED_AT] & CHANGED > 0
    return UnitHead(
        record["role"],
        record["index"],
        _own_quality(record),
        record["sizes"],
        cursor.position,
        chunk.offset,
        chunk.number,
        near,
        changed,
    )
