"""Latent refinement: change single symbols by one where rate and distortion together get smaller.

Every iteration takes the symbols as they stand, decodes them and computes the gradient of the squared error. For each
symbol that predicts what one step up or down would do to the error: the gradient, plus a curvature. To this
comes the difference of the symbol's own bits; what it does to the bits of others was measured not to matter. In
the first iteration every symbol takes the step that pays by a margin; afterwards a scattered half of them, another one
each time, because neighbours that move together mend the same error twice. The best symbols seen are kept.

Unlike gradient descent on relaxed latents (Yang, Bamler & Mandt 2020) nothing is relaxed or annealed: a dozen
iterations gain what that took a hundred for (docs/decisions.md).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import cast

import torch
from torch import Tensor

from mvc.blocks.layers import QUALITIES, at_quality
from mvc.exact.layers import to_float
from mvc.models.estimate import gaussian_bits
from mvc.models.mambavc_lite import PATCH, MambaVCLite, make_prior, rd_lambda
from mvc.models.prior import Prior
from mvc.weights import Weights

ITERATIONS = (0, 1, 4, 24)  # for each effort
ANCHORS = 8  # quality indices, evenly spread over 0..63, for which curvatures are chosen
GRID = tuple(round(1.5 * 1.3**step, 3) for step in range(7))  # what they are chosen from
CAREFUL = 4.0  # for weights that come without
MARGIN_BITS = 0.1
TILE = 32, 48  # rows and columns of latents: the gradient of one tile takes a few hundred MB


def fast_dtype(device: torch.device) -> torch.dtype:
    """bfloat16 where products of it are faster than those of float32."""
    fast = device.type == "cuda" or torch.cpu._is_avx512_bf16_supported()
    return torch.bfloat16 if fast else torch.float32


class _Symbols:
    """A coder of the prior's loop that rounds latents to symbols and keeps the price of every other choice.

    Afterwards `bits` is what all symbols cost.
    """

    def __init__(self, dtype: torch.dtype) -> None:
        self.dtype = dtype
        self.bits = 0.0
        self._passes: list[tuple[Tensor, Tensor | None]] = []
        self._slices: list[Tensor] = []

    def hyper(self, z: Tensor) -> Tensor:
        return torch.round(z)

    def latent(self, y: Tensor, mean: Tensor, log_scale: Tensor, mask: Tensor | None) -> Tensor:
        mean, log_scale = mean.float(), log_scale.float()
        symbols = torch.round(y - mean)
        values = symbols + mean
        bits = gaussian_bits(symbols, log_scale)
        self.bits += float((bits if mask is None else bits * mask).sum())
        steps = [gaussian_bits(symbols + step, log_scale) - bits for step in (-1, 1)]
        self._passes.append((torch.stack([values, *steps]), mask))
        return values.to(self.dtype)

    def end_slice(self) -> None:
        (whole, _), *others = self._passes
        for own, mask in others:
            whole = torch.where(mask > 0, own, whole) if mask is not None else own
        self._slices.append(whole)
        self._passes = []

    def prices(self) -> tuple[Tensor, Tensor, Tensor]:
        """Latents before the prior's correction, and the bits that one step less or more would add, [B, H, W, M]."""
        values, down, up = torch.cat(self._slices, -1)
        return values, down, up


def float_prior(weights: Weights) -> Prior:
    """The prior that the weights carry in integers, as a float network: nearly the same means and scales, faster."""
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
        y, z = model.analyse(x, quality)
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
    """Parts of about TILE that begin at even rows and columns, as the checkerboard asks."""

    def parts(length: int, most: int) -> list[slice]:
        count = -(-length // most)
        edges = [length * i // count // 2 * 2 for i in range(count)] + [length]
        return [slice(a, b) for a, b in pairwise(edges)]

    return ((rows, columns) for rows in parts(height, TILE[0]) for columns in parts(width, TILE[1]))


class _Tile:
    """A part of the picture with what is constant while its symbols change."""

    def __init__(self, weights: Weights, prior: Prior, target: Tensor, features: Tensor, quality: Tensor) -> None:
        self.g_s = cast("MambaVCLite", weights.model).g_s
        self.prior, self.target, self.quality = prior, target, quality
        self.dtype = fast_dtype(target.device)
        self.features = features.to(self.dtype)
        self.bits_per_error = float(rd_lambda(quality)) * 255**2 / 3  # mean over the channels, sum over the pixels
        gains = self.g_s.gain.gains(quality)[0]
        self.linear_curvature = self.bits_per_error * gains**2
        self.factors = factors_at(weights, quality)  # of the first iteration, where all may move, and of the others

    def refined(self, y: Tensor, iterations: int) -> Tensor:
        """y with every latent that should become another symbol moved to that symbol's centre; iterations >= 1."""
        best, least = y, torch.inf
        for iteration in range(iterations):
            coder, y_hat = self._coded(y)
            leaf = y_hat.requires_grad_()
            with torch.enable_grad():
                error = self._error(leaf)
            gradient = torch.autograd.grad(error, leaf)[0]
            cost = coder.bits + error.item()
            better = cost < least
            if better:
                best, least = y, cost
            y = self._step(coder, gradient, y, iteration)
        return y if better else best  # the last step is not looked at: that costs as much as another

    def cost(self, y: Tensor) -> float:
        """Bits and squared error, in bits, of encoding y."""
        coder, y_hat = self._coded(y)
        with torch.no_grad():
            return coder.bits + self._error(y_hat).item()

    @torch.no_grad()
    def _coded(self, y: Tensor) -> tuple[_Symbols, Tensor]:
        """The symbols of y and what the prior makes of them, y_hat."""
        coder = _Symbols(self.dtype)
        return coder, self.prior.code_latent(coder, self.features, y).float()

    def _error(self, y_hat: Tensor) -> Tensor:
        """The squared error of what y_hat decodes to, in bits."""
        x_hat = self.g_s(y_hat, self.quality, self.dtype)
        difference = x_hat[:, : self.target.shape[1], : self.target.shape[2]] - self.target
        return self.bits_per_error * difference.square().sum()

    @torch.no_grad()
    def _step(self, coder: _Symbols, gradient: Tensor, y: Tensor, iteration: int) -> Tensor:
        values, down, up = coder.prices()
        curvature = self.linear_curvature * self.factors[min(iteration, 1)]
        down = down + curvature - gradient
        up = up + curvature + gradient
        pays = (torch.minimum(down, up) < -MARGIN_BITS) & _turn(y, iteration)
        return torch.where(pays, values + torch.where(down <= up, -1.0, 1.0), y)


def _turn(like: Tensor, iteration: int) -> Tensor:
    """Which latents [B, H, W, m] may move, [H, W, m]: at first all, then half of them, scattered by a hash."""
    rows, columns, channels = (torch.arange(n, device=like.device) for n in like.shape[1:])
    mixed = rows[:, None, None] * 7919 + columns[:, None] * 104729 + channels * 1299709 + iteration * 15485863
    return (mixed * 2654435761 >> 7) % 2 == 0 if iteration else torch.ones_like(mixed, dtype=torch.bool)


def factors_at(weights: Weights, quality: Tensor) -> tuple[float, float]:
    """The model's curvatures at a quality index [1], over that of its linear path, from its manifest."""
    table = torch.tensor(weights.manifest.get("curvature") or [[CAREFUL, CAREFUL]] * ANCHORS)
    first, later = at_quality(table, quality.cpu())[0].tolist()
    return first, later


@torch.no_grad()
def choose_curvature(weights: Weights, pictures: Sequence[Tensor]) -> list[list[float]]:
    """For the manifest: which curvatures make the cheapest files at ANCHORS qualities, [ANCHORS][first, later].

    pictures are [1, H, W, 3] in 0..1, sides multiples of the model's stride. Tried out, because no derivative tells how
    the errors of many symbols that move together add up; one too small does harm, one too large does nothing.
    """
    prior, chosen = float_prior(weights), []
    for quality in torch.linspace(0, QUALITIES - 1, ANCHORS).round().long():
        tiles = []
        for x in pictures:
            y, z = weights.model.analyse(x, quality[None])
            features = prior.h_s(torch.round(z), quality[None])
            tiles.append((_Tile(weights, prior, x, features, quality[None]), y))

        def total(first: float, later: float, iterations: int, tiles: list[tuple[_Tile, Tensor]] = tiles) -> float:
            costs = []
            for tile, y in tiles:
                tile.factors = first, later
                costs.append(tile.cost(tile.refined(y, iterations)))
            return sum(costs)

        first = min(GRID, key=lambda factor: total(factor, factor, 1))
        later = min((f for f in GRID if f <= first), key=lambda factor: total(first, factor, 4))
        chosen.append([first, later])
    return chosen
