"""SAMIC: the frame of papers.py with semantic-aware scans, low-rank latents and contexts over slices and checkerboards.

There is no public code. Widths and blocks of the transforms follow from the counts of the paper's Tables 1 and 2;
the contexts (its section 3.4 gives no widths) are one reading that comes near to the paper's parameters.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from mvc.blocks.conv import Conv
from mvc.blocks.semantic import LowRank, MambaBlock
from mvc.blocks.window import SwinBlock
from mvc.models import papers
from mvc.models.papers import PaperConfig, PaperModel
from mvc.models.sliced import SliceContext, narrowing

SAMIC = PaperConfig(  # row E5 of the paper's Table 2
    kind="sass",
    width=128,
    latents=192,
    hyper=64,
    outer_kernel=3,
    blocks=(1, 1, 1, 2),
    slices=6,
    context_hidden=(128, 64),
    context_inner=128,
    context_head=32,
)
SAMIC_SS2D = replace(SAMIC, kind="ss2d")
"""Row E2: plain 2DSS in the transforms. Its parameters leave no room for state-space blocks in the contexts."""


class CheckerboardContext(SliceContext):
    """Two passes; the slices before through a SASS block, the first pass through a 5x5 convolution, then windows.

    All at the width of means and scales together, 2M (SAMIC, equations 11 and 12).
    """

    passes = 2

    def __init__(self, c: PaperConfig, before: int, channels: int) -> None:
        super().__init__()
        wide, spatial = 2 * c.latents, c.context_inner
        self.spatial_width = spatial
        self.inp = Conv(wide + before, wide, 1)
        self.block = MambaBlock(wide, c.states) if c.kind == "sass" else nn.Identity()
        self.spatial = Conv(channels, spatial, 5)
        self.join = Conv(wide + spatial, wide, 1)
        self.windows = SwinBlock(wide, c.context_head, c.context_window, shifted=False)
        self.heads = narrowing(wide, c.context_hidden[:1], 2 * channels, size=1)
        self.correction = narrowing(wide + channels, c.context_hidden[1:], channels)

    def features(self, means: Tensor, scales: Tensor, done: list[Tensor]) -> list[Tensor]:
        return [self.block(self.inp(torch.cat([means, scales, *done], -1)))]

    def predict(self, features: list[Tensor], own: Tensor | None) -> list[Tensor]:
        known = features[0]
        seen = known.new_zeros(*known.shape[:3], self.spatial_width) if own is None else self.spatial(own)
        support = self.windows(self.join(torch.cat([known, seen], -1)))
        return [support, *self.heads(support).chunk(2, -1)]

    def lrp(self, support: Tensor, y_hat: Tensor) -> Tensor:
        return self.half_tanh(self.correction(torch.cat([support, y_hat], -1)))


class SamicModel(PaperModel):
    """samic; the low-rank step is the end of g_a."""

    def __init__(self, config: PaperConfig = SAMIC) -> None:
        super().__init__(config)
        self.g_a = nn.Sequential(self.g_a, LowRank())

    def _context(self, before: int, width: int) -> SliceContext:
        return CheckerboardContext(self.config, before, width)


def make(name: str, config: dict[str, Any]) -> SamicModel:
    """For the table of models (registry.py)."""
    return SamicModel(SAMIC.with_fields(config))


def tiny(config: PaperConfig = SAMIC) -> PaperConfig:
    """The same frame at widths for tests and toy runs."""
    return replace(papers.tiny(config), context_hidden=(16, 16), context_head=16)
