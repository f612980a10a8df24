"""What a picture that is shown would be coded as: the symbols of its file, or others."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from mvc.models.rounding import Rounding
from mvc.models.streams import StreamDecoder, scale_rows


class Symbols(NamedTuple):
    """How many there are of a latent, and how many are the same; and of those that are not zero in the file."""

    all: int = 0
    same: int = 0
    sent: int = 0
    same_sent: int = 0

    def __add__(self, other: tuple[int, ...]) -> Symbols:  # type: ignore[override]
        return Symbols(*(a + b for a, b in zip(self, other, strict=True)))

    @property
    def share(self) -> float:
        return self.same / max(1, self.all)

    @property
    def share_sent(self) -> float:
        return self.same_sent / max(1, self.sent)


class Comparing:
    """A coder that reads a latent, and compares each symbol with what another y [1, H, W, M] would be at its place."""

    def __init__(self, decoder: StreamDecoder, y: Tensor, rounding: Rounding) -> None:
        self.decoder, self.y, self.size, self._rounding = decoder, y, decoder.size, rounding
        self.symbols = Symbols()
        self._channel = 0
        self._width = 0

    def hyper(self, z: None) -> Tensor:
        return self.decoder.hyper(z)

    def latent(self, y: None, mean: Tensor, log_scale: Tensor, mask: Tensor | None) -> Tensor:
        y_hat = self.decoder.latent(y, mean, log_scale, mask)
        self._width = mean.shape[-1]
        own = self.y[..., self._channel : self._channel + self._width]
        here = torch.ones_like(mean, dtype=torch.bool) if mask is None else mask.bool().expand_as(mean)
        symbols = self.decoder.symbols(own, mean, scale_rows(log_scale, self.decoder.grid), self._rounding)
        same = (self.decoder.y_hat(symbols, mean) == y_hat)[here]
        sent = (self.decoder.y_hat(torch.zeros_like(mean), mean) != y_hat)[here]
        self.symbols += Symbols(sent.numel(), int(same.sum()), int(sent.sum()), int((same & sent).sum()))
        return y_hat

    def end_slice(self) -> None:
        self._channel += self._width
        self.decoder.end_slice()
