"""`Picture` -> picture files, and an honest list of what a format does not hold."""

from __future__ import annotations

import io
import os
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np

from mvc import files
from mvc.errors import MvcError
from mvc.media import avif, deep, exif, gainmaps, png, resolution, tiff, xmp
from mvc.media.gainmaps import GainMap
from mvc.media.pictures import ON_WHITE, ROUNDED, LossWarning
from mvc.media.samples import turned
from mvc.metadata import NAMES, Metadata
from mvc.picture import Picture

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
_MOST = ("icc", "exif", "xmp", "resolution")
_HELD = {"PNG": (*_MOST, "cicp", "gamma", "depth"), "JPEG": (*_MOST, "gainmap"), "TIFF": _MOST, "WEBP": _MOST}
_HELD |= {"PPM": ("depth",), "BMP": ("resolution",), "AVIF": (*_MOST, "cicp", "depth")}
"""Metadata that formats hold."""
_JPEG_MOST = {"exif": 0xFFFF - 2 - 6}
"""What a segment has left for it."""


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
        losses.append(ROUNDED)
        picture = picture.eight_bit()
    if picture.alpha is not None and kind not in _WITH_ALPHA:
        losses.append(ON_WHITE)
        picture = picture.on_white()
    picture = replace(picture, metadata=replace(picture.metadata, thumbnail=None))  # which is the .mvc file's own
    if "depth" not in _HELD.get(kind, ()):
        picture = replace(picture, metadata=replace(picture.metadata, depth=None))  # samples are what they are
    if kind == "BMP" and not picture.metadata.resolution:  # which may be in EXIF, for which there is no place
        own = resolution.of_exif(picture.metadata.exif) or None
        picture = replace(picture, metadata=replace(picture.metadata, resolution=own))
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
    if name == "resolution" and kind in ("WEBP", "AVIF"):  # in EXIF, which is made for it
        return not picture.metadata.exif
    if kind == "JPEG":
        return len(data) <= _JPEG_MOST.get(name, len(data))
    return name != "exif" or kind not in ("TIFF", "AVIF") or bool(tiff.exif_tags(data))


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
        if kind != "JPEG" and metadata.resolution:
            metadata = replace(metadata, exif=exif.block(resolution.tags(metadata.resolution)))
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
    size = resolution.stated(metadata.resolution, metadata.exif)
    if kind == "JPEG" and size:
        written = resolution.in_jpeg(written, size)
    if kind == "BMP":
        written = resolution.in_bmp(written, size)
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
    if metadata.resolution:
        own = resolution.turned(metadata.resolution, gain_map.orientation)
        metadata = replace(metadata, resolution=own)
    if gain_map.orientation > 1:
        metadata = replace(metadata, exif=exif.with_orientation(metadata.exif, gain_map.orientation))
    samples = turned(picture.samples, {6: 8, 8: 6}.get(gain_map.orientation, gain_map.orientation))
    return Picture(np.ascontiguousarray(samples), None, metadata)
