"""HEIC and JPEG XL, and all bits of AVIF, where the libraries that read them are installed; and the hint where not."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command import fails, run
from numpy.typing import NDArray
from picture_files import AVIF_10_BIT_PQ, box, codestream_of_jxl, saved
from PIL import Image, ImageCms

import mvc
from mvc import media
from mvc.errors import Limit, SourceError
from mvc.media import jxl, kinds
from mvc.media.bands import widened
from mvc.metadata import Metadata

RNG = np.random.default_rng(5)
RGB = RNG.integers(0, 256, (64, 96, 3), np.uint8)
ICC = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
XMP = b'<x:xmpmeta><rdf:Description dc:title="a title" tiff:Orientation="1"/></x:xmpmeta>'
EXACT = {"quality": -1, "chroma": 444, "matrix_coefficients": 0}  # x265 without loss, in RGB


def needs(module: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(find_spec(module) is None, reason=f"{module} is not installed")


def heic(mode: str, samples: NDArray[Any], **options: Any) -> bytes:
    made = io.BytesIO()
    size = samples.shape[1], samples.shape[0]
    import_module("pillow_heif").encode(mode, size, samples.tobytes(), made, **EXACT | options)
    return made.getvalue()


def jxl_of(samples: NDArray[Any], **options: Any) -> bytes:
    import_module("pillow_jxl")
    return saved(Image.fromarray(samples), "JXL", lossless=True, num_threads=0, **options)


def exif(orientation: int) -> bytes:
    block = Image.Exif()
    block[0x010F], block[0x0112] = "A maker", orientation
    return block.tobytes().removeprefix(b"Exif\0\0")


# Without the libraries


@pytest.mark.parametrize(
    ("start", "what", "extra", "way"),
    [
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "HEIC", "heif", "heif-convert"),
        (b"\0\0\0\x18ftypmif1\0\0\0\0mif1heic", "HEIC", "heif", "heif-convert"),
        (b"\0\0\0\x14ftypheix\0\0\0\0heix", "HEIC", "heif", "heif-convert"),
        (b"\xff\x0a\xfa", "JPEG XL", "jxl", "djxl"),
        (b"\0\0\0\x0cJXL \r\n\x87\n", "JPEG XL", "jxl", "djxl"),
    ],
)
def test_a_hint_says_what_to_install(
    start: bytes, what: str, extra: str, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert kinds.BY_EXTRAS[kinds.kind_of(start + bytes(200)) or ""] == what
    for module in ("pillow_heif", "pillow_jxl"):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(SourceError, match=f"k is a {what} picture: pillow_.* is not installed") as caught:
        media.read_picture(start + bytes(200), name="k")
    assert f"pip install 'mvc-codec[{extra}]'" in (caught.value.hint or "") and way in (caught.value.hint or "")


@pytest.mark.skipif(find_spec("pillow_heif") is not None, reason="pillow_heif is installed")
def test_the_command_names_each_file(tmp_path: Path) -> None:
    (tmp_path / "a.heic").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(200))
    fails(run("encode", str(tmp_path), "-o", str(tmp_path / "out")), 1, "a.heic is a HEIC picture", "mvc-codec[heif]")


def test_a_video_that_also_calls_itself_a_picture_is_none() -> None:
    start = b"\0\0\0\x1cftypisom\0\0\0\0isommif1heic" + bytes(200)
    assert kinds.kind_of(start) is None and kinds.is_video(start)


@pytest.mark.parametrize(
    ("fields", "size", "depth", "told"),
    [
        ({"width": 40, "height": 24}, (40, 24), 8, ()),
        ({"width": 41, "height": 24}, (41, 24), 8, ()),
        ({"width": 3000, "height": 2000, "depth": 10}, (3000, 2000), 10, ()),
        ({"width": 70000, "height": 300_000, "depth": 14}, (70000, 300_000), 14, ()),
        ({"width": 9, "height": 5, "depth": 12, "orientation": 6}, (5, 9), 12, ()),
        ({"width": 9, "height": 5, "orientation": 3, "preview": True}, (9, 5), 8, ()),
        ({"width": 9, "height": 5, "animated": True, "depth": 16}, (9, 5), 16, ("only the first frame is kept",)),
        ({"width": 9, "height": 5, "depth": 32, "floating": True}, (9, 5), 32, ()),
    ],
)
def test_headers_of_jpeg_xl(fields: dict[str, Any], size: tuple[int, int], depth: int, told: tuple[str, ...]) -> None:
    stream = codestream_of_jxl(**fields)
    parts = box(b"jxlp", b"\0\0\0\0" + stream[:3]) + box(b"free", b"x") + box(b"jxlp", b"\x80\0\0\1" + stream[3:])
    start = b"\0\0\0\x0cJXL \r\n\x87\n" + box(b"ftyp", b"jxl \0\0\0\0jxl ")
    for data in (stream, start + box(b"jxlc", stream), start + parts):
        facts, found = jxl.look(data)
        assert (found, facts.depth, tuple(facts.others)) == (size, depth, told)
        assert facts.floating == fields.get("floating", False)


def test_a_large_jpeg_xl_is_refused_before_it_is_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pillow_jxl", io)  # which decodes nothing
    with pytest.raises(Limit, match="70000x9"):
        media.read_picture(codestream_of_jxl(width=70000, height=9))


def test_what_is_widened_can_be_had_back() -> None:
    for depth in (9, 10, 12, 14, 16):
        numbers, most = np.arange(1 << depth, dtype=np.uint16), (1 << depth) - 1
        wide = widened(numbers, most).astype(np.uint64)
        assert wide[0] == 0 and wide[-1] == 65535
        assert np.array_equal((wide * most + 65535 // 2) // 65535, numbers)


# HEIC


@needs("pillow_heif")
@pytest.mark.parametrize(("mode", "channels"), [("RGB", 3), ("RGBA", 4), ("L", 1)])
def test_heic_comes_as_it_is(mode: str, channels: int) -> None:
    samples = RNG.integers(0, 256, (64, 96, channels), np.uint8)
    samples = samples[..., 0] if channels == 1 else samples
    source = media.read_picture(heic(mode, samples))
    assert source.losses == () and np.array_equal(np.asarray(source.picture), samples)
    assert np.array_equal(np.asarray(mvc.decode(mvc.encode(heic(mode, samples), lossless=True))), samples)


@needs("pillow_heif")
@pytest.mark.parametrize(("mode", "channels"), [("RGB;16", 3), ("RGBA;16", 4), ("L;16", 1)])
@pytest.mark.parametrize("depth", [10, 12])
def test_heic_of_more_than_8_bits(
    mode: str, channels: int, depth: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(import_module("pillow_heif").options, "SAVE_HDR_TO_12_BIT", depth == 12)
    deep = RNG.integers(0, 1 << 16, (64, 96, channels), np.uint16)
    deep = deep[..., 0] if channels == 1 else deep
    numbers = deep >> (16 - depth)
    data = heic(mode, deep, color_primaries=9, transfer_characteristics=16)
    source = media.read_picture(data, deep=True)
    assert source.losses == () and np.array_equal(np.asarray(source.picture), widened(numbers, (1 << depth) - 1))
    assert source.picture.metadata == Metadata(cicp=bytes((9, 16, 0, 1)), depth=bytes((depth,)))
    eight = media.read_picture(data)
    assert eight.losses == (f"{depth}-bit samples are rounded to 8 bits",)
    assert np.array_equal(np.asarray(eight.picture), np.round(numbers / ((1 << depth) - 1) * 255))
    back = mvc.decode(mvc.encode(data, lossless=True))
    assert np.array_equal(np.asarray(back), np.asarray(source.picture)) and back.metadata == source.picture.metadata


@needs("pillow_heif")
def test_heic_keeps_metadata_and_is_turned_once() -> None:
    library = import_module("pillow_heif")
    made = io.BytesIO()
    image = library.from_pillow(Image.fromarray(RGB))
    image.info["exif"] = b"Exif\0\0" + exif(6)
    image.save(made, xmp=XMP.replace(b'Orientation="1"', b'Orientation="6"'), icc_profile=ICC, **EXACT)
    source = media.read_picture(made.getvalue())
    assert source.losses == () and source.picture.metadata == Metadata(ICC, exif(1), XMP)
    assert np.array_equal(source.picture.samples, np.rot90(RGB, -1))
    upright = heic("RGB", RGB)
    assert library.open_heif(upright).info["exif"] is None
    assert media.read_picture(upright).picture.metadata == Metadata()


@needs("pillow_heif")
def test_heic_that_is_multiplied_by_alpha_is_told() -> None:
    alpha = RNG.integers(1, 256, (64, 96, 1), np.uint8)
    colour = (RGB.astype(int) * alpha + 127) // 255
    source = media.read_picture(heic("RGBa", np.concatenate([colour, alpha], axis=-1).astype(np.uint8)))
    assert source.losses == ("the colour was multiplied by alpha: it is divided again",)
    assert np.array_equal(source.picture.alpha, alpha[..., 0])
    seen = alpha[..., 0] > 200
    assert np.abs(source.picture.samples[seen].astype(int) - RGB[seen]).max() <= 1


@needs("pillow_heif")
def test_a_heic_of_several_pictures() -> None:
    library = import_module("pillow_heif")
    made = io.BytesIO()
    pictures = library.from_pillow(Image.fromarray(RGB))
    pictures.add_from_pillow(Image.fromarray(255 - RGB))
    pictures.save(made, primary_index=1, **EXACT)
    source = media.read_picture(made.getvalue())
    assert source.losses == ("only the primary one of 2 pictures is kept",)
    assert np.array_equal(source.picture.samples, 255 - RGB)


@needs("pillow_heif")
def test_a_heic_that_is_broken_is_one_clear_line() -> None:
    data = heic("RGB", RGB)
    for cut in (40, 200, len(data) // 2, len(data) - 100):
        with pytest.raises(SourceError, match=r"^k is broken or unsupported: [^\n]*$"):
            media.read_picture(data[:cut], name="k")


# JPEG XL


@needs("pillow_jxl")
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_jpeg_xl_comes_as_it_is(channels: int) -> None:
    samples = RNG.integers(0, 256, (64, 96, channels), np.uint8)
    samples = samples[..., 0] if channels == 1 else samples
    source = media.read_picture(jxl_of(samples))
    assert source.losses == () and source.picture.metadata == Metadata()
    assert np.array_equal(np.asarray(source.picture), samples)


@needs("pillow_jxl")
def test_gray_jpeg_xl_of_16_bits() -> None:
    deep = RNG.integers(0, 1 << 16, (64, 96), np.uint16)
    source = media.read_picture(jxl_of(deep), deep=True)
    assert source.losses == () and np.array_equal(source.picture.samples, deep)
    assert media.read_picture(jxl_of(deep)).losses == ("16-bit samples are rounded to 8 bits",)


@needs("pillow_jxl")
def test_metadata_of_jpeg_xl() -> None:
    """Its way up is told by the codestream, and never by EXIF."""
    source = media.read_picture(jxl_of(RGB, exif=exif(6), xmp=XMP, use_container=True))
    assert source.losses == () and source.picture.metadata == Metadata(None, exif(1), XMP)
    assert np.array_equal(source.picture.samples, RGB)
    packed = media.read_picture(jxl_of(RGB, exif=exif(1), xmp=XMP, use_container=True, compress_metadata=True))
    assert packed.losses == ("metadata is dropped: EXIF, XMP",) and packed.picture.metadata == Metadata()


@needs("pillow_jxl")
def test_a_jpeg_in_a_jpeg_xl_is_read_as_the_jpeg(tmp_path: Path) -> None:
    (tmp_path / "k.jpg").write_bytes(saved(Image.fromarray(RGB), "JPEG", exif=b"Exif\0\0" + exif(6), icc_profile=ICC))
    with Image.open(tmp_path / "k.jpg") as image:
        image.save(tmp_path / "k.jxl", lossless_jpeg=True)
    found, wanted = (media.read_picture(tmp_path / name) for name in ("k.jxl", "k.jpg"))
    assert np.array_equal(found.picture.samples, wanted.picture.samples)
    assert found.picture.metadata == wanted.picture.metadata == Metadata(ICC, exif(1))


@needs("pillow_jxl")
def test_a_jpeg_xl_that_is_broken_is_one_clear_line() -> None:
    data = jxl_of(RGB)
    for cut in (4, 40, len(data) // 2):
        with pytest.raises(SourceError, match=r"^k is broken, or a kind of JPEG XL that is not supported$"):
            media.read_picture(data[:cut], name="k")


# All bits


def deep_avif(numbers: NDArray[np.uint16], depth: int) -> bytes:
    return bytes(import_module("imagecodecs").avif_encode(numbers, level=100, bitspersample=depth))


def deep_jxl(numbers: NDArray[np.uint16], depth: int) -> bytes:
    return bytes(import_module("imagecodecs").jpegxl_encode(numbers, lossless=True, bitspersample=depth))


@needs("imagecodecs")
@pytest.mark.parametrize(
    "make", [deep_avif, pytest.param(deep_jxl, marks=needs("pillow_jxl"))], ids=lambda make: make.__name__
)
@pytest.mark.parametrize("depth", [10, 12])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_all_bits_come(make: Callable[[NDArray[np.uint16], int], bytes], depth: int, channels: int) -> None:
    numbers = RNG.integers(0, 1 << depth, (64, 96, channels), np.uint16)
    numbers = numbers[..., 0] if channels == 1 else numbers
    data = make(numbers, depth)
    source = media.read_picture(data, deep=True)
    wanted = widened(numbers, (1 << depth) - 1)
    assert source.losses == () and np.array_equal(np.asarray(source.picture), wanted)
    assert media.read_picture(data).losses == (f"{depth}-bit samples are rounded to 8 bits",)
    assert np.array_equal(np.asarray(mvc.decode(mvc.encode(data, lossless=True))), wanted)


def test_without_the_library_of_all_bits_that_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "imagecodecs", None)
    (told,) = media.read_picture(AVIF_10_BIT_PQ, deep=True).losses
    assert told == "10-bit samples are reduced to 8 bits (pip install 'mvc-codec[deep]' reads them all)"
