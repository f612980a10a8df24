"""mambavc-lite, the default: VSS blocks at 1/8 and 1/16 beside a linear 16 x 16 transform that starts as a DCT."""

from __future__ import annotations

import math
from collections.abc import Iterator
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
from mvc.models.base import CELL_PX, Autoencoder, Piece
from mvc.models.density import mass_between
from mvc.models.prior import Prior, Residual, Slice
from mvc.models.sizes import check_sizes
from mvc.quality import INDICES
from mvc.tiling import scaled, windows

PATCH = CELL_PX
BAND_TOKENS = 2048  # of 16 x 16 pixels
WINDOW, MARGIN = 48, 1
"""Latents to a side of the windows that both transforms work on in large pictures, and those added around each.

They bound the memory, and the picture gets better: the scans were trained on 256 pixels, and what they carry over a
thousand is of no use (docs/decisions.md).
"""
STRIDE = 64  # picture sizes the networks take are multiples of this
BLOCKS = ("vss", "swin", "conv")
LAMBDA_MIN, LAMBDA_SPAN = 0.0005, 600.0


def rd_lambda(index: Tensor) -> Tensor:
    """Weight of the mean squared error on the 0..255 scale against bits per pixel, for quality index 0..63."""
    return LAMBDA_MIN * LAMBDA_SPAN ** (index.float() / (INDICES - 1))


@dataclass(frozen=True)
class Config:
    width8: int = 128
    width16: int = 256
    analysis: tuple[int, int] = (3, 6)  # blocks at 1/8, then at 1/16
    synthesis: tuple[int, int] = (6, 4)  # blocks at 1/16, then at 1/8
    states: tuple[int, int] = (1, 1)  # d_state at 1/8 and 1/16
    slices: tuple[tuple[int, int], ...] = ((16, 2), (32, 2), (64, 1), (96, 1), (112, 1))
    hyper: int = 48
    hyper_hidden: int = 128
    features: int = 160
    context_hidden: int = 128
    block: str = BLOCKS[0]  # what the stages are made of; the other kinds are for comparison (benchmarks/blocks.py)

    def __post_init__(self) -> None:
        check_sizes(self, BLOCKS)
        if any(passes > 2 for _, passes in self.slices):
            raise ValueError(f"slices = {self.slices} should be pairs of channels and of 1 or 2 passes")
        if self.block == "swin" and (self.width8 % WIDTH_UNIT or self.width16 % WIDTH_UNIT):
            raise ValueError(f"swin blocks take widths that are multiples of {WIDTH_UNIT}")

    @property
    def latents(self) -> int:
        return sum(channels for channels, _ in self.slices)

    def to_dict(self) -> dict[str, Any]:
        """The fields by name. VSS blocks go without saying: weights older than `block` are known by a hash of this."""
        values = asdict(self)
        if self.block == BLOCKS[0]:
            del values["block"]
        return values

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Config:
        def freeze(value: Any) -> Any:
            return tuple(freeze(v) for v in value) if isinstance(value, (list, tuple)) else value

        return cls(**{key: freeze(value) for key, value in values.items()})


def dct_rows(count: int) -> Tensor:
    """The `count` smoothest rows of the 16 x 16 DCT over a YCoCg-like colour basis: [count, 16*16*3], orthonormal."""
    k = torch.arange(PATCH, dtype=torch.float64)
    dct = torch.cos(math.pi * (k[None] + 0.5) * k[:, None] / PATCH) * math.sqrt(2 / PATCH)
    dct[0] /= math.sqrt(2)
    colour = torch.tensor([[1.0, 1.0, 1.0], [1.0, 0.0, -1.0], [-0.5, 1.0, -0.5]], dtype=torch.float64)
    colour = colour / colour.norm(dim=1, keepdim=True)

    def roughness(entry: tuple[int, int, int]) -> float:
        i, j, c = entry
        return math.hypot(i, j) * (1.0 if c == 0 else 2.0) + (0.0 if c == 0 else 0.7)  # the eye and cameras blur colour

    entries = sorted(((i, j, c) for i in range(PATCH) for j in range(PATCH) for c in range(3)), key=roughness)
    rows = [torch.einsum("i,j,c->ijc", dct[i], dct[j], colour[c]).reshape(-1) for i, j, c in entries[:count]]
    return torch.stack(rows).float()


def _stage(kind: str, channels: int, blocks: int, states: int) -> Stage:
    """`blocks` blocks of a kind in BLOCKS; every second one of windows is shifted, and only VSS blocks have states."""

    def block(index: int) -> nn.Module:
        if kind == "swin":
            return WindowBlock(channels, shifted=index % 2 == 1)
        return ConvBlock(channels) if kind == "conv" else VSSBlock(channels, states)

    return Stage(*map(block, range(blocks)))


def _log_steps(gain: QualityGain) -> Tensor:
    """log of the quantisation step that high-rate theory gives at each anchor, [anchors, 1].

    With a mean squared error of step^2 / 12 per orthonormal coefficient and three samples per pixel, the slope of
    distortion against bits meets lambda here.
    """
    anchors = torch.linspace(0, INDICES - 1, gain.log_gain.shape[0])
    return 0.5 * torch.log(12 * 3 / (2 * math.log(2) * rd_lambda(anchors) * 255**2))[:, None]


class Analysis(nn.Module):
    """g_a: picture [B, H, W, 3] in 0..1 -> y [B, H/16, W/16, M] in units of the quantisation step."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.embed = Linear(64 * 3, config.width8)
        self.gain8 = QualityGain(config.width8)
        self.stage8 = _stage(config.block, config.width8, config.analysis[0], config.states[0])
        self.merge = Linear(4 * config.width8, config.width16)
        self.stage16 = _stage(config.block, config.width16, config.analysis[1], config.states[1])
        self.head = small(Linear(config.width16, config.latents))
        self.skip = Linear(PATCH * PATCH * 3, config.latents, bias=False)
        self.skip.weight.data = dct_rows(config.latents)
        self.gain = QualityGain(config.latents)
        self.gain.log_gain.data -= _log_steps(self.gain)

    def forward(self, x: Tensor, index: Tensor) -> Tensor:
        f = self.stage8(self.gain8(self.embed(unshuffle(x, 8).sub_(0.5)), index))  # patches are a copy of x
        f = self.stage16(self.merge(unshuffle(f, 2)))
        y = self.head(f) + self.skip(unshuffle(x, PATCH).sub_(0.5))
        return self.gain(y.float(), index)


class Synthesis(nn.Module):
    """g_s: y_hat [B, H/16, W/16, M] -> picture [B, H, W, 3] around 0..1."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.gain = QualityGain(config.latents)
        self.gain.log_gain.data += _log_steps(self.gain)
        self.embed = Linear(config.latents, config.width16)
        self.stage16 = _stage(config.block, config.width16, config.synthesis[0], config.states[1])
        self.split = Linear(config.width16, 4 * config.width8)
        self.gain8 = QualityGain(config.width8)
        self.stage8 = _stage(config.block, config.width8, config.synthesis[1], config.states[0])
        self.head = small(Linear(config.width8, 64 * 3))
        self.skip = Linear(config.latents, PATCH * PATCH * 3, bias=False)
        self.skip.weight.data = dct_rows(config.latents).t().contiguous()

    def forward(self, y_hat: Tensor, index: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
        bands = list(self.bands(y_hat, index, dtype))
        return torch.cat(bands, 1) if len(bands) > 1 else bands[0]

    def bands(self, y_hat: Tensor, index: Tensor, dtype: torch.dtype = torch.float32) -> Iterator[Tensor]:
        """The picture from top to bottom in bands [B, n, W, 3], so that a large one is never whole in float."""
        y = self.gain(y_hat, index).to(dtype)
        del y_hat  # at 4K each of these takes 40 MB or more
        f = self.stage8(self._at_eighth(self.stage16(self.embed(y)), index))
        rows = max(1, BAND_TOKENS // (y.shape[0] * y.shape[2]))
        for f_band, y_band in zip(f.split(2 * rows, 1), y.split(rows, 1), strict=True):
            x = shuffle(self.head(f_band), 8).float()
            x += shuffle(self.skip(y_band), PATCH)
            x += 0.5
            yield x


    def _at_eighth(self, f: Tensor, index: Tensor) -> Tensor:
        """From 1/16 to 1/8 of the resolution; without gradients by rows."""
        if torch.is_grad_enabled():
            return self.gain8(shuffle(self.split(f), 2), index)
        batch, height, width, _ = f.shape
        finer = f.new_empty(batch, 2 * height, 2 * width, self.gain8.log_gain.shape[1])
        rows = max(1, BAND_TOKENS // (batch * width))
        for top in range(0, height, rows):
            finer[:, 2 * top : 2 * (top + rows)] = self.gain8(shuffle(self.split(f[:, top : top + rows]), 2), index)
        return finer


class HyperAnalysis(nn.Module):
    """h_a: y [B, H, W, M] -> z [B, H/4, W/4, Z]."""

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
        f = self.act(self.inp(y))
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
    g_s: Synthesis
    h_a: HyperAnalysis
    density: HyperDensity
    prior: Prior
    config: Config

    def __init__(self, config: Config | None = None) -> None:
        super().__init__()
        self.config = config or Config()
        c = self.config
        self.hyper = c.hyper
        self.g_a = Analysis(c)
        self.g_s = Synthesis(c)
        self.h_a = HyperAnalysis(c)
        self.density = HyperDensity(c.hyper)
        self.prior = make_prior(c)

    def analyse(self, x: Tensor, index: Tensor) -> tuple[Tensor, Tensor]:
        y = self.g_a(x, index) if torch.is_grad_enabled() else self._analysed(x, index)
        return y, self.h_a(y.to(x.dtype), index)

    def _analysed(self, x: Tensor, index: Tensor) -> Tensor:
        """g_a(x) window by window."""
        height, width = x.shape[1] // PATCH, x.shape[2] // PATCH
        y = x.new_empty(x.shape[0], height, width, self.config.latents, dtype=torch.float32)
        for window in windows(height, width, WINDOW, MARGIN):
            rows, columns = (scaled(part, PATCH) for part in window.wide)
            own = self.g_a(x[:, rows, columns], index)
            y[:, window.rows, window.columns] = own[:, window.own[0], window.own[1]]
        return y

    def synthesise(
        self, y_hat: Tensor, index: Tensor, given: Tensor | None = None, dtype: torch.dtype = torch.float32
    ) -> Tensor:
        x_hat: Tensor = self.g_s(y_hat, index, dtype)
        return x_hat

    def pieces(self, y_hat: Tensor, index: Tensor) -> Iterator[Piece]:
        for window in windows(y_hat.shape[1], y_hat.shape[2], WINDOW, MARGIN):
            rows, columns = (scaled(part, PATCH) for part in window.own)
            top = 0
            for band in self.g_s.bands(y_hat[:, window.wide[0], window.wide[1]], index):
                own = band[:, max(0, rows.start - top) : max(0, rows.stop - top), columns]
                if own.shape[1]:
                    first = max(top, rows.start) - rows.start
                    yield Piece(window.rows.start * PATCH + first, window.columns.start * PATCH, own)
                top += band.shape[1]


def make(name: str, config: dict[str, Any]) -> MambaVCLite:
    """For the table of models (registry.py)."""
    return MambaVCLite(Config.from_dict(config))
