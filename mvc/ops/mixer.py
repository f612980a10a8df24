"""The token mixer of a VSS block, and the depthwise layer of the prior: fused kernels beside their plain references.

`mix` takes the block's in-projection [B, H, W, 2C] (value and gate side by side) to the gated, normalised output that
goes into the out-projection:

    v = silu(depthwise(value)); y = selective_scan(v, v @ projection); out = norm(y) * silu(gate)

On CPU, with C a multiple of 64, numba kernels do this in float32 arithmetic over float32 or bfloat16 tensors; any
other device or width takes the reference, whose scan has its own GPU backends (scan.py).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from mvc.ops import depthwise_numba, norm_numba, scan
from mvc.ops.parallel import array, run
from mvc.ops.product import linear
from mvc.ops.scan import FAST_TYPES, ORDERS, selective_scan

ACTIVATIONS = {"none": depthwise_numba.NONE, "silu": depthwise_numba.SILU, "leaky": depthwise_numba.LEAKY}
LEAK = depthwise_numba.LEAK


def _fast(x: Tensor, channels: int, multiple: int) -> bool:
    """Whether the numba kernels take it."""
    return x.device.type == "cpu" and x.dtype in FAST_TYPES and channels % multiple == 0


def is_fused(x: Tensor, channels: int) -> bool:
    """Whether `mix` has kernels for this width and type where x is."""
    return _fast(x, channels, 64)


# --- LayerNorm without gain and bias -------------------------------------------------------------------------------


class _Norm(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        x = x.contiguous()
        tokens, channels = x.numel() // x.shape[-1], x.shape[-1]
        out, stats = torch.empty_like(x), torch.empty(tokens, 2)
        run(
            norm_numba.norm_forward,
            tokens,
            array(x.view(-1, channels)),
            array(out.view(-1, channels)),
            array(stats),
        )
        ctx.save_for_backward(x, stats)
        return out

    @staticmethod
    def backward(ctx, grad):
        x, stats = ctx.saved_tensors
        channels = x.shape[-1]
        grad_x = torch.empty_like(x)
        flat = [array(t.view(-1, channels)) for t in (grad.contiguous(), x, grad_x)]
        run(norm_numba.norm_backward, stats.shape[0], flat[0], flat[1], array(stats), flat[2])
        return grad_x


def norm(x: Tensor) -> Tensor:
    """(x - mean) / std over the last dimension; gain and bias live in the linear layer that follows."""
    if _fast(x, x.shape[-1], 16):
        return _Norm.apply(x)
    return F.layer_norm(x, x.shape[-1:], eps=float(norm_numba.EPSILON))


# --- depthwise convolution with its activation ---------------------------------------------------------------------


def depthwise_reference(x: Tensor, weight: Tensor, bias: Tensor, activation: str) -> Tensor:
    """x [B, H, W, C]; weight [K*K, C]; bias [C] -> act(conv(x) + bias) [B, H, W, C]."""
    size = int(weight.shape[0] ** 0.5)
    kernel = weight.t().reshape(-1, 1, size, size).to(x.dtype)
    y = F.conv2d(x.permute(0, 3, 1, 2), kernel, bias.to(x.dtype), padding=size // 2, groups=weight.shape[1])
    y = y.permute(0, 2, 3, 1)
    if activation == "silu":
        return F.silu(y)
    return F.leaky_relu(y, LEAK) if activation == "leaky" else y


def _depthwise_forward(x: Tensor, weight: Tensor, bias: Tensor, activation: str) -> Tensor:
    out = x.new_empty(*x.shape[:3], weight.shape[1])
    arrays = [array(t) for t in (x, weight, bias, out)]
    taps = tuple(range(weight.shape[0]))
    run(depthwise_numba.depthwise_forward, x.shape[0] * x.shape[1], *arrays, ACTIVATIONS[activation], taps)
    return out


def _depthwise_backward(
    grad: Tensor, x: Tensor, weight: Tensor, bias: Tensor, activation: str, grad_x: Tensor
) -> tuple[Tensor, Tensor]:
    """Writes the first C channels of grad_x; returns the gradients of weight and bias."""
    batch = x.shape[0]
    grad_weight, grad_bias = weight.new_empty(batch, *weight.shape), bias.new_empty(batch, *bias.shape)
    arrays = [array(t) for t in (grad, x, weight, bias)]
    outputs = [array(t) for t in (grad_x, grad_weight, grad_bias)]
    taps = tuple(range(weight.shape[0]))
    run(depthwise_numba.depthwise_backward, batch, *arrays, ACTIVATIONS[activation], taps, *outputs)
    return grad_weight.sum(0), grad_bias.sum(0)


class _Depthwise(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, weight, bias, activation):
        x = x.contiguous()
        ctx.save_for_backward(x, weight, bias)
        ctx.activation = activation
        return _depthwise_forward(x, weight, bias, activation)

    @staticmethod
    def backward(ctx, grad):
        x, weight, bias = ctx.saved_tensors
        grad_x = torch.empty_like(x)
        gradients = _depthwise_backward(grad.contiguous(), x, weight, bias, ctx.activation, grad_x)
        return grad_x, *gradients, None


def depthwise(x: Tensor, weight: Tensor, bias: Tensor, activation: str = "none") -> Tensor:
    """act(depthwise convolution), zero-padded: x [B, H, W, C]; weight [9 or 25, C]; none, silu or leaky (1/8)."""
    if _fast(x, weight.shape[1], 16) and weight.shape[0] in (9, 25):
        if x.dtype == torch.bfloat16 and not torch.is_grad_enabled():
            # The same numbers from float32's kernel, which an encoder has anyway: one kernel less to be compiled.
            return _Depthwise.apply(x.float(), weight, bias, activation).to(x.dtype)
        return _Depthwise.apply(x, weight, bias, activation)
    return depthwise_reference(x, weight, bias, activation)


# --- the whole mixer ------------------------------------------------------------------------------------------------


def mix_reference(
    gates: Tensor, conv: Tensor, conv_bias: Tensor, projection: Tensor, weights: Tensor, rank: int
) -> Tensor:
    """Plain version of `mix`; the arguments mean the same."""
    value, gate = gates.chunk(2, -1)
    batch, height, width, channels = value.shape
    v = depthwise_reference(value, conv, conv_bias, "silu")
    parameters = v.reshape(batch, height * width, channels) @ projection.t().to(v.dtype)
    parameters = parameters.to(weights.dtype)
    y = selective_scan(v, parameters.view(batch, height * width, ORDERS, -1), weights, rank)
    return F.layer_norm(y, (channels,), eps=float(norm_numba.EPSILON)) * F.silu(gate)


def _values(value: Tensor, conv: Tensor, conv_bias: Tensor, projection: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """What is scanned, the projection in its type, and the scan's parameters; value has C channels, or more behind."""
    v = _depthwise_forward(value, conv, conv_bias, "silu")
    small = projection.to(v.dtype)
    parameters = (v.view(-1, v.shape[-1]) @ small.t()).float()
    return v, small, parameters.view(v.shape[0], v.shape[1] * v.shape[2], ORDERS, -1)


class _Mix(torch.autograd.Function):
    @staticmethod
    def forward(ctx, gates, conv, conv_bias, projection, weights, rank):
        gates = gates.contiguous()
        batch, height, width, wide = gates.shape
        channels, length = wide // 2, height * width
        v, small, parameters = _values(gates, conv, conv_bias, projection)
        y = torch.empty_like(v)
        kept = scan.forward_on_cpu(v, parameters, weights, rank, y)
        out, stats = torch.empty_like(v), torch.empty(batch * length, 2)
        flat = [array(t) for t in (y.view(-1, channels), gates.view(-1, wide), out.view(-1, channels), stats)]
        run(norm_numba.gated_norm_forward, batch * length, *flat)
        ctx.save_for_backward(gates, conv, conv_bias, small, weights, v, parameters, kept, y, stats)
        ctx.rank = rank
        return out

    @staticmethod
    def backward(ctx, grad):
        gates, conv, conv_bias, small, weights, v, parameters, kept, y, stats = ctx.saved_tensors
        batch, height, width, wide = gates.shape
        channels, length = wide // 2, height * width
        grad_y, grad_gates = torch.empty_like(y), torch.empty_like(gates)
        inputs = [grad.contiguous().view(-1, channels), y.view(-1, channels), gates.view(-1, wide), stats]
        outputs = [grad_y.view(-1, channels), grad_gates.view(-1, wide)]
        run(norm_numba.gated_norm_backward, batch * length, *[array(t) for t in inputs + outputs])
        scanned = scan.backward_on_cpu(grad_y, v, parameters, weights, kept, ctx.rank)
        grad_v, grad_parameters, grad_weights = scanned
        flat = grad_parameters.view(batch * length, -1).to(v.dtype)
        grad_projection = (flat.t() @ v.view(-1, channels)).float()
        grad_v.view(-1, channels).addmm_(flat, small)
        grad_conv, grad_bias = _depthwise_backward(grad_v, gates, conv, conv_bias, "silu", grad_gates)
        return grad_gates, grad_conv, grad_bias, grad_projection, grad_weights, None


def mix(gates: Tensor, conv: Tensor, conv_bias: Tensor, projection: Tensor, weights: Tensor, rank: int) -> Tensor:
    """Depthwise 3x3, SiLU, 2DSS, norm and gate of a VSS block (MambaVC, figure 3), fused.

    gates [B, H, W, 2C]; conv [9, C]; conv_bias [C]; projection [4 (R + 2N), C]; weights [R + 1 + N + 1, C] as in
    scan.py; returns [B, H, W, C].
    """
    if is_fused(gates, gates.shape[-1] // 2):
        return _Mix.apply(gates, conv, conv_bias, projection, weights, rank)
    return mix_reference(gates, conv, conv_bias, projection, weights, rank)


# --- its halves, without gradients -----------------------------------------------------------------------------------


def scanned_(v: Tensor, projection: Tensor, weights: Tensor, rank: int) -> Tensor:
    """The middle of `mix`: the scan of v [B, H, W, C] contiguous, which it overwrites; other arguments as there."""
    parameters = linear(v.view(-1, v.shape[-1]), projection.to(v.dtype)).float()
    parameters = parameters.view(v.shape[0], v.shape[1] * v.shape[2], ORDERS, -1)
    scan.forward_on_cpu(v, parameters, weights, rank, v)  # reads an element before it writes it
    return v


def gated_norm(y: Tensor, gate: Tensor) -> Tensor:
    """The second half of `mix`: norm(y) * silu(gate), both [..., C]; fused where no gradient is wanted."""
    channels = y.shape[-1]
    if torch.is_grad_enabled() or not _fast(y, channels, 16):
        return norm(y) * F.silu(gate)
    out = torch.empty_like(y, memory_format=torch.contiguous_format)
    flat = [t.contiguous().view(-1, channels) for t in (y, gate, out)]
    run(norm_numba.gated_norm_forward, len(flat[0]), *map(array, flat), array(torch.empty(len(flat[0]), 2)))
    return out
