"""Picture files (through Pillow) <-> `Picture`, and an honest list of what a conversion loses."""

from __future__ import annotations

import io
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from mvc import files
from mvc.errors import Limit, MvcError, SourceError
from mvc.picture import Picture, check_size

# Formats Pillow may try. EPS is left out on purpose (it would start Ghostscript), raw and stub formats too.
READABLE = ("PNG", "JPEG", "WEBP", "AVIF", "TIFF", "BMP", "GIF", "PPM", "JPEG2000", "TGA", "QOI", "PCX")

_WRITERS: dict[str, tuple[str, dict[str, object]]] = {
    ".png": ("PNG", {"compress_level": 4}),  # half the time of level 6 for 2 % more bytes
    ".ppm": ("PPM", {}),
    ".pgm": ("PPM", {}),
    ".pnm": ("PPM", {}),
    ".webp": ("WEBP", {"lossless": True}),
    ".tif": ("TIFF", {"compression": "tiff_adobe_deflate"}),
    ".tiff": ("TIFF", {"compression": "tiff_adobe_deflate"}),
    ".bmp": ("BMP", {}),
    ".jpg": ("JPEG", {"quality": 95, "subsampling": "4:4:4"}),
    ".jpeg": ("JPEG", {"quality": 95, "subsampling": "4:4:4"}),
}
WRITABLE = tuple(_WRITERS)
"""File name extensions that `write_picture` knows; all are lossless but .jpg and .jpeg."""

_ORIENTATION_TAG = 0x0112


class LossWarning(UserWarning):
    """Issued by `mvc.encode` for everything of a source picture that the .mvc file does not keep."""


class Source(NamedTuple):
    """A picture that was read, and in plain words what of its file it does not hold."""

    picture: Picture
    losses: tuple[str, ...]


def read_picture(source: str | os.PathLike[str] | bytes | BinaryIO, *, name: str | None = None) -> Source:
    """Read a path, the bytes of a file or a binary stream as 8-bit RGB or grayscale.

    EXIF orientation is applied. Alpha, 16-bit samples, CMYK, palettes, animation and metadata are converted
    or dropped; `losses` says so, one line each. `name` replaces the path in messages.
    Raises `SourceError` (missing, empty, broken, not a picture) and `Limit` (larger than 8192x8192).
    """
    if isinstance(source, (str, os.PathLike)):
        files.check_input(source)
        label, file = name or os.fspath(source), _open(source)
    else:
        data = source if isinstance(source, bytes) else source.read()
        label, file = name or "the picture", io.BytesIO(data)
    with file, _pillow_errors(label):
        start = file.read(8)
        file.seek(0)
        if not start:
            raise SourceError(f"{label} is empty")
        if start.startswith(b"\x93MVC"):
            raise SourceError(f"{label} is an .mvc file already", hint="`mvc decode` turns it into a picture")
        with Image.open(file, formats=READABLE) as image:
            check_size(*image.size, name=label)
            return _convert(image, label)


def write_picture(picture: Picture, path: str | os.PathLike[str], *, force: bool = False) -> None:
    """Write `picture` in the format of the extension (`WRITABLE`), atomically.

    Raises `MvcError` for an unknown extension, when the file exists and `force` is not given, or when it
    cannot be written.
    """
    files.refuse_existing(path, force=force)
    files.write_atomic(path, to_bytes(picture, Path(path).suffix), force=force)


def check_extension(path: str | os.PathLike[str]) -> None:
    """Raise `MvcError` unless `write_picture` knows the format of this file name."""
    suffix = Path(path).suffix
    if suffix.lower() not in _WRITERS:
        kind = suffix or "a name without extension"
        raise MvcError(
            f"cannot write {os.fspath(path)}: no picture format is known for {kind}",
            hint="use one of " + " ".join(WRITABLE),
        )


def to_bytes(picture: Picture, suffix: str = ".png") -> bytes:
    """The bytes of a picture file in the format of `suffix` (one of `WRITABLE`, else `MvcError`)."""
    check_extension("picture" + suffix)
    kind, options = _WRITERS[suffix.lower()]
    buffer = io.BytesIO()
    Image.fromarray(picture.samples).save(buffer, kind, **options)
    return buffer.getvalue()


def _open(path: str | os.PathLike[str]) -> BinaryIO:
    try:
        return open(path, "rb")
    except OSError as error:
        raise SourceError(f"cannot read {os.fspath(path)}: {files.reason(error)}") from error


@contextmanager
def _pillow_errors(label: str) -> Iterator[None]:
    """Turn whatever Pillow raises on bad input (its plugins leak nearly every built-in error) into ours."""
    try:
        with warnings.catch_warnings():
            # Our own size limit is stricter than the one behind this warning; other ones are about file
            # damage that Pillow could repair or about metadata, which is not kept anyway.
            warnings.simplefilter("ignore")
            yield
    except MvcError:
        raise
    except Image.DecompressionBombError as error:
        raise Limit(f"{label} is too large to decode safely", hint="scale it down first") from error
    except UnidentifiedImageError as error:
        known = "PNG, JPEG, WebP, AVIF, TIFF, BMP, GIF, PPM"
        raise SourceError(
            f"{label} is not a picture in a known format", hint=f"known are {known} and others"
        ) from error
    except MemoryError as error:
        raise Limit(f"{label} does not fit into memory") from error
    except Exception as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise SourceError(f"{label} is broken or unsupported: {reason}") from error


def _convert(image: Image.Image, label: str) -> Source:
    losses: list[str] = []
    frames = getattr(image, "n_frames", 1)
    if frames > 1:
        losses.append(f"only the first of {frames} frames is kept")
    deep = _is_16_bit(image)  # asked before loading, which clears the tile list
    image.load()
    metadata = _metadata(image)
    transparent = image.has_transparency_data
    if image.mode in ("P", "PA"):
        losses.append("the palette is expanded to RGB")
        image = image.convert("RGBA" if transparent else "RGB")
    image = ImageOps.exif_transpose(image)
    if deep:
        losses.append("16-bit samples are rounded to 8 bits")
    image = _to_8_bit(image, label)
    if transparent:
        image, used = _flatten(image)
        if used:
            losses.append("alpha is dropped: transparent parts are shown on white")
    if image.mode == "1":
        image = image.convert("L")
    elif image.mode not in ("L", "RGB"):
        losses.append(f"{image.mode} is converted to RGB without colour management")
        image = image.convert("RGB")
    if metadata:
        losses.append(f"metadata is dropped: {', '.join(metadata)}")
    return Source(Picture(np.asarray(image, dtype=np.uint8)), tuple(losses))


def _is_16_bit(image: Image.Image) -> bool:
    """Whether the file holds more than 8 bits per sample; Pillow reads 16-bit RGB as 8-bit without a word."""
    return image.mode.startswith("I") or any(";16" in str(tile.args) for tile in getattr(image, "tile", ()))


def _to_8_bit(image: Image.Image, label: str) -> Image.Image:
    if not image.mode.startswith(("I", "F")):
        return image
    samples = np.asarray(image)
    if image.mode == "F" or samples.min() < 0 or samples.max() > 0xFFFF:
        raise SourceError(
            f"{label} has 32-bit samples, whose range is not known",
            hint="convert it to 8 or 16 bits per sample first",
        )
    return Image.fromarray(((samples.astype(np.uint32) * 255 + 0x7FFF) // 0xFFFF).astype(np.uint8))


def _flatten(image: Image.Image) -> tuple[Image.Image, bool]:
    """The picture over white, without alpha, and whether any pixel was not opaque."""
    gray = image.mode in ("L", "LA", "La", "1")
    full = image.convert("RGBA")
    opaque = full.getchannel("A").getextrema() == (255, 255)
    white = Image.new("RGBA", full.size, "white")
    flat = full if opaque else Image.alpha_composite(white, full)
    return flat.convert("L" if gray else "RGB"), not opaque


def _metadata(image: Image.Image) -> list[str]:
    found = []
    if any(tag != _ORIENTATION_TAG for tag in image.getexif()) and image.format != "TIFF":
        found.append("EXIF")
    if image.info.get("icc_profile"):
        found.append("ICC colour profile")
    if image.info.get("xmp") or image.info.get("XML:com.adobe.xmp"):
        found.append("XMP")
    return found
