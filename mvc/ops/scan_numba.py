"""Selective scan along four orders on CPU: forward and backward, channels last.

One task is one sample and one scan order with its quarter of the channels. Sixteen channels at a time keep their state
and their weights in registers and walk over all tokens, TILE tokens at a time: first the step sizes of the tile, which
do not depend on each other and so overlap in the processor, then the recurrence. The forward pass leaves the state
before every tile in `kept`; the backward pass walks the tiles in reverse and computes each again from there,
so that its working set stays in the first-level cache and no full-size tensor but input and output exists. See
scan.py for the meaning of the arrays and the plain reference.

`rank` and `states` come as tuples 0 ... R-1 and 0 ... N-1: the length of a tuple is known when a kernel is compiled, so
every loop over them unrolls. Exponentials are taken to base 2, with log2(e) multiplied into the weights once.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from mvc.ops.lanes import (
    INLINE,
    JIT,
    LOG2_E,
    WIDTH,
    add_totals,
    exp2_of_small,
    get,
    load,
    prefetch,
    put,
    registers,
    sigmoid_base2,
    softplus_base2,
    splat,
    store,
)

ORDERS = 4
TILE = 64  # tokens


def tiles(length: int) -> int:
    """How many tiles a walk over `length` tokens has."""
    return -(-length // TILE)


@njit(**INLINE)
def _order_of(task):
    """Orders along rows take turns with those along columns, which are slower in large pictures: of the four tasks of a
    sample two threads get one of each."""
    return task % 2 * 2 + task % ORDERS // 2


@njit(**INLINE)
def _token(order, i, height, width):
    """The token that scan order `order` visits at step i."""
    if order % 2 == 1:
        i = height * width - 1 - i
    return i if order < 2 else i % height * width + i // height


@njit(**INLINE)
def _stride(order, width):
    """From one token of an order to the next; `_advance` wraps it at the end of a column."""
    step = 1 if order < 2 else width
    return step if order % 2 == 0 else -step


@njit(**INLINE)
def _advance(token, step, length):
    token += step
    if token >= length:
        token -= length - 1
    elif token < 0:
        token += length - 1
    return token


@njit(**INLINE)
def _load_rows(target, weights, row, c, count, factor):
    """target[i] = sixteen channels from c of row `row + i` of the weights, times a factor."""
    for i in range(count):
        put(target, i, load(weights, (row + i) * weights.shape[1] + c) * splat(factor))


@njit(**INLINE)
def _step_sizes(parameters, b, order, t, step, size, dt_weight, bias, ranks, dts, slopes, with_slopes, soon, c):
    """dts[i] and, if asked, the derivative of softplus in slopes[i] for the `size` tokens from t on."""
    for i in range(size):
        for tensor in soon:
            prefetch(tensor, (b * parameters.shape[1] + t) * tensor.shape[3] + c)
        p = parameters[b, t, order]
        pre = bias
        for r in range(ranks):
            pre = pre + splat(p[r]) * get(dt_weight, r)
        dt, u = softplus_base2(pre)
        store(dts, i * WIDTH, dt)
        if with_slopes:
            store(slopes, i * WIDTH, sigmoid_base2(pre, u))
        t = _advance(t, step, parameters.shape[1])


@njit(**JIT)
def scan_forward(begin, end, v, parameters, weights, out, kept, rank, states):
    """Tasks begin..end, where a task is 4 * sample + a number that `_order_of` turns into the order.

    v, out [B, H, W, C]; parameters float32 [B, H*W, 4, R+2N]; weights float32 [R+1+N+1, C]; kept float32
    [B, tiles, N, C] takes the states before every tile.
    """
    height, width, channels = v.shape[1], v.shape[2], v.shape[3]
    ranks, count = len(rank), len(states)
    length, group = height * width, channels // ORDERS
    dt_weight, a, h = registers(rank), registers(states), registers(states)
    dts = np.empty((TILE, WIDTH), np.float32)
    for task in range(begin, end):
        b, order = task // ORDERS, _order_of(task)
        step = _stride(order, width)
        for c in range(order * group, (order + 1) * group, WIDTH):
            _load_rows(dt_weight, weights, 0, c, ranks, LOG2_E)
            _load_rows(a, weights, ranks + 1, c, count, LOG2_E)
            bias = load(weights, ranks * channels + c) * splat(LOG2_E)
            skip = load(weights, (ranks + 1 + count) * channels + c)
            for n in range(count):
                put(h, n, splat(0.0))
            t = _token(order, 0, height, width)
            for tile in range(kept.shape[1]):
                size = min(TILE, length - tile * TILE)
                for n in range(count):
                    store(kept, ((b * kept.shape[1] + tile) * count + n) * channels + c, get(h, n))
                _step_sizes(parameters, b, order, t, step, size, dt_weight, bias, ranks, dts, dts, False, (v, out), c)
                for i in range(size):
                    p = parameters[b, t, order]
                    at = (b * length + t) * channels + c
                    dt, x = load(dts, i * WIDTH), load(v, at)
                    y, drive = x * skip, dt * x
                    for n in range(count):
                        state = exp2_of_small(dt * get(a, n)) * get(h, n) + drive * splat(p[ranks + n])
                        put(h, n, state)
                        y = y + state * splat(p[ranks + count + n])
                    store(out, at, y)
                    t = _advance(t, step, length)


@njit(**JIT)
def scan_backward(
    begin, end, grad_out, v, parameters, weights, kept, rank, states, grad_v, grad_parameters, grad_weights
):
    """Gradients of scan_forward; grad_parameters comes in zeroed; grad_weights [B, R+1+N+1, C] is per sample."""
    height, width, channels = v.shape[1], v.shape[2], v.shape[3]
    ranks, count = len(rank), len(states)
    length, group = height * width, channels // ORDERS
    dt_weight, a, dt_weight_base2, a_base2 = (
        registers(rank),
        registers(states),
        registers(rank),
        registers(states),
    )
    h, carry, shares = registers(states), registers(states), registers(rank + states + states)
    sum_weight, sum_a = registers(rank), registers(states)
    dts, slopes = np.empty((TILE, WIDTH), np.float32), np.empty((TILE, WIDTH), np.float32)
    decays, before = (
        np.empty((TILE, count, WIDTH), np.float32),
        np.empty((TILE + 1, count, WIDTH), np.float32),
    )
    for task in range(begin, end):
        b, order = task // ORDERS, _order_of(task)
        step = _stride(order, width)
        for c in range(order * group, (order + 1) * group, WIDTH):
            _load_rows(dt_weight, weights, 0, c, ranks, 1.0)
            _load_rows(dt_weight_base2, weights, 0, c, ranks, LOG2_E)
            _load_rows(a, weights, ranks + 1, c, count, 1.0)
            _load_rows(a_base2, weights, ranks + 1, c, count, LOG2_E)
            bias = load(weights, ranks * channels + c) * splat(LOG2_E)
            skip = load(weights, (ranks + 1 + count) * channels + c)
            for r in range(ranks):
                put(sum_weight, r, splat(0.0))
            for n in range(count):
                put(carry, n, splat(0.0))
                put(sum_a, n, splat(0.0))
            sum_bias, sum_skip = splat(0.0), splat(0.0)
            for tile in range(kept.shape[1] - 1, -1, -1):
                size = min(TILE, length - tile * TILE)
                t = _token(order, tile * TILE, height, width)
                _step_sizes(
                    parameters,
                    b,
                    order,
                    t,
                    step,
                    size,
                    dt_weight_base2,
                    bias,
                    ranks,
                    dts,
                    slopes,
                    True,
                    (v, grad_out, grad_v),
                    c,
                )
                for n in range(count):
                    put(h, n, load(kept, ((b * kept.shape[1] + tile) * count + n) * channels + c))
                    store(before, n * WIDTH, get(h, n))
                for i in range(size):
                    p = parameters[b, t, order]
                    dt = load(dts, i * WIDTH)
                    drive = dt * load(v, (b * length + t) * channels + c)
                    for n in range(count):
                        at = (i * count + n) * WIDTH
                        decay = exp2_of_small(dt * get(a_base2, n))
                        store(decays, at, decay)
                        put(h, n, decay * get(h, n) + drive * splat(p[ranks + n]))
                        store(before, at + count * WIDTH, get(h, n))
                    t = _advance(t, step, length)
                t = _token(order, tile * TILE + size - 1, height, width)
                for i in range(size - 1, -1, -1):
                    p = parameters[b, t, order]
                    at = (b * length + t) * channels + c
                    gy, x, dt = load(grad_out, at), load(v, at), load(dts, i * WIDTH)
                    drive = dt * x
                    sum_skip = sum_skip + gy * x
                    g_drive, g_dt = splat(0.0), splat(0.0)
                    for n in range(count):
                        here = (i * count + n) * WIDTH
                        gh = get(carry, n) + gy * splat(p[ranks + count + n])
                        put(shares, ranks + count + n, gy * load(before, here + count * WIDTH))
                        put(shares, ranks + n, gh * drive)
                        g_drive = g_drive + gh * splat(p[ranks + n])
                        back = gh * load(decays, here)
                        put(carry, n, back)
                        g_exponent = back * load(before, here)
                        g_dt = g_dt + g_exponent * get(a, n)
                        put(sum_a, n, get(sum_a, n) + g_exponent * dt)
                    store(grad_v, at, gy * skip + g_drive * dt)
                    g_pre = (g_dt + g_drive * x) * load(slopes, i * WIDTH)
                    sum_bias = sum_bias + g_pre
                    for r in range(ranks):
                        put(sum_weight, r, get(sum_weight, r) + g_pre * splat(p[r]))
                        put(shares, r, g_pre * get(dt_weight, r))
                    add_totals(grad_parameters, ((b * length + t) * ORDERS + order) * (ranks + 2 * count), shares)
                    t = _advance(t, -step, length)
            base = b * weights.size + c
            for r in range(ranks):
                store(grad_weights, base + r * channels, get(sum_weight, r))
            store(grad_weights, base + ranks * channels, sum_bias)
            for n in range(count):
                store(grad_weights, base + (ranks + 1 + n) * channels, get(sum_a, n))
            store(grad_weights, base + (ranks + 1 + count) * channels, sum_skip)
