"""Depthwise K x K convolution (K = 3 or 5), channels last, with its activation fused: forward and backward.

Rows are widened once into a ring of K zero-padded float32 rows, ordered [row, block of sixteen channels, column].
Sixteen channels at a time keep all their weights, or the sums of all their weights' gradients, in registers and walk
along a row. The input may be the first C channels of a wider array; C is a multiple of 16. Tasks are picture rows
(forward) or samples (backward). `taps` is the tuple 0 ... K*K-1: the compiler knows its length, so loops unroll.
"""

from __future__ import annotations

import numpy as np

from mvc.jit import inner, kernel
from mvc.ops.lane_math import highest, sigmoid, splat, where_positive, written
from mvc.ops.lanes import WIDTH, clear, load, store
from mvc.ops.registers import convolve, load_all, put_window, registers, store_all

NONE, SILU, LEAKY = 0, 1, 2
LEAK = 0.125


@inner(fast=True)
def _fill(ring, slot, blocks, full, x, b, row, pad):
    """Widen picture row `row` of sample b into a slot of the ring; rows outside the picture are zero."""
    height, width, wide = x.shape[1], x.shape[2], x.shape[3]
    target = (slot * blocks * full + pad) * WIDTH
    if row < 0 or row >= height:
        clear(ring, slot * blocks * full * WIDTH, blocks * full * WIDTH)
        return
    source = (b * height + row) * width * wide
    for j in range(width):
        for k in range(blocks):
            store(ring, target + (k * full + j) * WIDTH, load(x, source + j * wide + k * WIDTH))


@kernel(fast=True)
def depthwise_forward(begin, end, x, weight, bias, out, activation, taps):
    """out = act(conv(x) + bias) for picture rows begin..end of all samples.

    x [B, H, W, >=C]; out [B, H, W, C]; weight float32 [K*K, C]; bias float32 [C].
    """
    height, width, channels = x.shape[1], x.shape[2], weight.shape[1]
    size, blocks = 3 if len(taps) == 9 else 5, channels // WIDTH
    pad = size // 2
    full = width + 2 * pad
    stride = blocks * full * WIDTH  # of the rows of a ring
    kernel = registers(taps)
    ring = np.empty(size * stride, np.float32)
    clear(ring, 0, ring.size)
    sums = np.empty(width * WIDTH, np.float32)
    previous = -2
    for task in range(begin, end):
        b, i = task // height, task % height
        first = size - 1 if task == previous + 1 and i > 0 else 0  # the rows before are in the ring already
        for r in range(first, size):
            _fill(ring, (i + r) % size, blocks, full, x, b, i + r - pad, pad)
        previous = task
        for k in range(blocks):
            load_all(kernel, weight, k * WIDTH, channels, 1.0)
            convolve(kernel, ring, i, stride, k * full * WIDTH, load(bias, k * WIDTH), sums, width)
            target = task * width * channels + k * WIDTH
            for j in range(width):
                v = load(sums, j * WIDTH)
                if activation == SILU:
                    v = v * sigmoid(v)
                elif activation == LEAKY:
                    v = highest(v, v * splat(LEAK))
                store(out, target + j * channels, v)


@written
def _through_silu(v, gradient):
    s = sigmoid(v)
    return gradient * (s + v * s * (1.0 - s))


@kernel(fast=True)
def depthwise_backward(begin, end, grad_out, x, weight, bias, activation, taps, grad_x, grad_weight, grad_bias):
    """For samples begin..end: the first C channels of grad_x [B, H, W, >=C]; grad_weight [B, K*K, C]; grad_bias [B, C].

    The pre-activation is computed again, which costs less than keeping it. Its gradient goes through a ring of
    rows too: row i of it completes row i - K//2 of grad_x.
    """
    height, width, channels = x.shape[1], x.shape[2], weight.shape[1]
    wide = grad_x.shape[3]
    size, blocks = 3 if len(taps) == 9 else 5, channels // WIDTH
    pad = size // 2
    full = width + 2 * pad
    stride = blocks * full * WIDTH  # of the rows of a ring
    kernel, grad_kernel = registers(taps), registers(taps)
    ring, grads = np.empty(size * stride, np.float32), np.empty(size * stride, np.float32)
    sums = np.empty(width * WIDTH, np.float32)
    clear(ring, 0, ring.size)
    for b in range(begin, end):
        clear(grad_weight, b * weight.size, weight.size)
        clear(grad_bias, b * channels, channels)
        clear(grads, 0, grads.size)
        for r in range(size - 1):
            _fill(ring, r, blocks, full, x, b, r - pad, pad)
        for i in range(height + pad):
            slot = (i + size - 1) % size  # of the newest row, in both rings
            if i < height:
                _fill(ring, slot, blocks, full, x, b, i + pad, pad)
            else:
                clear(grads, slot * stride, stride)
            for k in range(blocks):
                c = k * WIDTH
                if i < height:
                    if activation != NONE:
                        load_all(kernel, weight, c, channels, 1.0)
                        convolve(kernel, ring, i, stride, k * full * WIDTH, load(bias, c), sums, width)
                    source = (b * height + i) * width * channels + c
                    target = slot * stride + (k * full + pad) * WIDTH
                    acc = splat(0.0)
                    for j in range(width):
                        g, v = load(grad_out, source + j * channels), load(sums, j * WIDTH)
                        if activation == SILU:
                            g = _through_silu(v, g)
                        elif activation == LEAKY:
                            g = where_positive(v, g, g * splat(LEAK))
                        store(grads, target + j * WIDTH, g)
                        acc = acc + g
                    store(grad_bias, b * channels + c, load(grad_bias, b * channels + c) + acc)
                    first = b * weight.size + c
                    load_all(grad_kernel, grad_weight, first, channels, 1.0)
                    for j in range(width):
                        g = load(grads, target + j * WIDTH)
                        put_window(grad_kernel, g, ring, i, stride, (k * full + j) * WIDTH)
                    store_all(grad_kernel, grad_weight, first, channels)
                if i >= pad:
                    load_all(kernel, weight, (len(taps) - 1) * channels + c, -channels, 1.0)  # turned around
                    convolve(kernel, grads, i, stride, k * full * WIDTH, splat(0.0), sums, width)
                    target = (b * height + i - pad) * width * wide + c
                    for j in range(width):
                        store(grad_x, target + j * wide, load(sums, j * WIDTH))
