"""HEIC and JPEG XL, and all bits of AVIF: through libraries that are extras, with a way out where one is missing."""

from __future__ import annotations

import io
from collections.abc import Callable
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mvc.errors import SourceError
from mvc.media import boxes, gainmaps, jxl
from mvc.media.bands import divided, widened
from mvc.media.facts import DIVIDED, Facts, carried
from mvc.media.kinds import BY_EXTRAS
from mvc.picture import MAX_READ_PIXELS, check_size

_WAYS = {"HEIC": ("heif", "`heif-convert FILE out.png`"), "JXL": ("jxl", "`djxl FILE out.png`")}
_GAIN_MAP_JPEG: dict[str, Any] = {"quality": 95, "subsampling": "4:4:4"}
_MORE_BITS = "pip install 'mvc-codec[deep]' reads them all"


def read(kind: str, data: bytes, label: str) -> tuple[Image.Image, Facts] | bytes:
    """A file of a kind of `BY_EXTRAS` as an image of Pillow, the right way up, and what it says of itself.

    Or the JPEG that a JPEG XL stands for, byte by byte. `facts.samples` are what has more than 8 bits. Raises
    `SourceError` where the library is not installed, or refuses the file, and `Limit` for a picture that is too large.
    """
    return _heic(data, label) if kind == "HEIC" else _jxl(data, label)


def _needed(module: str, kind: str, label: str) -> Any:
    try:
        return import_module(module)
    except ImportError as error:
        extra, command = _WAYS[kind]
        hint = f"pip install 'mvc-codec[{extra}]' reads it; {command} converts it"
        raise SourceError(f"{label} is a {BY_EXTRAS[kind]} picture: {module} is not installed", hint=hint) from error


def _heic(data: bytes, label: str) -> tuple[Image.Image, Facts]:
    """libheif turns, mirrors and crops as the file says: the way up in EXIF and XMP does not count."""
    library = _needed("pillow_heif", "HEIC", label)
    facts, items = boxes.look_heif(data)
    file = library.open_heif(data, convert_hdr_to_8bit=False, hdr_to_16bit=False)
    check_size(*file.size, name=label, pixels=MAX_READ_PIXELS)
    if len(file) > 1:
        facts.others.append(f"only the primary one of {len(file)} pictures is kept")
    own = file[file.primary_index]
    info = own.info
    facts.frames, facts.depth = 1, int(info["bit_depth"])
    facts.add_exif(facts.exif or info.get("exif") or b"")
    facts.orientation = 1
    if info.get("icc_profile"):
        facts.add_icc(info["icc_profile"])
    if info.get("xmp"):
        facts.metadata.add("XMP")
        facts.xmp = carried(info["xmp"].rstrip(b"\0"))
    if {"content_light_level", "mastering_display_colour_volume"} & info.keys():
        facts.metadata.add("light levels")
    if info.get("depth_images"):
        facts.metadata.add("depth map")
    for name, numbers in info.get("aux", {}).items():
        if name in gainmaps.NAMES:
            facts.metadata.add("gain map")
            facts.gain_map = _gain_map(own, name, numbers[0], items)
            if facts.gain_map:
                facts.others.append("the gain map is coded anew, as a JPEG")
        else:
            facts.metadata.add("auxiliary pictures")
    if own.premultiplied_alpha:
        facts.others.append(DIVIDED)
    if facts.depth == 8:
        image = own.to_pillow()
        image.info.clear()
        return image, facts
    numbers = np.asarray(own)
    if own.premultiplied_alpha:
        numbers = divided(numbers, (1 << facts.depth) - 1)
    facts.samples = widened(numbers, (1 << facts.depth) - 1)
    return _stand_in(numbers), facts


def _gain_map(own: Any, name: str, number: int, items: boxes.Items) -> bytes:
    """A gain map that is coded as HEIC has it, as a JPEG; empty where nothing says how it is meant."""
    xmp, iso = items.described(number, boxes.XMP_TYPE), b""
    for reference in items.references:
        item = items.items.get(reference.source)
        if reference.kind == b"dimg" and number in reference.targets and item and item.kind == b"tmap":
            iso = items.content(item.number)[1:]  # behind the version of the item
    if name != gainmaps.APPLE and not iso:
        return b""
    found = own.get_aux_image(number)
    image = found.to_pillow() if not found.mode.endswith(("10", "12", "16")) else None
    if image is None:
        return b""
    buffer = io.BytesIO()
    image.convert("L" if image.mode in ("L", "LA") else "RGB").save(buffer, "JPEG", **_GAIN_MAP_JPEG)
    return gainmaps.described(buffer.getvalue(), xmp if name == gainmaps.APPLE else b"", iso)


def _jxl(data: bytes, label: str) -> tuple[Image.Image, Facts] | bytes:
    """libjxl turns the picture: the way up in EXIF and XMP does not count."""
    library = _needed("pillow_jxl", "JXL", label)
    facts, size = jxl.look(data)
    if size is not None:
        check_size(*size, name=label, pixels=MAX_READ_PIXELS)
    try:
        is_jpeg, info, pixels, icc, _ = library.Decoder(num_threads=0)(data)
    except RuntimeError as error:  # which says in many words that it does not know
        raise SourceError(f"{label} is broken, or a kind of JPEG XL that is not supported") from error
    if is_jpeg:
        return bytes(pixels)
    check_size(info.width, info.height, name=label, pixels=MAX_READ_PIXELS)
    if icc and jxl.is_made_by_libjxl(icc):
        codes = jxl.codes_of(icc)
        facts.add_codes(*codes)
        icc = b"" if jxl.is_srgb(icc, codes) else icc
    if icc:
        facts.add_icc(bytes(icc))
    count = {"RGB": 3, "RGBA": 4, "LA": 2}.get(info.mode, 1)
    size = info.height, info.width
    if info.mode in ("I;16", "LA") and len(pixels) == 2 * info.height * info.width * count:
        facts.samples = np.frombuffer(pixels, np.uint16).reshape(*size, count)
        if 8 < facts.depth < 16:  # widened by floats, which are not always rounded to what they should be
            most = (1 << facts.depth) - 1
            facts.samples = widened((facts.samples.astype(np.uint32) * most + 0x7FFF) // 0xFFFF, most)
    elif facts.depth > 8:
        add_samples(facts, "jpegxl_decode", data, size)
    if facts.samples is not None:
        return _stand_in(facts.samples), facts
    return Image.frombytes(info.mode, (info.width, info.height), pixels), facts


def add_samples(facts: Facts, decoder: str, data: bytes, size: tuple[int, int]) -> None:
    """Let `imagecodecs`, where it is installed, give all bits of a picture; else `facts` say how to have them.

    `size` is height and width.
    """
    try:
        decode: Callable[[bytes], Any] = getattr(import_module("imagecodecs"), decoder)
        numbers = decode(data)
    except ImportError:
        facts.more_bits = _MORE_BITS
        return
    except Exception:  # then with 8 bits, as the library that opened it gives
        return
    if isinstance(numbers, np.ndarray) and numbers.dtype == np.uint16 and numbers.shape[:2] == size:
        facts.samples = widened(numbers, (1 << facts.depth) - 1).reshape(*size, -1)


def _stand_in(samples: NDArray[np.uint16]) -> Image.Image:
    """An image of the size, in place of one that Pillow has no mode for."""
    return Image.new("1", (samples.shape[1], samples.shape[0]))


