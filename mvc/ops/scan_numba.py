"""Selective scan along four orders on CPU: forward and backward, channels last.

One task is one sample and one scan order with its quarter of the channels. Orders along rows take turns with those
along columns, which are slower in large pictures: of the four tasks of a sample two threads get one of each.

Sixteen channels at a time keep their state and their weights in registers and walk over all tokens, TILE tokens at a
time: first the step sizes of the tile, which do not depend on each other and so overlap in the processor, then the
recurrence. The forward pass leaves the state before every tile in `kept`; the backward pass walks the tiles in reverse
and computes each again from there, so that its working set stays in the first-level cache and no full-size tensor but
input and output exists. See scan.py for the meaning of the arrays and the plain reference.

`rank` and `states` come as tuples 0 ... R-1 and 0 ... N-1: the length of a tuple is known when a kernel is compiled, so
every loop over them unrolls. Exponentials are taken to base 2, with log2(e) multiplied into the weights once.
"""

from __future__ import annotations

import numpy as np

from mvc.jit import inner, kernel
from mvc.ops.lane_math import (
    LOG2_E,
    exp2_of_small,
    falling_power_of_two,
    sigmoid_base2,
    softplus_base2,
    splat,
    written,
)
from mvc.ops.lanes import WIDTH, load, load_one, prefetch, store
from mvc.ops.orders import ORDERS
from mvc.ops.registers import add_totals, add_weighted, fill_all, get, load_all, put, registers, store_all

TILE = 64  # tokens


def tiles(length: int) -> int:
    """How many tiles a walk over `length` tokens has."""
    return -(-length // TILE)


@inner(fast=True)
def _token(order, i, height, width):
    """The token that scan order `order` visits at step i."""
    if order % 2 == 1:
        i = height * width - 1 - i
    return i if order < 2 else i % height * width + i // height


@inner(fast=True)
def _advance(token, step, length):
    """From one token of an order to the next."""
    token += step
    if token >= length:
        token -= length - 1
    elif token < 0:
        token += length - 1
    return token


@written
def _next(dt, a, h, drive, b):
    """The state after h."""
    return exp2_of_small(dt * a) * h + drive * b


@kernel(fast=True)
def scan_forward(begin, end, v, parameters, weights, out, kept, rank, states):
    """Tasks begin..end, where a task is 4 * sample + the order's place in 0, 2, 1, 3.

    v, out [B, H, W, C]; parameters float32 [B, H*W, 4, R+2N]; weights float32 [R+1+N+1, C]; kept float32
    [B, tiles, N, C] takes the states before every tile.
    """
    height, width, channels = v.shape[1], v.shape[2], v.shape[3]
    ranks, count = len(rank), len(states)
    length, group = height * width, channels // ORDERS
    dt_weight, a, h = registers(rank), registers(states), registers(states)
    dts = np.empty(TILE * WIDTH, np.float32)
    for task in range(begin, end):
        b, order = task // ORDERS, task % 2 * 2 + task % ORDERS // 2  # in turns, see above
        step = (1 if order < 2 else width) * (1 if order % 2 == 0 else -1)
        for c in range(order * group, (order + 1) * group, WIDTH):
            load_all(dt_weight, weights, c, channels, LOG2_E)
            load_all(a, weights, (ranks + 1) * channels + c, channels, LOG2_E)
            bias = load(weights, ranks * channels + c) * splat(LOG2_E)
            skip = load(weights, (ranks + 1 + count) * channels + c)
            fill_all(h, splat(0.0))
            t = _token(order, 0, height, width)
            for tile in range(kept.shape[1]):
                size = TILE if (tile + 1) * TILE <= length else length - tile * TILE
                store_all(h, kept, (b * kept.shape[1] + tile) * count * channels + c, channels)
                ahead = t
                for i in range(size):
                    at = (b * length + ahead) * channels + c
                    prefetch(v, at)
                    prefetch(out, at)
                    p = ((b * length + ahead) * ORDERS + order) * (ranks + 2 * count)
                    pre = add_weighted(bias, dt_weight, parameters, p)
                    store(dts, i * WIDTH, softplus_base2(pre, falling_power_of_two(pre)))
                    ahead = _advance(ahead, step, length)
                for i in range(size):
                    p = ((b * length + t) * ORDERS + order) * (ranks + 2 * count) + ranks
                    at = (b * length + t) * channels + c
                    dt, x = load(dts, i * WIDTH), load(v, at)
                    y, drive = x * skip, dt * x
                    for n in range(count):
                        state = _next(dt, get(a, n), get(h, n), drive, load_one(parameters, p + n))
                        put(h, n, state)
                        y = y + state * load_one(parameters, p + count + n)
                    store(out, at, y)
                    t = _advance(t, step, length)


@kernel(fast=True)
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
    dts, slopes = np.empty(TILE * WIDTH, np.float32), np.empty(TILE * WIDTH, np.float32)
    decays = np.empty(TILE * count * WIDTH, np.float32)
    before = np.empty((TILE + 1) * count * WIDTH, np.float32)
    for task in range(begin, end):
        b, order = task // ORDERS, task % 2 * 2 + task % ORDERS // 2  # in turns, see above
        step = (1 if order < 2 else width) * (1 if order % 2 == 0 else -1)
        for c in range(order * group, (order + 1) * group, WIDTH):
            load_all(dt_weight, weights, c, channels, 1.0)
            load_all(dt_weight_base2, weights, c, channels, LOG2_E)
            load_all(a, weights, (ranks + 1) * channels + c, channels, 1.0)
            load_all(a_base2, weights, (ranks + 1) * channels + c, channels, LOG2_E)
            bias = load(weights, ranks * channels + c) * splat(LOG2_E)
            skip = load(weights, (ranks + 1 + count) * channels + c)
            fill_all(sum_weight, splat(0.0))
            fill_all(carry, splat(0.0))
            fill_all(sum_a, splat(0.0))
            sum_bias, sum_skip = splat(0.0), splat(0.0)
            for tile in range(kept.shape[1] - 1, -1, -1):
                size = TILE if (tile + 1) * TILE <= length else length - tile * TILE
                t = _token(order, tile * TILE, height, width)
                ahead = t
                for i in range(size):
                    at = (b * length + ahead) * channels + c
                    prefetch(v, at)
                    prefetch(grad_out, at)
                    prefetch(grad_v, at)
                    p = ((b * length + ahead) * ORDERS + order) * (ranks + 2 * count)
                    pre = add_weighted(bias, dt_weight_base2, parameters, p)
                    u = falling_power_of_two(pre)
                    store(dts, i * WIDTH, softplus_base2(pre, u))
                    store(slopes, i * WIDTH, sigmoid_base2(pre, u))
                    ahead = _advance(ahead, step, length)
                load_all(h, kept, (b * kept.shape[1] + tile) * count * channels + c, channels, 1.0)
                store_all(h, before, 0, WIDTH)
                for i in range(size):
                    p = ((b * length + t) * ORDERS + order) * (ranks + 2 * count) + ranks
                    dt = load(dts, i * WIDTH)
                    drive = dt * load(v, (b * length + t) * channels + c)
                    for n in range(count):
                        at = (i * count + n) * WIDTH
                        decay = exp2_of_small(dt * get(a_base2, n))
                        store(decays, at, decay)
                        put(h, n, decay * get(h, n) + drive * load_one(parameters, p + n))
                        store(before, at + count * WIDTH, get(h, n))
                    t = _advance(t, step, length)
                t = _token(order, tile * TILE + size - 1, height, width)
                for i in range(size - 1, -1, -1):
                    p = ((b * length + t) * ORDERS + order) * (ranks + 2 * count)
                    at = (b * length + t) * channels + c
                    gy, x, dt = load(grad_out, at), load(v, at), load(dts, i * WIDTH)
                    drive = dt * x
                    sum_skip = sum_skip + gy * x
                    g_drive, g_dt = splat(0.0), splat(0.0)
                    for n in range(count):
                        here = (i * count + n) * WIDTH
                        gh = get(carry, n) + gy * load_one(parameters, p + ranks + count + n)
                        put(shares, ranks + count + n, gy * load(before, here + count * WIDTH))
                        put(shares, ranks + n, gh * drive)
                        g_drive = g_drive + gh * load_one(parameters, p + ranks + n)
                        back = gh * load(decays, here)
                        put(carry, n, back)
                        g_exponent = back * load(before, here)
                        g_dt = g_dt + g_exponent * get(a, n)
                        put(sum_a, n, get(sum_a, n) + g_exponent * dt)
                    store(grad_v, at, gy * skip + g_drive * dt)
                    g_pre = (g_dt + g_drive * x) * load(slopes, i * WIDTH)
                    sum_bias = sum_bias + g_pre
                    for r in range(ranks):
                        put(sum_weight, r, get(sum_weight, r) + g_pre * load_one(parameters, p + r))
                        put(shares, r, g_pre * get(dt_weight, r))
                    add_totals(grad_parameters, p, shares)
                    t = _advance(t, -step, length)
            base = b * weights.size + c
            store_all(sum_weight, grad_weights, base, channels)
            store(grad_weights, base + ranks * channels, sum_bias)
            store_all(sum_a, grad_weights, base + (ranks + 1) * channels, channels)
            store(grad_weights, base + (ranks + 1 + count) * channels, sum_skip)
