"""Rate and distortion on held-out pictures with estimated bits: a signal for training, never a result to report."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor
from torch.func import functional_call

from mvc.tiling import central
from mvc.train.look import LookObjective
from mvc.train.objective import Objective

VALIDATED = (9, 27, 45, 63)  # quality indices of -q 2, 4, 6 and 8; a model of one rate has the index 0 alone
SIDE_PX = 512


def middle(samples: np.ndarray, stride: int = 64) -> np.ndarray:
    """The middle of a picture or frames [..., H, W, 3], at most 512 x 512 and sides multiples of a model's stride."""
    (top, height), (left, width) = (central(side, SIDE_PX, stride) for side in samples.shape[-3:-1])
    return samples[..., top : top + height, left : left + width, :]


@torch.no_grad()
def validate(
    objective: Objective | LookObjective,
    average: dict[str, Tensor],
    pictures: list[np.ndarray],
    device: str,
    indices: Sequence[int] = VALIDATED,
) -> list[dict[str, float]]:
    """Mean estimated bits per pixel and PSNR of the averaged weights over pictures or clips, a row for each index.

    The processes share the pictures; all must call this, and all get the same rows.
    """
    rank, world = (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)
    model: Any = objective.model
    stride = max(network.stride for network in model.networks.values())
    weights = {f"model.{name}": value for name, value in average.items()}
    sums = torch.zeros(len(indices), 2, device=device)
    for samples in pictures[rank::world]:
        x = torch.from_numpy(middle(samples, stride).copy())[None].to(device).float() / 255
        for row, quality in enumerate(indices):
            inputs = (x, torch.tensor([quality], device=device))
            result = functional_call(objective, weights, inputs, {"noise": False})
            sums[row, 0] += result["bpp"][0]
            sums[row, 1] -= 10 * torch.log10(result["mse"][0].clamp_min(1e-10))
    if world > 1:
        dist.all_reduce(sums)
    means = (sums / len(pictures)).tolist()
    return [
        {"quality": quality, "estimated_bpp": bpp, "psnr": psnr}
        for quality, (bpp, psnr) in zip(indices, means, strict=True)
    ]
