"""The range coder in plain Python: it defines the bytes of a stream. `rans_numba` makes the same ones, fast.

A stream is one rANS lane. Its state x is an integer; while 16-bit words are left, 2^24 <= x < 2^40. Every
symbol is one or more *steps*, each a frequency f and a cumulative frequency c out of a total of 2^n: n = 16
for symbols, n = 1 for the bits after an escape. The decoder takes a step and refills; the encoder does the
inverse, from the last step to the first:

    decode: x = f * (x >> n) + (x mod 2^n) - c; if x < 2^24 and words are left: x = x * 2^16 + next word
    encode: if x >= f * 2^(40 - n): next word = x mod 2^16, x = x >> 16; x = (x div f) * 2^n + x mod f + c

The encoder starts, and so the decoder must end, with x = 2^16 and no words left. The stream is the decoder's
first x, in as few of 3, 4 or 5 bytes as hold it, then the words in the order in which the decoder reads them,
all little-endian. Words are two bytes and exist only where x >= 2^24, so the length of the stream says how
many bytes x has. No symbols at all make an empty stream, from which x = 2^16: no symbol can be read there.

Surprises first: x starts at 2^16 and not at its lower bound 2^24, which saves a byte; until the first word is
written, and after the last one is read, it lies anywhere from 2^16 up. And that bound is 2^8 times a row's
total of 2^16: were they equal, as a 32-bit x would have it, every stream would be 0.15 % longer.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator

from mvc.entropy.tables import MAX_VALUE, TOTAL_BITS, Tables
from mvc.errors import Corrupt, Truncated

__all__ = ["MAX_ZEROS", "START", "STATE_BITS", "STATE_LOW", "decode", "encode", "join_stream", "split_stream"]

START = 1 << 16
STATE_LOW = 1 << 24
STATE_BITS = 40
MAX_ZEROS = 21
"""Longest run of zeros in an escape's Exp-Golomb code: distances reach 2 * MAX_VALUE, 22 bits."""


def encode(tables: Tables, symbols: Iterable[int], rows: Iterable[int]) -> bytes:
    """The stream of `symbols`, |symbol| <= MAX_VALUE, each coded with its row of `tables`."""
    steps = [step for pair in zip(symbols, rows, strict=True) for step in _steps(tables, *map(int, pair))]
    if not steps:
        return b""
    state, words = START, bytearray()
    for frequency, cumulative, bits in reversed(steps):
        if state >= frequency << (STATE_BITS - bits):
            words += (state & 0xFFFF).to_bytes(2, "big")  # reversed as a whole below
            state >>= 16
        state = (state // frequency << bits) + state % frequency + cumulative
    return join_stream(state, bytes(reversed(words)))


def decode(tables: Tables, rows: Iterable[int], stream: bytes) -> list[int]:
    """The symbols of `stream`, one for each of `rows`. Truncated or Corrupt if it holds other than that."""
    state, words = split_stream(stream)
    position, symbols = 0, []

    def advance(frequency: int, cumulative: int, bits: int) -> None:
        nonlocal state, position
        state = frequency * (state >> bits) + state % (1 << bits) - cumulative
        if state < STATE_LOW and position < len(words):
            state = state << 16 | int.from_bytes(words[position : position + 2], "little")
            position += 2
        elif state < START:
            raise Truncated("the coded symbols end too early")

    def bit() -> int:
        value = state & 1
        advance(1, value, 1)
        return value

    for row in rows:
        start, width, lowest = _row(tables, row)
        slot = state % (1 << TOTAL_BITS)
        entry = bisect_right(tables.cdf, slot, start, start + width + 3) - 1
        cumulative, index = int(tables.cdf[entry]), entry - start
        advance(int(tables.cdf[entry + 1]) - cumulative, cumulative, TOTAL_BITS)
        symbol = lowest + index
        if index > width:
            below, zeros, distance = bit(), 0, 1
            while not bit():
                zeros += 1
                if zeros > MAX_ZEROS:
                    raise Corrupt("a coded symbol is absurdly large")
            for _ in range(zeros):
                distance = distance << 1 | bit()
            symbol = lowest - distance if below else lowest + width + distance
            if abs(symbol) > MAX_VALUE:
                raise Corrupt("a coded symbol is absurdly large")
        symbols.append(symbol)
    if stream and (state != START or position != len(words) or not symbols):
        raise Corrupt("the coded symbols do not end where they should")
    return symbols


def _row(tables: Tables, row: int) -> tuple[int, int, int]:
    """(first entry in cdf, 2 * half width, lowest integer) of a row."""
    return int(tables.start[row]), 2 * int(tables.half_width[row]), int(tables.lowest[row])


def _steps(tables: Tables, symbol: int, row: int) -> Iterator[tuple[int, int, int]]:
    """A symbol's steps in decoding order: (frequency, cumulative frequency, log2 of the total)."""
    start, width, lowest = _row(tables, row)
    inside = 0 <= symbol - lowest <= width
    index = symbol - lowest if inside else width + 1
    cumulative = int(tables.cdf[start + index])
    yield int(tables.cdf[start + index + 1]) - cumulative, cumulative, TOTAL_BITS
    if not inside:
        below = symbol < lowest
        distance = lowest - symbol if below else symbol - lowest - width
        yield 1, int(below), 1
        # Exp-Golomb of order 0 of distance - 1: the bits of distance after as many zeros, less one.
        for shift in reversed(range(2 * distance.bit_length() - 1)):
            yield 1, distance >> shift & 1, 1


def join_stream(state: int, words: bytes) -> bytes:
    """The stream of the decoder's first state (2^16 <= state < 2^40) and the words that follow it."""
    return state.to_bytes((state.bit_length() + 7) // 8, "little") + words


def split_stream(stream: bytes) -> tuple[int, bytes]:
    """The inverse of `join_stream`, or (START, no words) of nothing. Truncated or Corrupt if malformed."""
    if not stream:
        return START, b""
    if len(stream) < 3:
        raise Truncated("the coded symbols end too early")
    size = 3 if len(stream) == 3 else 4 + len(stream) % 2
    if stream[size - 1] == 0:
        raise Corrupt("the coded symbols start with a state that is too small")
    return int.from_bytes(stream[:size], "little"), stream[size:]
