"""MS-SSIM (Wang et al. 2003) as a thing to descend: how much structure is lost, scale by scale."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

# Weights of scales 2 to 5. The first scale has 4 % of the weight and three quarters of the cost: at full resolution the
# squared error is enough.
SCALE_WEIGHTS = (0.2856, 0.3001, 0.2363, 0.1333)
WINDOW_PX, STRIDE_PX = 6, 2
C1, C2 = 0.01**2, 0.03**2
SMALLEST_PX = WINDOW_PX << len(SCALE_WEIGHTS)
LAMBDA_RATIO = 1300.0
"""lambda of 1 - MS-SSIM over lambda of the squared error (0..255) at equal rates, as compressai's models pair them."""


def ms_ssim_loss(x: Tensor, x_hat: Tensor) -> Tensor:
    """About 1 - MS-SSIM of each sample, [B]; x and x_hat are [B, H, W, 3] in 0..1, both sides at least SMALLEST_PX.

    The windows are uniform instead of Gaussian and 1 - product becomes a sum, whose gradient is everywhere finite;
    on pictures within 20 % of the real one, which has the first scale too (tests).
    """
    total = x.new_zeros(len(x))
    for lost in structure_maps(x, x_hat):
        total = total + lost.mean((1, 2))
    return total


def structure_maps(x: Tensor, x_hat: Tensor) -> list[Tensor]:
    """What `ms_ssim_loss` is the sum of the means of: a scale each, of its windows, [B, h, w]."""
    x = x.permute(0, 3, 1, 2).contiguous()
    error = x_hat.permute(0, 3, 1, 2).contiguous() - x
    maps = []
    for weight in SCALE_WEIGHTS:
        x, error = F.avg_pool2d(x, 2), F.avg_pool2d(error, 2)
        means = [F.avg_pool2d(t, WINDOW_PX, STRIDE_PX) for t in (x, error, x * x, error * error, x * error)]
        mean, offset = means[:2]
        variance, noise, covariance = means[2] - mean**2, means[3] - offset**2, means[4] - mean * offset
        lost = noise / (2 * variance + 2 * covariance + noise + C2)  # 1 - contrast x structure
        if weight == SCALE_WEIGHTS[-1]:
            lost = 1 - (1 - lost) * (1 - offset**2 / (mean**2 + (mean + offset) ** 2 + C1))  # luminance
        maps.append(weight * lost.mean(1))
    return maps
