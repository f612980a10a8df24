"""MambaVC, SwinVC and ConvVC (MambaVC paper, section 3.2 and appendix A): one frame, several kinds of block.

Everything is float and channels last. What the paper leaves open is taken from its authors' public settings, see
docs/papers.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from itertools import accumulate
from typing import Any

from torch import nn

from mvc.blocks.conv import GDN, Conv, Deconv
from mvc.blocks.semantic import MambaBlock
from mvc.blocks.vss import PaperVSSBlock
from mvc.blocks.window import SwinBlock
from mvc.models.base import Autoencoder
from mvc.models.density import FactorizedDensity
from mvc.models.sizes import check_sizes
from mvc.models.sliced import GatedContext, SliceContext, SlicedPrior

STRIDE = 64  # picture sizes the networks take are multiples of this
KINDS = ("vss", "swin", "gdn", "sass", "ss2d")


@dataclass(frozen=True)
class PaperConfig:
    """Appendix A of the paper: C1 = C2 = C3 = C5 = width, C4 = latents, C6 = hyper."""

    kind: str = "vss"  # vss, swin or gdn; SAMIC's are sass and ss2d
    width: int = 256
    latents: int = 320
    hyper: int = 192
    kernel: int = 3  # of every convolution but those next to the picture
    outer_kernel: int = 5
    blocks: tuple[int, int, int, int] = (2, 2, 9, 2)  # L1 ... L4: at 1/2, 1/4, 1/8 and in the hyper networks
    windows: tuple[int, int, int, int] = (8, 8, 8, 4)
    head_width: int = 32
    states: int = 16
    drop: float = 0.1  # of the last block of h_a o g_a; it grows evenly from 0
    slices: int = 5
    context_hidden: tuple[int, int] = (224, 128)
    context_inner: int = 128
    context_head: int = 16
    context_window: int = 8

    def __post_init__(self) -> None:
        check_sizes(self, KINDS)
        if self.latents % self.slices:
            raise ValueError(f"latents = {self.latents} should be a multiple of slices = {self.slices}")

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    def with_fields(self, values: Mapping[str, Any]) -> PaperConfig:
        """With plain values, as they stand in a manifest or recipe; TypeError for a field that does not exist."""
        fields: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in values.items()}
        return replace(self, **fields)


MAMBAVC = PaperConfig()
SWINVC = PaperConfig(kind="swin")
CONVVC = PaperConfig(kind="gdn", width=448, kernel=5)


@dataclass(frozen=True)
class Kind:
    """How the blocks of a network are made."""

    name: str
    head_width: int = 32
    states: int = 16
    norm: bool = True

    def stage(self, width: int, count: int, window: int, drops: list[float], inverse: bool = False) -> list[nn.Module]:
        """`count` blocks at one resolution; GDN is one layer whatever the count."""
        if self.name == "gdn":
            return [GDN(width, inverse)]
        if self.name == "vss":
            return [PaperVSSBlock(width, self.states, drop) for drop in drops[:count]]
        if self.name in ("sass", "ss2d"):
            return [MambaBlock(width, self.states, semantic=self.name == "sass") for _ in range(count)]
        head = self.head_width
        return [SwinBlock(width, head, window, i % 2 == 1, drops[i], self.norm) for i in range(count)]


def drop_rates(config: PaperConfig) -> list[list[float]]:
    """Of the stages of g_a and of h_a; the synthesis transforms have them in reverse."""
    total = sum(config.blocks)
    rates = [config.drop * i / (total - 1) for i in range(total)]
    ends = accumulate(config.blocks)
    return [rates[end - count : end] for end, count in zip(ends, config.blocks, strict=True)]


def analysis(c: PaperConfig, kind: Kind) -> nn.Sequential:
    """g_a: picture [B, H, W, 3] in 0..1 -> y [B, H/16, W/16, M]."""
    layers: list[nn.Module] = []
    for i, drops in enumerate(drop_rates(c)[:3]):
        layers.append(Conv(c.width if i else 3, c.width, c.kernel if i else c.outer_kernel, 2))
        layers += kind.stage(c.width, c.blocks[i], c.windows[i], drops)
    return nn.Sequential(*layers, Conv(c.width, c.latents, c.kernel, 2))


def synthesis(c: PaperConfig, kind: Kind) -> nn.Sequential:
    """g_s: y_hat [B, H/16, W/16, M] -> picture [B, H, W, 3] around 0..1."""
    layers: list[nn.Module] = []
    for i, drops in reversed(list(enumerate(drop_rates(c)[:3]))):
        layers.append(Deconv(c.latents if i == 2 else c.width, c.width, c.kernel))
        layers += kind.stage(c.width, c.blocks[i], c.windows[i], drops[::-1], inverse=True)
    return nn.Sequential(*layers, Deconv(c.width, 3, c.outer_kernel))


def hyper_analysis(c: PaperConfig, kind: Kind) -> nn.Sequential:
    """h_a: y [B, H, W, M] -> z [B, H/4, W/4, Z]."""
    blocks = kind.stage(c.width, c.blocks[3], c.windows[3], drop_rates(c)[3])
    return nn.Sequential(Conv(c.latents, c.width, c.kernel, 2), *blocks, Conv(c.width, c.hyper, c.kernel, 2))


def hyper_synthesis(c: PaperConfig, kind: Kind) -> nn.Sequential:
    """One of the two h_s (mean, scale): z_hat [B, H/4, W/4, Z] -> [B, H, W, M]."""
    blocks = kind.stage(c.width, c.blocks[3], c.windows[3], drop_rates(c)[3][::-1], inverse=True)
    return nn.Sequential(Deconv(c.hyper, c.width, c.kernel), *blocks, Deconv(c.width, c.latents, c.kernel))


class PaperModel(Autoencoder):
    """mambavc, swinvc or convvc, by its configuration."""

    align = stride = STRIDE
    config: PaperConfig

    def __init__(self, config: PaperConfig = MAMBAVC) -> None:
        super().__init__()
        c = self.config = config
        kind = Kind(c.kind, c.head_width, c.states)
        self.hyper = c.hyper
        self.g_a, self.g_s = analysis(c, kind), synthesis(c, kind)
        self.h_a = hyper_analysis(c, kind)
        width = c.latents // c.slices
        contexts = [self._context(k * width, width) for k in range(c.slices)]
        h_mean, h_scale = hyper_synthesis(c, kind), hyper_synthesis(c, kind)
        self.density = FactorizedDensity(c.hyper)
        self.prior = SlicedPrior(h_mean, h_scale, contexts, [width] * c.slices)

    def _context(self, before: int, width: int) -> SliceContext:
        """Of the slice that follows `before` channels."""
        c = self.config
        sizes = (c.context_inner, c.context_head, c.context_window)
        return GatedContext(c.latents, before, width, c.context_hidden, *sizes)


PRESETS = {"mambavc": MAMBAVC, "swinvc": SWINVC, "convvc": CONVVC}


def make(name: str, config: dict[str, Any]) -> PaperModel:
    """For the table of models (registry.py)."""
    return PaperModel(PRESETS[name].with_fields(config))


def tiny(config: PaperConfig) -> PaperConfig:
    """The same frame at widths for tests and toy runs."""
    small = replace(config, width=64, latents=32, hyper=16, head_width=16, states=1, blocks=(1, 1, 2, 1), slices=2)
    return replace(
        small, windows=(4, 4, 4, 2), context_hidden=(16, 8), context_inner=8, context_head=4, context_window=4
    )
