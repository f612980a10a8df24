"""Estimated bits of Gaussian latents with their gradients, in one pass over the samples, sixteen values at a time.

This is gaussian_bits of rate.py written out: a dozen full-size tensors less per slice and step. Arrays
come in whole and contiguous as [B, N, m] with N positions; m is a multiple of 16; tasks are samples.
"""

from __future__ import annotations

import math

from mvc.entropy.tables import LOG_SCALE_MAX, SCALE_MIN
from mvc.jit import kernel
from mvc.ops.lane_math import (
    exp,
    exponent,
    highest,
    lowest,
    magnitude,
    nearest,
    power_of_two,
    splat,
    where_positive,
    written,
)
from mvc.ops.lanes import WIDTH, load, store
from mvc.ops.registers import total

LEAST_MASS = 1e-9
_INVERSE_SCALE_MIN = math.sqrt(0.5) / SCALE_MIN
_SQRT_2 = math.sqrt(2)
_LN_2 = math.log(2)
_DENSITY = 1 / math.sqrt(math.pi)

# exp(z^2) erfc(z) = t P(t) with t = 1 / (1 + z / 2), for 0 <= z <= 12; minimax fit in double precision, relative
# error 4.4e-8 (2e-7 when evaluated in single precision)
_P = (
    0.2820844708603409, 0.28240960865057035, 0.2428534724047269, 0.20367915146454527, -0.02897376314720256,
    0.28147806878130555, -0.4901822599179131, 0.28601534145742774, -0.059364134638113415,
)  # fmt: skip


@written
def _log2(x):
    """log2 of positive normal lanes, as exponent + 1/2 + 2 atanh((m - sqrt 2) / (m + sqrt 2)) / ln 2."""
    whole = exponent(x)
    m = x * power_of_two(0.0 - whole)
    s = (m - _SQRT_2) / (m + _SQRT_2)
    q = s * s
    p = 1 / 7 + q * (1 / 9)
    p = 1 / 5 + q * p
    p = 1 / 3 + q * p
    p = 1.0 + q * p
    return whole + 0.5 + s * p * (2 / _LN_2)


@written
def _erfc(z, bell):
    """erfc(z) where bell = exp(-z^2); |z| up to about 9."""
    t = 1.0 / (1.0 + 0.5 * magnitude(z))
    p = _P[-1]
    for coefficient in _P[-2::-1]:
        p = coefficient + t * p
    tail = t * p * bell
    return where_positive(z, tail, 2.0 - tail)


@kernel(fast=True)
def latent_forward(begin, end, y, mean, log_scale, noise, mask, y_hat, bits, slope, log_slope):
    """Round y around its mean into y_hat, sum each sample's bits and keep the gradients of the bits.

    y, noise float32; mean, log_scale, y_hat, slope and log_slope in one other type or float32. bits is float32 [B].
    slope is d bits / d (y - mean), log_slope is d bits / d log_scale; where mask [N] is 0 nothing counts.
    """
    positions, channels = y.shape[1], y.shape[2]
    half, zero = splat(0.5), splat(0.0)
    for b in range(begin, end):
        sample_bits = zero
        for i in range(positions):
            row = (b * positions + i) * channels
            counts = mask[i] > 0
            for c in range(row, row + channels, WIDTH):
                centre = load(mean, c)
                offset = load(y, c) - centre
                store(y_hat, c, nearest(offset) + centre)
                if not counts:
                    store(slope, c, zero)
                    store(log_slope, c, zero)
                    continue
                offset = offset + load(noise, c) - half
                log2_scale = highest(lowest(load(log_scale, c), splat(LOG_SCALE_MAX)), zero)
                inverse = exp(log2_scale * splat(-_LN_2)) * splat(_INVERSE_SCALE_MIN)
                d = magnitude(offset)
                near, far = (d - half) * inverse, (d + half) * inverse
                near_bell, far_bell = exp(zero - near * near), exp(zero - far * far)
                mass = half * (_erfc(near, near_bell) - _erfc(far, far_bell))
                kept = highest(mass, splat(LEAST_MASS))
                sample_bits = sample_bits - _log2(kept)
                # sqrt(pi) d mass = (bell(far) - bell(near)) inverse dd + (near bell(near) - far bell(far)) d ln(scale)
                factor = splat(-_DENSITY / _LN_2) / kept
                factor = where_positive(splat(LEAST_MASS) - mass, zero, factor)
                by_distance = factor * (far_bell - near_bell) * inverse
                store(slope, c, where_positive(offset, by_distance, zero - by_distance))
                by_scale = near * near_bell - far * far_bell
                store(log_slope, c, factor * by_scale * splat(_LN_2))
        bits[b] = total(sample_bits)


@kernel(fast=True)
def latent_backward(begin, end, grad_y_hat, grad_bits, log_scale, slope, log_slope, grad_y, grad_mean, grad_log_scale):
    """Gradients through latent_forward, where y_hat passes its gradient straight to y.

    A log_scale outside its range still follows a gradient that points back inside.
    """
    positions, channels = slope.shape[1], slope.shape[2]
    zero, top = splat(0.0), splat(LOG_SCALE_MAX)
    for b in range(begin, end):
        weight = splat(grad_bits[b])
        start = b * positions * channels
        for c in range(start, start + positions * channels, WIDTH):
            by_rate = weight * load(slope, c)
            store(grad_y, c, load(grad_y_hat, c) + by_rate)
            store(grad_mean, c, zero - by_rate)
            g, s = weight * load(log_slope, c), load(log_scale, c)
            g = where_positive(zero - s, lowest(g, zero), g)
            store(grad_log_scale, c, where_positive(s - top, highest(g, zero), g))
