"""The squared error as it is seen: less of what is fine, of chroma, and where a picture is busy itself.

Weights of the bands are about what ColorVideoVDP says of errors of equal energy in them, the masking that of the
encoder's `--tune look` (docs/decisions.md).
"""

from __future__ import annotations

from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor

from mvc.colour import matrix_of

BT601 = 6
BANDS = ((0.3, 0.3), (0.9, 0.5), (2.0, 0.55), (2.4, 0.5), (1.0, 0.25))
"""Weights of errors in luma and chroma, from the finest octave to the fifth."""
REST = 0.4  # of all that is coarser
USUAL_ACTIVITY, LEAST_ACTIVITY = 40.0, 6.0  # energy of luma in a band, on the 0..255 scale
ACTIVITY_CELLS = 5  # it is a mean over so many by so many places of the band
SCALE = 8 / 3
"""About what makes it a mean squared error of RGB on photographs."""
SMALLEST_PX = ACTIVITY_CELLS << len(BANDS)


def seen_error(x: Tensor, x_hat: Tensor) -> Tensor:
    """The mean error of each sample [B], on the scale of squares of 0..255, of x and x_hat [B, H, W, 3] in 0..1.

    Both sides are multiples of 32, and at least SMALLEST_PX.
    """
    to_ycc, weights = _constants(x.device)
    original = (x.float() @ to_ycc).permute(0, 3, 1, 2).contiguous()
    error = (x_hat.float() @ to_ycc).permute(0, 3, 1, 2).contiguous() - original
    luma, total = original[:, :1], x.new_zeros(len(x), dtype=torch.float32)
    for weight in weights:
        coarse_luma, coarse_error = F.avg_pool2d(luma, 2), F.avg_pool2d(error, 2)
        activity = F.avg_pool2d(luma.square(), 2) - coarse_luma.square()
        activity = F.avg_pool2d(activity, ACTIVITY_CELLS, 1, ACTIVITY_CELLS // 2)
        energy = F.avg_pool2d(error.square(), 2) - coarse_error.square()
        masked = energy * ((activity + LEAST_ACTIVITY) / USUAL_ACTIVITY).rsqrt()
        total = total + (masked.mean((2, 3)) * weight).sum(1)
        luma, error = coarse_luma, coarse_error
    return SCALE * (total + REST * error.square().mean((1, 2, 3)))


@cache
def _constants(device: torch.device) -> tuple[Tensor, Tensor]:
    """Copied there once: a copy waits for all that a GPU has to do."""
    to_ycc = torch.tensor(255 * matrix_of(BT601).T, dtype=torch.float32)
    return to_ycc.to(device), torch.tensor([(luma, chroma, chroma) for luma, chroma in BANDS]).to(device)
