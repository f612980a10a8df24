"""What all blocks of a neighbourhood have in common: a weak grid, which people see and networks hardly do."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from mvc.blocks.layers import unshuffle


def pattern(error: Tensor, block_px: int, blocks: int) -> Tensor:
    """The mean square, [B], of the means over up to blocks x blocks blocks at each of their places; error [B, H, W, C].

    Both sides are multiples of block_px.
    """
    places = unshuffle(error, block_px).permute(0, 3, 1, 2)
    many = [min(blocks, side) for side in places.shape[2:]]
    return F.avg_pool2d(places, many).square().mean((1, 2, 3))
