"""Kinds of picture files that people have: nothing that is dropped anyway refuses one, and every loss is told."""

from __future__ import annotations

import io
import os
import struct
import sys
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from picture_files import (
    AVIF_10_BIT_PQ,
    JP2_16_BIT,
    chunk,
    ifd,
    jpeg_with,
    png_of,
    saved,
    segment,
    tiff_of,
    tiff_of_12_bits,
)
from PIL import Image, PngImagePlugin

from mvc import media
from mvc.errors import SourceError
from mvc.media import boxes, jpeg, png
from mvc.media.exif import upright
from mvc.media.rows import open_rows
from mvc.media.trouble import libtiff_silenced
from mvc.metadata import Metadata

RNG = np.random.default_rng(5)
RGB = RNG.integers(0, 256, (16, 24, 3), dtype=np.uint8)
IMAGE = Image.fromarray(RGB)
TURNED = np.rot90(RGB, -1)  # what orientation 6 asks for
JPEG = saved(IMAGE, "JPEG", quality=95)
JPEG_RGB = np.asarray(Image.open(io.BytesIO(JPEG)))
SIX = (0x0112, 3, 1, b"\6")
ROUNDED = "16-bit samples are rounded to 8 bits"
ON_WHITE = "alpha is dropped: transparent parts are shown on white"


def losses(data: bytes) -> tuple[str, ...]:
    return media.read_picture(data).losses


def samples(data: bytes) -> NDArray[np.uint8]:
    return media.read_picture(data).picture.samples


# What is dropped anyway ---------------------------------------------------------------------------------

BROKEN_TAGS = {
    "signed fraction over zero": ((0x9204, 10, 1, struct.pack("<I", 62)), struct.pack("<ii", -1, 0)),
    "fraction beyond the end": ((0x011A, 5, 1, struct.pack("<I", 1 << 30)), b""),
    "negative in an unsigned kind": ((0x0100, 4, 1, struct.pack("<i", -5)), b""),
    "resolution as text": ((0x011A, 2, 4, b"wide"), b""),
    "unknown kind": ((0x8298, 99, 1, b"\1"), b""),
    "two billion of them": ((0x8298, 7, 1 << 31, b"\1"), b""),
    "GPS beyond the end": ((0x8825, 4, 1, struct.pack("<I", 1 << 31)), b""),
    "a directory that is its own": ((0x8769, 4, 1, struct.pack("<I", 8)), b""),
}


@pytest.mark.parametrize("name", BROKEN_TAGS)
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_broken_exif_refuses_nothing_and_still_turns(kind: str, name: str) -> None:
    entry, more = BROKEN_TAGS[name]
    exif = ifd(*sorted([SIX, entry]), more=bytes(22) + more)
    if kind == "JPEG":
        data = jpeg_with(segment(0xE1, b"Exif\0\0" + exif), JPEG)
    elif kind == "PNG":
        data = png_of(RGB, chunk(b"eXIf", exif))
    else:
        data = saved(IMAGE, "WEBP", lossless=True, exif=exif)
    source = media.read_picture(data)
    assert np.array_equal(source.picture.samples, np.rot90(JPEG_RGB, -1) if kind == "JPEG" else TURNED)
    assert source.losses == () and source.picture.metadata.exif == upright(exif)


@pytest.mark.parametrize("length", range(0, 44, 3))
def test_exif_cut_anywhere_refuses_nothing(length: int) -> None:
    exif = ifd((0x010F, 2, 4, b"me"), SIX, (0x0132, 2, 4, b"now"))[:length]
    turned = length >= 8 + 2 + 12 + 12
    for data in (png_of(RGB, chunk(b"eXIf", exif)), png_of(RGB, after=chunk(b"eXIf", exif))):
        assert np.array_equal(samples(data), TURNED if turned else RGB)


@pytest.mark.parametrize(
    ("kind", "count", "value", "turned"),
    [
        (3, 1, b"\6", True),
        (4, 1, b"\6", True),
        (1, 1, b"\6", True),
        (3, 2, b"\6\0\1\0", True),
        (2, 2, b"6", False),
        (3, 1, b"\0", False),
        (3, 1, b"\x09", False),
        (3, 0, b"\6", False),
        (7, 1, b"\6", False),
    ],
)
def test_orientation_counts_where_it_is_a_number(kind: int, count: int, value: bytes, turned: bool) -> None:
    data = png_of(RGB, chunk(b"eXIf", ifd((0x0112, kind, count, value))))
    assert np.array_equal(samples(data), TURNED if turned else RGB)
    assert losses(data) == ()


def test_orientation_in_other_places() -> None:
    exif, xmp = ifd(SIX), b'<x:xmpmeta><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'
    raw = b"Raw profile type exif\0\0" + zlib.compress(b"\nexif\n%8d\n%s\n" % (len(exif), exif.hex().encode()))
    itxt = b"XML:com.adobe.xmp\0\0\0\0\0" + xmp
    packed = b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(xmp)
    for before in (chunk(b"zTXt", raw), chunk(b"iTXt", itxt), chunk(b"iTXt", packed)):
        assert np.array_equal(samples(png_of(RGB, before)), TURNED)
        assert losses(png_of(RGB, before)) == ()
    twice = segment(0xE1, b"Exif\0\0Exif\0\0" + exif)
    assert np.array_equal(samples(jpeg_with(twice, JPEG)), np.rot90(JPEG_RGB, -1))
    tags = Image.Exif()
    tags[0x0112] = 6
    fine = {"quality": 100, "subsampling": "4:4:4"}
    for kind, options in (("TIFF", {}), ("TIFF", {"compression": "tiff_lzw"}), ("AVIF", fine)):
        source = media.read_picture(saved(IMAGE, kind, exif=tags, **options))
        assert source.losses == ()
        assert np.abs(source.picture.samples.astype(int) - TURNED).mean() < 8


@pytest.mark.parametrize(
    "broken",
    [
        segment(0xE0, b"JFIF\0"),
        segment(0xE0, b""),
        segment(0xE2, b"ICC_PROFILE\0"),
        segment(0xE2, b"MPF\0II*\0"),
        segment(0xE2, b"MPF\0II*\0\x08\0\0\0\xff\xff"),
        segment(0xED, b"Photoshop 3.0\x008BIM\xfd"),
        segment(0xEE, b"Adobe\0"),
        segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0<"),
        b"\xff" + segment(0xFE, b"\xff\xd8\xff"),
    ],
)
def test_broken_segments_of_a_jpeg_refuse_nothing(broken: bytes) -> None:
    assert np.array_equal(samples(jpeg_with(broken, JPEG)), JPEG_RGB)


def test_adobe_segments_still_name_the_colours() -> None:
    cmyk = saved(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "JPEG", quality=100)
    assert jpeg.look(cmyk).data.count(b"Adobe") == cmyk.count(b"Adobe") == 1
    assert np.abs(samples(cmyk)[0, 0].astype(int) - (255, 0, 0)).max() < 4


BOMB = zlib.compress(bytes(30 << 20), 9)


@pytest.mark.parametrize(
    ("name", "body", "told"),
    [
        (b"zTXt", b"Comment\0\0" + BOMB, "text"),
        (b"iTXt", b"Comment\0\1\0\0\0" + BOMB, "text"),
        (b"zTXt", b"Comment\0\7nothing", "text"),
        (b"tEXt", b"Comment\0" + b"x" * (3 << 20), "text"),
        (b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + BOMB, "XMP"),
        (b"zTXt", b"Raw profile type exif\0\0" + BOMB, "EXIF"),
        (b"iCCP", b"profile\0\0" + BOMB, "ICC colour profile"),
        (b"iCCP", b"profile\0\7nothing", "ICC colour profile"),
        (b"iCCP", b"", "ICC colour profile"),
        (b"eXIf", b"\1" * (5 << 20), "EXIF"),
        (b"eXIf", b"Exif\0\0" * (1 << 20), "EXIF"),
    ],
)
def test_large_or_odd_chunks_are_dropped_unseen(name: bytes, body: bytes, told: str) -> None:
    for place in ("before", "after"):
        source = media.read_picture(png_of(RGB, **{place: chunk(name, body)}))
        assert np.array_equal(source.picture.samples, RGB)
        assert source.losses == (f"metadata is dropped: {told}",)


@pytest.mark.parametrize("name", ["tIME", "gAMA", "cHRM", "sRGB", "iCCP", "tEXt", "eXIf", "acTL", "bKGD", "prIV"])
def test_a_wrong_checksum_of_what_is_not_needed_is_told(name: str) -> None:
    source = media.read_picture(png_of(RGB, chunk(name.encode(), bytes(12), crc=1)))
    assert np.array_equal(source.picture.samples, RGB)
    assert source.losses == (f"damaged parts are skipped: {name}",)


@pytest.mark.parametrize("name", [b"gAMA", b"cHRM", b"sRGB", b"pHYs", b"acTL", b"fcTL", b"tIME", b"cICP", b"bKGD"])
def test_short_chunks_refuse_nothing(name: bytes) -> None:
    for length in range(4):
        assert np.array_equal(samples(png_of(RGB, chunk(name, bytes(length)))), RGB)


def test_a_transparency_that_cannot_be_one_is_told() -> None:
    for body in (b"", b"\0", bytes(7)):
        assert losses(png_of(RGB, chunk(b"tRNS", body))) == ("damaged parts are skipped: tRNS",)
    assert losses(png_of(RGB, chunk(b"tRNS", bytes(6), crc=2))) == ("damaged parts are skipped: tRNS",)


def test_damage_of_what_is_needed_is_one_clear_line() -> None:
    data = png_of(RGB)
    for name in (b"IHDR", b"IDAT"):
        changed = bytearray(data)
        changed[data.index(name) + 5] ^= 1
        with pytest.raises(SourceError, match=f"^k is broken: its {name.decode()} chunk is damaged$"):
            media.read_picture(bytes(changed), name="k")
    with pytest.raises(SourceError, match=r"^k is broken"):
        media.read_picture(data[:20], name="k")


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_a_jpeg_that_is_cut_off_is_read_with_a_warning(mode: str, progressive: bool) -> None:
    noise = np.random.default_rng(5).integers(0, 256, (96, 64, 3)).astype(np.uint8)
    whole = saved(Image.fromarray(noise).convert(mode), "JPEG", quality=85, progressive=progressive)
    assert not any("cut off" in loss for loss in media.read_picture(whole).losses)
    assert not any("cut off" in loss for loss in media.read_picture(whole + b"a film").losses)
    expected = media.read_picture(whole).picture.samples
    for missing in (1, 2):  # of the mark that ends it
        found = media.read_picture(whole[:-missing])
        assert any("cut off at its end: nothing else" in loss for loss in found.losses)
        assert np.array_equal(found.picture.samples, expected)
    found = media.read_picture(whole[:-40])
    (told,) = (loss for loss in found.losses if "cut off at its end" in loss)
    if progressive:
        assert told.endswith("it is coarser than it should be")
    else:
        row = int(told.split("the rows from ")[1].split()[0])
        assert 48 <= row < 96 and np.array_equal(found.picture.samples[:row], expected[:row])
    start = whole.index(b"\xff\xda")
    with pytest.raises(SourceError, match=r"is cut off: (only a coarse|\d+ of its 96 rows)|truncated"):
        media.read_picture(whole[: start + 100])


def test_damage_in_metadata_never_changes_a_picture() -> None:
    exif = Image.Exif()
    exif[0x010F], exif[0x0110] = "MAKER " * 9, "MODEL " * 9
    profile, xmp = b"PROFILE " * 30, b"<x:xmpmeta>" + b"XMPXMP " * 20 + b"</x:xmpmeta>"
    text = PngImagePlugin.PngInfo()
    text.add_itxt("Title", "TITLE " * 9)
    files = {
        "PNG": saved(IMAGE, exif=exif, icc_profile=profile, pnginfo=text),
        "JPEG": saved(IMAGE, "JPEG", exif=exif, icc_profile=profile, xmp=xmp, comment=b"COMMENT " * 9),
        "WEBP": saved(IMAGE, "WEBP", exif=exif, icc_profile=profile, xmp=xmp, lossless=True),
        "AVIF": saved(IMAGE, "AVIF", exif=exif, icc_profile=profile, xmp=xmp),
        "TIFF": saved(IMAGE, "TIFF", exif=exif, icc_profile=profile),
    }
    for kind, data in files.items():
        sound = samples(data)
        at = data.find(b"MAKER MAKER") - 38  # the directory, and what follows
        for _ in range(60):
            damaged = bytearray(data)
            for place in RNG.integers(at if kind != "TIFF" else at + 38, at + 140, RNG.integers(1, 20)):
                damaged[place] = RNG.choice([0, 1, 6, 128, 255])
            picture = media.read_picture(bytes(damaged)).picture
            assert sorted(picture.samples.ravel()) == sorted(sound.ravel()), kind  # at most turned


def test_tags_that_a_tiff_does_not_need() -> None:
    tags = Image.Exif()
    tags[0x0112], tags[0x013B] = 6, "an artist"
    tags.get_ifd(0x8825)[1] = "N"
    data = bytearray(saved(IMAGE, "TIFF", exif=tags))
    assert losses(bytes(data)) == ()
    start = int.from_bytes(data[4:8], "little")
    for place in range(start + 2, start + 2 + 12 * int.from_bytes(data[start : start + 2], "little"), 12):
        if int.from_bytes(data[place : place + 2], "little") in (0x013B, 0x8825):
            data[place + 2 : place + 12] = struct.pack("<HII", 10, 1, 1 << 30)  # a fraction far beyond the end
    assert np.array_equal(samples(bytes(data)), TURNED)


def test_later_frames_may_be_damaged() -> None:
    frames = [Image.fromarray(np.full((40, 40), shade, np.uint8)) for shade in (10, 200, 90)]
    gif = saved(frames[0], "GIF", save_all=True, append_images=frames[1:])
    second = gif.index(b"\x2c", gif.index(b"\x2c") + 1)
    for cut in (gif[: second + 12], gif[: second + 5] + bytes(9)):
        assert samples(cut)[0, 0, 0] == 10
    mpo = saved(frames[0], "MPO", save_all=True, append_images=frames[1:])
    assert losses(mpo)[0] == "only the first of 3 frames is kept"
    assert abs(int(samples(mpo[: len(mpo) // 2])[0, 0]) - 10) < 3


def test_the_libraries_are_silent(capfd: pytest.CaptureFixture[str]) -> None:
    data = saved(IMAGE, "TIFF", compression="tiff_lzw")
    for place in range(60, 400, 7):
        damaged = bytearray(data)
        damaged[place : place + 5] = b"\xff" * 5
        try:
            media.read_picture(bytes(damaged))
        except SourceError as error:
            assert "decoder error" not in str(error)
    assert capfd.readouterr().err == ""


def test_other_lines_on_stderr_come_through(capfd: pytest.CaptureFixture[str]) -> None:
    with libtiff_silenced(True):
        os.write(2, b"a line of another thread\nLZWDecode: Not enough data at scanline 0.\n")
        assert capfd.readouterr().err == ""
    assert capfd.readouterr().err == "a line of another thread\n"
    with pytest.raises(KeyError), libtiff_silenced(True):
        raise KeyError
    print("still there", file=sys.stderr)
    assert capfd.readouterr().err == "still there\n"


# Losses -------------------------------------------------------------------------------------------------


def test_16_bits_are_rounded_as_the_warning_says() -> None:
    """All 65536 values in each channel, from every kind of file that holds 16 bits of RGB."""
    deep = np.arange(1 << 16, dtype=np.uint16).reshape(256, 256)
    colour = np.stack([deep, deep[::-1], deep.T], axis=-1)
    expected = np.round(colour / 257).astype(np.uint8)
    files = [png_of(colour), *(tiff_of(colour, order, deflated) for order in "<>" for deflated in (False, True))]
    files.append(b"P6 256 256 65535\n" + colour.astype(">u2").tobytes())
    for data in files:
        assert np.array_equal(samples(data), expected)
        assert losses(data) == (ROUNDED,)
    assert np.array_equal(samples(png_of(deep)), expected[:, :, 0])


@pytest.mark.parametrize("make", [png_of, tiff_of])
def test_16_bits_with_alpha_over_white(make: Callable[[NDArray[np.uint16]], bytes]) -> None:
    deep = RNG.integers(0, 1 << 16, (70, 9, 4), dtype=np.uint16)
    colour, alpha = deep[..., :3] / 65535, deep[..., 3:] / 65535
    source = media.read_picture(make(deep), keep_alpha=False)
    assert np.array_equal(source.picture.samples, np.round(255 * (colour * alpha + 1 - alpha)))
    assert source.losses == (ROUNDED, ON_WHITE)
    deep[..., 3] = 65535
    assert losses(make(deep)) == (ROUNDED,)


def test_16_bit_gray_with_alpha_stays_gray() -> None:
    deep = RNG.integers(0, 1 << 16, (70, 9, 2), dtype=np.uint16)
    value, alpha = deep[..., 0] / 65535, deep[..., 1] / 65535
    source = media.read_picture(png_of(deep), keep_alpha=False)
    assert np.array_equal(source.picture.samples, np.round(255 * (value * alpha + 1 - alpha)))
    assert source.losses == (ROUNDED, ON_WHITE)
    deep[..., 1] = 65535
    assert np.array_equal(samples(png_of(deep)), np.round(deep[..., 0] / 257))


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_16_bits_are_kept_by_choice(channels: int) -> None:
    """From PNG and TIFF, and there and back by what is written here."""
    deep = RNG.integers(0, 1 << 16, (70, 9, channels), dtype=np.uint16)
    whole = deep[..., 0] if channels == 1 else deep
    made = [png_of(whole), *([tiff_of(whole, order) for order in "<>"] if channels > 2 else [])]
    for data in made:
        source = media.read_picture(data, deep=True)
        assert source.losses == () and np.array_equal(np.asarray(source.picture), whole)
    picture = media.read_picture(made[0], deep=True).picture
    eight = media.read_picture(made[0]).picture
    assert np.array_equal(np.asarray(eight), np.round(whole / 257))
    for suffix in (".png", ".tiff", ".ppm"):
        kept, told = media.fitted(picture, suffix)
        back = media.read_picture(media.to_bytes(picture, suffix), deep=True)
        if suffix == ".tiff" and channels == 2:  # as RGBA
            assert np.array_equal(np.asarray(back.picture), deep[..., [0, 0, 0, 1]])
            continue
        assert np.array_equal(np.asarray(back.picture), np.asarray(kept)) and back.losses == ()
        assert told == ((ON_WHITE,) if suffix == ".ppm" and picture.alpha is not None else ())
    assert media.fitted(picture, ".jpg")[1][0] == ROUNDED
    assert media.fitted(picture, ".webp")[1] == (ROUNDED,)


def test_transparent_colour_of_16_bits() -> None:
    """As with 8 bits: that very colour is transparent, and not one that differs in the low byte."""
    gray = np.array([[0x1234, 0x1235, 0x1334]], np.uint16)
    source = media.read_picture(png_of(gray, chunk(b"tRNS", b"\x12\x34")), keep_alpha=False)
    assert source.picture.samples.tolist() == [[255, 18, 19]]
    assert source.losses == (ROUNDED, ON_WHITE)
    colour = np.array([[[0x1234, 0x5678, 0x9ABC], [0x1234, 0x5678, 0x9ABD]]], np.uint16)
    kept = media.read_picture(png_of(colour, chunk(b"tRNS", b"\x12\x34\x56\x78\x9a\xbc")), deep=True)
    assert kept.picture.alpha.tolist() == [[0, 65535]] and np.array_equal(kept.picture.samples, colour)
    source = media.read_picture(png_of(colour, chunk(b"tRNS", b"\x12\x34\x56\x78\x9a\xbc")), keep_alpha=False)
    assert source.picture.samples.tolist() == [[[255, 255, 255], [18, 86, 154]]]
    assert source.losses == (ROUNDED, ON_WHITE)
    assert losses(png_of(gray, chunk(b"tRNS", b"\x12\x33"))) == (ROUNDED,)


def test_other_depths() -> None:
    assert len(losses(AVIF_10_BIT_PQ)) == 1 and losses(AVIF_10_BIT_PQ)[0].startswith("10-bit samples are r")
    assert media.read_picture(AVIF_10_BIT_PQ).picture.metadata == Metadata(cicp=bytes((9, 16, 0, 1)))
    assert losses(JP2_16_BIT) == ("16-bit samples are reduced to 8 bits",)
    twelve = np.array([[0, 8, 9, 4095], [2048, 16, 24, 25]], np.uint16)
    assert losses(tiff_of_12_bits(twelve)) == ("12-bit samples are rounded to 8 bits",)
    assert np.array_equal(samples(tiff_of_12_bits(twelve)), np.round(twelve / 4095 * 255))
    assert losses(b"P6 # deep\n2 1 1023\n" + bytes(12)) == ("10-bit samples are rounded to 8 bits",)
    assert losses(b"P5 2 1 1023\n" + bytes(4)) == ("10-bit samples are rounded to 8 bits",)
    assert losses(b"P6 2 1 15\n" + bytes(6)) == ()
    assert losses(saved(IMAGE, "AVIF")) == losses(saved(IMAGE, "JPEG2000")) == ()


def codes(primaries: int, transfer: int) -> bytes:
    return chunk(b"cICP", bytes((primaries, transfer, 0, 1)))


SRGB_POINTS = (31270, 32900, 64000, 33000, 30000, 60000, 15000, 6000)
WIDE_POINTS = (31270, 32900, 70800, 29200, 17000, 79700, 13100, 4600)


@pytest.mark.parametrize(
    ("chunks", "said"),
    [
        (codes(9, 16), "BT.2020, PQ (HDR)"),
        (codes(1, 18), "HLG (HDR)"),
        (codes(12, 13), "Display P3"),
        (codes(1, 8), "linear light"),
        (codes(200, 13), "primaries 200"),
        (codes(1, 13), None),
        (codes(2, 2), None),
        (codes(1, 1), None),
        (chunk(b"gAMA", struct.pack(">I", 100_000)), "gamma 1"),
        (chunk(b"gAMA", struct.pack(">I", 55_556)), "gamma 1.8"),
        (chunk(b"gAMA", struct.pack(">I", 45_455)), None),
        (chunk(b"gAMA", struct.pack(">I", 0)), None),
        (chunk(b"cHRM", struct.pack(">8I", *WIDE_POINTS)), "other primaries"),
        (chunk(b"cHRM", struct.pack(">8I", *SRGB_POINTS)), None),
        (chunk(b"sRGB", b"\0") + chunk(b"gAMA", struct.pack(">I", 100_000)), None),  # the stronger one counts
        (codes(1, 13) + chunk(b"cHRM", struct.pack(">8I", *WIDE_POINTS)), None),
    ],
)
def test_colours_that_are_not_srgb_are_kept(chunks: bytes, said: str | None) -> None:
    source = media.read_picture(png_of(RGB, chunks))
    kept = source.picture.metadata
    assert source.losses == () and bool(kept.cicp or kept.gamma) == bool(said)  # told to whoever shows it
    assert png.look(png_of(RGB, chunks), "").colours == (said.split(", ") if said else [])
    assert bool(kept.cicp) == (said is not None and b"cICP" in chunks)
    image = Image.open(io.BytesIO(png_of(RGB, chunks)))
    if b"cICP" not in chunks:  # Pillow does not know it
        again = media.as_source(image)
        assert again.losses == () and again.picture.metadata == kept


def test_primaries_do_not_matter_for_gray() -> None:
    assert losses(png_of(RGB[:, :, 0], chunk(b"cHRM", struct.pack(">8I", *WIDE_POINTS)))) == ()


@pytest.mark.parametrize(("before", "after", "said"), [(1, 9, "BT.2020"), (13, 18, "HLG (HDR)")])
def test_colours_of_avif(before: int, after: int, said: str) -> None:
    data = saved(IMAGE, "AVIF")
    place = data.index(b"nclx") + (4 if before == 1 else 6)
    assert data[place : place + 2] == bytes((0, before))
    facts = boxes.look_avif(data[:place] + bytes((0, after)) + data[place + 2 :])
    assert facts.colours == [said]


def test_colours_of_jpeg2000() -> None:
    data = saved(IMAGE, "JPEG2000")
    place = data.index(b"colr") + 4
    assert boxes.look_jpeg2000(data[:place] + b"\2" + data[place + 1 :]).metadata == {"ICC colour profile"}
    lab = data[: place + 3] + struct.pack(">I", 14) + data[place + 7 :]
    assert boxes.look_jpeg2000(lab).colours == ["colour space 14"]


def test_colours_of_tiff() -> None:
    image = Image.fromarray(RGB)
    wide, srgb = (0.708, 0.292, 0.17, 0.797, 0.131, 0.046), (0.64, 0.33, 0.30, 0.60, 0.15, 0.06)
    assert losses(saved(image, "TIFF", tiffinfo={319: srgb})) == ()
    assert losses(saved(image, "TIFF", tiffinfo={319: wide})) == (
        "colours are taken as sRGB, but the file says other primaries",
    )


def test_colours_that_only_exif_names() -> None:
    inner = ifd((1, 2, 4, b"R03"))
    outer = ifd((0xA005, 4, 1, struct.pack("<I", 44)))
    exif = ifd((0x8769, 4, 1, struct.pack("<I", 26))) + outer[8:] + inner[8:]
    assert exif[44:46] == b"\1\0"
    assert losses(png_of(RGB, chunk(b"eXIf", exif))) == (
        "colours are taken as sRGB, but the file says Adobe RGB",
    )
    assert losses(png_of(RGB, chunk(b"eXIf", exif.replace(b"R03", b"R98")))) == ()


def test_profile_of_bmp() -> None:
    bmp = bytearray(saved(IMAGE, "BMP"))
    assert losses(bytes(bmp)) == ()
    bmp[14:18], bmp[10:14] = struct.pack("<I", 124), struct.pack("<I", 14 + 124)
    bmp[54:54] = bytes(16) + b"DEBM" + bytes(64)
    assert losses(bytes(bmp)) == ("metadata is dropped: ICC colour profile",)
    assert np.array_equal(samples(bytes(bmp)), RGB)


def test_a_gif_frame_smaller_than_its_picture() -> None:
    screen = struct.pack("<HHBBB", 12, 8, 0x80, 0, 0) + bytes((250, 0, 0, 0, 0, 250))
    made = saved(Image.new("P", (4, 3), 0), "GIF")
    data = made[made.index(b"\x2c") + 10 :]  # its pixels, behind the description of the frame
    gif = b"GIF89a" + screen + b"\x2c" + struct.pack("<HHHHB", 5, 2, 4, 3, 0) + data
    source = media.read_picture(gif)
    assert source.losses[-1] == "the first frame covers only a part of the picture: the rest is shown white"
    inside = np.zeros((8, 12), bool)
    inside[2:5, 5:9] = True
    assert (source.picture.samples[~inside] == 255).all()
    assert (source.picture.samples[inside] == (250, 0, 0)).all()


def test_frames_metadata_and_reduced_pictures() -> None:
    text = PngImagePlugin.PngInfo()
    text.add_text("Title", "a title")
    assert losses(saved(IMAGE, pnginfo=text)) == ("metadata is dropped: text",)
    assert losses(png_of(RGB, chunk(b"tEXt", b"Software\0a program") + chunk(b"tEXt", b"date:create\0now"))) == ()
    assert losses(saved(IMAGE, "JPEG", comment=b"a comment")) == ("metadata is dropped: text",)
    assert losses(saved(IMAGE, "TIFF", icc_profile=b"profile", tiffinfo={700: b"<x/>", 305: "a program"})) == (
        "metadata is dropped: ICC colour profile",  # which is none
    )
    for name in (b"mDCV", b"cLLI"):
        assert losses(png_of(RGB, codes(9, 16) + chunk(name, bytes(24)))) == ("metadata is dropped: light levels",)
    pages = saved(IMAGE, "TIFF", save_all=True, append_images=[IMAGE, IMAGE])
    assert losses(pages) == ("only the first of 3 frames is kept",)
    assert losses(saved(IMAGE, "TIFF", tiffinfo={254: 1})) == (
        "the first picture in the file is a reduced one, and the only one kept",
    )


def test_a_loop_of_tiff_pages_ends() -> None:
    data = bytearray(saved(IMAGE, "TIFF"))
    start = int.from_bytes(data[4:8], "little")
    following = start + 2 + 12 * int.from_bytes(data[start : start + 2], "little")
    data[following : following + 4] = struct.pack("<I", start)
    assert losses(bytes(data)) == ()


# Kinds that are not read --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("start", "what", "way"),
    [
        (b"\0\0\0\x14ftypcrx \0\0\0\1crx ", "raw", "16-bit TIFF"),
        (b"\0\0\0\x14ftypisom\0\0\0\1isom", "video", "ffmpeg"),
        (b"\x1a\x45\xdf\xa3", "video", "ffmpeg"),
        (b"II*\0\x10\0\0\0CR\2\0", "raw", "16-bit TIFF"),
        (ifd((254, 4, 1, b"\1"), (330, 4, 1, b"\x99")), "raw", "16-bit TIFF"),
        (b"\x89PNG\r\n\x1a\n" + chunk(b"CgBI", b"\x50\0\x20\2"), "Apple", "pngcrush"),
        (b"\0\0\1\0\1\0", "icon", "magick"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "SVG", "rsvg-convert"),
        (b"\xef\xbb\xbf<?xml version='1.0'?>\n<!-- -->\n<svg/>", "SVG", "rsvg-convert"),
        (b"%PDF-1.7", "PDF", "pdftoppm"),
        (b"%!PS-Adobe", "PostScript", "gs"),
        (b"P7\nWIDTH 1", "PAM", "pamtopng"),
        (b"8BPS\0\1", "Photoshop", "magick"),
    ],
)
def test_what_is_not_read_names_a_way_out(start: bytes, what: str, way: str) -> None:
    with pytest.raises(SourceError, match=what) as caught:
        media.read_picture(start + bytes(200), name="k")
    assert way in (caught.value.hint or "")


@pytest.mark.parametrize("text", [b"BMW is a maker of cars", b"P5, a list of five", b"P1x", b"<!DOCTYPE html><html>"])
def test_texts_that_start_as_pictures_do(text: bytes) -> None:
    with pytest.raises(SourceError, match="not a picture in a known format"):
        media.read_picture(text * 9)


def test_a_targa_picture_is_no_icon() -> None:
    for image in (IMAGE, IMAGE.convert("L"), IMAGE.convert("P"), IMAGE.convert("RGBA")):
        media.read_picture(saved(image, "TGA"))


# Colour that was multiplied by alpha

DIVIDED = "the colour was multiplied by alpha: it is divided again"


def multiplied(samples: np.ndarray) -> np.ndarray:
    most = np.iinfo(samples.dtype).max
    colour = (samples[..., :-1].astype(np.uint64) * samples[..., -1:] + most // 2) // most
    return np.concatenate([colour, samples[..., -1:]], -1).astype(samples.dtype)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(("channels", "kind"), [(2, np.uint8), (4, np.uint8), (4, np.uint16)])
def test_tiff_that_is_multiplied_by_alpha_is_divided_and_told(channels: int, kind: type, order: Any) -> None:
    most = int(np.iinfo(kind).max)
    samples = np.random.default_rng(4).integers(0, most, (8, 9, channels), kind, endpoint=True)
    samples[..., -1] = np.maximum(samples[..., -1], most // 3)
    data = tiff_of(multiplied(samples), order, alpha=1)
    source = media.read_picture(data, deep=True)
    assert source.losses == (DIVIDED,) and source.picture.samples.dtype == kind
    assert np.array_equal(source.picture.alpha, samples[..., -1])
    found, wanted = source.picture.samples.astype(int), samples[..., :-1].astype(int)
    assert np.abs(found - (wanted if channels == 4 else wanted[..., 0])).max() <= (2 if kind == np.uint8 else 1)
    rows = open_rows(io.BytesIO(data))
    assert rows is not None and rows.losses == [DIVIDED] and np.array_equal(rows.read(8), np.asarray(source.picture))
    assert media.read_picture(data, keep_alpha=False).losses[0] == DIVIDED
    samples[..., -1] = most
    assert media.read_picture(tiff_of(samples, order, alpha=1), deep=True).losses == ()


def test_avif_that_is_multiplied_by_alpha_is_divided_and_told() -> None:
    samples = np.full((16, 16, 4), (100, 50, 25, 128), np.uint8)
    data = saved(Image.fromarray(samples), "AVIF", quality=100, subsampling="4:4:4", alpha_premultiplied=True)
    source = media.read_picture(data)
    assert source.losses == (DIVIDED,)
    assert np.abs(np.asarray(source.picture).astype(int) - samples).max() <= 4
