"""A second, independent decoder of mvc files, down to the symbols and y_hat: stdlib and numpy alone.

    python conformance/reference_decoder.py FILE.mvc --weights mvc/weights/mambavc-lite [--sha256]

It follows bitstream_spec.md section by section, imports nothing of the package, and computes in 64-bit
integers. It prints two SHA-256 sums, over all tiles that a model made, one after another: of the symbols (int32,
little-endian, in decoding order, hyperlatent first, then slice after slice) and of y_hat (int32, little-endian,
[H, W, M]). A symbol-exact decoder (section 1.4) has the same ones. Section 6, the samples, is not its business. It
decodes stills that a model made; clips are decoded by reference_clips.py beside it, exact files and alpha by
reference_exact.py: both are made of the same parts.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import struct
import sys
import zlib
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any

import numpy as np

Array = np.ndarray
Layer = tuple[Array, Array, int]


class Refused(Exception):
    """The file, or the model, must be refused; `reason` is one of the classes of section 1.5, or Weights."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(f"{reason}: {message}")
        self.reason = reason


def require(condition: object, reason: str, message: str) -> None:
    if not condition:
        raise Refused(reason, message)


# Section 2: container


def read_varint(data: bytes, position: int, end: int, short: str = "Truncated") -> tuple[int, int]:
    """Section 2.2: the varint at `position`, and the position behind it."""
    value = 0
    for index in range(5):
        require(position < end, short, f"a varint ends too early (byte {position})")
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << 7 * index
        if byte < 0x80:
            require(index == 0 or byte != 0, "Corrupt", f"a varint is padded (byte {position - 1})")
            return value, position
    raise Refused("Corrupt", f"a varint has more than five bytes (byte {position})")


SIGNATURE = bytes.fromhex("934D56430D0A1A")
HEAD, CODE, CLIP, NEXT, SUMS, END, META = 0x01, 0x02, 0x03, 0x04, 0x05, 0x7F, 0x83
ROLES = ("picture", "inter", "exact", "alpha", "between")


@dataclass(frozen=True)
class Chunk:
    """`offset` and `start` are those of the chunk and of its payload in the file."""

    kind: int
    offset: int
    start: int
    payload: bytes


def read_chunks(data: bytes) -> Iterator[Chunk]:
    """Section 2.3: every chunk, END included."""
    if not data.startswith(SIGNATURE):
        raise Refused("Truncated" if SIGNATURE.startswith(data) else "NotMvc", "the signature is missing")
    require(len(data) > 7, "Truncated", "the version is missing")
    require(data[7] == 0, "Unsupported", f"version {data[7]} is not known")
    kind, position = None, 8
    while kind != END:
        offset = position
        require(offset < len(data), "Truncated", "the file ends before its END chunk")
        kind = data[offset]
        length, start = read_varint(data, offset + 1, len(data))
        require(length <= 2**30, "Limit", f"the chunk at byte {offset} is longer than 2^30 bytes")
        position = start + length
        require(position <= len(data), "Truncated", f"the chunk at byte {offset} is cut")
        yield Chunk(kind, offset, start, data[start:position])
    require(position == len(data), "Corrupt", f"the file goes on after END (byte {position})")


def _crc_table() -> list[int]:
    table = []
    for register in range(256):
        for _ in range(8):
            register = register >> 1 ^ (0x82F63B78 if register & 1 else 0)
        table.append(register)
    return table


CRC_TABLE = _crc_table()


def crc32c(data: bytes) -> int:
    """Section 2.4, a byte at a time."""
    register = 0xFFFFFFFF
    for byte in data:
        register = register >> 8 ^ CRC_TABLE[(register ^ byte) & 0xFF]
    return register ^ 0xFFFFFFFF


# Section 3: chunks and their fields


@dataclass(frozen=True)
class ClipHead:
    """Section 3.3."""

    range: str
    chroma: str
    siting: str
    time_numerator: int
    time_denominator: int
    primaries: int
    transfer: int
    matrix: int
    aspect_numerator: int
    aspect_denominator: int
    step: int


@dataclass(frozen=True)
class Head:
    kind: str
    colour: str
    width: int
    height: int
    quality_index: int | None
    model_id: bytes | None
    clip: ClipHead | None = None
    alpha: bool = False
    depth: int = 8
    tile_px: int = 0
    sums: tuple[int, ...] = ()


@dataclass(frozen=True)
class Unit:
    """`quality_index` is None for that of the head."""

    role: str
    index: int
    quality_index: int | None
    streams: list[bytes]


def read_head(payload: bytes) -> Head:
    """Section 3.1."""
    require(payload, "Corrupt", "HEAD is empty")
    flags = payload[0]
    kind, colour, alpha, depth, tile = flags & 3, flags >> 2 & 1, flags >> 3 & 1, flags >> 4 & 3, flags >> 6
    known = kind <= 1 and depth <= 1
    require(known, "Unsupported", f"HEAD has the flags 0x{flags:02x}")
    width, position = read_varint(payload, 1, len(payload), "Corrupt")
    require(1 <= width <= 65535, "Limit", f"the width is {width}")
    height, position = read_varint(payload, position, len(payload), "Corrupt")
    require(1 <= height <= 65535, "Limit", f"the height is {height}")
    quality_index = model_id = None
    if position < len(payload):
        require(payload[position] <= 63, "Limit", f"the quality index is {payload[position]}")
        require(len(payload) == position + 9, "Corrupt", "HEAD has the wrong length")
        quality_index, model_id = payload[position], payload[position + 1 :]
    require(kind == 0 or model_id is not None, "Corrupt", "a clip names no model")
    require(kind == 0 or not alpha, "Unsupported", "a clip has alpha")
    require(depth == 0 or model_id is None, "Unsupported", "a model codes 16 bits")
    require(kind == 0 or not tile, "Unsupported", "a clip is in tiles")
    names = ("still", "clip")[kind], ("rgb", "gray")[colour]
    tile_px = (0, 256, 512, 1024)[tile]
    return Head(*names, width, height, quality_index, model_id, None, alpha == 1, (8, 16)[depth], tile_px)


def read_unit(payload: bytes) -> Unit:
    """Section 3.2, without the checksum that a clip has there."""
    require(payload, "Corrupt", "CODE is empty")
    require(payload[0] < len(ROLES), "Unsupported", f"CODE has the flags 0x{payload[0]:02x}")
    index, position = read_varint(payload, 1, len(payload), "Corrupt")
    require(index < 2**32, "Limit", f"a unit has the index {index}")
    require(len(payload) > position, "Corrupt", "CODE is cut")
    quality_index = payload[position]
    require(quality_index <= 64, "Limit", f"a unit has the quality index {quality_index}")
    require(len(payload) > position + 1, "Corrupt", "CODE is cut")
    count, position = payload[position + 1], position + 2
    require(count > 0, "Limit", "a unit has no streams")
    sizes = []
    for _ in range(count - 1):
        size, position = read_varint(payload, position, len(payload), "Corrupt")
        sizes.append(size)
    sizes.append(len(payload) - position - sum(sizes))
    require(sizes[-1] >= 0, "Corrupt", "the streams are longer than their chunk")
    ends = list(accumulate(sizes, initial=position))
    streams = [payload[start:end] for start, end in pairwise(ends)]
    return Unit(ROLES[payload[0]], index, None if quality_index == 64 else quality_index, streams)


def read_next(payload: bytes, before: Unit | None, step: int) -> Unit:
    """Section 3.10, without the checksum."""
    require(payload, "Corrupt", "NEXT is empty")
    role, quality_index = ("inter", "between")[payload[0] >> 7], payload[0] & 127
    require(quality_index <= 64, "Unsupported", f"NEXT has the flags 0x{payload[0]:02x}")
    if before is None:
        raise Refused("Corrupt", "there is no unit before NEXT")
    require(before.index + step < 2**32, "Limit", "the index of a NEXT is too large")
    return Unit(role, before.index + step, None if quality_index == 64 else quality_index, [payload[1:]])


def read_clip(payload: bytes) -> ClipHead:
    """Section 3.3."""
    require(payload, "Corrupt", "CLIP is empty")
    flags = payload[0]
    full, chroma, siting, reserved = flags & 1, flags >> 1 & 7, flags >> 4 & 7, flags >> 7
    known = chroma <= 4 and siting <= 6 and reserved == 0
    require(known, "Unsupported", f"CLIP has the flags 0x{flags:02x}")
    position, unit = 1, []
    for _ in range(2):
        value, position = read_varint(payload, position, len(payload), "Corrupt")
        require(0 < value < 2**32, "Limit", f"the unit of time has the part {value}")
        unit.append(value)
    colours, position = payload[position : position + 3], position + 3
    require(len(colours) == 3, "Corrupt", "CLIP is too short")
    aspect = []
    for _ in range(2):
        value, position = read_varint(payload, position, len(payload), "Corrupt")
        require(0 < value < 2**16, "Limit", f"the aspect has the part {value}")
        aspect.append(value)
    step, position = read_varint(payload, position, len(payload), "Corrupt")
    require(0 < step < 2**32, "Limit", f"the step is {step}")
    require(len(payload) == position, "Corrupt", "CLIP is too long")
    sites = ("unknown", "left", "centre", "top-left", "top", "bottom-left", "bottom")
    names = ("limited", "full")[full], ("444", "422", "420", "gray", "rgb")[chroma], sites[siting]
    return ClipHead(*names, *unit, *colours, *aspect, step)


def check(stored: bytes, data: bytes) -> None:
    """Section 2.4."""
    found = crc32c(data).to_bytes(4, "little")
    require(found == stored, "Checksum", f"the CRC-32C has the bytes {found.hex()}, and should have {stored.hex()}")


def check_end(data: bytes, end: Chunk) -> None:
    require(len(end.payload) == 4, "Corrupt", "END has the wrong length")
    check(end.payload, data[: end.start])


def read_file(data: bytes) -> tuple[Head, list[Unit]]:
    """Section 3.6: the header and the units."""
    chunks = read_chunks(data)
    first = next(chunks)
    head: Head | Refused
    try:
        require(first.kind == HEAD, "Corrupt", "the first chunk is not HEAD")
        head = read_head(first.payload)
    except Refused as error:
        head = error
    if isinstance(head, Head) and head.kind == "clip":
        first = next(chunks)
        try:
            require(first.kind == CLIP, "Corrupt", "the second chunk of a clip is not CLIP")
            head = replace(head, clip=read_clip(first.payload))
        except Refused as error:
            head = error
    if isinstance(head, Refused) or head.kind == "still":  # framing and checksum first
        rest = list(chunks)
        check_end(data, [first, *rest][-1])
        chunks = iter(rest)
    if isinstance(head, Refused):
        raise head
    beginning, last = data[: first.start + len(first.payload)], b""
    units: list[Unit] = []
    for chunk in chunks:
        payload = chunk.payload
        if chunk.kind == END:
            next(chunks, None)  # refuses bytes behind END
            check_end(data, chunk)
        elif chunk.kind == CODE or (chunk.kind == NEXT and head.clip):
            require(not head.sums, "Corrupt", "a CODE behind SUMS")
            if head.clip or head.tile_px:
                require(len(payload) >= 4, "Corrupt", "a unit is too short for its checksum")
                payload, stored = payload[:-4], payload[-4:]
                refers = chunk.kind == NEXT or payload[:1] in (b"\x01", b"\x04")  # inter and between
                before = last if refers else b""
                check(stored, beginning + before + data[chunk.offset : chunk.start] + payload)
                last = stored
            if chunk.kind == NEXT:
                unit = read_next(payload, units[-1] if units else None, head.clip.step)
            else:
                unit = read_unit(payload)
            places = [(one.index, one.role == "alpha") for one in (*units[-1:], unit)]
            require(places == sorted(set(places)), "Corrupt", f"unit {unit.index} is out of order")
            refers = unit.role in ("inter", "between")
            if chunk.kind == CODE and head.clip and units and refers and len(unit.streams) == 1:
                short = unit.index == units[-1].index + head.clip.step
                require(not short, "Corrupt", f"unit {unit.index} is to be a NEXT")
            units.append(unit)
        elif chunk.kind == SUMS:
            require(units and not head.sums, "Corrupt", "SUMS is out of place")
            numbers = [one.index for one in units if one.role != "alpha"]
            right = head.kind == "still" and numbers == list(range(len(tiles_of(head))))
            right = right and len(payload) == 4 * len(numbers) and any(payload)
            require(right, "Corrupt", f"SUMS has {len(payload)} bytes")
            head = replace(head, sums=struct.unpack(f"<{len(payload) // 4}I", payload))
        else:
            misplaced = chunk.kind in (HEAD, CLIP, NEXT)
            require(not misplaced, "Corrupt", f"HEAD, CLIP or NEXT is out of place at byte {chunk.offset}")
            require(chunk.kind >= 0x80, "Unsupported", f"the critical chunk 0x{chunk.kind:02x} is not known")
    require(units, "Corrupt", "the file has no unit")
    return head, units


def read_metadata(data: bytes) -> dict[str, bytes]:
    """Section 3.9: the metadata of a still by kind, of each the first that is sound."""
    found: dict[str, bytes] = {}
    chunks = read_chunks(data)
    if read_head(next(chunks).payload).kind == "still":
        for chunk in chunks:
            kind, own = read_meta(chunk.payload) if chunk.kind == META else (None, b"")
            if kind is not None:
                found.setdefault(kind, own)
    return found


def read_meta(payload: bytes) -> tuple[str | None, bytes]:
    """The kind and the bytes of a META; no kind where it counts as not there."""
    nothing = None, b""
    if not payload or payload[0] & 15 > 9 or payload[0] >> 5:
        return nothing
    names = "icc", "exif", "xmp", "cicp", "thumbnail", "gainmap", "depth", "resolution", "gamma", "grain"
    kind = names[payload[0] & 15]
    try:
        size, position = read_varint(payload, 1, len(payload))
    except Refused:
        return nothing
    if not 1 <= size <= 2**22 or (kind == "cicp" and size != 4):
        return nothing
    own = payload[position:]
    if payload[0] & 16:
        inflater = zlib.decompressobj(wbits=-15)
        try:
            own = inflater.decompress(own, size + 1)
        except zlib.error:
            return nothing
        if not inflater.eof or inflater.unused_data:
            return nothing
    if kind == "resolution" and (size != 9 or own[0] > 3 or not any(own[1:5]) or not any(own[5:9])):
        return nothing
    if kind == "gamma" and size not in (4, 32, 36):
        return nothing
    if kind == "grain" and size != 12:
        return nothing
    if kind == "depth" and (size != 1 or not 9 <= own[0] <= 15):
        return nothing
    return (kind, own) if len(own) == size else nothing


@dataclass(frozen=True)
class Tile:
    """Section 3.2: a tile of a still, in pixels, its unit, and that of its alpha if it has one of its own."""

    number: int
    top: int
    left: int
    height: int
    width: int
    unit: Unit
    alpha: Unit | None


def tiles_of(head: Head) -> list[tuple[int, int, int, int]]:
    """Section 3.2: top, left, height and width of each tile."""

    def parts(side: int) -> list[tuple[int, int]]:
        count = max(1, (2 * side + head.tile_px) // (2 * head.tile_px)) if head.tile_px else 1
        edges = [number * head.tile_px for number in range(count)] + [side]
        return [(start, end - start) for start, end in pairwise(edges)]

    return [(top, left, height, width) for top, height in parts(head.height) for left, width in parts(head.width)]


def tile_units(head: Head, units: list[Unit]) -> Iterator[Tile]:
    """Section 3.2: the tiles of a still, in their order."""
    require(head.kind == "still", "Unsupported", f"the file is a {head.kind}; reference_clips.py decodes those")
    roles = ("exact",) if head.model_id is None else ("exact", "picture")
    rest = list(units)
    for number, place in enumerate(tiles_of(head)):
        found = rest.pop(0) if rest else None
        right = found is not None and found.role in roles and found.index == number
        require(right, "Corrupt", f"where the unit of tile {number} should be there is {found and found.role}")
        assert found is not None
        alpha = rest.pop(0) if head.alpha and rest and (rest[0].role, rest[0].index) == ("alpha", number) else None
        require(found.role == "exact" or not head.alpha or alpha, "Corrupt", f"tile {number} has no alpha")
        yield Tile(number, *place, found, alpha)
    require(not rest, "Corrupt", f"there are {len(rest)} more units")


# Section 4: entropy coding


@dataclass(frozen=True)
class Row:
    """Section 4.1."""

    lowest: int
    half_width: int
    cumulative: list[int]


class StreamDecoder:
    """Sections 4.2 to 4.4; `name` is told in errors."""

    def __init__(self, stream: bytes, name: str) -> None:
        self.name = name
        self.require(len(stream) not in (1, 2), "Truncated", "the state is cut")
        size = len(stream) if len(stream) in (0, 3) else 4 + len(stream) % 2
        self.require(not stream or stream[size - 1] != 0, "Corrupt", "the state is too small for its bytes")
        self.state = int.from_bytes(stream[:size], "little") if stream else 2**16
        self.words = np.frombuffer(stream[size:], "<u2").tolist()
        self.position = 0
        self.empty, self.used = not stream, False

    def require(self, condition: object, reason: str, message: str) -> None:
        require(condition, reason, f"{message} ({self.name})")

    def step(self, frequency: int, cumulative: int, n: int) -> None:
        state = frequency * (self.state >> n) + (self.state & (1 << n) - 1) - cumulative
        if state < 2**24 and self.position < len(self.words):
            state = state << 16 | self.words[self.position]
            self.position += 1
        if state < 2**16:
            self.require(False, "Truncated", "the stream ends too early")
        self.state = state

    def bit(self) -> int:
        value = self.state & 1
        self.step(1, value, 1)
        return value

    def symbol(self, row: Row) -> int:
        slot, cumulative = self.state & 0xFFFF, row.cumulative
        index = bisect_right(cumulative, slot) - 1
        self.step(cumulative[index + 1] - cumulative[index], cumulative[index], 16)
        highest = 2 * row.half_width
        return row.lowest + index if index <= highest else self.escaped(row.lowest, row.lowest + highest)

    def escaped(self, lowest: int, highest: int) -> int:
        """Section 4.4."""
        below, zeros = self.bit(), 0
        while not self.bit():
            zeros += 1
            self.require(zeros <= 21, "Corrupt", "an escape is too long")
        distance = 1
        for _ in range(zeros):
            distance = 2 * distance + self.bit()
        value = lowest - distance if below else highest + distance
        self.require(abs(value) <= 2**20, "Corrupt", "a symbol is out of range")
        return value

    def take(self, rows: list[Row]) -> list[int]:
        """The next symbols, each under its row."""
        self.used = self.used or bool(rows)
        return [self.symbol(row) for row in rows]

    def finish(self) -> None:
        complete = self.state == 2**16 and self.position == len(self.words) and self.used != self.empty
        self.require(complete, "Corrupt", "the stream does not end where it should")


# Section 5.8: the exact part of a model (before 5.1, as everything else needs it)

TYPES = {"I16": "<i2", "U16": "<u2", "I32": "<i4"}
RANGES = {  # section 5.4
    "weight": ("<i2", -(2**14 - 1), 2**14 - 1),
    "bias": ("<i4", -(2**31 - 1), 2**31 - 1),
    "shift": ("<i4", 0, 14),
    "table": ("<i4", 0, 65532),
}


def read_safetensors(data: bytes) -> dict[str, Array]:
    """The exact tensors of a weights file (sections 5.8 and 5.10), as stored."""
    length = int.from_bytes(data[:8], "little")
    require(8 + length <= len(data), "Weights", "the header is cut")
    tensors = {}
    for name, entry in json.loads(data[8 : 8 + length]).items():
        if name.removeprefix("motion.").removeprefix("residual.").startswith(("exact.", "exact_g_s.", "tables.")):
            begin, end = (8 + length + offset for offset in entry["data_offsets"])
            require(end <= len(data), "Weights", f"{name} is cut")
            tensors[name] = np.frombuffer(data[begin:end], TYPES[entry["dtype"]]).reshape(entry["shape"])
    return tensors


def exact_hash(config: dict[str, Any], tensors: dict[str, Array]) -> bytes:
    digest = hashlib.sha256(json.dumps(config, sort_keys=True, separators=(",", ":")).encode())
    for name in sorted(tensors):
        values = tensors[name]
        digest.update(f"{name}:{values.dtype.str}:{values.shape or (1,)}".encode())
        digest.update(values.tobytes())
    return digest.digest()


class Model:
    """The configuration, the layers by name, the gains and the rows of both tables."""

    def __init__(self, config: dict[str, Any], tensors: dict[str, Array]) -> None:
        self.config = config
        self.exact_hash = exact_hash(config, tensors)
        names = ("gain_in", "gain")
        self.gains = {name: tensors[f"exact.h_s.{name}.table"].astype(np.int64) for name in names}
        if "exact_g_s.gain.table" in tensors:  # the motion of a clip
            self.gains["exact_g_s.gain"] = tensors["exact_g_s.gain.table"].astype(np.int64)
        self.hyper_rows, self.latent_rows = (self._rows(tensors, which) for which in ("hyper", "latent"))
        self.layers: dict[str, Layer] = {}
        for name in (n.removesuffix(".weight") for n in tensors if n.endswith(".weight")):
            weight, bias = (tensors[f"{name}.{part}"].astype(np.int64) for part in ("weight", "bias"))
            self.layers[name.removeprefix("exact.")] = weight, bias, int(tensors[f"{name}.shift"])
        for name, values in tensors.items():
            if name.startswith(("exact.", "exact_g_s.")):
                kind, low, high = RANGES[name.rpartition(".")[2]]
                valid = values.dtype == kind and low <= values.min() and values.max() <= high
                require(valid, "Weights", f"{name} is of another type, or outside {low}..{high}")
        for name, layer in self.layers.items():
            require(bound(layer, ".mix" in name) < 2**53, "Weights", f"the layer {name} can exceed 2^53")

    @staticmethod
    def _rows(tensors: dict[str, Array], which: str) -> list[Row]:
        """Section 4.1, from the tensors of section 5.8."""
        half_width, lowest, frequency = (
            tensors[f"tables.{which}.{part}"].astype(np.int64) for part in ("half_width", "lowest", "frequency")
        )
        ends = np.cumsum(2 * half_width + 2)
        require(ends[-1] == frequency.size and (frequency > 0).all(), "Weights", f"bad {which} tables")
        rows = []
        for row, part in enumerate(np.split(frequency, ends[:-1])):
            cumulative = list(accumulate(part.tolist(), initial=0))
            require(cumulative[-1] == 2**16, "Weights", f"row {row} of the {which} table has a wrong sum")
            rows.append(Row(int(lowest[row]), int(half_width[row]), cumulative))
        return rows


def read_model(folder: Path) -> Model:
    try:
        config = json.loads((folder / "manifest.json").read_text())["config"]
        return Model(config, read_safetensors((folder / "weights.safetensors").read_bytes()))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise Refused("Weights", f"{folder} holds no usable model: {error!r}") from error


# Sections 5.2 to 5.4: fixed point, layers, widths

LIMIT = 2**20 - 1


def round_shift(x: Array, n: int) -> Array:
    """floor(x / 2^n + 1/2)."""
    return (x + (1 << n) // 2) >> n


def clamp(x: Array, limit: int = LIMIT) -> Array:
    return np.clip(x, -limit, limit)


def leaky(x: Array) -> Array:
    return np.maximum(x, round_shift(x, 3))


def linear(x: Array, layer: Layer) -> Array:
    """x [H, W, I] -> [H, W, O]."""
    weight, bias, shift = layer
    return clamp(round_shift(x @ weight.T + bias, shift))


def depthwise(x: Array, layer: Layer) -> Array:
    """x [H, W, C] -> [H, W, C], leaky."""
    weight, bias, shift = layer
    height, width, _ = x.shape
    padded = np.pad(x, ((2, 2), (2, 2), (0, 0)))
    sums = np.broadcast_to(bias, x.shape).copy()
    for tap, (r, s) in enumerate(np.ndindex(5, 5)):
        sums += weight[tap] * padded[r : r + height, s : s + width]
    return leaky(clamp(round_shift(sums, shift)))


def gain(x: Array, gains: Array) -> Array:
    return clamp(round_shift(x * gains, 12))


def shuffle(x: Array, factor: int) -> Array:
    """[H, W, f * f * C] -> [f * H, f * W, C]."""
    height, width, channels = x.shape
    x = x.reshape(height, width, factor, factor, channels // factor**2)
    return x.transpose(0, 2, 1, 3, 4).reshape(height * factor, width * factor, -1)


def bound(layer: Layer, is_depthwise: bool) -> int:
    """Section 5.4: no partial sum of the layer exceeds this."""
    weight, bias, shift = layer
    return int((4 * LIMIT * abs(weight).sum(0 if is_depthwise else 1) + abs(bias)).max()) + (1 << shift)


# Sections 5.5 and 5.6: hyperlatent, contexts, corrections


def decode_hyper(decoder: StreamDecoder, model: Model, quality: int, height: int, width: int) -> Array:
    """z [Hz, Wz, Z]."""
    channels = model.config["hyper"]
    first = quality // 4 * channels
    symbols = decoder.take(model.hyper_rows[first : first + channels] * (height * width))
    z = np.array(symbols, np.int64).reshape(height, width, channels)
    decoder.require(abs(z).max() <= 4095, "Corrupt", "a hyperlatent symbol is out of range")
    return z


def sizes_of(height: int, width: int) -> tuple[tuple[int, int], tuple[int, int]]:
    """Section 5.1: rows and columns of y_hat, and of z."""
    height, width = -(-height // 16), -(-width // 16)
    return (height, width), (-(-height // 4), -(-width // 4))


def hyper_synthesis(model: Model, z: Array, quality: int, height: int, width: int) -> Array:
    """features [H, W, P]."""
    layers = model.layers
    x = gain(256 * z, model.gains["gain_in"][quality])
    x = shuffle(linear(x, layers["h_s.up1"]), 2)
    x = x + depthwise(x, layers["h_s.mix1.layer"])
    x = shuffle(linear(x, layers["h_s.up2"]), 2)
    x = x + depthwise(x, layers["h_s.mix2.layer"])
    return gain(x, model.gains["gain"][quality])[:height, :width]


def context(model: Model, name: str, support: Array) -> tuple[Array, Array, Array]:
    """hidden, mean and the row of each symbol."""
    layers = model.layers
    x = linear(support, layers[f"{name}.inp"])
    x = x + depthwise(x, layers[f"{name}.mix.layer"])
    hidden = x + leaky(linear(x, layers[f"{name}.mid"]))
    log_scale = linear(hidden, layers[f"{name}.scale"])
    return hidden, linear(hidden, layers[f"{name}.mean"]), np.clip(round_shift(log_scale, 5), 0, 95)


def correction(model: Model, name: str, hidden: Array, values: Array) -> Array:
    x = leaky(linear(np.concatenate([hidden, values], 2), model.layers[f"{name}.lrp_in"]))
    return clamp(linear(x, model.layers[f"{name}.lrp_out"]), 128)


# Section 5.7: the coding loop


def pass_masks(height: int, width: int, passes: int) -> list[Array]:
    """Which positions each pass codes, bool [H, W]; numpy takes a mask's elements in coding order."""
    odd = np.add.outer(np.arange(height), np.arange(width)) % 2 == 1
    return [np.ones_like(odd)] if passes == 1 else [~odd, odd]


def decode_pass(
    decoder: StreamDecoder, model: Model, mask: Array, mean: Array, rows: Array, order: list[int]
) -> Array:
    """What the symbols of a pass stand for before their correction, [H, W, m]; they are appended to `order`."""
    read = decoder.take([model.latent_rows[row] for row in rows[mask].ravel().tolist()])
    order += read
    symbols = np.zeros_like(mean)
    symbols[mask] = np.array(read, np.int64).reshape(-1, mean.shape[2])
    return clamp(256 * symbols + mean)


def decode_slice(decoder: StreamDecoder, model: Model, k: int, support: Array) -> tuple[Array, list[int], Array]:
    """y_hat of slice k [H, W, m], its symbols in coding order, and where any of them says something, bool [H, W]."""
    height, width, _ = support.shape
    channels, passes = model.config["slices"][k]
    order: list[int] = []
    sent = np.zeros((height, width), bool)
    y_hat = np.zeros((height, width, channels), np.int64)
    for index, mask in enumerate(pass_masks(height, width, passes)):
        name = f"contexts.{k}.{index}"
        seen = support if index == 0 else np.concatenate([support, y_hat], 2)
        hidden, mean, rows = context(model, name, seen)
        values = decode_pass(decoder, model, mask, mean, rows, order)
        sent |= mask & (2 * abs(values - mean) > 256).any(2)
        values = values + correction(model, name, hidden, values)
        y_hat[mask] = values[mask]
    return y_hat, order, sent


def check_head(head: Head, exact_hash: bytes) -> None:
    """Section 6.4."""
    known = exact_hash[:8]
    require(head.model_id == known, "Unsupported", f"made with {(head.model_id or b'').hex()}, not {known.hex()}")


def latent_sum(y_hat: Array) -> int:
    """Section 3.11."""
    return crc32c(y_hat.astype("<i4").tobytes())


def decode_tile(head: Head, tile: Tile, model: Model) -> tuple[list[list[int]], Array]:
    """The symbols in coding order, of the hyperlatent and then of each slice, and y_hat [H, W, M]."""
    unit, parts = tile.unit, 1 + len(model.config["slices"])
    quality = head.quality_index if unit.quality_index is None else unit.quality_index
    assert quality is not None
    expected = 1 if head.tile_px else parts
    require(len(unit.streams) == expected, "Corrupt", f"{len(unit.streams)} streams instead of {expected}")
    same = not head.tile_px or quality == head.quality_index
    require(same, "Corrupt", f"tile {tile.number} has the quality index {quality}")
    y_size, z_size = sizes_of(tile.height, tile.width)
    decoder = StreamDecoder(unit.streams[0], "stream 0")
    z = decode_hyper(decoder, model, quality, *z_size)
    support = hyper_synthesis(model, z, quality, *y_size)
    features, symbols = support.shape[2], [z.ravel().tolist()]
    for k in range(parts - 1):
        if not head.tile_px:  # else all is in one stream
            decoder.finish()
            decoder = StreamDecoder(unit.streams[1 + k], f"stream {k + 1}")
        y_hat, order, _ = decode_slice(decoder, model, k, support)
        support = np.concatenate([support, y_hat], 2)
        symbols.append(order)
    decoder.finish()
    return symbols, support[..., features:]


def decode(data: bytes, model: Model) -> tuple[Head, list[list[int]], list[Array]]:
    """The header, and of the tiles that a model made the symbols, as in their streams, and each y_hat [H, W, M]."""
    head, units = read_file(data)
    symbols: list[list[int]] = []
    latents: list[Array] = []
    named = head.kind != "still" or head.model_id is not None
    require(named, "Unsupported", "the file names no model; reference_exact.py decodes those")
    if head.kind == "still":
        check_head(head, model.exact_hash)
    for tile in tile_units(head, units):
        if tile.unit.role == "picture":
            own, y_hat = decode_tile(head, tile, model)
            symbols += own
            latents.append(y_hat)
            stated = head.sums[tile.number] if head.sums else latent_sum(y_hat)
            require(stated == latent_sum(y_hat), "Corrupt", f"tile {tile.number} is not what was coded")
    return head, symbols, latents


def digests(symbols: list[list[int]], latents: list[Array]) -> dict[str, str]:
    """The two sums that this program is for."""
    parts = {"symbols": [np.array(stream) for stream in symbols], "y_hat": latents}
    found = {name: b"".join(part.astype("<i4").tobytes() for part in own) for name, own in parts.items()}
    return {name: hashlib.sha256(own).hexdigest() for name, own in found.items()}


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Decode an .mvc file to its symbols and y_hat.")
    parser.add_argument("file", type=Path, metavar="FILE.mvc")
    parser.add_argument("--weights", type=Path, required=True, help="folder of the model")
    parser.add_argument("--sha256", action="store_true", help="print nothing but the two sums")
    options = parser.parse_args(arguments)
    try:
        head, symbols, latents = decode(options.file.read_bytes(), read_model(options.weights))
    except (OSError, Refused) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    if not options.sha256:
        parts = len(symbols) // max(1, len(latents))
        counted = [sum(map(len, symbols[part::parts])) for part in range(parts)] or [0]
        counts = ", ".join(f"{count} in slice {k}" for k, count in enumerate(counted[1:]))
        print(f"picture  {head.width}x{head.height}, {head.colour}, quality index {head.quality_index}")
        print(f"model    {(head.model_id or b'').hex()}")
        shapes = ", ".join(str(list(y_hat.shape)) for y_hat in latents)
        print(f"coded    {counted[0]} in the hyperlatent, {counts}; y_hat {shapes}")
        for kind, own in read_metadata(options.file.read_bytes()).items():
            print(f"{kind:8} {len(own)} bytes, {hashlib.sha256(own).hexdigest()}")
    for name, digest in digests(symbols, latents).items():
        print(f"{name:8} {digest}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
