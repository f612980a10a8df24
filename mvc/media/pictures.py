"""Picture files (through Pillow) <-> `Picture`, and an honest list of what a conversion loses."""

from __future__ import annotations

import io
import os
import warnings
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from PIL import Image

from mvc import files
from mvc.errors import Limit, MvcError, SourceError
from mvc.media import avif, boxes, deep, exif, extras, gainmaps, jpeg, kinds, png, tiff, xmp
from mvc.media.facts import Facts, maximum_of
from mvc.media.gainmaps import GainMap
from mvc.media.samples import convert, turned
from mvc.media.trouble import libtiff_silenced, pillow_errors
from mvc.metadata import NAMES, Metadata, chosen
from mvc.picture import MAX_READ_PIXELS, Picture, check_size

_WRITERS: dict[str, tuple[str, dict[str, object]]] = {
    ".png": ("PNG", {"compress_level": 4}),  # half the time of level 6 for 2 % more bytes
    ".ppm": ("PPM", {}),
    ".pgm": ("PPM", {}),
    ".pnm": ("PPM", {}),
    ".webp": ("WEBP", {"lossless": True, "exact": True}),  # exact: colours that nobody sees are kept
    ".avif": ("AVIF", {"quality": 90, "subsampling": "4:4:4"}),
    ".tif": ("TIFF", {"compression": "tiff_adobe_deflate"}),
    ".tiff": ("TIFF", {"compression": "tiff_adobe_deflate"}),
    ".bmp": ("BMP", {}),
    ".jpg": ("JPEG", {"quality": 95, "subsampling": "4:4:4"}),
    ".jpeg": ("JPEG", {"quality": 95, "subsampling": "4:4:4"}),
}
WRITABLE = tuple(_WRITERS)
"""File name extensions that `write_picture` knows; all are lossless but .jpg, .jpeg and .avif."""
_WITH_QUALITY = ("JPEG", "WEBP", "AVIF")
_WITH_ALPHA = ("PNG", "WEBP", "TIFF", "AVIF")
_DEEP = {"PNG": deep.png, "TIFF": deep.tiff, "PPM": deep.ppm}
_MOST = ("icc", "exif", "xmp")
_HELD = {"PNG": (*_MOST, "cicp", "depth"), "JPEG": (*_MOST, "gainmap"), "TIFF": _MOST, "WEBP": _MOST}
_HELD |= {"PPM": ("depth",), "AVIF": (*_MOST, "cicp", "depth")}
"""Metadata that formats hold."""
_JPEG_MOST = {"exif": 0xFFFF - 2 - 6}
"""What a segment has left for it."""
_ROUNDED = "16-bit samples are rounded to 8 bits"
_ON_WHITE = "alpha is dropped: transparent parts are shown on white"

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
        if (self.picture.metadata.icc or self.picture.metadata.cicp) and "icc" not in chosen(wanted):
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
            if kind == "AVIF" and facts.depth > 8:
                extras.add_samples(facts, "avif_decode", facts.data, (image.height, image.width))
            if facts.cut_off:
                jpeg.judge_cut(facts, "progressive" in image.info, label)
            with libtiff_silenced(kind == "TIFF"):
                picture, losses = convert(image, facts, label, deep=deep, keep_alpha=keep_alpha)
    return Source(picture, losses, label)


def as_source(source: Any, *, deep: bool = False, keep_alpha: bool = True) -> Source:
    """A `Picture`, an image of Pillow, an array (see `Picture.of_array`) or what `read_picture` takes.

    An image as it was opened is read as its file would be; of one that was worked on, the pixels are taken as they are.
    """
    if isinstance(source, Picture):
        return _reduced(source, deep, keep_alpha)
    if isinstance(source, Image.Image):
        label = str(getattr(source, "filename", "") or "the picture")
        check_size(*source.size, name=label, pixels=MAX_READ_PIXELS)
        with pillow_errors(label, source.format), libtiff_silenced(source.format == "TIFF"):
            found = convert(source, Facts.of_image(source), label, deep=deep, keep_alpha=keep_alpha)
            return Source(*found, label)
    if hasattr(source, "__array__") and not hasattr(source, "read"):
        return _reduced(Picture.of_array(np.asarray(source)), deep, keep_alpha)
    return read_picture(source, deep=deep, keep_alpha=keep_alpha)


def _reduced(picture: Picture, wide: bool, keep_alpha: bool) -> Source:
    """A picture that was not read, as far as it is to be kept."""
    losses = []
    if picture.depth > 8 and not wide:
        losses.append(_ROUNDED)
        picture = picture.eight_bit()
    if picture.alpha is not None and int(picture.alpha.min()) == np.iinfo(picture.alpha.dtype).max:
        picture = replace(picture, alpha=None)
    if picture.alpha is not None and not keep_alpha:
        losses.append(_ON_WHITE)
        picture = picture.on_white()
    return Source(picture, tuple(losses), "the picture")


def write_picture(picture: Picture, path: str | os.PathLike[str], *, force: bool = False) -> None:
    """Write `picture` in the format of the extension (`WRITABLE`), atomically.

    What the format does not hold, alpha or 16 bits, is told by a `LossWarning`. Raises `MvcError` for an unknown
    extension, when the file exists and `force` is not given, or when it cannot be written.
    """
    files.refuse_existing(path, force=force)
    check_extension(path)
    picture, losses = fitted(picture, Path(path).suffix)
    for loss in losses:
        warnings.warn(f"{os.fspath(path)}: {loss}", LossWarning, stacklevel=2)
    files.write_atomic(path, to_bytes(picture, Path(path).suffix), force=force)


def fitted(picture: Picture, suffix: str) -> tuple[Picture, tuple[str, ...]]:
    """As much of a picture as the format of `suffix` (one of `WRITABLE`) holds, and what that loses, in plain words."""
    kind, losses = _WRITERS[suffix.lower()][0], []
    if picture.depth > 8 and kind == "AVIF" and avif.is_deep():
        had, bits = (picture.metadata.depth or b"\x10")[0], avif.bits_for(picture.metadata)
        losses += [f"{had}-bit samples are rounded to {bits} bits"] if had > bits else []
    elif picture.depth > 8 and kind not in _DEEP:
        losses.append(_ROUNDED)
        picture = picture.eight_bit()
    if picture.alpha is not None and kind not in _WITH_ALPHA:
        losses.append(_ON_WHITE)
        picture = picture.on_white()
    picture = replace(picture, metadata=replace(picture.metadata, thumbnail=None))  # which is the .mvc file's own
    if "depth" not in _HELD.get(kind, ()):
        picture = replace(picture, metadata=replace(picture.metadata, depth=None))  # samples are what they are
    left = [name for name, data in picture.metadata.items() if not _holds(kind, name, data, picture)]
    if kind == "TIFF" and picture.metadata.exif and "exif" not in left and tiff.unreadable(picture.metadata.exif):
        losses.append("EXIF loses tags that cannot be read")
    if left:
        losses.append(f"metadata is dropped: {', '.join(NAMES[name] for name in left)}")
        picture = replace(picture, metadata=replace(picture.metadata, **dict.fromkeys(left)))
    return picture, tuple(losses)


def _holds(kind: str, name: str, data: bytes, picture: Picture) -> bool:
    """Whether a format holds such metadata; EXIF without a tag that can be read only where no reader must.

    A gain map is held for the picture that it was made for: of another size it is another one.
    """
    if name not in _HELD.get(kind, ()):
        return False
    if name == "gainmap":
        found = gainmaps.unpacked(data)
        block = picture.metadata.exif
        return (
            found is not None
            and found.fits(picture.width, picture.height)
            and (found.orientation == 1 or exif.with_orientation(block, found.orientation) is not None)
        )
    if kind == "JPEG":
        return len(data) <= _JPEG_MOST.get(name, len(data))
    return name != "exif" or kind not in ("TIFF", "AVIF") or bool(tiff.exif_tags(data))


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

    `quality`, 1 to 100, is the encoder's own, for JPEG (95 without it), AVIF (90) and WebP (lossless without it).
    What the format does not hold is dropped, see `fitted`.
    """
    check_extension("picture" + suffix)
    kind, options = _WRITERS[suffix.lower()]
    if quality is not None:
        if kind not in _WITH_QUALITY:
            raise MvcError(f"{suffix} is lossless and has no quality", hint="use .jpg, .webp or .avif")
        options = {**options, **({"lossless": False} if kind == "WEBP" else {}), "quality": quality}
    picture, _ = fitted(picture, suffix)
    gain_map, more_xmp = gainmaps.unpacked(picture.metadata.gainmap), b""
    if kind == "JPEG" and picture.metadata.xmp and len(picture.metadata.xmp) + gainmaps.MOST_XMP_ADDED > xmp.MAIN_BYTES:
        main, bodies = xmp.parted(picture.metadata.xmp)
        picture = replace(picture, metadata=replace(picture.metadata, xmp=main))
        more_xmp = b"".join(gainmaps.segment(gainmaps.APP1, body) for body in bodies)
    if gain_map is not None:
        picture = _as_it_was_turned(picture, gain_map)
    metadata = picture.metadata
    picture = replace(picture, metadata=Metadata(depth=metadata.depth))
    if kind in ("JPEG", "WEBP", "AVIF"):
        own = {"icc_profile": metadata.icc, "exif": metadata.exif, "xmp": metadata.xmp}
        if metadata.exif and kind != "WEBP":
            own["exif"] = b"Exif\0\0" + metadata.exif if kind == "JPEG" else exif.stand_in(metadata.exif)
        options = {**options, **{key: data for key, data in own.items() if data}}
    if kind == "AVIF" and picture.depth > 8:
        return avif.deep(picture, metadata, quality)
    if picture.depth > 8:
        written = _DEEP[kind](picture)
    else:
        buffer = io.BytesIO()
        picture.to_pil().save(buffer, kind, **options)
        written = buffer.getvalue()
    if more_xmp:
        written = gainmaps.behind_its_own(written, more_xmp)
    if gain_map is not None:
        return gainmaps.appended(written, gain_map)
    if kind == "PNG":
        return png.with_metadata(written, metadata)
    if kind == "TIFF":
        return tiff.with_metadata(written, metadata)
    if kind == "AVIF" and metadata.cicp:
        written = avif.with_codes(written, metadata.cicp)
    if kind == "AVIF" and metadata.exif:
        return written.replace(exif.stand_in(metadata.exif), metadata.exif, 1)
    return written


def _as_it_was_turned(picture: Picture, gain_map: GainMap) -> Picture:
    """A picture as it lies under its gain map, which is not turned: EXIF says how both are."""
    metadata = picture.metadata
    if gain_map.by_adobe:
        metadata = replace(metadata, xmp=gainmaps.with_directory(metadata.xmp, len(gain_map.jpeg)))
    if gain_map.orientation > 1:
        metadata = replace(metadata, exif=exif.with_orientation(metadata.exif, gain_map.orientation))
    samples = turned(picture.samples, {6: 8, 8: 6}.get(gain_map.orientation, gain_map.orientation))
    return Picture(np.ascontiguousarray(samples), None, metadata)


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
