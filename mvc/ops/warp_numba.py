"""The warp of warp.py in exact integers. Its gradient is in warp_slopes_numba.py.

A plane is an array of levels [L, H + 2 * MARGIN, W + 2 * MARGIN], level 0 the plane itself, each with its edges
repeated in the margin. A place is held to where the margin says the same as the edge, so no tap is looked at by itself.

numba widens every operation on small integers to 64 bits; where results go straight back to 32, LLVM computes in 32.
Motion and scale are linear between the centres of two blocks, so if both ends of such a span round to the same value
all of it does: then eight samples are computed at a time, and copied where the flow is whole.
"""

from __future__ import annotations

import numpy as np

from mvc.jit import inner, kernel

MARGIN = 3  # taps reach from -1 to 2 around a place between -2 and W
PHASES = 16
LEVELS = 4
MOST_SCALE = PHASES * (LEVELS - 1)
FLOW_BOUND = 1 << 20
TAPS = np.array(
    [
        [0, 64, 0, 0], [-2, 63, 3, 0], [-4, 62, 6, 0], [-5, 59, 11, -1],
        [-5, 56, 15, -2], [-6, 52, 21, -3], [-6, 47, 26, -3], [-5, 42, 31, -4],
        [-5, 37, 37, -5], [-4, 31, 42, -5], [-3, 26, 47, -6], [-3, 21, 52, -6],
        [-2, 15, 56, -5], [-1, 11, 59, -5], [0, 6, 62, -4], [0, 3, 63, -2],
    ],
    np.int32,
)  # fmt: skip
"""By phase, for the samples -1 ... 2 places on: 64 times Keys' cubic with a = -0.6, rounded so that each sum is 64."""


@kernel()
def pad(begin, end, plane, levels):
    """Level 0 with its margin, for its rows begin..end."""
    height, width = plane.shape
    for i in range(begin, end):
        source = min(max(i - MARGIN, 0), height - 1)
        for j in range(MARGIN):
            levels[0, i, j] = plane[source, 0]
            levels[0, i, MARGIN + width + j] = plane[source, width - 1]
        for j in range(width):
            levels[0, i, MARGIN + j] = plane[source, j]


@kernel()
def blur(begin, end, levels, level):
    """Level `level` from the one before, for its rows begin..end, the margin included."""
    height, width = levels.shape[1] - 2 * MARGIN, levels.shape[2] - 2 * MARGIN
    step = 1 << (level - 1)
    reach = 2 * step
    down = np.empty(width + 2 * reach, np.int32)
    for i in range(begin, end):
        row = min(max(i - MARGIN, 0), height - 1)
        a = levels[level - 1, MARGIN + min(max(row - reach, 0), height - 1)]
        b = levels[level - 1, MARGIN + min(max(row - step, 0), height - 1)]
        c = levels[level - 1, MARGIN + min(max(row, 0), height - 1)]
        d = levels[level - 1, MARGIN + min(max(row + step, 0), height - 1)]
        e = levels[level - 1, MARGIN + min(max(row + reach, 0), height - 1)]
        for j in range(width):
            k = MARGIN + j
            ends, near = np.int32(a[k] + e[k]), np.int32(b[k] + d[k])
            down[reach + j] = np.int32(ends + np.int32(4 * near) + np.int32(6 * np.int32(c[k])))
        for j in range(reach):
            down[j] = down[reach]
            down[reach + width + j] = down[reach + width - 1]
        out = levels[level, i]
        for j in range(width):
            ends = np.int32(down[j] + down[j + 4 * step])
            near = np.int32(down[j + step] + down[j + 3 * step])
            total = np.int32(ends + np.int32(4 * near) + np.int32(6 * down[j + 2 * step]))
            out[MARGIN + j] = np.int32(total + 128) >> 8
        for j in range(MARGIN):
            out[j] = out[MARGIN]
            out[MARGIN + width + j] = out[MARGIN + width - 1]


@inner()
def _sharp(levels, y, x, down, right):
    """Level 0 at row y and column x of the array with its margin, and phases down and right."""
    total = np.int32(2048)
    for t in range(4):
        row = levels[0, y - 1 + t]
        across = np.int32(0)
        for u in range(4):
            across = np.int32(across + np.int32(TAPS[right, u] * np.int32(row[x - 1 + u])))
        total = np.int32(total + np.int32(TAPS[down, t] * across))
    return min(max(np.int32(total >> 12), np.int32(0)), np.int32(255))


@inner()
def _blurred(levels, level, y, x, down, right):
    """Another level, bilinear."""
    a, b = np.int32(levels[level, y, x]), np.int32(levels[level, y, x + 1])
    c, d = np.int32(levels[level, y + 1, x]), np.int32(levels[level, y + 1, x + 1])
    return np.int32(((16 - down) * ((16 - right) * a + right * b) + down * ((16 - right) * c + right * d) + 128) >> 8)


@inner()
def held(place, size):
    """Where a place is in the array with its margin."""
    return MARGIN + min(max(place, -2), size)


@inner()
def _sample(levels, i, j, right, down, scale):
    """The prediction at row i and column j of the plane, for its flow and scale in sixteenths."""
    height, width = levels.shape[1] - 2 * MARGIN, levels.shape[2] - 2 * MARGIN
    y, x = held(i + (down >> 4), height), held(j + (right >> 4), width)
    down, right = down & 15, right & 15
    if scale <= 0:
        return _sharp(levels, y, x, down, right)
    scale = min(scale, MOST_SCALE)
    level, share = scale >> 4, scale & 15
    value = _sharp(levels, y, x, down, right) if level == 0 else _blurred(levels, level, y, x, down, right)
    if share == 0:
        return value
    above = _blurred(levels, level + 1, y, x, down, right)
    return np.int32(((16 - share) * value + share * above + 8) >> 4)


@inner()
def _span(levels, i, begin, end, right, down, out):
    """Samples begin..end of row i, all of one flow, without blur, inside the array."""
    y, shift = MARGIN + i + (down >> 4), MARGIN + (right >> 4)
    across, along = TAPS[right & 15], TAPS[down & 15]
    if right & 15 == 0 and down & 15 == 0:
        for j in range(begin, end):
            out[i, j] = levels[0, y, j + shift]
        return
    for j in range(begin, end):
        x = j + shift
        total = np.int32(2048)
        for t in range(4):
            p, q = np.int32(levels[0, y - 1 + t, x - 1]), np.int32(levels[0, y - 1 + t, x])
            r, s = np.int32(levels[0, y - 1 + t, x + 1]), np.int32(levels[0, y - 1 + t, x + 2])
            left = np.int32(np.int32(across[0] * p) + np.int32(across[1] * q))
            sum_ = np.int32(left + np.int32(np.int32(across[2] * r) + np.int32(across[3] * s)))
            total = np.int32(total + np.int32(along[t] * sum_))
        out[i, j] = min(max(total >> 12, 0), 255)


@kernel()
def warp(begin, end, levels, motion, size, out):
    """Rows begin..end of the prediction of a plane whose blocks have `size` x `size` samples.

    levels uint8 [L, H + 2 * MARGIN, W + 2 * MARGIN]; motion int32 [h, w, 3], held to +-FLOW_BOUND; out uint8 [H, W].
    """
    height, width = out.shape
    rows, columns = motion.shape[0], motion.shape[1]
    half, whole = size // 2, 2 * size
    flow_shift, scale_shift = (7, 7) if size == 8 else (6, 5)
    flow_half, scale_half = 1 << (flow_shift - 1), 1 << (scale_shift - 1)
    for i in range(begin, end):
        above = (i + half) // size - 1
        lower = 2 * (i + half - size * (above + 1)) + 1
        upper = whole - lower
        top, bottom = max(above, 0), min(above + 1, rows - 1)
        right1 = upper * motion[top, 0, 0] + lower * motion[bottom, 0, 0]
        down1 = upper * motion[top, 0, 1] + lower * motion[bottom, 0, 1]
        scale1 = upper * motion[top, 0, 2] + lower * motion[bottom, 0, 2]
        for cell in range(columns + 1):
            right0, down0, scale0 = right1, down1, scale1
            block = min(cell, columns - 1)
            right1 = upper * motion[top, block, 0] + lower * motion[bottom, block, 0]
            down1 = upper * motion[top, block, 1] + lower * motion[bottom, block, 1]
            scale1 = upper * motion[top, block, 2] + lower * motion[bottom, block, 2]
            start = cell * size - half
            first, last = max(start, 0), min(start + size, width)
            # values at both ends of the cell
            right = ((whole - 1) * right0 + right1 + flow_half) >> flow_shift
            down = ((whole - 1) * down0 + down1 + flow_half) >> flow_shift
            same = right == (right0 + (whole - 1) * right1 + flow_half) >> flow_shift
            same &= down == (down0 + (whole - 1) * down1 + flow_half) >> flow_shift
            sharp = ((whole - 1) * scale0 + scale1 + scale_half) >> scale_shift <= 0
            sharp &= (scale0 + (whole - 1) * scale1 + scale_half) >> scale_shift <= 0
            y, x = i + (down >> 4), first + (right >> 4)
            if same and sharp and y >= -2 and y <= height and x >= -2 and x + last - first <= width + 1:
                _span(levels, i, first, last, right, down, out)
                continue
            for j in range(first, last):
                b = 2 * (j - start) + 1
                a = whole - b
                right = (a * right0 + b * right1 + flow_half) >> flow_shift
                down = (a * down0 + b * down1 + flow_half) >> flow_shift
                scale = (a * scale0 + b * scale1 + scale_half) >> scale_shift
                out[i, j] = _sample(levels, i, j, right, down, scale)
