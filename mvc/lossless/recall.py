"""The rest of a pixel by its first sample: that of one which had the same, seen lately.

`held` is int64: the keys that followed a first sample and the pixel on the left last, by hash, and behind these for
each first sample a shelf of the last WAYS different keys that had it, the latest first; -1 where there is none.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from numba import int64, uint64

from mvc.jit import inner
from mvc.lossless.decide import alike, code
from mvc.lossless.quick_pixel import QUICK_BITS, SLOTS, moved, part
from mvc.lossless.tables import LOG
from mvc.lossless.vectors import NONE, WAYS, least, measure, order, to_front

__all__ = ["COUNTERS", "HELD", "SLOTS", "WAYS", "Recall", "recall", "recall_learn"]

SHELVES = 1 << 12
HELD = (1 << QUICK_BITS) + SHELVES * WAYS
"""Keys that are held."""
COUNTERS = 8 * 128 + 4 * 128
"""Trust, or turn, each by 8 levels of what the first sample was off by and 16 of how far a candidate is."""
RARE = 512
"""A candidate that is right with a smaller chance, in 1/65536, is not tried."""


class Recall(NamedTuple):
    """What is remembered: keys [HELD], trusts of hashed ones, counters; `codes` is for work.

    `places` is int64 [2]: the hashed place and the shelf of the pixel that was asked for last.
    """

    held: Any
    trusts: Any
    counters: Any
    codes: Any
    places: Any


@inner(bare=True)
def _apart(key: int, like: int, depth: int, count: int) -> int:
    """How far the later samples of two keys are apart, as they are or beside the first."""
    mask, total = (1 << depth) - 1, int64(0)
    first = (key & mask) - (like & mask)
    for k in range(1, count):
        step = ((key >> (depth * k)) & mask) - ((like >> (depth * k)) & mask)
        total += min(abs(step), abs(step - first))
    return total


@inner(bare=True)
def _ordered(first: int, w: int, n: int, latest: int, depth: int, count: int, refused: Any, r: Any) -> None:
    """Let `codes` be 8 times how far each key on the shelf is from both neighbours, and its place; or NONE."""
    codes, held, shelf, mask = r.codes, r.held, r.places[1], (1 << depth) - 1
    for i in range(WAYS):
        codes[uint64(i)] = 0
    for k in range(1, count):
        shift = depth * k
        measure(codes, held, shelf, shift, mask, (w >> shift) & mask, first - (w & mask))
        measure(codes, held, shelf, shift, mask, (n >> shift) & mask, first - (n & mask))
    a = refused[1] if refused[0] > 0 else int64(-1)
    b = refused[2] if refused[0] > 1 else int64(-1)
    c = refused[3] if refused[0] > 2 else int64(-1)
    order(codes, held, shelf, mask, first, latest, a, b, c)


@inner(bare=True)
def recall(
    decoding: bool, key: int, first: int, slip: int, count: int, depth: int, slack: int, w: int, n: int, refused: Any,
    r: Any, coder: Any, words: Any,
) -> int:  # fmt: skip
    """Code which candidate the pixel is, whose first sample is `first` and was off by `slip`: its key, or -1.

    `w` and `n` are the pixels on the left and above, `refused` the number of candidates of matches that it is not, and
    these; `slack` as in quick_match.
    """
    place, shelf = ((part(first, 0) + part(w, 1)) >> 32) & SLOTS, SLOTS + 1 + (first & (SHELVES - 1)) * WAYS
    r.places[0] = place
    r.places[1] = shelf
    latest, mask = r.held[uint64(place)], (1 << depth) - 1
    level = min(int64(LOG[uint64(min(abs(slip) >> 2, 65535))]), 7)
    context, next_one = int64(r.trusts[uint64(place)]) * 128, int64(-1)
    known = latest < 0 or latest & mask != first
    for i in range(refused[0]):
        known = known or latest == refused[uint64(1 + i)]
    _ordered(first, w, n, latest, depth, count, refused, r)
    for turn in range(WAYS + 1):
        candidate, total = latest, int64(0)
        if turn == 0:
            if known:
                continue
            total = (_apart(latest, w, depth, count) + _apart(latest, n, depth, count) + 1) >> 1
        else:
            next_one = least(r.codes, next_one)
            if next_one == NONE:
                break
            candidate, total = r.held[uint64(shelf + (next_one & (WAYS - 1)))], next_one // WAYS
            context = 8 * 128 + min(turn - 1, 3) * 128
        at = uint64(context + level * 16 + min(int64(LOG[uint64(min(total, 65535))]), 15))
        packed = r.counters[at]
        chance = int64(packed) >> 16
        if chance < RARE:
            if turn == 0:
                continue
            break
        hit = code(decoding, 1 if alike(candidate, key, depth, slack) else 0, chance, coder, words)
        r.counters[at] = moved(packed, hit)
        if hit:
            return int64(candidate)
    return int64(-1)


@inner(bare=True)
def recall_learn(key: int, r: Any) -> None:
    """Let what `recall` looked at know the pixel."""
    held, place = r.held, uint64(r.places[0])
    trust = int64(r.trusts[place])
    if held[place] == key:
        r.trusts[place] = min(trust + 1, 7)
    elif trust <= 1:
        held[place] = key
        r.trusts[place] = 1
    else:
        r.trusts[place] = trust >> 1
    to_front(held, r.places[1], key)
