"""What errors weigh in mambavc-lite: against bits, and those of a clip's planes against each other."""

from __future__ import annotations

import torch
from torch import Tensor

from mvc.planes import PACKING, SAMPLES
from mvc.quality import INDICES

LAMBDA_MIN, LAMBDA_SPAN = 0.0005, 600.0


def rd_lambda(index: Tensor) -> Tensor:
    """Weight of the mean squared error on the 0..255 scale against bits per pixel, for quality index 0..63."""
    return LAMBDA_MIN * LAMBDA_SPAN ** (index.float() / (INDICES - 1))


# Of packed 4:2:0: the error in luma of the limited range against that in RGB, and the share of either chroma plane. RGB
# alone would weigh them with 1.1 and 0.8, luma alone with 0.
LUMA_SCALE, CHROMA_WEIGHT = (255 / 219) ** 2, 0.35


def error_weights(samples: int) -> Tensor:
    """What the squared error of each channel counts, so that the sum over a position is one of RGB."""
    if samples != SAMPLES:
        return torch.ones(samples)
    luma = 3 * LUMA_SCALE
    return torch.tensor([luma] * 4 + [PACKING**2 * CHROMA_WEIGHT * luma] * 2)
