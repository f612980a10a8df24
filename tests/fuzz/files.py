"""Damaged .mvc files: taken apart by field, changed, and put together again with a right checksum or a wrong one."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import Any

from valid_files import chunks_of, repaired

from fuzz.bytes_of import SIZES, cut, flips, havoc
from fuzz.seeds import coded_seeds
from mvc.container import read_file
from mvc.container.chunks import CLIP, CODE, END, NEXT, SIGNATURE, UNITS, Link, crc32c, frame


def varint(value: int, padding: int = 0) -> bytes:
    """A varint, if wanted longer than it may be."""
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    for _ in range(padding):
        out[-1] |= 0x80
        out.append(0)
    return bytes(out)


ROLES = ("picture", "inter", "exact", "alpha", "between")


@dataclass
class Coded:
    """A chunk CODE or NEXT whose fields can be anything; what is None follows from the streams."""

    flags: int
    index: int
    quality: int
    streams: list[bytes]
    count: int | None = None
    sizes: list[int] | None = None
    padding: int = 0
    behind: bytes = b""
    kind: int = CODE.code

    def payload(self) -> bytes:
        if self.kind == NEXT.code:
            between = self.flags == ROLES.index("between")
            return bytes([self.quality ^ between << 7]) + b"".join(self.streams) + self.behind
        count = len(self.streams) if self.count is None else self.count
        sizes = list(map(len, self.streams[:-1])) if self.sizes is None else self.sizes
        start = bytes([self.flags]) + varint(self.index, self.padding) + bytes([self.quality, count % 256])
        return start + b"".join(map(varint, sizes)) + b"".join(self.streams) + self.behind


@dataclass
class Parts:
    """A file taken apart: HEAD's fields, and the chunks behind it; raw ones are (type, payload, length or None)."""

    flags: int
    width: int
    height: int
    quality: int | None
    model_id: bytes
    chunks: list[Coded | tuple[int, bytes, bytes | None]]
    padding: int = 0
    behind: bytes = b""
    kinds: list[int] = field(default_factory=lambda: [1])  # of the first chunk, and how often it comes

    @property
    def codes(self) -> list[Coded]:
        return [chunk for chunk in self.chunks if isinstance(chunk, Coded)]

    def data(self, *, clip_checked: bool = True) -> bytes:
        """The file, with a right checksum at its end and, unless not wanted, of each unit of a clip."""
        sides = varint(self.width, self.padding) + varint(self.height)
        model = b"" if self.quality is None else bytes([self.quality]) + self.model_id
        payload = bytes([self.flags]) + sides + model + self.behind
        data = SIGNATURE + b"".join(frame(kind, len(payload)) + payload for kind in self.kinds)
        link = Link(crc32c(data))
        for chunk in self.chunks:
            if isinstance(chunk, Coded):
                payload = chunk.payload()
                if self.flags & 3 == 1:
                    crc = link.crc(payload, chunk.kind) if clip_checked else b"cksm"
                    payload, link = payload + crc, link._replace(last=crc)
                data += frame(chunk.kind, len(payload)) + payload
            else:
                kind, payload, length = chunk
                data += (frame(kind, len(payload)) if length is None else bytes([kind]) + length) + payload
                if kind == CLIP.code:
                    link = Link(crc32c(data))
        return repaired(data + frame(END.code, 4) + bytes(4))


def taken_apart(data: bytes) -> Parts:
    """Of a valid file."""
    head, units = read_file(data)
    flags = ["still", "clip"].index(head.kind) | ["rgb", "gray"].index(head.colour) << 2
    flags |= head.alpha << 3 | [8, 16].index(head.depth) << 4
    chunks: list[Any] = []
    own = iter(units)
    for code, payload in chunks_of(data)[1:]:
        if code in UNITS:
            unit = next(own)
            quality = 64 if unit.quality_index is None else unit.quality_index
            chunks.append(Coded(ROLES.index(unit.role), unit.index, quality, list(unit.streams), kind=code))
        else:
            chunks.append((code, payload, None))
    return Parts(flags, head.width, head.height, head.quality_index, head.model_id or b"", chunks)


# --- changes: each takes the parts and changes them in place, or returns a file ---------------------------------------


def _head(random: Random, parts: Parts) -> None:
    match random.randrange(7):
        case 0:
            parts.width = random.choice(SIZES)
        case 1:
            parts.height = random.choice(SIZES)
        case 2:
            parts.width, parts.height = random.choice(SIZES[:20]), random.choice(SIZES[:20])
        case 3:
            parts.quality = random.choice([random.randrange(64), random.randrange(256), None])
        case 4:
            parts.flags = random.choice([*(parts.flags ^ bit for bit in (1, 4, 8, 16)), random.randrange(256)])
        case 5:
            parts.model_id = random.choice([flips(random, parts.model_id, 1), bytes(8), parts.model_id[:-1]])
        case 6:
            parts.padding, parts.behind = random.choice([(1, b""), (4, b""), (5, b""), (0, b"\0"), (0, b"1234")])


def _unit(random: Random, parts: Parts) -> None:
    unit = random.choice(parts.codes)
    match random.randrange(6):
        case 0:
            unit.flags, unit.kind = random.randrange(256), random.choice([unit.kind, *UNITS])
        case 1:
            unit.index, unit.padding = random.choice(SIZES), random.choice([0, 0, 1, 3, 5])
        case 2:
            unit.quality = random.choice([random.randrange(65), random.randrange(256)])
        case 3:
            unit.count = random.choice([0, 1, 2, len(unit.streams) + 1, len(unit.streams) - 1, 255])
        case 4:
            unit.sizes = [len(stream) for stream in unit.streams[:-1]]
            for _ in range(random.choice([1, 1, 3]) if unit.sizes else 0):
                at = random.randrange(len(unit.sizes))
                unit.sizes[at] = random.choice([unit.sizes[at] + 1, max(0, unit.sizes[at] - 1), *SIZES])
        case 5:
            unit.behind = random.randbytes(random.choice([1, 4, 40]))


def _stream_bits(random: Random, parts: Parts) -> None:
    unit = random.choice(parts.codes)
    at = random.randrange(len(unit.streams))
    unit.streams[at] = flips(random, unit.streams[at], random.choice([1, 1, 1, 2, 4, 16]))


def _stream_whole(random: Random, parts: Parts) -> None:
    unit = random.choice(parts.codes)
    at = random.randrange(len(unit.streams))
    own = unit.streams[at]
    size = random.choice([0, 1, 2, 3, 4, 5, 6, 16, 64, 1000, 20000])
    unit.streams[at] = random.choice(
        [
            *(b"", own[:-1], own[:-2], cut(random, own), own + b"\0\0", own + random.randbytes(random.randrange(1, 5))),
            *(random.randbytes(size), bytes([random.choice([0, 1, 0x7F, 0x80, 0xFF])]) * size),
            *(b"\0\0\1", b"\0\0\1\0", b"\0\0\0\1", b"\xff" * 5, b"\0\0\0\0\1", b"\0\0\0\1" + b"\0" * size),
            *(havoc(random, own), havoc(random, own[:5]) + own[5:]),
        ]
    )


def _streams(random: Random, parts: Parts) -> None:
    """Other streams than a unit's own: swapped, of another unit, of another file, one more or less."""
    unit = random.choice(parts.codes)
    other = random.choice(random.choice([parts.codes, taken_apart(random.choice(coded_seeds())).codes])).streams
    one, two = random.randrange(len(unit.streams)), random.randrange(len(other))
    match random.randrange(4):
        case 0:
            swap = random.randrange(len(unit.streams))
            unit.streams[one], unit.streams[swap] = unit.streams[swap], unit.streams[one]
        case 1:
            unit.streams[one] = other[two]
        case 2:
            unit.streams[:] = other
        case 3:
            unit.streams[one : one + random.randrange(2)] = [other[two]] * random.choice([0, 1, 2, 250])
            unit.streams = unit.streams or [b""]


def _chunks(random: Random, parts: Parts) -> None:
    """Another order, copies, omissions, unknown chunks, lengths that are not kept."""
    chunks = parts.chunks
    at, place = random.randrange(len(chunks)), random.randrange(len(chunks) + 1)
    match random.randrange(8):
        case 0:
            random.shuffle(chunks)
        case 1:
            chunks.insert(place, copy.deepcopy(chunks[at]))
        case 2:
            del chunks[at]
        case 3:
            chunks.insert(place, (random.randrange(256), random.randbytes(random.choice([0, 1, 5, 200])), None))
        case 4:
            count = random.choice([1, 10, 1000, 1500])
            chunks[place:place] = [(random.randrange(0x80, 256), random.randbytes(3), None) for _ in range(count)]
        case 5:
            parts.kinds = random.choice([[], [1, 1], [2], [2, 1], [0x81, 1], [random.randrange(256)]])
        case 6:
            chunk = chunks[at]
            payload = chunk.payload() if isinstance(chunk, Coded) else chunk[1]
            size = len(payload)
            lengths = [varint(size, 1), varint(size, 3), varint(size, 5), varint(size + 1), varint(max(0, size - 1))]
            lengths += [varint(random.choice(SIZES)), b"\xff" * random.randrange(1, 9), b"\x80" * 5 + b"\1"]
            chunks[at] = (2, payload, random.choice(lengths))
        case 7:
            chunk = chunks[at]
            if isinstance(chunk, Coded):
                chunks[at] = (2, havoc(random, chunk.payload()), None)


CHANGES: tuple[tuple[str, Callable[[Random, Parts], None]], ...] = (
    ("head", _head),
    ("unit", _unit),
    ("stream bits", _stream_bits),
    ("stream bits", _stream_bits),
    ("stream whole", _stream_whole),
    ("streams", _streams),
    ("chunks", _chunks),
)


def mutated(random: Random, data: bytes) -> tuple[str, bytes]:
    """A file with one or two changes; its kind says which, and whether the checksum was repaired."""
    draw = random.randrange(12)
    if draw == 0:
        return "raw", havoc(random, data)
    if draw == 1:
        return "raw, repaired", repaired(havoc(random, data))
    if draw == 2:
        return "cut", cut(random, data)
    if draw == 3:
        return "end", random.choice([data + random.randbytes(random.randrange(1, 9)), data + data, data[:-1] + b"\0"])
    parts = taken_apart(data)
    kinds = []
    for _ in range(random.choice([1, 1, 1, 2])):
        if not parts.codes:
            break
        kind, change = random.choice(CHANGES)
        change(random, parts)
        kinds.append(kind)
    damaged = parts.data(clip_checked=random.random() < 0.9)
    return " and ".join(sorted(kinds)), damaged if random.random() < 0.9 else flips(random, damaged, 1)
