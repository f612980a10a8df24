"""Samples of more than 8 bits, of which Pillow has half, as bands of rows of 16."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mvc.errors import SourceError
from mvc.media import png
from mvc.media.facts import maximum_of
from mvc.picture import eight_bits

Samples = NDArray[np.uint8]
Deep = NDArray[np.uint16]

_DEEP = 0xFFFF
_BAND_ROWS = 64
_OTHER_BYTE = {"L": "B", "B": "L", "N": "B" if sys.byteorder == "little" else "L"}


def is_deep(image: Image.Image) -> bool:
    """Whether the file holds more than 8 bits per sample; Pillow reads 16-bit RGB as 8-bit without a word."""
    return image.mode.startswith(("I", "F")) or ";16" in raw_mode(image)


def raw_mode(image: Image.Image) -> str:
    """How Pillow unpacks the bytes of the file ("RGB;16B"); "" when it is loaded already, or said otherwise."""
    tiles = getattr(image, "tile", ())
    arguments = tiles[0].args if tiles else ""
    first = arguments[0] if isinstance(arguments, tuple) and arguments else arguments
    return first if isinstance(first, str) else ""


class Band(NamedTuple):
    """Rows of 16-bit samples: `colour` [rows, W] or [rows, W, 3], `alpha` [rows, W] or None."""

    colour: Deep
    alpha: Deep | None


Bands = Callable[[int, int], Band]
"""From the first row and the one behind the last to a band."""


def deep_bands(image: Image.Image, data: bytes, label: str) -> Bands | None:
    """All bits of a picture of 16 bits, or None where Pillow gives no more than eight."""
    if image.mode.startswith(("I", "F")):
        return _deep_gray(image, label)
    twin = png.gray_alpha_as_rgba(data) if image.format == "PNG" else None
    if twin is not None:
        image = Image.open(io.BytesIO(twin), formats=("PNG",))
        image.load()

        def gray_alpha(top: int, bottom: int) -> Band:
            both = _rows(image, top, bottom).view(">u2").astype(np.uint16)
            return Band(both[..., 0], both[..., 1])

        return gray_alpha
    raw = raw_mode(image)
    multiplied = raw.startswith("RGBa;16")
    if not data or raw[:-1] not in ("RGB;16", "RGBA;16", "RGBX;16", "RGBa;16"):
        return None
    if multiplied:  # which Pillow would divide byte by byte
        own: Any = image
        own.tile = [_as_it_is(tile) for tile in own.tile]
    # Pillow keeps one byte of each sample: here the high one, and the low one when it is told that the bytes lie the
    # other way round.
    image.load()
    low = Image.open(io.BytesIO(data), formats=(image.format or "",))
    low.tile = [_other_byte(_as_it_is(tile) if multiplied else tile) for tile in low.tile]
    low.load()
    key = image.info.get("transparency")

    def coloured(top: int, bottom: int) -> Band:
        deep: Deep = _rows(image, top, bottom) * np.uint16(256) + _rows(low, top, bottom)
        deep = divided(deep, _DEEP) if multiplied else deep
        colour, alpha = deep[..., :3], deep[..., 3] if raw.startswith(("RGBA", "RGBa")) else None
        return Band(colour, alpha if key is None else _all_but(key, colour))

    return coloured


def widened(numbers: NDArray[Any], most: int) -> Deep:
    """Numbers of 0 ... `most` in the whole range of 16 bits: from them the numbers can be had back, exactly."""
    if most == _DEEP:
        return numbers.astype(np.uint16, copy=False)
    return ((numbers.astype(np.uint32) * _DEEP + most // 2) // most).astype(np.uint16)


def divided(numbers: Deep, most: int) -> Deep:
    """[H, W, C] of at most `most`, with alpha last, by which the others were multiplied."""
    alpha = np.maximum(numbers[..., -1:], 1).astype(np.uint32)
    colour = np.minimum((numbers[..., :-1].astype(np.uint32) * most + alpha // 2) // alpha, most)
    return np.concatenate([colour, numbers[..., -1:]], axis=-1).astype(np.uint16)


def bands_of(samples: Deep) -> Bands:
    """Those of [H, W] or [H, W, C], alpha last."""
    with_alpha = samples.ndim == 3 and samples.shape[2] in (2, 4)

    def rows(top: int, bottom: int) -> Band:
        part = samples[top:bottom]
        colour = part[..., :3] if part.ndim == 3 and part.shape[2] > 2 else part.reshape(*part.shape[:2], -1)[..., 0]
        return Band(colour, part[..., -1] if with_alpha else None)

    return rows


def _deep_gray(image: Image.Image, label: str) -> Bands:
    highest = 0xFFF if raw_mode(image) == "I;12" else _DEEP  # of 12 bits in a TIFF Pillow hands over the numbers
    image.load()
    samples, key = np.asarray(image), image.info.get("transparency")
    if image.mode == "F" or samples.min() < 0 or samples.max() > _DEEP:
        raise SourceError(
            f"{label} has 32-bit samples, whose range is not known",
            hint="convert it to 8 or 16 bits per sample first",
        )

    def gray(top: int, bottom: int) -> Band:
        colour = widened(samples[top:bottom].astype(np.uint16), highest)
        return Band(colour, None if key is None else _all_but((key,), colour[..., None]))

    return gray


def deep_ppm(image: Image.Image, data: bytes) -> Bands | None:
    """All bits of a binary PPM, of which Pillow gives eight; None for another or a cut one."""
    highest, (width, height) = maximum_of(data), image.size
    tiles = getattr(image, "tile", ())
    if data[:2] != b"P6" or not tiles or tiles[0].offset + 6 * width * height > len(data):
        return None
    samples = np.frombuffer(data, ">u2", 3 * width * height, tiles[0].offset).reshape(height, width, 3)

    def coloured(top: int, bottom: int) -> Band:
        return Band(widened(np.minimum(samples[top:bottom], highest), highest), None)

    return coloured


def _as_it_is(tile: Any) -> Any:
    """A tile of Pillow whose colour stays multiplied by alpha."""
    raw = tile.args[0].replace("RGBa", "RGBA")
    return tile._replace(args=(raw, *tile.args[1:]))


def _other_byte(tile: Any) -> Any:
    """A tile of Pillow that unpacks the other byte of 16-bit samples."""
    if isinstance(tile.args, str):
        return tile._replace(args=tile.args[:-1] + _OTHER_BYTE[tile.args[-1]])
    raw = tile.args[0]
    return tile._replace(args=(raw[:-1] + _OTHER_BYTE[raw[-1]], *tile.args[1:]))


def _all_but(key: Sequence[int], colour: Deep) -> Deep:
    """Opaque but for the one colour [C] in [rows, W, C] that a PNG calls transparent."""
    return np.where((colour == np.array(key, np.uint16)).all(-1), 0, _DEEP).astype(np.uint16)


def _rows(image: Image.Image, top: int, bottom: int) -> Samples:
    return np.asarray(image.crop((0, top, image.width, bottom)))


def collected(size: tuple[int, int], bands: Bands, deep: bool) -> tuple[Any, Any]:
    """Samples and alpha of 16 bits or, if not `deep`, of 8; alpha is None if all of the picture is opaque."""
    (width, height), opaque = size, True
    samples = alpha = np.empty(0)
    for top in range(0, height, _BAND_ROWS):
        colour, own = bands(top, min(height, top + _BAND_ROWS))
        if not top:
            samples = np.empty((height, width, *colour.shape[2:]), np.uint16 if deep else np.uint8)
            alpha = np.empty((height, width), samples.dtype)
        rows = slice(top, top + len(colour))
        samples[rows] = colour if deep else eight_bits(colour)
        if own is None:
            continue
        opaque = opaque and bool(own.min() == _DEEP)
        alpha[rows] = own if deep else eight_bits(own)
    return samples, None if opaque else alpha


def rounded(size: tuple[int, int], bands: Bands) -> tuple[Samples, bool]:
    """round(v / 257) of the picture over white, and whether any pixel was not opaque."""
    width, height = size
    samples, transparent = np.empty(0, np.uint8), False
    for top in range(0, height, _BAND_ROWS):
        colour, alpha = bands(top, min(height, top + _BAND_ROWS))
        if not top:
            samples = np.empty((height, width, *colour.shape[2:]), np.uint8)
        rows = samples[top : top + len(colour)]
        if alpha is None or alpha.min() == _DEEP:
            rows[...] = (colour.astype(np.uint32) + 128) // 257
        else:
            transparent = True
            share = alpha.astype(np.uint64).reshape(*alpha.shape, *[1] * (colour.ndim - 2))
            rows[...] = (colour * share + _DEEP * (_DEEP - share) + _DEEP * 257 // 2) // (_DEEP * 257)
    return samples, transparent
