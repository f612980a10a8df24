"""The training objective: rate from a noisy estimate, distortion through rounded latents with straight-through gradients."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from mvc.models.mambavc_lite import HyperDensity, MambaVCLite, rd_lambda
from mvc.models.prior import LOG_SCALE_MAX, SCALE_MIN


class _Round(torch.autograd.Function):
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


def gaussian_bits(distance: Tensor, log_scale: Tensor) -> Tensor:
    """-log2 of the Gaussian mass of the unit interval around `distance` from the mean; log_scale as in the prior."""
    scale = SCALE_MIN * torch.exp2(_Bound.apply(log_scale, 0.0, LOG_SCALE_MAX))
    d = distance.abs()
    inverse = math.sqrt(0.5) / scale
    mass = 0.5 * (torch.erfc((d - 0.5) * inverse) - torch.erfc((d + 0.5) * inverse))
    return -torch.log2(mass.clamp_min(1e-9))


class RateEstimator:
    """A coder that writes nothing and sums the estimated bits of each sample.

    With `noise`, rates see uniform noise (training); without, the rounded values that a real stream would carry.
    """

    def __init__(self, density: HyperDensity, quality: Tensor, noise: bool, dtype: torch.dtype = torch.float32) -> None:
        self.density, self.quality, self.noise, self.dtype = density, quality, noise, dtype
        self.hyper_bits = torch.zeros(len(quality), device=quality.device)
        self.latent_bits = torch.zeros(len(quality), device=quality.device)

    def hyper(self, z: Tensor) -> Tensor:
        z_hat = _Round.apply(z)
        sample = z + torch.rand_like(z) - 0.5 if self.noise else z_hat
        likelihood = self.density.likelihood(sample, self.quality)
        self.hyper_bits = -torch.log2(likelihood.clamp_min(1e-9)).sum((1, 2, 3))
        return z_hat.to(self.dtype)

    def latent(self, y: Tensor, mean: Tensor, log_scale: Tensor, mask: Tensor | None) -> Tensor:
        mean, log_scale = mean.float(), log_scale.float()
        offset = y - mean
        rounded = _Round.apply(offset)
        sample = offset + torch.rand_like(offset) - 0.5 if self.noise else rounded
        bits = gaussian_bits(sample, log_scale)
        self.latent_bits = self.latent_bits + (bits if mask is None else bits * mask).sum((1, 2, 3))
        return (rounded + mean).to(self.dtype)

    def end_slice(self) -> None:
        pass


def rate_distortion(
    model: MambaVCLite, x: Tensor, quality: Tensor, *, noise: bool = True, dtype: torch.dtype = torch.float32
) -> dict[str, Tensor]:
    """Per-sample bits per pixel (all and hyperlatent), MSE and loss for pictures x [B, H, W, 3] in 0..1."""
    y = model.g_a(x.to(dtype), quality)
    z = model.h_a(y.to(dtype))
    coder = RateEstimator(model.density, quality, noise, dtype)
    y_hat = model.prior.code(coder, quality, z, y)
    x_hat = model.g_s(y_hat.float(), quality, dtype)
    mse = (x_hat - x).square().mean((1, 2, 3))
    pixels = x.shape[1] * x.shape[2]
    bpp = (coder.latent_bits + coder.hyper_bits) / pixels
    weight = rd_lambda(quality)
    # dividing by sqrt(lambda) keeps every rate's gradient of about one size
    loss = (weight * 255**2 * mse + bpp) * (weight / 0.018) ** -0.5
    return {"loss": loss, "bpp": bpp, "hyper_bpp": coder.hyper_bits / pixels, "mse": mse, "x_hat": x_hat}
