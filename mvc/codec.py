"""The codec: picture -> .mvc bytes -> picture. The data flow of both directions on one page.

picture -> tile -> x -> g_a -> y -> h_a -> z -> [exact prior and entropy coder] -> streams -> unit -> container
container -> unit -> streams -> [exact prior and entropy decoder] -> y_hat -> g_s -> samples -> tile -> picture
"""

from __future__ import annotations

import copy
import math
import threading
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from mvc import stills
from mvc.arguments import check_threads
from mvc.container import Head, Unit, read_file, read_metadata, write_file
from mvc.effort.refine import ITERATIONS, float_prior, refine
from mvc.errors import BackendError, Corrupt, Limit, Unsupported, at
from mvc.exact.selfcheck import check_backend
from mvc.models import weights as stored
from mvc.models.base import Piece
from mvc.models.prior import Prior
from mvc.models.registry import PICTURE
from mvc.models.streams import Streams
from mvc.models.weights import Weights
from mvc.ops.computing import computing
from mvc.ops.memory import give_back, set_block_policy
from mvc.picture import Picture, check_size
from mvc.quality import (
    DEFAULT_EFFORT,
    DEFAULT_MODEL,
    best_within,
    check_effort,
    check_index,
    check_target,
    least_reaching,
)
from mvc.tiling import Tile, Tiling

LARGE_PX = 1 << 22
_LOADING = threading.Lock()


def load(model: str | bytes = DEFAULT_MODEL, device: str = "auto", threads: int | None = None) -> Codec:
    """The codec of a model on a device ("auto", "cpu", "cuda"); weights are read once per process.

    `model` is a preset's name, a folder that `mvc export` wrote, or the model id in the header of a file that is to be
    decoded. Raises WeightsError for a name that is unknown or has no weights, Unsupported for an id that no weights
    here have, BackendError for a device that is missing or does not compute the exact prior. `threads` holds while the
    codec computes (mvc/ops/computing.py); the caller's torch stays as it is.
    """
    check_threads(threads)
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cuda" and not torch.cuda.is_available():
        raise BackendError("this machine has no CUDA device", hint="use --device cpu")
    with computing(), _LOADING:  # many first calls load once
        return _loaded(stored.folder_of(model), device).with_threads(threads)


@lru_cache(maxsize=4)
def _loaded(folder: Path, device: str) -> Codec:
    check_backend(device)
    set_block_policy()
    return Codec(stored.load(folder), device)


class Codec:
    """Encodes and decodes with one model on one device.

    `dtype` is the carrier of the exact prior: float64, or int64 for the slow reference that defines it.
    """

    def __init__(self, weights: Weights, device: str = "cpu", dtype: torch.dtype = torch.float64) -> None:
        self.weights, self.device, self.dtype = weights, torch.device(device), dtype
        self.network = weights.picture.to(self.device)
        self.model = self.network.model
        self.model_id = weights.model_id
        self.rates, self.refines = self.model.rates, self.model.refines
        self.threads: int | None = None
        self._kept: dict[str, Prior] = {}

    def with_threads(self, threads: int | None) -> Codec:
        """The same codec, computing on so many CPU threads; None: on as many as torch is set to."""
        if threads == self.threads:
            return self
        codec = copy.copy(self)
        codec.threads = threads
        return codec

    # --- encode ------------------------------------------------------------------------------------------------------

    def encode(self, picture: Picture, index: int, effort: int = DEFAULT_EFFORT) -> bytes:
        """The .mvc file of a picture at quality index 0 (smallest) ... 63, with effort 0 (fastest) ... 3.

        Alpha is kept exactly; the colour of what is not to be seen at all is not kept.
        Models of one rate write index 0 whatever is asked for; models that cannot refine know effort 0 alone.
        ValueError for an index or effort that does not exist, Unsupported for samples of 16 bits.
        """
        index, effort = min(check_index(index), self.rates - 1), check_effort(effort)
        if picture.depth != 8:
            raise Unsupported("networks code samples of 8 bits", hint="Picture.eight_bit() rounds; or code it exactly")
        alpha = picture.alpha
        head = Head("still", picture.width, picture.height, picture.colour, 8, index, self.model_id)
        seen = picture if alpha is None else Picture(stills.painted(picture))
        with computing(self.threads):
            tiles = Tiling(picture.width, picture.height)
            streams = [self.streams(seen, tile, index, effort) for tile in tiles]
            units = [Unit("picture", number, None, own) for number, own in enumerate(streams)]
        if alpha is not None:
            head, units = replace(head, alpha=True), [*units, stills.alpha_unit(alpha, effort)]
        _tidy(picture.width, picture.height)
        return write_file(head, units, picture.metadata)

    @torch.no_grad()
    def streams(self, picture: Picture, tile: Tile, index: int, effort: int = 0) -> Streams:
        """The streams of a tile of a picture."""
        y, z = self.latents(self.to_tensor(picture, tile), tile, index, effort)
        return self.network.write(y, z, index, self.dtype)

    @torch.no_grad()
    def latents(
        self, x: Tensor, tile: Tile, index: int, effort: int = 0, iterations_of: Sequence[int] = ITERATIONS
    ) -> tuple[Tensor, Tensor]:
        """y and z of a padded tile x [1, H, W, 3], refined as far as the effort goes."""
        iterations = iterations_of[effort] if self.refines else 0
        return self.refined(PICTURE, x, (tile.height, tile.width), index, iterations)

    @torch.no_grad()
    def refined(
        self, name: str, x: Tensor, size: tuple[int, int], index: int, iterations: int, given: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """y and z of a signal of this height and width, by the network of this name; as refine.py has them."""
        network, indices = self.weights.networks[name], torch.tensor([index], device=self.device)
        if not iterations:
            return network.model.analyse(x, indices)
        if name not in self._kept:
            self._kept[name] = float_prior(network).to(self.device)
        return refine(network, self._kept[name], x, size, indices, iterations, given)

    def encode_to(
        self,
        picture: Picture,
        *,
        bpp: float | None = None,
        size: int | None = None,
        psnr: float | None = None,
        effort: int = DEFAULT_EFFORT,
    ) -> bytes:
        """The best quality within `bpp` bits per pixel or `size` bytes, or the smallest file of at least `psnr` dB.

        Limit where no quality does.
        """
        check_target(bpp, size, psnr)
        if self.rates == 1:
            raise Limit(
                f"{self.weights.name} has one rate, so no target can be searched", hint="train it for another lambda"
            )

        def encode(index: int) -> bytes:
            return self.encode(picture, index, effort)

        def measured(data: bytes) -> float:
            return stills.psnr(picture, self.decode(data))

        if psnr is not None:
            data = least_reaching(encode, lambda data: measured(data) >= psnr)
            if measured(data) < psnr:
                raise Limit(f"the best quality of this picture has {measured(data):.2f} dB, less than {psnr:g}")
            return data
        if bpp is not None:
            size = math.floor(bpp * picture.width * picture.height / 8)
        if size is None:
            raise ValueError("give one of bpp, size and psnr")
        limit = size
        data = best_within(encode, lambda data: len(data) <= limit)
        if len(data) > limit:
            hint = "its metadata counts, too, and can be left out" if picture.metadata else None
            raise Limit(f"the smallest file of this picture has {len(data)} bytes, more than {limit}", hint=hint)
        return data

    # --- decode ------------------------------------------------------------------------------------------------------

    def decode(self, data: bytes) -> Picture:
        """The picture in an .mvc file; any bytes either decode or raise an MvcError."""
        return stills.decode(*read_file(data), self._with_id, read_metadata(data))

    def _with_id(self, model_id: bytes) -> Codec:
        return self  # which refuses files of another model

    def decode_units(self, head: Head, units: Sequence[Unit]) -> Picture:
        """The picture in units of this model, without alpha, which is no matter of models (mvc/stills.py)."""
        tiles = self._tiles(head, units)
        shape = (head.height, head.width) if head.colour == "gray" else (head.height, head.width, 3)
        samples = np.empty(shape, np.uint8)
        with computing(self.threads), torch.inference_mode():
            for tile, unit in zip(tiles, units, strict=True):
                own = samples[tile.top : tile.top + tile.height, tile.left : tile.left + tile.width]
                self.read_into(own, head, unit, tile)
        _tidy(head.width, head.height)
        return Picture(samples)

    def read_into(self, samples: np.ndarray, head: Head, unit: Unit, tile: Tile) -> None:
        """Decode a unit "picture" into the samples of its tile, uint8 [height, width, 3] or [height, width]."""
        y_hat, index = self._read(head, unit, tile)
        _tidy(tile.width, tile.height)  # what the prior had is of other sizes than what the synthesis needs
        y_hat = y_hat.contiguous()  # alone, without the features beside which the prior had it
        place(self.model.pieces(y_hat, torch.tensor([index], device=self.device)), samples)

    @torch.inference_mode()
    def decode_latent(self, head: Head, units: Sequence[Unit], number: int = 0) -> Tensor:
        """y_hat [1, H/16, W/16, M] of a tile, in units of the quantisation step: exact, the same on every machine."""
        own = [stills.parts(head, units)[0]]
        return self._read(head, own[number], self._tiles(head, own)[number])[0]

    def _tiles(self, head: Head, units: Sequence[Unit]) -> list[Tile]:
        """The tiles that the units are of; MvcError where they are not those of a picture of this model."""
        if head.kind != "still":
            raise Unsupported("the file is a clip, not a picture", hint="`mvc decode` writes videos: -o clip.y4m")
        self.check_head(head)
        tiling = Tiling(head.width, head.height)
        if [(unit.role, unit.index) for unit in units] != [("picture", number) for number in range(len(tiling))]:
            last = f"{units[-1].role} {units[-1].index}"
            raise Corrupt(f"the file must have {len(tiling)} units of a picture; it has {len(units)}, the last {last}")
        return list(tiling)

    def check_head(self, head: Head) -> None:
        """Limit or Unsupported unless this model and version can decode such a file."""
        check_size(head.width, head.height, name=f"the {'picture' if head.kind == 'still' else 'clip'} in the file")
        if head.model_id is None:
            raise Unsupported("the file names no model: no network made it")
        if head.model_id != self.model_id:
            raise stored.unknown_id(head.model_id, [self.model_id.hex()])

    def index_of(self, head: Head, unit: Unit, streams: int) -> int:
        """The quality index of a unit that must have so many streams; Corrupt if it does not fit the model."""
        index: int = head.quality_index if unit.quality_index is None else unit.quality_index
        if len(unit.streams) != streams:
            raise Corrupt(f"the unit has {len(unit.streams)} streams, its model {streams}")
        if index >= self.rates:
            raise Corrupt(f"the unit has quality index {index}, its model {self.rates} rate(s)")
        return index

    def _read(self, head: Head, unit: Unit, tile: Tile) -> tuple[Tensor, int]:
        """The latents of a unit, and the quality index that it was coded with."""
        with at(f"CODE {unit.index}" if head.kind == "still" else f"{unit.role} {unit.index}"):
            index = self.index_of(head, unit, self.network.streams)
            size = tile.height, tile.width
            return self.network.read(unit.streams, index, size, self.device, self.dtype), index

    def to_tensor(self, picture: Picture, tile: Tile | None = None) -> Tensor:
        """[1, H, W, 3] in 0..1 of a tile, or all, padded by replication to what the model takes."""
        if tile is None:
            (tile,) = Tiling(picture.width, picture.height)
        bottom, right = tile.padding(self.model.align)
        own = picture.samples[tile.top : tile.top + tile.height, tile.left : tile.left + tile.width]
        edges = ((0, bottom), (0, right), (0, 0))
        padded = np.pad(np.atleast_3d(own), edges, mode="edge")  # still bytes: at 4K floats take 100 MB
        x = torch.from_numpy(padded).to(self.device).to(torch.float32).div_(255)
        return x[None].expand(-1, -1, -1, 3)


def _tidy(width: int, height: int) -> None:
    """Give memory back after a large picture; after a small one the next is faster with it."""
    if width * height >= LARGE_PX:
        give_back()


def place(pieces: Iterable[Piece], samples: np.ndarray) -> None:
    """Round pieces in 0..1 into the samples of a tile, uint8 [height, width, 3] or [height, width].

    What a GPU makes is put together there, and fetched once.
    """
    target, there = torch.from_numpy(samples), None
    for top, left, x in pieces:
        if x.is_cuda and there is None:
            target = there = torch.empty(samples.shape, dtype=torch.uint8, device=x.device)
        own = target[top : top + x.shape[1], left : left + x.shape[2]]  # the last ones may reach beyond the picture
        values = x[0, : own.shape[0], : own.shape[1]]
        values = values.mean(-1) if samples.ndim == 2 else values
        own.copy_(values.mul(255).round_().clamp_(0, 255))
    if there is not None:
        samples[...] = there.cpu().numpy()
