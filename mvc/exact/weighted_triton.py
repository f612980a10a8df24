"""The exact depthwise convolution on a GPU, in Triton: that of weighted_numba.py, of whole numbers in float64.

Imported only when it is used: it needs triton. In torch's operators a 5 x 5 convolution is fifty launches, each of
which costs more than its work at the size of a strip; here it is one.
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

ROWS, COLUMNS, CHANNELS = 4, 8, 32  # of one program, whose numbers are twice as wide as the mixer's


@triton.jit(do_not_specialize=["height", "width", "scale", "limit"])
def _depthwise(
    x, weight, bias, out, height, width, channels, scale, limit,
    SIZE: tl.constexpr, LEAK: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    """Scale and limit are a power of two and one less than such, which float32 holds as well."""
    i, j, pixel, c = place(height, width, ROWS, COLUMNS, CHANNELS)
    v = tl.zeros([ROWS * COLUMNS, CHANNELS], tl.float64) + tl.load(bias + c, c < channels, 0.0)[None]
    v = convolved(x, channels, weight, v, i, j, pixel, c, height, width, channels, SIZE, False)
    v = tl.floor(v * scale + 0.5)
    v = tl.minimum(tl.maximum(v, -limit), limit)
    if LEAK:
        v = tl.maximum(v, tl.floor(v * 0.125 + 0.5))
    mask = ((i < height) & (j < width))[:, None] & (c < channels)[None]
    tl.store(out + pixel[:, None] * channels + c[None], v, mask)


def depthwise(x: Tensor, weight: Tensor, bias: Tensor, scale: float, limit: float, leak: bool) -> Tensor:
    """Zero-padded and K x K, then the bias is added, round-shifted by scale = 2^-bits, clamped, and leaky if leak.

    x [B, H, W, C], weight [K * K, C], bias [C].
    """
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
