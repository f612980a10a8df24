"""The networks of mambavc-lite for clips: keyframe, motion and residual, for all rates (docs/decisions.md).

What decides symbols or the prediction is made of layers that mvc/exact can lower: the priors (video_prior.py) and the
motion's synthesis. Tensors are channels last.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields, replace
from typing import Any

import torch
from torch import Tensor, nn

from mvc.blocks.layers import (
    Composite,
    Depthwise,
    Leaky,
    Linear,
    QualityGain,
    ToEighths,
    shuffle,
    small,
    unshuffle,
)
from mvc.blocks.lite import ConvBlock, Stage
from mvc.colour import BT601_LUMA
from mvc.models.base import Autoencoder, CoderOf, no_index, part_of
from mvc.models.lite import STRIDE, Config, HyperAnalysis, HyperDensity, MambaVCLite
from mvc.models.prior import Residual
from mvc.models.rounding import NEAREST, Rounding
from mvc.models.video_prior import MotionPrior, TemporalPrior
from mvc.planes import PACKING, SAMPLES
from mvc.quality import INDICES
from mvc.tiling import Part

FLOW_PX = 8  # pixels to a side for each vector of the decoded flow
SIDE = FLOW_PX // PACKING  # of its part of a packed frame
PATCH_SAMPLES = SIDE**2 * SAMPLES
COARSER = 1.5  # log of how much coarser a hyperlatent of frames starts than one of pictures: they cost a hundredth
SURER = 0.7  # log of how much narrower its density is than that: most of its symbols are zero
STEPS_PX = (1.0, 0.4)  # of the motion's latents, at the lowest and the highest quality
OF_FRAMES: dict[str, Any] = {"packing": PACKING, "analysis": (3, 6), "synthesis": (6, 4)}
"""What the networks of keyframe and residual are unless said otherwise: fewer blocks than a still's, for speed."""


@dataclass(frozen=True)
class VideoConfig:
    """`picture` is of the keyframe's and the residual's networks, which work on packed 4:2:0 (mvc/planes.py)."""

    picture: Config = field(default_factory=lambda: Config(**OF_FRAMES))
    motion: int = 16  # latents of the motion, and of its hyperlatent
    motion_width: int = 64
    motion_features: int = 64
    temporal_width: int = 160

    def __post_init__(self) -> None:
        own = [getattr(self, name) for name in ("motion", "motion_width", "motion_features", "temporal_width")]
        if any(type(width) is not int or not 8 <= width <= 1024 for width in own):
            raise ValueError(f"widths {own} should be whole numbers in 8..1024")
        if self.picture.packing != PACKING:
            raise ValueError(f"packing = {self.picture.packing} should be {PACKING}: clips are coded as 4:2:0")

    def to_dict(self) -> dict[str, Any]:
        """Plain values by name."""
        return {**{own.name: getattr(self, own.name) for own in fields(self)}, "picture": self.picture.to_dict()}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> VideoConfig:
        """From plain values; TypeError for a field that does not exist."""
        picture = Config.from_dict({**OF_FRAMES, **values.get("picture", {})})
        return cls(**{**values, "picture": picture})


class MotionAnalysis(nn.Module):
    """g_a of the motion, encoder only: what `motion_input` gives -> y [B, H/16, W/16, M].

    It starts as an orthonormal transform of the searched flow: of 2 x 2 vectors their mean, their slopes and the rest.
    """

    def __init__(self, latents: int, width: int) -> None:
        super().__init__()
        self.inp = Linear(2 * PATCH_SAMPLES + 2, width)
        self.stage8 = Stage(ConvBlock(width))
        self.merge = Linear(4 * width, 2 * width)
        self.stage16 = Stage(ConvBlock(2 * width), ConvBlock(2 * width))
        self.head = small(Linear(2 * width, latents))
        self.skip = Linear(8, latents, bias=False)
        self.skip.weight.data = haar(latents)
        self.gain = QualityGain(latents)
        self.gain.log_gain.data -= _log_steps(self.gain)

    def forward(self, x: Tensor, index: Tensor) -> Tensor:
        flow = x[..., 2 * PATCH_SAMPLES :]
        f = self.stage8(self.inp(torch.cat([x[..., : 2 * PATCH_SAMPLES], 0.1 * flow], -1)))
        y = self.head(self.stage16(self.merge(unshuffle(f, 2)))) + self.skip(unshuffle(flow, 2))
        return self.gain(y.float(), index)


class MotionSynthesis(Composite):
    """g_s of the motion: y_hat [B, H/16, W/16, M] -> [B, H/8, W/8, 3], flow right and down in pixels, and the scale.

    Rounded to eighths, and lowered in what codes, so that the prediction is the same everywhere.
    """

    def __init__(self, latents: int, width: int) -> None:
        super().__init__()
        self.gain = QualityGain(latents)
        self.gain.log_gain.data += _log_steps(self.gain)
        self.skip = Linear(latents, 8, bias=False)
        self.skip.weight.data = haar(latents).t().contiguous()
        self.up, self.act = Linear(latents, width), Leaky()
        self.up.weight.data *= 0.2
        self.mix16, self.mid16 = Residual(Depthwise(width, 5, "leaky")), Linear(width, width)
        self.split = Linear(width, 4 * width)
        self.mix8, self.mid8 = Residual(Depthwise(width, 5, "leaky")), Linear(width, width)
        self.out = small(Linear(width, 3))
        self.round = ToEighths()

    def forward(self, y_hat: Tensor, index: Tensor) -> Tensor:
        y = self.gain(y_hat, index)
        f = self.mix16(self.act(self.up(y)))
        f = shuffle(self.split(f + self.act(self.mid16(f))), 2)
        f = self.mix8(f)
        motion = self.out(f + self.act(self.mid8(f)))
        base = shuffle(self.skip(y), 2)
        rounded: Tensor = self.round(torch.cat([base + motion[..., :2], motion[..., 2:]], -1))
        return rounded


def motion_input(x: Tensor, warped: Tensor, flow: Tensor) -> Tensor:
    """What the motion is analysed from: packed frames in 0..1, the second warped by flow [B, H/8, W/8, 2]."""
    return torch.cat([4 * unshuffle(x - warped, SIDE), unshuffle(warped, SIDE) - 0.5, flow], -1)


def haar(latents: int) -> Tensor:
    """[latents, 8], orthonormal rows: of 2 x 2 vectors in the order of `unshuffle`, first all of x, then of y."""
    square = torch.tensor([[1, 1, 1, 1], [1, 1, -1, -1], [1, -1, 1, -1], [1, -1, -1, 1]]) / 2
    rows = torch.zeros(latents, 8)
    for direction in range(2):
        rows[4 * direction : 4 * direction + 4, direction::2] = square
    return rows


def _log_steps(gain: QualityGain) -> Tensor:
    low, high = STEPS_PX
    return torch.linspace(low, high, gain.log_gain.shape[0]).log()[:, None]


class MotionAutoencoder(Autoencoder):
    """x of its flow is what `motion_input` gives; x_hat is flow and scale at 1/8 of the picture's sides."""

    stride = STRIDE
    rates = INDICES
    exact_synthesis = True
    predicts = True
    rounding = Rounding(deadzone=0.15)  # measured on three clips: -13, -3 and -1 % (docs/decisions.md)
    g_a: MotionAnalysis
    h_a: HyperAnalysis

    def __init__(self, config: VideoConfig) -> None:
        super().__init__()
        c = self.config = config
        self.align = c.picture.align  # all networks have latents at the same places
        self.hyper = c.motion
        self.g_a = MotionAnalysis(c.motion, c.motion_width)
        self.g_s = self.untrained_synthesis()
        self.h_a = HyperAnalysis(Config(slices=((c.motion, 2),), hyper=c.motion))
        self.density = HyperDensity(c.motion)
        self.density.scale.log_gain.data -= COARSER + SURER
        self.h_a.gain.log_gain.data -= COARSER
        self.prior: MotionPrior = self.untrained_prior()
        self.prior.h_s.gain_in.log_gain.data += COARSER

    def untrained_prior(self) -> MotionPrior:
        c = self.config
        return MotionPrior(c.motion, c.motion_features, c.motion + c.picture.latents)

    def untrained_synthesis(self) -> MotionSynthesis:
        return MotionSynthesis(self.config.motion, self.config.motion_width)

    def analyse(self, x: Tensor, index: Tensor, part: Part | None = None) -> tuple[Tensor, Tensor]:
        y = part_of(self.g_a(x, index), part)
        return y, self.h_a(y.to(x.dtype), index)

    def synthesise(
        self, y_hat: Tensor, index: Tensor, given: Tensor | None = None, dtype: torch.dtype = torch.float32
    ) -> Tensor:
        if not isinstance(self.g_s.round, ToEighths):  # it is lowered
            one = self.prior.grid.one
            fixed: Tensor = self.g_s(y_hat.double() * one, index)
            return (fixed / one).float()
        motion: Tensor = self.g_s(y_hat, index)
        return motion


class ResidualAutoencoder(MambaVCLite):
    """What the prediction lacks, coded as a picture is; its prior sees three latents: keyframe, last frame, motion."""

    watched = True
    careful = 2.0  # measured on three clips
    rounding = NEAREST  # what zeros save here, later frames lose (docs/decisions.md)

    def __init__(self, config: VideoConfig) -> None:
        super().__init__(config.picture)
        self.g_a.middle = self.g_s.middle = 0.0
        self.video = config
        self.prior = self.untrained_prior()

    def untrained_prior(self) -> TemporalPrior:
        c = self.video
        return TemporalPrior(c.picture, 2 * c.picture.latents + c.motion, c.temporal_width)


class LiteVideo(nn.Module):
    """The three networks of a model for clips."""

    rates = INDICES
    stride = STRIDE
    trains_in_half = True

    def __init__(self, config: VideoConfig | None = None) -> None:
        super().__init__()
        self.config = config or VideoConfig()
        self.align = self.config.picture.align
        self.keyframe = MambaVCLite(self.config.picture)
        self.motion = MotionAutoencoder(self.config)
        self.residual = ResidualAutoencoder(self.config)

    @property
    def networks(self) -> dict[str, Autoencoder]:
        """The autoencoders by what they code."""
        return {"picture": self.keyframe, "motion": self.motion, "residual": self.residual}

    def trace(self, coder_of: CoderOf, x: Tensor) -> None:
        """A keyframe x [B, H, W, 3] and a frame after it, each of the three networks once, for counting."""
        batch, height, width, _ = x.shape
        frame = x.new_empty(batch, height // PACKING, width // PACKING, SAMPLES)
        flow = x.new_empty(batch, height // FLOW_PX, width // FLOW_PX, 2)
        index = no_index(x)

        def coded(of: Autoencoder, x: Tensor, given: Tensor | None = None) -> Tensor:
            y, z = of.analyse(x, index)
            y_hat = of.prior.code(coder_of(of.density), index, z, y, given)
            of.synthesise(y_hat, index)
            return y_hat

        key = coded(self.keyframe, frame)
        moved = self.config.motion
        motion = coded(self.motion, motion_input(frame, frame, flow), torch.cat([key[..., :moved], key], -1))
        coded(self.residual, frame, torch.cat([key, key, motion], -1))


def make(name: str, config: dict[str, Any]) -> LiteVideo:
    """For the table of models (registry.py)."""
    return LiteVideo(VideoConfig.from_dict(config))


@torch.no_grad()
def from_still(still: MambaVCLite, config: VideoConfig | None = None) -> LiteVideo:
    """Keyframe and residual with the weights of a trained still-picture model; motion starts from the searched flow.

    What the still model makes of RGB is rewritten for packed planes, and the residual's hyperlatent starts coarser.
    RuntimeError if its sizes are not those of `config.picture`.
    """
    model = LiteVideo(config or VideoConfig(picture=replace(still.config, packing=PACKING)))
    values = repacked(still.state_dict())
    model.keyframe.load_state_dict(values)
    missing = model.residual.load_state_dict(values, strict=False)
    if missing.unexpected_keys or any(not key.startswith("prior.temporal.") for key in missing.missing_keys):
        raise RuntimeError(f"the still model has other parts: {missing}")
    residual = model.residual
    residual.h_a.gain.log_gain.sub_(COARSER)
    residual.prior.h_s.gain_in.log_gain.add_(COARSER)
    residual.density.mean.mul_(math.exp(-COARSER))
    residual.density.scale.log_gain.sub_(COARSER)
    return model


def repacked(values: dict[str, Tensor]) -> dict[str, Tensor]:
    """The state of a model for RGB as that of one for packed 4:2:0 of BT.601 in the limited range.

    Both transforms see samples through linear layers alone, so that is a change of their basis, but for what lies in
    chroma of full resolution and for the black level, which the latents take up.
    """
    forward, inverse = _basis()
    values = dict(values)
    for name in ("g_a.embed.weight", "g_a.skip.weight"):
        values[name] = _applied(values[name], inverse)
    for name in ("g_s.head.weight", "g_s.skip.weight", "g_s.head.bias"):
        weight = values[name]
        matrix = weight.t() if weight.ndim == 2 else weight[None]
        turned = _applied(matrix, forward.t())
        values[name] = turned.t().contiguous() if weight.ndim == 2 else turned[0]
    return values


def _basis() -> tuple[Tensor, Tensor]:
    """Of a 2 x 2 square: packed samples [6] from RGB [12], and back with chroma repeated, the zeros left out."""
    luma = torch.tensor(BT601_LUMA)
    blue, red = torch.tensor([0.0, 0, 1]), torch.tensor([1.0, 0, 0])
    to_yuv = torch.stack([luma * 219, (blue - luma) / 1.772 * 224, (red - luma) / 1.402 * 224]) / 255
    to_rgb = torch.linalg.inv(to_yuv)
    forward, inverse = torch.zeros(SAMPLES, 12), torch.zeros(12, SAMPLES)
    for place in range(4):
        own = slice(3 * place, 3 * place + 3)
        forward[place, own] = to_yuv[0]
        forward[4:, own] = to_yuv[1:] / 4
        inverse[own, place] = to_rgb[:, 0]
        inverse[own, 4:] = to_rgb[:, 1:]
    return forward, inverse


def _applied(weight: Tensor, matrix: Tensor) -> Tensor:
    """A layer's weight [out, side * side * 3] for patches of RGB, or of `matrix`'s rows, for the other samples."""
    side = math.isqrt(weight.shape[1] // 3)
    squares = weight.view(-1, side // 2, 2, side // 2, 2, 3).permute(0, 1, 3, 2, 4, 5).reshape(len(weight), -1, 12)
    return (squares @ matrix).reshape(len(weight), -1).contiguous()
