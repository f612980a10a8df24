"""What every kernel of the lossless coder is made of: one binary decision, mixed, coded and learnt from.

State of the range coder, int64 [3]: when encoding the low end (48 bits and a carry), the range, the words written;
when decoding what is left of the code above the low end, the range, the words read. See section 8 of
bitstream_spec.md.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import int64, uint32, uint64

from mvc.errors import Corrupt
from mvc.jit import inner
from mvc.lossless.tables import INPUTS, LIMIT, RATES, SQUASH, STRETCH

__all__ = ["WORST_BITS", "alike", "code", "decide", "lone", "shifted", "start"]

WORST_BITS = 16
"""No decision costs more."""


def start(words: Any, decoding: bool) -> Any:
    """The coder's first state. Corrupt if the code is not below the range, as it is ever after."""
    state = np.array([0, (1 << 48) - 1, 0], np.int64)
    if decoding:
        for word in [*words[:3].tolist(), 0, 0, 0][:3]:
            state[0] = state[0] << 16 | word
        state[2] = 3
        if state[0] >= state[1]:
            raise Corrupt("the exact picture begins with a code that is out of range")
    return state


@inner(bare=True)
def code(decoding: bool, bit: int, chance: int, coder: Any, words: Any) -> int:
    """Code a bit that is 1 with probability chance / 65536."""
    low, size = coder[0], coder[1]
    split = (size >> 16) * chance
    if decoding:
        bit = 1 if low < split else 0
    if bit == 1:
        size = split
    else:
        low = low - split if decoding else low + split
        size -= split
    if size < 1 << 32:
        size <<= 16
        low = shifted(decoding, low, coder, words)
    coder[0] = low
    coder[1] = size
    return bit


@inner(bare=True)
def shifted(decoding: bool, low: int, coder: Any, words: Any) -> int:
    """The low end, or what is left of the code above it, after a word was written or read."""
    at = uint64(coder[2])
    coder[2] += 1
    if decoding:
        return low << 16 | (int64(words[at]) if at < uint64(words.size) else int64(0))
    if low >> 48 > 0:
        before = at - uint64(1)
        while words[before] == 0xFFFF:
            words[before] = 0
            before -= uint64(1)
        words[before] += 1
    words[at] = (low >> 32) & 0xFFFF
    return (low & 0xFFFFFFFF) << 16


@inner(bare=True)
def mix(at: Any, counters: Any, weights: Any, row: int, inputs: Any) -> int:
    """The probability of 1 by the counters `at` and the weights of `row`."""
    total = int64(0)
    for i in range(INPUTS):
        j = uint64(i)
        value = int64(STRETCH[counters[j, uint64(at[j])] >> uint32(20)])
        inputs[j] = value
        total += value * weights[uint64(row), j]
    return int64(SQUASH[uint64(min(max(total >> 16, -3072), 3071) + 3072)])


@inner(bare=True)
def learn(bit: int, chance: int, rate: int, at: Any, counters: Any, weights: Any, row: int, inputs: Any) -> None:
    """Move the weights and the counters towards the bit."""
    error = ((bit << 16) - chance) * rate
    for i in range(INPUTS):
        j = uint64(i)
        weights[uint64(row), j] += (inputs[j] * error + 32768) >> 16
        packed = int64(counters[j, uint64(at[j])])
        count, value = packed & 1023, packed >> 10
        value += ((bit << 22) - value) * int64(RATES[uint64(count)]) >> 16
        value = min(max(value, 64), (1 << 22) - 64)
        counters[j, uint64(at[j])] = uint32(value << 10 | min(count + 1, LIMIT))


@inner(bare=True)
def decide(
    decoding: bool,
    bit: int,
    rate: int,
    at: Any,
    counters: Any,
    weights: Any,
    row: int,
    inputs: Any,
    coder: Any,
    words: Any,
) -> int:
    """Code a mixed bit, and learn from it."""
    chance = mix(at, counters, weights, row, inputs)
    bit = code(decoding, bit, chance, coder, words)
    learn(bit, chance, rate, at, counters, weights, row, inputs)
    return bit


@inner(bare=True)
def alike(one: int, two: int, depth: int, slack: int) -> bool:
    """Whether no sample of two keys differs by more than `slack`."""
    if slack == 0 or one < 0 or two < 0:
        return bool(one == two)
    mask, found = (1 << depth) - 1, True
    while (one > 0 or two > 0) and found:
        found = abs((one & mask) - (two & mask)) <= slack
        one >>= depth
        two >>= depth
    return found


@inner(bare=True)
def lone(decoding: bool, bit: int, at: int, counters: Any, coder: Any, words: Any) -> int:
    """Code a bit by one counter of 16 bits, and learn from it."""
    bit = code(decoding, bit, counters[at], coder, words)
    counters[at] += ((bit << 16) - counters[at]) >> 5
    counters[at] = min(max(counters[at], 32), 65504)
    return bit
