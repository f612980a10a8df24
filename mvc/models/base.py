"""What every still-picture model offers: two transforms for each direction, and a prior that codes between them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch import Tensor, nn

from mvc.models.prior import CodingPrior


class PictureModel(nn.Module):
    """Pictures are [B, H, W, 3] in 0..1 with sides that are multiples of `stride`; quality is the index [B].

    Models of one rate have `rates` = 1 and take no notice of the index. `density` is a mvc.models.estimate.Density.
    """

    stride: int
    rates: int
    g_a: nn.Module
    g_s: nn.Module
    h_a: nn.Module
    prior: CodingPrior
    density: Any
    config: Any

    def analyse(self, x: Tensor, quality: Tensor) -> tuple[Tensor, Tensor]:
        """y [B, H/16, W/16, M] = g_a(x), in units of the quantisation step, and z [B, H/64, W/64, Z] = h_a(y)."""
        raise NotImplementedError

    def bands(self, y_hat: Tensor, quality: Tensor) -> Iterator[Tensor]:
        """g_s(y_hat) from top to bottom in bands [B, n, W, 3] around 0..1, so that a large picture is never whole."""
        raise NotImplementedError
