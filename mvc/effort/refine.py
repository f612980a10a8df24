"""Latent refinement: the encoder changes single symbols by one where rate and distortion together get smaller.

The hyperlatent comes first (hyper.py), but not where nothing is decoded without a symbol: there the means are the
picture. Then a picture is cut into patches; search.py has what happens in one. How far to trust a gradient, the
curvature, is chosen for a model when it is exported.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import cast

import torch
from torch import Tensor

from mvc.blocks.layers import at_quality
from mvc.effort.distortion import AsSeen, AsTrained, Distortion, SquaredError, painted_octaves
from mvc.effort.hyper import Hyperlatents
from mvc.effort.importance import importance
from mvc.effort.search import FEWEST_JUDGED, Patch
from mvc.environment import may_lack_threads
from mvc.exact.lower import to_float
from mvc.models.lite import MambaVCLite, Synthesis
from mvc.models.network import Network
from mvc.models.prior import Prior
from mvc.models.video_prior import TemporalPrior
from mvc.planes import SAMPLES
from mvc.quality import INDICES, Tune
from mvc.tiling import Part, cells, even_parts, scaled

ITERATIONS = (0, 1, 4, 40)  # for each effort
KEY_ITERATIONS = (0, 4, 16, 40)  # the same for keyframes, whose every bit serves all frames up to the next
INTER_ITERATIONS = (0, 0, 4, 16)  # and for the frames between, where a single one is not worth its time
HYPER_TIMES, HYPER_MOST = 2, 20
"""Iterations of the search for a hyperlatent: over those of the latents', unless that is one, and the most."""
ANCHORS = 8  # quality indices, evenly spread over 0..63, for which curvatures are chosen
GRID = tuple(round(1.5 * 1.3**step, 3) for step in range(16))  # what they are chosen from; the largest moves nothing
HARM = 1.005  # times the cost where nothing moves
Judged = tuple[Patch, Tensor, float]
"""A patch, its latents, and what they cost."""
Place = tuple[slice, slice]
Measure = Callable[[Place, Sequence[int]], Distortion]
"""The distortion of samples in a place [h, w], whose latents have these (rows, columns)."""
SEEN_CURVATURE, SEEN_SEARCHED = 0.5, 1.4
"""Over that of the linear path, by the error as it is seen, at all qualities: with few iterations, and where places are
judged (docs/decisions.md)."""
TRAINED_CURVATURE = 3.0
"""By the error as the default is trained for, in both."""
SEARCHED = 0.25
"""Of the curvature at which all latents may move at once, in a search by squares, where few of a position do."""
LATENTS = 32, 48  # rows and columns of a patch: the gradient of one takes a few hundred MB


def fast_dtype(device: torch.device) -> torch.dtype:
    """bfloat16 where products of it are faster than those of float32, and right: a CPU's are oneDNN's."""
    fast = device.type == "cuda" or (torch.cpu._is_avx512_bf16_supported() and not may_lack_threads())
    return torch.bfloat16 if fast else torch.float32


def float_prior(network: Network) -> Prior:
    """The prior that the network has in integers, as a float network: nearly the same means and scales, faster."""
    with torch.random.fork_rng(devices=[]):
        untrained = cast("MambaVCLite", network.model).untrained_prior()
    return to_float(network.prior, untrained).requires_grad_(False)


def refine(
    network: Network,
    prior: Prior,
    x: Tensor,
    size: tuple[int, int],
    index: Tensor,
    iterations: int,
    given: Tensor | None = None,
    part: Part | None = None,
    tune: Tune | None = None,
) -> tuple[Tensor, Tensor]:
    """y [1, h, w, M] and z to encode instead of what g_a and h_a give for x [1, H, W, C], or of a part of y.

    `size` is (height, width) of the picture in x, or in the part; what lies beyond is padding, whose error costs
    nothing. `prior` is that of `float_prior`, `given` what it sees beside. `tune` says what is kept small
    (distortion.py); without it, and in the planes of a clip, it is the squared error. Works patch by patch, in bfloat16
    where the processor has it.
    """
    model = cast("MambaVCLite", network.model)
    cell, size = model.g_s.patch, (cells(size[0], model.config.packing), cells(size[1], model.config.packing))
    dtype = fast_dtype(x.device)
    with torch.no_grad():
        y, z = model.analyse(x, index, part, dtype)
        beside = None if given is None else cast("TemporalPrior", prior).temporal(given)
        if model.watched:
            z = torch.round(z)
        else:
            hyper = Hyperlatents(prior, network.hyper_tables, y, index, dtype, model.rounding, beside)
            z = hyper.searched(z, min(HYPER_TIMES * iterations, HYPER_MOST) if iterations > 1 else 1)
        features = prior.h_s(z, index)[:, : y.shape[1], : y.shape[2]]
        if beside is not None:
            features = features + beside
    if part is not None:
        x = x[:, scaled(part[0], cell), scaled(part[1], cell)]
    if x.shape[-1] == SAMPLES:
        tune = None
    if tune == "look":
        distortion_of, factors, searched = _as_seen(x, model.g_s), (SEEN_CURVATURE,) * 2, SEEN_SEARCHED
    elif tune == "error" and iterations > 1:
        distortion_of, factors, searched = _as_trained(x, cell), (TRAINED_CURVATURE,) * 2, TRAINED_CURVATURE
    else:
        distortion_of, factors = _squared(x, cell, tune), factors_at(network, index)
        searched = SEARCHED * factors[0]
    for rows, columns in _patches(y.shape[1], y.shape[2]):
        real = [min(side, s.stop * cell) - s.start * cell for side, s in zip(size, (rows, columns), strict=True)]
        if min(real) > 0:
            top, left = rows.start * cell, columns.start * cell
            there = slice(top, top + real[0]), slice(left, left + real[1])
            own, known = y[:, rows, columns], features[:, rows, columns]
            patch = _patch(network, prior, distortion_of(there, own.shape[1:3]), known, index)
            if iterations >= FEWEST_JUDGED:
                y[:, rows, columns] = patch.searched(own, iterations, searched)
            else:
                y[:, rows, columns] = patch.refined(own, iterations, factors)
    return y, z


def _squared(x: Tensor, cell: int, tune: Tune | None) -> Measure:
    """By the activity around them errors count more or less, if the encoder is tuned to anything."""
    weights = importance(x) if tune else None

    def measure(there: Place, positions: Sequence[int]) -> Distortion:
        own = None if weights is None else weights[:, *there]
        return SquaredError(x[:, *there], positions, cell, own)

    return measure


def _as_trained(x: Tensor, cell: int) -> Measure:
    return lambda there, positions: AsTrained(x[:, *there], positions, cell)


def _as_seen(x: Tensor, synthesis: Synthesis) -> Measure:
    octaves = painted_octaves(synthesis)
    return lambda there, positions: AsSeen(x[:, *there], positions, synthesis.patch, octaves)


def _patch(network: Network, prior: Prior, distortion: Distortion, features: Tensor, index: Tensor) -> Patch:
    model = cast("MambaVCLite", network.model)
    dtype = fast_dtype(features.device)
    return Patch(model.g_s, prior, distortion, features, index, dtype, model.watched, model.rounding)


def _patches(height: int, width: int) -> Iterator[tuple[slice, slice]]:
    """Patches of about LATENTS that begin at even rows and columns, as the checkerboard asks."""
    return ((rows, columns) for rows in even_parts(height, LATENTS[0]) for columns in even_parts(width, LATENTS[1]))


def factors_at(network: Network, index: Tensor) -> tuple[float, float]:
    """The model's curvatures at a quality index [1], over that of its linear path, from its export."""
    table = torch.tensor(network.curvature or [[network.model.careful] * 2] * ANCHORS)
    first, later = at_quality(table, index.cpu())[0].tolist()
    return first, later


@torch.no_grad()
def choose_curvature(network: Network, pictures: Sequence[Tensor]) -> list[list[float]]:
    """For the manifest: which curvatures make the cheapest files at ANCHORS qualities, [ANCHORS][first, later].

    pictures are [1, H, W, C] in 0..1, sides multiples of the model's stride. Tried out, because no derivative tells how
    the errors of many symbols that move together add up; one too small does harm, one too large does nothing.
    """
    prior, chosen = float_prior(network), []
    cell = cast("MambaVCLite", network.model).g_s.patch
    for index in torch.linspace(0, INDICES - 1, ANCHORS).round().long():
        patches = []
        for x in pictures:
            y, z = network.model.analyse(x, index[None])
            features = prior.h_s(torch.round(z), index[None])[:, : y.shape[1], : y.shape[2]]
            whole = slice(x.shape[1]), slice(x.shape[2])
            distortion = _squared(x, cell, "error")(whole, y.shape[1:3])
            patch = _patch(network, prior, distortion, features, index[None])
            patches.append((patch, y, max(1.0, patch.cost(y))))

        def mean(first: float, later: float, iterations: int, patches: list[Judged] = patches) -> float:
            """Of the pictures, each in units of what it costs as it is: a few detailed ones would decide the sum."""
            costs = [patch.cost(patch.refined(y, iterations, (first, later))) / alone for patch, y, alone in patches]
            return sum(costs) / len(costs)

        first = _cheapest(GRID, lambda factor: mean(factor, factor, 1))
        later = _cheapest([f for f in GRID if f <= first], partial(mean, first, iterations=4))
        chosen.append([first, later])
    return chosen


def _cheapest(rising: Sequence[float], cost: Callable[[float], float]) -> float:
    """The cheapest of these, from the last down until one does harm: below that nothing is found any more."""
    costs: dict[float, float] = {}
    for factor in reversed(rising):
        costs[factor] = cost(factor)
        if costs[factor] > HARM * costs[rising[-1]]:
            break
    return min(costs, key=lambda factor: costs[factor])
