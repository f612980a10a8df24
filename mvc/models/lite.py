"""mambavc-lite, the default: VSS blocks at 1/8 and 1/16 beside a linear 16 x 16 transform that starts as a DCT."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from mvc.blocks.layers import (
    Depthwise,
    Leaky,
    Linear,
    QualityGain,
    at_quality,
    shuffle,
    small,
    unshuffle,
)
from mvc.blocks.lite import WIDTH_UNIT, ConvBlock, Stage, VSSBlock, WindowBlock
from mvc.blocks.lite_semantic import SemanticBlock
from mvc.blocks.semantic import LowRank
from mvc.models.base import CELL_PX, Amid, Autoencoder, Piece, abreast, most_abreast, part_of, windows_of
from mvc.models.density import mass_between
from mvc.models.prior import Prior, Residual, Slice
from mvc.models.rounding import Rounding
from mvc.models.sizes import check_sizes
from mvc.models.weighing import rd_lambda
from mvc.planes import PACKING, SAMPLES
from mvc.quality import INDICES
from mvc.tiling import Part, alike, cells, extent, scaled, windows

PATCH = CELL_PX
BAND_TOKENS = 512  # of 16 x 16 pixels; a band has the fewest rows that have so many (ops/product.py)
GPU_BAND_TOKENS = 1 << 16  # where memory is plenty and kernels are better few; in training, too
WINDOW, MARGIN = 48, 1
"""Latents to a side of the windows that both transforms work on in large pictures, and those added around each.

They bound the memory, and the picture gets better: the scans were trained on 256 pixels, and what they carry over a
thousand is of no use (docs/decisions.md).
"""
STRIDE = 64  # pixels to a side for each position of z
BLOCKS = ("vss", "swin", "conv", "sass")


@dataclass(frozen=True)
class Config:
    width8: int = 128
    width16: int = 256
    analysis: tuple[int, int] = (5, 8)  # blocks at 1/8, then at 1/16
    synthesis: tuple[int, int] = (8, 8)  # blocks at 1/16, then at 1/8
    states: tuple[int, int] = (1, 1)  # d_state at 1/8 and 1/16
    slices: tuple[tuple[int, int], ...] = ((16, 2), (32, 2), (64, 1), (96, 1), (112, 1))
    hyper: int = 48
    hyper_hidden: int = 128
    features: int = 160
    context_hidden: int = 128
    block: str = BLOCKS[0]  # what the stages are made of; the other kinds are for comparison (benchmarks/blocks.py)
    packing: int = 1  # pixels to a side of each position of x: 1 for RGB, 2 for packed 4:2:0 (mvc/planes.py)
    rrm: bool = False  # SAMIC's low-rank step at the end of g_a, for comparison as well

    def __post_init__(self) -> None:
        check_sizes(self, BLOCKS)
        if any(passes > 2 for _, passes in self.slices):
            raise ValueError(f"slices = {self.slices} should be pairs of channels and of 1 or 2 passes")
        if self.block == "swin" and (self.width8 % WIDTH_UNIT or self.width16 % WIDTH_UNIT):
            raise ValueError(f"swin blocks take widths that are multiples of {WIDTH_UNIT}")

    @property
    def latents(self) -> int:
        return sum(channels for channels, _ in self.slices)

    @property
    def align(self) -> int:
        """What the sides of x are padded to, in pixels: windows have a size."""
        return STRIDE if self.block == "swin" else CELL_PX

    @property
    def samples(self) -> int:
        """Channels of x."""
        return SAMPLES if self.packing == PACKING else 3

    def to_dict(self) -> dict[str, Any]:
        """The fields by name, later ones only where they say something: older weights are known by a hash of this."""
        values = asdict(self)
        for name in ("block", "packing", "rrm"):
            if values[name] == type(self).__dataclass_fields__[name].default:
                del values[name]
        return values

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Config:
        def freeze(value: Any) -> Any:
            return tuple(freeze(v) for v in value) if isinstance(value, (list, tuple)) else value

        return cls(**{key: freeze(value) for key, value in values.items()})


def dct_rows(count: int, packing: int = 1) -> Tensor:
    """The `count` smoothest rows of a DCT of 16 x 16 pixels, [count, 16*16*3], orthonormal.

    Over a YCoCg-like colour basis; of packed 4:2:0 of each plane, [count, 8*8*6].
    """

    def roughness(entry: tuple[int, int, int]) -> float:
        i, j, c = entry
        return math.hypot(i, j) * (1.0 if c == 0 else 2.0) + (0.0 if c == 0 else 0.7)  # the eye and cameras blur colour

    def size(plane: int) -> int:
        return PATCH // packing if plane else PATCH

    entries = [(i, j, c) for c in range(3) for i in range(size(c)) for j in range(size(c))]
    make = _packed_row if packing == PACKING else _rgb_row
    return torch.stack([make(*entry) for entry in sorted(entries, key=roughness)[:count]]).float()


def _dct(size: int) -> Tensor:
    k = torch.arange(size, dtype=torch.float64)
    dct = torch.cos(math.pi * (k[None] + 0.5) * k[:, None] / size) * math.sqrt(2 / size)
    dct[0] /= math.sqrt(2)
    return dct


def _rgb_row(i: int, j: int, c: int) -> Tensor:
    colour = torch.tensor([[1.0, 1.0, 1.0], [1.0, 0.0, -1.0], [-0.5, 1.0, -0.5]], dtype=torch.float64)
    dct = _dct(PATCH)
    return torch.einsum("i,j,c->ijc", dct[i], dct[j], colour[c] / colour[c].norm()).reshape(-1)


def _packed_row(i: int, j: int, plane: int) -> Tensor:
    side = PATCH // PACKING
    row = torch.zeros(side, side, SAMPLES, dtype=torch.float64)
    dct = _dct(side if plane else PATCH)
    values = torch.outer(dct[i], dct[j])
    if plane:
        row[..., 3 + plane] = values
    else:
        row[..., :4] = unshuffle(values[None, ..., None], PACKING)[0]
    return row.reshape(-1)


def _stage(kind: str, channels: int, blocks: int, states: int) -> Stage:
    """`blocks` blocks of a kind in BLOCKS; every second one of windows is shifted, and only scans have states."""

    def block(index: int) -> nn.Module:
        if kind == "swin":
            return WindowBlock(channels, shifted=index % 2 == 1)
        if kind == "conv":
            return ConvBlock(channels)
        return SemanticBlock(channels, states) if kind == "sass" else VSSBlock(channels, states)

    return Stage(*map(block, range(blocks)))


def _log_steps(gain: QualityGain) -> Tensor:
    """log of the quantisation step that high-rate theory gives at each anchor, [anchors, 1].

    With a mean squared error of step^2 / 12 per orthonormal coefficient and three samples per pixel, the slope of
    distortion against bits meets lambda here.
    """
    anchors = torch.linspace(0, INDICES - 1, gain.log_gain.shape[0])
    return 0.5 * torch.log(12 * 3 / (2 * math.log(2) * rd_lambda(anchors) * 255**2))[:, None]


class Analysis(nn.Module):
    """g_a: picture x in 0..1 -> y [B, H/16, W/16, M] in units of the quantisation step.

    x is RGB [B, H, W, 3], or packed planes [B, H/2, W/2, 6].
    """

    middle = 0.5  # of the samples

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.fine, self.patch = PATCH // 2 // config.packing, PATCH // config.packing
        self.embed = Linear(self.fine**2 * config.samples, config.width8)
        self.gain8 = QualityGain(config.width8)
        self.stage8 = _stage(config.block, config.width8, config.analysis[0], config.states[0])
        self.merge = Linear(4 * config.width8, config.width16)
        self.stage16 = _stage(config.block, config.width16, config.analysis[1], config.states[1])
        self.head = small(Linear(config.width16, config.latents))
        self.skip = Linear(self.patch**2 * config.samples, config.latents, bias=False)
        self.skip.weight.data = dct_rows(config.latents, config.packing)
        self.gain = QualityGain(config.latents)
        self.gain.log_gain.data -= _log_steps(self.gain)
        self.low_rank = LowRank() if config.rrm else None

    def forward(self, x: Tensor, index: Tensor, dtype: torch.dtype | None = None) -> Tensor:
        """`dtype` is that of the stages, by default x's: what is linear in x keeps x's in any case."""
        patches = unshuffle(x, self.fine).sub_(self.middle).to(dtype or x.dtype)  # they are a copy of x
        f = self.stage8(self.gain8(self.embed(patches), index))
        f = self.stage16(self.merge(unshuffle(f, 2)))
        y = self.head(f) + self.skip(unshuffle(x, self.patch).sub_(self.middle))
        y = self.gain(y.float(), index)
        return y if self.low_rank is None else self.low_rank(y)


class Synthesis(nn.Module):
    """g_s: y_hat [B, H/16, W/16, M] -> picture around 0..1, like the x of g_a."""

    middle = 0.5

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.gain = QualityGain(config.latents)
        self.gain.log_gain.data += _log_steps(self.gain)
        self.embed = Linear(config.latents, config.width16)
        self.stage16 = _stage(config.block, config.width16, config.synthesis[0], config.states[1])
        self.split = Linear(config.width16, 4 * config.width8)
        self.gain8 = QualityGain(config.width8)
        self.stage8 = _stage(config.block, config.width8, config.synthesis[1], config.states[0])
        self.fine, self.patch = PATCH // 2 // config.packing, PATCH // config.packing
        self.head = small(Linear(config.width8, self.fine**2 * config.samples))
        self.skip = Linear(config.latents, self.patch**2 * config.samples, bias=False)
        self.skip.weight.data = dct_rows(config.latents, config.packing).t().contiguous()

    def forward(self, y_hat: Tensor, index: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
        bands = list(self.bands(y_hat, index, dtype))
        return torch.cat(bands, 1) if len(bands) > 1 else bands[0]

    def bands(self, y_hat: Tensor, index: Tensor, dtype: torch.dtype = torch.float32) -> Iterator[Tensor]:
        """The picture from top to bottom in bands [B, n, W, 3], so that a large one is never whole in float."""
        yield from self.painted(*self.features(y_hat, index, dtype))

    def features(self, y_hat: Tensor, index: Tensor, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
        """y_hat in samples, [B, h, w, M], and what the last stage makes of it, [B, 2 h, 2 w, C]; both in `dtype`."""
        y = self.gain(y_hat, index).to(dtype)
        del y_hat  # at 4K each of these takes 40 MB or more
        return y, self.stage8(self._at_eighth(self.stage16(self.embed(y)), index))

    def painted(self, y: Tensor, f: Tensor) -> Iterator[Tensor]:
        """The picture in bands, of what `features` gave."""
        few = y.is_cuda or torch.is_grad_enabled()  # gradients keep it all, and their slopes are joined again
        rows = cells(GPU_BAND_TOKENS if few else BAND_TOKENS, y.shape[0] * y.shape[2])
        for f_band, y_band in zip(f.split(2 * rows, 1), y.split(rows, 1), strict=True):
            x = shuffle(self.head(f_band), self.fine).float()
            x += shuffle(self.skip(y_band), self.patch)
            x += self.middle
            yield x

    def _at_eighth(self, f: Tensor, index: Tensor) -> Tensor:
        """From 1/16 to 1/8 of the resolution; without gradients by rows."""
        if torch.is_grad_enabled() or f.is_cuda:
            return self.gain8(shuffle(self.split(f), 2), index)
        batch, height, width, _ = f.shape
        finer = f.new_empty(batch, 2 * height, 2 * width, self.gain8.log_gain.shape[1])
        rows = cells(BAND_TOKENS, batch * width)
        for top in range(0, height, rows):
            finer[:, 2 * top : 2 * (top + rows)] = self.gain8(shuffle(self.split(f[:, top : top + rows]), 2), index)
        return finer


def continued(x: Tensor, multiple: int) -> Tensor:
    """x [B, H, W, C] with its last row and column repeated to multiples of a size."""
    bottom, right = -x.shape[1] % multiple, -x.shape[2] % multiple
    if bottom:
        x = torch.cat([x, x[:, -1:].expand(-1, bottom, -1, -1)], 1)
    return torch.cat([x, x[:, :, -1:].expand(-1, -1, right, -1)], 2) if right else x


class HyperAnalysis(nn.Module):
    """h_a: y [B, H, W, M] -> z [B, ceil(H/4), ceil(W/4), Z]."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        width = 192
        self.inp = Linear(config.latents, width)
        self.down1 = Linear(4 * width, width)
        self.mix = Residual(Depthwise(width, 5, "leaky"))
        self.down2 = Linear(4 * width, config.hyper)
        self.gain = QualityGain(config.hyper)
        self.act = Leaky()

    def forward(self, y: Tensor, index: Tensor) -> Tensor:
        f = self.act(self.inp(continued(y, STRIDE // PATCH)))
        f = self.mix(self.act(self.down1(unshuffle(f, 2))))
        return self.gain(self.down2(unshuffle(f, 2)).float(), index)


class HyperDensity(nn.Module):
    """Factorised prior of z: a logistic per channel whose mean and scale follow the quality index."""

    def __init__(self, channels: int, anchors: int = 8) -> None:
        super().__init__()
        self.mean = nn.Parameter(torch.zeros(anchors, channels))
        self.scale = QualityGain(channels, anchors)

    def parameters_at(self, index: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and scale [B, 1, 1, Z]."""
        mean = at_quality(self.mean, index)
        return mean[:, None, None], self.scale.gains(index)[:, None, None]

    def likelihood(self, z: Tensor, index: Tensor) -> Tensor:
        """Probability of the unit interval around z [B, h, w, Z]."""
        mean, scale = self.parameters_at(index)
        return mass_between((z - 0.5 - mean) / scale, (z + 0.5 - mean) / scale)


def make_prior(c: Config) -> Prior:
    """The model's prior, untrained."""
    return Prior(tuple(Slice(*s) for s in c.slices), c.hyper, c.hyper_hidden, c.features, c.context_hidden)


class MambaVCLite(Autoencoder):
    """The whole model, for all rates."""

    stride = STRIDE
    rates = INDICES
    trains_in_half = True
    refines = True
    rounding = Rounding(thrift=0.005)  # measured: docs/decisions.md
    g_a: Analysis
    g_s: Synthesis
    h_a: HyperAnalysis
    density: HyperDensity
    prior: Prior
    config: Config

    def __init__(self, config: Config | None = None) -> None:
        super().__init__()
        self.config = config or Config()
        c = self.config
        self.align = c.align
        self.hyper = c.hyper
        self.g_a = Analysis(c)
        self.g_s = Synthesis(c)
        self.h_a = HyperAnalysis(c)
        self.density = HyperDensity(c.hyper)
        self.prior = make_prior(c)

    def lagrangian(self, index: int) -> float:
        return float(rd_lambda(torch.tensor(index)))

    def untrained_prior(self) -> Prior:
        """A prior like the model's own, in floats."""
        return make_prior(self.config)

    @property
    def margin(self) -> int:
        return max(MARGIN, super().margin)

    def analyse(
        self, x: Tensor, index: Tensor, part: Part | None = None, dtype: torch.dtype | None = None
    ) -> tuple[Tensor, Tensor]:
        """As all do it; with its stages in another type than x where that is fast and of no consequence."""
        if torch.is_grad_enabled():
            y = part_of(self.g_a(x, index, dtype), part)
        else:
            y = self._analysed(x, index, part, dtype)
        return y, self.h_a(y.to(dtype or x.dtype), index)

    def _analysed(self, x: Tensor, index: Tensor, part: Part | None, dtype: torch.dtype | None) -> Tensor:
        """g_a(x), or a part of it, window by window."""
        patch = self.g_a.patch
        height, width = x.shape[1] // patch, x.shape[2] // patch
        size = (height, width) if part is None else (extent(part[0]), extent(part[1]))
        y = x.new_empty(x.shape[0], *size, self.config.latents, dtype=torch.float32)
        found = windows(height, width, WINDOW, MARGIN, part)
        for group in alike(found, most_abreast(x.device), lambda window: window.size):
            wide = [[scaled(side, patch) for side in window.wide] for window in group]
            seen = abreast([x[:, rows, columns] for rows, columns in wide])
            made = self.g_a(seen, index.repeat(len(group)), dtype)
            for window, own in zip(group, made.chunk(len(group)), strict=True):
                y[:, window.rows, window.columns] = own[:, window.own[0], window.own[1]]
        return y

    def synthesise(
        self, y_hat: Tensor, index: Tensor, given: Tensor | None = None, dtype: torch.dtype = torch.float32
    ) -> Tensor:
        if torch.is_grad_enabled():
            trained: Tensor = self.g_s(y_hat, index, dtype)
            return trained
        patch = self.g_s.patch
        shape = len(y_hat), patch * y_hat.shape[1], patch * y_hat.shape[2], self.config.samples
        x_hat = y_hat.new_empty(shape, dtype=torch.float32)
        for top, left, x in self.pieces(y_hat, index, dtype=dtype):
            x_hat[:, top : top + x.shape[1], left : left + x.shape[2]] = x
        return x_hat

    def pieces(
        self, y_hat: Tensor, index: Tensor, part: Part | None = None, dtype: torch.dtype = torch.float32
    ) -> Iterator[Piece]:
        return (piece for _, piece in self.pieces_of([Amid(y_hat, part)], index, dtype))

    def pieces_of(
        self, given: Sequence[Amid], index: Tensor, dtype: torch.dtype = torch.float32
    ) -> Iterator[tuple[int, Piece]]:
        patch = self.g_s.patch
        for group, wide in windows_of(given, WINDOW, MARGIN):
            top = 0
            for bands in self.g_s.bands(wide, index.repeat(len(group)), dtype):
                for (number, window), band in zip(group, bands.chunk(len(group)), strict=True):
                    rows, columns = (scaled(part, patch) for part in window.own)
                    own = band[:, max(0, rows.start - top) : max(0, rows.stop - top), columns]
                    if own.shape[1]:
                        first = max(top, rows.start) - rows.start
                        yield number, Piece(window.rows.start * patch + first, window.columns.start * patch, own)
                top += bands.shape[1]


def make(name: str, config: dict[str, Any]) -> MambaVCLite:
    """For the table of models (registry.py)."""
    return MambaVCLite(Config.from_dict(config))
