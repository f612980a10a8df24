"""A still picture in a file, whichever coder made it. What the exact coder made needs no model, and no torch.

picture -> tiles -> planes -> [exact coder] -> unit "exact", or "alpha" beside a unit "picture" of a model -> container
container -> units -> [exact coder, or the codec of the model that HEAD names] -> samples and alpha -> tiles -> picture
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mvc import metrics
from mvc.container import Head, Unit, write_file
from mvc.errors import Corrupt, Limit, Unsupported, at
from mvc.lossless.code import decode as planes_of_stream
from mvc.lossless.code import encode as stream_of
from mvc.metadata import NONE, Metadata
from mvc.picture import Picture, Samples, check_size
from mvc.quality import DEFAULT_EFFORT
from mvc.strips import Decoder, Finish, Strip, Strips
from mvc.threads import share
from mvc.tiled import Cut, Source, encode, usual_exact_tile
from mvc.tiling import Region, Tile, meet

UNSUMMED_BYTES = 1000
"""Of streams: in files with fewer a checksum of latents would be felt."""
APART_BYTES = 7  # what a unit takes beside its stream
TRIAL_PIXELS = 1 << 17
"""Whether alpha is coded with the colour is tried on about so many pixels in the middle of a picture."""


# --- encode ----------------------------------------------------------------------------------------------------------


def exact_file(picture: Picture, near: int = 0, effort: int = DEFAULT_EFFORT, tile_px: int | None = None) -> bytes:
    """The .mvc file of a picture in which no sample is off by more than `near`, and alpha and, at 0, all is exact.

    It is never larger than what is off by nothing, as far as a trial on some of the picture tells.
    At effort 0 both directions are quick, and so they are at 1, where small pictures are coded in either way and the
    smaller is kept; at 2 and 3 files are some percent smaller, and much slower. `tile_px` is the side of its tiles, 0
    for one; None: what is usual at its size.
    """
    head = exact_head(picture, tile_px)
    made = encode(picture, head.tile_px, partial(exact_tile, near=near, effort=effort), share())
    return file_of(head, list(chain.from_iterable(made)), picture.metadata)


def file_of(head: Head, units: Sequence[Unit], metadata: Metadata = NONE) -> bytes:
    """The .mvc file of a picture's units; a small one without the checksums of what they hold."""
    if sum(len(stream) for unit in units for stream in unit.streams) < UNSUMMED_BYTES:
        units = [replace(unit, latent_sum=0) for unit in units]
    return write_file(head, units, metadata)


def exact_head(source: Source, tile_px: int | None = None) -> Head:
    """The head of an exact file."""
    tile_px = usual_exact_tile(source.width, source.height) if tile_px is None else tile_px
    size = source.width, source.height
    return Head("still", *size, source.colour, source.depth, None, None, None, source.has_alpha, tile_px)


def exact_tile(cut: Cut, near: int = 0, effort: int = DEFAULT_EFFORT, changed: bool = False) -> list[Unit]:
    """The units of a tile by the exact coder: alpha with the colour, or beside it where that is shorter.

    `changed` says that its samples are not the picture's any more.
    """
    picture, number = cut.picture, cut.number
    planes, alpha = _planes(picture.samples), picture.alpha
    if alpha is None:
        return [_exact_unit("exact", number, planes, near, effort, changed)]

    def together(rows: slice) -> list[Unit]:
        return [_exact_unit("exact", number, [plane[rows] for plane in (*planes, alpha)], 0, effort, changed)]

    def apart(rows: slice) -> list[Unit]:
        colour = _exact_unit("exact", number, [plane[rows] for plane in planes], near, effort, changed)
        return [colour, alpha_unit(alpha[rows], effort, number)]

    def size(units: Sequence[Unit]) -> int:
        return sum(APART_BYTES + len(unit.streams[0]) for unit in units)

    ways = [together, apart]  # the first is exact, whatever `near` is: alpha must be
    if picture.width * picture.height > TRIAL_PIXELS:
        count = min(picture.height, max(1, TRIAL_PIXELS // picture.width))
        middle = slice((picture.height - count) // 2, (picture.height + count) // 2)
        ways = [min(ways, key=lambda way: size(way(middle)))]
    return min((way(slice(0, picture.height)) for way in ways), key=size)


def alpha_unit(alpha: Samples, effort: int = DEFAULT_EFFORT, number: int = 0) -> Unit:
    """The unit that stands behind that of a tile, whose alpha it holds exactly."""
    return _exact_unit("alpha", number, [alpha], 0, effort)


def _exact_unit(
    role: Any, number: int, planes: Sequence[Samples], near: int, effort: int, changed: bool = False
) -> Unit:
    stream = stream_of([np.ascontiguousarray(plane) for plane in planes], near, effort=effort, changed=changed)
    return Unit(role, number, None, (stream,))


def _planes(samples: Samples) -> list[Samples]:
    """Gray, or red, green and blue, each [H, W]."""
    return [samples] if samples.ndim == 2 else [np.ascontiguousarray(samples[..., k]) for k in range(3)]


def painted(picture: Picture) -> NDArray[np.uint8]:
    """The 8-bit samples of a picture, smooth where nobody sees them, so that they cost a network next to nothing.

    What is not to be seen at all (alpha 0) takes the mean of what is around it, near or far: means of visible pixels
    over squares of 2, 4, 8 ... pixels, each interpolated where the squares inside are empty.
    """
    samples: NDArray[Any] = picture.samples
    if picture.alpha is None or picture.alpha.min() > 0:
        return samples
    seen = picture.alpha > 0
    if not seen.any():
        return np.full_like(samples, 255)
    colour = samples.reshape(*seen.shape, -1).astype(np.float32)
    filled = np.where(seen[..., None], colour, np.rint(_spread(colour, seen.astype(np.float32))))
    return filled.clip(0, 255).astype(np.uint8).reshape(samples.shape)


def _spread(colour: NDArray[np.float32], weight: NDArray[np.float32]) -> NDArray[np.float32]:
    """Colour [H, W, C] everywhere, where it is known (weight 1, else 0) as it is."""
    if weight.min() > 0:
        return colour
    height, width = weight.shape
    edges = (0, height % 2), (0, width % 2)
    weights = np.pad(weight, edges).reshape(-(-height // 2), 2, -(-width // 2), 2)
    sums = np.pad(colour * weight[..., None], (*edges, (0, 0))).reshape(*weights.shape, -1)
    total = weights.sum((1, 3))
    means = sums.sum((1, 3)) / np.maximum(total, 1)[..., None]
    coarse = _spread(means, (total > 0).astype(np.float32))
    up = coarse.repeat(2, 0).repeat(2, 1)
    padded = np.pad(up, ((1, 1), (1, 1), (0, 0)), mode="edge")  # a little smoother than squares
    rows = (padded[:-2] + 2 * padded[1:-1] + padded[2:]) / 4
    smooth = ((rows[:, :-2] + 2 * rows[:, 1:-1] + rows[:, 2:]) / 4)[:height, :width]
    return np.where(weight[..., None] > 0, colour, smooth)


def psnr(original: Picture, decoded: Picture) -> float:
    """PSNR in dB over all samples of pixels that can be seen, which is all where there is no alpha."""
    if original.alpha is None:
        return metrics.psnr(original.samples, decoded.samples)
    seen = original.alpha > 0
    both = (picture.samples[seen].reshape(1, -1) for picture in (original, decoded))
    return metrics.psnr(*both) if seen.any() else math.inf


# --- decode ----------------------------------------------------------------------------------------------------------


def decode(
    head: Head,
    units: Iterable[Unit],
    load: Callable[[bytes], Decoder],
    metadata: Metadata = NONE,
    region: Region | None = None,
) -> Picture:
    """The picture in a file, or a region of it, with the metadata that was read from it.

    `load` gives the codec of a model id and is called only if the file names a model. Of a region, `units` may be those
    of the tiles that it takes.

    Raises Unsupported for a clip, Limit for a picture that is too large and a region that is not in it, Corrupt for
    units that are not those of a picture or do not hold it, and what `load` and its codec raise.
    """
    return whole(strips(head, load, region).decode(units), metadata)


def strips(
    head: Head,
    load: Callable[[bytes], Decoder],
    region: Region | None = None,
    arrived: bool = False,
    finish: Finish | None = None,
) -> Strips:
    """What decodes the picture in a file, or a region of it, strip by strip. Raises as `decode`.

    `arrived`: of a file that may be cut or damaged (`mvc.container.Arrived`). `finish` is done to what a network made.
    """
    if head.kind != "still":
        raise Unsupported("the file is a clip, not a picture", hint="`mvc decode` writes videos: -o clip.y4m")
    check_size(head.width, head.height, name="the picture in the file")
    if region is not None:
        check_region(region, head.width, head.height)
    return Strips(head, lambda: load(head.model_id), partial(_exact, head), region, arrived, finish)


def check_region(region: Region, width: int, height: int) -> None:
    """Limit unless all of the region is in a picture of this size, and it is not empty."""
    inside = meet(region.rows, slice(0, height)) == region.rows and meet(region.columns, slice(0, width))
    if inside != region.columns:
        own = f"{region.width}x{region.height} at {region.left},{region.top}"
        raise Limit(f"the region {own} is not within the picture, which is {width}x{height}")


def whole(made: Iterable[Strip], metadata: Metadata = NONE) -> Picture:
    """The picture in its strips, all of which have alpha, or none."""
    parts = list(made)
    alphas = [strip.alpha for strip in parts if strip.alpha is not None]
    return Picture(_joined([strip.samples for strip in parts]), _joined(alphas) if alphas else None, metadata)


def _joined(parts: list[Samples]) -> Samples:
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def exact_samples(head: Head, units: Sequence[Unit], tile: Tile) -> Samples:
    """The samples of a tile whose units the exact coder made."""
    return _exact(head, units[0], tile, head.alpha and len(units) == 1)[0]


def _exact(head: Head, unit: Unit, tile: Tile, with_alpha: bool) -> tuple[Samples, Samples | None]:
    """The samples of a tile, and its alpha if the unit is to have it; of a unit "alpha" its plane."""
    gray = head.colour == "gray" or unit.role == "alpha"
    planes = _read(head, unit, tile, (1 if gray else 3) + with_alpha)
    alpha = planes.pop() if with_alpha else None
    return planes[0] if gray else np.dstack(planes), alpha


def _read(head: Head, unit: Unit, tile: Tile, count: int) -> list[Samples]:
    """So many planes of a unit that the exact coder made, in the depth of the file."""
    with at(f"CODE {unit.index}"):
        if len(unit.streams) != 1 or unit.quality_index is not None:
            raise Corrupt(f"a unit {unit.role} has one stream and no quality index")
        planes = planes_of_stream(unit.streams[0], (count, tile.height, tile.width))
        if planes[0].dtype.itemsize * 8 > head.depth:
            raise Corrupt(f"the unit has samples of more than {head.depth} bits")
    kind = np.uint8 if head.depth == 8 else np.uint16
    return [plane.astype(kind, copy=False) for plane in planes]
