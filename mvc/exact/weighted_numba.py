"""Fused CPU kernels of the exact layers over float64 tensors that hold whole numbers.

Order and fused multiply-add do not matter: every partial sum is a whole number below 2^53, proven when a layer is
lowered. weighted.py and lower.py have the plain versions; tests compare them with ==.
"""

from __future__ import annotations

import numpy as np

from mvc.jit import inner, kernel


@inner()
def _finished(v, bias, scale, limit, leak):
    v = np.floor((v + bias) * scale + 0.5)
    v = min(max(v, -limit), limit)
    return max(v, np.floor(v * 0.125 + 0.5)) if leak else v


@kernel()
def finish(begin, end, sums, bias, scale, limit, leak):
    """In place on rows begin..end of sums [T, C]: add bias, round-shift by scale = 2^-bits, clamp, leaky if leak."""
    for t in range(begin, end):
        for c in range(sums.shape[1]):
            sums[t, c] = _finished(sums[t, c], bias[c], scale, limit, leak)


@kernel()
def leaky(begin, end, x, out):
    """Rows begin..end of out [T, C]: the larger of x and x / 8, rounded."""
    for t in range(begin, end):
        for c in range(x.shape[1]):
            out[t, c] = max(x[t, c], np.floor(x[t, c] * 0.125 + 0.5))


@kernel()
def depthwise(begin, end, x, weight, bias, scale, limit, leak, out):
    """Rows begin..end (over all samples) of the zero-padded K x K convolution, finished as in `finish`.

    x, out [B, H, W, C]; weight [K, K, C]; bias [C].
    """
    height, width, channels = x.shape[1], x.shape[2], x.shape[3]
    size = weight.shape[0]
    pad = size // 2
    line = np.empty(channels)
    for task in range(begin, end):
        b, i = task // height, task % height
        for j in range(width):
            for c in range(channels):
                line[c] = 0.0
            for r in range(max(0, pad - i), min(size, height + pad - i)):
                for s in range(max(0, pad - j), min(size, width + pad - j)):
                    source = x[b, i + r - pad, j + s - pad]
                    taps = weight[r, s]
                    for c in range(channels):
                        line[c] += source[c] * taps[c]
            for c in range(channels):
                out[b, i, j, c] = _finished(line[c], bias[c], scale, limit, leak)
