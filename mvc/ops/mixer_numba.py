"""The steps of a VSS block on a CPU, by numba's kernels. mixer_triton.py has the same functions for GPUs.

x, y, v and gradients are [B, H, W, C] in float32 or bfloat16 (of `gates`, and of what a depthwise convolution reads,
C or 2C channels); stats float32 [T, 2] is what a norm keeps of its tokens; weights are float32 as in mixer.py.
"""

from __future__ import annotations

import torch
from torch import Tensor

from mvc.ops import depthwise_numba, norm_numba, scan
from mvc.ops.parallel import array, run

ACTIVATIONS = {"none": depthwise_numba.NONE, "silu": depthwise_numba.SILU, "leaky": depthwise_numba.LEAKY}
scan_backward = scan.backward_on_cpu


def _rows(*tensors: Tensor) -> list[Tensor]:
    """Each as [tokens, channels]."""
    return [t.contiguous().view(-1, t.shape[-1]) for t in tensors]


def norm_forward(x: Tensor) -> tuple[Tensor, Tensor]:
    """(x - mean) / std over the channels, and stats."""
    out = x.new_empty(x.shape)
    (source, target), stats = _rows(x, out), torch.empty(x.shape[:-1].numel(), 2)
    run(norm_numba.norm_forward, len(source), *map(array, (source, target, stats)))
    return out, stats


def norm_backward(grad: Tensor, x: Tensor, stats: Tensor) -> Tensor:
    """The gradient of x."""
    grad_x = x.new_empty(x.shape)
    g, source, target = _rows(grad, x, grad_x)
    run(norm_numba.norm_backward, len(source), *map(array, (g, source, stats, target)))
    return grad_x


def gated_norm_forward(y: Tensor, gates: Tensor) -> tuple[Tensor, Tensor]:
    """norm(y) * silu(gate), and stats; the gate is the last C channels of `gates`."""
    out = y.new_empty(y.shape)
    flat, stats = _rows(y, gates, out), torch.empty(y.shape[:-1].numel(), 2)
    run(norm_numba.gated_norm_forward, len(stats), *map(array, (*flat, stats)))
    return out, stats


def gated_norm_backward(grad: Tensor, y: Tensor, gates: Tensor, stats: Tensor, grad_gates: Tensor) -> Tensor:
    """The gradient of y; that of the gate goes into the last C of 2C channels of grad_gates."""
    grad_y = y.new_empty(y.shape)
    flat = [*_rows(grad, y, gates), stats, *_rows(grad_y, grad_gates)]
    run(norm_numba.gated_norm_backward, len(stats), *map(array, flat))
    return grad_y


def depthwise_forward(x: Tensor, weight: Tensor, bias: Tensor, activation: str) -> Tensor:
    """act(conv(x) + bias) of the first C channels of x; weight [K*K, C], K = 3 or 5."""
    out = x.new_empty(*x.shape[:3], weight.shape[1])
    arrays = [array(t) for t in (x.contiguous(), weight, bias, out)]
    taps = tuple(range(weight.shape[0]))
    run(depthwise_numba.depthwise_forward, x.shape[0] * x.shape[1], *arrays, ACTIVATIONS[activation], taps)
    return out


def depthwise_backward(
    grad: Tensor, x: Tensor, weight: Tensor, bias: Tensor, activation: str, grad_x: Tensor
) -> tuple[Tensor, Tensor]:
    """Writes the first C channels of grad_x; returns the gradients of weight and bias."""
    batch = x.shape[0]
    grad_weight, grad_bias = weight.new_empty(batch, *weight.shape), bias.new_empty(batch, *bias.shape)
    arrays = [array(t) for t in (grad.contiguous(), x.contiguous(), weight, bias)]
    outputs = [array(t) for t in (grad_x, grad_weight, grad_bias)]
    taps = tuple(range(weight.shape[0]))
    run(depthwise_numba.depthwise_backward, batch, *arrays, ACTIVATIONS[activation], taps, *outputs)
    return grad_weight.sum(0), grad_bias.sum(0)


def scan_forward(v: Tensor, parameters: Tensor, weights: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    """The selective scan of contiguous tensors (scan.py), and what its gradients need."""
    y = torch.empty_like(v)
    return y, scan.forward_on_cpu(v, parameters, weights, rank, y)
