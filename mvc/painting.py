"""What a synthesis is given of the tiles around, and where the pieces that it gives go."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from mvc.models.base import Piece
from mvc.ops.memory import Fetched
from mvc.tiling import Part


def amid(around: Mapping[tuple[int, int], Tensor], margin: int) -> tuple[Tensor, Part]:
    """The latent of a tile with those rows and columns of others that lie around it, and its place in that.

    A corner whose own tile has no latent repeats what is beside it (spec section 6.2).
    """
    bands = []
    for down in (-1, 0, 1):
        middle = around.get((down, 0))
        if middle is None:
            continue
        rows = slice(None) if down == 0 else _edge(-down, margin)
        band = [middle[:, rows]]
        for across in (-1, 1):
            if (0, across) in around:
                corner = around.get((down, across))
                beside = band[0][:, :, :1] if across < 0 else middle[:, rows, -1:]
                side = beside.expand(-1, -1, margin, -1) if corner is None else corner[:, rows, _edge(-across, margin)]
                band.insert(0 if across < 0 else len(band), side)
        bands.append(torch.cat(band, 2))
    top, left = margin * ((-1, 0) in around), margin * ((0, -1) in around)
    height, width = around[0, 0].shape[1:3]
    return torch.cat(bands, 1), (slice(top, top + height), slice(left, left + width))


def _edge(side: int, margin: int) -> slice:
    """The first rows (-1) or the last ones (1)."""
    return slice(-margin, None) if side > 0 else slice(0, margin)


def place(pieces: Iterable[tuple[int, Piece]], samples: Sequence[np.ndarray]) -> None:
    """Round pieces in 0..1 into the samples of the tiles of these numbers, uint8 [height, width, 3] or [height, width].

    What a GPU makes is put together there, and fetched when all is.
    """
    targets, there = [torch.from_numpy(own) for own in samples], dict[int, Tensor]()
    for number, (top, left, x) in pieces:
        if x.is_cuda and number not in there:
            targets[number] = there[number] = torch.empty(targets[number].shape, dtype=torch.uint8, device=x.device)
        own = targets[number][top : top + x.shape[1], left : left + x.shape[2]]  # the last may reach beyond the picture
        values = x[0, : own.shape[0], : own.shape[1]]
        values = values.mean(-1) if own.ndim == 2 else values
        own.copy_(values.mul(255).round_().clamp_(0, 255))
    for number, fetched in [(number, Fetched(made)) for number, made in there.items()]:
        samples[number][...] = fetched.wait()
