"""The metrics that `mvc bench` knows: which way each points, on what scale it is averaged, and who computes it.

PSNR and MS-SSIM are in `mvc.metrics` and always measured. The others are loaded when asked for:

    measures = load(["lpips", "dists", "ssimulacra2", "cvvdp"])
    measures["lpips"](original, decoded)              # uint8 [H, W, 3] or [H, W]; None where a side is too small

A BD-rate needs a quality that grows: MS-SSIM is -10 log10(1 - mean), and distances (LPIPS, DISTS) are negated and
stay linear, as papers on perceptual codecs have them; SSIMULACRA 2 and JOD of CVVDP are linear scales already. Means
over pictures are of the values themselves, before any of this.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mvc.errors import MvcError
from mvc.evaluate.bdrate import ms_ssim_db
from mvc.metrics import MS_SSIM_MIN_SIDE_PX

Measure = Callable[[NDArray[np.uint8], NDArray[np.uint8]], float | None]


@dataclass(frozen=True)
class Metric:
    """A metric. `key` is its name in JSON, `name` on the command line; `digits` are kept behind the point.

    `quality` brings a mean to the scale of curves and BD-rates, where more is better; None has no place there.
    """

    key: str
    name: str
    title: str
    axis: str
    digits: int
    lower_is_better: bool
    quality: Callable[[float], float | None]
    min_side_px: int
    loader: str = ""
    """Of `mvc.evaluate`: MODULE:FUNCTION that makes a function of two pictures for a device. Empty: always measured."""


def _negated(value: float) -> float:
    return -value


def _in_db(value: float) -> float | None:
    return ms_ssim_db(value) if value < 1 else None


METRICS: Mapping[str, Metric] = MappingProxyType(
    {
        metric.key: metric
        for metric in (
            Metric("psnr", "psnr", "PSNR", "PSNR, dB", 4, False, float, 1),
            Metric("ms_ssim", "ms-ssim", "MS-SSIM", "MS-SSIM, dB", 6, False, _in_db, MS_SSIM_MIN_SIDE_PX),
            Metric("lpips", "lpips", "LPIPS", "LPIPS (AlexNet)", 5, True, _negated, 31, "deep:lpips"),
            Metric("dists", "dists", "DISTS", "DISTS", 5, True, _negated, 16, "deep:dists"),
            Metric(
                "ssimulacra2", "ssimulacra2", "SSIMULACRA 2", "SSIMULACRA 2", 3, False, float, 8, "ssimulacra2:metric"
            ),
            Metric("cvvdp", "cvvdp", "CVVDP", "CVVDP, JOD", 4, False, float, 16, "cvvdp:metric"),
        )
    }
)
"""All metrics by key."""

NAMES = tuple(metric.name for metric in METRICS.values())
ALWAYS = tuple(metric.key for metric in METRICS.values() if not metric.loader)


def find(names: Iterable[str]) -> list[Metric]:
    """The metrics of these names (as on the command line), each once; `MvcError` for another name."""
    known = {metric.name: metric for metric in METRICS.values()}
    found = []
    for name in dict.fromkeys(names):
        if name not in known:
            raise MvcError(f"there is no metric {name!r}", hint="known are " + ", ".join(NAMES))
        found.append(known[name])
    return found


def load(names: Iterable[str], device: str = "cpu") -> dict[str, Measure]:
    """Functions by key for those of `names` that are not measured anyway.

    `device` is where networks compute, as torch names it. Raises `MvcError` for an unknown name, `BackendError` where a
    library is missing, `WeightsError` where weights are.
    """
    return {metric.key: _measure(metric, device) for metric in find(names) if metric.loader}


def _measure(metric: Metric, device: str) -> Measure:
    from importlib import import_module

    module, _, name = metric.loader.partition(":")
    maker = getattr(import_module(f"mvc.evaluate.{module}"), name)
    compute: Callable[[NDArray[Any], NDArray[Any]], float] = maker(device)

    def measure(original: NDArray[np.uint8], decoded: NDArray[np.uint8]) -> float | None:
        if original.shape != decoded.shape or {original.dtype, decoded.dtype} != {np.dtype(np.uint8)}:
            raise ValueError(
                f"cannot compare {original.dtype} {list(original.shape)} with {decoded.dtype} {list(decoded.shape)}"
            )
        if min(original.shape[:2]) < metric.min_side_px:
            return None
        return round(compute(_colour(original), _colour(decoded)), metric.digits)

    return measure


def _colour(samples: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """`[H, W, 3]`; gray is a colour, too."""
    return samples if samples.ndim == 3 else np.repeat(samples[:, :, None], 3, axis=2)
