"""What a prior knew and did while it coded or decoded a picture: latents, means, scales and what they became."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mvc.codec import Codec
from mvc.container import Head, Unit
from mvc.entropy.parts import JointReader, Reader, SeparateReader, SeparateWriter
from mvc.errors import at
from mvc.models.base import CELL_PX
from mvc.models.coding import Coder
from mvc.models.prior import CodingPrior
from mvc.picture import Picture
from mvc.tiling import Tile, cells

Floats = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Recorded:
    """One picture as its prior saw it; everything in units of the quantisation step, channels last.

    `rounded` is what y became before latent residual prediction, `y_hat` after it; `log_scale` is
    log2(scale / SCALE_MIN). Of the positions only the first `visible` rows and columns lie in the picture: the others
    are its padding. Of what was decoded y is not known, and `rounded` stands for it.
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

    @property
    def size(self) -> tuple[int, int]:
        """That of a coder that decodes."""
        size: tuple[int, int] = self.coder.size  # type: ignore[attr-defined]
        return size

    def hyper(self, z: Any) -> Tensor:
        z_hat = self.coder.hyper(z)
        self.z_hat = self._steps(z_hat)
        return z_hat

    def latent(self, y: Any, mean: Tensor, log_scale: Tensor, mask: Tensor | None) -> Tensor:
        rounded = self.coder.latent(y, mean, log_scale, mask)
        own = self._steps(rounded) if y is None else y.float()
        seen = torch.stack([own, *map(self._steps, (mean, log_scale, rounded))])
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
    latents: tuple[Tensor, Tensor] | None,
    *,
    unit: float = 1.0,
    visible: tuple[int, int] | None = None,
) -> Recorded:
    """Code y [1, h, w, M] and z [1, h/4, w/4, Z], the `latents`, with any prior and a coder that suits it.

    None for a coder that decodes. `unit` as for `Recorder`; without `visible` all positions count as the picture's.
    """
    y, z = latents or (None, None)
    recorder = Recorder(coder, unit)
    y_hat = prior.code(recorder, index, z, y).double().div(unit).float()
    own, mean, log_scale, rounded = (_array(t) for t in torch.cat(recorder.slices, -1))
    return Recorded(
        *(own, mean, log_scale, rounded, _array(y_hat), _array(recorder.z_hat)),
        tuple(prior.widths),
        visible or (y_hat.shape[1], y_hat.shape[2]),
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


@torch.no_grad()
def decoded(codec: Codec, head: Head, unit: Unit, tile: Tile) -> Recorded:
    """A unit "picture" of a file of a still as the codec decodes it. Raises as `Codec.latent`."""
    codec.check_head(head)
    size = tile.height, tile.width
    with at(f"CODE {unit.index}"):
        index = codec.index_of(head, unit, 1 if head.tile_px else codec.network.streams)
        reader: Reader = JointReader(codec.joint, unit.streams[0]) if head.tile_px else SeparateReader(unit.streams)
        coder = codec.network.decoder(reader, index, size, codec.device, codec.dtype)
        prior, indices = codec.network.prior, torch.tensor([index], device=codec.device)
        return code(prior, coder, indices, None, unit=prior.grid.one, visible=tile.cells(CELL_PX))


def _array(x: Tensor) -> Floats:
    values: Floats = x[0].cpu().numpy()
    return values
