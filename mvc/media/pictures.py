"""Picture files (through Pillow) <-> `Picture`, and an honest list of what a conversion loses."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from PIL import Image

from mvc import files
from mvc.errors import Limit, MvcError, SourceError
from mvc.media import boxes, jpeg, kinds, png, tiff
from mvc.media.facts import Facts, maximum_of
from mvc.media.samples import convert
from mvc.media.trouble import libtiff_silenced, pillow_errors
from mvc.picture import Picture, check_size

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

MAX_SOURCE_BYTES = 1 << 30
"""Largest picture file that is read: twice what 16 bits of RGBA take at 8192x8192."""

BytesLike = bytes | bytearray | memoryview
Readable = str | os.PathLike[str] | BytesLike | BinaryIO


class LossWarning(UserWarning):
    """Issued by `mvc.encode` for everything of a source picture that the .mvc file does not keep."""


class Source(NamedTuple):
    """A picture that was read, in plain words what of its file it does not hold, and the file's name."""

    picture: Picture
    losses: tuple[str, ...]
    name: str

    def tell(self, say: Callable[[str], object]) -> None:
        """Say every loss, with the name of the source before it."""
        for loss in self.losses:
            say(f"{self.name}: {loss}")


def read_picture(source: Readable, *, name: str | None = None) -> Source:
    """Read a path, the bytes of a file or a binary stream as 8-bit RGB or grayscale.

    EXIF orientation is applied. Alpha, 16-bit samples, CMYK, palettes, other colour spaces, animation and metadata are
    converted or dropped; `losses` says so, one line each. Damage in what is dropped anyway does not matter. `name`
    replaces the path in messages.
    Raises `SourceError` (missing, empty, broken, not a picture), `Limit` (larger than 8192x8192, or than
    `MAX_SOURCE_BYTES`), and `TypeError` for anything that holds no bytes.
    """
    label, data = _bytes_of(source, name)
    if not data:
        raise SourceError(f"{label} is empty")
    start = data[: kinds.SNIFFED_BYTES]
    kinds.refuse_foreign(start, label)
    kind = kinds.kind_of(start)
    with pillow_errors(label, kind):
        facts = _look(data, kind, label)
        del data  # of which the facts have a copy, perhaps
        with Image.open(io.BytesIO(facts.data), formats=(kind,) if kind else kinds.UNSIGNED) as image:
            check_size(*image.size, name=label)
            facts.add_info(image)
            if facts.cut_off:
                jpeg.judge_cut(facts, "progressive" in image.info, label)
            with libtiff_silenced(kind == "TIFF"):
                picture, losses = convert(image, facts, label)
    return Source(picture, losses, label)


def as_source(source: Any) -> Source:
    """A `Picture`, an image of Pillow, an array (uint8 [H, W], [H, W, 3] or [H, W, 1]) or what `read_picture` takes.

    An image as it was opened is read as its file would be; of one that was worked on, the pixels are taken as they are.
    """
    if isinstance(source, Picture):
        return Source(source, (), "the picture")
    if isinstance(source, Image.Image):
        label = str(getattr(source, "filename", "") or "the picture")
        check_size(*source.size, name=label)
        with pillow_errors(label, source.format), libtiff_silenced(source.format == "TIFF"):
            return Source(*convert(source, Facts.of_image(source), label), label)
    if hasattr(source, "__array__") and not hasattr(source, "read"):
        array = np.asarray(source)
        return Source(Picture(array[:, :, 0] if array.ndim == 3 and array.shape[2] == 1 else array), (), "the picture")
    return read_picture(source)


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


def to_bytes(picture: Picture, suffix: str = ".png", quality: int | None = None) -> bytes:
    """The bytes of a picture file in the format of `suffix` (one of `WRITABLE`, else `MvcError`).

    `quality`, 1 to 100, is the encoder's own, for JPEG (95 without it) and WebP (lossless without it).
    """
    check_extension("picture" + suffix)
    kind, options = _WRITERS[suffix.lower()]
    if quality is not None:
        if kind not in ("JPEG", "WEBP"):
            raise MvcError(f"{suffix} is lossless and has no quality", hint="use .jpg or .webp")
        options = {**options, "lossless": False, "quality": quality}
    buffer = io.BytesIO()
    picture.to_pil().save(buffer, kind, **options)
    return buffer.getvalue()


def _bytes_of(source: Readable, name: str | None) -> tuple[str, bytes]:
    """A short name for messages, and the whole file."""
    if isinstance(source, (bytes, bytearray, memoryview)):
        return name or "the picture", bytes(source)
    if isinstance(source, (str, os.PathLike)):
        files.check_input(source)
        label = name or os.fspath(source)
        size = os.stat(source).st_size  # of a large file nothing is read
    elif hasattr(source, "read"):
        known = getattr(source, "name", None)
        label, size = name or (known if isinstance(known, str) else "the picture"), 0
    else:
        what = f"{type(source).__module__}.{type(source).__qualname__}".removeprefix("builtins.")
        raise TypeError(f"a picture is a path, the bytes of a picture file or an open binary file, not {what}")
    data = files.read_up_to(source, MAX_SOURCE_BYTES + 1, name=label) if size <= MAX_SOURCE_BYTES else b""
    if size > MAX_SOURCE_BYTES or len(data) > MAX_SOURCE_BYTES:
        raise Limit(f"{label} is larger than {MAX_SOURCE_BYTES >> 30} GiB, the most that is read of a picture file")
    return label, data


def _look(data: bytes, kind: str | None, label: str) -> Facts:
    """What a file says of itself beside what Pillow tells."""
    match kind:
        case "PNG":
            return png.look(data, label)
        case "JPEG":
            return jpeg.look(data)
        case "TIFF":
            return tiff.look(data, label)
        case "AVIF":
            return boxes.look_avif(data)
        case "JPEG2000":
            return boxes.look_jpeg2000(data)
        case "BMP" if data[70:74] in (b"DEBM", b"KNIL"):  # LCS "MBED" and "LINK" of the fifth header
            return Facts(data, metadata={"ICC colour profile"})
        case "PPM":
            return Facts(data, depth=max(8, maximum_of(data).bit_length()))
    return Facts(data)
