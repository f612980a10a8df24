"""Which symbol a latent becomes: what an encoder may choose freely, and no decoder knows of."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from mvc.entropy.tables import ROWS_PER_OCTAVE, SCALE_ROWS
from mvc.exact.fixed import Grid, shift_round
from mvc.ops.rate import step_bits

FARTHEST = 0.9  # from the mean, in quantisation steps: up to here a symbol is 0 or 1


@dataclass(frozen=True)
class Rounding:
    """Of a latent's distance from its mean: to the nearest symbol, unless that is 1 and 0 is so much cheaper.

    Rate-distortion optimised quantisation as encoders of H.264 and later have it, in its plainest form: by the symbol's
    own bits alone. What it does to the error and to the bits of others is in one constant, measured.
    """

    deadzone: float = 0.0
    """By how much nearer to its mean a latent is taken to be, in quantisation steps."""
    thrift: float = 0.0
    """How much farther than half a step from the mean the symbol stays 0, for each bit that this saves."""

    def symbols(self, distance: Tensor, rows: Tensor, grid: Grid) -> Tensor:
        """Of distances [...] from the mean in units of the grid, and rows [...] of the latent tables: whole numbers."""
        if self != NEAREST:
            distance = distance - self._nearer(distance, rows, grid.one)
        return shift_round(distance, grid.fraction_bits)

    def taken(self, y: Tensor, mean: Tensor, log_scale: Tensor) -> Tensor:
        """Latents [...] whose nearest symbols are those of this rounding; all in floats, and with y's gradient."""
        if self == NEAREST:
            return y
        rows = torch.round(ROWS_PER_OCTAVE * log_scale.detach()).clamp(0, SCALE_ROWS - 1)
        rows = rows.nan_to_num(0.0)  # what is lost anyway must not end here
        return y - self._nearer((y - mean).detach(), rows, 1)

    def _nearer(self, distance: Tensor, rows: Tensor, one: int) -> Tensor:
        """By how much the mean is nearer than that, so that the nearest symbol is the one to take."""
        deadzone = self.deadzone * one
        deadzone = round(deadzone) if one > 1 else deadzone
        nearer = distance.clamp(-deadzone, deadzone)
        if not self.thrift:
            return nearer
        zeros = _zeros(self.thrift, one, distance.dtype, distance.device)[rows.long()]
        return torch.where(distance.abs() < zeros, distance, nearer)


NEAREST = Rounding()


@lru_cache(maxsize=16)
def _zeros(thrift: float, one: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Up to which distance from the mean the symbol is 0, for each row of the tables."""
    log_scale = torch.arange(SCALE_ROWS, dtype=torch.float64) / ROWS_PER_OCTAVE
    _, saved, _ = step_bits(torch.ones_like(log_scale), log_scale)
    farthest = one * (0.5 - thrift * saved).clamp(0.5, FARTHEST)
    return (farthest.round() if one > 1 else farthest).to(device, dtype)
