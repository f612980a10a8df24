"""The natural look: detail that a file leaves open, made beside the faithful picture from what its synthesis knows.

Whatever the network says, what is added to a block of 8 x 8 pixels has in each colour the mean zero, and a root mean
square below what coding itself may have lost (`limit_of`); and blocks that may be lettering stay as they are. Its noise
is of places, so that tiles and regions have that of the whole picture, every time.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mvc.blocks.layers import Linear, QualityGain, shuffle, small, unshuffle
from mvc.blocks.lite import ConvBlock, Stage
from mvc.models.base import CELL_PX, Amid, Piece, abreast, windows_of
from mvc.models.lite import MARGIN, WINDOW, MambaVCLite, Synthesis
from mvc.ops.product import linear
from mvc.places import VARIANCE, byte_sums
from mvc.tiling import Part, scaled

BLOCK_PX = 8
"""A position of the synthesis's last stage, in pixels to a side."""
COLOURS = 3
SHARP, ENDS, AT_ENDS = 0.375, 0.1, 0.7
"""Lettering: the range of a block's samples, 0..1, from which on it may be; and that at least so many of its pixels lie
in the lowest or the highest tenth of it."""


@dataclass(frozen=True)
class DetailConfig:
    width: int = 128  # of the features: that of the synthesis's last stage
    blocks: int = 4

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


class Detail(nn.Module):
    """Features of the synthesis at 1/8 [B, h, w, C] and noise -> what is added to the picture [B, 8 h, 8 w, 3]."""

    stride = BLOCK_PX
    density = None  # it codes nothing

    def __init__(self, config: DetailConfig) -> None:
        super().__init__()
        self.config = config
        self.gain = QualityGain(config.width)
        self.noise = Linear(BLOCK_PX**2, config.width, bias=False)
        self.stage = Stage(*(ConvBlock(config.width) for _ in range(config.blocks)))
        self.head = small(Linear(config.width, BLOCK_PX**2 * COLOURS))
        nn.init.zeros_(self.head.weight)  # an untrained look is the faithful one

    def forward(self, features: Tensor, noise: Tensor, index: Tensor, limit: Tensor, shares: Tensor) -> Tensor:
        """`noise` [B, h, w, 64] of deviation 1; `limit` [B] of `limit_of`; `shares` [B, h, w, 1] of the result."""
        f = self.stage(self.gain(features, index) + self.noise(noise.to(features.dtype)))
        weight, bias = (centred(own).to(f.dtype) for own in (self.head.weight, self.head.bias))
        return shuffle(bounded(linear(f, weight, bias).float(), limit, shares), BLOCK_PX)


def centred(rows: Tensor) -> Tensor:
    """What makes the samples of a block, [64 * 3, ...], less the mean of each colour: so is what it makes."""
    colours = rows.unflatten(0, (BLOCK_PX**2, COLOURS))
    return (colours - colours.mean(0)).flatten(0, 1)


def bounded(blocks: Tensor, limit: Tensor, shares: Tensor) -> Tensor:
    """Blocks [B, h, w, 64 * 3] with a root mean square that is below `limit` [B], times their `shares` [B, h, w, 1]."""
    most = limit.square()[:, None, None, None]
    return blocks * (shares * (most / (most + blocks.square().mean(-1, keepdim=True))).sqrt())


def limit_of(synthesis: Synthesis, index: Tensor) -> Tensor:
    """The root mean square, in samples of 0..1, of errors that are uniform over one quantisation step of each latent.

    For quality indices [B].
    """
    rows = synthesis.skip.weight  # what a unit of each latent adds to the samples, [samples, M]
    variance = (synthesis.gain.gains(index) * rows.norm(dim=0)).square().sum(1) / 12
    return (variance / len(rows)).sqrt()


def noise_of(rows: slice, columns: slice) -> Tensor:
    """Noise for these blocks of a picture, float32 [1, rows, columns, 64], by the place of each pixel alone.

    The sum of four bytes of a hash of its row and column, of mean 0 and deviation 1.
    """
    down, across = (range(BLOCK_PX * part.start, BLOCK_PX * part.stop) for part in (rows, columns))
    noise = torch.from_numpy(byte_sums(down, across)).float().mul_(VARIANCE**-0.5)
    return unshuffle(noise[None, ..., None], BLOCK_PX)


def _noise(wide: Part, place: tuple[int, int]) -> Tensor:
    """That of a part of latents, whose first one has that row and column in the picture."""
    fine = CELL_PX // BLOCK_PX
    starts = zip(place, wide, strict=True)
    rows, columns = (slice(fine * (at + part.start), fine * (at + part.stop)) for at, part in starts)
    return noise_of(rows, columns)


def open_blocks(x: Tensor) -> Tensor:
    """Of the blocks of a picture [B, H, W, 3], 1 where detail may be added, 0 at lettering and beside it: [B, h, w, 1].

    Lettering is what has two values and hardly any between: not what a texture is like, and nothing to be made up.
    """
    luma = unshuffle(x.mean(-1, keepdim=True), BLOCK_PX)
    low, high = luma.amin(-1, keepdim=True), luma.amax(-1, keepdim=True)
    margin = ENDS * (high - low)
    between = (luma >= low + margin) & (luma <= high - margin)
    lettered = ((high - low)[..., 0] > SHARP) & (between.sum(-1) < (1 - AT_ENDS) * BLOCK_PX**2)
    beside = F.max_pool2d(lettered.float()[:, None], 3, 1, 1)[:, 0]
    return (1 - beside)[..., None]


@dataclass(frozen=True)
class Look:
    """The detail of a model's pictures, of a share from 0 (none: the faithful picture) to 1 (all: the natural one)."""

    model: MambaVCLite
    detail: Detail
    share: float

    def pieces_of(self, given: Sequence[Amid], index: Tensor) -> Iterator[tuple[int, Piece]]:
        """As `MambaVCLite.pieces_of`."""
        synthesis = self.model.g_s
        limit = limit_of(synthesis, index)
        for group, wide in windows_of(given, WINDOW, MARGIN):
            each = index.repeat(len(group))
            y, f = synthesis.features(wide, each)
            x = torch.cat(list(synthesis.painted(y, f)), 1)
            noise = abreast([_noise(window.wide, given[number].place) for number, window in group]).to(f.device)
            x += self.detail(f, noise, each, limit.repeat(len(group)), self.share * open_blocks(x))
            for (number, window), made in zip(group, x.chunk(len(group)), strict=True):
                own = made[:, scaled(window.own[0], CELL_PX), scaled(window.own[1], CELL_PX)]
                yield number, Piece(window.rows.start * CELL_PX, window.columns.start * CELL_PX, own)
