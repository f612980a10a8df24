"""The prior: hyper-synthesis, slice contexts and latent residual prediction, and the one loop that codes with them.

`code_slice`, in which every model's slices are coded, runs unchanged in training (float, bits estimated), encoding and
decoding (lowered to integers, see mvc/exact): what "code" means is the coder's business. Every layer used here is one
that mvc/exact can lower.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import accumulate
from typing import Any, NamedTuple, Protocol, cast

import torch
from torch import Tensor, nn

from mvc.blocks.layers import Clamp, Depthwise, Leaky, Linear, QualityGain, shuffle
from mvc.exact.fixed import COARSE


@dataclass(frozen=True)
class Slice:
    """Latent channels coded together, in one pass over all positions or in two over a checkerboard."""

    channels: int
    passes: int = 1


class Coder(Protocol):
    """What the loop needs of an estimator, an encoder or a decoder."""

    def hyper(self, z: Any) -> Tensor:
        """Code the hyperlatent, a tensor [B, h, w, Z] or None when decoding, and return z_hat."""
        ...

    def latent(self, y: Any, mean: Tensor, log_scale: Tensor, mask: Tensor | None) -> Tensor:
        """Code one pass of a slice [B, H, W, m], only where mask [H, W, 1] is 1, and return y_hat (anything elsewhere).

        log_scale is log2(scale / SCALE_MIN), the constants being those of entropy/tables.py.
        """
        ...

    def end_slice(self) -> None:
        """All passes of a slice are coded."""
        ...


class Residual(nn.Module):
    """x + layer(x)."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        correction: Tensor = self.layer(x)
        return x + correction


class HyperSynthesis(nn.Module):
    """h_s: z_hat [B, H/4, W/4, Z] -> features [B, H, W, P] at the latent's resolution."""

    def __init__(self, hyper: int, hidden: int, features: int) -> None:
        super().__init__()
        self.gain_in = QualityGain(hyper)
        self.up1 = Linear(hyper, 4 * hidden)
        self.mix1 = Residual(Depthwise(hidden, 5, "leaky"))
        self.up2 = Linear(hidden, 4 * features)
        self.mix2 = Residual(Depthwise(features, 5, "leaky"))
        self.gain = QualityGain(features)

    def forward(self, z_hat: Tensor, quality: Tensor) -> Tensor:
        coarse = self.mix1(shuffle(self.up1(self.gain_in(z_hat, quality)), 2))
        return self.gain(self.mix2(shuffle(self.up2(coarse), 2)), quality)


class Context(nn.Module):
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
        mixed = self.mix(self.inp(support))
        hidden = mixed + self.act(self.mid(mixed))
        return hidden, self.mean(hidden), self.scale(hidden)

    def lrp(self, hidden: Tensor, y_hat: Tensor) -> Tensor:
        """Latent residual prediction (Minnen & Singh 2020): a correction of y_hat in -1/2 ... 1/2."""
        return self.clamp(self.lrp_out(self.act(self.lrp_in(torch.cat([hidden, y_hat], -1)))))


def checkerboard(height: int, width: int, like: Tensor) -> tuple[Tensor, Tensor]:
    """Masks [H, W, 1] of the positions with even and odd row + column."""
    rows = torch.arange(height, device=like.device)[:, None] + torch.arange(width, device=like.device)
    odd = (rows % 2).to(like.dtype)[..., None]
    return 1 - odd, odd


class Prediction(NamedTuple):
    """What is known of a slice before one of its passes is coded, and what corrects it afterwards (LRP)."""

    mean: Tensor  # [B, H, W, m]
    log_scale: Tensor  # as `Coder.latent` takes it
    correction: Callable[[Tensor], Tensor]  # of y_hat [B, H, W, m]


def code_slice(
    coder: Coder,
    passes: int,
    predict: Callable[[Tensor | None], Prediction],
    y: Tensor | None,
    masks: tuple[Tensor, Tensor],
) -> Tensor:
    """Code one slice y (None when decoding) in one pass, or two over the checkerboard; y_hat [B, H, W, m].

    `predict` is given what the first pass coded, zero elsewhere, or None before it.
    """
    y_hat: Tensor | None = None
    for index in range(passes):
        mask = masks[index] if passes == 2 else None
        mean, log_scale, correction = predict(y_hat)
        coded = coder.latent(y, mean, log_scale, mask)
        if mask is None:
            y_hat = coded + correction(coded)
            continue
        coded = coded * mask  # the encoder alone has values elsewhere: a correction that looks around must not see them
        seen = coded if y_hat is None else y_hat + coded
        y_hat = seen + correction(seen) * mask
    coder.end_slice()
    return cast("Tensor", y_hat)


class _Support:
    """The features and, behind them, the slices coded so far: [B, H, W, P + ...].

    Without gradients it is the front of one tensor with room for all, so that nothing is copied again for each slice.
    """

    def __init__(self, features: Tensor, widths: list[int]) -> None:
        self.edges = list(accumulate(widths, initial=features.shape[-1]))
        self.end = self.edges[0]
        self.parts = [features]
        self.room = None if torch.is_grad_enabled() else features.new_empty(*features.shape[:3], self.edges[-1])
        if self.room is not None:
            self.room[..., : self.end] = features

    def put(self, index: int, y_hat: Tensor) -> None:
        """The slice of this number, the last so far, as far as it is coded."""
        if self.room is None:
            self.parts[index + 1 :] = [y_hat]
        else:
            self.room[..., self.edges[index] : self.edges[index + 1]] = y_hat
        self.end = self.edges[index + 1]

    def all(self) -> Tensor:
        return torch.cat(self.parts, -1) if self.room is None else self.room[..., : self.end]

    def latents(self) -> Tensor:
        return torch.cat(self.parts[1:], -1) if self.room is None else self.room[..., self.edges[0] : self.end]


class CodingPrior(nn.Module):
    """What codes latents: in floats as trained, on integers once mvc/exact has lowered it."""

    grid = COARSE  # of the lowered values

    @property
    def widths(self) -> list[int]:
        """Channels of each slice, in coding order."""
        raise NotImplementedError

    def code(self, coder: Coder, quality: Tensor, z: Tensor | None = None, y: Tensor | None = None) -> Tensor:
        """Code z and y (None when decoding) at quality index [B] and return y_hat [B, H, W, M]."""
        raise NotImplementedError


class Prior(CodingPrior):
    """That of mambavc-lite."""

    def __init__(self, slices: tuple[Slice, ...], hyper: int, hyper_hidden: int, features: int, hidden: int) -> None:
        super().__init__()
        self.slices = slices
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

    def code(self, coder: Coder, quality: Tensor, z: Tensor | None = None, y: Tensor | None = None) -> Tensor:
        return self.code_latent(coder, self.h_s(coder.hyper(z), quality), y)

    def code_latent(self, coder: Coder, features: Tensor, y: Tensor | None = None) -> Tensor:
        """The second part of `code`: all slices, given what the hyperlatent says of them [B, H, W, P]."""
        masks = checkerboard(features.shape[1], features.shape[2], features)
        parts = [None] * len(self.widths) if y is None else y.split(self.widths, -1)
        support = _Support(features, self.widths)
        for index, (part, y_k) in enumerate(zip(self.slices, parts, strict=True)):
            predict = partial(self._predict, support, index)
            support.put(index, code_slice(coder, part.passes, predict, y_k, masks))
        return support.latents()

    def _predict(self, support: _Support, index: int, first_pass: Tensor | None) -> Prediction:
        context = cast("Sequence[Context]", self.contexts[index])[0 if first_pass is None else 1]
        if first_pass is not None:
            support.put(index, first_pass)
        hidden, mean, log_scale = context(support.all())
        return Prediction(mean, log_scale, partial(context.lrp, hidden))
