"""The steps of a VSS block on a GPU, in Triton: the functions of mixer_numba.py, where they are described.

Imported only when it is used: it needs triton. All arithmetic is in float32, and every sum has a fixed order. Tensors
may be halves of wider ones, as the value and the gate of an in-projection are: tokens at one distance are enough.

The norms read a token once: a program has a few whole tokens in registers, their channels padded to a power of two.
"""

# mypy: disallow-incomplete-defs=False, disallow-untyped-defs=False
# Triton gives meaning to the annotations of a kernel: only its constants have one.

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from mvc.ops import depthwise_triton
from mvc.ops.depthwise_numba import LEAK
from mvc.ops.norm_numba import EPSILON
from mvc.ops.scan_triton import scan_backward, scan_forward

__all__ = [
    "depthwise_backward", "depthwise_forward", "gated_norm_backward", "gated_norm_forward", "norm_backward",
    "norm_forward", "scan_backward", "scan_forward",
]  # fmt: skip

NUMBERS = 2048  # of one program of a norm


@triton.jit
def _tokens(count, channels, TOKENS: tl.constexpr, CHANNELS: tl.constexpr):
    """This program's tokens (64-bit, as places in memory are) and channels, and which of them there are."""
    t = tl.program_id(0).to(tl.int64) * TOKENS + tl.arange(0, TOKENS)
    c = tl.arange(0, CHANNELS)
    return t, c, (t < count)[:, None] & (c < channels)[None]


@triton.jit(do_not_specialize=["count"])
def _norm(
    x, gate, out, stats, x_step, gate_step, count, channels, epsilon,
    GATED: tl.constexpr, TOKENS: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    t, c, mask = _tokens(count, channels, TOKENS, CHANNELS)
    v = tl.load(x + t[:, None] * x_step + c[None], mask, 0.0).to(tl.float32)
    mean = tl.sum(v, 1) / channels
    centred = tl.where(mask, v - mean[:, None], 0.0)
    scale = 1.0 / tl.sqrt(tl.sum(centred * centred, 1) / channels + epsilon)
    tl.store(stats + 2 * t, mean, t < count)
    tl.store(stats + 2 * t + 1, scale, t < count)
    v = centred * scale[:, None]
    if GATED:
        w = tl.load(gate + t[:, None] * gate_step + c[None], mask, 0.0).to(tl.float32)
        v = v * w * tl.sigmoid(w)
    tl.store(out + t[:, None] * channels + c[None], v.to(out.dtype.element_ty), mask)


@triton.jit(do_not_specialize=["count"])
def _norm_gradients(
    grad, x, gate, stats, grad_x, grad_gate, grad_step, x_step, gate_step, grad_gate_step, count, channels,
    GATED: tl.constexpr, TOKENS: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    t, c, mask = _tokens(count, channels, TOKENS, CHANNELS)
    g = tl.load(grad + t[:, None] * grad_step + c[None], mask, 0.0).to(tl.float32)
    v = tl.load(x + t[:, None] * x_step + c[None], mask, 0.0).to(tl.float32)
    mean = tl.load(stats + 2 * t, t < count, 0.0)
    scale = tl.load(stats + 2 * t + 1, t < count, 0.0)
    normal = (v - mean[:, None]) * scale[:, None]
    if GATED:
        w = tl.load(gate + t[:, None] * gate_step + c[None], mask, 0.0).to(tl.float32)
        s = tl.sigmoid(w)
        gw = g * normal * (s + w * s * (1.0 - s))
        tl.store(grad_gate + t[:, None] * grad_gate_step + c[None], gw.to(grad_gate.dtype.element_ty), mask)
        g = g * w * s
    mean_g = tl.sum(g, 1) / channels  # g is zero where the mask is not
    mean_product = tl.sum(g * normal, 1) / channels
    gx = scale[:, None] * (g - mean_g[:, None] - normal * mean_product[:, None])
    tl.store(grad_x + t[:, None] * channels + c[None], gx.to(grad_x.dtype.element_ty), mask)


def _rows(tensor: Tensor) -> Tensor:
    """[tokens, channels], each token's channels side by side: a view where that is possible."""
    flat = tensor.reshape(-1, tensor.shape[-1])
    return flat if flat.stride(1) == 1 else flat.contiguous()


def _shape(tokens: Tensor) -> tuple[tuple[int], dict[str, int]]:
    """The grid and the constants of a norm's launch."""
    wide = triton.next_power_of_2(tokens.shape[1])
    block = max(1, NUMBERS // wide)
    return (triton.cdiv(len(tokens), block),), {"TOKENS": block, "CHANNELS": wide}


def _forward(x: Tensor, gate: Tensor | None) -> tuple[Tensor, Tensor]:
    out, tokens = x.new_empty(x.shape), _rows(x)
    gates = tokens if gate is None else _rows(gate)
    stats = torch.empty(len(tokens), 2, device=x.device)
    grid, constants = _shape(tokens)
    steps = tokens.stride(0), gates.stride(0)
    with torch.cuda.device_of(x):
        _norm[grid](
            tokens, gates, out, stats, *steps, *tokens.shape, float(EPSILON), GATED=gate is not None, **constants
        )
    return out, stats


def _backward(grad: Tensor, x: Tensor, gate: Tensor | None, stats: Tensor, grad_gate: Tensor | None) -> Tensor:
    grad_x, g, tokens = x.new_empty(x.shape), _rows(grad), _rows(x)
    gates, grad_gates = tokens, g  # which a kernel without a gate does not touch
    if gate is not None and grad_gate is not None:
        gates, grad_gates = _rows(gate), grad_gate.view(-1, gate.shape[-1])
    grid, constants = _shape(tokens)
    steps = [t.stride(0) for t in (g, tokens, gates, grad_gates)]
    with torch.cuda.device_of(x):
        _norm_gradients[grid](
            g, tokens, gates, stats, grad_x, grad_gates, *steps, *tokens.shape, GATED=gate is not None, **constants
        )
    return grad_x


def norm_forward(x: Tensor) -> tuple[Tensor, Tensor]:
    return _forward(x, None)


def norm_backward(grad: Tensor, x: Tensor, stats: Tensor) -> Tensor:
    return _backward(grad, x, None, stats, None)


def gated_norm_forward(y: Tensor, gates: Tensor) -> tuple[Tensor, Tensor]:
    return _forward(y, gates[..., -y.shape[-1] :])


def gated_norm_backward(grad: Tensor, y: Tensor, gates: Tensor, stats: Tensor, grad_gates: Tensor) -> Tensor:
    """As mixer_numba.py's, for grad_gates with C channels as well."""
    last = slice(-y.shape[-1], None)
    return _backward(grad, y, gates[..., last], stats, grad_gates[..., last])


def _tiles(x: Tensor, channels: int) -> tuple[tuple[int, int], dict[str, Any]]:
    """The grid and the constants of the launch of a convolution over so many channels of x."""
    rows, columns, wide = depthwise_triton.ROWS, depthwise_triton.COLUMNS, depthwise_triton.CHANNELS
    batch, height, width, _ = x.shape
    grid = batch * triton.cdiv(height, rows) * triton.cdiv(width, columns), triton.cdiv(channels, wide)
    return grid, {"ROWS": rows, "COLUMNS": columns, "CHANNELS": wide, "LEAK": LEAK, "num_warps": depthwise_triton.WARPS}


def _convolve(x: Tensor, weight: Tensor, bias: Tensor, out: Tensor, activation: str, turned: bool) -> None:
    """Writes the first C channels of `out`, whose pixels lie at one distance."""
    grid, constants = _tiles(x, weight.shape[1])
    pixels, target = _rows(x), out.view(-1, out.shape[-1])
    numbers = pixels.stride(0), target.stride(0), x.shape[1], x.shape[2], weight.shape[1]
    size = int(weight.shape[0] ** 0.5)
    constants |= {"SIZE": size, "ACTIVATION": activation, "TURNED": turned}
    with torch.cuda.device_of(x):
        depthwise_triton.convolve[grid](pixels, weight.contiguous(), bias, target, *numbers, **constants)


def depthwise_forward(x: Tensor, weight: Tensor, bias: Tensor, activation: str) -> Tensor:
    """As mixer_numba.py's, for any odd K."""
    out = x.new_empty(*x.shape[:3], weight.shape[1])
    _convolve(x, weight, bias, out, activation, turned=False)
    return out


def depthwise_backward(
    grad: Tensor, x: Tensor, weight: Tensor, bias: Tensor, activation: str, grad_x: Tensor
) -> tuple[Tensor, Tensor]:
    (taps, channels), g, pixels = weight.shape, _rows(grad), _rows(x)
    through = grad if activation == "none" else torch.empty_like(grad, memory_format=torch.contiguous_format)
    grid, constants = _tiles(x, channels)
    sums = weight.new_empty(grid[0], taps + 1, channels, dtype=torch.float32)
    numbers = g.stride(0), pixels.stride(0), x.shape[1], x.shape[2], channels
    constants |= {"SIZE": int(taps**0.5), "ACTIVATION": activation}
    with torch.cuda.device_of(x):
        inputs = g, pixels, weight.contiguous(), bias
        depthwise_triton.gradients[grid](*inputs, through, sums, *numbers, **constants)
    _convolve(through, weight, bias, grad_x, "none", turned=True)
    summed = sums.sum(0)
    return summed[:taps].to(weight.dtype), summed[taps].to(bias.dtype)
