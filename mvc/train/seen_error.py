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
    to_ycc, (*weights, rest) = _constants(x.device)
    original, error = x.float() @ to_ycc[:, :1], (x_hat.float() - x.float()) @ to_ycc
    planes = torch.cat([original, error], -1).permute(0, 3, 1, 2).contiguous()
    total = x.new_zeros(len(x), dtype=torch.float32)
    for octave, weight in zip(OCTAVES, weights, strict=True):
        coarse = _halved(planes)
        luma, error = (planes - _doubled(coarse)).split((1, 3), 1)
        masked = error.square() * _masking(luma, luma + error[:, :1], octave)
        total = total + (masked.mean((2, 3)) * weight).sum(1)
        planes = coarse
    return total + (planes[:, 1:].square().mean((2, 3)) * rest).sum(1)


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
