"""From an opened image of Pillow to samples the right way up, and what that loses."""

from __future__ import annotations

import io
import re
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms

from mvc.media import resolution
from mvc.media.bands import bands_of, collected, deep_bands, deep_ppm, is_deep, rounded
from mvc.media.exif import upright
from mvc.media.facts import DIVIDED, METADATA, Facts, carried, maximum_of
from mvc.media.gainmaps import GainMap
from mvc.metadata import NAMES, Metadata
from mvc.picture import Picture, over_white

Samples = NDArray[np.uint8]

_UPRIGHT = re.compile(rb"""(tiff:Orientation(?:=["']|>)\s*)[1-8]""")


def convert(
    image: Image.Image, facts: Facts, label: str, *, deep: bool = False, keep_alpha: bool = True
) -> tuple[Picture, tuple[str, ...]]:
    """The picture, and its losses in plain words. `facts` are what the file says of itself.

    With `deep` samples of more than 8 bits come in 16, where all their bits can be had; else they are rounded. Without
    `keep_alpha` transparent parts are shown on white.
    """
    rectangle = _covered(image)
    depth = facts.depth if facts.depth > 8 or not is_deep(image) else 16
    bands = bands_of(facts.samples) if facts.samples is not None else None
    if bands is None and depth > 8:
        bands = deep_bands(image, facts.data, label)
    if bands is None and depth > 8 and deep and image.format == "PPM":
        bands = deep_ppm(image, facts.data)
    losses: list[str] = []
    alpha: Any = None
    separated = image.mode == "CMYK"
    managed = _managed(image, facts.icc) if separated and facts.icc else None
    if bands is not None and (keep_alpha or deep):
        samples, alpha = collected(image.size, bands, deep)
        transparent = alpha is not None and not keep_alpha
        if transparent:
            samples, alpha = over_white(samples, alpha), None
    elif bands is not None:
        samples, transparent = rounded(image.size, bands)
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
    by_one = alpha is None and not transparent
    others = [other for other in facts.others if other != DIVIDED or not by_one]
    told = (*_frames(image, facts), *others, *losses, *_dropped(facts, metadata))
    return Picture(samples, alpha, metadata), told


def _metadata(facts: Facts, samples: NDArray[Any]) -> Metadata:
    """What is carried: a profile if it is one of the kind of colours that there are now; EXIF and XMP set upright."""
    icc = facts.icc if facts.icc[16:20] == (b"GRAY" if samples.ndim == 2 else b"RGB ") else b""
    xmp = _UPRIGHT.sub(rb"\g<1>1", facts.xmp)
    found = {"icc": icc, "exif": upright(facts.exif), "xmp": xmp, "cicp": facts.cicp, "gamma": facts.gamma}
    if facts.resolution:
        own = resolution.turned(facts.resolution, facts.orientation)
        found["resolution"] = b"" if resolution.is_said_by(own, found["exif"]) else own
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
    named = carried.icc or carried.cicp or carried.gamma  # by which programs that manage colours know
    if facts.colours and not named:
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


def _eight_bit(image: Image.Image, keep_alpha: bool) -> tuple[Samples, Samples | None, str]:
    """Samples, alpha if any pixel is not opaque, and the mode that was converted ("RGB", "L": none was).

    Without `keep_alpha` the samples are those over white.
    """
    image.load()
    image = image.convert("LA") if image.mode == "La" else image
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
