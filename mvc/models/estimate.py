"""Rates as a model estimates them, with gradients: for training, for refining latents and for looking into a model."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

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
