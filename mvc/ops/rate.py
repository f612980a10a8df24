"""What a symbol costs, with gradients: the plain formulas, and a fused kernel for the prior's loop (rate_numba.py)."""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from torch import Tensor

from mvc.entropy.tables import LOG_SCALE_MAX, SCALE_MIN
from mvc.ops import rate_numba
from mvc.ops.lanes import WIDTH
from mvc.ops.parallel import array, run


class Round(torch.autograd.Function):
    """Rounding, with the gradient of the identity."""

    @staticmethod
    def forward(ctx, x):
        return torch.round(x)

    @staticmethod
    def backward(ctx, grad):
        return grad


class _Bound(torch.autograd.Function):
    """Clamp whose gradient still passes when it points back inside."""

    @staticmethod
    def forward(ctx, x, low, high):
        ctx.save_for_backward(x)
        ctx.low, ctx.high = low, high
        return x.clamp(low, high)

    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        stuck = ((x < ctx.low) & (grad > 0)) | ((x > ctx.high) & (grad < 0))
        return grad.masked_fill(stuck, 0.0), None, None


def bound(x: Tensor, low: float, high: float) -> Tensor:
    """x clamped to low ... high; outside, gradients that would bring it back still pass."""
    return _Bound.apply(x, low, high)


def gaussian_bits(distance: Tensor, log_scale: Tensor) -> Tensor:
    """-log2 of the Gaussian mass of the unit interval around `distance` from the mean; log_scale as in the prior."""
    d, inverse = distance.abs(), _inverse(log_scale)
    return _bits_between(torch.erfc((d - 0.5) * inverse), torch.erfc((d + 0.5) * inverse))


def step_bits(symbols: Tensor, log_scale: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """`gaussian_bits` of whole symbols, and what one step less and one more would add: the masses share their edges."""
    d, inverse = symbols.abs(), _inverse(log_scale)
    edges = [torch.erfc((d + offset) * inverse) for offset in (-1.5, -0.5, 0.5, 1.5)]
    inward, bits, outward = (_bits_between(near, far) for near, far in pairwise(edges))
    inward, outward, positive = inward - bits, outward - bits, symbols > 0
    return bits, torch.where(positive, inward, outward), torch.where(positive, outward, inward)


def _inverse(log_scale: Tensor) -> Tensor:
    """What a distance is multiplied with for erfc."""
    return math.sqrt(0.5) / (SCALE_MIN * torch.exp2(bound(log_scale, 0.0, LOG_SCALE_MAX)))


def _bits_between(near: Tensor, far: Tensor) -> Tensor:
    """-log2 of the mass between two edges, given their erfc."""
    return -torch.log2((0.5 * (near - far)).clamp_min(rate_numba.LEAST_MASS))


def latent_reference(
    y: Tensor, mean: Tensor, log_scale: Tensor, noise: Tensor, mask: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Plain version of `latent`; the arguments mean the same."""
    offset = y - mean.float()
    rounded = Round.apply(offset)
    bits = gaussian_bits(offset + noise - 0.5, log_scale.float())
    return (rounded + mean).to(mean.dtype), (bits if mask is None else bits * mask.float()).sum((1, 2, 3))


class _Latent(torch.autograd.Function):
    @staticmethod
    def forward(ctx, y, mean, log_scale, noise, mask):
        batch, height, width, channels = y.shape
        y_hat, bits = torch.empty_like(mean), y.new_empty(batch)
        slope, log_slope = torch.empty_like(noise), torch.empty_like(noise)
        flat = [array(t.view(batch, height * width, channels)) for t in (y, mean, log_scale, noise)]
        outputs = [array(y_hat.view(batch, height * width, channels)), array(bits)]
        kept = [array(t.view(batch, height * width, channels)) for t in (slope, log_slope)]
        run(rate_numba.latent_forward, batch, *flat, array(mask.reshape(-1)), *outputs, *kept)
        ctx.save_for_backward(log_scale, slope, log_slope)
        return y_hat, bits

    @staticmethod
    def backward(ctx, grad_y_hat, grad_bits):
        log_scale, slope, log_slope = ctx.saved_tensors
        grads = [torch.empty_like(slope), torch.empty_like(log_scale), torch.empty_like(log_scale)]
        tensors = (grad_y_hat.contiguous(), log_scale, slope, log_slope)
        inputs = [t.view(len(slope), -1, slope.shape[-1]) for t in tensors]
        arrays = [array(inputs[0]), array(grad_bits.contiguous()), *map(array, inputs[1:])]
        outputs = [array(t.view_as(inputs[1])) for t in grads]
        run(rate_numba.latent_backward, len(slope), *arrays, *outputs)
        return *grads, None, None


def latent(y: Tensor, mean: Tensor, log_scale: Tensor, noise: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
    """Code one pass of a slice with estimated bits: y_hat, rounded around the mean, and bits per sample.

    y and noise (in 0 ... 1; one half stands for none) float32, mean and log_scale of one type, all [B, H, W, m]; mask
    [H, W, 1] or None. The gradient of y_hat passes straight to y. On CPU, with m a multiple of 16, a numba
    kernel does it.
    """
    kinds = (torch.float32, torch.bfloat16)
    fast = y.device.type == "cpu" and y.dtype == torch.float32 and mean.dtype in kinds and y.shape[-1] % WIDTH == 0
    if not fast or mean.dtype != log_scale.dtype:
        return latent_reference(y, mean, log_scale, noise, mask)
    counts = torch.ones(y.shape[1] * y.shape[2]) if mask is None else mask.float()
    return _Latent.apply(y.contiguous(), mean.contiguous(), log_scale.contiguous(), noise.contiguous(), counts)
