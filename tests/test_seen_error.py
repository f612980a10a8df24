"""The error as it is seen: which of two equal ones counts more, its scale, and its share of the objective."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from picture_files import beside_webp
from tiny_model import CONFIG
from torch import Tensor

from mvc.distortion.seen_error import SMALLEST_PX, seen_error
from mvc.distortion.structure import LAMBDA_RATIO, ms_ssim_loss
from mvc.models.lite import MambaVCLite
from mvc.models.weighing import rd_lambda
from mvc.train.objective import rate_distortion

SAMPLES = Path(__file__).parents[1] / "samples"
SIDE = 192


def squares(side: int) -> Tensor:
    """A chessboard [1, SIDE, SIDE, 1] of -1 and 1 with squares of so many pixels."""
    places = torch.arange(SIDE) // side
    return ((places[:, None] + places) % 2 * 2.0 - 1)[None, ..., None]


def seen(original: Tensor, error: Tensor) -> float:
    return seen_error(original, original + error / 255).item()


def test_coarse_errors_count_more_than_fine_ones() -> None:
    gray = torch.full((1, SIDE, SIDE, 3), 0.5)
    fine, middle, coarse = (seen(gray, squares(side).expand(-1, -1, -1, 3)) for side in (1, 4, 8))
    assert 2.5 * fine < middle and 2.5 * middle < coarse


def test_luma_counts_more_than_chroma() -> None:
    gray, pattern = torch.full((1, SIDE, SIDE, 3), 0.5), squares(4)
    luma = pattern.expand(-1, -1, -1, 3)
    chroma = pattern * torch.tensor([1.0, -0.72, 1.0])  # about equal energy, hardly any luma
    assert luma.square().sum() < 1.3 * chroma.square().sum() and 4 * seen(gray, chroma) < seen(gray, luma)


def test_calm_places_count_more_than_busy_ones() -> None:
    gray = torch.full((1, SIDE, SIDE, 3), 0.5)
    busy = gray + 0.1 * torch.randn(gray.shape, generator=torch.Generator().manual_seed(0))
    error = squares(2).expand(-1, -1, -1, 3)
    assert 2 * seen(busy, error) < seen(gray, error)


def test_activity_that_is_lost_masks_nothing() -> None:
    """An error that takes a texture away is seen more than the same error upside down, which makes it stronger."""
    gray = torch.full((1, SIDE, SIDE, 3), 0.5)
    texture = 0.1 * torch.randn(gray.shape, generator=torch.Generator().manual_seed(0))
    lost, doubled = (seen(gray + texture, sign * 255 * texture) for sign in (-1, 1))
    assert 1.5 * doubled < lost


def test_it_hardly_matters_where_an_error_lies() -> None:
    """The octaves have no blocks, whose edges it could lie on or not."""
    gray = torch.full((1, SIDE, SIDE, 3), 0.5)
    error = squares(4).expand(-1, -1, -1, 3)
    moved = [seen(gray, error.roll((px, px), (1, 2))) for px in range(4)]
    assert max(moved) < 1.4 * min(moved)


@pytest.mark.parametrize("quality", [30, 80])
def test_on_a_photograph_it_is_about_a_mean_squared_error(quality: int) -> None:
    pair = beside_webp(SAMPLES / "kodim23.png", quality)
    x, x_hat = (torch.from_numpy(samples.astype(np.float32) / 255)[None] for samples in pair)
    assert 0.5 < seen_error(x, x_hat).item() / (255**2 * (x - x_hat).square().mean().item()) < 2


def test_gradients_are_finite_at_equality() -> None:
    x = torch.rand(2, SMALLEST_PX, SIDE, 3)
    x[0] = 0.5
    x_hat = x.clone().requires_grad_()
    loss = seen_error(x, x_hat)
    loss.sum().backward()
    assert loss.detach().abs().max() < 1e-6
    assert x_hat.grad is not None and torch.isfinite(x_hat.grad).all()


def test_the_objective_has_shares_of_all_three() -> None:
    torch.manual_seed(0)
    model, x, index = MambaVCLite(CONFIG), torch.rand(2, SIDE, SIDE, 3), torch.tensor([10, 40])
    with torch.no_grad():
        found = rate_distortion(model, x, index, noise=False, ms_ssim=0.2, seen=0.5)
    x_hat, weight = found["x_hat"], rd_lambda(index)
    kinds = 255**2 * found["mse"], LAMBDA_RATIO * ms_ssim_loss(x, x_hat), seen_error(x, x_hat)
    distortion = sum(share * kind for share, kind in zip((0.3, 0.2, 0.5), kinds, strict=True))
    wanted = (weight * distortion + found["bpp"]) * (weight / 0.018) ** -0.5
    torch.testing.assert_close(found["loss"], wanted)
