"""The prior of mambavc-lite: hyper-synthesis, slice contexts and latent residual prediction.

It runs unchanged in training (float), encoding and decoding (lowered to integers, see mvc/exact). Every layer used here
is one that mvc/exact can lower, every module of such layers a `Composite`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import cast

import torch
from torch import Tensor, nn

from mvc.blocks.layers import Clamp, Composite, Depthwise, Leaky, Linear, QualityGain, shuffle
from mvc.exact.fixed import COARSE
from mvc.models.coding import Coder, Part, Prediction, Support, checkerboard, code_slice, size_of, strips_of
from mvc.tiling import widened

REACH = 2  # rows that a 5 x 5 kernel sees above and below


@dataclass(frozen=True)
class Slice:
    """Latent channels coded together, in one pass over all positions or in two over a checkerboard."""

    channels: int
    passes: int = 1


class Residual(Composite):
    """x + layer(x)."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        correction: Tensor = self.layer(x)
        return x + correction


class HyperSynthesis(Composite):
    """h_s: z_hat [B, H/4, W/4, Z] -> features [B, H, W, P] at the latent's resolution, which may cover more than it."""

    def __init__(self, hyper: int, hidden: int, features: int) -> None:
        super().__init__()
        self.gain_in = QualityGain(hyper)
        self.up1 = Linear(hyper, 4 * hidden)
        self.mix1 = Residual(Depthwise(hidden, 5, "leaky"))
        self.up2 = Linear(hidden, 4 * features)
        self.mix2 = Residual(Depthwise(features, 5, "leaky"))
        self.gain = QualityGain(features)

    def forward(self, z_hat: Tensor, index: Tensor) -> Tensor:
        return self.fine(self.coarse(z_hat, index), index)

    def coarse(self, z_hat: Tensor, index: Tensor) -> Tensor:
        """The first half, at half the latent's resolution: [B, H/2, W/2, hidden]."""
        mixed: Tensor = self.mix1(shuffle(self.up1(self.gain_in(z_hat, index)), 2))
        return mixed

    def fine(self, coarse: Tensor, index: Tensor, rows: slice | None = None) -> Tensor:
        """The second half, of all rows or of some, which begin at an even one."""
        if rows is None:
            rows = slice(0, 2 * coarse.shape[1])
        wide, own = widened(rows, REACH, 2 * coarse.shape[1])
        mixed = self.mix2(shuffle(self.up2(coarse[:, wide.start // 2 : -(-wide.stop // 2)]), 2))
        features: Tensor = self.gain(mixed[:, own], index)
        return features


class Context(Composite):
    """One pass: support [B, H, W, S] -> mean and log-scale of its channels, and afterwards their correction (LRP)."""

    def __init__(self, support: int, channels: int, hidden: int, features: int) -> None:
        super().__init__()
        self.inp = Linear(support, hidden)
        self.mix = Residual(Depthwise(hidden, 5, "leaky"))
        self.mid = Linear(hidden, hidden)
        self.act = Leaky()
        self.mean = Linear(hidden, channels)
        self.scale = Linear(hidden, channels)
        self.lrp_in = Linear(hidden + channels, 64)
        self.lrp_out = Linear(64, channels)
        self.clamp = Clamp()
        with torch.no_grad():
            self.inp.weight[:, features:] *= 0.1  # latents reach hundreds, features about one
            for layer in (self.mean, self.scale, self.lrp_out):
                layer.weight *= 0.1
                nn.init.zeros_(layer.bias)
            nn.init.constant_(self.scale.bias, 3.0)

    def forward(self, support: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """-> hidden [B, H, W, hidden], mean and log-scale [B, H, W, m]."""
        return self.predict(self.mixed(support))

    def mixed(self, support: Tensor) -> Tensor:
        """The first half, which looks around: [B, H, W, hidden]."""
        mixed: Tensor = self.mix(self.inp(support))
        return mixed

    def predict(self, mixed: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The second half, each position for itself."""
        hidden = mixed + self.act(self.mid(mixed))
        return hidden, self.mean(hidden), self.scale(hidden)

    def lrp(self, hidden: Tensor, y_hat: Tensor) -> Tensor:
        """Latent residual prediction (Minnen & Singh 2020): a correction of y_hat in -1/2 ... 1/2."""
        return self.clamp(self.lrp_out(self.act(self.lrp_in(torch.cat([hidden, y_hat], -1)))))


class CodingPrior(Composite):
    """What codes latents: in floats as trained, on integers once mvc/exact has lowered it."""

    grid = COARSE  # of the lowered values

    @property
    def widths(self) -> list[int]:
        """Channels of each slice, in coding order."""
        raise NotImplementedError

    def code(
        self,
        coder: Coder,
        index: Tensor,
        z: Tensor | None = None,
        y: Tensor | None = None,
        given: Tensor | None = None,
    ) -> Tensor:
        """Code z and y (None when decoding) at quality index [B] and return y_hat [B, H, W, M].

        `given` [B, H, W, G] are latents of earlier frames in the prior's units, for the priors that see such.
        """
        raise NotImplementedError


class Prior(CodingPrior):
    """That of mambavc-lite."""

    def __init__(self, slices: tuple[Slice, ...], hyper: int, hyper_hidden: int, features: int, hidden: int) -> None:
        super().__init__()
        self.slices, self.features = slices, features
        self.h_s = HyperSynthesis(hyper, hyper_hidden, features)
        self.contexts = nn.ModuleList()
        support = features
        for part in slices:
            widths = [support, support + part.channels][: part.passes]
            self.contexts.append(nn.ModuleList(Context(w, part.channels, hidden, features) for w in widths))
            support += part.channels

    @property
    def widths(self) -> list[int]:
        return [part.channels for part in self.slices]

    def code(
        self,
        coder: Coder,
        index: Tensor,
        z: Tensor | None = None,
        y: Tensor | None = None,
        given: Tensor | None = None,
    ) -> Tensor:
        coarse = self.h_s.coarse(coder.hyper(z), index)
        height, width = size_of(coder, y)
        support = Support((len(coarse), height, width), self.features, self.widths, coarse)
        masks = checkerboard(height, width, coarse)
        strips = strips_of(coder, height, width)
        for rows in strips:
            support.put_features(self.h_s.fine(coarse, index, rows)[:, :, :width], rows)
        del coarse
        return self._code(coder, support, strips, masks, y)

    def code_latent(self, coder: Coder, features: Tensor, y: Tensor | None = None) -> Tensor:
        """The second part of `code`: all slices, given what the hyperlatent says of them [B, H, W, P]."""
        batch, height, width, _ = features.shape
        support = Support((batch, height, width), self.features, self.widths, features)
        support.put_features(features)
        return self._code(coder, support, [slice(0, height)], checkerboard(height, width, features), y)

    def _code(
        self,
        coder: Coder,
        support: Support,
        strips: Sequence[slice],
        masks: tuple[Tensor, Tensor],
        y: Tensor | None,
    ) -> Tensor:
        parts = [None] * len(self.widths) if y is None else y.split(self.widths, -1)
        for number, (part, y_k) in enumerate(zip(self.slices, parts, strict=True)):
            predict = partial(self._predict, support, number, strips[-1].stop)
            for rows, y_hat in code_slice(coder, part.passes, predict, y_k, masks, strips):
                support.put(number, y_hat, rows)
            support.show(number)
        return support.latents()

    def _predict(self, support: Support, number: int, height: int, first_pass: Tensor | None, part: Part) -> Prediction:
        """Of a part of a slice, `height` being that of all."""
        context = cast("Sequence[Context]", self.contexts[number])[0 if first_pass is None else 1]
        if first_pass is not None and part.rows.start == 0:
            support.put(number, first_pass)
            support.show(number)
        wide, own = widened(part.rows, REACH, height)
        hidden, mean, log_scale = context.predict(part.of(context.mixed(support.rows(wide))[:, own]))
        return Prediction(mean, log_scale, partial(context.lrp, hidden))
