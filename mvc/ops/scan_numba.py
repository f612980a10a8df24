"""Selective scan along four orders on CPU: forward and backward, channels last.

One task is one sample and one scan order with its quarter of the channels. Sixteen channels at a time keep their state
and their weights in registers and walk over all tokens; step sizes, B and C are made in the same pass from the
small projection `parameters`, so no full-size tensor but input and output exists. See scan.py for the meaning of
the arrays and the plain reference.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from mvc.ops.lanes import INLINE, JIT, WIDTH, exp, load, softplus_and_sigmoid, splat, store, total

ORDERS = 4


@njit(**INLINE)
def _walk(order, height, width):
    """First token and step of a scan order; the step wraps by length - 1 at the end of a column."""
    length = height * width
    first = 0 if order % 2 == 0 else length - 1
    step = 1 if order < 2 else width
    return first, step if order % 2 == 0 else -step


@njit(**INLINE)
def _advance(token, step, length):
    token += step
    if token >= length:
        token -= length - 1
    elif token < 0:
        token += length - 1
    return token


@njit(**JIT)
def scan_forward(begin, end, v, parameters, weights, out, rank, states):
    """v, out [B, H, W, C]; parameters float32 [B, H*W, 4, R+2N]; weights float32 [R+1+N+1, C]; tasks are (sample, order)."""
    height, width, channels = v.shape[1], v.shape[2], v.shape[3]
    length, group = height * width, channels // ORDERS
    h = np.empty((states, WIDTH), np.float32)
    for task in range(begin, end):
        b, order = task // ORDERS, task % ORDERS
        first, step = _walk(order, height, width)
        for c in range(order * group, (order + 1) * group, WIDTH):
            bias = load(weights, rank * channels + c)
            skip = load(weights, (rank + 1 + states) * channels + c)
            h[:, :] = 0.0
            t = first
            for _ in range(length):
                p = parameters[b, t, order]
                at = (b * length + t) * channels + c
                pre = bias
                for r in range(rank):
                    pre = pre + splat(p[r]) * load(weights, r * channels + c)
                dt, _slope = softplus_and_sigmoid(pre)
                x = load(v, at)
                y = x * skip
                drive = dt * x
                for n in range(states):
                    decay = exp(dt * load(weights, (rank + 1 + n) * channels + c))
                    state = decay * load(h, n * WIDTH) + drive * splat(p[rank + n])
                    store(h, n * WIDTH, state)
                    y = y + state * splat(p[rank + states + n])
                store(out, at, y)
                t = _advance(t, step, length)


@njit(**JIT)
def scan_backward(begin, end, grad_out, v, parameters, weights, rank, states, grad_v, grad_parameters, grad_weights):
    """Gradients of scan_forward; grad_parameters comes in zeroed; grad_weights [B, R+1+N+1, C] is per sample.

    The states are computed again and kept for one sample, order and sixteen channels at a time.
    """
    height, width, channels = v.shape[1], v.shape[2], v.shape[3]
    length, group = height * width, channels // ORDERS
    dts = np.empty((length, WIDTH), np.float32)
    slopes = np.empty((length, WIDTH), np.float32)
    decays = np.empty((length, states, WIDTH), np.float32)
    kept = np.empty((length + 1, states, WIDTH), np.float32)
    carry = np.empty((states, WIDTH), np.float32)
    sums = np.empty((rank + states, WIDTH), np.float32)
    kept[0] = 0.0
    for task in range(begin, end):
        b, order = task // ORDERS, task % ORDERS
        first, step = _walk(order, height, width)
        for c in range(order * group, (order + 1) * group, WIDTH):
            bias = load(weights, rank * channels + c)
            skip = load(weights, (rank + 1 + states) * channels + c)
            t = first
            for i in range(length):
                p = parameters[b, t, order]
                pre = bias
                for r in range(rank):
                    pre = pre + splat(p[r]) * load(weights, r * channels + c)
                dt, slope = softplus_and_sigmoid(pre)
                store(dts, i * WIDTH, dt)
                store(slopes, i * WIDTH, slope)
                drive = dt * load(v, (b * length + t) * channels + c)
                for n in range(states):
                    at = (i * states + n) * WIDTH
                    decay = exp(dt * load(weights, (rank + 1 + n) * channels + c))
                    store(decays, at, decay)
                    state = decay * load(kept, at) + drive * splat(p[rank + n])
                    store(kept, at + states * WIDTH, state)
                t = _advance(t, step, length)
            t = first + step * (length - 1) if order < 2 else length - 1 - first
            carry[:, :] = 0.0
            sums[:, :] = 0.0
            sum_bias, sum_skip = splat(0.0), splat(0.0)
            for i in range(length - 1, -1, -1):
                p = parameters[b, t, order]
                gp = grad_parameters[b, t, order]
                at = (b * length + t) * channels + c
                gy, x, dt = load(grad_out, at), load(v, at), load(dts, i * WIDTH)
                drive = dt * x
                sum_skip = sum_skip + gy * x
                g_drive, g_dt = splat(0.0), splat(0.0)
                for n in range(states):
                    here = (i * states + n) * WIDTH
                    gh = load(carry, n * WIDTH) + gy * splat(p[rank + states + n])
                    gp[rank + states + n] += total(gy * load(kept, here + states * WIDTH))
                    gp[rank + n] += total(gh * drive)
                    g_drive = g_drive + gh * splat(p[rank + n])
                    back = gh * load(decays, here)
                    store(carry, n * WIDTH, back)
                    g_exponent = back * load(kept, here)
                    g_dt = g_dt + g_exponent * load(weights, (rank + 1 + n) * channels + c)
                    store(sums, (rank + n) * WIDTH, load(sums, (rank + n) * WIDTH) + g_exponent * dt)
                store(grad_v, at, gy * skip + g_drive * dt)
                g_pre = (g_dt + g_drive * x) * load(slopes, i * WIDTH)
                sum_bias = sum_bias + g_pre
                for r in range(rank):
                    store(sums, r * WIDTH, load(sums, r * WIDTH) + g_pre * splat(p[r]))
                    gp[r] += total(g_pre * load(weights, r * channels + c))
                t = _advance(t, -step, length)
            base = b * (rank + states + 2) * channels + c
            for r in range(rank):
                store(grad_weights, base + r * channels, load(sums, r * WIDTH))
            store(grad_weights, base + rank * channels, sum_bias)
            for n in range(states):
                store(grad_weights, base + (rank + 1 + n) * channels, load(sums, (rank + n) * WIDTH))
            store(grad_weights, base + (rank + 1 + states) * channels, sum_skip)
