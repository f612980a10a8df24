"""Depthwise K x K convolution in Triton, channels last, with its activation: forward and backward.

Imported only when it is used: it needs triton. One program takes a rectangle of pixels of one sample and a few channels
of them, in float32. What its taps read of the neighbours comes from the first-level cache, so a picture is read and
written about once. The backward pass is two kernels: `gradients` computes the pre-activation again, takes the gradient
through the activation (`through`) and sums it, and its products with the taps, over the rectangle; then `convolve`,
turned around, makes the gradient of the input of `through`. The sums of all rectangles are added by the caller: atomic
sums would have no fixed order.

A pixel's channels lie side by side, pixels of x and out x_step and out_step numbers apart. Places in memory are 64-bit:
a batch of large pictures has more than 2^31 numbers.
"""

# mypy: disallow-incomplete-defs=False, disallow-untyped-defs=False
# Triton gives meaning to the annotations of a kernel: only its constants have one.

from __future__ import annotations

import triton
import triton.language as tl

ROWS, COLUMNS, CHANNELS = 8, 16, 32  # of one program; powers of two
WARPS = 4


@triton.jit
def place(height, width, ROWS: tl.constexpr, COLUMNS: tl.constexpr, CHANNELS: tl.constexpr):
    """This program's rows and columns [P], pixels counted over all samples [P], and channels [C]."""
    high, wide = tl.cdiv(height, ROWS), tl.cdiv(width, COLUMNS)
    tile = tl.program_id(0)
    pixel = tl.arange(0, ROWS * COLUMNS)
    i = tile // wide % high * ROWS + pixel // COLUMNS
    j = tile % wide * COLUMNS + pixel % COLUMNS
    sample = (tile // (wide * high)).to(tl.int64)
    c = tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)
    return i, j, (sample * height + i) * width + j, c


@triton.jit
def _tap(x, x_step, i, j, pixel, c, height, width, channels, down, right):
    """x so many pixels further down and to the right, zero outside of the picture: [P, C]."""
    row, column = i + down, j + right
    inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
    source = (pixel + (down * width + right)) * x_step
    mask = inside[:, None] & (c < channels)[None]
    return tl.load(x + source[:, None] + c[None], mask, 0.0)


@triton.jit
def convolved(x, x_step, weight, v, i, j, pixel, c, height, width, channels, SIZE: tl.constexpr, TURNED: tl.constexpr):
    """v [P, C] and the sum over the taps, in its type; turned around, the first weight belongs to the last tap."""
    for row in range(SIZE):  # not unrolled, for the sake of the compiler's time
        for column in tl.static_range(SIZE):
            tap = row * SIZE + column
            w = tl.load(weight + (SIZE * SIZE - 1 - tap if TURNED else tap) * channels + c, c < channels, 0.0)
            shifted = _tap(x, x_step, i, j, pixel, c, height, width, channels, row - SIZE // 2, column - SIZE // 2)
            v += w.to(v.dtype)[None] * shifted.to(v.dtype)
    return v


@triton.jit(do_not_specialize=["height", "width"])
def convolve(
    x, weight, bias, out, x_step, out_step, height, width, channels,
    SIZE: tl.constexpr, ACTIVATION: tl.constexpr, LEAK: tl.constexpr, TURNED: tl.constexpr,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    """out = act(conv(x) + bias); turned around there is no bias. Pixels [B, H, W], weight [SIZE * SIZE, C]."""
    i, j, pixel, c = place(height, width, ROWS, COLUMNS, CHANNELS)
    v = tl.zeros([ROWS * COLUMNS, CHANNELS], tl.float32)
    if not TURNED:
        v += tl.load(bias + c, c < channels, 0.0).to(tl.float32)[None]
    v = convolved(x, x_step, weight, v, i, j, pixel, c, height, width, channels, SIZE, TURNED)
    if ACTIVATION == "silu":
        v = v * tl.sigmoid(v)
    elif ACTIVATION == "leaky":
        v = tl.where(v > 0, v, v * LEAK)
    mask = ((i < height) & (j < width))[:, None] & (c < channels)[None]
    tl.store(out + pixel[:, None] * out_step + c[None], v.to(out.dtype.element_ty), mask)


@triton.jit(do_not_specialize=["height", "width"])
def gradients(
    grad, x, weight, bias, through, sums, grad_step, x_step, height, width, channels,
    SIZE: tl.constexpr, ACTIVATION: tl.constexpr, LEAK: tl.constexpr,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    """Writes through [B, H, W, C], unless there is no activation, and sums float32 [rectangles, SIZE * SIZE + 1, C].

    The last row of the sums is the bias's.
    """
    i, j, pixel, c = place(height, width, ROWS, COLUMNS, CHANNELS)
    live = c < channels
    mask = ((i < height) & (j < width))[:, None] & live[None]
    g = tl.load(grad + pixel[:, None] * grad_step + c[None], mask, 0.0).to(tl.float32)
    if ACTIVATION != "none":
        v = tl.zeros([ROWS * COLUMNS, CHANNELS], tl.float32) + tl.load(bias + c, live, 0.0).to(tl.float32)[None]
        v = convolved(x, x_step, weight, v, i, j, pixel, c, height, width, channels, SIZE, False)
        if ACTIVATION == "silu":
            s = tl.sigmoid(v)
            g = g * (s + v * s * (1.0 - s))
        else:
            g = tl.where(v > 0, g, g * LEAK)
        tl.store(through + pixel[:, None] * channels + c[None], g.to(through.dtype.element_ty), mask)
    target = sums + tl.program_id(0).to(tl.int64) * ((SIZE * SIZE + 1) * channels) + c
    for row in range(SIZE):
        for column in tl.static_range(SIZE):
            shifted = _tap(x, x_step, i, j, pixel, c, height, width, channels, row - SIZE // 2, column - SIZE // 2)
            tl.store(target + (row * SIZE + column) * channels, tl.sum(g * shifted.to(tl.float32), 0), live)
    tl.store(target + SIZE * SIZE * channels, tl.sum(g, 0), live)
