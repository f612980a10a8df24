"""9 to 15 bits: samples come back bit for bit, and so does what says how many bits they had."""

from __future__ import annotations

import io
import json
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from command import run
from exif_files import EXIF, LIGHTROOM
from picture_files import chunk, png_of, tiff_of_12_bits
from PIL import Image, ImageCms

import mvc
from mvc import media
from mvc.lossless.levels import Levels
from mvc.metadata import Metadata
from mvc.picture import Picture

ICC = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
RNG = np.random.default_rng(6)


def depth(picture: Picture) -> int | None:
    return picture.metadata.depth[0] if picture.metadata.depth else None


@pytest.mark.parametrize("bits", [9, 10, 12, 14])
@pytest.mark.parametrize("kind", [0, 1, 2])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_png_that_says_its_bits(bits: int, kind: int, channels: int) -> None:
    levels = Levels(bits, kind).samples()
    samples = RNG.choice(levels, (6, 9, channels))
    samples = samples[..., 0] if channels == 1 else samples
    said = chunk(b"sBIT", bytes([bits] * channels))
    data = png_of(samples, said + chunk(b"cICP", bytes((9, 16, 0, 1))))
    source = media.read_picture(data, deep=True)
    assert source.losses == () and depth(source.picture) == bits
    picture = mvc.decode(mvc.encode(data, lossless=True))
    assert np.array_equal(np.asarray(picture), samples) and picture.metadata == source.picture.metadata
    written = media.to_bytes(picture, ".png")
    assert said in written and chunk(b"cICP", bytes((9, 16, 0, 1))) in written
    again = media.read_picture(written, deep=True).picture
    assert np.array_equal(np.asarray(again), samples) and again.metadata == picture.metadata
    assert depth(media.read_picture(data).picture) is None  # in 8 bits
    for suffix in (".tiff", ".ppm", ".webp", ".jpg"):
        assert "bits of a sample" not in str(media.fitted(picture, suffix)[1])


def test_ppm_of_any_maximum() -> None:
    numbers = RNG.integers(0, 1024, (5, 7, 3), np.uint16)
    data = b"P6 7 5 1023\n" + numbers.astype(">u2").tobytes()
    picture = mvc.decode(mvc.encode(data, lossless=True))
    assert depth(picture) == 10 and media.to_bytes(picture, ".ppm") == data
    assert chunk(b"sBIT", b"\x0a\x0a\x0a") in media.to_bytes(picture, ".png")
    gray = b"P5 7 5 4095\n" + (numbers[..., 0] * 4).astype(">u2").tobytes()
    assert media.to_bytes(mvc.decode(mvc.encode(gray, lossless=True)), ".pgm") == gray
    odd = media.read_picture(data.replace(b"1023", b"1500"), deep=True).picture
    assert depth(odd) is None
    off = Picture(picture.samples ^ np.uint16(1), None, picture.metadata)  # no longer on the grid of 10 bits
    assert media.to_bytes(off, ".ppm").startswith(b"P6\n7 5\n65535\n") or b" 65535\n" in media.to_bytes(off, ".ppm")
    assert np.array_equal(media.read_picture(media.to_bytes(off, ".ppm"), deep=True).picture.samples, off.samples)


def test_tiff_of_12_bits() -> None:
    numbers = RNG.integers(0, 4096, (4, 6), np.uint16)
    picture = mvc.decode(mvc.encode(tiff_of_12_bits(numbers), lossless=True))
    assert depth(picture) == 12
    assert media.to_bytes(picture, ".pgm") == b"P5 6 4 4095\n" + numbers.astype(">u2").tobytes()


@pytest.mark.skipif(find_spec("imagecodecs") is None, reason="imagecodecs is not installed")
@pytest.mark.parametrize("bits", [10, 12])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_avif(bits: int, channels: int) -> None:
    """In and out: by the encoder's quality of 100 nearly the same, with depth, codes and metadata."""
    library = import_module("imagecodecs")
    rows, columns = np.mgrid[:64, :96]
    numbers = np.dstack([(rows * (n + 3) + columns * 5) * (1 << bits) // 1100 for n in range(channels)])
    numbers = numbers.astype(np.uint16)[..., 0] if channels == 1 else numbers.astype(np.uint16)
    made = bytes(library.avif_encode(numbers, level=100, bitspersample=bits, primaries=9, transfer=16, matrix=9))
    kept = Metadata(ICC if channels > 2 else None, EXIF["canon"], LIGHTROOM, bytes((9, 16, 0, 1)), depth=bytes((bits,)))
    picture = mvc.decode(mvc.encode(made, lossless=True))
    assert picture.metadata == Metadata(cicp=kept.cicp, depth=kept.depth)
    whole = Picture(picture.samples, picture.alpha, kept)
    assert media.fitted(whole, ".avif")[1] == ()
    written = media.to_bytes(whole, ".avif", 100)
    again = media.read_picture(written, deep=True)
    assert again.losses == () and again.picture.metadata == kept
    assert np.abs(np.asarray(again.picture).astype(int) - np.asarray(picture)).max() <= 65535 >> (bits - 3)
    with Image.open(io.BytesIO(written)) as image:  # a reader of its own
        assert image.size == (96, 64) and image.getexif()[0x010F] == "Canon"
        assert image.info.get("icc_profile") == kept.icc and image.info["xmp"] == LIGHTROOM
        assert (image.mode[-1] == "A") == (channels in (2, 4))
    assert len(media.to_bytes(whole, ".avif", 20)) <= len(written)


@pytest.mark.skipif(find_spec("imagecodecs") is None, reason="imagecodecs is not installed")
def test_16_bits_become_12_in_an_avif() -> None:
    deep = Picture(RNG.integers(0, 1 << 16, (16, 16, 3), np.uint16))
    assert media.fitted(deep, ".avif")[1] == ("16-bit samples are rounded to 12 bits",)
    back = media.read_picture(media.to_bytes(deep, ".avif"), deep=True).picture
    assert depth(back) == 12 and back.metadata == Metadata(depth=b"\x0c")


def test_without_the_library_an_avif_has_8_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(media.writing.avif, "is_deep", lambda: False)
    deep = Picture(RNG.integers(0, 1 << 16, (16, 16, 3), np.uint16), None, Metadata(depth=b"\x0a"))
    fitted, losses = media.fitted(deep, ".avif")
    assert losses == ("16-bit samples are rounded to 8 bits",) and fitted.metadata == Metadata()
    assert media.read_picture(media.to_bytes(deep, ".avif")).losses == ()


def test_colour_codes_in_an_avif_of_8_bits() -> None:
    codes = bytes((9, 18, 0, 1))
    for metadata in (Metadata(cicp=codes), Metadata(ICC, EXIF["nikon"], LIGHTROOM, codes)):
        picture = Picture(RNG.integers(0, 256, (16, 16, 3), np.uint8), None, metadata)
        assert media.fitted(picture, ".avif")[1] == ()
        again = media.read_picture(media.to_bytes(picture, ".avif"))
        assert again.losses == () and again.picture.metadata == metadata


def test_what_it_is_not_said_of() -> None:
    deep = RNG.integers(0, 1 << 16, (4, 6, 3), np.uint16)
    for said in (b"\x10\x10\x10", b"\x08\x08\x08", b"\0\0\0", b"", b"\x20\x20\x20"):
        assert depth(media.read_picture(png_of(deep, chunk(b"sBIT", said)), deep=True).picture) is None
    eight = media.read_picture(png_of(deep.astype(np.uint8), chunk(b"sBIT", b"\5\6\5"))).picture
    assert eight.metadata == Metadata()
    kept = Picture(deep, None, Metadata(depth=b"\x0a"))
    assert kept.eight_bit().metadata == Metadata() and Metadata(depth=b"\x0a").only(()) == kept.metadata
    for wrong in (b"\x08", b"\x10", b"\x0a\x0a"):
        with pytest.raises(ValueError, match=r"16 bits|bytes"):
            Metadata(depth=wrong)


def test_commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    data = b"P5 7 5 1023\n" + RNG.integers(0, 1024, (5, 7), np.uint16).astype(">u2").tobytes()
    Path("k.pgm").write_bytes(data)
    run("encode", "k.pgm", "--lossless", "--metadata", "none")
    assert "source depth  1 bytes" in run("info", "k.mvc").stdout
    assert json.loads(run("info", "--json", "k.mvc").stdout)["metadata"][0]["kind"] == "depth"
    assert run("decode", "k.mvc", "-o", "back.pgm").stderr.count("warning") == 0
    assert Path("back.pgm").read_bytes() == data
