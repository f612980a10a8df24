"""What every kernel of the lossless coder is made of: one binary decision, mixed, coded and learnt from.

State of the range coder, int64 [3]: when encoding the low end (48 bits and a carry), the range, the words written;
when decoding what is left of the code above the low end, the range, the words read. See docs/lossless.md.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import int64, uint32

from mvc.jit import inner
from mvc.lossless.tables import INPUTS, LIMIT, RATES, SQUASH, STRETCH

__all__ = ["WORST_BITS", "code", "decide", "lone", "mix", "start"]

WORST_BITS = 16
"""No decision costs more."""


def start(words: Any, decoding: bool) -> Any:
    """The coder's first state."""
    state = np.array([0, (1 << 48) - 1, 0], np.int64)
    if decoding:
        for word in [*words[:3].tolist(), 0, 0, 0][:3]:
            state[0] = state[0] << 16 | word
        state[2] = 3
    return state


@inner()
def code(decoding: bool, bit: int, chance: int, coder: Any, words: Any) -> int:
    """Code a bit that is 1 with probability chance / 65536."""
    split = (coder[1] >> 16) * chance
    if decoding:
        bit = 1 if coder[0] < split else 0
        if bit == 0:
            coder[0] -= split
    elif bit == 0:
        coder[0] += split
    left = split if bit == 1 else coder[1] - split
    if left < 1 << 32:
        left <<= 16
        at = coder[2]
        if decoding:
            coder[0] <<= 16
            if at < words.size:
                coder[0] |= int64(words[at])
        else:
            word = coder[0] >> 32
            if word > 0xFFFF:
                before = at - 1
                while words[before] == 0xFFFF:
                    words[before] = 0
                    before -= 1
                words[before] += 1
            words[at] = word & 0xFFFF
            coder[0] = (coder[0] & 0xFFFFFFFF) << 16
        coder[2] = at + 1
    coder[1] = left
    return bit


@inner()
def mix(at: Any, counters: Any, weights: Any, row: int, inputs: Any) -> int:
    """The probability of 1 by the counters `at` and the weights of `row`."""
    total = int64(0)
    for i in range(INPUTS):
        value = STRETCH[counters[i, at[i]] >> 20]
        inputs[i] = value
        total += value * weights[row, i]
    return int64(SQUASH[min(max(total >> 16, -3072), 3071) + 3072])


@inner()
def learn(bit: int, chance: int, rate: int, at: Any, counters: Any, weights: Any, row: int, inputs: Any) -> None:
    """Move the weights and the counters towards the bit."""
    error = ((bit << 16) - chance) * rate
    for i in range(INPUTS):
        weights[row, i] += (inputs[i] * error + 32768) >> 16
        packed = int64(counters[i, at[i]])
        count, value = packed & 1023, packed >> 10
        value += ((bit << 22) - value) * RATES[count] >> 16
        value = min(max(value, 64), (1 << 22) - 64)
        counters[i, at[i]] = uint32(value << 10 | min(count + 1, LIMIT))


@inner()
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


@inner()
def lone(decoding: bool, bit: int, at: int, counters: Any, coder: Any, words: Any) -> int:
    """Code a bit by one counter of 16 bits, and learn from it."""
    bit = code(decoding, bit, counters[at], coder, words)
    counters[at] += ((bit << 16) - counters[at]) >> 5
    counters[at] = min(max(counters[at], 32), 65504)
    return bit
