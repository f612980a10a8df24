"""The rest of a pixel by its first sample: that of one which had the same, seen lately.

`held` is int64: the keys that followed a first sample and the pixel on the left last, by hash, and behind these for
each first sample a shelf of the last WAYS different keys that had it, the latest first; -1 where there is none.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from numba import int64, uint64

from mvc.jit import inner
from mvc.lossless.decide import alike
from mvc.lossless.quick_pixel import QUICK_BITS, SLOTS, decide_of_four, part
from mvc.lossless.tables import LOG

__all__ = ["COUNTERS", "HELD", "ROWS", "SLOTS", "WAYS", "Recall", "recall", "recall_learn"]

WAYS = 8
SHELVES = 1 << 12
HELD = (1 << QUICK_BITS) + SHELVES * WAYS
"""Keys that are held."""
FIRST, SECOND = (WAYS + 1) * 32, 4 * 8 * 16
"""Contexts of the inputs that are not hashed."""
COUNTERS, ROWS = FIRST + SECOND + (2 << QUICK_BITS), (WAYS + 1) * 16
RARE = 2048
"""A candidate that was right for a smaller share of pixels, in 1/65536, is not tried."""


class Recall(NamedTuple):
    """What is remembered: keys [HELD], trusts of hashed ones, how often each was right, counters, weights.

    `places` is int64 [2]: the hashed place and the shelf of the pixel that was asked for last.
    """

    held: Any
    trusts: Any
    rates: Any
    counters: Any
    weights: Any
    places: Any


@inner(bare=True)
def _far(one: int, two: int, depth: int, count: int) -> int:
    """How far the later samples of two keys are apart, as they are or beside the first: LOG, at most 15."""
    mask, total = (1 << depth) - 1, int64(0)
    first = (one & mask) - (two & mask)
    for k in range(1, count):
        step = ((one >> (depth * k)) & mask) - ((two >> (depth * k)) & mask)
        total += min(abs(step), abs(step - first))
    return min(int64(LOG[uint64(min(total, 65535))]), 15)


@inner(bare=True)
def recall(
    decoding: bool, key: int, first: int, slip: int, count: int, depth: int, slack: int, w: int, refused: Any, r: Any,
    coder: Any, words: Any,
) -> int:  # fmt: skip
    """Code which candidate the pixel is, whose first sample is `first` and was off by `slip`: its key, or -1.

    `w` is the pixel on the left, `refused` the number of candidates of matches that it is not, and these; `slack` as in
    quick_match.
    """
    place, shelf = ((part(first, 0) + part(w, 1)) >> 32) & SLOTS, SLOTS + 1 + (first & (SHELVES - 1)) * WAYS
    r.places[0] = place
    r.places[1] = shelf
    latest, trust = r.held[uint64(place)], int64(r.trusts[uint64(place)])
    level = min(int64(LOG[uint64(min(abs(slip) >> 2, 65535))]), 7)
    tried, mask = 0, (1 << depth) - 1
    for turn in range(WAYS + 1):
        if r.rates[uint64(turn)] < RARE:
            continue
        candidate = latest if turn == 0 else r.held[uint64(shelf + turn - 1)]
        known = candidate < 0 or candidate & mask != first or (turn > 0 and candidate == latest)
        for i in range(refused[0]):
            known = known or candidate == refused[uint64(1 + i)]
        if known:
            continue
        far = _far(candidate, w, depth, count)
        hashed = part(candidate, 3)
        if decide_of_four(
            decoding, 1 if alike(candidate, key, depth, slack) else 0, (turn * 8 + trust) * 4 + min(tried, 3),
            FIRST + (min(turn, 3) * 8 + level) * 16 + far, FIRST + SECOND + (((hashed + part(turn, 4)) >> 32) & SLOTS),
            FIRST + SECOND + SLOTS + 1 + (((hashed + part(turn, 5) + part(w, 6)) >> 32) & SLOTS), turn * 16 + far,
            r.counters, r.weights, coder, words,
        ):  # fmt: skip
            return int64(candidate)
        tried += 1
    return int64(-1)


@inner(bare=True)
def recall_learn(key: int, r: Any) -> None:
    """Let what `recall` looked at know the pixel."""
    held, rates, place, shelf = r.held, r.rates, uint64(r.places[0]), r.places[1]
    trust = int64(r.trusts[place])
    found = held[place] == key
    if trust > 0:
        rates[0] += ((65535 if found else 0) - rates[0]) >> 5
    if found:
        r.trusts[place] = min(trust + 1, 7)
    elif trust <= 1:
        held[place] = key
        r.trusts[place] = 1
    else:
        r.trusts[place] = trust >> 1
    carried, i = key, 0
    while i < WAYS:
        there = held[uint64(shelf + i)]
        if not found:
            found = there == key
            rates[uint64(i + 1)] += ((65535 if found else 0) - rates[uint64(i + 1)]) >> 5
        held[uint64(shelf + i)] = carried
        if there == key:
            break
        carried = there
        i += 1
