"""Bjøntegaard's measure: how much more rate one codec needs than another for the same quality, on average.

The logarithm of the rate is interpolated over quality (in dB) by PCHIP, the monotone piecewise cubic of
Fritsch and Butland, and averaged over the qualities that both curves cover: no extrapolation, and none of
the overshoot of the single cubic that the first definition fitted.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def bd_rate(
    anchor_bpp: Sequence[float],
    anchor_db: Sequence[float],
    test_bpp: Sequence[float],
    test_db: Sequence[float],
) -> float:
    """Mean difference in rate of `test` against `anchor` at equal quality, in percent; negative is better.

    The points may come in any order. Any quality that grows with rate will do: PSNR, or MS-SSIM as
    `ms_ssim_db`. Raises `ValueError` for a curve with fewer than two points, a rate that is not above 0, a
    value that is not finite or a quality that occurs twice, and for curves that share no range of quality.
    """
    curves = [_log_rate(anchor_bpp, anchor_db), _log_rate(test_bpp, test_db)]
    low = max(float(quality[0]) for quality, _ in curves)
    high = min(float(quality[-1]) for quality, _ in curves)
    if not low < high:
        raise ValueError(f"no quality in common: one curve ends at {high:g} dB, one starts at {low:g} dB")
    anchor, test = (integral(quality, log_rate, low, high) for quality, log_rate in curves)
    return float(100 * np.expm1((test - anchor) / (high - low)))


def ms_ssim_db(ms_ssim: float) -> float:
    """MS-SSIM, 0..1, as -10 log10(1 - value) in dB, the scale on which its curves are drawn and averaged."""
    if not 0 <= ms_ssim < 1:
        raise ValueError(f"MS-SSIM of {ms_ssim} has no value in dB")
    return float(-10 * np.log10(1 - ms_ssim))


def pchip_slopes(x: Floats, y: Floats) -> Floats:
    """The derivatives at `x` (rising, at least two) of the monotone cubic through the points `(x, y)`.

    Inside: the weighted harmonic mean of the secants on both sides, or 0 where they differ in sign. At the
    ends: the one-sided three-point estimate, held back where it would bend the curve over.
    """
    steps, secants = np.diff(x), np.diff(y) / np.diff(x)
    if x.size == 2:
        return np.repeat(secants, 2)
    left, right = secants[:-1], secants[1:]
    weight_left, weight_right = 2 * steps[1:] + steps[:-1], steps[1:] + 2 * steps[:-1]
    same = left * right > 0
    inner = np.zeros_like(left)
    inner[same] = (weight_left + weight_right)[same] / (
        weight_left[same] / left[same] + weight_right[same] / right[same]
    )
    first = _end_slope(steps[0], steps[1], secants[0], secants[1])
    last = _end_slope(steps[-1], steps[-2], secants[-1], secants[-2])
    return np.concatenate([[first], inner, [last]])


def integral(x: Floats, y: Floats, low: float, high: float) -> float:
    """The integral from `low` to `high`, both within `x`, of the monotone cubic through `(x, y)`."""
    steps, slopes = np.diff(x), pchip_slopes(x, y)
    secants = np.diff(y) / steps
    cubic = (slopes[:-1] + slopes[1:] - 2 * secants) / steps**2
    square = (3 * secants - 2 * slopes[:-1] - slopes[1:]) / steps
    # Each piece is y + slope t + square t^2 + cubic t^3 with t = 0 at its left end.
    start, stop = np.clip(low, x[:-1], x[1:]) - x[:-1], np.clip(high, x[:-1], x[1:]) - x[:-1]

    def area(t: Floats) -> Floats:
        return np.asarray(t * (y[:-1] + t * (slopes[:-1] / 2 + t * (square / 3 + t * cubic / 4))))

    return float(np.sum(area(stop) - area(start)))


def _end_slope(step: float, next_step: float, secant: float, next_secant: float) -> float:
    slope = ((2 * step + next_step) * secant - step * next_secant) / (step + next_step)
    if slope * secant <= 0:
        return 0.0
    if secant * next_secant <= 0 and abs(slope) > 3 * abs(secant):
        return 3 * secant
    return slope


def _log_rate(bpp: Sequence[float], quality_db: Sequence[float]) -> tuple[Floats, Floats]:
    """Quality, rising, and the natural logarithm of the rate there."""
    rate, quality = np.asarray(bpp, np.float64), np.asarray(quality_db, np.float64)
    if rate.ndim != 1 or rate.shape != quality.shape or rate.size < 2:
        raise ValueError(f"a curve needs two points or more, not {rate.size} rates, {quality.size} qualities")
    if not (np.isfinite(rate).all() and np.isfinite(quality).all() and (rate > 0).all()):
        raise ValueError("rates must be above 0, and rates and qualities finite")
    order = np.argsort(quality)
    if not (np.diff(quality[order]) > 0).all():
        raise ValueError("a curve has the same quality at two rates")
    return quality[order], np.log(rate[order])
