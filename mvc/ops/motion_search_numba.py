"""Kernels of motion_search.py: pictures to search in, and the search itself, which goes through the blocks in order.

References are kept with a margin, edges repeated, so that no pixel is looked at by itself; vectors that lead a window
out of it are not tried. Vectors are (down, right) in quarters of a pixel of the picture that is searched.
"""

from __future__ import annotations

import numpy as np

from mvc.jit import inner, kernel
from mvc.ops.warp_numba import TAPS

NEVER = np.float32(1e30)
NOTHING = np.float32(0)
SAME_BITS, OTHER_BITS, SPLIT_BITS = np.float32(0.3), np.float32(1.5), np.float32(1)


@kernel()
def halve(begin, end, picture, out):
    """Rows begin..end of a picture half as wide and high, rounded to 8 bits."""
    for i in range(begin, end):
        top, bottom, row = picture[2 * i], picture[2 * i + 1], out[i]
        for j in range(out.shape[1]):
            upper = np.int32(np.int32(top[2 * j]) + np.int32(top[2 * j + 1]))
            lower = np.int32(np.int32(bottom[2 * j]) + np.int32(bottom[2 * j + 1]))
            row[j] = np.int32(upper + lower + 2) >> 2


@kernel()
def extend(begin, end, picture, margin, out):
    """Rows begin..end of the picture with a margin."""
    height, width = picture.shape
    for i in range(begin, end):
        source, row = picture[min(max(i - margin, 0), height - 1)], out[i]
        for j in range(margin):
            row[j] = source[0]
            row[margin + width + j] = source[width - 1]
        for j in range(width):
            row[margin + j] = source[j]


@kernel()
def quarters(begin, end, wide, out):
    """Rows begin..end of a picture at all quarters as the warp interpolates: out [4 down, 4 right, rows, columns].

    `wide` [rows + 4, columns + 4] has two pixels more of the margin on each side.
    """
    columns = out.shape[3]
    sums = np.empty(columns + 4, np.int32)
    for i in range(begin, end):
        a, b, c, d = wide[i + 1], wide[i + 2], wide[i + 3], wide[i + 4]
        for down in range(4):
            w0, w1, w2, w3 = TAPS[4 * down, 0], TAPS[4 * down, 1], TAPS[4 * down, 2], TAPS[4 * down, 3]
            for j in range(columns + 4):
                first = np.int32(np.int32(w0 * np.int32(a[j])) + np.int32(w1 * np.int32(b[j])))
                sums[j] = np.int32(first + np.int32(np.int32(w2 * np.int32(c[j])) + np.int32(w3 * np.int32(d[j]))))
            for right in range(4):
                w0, w1, w2, w3 = TAPS[4 * right, 0], TAPS[4 * right, 1], TAPS[4 * right, 2], TAPS[4 * right, 3]
                row = out[down, right, i]
                for j in range(columns):
                    first = np.int32(np.int32(w0 * sums[j + 1]) + np.int32(w1 * sums[j + 2]))
                    last = np.int32(np.int32(w2 * sums[j + 3]) + np.int32(w3 * sums[j + 4]))
                    row[j] = min(max(np.int32(first + np.int32(last + 2048)) >> 12, 0), 255)


@inner()
def _difference(current, reference, window, y, x, bound):
    """Sum of absolute differences of a window and the reference from row y and column x on, or more than `bound`."""
    top, bottom, left, right = window
    total = np.int32(0)
    for i in range(top, bottom):
        if right - left == 16:
            for j in range(16):
                d = np.int32(np.int32(current[i, left + j]) - np.int32(reference[y + i - top, x + j]))
                total = np.int32(total + abs(d))
        else:
            for j in range(right - left):
                d = np.int32(np.int32(current[i, left + j]) - np.int32(reference[y + i - top, x + j]))
                total = np.int32(total + abs(d))
        if total > bound:
            break
    return total


@inner()
def _window(row, column, side, reach, inside):
    """What is compared for a block: it and `reach` pixels around it, inside the picture. Top, bottom, left, right."""
    bottom, right = min(row + side + reach, inside[0]), min(column + side + reach, inside[1])
    return max(row - reach, 0), bottom, max(column - reach, 0), right


@kernel()  # and not `inner`: put into each place that calls it, it would take four times as long to compile
def _try(place, window, near, down, right, extra, best):
    """The better of `best` (cost, down, right) and a vector: mean absolute difference and weighted bits beyond `near`.

    place: the current picture; the reference at all quarters (or only whole pixels) [4, 4, rows, columns] and its
    margin; the weight of a bit; the table of bits; how many quarters of a full-size pixel a quarter here is.
    """
    current, planes, margin, weight, table, zoom = place
    top, bottom, left, end = window
    last = len(table) - 1
    off_down, off_right = zoom * abs(down - near[0]), zoom * abs(right - near[1])
    bits = extra + SAME_BITS
    if off_down != 0 or off_right != 0:
        bits = extra + OTHER_BITS + table[min(off_down, last)] + table[min(off_right, last)]
    rate = weight * bits
    y, x = margin + top + (down >> 2), margin + left + (right >> 2)
    if rate >= best[0] or min(y, x) < 0 or y + bottom - top > planes.shape[2] or x + end - left > planes.shape[3]:
        return best
    pixels = np.float32((bottom - top) * (end - left))
    bound = np.int32(min((best[0] - rate) * pixels, np.float32(1 << 24)))
    cost = rate + np.float32(_difference(current, planes[down & 3, right & 3], window, y, x, bound)) / pixels
    return (cost, down, right) if cost < best[0] else best


@kernel()
def _try_around(place, window, near, step, reach, extra, best):
    """The best of all vectors up to `reach` steps away."""
    _, from_down, from_right = best
    for i in range(-reach, reach + 1):
        for j in range(-reach, reach + 1):
            if i != 0 or j != 0:
                best = _try(place, window, near, from_down + i * step, from_right + j * step, extra, best)
    return best


@inner()
def _median(a, b, c):
    return max(min(a, b), min(max(a, b), c))


@kernel()
def coarse(place, start, field, reach, inside):
    """Whole pixels for blocks of 4 x 4 of a small picture: field int64 [h, w, 2], `start` that of one half as wide."""
    zero = np.int64(0)  # a literal is a type of its own, and compiles everything again
    rows, columns = field.shape[0], field.shape[1]
    for a in range(rows):
        for b in range(columns):
            window = _window(4 * a, 4 * b, 4, 2, inside)
            if window[1] <= 4 * a or window[3] <= 4 * b:
                continue
            top, left = field[max(a - 1, 0), b], field[a, max(b - 1, 0)]
            near = ((top[0] + left[0]) >> 1, (top[1] + left[1]) >> 1)
            best = _try(place, window, near, zero, zero, NOTHING, (NEVER, zero, zero))
            best = _try(place, window, near, top[0], top[1], NOTHING, best)
            best = _try(place, window, near, left[0], left[1], NOTHING, best)
            for c in range(max((a >> 1) - 1, 0), min((a >> 1) + 2, start.shape[0])):
                for d in range(max((b >> 1) - 1, 0), min((b >> 1) + 2, start.shape[1])):
                    best = _try(place, window, near, 2 * start[c, d, 0], 2 * start[c, d, 1], NOTHING, best)
            _, field[a, b, 0], field[a, b, 1] = _try_around(place, window, near, np.int64(4), reach, NOTHING, best)


@kernel()
def blocks(place, start, field, inside):
    """Quarters for blocks of 16 x 16: field int64 [h, w, 2]; `start` [h, w, 2] of a picture a quarter as wide."""
    zero, one = np.int64(0), np.int64(1)  # a literal is a type of its own, and compiles everything again
    rows, columns = field.shape[0], field.shape[1]
    for a in range(rows):
        for b in range(columns):
            window = _window(16 * a, 16 * b, 16, 4, inside)
            if inside[0] <= 16 * a or inside[1] <= 16 * b:
                continue
            left = field[a, b - 1] if b > 0 else field[a, b]
            top = field[a - 1, b] if a > 0 else left
            corner = field[a - 1, b + 1] if a > 0 and b + 1 < columns and inside[1] > 16 * b + 16 else top
            near = (_median(left[0], top[0], corner[0]), _median(left[1], top[1], corner[1]))
            best = _try(place, window, near, near[0], near[1], NOTHING, (NEVER, zero, zero))
            best = _try(place, window, near, zero, zero, NOTHING, best)
            for vector in (left, top, corner):
                best = _try(place, window, near, vector[0], vector[1], NOTHING, best)
            for c in range(max(a - 1, 0), min(a + 2, rows)):
                for d in range(max(b - 1, 0), min(b + 2, columns)):
                    best = _try(place, window, near, 4 * start[c, d, 0], 4 * start[c, d, 1], NOTHING, best)
            for _ in range(4):
                before = best[0]
                best = _try_around(place, window, near, np.int64(8), one, NOTHING, best)
                if best[0] == before:
                    break
            for step in (4, 2, 1):
                best = _try_around(place, window, near, step, one, NOTHING, best)
            _, field[a, b, 0], field[a, b, 1] = best


@kernel()
def leaves(place, field, out, inside):
    """Quarters for blocks of 8 x 8, out int64 [2h, 2w, 2]: those of the block of 16 x 16, or others where that pays."""
    one = np.int64(1)  # a literal is a type of its own, and compiles everything again
    rows, columns = field.shape[0], field.shape[1]
    for a in range(out.shape[0]):
        for b in range(out.shape[1]):
            if inside[0] <= 8 * a or inside[1] <= 8 * b:
                continue
            c, d = a >> 1, b >> 1
            window = _window(8 * a, 8 * b, 8, 1, inside)
            near = (field[c, d, 0], field[c, d, 1])
            best = _try(place, window, near, near[0], near[1], NOTHING, (NEVER, near[0], near[1]))
            for e, f in ((c - 1, d), (c + 1, d), (c, d - 1), (c, d + 1)):
                if e >= 0 and f >= 0 and e < rows and f < columns and inside[0] > 16 * e and inside[1] > 16 * f:
                    best = _try(place, window, near, field[e, f, 0], field[e, f, 1], SPLIT_BITS, best)
            for step in (4, 2, 1):
                best = _try_around(place, window, near, step, one, SPLIT_BITS, best)
            _, out[a, b, 0], out[a, b, 1] = best
