"""How mambavc-ssf-lite codes a frame given the one before it: motion, the prediction that follows, and the residual.

Frames are packed 4:2:0 (mvc/planes.py). The prediction is a matter of whole numbers, so it is the same everywhere.
Where no symbol of the residual was sent a frame is its prediction, so what stands still is copied exactly.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor

from mvc.models.base import CELL_PX, Autoencoder, Code, Known
from mvc.models.lite import rd_lambda
from mvc.models.lite_video import MotionAutoencoder, motion_input
from mvc.ops.motion_search import search
from mvc.ops.parallel import each
from mvc.ops.warp import warp
from mvc.planes import PACKING, luma_of

KEY, LAST, MOTION = "key", "last", "motion"  # the latents that are known: keyframe's, last residual's, last motion's
SEARCH_WEIGHT = 0.08  # mean absolute difference per bit of a vector at MIDDLE_LAMBDA; measured on three clips
MIDDLE_LAMBDA = 0.02


class LiteFlow:
    """An InterFlow (mvc/models/base.py); the frame that is known is uint8 [B, H/2, W/2, 6]."""

    parts = ("motion", "residual")

    def __init__(self, networks: Mapping[str, Autoencoder]) -> None:
        self.motion, self.residual = (networks[name] for name in self.parts)
        self.channels = cast("MotionAutoencoder", self.motion).config.motion

    def first(self, y_hat: Tensor) -> dict[str, Tensor]:
        """Of frames between there are none yet: their latents are zero."""
        y_hat = y_hat.float()
        return {KEY: y_hat, LAST: torch.zeros_like(y_hat), MOTION: y_hat.new_zeros(*y_hat.shape[:3], self.channels)}

    def inter(
        self, code: Code, x: Tensor | None, known: Known, index: Tensor, without: str = ""
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """As InterFlow says; x [B, H/2, W/2, 6]."""
        earlier = known.latents
        signal = None if x is None or without == "motion" else self.searched(x, known.frame, index)
        moving = None if signal is None else signal[..., -2:].flatten(1).any(1)[:, None, None, None]
        if moving is not None and not moving.any() and not torch.is_grad_enabled():
            motion = None  # nothing moves, so none is sent
        else:
            motion = code("motion", signal, torch.cat([earlier[MOTION], earlier[LAST]], -1))
        still = known.frame.float() / 255
        if motion is None:
            y_motion, prediction = torch.zeros_like(earlier[MOTION]), still
        else:
            y_motion = motion.y_hat
            prediction = warp(known.frame, self.motion.synthesise(y_motion, index))
        # of a batch, in training; a GPU is not asked whether it matters
        if moving is not None and ((moving.is_cuda and torch.is_grad_enabled()) or not moving.all()):
            y_motion, prediction = y_motion * moving, torch.where(moving, prediction, still)
        signal = None if x is None else x - prediction
        residual = code("residual", signal, torch.cat([earlier[KEY], earlier[LAST], y_motion], -1))
        if residual is None:
            return prediction, {KEY: earlier[KEY], LAST: torch.zeros_like(earlier[LAST]), MOTION: y_motion}
        assert residual.sent is not None, "the residual's places are watched"
        left = self.residual.synthesise(residual.y_hat, index)
        x_hat = prediction + left * spread(residual.sent)
        said = residual.sent.flatten(1).any(1)[:, None, None, None]  # one that says nothing is left out
        return x_hat, {KEY: earlier[KEY], LAST: residual.y_hat * said, MOTION: y_motion}

    @torch.no_grad()
    def searched(self, x: Tensor, reference: Tensor, index: Tensor) -> Tensor:
        """What the motion is analysed from: the frames, and the flow that a search between them finds."""
        current = (255 * x).round().to(torch.uint8)
        weights = SEARCH_WEIGHT * (MIDDLE_LAMBDA / rd_lambda(index)).sqrt()
        pairs = list(zip(luma_of(current.cpu()), luma_of(reference.cpu()), weights.tolist(), strict=True))
        threads = (os.cpu_count() or 1) if x.is_cuda else 1  # training on a CPU has a process for each core
        flow = torch.stack(each(lambda pair: search(*pair), pairs, threads)).to(x.device)
        warped = warp(reference, F.pad(flow, (0, 1)))
        return motion_input(x, warped.to(x.dtype), flow.to(x.dtype))


def spread(sent: Tensor) -> Tensor:
    """Shares of the residual [B, H/2, W/2, 1] in 0..1, of the counts of symbols at its latents' places."""
    share = (sent > 0).float().permute(0, 3, 1, 2)
    shares = F.interpolate(share, scale_factor=CELL_PX / PACKING, mode="bilinear", align_corners=False)
    return shares.permute(0, 2, 3, 1)
