"""What a prior knew and did while it coded a picture: latents, means, scales and what they were rounded to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mvc.codec import Codec
from mvc.entropy.parts import SeparateWriter
from mvc.models.base import CELL_PX
from mvc.models.coding import Coder
from mvc.models.prior import CodingPrior
from mvc.picture import Picture
from mvc.tiling import cells

Floats = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Recorded:
    """One picture as its prior saw it; everything in units of the quantisation step, channels last.

    `rounded` is what y became before latent residual prediction, `y_hat` after it; `log_scale` is
    log2(scale / SCALE_MIN). Of the positions only the first `visible` rows and columns lie in the picture: the others
    are its padding.
    """

    y: Floats  # [h, w, M], as the three below it and y_hat
    mean: Floats
    log_scale: Floats
    rounded: Floats
    y_hat: Floats
    z_hat: Floats  # [h/4, w/4, Z]
    widths: tuple[int, ...]  # channels of each slice
    visible: tuple[int, int]

    def inside(self, values: Floats) -> Floats:
        """The part of values [h, w, ...] that lies in the picture."""
        rows, columns = self.visible
        return values[:rows, :columns]

    def slices(self, values: Floats) -> list[Floats]:
        """values [h, w, M] slice by slice, [h, w, m] each."""
        return np.split(values, np.cumsum(self.widths)[:-1], -1)


class Recorder:
    """A coder that lets another one do the work and keeps what passes by.

    `unit` is what the other's tensors hold for one quantisation step: 1 for float priors, grid.one for lowered ones.
    """

    def __init__(self, coder: Coder, unit: float = 1.0) -> None:
        self.coder, self.unit = coder, unit
        self.z_hat = torch.empty(0)
        self.slices: list[Tensor] = []  # [4, B, H, W, m]: y, mean, log_scale, rounded
        self._passes: Tensor | None = None

    def hyper(self, z: Any) -> Tensor:
        z_hat = self.coder.hyper(z)
        self.z_hat = self._steps(z_hat)
        return z_hat

    def latent(self, y: Any, mean: Tensor, log_scale: Tensor, mask: Tensor | None) -> Tensor:
        rounded = self.coder.latent(y, mean, log_scale, mask)
        seen = torch.stack([y.float(), *map(self._steps, (mean, log_scale, rounded))])
        if self._passes is not None and mask is not None:
            seen = torch.where(mask > 0, seen, self._passes)
        self._passes = seen
        return rounded

    def end_slice(self) -> None:
        self.coder.end_slice()
        if self._passes is not None:
            self.slices.append(self._passes)
        self._passes = None

    def _steps(self, x: Tensor) -> Tensor:
        return x.double().div(self.unit).float()


@torch.no_grad()
def code(
    prior: CodingPrior,
    coder: Coder,
    index: Tensor,
    latents: tuple[Tensor, Tensor],
    *,
    unit: float = 1.0,
    visible: tuple[int, int] | None = None,
) -> Recorded:
    """Code y [1, h, w, M] and z [1, h/4, w/4, Z], the `latents`, with any prior and a coder that suits it.

    `unit` as for `Recorder`; without `visible` all positions count as the picture's.
    """
    y, z = latents
    recorder = Recorder(coder, unit)
    y_hat = prior.code(recorder, index, z, y).double().div(unit).float()
    own, mean, log_scale, rounded = (_array(t) for t in torch.cat(recorder.slices, -1))
    return Recorded(
        *(own, mean, log_scale, rounded, _array(y_hat), _array(recorder.z_hat)),
        tuple(prior.widths),
        visible or (y.shape[1], y.shape[2]),
    )


@torch.no_grad()
def record(codec: Codec, picture: Picture, index: int) -> Recorded:
    """A picture as the codec codes it at a quality index and effort 0, with the very symbols of its file."""
    x = codec.to_tensor(picture)
    latents = codec.latents(x, (picture.height, picture.width), index)
    visible = cells(picture.height, CELL_PX), cells(picture.width, CELL_PX)
    prior, coder = codec.network.prior, codec.network.encoder(SeparateWriter(), index, codec.dtype)
    indices = torch.tensor([index], device=codec.device)
    return code(prior, coder, indices, latents, unit=prior.grid.one, visible=visible)


def _array(x: Tensor) -> Floats:
    values: Floats = x[0].cpu().numpy()
    return values
