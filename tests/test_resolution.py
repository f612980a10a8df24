"""How large a picture is meant to be, and by which curve its samples are: from every format that says it, and back."""

from __future__ import annotations

import io
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command import run
from picture_files import chunk, ifd, png_of, saved
from PIL import Image

import mvc
from mvc import media
from mvc.media import png, resolution
from mvc.media.rows import open_rows
from mvc.media.rows_out import open_rows_out
from mvc.metadata import Metadata
from mvc.picture import Picture

RGB = np.random.default_rng(3).integers(0, 256, (6, 9, 3), np.uint8)
IMAGE = Image.fromarray(RGB)
WITH = (".png", ".jpg", ".tif", ".bmp")


def size(unit: int, across: int, down: int) -> bytes:
    return struct.pack("<BII", unit, across, down)


def phys(across: int, down: int, unit: int) -> bytes:
    return png_of(RGB, chunk(b"pHYs", struct.pack(">IIB", across, down, unit)))


def jfif(unit: int, across: int, down: int) -> bytes:
    data = saved(IMAGE, "JPEG", quality=95)
    return data[:13] + struct.pack(">BHH", unit, across, down) + data[18:]


def tiff(unit: int | None, across: tuple[int, int], down: tuple[int, int], **options: Any) -> bytes:
    """By libtiff; the values are put in afterwards, as Pillow makes fractions of its own."""
    image = Image.open(io.BytesIO(saved(IMAGE, "TIFF")))
    image.tag_v2[282], image.tag_v2[283], image.tag_v2[296] = 7919.0, 7907.0, unit or 2
    data = saved(IMAGE, "TIFF", tiffinfo=image.tag_v2, **options)
    for mark, own in ((7919, across), (7907, down)):
        assert data.count(struct.pack("<II", mark, 1)) == 1
        data = data.replace(struct.pack("<II", mark, 1), struct.pack("<II", *own))
    return data


SOURCES = {
    "metres": (phys(11811, 5906, 1), size(3, 11811, 5906)),
    "shape in png": (phys(4, 6, 0), size(0, 2, 3)),
    "inches": (jfif(1, 300, 150), size(1, 300, 150)),
    "centimetres": (jfif(2, 118, 59), size(2, 118, 59)),
    "shape in jpeg": (jfif(0, 10, 11), size(0, 10, 11)),
    "tiff by the inch": (tiff(2, (3000000, 10000), (72, 1)), size(1, 300, 72)),
    "tiff by the centimetre": (tiff(3, (118, 1), (118, 1)), size(2, 118, 118)),
    "tiff in fractions": (tiff(2, (72009, 1000), (72009, 1000)), size(3, 2835, 2835)),
    "tiff without a unit": (tiff(1, (1, 1), (1, 2)), size(0, 2, 1)),
    "bmp": (saved(IMAGE, "BMP", dpi=(300, 150)), size(3, 11811, 5906)),
}


@pytest.mark.parametrize("name", SOURCES)
def test_from_every_format_into_every_format(name: str) -> None:
    data, wanted = SOURCES[name]
    source = media.read_picture(data)
    assert source.losses == () and source.picture.metadata == Metadata(resolution=wanted)
    picture = mvc.decode(mvc.encode(data, lossless=True))
    assert picture.metadata == source.picture.metadata
    own = resolution.Resolution.of(wanted)
    for suffix in WITH:
        if suffix == ".bmp" and not own.unit:
            continue
        assert media.fitted(picture, suffix)[1] == ()
        written = media.to_bytes(picture, suffix)
        again = media.read_picture(written).picture.metadata.resolution
        assert again is not None
        found = resolution.Resolution.of(again)
        if own.unit:
            with Image.open(io.BytesIO(written)) as image:  # what another program sees
                seen = [float(number) for number in image.info["dpi"]]
            by_inch = [number * 0.0254 for number in own.in_metres() or ()]
            assert np.allclose(seen, by_inch, rtol=0, atol=0.5)
            assert np.allclose(found.in_metres(), own.in_metres(), rtol=0, atol=20 if suffix == ".jpg" else 1)
        else:
            assert (found.across * own.down, found.unit) == (found.down * own.across, 0)


@pytest.mark.parametrize("name", ["metres", "inches", "centimetres", "tiff by the centimetre", "tiff by the inch"])
def test_the_same_numbers_come_back_into_the_same_format(name: str) -> None:
    data, wanted = SOURCES[name]
    suffix = {b"\x89P": ".png", b"\xff\xd8": ".jpg", b"II": ".tiff"}[data[:2]]
    assert media.read_picture(media.to_bytes(media.read_picture(data).picture, suffix)).picture.metadata == Metadata(
        resolution=wanted
    )


def test_a_whole_number_of_pixels_to_an_inch_stays_one_through_metres() -> None:
    for dpi in (72, 96, 150, 300, 600, 1200, 2400):
        first = media.read_picture(jfif(1, dpi, dpi)).picture
        second = media.read_picture(media.to_bytes(first, ".png")).picture
        for suffix in (".jpg", ".tif"):
            third = media.read_picture(media.to_bytes(second, suffix)).picture
            assert third.metadata.resolution == size(1, dpi, dpi)
    with Image.open(io.BytesIO(media.to_bytes(second, ".jpg"))) as image:
        assert image.info["dpi"] == (2400, 2400) and image.info["jfif_unit"] == 1


@pytest.mark.parametrize(
    "data",
    [
        phys(1, 1, 0),
        phys(0, 5, 1),
        phys(5, 5, 7),
        png_of(RGB, chunk(b"pHYs", bytes(8))),
        png_of(RGB, chunk(b"pHYs", struct.pack(">IIB", 9, 9, 1), crc=1)),
        jfif(0, 1, 1),
        jfif(3, 9, 9),
        jfif(1, 0, 0),
        tiff(2, (5, 0), (5, 1)),
        saved(IMAGE, "TIFF"),
        saved(IMAGE, "WEBP", lossless=True),
        media.to_bytes(Picture(RGB), ".bmp"),
    ],
)
def test_what_says_nothing_is_not_kept(data: bytes) -> None:
    assert media.read_picture(data).picture.metadata == Metadata()


def exif(dpi: int, orientation: int = 1) -> bytes:
    entries = (0x0112, 3, 1, bytes((orientation, 0))), (282, 5, 1, struct.pack("<I", 62))
    more = struct.pack("<IIII", dpi, 1, dpi, 1)
    return ifd(*entries, (283, 5, 1, struct.pack("<I", 70)), (296, 3, 1, b"\2\0"), more=more)


def test_exif_that_says_the_same_says_it_alone() -> None:
    data = jfif(1, 240, 240)
    both = saved(Image.open(io.BytesIO(data)), "JPEG", exif=b"Exif\0\0" + exif(240), dpi=(240, 240), quality=95)
    picture = media.read_picture(both).picture
    assert picture.metadata == Metadata(exif=exif(240))
    for suffix in (".jpg", ".png", ".bmp"):  # and it goes where readers of the format look first
        with Image.open(io.BytesIO(media.to_bytes(picture, suffix))) as image:
            assert [round(float(number)) for number in image.info["dpi"]] == [240, 240]
    assert media.read_picture(media.to_bytes(picture, ".png")).picture.metadata == picture.metadata
    other = saved(IMAGE, "JPEG", exif=b"Exif\0\0" + exif(240), dpi=(300, 300))
    assert media.read_picture(other).picture.metadata == Metadata(exif=exif(240), resolution=size(1, 300, 300))
    found = media.read_picture(media.to_bytes(media.read_picture(other).picture, ".tif")).picture.metadata
    assert found == Metadata(resolution=size(1, 300, 300))  # the tags of the picture, beside which EXIF said nothing


def test_a_picture_that_is_turned_turns_it() -> None:
    data = saved(IMAGE, "JPEG", exif=b"Exif\0\0" + ifd((0x0112, 3, 1, b"\6\0")), dpi=(300, 150))
    source = media.read_picture(data).picture
    assert (source.width, source.height) == (6, 9) and source.metadata.resolution == size(1, 150, 300)


def test_formats_that_have_it_in_exif_or_not_at_all(tmp_path: Path) -> None:
    for kind in (".webp", ".avif"):
        picture = Picture(RGB, None, Metadata(resolution=size(2, 118, 118)))
        assert media.fitted(picture, kind)[1] == ()
        again = media.read_picture(media.to_bytes(picture, kind)).picture.metadata
        assert resolution.of_exif(again.exif) == size(2, 118, 118) and again.resolution is None
        told = Picture(RGB, None, Metadata(exif=ifd((0x010F, 2, 2, b"x\0")), resolution=size(1, 9, 9)))
        assert media.fitted(told, kind)[1] == ("metadata is dropped: resolution",)
    with pytest.warns(mvc.LossWarning, match="metadata is dropped: resolution"):
        media.write_picture(picture, tmp_path / "a.ppm")


def test_images_of_pillow_have_it() -> None:
    for name in ("metres", "inches", "tiff by the inch", "bmp"):
        data, wanted = SOURCES[name]
        with Image.open(io.BytesIO(data)) as image:
            found = media.as_source(image).picture
        own, other = (resolution.Resolution.of(bytes(own)) for own in (wanted, found.metadata.resolution or b""))
        assert np.allclose(own.in_metres(), other.in_metres(), rtol=0, atol=1)
        assert media.as_source(found.to_pil()).picture.metadata == found.metadata
    assert media.as_source(Image.open(io.BytesIO(saved(IMAGE, "TIFF")))).picture.metadata == Metadata()
    assert media.as_source(Image.open(io.BytesIO(saved(IMAGE, "JPEG")))).picture.metadata == Metadata()


def test_by_rows(tmp_path: Path) -> None:
    for suffix, name in ((".png", "metres"), (".tif", "tiff by the inch")):
        data, wanted = SOURCES[name]
        rows = open_rows(io.BytesIO(data))
        assert rows is not None and rows.metadata == Metadata(resolution=wanted)
        with open_rows_out(tmp_path / f"a{suffix}", 9, 6, "rgb", 8, False, rows.metadata) as target:
            target.write(RGB)
        assert media.read_picture(tmp_path / f"a{suffix}").picture.metadata == rows.metadata


def test_it_goes_with_exif_by_choice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data, wanted = SOURCES["metres"]
    assert mvc.decode(mvc.encode(data, lossless=True, metadata="exif")).metadata.resolution == wanted
    assert not mvc.decode(mvc.encode(data, lossless=True, metadata="icc,xmp")).metadata
    monkeypatch.chdir(tmp_path)
    Path("a.png").write_bytes(data)
    run("encode", "a.png", "--lossless")
    assert "resolution  9 bytes" in run("info", "a.mvc").stdout
    run("decode", "a.mvc", "-o", "b.png")
    assert chunk(b"pHYs", struct.pack(">IIB", 11811, 5906, 1)) in Path("b.png").read_bytes()


@pytest.mark.parametrize("wrong", [bytes(9), size(4, 1, 1), size(1, 0, 1), size(1, 1, 0), bytes(8), b"\1" * 10])
def test_wrong_bytes_are_refused(wrong: bytes) -> None:
    with pytest.raises(ValueError, match="resolution"):
        Metadata(resolution=wrong)
    with pytest.raises(ValueError, match="gamma and primaries cannot have 5 bytes"):
        Metadata(gamma=bytes(5))


# gAMA and cHRM

GAMMA, POINTS = struct.pack(">I", 100_000), struct.pack(">8I", 31270, 32900, 70800, 29200, 17000, 79700, 13100, 4600)


@pytest.mark.parametrize("parts", [(GAMMA, b""), (b"", POINTS), (GAMMA, POINTS), (struct.pack(">I", 45455), POINTS)])
def test_a_curve_comes_back_into_a_png_and_is_told_elsewhere(parts: tuple[bytes, bytes]) -> None:
    chunks = b"".join(chunk(name, own) for name, own in zip((b"gAMA", b"cHRM"), parts, strict=True) if own)
    source = media.read_picture(png_of(RGB, chunks))
    assert source.losses == () and source.picture.metadata == Metadata(gamma=b"".join(parts))
    picture = mvc.decode(mvc.encode(png_of(RGB, chunks), lossless=True))
    written = media.to_bytes(picture, ".png")
    assert [chunk.name for chunk in png.chunks_of(written)][1:-2] == [
        name for name, own in zip((b"gAMA", b"cHRM"), parts, strict=True) if own
    ]
    assert chunks in written
    assert media.as_source(picture.to_pil()).picture.metadata == picture.metadata
    assert media.fitted(picture, ".jpg")[1] == ("metadata is dropped: gamma and primaries",)
    with pytest.warns(mvc.LossWarning, match="colours are taken as sRGB"):
        mvc.encode(picture, lossless=True, metadata="exif")
