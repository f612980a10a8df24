"""PSNR and MS-SSIM against their definitions and against pytorch-msssim, the figures that papers report."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from mvc.metrics import MS_SSIM_MIN_SIDE_PX, ms_ssim, psnr


def smooth(height: int, width: int, *, seed: int = 1) -> NDArray[np.uint8]:
    """A picture of low frequencies, so that MS-SSIM has structure to compare at every scale."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[0:height, 0:width]
    periods = rng.uniform(5, 40, (3, 2))
    planes = [128 + 60 * np.sin(rows / down) + 60 * np.cos(columns / across) for down, across in periods]
    return np.stack(planes, axis=-1).astype(np.uint8)


def noisy(picture: NDArray[np.uint8], sigma: float) -> NDArray[np.uint8]:
    """The picture with Gaussian noise."""
    noise = np.random.default_rng(7).normal(0, sigma, picture.shape)
    return np.clip(np.rint(picture + noise), 0, 255).astype(np.uint8)


def test_psnr_of_known_differences() -> None:
    black = np.zeros((300, 40, 3), np.uint8)
    assert psnr(black, black) == float("inf")
    assert psnr(black, black + 255) == 0.0
    assert psnr(black, black + 1) == pytest.approx(48.1308, abs=1e-4)
    one_sample = black.copy()
    one_sample[299, 39, 2] = 255
    assert psnr(black, one_sample) == pytest.approx(10 * np.log10(black.size))


def test_psnr_does_not_wrap_around() -> None:
    low, high = np.full((8, 8), 3, np.uint8), np.full((8, 8), 250, np.uint8)
    assert psnr(low, high) == psnr(high, low) == pytest.approx(20 * np.log10(255 / 247))


@pytest.mark.parametrize(
    ("size", "sigma"), [((192, 256), 2.0), ((161, 161), 25.0), ((163, 301), 8.0), ((300, 177), 60.0)]
)
def test_ms_ssim_equals_pytorch_msssim(size: tuple[int, int], sigma: float) -> None:
    torch = pytest.importorskip("torch")
    reference = pytest.importorskip("pytorch_msssim")
    a = smooth(*size)
    b = noisy(a, sigma)
    planes = [torch.from_numpy(x.copy()).permute(2, 0, 1)[None].float() for x in (a, b)]
    assert ms_ssim(a, b) == pytest.approx(reference.ms_ssim(*planes, data_range=255).item(), abs=1e-4)
    gray = [torch.from_numpy(x[:, :, 0].copy())[None, None].float() for x in (a, b)]
    assert ms_ssim(a[:, :, 0], b[:, :, 0]) == pytest.approx(
        reference.ms_ssim(*gray, data_range=255).item(), abs=1e-4
    )


def test_ms_ssim_orders_pictures_by_damage() -> None:
    picture = smooth(170, 200)
    scores = [ms_ssim(picture, noisy(picture, sigma)) for sigma in (0, 5, 20, 60)]
    assert scores[0] == pytest.approx(1.0)
    assert scores == sorted(scores, reverse=True)
    assert len(set(scores)) == len(scores)


def test_ms_ssim_of_opposites_is_zero_not_nan() -> None:
    picture = noisy(smooth(170, 170), 40)
    assert ms_ssim(picture, 255 - picture) == 0.0


@pytest.mark.parametrize("size", [(1, 1), (MS_SSIM_MIN_SIDE_PX - 1, 400), (400, MS_SSIM_MIN_SIDE_PX - 1)])
def test_ms_ssim_is_not_defined_for_small_pictures(size: tuple[int, int]) -> None:
    picture = smooth(*size)
    assert ms_ssim(picture, picture) is None


@pytest.mark.parametrize("metric", [psnr, ms_ssim])
def test_unequal_pictures_are_refused(metric: object) -> None:
    a = smooth(170, 170)
    for b in (a[:-1], a[:, :, 0], a.astype(np.float32)):
        with pytest.raises(ValueError, match="cannot compare"):
            metric(a, b)  # type: ignore[operator]
