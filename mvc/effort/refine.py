"""Latent refinement: change single symbols by one where rate and distortion together get smaller.

Every iteration computes the true cost of the symbols as they stand, J = bits + lambda * squared error, and its gradient
through g_s and the prior. For each symbol that predicts what one step up or down would change: the gradient, plus a
curvature for the squared error, plus the exact difference of its own bits. Half of the symbols, in a pattern like a
checkerboard that alternates, take the step where it pays by a margin; neighbours do not move together, as each would
mend the same error. The best symbols seen are kept, so refinement never makes J worse.

Unlike gradient descent on relaxed latents (Yang, Bamler & Mandt 2020) nothing is relaxed or annealed: a dozen
iterations gain what that took a hundred for (docs/decisions.md).
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import torch
from torch import Tensor

from mvc.exact.layers import to_float
from mvc.models.estimate import RateEstimator, gaussian_bits
from mvc.models.mambavc_lite import PATCH, make_prior, rd_lambda
from mvc.models.prior import Prior
from mvc.weights import Weights

ITERATIONS = (0, 1, 4, 16)  # for each effort
# Of the squared error, over that of the synthesis's linear path: in the first iteration, where all symbols may move
# together, and in the others.
FIRST_CURVATURE, CURVATURE = 1.9, 1.7
MARGIN_BITS = 0.2
TILE = 32  # latents: the gradient of one tile takes a few hundred MB


def fast_dtype(device: torch.device) -> torch.dtype:
    """bfloat16 where products of it are faster than those of float32."""
    fast = device.type == "cuda" or torch.cpu._is_avx512_bf16_supported()
    return torch.bfloat16 if fast else torch.float32


class _Symbols(RateEstimator):
    """Rounds every pass to symbols, and keeps what tells the price of other ones.

    The latents it returns are leaves of the graph. The bits' gradient reaches means and scales, hence the latents
    coded before; a latent's effect on its own bits is taken from `up` and `down` instead.
    """

    def __init__(self, quality: Tensor, dtype: torch.dtype) -> None:
        self.quality, self.dtype = quality, dtype
        self.bits = torch.zeros(())
        self.leaves: list[Tensor] = []
        self.passes: list[tuple[Tensor, Tensor, Tensor | None]] = []

    def latent(self, y: Tensor, mean: Tensor, log_scale: Tensor, mask: Tensor | None) -> Tensor:
        mean, log_scale = mean.float(), log_scale.float()
        symbols = torch.round(y - mean).detach()
        bits = gaussian_bits(symbols - mean + mean.detach(), log_scale)
        self.bits = self.bits + (bits if mask is None else bits * mask).sum()
        with torch.no_grad():
            steps = [gaussian_bits(symbols + step, log_scale) - bits for step in (-1, 1)]
        leaf = (symbols + mean).detach().requires_grad_()
        self.leaves.append(leaf)
        self.passes.append((steps[0], steps[1], mask))
        return leaf.to(self.dtype)


def float_prior(weights: Weights) -> Prior:
    """The prior that the weights carry in integers, as a float network that has gradients."""
    c = weights.model.config
    with torch.random.fork_rng(devices=[]):
        untrained = make_prior(c)
    return to_float(weights.prior, untrained).requires_grad_(False)


def refine(
    weights: Weights, prior: Prior, x: Tensor, size: tuple[int, int], quality: Tensor, iterations: int
) -> tuple[Tensor, Tensor]:
    """y [1, h, w, M] and z to encode instead of what g_a and h_a give for x [1, H, W, 3].

    `size` is (height, width) of the picture in x; what lies beyond is padding, whose error costs nothing. `prior` is
    that of `float_prior`. Works tile by tile, in bfloat16 where the processor has it.
    """
    model = weights.model
    with torch.no_grad():
        y = model.g_a(x, quality)
        z = model.h_a(y, quality)
        features = prior.h_s(torch.round(z), quality)
    for rows, columns in _tiles(y.shape[1], y.shape[2]):
        real = [min(side, s.stop * PATCH) - s.start * PATCH for side, s in zip(size, (rows, columns), strict=True)]
        if min(real) > 0:
            top, left = rows.start * PATCH, columns.start * PATCH
            target = x[:, top : top + real[0], left : left + real[1]]
            tile = _Tile(weights, prior, target, features[:, rows, columns], quality)
            y[:, rows, columns] = tile.refined(y[:, rows, columns], iterations)
    return y, z


def _tiles(height: int, width: int) -> Iterator[tuple[slice, slice]]:
    """Parts of about TILE x TILE that begin at even rows and columns, as the checkerboard asks."""

    def parts(length: int) -> list[slice]:
        count = -(-length // TILE)
        edges = [length * i // count // 2 * 2 for i in range(count)] + [length]
        return [slice(a, b) for a, b in pairwise(edges)]

    return ((rows, columns) for rows in parts(height) for columns in parts(width))


class _Tile:
    """A part of the picture with what is constant while its symbols change."""

    def __init__(self, weights: Weights, prior: Prior, target: Tensor, features: Tensor, quality: Tensor) -> None:
        self.g_s, self.prior, self.target, self.quality = weights.model.g_s, prior, target, quality
        self.dtype = fast_dtype(target.device)
        self.features = features.to(self.dtype)
        self.bits_per_error = float(rd_lambda(quality)) * 255**2 / 3  # mean over the channels, sum over the pixels
        gains = self.g_s.gain.gains(quality)[0]
        self.unit_curvature = self.bits_per_error * gains**2

    @torch.enable_grad()
    def refined(self, y: Tensor, iterations: int) -> Tensor:
        """y with every latent that should become another symbol moved to that symbol's centre; iterations >= 1."""
        best, least = y, torch.inf
        for iteration in range(iterations):
            coder = _Symbols(self.quality, self.dtype)
            y_hat = self.prior.code_latent(coder, self.features, y)
            x_hat = self.g_s(y_hat.float(), self.quality, self.dtype)
            error = x_hat[:, : self.target.shape[1], : self.target.shape[2]] - self.target
            cost = coder.bits + self.bits_per_error * error.square().sum()
            better = cost.item() < least
            if better:
                best, least = y, cost.item()
            y = self._step(coder, torch.autograd.grad(cost, coder.leaves), y, iteration)
        return y if better else best  # the last step is not looked at: it costs as much as the others

    @torch.no_grad()
    def _step(self, coder: _Symbols, gradients: tuple[Tensor, ...], y: Tensor, iteration: int) -> Tensor:
        moved = y.clone()
        curvature = self.unit_curvature * (CURVATURE if iteration else FIRST_CURVATURE)
        first, done = 0, iter(zip(gradients, coder.leaves, coder.passes, strict=True))
        for part in self.prior.slices:
            own = slice(first, first + part.channels)
            turn = _turn(y[..., own], iteration)
            for _ in range(part.passes):
                gradient, leaf, (down, up, mask) = next(done)
                down = down - gradient + curvature[own]
                up = up + gradient + curvature[own]
                pays = (torch.minimum(down, up) < -MARGIN_BITS) & turn
                pays = pays if mask is None else pays & (mask > 0)
                step = torch.where(down <= up, -1.0, 1.0)
                moved[..., own] = torch.where(pays, leaf + step, moved[..., own])
            first = own.stop
        return moved


def _turn(like: Tensor, iteration: int) -> Tensor:
    """Which latents [B, H, W, m] may move, [H, W, m]: at first all, then of two neighbours in place or channel one."""
    rows, columns, channels = (torch.arange(n, device=like.device) for n in like.shape[1:])
    parity = (rows[:, None, None] + columns[:, None] + channels + iteration) % 2
    return parity == 0 if iteration else torch.ones_like(parity, dtype=torch.bool)
