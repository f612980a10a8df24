"""From an opened image of Pillow to samples the right way up, and what that loses."""

from __future__ import annotations

import io
import re
import sys
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms

from mvc.errors import SourceError
from mvc.media import png
from mvc.media.exif import upright
from mvc.media.facts import METADATA, Facts, carried, maximum_of
from mvc.media.gainmaps import GainMap
from mvc.metadata import NAMES, Metadata
from mvc.picture import Picture, eight_bits, over_white

Samples = NDArray[np.uint8]
Deep = NDArray[np.uint16]

_DEEP = 0xFFFF
_BAND_ROWS = 64
_UPRIGHT = re.compile(rb"""(tiff:Orientation(?:=["']|>)\s*)[1-8]""")
_OTHER_BYTE = {"L": "B", "B": "L", "N": "B" if sys.byteorder == "little" else "L"}


def convert(
    image: Image.Image, facts: Facts, label: str, *, deep: bool = False, keep_alpha: bool = True
) -> tuple[Picture, tuple[str, ...]]:
    """The picture, and its losses in plain words. `facts` are what the file says of itself.

    With `deep` samples of more than 8 bits come in 16, where all their bits can be had; else they are rounded. Without
    `keep_alpha` transparent parts are shown on white.
    """
    rectangle = _covered(image)
    depth = facts.depth if facts.depth > 8 or not _is_deep(image) else 16
    bands = _bands_of(facts.samples) if facts.samples is not None else None
    if bands is None and depth > 8:
        bands = _deep_bands(image, facts.data, label)
    if bands is None and depth > 8 and deep and image.format == "PPM":
        bands = _deep_ppm(image, facts.data)
    losses: list[str] = []
    alpha: Any = None
    separated = image.mode == "CMYK"
    managed = _managed(image, facts.icc) if separated and facts.icc else None
    if bands is not None and (keep_alpha or deep):
        samples, alpha = _collected(image.size, bands, deep)
        transparent = alpha is not None and not keep_alpha
        if transparent:
            samples, alpha = over_white(samples, alpha), None
    elif bands is not None:
        samples, transparent = _rounded(image.size, bands)
    else:
        samples, alpha, mode = _eight_bit(managed or image, keep_alpha)
        transparent = alpha is not None and not keep_alpha
        alpha = alpha if keep_alpha else None
        if mode == "P":
            losses.append("the palette is expanded to RGB")
        if depth > 8:  # by Pillow or the library behind it
            how = "rounded" if image.format == "PPM" else "reduced"
            more = f" ({facts.more_bits})" if facts.more_bits else ""
            losses.append(f"{depth}-bit {'floating-point ' * facts.floating}samples are {how} to 8 bits{more}")
        if mode not in ("P", "RGB", "RGBX", "L", "YCbCr"):
            facts.icc = b""  # of colours that are no more
        if mode not in ("P", "RGB", "RGBX", "L"):
            losses.append(f"{mode} is converted to RGB without colour management")
        elif managed is not None:
            losses.append("CMYK is converted to sRGB by the profile of the file (relative colorimetric)")
    if bands is not None and not deep:
        losses.append(f"{depth}-bit samples are rounded to 8 bits")
    if transparent:
        losses.append("alpha is dropped: transparent parts are shown on white")
    if rectangle is not None:
        left, top, right, bottom = rectangle
        whole, samples = samples, np.full_like(samples, 255)
        samples[top:bottom, left:right] = whole[top:bottom, left:right]
        losses.append("the first frame covers only a part of the picture: the rest is shown white")
        if alpha is not None:
            outside = np.full_like(alpha, 255)
            outside[top:bottom, left:right] = alpha[top:bottom, left:right]
            alpha = outside
    samples = np.ascontiguousarray(turned(samples, facts.orientation))
    alpha = None if alpha is None else np.ascontiguousarray(turned(alpha, facts.orientation))
    if managed is not None:
        facts.icc = b""  # which has done its work
        facts.metadata.discard("ICC colour profile")
    if samples.dtype == np.uint16:
        facts.significant = facts.significant or (depth if image.format != "PPM" else _power(facts.data))
    metadata = _metadata(facts, samples)
    told = (*_frames(image, facts), *facts.others, *losses, *_dropped(facts, metadata))
    return Picture(samples, alpha, metadata), told


def _metadata(facts: Facts, samples: NDArray[Any]) -> Metadata:
    """What is carried: a profile if it is one of the kind of colours that there are now; EXIF and XMP set upright."""
    icc = facts.icc if facts.icc[16:20] == (b"GRAY" if samples.ndim == 2 else b"RGB ") else b""
    xmp = _UPRIGHT.sub(rb"\g<1>1", facts.xmp)
    found = {"icc": icc, "exif": upright(facts.exif), "xmp": xmp, "cicp": facts.cicp}
    if facts.gain_map:
        height, width = samples.shape[:2]
        found["gainmap"] = carried(GainMap(facts.orientation, width, height, facts.gain_map).packed())
    if samples.dtype == np.uint16 and 9 <= facts.significant <= 15:
        found["depth"] = bytes((facts.significant,))
    return Metadata(**{kind: data for kind, data in found.items() if data})


def _power(data: bytes) -> int:
    """Bits of the samples of a PPM whose greatest is the greatest of so many bits, else 0."""
    most = maximum_of(data)
    return most.bit_length() if not most & (most + 1) else 0


def _managed(image: Image.Image, icc: bytes) -> Image.Image | None:
    """An image of CMYK in sRGB, as its profile says; None where that cannot be done with it."""
    try:
        own = ImageCms.ImageCmsProfile(io.BytesIO(icc))
        intent = ImageCms.Intent.RELATIVE_COLORIMETRIC
        return ImageCms.profileToProfile(image, own, ImageCms.createProfile("sRGB"), intent, "RGB")
    except (ImageCms.PyCMSError, ImportError, OSError, ValueError, TypeError):
        return None


def _frames(image: Image.Image, facts: Facts) -> list[str]:
    try:
        frames = getattr(image, "n_frames", 1) if facts.frames is None else facts.frames
        which = image.tell() + 1
    except Exception:  # a later frame is damaged, which does not matter for this one
        return ["only the first frame is kept"]
    if frames < 2:
        return []
    return [f"only {'the first' if which == 1 else f'frame {which}'} of {frames} frames is kept"]


def _dropped(facts: Facts, carried: Metadata) -> list[str]:
    told = []
    if facts.colours and not (carried.icc or carried.cicp):  # else programs that manage colours are told
        told.append(f"colours are taken as sRGB, but the file says {', '.join(dict.fromkeys(facts.colours))}")
    if facts.damaged:
        told.append(f"damaged parts are skipped: {', '.join(dict.fromkeys(facts.damaged))}")
    left = facts.metadata - {NAMES[kind] for kind, _ in carried.items()}
    if left:
        told.append(f"metadata is dropped: {', '.join(sorted(left, key=METADATA.index))}")
    return told


def _covered(image: Image.Image) -> tuple[int, int, int, int] | None:
    """Left, top, right and bottom of a GIF's first frame where it is smaller than the picture."""
    tiles = getattr(image, "tile", ())
    if image.format != "GIF" or not tiles or image.tell() or tiles[0].extents == (0, 0, *image.size):
        return None
    left, top, right, bottom = tiles[0].extents
    return int(left), int(top), int(right), int(bottom)


def _is_deep(image: Image.Image) -> bool:
    """Whether the file holds more than 8 bits per sample; Pillow reads 16-bit RGB as 8-bit without a word."""
    return image.mode.startswith(("I", "F")) or ";16" in _raw_mode(image)


def _raw_mode(image: Image.Image) -> str:
    """How Pillow unpacks the bytes of the file ("RGB;16B"); "" when it is loaded already, or said otherwise."""
    tiles = getattr(image, "tile", ())
    arguments = tiles[0].args if tiles else ""
    first = arguments[0] if isinstance(arguments, tuple) and arguments else arguments
    return first if isinstance(first, str) else ""


# 16 bits --------------------------------------------------------------------------------------------------


class Band(NamedTuple):
    """Rows of 16-bit samples: `colour` [rows, W] or [rows, W, 3], `alpha` [rows, W] or None."""

    colour: Deep
    alpha: Deep | None


Bands = Callable[[int, int], Band]
"""From the first row and the one behind the last to a band."""


def _deep_bands(image: Image.Image, data: bytes, label: str) -> Bands | None:
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
    raw = _raw_mode(image)
    if not data or raw[:-1] not in ("RGB;16", "RGBA;16", "RGBX;16"):
        return None
    # Pillow keeps one byte of each sample: here the high one, and the low one when it is told that the bytes lie the
    # other way round.
    image.load()
    low = Image.open(io.BytesIO(data), formats=(image.format or "",))
    low.tile = [_other_byte(tile) for tile in low.tile]
    low.load()
    key = image.info.get("transparency")

    def coloured(top: int, bottom: int) -> Band:
        deep: Deep = _rows(image, top, bottom) * np.uint16(256) + _rows(low, top, bottom)
        colour, alpha = deep[..., :3], deep[..., 3] if raw.startswith("RGBA") else None
        return Band(colour, alpha if key is None else _all_but(key, colour))

    return coloured


def widened(numbers: NDArray[Any], most: int) -> Deep:
    """Numbers of 0 ... `most` in the whole range of 16 bits: from them the numbers can be had back, exactly."""
    if most == _DEEP:
        return numbers.astype(np.uint16, copy=False)
    return ((numbers.astype(np.uint32) * _DEEP + most // 2) // most).astype(np.uint16)


def _bands_of(samples: Deep) -> Bands:
    """Those of [H, W] or [H, W, C], alpha last."""
    with_alpha = samples.ndim == 3 and samples.shape[2] in (2, 4)

    def rows(top: int, bottom: int) -> Band:
        part = samples[top:bottom]
        colour = part[..., :3] if part.ndim == 3 and part.shape[2] > 2 else part.reshape(*part.shape[:2], -1)[..., 0]
        return Band(colour, part[..., -1] if with_alpha else None)

    return rows


def _deep_gray(image: Image.Image, label: str) -> Bands:
    highest = 0xFFF if _raw_mode(image) == "I;12" else _DEEP  # of 12 bits in a TIFF Pillow hands over the numbers
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


def _deep_ppm(image: Image.Image, data: bytes) -> Bands | None:
    """All bits of a binary PPM, of which Pillow gives eight; None for another or a cut one."""
    highest, (width, height) = maximum_of(data), image.size
    tiles = getattr(image, "tile", ())
    if data[:2] != b"P6" or not tiles or tiles[0].offset + 6 * width * height > len(data):
        return None
    samples = np.frombuffer(data, ">u2", 3 * width * height, tiles[0].offset).reshape(height, width, 3)

    def coloured(top: int, bottom: int) -> Band:
        return Band(widened(np.minimum(samples[top:bottom], highest), highest), None)

    return coloured


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


def _collected(size: tuple[int, int], bands: Bands, deep: bool) -> tuple[Any, Any]:
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


def _rounded(size: tuple[int, int], bands: Bands) -> tuple[Samples, bool]:
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


# 8 bits ---------------------------------------------------------------------------------------------------


def _eight_bit(image: Image.Image, keep_alpha: bool) -> tuple[Samples, Samples | None, str]:
    """Samples, alpha if any pixel is not opaque, and the mode that was converted ("RGB", "L": none was).

    Without `keep_alpha` the samples are those over white.
    """
    image.load()
    transparent, told = image.has_transparency_data, ""
    if image.mode in ("P", "PA"):
        told, image = "P", image.convert("RGBA" if transparent else "RGB")
    alpha: Samples | None = None
    if transparent:
        image, alpha = _without_alpha(image, keep_alpha)
    if image.mode == "1":
        image = image.convert("L")
    elif image.mode not in ("L", "RGB"):
        told, image = image.mode, image.convert("RGB")
    return np.asarray(image, dtype=np.uint8), alpha, told or image.mode


def _without_alpha(image: Image.Image, as_it_is: bool) -> tuple[Image.Image, Samples | None]:
    """The colour as it is or over white, in RGB or gray, and alpha, None if all of the picture is opaque."""
    gray = image.mode in ("L", "LA", "La", "1")
    full = image.convert("RGBA")
    alpha: Samples | None = np.asarray(full.getchannel("A"))
    if alpha is None or alpha.min() == 255:
        alpha = None
    elif not as_it_is:
        full = Image.alpha_composite(Image.new("RGBA", full.size, "white"), full)
    return full.getchannel(0) if gray else full.convert("RGB"), alpha


def turned(samples: NDArray[Any], orientation: int) -> NDArray[Any]:
    """The samples turned as an EXIF orientation says."""
    across = (1, 0, *range(2, samples.ndim))
    match orientation:
        case 2:
            return samples[:, ::-1]
        case 3:
            return samples[::-1, ::-1]
        case 4:
            return samples[::-1]
        case 5:
            return samples.transpose(across)
        case 6:
            return np.rot90(samples, -1)
        case 7:
            return samples[::-1, ::-1].transpose(across)
        case 8:
            return np.rot90(samples)
    return samples
