"""The second decoder's part for the exact coder: every sample of exact files, and alpha of any still.

    python conformance/reference_exact.py FILE.mvc [--sha256]

It is section 8 of bitstream_spec.md in plain Python, and slow. It stands on reference_decoder.py beside it, which has
the container, and on reference_samples.py and reference_quick.py; nothing of the package is imported, and no model is
needed. It prints a SHA-256 sum for each plane: of its samples (u16, little-endian, rows from the top).
"""

from __future__ import annotations

import argparse
import hashlib
import struct
import sys
from collections.abc import Callable
from itertools import chain
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from reference_decoder import Head, Refused, Tile, Unit, read_file, read_metadata, require, tile_units
from reference_quick import QuickPixels, QuickSamples, Recall, keys_around
from reference_samples import Mixer, Plane, Reader, Samples, read_coefs

Shape = tuple[int, int, int]


def add(hashed: int, value: int) -> int:
    mixed = ((hashed ^ ((value ^ (value >> 24)) & 0x7FFFFFFF)) * 0x2C1B3C6D + 0x1B873593) & 0x7FFFFFFF
    return mixed ^ (mixed >> 15)


def hash_of(*values: int) -> int:
    hashed = values[0]
    for value in values[1:]:
        hashed = add(hashed, value)
    return hashed


class Pixels:
    """Matches and numbers of colours."""

    def __init__(self, reader: Reader, height: int, width: int) -> None:
        self.mask = (1 << min(max((height * width).bit_length() + 1, 12), 20)) - 1
        self.flags, self.tree = Mixer(reader, 6), Mixer(reader, 6)
        self.keys: dict[tuple[int, int], int] = {}
        self.ranks: dict[tuple[int, int], int] = {}
        self.memory: list[dict[int, tuple[int, int]]] = [{}, {}]
        self.tried: list[int] = []

    def look(self, y: int, x: int) -> tuple[list[int], list[int]]:
        near = keys_around(self.keys, y, x)
        orders = [hash_of(1, *near[:count]) for count in (2, 4, 6, 12)]
        orders.append(hash_of(2, near[0], near[4], near[9]))
        return near, orders

    def match(self, y: int, x: int, near: list[int], orders: list[int]) -> int:
        w, n = near[:2]
        first, trust1 = self.memory[0].get(orders[3] & self.mask, (w, 0))
        second, trust2 = self.memory[1].get(orders[1] & self.mask, (w, 0))
        ranks = [self.ranks.get((y + dy, x + dx), 0) for dy, dx in ((0, -1), (-1, 0), (-1, -1), (-1, 1), (0, -2))]
        past = sum(rank * 3**i for i, rank in enumerate(ranks))
        _, _, nw, ne, ww, nn = near[:6]
        pairs = [w == n, n == ne, w == nw, w == ww, n == nn, n == nw, first == second]
        pattern = sum(pair << i for i, pair in enumerate(pairs))
        self.tried = tried = []
        for candidate in (first, second, w, n):
            if candidate in tried or len(tried) == 3:
                continue
            turn = len(tried)
            alike = sum((candidate == other) << i for i, other in enumerate((w, n, nw, ne, nn)))
            node = turn * 32 + alike
            contexts = [
                hash_of(10, node, trust1 * 8 + trust2),
                hash_of(11, node, pattern),
                hash_of(12, node, past),
                hash_of(orders[0], candidate, turn + 13),
                hash_of(orders[1], candidate, turn + 16),
                hash_of(19, w, candidate, turn),
                hash_of(orders[2], candidate, turn + 22),
            ]
            if self.flags.bit([context & self.mask for context in contexts], turn * 64 + trust1 * 8 + trust2):
                self.ranks[y, x] = min(turn, 1)
                return candidate
            tried.append(candidate)
        self.ranks[y, x] = 2
        return -1

    def remember(self, key: int, orders: list[int]) -> None:
        for memory, order in zip(self.memory, (orders[3], orders[1]), strict=True):
            old, trust = memory.get(order & self.mask, (0, 0))
            if trust and old == key:
                memory[order & self.mask] = (key, min(trust + 1, 7))
            elif trust <= 1:
                memory[order & self.mask] = (key, 1)
            else:
                memory[order & self.mask] = (old, trust >> 1)

    def number(self, bits: int, y: int, x: int, near: list[int], orders: list[int]) -> int:
        grid = hash_of(31, near[0], near[1], (y & 7) * 8 + (x & 7))
        far = hash_of(32, self.keys.get((y - 4, x), 0), self.keys.get((y, x - 4), 0), near[0])
        node = 1
        for i in range(bits):
            bases = [*orders, far, grid]
            contexts = [add(base, node + 1024 * (j + 1)) & self.mask for j, base in enumerate(bases)]
            counts = [self.tree.count(j, contexts[j]) for j in (3, 2)]
            seen = [(count > 0) + (count > 3) for count in counts]
            node = 2 * node + self.tree.bit(contexts, min(i, 7) * 9 + seen[0] * 3 + seen[1])
        return node - (1 << bits)


def stored(data: bytes, shape: Shape) -> list[Plane]:
    """Section 8.1: samples as they are."""
    require(len(data) >= 4, "Truncated", "the header is cut")
    depth = data[1]
    require(1 <= depth <= 16 and data[2:4] == b"\0\0", "Corrupt", "the header is impossible")
    count, height, width = shape
    kind = "B" if depth <= 8 else "H"
    size = 4 + count * height * width * struct.calcsize(kind)
    require(len(data) >= size, "Truncated", "samples are missing")
    require(len(data) == size, "Corrupt", "bytes follow the samples")
    samples = struct.unpack(f"<{count * height * width}{kind}", data[4:])
    require(max(samples) < 1 << depth, "Corrupt", "a sample is out of range")
    rows = [list(samples[at : at + width]) for at in range(0, len(samples), width)]
    return [rows[at : at + height] for at in range(0, len(rows), height)]


def spread(data: bytes, shape: Shape) -> list[Plane]:
    """Section 8.1: samples of 16 bits by their numbers of fewer."""
    require(len(data) >= 4, "Truncated", "the header is cut")
    bits, kind = data[3] & 15, data[3] >> 4
    possible = data[1:3] == b"\x10\0" and bits and kind <= 2 and data[4:5] != b"\x81"
    require(bool(possible), "Corrupt", "the header is impossible")
    most = (1 << bits) - 1

    def sample(number: int) -> int:
        require(number <= most, "Corrupt", f"a number has more than {bits} bits")
        if kind == 0:
            return (number * 65535 + most // 2) // most
        digits = f"{number:0{bits}b}" * (16 if kind == 1 else 1)
        return int(digits[:16].ljust(16, "0"), 2)

    return [[[sample(number) for number in row] for row in plane] for plane in decode(data[4:], shape)]


def decode(data: bytes, shape: Shape) -> list[Plane]:
    """The planes of a stream; `shape` is (planes, H, W)."""
    count, height, width = shape
    if data[:1] == b"\x81":
        return spread(data, shape)
    if data[:1] == b"\x80":
        return stored(data, shape)
    require(len(data) >= 6, "Truncated", "the header is cut")
    way, classes, same = data[0] & 3, (0, 1, 4, 12)[data[0] >> 2 & 3], data[0] >> 4
    depth, near, turned = data[1], data[2], data[3] & 1
    quick, recalled = data[3] >> 1 & 1, data[3] >> 2 & 1
    require(1 <= depth <= 16 and not same >> (count - 1) and data[3] < 16, "Corrupt", "the header is impossible")
    may_turn = count > 2 and not same and not near and depth < 16 and way < 2
    require((may_turn or not turned) and (way < 2 or not quick), "Corrupt", "the header is impossible")
    require(len(data) % 2 == 0, "Truncated", "a word is cut")
    reader = Reader(data[4:])
    kept = count - same.bit_count()
    fits = way == 0 or kept * (depth + turned) <= 62
    require(fits and (way < 2 or not (near or classes)), "Corrupt", "the header is impossible")
    able = kept > 1 and kept * (depth + turned) <= 62 and (way == 1 or quick)
    require(able or not recalled, "Corrupt", "the header is impossible")
    if way < 2:
        found = _planes(reader, way, classes, (kept, height, width), depth + turned, near, data[3])
    else:
        found = _listed(reader, way, (kept, height, width), depth)
    require(reader.at - 4 <= len(data) - 4, "Truncated", "words are missing")
    require(reader.at - 4 == len(data) - 4, "Corrupt", "words follow the picture")
    if turned:
        top = (1 << depth) - 1

        def each(function: Callable[..., int], *inputs: Plane) -> Plane:
            return [[function(*values) for values in zip(*rows, strict=True)] for rows in zip(*inputs, strict=True)]

        green = each(lambda luma, red, blue: luma - ((red + blue - 2 * top) >> 2), *found[:3])
        found[1:3] = [each(lambda g, plane: plane + g - top, green, plane) for plane in found[1:3]]
        found[0] = green
        worst = [value for plane in found for row in plane for value in row if not 0 <= value <= top]
        require(not worst, "Corrupt", "a sample is out of range")
    rest = iter(found[1:])
    full = [found[0], *(found[0] if same >> k & 1 else next(rest) for k in range(count - 1))]
    return [full[1], full[0], *full[2:]] if count > 2 else full


def _planes(reader: Reader, way: int, classes: int, shape: Shape, depth: int, near: int, kinds: int) -> list[Plane]:
    """`kinds`: bits 1 and 2 of byte 3, quick and recall."""
    count, height, width = shape
    quick, recalled = kinds & 2, kinds & 4
    samples = (QuickSamples if quick else Samples)(reader, count, height, width, depth, near)
    pixels = QuickPixels(reader) if quick else Pixels(reader, height, width)
    recall, apart = Recall(reader, count, depth), way == 0 and not quick
    samples.coefs, samples.classes = read_coefs(reader, count, classes, apart), classes
    if apart:
        for k in range(count):
            for y in range(height):
                for x in range(width):
                    samples.sample(k, y, x, True)
        return [plane.values for plane in samples.planes]
    for y in range(height):
        west = 0
        for x in range(width):
            around, orders = pixels.look(y, x) if way else ([], [])
            key, done = pixels.match(y, x, around, orders) if way else -1, 0
            if key < 0:
                samples.sample(0, y, x, False)
                done = 1
                if recalled:
                    slip = samples.slips[0].values[y][x]
                    north = sum(plane.at(y - 1, x) << (depth * k) for k, plane in enumerate(samples.planes))
                    key = recall.look(samples.planes[0].values[y][x], slip, west, north, pixels.tried)
            for k in range(done, count):
                if key >= 0:
                    samples.skip(k, y, x, key >> (depth * k) & ((1 << depth) - 1))
                else:
                    samples.sample(k, y, x, False)
            west = sum(plane.values[y][x] << (depth * k) for k, plane in enumerate(samples.planes))
            if recalled and done:
                recall.learn(west)
            if way:
                pixels.keys[y, x] = west
                pixels.remember(west, orders)
    return [plane.values for plane in samples.planes]


def _listed(reader: Reader, way: int, shape: Shape, depth: int) -> list[Plane]:
    count, height, width = shape
    total, before = reader.number(2) + 1, 0
    require(total <= 256, "Corrupt", "there are too many colours")
    bases: list[list[int]] = []
    for _ in range(total):
        before += reader.number(3)
        bases.append([before])
    for k in range(1, count):
        for colour in bases:
            colour.append(colour[0] + reader.signed(3 + k))
    require(all(0 <= value < 1 << depth for value in chain(*bases)), "Corrupt", "a colour is out of range")
    pixels, bits = Pixels(reader, height, width), (total - 1).bit_length()
    for y in range(height):
        for x in range(width):
            near_keys, orders = pixels.look(y, x)
            key = pixels.match(y, x, near_keys, orders) if way == 3 else -1
            if key < 0:
                key = pixels.number(bits, y, x, near_keys, orders)
            pixels.keys[y, x] = key
            if way == 3:
                pixels.remember(key, orders)
    require(reader.at - 4 <= len(reader.data), "Truncated", "words are missing")
    require(max(pixels.keys.values()) < total, "Corrupt", "a number has no colour")
    numbers = [[pixels.keys[y, x] for x in range(width)] for y in range(height)]
    return [[[bases[number][k] for number in row] for row in numbers] for k in range(count)]


def planes_of(head: Head, tile: Tile, unit: Unit, count: int) -> list[Plane]:
    """Section 3.2: the planes of a unit `exact` or `alpha`."""
    plain = len(unit.streams) == 1 and unit.quality_index is None
    require(plain, "Corrupt", f"a unit {unit.role} has one stream and no quality index")
    planes = decode(unit.streams[0], (count, tile.height, tile.width))
    require(unit.streams[0][1] <= head.depth, "Corrupt", f"the samples have more than {head.depth} bits")
    return planes


def decode_file(data: bytes) -> tuple[Head, dict[str, Plane]]:
    """The header, and the planes of what the exact coder made: of the picture in an exact file, and alpha.

    Tiles by the exact coder in a file that names a model are decoded, and dropped.
    """
    head, units = read_file(data)
    colours = ["gray"] if head.colour == "gray" else ["red", "green", "blue"]
    names = [*(colours if head.model_id is None else []), *(["alpha"] if head.alpha else [])]
    found = {name: [[0] * head.width for _ in range(head.height)] for name in names}
    for tile in tile_units(head, units):
        own: dict[str, Plane] = {}
        if tile.unit.role == "exact":
            coded = colours + ["alpha"] * (head.alpha and tile.alpha is None)
            own = dict(zip(coded, planes_of(head, tile, tile.unit, len(coded)), strict=True))
        if tile.alpha is not None:
            (own["alpha"],) = planes_of(head, tile, tile.alpha, 1)
        for name in own.keys() & found.keys():
            for row, values in enumerate(own[name]):
                found[name][tile.top + row][tile.left : tile.left + tile.width] = values
    return head, found


def digest(plane: Plane) -> str:
    """SHA-256 of the samples."""
    return hashlib.sha256(b"".join(struct.pack(f"<{len(row)}H", *row) for row in plane)).hexdigest()


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Decode the exact planes of an .mvc file.")
    parser.add_argument("file", type=Path, metavar="FILE.mvc")
    parser.add_argument("--sha256", action="store_true", help="print nothing but the sums")
    options = parser.parse_args(arguments)
    try:
        head, planes = decode_file(options.file.read_bytes())
    except (OSError, Refused) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    if not options.sha256:
        coder = "a model" if head.model_id is not None else "the exact coder"
        print(f"picture  {head.width}x{head.height}, {head.colour}, {head.depth} bits, by {coder}")
        for kind, own in read_metadata(options.file.read_bytes()).items():
            print(f"{kind:8} {len(own)} bytes, {hashlib.sha256(own).hexdigest()}")
    for name, plane in planes.items():
        print(f"{name:8} {digest(plane)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
