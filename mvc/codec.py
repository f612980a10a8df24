"""The codec: picture -> .mvc bytes -> picture. The data flow of both directions on one page.

picture -> tile -> x -> g_a -> y -> h_a -> z -> [exact prior and entropy coder] -> streams -> unit -> container
container -> unit -> streams -> [exact prior and entropy decoder] -> y_hat -> g_s -> samples -> tile -> picture

What a picture is in tiles, and whose alpha or which tiles the exact coder makes, is in tiled.py and stills.py.
"""

from __future__ import annotations

import copy
import math
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import chain
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from mvc import stills, targets, tiled
from mvc.arguments import check_threads
from mvc.container import Head, Unit
from mvc.container.chunks import crc32c
from mvc.effort.refine import ITERATIONS, float_prior, refine
from mvc.entropy.parts import (
    Abreast,
    FirstParts,
    Joint,
    JointReader,
    JointWriter,
    Reader,
    SeparateReader,
    SeparateWriter,
)
from mvc.errors import BackendError, Corrupt, Limit, Unsupported, at
from mvc.exact.selfcheck import check_backend
from mvc.models import looks
from mvc.models import weights as stored
from mvc.models.base import CELL_PX, Amid, most_abreast
from mvc.models.comparing import Comparing, Symbols
from mvc.models.detail import Look
from mvc.models.prior import Prior
from mvc.models.registry import PICTURE
from mvc.models.weights import Weights
from mvc.ops.computing import computing
from mvc.ops.memory import Fetched, give_back, set_block_policy
from mvc.painting import amid, place
from mvc.picture import MAX_FRAME_SIDE_PX, Picture, check_size
from mvc.quality import DEFAULT_EFFORT, DEFAULT_MODEL, Tune, check_effort, check_index, check_target
from mvc.still_file import StillFile
from mvc.tiling import Part, Tile, Tiling, alike, extent, round_up

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
    return Codec(stored.load(folder), device, folder=folder)


@dataclass(frozen=True)
class Latent:
    """What a unit holds: y_hat [1, h, w, M] in quantisation steps, and the quality index of the steps."""

    y_hat: Tensor
    index: int
    place: tuple[int, int] = (0, 0)  # of its first position in the picture, row and column


class Codec:
    """Encodes and decodes with one model on one device.

    `dtype` is the carrier of the exact prior: float64, or int64 for the slow reference that defines it.
    """

    def __init__(
        self,
        weights: Weights,
        device: str = "cpu",
        dtype: torch.dtype = torch.float64,
        folder: Path | None = None,
    ) -> None:
        self.weights, self.device, self.dtype = weights, torch.device(device), dtype
        self.folder = folder  # of the weights, beside which their looks lie
        self.network = weights.picture.to(self.device)
        self.model = self.network.model
        self.model_id = weights.model_id
        self.rates, self.refines = self.model.rates, self.model.refines
        self.threads: int | None = None
        self.parts: int | None = None  # how many of a unit are read: hyperlatent and slices; None: all
        self._kept: dict[str, Prior] = {}
        self.look: Look | None = None
        self.tuned_to: Tune = "error"

    @cached_property
    def joint(self) -> Joint:
        """The tables of both, for the one stream of a tile."""
        return Joint([self.network.hyper_tables, self.network.latent_tables])

    def with_threads(self, threads: int | None) -> Codec:
        """The same codec, computing on so many CPU threads; None: on as many as torch is set to."""
        if threads == self.threads:
            return self
        codec = copy.copy(self)
        codec.threads = threads
        return codec

    def preview(self, slices: int | None = None) -> Codec:
        """The same codec, which reads no more than so many slices of a latent, and does without those that are missing.

        What it shows then is no more than like the picture.
        """
        codec = copy.copy(self)
        codec.parts = self.network.streams if slices is None else min(1 + slices, self.network.streams)
        return codec

    def tuned(self, to: Tune) -> Codec:
        """The same codec, whose efforts go to the "error", as training has it, or to the "look" (distortion.py)."""
        if to == self.tuned_to:
            return self
        codec = copy.copy(self)
        codec.tuned_to = to
        return codec

    def looking(self, share: float) -> Codec:
        """The same codec, which shows pictures in its natural look, or so much of it: 0 (faithful) ... 1.

        WeightsError where the model has no such look here.
        """
        codec = copy.copy(self)
        codec.look = looks.look_of(self.model, self.folder, share) if share else None
        return codec

    # --- encode ------------------------------------------------------------------------------------------------------

    def encode(
        self, picture: Picture, index: int, effort: int = DEFAULT_EFFORT, tile_px: int | None = None
    ) -> bytes:
        """The .mvc file of a picture at quality index 0 (smallest) ... 63, with effort 0 (fastest) ... 3.

        Alpha is kept exactly; the colour of what is not to be seen at all is not kept. `tile_px` is the side of its
        tiles, 0 for one; None: what is usual at its size.
        Models of one rate write index 0 whatever is asked for; models that cannot refine know effort 0 alone.
        ValueError for an index or effort that does not exist, Unsupported for samples of 16 bits.
        """
        head, effort = self.head(picture, index, tile_px), check_effort(effort)
        codec, threads = self.threads_for(head)
        made = tiled.encode(picture, head.tile_px, lambda cut: codec.coded(head, cut, effort)[0], threads)
        return stills.file_of(head, list(chain.from_iterable(made)), picture.metadata)

    def head(self, source: tiled.Source, index: int, tile_px: int | None = None) -> Head:
        """The head of the file of a picture at a quality index; raises as `encode`."""
        index = min(check_index(index), self.rates - 1)
        if source.depth != 8:
            raise Unsupported("networks code samples of 8 bits", hint="Picture.eight_bit() rounds; or code it exactly")
        tile_px = tiled.usual_tile(source.width, source.height) if tile_px is None else tile_px
        size = source.width, source.height
        return Head("still", *size, source.colour, 8, index, self.model_id, None, source.has_alpha, tile_px)

    def coded(self, head: Head, cut: tiled.Cut, effort: int) -> tuple[list[Unit], Latent]:
        """The units of a tile, "picture", and "alpha" if it has it; and what a decoder will make of the former."""
        unit, latent = self._unit(head, cut, effort)
        alpha = cut.picture.alpha
        return [unit] if alpha is None else [unit, stills.alpha_unit(alpha, effort, cut.number)], latent

    @torch.no_grad()
    def _unit(self, head: Head, cut: tiled.Cut, effort: int) -> tuple[Unit, Latent]:
        index, size = head.quality_index, (cut.tile.height, cut.tile.width)
        with computing(self.threads):
            x, part = self._seen(cut)
            y, z = self.latents(x, size, index, effort, part=part)
            writer = JointWriter(self.joint) if head.tile_px else SeparateWriter()
            y_hat = self.network.put(writer, y, z, index, self.dtype).y_hat
            del x, y, z
            _tidy(*size)
        streams = (writer.finish(),) if isinstance(writer, JointWriter) else tuple(writer.streams)
        latent = Latent(y_hat, index)
        return Unit("picture", cut.number, None, streams, self.latent_sum(latent)), latent

    def _seen(self, cut: tiled.Cut) -> tuple[Tensor, Part | None]:
        """x of a tile, and which part of its latents is wanted where that has others around it."""
        seen = cut.around if cut.around.alpha is None else Picture(stills.painted(cut.around))
        if (cut.around.height, cut.around.width) == (cut.tile.height, cut.tile.width):
            return self.to_tensor(seen), None
        ends = [side.start + round_up(extent(side), self.model.align) for side in cut.own]
        rows, columns = (slice(s.start // CELL_PX, end // CELL_PX) for s, end in zip(cut.own, ends, strict=True))
        return self.to_tensor(seen, (ends[0], ends[1])), (rows, columns)

    @torch.no_grad()
    def latents(
        self,
        x: Tensor,
        size: tuple[int, int],
        index: int,
        effort: int = 0,
        iterations_of: Sequence[int] = ITERATIONS,
        part: Part | None = None,
    ) -> tuple[Tensor, Tensor]:
        """y and z of a padded tile x [1, H, W, 3], or of a part of y, refined as far as the effort goes.

        `size` is the tile's height and width in pixels.
        """
        iterations = iterations_of[effort] if self.refines else 0
        return self.refined(PICTURE, x, size, index, iterations, part=part)

    @torch.no_grad()
    def refined(
        self,
        name: str,
        x: Tensor,
        size: tuple[int, int],
        index: int,
        iterations: int,
        given: Tensor | None = None,
        part: Part | None = None,
    ) -> tuple[Tensor, Tensor]:
        """y and z of a signal, or part, of this height and width, by the network of this name; as refine.py has them.
        """
        network, indices = self.weights.networks[name], torch.tensor([index], device=self.device)
        if not iterations:
            return network.model.analyse(x, indices, part)
        if name not in self._kept:
            self._kept[name] = float_prior(network).to(self.device)
        return refine(network, self._kept[name], x, size, indices, iterations, given, part, self.tuned_to)

    def encode_to(
        self,
        picture: Picture,
        *,
        bpp: float | None = None,
        size: int | None = None,
        psnr: float | None = None,
        effort: int = DEFAULT_EFFORT,
        encode: Callable[[int], bytes] | None = None,
    ) -> bytes:
        """The best quality within `bpp` bits per pixel or `size` bytes, or the smallest file of at least `psnr` dB.

        `encode` is what makes a file at a quality index, if it is not `encode` here. Limit where no quality does.
        """
        check_target(bpp, size, psnr)
        if self.rates == 1:
            raise Limit(
                f"{self.weights.name} has one rate, so no target can be searched", hint="train it for another lambda"
            )
        made = encode or (lambda index: self.encode(picture, index, effort))
        if psnr is not None:
            return targets.of_psnr(picture, made, self.decode, psnr)
        if bpp is not None:
            size = math.floor(bpp * picture.width * picture.height / 8)
        if size is None:
            raise ValueError("give one of bpp, size and psnr")
        return targets.of_size(picture, made, size)

    # --- decode ------------------------------------------------------------------------------------------------------

    def decode(self, data: bytes) -> Picture:
        """The picture in an .mvc file; any bytes either decode or raise an MvcError."""
        return StillFile(data).decode(self._with_id)

    def _with_id(self, model_id: bytes) -> Codec:
        return self  # which refuses files of another model

    @property
    def margin_px(self) -> int:
        """What the synthesis of a tile sees of those around it, in pixels."""
        return self.model.margin * CELL_PX

    def latent(self, head: Head, unit: Unit, tile: Tile) -> Latent:
        """What a unit "picture" holds; MvcError where it is not one of this model or is damaged."""
        self.check_head(head)
        with computing(self.threads), torch.inference_mode(), at(f"CODE {unit.index}"):
            index = self._index(head, unit)
            reader = self._reader(head, unit)
            if self.parts is not None:
                reader = FirstParts(reader, self.parts if head.tile_px else min(self.parts, len(unit.streams)))
            y_hat = self.network.take(reader, index, (tile.height, tile.width), self.device, self.dtype).y_hat
            if isinstance(reader, JointReader):
                reader.finish()
            # alone, without the features beside which the prior had it
            made = Latent(y_hat.contiguous(), index, _corner(tile))
            del y_hat
            _tidy(head.width, head.height)
            return made

    def latents_of(self, head: Head, tiles: Sequence[tuple[Unit, Tile]]) -> dict[int, Latent]:
        """What units "picture" hold, by their numbers: as `latent`, but some are read side by side.

        MvcError where one of them is not of this model or is damaged; it may not be told which.
        """
        made: dict[int, Latent] = {}
        for group in alike(tiles, self.abreast, lambda entry: (entry[1].height, entry[1].width)):
            if len(group) == 1 or self.parts is not None or not head.tile_px:
                made |= {unit.index: self.latent(head, unit, tile) for unit, tile in group}
            else:
                made |= self._read_abreast(head, group)
        return made

    def _read_abreast(self, head: Head, tiles: Sequence[tuple[Unit, Tile]]) -> dict[int, Latent]:
        """The same of tiles of one size."""
        self.check_head(head)
        index, size = head.quality_index, (tiles[0][1].height, tiles[0][1].width)
        assert index is not None
        with computing(self.threads), torch.inference_mode():
            for unit, _ in tiles:
                self._index(head, unit)
            readers = [JointReader(self.joint, unit.streams[0]) for unit, _ in tiles]
            with Abreast(readers) as reader:
                y_hat = self.network.take(reader, index, size, self.device, self.dtype).y_hat
            for own in readers:
                own.finish()
            parts = zip(tiles, y_hat.split(1), strict=True)
            return {unit.index: Latent(own.contiguous(), index, _corner(tile)) for (unit, tile), own in parts}

    @property
    def abreast(self) -> int:
        """How many tiles are best worked on together."""
        return most_abreast(self.device)

    def _index(self, head: Head, unit: Unit) -> int:
        """The quality index of a unit of a still picture; Corrupt if it does not fit that or the model."""
        streams = 1 if head.tile_px else self.network.streams
        index = self.index_of(head, unit, streams if self.parts is None else min(streams, len(unit.streams)))
        if head.tile_px and index != head.quality_index:
            raise Corrupt(f"a tile has quality index {index}, the picture {head.quality_index}")
        return index

    def _reader(self, head: Head, unit: Unit) -> Reader:
        """What reads the streams of a unit: of a tile there is one."""
        return JointReader(self.joint, unit.streams[0]) if head.tile_px else SeparateReader(unit.streams)

    def latent_sum(self, latent: Latent) -> int:
        """The CRC-32C of a latent, as SUMS has it (spec section 3.11)."""
        found = 0
        few = 16 if self.device.type == "cpu" else len(latent.y_hat[0])  # of a large picture all of it takes much
        for rows in latent.y_hat[0].split(few):
            whole = rows.mul(self.network.prior.grid.one).to(torch.int32)
            found = crc32c(Fetched(whole).wait().tobytes(), found)
        return found

    def paint(self, samples: np.ndarray, around: Mapping[tuple[int, int], Latent]) -> None:
        """The samples of a tile, uint8 [height, width, 3] or [height, width].

        `around` has its latent at (0, 0), and those of the tiles that touch it.
        """
        self.paint_all([(samples, around)])

    def paint_all(self, tiles: Sequence[tuple[np.ndarray, Mapping[tuple[int, int], Latent]]]) -> None:
        """As `paint`, of several tiles of one picture."""
        most = max((samples.shape[:2] for samples, _ in tiles), key=math.prod)
        with computing(self.threads), torch.inference_mode():
            _tidy(*most)  # what the prior had is of other sizes than what the synthesis needs
            index = torch.tensor([tiles[0][1][0, 0].index], device=self.device)
            given = [self._amid(around) for _, around in tiles]
            place((self.look or self.model).pieces_of(given, index), [samples for samples, _ in tiles])
            _tidy(*most)

    def _amid(self, around: Mapping[tuple[int, int], Latent]) -> Amid:
        """A tile's latent, and what the synthesis sees of those around."""
        own = around[0, 0]
        if len(around) == 1:
            return Amid(own.y_hat, place=own.place)
        y_hat, (rows, columns) = amid({where: latent.y_hat for where, latent in around.items()}, self.model.margin)
        return Amid(y_hat, (rows, columns), (own.place[0] - rows.start, own.place[1] - columns.start))

    @torch.inference_mode()
    def same_symbols(self, head: Head, unit: Unit, cut: tiled.Cut) -> Symbols:
        """How many symbols of a unit "picture" another picture of its tile would have, too, given those before them."""
        index, size = head.quality_index, (cut.tile.height, cut.tile.width)
        with computing(self.threads):
            x, part = self._seen(cut)
            y, _ = self.latents(x, size, index, part=part)
            reader = self._reader(head, unit)
            decoder = self.network.decoder(reader, index, size, self.device, self.dtype)
            coder = Comparing(decoder, y, self.model.rounding)
            self.network.prior.code(coder, torch.tensor([index], device=self.device), None, None, None)
        return coder.symbols

    @torch.inference_mode()
    def decode_latent(self, head: Head, units: Sequence[Unit], number: int = 0) -> Tensor:
        """y_hat [1, H/16, W/16, M] of a tile, in units of the quantisation step: exact, the same on every machine."""
        unit = next(unit for unit in units if unit.role == "picture" and unit.index == number)
        return self.latent(head, unit, Tiling(head.width, head.height, head.tile_px)[number]).y_hat

    def threads_for(self, head: Head) -> tuple[Codec, int]:
        """A codec that works on one of a picture's tiles, and how many tiles to work on at a time."""
        threads = self.threads or torch.get_num_threads()
        if not head.tile_px or threads == 1 or self.device.type != "cpu":
            return self, 1
        return self.with_threads(1), threads

    def check_head(self, head: Head) -> None:
        """Limit or Unsupported unless this model and version can decode such a file."""
        if head.kind == "clip":
            check_size(head.width, head.height, name="the clip in the file", side=MAX_FRAME_SIDE_PX)
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

    def to_tensor(self, picture: Picture, least: tuple[int, int] = (0, 0)) -> Tensor:
        """[1, H, W, 3] in 0..1, padded by replication to what the model takes, and to at least so many pixels."""
        sides = (picture.height, picture.width)
        more = [round_up(max(side, wanted), self.model.align) - side for side, wanted in zip(sides, least, strict=True)]
        edges = ((0, more[0]), (0, more[1]), (0, 0))
        padded = np.pad(np.atleast_3d(picture.samples), edges, mode="edge")  # still bytes: at 4K floats take 100 MB
        x = torch.from_numpy(padded).to(self.device).to(torch.float32).div_(255)
        return x[None].expand(-1, -1, -1, 3)


def _tidy(width: int, height: int) -> None:
    """Give memory back after a large picture; after a small one the next is faster with it."""
    if width * height >= LARGE_PX:
        give_back()


def _corner(tile: Tile) -> tuple[int, int]:
    """The row and column of a tile's first position of y in those of the picture."""
    return tile.top // CELL_PX, tile.left // CELL_PX
