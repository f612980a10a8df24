"""The gradient of a motion field through the warp of warp.py, in float32 as if nothing had been rounded."""

from __future__ import annotations

import numpy as np

from mvc.jit import inner, kernel
from mvc.ops.warp_numba import LEVELS, MOST_SCALE, PHASES, TAPS, held

_A = -0.6  # of Keys' cubic, see TAPS


def _slopes_of(t: float) -> list[float]:
    """How the weights of four samples grow with the phase t in 0 ... 1."""
    first, third = _A * (3 * t * t - 4 * t + 1), -3 * (_A + 2) * t * t + 2 * (2 * _A + 3) * t - _A
    return [first, 3 * (_A + 2) * t * t - 2 * (_A + 3) * t, third, _A * (2 * t - 3 * t * t)]


WEIGHTS = (TAPS / 64).astype(np.float32)
SLOPES = np.array([_slopes_of(phase / PHASES) for phase in range(PHASES)], np.float32)


@inner()
def _sharp_slopes(levels, y, x, down, right):
    """Value of level 0 in float32, before it is rounded and held, and how it grows downwards and to the right."""
    value = slope_down = slope_right = np.float32(0)
    for t in range(4):
        row = levels[0, y - 1 + t]
        across = along = np.float32(0)
        for u in range(4):
            sample = np.float32(row[x - 1 + u])
            across += WEIGHTS[right, u] * sample
            along += SLOPES[right, u] * sample
        value += WEIGHTS[down, t] * across
        slope_down += SLOPES[down, t] * across
        slope_right += WEIGHTS[down, t] * along
    return value, slope_down, slope_right


@inner()
def _blurred_slopes(levels, level, y, x, down, right):
    """The same of another level."""
    p, q = np.float32(down) / np.float32(16), np.float32(right) / np.float32(16)
    a, b = np.float32(levels[level, y, x]), np.float32(levels[level, y, x + 1])
    c, d = np.float32(levels[level, y + 1, x]), np.float32(levels[level, y + 1, x + 1])
    above, below = a + q * (b - a), c + q * (d - c)
    return above + p * (below - above), below - above, b - a + p * ((d - c) - (b - a))


@inner()
def _slopes(levels, y, x, right, down, scale):
    """How the prediction grows with the flow right and down, in samples, and with the scale, in levels."""
    down, right = down & 15, right & 15
    level = min(max(scale, 0) >> 4, LEVELS - 2)
    if level == 0:
        value, slope_down, slope_right = _sharp_slopes(levels, y, x, down, right)
        value = min(max(value, np.float32(0)), np.float32(255))
        if scale <= -PHASES:
            return slope_right, slope_down, np.float32(0)
    else:
        value, slope_down, slope_right = _blurred_slopes(levels, level, y, x, down, right)
    above, above_down, above_right = _blurred_slopes(levels, level + 1, y, x, down, right)
    share = np.float32(min(max(scale, 0), MOST_SCALE) - PHASES * level) / np.float32(PHASES)
    slope_right += share * (above_right - slope_right)
    slope_down += share * (above_down - slope_down)
    return slope_right, slope_down, above - value


@kernel()
def warp_gradient(begin, end, levels, motion, size, gradient, out):
    """Add to out float32 [h, w, 3] the gradient of the motion, flow in samples of the plane and scale in levels.

    Rows begin..end of a plane; gradient float32 [H, W] is that of the samples 0 ... 255; levels and motion as for
    `warp`, but always with the level above that of any scale from 0 on.
    """
    height, width = gradient.shape
    rows, columns = motion.shape[0], motion.shape[1]
    half, whole = size // 2, 2 * size
    flow_shift, scale_shift = (7, 7) if size == 8 else (6, 5)
    flow_half, scale_half = 1 << (flow_shift - 1), 1 << (scale_shift - 1)
    for i in range(begin, end):
        above = (i + half) // size - 1
        lower = 2 * (i + half - size * (above + 1)) + 1
        upper = whole - lower
        top, bottom = max(above, 0), min(above + 1, rows - 1)
        high, low = np.float32(upper) / np.float32(whole), np.float32(lower) / np.float32(whole)
        for cell in range(columns + 1):
            start = cell * size - half
            left, next_ = max(cell - 1, 0), min(cell, columns - 1)
            sums = (np.float32(0), np.float32(0), np.float32(0), np.float32(0), np.float32(0), np.float32(0))
            right0 = upper * motion[top, left, 0] + lower * motion[bottom, left, 0]
            down0 = upper * motion[top, left, 1] + lower * motion[bottom, left, 1]
            scale0 = upper * motion[top, left, 2] + lower * motion[bottom, left, 2]
            right1 = upper * motion[top, next_, 0] + lower * motion[bottom, next_, 0]
            down1 = upper * motion[top, next_, 1] + lower * motion[bottom, next_, 1]
            scale1 = upper * motion[top, next_, 2] + lower * motion[bottom, next_, 2]
            for j in range(max(start, 0), min(start + size, width)):
                b = 2 * (j - start) + 1
                a = whole - b
                right = (a * right0 + b * right1 + flow_half) >> flow_shift
                down = (a * down0 + b * down1 + flow_half) >> flow_shift
                scale = (a * scale0 + b * scale1 + scale_half) >> scale_shift
                y, x = held(i + (down >> 4), height), held(j + (right >> 4), width)
                along, across, deeper = _slopes(levels, y, x, right, down, scale)
                g = gradient[i, j]
                p, q = g * np.float32(a) / np.float32(whole), g * np.float32(b) / np.float32(whole)
                sums = (
                    sums[0] + p * along, sums[1] + p * across, sums[2] + p * deeper,
                    sums[3] + q * along, sums[4] + q * across, sums[5] + q * deeper,
                )  # fmt: skip
            for k in range(3):
                out[top, left, k] += high * sums[k]
                out[bottom, left, k] += low * sums[k]
                out[top, next_, k] += high * sums[3 + k]
                out[bottom, next_, k] += low * sums[3 + k]
