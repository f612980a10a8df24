"""Picture files (through Pillow) -> `Picture`, and an honest list of what a conversion loses."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from PIL import Image

from mvc import files, urls
from mvc.errors import Limit, MvcError, SourceError
from mvc.media import boxes, exif, extras, gainmaps, jpeg, kinds, png, resolution, tiff
from mvc.media.facts import Facts, maximum_of
from mvc.media.samples import convert
from mvc.media.trouble import libtiff_silenced, pillow_errors
from mvc.metadata import NAMES, chosen
from mvc.picture import MAX_READ_PIXELS, Picture, check_size

ROUNDED = "16-bit samples are rounded to 8 bits"
ON_WHITE = "alpha is dropped: transparent parts are shown on white"

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

    def keeping(self, wanted: str | Iterable[str], gps: bool = True) -> Source:
        """With only this metadata (see `mvc.metadata.chosen`), and without places unless `gps`.

        What is dropped by choice is no loss, save a profile: colours are then not what they were.
        """
        picture, told = keeping(self.picture, wanted, gps)
        had = self.picture.metadata
        if (had.icc or had.cicp or had.gamma) and "icc" not in chosen(wanted):
            told = (*told, "the ICC colour profile is dropped: colours are taken as sRGB")
        return Source(picture, (*self.losses, *told), self.name)

    def tell(self, say: Callable[[str], object]) -> None:
        """Say every loss, with the name of the source before it."""
        for loss in self.losses:
            say(f"{self.name}: {loss}")


def read_picture(
    source: Readable, *, name: str | None = None, deep: bool = False, keep_alpha: bool = True
) -> Source:
    """Read a path, the bytes of a file or a binary stream as RGB or grayscale, with alpha where not all is opaque.

    Samples have 8 bits; with `deep`, those of more than 8 come in 16 where all their bits can be had. Without
    `keep_alpha` transparent parts are shown on white. EXIF orientation is applied. ICC profile, EXIF and XMP come as
    `picture.metadata`. CMYK, palettes, other colour spaces, animation and other metadata are converted or dropped;
    `losses` says so, one line each, and what is done to alpha and depth. Damage in what is dropped anyway does not
    matter. `name` replaces the path in messages.
    Raises `SourceError` (missing, empty, broken, not a picture), `Limit` (larger than 8192x8192, or than
    `MAX_SOURCE_BYTES`), and `TypeError` for anything that holds no bytes.
    """
    label, data = _bytes_of(source, name)
    if not data:
        raise SourceError(f"{label} is empty")
    start = data[: kinds.SNIFFED_BYTES]
    kinds.refuse_foreign(start, label)
    kind = kinds.kind_of(start)
    with pillow_errors(label, kinds.BY_EXTRAS.get(kind or "", kind)):
        if kind in kinds.BY_EXTRAS:
            found = extras.read(kind, data, label)
            if isinstance(found, bytes):  # a JPEG
                return read_picture(found, name=label, deep=deep, keep_alpha=keep_alpha)
            return Source(*convert(*found, label, deep=deep, keep_alpha=keep_alpha), label)
        facts = _look(data, kind, label)
        del data  # of which the facts have a copy, perhaps
        with Image.open(io.BytesIO(facts.data), formats=(kind,) if kind else kinds.UNSIGNED) as image:
            check_size(*image.size, name=label, pixels=MAX_READ_PIXELS)
            facts.add_info(image)
            facts.resolution = facts.resolution or (b"" if kind == "TIFF" else resolution.of_info(image.info, kind))
            if kind == "AVIF" and facts.depth > 8:
                extras.add_samples(facts, "avif_decode", facts.data, (image.height, image.width))
            if facts.cut_off:
                jpeg.judge_cut(facts, "progressive" in image.info, label)
            with libtiff_silenced(kind == "TIFF"):
                picture, losses = convert(image, facts, label, deep=deep, keep_alpha=keep_alpha)
    return Source(picture, losses, label)


def size_of(path: str) -> tuple[int, int] | None:
    """Width and height that the file of a picture states, where Pillow by itself can tell without reading all of it."""
    try:
        with pillow_errors(path), Image.open(path, formats=kinds.TOLD) as image:
            return image.size
    except MvcError:
        return None


def as_source(
    source: Any, *, deep: bool = False, keep_alpha: bool = True, over: Mapping[str, bytes] | None = None
) -> Source:
    """A `Picture`, an image of Pillow, an array (see `Picture.of_array`) or what `read_picture` takes.

    An image as it was opened is read as its file would be; of one that was worked on, the pixels are taken as they are.
    `over` is what counts instead of an image's own metadata: see `Facts.put_over`.
    """
    if isinstance(source, Picture):
        return _reduced(source, deep, keep_alpha)
    if isinstance(source, Image.Image):
        label = str(getattr(source, "filename", "") or "the picture")
        check_size(*source.size, name=label, pixels=MAX_READ_PIXELS)
        with pillow_errors(label, source.format), libtiff_silenced(source.format == "TIFF"):
            facts = Facts.of_image(source)
            facts.resolution = resolution.of_info(source.info, source.format)
            facts.put_over(over or {})
            found = convert(source, facts, label, deep=deep, keep_alpha=keep_alpha)
            return Source(*found, label)
    if hasattr(source, "__array__") and not hasattr(source, "read"):
        return _reduced(Picture.of_array(np.asarray(source)), deep, keep_alpha)
    return read_picture(source, deep=deep, keep_alpha=keep_alpha)


def _reduced(picture: Picture, wide: bool, keep_alpha: bool) -> Source:
    """A picture that was not read, as far as it is to be kept."""
    losses = []
    if picture.depth > 8 and not wide:
        losses.append(ROUNDED)
        picture = picture.eight_bit()
    if picture.alpha is not None and int(picture.alpha.min()) == np.iinfo(picture.alpha.dtype).max:
        picture = replace(picture, alpha=None)
    if picture.alpha is not None and not keep_alpha:
        losses.append(ON_WHITE)
        picture = picture.on_white()
    return Source(picture, tuple(losses), "the picture")


def keeping(picture: Picture, wanted: str | Iterable[str], gps: bool = True) -> tuple[Picture, tuple[str, ...]]:
    """A picture with only this metadata, and what cannot be freed of places and is dropped whole, in plain words."""
    metadata = picture.metadata.only(chosen(wanted))
    if gps:
        return replace(picture, metadata=metadata), ()
    metadata, unsure = exif.without_places(metadata)
    found = gainmaps.unpacked(metadata.gainmap)
    if found is not None and b"GPS" in b"".join(body.upper() for _, body in gainmaps.segments(found.jpeg)):
        metadata, unsure = replace(metadata, gainmap=None), (*unsure, NAMES["gainmap"])
    told = tuple(f"{name} is dropped: it is not certain where it says places" for name in unsure)
    return replace(picture, metadata=metadata), told


def _bytes_of(source: Readable, name: str | None) -> tuple[str, bytes]:
    """A short name for messages, and the whole file."""
    if isinstance(source, (bytes, bytearray, memoryview)):
        return name or "the picture", bytes(source)
    if isinstance(source, (str, os.PathLike)):
        label, size = name or os.fspath(source), 0
        if not urls.is_url(source):
            files.check_input(source)
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
            return Facts(data, metadata={"ICC colour profile"}, resolution=resolution.of_bmp(data))
        case "BMP":
            return Facts(data, resolution=resolution.of_bmp(data))
        case "PPM":
            return Facts(data, depth=max(8, maximum_of(data).bit_length()))
    return Facts(data)
