"""What is left to save in the latents: correlation in space, and distance from the normal that they are coded as.

MambaVC paper, section 4.6.1, figures 5 and 6, after Zhu, Yang & Cohen 2022: of (y - mean) / scale, which an ideal prior
makes independent draws of the standard normal distribution.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mvc.analysis.record import Floats, Recorded
from mvc.entropy.tables import LOG_SCALE_MAX, SCALE_MIN

REACH = 4
BINS, SPAN = 120, 6.0  # of the histogram: from -SPAN to SPAN, and one more on each side for the rest

Map = NDArray[np.float64]
Counts = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Correlation:
    """Of one picture or several; what is further away than a picture is large is not a number."""

    map: Map  # [2 * reach + 1, 2 * reach + 1], 1 in the middle
    counts: Counts  # [BINS + 2] of all normalised latents
    clear_counts: Counts  # of those with a scale above the least that can be coded

    @property
    def adjacent(self) -> float:
        """Mean correlation with the four nearest positions."""
        middle = len(self.map) // 2
        pair = self.map[middle, middle + 1], self.map[middle + 1, middle]  # the other two are their mirrors
        return float(sum(pair) / 2)

    @property
    def mean_absolute(self) -> float:
        """Mean of the absolute correlation over all positions of the map but the middle."""
        around = np.abs(np.delete(self.map.ravel(), self.map.size // 2))
        return float(np.nanmean(around)) if np.isfinite(around).any() else math.nan

    def numbers(self) -> dict[str, Any]:
        return {
            "reach_latents": len(self.map) // 2,
            "correlation_map": [[_number(value) for value in row] for row in self.map],
            "correlation_adjacent": _number(self.adjacent),
            "correlation_mean_absolute": _number(self.mean_absolute),
            "kl_nats": _number(kl_nats(self.counts)),
            "least_scale_share": _number(1 - self.clear_counts.sum() / max(1, self.counts.sum())),
            "kl_above_least_scale_nats": _number(kl_nats(self.clear_counts)),
            "histogram_bin_width": 2 * SPAN / BINS,
            "histogram_counts": self.counts.tolist(),
        }


def normalised(recorded: Recorded) -> Floats:
    """(y - mean) / scale of the latents in the picture, [h, w, M]; the scale is that which is coded with."""
    log_scale = np.clip(recorded.log_scale, 0, LOG_SCALE_MAX)
    scale = SCALE_MIN * np.exp2(log_scale)
    return recorded.inside(((recorded.y - recorded.mean) / scale).astype(np.float32))


def correlation_map(latents: Floats, reach: int = REACH) -> Map:
    """[2 * reach + 1, 2 * reach + 1]: normalised cross-correlation of latents [h, w, M] with those (i, j) further.

    sum t t' / sqrt(sum t^2 sum t'^2) over all channels and all pairs of positions in the picture; not a number where
    there is no pair, 0 where there is nothing but zeros.
    """
    t = latents.astype(np.float64)
    found = np.full((2 * reach + 1, 2 * reach + 1), np.nan)
    for i in range(min(reach + 1, len(t))):
        for j in range(-reach if i else 0, reach + 1):
            if abs(j) >= t.shape[1]:
                continue
            here = t[: len(t) - i, max(0, -j) : t.shape[1] - max(0, j)]
            there = t[i:, max(0, j) : t.shape[1] - max(0, -j)]
            energy = math.sqrt(float(np.vdot(here, here)) * float(np.vdot(there, there)))
            value = float(np.vdot(here, there)) / energy if energy else 0.0
            found[reach + i, reach + j] = found[reach - i, reach - j] = value
    return found


def histogram(latents: Floats) -> Counts:
    """[BINS + 2]: how many values lie below -SPAN, in each of BINS equal bins, and above SPAN."""
    edges = np.linspace(-SPAN, SPAN, BINS + 1)
    return np.bincount(np.searchsorted(edges, latents.ravel(), "right"), minlength=BINS + 2).astype(np.int64)


def normal_masses() -> Map:
    """[BINS + 2]: of the standard normal distribution in the bins of `histogram`."""
    edges = np.linspace(-SPAN, SPAN, BINS + 1)
    below = np.array([0.0, *(0.5 * math.erfc(-edge / math.sqrt(2)) for edge in edges), 1.0])
    return np.diff(below)


def kl_nats(counts: Counts) -> float:
    """Kullback-Leibler distance of what was counted from the standard normal, sum p log(p / q); none has no number."""
    if not counts.sum():
        return math.nan
    p, q = counts / counts.sum(), normal_masses()
    seen = p > 0
    return float((p[seen] * np.log(p[seen] / q[seen])).sum())


def correlation(recorded: Recorded, reach: int = REACH) -> Correlation:
    """Of the latents that lie in the picture."""
    latents = normalised(recorded)
    clear = latents[recorded.inside(recorded.log_scale) > 0]
    return Correlation(correlation_map(latents, reach), histogram(latents), histogram(clear))


def mean(pictures: Sequence[Correlation]) -> Correlation:
    """Of several pictures: the mean of their maps, where they have numbers, and the sums of their counts."""
    maps = np.stack([picture.map for picture in pictures])
    known = np.isfinite(maps).sum(0)
    total = np.nansum(maps, 0)
    return Correlation(
        np.divide(total, known, out=np.full_like(total, np.nan), where=known > 0),
        np.sum([picture.counts for picture in pictures], 0),
        np.sum([picture.clear_counts for picture in pictures], 0),
    )


def _number(value: float) -> float | None:
    """For JSON, which knows no not-a-number."""
    return round(float(value), 6) if math.isfinite(value) else None
