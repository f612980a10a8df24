"""Refinement of motion: latents moved to where they predict a frame better, or cost less, than what g_a gives.

One analysis serves all clips and rates, and where rates are high it loses up to 2 dB of the prediction that the search
has found. Here latents go down a gradient through rounding, the prior, the synthesis and the warp, of the bits of
motion and of what the residual will take: half of log2(1 + E / D) bits for a sample of luma, where E is the mean
squared error around it and D the error at which a bit is worth its price at this quality, 1 / (2 ln 2 lambda). That is
the rate of a Gaussian source, and where the prediction is good enough the error itself.
"""

from __future__ import annotations

import math
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor

from mvc.exact.lower import to_float
from mvc.models.base import Moving
from mvc.models.estimate import RoundedEstimator
from mvc.models.lite_video import MotionAutoencoder
from mvc.models.network import Network
from mvc.models.weighing import error_weights, rd_lambda
from mvc.ops.warp import warp
from mvc.planes import PACKING
from mvc.tiling import cells

ITERATIONS = (0, 0, 32, 80)  # for each effort
SQUARE = 4  # places of a packed frame to a side in which an error is a mean
STEP = 0.2  # of the first iteration, in quantisation steps; later ones fall to nothing
MOMENTA = (0.8, 0.95)  # of Adam, for a few dozen iterations


class _Bits(RoundedEstimator):
    """Bits of the latents alone."""

    def hyper(self, z: Tensor) -> Tensor:
        return torch.round(z).to(self.dtype)


class Motion:
    """The motion's network as floats: nearly what its integers are, and with gradients."""

    def __init__(self, network: Network) -> None:
        model = cast("MotionAutoencoder", network.model)
        with torch.random.fork_rng(devices=[]):
            prior, synthesis = model.untrained_prior(), model.untrained_synthesis()
        self.rounding = model.rounding
        self.prior = to_float(network.prior, cast("Any", prior)).requires_grad_(False)
        self.synthesis = to_float(model.g_s, cast("Any", synthesis)).requires_grad_(False)

    def refined(
        self,
        y: Tensor,
        z: Tensor,
        given: Tensor,
        frame: Tensor,
        of: Moving,
        size: tuple[int, int],
        index: Tensor,
        iterations: int,
    ) -> Tensor:
        """Better latents than y [1, h, w, M] to go with the hyperlatent z and what the prior is given.

        frame [1, H/2, W/2, 6] is in 0..1 and what moves of its shape in uint8; of both what lies beyond `size`,
        (height, width) in pixels, is padding, whose error costs nothing. The same on every call: noise is drawn anew.
        """
        kept = [slice(cells(side, PACKING)) for side in size]
        weights = error_weights(frame.shape[-1]).to(frame.device) * (float(rd_lambda(index)) / 3)
        weights = 2 * math.log(2) * 255**2 / PACKING**2 * weights  # of squares whose mean over a square is E / D

        def cost(latents: Tensor) -> Tensor:
            coder = _Bits(None, index, True, rounding=self.rounding)
            y_hat = self.prior.code(coder, index, z, latents, given)
            field = self.synthesis(y_hat, index)
            moved = warp(of.frame, field if of.base is None else of.base + field)
            error = (moved - frame)[:, kept[0], kept[1]].square() @ weights
            around = F.avg_pool2d(error[:, None], SQUARE, ceil_mode=True)
            lacking: Tensor = (PACKING * SQUARE) ** 2 / 2 * torch.log2(1 + around).sum()
            return lacking + coder.bits.sum()

        devices = [y.device] if y.device.type == "cuda" else []
        with torch.random.fork_rng(devices=devices), torch.enable_grad():
            torch.manual_seed(0)
            return _descended(cost, y, iterations)


def _descended(cost: Any, y: Tensor, iterations: int) -> Tensor:
    """The cheapest of the latents on a way down from y."""
    best, least = y, math.inf
    moved = y.clone().requires_grad_()
    optimizer = torch.optim.Adam([moved], betas=MOMENTA)
    for iteration in range(iterations):
        optimizer.param_groups[0]["lr"] = STEP * (1 - iteration / iterations)
        total = cost(moved)
        if float(total.detach()) < least:
            best, least = moved.detach().clone(), float(total.detach())
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
    return best
