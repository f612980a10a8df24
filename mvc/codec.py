"""The codec: picture -> .mvc bytes -> picture. The data flow of both directions on one page.

picture -> g_a -> y -> h_a -> z -> [exact prior and entropy coder] -> streams -> container
container -> streams -> [exact prior and entropy decoder] -> y_hat -> g_s -> picture
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from functools import cached_property, lru_cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

import mvc
from mvc.blocks.layers import QUALITIES
from mvc.container.still import Header, Still, read_still, write_still
from mvc.effort.refine import ITERATIONS, float_prior, refine
from mvc.errors import BackendError, Corrupt, Limit, Unsupported, WeightsError
from mvc.evaluate.metrics import psnr as measure_psnr
from mvc.exact.selfcheck import check_backend
from mvc.exact.streams import StreamDecoder, StreamEncoder
from mvc.models import registry
from mvc.models.mambavc_lite import MambaVCLite
from mvc.models.prior import Coder, Prior
from mvc.ops.memory import give_back, set_block_policy
from mvc.picture import Picture, check_size
from mvc.weights import MANIFEST_FILE, Weights
from mvc.weights import load as load_weights

LARGE_PX = 1 << 22


def load(model: str | bytes = mvc.DEFAULT_MODEL, device: str = "auto", threads: int | None = None) -> Codec:
    """The codec of a model on a device ("auto", "cpu", "cuda"); weights are read once per process.

    `model` is a preset's name, a folder that `mvc export` wrote, or the model id in the header of a file that is to be
    decoded. Raises WeightsError for a name that is unknown or has no weights, Unsupported for an id that no weights
    here have, BackendError for a device that is missing or does not compute the exact prior.
    """
    if threads is not None:
        torch.set_num_threads(threads)
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cuda" and not torch.cuda.is_available():
        raise BackendError("this machine has no CUDA device", hint="use --device cpu")
    return _loaded(_folder_of_id(model) if isinstance(model, bytes) else _folder_of(model), device)


def _folder_of_id(model_id: bytes) -> Path:
    preset = registry.preset_of(model_id)
    if preset is None:
        known = [f"{p.name} {p.model_id.hex()}" for p in registry.presets() if p.shipped]
        raise Unsupported(
            f"the file was made with a model that is not installed (id {model_id.hex()})",
            hint=f"this installation has {', '.join(known) or 'none'}; --model names the folder of another",
        )
    return preset.folder


def _folder_of(model: str) -> Path:
    preset = registry.preset(model)
    if preset is not None and preset.shipped:
        return preset.folder
    if (Path(model) / MANIFEST_FILE).is_file():
        return Path(model).resolve()
    if preset is not None:
        hint = "train it with `mvc train`, and name the folder that `mvc export` writes"
        raise WeightsError(f"the model {model} has no weights here", hint=hint)
    known = ", ".join(p.name for p in registry.presets())
    raise WeightsError(f"there is no model {model!r}", hint=f"known models: {known}; or a folder with weights")


@lru_cache(maxsize=4)
def _loaded(folder: Path, device: str) -> Codec:
    check_backend(device)
    set_block_policy()
    return Codec(load_weights(folder), device)


class Codec:
    """Encodes and decodes with one model on one device.

    `dtype` is the carrier of the exact prior: float64, or int64 for the slow reference that defines it.
    """

    def __init__(self, weights: Weights, device: str = "cpu", dtype: torch.dtype = torch.float64) -> None:
        self.weights = weights
        self.device = torch.device(device)
        self.dtype = dtype
        self.model = weights.model
        for part in (self.model.g_a, self.model.g_s, self.model.h_a):
            part.to(self.device).requires_grad_(False)
        self.prior = weights.prior.to(self.device)
        self.model_id = weights.exact_hash[: registry.MODEL_ID_BYTES]
        self.rates = self.model.rates

    # --- encode ----------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def encode(self, picture: Picture, quality: int, effort: int = mvc.DEFAULT_EFFORT) -> bytes:
        """The .mvc file of a picture at quality index 0 (smallest) ... 63, with effort 0 (fastest) ... 3.

        Models of one rate write index 0 whatever is asked for. Efforts are of mambavc-lite; other models know only 0.
        """
        if not 0 <= quality < QUALITIES:
            raise Limit(f"quality index {quality} is outside 0 ... {QUALITIES - 1}")
        if not 0 <= effort < len(ITERATIONS):
            raise Limit(f"effort {effort} is outside 0 ... {len(ITERATIONS) - 1}")
        quality = min(quality, self.rates - 1)
        header = Header(picture.width, picture.height, picture.colour, 8, quality, self.model_id)
        tables = self.weights.hyper_tables, self.weights.latent_tables
        coder = StreamEncoder(*tables, quality, self.dtype, self.prior.grid)
        self.analyse(picture, quality, coder, effort)
        _tidy(header)
        return write_still(Still(header, coder.hyper_stream, tuple(coder.slices)))

    @torch.no_grad()
    def analyse(self, picture: Picture, quality: int, coder: Coder, effort: int = 0) -> None:
        """Transform a picture and give its latents to a coder."""
        index = torch.tensor([quality], device=self.device)
        y, z = self._latents(picture, index, effort)
        self.prior.code(coder, index, z, y)

    def _latents(self, picture: Picture, index: Tensor, effort: int) -> tuple[Tensor, Tensor]:
        x = self.to_tensor(picture)
        iterations = ITERATIONS[effort] if isinstance(self.model, MambaVCLite) else 0
        if iterations:
            size = picture.height, picture.width
            return refine(self.weights, self._float_prior, x, size, index, iterations)
        return self.model.analyse(x, index)

    @cached_property
    def _float_prior(self) -> Prior:
        return float_prior(self.weights).to(self.device)

    def encode_to(
        self,
        picture: Picture,
        *,
        bpp: float | None = None,
        size: int | None = None,
        psnr: float | None = None,
        effort: int = mvc.DEFAULT_EFFORT,
    ) -> bytes:
        """The best quality within `bpp` bits per pixel or `size` bytes, or the smallest file of at least `psnr` dB."""
        if self.rates == 1:
            name = self.weights.manifest["name"]
            raise Limit(f"{name} has one rate, so no target can be searched", hint="train it for another lambda")
        if psnr is not None:
            return self._search(
                picture, effort, lambda data: measure_psnr(picture.samples, self.decode(data).samples) >= psnr
            )
        if bpp is not None:
            size = math.floor(bpp * picture.width * picture.height / 8)
        if size is None:
            raise ValueError("give one of bpp, size and psnr")
        limit = size
        best = self._search(picture, effort, lambda data: len(data) > limit, before=True)
        if len(best) > limit:
            raise Limit(f"the smallest file of this picture has {len(best)} bytes, more than {limit}")
        return best

    def _search(
        self, picture: Picture, effort: int, reached: Callable[[bytes], bool], before: bool = False
    ) -> bytes:
        """The file at the lowest quality that has `reached` its target, or, with `before`, the one just below it.

        Bisection over the quality index; where no quality reaches the target the best one is taken.
        """
        low, high = 0, QUALITIES  # the first that reaches lies in low ... high
        files: dict[int, bytes] = {}
        while low < high:
            middle = (low + high) // 2
            files[middle] = self.encode(picture, middle, effort)
            low, high = (low, middle) if reached(files[middle]) else (middle + 1, high)
        chosen = max(0, low - 1) if before else min(low, QUALITIES - 1)
        return files[chosen] if chosen in files else self.encode(picture, chosen, effort)

    # --- decode ----------------------------------------------------------------------------------------------------

    @torch.inference_mode()
    def decode(self, data: bytes) -> Picture:
        """The picture in an .mvc file; any bytes either decode or raise an MvcError."""
        still = read_still(data)
        y_hat = self.decode_latent(still)
        bands = self.model.bands(y_hat, torch.tensor([still.header.quality], device=self.device))
        picture = _to_picture(bands, still.header)
        del y_hat, bands
        _tidy(still.header)
        return picture

    def decode_latent(self, still: Still) -> Tensor:
        """y_hat [1, H/16, W/16, M] in units of the quantisation step: exact, the same on every machine."""
        header = still.header
        check_size(header.width, header.height, name="the picture in the file")
        if header.model_id != self.model_id:
            raise Unsupported(
                f"the file was made with a model that is not installed (id {header.model_id.hex()})",
                hint=f"this installation has {self.model_id.hex()}",
            )
        if len(still.slices) != len(self.prior.widths):
            raise Corrupt(f"the file has {len(still.slices)} slices, its model {len(self.prior.widths)}")
        if header.quality >= self.rates:
            raise Corrupt(f"the file has quality index {header.quality}, its model {self.rates} rate(s)")
        height, width = (-(-side // self.model.stride) for side in (header.height, header.width))
        coder = StreamDecoder(
            self.weights.hyper_tables,
            self.weights.latent_tables,
            header.quality,
            (still.hyper, still.slices),
            (height, width, self.model.config.hyper),
            dtype=self.dtype,
            grid=self.prior.grid,
            device=self.device,
        )
        y_fixed = self.prior.code(coder, torch.tensor([header.quality], device=self.device))
        return y_fixed.double().div(self.prior.grid.one).float()

    def to_tensor(self, picture: Picture) -> Tensor:
        """[1, H, W, 3] in 0..1, padded by replication to multiples of the model's stride."""
        right, bottom = -picture.width % self.model.stride, -picture.height % self.model.stride
        edges = ((0, bottom), (0, right), (0, 0))
        padded = np.pad(np.atleast_3d(picture.samples), edges, mode="edge")  # still bytes: at 4K floats take 100 MB
        x = torch.from_numpy(padded).to(self.device).to(torch.float32).div_(255)
        return x[None].expand(-1, -1, -1, 3)


def _tidy(header: Header) -> None:
    """Give memory back after a large picture; after a small one the next is faster with it."""
    if header.width * header.height >= LARGE_PX:
        give_back()


def _to_picture(bands: Iterable[Tensor], header: Header) -> Picture:
    shape = (header.height, header.width) if header.colour == "gray" else (header.height, header.width, 3)
    samples, top = np.empty(shape, np.uint8), 0
    for band in bands:
        own = samples[top : top + band.shape[1]]  # the last band may reach below the picture
        x = band[0, : len(own), : header.width]
        x = x.mean(-1) if header.colour == "gray" else x
        own[...] = x.mul(255).round_().clamp_(0, 255).to(torch.uint8).cpu().numpy()
        top += band.shape[1]
    return Picture(samples)
