"""The papers' priors: a hyperprior, and slices of the latent that each see all slices before them.

`SlicedPrior` codes its slices by `code_slice` of prior.py; its networks predict the scale itself where
those of mambavc-lite predict its logarithm. Tensors are channels last: y [B, H, W, M], z [B, H/4, W/4, Z].
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from itertools import pairwise
from typing import cast

import torch
from torch import Tensor, nn

from mvc.blocks.conv import Conv
from mvc.blocks.layers import Composite, HalfTanh, LogScale
from mvc.blocks.window import AttentionGate
from mvc.entropy.tables import SCALE_MIN
from mvc.exact.fixed import FINE
from mvc.models.coding import Coder, Part, Prediction, checkerboard, code_slice
from mvc.models.prior import CodingPrior

SCALE_MAX = 256.0  # of the papers' scales, which begin at SCALE_MIN


def narrowing(inputs: int, hidden: Sequence[int], outputs: int, size: int = 3) -> nn.Sequential:
    """Convolutions with GELU between them: [B, H, W, inputs] -> [B, H, W, outputs]."""
    widths = [inputs, *hidden, outputs]
    layers: list[nn.Module] = []
    for i, (a, b) in enumerate(pairwise(widths)):
        layers += [nn.GELU()] * (i > 0) + [Conv(a, b, size)]
    return nn.Sequential(*layers)


class SliceContext(Composite):
    """What is known of one slice, in one or more passes over checkerboard masks."""

    passes = 1

    def __init__(self) -> None:
        super().__init__()
        self.log_scale = LogScale(SCALE_MIN, SCALE_MAX)
        self.half_tanh = HalfTanh()

    def features(self, means: Tensor, scales: Tensor, done: list[Tensor]) -> list[Tensor]:
        """What the hyperlatent (means and scales [B, H, W, M]) and the slices before say, once for all passes."""
        raise NotImplementedError

    def predict(self, features: list[Tensor], own: Tensor | None) -> list[Tensor]:
        """-> support of the correction, mean and scale [B, H, W, m].

        own is this slice as far as its first pass coded it, 0 elsewhere; None in the first pass.
        """
        raise NotImplementedError

    def prediction(self, features: list[Tensor], own: Tensor | None, part: Part) -> Prediction:
        """What `predict` says, as `code_slice` takes it; always of all, as attention looks everywhere."""
        support, mean, scale = self.predict(features, own)
        return Prediction(mean, self.log_scale(scale), partial(self.lrp, support))

    def lrp(self, support: Tensor, y_hat: Tensor) -> Tensor:
        """Latent residual prediction: a correction of y_hat in -1/2 ... 1/2 (Minnen & Singh 2020)."""
        raise NotImplementedError


class GatedContext(SliceContext):
    """Attention gates before narrowing convolutions, one line for the mean and one for the scale (Liu et al. 2023)."""

    def __init__(
        self, latents: int, before: int, channels: int, hidden: Sequence[int], inner: int, head_width: int, window: int
    ) -> None:
        super().__init__()
        support = latents + before
        self.mean_gate = AttentionGate(support, inner, head_width, window)
        self.scale_gate = AttentionGate(support, inner, head_width, window)
        self.mean = narrowing(support, hidden, channels)
        self.scale = narrowing(support, hidden, channels)
        self.correction = narrowing(support + channels, hidden, channels)

    def features(self, means: Tensor, scales: Tensor, done: list[Tensor]) -> list[Tensor]:
        return [self.mean_gate(torch.cat([means, *done], -1)), self.scale_gate(torch.cat([scales, *done], -1))]

    def predict(self, features: list[Tensor], own: Tensor | None) -> list[Tensor]:
        support, scale_support = features
        return [support, self.mean(support), self.scale(scale_support)]

    def lrp(self, support: Tensor, y_hat: Tensor) -> Tensor:
        return self.half_tanh(self.correction(torch.cat([support, y_hat], -1)))


class SlicedPrior(CodingPrior):
    """The hyper-synthesis and the slices' contexts. There is one rate: the quality index says nothing."""

    grid = FINE

    def __init__(
        self, h_mean: nn.Module, h_scale: nn.Module, contexts: Iterable[SliceContext], widths: Sequence[int]
    ) -> None:
        super().__init__()
        self.h_mean, self.h_scale = h_mean, h_scale
        self.contexts = nn.ModuleList(contexts)
        self._widths = list(widths)

    @property
    def widths(self) -> list[int]:
        return self._widths

    def code(
        self,
        coder: Coder,
        index: Tensor,
        z: Tensor | None = None,
        y: Tensor | None = None,
        given: Tensor | None = None,
    ) -> Tensor:
        z_hat = coder.hyper(z)
        means, scales = self.h_mean(z_hat), self.h_scale(z_hat)
        masks = checkerboard(means.shape[1], means.shape[2], means)
        parts = [None] * len(self.widths) if y is None else y.split(self.widths, -1)
        done: list[Tensor] = []
        for context, y_k in zip(cast("Iterable[SliceContext]", self.contexts), parts, strict=True):
            predict = partial(context.prediction, context.features(means, scales, done))
            ((_, y_hat),) = code_slice(coder, context.passes, predict, y_k, masks)
            done.append(y_hat)
        return torch.cat(done, -1)
