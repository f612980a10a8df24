"""One sample of a picture: predicted from its neighbours, and its distance from the prediction coded in decisions.

`planes` is int32 [C, 2 + H + 1, 2 + W + 2]: two rows above the picture, one below, two columns on either side.
"""

from __future__ import annotations

from typing import Any

from numba import int64

from mvc.jit import inner
from mvc.lossless.decide import decide, lone
from mvc.lossless.tables import COEF_BITS, LOG, SUBS, TRUST

__all__ = ["RATE", "finish_row", "sample", "skip"]

RATE = 2
"""How fast weights move, here."""


@inner(bare=True)
def _log(value: int, most: int) -> int:
    """LOG of a size, at most `most`."""
    return min(int64(LOG[min(value, 65535)]), most)


@inner(bare=True)
def _signed(value: int, shift: int, most: int) -> int:
    """2 * LOG of a size and a bit that says whether it is above zero."""
    return 2 * _log(abs(value) >> shift, most) + (1 if value > 0 else 0)


@inner(bare=True)
def finish_row(planes: Any, k: int, y: int, slips: Any, misses: Any) -> None:
    """Fill the margins that the next row reads beside row y of plane k."""
    width, row = planes.shape[2] - 4, planes[k, y + 2]
    row[width + 2] = row[width + 1]
    row[width + 3] = row[width + 1]
    planes[k, y + 3, 0] = row[2]
    planes[k, y + 3, 1] = row[2]
    slip, miss, below = slips[k, y % 3], misses[k, y % 2], (y + 1) % 2
    slip[width + 2] = slip[width + 1]
    slips[k, (y + 1) % 3, 0] = slip[2]
    slips[k, (y + 1) % 3, 1] = slip[2]
    for i in range(SUBS):
        miss[width + 2, i] = miss[width + 1, i]
        miss[width + 3, i] = miss[width + 1, i]
        misses[k, below, 0, i] = miss[2, i]
        misses[k, below, 1, i] = miss[2, i]
    if y == planes.shape[1] - 4:
        for x in range(width + 4):
            planes[k, y + 3, x] = row[x]


@inner(bare=True)
def skip(k: int, y: int, x: int, slips: Any, misses: Any, errors: Any) -> None:
    """A sample that is known without its prediction counts as predicted well."""
    slips[k, y % 3, x + 2] = 0
    errors[k, x] = 0
    for i in range(SUBS):
        misses[k, y % 2, x + 2, i] = 0


@inner(bare=True)
def sample(
    decoding: bool,
    wanted: int,
    k: int,
    y: int,
    x: int,
    apart: bool,
    depth: int,
    near: int,
    planes: Any,
    coefs: Any,
    classes: Any,
    slips: Any,
    misses: Any,
    errors: Any,
    bias: Any,
    counters: Any,
    weights: Any,
    singles: Any,
    taps: Any,
    guess: Any,
    context: Any,
    at: Any,
    inputs: Any,
    coder: Any,
    words: Any,
) -> None:
    """Code one sample (`wanted` when encoding), and put what the decoder gets into `planes`."""
    most, nodes, step = (1 << depth) - 1, 3 * depth, 2 * near + 1
    here, above, top = planes[k, y + 2], planes[k, y + 1], planes[k, y]
    w, ww = int64(here[x + 1]), int64(here[x])
    n, nw, ne = int64(above[x + 2]), int64(above[x + 1]), int64(above[x + 3])
    nn, nne = int64(top[x + 2]), int64(top[x + 3])
    taps[0], taps[1], taps[2], taps[3], taps[4], taps[5] = n - w, nw - w, ne - w, ww - w, nn - w, nne - w
    count = 6
    q, qw, qn, qnw = int64(0), int64(0), int64(0), int64(0)
    for other in range(max(0, k - 2), k):
        now, old = planes[other, y + 2], planes[other, y + 1]
        q, qw, qn, qnw = int64(now[x + 2]), int64(now[x + 1]), int64(old[x + 2]), int64(old[x + 1])
        taps[count], taps[count + 1], taps[count + 2], taps[count + 3] = q - qw, qn - qw, qnw - qw, old[x + 3] - qw
        count += 4
        if apart:
            taps[count], taps[count + 1] = now[x + 3] - qw, planes[other, y + 3, x + 2] - qw
            count += 2
    across = abs(w - ww) + abs(n - nw) + abs(ne - n)
    down = abs(w - nw) + abs(n - nn) + abs(ne - nne)
    way = 2 if across > 2 * down + 2 else (0 if down > 2 * across + 2 else 1)
    kind = classes[_log(across + down, 15), way]
    total = w << COEF_BITS
    for i in range(count):
        total += coefs[k, kind, i] * taps[i]
    guess[0] = total >> (COEF_BITS - 3)
    guess[1] = (n + w - nw) * 8
    guess[2] = (w + ne - n) * 8
    guess[3] = (2 * n - nn) * 8
    guess[4] = (w + n) * 4 + (ne - nw) * 2
    if k > 0:
        guess[5] = (w + q - qw) * 8
        guess[6] = (n + q - qn) * 8
        guess[7] = (n + w - nw + q - qn - qw + qnw) * 8
    else:
        guess[5] = w * 8
        guess[6] = n * 8
        guess[7] = (n + ne) * 4
    one, two = misses[k, y % 2], misses[k, (y + 1) % 2]
    mass, moment = int64(0), int64(0)
    for i in range(SUBS):
        guess[i] = min(max(guess[i], 0), most * 8)
        miss = two[x + 2, i] + two[x + 1, i] + two[x + 3, i] + one[x + 1, i] + ((one[x, i] + two[x + 4, i]) >> 1)
        trust = int64(TRUST[min(miss >> 2, 4095)])
        mass += trust
        moment += trust * guess[i]
    mean = moment // mass
    ew, eww = int64(slips[k, y % 3, x + 1]), int64(slips[k, y % 3, x])
    old_slips = slips[k, (y + 2) % 3]
    en, enw, ene = int64(old_slips[x + 2]), int64(old_slips[x + 1]), int64(old_slips[x + 3])
    enn = int64(slips[k, (y + 1) % 3, x + 2])
    energy = _log((2 * (abs(ew) + abs(en)) + abs(enw) + abs(ene) + abs(eww) + abs(enn)) >> 2, 19)
    shape = (w * 8 > mean) + 2 * (n * 8 > mean) + 4 * (nw * 8 > mean) + 8 * (ne * 8 > mean) + 16 * (ww * 8 > mean)
    shape += 32 * (nn * 8 > mean) + 64 * ((2 * n - nn) * 8 > mean) + 128 * (q > qw)
    place = shape * 8 + min(energy >> 2, 7)
    centre = min(max(mean + (bias[k, place] >> 8), 0), most * 8)
    edge = (centre >> 3) + 1 + near
    other1 = int64(errors[k - 1, x]) if k > 0 else int64(0)
    other2 = int64(errors[k - 2, x]) if k > 1 else int64(0)
    context[0] = energy * 8 + (centre & 7)
    context[1] = _log(across, 11) * 12 + _log(down, 11)
    context[2] = (_signed(other1, 2, 9) * 14 + _signed(other2, 2, 6)) * 4 + min(energy >> 2, 3)
    context[3] = _signed(guess[0] - centre, 0, 8) * 24 + _signed(guess[1] - centre, 1, 11)
    context[4] = _signed(ew, 1, 9) * 20 + _signed(en, 1, 9)
    context[5] = centre >> 3 >> max(depth - 8, 0)
    context[6] = _signed(n * 8 - centre, 1, 11) * 24 + _signed(w * 8 - centre, 1, 11)
    for i in range(context.size):
        context[i] *= nodes
    row = min(energy >> 1, 9) * nodes
    side, size = 0, int64(0)
    if not decoding:
        side = 0 if wanted >= edge else 1
        size = (wanted - edge) // step if side == 0 else (edge - 1 - wanted) // step
    if edge > most:
        side = 1
    else:
        for i in range(context.size):
            at[i] = context[i]
        side = decide(decoding, side, RATE, at, counters[k], weights[k], row, inputs, coder, words)
    room = (most - edge) // step if side == 0 else (edge - 1) // step
    length, length_wanted = 0, 0
    if not decoding:
        while size >> length_wanted > 0:
            length_wanted += 1
    while 1 << length <= room:
        node = 1 + 2 * length + side
        for i in range(context.size):
            at[i] = context[i] + node
        more = 1 if length_wanted > length else 0
        if decide(decoding, more, RATE, at, counters[k], weights[k], row + node, inputs, coder, words) == 0:
            break
        length += 1
    if length >= 2:
        node = 2 * depth - 1 + length
        for i in range(context.size):
            at[i] = context[i] + node
        bit = (size >> (length - 2)) & 1
        bit = decide(decoding, bit, RATE, at, counters[k], weights[k], row + node, inputs, coder, words)
        got, known = 2 + bit, 1
        for rest in range(length - 3, -1, -1):
            slot = known if length - 3 - rest < 3 else 0
            bit = lone(decoding, (size >> rest) & 1, length * 8 + slot, singles[k], coder, words)
            got, known = 2 * got + bit, 2 * known + bit
    else:
        got = length
    if decoding:
        size = min(got, room)
    value = edge + size * step + near if side == 0 else edge - 1 - size * step - near
    value = min(max(value, 0), most)
    here[x + 2] = value
    slip = value * 8 - centre
    slips[k, y % 3, x + 2] = slip
    errors[k, x] = slip
    bias[k, place] += ((value * 8 - mean) * 256 - bias[k, place]) >> 6
    for i in range(SUBS):
        one[x + 2, i] = abs(value * 8 - guess[i])
