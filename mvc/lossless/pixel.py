"""One pixel of a graphic: "the same as that one" in a few decisions, or the bits of its colour's number.

`keys` is int64 [4 + H, 4 + W + 4]: all samples of a pixel in one integer, or its colour's number; zero outside.
`memory` is int64 [2, 3, size]: for each of two neighbourhoods, by hash, the key that followed it last, and how often.
"""

from __future__ import annotations

from typing import Any

from numba import int64

from mvc.jit import inner
from mvc.lossless.decide import alike, decide
from mvc.lossless.tables import INPUTS

__all__ = ["BIT_RATE", "FLAG_RATE", "indexed", "matched", "remember", "surroundings"]

FLAG_RATE = 6
BIT_RATE = 6
MASK = 0x7FFFFFFF


@inner(bare=True)
def _add(hashed: int, value: int) -> int:
    """A hash of 31 bits with one more value in it."""
    mixed = ((hashed ^ ((value ^ (value >> 24)) & MASK)) * 0x2C1B3C6D + 0x1B873593) & MASK
    return mixed ^ (mixed >> 15)


@inner(bare=True)
def surroundings(keys: Any, y: int, x: int, near: Any, hashes: Any) -> None:
    """The keys around a pixel, and hashes of more and more of them.

    near: W N NW NE WW NN NNE NEE NNW WWW NWW NNN; hashes: 0 W N, 1 and NW NE, 2 and WW NN, 3 all, 4 W WW WWW.
    """
    r, c = y + 4, x + 4
    near[0], near[1], near[2], near[3] = keys[r, c - 1], keys[r - 1, c], keys[r - 1, c - 1], keys[r - 1, c + 1]
    near[4], near[5], near[6], near[7] = keys[r, c - 2], keys[r - 2, c], keys[r - 2, c + 1], keys[r - 1, c + 2]
    near[8], near[9], near[10], near[11] = keys[r - 2, c - 1], keys[r, c - 3], keys[r - 1, c - 2], keys[r - 3, c]
    hashed = _add(_add(int64(1), near[0]), near[1])
    hashes[0] = hashed
    hashed = _add(_add(hashed, near[2]), near[3])
    hashes[1] = hashed
    hashed = _add(_add(hashed, near[4]), near[5])
    hashes[2] = hashed
    for i in range(6, 12):
        hashed = _add(hashed, near[i])
    hashes[3] = hashed
    hashes[4] = _add(_add(_add(int64(2), near[0]), near[4]), near[9])


@inner(bare=True)
def matched(
    decoding: bool,
    key: int,
    y: int,
    x: int,
    depth: int,
    slack: int,
    close: Any,
    hashes: Any,
    memory: Any,
    ranks: Any,
    counters: Any,
    weights: Any,
    refused: Any,
    at: Any,
    inputs: Any,
    coder: Any,
    words: Any,
) -> int:
    """Code which candidate the pixel equals: its key, or -1 if it equals none. Encoders give it `slack` in a sample."""
    mask, size = counters.shape[1] - 1, memory.shape[2] - 1
    far, by = hashes[3] & size, hashes[1] & size
    trust_far, trust_close = memory[0, 1, far], memory[1, 1, by]
    first = memory[0, 0, far] if trust_far > 0 else close[0]
    second = memory[1, 0, by] if trust_close > 0 else close[0]
    old, now = ranks[(y + 1) % 2], ranks[y % 2]
    past = now[x + 3] + 3 * old[x + 4] + 9 * old[x + 3] + 27 * old[x + 5] + 81 * now[x + 2]
    pairs = (close[0] == close[1]) + 2 * (close[1] == close[3]) + 4 * (close[0] == close[2])
    pairs += (
        8 * (close[0] == close[4]) + 16 * (close[1] == close[5]) + 32 * (close[1] == close[2]) + 64 * (first == second)
    )
    tried, found = 0, int64(-1)
    a, b = int64(-1), int64(-1)
    for turn in range(4):
        candidate = first if turn == 0 else (second if turn == 1 else (close[0] if turn == 2 else close[1]))
        if candidate in (a, b):
            continue
        same = (candidate == close[0]) + 2 * (candidate == close[1]) + 4 * (candidate == close[2])
        same += 8 * (candidate == close[3]) + 16 * (candidate == close[5])
        node = tried * 32 + same
        at[0] = _add(_add(int64(10), node), trust_far * 8 + trust_close) & mask
        at[1] = _add(_add(int64(11), node), pairs) & mask
        at[2] = _add(_add(int64(12), node), past) & mask
        at[3] = _add(_add(hashes[0], candidate), tried + 13) & mask
        at[4] = _add(_add(hashes[1], candidate), tried + 16) & mask
        at[5] = _add(_add(_add(int64(19), close[0]), candidate), tried) & mask
        at[6] = _add(_add(hashes[2], candidate), tried + 22) & mask
        row = tried * 64 + min(trust_far, 7) * 8 + min(trust_close, 7)
        hit = 1 if alike(candidate, key, depth, slack) else 0
        if decide(decoding, hit, FLAG_RATE, at, counters, weights, row, inputs, coder, words) == 1:
            found = candidate
            break
        a, b = b, candidate
        tried += 1
        refused[tried] = candidate
        if tried == 3:
            break
    refused[0] = tried
    now[x + 4] = 2 if found == -1 else min(tried, 1)
    return found


@inner(bare=True)
def remember(key: int, hashes: Any, memory: Any) -> None:
    """Let the memory of both neighbourhoods know what followed."""
    size = memory.shape[2] - 1
    for i in range(2):
        slot = hashes[3 - 2 * i] & size
        if memory[i, 0, slot] == key and memory[i, 1, slot] > 0:
            memory[i, 1, slot] = min(memory[i, 1, slot] + 1, 7)
        elif memory[i, 1, slot] <= 1:
            memory[i, 0, slot] = key
            memory[i, 1, slot] = 1
        else:
            memory[i, 1, slot] >>= 1


@inner(bare=True)
def indexed(
    decoding: bool,
    key: int,
    bits: int,
    y: int,
    x: int,
    keys: Any,
    near: Any,
    hashes: Any,
    counters: Any,
    weights: Any,
    at: Any,
    inputs: Any,
    coder: Any,
    words: Any,
) -> int:
    """Code a colour's number of `bits` bits, the highest first."""
    mask, node = counters.shape[1] - 1, int64(1)
    grid = _add(_add(_add(int64(31), near[0]), near[1]), (y & 7) * 8 + (x & 7))
    pattern = _add(_add(_add(int64(32), keys[y, x + 4]), keys[y + 4, x]), near[0])
    for rest in range(bits - 1, -1, -1):
        at[0] = _add(hashes[0], node + 1024) & mask
        at[1] = _add(hashes[1], node + 2048) & mask
        at[2] = _add(hashes[2], node + 3072) & mask
        at[3] = _add(hashes[3], node + 4096) & mask
        at[4] = _add(hashes[4], node + 5120) & mask
        at[5] = _add(pattern, node + 6144) & mask
        at[6] = _add(grid, node + 7168) & mask
        count = int64(counters[3, at[3]]) & 1023
        count2 = int64(counters[2, at[2]]) & 1023
        seen = (0 if count == 0 else (1 if count < 4 else 2)) * 3 + (0 if count2 == 0 else (1 if count2 < 4 else 2))
        row = min(bits - 1 - rest, 7) * 9 + seen
        bit = decide(decoding, (key >> rest) & 1, BIT_RATE, at, counters, weights, row, inputs, coder, words)
        node = 2 * node + bit
    return node - (int64(1) << bits)


assert INPUTS == 7  # the contexts above
