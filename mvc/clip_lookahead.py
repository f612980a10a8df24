"""How many frames in a row are best between two others, told from the frames themselves before any of them is coded.

Frames are made small, and predicted from each other. That tells in most cases what coding a run in each way would show:
what stands still wants as many in a row as may be, what moves one, and what cannot be predicted over a distance none.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray

from mvc.models.lite_flow import SEARCH_WEIGHT
from mvc.ops.motion_search import halved, search
from mvc.ops.warp import moved
from mvc.planes import fitted
from mvc.tiling import round_up

SIDE = 64
"""The shorter side of a small frame is this at the least, in pixels, if its frame has so many."""
MANY, NONE = 220.0, 100.0
"""Mean squared errors in steps of 255: where that over a run is below the first, as many in a row are best as may be;
where the geometric mean of that and of the error from frame to frame is above the second, none. Fitted to 137 runs of
67 clips, coded in each way (docs/decisions.md).
"""
LEAST, FAST_PX = 6.0, 5.0
"""What is added to the first error, and by how much motion that is multiplied by e: long vectors are dear to code."""


def promising(luma: Sequence[NDArray[np.uint8]], most: int) -> int:
    """How many in a row, of 0, 1 and `most`, for frames of which the first is the anchor before a run of the others."""
    small = [_small(own) for own in luma]
    far, motion = _predicted(small[-1], small[0])
    motion *= luma[0].shape[0] / small[0].shape[0]
    if (far + LEAST) * math.exp(min(motion / FAST_PX, 10)) < MANY:
        return most
    near = float(np.mean([_predicted(frame, before)[0] for before, frame in pairwise(small)]))
    return 0 if near * far > NONE**2 else min(1, most)


def _small(luma: NDArray[np.uint8]) -> NDArray[np.uint8]:
    luma = np.array(luma)  # a source's may be read-only or spread out
    while min(luma.shape) >= 2 * SIDE:
        luma = halved(luma)
    return luma


def _predicted(frame: NDArray[np.uint8], reference: NDArray[np.uint8]) -> tuple[float, float]:
    """A small frame from another: the mean squared error, and how far it moves in its pixels, across and down."""
    height, width = frame.shape
    current, other = (fitted(own, round_up(height, 16), round_up(width, 16)) for own in (frame, reference))
    flow = search(torch.from_numpy(current), torch.from_numpy(other), SEARCH_WEIGHT, (height, width)).numpy()
    difference = moved(other, flow)[:height, :width].astype(np.float32) - frame
    return float(np.square(difference).mean()), float(np.abs(flow).mean())
