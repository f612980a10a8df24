"""A tiny random model for tests of everything between a picture and its file, and digests of what was coded."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from typing import Any
from unittest import mock

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

import mvc
from mvc import stills
from mvc.blocks.conv import Conv
from mvc.codec import Codec
from mvc.container import read_file
from mvc.entropy import parts
from mvc.exact.fixed import COARSE, Grid
from mvc.models import papers, registry, samic, ssf
from mvc.models.base import Autoencoder
from mvc.models.lite import Config, MambaVCLite
from mvc.models.lite_video import LiteVideo, VideoConfig, from_still
from mvc.models.weights import Weights
from mvc.picture import Picture
from mvc.still_file import check_sums
from mvc.tiling import Tiling
from mvc.train.export import make_weights

# Where a picture takes milliseconds, threads that wait for each other on a busy machine take ten times that.
torch.set_num_threads(1)

CONFIG = Config(
    width8=64,
    width16=64,
    analysis=(1, 1),
    synthesis=(1, 1),
    slices=((16, 2), (16, 1), (32, 2)),
    hyper=16,
    hyper_hidden=16,
    features=32,
    context_hidden=32,
)
SPREAD = 40.0
"""By how much the prior's last layers are enlarged: means of a few steps, scales over many rows."""


def tiny_network() -> MambaVCLite:
    """Seeded, and with weights large enough that means, scales and corrections differ from place to place."""
    with torch.random.fork_rng():
        torch.manual_seed(1)
        network = MambaVCLite(CONFIG).eval()
        with torch.no_grad():
            for name, parameter in network.prior.named_parameters():
                if name.endswith(("mean.weight", "scale.weight", "lrp_out.weight")):
                    parameter.mul_(SPREAD)
                elif name.endswith("log_gain"):
                    parameter.add_(torch.randn_like(parameter), alpha=0.2)
                elif name.endswith("bias"):
                    parameter.add_(torch.randn_like(parameter), alpha=0.1)
            network.h_a.down2.weight *= 20  # a hyperlatent of more than zeros
    return network


@cache
def tiny_weights() -> Weights:
    return make_weights(tiny_network(), {"about": "random, for tests"}, name="mambavc-lite")


@cache
def tiny_codec(dtype: torch.dtype = torch.float64) -> Codec:
    return Codec(tiny_weights(), dtype=dtype)


def picture(height: int, width: int, *, gray: bool = False, seed: int = 0) -> Picture:
    """Waves, edges and some noise."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[0:height, 0:width]
    waves = [np.sin(rows / rng.uniform(2, 30) + columns / rng.uniform(2, 30)) for _ in range(1 if gray else 3)]
    samples = 128 + 60 * np.stack(waves, -1) + 50 * ((rows // 9 + columns // 14) % 2)[..., None]
    samples = (samples + rng.normal(0, 6, samples.shape)).clip(0, 255).astype(np.uint8)
    return Picture(samples[..., 0] if gray else samples)


def sha256(*arrays: np.ndarray) -> str:
    """Over the arrays' values as int32, little-endian."""
    return hashlib.sha256(b"".join(array.astype("<i4").tobytes() for array in arrays)).hexdigest()


@contextmanager
def recorded() -> Iterator[list[np.ndarray]]:
    """The symbols that codecs write or read meanwhile, in coding order."""
    symbols: list[np.ndarray] = []

    class Encoder(parts.Encoder):
        def put(self, values: ArrayLike, rows: ArrayLike) -> None:
            symbols.append(np.asarray(values))
            super().put(values, rows)

    class Decoder(parts.Decoder):
        def take(self, rows: ArrayLike) -> NDArray[np.int32]:
            taken = super().take(rows)
            symbols.append(taken)
            return taken

    with mock.patch.object(parts, "Encoder", Encoder), mock.patch.object(parts, "Decoder", Decoder):
        yield symbols


def whole(y_hat: Tensor, grid: Grid = COARSE) -> np.ndarray:
    """y_hat in steps, [1, H, W, M] -> its fixed-point integers [H, W, M]."""
    return (y_hat[0].double() * grid.one).to(torch.int32).cpu().numpy()


def decoded_digests(codec: Codec, data: bytes) -> tuple[str, str]:
    """SHA-256 of the symbols and of y_hat of a file."""
    head, units = read_file(data)
    pairs = stills.strips(head, lambda _: codec).pairs(units)
    codec.check_head(head)
    found, sums = {}, [unit.latent_sum for unit in units if unit.role != "alpha"]
    with recorded() as symbols, torch.inference_mode():
        for unit, _ in pairs:
            if unit.role == "picture":
                found[unit.index] = codec.latent(head, unit, Tiling(head.width, head.height, head.tile_px)[unit.index])
                check_sums({unit.index: codec.latent_sum(found[unit.index])}, sums if any(sums) else [])
    return sha256(*symbols), sha256(*(whole(latent.y_hat, codec.network.prior.grid) for latent in found.values()))


def encoded_digests(
    codec: Codec, source: Picture, quality: int, effort: int = mvc.DEFAULT_EFFORT
) -> tuple[bytes, tuple[str, str]]:
    """A picture's file, and the digests of what its encoder knew."""
    y_hat: list[Tensor] = []
    code = codec.network.prior.code

    def kept(*arguments: Any) -> Tensor:
        coded = code(*arguments)
        y_hat.append(coded.clone())
        return coded

    with recorded() as symbols, mock.patch.object(codec.network.prior, "code", kept):
        data = codec.encode(source, quality, effort)
    return data, (sha256(*symbols), sha256(whole(y_hat[0] / codec.network.prior.grid.one, codec.network.prior.grid)))


PAPERS = ("mambavc", "swinvc", "convvc", "samic")


@cache
def tiny_paper_network(name: str) -> Autoencoder:
    """A small random version of one of the papers' still-picture models, its latents a few steps wide."""
    config = samic.tiny() if name == "samic" else papers.tiny(getattr(papers, name.upper()))
    with torch.random.fork_rng():
        torch.manual_seed(2)
        network: Any = registry.known(name).make(config.to_dict()).eval()
        with torch.no_grad():
            for transform in (network.g_a, network.h_a):
                convolutions = [module for module in transform.modules() if isinstance(module, Conv)]
                convolutions[-1].weight.mul_(30)
            for parameter in network.prior.parameters():
                if parameter.ndim > 1:
                    parameter.mul_(1.4)
    return network


@cache
def tiny_paper_weights(name: str) -> Weights:
    """That model, ready to code."""
    return make_weights(tiny_paper_network(name), {"about": "random, for tests"}, name=name)


VIDEO = ("mambavc-ssf", "swinvc-ssf", "convvc-ssf")


@cache
def tiny_video_weights(name: str) -> Weights:
    """A small random version of one of the papers' video models: latents a few steps wide, frames of all shades."""
    presets = {"mambavc-ssf": ssf.MAMBAVC_SSF, "swinvc-ssf": ssf.SWINVC_SSF, "convvc-ssf": ssf.CONVVC_SSF}
    with torch.random.fork_rng():
        torch.manual_seed(4)
        model = ssf.SSFModel(ssf.tiny(presets[name])).eval()
        with torch.no_grad():
            for part, network in model.networks.items():
                network.g_a[-1].weight.mul_(150 if name == "convvc-ssf" else 30)
                [module for module in network.h_a.modules() if isinstance(module, Conv)][-1].weight.mul_(20)
                network.g_s[-1].weight.mul_(0.1 if part == "motion" else 0.4)
            model.keyframe.g_s[-1].bias.fill_(0.5)
    return make_weights(model, {"about": "random, for tests"}, name=name)


CLIP_CONFIG = VideoConfig(picture=replace(CONFIG, packing=2), motion_width=32, motion_features=32, temporal_width=32)


def tiny_clip_network() -> LiteVideo:
    """mambavc-ssf-lite from the tiny still model; what starts at zero says something, and what rests is predicted."""
    with torch.random.fork_rng():
        torch.manual_seed(3)
        made = from_still(tiny_network(), CLIP_CONFIG).eval()
        with torch.no_grad():
            for network in (made.motion, made.residual):
                network.prior.temporal.out.weight.normal_(std=0.3)
                for name, parameter in network.prior.named_parameters():
                    if name.endswith("mean.weight"):  # means of symbols that are mostly zero
                        parameter.mul_(10 if network is made.motion else 1 / SPREAD)
            for context in made.motion.prior.contexts:
                context.lrp_out.weight.mul_(10)
            made.motion.g_s.out.weight.mul_(5)  # scales above zero, too
            made.motion.g_s.out.bias[2] = 0.3
    return made


@cache
def tiny_clip_weights() -> Weights:
    """That model, ready to code."""
    return make_weights(tiny_clip_network(), {"about": "random, for tests"}, name="mambavc-ssf-lite")
