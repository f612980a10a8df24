"""Rates as a model estimates them, with gradients: for training, for refining latents and for looking into a model."""

from __future__ import annotations

from typing import Any, Protocol

import torch
from torch import Tensor

from mvc.models.density import mass_between
from mvc.models.rounding import NEAREST, Rounding
from mvc.ops.rate import Round, latent


class Density(Protocol):
    """What a hyperlatent's density must be able to say."""

    def likelihood(self, z: Tensor, index: Tensor) -> Tensor:
        """Probability of the unit interval around z [B, h, w, Z] at quality index [B]."""
        ...


class RateEstimator:
    """A coder that writes nothing and sums the estimated bits of each sample.

    With `noise`, rates see uniform noise (training); without, the rounded values that a real stream would carry.
    """

    def __init__(self, density: Density, index: Tensor, noise: bool, dtype: torch.dtype = torch.float32) -> None:
        self.density, self.index, self.noise, self.dtype = density, index, noise, dtype
        self.hyper_bits = torch.zeros(len(index), device=index.device)
        self.latent_bits = torch.zeros(len(index), device=index.device)

    def hyper(self, z: Tensor) -> Tensor:
        z_hat = Round.apply(z)
        sample = z + torch.rand_like(z) - 0.5 if self.noise else z_hat
        likelihood = self.density.likelihood(sample, self.index)
        self.hyper_bits = -torch.log2(likelihood.clamp_min(1e-9)).sum((1, 2, 3))
        return z_hat.to(self.dtype)

    def latent(self, y: Tensor, mean: Tensor, log_scale: Tensor, mask: Tensor | None) -> Tensor:
        if self.noise:
            noise = torch.rand(y.shape, device=y.device)
        else:
            with torch.no_grad():
                offset = y - mean
                noise = torch.round(offset) - offset + 0.5
        y_hat, bits = latent(y, mean, log_scale, noise, mask)
        self.latent_bits = self.latent_bits + bits
        return y_hat.to(self.dtype)

    def end_slice(self) -> None:
        pass

    @property
    def bits(self) -> Tensor:
        """All estimated bits of each sample, [B]."""
        return self.latent_bits + self.hyper_bits


class RoundedEstimator(RateEstimator):
    """With `noise`: bits of rounded values, and so the density's and the prior's gradients; the values' own from noise.

    The density is one of logistics (mvc.models.lite.HyperDensity).

    For frames that cost a hundredth of a picture. Noise alone makes every latent cost 0.15 bits at the smallest scale,
    where a rounded one costs none: more than most such frames have (docs/decisions.md).
    `rounding` is what the encoder's is (mvc/models/base.py).
    """

    density: Any

    def __init__(
        self,
        density: Any,
        index: Tensor,
        noise: bool,
        dtype: torch.dtype = torch.float32,
        rounding: Rounding = NEAREST,
    ) -> None:
        super().__init__(density, index, noise, dtype)
        self.rounding = rounding

    def hyper(self, z: Tensor) -> Tensor:
        if not self.noise:
            return super().hyper(z)
        z_hat = Round.apply(z)
        mean, scale = (value.detach() for value in self.density.parameters_at(self.index))
        offset = z + torch.rand_like(z) - 0.5 - mean
        noisy, rounded = (
            -torch.log2(mass.clamp_min(1e-9)).sum((1, 2, 3))
            for mass in (
                mass_between((offset - 0.5) / scale, (offset + 0.5) / scale),
                self.density.likelihood(z_hat.detach(), self.index),
            )
        )
        self.hyper_bits = rounded + noisy - noisy.detach()
        return z_hat.to(self.dtype)

    def latent(self, y: Tensor, mean: Tensor, log_scale: Tensor, mask: Tensor | None) -> Tensor:
        y = self.rounding.taken(y, mean, log_scale)
        if not self.noise:
            return super().latent(y, mean, log_scale, mask)
        y_hat, noisy = latent(y, mean.detach(), log_scale.detach(), torch.rand(y.shape, device=y.device), mask)
        with torch.no_grad():
            offset = y - mean
            nearest = torch.round(offset) - offset + 0.5
        _, bits = latent(y.detach(), mean, log_scale, nearest, mask)
        self.latent_bits = self.latent_bits + bits + noisy - noisy.detach()
        return y_hat.to(self.dtype)
