"""The search for a cheaper hyperlatent: steps of one in z that save more bits of the latents than they cost.

The analysis makes z of the latents and never sees what they cost; z is a tenth of a small file. Every iteration codes
the latents with a trial and computes the gradient of their bits. A step is worth what that predicts, with a margin, and
the difference of the symbol's own bits. Of each position only the best one is made, at every second position by turns,
because neighbours serve the same latents; and it is kept where the bits around it became fewer. The picture is not
looked at: what its error gains when the means move is a small part of what the bits save (docs/decisions.md).
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from mvc.effort.search import around, where
from mvc.entropy.tables import Tables
from mvc.models.coding import checkerboard
from mvc.models.lite import PATCH, STRIDE
from mvc.models.prior import Prior
from mvc.models.rounding import NEAREST, Rounding
from mvc.models.streams import hyper_rows
from mvc.ops.rate import gaussian_bits
from mvc.tiling import Part, even_parts, scaled

LATENTS = STRIDE // PATCH
"""To a side, for each position of z."""
WINDOW, MARGIN = 12, 2
"""Positions of z to a side that are searched together, and those beside them that are looked at: as far as h_s sees."""
MARGIN_BITS = 1.0
KEPT, TAKEN_BACK = 0.9, 1.3
"""What the margin is multiplied by."""


class State(NamedTuple):
    """A trial [1, h, w, Z] and what was found when the latents were coded with it."""

    z: Tensor
    gradient: Tensor  # of the latents' bits
    down: Tensor  # bits that one step less of the symbol itself would add, and ...
    up: Tensor  # ... one step more
    cost: Tensor  # bits of z and its latents at each position, [1, h, w, 1]


class _Bits:
    """A coder that codes the latents as an encoder does, with the bits' gradients by what the prior says."""

    def __init__(self, dtype: torch.dtype, rounding: Rounding) -> None:
        self.dtype, self.rounding = dtype, rounding
        self.bits: list[Tensor] = []  # of each pass, [1, H, W, 1]

    def hyper(self, z: Tensor) -> Tensor:
        return z

    def latent(self, y: Tensor, mean: Tensor, log_scale: Tensor, mask: Tensor | None) -> Tensor:
        mean = mean.float()
        distance = self.rounding.taken(y, mean, log_scale.float()) - mean
        symbols = torch.round(distance.detach())
        bits = gaussian_bits(symbols + distance - distance.detach(), log_scale.float()).sum(-1, keepdim=True)
        self.bits.append(bits if mask is None else bits * mask.float())
        return (symbols + mean).detach().to(self.dtype)

    def end_slice(self) -> None:
        pass


class Hyperlatents:
    """Those of one picture or frame, for which the latents y [1, H, W, M] are to be coded at a quality index [1].

    `prior` is in floats, `tables` are z's own, and `beside` [1, H, W, P] is what the prior's features have added.
    """

    def __init__(
        self,
        prior: Prior,
        tables: Tables,
        y: Tensor,
        index: Tensor,
        dtype: torch.dtype,
        rounding: Rounding = NEAREST,
        beside: Tensor | None = None,
    ) -> None:
        self.prior, self.tables, self.y, self.index = prior, tables, y, index
        self.dtype, self.rounding, self.beside = dtype, rounding, beside

    def searched(self, z: Tensor, iterations: int) -> Tensor:
        """Whole numbers for z [1, h, w, Z]; of `iterations` >= 2 the best, of one the step that it predicts."""
        found = torch.round(z)
        for (rows, wide_rows), (columns, wide_columns) in product(*map(_windows, z.shape[1:3])):
            place = wide_rows, wide_columns
            own = torch.zeros_like(found[..., :1], dtype=torch.bool)
            own[:, rows, columns] = True
            found[:, *place] = self._searched(found[:, *place], place, own[:, *place], iterations)
        return found

    def _searched(self, z: Tensor, place: Part, own: Tensor, iterations: int) -> Tensor:
        """The same of one window, of which only `own` positions [1, h, w, 1] may move."""
        turns = [mask.bool() & own for mask in checkerboard(z.shape[1], z.shape[2], z)]
        kept = best = self.looked_at(z, place)
        margin = torch.full_like(kept.cost, MARGIN_BITS)
        for iteration in range(iterations):
            trial = _step(kept, margin, turns[iteration % 2])
            if iterations == 1:
                return trial
            seen = self.looked_at(trial, place)
            best = min(best, seen, key=lambda state: float(state.cost.sum()))
            cheaper = around(seen.cost - kept.cost) < 0
            kept = where(cheaper, seen, kept)
            margin = margin * torch.where(cheaper, KEPT, TAKEN_BACK)
        return best.z

    def looked_at(self, z: Tensor, place: Part) -> State:
        """Code the latents there with this z."""
        there = [scaled(side, LATENTS) for side in place]
        y = self.y[:, *there]
        coder = _Bits(self.dtype, self.rounding)
        leaf = z.detach().requires_grad_()
        with torch.enable_grad():
            features = self.prior.h_s(leaf.to(self.dtype), self.index)[:, : y.shape[1], : y.shape[2]]
            if self.beside is not None:
                features = features + self.beside[:, *there].to(features.dtype)
            self.prior.code_latent(coder, features, y)
            bits = torch.stack(coder.bits).sum(0)
            gradient = torch.autograd.grad(bits.sum(), leaf)[0]
        own, down, up = self._prices(z)
        return State(z, gradient, down, up, _at_hyperlatents(bits.detach()) + own.sum(-1, keepdim=True))

    def _prices(self, z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Bits of the symbols of z, and what one step less and one more would add, of its shape."""
        rows = hyper_rows(self.tables, int(self.index), *z.shape[1:]).reshape(z.shape)
        symbols = z.cpu().numpy().astype(np.int64)
        own, down, up = (torch.from_numpy(self.tables.bits(symbols + step, rows)).to(z) for step in (0, -1, 1))
        return own, down - own, up - own


def _windows(length: int) -> Iterator[tuple[slice, slice]]:
    """Parts of a side, and what is looked at for each: always as much, as what computes keeps code for every size."""
    side = min(length, WINDOW + 2 * MARGIN)
    for own in even_parts(length, WINDOW):
        start = min(max(0, own.start - MARGIN), length - side)
        yield own, slice(start, start + side)


def _step(state: State, margin: Tensor, free: Tensor) -> Tensor:
    """The next trial: of each free position [1, h, w, 1] the best step, if it pays by more than the margin."""
    down, up = state.down - state.gradient, state.up + state.gradient
    gain = torch.minimum(down, up)
    least = gain.amin(-1, keepdim=True)
    pays = (gain <= least) & (least < -margin) & free
    return torch.where(pays, state.z + torch.where(down <= up, -1.0, 1.0), state.z)


def _at_hyperlatents(bits: Tensor) -> Tensor:
    """Sums over the latents of each position of z: [1, H, W, 1] -> [1, h, w, 1]."""
    means = F.avg_pool2d(bits.permute(0, 3, 1, 2), LATENTS, ceil_mode=True, divisor_override=1)
    return means.permute(0, 2, 3, 1)
