"""How mambavc-ssf-lite codes a frame given others: motion, the prediction that follows, and the residual.

Frames are packed 4:2:0 (mvc/planes.py). The prediction is a matter of whole numbers, so it is the same everywhere.
Where no symbol of the residual was sent a frame is its prediction, so what stands still is copied exactly.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from itertools import repeat
from typing import NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor

from mvc.models.base import CELL_PX, Autoencoder, Code, Known, Moving, Shown, Side, Sides
from mvc.models.lite_video import MotionAutoencoder, motion_input
from mvc.models.weighing import rd_lambda
from mvc.ops.motion_search import search
from mvc.ops.parallel import each
from mvc.ops.warp import warp
from mvc.planes import PACKING, luma_of

KEY, LAST, MOTION = "key", "last", "motion"  # the latents that are known: keyframe's, last residual's, last motion's
RESIDUAL = "residual"
PAST: Side = "past"
FUTURE: Side = "future"
"""The references of a frame between two others, its parts of motion, and its motion fields towards them."""

SEARCH_WEIGHT = 0.08  # mean absolute difference per bit of a vector at MIDDLE_LAMBDA; measured on three clips
MIDDLE_LAMBDA = 0.02


class _Moved(NamedTuple):
    """What a reference gives of a frame: the motion's latents and field, None without any, and the prediction."""

    y_hat: Tensor
    field: Tensor | None
    prediction: Tensor


class LiteFlow:
    """A TwoSidedFlow (mvc/models/base.py); the frames that are known are uint8 [B, H/2, W/2, 6]."""

    parts = (MOTION, RESIDUAL)
    between_parts = (PAST, FUTURE, RESIDUAL)
    network_of: Mapping[str, str] = {PAST: MOTION, FUTURE: MOTION, RESIDUAL: RESIDUAL}

    def __init__(self, networks: Mapping[str, Autoencoder]) -> None:
        self.motion, self.residual = (networks[name] for name in self.parts)
        self.channels = cast("MotionAutoencoder", self.motion).config.motion

    def first(self, y_hat: Tensor) -> dict[str, Tensor]:
        """Of frames between there are none yet: their latents are zero."""
        y_hat = y_hat.float()
        return {KEY: y_hat, LAST: torch.zeros_like(y_hat), MOTION: y_hat.new_zeros(*y_hat.shape[:3], self.channels)}

    def inter(self, code: Code, x: Tensor | None, known: Known, index: Tensor, without: str = "") -> Shown:
        """As InterFlow says; x [B, H/2, W/2, 6]."""
        earlier = known.latents
        given = torch.cat([earlier[MOTION], earlier[LAST]], -1)
        signal = None if x is None or without == MOTION else next(self.searched(x, [known.moving], index))
        moved = self._moved(code, MOTION, signal, known.moving, given, index)
        fields: dict[str, Tensor] = {} if moved.field is None else {PAST: moved.field}
        return self._shown(code, x, moved.prediction, known, moved.y_hat, fields, index)

    def sides(self, past: Known, future: Known, later: Side) -> Sides:
        """As TwoSidedFlow says: each moves by half of the motion that joins the two."""
        joining = future.fields.get(PAST) if later == FUTURE else past.fields.get(FUTURE)
        if joining is None:
            return past.moving, future.moving
        base = halved(joining)
        bases = (base, -base) if later == FUTURE else (-base, base)
        return Moving(past.frame, bases[0]), Moving(future.frame, bases[1])

    def between(self, code: Code, x: Tensor | None, past: Known, sides: Sides, index: Tensor) -> Shown:
        """As TwoSidedFlow says: the mean of what its two references, moved, make of the frame."""
        given = torch.cat([torch.zeros_like(past.latents[MOTION]), past.latents[LAST]], -1)
        signals: Iterator[Tensor | None] = repeat(None, 2) if x is None else self.searched(x, sides, index)
        one, other = (
            self._moved(code, name, signal, of, given, index)
            for name, signal, of in zip((PAST, FUTURE), signals, sides, strict=True)
        )
        prediction = mean(one.prediction, other.prediction)
        fields: dict[str, Tensor] = {
            name: own.field for name, own in ((PAST, one), (FUTURE, other)) if own.field is not None
        }
        return self._shown(code, x, prediction, past, one.y_hat, fields, index)

    def _moved(self, code: Code, name: str, signal: Tensor | None, of: Moving, given: Tensor, index: Tensor) -> _Moved:
        moving = None if signal is None else moves(signal)[:, None, None, None]
        if moving is not None and not moving.any() and not torch.is_grad_enabled():
            motion = None  # nothing moves, so none is sent
        else:
            motion = code(name, signal, given, of)
        if motion is None:
            return self._still(of)
        if motion.y_hat not in of.made:
            of.made[motion.y_hat] = self._made(motion.y_hat, moving, of, index)
        made: _Moved = of.made[motion.y_hat]
        return made

    def _made(self, y_hat: Tensor, moving: Tensor | None, of: Moving, index: Tensor) -> _Moved:
        own = self.motion.synthesise(y_hat, index)
        # of a batch, in training; a GPU is not asked whether it matters
        if moving is not None and ((moving.is_cuda and torch.is_grad_enabled()) or not moving.all()):
            y_hat, own = y_hat * moving, own * moving
        field = own if of.base is None else of.base + own
        return _Moved(y_hat, field, warp(of.frame, field))

    def _still(self, of: Moving) -> _Moved:
        """What a reference gives where no motion is sent."""
        if None not in of.made:
            batch, height, width, _ = of.frame.shape
            cell = CELL_PX // PACKING
            y_hat = torch.zeros(batch, height // cell, width // cell, self.channels, device=of.frame.device)
            prediction = of.frame.float() / 255 if of.base is None else warp(of.frame, of.base)
            of.made[None] = _Moved(y_hat, of.base, prediction)
        still: _Moved = of.made[None]
        return still

    def _shown(
        self,
        code: Code,
        x: Tensor | None,
        prediction: Tensor,
        known: Known,
        y_motion: Tensor,
        fields: dict[str, Tensor],
        index: Tensor,
    ) -> Shown:
        """The frame of a prediction and what is left of x, given what is known of the frame before."""
        earlier = known.latents
        given = torch.cat([earlier[KEY], earlier[LAST], y_motion], -1)
        residual = code(RESIDUAL, None if x is None else x - prediction, given, None)
        latents = {KEY: earlier[KEY], LAST: torch.zeros_like(earlier[LAST]), MOTION: y_motion}
        if residual is None:
            return Shown(prediction, latents, fields)
        assert residual.sent is not None, "the residual's places are watched"
        left = self.residual.synthesise(residual.y_hat, index)
        said = residual.sent.flatten(1).any(1)[:, None, None, None]  # one that says nothing is left out
        x_hat = prediction + left * spread(residual.sent)
        return Shown(x_hat, latents | {LAST: residual.y_hat * said}, fields)

    @torch.no_grad()
    def searched(self, x: Tensor, sides: Sequence[Moving], index: Tensor) -> Iterator[Tensor]:
        """What the motion of each is analysed from: the frames, and the flow beside the base that a search finds."""
        current = luma_of((255 * x).round().to(torch.uint8).cpu())
        weights = (SEARCH_WEIGHT * (MIDDLE_LAMBDA / rd_lambda(index)).sqrt()).tolist()
        begun = [(255 * self._still(of).prediction).round().to(torch.uint8).cpu() for of in sides]
        pairs = [pair for own in begun for pair in zip(current, luma_of(own), weights, strict=True)]
        # training on a CPU has a process for each core
        threads = (os.cpu_count() or 1) if x.is_cuda else torch.get_num_threads()
        flows = torch.stack(each(lambda pair: search(*pair), pairs, threads)).to(x.device)
        for of, flow in zip(sides, flows.split(len(x)), strict=True):
            field = F.pad(flow, (0, 1))
            warped = warp(of.frame, field if of.base is None else of.base + field)
            yield motion_input(x, warped.to(x.dtype), flow.to(x.dtype))


def moves(signal: Tensor) -> Tensor:
    """Whether the search found motion, of what the motion is analysed from: bool [B]."""
    return signal[..., -2:].flatten(1).any(1)


def halved(field: Tensor) -> Tensor:
    """Half of a flow, in whole eighths of a pixel, halves rounded up; its scale is 0."""
    half = torch.floor(4 * field + 0.5) / 8
    half[..., 2] = 0
    return half


def mean(one: Tensor, other: Tensor) -> Tensor:
    """Of two predictions in steps of 1 / 255, halves rounded up."""
    if torch.is_grad_enabled():
        return (one + other) / 2
    return torch.floor((255 * one + 255 * other).round() / 2 + 0.5) / 255


def spread(sent: Tensor) -> Tensor:
    """Shares of the residual [B, H/2, W/2, 1] in 0..1, of the counts of symbols at its latents' places."""
    share = (sent > 0).float().permute(0, 3, 1, 2)
    shares = F.interpolate(share, scale_factor=CELL_PX / PACKING, mode="bilinear", align_corners=False)
    return shares.permute(0, 2, 3, 1)
