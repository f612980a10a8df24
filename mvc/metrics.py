"""Distortion of pictures: PSNR, and MS-SSIM of 8 bits, in numpy, by bands of rows so that any size fits."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

Samples = NDArray[Any]  # uint8 or uint16
Plane = NDArray[np.float64]

_BAND_ROWS = 128
_PEAK = 255.0

# Wang, Simoncelli, Bovik: Multi-scale structural similarity for image quality assessment (2003).
_WEIGHTS = np.array([0.0448, 0.2856, 0.3001, 0.2363, 0.1333])
_TAPS = 11
_SIGMA_PX = 1.5
_C1 = (0.01 * _PEAK) ** 2
_C2 = (0.03 * _PEAK) ** 2
MS_SSIM_MIN_SIDE_PX = (_TAPS - 1) * 2 ** (len(_WEIGHTS) - 1) + 1
"""Pictures with a smaller side have no MS-SSIM: the window would not fit at the coarsest scale."""


def psnr(a: Samples, b: Samples) -> float:
    """Peak signal-to-noise ratio in dB over all samples of two pictures [H, W] or [H, W, 3], uint8 or uint16.

    Infinite for equal pictures. Raises `ValueError` for different shapes or another type.
    """
    _check(a, b, (np.uint8, np.uint16))
    peak = float(np.iinfo(a.dtype).max)
    squares = 0.0
    for top in range(0, a.shape[0], _BAND_ROWS):
        rows = slice(top, top + _BAND_ROWS)
        difference = a[rows].astype(np.float64) - b[rows]
        squares += float(np.vdot(difference, difference))  # integers: of 8 bits exact
    return float("inf") if squares == 0 else float(10 * np.log10(peak**2 * a.size / squares))


def ms_ssim(a: Samples, b: Samples) -> float | None:
    """Multi-scale structural similarity, 0..1, mean over the channels; None where a side is below 161 pixels.

    11-tap Gaussian window (sigma 1.5) without padding, five scales by 2x2 averaging; odd sides are padded
    with zeros before averaging and negative terms count as 0, as in pytorch-msssim, whose figures papers
    report. Raises `ValueError` for different shapes or another type.
    """
    _check(a, b)
    if min(a.shape[:2]) < MS_SSIM_MIN_SIDE_PX:
        return None
    planes = (
        [(a, b)] if a.ndim == 2 else [(a[:, :, channel], b[:, :, channel]) for channel in range(a.shape[2])]
    )
    return float(
        np.mean([_plane_ms_ssim(one.astype(np.float64), other.astype(np.float64)) for one, other in planes])
    )


def _check(a: Samples, b: Samples, types: tuple[type, ...] = (np.uint8,)) -> None:
    if a.dtype not in types or b.dtype != a.dtype or a.shape != b.shape or a.ndim not in (2, 3) or not a.size:
        raise ValueError(f"cannot compare {a.dtype} {list(a.shape)} with {b.dtype} {list(b.shape)}")


def _plane_ms_ssim(a: Plane, b: Plane) -> float:
    terms = []
    for scale in range(len(_WEIGHTS)):
        if scale:
            a, b = _halve(a), _halve(b)
        whole, contrast = _ssim(a, b)
        terms.append(whole if scale == len(_WEIGHTS) - 1 else contrast)
    return float(np.prod(np.maximum(terms, 0.0) ** _WEIGHTS))


def _ssim(a: Plane, b: Plane) -> tuple[float, float]:
    """Means over all window positions of SSIM, and of its contrast-structure factor alone."""
    whole = contrast = 0.0
    for one, other in zip(_bands(a), _bands(b), strict=True):
        mean_a, mean_b = _blur(one), _blur(other)
        variances = _blur(one * one) + _blur(other * other) - mean_a**2 - mean_b**2
        covariance = _blur(one * other) - mean_a * mean_b
        structure = (2 * covariance + _C2) / (variances + _C2)
        luminance = (2 * mean_a * mean_b + _C1) / (mean_a**2 + mean_b**2 + _C1)
        contrast += float(structure.sum())
        whole += float((structure * luminance).sum())
    positions = (a.shape[0] - _TAPS + 1) * (a.shape[1] - _TAPS + 1)
    return whole / positions, contrast / positions


def _bands(plane: Plane) -> Iterator[Plane]:
    """Bands of rows that overlap so far that every window position lies in exactly one of them."""
    for top in range(0, plane.shape[0] - _TAPS + 1, _BAND_ROWS):
        yield plane[top : top + _BAND_ROWS + _TAPS - 1]


def _window() -> Plane:
    distance = np.arange(_TAPS) - _TAPS // 2
    weights = np.exp(-(distance**2) / (2 * _SIGMA_PX**2))
    return np.asarray(weights / weights.sum())


_WINDOW = _window()


def _blur(plane: Plane) -> Plane:
    """The Gaussian mean at every position where the whole window fits: `[H - 10, W - 10]`."""
    rows, columns = plane.shape[0] - _TAPS + 1, plane.shape[1] - _TAPS + 1
    down = sum(weight * plane[tap : tap + rows] for tap, weight in enumerate(_WINDOW))
    return np.asarray(sum(weight * down[:, tap : tap + columns] for tap, weight in enumerate(_WINDOW)))


def _halve(plane: Plane) -> Plane:
    """Means of 2x2 blocks; an odd side gets a zero on both ends first, and the last one drops out."""
    height, width = plane.shape
    padded = np.pad(plane, ((height % 2, height % 2), (width % 2, width % 2)))
    padded = padded[: padded.shape[0] // 2 * 2, : padded.shape[1] // 2 * 2]
    return np.asarray(padded.reshape(padded.shape[0] // 2, 2, padded.shape[1] // 2, 2).mean(axis=(1, 3)))
