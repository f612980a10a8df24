"""LayerNorm without gain or bias, alone and fused with a SiLU gate: forward and backward in one pass each.

The linear layer that follows holds gain and bias, so none are stored here. Rows are tokens, channels are last and
a multiple of 16. `stats` float32 [T, 2] keeps mean and 1/std per token for the backward pass. Arrays come in
whole and contiguous; tokens begin..end are worked on.
"""

from __future__ import annotations

import numpy as np

from mvc.jit import inner, kernel
from mvc.ops.lane_math import sigmoid, splat
from mvc.ops.lanes import WIDTH, load, store
from mvc.ops.registers import total

EPSILON = np.float32(1e-5)


@inner(fast=True)
def _moments(x, row, channels):
    """Mean and 1/std of one row."""
    acc = splat(0.0)
    for c in range(0, channels, WIDTH):
        acc = acc + load(x, row + c)
    mean = total(acc) / np.float32(channels)
    centre = splat(mean)
    acc = splat(0.0)
    for c in range(0, channels, WIDTH):
        d = load(x, row + c) - centre
        acc = acc + d * d
    return mean, np.float32(1.0) / np.sqrt(total(acc) / np.float32(channels) + EPSILON)


@kernel(fast=True)
def norm_forward(begin, end, x, out, stats):
    """out = (x - mean) / std per row; x, out [T, C]."""
    channels = x.shape[1]
    for t in range(begin, end):
        row = t * channels
        mean, rstd = _moments(x, row, channels)
        stats[t, 0], stats[t, 1] = mean, rstd
        centre, scale = splat(mean), splat(rstd)
        for c in range(0, channels, WIDTH):
            store(out, row + c, (load(x, row + c) - centre) * scale)


@kernel(fast=True)
def norm_backward(begin, end, grad_out, x, stats, grad_x):
    """Gradient through norm_forward; all [T, C]."""
    channels = x.shape[1]
    share = np.float32(1.0) / np.float32(channels)
    for t in range(begin, end):
        row = t * channels
        centre, scale = splat(stats[t, 0]), splat(stats[t, 1])
        acc, dot = splat(0.0), splat(0.0)
        for c in range(0, channels, WIDTH):
            g = load(grad_out, row + c)
            acc = acc + g
            dot = dot + g * (load(x, row + c) - centre)
        mean_grad = splat(total(acc) * share)
        mean_dot = splat(total(dot) * share) * scale * scale
        for c in range(0, channels, WIDTH):
            d = load(x, row + c) - centre
            store(grad_x, row + c, scale * (load(grad_out, row + c) - mean_grad - d * mean_dot))


@kernel(fast=True)
def gated_norm_forward(begin, end, y, gates, out, stats):
    """out = norm(y) * silu(gate); y, out [T, C], which may be one; the gate is the last C of gates [T, C or 2C]."""
    channels, wide = y.shape[1], gates.shape[1]
    for t in range(begin, end):
        row, gate = t * channels, (t + 1) * wide - channels
        mean, rstd = _moments(y, row, channels)
        stats[t, 0], stats[t, 1] = mean, rstd
        centre, scale = splat(mean), splat(rstd)
        for c in range(0, channels, WIDTH):
            w = load(gates, gate + c)
            store(out, row + c, (load(y, row + c) - centre) * scale * w * sigmoid(w))


@kernel(fast=True)
def gated_norm_backward(begin, end, grad_out, y, gates, stats, grad_y, grad_gates):
    """Writes grad_y [T, C] and the second half of grad_gates [T, 2C]."""
    channels = y.shape[1]
    share = np.float32(1.0) / np.float32(channels)
    one = splat(1.0)
    through = np.empty(channels, np.float32)  # gradient that reaches the norm
    for t in range(begin, end):
        row = t * channels
        centre, scale = splat(stats[t, 0]), splat(stats[t, 1])
        acc, dot = splat(0.0), splat(0.0)
        for c in range(0, channels, WIDTH):
            gate = 2 * row + channels + c
            w = load(gates, gate)
            s = sigmoid(w)
            silu = w * s
            g = load(grad_out, row + c)
            d = load(y, row + c) - centre
            store(grad_gates, gate, g * d * scale * (s + silu * (one - s)))
            g = g * silu
            store(through, c, g)
            acc = acc + g
            dot = dot + g * d
        mean_grad = splat(total(acc) * share)
        mean_dot = splat(total(dot) * share) * scale * scale
        for c in range(0, channels, WIDTH):
            d = load(y, row + c) - centre
            store(grad_y, row + c, scale * (load(through, c) - mean_grad - d * mean_dot))
