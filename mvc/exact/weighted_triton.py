"""The kernels of weighted_numba.py on a GPU, in Triton: float64 tensors that hold whole numbers.

Imported only when it is used: it needs triton. In torch's operators a layer's end is six launches and a 5 x 5 depthwise
convolution fifty, each of which costs more than its work at the size of a strip; here both are one.
"""

# mypy: disallow-incomplete-defs=False, disallow-untyped-defs=False
# Triton gives meaning to the annotations of a kernel: only its constants have one.

from __future__ import annotations

import math

import torch
import triton
import triton.language as tl
from torch import Tensor

from mvc.ops import depthwise_triton
from mvc.ops.depthwise_triton import convolved, place

NUMBERS = 1024  # of one program of `finish`
ROWS, COLUMNS, CHANNELS = 4, 8, 32  # of one program of a convolution, whose numbers are twice as wide as the mixer's
NO_LIMIT = 2.0**31  # which no sum of the coarse or the fine grid reaches


@triton.jit
def _finished(v, scale, limit, LEAK: tl.constexpr):
    """Scale and limit are powers of two, or one below such, that float32 holds as well."""
    v = tl.floor(v * scale + 0.5)
    v = tl.minimum(tl.maximum(v, -limit), limit)
    if LEAK:
        v = tl.maximum(v, tl.floor(v * 0.125 + 0.5))
    return v


@triton.jit(do_not_specialize=["count", "scale", "limit"])
def _finish(
    sums, bias, out, count, channels, scale, limit,
    BIASED: tl.constexpr, LEAK: tl.constexpr, NUMBERS: tl.constexpr,
):  # fmt: skip
    n = tl.program_id(0).to(tl.int64) * NUMBERS + tl.arange(0, NUMBERS)
    v = tl.load(sums + n, n < count, 0.0).to(tl.float64)
    if BIASED:
        v += tl.load(bias + n % channels, n < count, 0.0)
    tl.store(out + n, _finished(v, scale, limit, LEAK), n < count)


@triton.jit(do_not_specialize=["height", "width", "scale", "limit"])
def _depthwise(
    x, weight, bias, out, height, width, channels, scale, limit,
    SIZE: tl.constexpr, LEAK: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    i, j, pixel, c = place(height, width, ROWS, COLUMNS, CHANNELS)
    v = tl.zeros([ROWS * COLUMNS, CHANNELS], tl.float64) + tl.load(bias + c, c < channels, 0.0)[None]
    v = convolved(x, channels, weight, v, i, j, pixel, c, height, width, channels, SIZE, False)
    mask = ((i < height) & (j < width))[:, None] & (c < channels)[None]
    tl.store(out + pixel[:, None] * channels + c[None], _finished(v, scale, limit, LEAK), mask)


def _finish_of(sums: Tensor, bias: Tensor | None, scale: float, limit: float, leak: bool) -> Tensor:
    sums = sums.contiguous()
    out = sums if sums.dtype == torch.float64 and bias is not None else sums.new_empty(sums.shape, dtype=torch.float64)
    given = out if bias is None else bias  # which a kernel without a bias does not touch
    grid = (triton.cdiv(sums.numel(), NUMBERS),)
    with torch.cuda.device_of(sums):
        _finish[grid](
            sums, given, out, sums.numel(), sums.shape[-1], scale, limit,
            BIASED=bias is not None, LEAK=leak, NUMBERS=NUMBERS,
        )  # fmt: skip
    return out


def finish(sums: Tensor, bias: Tensor, scale: float, limit: float, leak: bool) -> Tensor:
    """Add the bias [C], round-shift by scale = 2^-bits, clamp, leaky if leak: of sums [..., C], which float64 lose.

    float64; float32 sums are widened.
    """
    return _finish_of(sums, bias, scale, limit, leak)


def leaky(x: Tensor) -> Tensor:
    """The larger of x and x / 8, rounded."""
    return _finish_of(x, None, 1.0, NO_LIMIT, True)


def depthwise(x: Tensor, weight: Tensor, bias: Tensor, scale: float, limit: float, leak: bool) -> Tensor:
    """The zero-padded K x K convolution, finished as in `finish`: x [B, H, W, C], weight [K * K, C], bias [C]."""
    x = x.contiguous()
    batch, height, width, channels = x.shape
    out = torch.empty_like(x)
    rectangles = triton.cdiv(height, ROWS) * triton.cdiv(width, COLUMNS)
    grid = (batch * rectangles, triton.cdiv(channels, CHANNELS))
    with torch.cuda.device_of(x):
        _depthwise[grid](
            x, weight, bias, out, height, width, channels, scale, limit,
            SIZE=math.isqrt(len(weight)), LEAK=leak, ROWS=ROWS, COLUMNS=COLUMNS, CHANNELS=CHANNELS,
            num_warps=depthwise_triton.WARPS,
        )  # fmt: skip
    return out
