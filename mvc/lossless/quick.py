"""One sample of the quick kind: predicted by one linear predictor, and coded as one symbol of 32.

Arrays are flat, as an index then costs one addition. `planes` is int32 [C, 2 + H + 1, 2 + W + 2] of samples with
their margins, `slips` int32 [C, 3, 2 + W + 2], rows y modulo 3. `rows` is int16 [C, CONTEXTS, 32], see vectors.py.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from numba import int32, int64, uint64

from mvc.jit import inner
from mvc.lossless.decide import shifted
from mvc.lossless.tables import COEF_BITS, EXTRA, FASTER, LEAST, LOG, OF_SIZE, QUICK_CONTEXTS, QUICK_FIRST
from mvc.lossless.vectors import SYMBOLS, find, learn

__all__ = ["Quick", "key_above", "place", "quick_end", "quick_sample"]

ESCAPE = SYMBOLS - 1
SMALL_LOG = LOG[:4096].astype("uint8")


class Quick(NamedTuple):
    """What quick samples remember; shape is int64 [3]: C, H, W."""

    shape: Any
    planes: Any
    slips: Any
    bias: Any
    rows: Any
    seen: Any
    coefs: Any
    classes: Any


@inner(bare=True)
def place(k: int, y: int, x: int, height: int, width: int) -> int:
    """Index of a sample in `planes`."""
    return (k * (height + 3) + y + 2) * (width + 4) + x + 2


@inner(bare=True)
def key_above(y: int, x: int, count: int, depth: int, q: Any) -> int:
    """The key of the pixel above one, 0 above the picture."""
    key = int64(0)
    for k in range(count):
        key |= int64(q.planes[uint64(place(k, y - 1, x, q.shape[1], q.shape[2]))]) << (depth * k)
    return key


@inner(bare=True)
def _log(value: int, most: int) -> int:
    """LOG of a size, at most `most`; exact below 4096, which is enough for 23."""
    return min(int64(SMALL_LOG[uint64(min(value, 4095))]), most)


@inner(bare=True)
def _signed(value: int, shift: int, most: int) -> int:
    """2 * LOG of a size and a bit that says whether it is above zero."""
    return 2 * _log(abs(value) >> shift, most) + (1 if value > 0 else 0)


@inner(bare=True)
def _narrow(decoding: bool, start: int, size: int, coder: Any, words: Any) -> None:
    """Take the part [start, start + size) of the interval, in units of what `coder[1]` counts."""
    low = coder[0] - start if decoding else coder[0] + start
    if size < 1 << 32:
        size <<= 16
        low = shifted(decoding, low, coder, words)
    coder[0] = low
    coder[1] = size


@inner(bare=True)
def _place(unit: int, bits: int, coder: Any) -> int:
    """Which of 2^bits units the code is in; one behind them, which no encoder writes, counts as the last in them."""
    coder[0] = min(coder[0], (unit << bits) - 1)
    return int64(uint64(coder[0]) // uint64(unit))


@inner(bare=True)
def _even(decoding: bool, value: int, bits: int, coder: Any, words: Any) -> int:
    """Code a number of up to 16 bits of which every value is as likely."""
    unit = coder[1] >> bits
    if decoding:
        value = _place(unit, bits, coder)
    _narrow(decoding, value * unit, unit, coder, words)
    return value


@inner(bare=True)
def _symbol(decoding: bool, symbol: int, one: int, two: int, rows: Any, seen: Any, coder: Any, words: Any) -> int:
    """Code a symbol by the mean of two rows, and let both learn it."""
    unit = coder[1] >> 15
    a, b = one * SYMBOLS, two * SYMBOLS
    if decoding:
        symbol = find(rows, a, b, _place(unit, 15, coder)) - 1
    start = (int64(rows[uint64(a + symbol)]) + int64(rows[uint64(b + symbol)])) >> 1
    end = int64(1 << 15)
    if symbol < SYMBOLS - 1:
        end = (int64(rows[uint64(a + symbol + 1)]) + int64(rows[uint64(b + symbol + 1)])) >> 1
    _narrow(decoding, start * unit, (end - start) * unit, coder, words)
    times, times2 = seen[uint64(one)], seen[uint64(two)]
    learn(rows, a, symbol, int64(FASTER[uint64(times)]))
    learn(rows, b, symbol, int64(FASTER[uint64(times2)]))
    seen[uint64(one)] = min(times + 1, 63)
    seen[uint64(two)] = min(times2 + 1, 63)
    return symbol


@inner(bare=True)
def quick_sample(
    decoding: bool, wanted: int, k: int, y: int, x: int, depth: int, near: int, q: Any,
    coder: Any, words: Any,
) -> int:  # fmt: skip
    """Code one sample (`wanted` when encoding); what the decoder gets."""
    planes, coefs, most = q.planes, q.coefs, (1 << depth) - 1
    height, width = q.shape[1], q.shape[2]
    stride, deep = width + 4, max(depth - 9, 0)
    area, here = stride * (height + 3), place(k, y, x, height, width)
    w, ww = int64(planes[uint64(here - 1)]), int64(planes[uint64(here - 2)])
    up = here - stride
    n, nw, ne = int64(planes[uint64(up)]), int64(planes[uint64(up - 1)]), int64(planes[uint64(up + 1)])
    nn, nne = int64(planes[uint64(up - stride)]), int64(planes[uint64(up - stride + 1)])
    across = abs(w - ww) + abs(n - nw) + abs(ne - n)
    down = abs(w - nw) + abs(n - nn) + abs(ne - nne)
    way = 2 if across > 2 * down + 2 else (0 if down > 2 * across + 2 else 1)
    c = (k * 12 + int64(q.classes[uint64(_log(across + down, 15) * 3 + way)])) * 24
    total = (w << COEF_BITS) + coefs[uint64(c)] * (n - w) + coefs[uint64(c + 1)] * (nw - w)
    total += coefs[uint64(c + 2)] * (ne - w) + coefs[uint64(c + 3)] * (ww - w)
    total += coefs[uint64(c + 4)] * (nn - w) + coefs[uint64(c + 5)] * (nne - w)
    row = k * 3 * stride + x + 2
    now, last, older = row + y % 3 * stride, row + (y + 2) % 3 * stride, row + (y + 1) % 3 * stride
    other, rising = int64(0), 0
    c += 6
    for back in range(min(k, 2), 0, -1):
        there = here - back * area
        v, west = int64(planes[uint64(there)]), int64(planes[uint64(there - 1)])
        above = there - stride
        total += coefs[uint64(c)] * (v - west) + coefs[uint64(c + 1)] * (int64(planes[uint64(above)]) - west)
        total += coefs[uint64(c + 2)] * (int64(planes[uint64(above - 1)]) - west)
        total += coefs[uint64(c + 3)] * (int64(planes[uint64(above + 1)]) - west)
        c += 4
        rising = 1 if v > west else 0
    if k > 0:
        other = int64(q.slips[uint64(now - 3 * stride)])
    mean = min(max(total >> (COEF_BITS - 3), 0), most * 8)
    slips = q.slips
    energy = 2 * (abs(int64(slips[uint64(now - 1)])) + abs(int64(slips[uint64(last)])))
    energy += abs(int64(slips[uint64(last - 1)])) + abs(int64(slips[uint64(last + 1)]))
    energy += abs(int64(slips[uint64(now - 2)])) + abs(int64(slips[uint64(older)]))
    energy >>= 2
    level = _log(energy, 23) if energy < 4096 else min(_log(energy >> 8, 23) + 16, 39)
    shape = (w * 8 > mean) + 2 * (n * 8 > mean) + 4 * (nw * 8 > mean) + 8 * (ne * 8 > mean) + 16 * (ww * 8 > mean)
    shape += 32 * (nn * 8 > mean) + 64 * ((2 * n - nn) * 8 > mean) + 128 * rising
    at = uint64(k * 2048 + shape * 8 + min(level >> 2, 7))
    bias = q.bias[at]
    centre = min(max(mean + (bias >> 8), 0), most * 8)
    middle, step = (centre + 4) >> 3, 2 * near + 1
    cut = max((level - 16) >> 1, 0) if near == 0 else 0
    one = k * QUICK_CONTEXTS + level * 20 + _signed(other, 2 + deep, 9)
    two = _signed((n + w - nw) * 8 - centre, 1 + deep, 11) * 24 + _signed(w * 8 - centre, 1 + deep, 11)
    two += k * QUICK_CONTEXTS + QUICK_FIRST
    half, symbol, offset, value, size = (1 << cut) >> 1, int64(0), int64(0), int64(wanted), int64(0)
    if not decoding:
        offset = value - middle
        if near > 0:
            offset = (offset + near) // step
        offset += half
        size = abs(offset >> cut)
        symbol = int64(ESCAPE)
        if size < OF_SIZE.size:
            symbol = 2 * int64(OF_SIZE[uint64(size)]) - (1 if offset >> cut > 0 else 0)
    symbol = _symbol(decoding, symbol, one, two, q.rows, q.seen, coder, words)
    if symbol == ESCAPE:
        value = _even(decoding, value, depth, coder, words)
    else:
        group = uint64((symbol + 1) >> 1)
        if EXTRA[group] > 0:
            size = LEAST[group] + _even(decoding, size - LEAST[group], EXTRA[group], coder, words)
        elif decoding:
            size = LEAST[group]
        low = int64(0)
        if cut > 0:
            low = _even(decoding, offset & ((1 << cut) - 1), cut, coder, words)
        offset = ((size if symbol & 1 else -size) << cut) + low - half
        value = min(max(middle + offset * step, 0), most)
    planes[uint64(here)] = int32(value)
    slips[uint64(now)] = int32(value * 8 - centre)
    q.bias[at] = bias + (((value * 8 - mean) * 256 - bias) >> 6)
    return value


@inner(bare=True)
def quick_end(k: int, y: int, q: Any) -> None:
    """Fill the margins that the next row reads beside row y of plane k."""
    height, width = q.shape[1], q.shape[2]
    stride = width + 4
    row = (k * (height + 3) + y + 2) * stride
    planes, slips = q.planes, q.slips
    planes[uint64(row + width + 2)] = planes[uint64(row + width + 1)]
    planes[uint64(row + stride)] = planes[uint64(row + 2)]
    planes[uint64(row + stride + 1)] = planes[uint64(row + 2)]
    now, below = (3 * k + y % 3) * stride, (3 * k + (y + 1) % 3) * stride
    slips[uint64(now + width + 2)] = slips[uint64(now + width + 1)]
    slips[uint64(below)] = slips[uint64(now + 2)]
    slips[uint64(below + 1)] = slips[uint64(now + 2)]
