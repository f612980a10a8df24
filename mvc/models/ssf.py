"""Video by scale-space flow (Agustsson et al. 2020), plain or with MambaVC's or Swin blocks (MambaVC, appendix A).

Three autoencoders with a hyperprior each: the keyframe, the motion from the reference, and the residual of the
prediction. Everything is float and channels last.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from mvc.blocks.conv import Conv, Deconv
from mvc.blocks.scale_space import predict
from mvc.models.base import Autoencoder, Code, Coded, CoderOf, Known, Moving, Shown, no_index
from mvc.models.coding import Coder
from mvc.models.density import FactorizedDensity
from mvc.models.estimate import Density, RateEstimator
from mvc.models.papers import Kind
from mvc.models.sizes import check_sizes
from mvc.models.sliced import SliceContext, SlicedPrior

STRIDE = 128  # frame sizes the networks take are multiples of this
KINDS = ("vss", "swin", "plain")


@dataclass(frozen=True)
class SSFConfig:
    """`kind` vss or swin, or plain for no blocks; `windows` of keyframe, motion and residual."""

    kind: str = "plain"
    width: int = 128
    latents: int = 192
    hyper: int = 192  # that of the latents in the papers
    blocks: tuple[int, int, int, int, int, int] = (1, 2, 3, 1, 1, 1)  # L1 ... L6: at 1/2, 1/4, 1/8; 1/32, 1/64, 1/128
    windows: tuple[int, int, int] = (8, 4, 8)
    head_width: int = 32
    states: int = 16

    def __post_init__(self) -> None:
        check_sizes(self, KINDS, networks=3)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    def with_fields(self, values: Mapping[str, Any]) -> SSFConfig:
        """With plain values, as they stand in a manifest or recipe; TypeError for a field that does not exist."""
        fields: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in values.items()}
        return replace(self, **fields)


MAMBAVC_SSF = SSFConfig(kind="vss")
SWINVC_SSF = SSFConfig(kind="swin")
CONVVC_SSF = SSFConfig()
"""The paper describes no convolutional video variant beyond the base; scale-space flow is convolutional already."""


class HyperContext(SliceContext):
    """The whole latent in one slice, of which the hyperlatent has said everything."""

    def features(self, means: Tensor, scales: Tensor, done: list[Tensor]) -> list[Tensor]:
        return [means, means, scales]

    def predict(self, features: list[Tensor], own: Tensor | None) -> list[Tensor]:
        return features

    def lrp(self, support: Tensor, y_hat: Tensor) -> Tensor:
        return torch.zeros_like(y_hat)


class HyperpriorAutoencoder(Autoencoder):
    """g_a, g_s, h_a and a hyperprior for mean and scale: [B, H, W, inputs] -> latents -> [B, H, W, outputs]."""

    align = stride = STRIDE
    config: SSFConfig

    def __init__(self, c: SSFConfig, window: int, inputs: int = 3, outputs: int = 3, extra: int = 0) -> None:
        """`extra` channels stand beside the latents at the input of g_s."""
        super().__init__()
        self.config, self.window, self.hyper = c, window, c.hyper
        self.kind = Kind(c.kind, c.head_width, c.states, norm=False)
        m, w = c.latents, c.width
        self.g_a = nn.Sequential(
            *self._stage(Conv(inputs, w, 5, 2), w, 0),
            *self._stage(Conv(w, w, 5, 2), w, 1),
            *self._stage(Conv(w, w, 5, 2), w, 2),
            Conv(w, m, 5, 2),
        )
        self.g_s = nn.Sequential(
            *self._stage(Deconv(m + extra, w, 5), w, 2),
            *self._stage(Deconv(w, w, 5), w, 1),
            *self._stage(Deconv(w, w, 5), w, 0),
            Deconv(w, outputs, 5),
        )
        self.h_a = nn.Sequential(
            *self._stage(Conv(m, m, 5, 2), m, 3),
            *self._stage(Conv(m, m, 5, 2), m, 4),
            Conv(m, c.hyper, 5, 2),
            *self._blocks(c.hyper, 5),
        )
        h_scale = nn.Sequential(self._hyper_synthesis(), nn.ReLU())
        self.density = FactorizedDensity(c.hyper)
        self.prior = SlicedPrior(self._hyper_synthesis(), h_scale, [HyperContext()], [m])

    def _blocks(self, width: int, index: int) -> list[nn.Module]:
        if self.kind.name == "plain":
            return []
        count = self.config.blocks[index]
        return self.kind.stage(width, count, self.window, [0.0] * count)

    def _stage(self, resampling: nn.Module, width: int, index: int) -> list[nn.Module]:
        """A resampling convolution with its blocks. Swin blocks lack norms here and are followed by one more ReLU."""
        return [resampling, nn.ReLU(), *self._blocks(width, index), *[nn.ReLU()] * (self.kind.name == "swin")]

    def _hyper_synthesis(self) -> nn.Sequential:
        m = self.config.latents
        up = [*self._stage(Deconv(self.config.hyper, m, 5), m, 4), *self._stage(Deconv(m, m, 5), m, 3)]
        return nn.Sequential(*up, Deconv(m, m, 5), *self._blocks(m, 5))


class ScaleSpaceFlow:
    """A frame given the one before it: its motion, the prediction that follows from it, and what is left."""

    parts = ("motion", "residual")

    def __init__(self, networks: Mapping[str, Autoencoder]) -> None:
        self.motion, self.residual = (networks[name] for name in self.parts)

    def first(self, y_hat: Tensor) -> dict[str, Tensor]:
        """Nothing but the frame is known."""
        return {}

    def inter(self, code: Code, x: Tensor | None, known: Known, index: Tensor, without: str = "") -> Shown:
        """As InterFlow says; the synthesis of the residual sees the motion's latents too."""
        reference = known.frame
        motion = code("motion", None if x is None else torch.cat([x, reference], -1), None, known.moving)
        prediction = reference if motion is None else predict(reference, self.motion.synthesise(motion.y_hat, index))
        residual = code("residual", None if x is None else x - prediction, None, None)
        if motion is None or residual is None:
            return Shown(prediction, {}, {})
        left = self.residual.synthesise(residual.y_hat, index, given=motion.y_hat)
        return Shown(prediction + left, {}, {})


@dataclass
class CodedFrame:
    """A frame as a model sees it in training."""

    x_hat: Tensor  # [B, H, W, 3]
    bits: Tensor  # [B], estimated
    hyper_bits: Tensor  # [B], those of them that the hyperlatents take


class SSFModel(nn.Module):
    """mambavc-ssf, swinvc-ssf or convvc-ssf, by its configuration."""

    align = stride = STRIDE
    rates = 1
    trains_in_half = False

    def __init__(self, config: SSFConfig = MAMBAVC_SSF) -> None:
        super().__init__()
        c = self.config = config
        self.keyframe = HyperpriorAutoencoder(c, c.windows[0])
        self.motion = HyperpriorAutoencoder(c, c.windows[1], inputs=6)
        self.residual = HyperpriorAutoencoder(c, c.windows[2], extra=c.latents)

    @property
    def networks(self) -> dict[str, Autoencoder]:
        """The autoencoders by what they code."""
        return {"picture": self.keyframe, "motion": self.motion, "residual": self.residual}

    def code_keyframe(self, coder_of: CoderOf, x: Tensor) -> Tensor:
        """x [B, H, W, 3] in 0..1 -> x_hat."""
        x_hat: Tensor = self.keyframe(coder_of(self.keyframe.density), x, no_index(x))
        return x_hat

    def code_inter(self, coder_of: CoderOf, x: Tensor, reference: Tensor) -> Tensor:
        """x given the frame decoded before it -> x_hat, with float priors."""
        index = no_index(x)

        def code(name: str, signal: Tensor | None, given: Tensor | None, moving: Moving | None) -> Coded:
            network = self.networks[name]
            assert signal is not None  # nothing is decoded here
            return Coded(network.code(coder_of(network.density), signal, index).float())

        return ScaleSpaceFlow(self.networks).inter(code, x, Known(reference, {}), index).x_hat

    def forward(self, frames: Tensor, noise: bool | None = None) -> list[CodedFrame]:
        """frames [B, T, H, W, 3] in 0..1, sides multiples of the stride: the first is the keyframe.

        Rates are of noisy latents (None: in training mode) or of rounded ones.
        """
        noise = self.training if noise is None else noise
        coded: list[CodedFrame] = []
        for x in frames.unbind(1):
            coders: list[RateEstimator] = []

            def coder_of(density: Density, x: Tensor = x, coders: list[RateEstimator] = coders) -> Coder:
                coders.append(RateEstimator(density, no_index(x), noise))
                return coders[-1]

            x_hat = self.code_inter(coder_of, x, coded[-1].x_hat) if coded else self.code_keyframe(coder_of, x)
            bits = torch.stack([coder.bits for coder in coders]).sum(0)
            coded.append(CodedFrame(x_hat, bits, torch.stack([coder.hyper_bits for coder in coders]).sum(0)))
        return coded

    def trace(self, coder_of: CoderOf, x: Tensor) -> None:
        """A keyframe and an inter frame, each of the three autoencoders once, for counting."""
        self.code_inter(coder_of, x, self.code_keyframe(coder_of, x))


PRESETS = {"mambavc-ssf": MAMBAVC_SSF, "swinvc-ssf": SWINVC_SSF, "convvc-ssf": CONVVC_SSF}


def make(name: str, config: dict[str, Any]) -> SSFModel:
    """For the table of models (registry.py)."""
    return SSFModel(PRESETS[name].with_fields(config))


def tiny(config: SSFConfig) -> SSFConfig:
    """The same frame at widths for tests and toy runs."""
    small = replace(config, width=64, latents=64, hyper=64, head_width=16, states=1)
    return replace(small, blocks=(1, 1, 1, 1, 1, 1), windows=(4, 2, 4))
