"""Picture files in and out: every kind of source, every way it can be bad."""

from __future__ import annotations

import io
import os
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from picture_files import png, saved
from PIL import Image

import mvc
from mvc import files, media
from mvc.container import whole
from mvc.errors import Limit, MvcError, NotMvc, SourceError
from mvc.picture import MAX_SIDE_PX, Picture

RNG = np.random.default_rng(3)
RGB = RNG.integers(0, 256, (5, 7, 3), dtype=np.uint8)
GRAY = RNG.integers(0, 256, (5, 7), dtype=np.uint8)


# Reading ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "BMP", "PPM"])
@pytest.mark.parametrize("samples", [RGB, GRAY], ids=["rgb", "gray"])
def test_rgb_and_gray_are_read_as_they_are(kind: str, samples: NDArray[np.uint8]) -> None:
    source = media.read_picture(saved(Image.fromarray(samples), kind))
    assert np.array_equal(source.picture.samples, samples)
    assert source.losses == ()
    assert source.picture.colour == ("rgb" if samples.ndim == 3 else "gray")
    assert (source.picture.width, source.picture.height) == (7, 5)


def test_path_bytes_and_stream_are_the_same(tmp_path: Path) -> None:
    data = saved(Image.fromarray(RGB))
    path = tmp_path / "k.png"
    path.write_bytes(data)
    for source in (path, str(path), data, io.BytesIO(data)):
        assert np.array_equal(media.read_picture(source).picture.samples, RGB)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_phone_pictures_come_out_upright(orientation: int) -> None:
    upright = np.zeros((32, 48, 3), np.uint8)
    upright[:16, :16] = 255, 0, 0  # red in the top left corner, green at its right, blue below
    upright[:16, 32:] = 0, 255, 0
    upright[16:, :16] = 0, 0, 255
    stored = {  # what a camera held that way writes: the inverse of what a viewer does
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.transpose(1, 0, 2),
        6: np.rot90(upright),
        7: upright[::-1, ::-1].transpose(1, 0, 2),
        8: np.rot90(upright, -1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = saved(Image.fromarray(np.ascontiguousarray(stored)), "JPEG", exif=exif, quality=95)
    source = media.read_picture(data)
    assert source.picture.samples.shape == upright.shape
    assert np.abs(source.picture.samples[4:12, 4:12].astype(int) - (255, 0, 0)).max() < 20
    assert np.abs(source.picture.samples[4:12, 36:44].astype(int) - (0, 255, 0)).max() < 20
    assert np.abs(source.picture.samples[20:28, 4:12].astype(int) - (0, 0, 255)).max() < 20
    assert source.losses == ()  # the orientation is applied, and there was nothing else


def test_dropped_metadata_is_told() -> None:
    exif = Image.Exif()
    exif[0x010F] = "a camera maker"
    data = saved(Image.fromarray(RGB), "JPEG", exif=exif, icc_profile=b"a profile", xmp=b"<x:xmpmeta/>")
    assert media.read_picture(data).losses == ("metadata is dropped: ICC colour profile",)  # which is none


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP", "AVIF"])
def test_alpha_is_kept(kind: str) -> None:
    rgba = np.dstack([RGB, np.full((5, 7), 255, np.uint8)])
    rgba[0, :5, 3] = (0, 1, 100, 254, 255)
    options = {"lossless": True, "exact": True} if kind == "WEBP" else {"quality": 100} if kind == "AVIF" else {}
    source = media.read_picture(saved(Image.fromarray(rgba), kind, **options))
    assert source.losses == ()
    assert np.array_equal(source.picture.alpha, rgba[..., 3])
    if kind != "AVIF":
        assert np.array_equal(source.picture.samples, RGB)
        assert np.array_equal(np.asarray(source.picture), rgba)


def test_alpha_is_shown_on_white_by_choice() -> None:
    rgba = np.dstack([RGB, np.full((5, 7), 255, np.uint8)])
    rgba[0, 0, 3] = 0
    source = media.read_picture(saved(Image.fromarray(rgba)), keep_alpha=False)
    assert source.picture.alpha is None
    assert source.losses == ("alpha is dropped: transparent parts are shown on white",)
    assert tuple(source.picture.samples[0, 0]) == (255, 255, 255)
    assert np.array_equal(source.picture.samples[1:], RGB[1:])


def test_opaque_alpha_is_no_loss() -> None:
    rgba = np.dstack([RGB, np.full((5, 7), 255, np.uint8)])
    source = media.read_picture(saved(Image.fromarray(rgba)))
    assert source.losses == () and source.picture.alpha is None
    assert np.array_equal(source.picture.samples, RGB)


def test_gray_with_alpha_stays_gray() -> None:
    image = Image.merge("LA", (Image.fromarray(GRAY), Image.new("L", (7, 5), 0)))
    source = media.read_picture(saved(image))
    assert source.picture.colour == "gray" and source.losses == ()
    assert np.array_equal(source.picture.samples, GRAY) and not source.picture.alpha.any()
    flat = media.read_picture(saved(image), keep_alpha=False)
    assert flat.picture.colour == "gray"
    assert np.array_equal(flat.picture.samples, np.full((5, 7), 255))
    assert "alpha" in flat.losses[0]


def test_transparent_colour_counts_as_alpha() -> None:
    samples = np.array([[10, 20]], np.uint8)
    source = media.read_picture(saved(Image.fromarray(samples), transparency=10))
    assert (source.picture.samples.tolist(), source.picture.alpha.tolist()) == ([[10, 20]], [[0, 255]])
    source = media.read_picture(saved(Image.fromarray(samples), transparency=10), keep_alpha=False)
    assert source.picture.samples.tolist() == [[255, 20]]
    assert "alpha" in source.losses[0]


def test_palette_becomes_rgb() -> None:
    image = Image.fromarray(RGB).quantize(4)
    source = media.read_picture(saved(image))
    assert source.losses == ("the palette is expanded to RGB",)
    assert np.array_equal(source.picture.samples, np.asarray(image.convert("RGB")))


def test_palette_with_transparency() -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([200, 10, 10, 10, 10, 200])
    image.putpixel((1, 0), 1)
    source = media.read_picture(saved(image, transparency=0))
    assert np.asarray(source.picture).tolist() == [[[200, 10, 10, 0], [10, 10, 200, 255]]]
    assert source.losses == ("the palette is expanded to RGB",)
    source = media.read_picture(saved(image, transparency=0), keep_alpha=False)
    assert source.picture.samples.tolist() == [[[255, 255, 255], [10, 10, 200]]]
    assert len(source.losses) == 2


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "PPM"])
def test_16_bit_gray_is_rounded(kind: str) -> None:
    deep = np.array([[0, 128, 129, 257, 65535]], np.uint16)
    source = media.read_picture(saved(Image.fromarray(deep), kind))
    assert source.picture.samples.tolist() == [[0, 0, 1, 1, 255]]
    assert source.losses == ("16-bit samples are rounded to 8 bits",)


@pytest.mark.parametrize("colour_type", [2, 4, 6], ids=["rgb", "gray+alpha", "rgb+alpha"])
def test_16_bit_colour_is_told(colour_type: int) -> None:
    channels = {2: 3, 4: 2, 6: 4}[colour_type]
    data = png(2, 1, 16, colour_type, b"\0" + b"\xff\xff" * 2 * channels)
    source = media.read_picture(data)
    assert source.losses == ("16-bit samples are rounded to 8 bits",)
    assert source.picture.samples.min() == 255


def test_cmyk_is_converted_with_a_warning() -> None:
    data = saved(Image.new("CMYK", (7, 5), (0, 255, 255, 0)), "TIFF")
    source = media.read_picture(data)
    assert source.losses == ("CMYK is converted to RGB without colour management",)
    assert tuple(source.picture.samples[0, 0]) == (255, 0, 0)


def test_one_bit_becomes_gray() -> None:
    source = media.read_picture(saved(Image.fromarray(GRAY > 127)))
    assert np.array_equal(source.picture.samples, np.where(GRAY > 127, 255, 0))
    assert source.losses == ()


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG"])
def test_animation_keeps_the_first_frame(kind: str) -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "lime", "blue")]
    source = media.read_picture(
        saved(frames[0], kind, save_all=True, append_images=frames[1:], lossless=True)
    )
    assert source.losses[0] == "only the first of 3 frames is kept"
    assert tuple(source.picture.samples[0, 0]) == (255, 0, 0)


# Bad sources --------------------------------------------------------------------------------------------


def test_32_bit_floats_are_refused() -> None:
    with pytest.raises(SourceError, match="32-bit samples"):
        media.read_picture(saved(Image.fromarray(np.ones((3, 3), np.float32)), "TIFF"))


def test_missing_folder_and_empty(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"no\.png: no such file"):
        media.read_picture(tmp_path / "no.png")
    with pytest.raises(SourceError, match="is a folder"):
        media.read_picture(tmp_path)
    with pytest.raises(SourceError, match="null byte"):
        media.read_picture("a\0b.png")
    (tmp_path / "e.png").touch()
    with pytest.raises(SourceError, match=r"e\.png is empty"):
        media.read_picture(tmp_path / "e.png")


def test_text_is_not_a_picture() -> None:
    with pytest.raises(SourceError, match=r"t\.txt is not a picture in a known format"):
        media.read_picture(b"hello, this is text and no picture\n" * 9, name="t.txt")


def test_an_mvc_file_gets_a_hint() -> None:
    with pytest.raises(SourceError, match=r"\.mvc file already") as caught:
        media.read_picture(b"\x93MVC\r\n\x1a\0" + bytes(40))
    assert caught.value.hint is not None
    assert "mvc decode" in caught.value.hint


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "TIFF", "BMP", "GIF", "PPM"])
def test_truncated_files_raise_one_clear_line(kind: str) -> None:
    data = saved(Image.fromarray(RNG.integers(0, 256, (40, 40, 3), dtype=np.uint8)), kind)
    late = [len(data) - 40] if kind != "JPEG" else []  # of which most is there; see test_media_kinds.py
    for length in (9, 20, len(data) // 2, *late):
        with pytest.raises(SourceError) as caught:
            media.read_picture(data[:length], name="k")
        assert "\n" not in str(caught.value)
        assert str(caught.value).startswith("k is ")


def test_damaged_files_never_leak_a_foreign_exception() -> None:
    for kind in ("PNG", "JPEG", "WEBP", "TIFF", "GIF"):
        data = saved(Image.fromarray(RNG.integers(0, 256, (24, 24, 3), dtype=np.uint8)), kind)
        for _ in range(60):
            damaged = bytearray(data)
            for position in RNG.integers(0, min(len(data), 200), 3):
                damaged[position] = RNG.integers(0, 256)
            try:
                picture = media.read_picture(bytes(damaged)).picture
            except MvcError:
                continue
            assert picture.samples.dtype == np.uint8


@pytest.mark.parametrize(
    "size", [(MAX_SIDE_PX + 1, 1), (1, MAX_SIDE_PX + 1), (30000, 30000), (2**31 - 1, 2**31 - 1)]
)
def test_too_large_is_refused_before_it_is_decoded(size: tuple[int, int]) -> None:
    with pytest.raises(Limit, match=r"large|at most"):
        media.read_picture(png(*size, 8, 2, b"\0"))


def test_the_largest_side_is_accepted() -> None:
    samples = np.zeros((1, MAX_SIDE_PX), np.uint8)
    assert media.read_picture(saved(Image.fromarray(samples))).picture.width == MAX_SIDE_PX


# Picture ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "samples",
    [
        pytest.param(np.zeros((4, 4, 4), np.uint8), id="4 channels"),
        pytest.param(np.zeros(4, np.uint8), id="1 axis"),
        pytest.param(np.zeros((4, 4), np.float32), id="float"),
        pytest.param([[1, 2]], id="list"),
        pytest.param(np.zeros((0, 4), np.uint8), id="empty"),
    ],
)
def test_picture_refuses_what_is_none(samples: object) -> None:
    with pytest.raises(SourceError):
        Picture(samples)  # type: ignore[arg-type]


def test_picture_refuses_too_large() -> None:
    with pytest.raises(Limit, match="65536"):
        Picture(np.zeros((1, 65536), np.uint8))


# Writing ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".png", ".PNG", ".ppm", ".webp", ".tiff", ".tif", ".bmp"])
@pytest.mark.parametrize("samples", [RGB, GRAY, RGB[:1, :1]], ids=["rgb", "gray", "1x1"])
def test_lossless_formats_round_trip(tmp_path: Path, suffix: str, samples: NDArray[np.uint8]) -> None:
    path = tmp_path / ("k" + suffix)
    media.write_picture(Picture(samples), path)
    back = np.asarray(Image.open(path))
    assert np.array_equal(back, np.dstack([samples] * 3) if back.ndim > samples.ndim else samples)
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]


def test_jpeg_is_close(tmp_path: Path) -> None:
    samples = np.full((32, 32, 3), (200, 30, 90), np.uint8)
    media.write_picture(Picture(samples), tmp_path / "k.jpg")
    assert np.abs(np.asarray(Image.open(tmp_path / "k.jpg")).astype(int) - samples).max() < 4


def test_unknown_extension_and_existing_file(tmp_path: Path) -> None:
    with pytest.raises(MvcError, match=r"no picture format is known for \.xyz"):
        media.write_picture(Picture(RGB), tmp_path / "k.xyz")
    with pytest.raises(MvcError, match="without extension"):
        media.write_picture(Picture(RGB), tmp_path / "k")
    path = tmp_path / "k.png"
    path.write_bytes(b"precious")
    with pytest.raises(MvcError, match="already exists"):
        media.write_picture(Picture(RGB), path)
    assert path.read_bytes() == b"precious"
    media.write_picture(Picture(RGB), path, force=True)
    assert np.array_equal(np.asarray(Image.open(path)), RGB)


# Files --------------------------------------------------------------------------------------------------


def test_failed_write_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    path = tmp_path / "k.mvc"
    path.write_bytes(b"old")
    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(MvcError, match="no space left"):
        files.write_atomic(path, b"new", force=True)
    assert [entry.name for entry in tmp_path.iterdir()] == ["k.mvc"]
    assert path.read_bytes() == b"old"


def test_atomic_write_keeps_links_and_permissions(tmp_path: Path) -> None:
    real, link = tmp_path / "real", tmp_path / "link"
    real.write_bytes(b"old")
    real.chmod(0o600)
    link.symlink_to(real)
    files.write_atomic(link, b"new", force=True)
    assert link.is_symlink()
    assert real.read_bytes() == b"new"
    assert real.stat().st_mode & 0o777 == 0o600


def test_write_to_a_device_leaves_it_a_device() -> None:
    files.write_atomic("/dev/null", b"data")
    assert Path("/dev/null").is_char_device()


def test_write_into_a_missing_folder_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(MvcError, match=r"cannot write .*k\.mvc: no such file or directory"):
        files.write_atomic(tmp_path / "no" / "k.mvc", b"")


def test_huge_files_are_not_read_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(whole, "MAX_BYTES", 1 << 20)
    path = tmp_path / "huge"
    with path.open("wb") as file:
        file.truncate(1 << 40)  # sparse: takes no room on disk
    with pytest.raises(NotMvc):
        whole.read_mvc(path)
    from mvc.container import Head, Unit, write_file

    start = write_file(Head("still", 8, 8, "rgb", 8, 0, bytes(8)), [Unit("picture", 0, None, (b"",))])
    with path.open("r+b") as file:
        file.write(start)
    with pytest.raises(Limit, match="larger than 1 MiB"):
        whole.read_mvc(path)


# The package --------------------------------------------------------------------------------------------


def test_public_names_exist() -> None:
    for name in mvc.__all__:
        assert getattr(mvc, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = mvc.nothing
