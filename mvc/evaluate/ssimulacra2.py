"""SSIMULACRA 2 (Sneyers, Cloudinary), by the package `ssimulacra2`, with the blur of the reference.

The package's colours, error maps, weights and score are taken as they are. Its blur is not the reference's: libjxl uses
the truncated cosines of Charalampidis (2016), with zeros outside of the picture, and the package scipy's Gaussian, with
mirrored edges on two sides. On `tank_source.png` of rust-av/ssimulacra2, where the reference gives 17.40, the package
gives 21.16, and this 17.51 (its distorted picture is kept as a JPEG XL that is within 1 of it).
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mvc.errors import BackendError

Floats = NDArray[np.float64]
SCALES = 6
MIN_SIDE_PX = 8
HINT = "pip install 'mvc-codec[metrics]'"
_SIGMA_PX = 1.5


def metric(device: str = "cpu") -> Callable[[NDArray[np.uint8], NDArray[np.uint8]], float]:
    """A function of original and decoded picture, uint8 `[H, W, 3]`, of 8 pixels a side or more: 100 for equal ones.

    `device` is for the form: this is numpy. Raises `BackendError` without the package, or scipy.
    """
    try:
        package = import_module("ssimulacra2.ssimulacra2")
        convolve = import_module("scipy.ndimage").convolve1d
    except ImportError as error:
        raise BackendError(f"SSIMULACRA 2 is not installed: {error}", hint=HINT) from error
    window = blur_window()

    def blur(planes: Floats) -> Floats:
        down = convolve(planes, window, axis=0, mode="constant")
        return np.asarray(convolve(down, window, axis=1, mode="constant"))

    def shown(linear: Floats) -> Floats:
        return np.asarray(package.make_positive_xyb(package.linear_rgb_to_xyb(linear)))

    def measure(original: NDArray[np.uint8], decoded: NDArray[np.uint8]) -> float:
        pair = [package.srgb_to_linear(samples) for samples in (original, decoded)]
        found = package.Msssim()
        for scale in range(SCALES):
            if scale:
                pair = [package.downsample(linear, 2, 2) for linear in pair]
            if min(pair[0].shape[:2]) < MIN_SIDE_PX:
                break
            found.scales.append(_scale(package, blur, *map(shown, pair)))
        return float(found.score())

    return measure


def _scale(package: Any, blur: Callable[[Floats], Floats], one: Floats, other: Floats) -> Any:
    mean_one, mean_other = blur(one), blur(other)
    scale = package.MsssimScale()
    scale.avg_ssim = package.ssim_map(mean_one, mean_other, blur(one * one), blur(other * other), blur(one * other))
    scale.avg_edgediff = package.edge_diff_map(one, mean_one, other, mean_other)
    return scale


def blur_window() -> Floats:
    """The 11 taps of libjxl's recursive Gaussian with a sigma of 1.5 pixels.

    Charalampidis, "Recursive Implementation of the Gaussian Filter Using Truncated Cosine Functions", 2016: a sum of
    three cosines, zero at the radius, whose weights give the window's sum, its second moment and its response right.
    """
    radius = round(3.2795 * _SIGMA_PX + 0.2546)  # (57)
    omega = np.array([1, 3, 5]) * np.pi / (2 * radius)  # (37)
    sign = np.array([1, -1, 1])
    p = sign / np.tan(omega / 2)
    r = sign * p**2 / np.sin(omega)  # (44)
    rho = np.exp(-0.5 * _SIGMA_PX**2 * omega**2) / radius  # (50)
    determinant = p[0] * r[1] - r[0] * p[1]
    zeta = np.array([p[1] * r[2] - r[1] * p[2], p[2] * r[0] - p[0] * r[2]]) / determinant  # (62)
    system = np.array([p, r, [*zeta, 1]])
    weights = np.linalg.solve(system, [1, radius**2 - _SIGMA_PX**2, zeta @ rho[:2] + rho[2]])  # (55)
    distance = np.arange(-radius, radius + 1)
    return np.asarray(weights @ np.cos(omega[:, None] * distance))
