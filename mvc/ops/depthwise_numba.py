"""Depthwise K x K convolution (K = 3 or 5), channels last, with its activation fused: forward and backward.

Rows are widened once into a ring of K zero-padded float32 rows, ordered [row, block of sixteen channels, column].
Sixteen channels at a time keep all their weights, or the sums of all their weights' gradients, in registers and walk
along a row. The input may be the first C channels of a wider array; C is a multiple of 16. Tasks are picture rows
(forward) or samples (backward). `taps` is the tuple 0 ... K*K-1: the compiler knows its length, so loops unroll.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from mvc.ops.lanes import (
    INLINE,
    JIT,
    WIDTH,
    get,
    highest,
    load,
    put,
    registers,
    sigmoid,
    splat,
    store,
    where_positive,
)

NONE, SILU, LEAKY = 0, 1, 2
LEAK = 0.125


@njit(**INLINE)
def _size(taps):
    return 3 if len(taps) == 9 else 5


@njit(**INLINE)
def _fill(ring, slot, x, b, row, pad):
    """Widen picture row `row` of sample b into ring[slot]; rows outside the picture are zero."""
    height, width, wide = x.shape[1], x.shape[2], x.shape[3]
    blocks, full = ring.shape[1], ring.shape[2]
    target = (slot * blocks * full + pad) * WIDTH
    if row < 0 or row >= height:
        ring[slot] = 0.0
        return
    source = (b * height + row) * width * wide
    for j in range(width):
        for k in range(blocks):
            store(ring, target + (k * full + j) * WIDTH, load(x, source + j * wide + k * WIDTH))


@njit(**INLINE)
def _convolve(ring, i, k, kernel, start, sums, taps):
    """sums[j] = start + the convolution of block k of the window whose first row is in slot i % K, for all j."""
    size, blocks, full = _size(taps), ring.shape[1], ring.shape[2]
    for j in range(full - size + 1):
        acc = start
        for r in range(size):
            line = ((((i + r) % size) * blocks + k) * full + j) * WIDTH
            for s in range(size):
                acc = acc + load(ring, line + s * WIDTH) * get(kernel, r * size + s)
        store(sums, j * WIDTH, acc)


@njit(**JIT)
def depthwise_forward(begin, end, x, weight, bias, out, activation, taps):
    """out = act(conv(x) + bias) for picture rows begin..end of all samples.

    x [B, H, W, >=C]; out [B, H, W, C]; weight float32 [K*K, C]; bias float32 [C].
    """
    height, width, channels = x.shape[1], x.shape[2], weight.shape[1]
    size, blocks = _size(taps), channels // WIDTH
    pad = size // 2
    kernel = registers(taps)
    ring = np.zeros((size, blocks, width + 2 * pad, WIDTH), np.float32)
    sums = np.empty((width, WIDTH), np.float32)
    previous = -2
    for task in range(begin, end):
        b, i = task // height, task % height
        if task != previous + 1 or i == 0:
            for r in range(size - 1):
                _fill(ring, (i + r) % size, x, b, i + r - pad, pad)
        _fill(ring, (i + size - 1) % size, x, b, i + pad, pad)
        previous = task
        for k in range(blocks):
            for tap in range(len(taps)):
                put(kernel, tap, load(weight, tap * channels + k * WIDTH))
            _convolve(ring, i, k, kernel, load(bias, k * WIDTH), sums, taps)
            target = task * width * channels + k * WIDTH
            for j in range(width):
                v = load(sums, j * WIDTH)
                if activation == SILU:
                    v = v * sigmoid(v)
                elif activation == LEAKY:
                    v = highest(v, v * splat(LEAK))
                store(out, target + j * channels, v)


@njit(**INLINE)
def _through_activation(grad_out, source, channels, sums, grads, target, width, activation):
    """grads = grad_out * act'(sums) for one row of sixteen channels; returns its sum over the row."""
    acc = splat(0.0)
    if activation == SILU:
        for j in range(width):
            v = load(sums, j * WIDTH)
            s = sigmoid(v)
            g = load(grad_out, source + j * channels) * (s + v * s * (splat(1.0) - s))
            store(grads, target + j * WIDTH, g)
            acc = acc + g
    elif activation == LEAKY:
        for j in range(width):
            g = load(grad_out, source + j * channels)
            g = where_positive(load(sums, j * WIDTH), g, g * splat(LEAK))
            store(grads, target + j * WIDTH, g)
            acc = acc + g
    else:
        for j in range(width):
            g = load(grad_out, source + j * channels)
            store(grads, target + j * WIDTH, g)
            acc = acc + g
    return acc


@njit(**JIT)
def depthwise_backward(begin, end, grad_out, x, weight, bias, activation, taps, grad_x, grad_weight, grad_bias):
    """For samples begin..end: the first C channels of grad_x [B, H, W, >=C]; grad_weight [B, K*K, C]; grad_bias [B, C].

    The pre-activation is computed again, which costs less than keeping it. Its gradient goes through a ring of
    rows too: row i of it completes row i - K//2 of grad_x.
    """
    height, width, channels = x.shape[1], x.shape[2], weight.shape[1]
    wide = grad_x.shape[3]
    size, blocks = _size(taps), channels // WIDTH
    pad = size // 2
    full = width + 2 * pad
    kernel, grad_kernel = registers(taps), registers(taps)
    ring = np.zeros((size, blocks, full, WIDTH), np.float32)
    grads = np.zeros((size, blocks, full, WIDTH), np.float32)
    sums = np.empty((width, WIDTH), np.float32)
    for b in range(begin, end):
        grad_weight[b] = 0.0
        grad_bias[b] = 0.0
        grads[:] = 0.0
        for r in range(size - 1):
            _fill(ring, r, x, b, r - pad, pad)
        for i in range(height + pad):
            slot = (i + size - 1) % size  # of the newest row, in both rings
            if i < height:
                _fill(ring, slot, x, b, i + pad, pad)
            else:
                grads[slot] = 0.0
            for k in range(blocks):
                c = k * WIDTH
                if i < height:
                    if activation != NONE:
                        for tap in range(len(taps)):
                            put(kernel, tap, load(weight, tap * channels + c))
                        _convolve(ring, i, k, kernel, load(bias, c), sums, taps)
                    source = (b * height + i) * width * channels + c
                    target = ((slot * blocks + k) * full + pad) * WIDTH
                    acc = _through_activation(grad_out, source, channels, sums, grads, target, width, activation)
                    store(grad_bias, b * channels + c, load(grad_bias, b * channels + c) + acc)
                    first = b * len(taps) * channels + c
                    for tap in range(len(taps)):
                        put(grad_kernel, tap, load(grad_weight, first + tap * channels))
                    for j in range(width):
                        g = load(grads, target + j * WIDTH)
                        for r in range(size):
                            line = ((((i + r) % size) * blocks + k) * full + j) * WIDTH
                            for s in range(size):
                                tap = r * size + s
                                put(grad_kernel, tap, get(grad_kernel, tap) + g * load(ring, line + s * WIDTH))
                    for tap in range(len(taps)):
                        store(grad_weight, first + tap * channels, get(grad_kernel, tap))
                if i >= pad:
                    for tap in range(len(taps)):
                        put(kernel, len(taps) - 1 - tap, load(weight, tap * channels + c))
                    _convolve(grads, i, k, kernel, splat(0.0), sums, taps)
                    target = (b * height + i - pad) * width * wide + c
                    for j in range(width):
                        store(grad_x, target + j * wide, load(sums, j * WIDTH))
