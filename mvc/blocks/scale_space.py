"""Scale-space flow: prediction from a stack of more and more blurred references (Agustsson et al. 2020, section 3)."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

SIGMA, LEVELS = 1.5, 5  # of the blur, and how many blurred levels there are beside the sharp one


def blur(x: Tensor) -> Tensor:
    """Gaussian blur of pictures [B, C, H, W], edges repeated."""
    radius = math.ceil(3 * SIGMA)
    place = torch.arange(-radius, radius + 1, device=x.device, dtype=x.dtype)
    line = torch.exp(-0.5 * (place / SIGMA) ** 2)
    kernel = (line / line.sum()).expand(x.shape[1], 1, 1, -1)
    x = F.conv2d(F.pad(x, (radius, radius, 0, 0), "replicate"), kernel, groups=x.shape[1])
    return F.conv2d(F.pad(x, (0, 0, radius, radius), "replicate"), kernel.transpose(2, 3), groups=x.shape[1])


def volume(x: Tensor) -> Tensor:
    """The reference [B, C, H, W], sharp and at five scales: [B, C, 6, H, W].

    From the second blurred level on each is made at half the size of the one before, and enlarged again by twos.
    """
    small = blur(x)
    levels = [x, small]
    for halvings in range(1, LEVELS):
        small = large = blur(F.avg_pool2d(small, 2))
        for _ in range(halvings):
            large = F.interpolate(large, scale_factor=2.0, mode="bilinear", align_corners=False)
        levels.append(large)
    return torch.stack(levels, 2)


def predict(reference: Tensor, motion: Tensor) -> Tensor:
    """A frame [B, H, W, 3] from its reference and motion [B, H, W, 3], both channels last.

    motion holds the flow to the right and downward in half widths and half heights of the picture, and the scale, -1
    sharp ... 1 most blurred; all three are interpolated linearly and end at the edge.
    """
    batch, height, width, _ = reference.shape
    rows = (2 * torch.arange(height, device=motion.device, dtype=motion.dtype) + 1) / height - 1
    columns = (2 * torch.arange(width, device=motion.device, dtype=motion.dtype) + 1) / width - 1
    flow, scale = motion.split([2, 1], -1)
    places = torch.stack(torch.meshgrid(columns, rows, indexing="xy"), -1) + flow
    grid = torch.cat([places, scale], -1)[:, None]  # [B, 1, H, W, 3]
    levels = volume(reference.permute(0, 3, 1, 2))
    warped = F.grid_sample(levels, grid, mode="bilinear", padding_mode="border", align_corners=False)
    return warped.view(batch, -1, height, width).permute(0, 2, 3, 1)
