"""A still picture in a file, whichever coder made it. What the exact coder made needs no model, and no torch.

picture -> planes -> [exact coder] -> unit "exact", or "alpha" beside the unit "picture" of a model -> container
container -> units -> [exact coder, or the codec of the model that HEAD names] -> samples and alpha -> picture
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from mvc import metrics
from mvc.container import Head, Unit, write_file
from mvc.errors import Corrupt, Unsupported, at
from mvc.lossless.code import decode as planes_of_stream
from mvc.lossless.code import encode as stream_of
from mvc.metadata import NONE, Metadata
from mvc.picture import Picture, Samples, check_size
from mvc.quality import DEFAULT_EFFORT

TRIAL_PIXELS = 1 << 17
"""Whether alpha is coded with the colour is tried on about so many pixels in the middle of a picture."""


class Decoder(Protocol):
    """What decodes the units of a model: a codec."""

    def decode_units(self, head: Head, units: Sequence[Unit]) -> Picture:
        """The picture without alpha."""


# --- encode ----------------------------------------------------------------------------------------------------------


def exact_file(picture: Picture, near: int = 0, effort: int = DEFAULT_EFFORT) -> bytes:
    """The .mvc file of a picture in which no sample is off by more than `near`, and alpha and, at 0, all is exact.

    At effort 0 and 1 both directions are quick; at 2 and 3 files are some percent smaller, and much slower.
    """
    head = Head("still", picture.width, picture.height, picture.colour, picture.depth, None, None)
    if picture.alpha is None:
        return write_file(head, [_exact_unit("exact", _planes(picture.samples), near, effort)], picture.metadata)
    head = replace(head, alpha=True)
    planes, alpha = _planes(picture.samples), np.ascontiguousarray(picture.alpha)

    def together(rows: slice) -> list[Unit]:
        return [_exact_unit("exact", [plane[rows] for plane in (*planes, alpha)], 0, effort)]

    def apart(rows: slice) -> list[Unit]:
        colour = _exact_unit("exact", [plane[rows] for plane in planes], near, effort)
        return [colour, alpha_unit(alpha[rows], effort)]

    ways = [apart] if near else [together, apart]
    if len(ways) > 1 and picture.width * picture.height > TRIAL_PIXELS:
        count = min(picture.height, max(1, TRIAL_PIXELS // picture.width))
        middle = slice((picture.height - count) // 2, (picture.height + count) // 2)
        ways = [min(ways, key=lambda way: len(write_file(head, way(middle))))]
    return min((write_file(head, way(slice(None)), picture.metadata) for way in ways), key=len)


def alpha_unit(alpha: Samples, effort: int = DEFAULT_EFFORT) -> Unit:
    """The unit that stands behind the one whose alpha it holds, exactly."""
    return _exact_unit("alpha", [np.ascontiguousarray(alpha)], 0, effort)


def _exact_unit(role: Any, planes: Sequence[Samples], near: int, effort: int) -> Unit:
    stream = stream_of([np.ascontiguousarray(plane) for plane in planes], near, effort=effort)
    return Unit(role, 0, None, (stream,))


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
    head: Head, units: Sequence[Unit], load: Callable[[bytes], Decoder], metadata: Metadata = NONE
) -> Picture:
    """The picture in a file with the metadata that was read from it.

    `load` gives the codec of a model id and is called only if the file names a model.

    Raises Unsupported for a clip, Limit for a picture that is too large, Corrupt for units that are not those of a
    picture or do not hold it, and what `load` and its codec raise.
    """
    own, alpha = parts(head, units)
    if head.model_id is None:
        picture = _exact(head, own, alpha is None and head.alpha)
    else:
        picture = load(head.model_id).decode_units(head, [own])
    if alpha is not None:
        (plane,) = _read(head, alpha, 1)
        picture = replace(picture, alpha=plane)
    return replace(picture, metadata=metadata)


def parts(head: Head, units: Sequence[Unit]) -> tuple[Unit, Unit | None]:
    """The unit of the picture, and that of its alpha if it has one of its own."""
    if head.kind != "still":
        raise Unsupported("the file is a clip, not a picture", hint="`mvc decode` writes videos: -o clip.y4m")
    check_size(head.width, head.height, name="the picture in the file")
    first = "picture" if head.model_id is not None else "exact"
    wanted = [[(first, 0)]] if not head.alpha or first == "exact" else []
    wanted += [[(first, 0), ("alpha", 0)]] if head.alpha else []
    if [(unit.role, unit.index) for unit in units] not in wanted:
        last = f"{units[-1].role} {units[-1].index}"
        must = " and ".join(f"{role} {index}" for role, index in wanted[-1])
        raise Corrupt(f"the file must have the unit {must}; it has {len(units)}, the last {last}")
    return units[0], units[1] if len(units) > 1 else None


def _exact(head: Head, unit: Unit, with_alpha: bool) -> Picture:
    planes = _read(head, unit, (1 if head.colour == "gray" else 3) + with_alpha)
    alpha = planes.pop() if with_alpha else None
    return Picture(planes[0] if head.colour == "gray" else np.dstack(planes), alpha)


def _read(head: Head, unit: Unit, count: int) -> list[Samples]:
    """So many planes of a unit that the exact coder made, in the depth of the file."""
    with at(f"CODE {unit.index}"):
        if len(unit.streams) != 1 or unit.quality_index is not None:
            raise Corrupt(f"a unit {unit.role} has one stream and no quality index")
        planes = planes_of_stream(unit.streams[0], (count, head.height, head.width))
        if planes[0].dtype.itemsize * 8 > head.depth:
            raise Corrupt(f"the unit has samples of more than {head.depth} bits")
    kind = np.uint8 if head.depth == 8 else np.uint16
    return [plane.astype(kind, copy=False) for plane in planes]
