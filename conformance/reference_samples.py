"""Sections 8.2 to 8.4 of bitstream_spec.md: the range decoder, mixed bits and samples, for reference_exact.py."""

from __future__ import annotations

import math
from bisect import bisect_left
from itertools import pairwise

from reference_decoder import require

__all__ = ["Mixer", "Plane", "Reader", "Row", "Samples", "class_of", "learnt", "log", "read_coefs", "signed_log"]

Plane = list[list[int]]

# Tables of section 8.2
UNITS = [min(65535, round(65536 / (1 + math.exp(-i / 2)))) for i in range(25)]
POINTS = [65536 - unit for unit in UNITS[:0:-1]] + UNITS
SQUASHED = [a + ((b - a) * f >> 7) for a, b in pairwise(POINTS) for f in range(128)] + POINTS[-1:]
STRETCHED = [bisect_left(SQUASHED, 16 * v + 8) - 3072 for v in range(4096)]
RATE_OF = [655360 // (10 * n + 16) for n in range(256)]
LOG_OF = [v if v < 3 else (v * v).bit_length() - 1 for v in range(65536)]
TRUST_OF = [min(65536, (1 << 22) // (v + 3) ** 2 + 1) for v in range(4096)]


def class_of(classes: int, energy: int, direction: int) -> int:
    """Section 8.3: which linear predictor serves a sample; energy is min(LOG(A + D), 15)."""
    number = sum(energy >= least for least in (5, 8, 11))
    return (0, number, 3 * number + direction)[(1, 4, 12).index(max(classes, 1))]


class Reader:
    """The range decoder and single counters."""

    def __init__(self, data: bytes) -> None:
        self.data, self.at, self.range, self.code = data, 0, (1 << 48) - 1, 0
        for _ in range(3):
            self.code = self.code << 16 | self.word()
        require(self.code < self.range, "Corrupt", "the code is out of range")
        self.singles: dict[tuple[object, ...], int] = {}

    def word(self) -> int:
        pair = (self.data[self.at : self.at + 2] + b"\0\0")[:2]
        self.at += 2
        return int.from_bytes(pair, "big")

    def bit(self, chance: int) -> int:
        split = (self.range >> 16) * chance
        bit = int(self.code < split)
        self.narrow(0 if bit else split, split if bit else self.range - split)
        return bit

    def place(self, bits: int) -> int:
        """Which of 2^bits equal units of the range the code is in."""
        unit = self.range >> bits
        self.code = min(self.code, (unit << bits) - 1)
        return self.code // unit

    def even(self, bits: int) -> int:
        """A number of which every value is as likely."""
        unit, value = self.range >> bits, self.place(bits)
        self.narrow(value * unit, unit)
        return value

    def narrow(self, start: int, size: int) -> None:
        """Go on in the part [start, start + size) of the range."""
        self.code -= start
        self.range = size
        if self.range < 1 << 32:
            self.range <<= 16
            self.code = self.code << 16 | self.word()

    def single(self, *name: object) -> int:
        chance = self.singles.get(name, 1 << 15)
        bit = self.bit(chance)
        chance += ((bit << 16) - chance) >> 5
        self.singles[name] = min(max(chance, 32), 65504)
        return bit

    def number(self, context: int) -> int:
        length = 0
        while length < 24 and self.single("length", context, length):
            length += 1
        value = 1
        for rest in range(length - 1, -1, -1):
            value = 2 * value + self.single("bits", context, length if rest == length - 1 else -1)
        return value - 1

    def signed(self, context: int) -> int:
        value = self.number(context)
        return -(value + 1) // 2 if value & 1 else value // 2


class Mixer:
    """Counters by (input, context) and weights by row."""

    def __init__(self, reader: Reader, rate: int, weight: int = 1 << 14) -> None:
        self.reader, self.rate, self.weight = reader, rate, weight
        self.counters: dict[tuple[int, int], tuple[int, int]] = {}
        self.weights: dict[int, list[int]] = {}

    def count(self, which: int, context: int) -> int:
        return self.counters.get((which, context), (1 << 21, 0))[1]

    def bit(self, contexts: list[int], row: int) -> int:
        states = [self.counters.get(pair, (1 << 21, 0)) for pair in enumerate(contexts)]
        inputs = [STRETCHED[value >> 10] for value, _ in states]
        weights = self.weights.setdefault(row, [self.weight] * len(contexts))
        total = sum(i * w for i, w in zip(inputs, weights, strict=True)) >> 16
        chance = SQUASHED[min(max(total, -3072), 3071) + 3072]
        bit = self.reader.bit(chance)
        error = ((bit << 16) - chance) * self.rate
        for i, (value, count) in enumerate(states):
            weights[i] += (inputs[i] * error + 32768) >> 16
            self.counters[i, contexts[i]] = learnt(value, count, bit)
        return bit


def learnt(value: int, count: int, bit: int) -> tuple[int, int]:
    """A counter after a bit."""
    value += ((bit << 22) - value) * RATE_OF[count] >> 16
    return min(max(value, 64), (1 << 22) - 64), min(count + 1, 255)


def log(value: int, most: int) -> int:
    return min(LOG_OF[min(value, 65535)], most)


def signed_log(value: int, shift: int, most: int) -> int:
    return 2 * log(abs(value) >> shift, most) + (value > 0)


class Row:
    """A plane, or anything kept for each sample of it, with the margins of section 8.4."""

    def __init__(self, height: int, width: int) -> None:
        self.height, self.width = height, width
        self.values: Plane = [[0] * width for _ in range(height)]

    def at(self, y: int, x: int) -> int:
        """Left of the picture: the first value of the row above; right: the last one; below: the last row."""
        if x < 0:
            y, x = y - 1, 0
        return 0 if y < 0 else self.values[min(y, self.height - 1)][min(x, self.width - 1)]


def read_coefs(reader: Reader, count: int, classes: int, wide: bool) -> list[list[list[int]]]:
    """Coefficients of the linear predictors, by plane and class."""
    coefs: list[list[list[int]]] = []
    for k in range(count):
        taps = 6 + min(k, 2) * (6 if wide else 4)
        if not classes:
            coefs.append([[1024, -1024] + [0] * (taps - 2)])
            continue
        rows, last = [], [0] * taps
        for i in range(classes):
            last = [value + reader.signed(min(i, 1)) for value in last]
            rows.append(last)
        coefs.append(rows)
    return coefs


class Samples:
    """Sample by sample decoding of some planes."""

    def __init__(self, reader: Reader, count: int, height: int, width: int, depth: int, near: int) -> None:
        self.reader, self.depth, self.near = reader, depth, near
        self.planes = [Row(height, width) for _ in range(count)]
        self.slips = [Row(height, width) for _ in range(count)]
        self.misses = [[Row(height, width) for _ in range(8)] for _ in range(count)]
        self.bias: list[dict[int, int]] = [{} for _ in range(count)]
        self.mixers = [Mixer(reader, 2) for _ in range(count)]
        self.coefs: list[list[list[int]]] = []
        self.classes = 0

    def skip(self, k: int, y: int, x: int, value: int) -> None:
        self.planes[k].values[y][x] = value
        self.slips[k].values[y][x] = 0
        for miss in self.misses[k]:
            miss.values[y][x] = 0

    def sample(self, k: int, y: int, x: int, apart: bool) -> None:
        most, nodes, step = (1 << self.depth) - 1, 3 * self.depth, 2 * self.near + 1
        at = self.planes[k].at
        w, ww, n, nw, ne = at(y, x - 1), at(y, x - 2), at(y - 1, x), at(y - 1, x - 1), at(y - 1, x + 1)
        nn, nne = at(y - 2, x), at(y - 2, x + 1)
        taps = [n - w, nw - w, ne - w, ww - w, nn - w, nne - w]
        q = qw = qn = qnw = 0
        for other in self.planes[max(0, k - 2) : k]:
            q, qw, qn, qnw = other.at(y, x), other.at(y, x - 1), other.at(y - 1, x), other.at(y - 1, x - 1)
            taps += [q - qw, qn - qw, qnw - qw, other.at(y - 1, x + 1) - qw]
            taps += [other.at(y, x + 1) - qw, other.at(y + 1, x) - qw] if apart else []
        across = abs(w - ww) + abs(n - nw) + abs(ne - n)
        down = abs(w - nw) + abs(n - nn) + abs(ne - nne)
        way = 2 if across > 2 * down + 2 else 0 if down > 2 * across + 2 else 1
        coefs = self.coefs[k][class_of(self.classes, log(across + down, 15), way)]
        guesses = [((w << 10) + sum(c * t for c, t in zip(coefs, taps, strict=True))) >> 7]
        guesses += [(n + w - nw) * 8, (w + ne - n) * 8, (2 * n - nn) * 8, (w + n) * 4 + (ne - nw) * 2]
        if k:
            guesses += [(w + q - qw) * 8, (n + q - qn) * 8, (n + w - nw + q - qn - qw + qnw) * 8]
        else:
            guesses += [w * 8, n * 8, (n + ne) * 4]
        guesses = [min(max(guess, 0), most * 8) for guess in guesses]
        mass = moment = 0
        for guess, row in zip(guesses, self.misses[k], strict=True):
            miss = row.at(y - 1, x) + row.at(y - 1, x - 1) + row.at(y - 1, x + 1) + row.at(y, x - 1)
            miss += (row.at(y, x - 2) + row.at(y - 1, x + 2)) >> 1
            trust = TRUST_OF[min(miss >> 2, 4095)]
            mass, moment = mass + trust, moment + trust * guess
        mean = moment // mass
        slip = self.slips[k].at
        ew, en = slip(y, x - 1), slip(y - 1, x)
        energy = 2 * (abs(ew) + abs(en)) + abs(slip(y - 1, x - 1)) + abs(slip(y - 1, x + 1))
        energy = log((energy + abs(slip(y, x - 2)) + abs(slip(y - 2, x))) >> 2, 19)
        points = [w, n, nw, ne, ww, nn, 2 * n - nn]
        shape = sum((point * 8 > mean) << i for i, point in enumerate(points)) + 128 * (q > qw)
        place = shape * 8 + min(energy >> 2, 7)
        centre = min(max(mean + (self.bias[k].get(place, 0) >> 8), 0), most * 8)
        edge = (centre >> 3) + 1 + self.near
        others = [self.slips[k - i].values[y][x] if k >= i else 0 for i in (1, 2)]
        contexts = [
            energy * 8 + (centre & 7),
            log(across, 11) * 12 + log(down, 11),
            (signed_log(others[0], 2, 9) * 14 + signed_log(others[1], 2, 6)) * 4 + min(energy >> 2, 3),
            signed_log(guesses[0] - centre, 0, 8) * 24 + signed_log(guesses[1] - centre, 1, 11),
            signed_log(ew, 1, 9) * 20 + signed_log(en, 1, 9),
            centre >> 3 >> max(self.depth - 8, 0),
            signed_log(n * 8 - centre, 1, 11) * 24 + signed_log(w * 8 - centre, 1, 11),
        ]
        group = min(energy >> 1, 9) * nodes

        def decide(node: int, row: int) -> int:
            return self.mixers[k].bit([context * nodes + node for context in contexts], row)

        side = 1 if edge > most else decide(0, group)
        room = (edge - 1) // step if side else (most - edge) // step
        length = 0
        while 1 << length <= room and decide(1 + 2 * length + side, group + 1 + 2 * length + side):
            length += 1
        size = min(length, 1)
        if length >= 2:
            node = 2 * self.depth - 1 + length
            size, known = 2 + decide(node, group + node), 1
            for i in range(length - 2):
                bit = self.reader.single("low", k, length, known if i < 3 else 0)
                size, known = 2 * size + bit, 2 * known + bit
        size = min(size, room)
        value = edge - 1 - size * step - self.near if side else edge + size * step + self.near
        value = min(max(value, 0), most)
        self.planes[k].values[y][x] = value
        self.slips[k].values[y][x] = value * 8 - centre
        old = self.bias[k].get(place, 0)
        self.bias[k][place] = old + (((value * 8 - mean) * 256 - old) >> 6)
        for guess, row in zip(guesses, self.misses[k], strict=True):
            row.values[y][x] = abs(value * 8 - guess)
