"""How much an error is to be seen: less where there is much going on, more where it is calm.

After XPSNR (Helmrich et al., 2020), which weighs the squared error of each block by its activity to the power of -1/2
(of the variance): the activity here is a local mean of gradients, and what is 1 is fixed and not the mean of the
picture, so that tiles of one picture are weighed alike.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

WINDOW_PX = 17
CALM = 1.5 / 255
"""What calm and calmer regions count as."""
USUAL = 6 / 255
"""The activity at which an error counts as it is: in the middle of photographs."""
STRENGTH = 0.2
"""Training weighs the squared error with MS-SSIM, so this is not 0: by the squared error alone the search would undo a
part of what training gained (docs/decisions.md)."""


def importance(x: Tensor, strength: float = STRENGTH) -> Tensor:
    """What the squared error of each pixel of x [1, H, W, 3] in 0..1 counts, [1, H, W, 1]; about 1 on the whole."""
    luma = x.float().mean(-1)[:, None]
    padded = F.pad(luma, (1, 1, 1, 1), mode="replicate")
    across = (padded[..., 1:-1, 2:] - padded[..., 1:-1, :-2]).abs()
    down = (padded[..., 2:, 1:-1] - padded[..., :-2, 1:-1]).abs()
    reach = WINDOW_PX // 2
    # one side after the other: a fifth of the time
    activity = F.avg_pool2d(across + down, (WINDOW_PX, 1), 1, (reach, 0), count_include_pad=False)
    activity = F.avg_pool2d(activity, (1, WINDOW_PX), 1, (0, reach), count_include_pad=False)
    return ((activity + CALM) / (USUAL + CALM)).pow(-strength)[:, 0, :, :, None]
