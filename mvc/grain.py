"""Grain: the noise that coding has smoothed away, measured by the encoder and made anew by the decoder, if asked.

What is told takes 12 bytes (spec section 6.8): the strength of the noise in luma at eight levels of it, what it has in
the two colour differences, and how alike neighbours are. What is made is whole numbers throughout, the same everywhere,
and of each pixel by its place alone, so that a region has the grain of the whole picture. It is no detail of the
picture, and never part of what is compared or verified.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mvc.colour import BT601_LUMA
from mvc.container.chunks import crc32c
from mvc.picture import Picture, Samples
from mvc.places import VARIANCE, byte_sums

LEVELS = 8
GRAIN_BYTES = LEVELS + 4
UNIT = 16  # strengths are in sixteenths of a step of 255
BLOCK_PX = 8
CALM = 1.5
"""Standard deviation, in steps of 255, of what was decoded in blocks that count as flat."""
QUANTILE, OF_VARIANCE = 0.1, 0.78
"""Of the blocks of a level: most have lost detail as well, which is louder. A tenth of variances of 64 samples of noise
are below so much of the true one."""
FEWEST_BLOCKS = 24
MOST_OF_MEAN = 2.0
LEAST = 0.5
"""Of the strongest level: what is weaker, in steps of 255, is not to be seen."""
# Y, and what a unit of each difference adds to red, green and blue, in 1/256 (ITU-T T.871).
_FROM_CB, _FROM_CR = (0, -88, 454), (359, -183, 0)


class Grain(NamedTuple):
    """Strengths 0..255 in sixteenths of a step of 255: of luma around 16, 48, ... 240, of Cb, of Cr; and the weights
    of the neighbours across and down, -128..127 in 1/256 of the middle's."""

    luma: tuple[int, ...]
    cb: int
    cr: int
    across: int
    down: int

    def to_bytes(self) -> bytes:
        """As files have it."""
        return bytes([*self.luma, self.cb, self.cr, self.across & 255, self.down & 255])

    @classmethod
    def from_bytes(cls, data: bytes) -> Grain:
        """The inverse; ValueError for another number of bytes."""
        if len(data) != GRAIN_BYTES:
            raise ValueError(f"grain has {GRAIN_BYTES} bytes, not {len(data)}")
        across, down = ((byte ^ 128) - 128 for byte in data[LEVELS + 2 :])
        return cls(tuple(data[:LEVELS]), data[LEVELS], data[LEVELS + 1], across, down)

    @property
    def seed(self) -> int:
        """What the noise follows from: the CRC-32C of the bytes."""
        return crc32c(self.to_bytes())

    def add(self, samples: Samples, top: int, left: int) -> Samples:
        """Samples [H, W] or [H, W, 3] of 8 bits with this grain, where their first pixel has that row and column."""
        return grained(samples, self, (top, left))


# --- measured --------------------------------------------------------------------------------------------------------


def measured(original: Picture, decoded: Picture, made: NDArray[np.bool_] | None = None) -> Grain | None:
    """The grain that a picture has lost, both of 8 bits and one size; None where there is hardly any, or no telling.

    Where it was `made` by a network [H, W] (None: everywhere), in blocks that are flat in what was decoded, the
    variance of the original that is not in what was decoded; of the blocks of a level of luma a low quantile, as lost
    detail only adds.
    """
    was, now = (_planes(picture.samples) for picture in (original, decoded))
    height, width = (side // BLOCK_PX for side in was[0].shape)
    if not height or not width:
        return None
    lost = [_blocks(before - after, height, width) for before, after in zip(was, now, strict=True)]
    kept = [_blocks(plane, height, width) for plane in now]
    level = kept[0].mean((1, 2))
    flat = kept[0].std((1, 2)) < CALM
    for shown in (original.alpha, made):
        if shown is not None:
            flat &= _blocks(shown, height, width).min((1, 2)) > 0
    flat &= (level > 4) & (level < 251)  # beyond noise is cut off
    if flat.sum() < FEWEST_BLOCKS:
        return None
    residual = [_centred(plane[flat]) for plane in lost]
    missing = [
        np.maximum(_centred(_blocks(before, height, width)[flat]).var((1, 2)) - after[flat].var((1, 2)), 0)
        for before, after in zip(was, kept, strict=True)
    ]
    at = np.minimum(level[flat] / (256 / LEVELS), LEVELS - 1).astype(int)
    luma = _by_level(missing[0], at)
    if max(luma, default=0) < LEAST:
        return None
    cb, cr = [_stored(_deviation(plane)) for plane in missing[1:]] or (0, 0)
    across, down = (_weight(_likeness(residual[0], axis)) for axis in (2, 1))
    return Grain(tuple(map(_stored, luma)), cb, cr, across, down)


def _planes(samples: Samples) -> list[NDArray[np.float32]]:
    """Luma, and of colours Cb and Cr, each [H, W]."""
    x = samples.astype(np.float32)
    if x.ndim == 2:
        return [x]
    red, green, blue = BT601_LUMA
    luma = red * x[..., 0] + green * x[..., 1] + blue * x[..., 2]
    return [luma, (x[..., 2] - luma) / 1.772, (x[..., 0] - luma) / 1.402]


def _blocks(plane: NDArray[Any], height: int, width: int) -> NDArray[Any]:
    """[blocks, 8, 8], whole ones alone."""
    cut = plane[: height * BLOCK_PX, : width * BLOCK_PX].reshape(height, BLOCK_PX, width, BLOCK_PX)
    return cut.transpose(0, 2, 1, 3).reshape(-1, BLOCK_PX, BLOCK_PX)


def _centred(blocks: NDArray[Any]) -> NDArray[Any]:
    return blocks - blocks.mean((1, 2), keepdims=True)


def _by_level(variance: NDArray[Any], at: NDArray[Any]) -> list[float]:
    """The standard deviation at each level; where there are too few blocks, that between the nearest levels."""
    counts = np.bincount(at, minlength=LEVELS)
    known = np.flatnonzero(counts >= FEWEST_BLOCKS)
    if not len(known):
        return []
    found = np.array([_deviation(variance[at == level]) for level in known])
    most = MOST_OF_MEAN * np.average(found, weights=counts[known])  # a level with detail in all its blocks is none
    return [float(value) for value in np.interp(range(LEVELS), known, np.minimum(found, most))]


def _deviation(variance: NDArray[Any]) -> float:
    """The standard deviation of the noise in blocks of these variances."""
    return math.sqrt(float(np.quantile(variance, QUANTILE)) / OF_VARIANCE)


def _likeness(blocks: NDArray[Any], axis: int) -> float:
    """The correlation of neighbours."""
    first, second = (np.take(blocks, range(start, start + BLOCK_PX - 1), axis) for start in (0, 1))
    return float((first * second).mean() / max(1e-6, (blocks**2).mean()))


def _weight(likeness: float) -> int:
    """The weight a of [a, 1, a] whose noise has that correlation, 2 a / (1 + 2 a^2), in 1/256."""
    bounded = min(max(likeness, -0.66), 0.66)
    if abs(bounded) < 1e-3:
        return 0
    return max(-128, min(127, round(256 * (1 - math.sqrt(1 - 2 * bounded**2)) / (2 * bounded))))


def _stored(deviation: float) -> int:
    return min(255, round(UNIT * deviation))


# --- made ------------------------------------------------------------------------------------------------------------


def grained(samples: Samples, grain: Grain, place: tuple[int, int] = (0, 0)) -> Samples:
    """Samples [H, W] or [H, W, 3] of 8 bits with grain, where their first pixel has the place (row, column)."""
    grey = samples.ndim == 2
    colours = samples.astype(np.int64)
    luma = colours if grey else (colours[..., 0] + 2 * colours[..., 1] + colours[..., 2] + 2) >> 2
    noise = _scaled(_noise(grain, 0, place, luma.shape), _strengths(grain)[luma], grain)
    if grey:
        return np.clip((16 * colours + noise + 8) >> 4, 0, 255).astype(np.uint8)
    cb, cr = (
        _scaled(_noise(grain, number, place, luma.shape), np.int64(strength), grain) if strength else np.int64(0)
        for number, strength in ((1, grain.cb), (2, grain.cr))
    )
    made = np.empty_like(samples)
    for k in range(3):
        own = 16 * colours[..., k] + noise + ((_FROM_CB[k] * cb + _FROM_CR[k] * cr + 128) >> 8)
        made[..., k] = np.clip((own + 8) >> 4, 0, 255)
    return made


def _strengths(grain: Grain) -> NDArray[np.int64]:
    """The strength at each luma 0..255, straight lines between the levels."""
    between = np.clip(np.arange(256) - 16, 0, 32 * (LEVELS - 1))
    low = np.minimum(between >> 5, LEVELS - 2)
    own = np.array(grain.luma, np.int64)
    share = between - 32 * low
    return (own[low] * (32 - share) + own[low + 1] * share + 16) >> 5


def _noise(grain: Grain, plane: int, place: tuple[int, int], shape: tuple[int, ...]) -> NDArray[np.int64]:
    """Sums of four bytes around 0 for each pixel, weighted with those of its neighbours."""
    (top, left), (height, width) = place, shape
    rows, columns = range(top, top + height + 2), range(left, left + width + 2)
    n = byte_sums(rows, columns, grain.seed + plane * 0xC2B2AE3D).astype(np.int64)
    n = 256 * n[1:-1] + grain.down * (n[:-2] + n[2:])
    return 256 * n[:, 1:-1] + grain.across * (n[:, :-2] + n[:, 2:])


def _scaled(noise: NDArray[np.int64], strength: Any, grain: Grain) -> NDArray[np.int64]:
    """Noise of that strength, in sixteenths."""
    squares = (65536 + 2 * grain.across**2) * (65536 + 2 * grain.down**2)
    deviation = math.isqrt(VARIANCE * squares)
    made: NDArray[np.int64] = (2 * noise * strength + deviation) // (2 * deviation)
    return made
