"""Fused CPU kernels of the exact layers over float64 tensors that hold whole numbers.

Order and fused multiply-add do not matter (hence `fast`): every partial sum is a whole number below 2^53, proven when a
layer is lowered. weighted.py and lower.py have the plain versions; tests compare them with ==.
"""

from __future__ import annotations

import numpy as np

from mvc.jit import inner, kernel


@inner(fast=True)
def _finished(v, bias, scale, limit, leak):
    v = np.floor((v + bias) * scale + 0.5)
    v = min(max(v, -limit), limit)
    return max(v, np.floor(v * 0.125 + 0.5)) if leak else v


@kernel(fast=True)
def finish(begin, end, sums, bias, scale, limit, leak):
    """In place on rows begin..end of sums [T, C]: add bias, round-shift by scale = 2^-bits, clamp, leaky if leak."""
    for t in range(begin, end):
        for c in range(sums.shape[1]):
            sums[t, c] = _finished(sums[t, c], bias[c], scale, limit, leak)


@kernel(fast=True)
def leaky(begin, end, x, out):
    """Rows begin..end of out [T, C]: the larger of x and x / 8, rounded."""
    for t in range(begin, end):
        for c in range(x.shape[1]):
            out[t, c] = max(x[t, c], np.floor(x[t, c] * 0.125 + 0.5))


@kernel(fast=True)
def depthwise(begin, end, x, weight, bias, scale, limit, leak, out):
    """Rows begin..end (over all samples) of the zero-padded K x K convolution, finished as in `finish`.

    x, out [B, H, W, C]; weight [K, K, C]; bias [C].
    """
    height, width, channels = x.shape[1], x.shape[2], x.shape[3]
    size = weight.shape[0]
    pad = size // 2
    sums = np.empty((width, channels))
    for task in range(begin, end):
        b, i = task // height, task % height
        sums[:] = 0.0
        for r in range(max(0, pad - i), min(size, height + pad - i)):
            row, taps = x[b, i + r - pad], weight[r]
            for j in range(width):
                own = sums[j]
                if size == 5 and pad <= j < width - pad:  # five taps at once: sums are loaded and stored less often
                    near = row[j - 2 : j + 3]
                    for c in range(channels):
                        own[c] += (
                            near[0, c] * taps[0, c]
                            + near[1, c] * taps[1, c]
                            + near[2, c] * taps[2, c]
                            + near[3, c] * taps[3, c]
                            + near[4, c] * taps[4, c]
                        )
                    continue
                for s in range(max(0, pad - j), min(size, width + pad - j)):
                    for c in range(channels):
                        own[c] += row[j + s - pad, c] * taps[s, c]
        for j in range(width):
            for c in range(channels):
                out[b, i, j, c] = _finished(sums[j, c], bias[c], scale, limit, leak)


@kernel(fast=True)
def gain(begin, end, x, gains, scale, limit, out):
    """Rows begin..end of out [T, C]: x * gains [C], round-shifted by scale = 2^-bits and clamped."""
    for t in range(begin, end):
        for c in range(x.shape[1]):
            out[t, c] = _finished(x[t, c] * gains[c], 0.0, scale, limit, False)
