"""Latent refinement: the encoder changes single symbols by one where rate and distortion together get smaller.

A picture is cut into tiles; search.py has what happens in one. How far to trust a gradient, the curvature, is chosen
for a model when it is exported.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import cast

import torch
from torch import Tensor

from mvc.blocks.layers import QUALITIES, at_quality
from mvc.effort.search import FEWEST_JUDGED, Tile
from mvc.exact.layers import to_float
from mvc.models.mambavc_lite import PATCH, MambaVCLite, make_prior
from mvc.models.prior import Prior
from mvc.weights import Weights

ITERATIONS = (0, 1, 4, 40)  # for each effort
ANCHORS = 8  # quality indices, evenly spread over 0..63, for which curvatures are chosen
GRID = tuple(round(1.5 * 1.3**step, 3) for step in range(7))  # what they are chosen from
CAREFUL = 4.0  # for weights that come without
TILE = 32, 48  # rows and columns of latents: the gradient of one tile takes a few hundred MB


def fast_dtype(device: torch.device) -> torch.dtype:
    """bfloat16 where products of it are faster than those of float32."""
    fast = device.type == "cuda" or torch.cpu._is_avx512_bf16_supported()
    return torch.bfloat16 if fast else torch.float32


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
    factors = factors_at(weights, quality)
    with torch.no_grad():
        y, z = weights.model.analyse(x, quality)
        features = prior.h_s(torch.round(z), quality)
    for rows, columns in _tiles(y.shape[1], y.shape[2]):
        real = [min(side, s.stop * PATCH) - s.start * PATCH for side, s in zip(size, (rows, columns), strict=True)]
        if min(real) > 0:
            top, left = rows.start * PATCH, columns.start * PATCH
            target = x[:, top : top + real[0], left : left + real[1]]
            tile = _tile(weights, prior, target, features[:, rows, columns], quality)
            own = y[:, rows, columns]
            if iterations < FEWEST_JUDGED:
                own = tile.refined(own, iterations, factors)
            else:
                own = tile.searched(own, iterations, factors[0])
            y[:, rows, columns] = own
    return y, z


def _tile(weights: Weights, prior: Prior, target: Tensor, features: Tensor, quality: Tensor) -> Tile:
    g_s = cast("MambaVCLite", weights.model).g_s
    return Tile(g_s, prior, target, features, quality, fast_dtype(target.device))


def _tiles(height: int, width: int) -> Iterator[tuple[slice, slice]]:
    """Parts of about TILE that begin at even rows and columns, as the checkerboard asks."""

    def parts(length: int, most: int) -> list[slice]:
        count = -(-length // most)
        edges = [length * i // count // 2 * 2 for i in range(count)] + [length]
        return [slice(a, b) for a, b in pairwise(edges)]

    return ((rows, columns) for rows in parts(height, TILE[0]) for columns in parts(width, TILE[1]))


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
            tiles.append((_tile(weights, prior, x, features, quality[None]), y))

        def total(first: float, later: float, iterations: int, tiles: list[tuple[Tile, Tensor]] = tiles) -> float:
            return sum(tile.cost(tile.refined(y, iterations, (first, later))) for tile, y in tiles)

        first = min(GRID, key=lambda factor: total(factor, factor, 1))
        later = min((f for f in GRID if f <= first), key=lambda factor: total(first, factor, 4))
        chosen.append([first, later])
    return chosen
