"""What the search keeps small: that it is the error it is said to be, where that is, and what `--tune look` gains."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from tiny_model import picture, tiny_codec
from torch import Tensor

import mvc
from mvc.distortion.seen_error import masks, seen_error, seen_maps, unmasked
from mvc.distortion.structure import LAMBDA_RATIO, ms_ssim_loss, structure_maps
from mvc.effort import distortion
from mvc.effort.distortion import AsSeen, AsTrained, Distortion, SquaredError, painted_octaves
from mvc.effort.refine import _patch, float_prior, refine
from mvc.effort.search import FEWEST_JUDGED
from mvc.models.weighing import rd_lambda
from mvc.picture import Picture
from mvc.quality import Tune

SAMPLES = Path(__file__).parents[1] / "samples"
KINDS = [SquaredError, AsTrained, AsSeen]


def told_as_seen(x: Tensor, x_hat: Tensor) -> float:
    """The error of all pixels as training counts it."""
    return _with_structure(seen_error(x, x_hat), 0.4, x, x_hat)


def told_as_trained(x: Tensor, x_hat: Tensor) -> float:
    """The same for the default."""
    return _with_structure(255**2 * (x - x_hat).square().mean(), 0.3, x, x_hat)


def _with_structure(error: Tensor, share: float, x: Tensor, x_hat: Tensor) -> float:
    both = (1 - share) * error + share * LAMBDA_RATIO * ms_ssim_loss(x, x_hat)
    return float(both) * x.shape[1] * x.shape[2]


def pair(height: int, width: int) -> tuple[Tensor, Tensor]:
    x = torch.from_numpy(picture(height, width).samples)[None].float() / 255
    return x, x + 0.05 * torch.randn(x.shape, generator=torch.Generator().manual_seed(5))


def octaves() -> Tensor:
    return painted_octaves(tiny_codec().model.g_s)


def made(kind: type[Distortion], x: Tensor, positions: tuple[int, int]) -> Distortion:
    return AsSeen(x, positions, 16, octaves()) if kind is AsSeen else kind(x, positions, 16)


def test_maps_are_what_the_errors_are_means_of() -> None:
    x, x_hat = pair(192, 224)
    for maps, error in ((seen_maps, seen_error), (structure_maps, ms_ssim_loss)):
        whole = sum(found.mean((1, 2)) for found in maps(x, x_hat))
        torch.testing.assert_close(whole, error(x, x_hat))


def test_the_error_is_that_of_training() -> None:
    x, x_hat = pair(192, 224)
    totals = []
    for kind in KINDS:
        counted = made(kind, x, (12, 14))
        totals.append(counted.scale * float(counted.total(counted.maps(x_hat))))
    squares = 255**2 / 3 * float((x - x_hat).square().sum())
    assert totals == pytest.approx([squares, told_as_trained(x, x_hat), told_as_seen(x, x_hat)])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("size", "positions"), [((192, 224), (12, 14)), ((90, 61), (8, 4)), ((300, 170), (20, 11))])
def test_each_latent_has_the_error_at_its_place(
    kind: type[Distortion], size: tuple[int, int], positions: tuple[int, int]
) -> None:
    x, noisy = pair(*size)
    counted = made(kind, x, positions)
    beyond = F.pad(noisy, (0, 0, 0, 16 * positions[1] - size[1], 0, 16 * positions[0] - size[0]), value=7.0)
    maps = counted.maps(beyond)
    assert counted.at_latents(maps).shape == (1, *positions, 1)
    assert float(counted.at_latents(maps).sum()) == pytest.approx(float(counted.total(maps)), rel=0.1)
    only = x.clone()
    only[:, 32:48, 16:32] = noisy[:, 32:48, 16:32]
    errors = counted.at_latents(counted.maps(only))[0, ..., 0]
    assert errors.argmax() == 2 * positions[1] + 1
    assert errors[1:4, :3].sum() > 0.9 * errors.sum() > 0


def test_curvatures_are_those_of_the_linear_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distortion, "SEEN_SHARE", 1.0)
    monkeypatch.setattr(distortion, "STRUCTURE_SHARE", 0.0)
    synthesis, x, channel = tiny_codec().model.g_s, torch.full((1, 192, 192, 3), 0.5), 3
    painted = synthesis.skip.weight[:, channel].reshape(16, 16, 3).float()
    changed = x.clone()
    changed[:, 64:80, 64:80] += 0.1 * painted
    squared, as_seen = (made(kind, x, (12, 12)) for kind in (SquaredError, AsSeen))
    lone = float(as_seen.total(as_seen.maps(changed)))
    assert lone == pytest.approx(0.01 * float(as_seen.curvature[0, 4, 4, channel]), rel=0.02)
    lone = float(squared.total(squared.maps(changed)))
    assert lone == pytest.approx(0.01 * float(squared.curvature) * float(painted.square().sum()))


def test_what_hides_errors_makes_curvatures_less() -> None:
    x = torch.full((1, 192, 224, 3), 0.5)
    x[:, :, 112:] = pair(192, 112)[1]
    hidden = [mask.mean(1)[0] for mask in masks(x)]
    assert all(mask[-2:].mean() < 0.7 * mask[:2].mean() for mask in hidden[:3])
    curvature = made(AsSeen, x, (12, 14)).curvature[0].mean((0, 2))
    assert curvature[-3:].mean() < 0.7 * curvature[:3].mean()
    assert unmasked(x - 0.5).shape == (1, 6)


@pytest.mark.parametrize("iterations", [1, 4, FEWEST_JUDGED])
def test_the_search_for_looks_makes_what_is_seen_cheaper(iterations: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mvc.effort.refine.fast_dtype", lambda device: torch.float32)
    codec, index = tiny_codec(), torch.tensor([30])
    x = codec.to_tensor(picture(192, 192))
    network, prior = codec.network, float_prior(codec.network)

    y, z = network.model.analyse(x, index)
    features = prior.h_s(torch.round(z), index)[:, : y.shape[1], : y.shape[2]]
    as_seen = _patch(network, prior, made(AsSeen, x, (12, 12)), features[:, :12, :12], index)
    found = [refine(network, prior, x, (192, 192), index, iterations, tune=tune)[0] for tune in ("error", "look")]
    with torch.no_grad():
        alone, plain, look = (as_seen.cost(one[:, :12, :12]) for one in (y, *found))
    assert look < 0.999 * alone
    assert look < plain or iterations == 1  # then squares move several latents of a position


def test_by_what_is_seen_one_latent_of_two_positions_moves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mvc.effort.refine.fast_dtype", lambda device: torch.float32)
    codec, index = tiny_codec(), torch.tensor([30])
    x = codec.to_tensor(picture(150, 200))
    with torch.no_grad():
        plain, _ = codec.model.analyse(x, index)
    y, _ = refine(codec.network, float_prior(codec.network), x, (150, 200), index, 1, tune="look")
    moved = (y != plain).sum(-1)[0]
    rows = torch.cat([moved, moved.new_zeros(moved.shape[0] % 2, moved.shape[1])]).unflatten(0, (-1, 2))
    assert rows.sum(1).max() == 1 and (rows.sum(1) > 0).double().mean() > 0.5


@pytest.mark.parametrize(("tune", "told"), [("error", told_as_trained), ("look", told_as_seen)])
def test_efforts_pay_by_what_models_are_trained_for(tune: Tune, told: Callable[[Tensor, Tensor], float]) -> None:
    """Of files and what they decode to: bits, and the error that their model is trained for, weighed as there."""
    kodim = mvc.read_picture(SAMPLES / "kodim15.png").picture
    weight, saved = float(rd_lambda(torch.tensor(mvc.quality_index(3)))), np.zeros(4)
    places = (128, 256), (0, 0), (256, 384)  # one alone is luck by half a per cent
    crops = [kodim.samples[top : top + 256, left : left + 384] for top, left in places]
    for source in (Picture(np.ascontiguousarray(crop)) for crop in crops):
        original, bits, costs = torch.from_numpy(source.samples)[None].float() / 255, [], []
        for effort in range(4):
            data = mvc.encode(source, 3, effort=effort, coder="network", tune=tune)
            shown = torch.from_numpy(mvc.decode(data).samples)[None].float() / 255
            bits.append(8 * len(data))
            costs.append(bits[-1] + weight * told(original, shown))
        saved += (costs[0] - np.array(costs)) / bits[0] / len(crops)
    assert 0.005 < saved[1] < saved[2] < saved[3] - 0.01
    assert saved[3] - saved[1] > 0.015
