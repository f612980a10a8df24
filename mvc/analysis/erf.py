"""Effective receptive fields: how much of the picture one latent sees (MambaVC paper, section 4.6.2, figures 7 and 15).

The field of a latent is the absolute gradient of its value with respect to every pixel (Luo et al. 2016). A latent has
many channels, and their plain sum would let them cancel or add up by accident (a DCT's rows all agree in one corner),
so they are summed with random signs: what averages out over the signs is the cross terms. The area that holds a
share of the field's total is Ding et al.'s high-contribution area (RepLKNet, 2022).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

PROBES = 4
CROP_PX = 512
SHARES = (0.5, 0.8, 0.95, 0.99)

Map = NDArray[np.float64]


@dataclass(frozen=True)
class Area:
    """What holds a share of the field's total: the fewest pixels, and the smallest square around the latent."""

    total_share: float
    pixels_share: float  # of the crop's area, as square_share, which counts the part of the square in the crop
    square_px: int  # its side
    square_share: float


@dataclass(frozen=True, eq=False)
class Field:
    """The field of the central latent of a crop."""

    map: Map  # [H, W], sums to 1
    centre_px: tuple[float, float]  # row and column of the middle of the latent's own pixels
    areas: tuple[Area, ...]
    inside_share: Map  # [side + 1]: of the total, what a square of each side in pixels around the latent holds

    def numbers(self) -> dict[str, Any]:
        return {
            "crop_px": list(self.map.shape),
            "centre_px": list(self.centre_px),
            "areas": [
                {
                    "total_share": area.total_share,
                    "pixels_share": round(area.pixels_share, 6),
                    "square_px": area.square_px,
                    "square_share": round(area.square_share, 6),
                }
                for area in self.areas
            ],
        }


def centre(output: Tensor, x: Tensor) -> tuple[int, int, tuple[float, float]]:
    """Row and column of the central position of output [1, h, w, C], and the middle of its pixels in x [1, H, W, 3]."""
    row, column = output.shape[1] // 2, output.shape[2] // 2
    cell = x.shape[1] / output.shape[1], x.shape[2] / output.shape[2]
    return row, column, ((row + 0.5) * cell[0], (column + 0.5) * cell[1])


def gradient_map(output: Tensor, x: Tensor, probes: int = PROBES) -> Map:
    """[H, W]: the absolute gradient of the central latent of output [1, h, w, C] at every pixel of x [1, H, W, 3].

    Summed over colours and averaged over `probes` sums of the channels with random signs, always the same ones.
    `output` is a function of x, which requires gradients.
    """
    row, column, _ = centre(output, x)
    latent = output[0, row, column]
    signs = torch.randint(2, (probes, len(latent)), generator=torch.Generator().manual_seed(0)) * 2 - 1
    total = torch.zeros(x.shape[1:3], dtype=torch.float64)
    for sign in signs.to(latent):
        gradient = torch.autograd.grad(latent, x, sign, retain_graph=True)[0]
        total += gradient[0].abs().sum(-1).double().cpu()
    return np.asarray((total / probes).numpy())


def field(gradient: Map, centre_px: tuple[float, float]) -> Field:
    """The numbers of a gradient map [H, W], which may be the mean of several.

    Squares grow around `centre_px`, whose coordinates are multiples of 1/2: whole numbers lie between two pixels.
    """
    share = gradient / max(gradient.sum(), np.finfo(np.float64).tiny)
    rows, columns = (np.abs(np.arange(n) + 0.5 - c) for n, c in zip(share.shape, centre_px, strict=True))
    side = (2 * np.maximum(rows[:, None], columns)).astype(np.int64) + 1  # of the square that just holds the pixel
    inside = np.cumsum(np.bincount(side.ravel(), share.ravel()))
    pixels_inside = np.cumsum(np.bincount(side.ravel())) / share.size
    falling = np.cumsum(np.sort(share.ravel())[::-1])
    areas = []
    for total in SHARES:
        enough = total - 1e-9  # sums of many small shares
        square = int(np.searchsorted(inside, enough))
        pixels = int(np.searchsorted(falling, enough)) + 1
        areas.append(Area(total, pixels / share.size, square, float(pixels_inside[square])))
    return Field(share, centre_px, tuple(areas), np.asarray(inside, np.float64))


def crop(x: Tensor, side: int) -> Tensor:
    """The central square of x [1, H, W, 3] of `side` pixels."""
    top, left = (x.shape[1] - side) // 2, (x.shape[2] - side) // 2
    return x[:, top : top + side, left : left + side].contiguous()
