"""The squared error as it is seen: less of what is fine, of chroma, and where a picture is busy itself.

Octaves of a Laplacian pyramid (Burt and Adelson 1983), with weights and masking half way between what two models of
vision say of errors there that know nothing of each other, ColorVideoVDP and SSIMULACRA 2 (docs/decisions.md).
"""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from mvc.colour import BT601, matrix_of


class Octave(NamedTuple):
    """What errors in luma, blue and red of one octave count, and how its activity masks them."""

    luma: float
    blue: float
    red: float
    masking: float  # the power of the activity that divides them
    least: float  # activity that there is in any case, a square on the 0..255 scale


OCTAVES = (
    Octave(0.67, 0.2, 0.2, 0.4, 15.0),
    Octave(1.6, 0.32, 0.32, 0.42, 1.5),
    Octave(6.1, 0.61, 0.61, 0.5, 2.0),
    Octave(7.9, 0.79, 0.79, 0.4, 0.5),
    Octave(5.8, 1.15, 0.58, 0.35, 0.3),
)
"""From the finest on. On photographs it all is about a mean squared error of RGB."""
REST = (1.1, 0.18, 0.18)
"""What errors in luma, blue and red count that are coarser than that."""
USUAL_ACTIVITY = 40.0
ACTIVITY_CELLS = 5  # it is of the mean over so many by so many places of the octave
SMALLEST_PX = ACTIVITY_CELLS << len(OCTAVES)


def seen_error(x: Tensor, x_hat: Tensor) -> Tensor:
    """The mean error of each sample [B], on the scale of squares of 0..255, of x and x_hat [B, H, W, 3] in 0..1.

    Both sides are multiples of 32, and at least SMALLEST_PX.
    """
    total = x.new_zeros(len(x), dtype=torch.float32)
    for error in seen_maps(x, x_hat):
        total = total + error.mean((1, 2))
    return total


def seen_maps(x: Tensor, x_hat: Tensor) -> list[Tensor]:
    """What `seen_error` is the sum of the means of: an octave each, and the rest, at its resolution, [B, h, w]."""
    to_ycc, weights = _constants(x.device)
    original, error = x.float() @ to_ycc[:, :1], (x_hat.float() - x.float()) @ to_ycc
    *octaves, rest = _bands(torch.cat([original, error], -1))
    maps = []
    for octave, band in zip(OCTAVES, octaves, strict=True):
        luma, error = band.split((1, 3), 1)
        maps.append(error.square() * _masking(luma, luma + error[:, :1], octave))
    maps.append(rest[:, 1:].square())
    return [(found * weight[:, None, None]).sum(1) for found, weight in zip(maps, weights, strict=True)]


def masks(x: Tensor) -> list[Tensor]:
    """By how much x [B, H, W, 3] hides errors in each octave, and in the rest, [B, h, w] as in `seen_maps`.

    Those that leave what is in the picture as it is: below 1 where it is busy.
    """
    *octaves, rest = _bands(x.float() @ _constants(x.device)[0][:, :1])
    hidden = [_masking(luma, luma, octave) for octave, luma in zip(OCTAVES, octaves, strict=True)]
    return [mask[:, 0] for mask in (*hidden, torch.ones_like(rest))]


def unmasked(error: Tensor) -> Tensor:
    """What errors [B, H, W, 3] count where nothing hides them: sums over pixels, in octaves and the rest, [B, 6]."""
    to_ycc, weights = _constants(error.device)
    sums = [band.square().sum((2, 3)) * 4**level for level, band in enumerate(_bands(error.float() @ to_ycc))]
    return torch.stack([(found * weight).sum(1) for found, weight in zip(sums, weights, strict=True)], 1)


def _bands(planes: Tensor) -> list[Tensor]:
    """Octaves of planes [B, H, W, C] from the finest on, and what is coarser, [B, C, h, w]."""
    planes, bands = planes.permute(0, 3, 1, 2).contiguous(), []
    for _ in OCTAVES:
        coarse = _halved(planes)
        bands.append(planes - _doubled(coarse))
        planes = coarse
    return [*bands, planes]


def _masking(original: Tensor, decoded: Tensor, octave: Octave) -> Tensor:
    """What luma in an octave [B, 1, h, w] makes of an error: by what both have, since what is lost masks nothing."""
    margin = (ACTIVITY_CELLS // 2,) * 4
    both = F.pad(torch.minimum(original.abs(), decoded.abs()), margin, mode="reflect")
    activity = F.avg_pool2d(both, ACTIVITY_CELLS, 1).square()
    return ((activity + octave.least) / USUAL_ACTIVITY).pow(-octave.masking)


def _halved(planes: Tensor) -> Tensor:
    """By the filter (1, 3, 3, 1) / 8 in each direction."""
    return F.interpolate(planes, scale_factor=0.5, mode="bilinear", antialias=True)


def _doubled(planes: Tensor) -> Tensor:
    return F.interpolate(planes, scale_factor=2, mode="bilinear")


@cache
def _constants(device: torch.device) -> tuple[Tensor, Tensor]:
    """Copied there once: a copy waits for all that a GPU has to do."""
    to_ycc = torch.tensor(255 * matrix_of(BT601).T, dtype=torch.float32)
    return to_ycc.to(device), torch.tensor([*(octave[:3] for octave in OCTAVES), REST]).to(device)
