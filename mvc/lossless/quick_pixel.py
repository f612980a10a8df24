"""One pixel of the quick kind: "the same as that one", with fewer and smaller contexts than `pixel` has.

`keys` is int64 [4 + H, 4 + W + 4], flat: all samples of a pixel in one integer, zero outside.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from numba import int64, uint32, uint64

from mvc.jit import inner
from mvc.lossless.decide import alike, code
from mvc.lossless.tables import LIMIT, RATES, SHARES, SQUASH, STRETCH

__all__ = ["QUICK_BITS", "SLOTS", "Matches", "moved", "part", "quick_match", "quick_remember"]

RATE = 6
QUICK_BITS = 14
"""log2 of the slots of hashed contexts and of each memory."""
SLOTS = (1 << QUICK_BITS) - 1
DIRECT = 96 * 64, 96 * 128, 96 * 243
"""Contexts of the inputs that are not hashed."""
BASES = 0, DIRECT[0], DIRECT[0] + DIRECT[1], sum(DIRECT)


class Matches(NamedTuple):
    """What matches remember: keys of pixels and of memories [2, slots], their trusts, ranks [2, W + 8], counters.

    `slots` is int64 [2], of the last pixel; `refused` int64 [4]: how many candidates were not it, and which.
    """

    keys: Any
    held: Any
    trusts: Any
    ranks: Any
    counters: Any
    weights: Any
    slots: Any
    refused: Any


@inner(bare=True)
def part(key: int, place: int) -> int:
    """A neighbour's part of a hash."""
    return ((key ^ (key >> 24)) & 0x7FFFFFFF) * int64(SHARES[uint64(place)])


@inner(bare=True)
def _decide(
    decoding: bool, bit: int, a: int, b: int, c: int, d: int, row: int, counters: Any, weights: Any, coder: Any,
    words: Any,
) -> int:  # fmt: skip
    """Code a bit mixed of four counters, and learn from it."""
    pa, pb, pc, pd = counters[uint64(a)], counters[uint64(b)], counters[uint64(c)], counters[uint64(d)]
    sa, sb = int64(STRETCH[uint64(pa >> uint32(20))]), int64(STRETCH[uint64(pb >> uint32(20))])
    sc, sd = int64(STRETCH[uint64(pc >> uint32(20))]), int64(STRETCH[uint64(pd >> uint32(20))])
    i = 4 * row
    total = sa * weights[uint64(i)] + sb * weights[uint64(i + 1)]
    total += sc * weights[uint64(i + 2)] + sd * weights[uint64(i + 3)]
    chance = int64(SQUASH[uint64(min(max(total >> 16, -3072), 3071) + 3072)])
    bit = code(decoding, bit, chance, coder, words)
    error = ((bit << 16) - chance) * RATE
    weights[uint64(i)] += (sa * error + 32768) >> 16
    weights[uint64(i + 1)] += (sb * error + 32768) >> 16
    weights[uint64(i + 2)] += (sc * error + 32768) >> 16
    weights[uint64(i + 3)] += (sd * error + 32768) >> 16
    counters[uint64(a)] = moved(pa, bit)
    counters[uint64(b)] = moved(pb, bit)
    counters[uint64(c)] = moved(pc, bit)
    counters[uint64(d)] = moved(pd, bit)
    return bit


@inner(bare=True)
def moved(packed: Any, bit: int) -> Any:
    """A counter after a bit."""
    whole = int64(packed)
    count, value = whole & 1023, whole >> 10
    value += ((bit << 22) - value) * int64(RATES[uint64(count)]) >> 16
    return uint32(min(max(value, 64), (1 << 22) - 64) << 10 | min(count + 1, LIMIT))


@inner(bare=True)
def quick_match(
    decoding: bool, key: int, y: int, x: int, width: int, depth: int, slack: int, m: Any, coder: Any, words: Any,
) -> int:  # fmt: skip
    """Code which candidate the pixel equals: its key, or -1 if it equals none. Encoders give it `slack` in a sample."""
    keys, stride = m.keys, width + 8
    here = (y + 4) * stride + x + 4
    up, top = here - stride, here - 2 * stride
    w, ww, n, nn = keys[uint64(here - 1)], keys[uint64(here - 2)], keys[uint64(up)], keys[uint64(top)]
    nw, ne = keys[uint64(up - 1)], keys[uint64(up + 1)]
    close = part(w, 0) + part(n, 1) + part(nw, 2) + part(ne, 3)
    far = close + part(ww, 4) + part(nn, 5) + part(keys[uint64(top + 1)], 6) + part(keys[uint64(up + 2)], 7)
    far += part(keys[uint64(top - 1)], 8) + part(keys[uint64(here - 3)], 9) + part(keys[uint64(up - 2)], 10)
    far += part(keys[uint64(top - stride)], 11)
    slot, slot2 = (far >> 32) & SLOTS, ((close >> 32) & SLOTS) + SLOTS + 1
    m.slots[0] = slot
    m.slots[1] = slot2
    trust, trust2 = int64(m.trusts[uint64(slot)]), int64(m.trusts[uint64(slot2)])
    first = m.held[uint64(slot)] if trust > 0 else w
    second = m.held[uint64(slot2)] if trust2 > 0 else w
    now, old = y % 2 * stride + x + 4, (y + 1) % 2 * stride + x + 4
    ranks = m.ranks
    past = int64(ranks[uint64(now - 1)]) + 3 * int64(ranks[uint64(old)]) + 9 * int64(ranks[uint64(old - 1)])
    past += 27 * int64(ranks[uint64(old + 1)]) + 81 * int64(ranks[uint64(now - 2)])
    pattern = (w == n) + 2 * (n == ne) + 4 * (w == nw) + 8 * (w == ww) + 16 * (n == nn) + 32 * (n == nw)
    pattern += 64 * (first == second)
    both = trust * 8 + trust2
    most = 1 if past == 242 and both <= 9 else 3
    tried, found, a, b = 0, int64(-1), int64(-1), int64(-1)
    for turn in range(4):
        candidate = first if turn == 0 else (second if turn == 1 else (w if turn == 2 else n))
        if candidate in (a, b):
            continue
        like = (candidate == w) + 2 * (candidate == n) + 4 * (candidate == nw) + 8 * (candidate == ne)
        node = tried * 32 + like + 16 * (candidate == nn)
        hashed = ((close + part(candidate, 12) + part(tried, 13)) >> 32) & SLOTS
        hit = 1 if alike(candidate, key, depth, slack) else 0
        if _decide(
            decoding, hit, node * 64 + both, BASES[1] + node * 128 + pattern, BASES[2] + node * 243 + past,
            BASES[3] + hashed, tried * 64 + both, m.counters, m.weights, coder, words,
        ):  # fmt: skip
            found = candidate
            break
        a, b = b, candidate
        tried += 1
        m.refused[tried] = candidate
        if tried == most:
            break
    m.refused[0] = tried
    ranks[uint64(now)] = 2 if found == -1 else min(tried, 1)
    return found


@inner(bare=True)
def quick_remember(key: int, m: Any) -> None:
    """Let the memory of both neighbourhoods know what followed."""
    for i in range(2):
        slot = uint64(m.slots[i])
        trust = int64(m.trusts[slot])
        if m.held[slot] == key and trust > 0:
            m.trusts[slot] = min(trust + 1, 7)
        elif trust <= 1:
            m.held[slot] = key
            m.trusts[slot] = 1
        else:
            m.trusts[slot] = trust >> 1
