"""The decoder in plain Python, written after docs/lossless.md and sharing only constants with the fast one.

It is slow and for tests: whatever `code.encode` writes must decode here to the same samples.
"""

from __future__ import annotations

from collections.abc import Callable

from mvc.lossless.reference_samples import Mixer, Plane, Reader, Samples

__all__ = ["decode"]


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

    def look(self, y: int, x: int) -> tuple[list[int], list[int]]:
        places = [(0, -1), (-1, 0), (-1, -1), (-1, 1), (0, -2), (-2, 0), (-2, 1), (-1, 2), (-2, -1), (0, -3)]
        places += [(-1, -2), (-3, 0)]
        near = [self.keys.get((y + dy, x + dx), 0) for dy, dx in places]
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
        tried: list[int] = []
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


def decode(data: bytes, shape: tuple[int, int, int]) -> list[Plane]:
    """The planes of a valid stream; `shape` is (planes, H, W)."""
    count, height, width = shape
    way, classes, same = data[0] & 3, (0, 1, 4, 12)[data[0] >> 2 & 3], data[0] >> 4
    depth, near, turned = data[1:4]
    reader = Reader(data[4:])
    kept = count - same.bit_count()
    planes = _planes if way < 2 else _listed
    found = planes(reader, way, classes, (kept, height, width), depth + turned, near)
    if turned:
        top = (1 << depth) - 1

        def each(function: Callable[..., int], *inputs: Plane) -> Plane:
            return [[function(*values) for values in zip(*rows, strict=True)] for rows in zip(*inputs, strict=True)]

        green = each(lambda luma, red, blue: luma - ((red + blue - 2 * top) >> 2), *found[:3])
        found[1:3] = [each(lambda g, plane: plane + g - top, green, plane) for plane in found[1:3]]
        found[0] = green
    rest = iter(found[1:])
    full = [found[0], *(found[0] if same >> k & 1 else next(rest) for k in range(count - 1))]
    return [full[1], full[0], *full[2:]] if count > 2 else full


def _planes(reader: Reader, way: int, classes: int, shape: tuple[int, int, int], depth: int, near: int) -> list[Plane]:
    count, height, width = shape
    samples, pixels = Samples(reader, count, height, width, depth, near), Pixels(reader, height, width)
    samples.read_coefs(classes, way == 0)
    if way == 0:
        for k in range(count):
            for y in range(height):
                for x in range(width):
                    samples.sample(k, y, x, True)
        return [plane.values for plane in samples.planes]
    for y in range(height):
        for x in range(width):
            around, orders = pixels.look(y, x)
            key = pixels.match(y, x, around, orders)
            if key >= 0:
                for k in range(count):
                    samples.skip(k, y, x, key >> (depth * k) & ((1 << depth) - 1))
            else:
                for k in range(count):
                    samples.sample(k, y, x, False)
                key = sum(plane.values[y][x] << (depth * k) for k, plane in enumerate(samples.planes))
            pixels.keys[y, x] = key
            pixels.remember(key, orders)
    return [plane.values for plane in samples.planes]


def _listed(reader: Reader, way: int, classes: int, shape: tuple[int, int, int], depth: int, near: int) -> list[Plane]:
    count, height, width = shape
    total, before = reader.number(2) + 1, 0
    bases: list[list[int]] = []
    for _ in range(total):
        before += reader.number(3)
        bases.append([before])
    for k in range(1, count):
        for colour in bases:
            colour.append(colour[0] + reader.signed(3 + k))
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
    numbers = [[pixels.keys[y, x] for x in range(width)] for y in range(height)]
    return [[[bases[number][k] for number in row] for row in numbers] for k in range(count)]
