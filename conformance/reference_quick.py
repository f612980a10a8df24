"""Sections 8.7 to 8.9 of bitstream_spec.md: quick samples, quick matches and recall, for reference_exact.py."""

from __future__ import annotations

from functools import cache
from itertools import accumulate

from reference_samples import Mixer, Reader, Row, class_of, learnt, log, signed_log

__all__ = ["QuickPixels", "QuickSamples", "Recall"]

FIRST = 800
"""Number of the first row of the second kind."""
EXTRA = [max(group - 8, 0) for group in range(16)]
LEAST = [sum(1 << extra for extra in EXTRA[:group]) for group in range(16)]
FACTORS = [(0x2C1B3C6D * (2 * i + 1) ** 2 & 0x7FFFFFFF) | 1 for i in range(14)]


@cache
def first_row(context: int) -> list[int]:
    """Where symbols start in a row that has seen none."""
    mean = 48 if context >= FIRST else max(3, 1 << (min(context // 20, 16) >> 1))
    chance, sums = 1 << 24, []
    for extra in EXTRA:
        sums.append(0)
        for _ in range(1 << extra):
            sums[-1] += chance
            chance = chance * mean // (mean + 16)
    weights = [sums[(symbol + 1) >> 1] >> (symbol > 0) for symbol in range(31)]
    return [0, *accumulate(1 + 32700 * weight // sum(weights) for weight in weights)]


class QuickSamples:
    """Sample by sample decoding of some planes."""

    def __init__(self, reader: Reader, count: int, height: int, width: int, depth: int, near: int) -> None:
        self.reader, self.depth, self.near = reader, depth, near
        self.planes = [Row(height, width) for _ in range(count)]
        self.slips = [Row(height, width) for _ in range(count)]
        self.bias: list[dict[int, int]] = [{} for _ in range(count)]
        self.rows: list[dict[int, tuple[list[int], int]]] = [{} for _ in range(count)]
        self.coefs: list[list[list[int]]] = []
        self.classes = 0

    def skip(self, k: int, y: int, x: int, value: int) -> None:
        self.planes[k].values[y][x] = value
        self.slips[k].values[y][x] = 0

    def symbol(self, k: int, one: int, two: int) -> int:
        pair = [self.rows[k].get(context, (first_row(context), 0)) for context in (one, two)]
        starts = [(a + b) >> 1 for a, b in zip(pair[0][0], pair[1][0], strict=True)] + [1 << 15]
        unit, place = self.reader.range >> 15, self.reader.place(15)
        symbol = max(i for i in range(32) if starts[i] <= place)
        self.reader.narrow(starts[symbol] * unit, (starts[symbol + 1] - starts[symbol]) * unit)
        for context, (row, times) in zip((one, two), pair, strict=True):
            targets = [i if i <= symbol else (1 << 15) - 32 + i for i in range(32)]
            shift = 3 if times < 4 else 4 if times < 12 else 5 if times < 28 else 6
            moved = [start + ((target - start) >> shift) for start, target in zip(row, targets, strict=True)]
            self.rows[k][context] = moved, times + 1
        return symbol

    def sample(self, k: int, y: int, x: int, apart: bool) -> None:
        most, step, deep = (1 << self.depth) - 1, 2 * self.near + 1, max(self.depth - 9, 0)
        at, slip = self.planes[k].at, self.slips[k].at
        w, ww, n, nw, ne = at(y, x - 1), at(y, x - 2), at(y - 1, x), at(y - 1, x - 1), at(y - 1, x + 1)
        nn, nne = at(y - 2, x), at(y - 2, x + 1)
        taps = [n - w, nw - w, ne - w, ww - w, nn - w, nne - w]
        rises = 0
        for other in self.planes[max(0, k - 2) : k]:
            q, qw = other.at(y, x), other.at(y, x - 1)
            taps += [q - qw, *(other.at(y - 1, x + dx) - qw for dx in (0, -1, 1))]
            rises = int(q > qw)
        across = abs(w - ww) + abs(n - nw) + abs(ne - n)
        down = abs(w - nw) + abs(n - nn) + abs(ne - nne)
        way = 2 if across > 2 * down + 2 else 0 if down > 2 * across + 2 else 1
        coefs = self.coefs[k][class_of(self.classes, log(across + down, 15), way)]
        mean = ((w << 10) + sum(c * t for c, t in zip(coefs, taps, strict=True))) >> 7
        mean = min(max(mean, 0), 8 * most)
        energy = 2 * (abs(slip(y, x - 1)) + abs(slip(y - 1, x))) + abs(slip(y - 1, x - 1)) + abs(slip(y - 1, x + 1))
        energy = (energy + abs(slip(y, x - 2)) + abs(slip(y - 2, x))) >> 2
        level = log(energy, 23) if energy < 4096 else min(log(energy >> 8, 23) + 16, 39)
        shape = sum((8 * point > mean) << i for i, point in enumerate((w, n, nw, ne, ww, nn, 2 * n - nn)))
        place = 8 * (shape + 128 * rises) + min(level >> 2, 7)
        bias = self.bias[k].get(place, 0)
        centre = min(max(mean + (bias >> 8), 0), 8 * most)
        middle, cut = (centre + 4) >> 3, max((level - 16) >> 1, 0) if self.near == 0 else 0
        other_slip = self.slips[k - 1].values[y][x] if k else 0
        one = 20 * level + signed_log(other_slip, 2 + deep, 9)
        two = 24 * signed_log(8 * (n + w - nw) - centre, 1 + deep, 11) + signed_log(8 * w - centre, 1 + deep, 11)
        symbol = self.symbol(k, one, FIRST + two)
        if symbol == 31:
            value = self.reader.even(self.depth)
        else:
            group = (symbol + 1) >> 1
            size = LEAST[group] + self.reader.even(EXTRA[group])
            low = self.reader.even(cut)
            offset = ((size if symbol & 1 else -size) << cut) + low - ((1 << cut) >> 1)
            value = min(max(middle + offset * step, 0), most)
        self.planes[k].values[y][x] = value
        self.slips[k].values[y][x] = 8 * value - centre
        self.bias[k][place] = bias + (((8 * value - mean) * 256 - bias) >> 6)


PLACES = [(0, -1), (-1, 0), (-1, -1), (-1, 1), (0, -2), (-2, 0), (-2, 1), (-1, 2), (-2, -1), (0, -3), (-1, -2), (-3, 0)]


def keys_around(keys: dict[tuple[int, int], int], y: int, x: int) -> list[int]:
    """Section 8.5: the keys of the pixels near one, 0 outside."""
    return [keys.get((y + dy, x + dx), 0) for dy, dx in PLACES]


class QuickPixels:
    """Matches by few contexts."""

    def __init__(self, reader: Reader) -> None:
        self.flags = Mixer(reader, 6, 1 << 15)
        self.keys: dict[tuple[int, int], int] = {}
        self.ranks: dict[tuple[int, int], int] = {}
        self.memory: list[dict[int, tuple[int, int]]] = [{}, {}]
        self.tried: list[int] = []

    def look(self, y: int, x: int) -> tuple[list[int], list[int]]:
        """Keys around a pixel, and the sums of their parts: of the first four, and of all."""
        around = keys_around(self.keys, y, x)
        parts = [part(key, i) for i, key in enumerate(around)]
        return around, [sum(parts[:4]), sum(parts)]

    def match(self, y: int, x: int, around: list[int], sums: list[int]) -> int:
        w, n, nw, ne, ww, nn = around[:6]
        first, p = self.memory[0].get(slot(sums[1]), (w, 0))
        second, q = self.memory[1].get(slot(sums[0]), (w, 0))
        ranks = [self.ranks.get((y + dy, x + dx), 0) for dy, dx in ((0, -1), (-1, 0), (-1, -1), (-1, 1), (0, -2))]
        past = sum(rank * 3**i for i, rank in enumerate(ranks))
        pairs = [w == n, n == ne, w == nw, w == ww, n == nn, n == nw, first == second]
        pattern = sum(pair << i for i, pair in enumerate(pairs))
        most = 1 if past == 242 and 8 * p + q <= 9 else 3
        self.tried = tried = []
        for candidate in (first, second, w, n):
            if candidate in tried or len(tried) == most:
                continue
            turn = len(tried)
            node = 32 * turn + sum((candidate == other) << i for i, other in enumerate((w, n, nw, ne, nn)))
            hashed = slot(sums[0] + part(candidate, 12) + part(turn, 13))
            contexts = [64 * node + 8 * p + q, 128 * node + pattern, 243 * node + past, hashed]
            if self.flags.bit(contexts, 64 * turn + 8 * p + q):
                self.ranks[y, x] = min(turn, 1)
                return candidate
            tried.append(candidate)
        self.ranks[y, x] = 2
        return -1

    def remember(self, key: int, sums: list[int]) -> None:
        for memory, total in zip(self.memory, reversed(sums), strict=True):
            old, trust = memory.get(slot(total), (0, 0))
            if trust and old == key:
                memory[slot(total)] = key, min(trust + 1, 7)
            elif trust <= 1:
                memory[slot(total)] = key, 1
            else:
                memory[slot(total)] = old, trust >> 1


class Recall:
    """The rest of a pixel by its first sample."""

    def __init__(self, reader: Reader, count: int, depth: int) -> None:
        self.reader, self.count, self.depth = reader, count, depth
        self.counters: dict[tuple[str, int, int, int], tuple[int, int]] = {}
        self.memory: dict[int, tuple[int, int]] = {}
        self.shelves: dict[int, list[int]] = {}

    def samples(self, key: int) -> list[int]:
        return [key >> (self.depth * k) & ((1 << self.depth) - 1) for k in range(self.count)]

    def apart(self, key: int, like: int) -> int:
        steps = [a - b for a, b in zip(self.samples(key), self.samples(like), strict=True)]
        return sum(min(abs(step), abs(step - steps[0])) for step in steps[1:])

    def look(self, first: int, slip: int, w: int, n: int, tried: list[int]) -> int:
        """The key of the pixel with this first sample, or -1; `tried` are those that matches were not."""
        self.place, self.shelf = slot(part(first, 0) + part(w, 1)), first & 4095
        latest, trust = self.memory.get(self.place, (-1, 0))

        def far(key: int) -> int:
            return (self.apart(key, w) + self.apart(key, n) + 1) >> 1

        def may_be(key: int) -> bool:
            return key >= 0 and self.samples(key)[0] == first and key not in tried

        level = min(log(abs(slip) >> 2, 7), 7)
        if may_be(latest) and self.is_it(("latest", trust, level, log(far(latest), 15))) == 1:
            return latest
        shelf = [key for key in self.shelves.get(self.shelf, []) if may_be(key) and key != latest]
        for turn, key in enumerate(sorted(shelf, key=far)):
            answer = self.is_it(("shelf", min(turn, 3), level, log(far(key), 15)))
            if answer:
                return key if answer == 1 else -1
        return -1

    def is_it(self, context: tuple[str, int, int, int]) -> int:
        """1 if the candidate is the pixel, 0 if not, 2 if it is not even asked for."""
        value, count = self.counters.get(context, (1 << 21, 0))
        if value >> 6 < 512:
            return 2
        bit = self.reader.bit(value >> 6)
        self.counters[context] = learnt(value, count, bit)
        return bit

    def learn(self, key: int) -> None:
        latest, trust = self.memory.get(self.place, (-1, 0))
        if latest == key:
            self.memory[self.place] = key, min(trust + 1, 7)
        else:
            self.memory[self.place] = (key, 1) if trust <= 1 else (latest, trust >> 1)
        self.shelves[self.shelf] = [key, *(other for other in self.shelves.get(self.shelf, []) if other != key)][:8]


def part(key: int, place: int) -> int:
    return ((key ^ (key >> 24)) & 0x7FFFFFFF) * FACTORS[place]


def slot(total: int) -> int:
    return total >> 32 & 0x3FFF
