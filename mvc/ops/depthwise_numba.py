"""Depthwise K x K convolution (K = 3 or 5), channels last, with its activation fused: forward and backward.

Sixteen channels at a time keep their weights in registers while the kernel walks along a row. Rows are widened once
into a ring of K zero-padded float32 rows. The input may be the first C channels of a wider array; C is a multiple
of 16. Tasks are picture rows (forward) or samples (backward).
"""

from __future__ import annotations

import numpy as np
from numba import njit

from mvc.ops.lanes import INLINE, JIT, WIDTH, highest, load, sigmoid, splat, store, where_positive

NONE, SILU, LEAKY = 0, 1, 2
LEAK = 0.125


@njit(**INLINE)
def _fill(ring, slot, x, b, row, pad):
    """Widen picture row `row` of sample b into ring[slot]; rows outside the picture are zero."""
    height, width, wide = x.shape[1], x.shape[2], x.shape[3]
    channels = ring.shape[2]
    target = (slot * ring.shape[1] + pad) * channels
    if row < 0 or row >= height:
        for c in range(0, width * channels, WIDTH):
            store(ring, target + c, splat(0.0))
        return
    source = (b * height + row) * width * wide
    for j in range(width):
        for c in range(0, channels, WIDTH):
            store(ring, target + j * channels + c, load(x, source + j * wide + c))


@njit(**INLINE)
def _row_of_taps(source, line, weight, tap, channels, width, c, sums, size):
    """sums[j] += the `size` taps of one row, for sixteen channels from c, for all j."""
    w0 = load(weight, tap * channels + c)
    w1 = load(weight, (tap + 1) * channels + c)
    w2 = load(weight, (tap + 2) * channels + c)
    if size == 3:
        for j in range(width):
            at = line + j * channels + c
            acc = load(sums, j * WIDTH) + load(source, at) * w0
            acc = acc + load(source, at + channels) * w1
            store(sums, j * WIDTH, acc + load(source, at + 2 * channels) * w2)
    else:
        w3 = load(weight, (tap + 3) * channels + c)
        w4 = load(weight, (tap + 4) * channels + c)
        for j in range(width):
            at = line + j * channels + c
            acc = load(sums, j * WIDTH) + load(source, at) * w0
            acc = acc + load(source, at + channels) * w1
            acc = acc + load(source, at + 2 * channels) * w2
            acc = acc + load(source, at + 3 * channels) * w3
            store(sums, j * WIDTH, acc + load(source, at + 4 * channels) * w4)


@njit(**INLINE)
def _row_of_weight_gradients(grads, source, line, grad_weight, tap, channels, width, c, size):
    """grad_weight[tap + s] += sum over j of grads[j] * source[j + s], for sixteen channels from c."""
    zero = splat(0.0)
    g0, g1, g2, g3, g4 = zero, zero, zero, zero, zero
    for j in range(width):
        at = line + j * channels + c
        g = load(grads, j * WIDTH)
        g0 = g0 + g * load(source, at)
        g1 = g1 + g * load(source, at + channels)
        g2 = g2 + g * load(source, at + 2 * channels)
        if size == 5:
            g3 = g3 + g * load(source, at + 3 * channels)
            g4 = g4 + g * load(source, at + 4 * channels)
    base = tap * channels + c
    store(grad_weight, base, load(grad_weight, base) + g0)
    store(grad_weight, base + channels, load(grad_weight, base + channels) + g1)
    store(grad_weight, base + 2 * channels, load(grad_weight, base + 2 * channels) + g2)
    if size == 5:
        store(grad_weight, base + 3 * channels, load(grad_weight, base + 3 * channels) + g3)
        store(grad_weight, base + 4 * channels, load(grad_weight, base + 4 * channels) + g4)


@njit(**INLINE)
def _pre_activation(ring, i, weight, bias, channels, width, c, sums, size):
    """sums[j] = conv + bias of picture row i, whose window starts in ring slot i % size."""
    start = load(bias, c)
    for j in range(width):
        store(sums, j * WIDTH, start)
    for r in range(size):
        line = ((i + r) % size) * ring.shape[1] * channels
        _row_of_taps(ring, line, weight, r * size, channels, width, c, sums, size)


@njit(**JIT)
def depthwise_forward(begin, end, x, weight, bias, out, activation):
    """out = act(conv(x) + bias) for picture rows begin..end of all samples.

    x [B, H, W, >=C]; out [B, H, W, C]; weight float32 [K*K, C]; bias float32 [C].
    """
    height, width, channels = x.shape[1], x.shape[2], weight.shape[1]
    size = 3 if weight.shape[0] == 9 else 5
    pad = size // 2
    ring = np.zeros((size, width + 2 * pad, channels), np.float32)
    sums = np.empty((width, WIDTH), np.float32)
    previous = -2
    for task in range(begin, end):
        b, i = task // height, task % height
        if task != previous + 1 or i == 0:
            for r in range(size - 1):
                _fill(ring, (i + r) % size, x, b, i + r - pad, pad)
        _fill(ring, (i + size - 1) % size, x, b, i + pad, pad)
        previous = task
        for c in range(0, channels, WIDTH):
            _pre_activation(ring, i, weight, bias, channels, width, c, sums, size)
            target = task * width * channels + c
            for j in range(width):
                v = load(sums, j * WIDTH)
                if activation == SILU:
                    v = v * sigmoid(v)
                elif activation == LEAKY:
                    v = highest(v, v * splat(LEAK))
                store(out, target + j * channels, v)


@njit(**JIT)
def depthwise_backward(begin, end, grad_out, x, weight, flipped, bias, activation, grad_x, grad_weight, grad_bias):
    """For samples begin..end: the first C channels of grad_x [B, H, W, >=C]; grad_weight [B, K*K, C]; grad_bias [B, C].

    `flipped` is weight with its taps in reverse order. The pre-activation is computed again, which costs less
    than keeping it. Sixteen channels at a time, so that the padded gradient of a whole sample stays in cache.
    """
    height, width, channels = x.shape[1], x.shape[2], weight.shape[1]
    wide = grad_x.shape[3]
    size = 3 if weight.shape[0] == 9 else 5
    pad = size // 2
    full = width + 2 * pad
    ring = np.zeros((size, full, channels), np.float32)
    pre = np.zeros((height + 2 * pad, full, channels), np.float32)
    sums = np.empty((width, WIDTH), np.float32)
    one = splat(1.0)
    for b in range(begin, end):
        gw = grad_weight[b]
        gw[:, :] = 0.0
        grad_bias[b, :] = 0.0
        for i in range(height):
            if i == 0:
                for r in range(size - 1):
                    _fill(ring, r % size, x, b, r - pad, pad)
            _fill(ring, (i + size - 1) % size, x, b, i + pad, pad)
            for c in range(0, channels, WIDTH):
                source = (b * height + i) * width * channels + c
                target = ((i + pad) * full + pad) * channels + c
                if activation != NONE:
                    _pre_activation(ring, i, weight, bias, channels, width, c, sums, size)
                acc = splat(0.0)
                for j in range(width):
                    g = load(grad_out, source + j * channels)
                    v = load(sums, j * WIDTH)
                    if activation == SILU:
                        s = sigmoid(v)
                        g = g * (s + v * s * (one - s))
                    elif activation == LEAKY:
                        g = where_positive(v, g, g * splat(LEAK))
                    acc = acc + g
                    store(sums, j * WIDTH, g)
                    store(pre, target + j * channels, g)
                store(grad_bias, b * channels + c, load(grad_bias, b * channels + c) + acc)
                for r in range(size):
                    line = ((i + r) % size) * full * channels
                    _row_of_weight_gradients(sums, ring, line, gw, r * size, channels, width, c, size)
        for i in range(height):
            for c in range(0, channels, WIDTH):
                for j in range(width):
                    store(sums, j * WIDTH, splat(0.0))
                for r in range(size):
                    _row_of_taps(pre, (i + r) * full * channels, flipped, r * size, channels, width, c, sums, size)
                target = (b * height + i) * width * wide + c
                for j in range(width):
                    store(grad_x, target + j * wide, load(sums, j * WIDTH))
