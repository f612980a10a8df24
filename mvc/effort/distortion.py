"""What the search keeps small beside the bits: the squared error, with or without MS-SSIM, or the error as it is seen.

Each is of a part of a picture whose real samples are fixed; what lies beyond them is padding and costs nothing.
`scale` times it is in squares of 0..255, summed over pixels, means over the channels, as lambda weighs it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from mvc.blocks.layers import shuffle
from mvc.distortion import seen_error, structure
from mvc.distortion.seen_error import masks, seen_maps, unmasked
from mvc.distortion.structure import LAMBDA_RATIO, structure_maps
from mvc.models.lite import Synthesis
from mvc.models.weighing import error_weights
from mvc.tiling import cells

SEEN_SHARE, STRUCTURE_SHARE = 0.6, 0.4
"""Of the error as it is seen and of MS-SSIM in what `AsSeen` counts: nearly what mambavc-lite-seen was trained with."""
TRAINED_STRUCTURE_SHARE = 0.3
"""Of MS-SSIM in what `AsTrained` counts, beside the squared error (recipes/mambavc-lite.toml)."""
COARSEST_PX = 32
"""Sides of what `Wide` ones look at are multiples of it, and at least the next."""
SMALLEST_PX = max(seen_error.SMALLEST_PX, structure.SMALLEST_PX)
MARGIN_PX = 2 * COARSEST_PX
"""Room around what a latent paints by the linear path, for its octaves."""


class Distortion(ABC):
    """Of what decodes to target [1, h, w, C] in 0..1, from latents at H x W positions of `cell` pixels to a side each.

    `room` are the sides of what is looked at, from the same first sample on.
    """

    scale = 1.0
    wide = False
    """Whether errors are of more than their own place, so that steps at neighbouring positions mend the same."""
    curvature: Tensor
    """By which the error grows with the square of each latent, in samples, along the linear path: [1, H, W, M], or 1
    in place of each."""

    def __init__(self, target: Tensor, positions: Sequence[int], room: Sequence[int], cell: int) -> None:
        self.target, self.positions, self.room, self.cell = target, positions, room, cell

    @abstractmethod
    def maps(self, decoded: Tensor) -> Sequence[Tensor]:
        """The error per pixel, [1, rows, columns] each: of all the room at several resolutions, to be added up.

        decoded [1, H, W, C] may go on where the target ends: that is ignored.
        """

    def total(self, maps: Sequence[Tensor]) -> Tensor:
        """The error of all pixels, a scalar."""
        area = self.room[0] * self.room[1]
        return torch.stack([found.sum() * (area / found.numel()) for found in maps]).sum()

    def at_latents(self, maps: Sequence[Tensor]) -> Tensor:
        """The error of the pixels at each latent's position, [1, H, W, 1]."""
        return self.cell**2 * torch.stack([self.means(found) for found in maps]).sum(0)

    def means(self, found: Tensor) -> Tensor:
        """Of a map [1, rows, columns], at each latent's position, [1, H, W, 1]."""
        grid = [side // self.cell for side in self.room]
        mean = F.interpolate(found[:, None], size=grid, mode="area")[:, :, : self.positions[0], : self.positions[1]]
        return mean.permute(0, 2, 3, 1)

    def missed(self, decoded: Tensor) -> Tensor:
        """What decoded samples differ by from the target."""
        return decoded[:, : self.target.shape[1], : self.target.shape[2]] - self.target

    def filled(self, samples: Tensor, mode: str = "constant") -> Tensor:
        """Samples [1, h, w, C] in all the room; mode as F.pad has it."""
        below, right = (room - side for room, side in zip(self.room, samples.shape[1:3], strict=True))
        return F.pad(samples.permute(0, 3, 1, 2), (0, right, 0, below), mode=mode).permute(0, 2, 3, 1)


class SquaredError(Distortion):
    """Weighed by `importance` [1, h, w, 1], 1 where it is not given, and between planes of a clip as they weigh."""

    scale = 255**2 / 3

    def __init__(self, target: Tensor, positions: Sequence[int], cell: int, importance: Tensor | None = None) -> None:
        super().__init__(target, positions, [cell * side for side in positions], cell)
        self.weights = error_weights(target.shape[-1]).sqrt().to(target.device)  # of differences
        self.curvature = self.weights[0] ** 2
        if importance is not None:
            self.weights = self.weights * importance.sqrt()
            self.curvature = self.curvature * self.means(self.filled(importance)[..., 0])

    def maps(self, decoded: Tensor) -> list[Tensor]:
        squares = (self.missed(decoded) * self.weights).square()
        return [self.filled(squares.sum(-1, keepdim=True))[..., 0]]


class Wide(Distortion):
    """One that looks at several resolutions of samples [1, h, w, 3]."""

    wide = True

    def __init__(self, target: Tensor, positions: Sequence[int], cell: int) -> None:
        room = [max(SMALLEST_PX, COARSEST_PX * cells(cell * side, COARSEST_PX)) for side in positions]
        super().__init__(target, positions, room, cell)
        self.goal = self.filled(target.float(), "replicate")

    def structure(self, shown: Tensor, share: float) -> list[Tensor]:
        """Maps of MS-SSIM, as training weighs it beside squares."""
        return [share * LAMBDA_RATIO * found for found in structure_maps(self.goal, shown)]


class AsTrained(Wide):
    """What mambavc-lite is trained for: the squared error and MS-SSIM."""

    def __init__(self, target: Tensor, positions: Sequence[int], cell: int) -> None:
        super().__init__(target, positions, cell)
        self.squares = (1 - TRAINED_STRUCTURE_SHARE) * SquaredError.scale
        self.curvature = torch.tensor(self.squares)

    def maps(self, decoded: Tensor) -> list[Tensor]:
        missed = self.filled(self.missed(decoded))
        squares = self.squares * missed.square().sum(-1)
        return [squares, *self.structure(self.goal + missed, TRAINED_STRUCTURE_SHARE)]


class AsSeen(Wide):
    """What mambavc-lite-seen is trained for (mvc/distortion)."""

    def __init__(self, target: Tensor, positions: Sequence[int], cell: int, octaves: Tensor) -> None:
        """`octaves` are `painted_octaves` of the synthesis, `cell` is its patch."""
        super().__init__(target, positions, cell)
        self.curvature = torch.cat([self.means(mask) for mask in masks(self.goal)], -1) @ octaves.t()

    def maps(self, decoded: Tensor) -> list[Tensor]:
        shown = self.goal + self.filled(self.missed(decoded))
        seen = [SEEN_SHARE * found for found in seen_maps(self.goal, shown)]
        return seen + self.structure(shown, STRUCTURE_SHARE)


@torch.no_grad()
def painted_octaves(synthesis: Synthesis) -> Tensor:
    """What a unit of each latent alone counts in each octave, by the linear path and hidden by nothing, [M, 6]."""
    pattern = shuffle(synthesis.skip.weight.t()[:, None, None].float(), synthesis.patch)
    before, behind = COARSEST_PX, MARGIN_PX - synthesis.patch
    return unmasked(F.pad(pattern, (0, 0, before, behind, before, behind)))
