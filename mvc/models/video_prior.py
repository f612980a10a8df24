"""The priors of mambavc-lite for clips: they see what both ends have decoded, if it is whole numbers.

`given` are earlier latents, never pixels: so no rounding of pictures decides how a stream is parsed.
Tensors are channels last.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mvc.blocks.layers import Average, Composite, Depthwise, Leaky, Linear
from mvc.models.coding import Coder, size_of
from mvc.models.lite import Config
from mvc.models.prior import CodingPrior, Context, HyperSynthesis, Prior, Residual, Slice


def zero(layer: Linear) -> Linear:
    """The layer, started at zero: a branch that ends in it is not there at first."""
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


class Temporal(Composite):
    """What earlier latents [B, H, W, G] say about this frame's, as features [B, H, W, P]; at first nothing."""

    def __init__(self, given: int, width: int, features: int) -> None:
        super().__init__()
        self.inp = Linear(given, width)
        self.inp.weight.data *= 0.125  # latents reach hundreds, features about one
        self.mix = Residual(Depthwise(width, 5, "leaky"))
        self.mid, self.act = Linear(width, width), Leaky()
        self.out = zero(Linear(width, features))

    def forward(self, given: Tensor) -> Tensor:
        f = self.mix(self.act(self.inp(given)))
        said: Tensor = self.out(f + self.act(self.mid(f)))
        return said


class TemporalPrior(Prior):
    """That of mambavc-lite, which sees earlier latents as well."""

    def __init__(self, config: Config, given: int, width: int) -> None:
        c = config
        super().__init__(tuple(Slice(*s) for s in c.slices), c.hyper, c.hyper_hidden, c.features, c.context_hidden)
        self.temporal = Temporal(given, width, c.features)

    def code(
        self,
        coder: Coder,
        index: Tensor,
        z: Tensor | None = None,
        y: Tensor | None = None,
        given: Tensor | None = None,
    ) -> Tensor:
        """`given` [B, H, W, G] is in the units of the prior, None for nothing known."""
        features = _features(self, coder, index, z, y, given)
        return self.code_latent(coder, features, y)


def _features(
    prior: TemporalPrior | MotionPrior,
    coder: Coder,
    index: Tensor,
    z: Tensor | None,
    y: Tensor | None,
    given: Tensor | None,
) -> Tensor:
    """What the hyperlatent says of the latents [B, H, W, P], and what is known of earlier ones."""
    height, width = size_of(coder, y)
    features: Tensor = prior.h_s(coder.hyper(z), index)[:, :height, :width]
    return features if given is None else features + prior.temporal(given)


class MotionPrior(CodingPrior):
    """Five passes from coarse to fine, each over places between those known: nearly all bits are in mean vectors.

    The mean of a pass is that of the known neighbours and what a small network adds to it.
    """

    def __init__(self, channels: int, features: int, given: int) -> None:
        super().__init__()
        self.channels = channels
        self.h_s = HyperSynthesis(channels, 32, features)
        self.temporal = Temporal(given, features, features)
        self.average = Average()
        self.contexts = nn.ModuleList(Context(features + 2 * channels, channels, 64, features) for _ in range(5))
        with torch.no_grad():
            for number, context in enumerate(cast("Sequence[Context]", self.contexts)):
                context.scale.bias[:] = 0.3
                context.scale.bias[:8] = 1.0  # of each direction four: its mean, and how it changes
                context.scale.bias[:8:4] = 3.0 if number else 4.0

    @property
    def widths(self) -> list[int]:
        return [self.channels]

    def code(
        self,
        coder: Coder,
        index: Tensor,
        z: Tensor | None = None,
        y: Tensor | None = None,
        given: Tensor | None = None,
    ) -> Tensor:
        """As TemporalPrior. All passes are one stream."""
        features = _features(self, coder, index, z, y, given)
        batch, height, width, _ = features.shape
        y_hat = features.new_zeros(batch, height, width, self.channels)
        known = features.new_zeros(height, width, 1)
        contexts = cast("Sequence[Context]", self.contexts)
        for number, (mask, context) in enumerate(zip(passes(known), contexts, strict=True)):
            near = self._neighbours(y_hat, known, number) if number else y_hat
            hidden, mean, log_scale = context(torch.cat([features, y_hat, near], -1))
            coded = coder.latent(y, mean + near, log_scale, mask) * mask
            y_hat = y_hat + coded + context.lrp(hidden, coded) * mask
            known = known + mask
        coder.end_slice()
        return y_hat

    def _neighbours(self, y_hat: Tensor, known: Tensor, number: int) -> Tensor:
        """The mean of the known places around each, [B, H, W, C]: those that lie nearest in this pass."""
        distance = 2 if number < 3 else 1
        reach = [(a, b) for a in (-distance, 0, distance) for b in (-distance, 0, distance)]
        diagonal = number in (1, 3)
        near = [(a, b) for a, b in reach if (a != 0 and b != 0) == diagonal and (a, b) != (0, 0)]
        both = torch.cat([y_hat, known.expand(len(y_hat), -1, -1, 1)], -1)
        height, width = known.shape[:2]
        padded = F.pad(both, (0, 0, *[distance] * 4))
        total = padded.new_zeros(both.shape)
        for a, b in near:
            total = total + padded[:, distance + a : distance + a + height, distance + b : distance + b + width]
        return cast("Tensor", self.average(total[..., :-1], total[0, ..., -1:]))


def passes(like: Tensor) -> list[Tensor]:
    """Masks [H, W, 1] of the five passes; together they are every place once. `like` is [H, W, 1]."""
    i = torch.arange(like.shape[0], device=like.device)[:, None]
    j = torch.arange(like.shape[1], device=like.device)
    row, column = i % 4, j % 4
    masks = [
        (row == 0) & (column == 0),
        (row == 2) & (column == 2),
        ((row == 0) & (column == 2)) | ((row == 2) & (column == 0)),
        (i % 2 == 1) & (j % 2 == 1),
        (i + j) % 2 == 1,
    ]
    return [mask.to(like.dtype)[..., None] for mask in masks]
