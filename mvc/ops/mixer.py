"""The token mixer of a VSS block, and the depthwise layer of the prior: fused kernels beside their plain references.

`mix` takes the block's in-projection [B, H, W, 2C] (value and gate side by side) to the gated, normalised output that
goes into the out-projection:

    v = silu(depthwise(value)); y = selective_scan(v, v @ projection); out = norm(y) * silu(gate)

On CPU, with C a multiple of 64, numba kernels do this in float32 arithmetic over float32 or bfloat16 tensors
(mixer_numba.py), on CUDA devices Triton's (mixer_triton.py). Anything else takes the reference, whose scan has its own
GPU backends (scan.py). The environment variable MVC_MIXER=reference does without the Triton kernels.
"""

from __future__ import annotations

from functools import lru_cache
from types import ModuleType

import torch
import torch.nn.functional as F
from torch import Tensor

from mvc.environment import is_set_to
from mvc.ops import depthwise_numba, mixer_numba, norm_numba, scan
from mvc.ops.mixer_numba import ACTIVATIONS as ACTIVATIONS
from mvc.ops.product import linear
from mvc.ops.scan import FAST_TYPES, ORDERS, selective_scan

LEAK = depthwise_numba.LEAK


@lru_cache(maxsize=1)
def on_gpus() -> ModuleType | None:
    """Triton's kernels where they can be imported, unless the environment says no."""
    if is_set_to("MVC_MIXER", "reference"):
        return None
    try:
        from mvc.ops import mixer_triton
    except (ImportError, OSError):  # absent, or broken
        return None
    return mixer_triton


def kernels(x: Tensor, channels: int, multiple: int = 16) -> ModuleType | None:
    """Those for this width and type where x is: mixer_numba, mixer_triton, or None where only the reference is."""
    if x.dtype not in FAST_TYPES or channels % multiple:
        return None
    if x.device.type == "cpu":
        return mixer_numba
    return on_gpus() if x.device.type == "cuda" else None


def _mixing(x: Tensor, channels: int) -> ModuleType | None:
    """The kernels of `mix`; on GPUs only beside the scan that goes with them."""
    found = kernels(x, channels, 64)
    return None if found not in (None, mixer_numba) and not scan.is_triton() else found


def is_fused(x: Tensor, channels: int) -> bool:
    """Whether `mix` has kernels for this width and type where x is."""
    return _mixing(x, channels) is not None


def by_strips(x: Tensor, channels: int) -> bool:
    """Whether kernels that work in place do best without gradients, a strip after the other: those of a CPU."""
    return kernels(x, channels, 64) is mixer_numba


# --- LayerNorm without gain and bias -------------------------------------------------------------------------------


class _Norm(torch.autograd.Function):
    @staticmethod
    def forward(ctx, kernels, x):
        out, stats = kernels.norm_forward(x)
        ctx.save_for_backward(x, stats)
        ctx.kernels = kernels
        return out

    @staticmethod
    def backward(ctx, grad):
        return None, ctx.kernels.norm_backward(grad, *ctx.saved_tensors)


def norm(x: Tensor) -> Tensor:
    """(x - mean) / std over the last dimension; gain and bias live in the linear layer that follows."""
    if (found := kernels(x, x.shape[-1])) is not None:
        return _Norm.apply(found, x)
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


class _Depthwise(torch.autograd.Function):
    @staticmethod
    def forward(ctx, kernels, x, weight, bias, activation):
        ctx.save_for_backward(x, weight, bias)
        ctx.kernels, ctx.activation = kernels, activation
        return kernels.depthwise_forward(x, weight, bias, activation)

    @staticmethod
    def backward(ctx, grad):
        x, weight, bias = ctx.saved_tensors
        grad_x = x.new_empty(x.shape)
        gradients = ctx.kernels.depthwise_backward(grad, x, weight, bias, ctx.activation, grad_x)
        return None, grad_x, *gradients, None


def depthwise(x: Tensor, weight: Tensor, bias: Tensor, activation: str = "none") -> Tensor:
    """act(depthwise convolution), zero-padded: x [B, H, W, C]; weight [9 or 25, C]; none, silu or leaky (1/8)."""
    found = kernels(x, weight.shape[1])
    if found is None or weight.shape[0] not in (9, 25):
        return depthwise_reference(x, weight, bias, activation)
    if found is mixer_numba and x.dtype == torch.bfloat16 and not torch.is_grad_enabled():
        # The same numbers from float32's kernel, which an encoder has anyway: one kernel less to be compiled.
        return _Depthwise.apply(found, x.float(), weight, bias, activation).to(x.dtype)
    return _Depthwise.apply(found, x, weight, bias, activation)


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


class _Mix(torch.autograd.Function):
    @staticmethod
    def forward(ctx, kernels, gates, conv, conv_bias, projection, weights, rank):
        gates, weights = gates.contiguous(), weights.contiguous()
        v = kernels.depthwise_forward(gates, conv, conv_bias, "silu")
        batch, height, width, channels = v.shape
        small = projection.to(v.dtype)
        parameters = (v.view(-1, channels) @ small.t()).float().view(batch, height * width, ORDERS, -1)
        y, kept = kernels.scan_forward(v, parameters, weights, rank)
        out, stats = kernels.gated_norm_forward(y, gates)
        ctx.save_for_backward(gates, conv, conv_bias, small, weights, v, parameters, kept, y, stats)
        ctx.kernels, ctx.rank = kernels, rank
        return out

    @staticmethod
    def backward(ctx, grad):
        gates, conv, conv_bias, small, weights, v, parameters, kept, y, stats = ctx.saved_tensors
        kernels, channels = ctx.kernels, v.shape[-1]
        grad_gates = torch.empty_like(gates)
        grad_y = kernels.gated_norm_backward(grad, y, gates, stats, grad_gates)
        scanned = kernels.scan_backward(grad_y, v, parameters, weights, kept, ctx.rank)
        grad_v, grad_parameters, grad_weights = scanned
        flat = grad_parameters.view(-1, small.shape[0]).to(v.dtype)
        grad_projection = (flat.t() @ v.view(-1, channels)).float()
        grad_v.view(-1, channels).addmm_(flat, small)
        grad_conv, grad_bias = kernels.depthwise_backward(grad_v, gates, conv, conv_bias, "silu", grad_gates)
        return None, grad_gates, grad_conv, grad_bias, grad_projection, grad_weights, None


def mix(gates: Tensor, conv: Tensor, conv_bias: Tensor, projection: Tensor, weights: Tensor, rank: int) -> Tensor:
    """Depthwise 3x3, SiLU, 2DSS, norm and gate of a VSS block (MambaVC, figure 3), fused.

    gates [B, H, W, 2C]; conv [9, C]; conv_bias [C]; projection [4 (R + 2N), C]; weights [R + 1 + N + 1, C] as in
    scan.py; returns [B, H, W, C].
    """
    if (found := _mixing(gates, gates.shape[-1] // 2)) is not None:
        return _Mix.apply(found, gates, conv, conv_bias, projection, weights, rank)
    return mix_reference(gates, conv, conv_bias, projection, weights, rank)


# --- its halves -----------------------------------------------------------------------------------------------------


def scanned_(v: Tensor, projection: Tensor, weights: Tensor, rank: int) -> Tensor:
    """The middle of `mix`: the scan of v [B, H, W, C] contiguous, which it overwrites; other arguments as there."""
    parameters = linear(v.view(-1, v.shape[-1]), projection.to(v.dtype)).float()
    parameters = parameters.view(v.shape[0], v.shape[1] * v.shape[2], ORDERS, -1)
    scan.forward_on_cpu(v, parameters, weights, rank, v)  # reads an element before it writes it
    return v


class _GatedNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx, kernels, y, gate):
        out, stats = kernels.gated_norm_forward(y, gate)
        ctx.save_for_backward(y, gate, stats)
        ctx.kernels = kernels
        return out

    @staticmethod
    def backward(ctx, grad):
        y, gate, stats = ctx.saved_tensors
        grad_gate = gate.new_empty(gate.shape)
        return None, ctx.kernels.gated_norm_backward(grad, y, gate, stats, grad_gate), grad_gate


def gated_norm(y: Tensor, gate: Tensor) -> Tensor:
    """The second half of `mix`: norm(y) * silu(gate), both [..., C]; on a CPU fused where no gradient is wanted."""
    found = kernels(y, y.shape[-1])
    if found is None or (found is mixer_numba and torch.is_grad_enabled()):
        return norm(y) * F.silu(gate)
    return _GatedNorm.apply(found, y, gate)
