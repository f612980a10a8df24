"""Pictures read and written by rows: the same samples, metadata and losses as whole, in little memory."""

from __future__ import annotations

import io
import os
import struct
import subprocess
import sys
import tracemalloc
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from picture_files import chunk, ifd, png, png_of, saved, tiff_of, tiff_of_12_bits
from PIL import Image
from test_metadata import ICC, LONG_ICC, XMP, camera, lut_profile

from benchmarks import large
from mvc import media
from mvc.errors import MvcError, SourceError
from mvc.media import row_writers, rows, rows_out
from mvc.media.png import chunks_of
from mvc.media.rows import open_rows
from mvc.media.rows_out import open_rows_out
from mvc.metadata import NONE, Metadata
from mvc.picture import Picture

RNG = np.random.default_rng(13)
SMOOTH = (np.add.outer(np.arange(37) * 3, np.arange(61) * 2)[..., None] + np.array([0, 40, 90])).astype(np.uint8)
NOISE = RNG.integers(0, 256, (37, 61, 4), dtype=np.uint8)
DEEP = RNG.integers(0, 1 << 16, (37, 61, 4), dtype=np.uint16)
RGB = NOISE[..., :3]
IMAGE = Image.fromarray(RGB)


def whole(source: rows.RowSource, step: int) -> NDArray[np.unsignedinteger]:
    parts = []
    while len(part := source.read(step)):
        assert len(part) <= step
        parts.append(part)
    assert len(source.read(step)) == 0
    return np.concatenate(parts)


def same(data: bytes, step: int = 5, path: str | os.PathLike[str] | None = None) -> None:
    """Rows give what the ordinary reader gives, whatever is asked of both."""
    for deep in (True, False):
        for keep_alpha in (True, False):
            expected = media.read_picture(data, name="k", deep=deep, keep_alpha=keep_alpha)
            found = open_rows(path or io.BytesIO(data), name="k", deep=deep, keep_alpha=keep_alpha)
            assert found is not None
            picture = expected.picture
            assert (found.width, found.height) == (picture.width, picture.height)
            assert (found.colour, found.depth) == (picture.colour, picture.depth)
            assert found.alpha == (picture.alpha is not None)
            assert found.metadata == picture.metadata
            assert tuple(found.losses) == expected.losses
            samples, array = whole(found, step), np.asarray(picture)
            assert samples.dtype == array.dtype
            assert np.array_equal(samples, array if array.ndim == 3 else array[..., None])
            found.close()


# Kinds of files


def filtered(samples: NDArray[np.uint8], step: int, kinds: list[int]) -> bytes:
    """Rows [H, bytes] with the filters of PNG, one after the other, by the letter of the specification."""
    out, above = b"", np.zeros(samples.shape[1], int)
    for y, row in enumerate(samples.astype(int)):
        left, corner = (np.concatenate([np.zeros(step, int), line[:-step]]) for line in (row, above))
        estimate = left + above - corner
        away = np.abs([estimate - left, estimate - above, estimate - corner])
        paeth = np.choose(np.argmin(away, 0), [left, above, corner])
        kind = kinds[y % len(kinds)]
        guess = (0 * row, left, above, (left + above) // 2, paeth)[kind]
        out += bytes([kind]) + ((row - guess) % 256).astype(np.uint8).tobytes()
        above = row
    return out


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("depth", [8, 16])
def test_png_with_each_filter(depth: int, channels: int) -> None:
    samples = (NOISE if depth == 8 else DEEP)[..., :channels]
    if depth == 8 and channels == 3:
        samples = SMOOTH
    raw = np.ascontiguousarray(samples, samples.dtype.newbyteorder(">")).reshape(37, -1).view(np.uint8)
    for kinds in ([0], [1], [2], [3], [4], [4, 3, 2, 1, 0], [2, 2, 4, 1, 3]):
        lines = filtered(raw, channels * depth // 8, kinds)
        same(png(61, 37, depth, {1: 0, 2: 4, 3: 2, 4: 6}[channels], lines))


@pytest.mark.parametrize("depth", [1, 2, 4])
@pytest.mark.parametrize("colours", [0, 3])
@pytest.mark.parametrize("transparent", [False, True])
def test_png_of_few_bits(colours: int, depth: int, transparent: bool) -> None:
    for width in (61, 4096 + 9):
        lines = b"".join(b"\0" + RNG.bytes(-(-width * depth // 8)) for _ in range(7))
        before = chunk(b"PLTE", RNG.bytes(3 << depth)) if colours == 3 else b""
        if transparent:
            before += chunk(b"tRNS", b"\0\1" if colours == 0 else b"\xff\0\x80"[: 1 << depth])
        same(png(width, 7, depth, colours, lines, before), 3)


def test_png_of_a_palette() -> None:
    for transparency in ({}, {"transparency": 3}, {"transparency": bytes(range(200))}):
        same(saved(IMAGE.quantize(200), "PNG", **transparency))


def test_png_of_one_transparent_colour() -> None:
    same(png_of(RGB, chunk(b"tRNS", struct.pack(">3H", *map(int, RGB[20, 30])))))
    same(png_of(RGB, chunk(b"tRNS", struct.pack(">3H", 1, 2, 300))))
    same(png_of(RGB[..., 0], chunk(b"tRNS", struct.pack(">H", int(RGB[20, 30, 0])))))
    same(png_of(DEEP[..., 0], chunk(b"tRNS", struct.pack(">H", int(DEEP[36, 60, 0])))))
    same(png_of(DEEP[..., :3], chunk(b"tRNS", struct.pack(">3H", *map(int, DEEP[36, 60, :3])))))


@pytest.mark.parametrize("samples", [NOISE, NOISE[..., :2], DEEP, DEEP[..., :2]])
def test_alpha_that_is_opaque_is_none(samples: NDArray[np.unsignedinteger]) -> None:
    opaque = samples.copy()
    opaque[..., -1] = np.iinfo(samples.dtype).max
    same(png_of(opaque))
    opaque[36, 60, -1] -= 1
    same(png_of(opaque))
    source = open_rows(io.BytesIO(png_of(opaque)))
    assert source is not None and source.alpha


def test_metadata_of_png_before_and_after_the_pixels() -> None:
    text = b"Title\0a title"
    icc = chunk(b"iCCP", b"x\0\0" + zlib.compress(LONG_ICC))
    xmp = chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + XMP)
    wide = chunk(b"cHRM", struct.pack(">8I", 31270, 32900, 70800, 29200, 17000, 79700, 13100, 4600))
    for before, after in (
        (icc + xmp, chunk(b"eXIf", camera())),
        (wide + chunk(b"gAMA", struct.pack(">I", 100_000)), b""),
        (chunk(b"cICP", bytes((9, 16, 0, 1))), chunk(b"tEXt", text)),
        (chunk(b"tIME", bytes(7), crc=1) + chunk(b"acTL", struct.pack(">II", 3, 0)), b""),
        (chunk(b"pHYs", bytes(9)) + chunk(b"sRGB", b"\0"), xmp + chunk(b"zTXt", b"Comment\0\7nothing")),
    ):
        for samples in (RGB, DEEP[..., 0]):
            same(png_of(samples, before, after))


def test_chunks_of_pixels_of_any_size() -> None:
    data = png_of(RGB)
    packed = zlib.compress(b"".join(b"\0" + row.tobytes() for row in RGB))
    start, header = data[:33], chunk(b"tIME", bytes(7))
    for size in (1, 7, 1000):
        parts = [chunk(b"IDAT", packed[at : at + size]) for at in range(0, len(packed), size)]
        parts.insert(3, chunk(b"IDAT", b""))
        same(start + header + b"".join(parts) + chunk(b"IEND", b""))


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("deflated", [False, True])
def test_tiff_in_one_strip(order: str, deflated: bool) -> None:
    for samples in (NOISE, NOISE[..., :3], DEEP, DEEP[..., :3]):
        same(tiff_of(samples, order, deflated))


@pytest.mark.parametrize("compression", [None, "tiff_adobe_deflate", "tiff_deflate", "tiff_lzw", "packbits"])
def test_tiff_as_pillow_writes_it(compression: str | None) -> None:
    gray = IMAGE.convert("L")
    images = [IMAGE, gray, Image.fromarray(NOISE), gray.convert("LA"), IMAGE.quantize(100), gray.convert("1")]
    images += [Image.fromarray(DEEP[..., 0]), IMAGE.convert("CMYK"), Image.fromarray(NOISE, "RGBX")]
    for image in images:
        for predictor in (1, 2) if compression in ("tiff_lzw", "tiff_adobe_deflate") else (1,):
            if predictor == 2 and image.mode == "1":
                continue
            more = {317: predictor, 278: 5}
            same(saved(image, "TIFF", compression=compression, tiffinfo=more), 4)
            if compression:  # else Pillow writes no BigTIFF
                same(saved(image, "TIFF", compression=compression, tiffinfo=more, big_tiff=True), 4)


def tiff_in_strips(samples: NDArray[np.unsignedinteger], order: str, predictor: int, rows_each: int) -> bytes:
    """A TIFF of uint8 or uint16 samples [H, W, C] in deflated strips."""
    height, width, channels = samples.shape
    kind = samples.dtype.newbyteorder(order)
    coded = samples.copy()
    if predictor == 2:
        coded[:, 1:] -= samples[:, :-1]
    tops = range(0, height, rows_each)
    strips = [zlib.compress(coded[top : top + rows_each].astype(kind).tobytes()) for top in tops]
    count, bits = len(strips), samples.dtype.itemsize * 8
    tags = {256: width, 257: height, 259: 8, 262: 1 if channels == 1 else 2, 277: channels, 278: rows_each}
    tags |= {258: 0, 273: 0, 279: 0, 317: predictor}
    lists = 8 + 2 + 12 * len(tags) + 4
    places = lists + 2 * channels + 2 * channels % 4 + 8 * count
    offsets = [places + sum(map(len, strips[:n])) for n in range(count)]
    behind = {258: lists, 273: lists + 2 * channels + 2 * channels % 4}
    behind[279] = behind[273] + 4 * count
    if count == 1:
        tags |= {273: places, 279: len(strips[0])}
        del behind[273], behind[279]
    directory = b""
    for tag in sorted(tags):
        if tag == 258 and channels == 1:
            directory += struct.pack(order + "HHIHH", tag, 3, 1, bits, 0)
        elif tag in behind:
            many, type_ = (channels, 3) if tag == 258 else (count, 4)
            directory += struct.pack(order + "HHII", tag, type_, many, behind[tag])
        else:
            directory += struct.pack(order + "HHII", tag, 4, 1, tags[tag])
    numbers = struct.pack(order + "H" * channels, *[bits] * channels).ljust(2 * channels + 2 * channels % 4, b"\0")
    numbers += struct.pack(f"{order}{2 * count}I", *offsets, *map(len, strips))
    head = (b"II" if order == "<" else b"MM") + struct.pack(order + "HIH", 42, 8, len(tags))
    return head + directory + bytes(4) + numbers + b"".join(strips)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("predictor", [1, 2])
def test_tiff_in_strips_of_differences(order: str, predictor: int) -> None:
    for samples in (RGB, RGB[..., :1], DEEP[..., :3], DEEP[..., :1]):
        for rows_each in (6, 37):
            same(tiff_in_strips(samples, order, predictor, rows_each), 7)


def test_other_tiffs() -> None:
    same(tiff_of_12_bits(np.arange(4096, dtype=np.uint16).reshape(64, 64)))
    same(saved(IMAGE, "TIFF", tiffinfo={315: "an artist", 700: XMP, 282: 300.0}, icc_profile=ICC))
    same(saved(IMAGE, "TIFF", save_all=True, append_images=[IMAGE, IMAGE]))
    same(saved(IMAGE, "TIFF", tiffinfo={254: 1}))
    same(saved(IMAGE.convert("CMYK"), "TIFF", icc_profile=lut_profile()))
    same(saved(IMAGE, "TIFF", tiffinfo={319: (0.708, 0.292, 0.17, 0.797, 0.131, 0.046)}))


@pytest.mark.parametrize("highest", [1, 15, 200, 255, 256, 1023, 65535])
@pytest.mark.parametrize("magic", [b"P5", b"P6"])
def test_ppm(magic: bytes, highest: int) -> None:
    kind = np.uint8 if highest < 256 else ">u2"
    samples = RNG.integers(0, highest + 1, (11, 4096 + 5, 3 if magic == b"P6" else 1)).astype(kind)
    header = b"%b # a comment\n# and another\n4101 11\n%d\n" % (magic, highest)
    same(header + samples.tobytes())
    same(b"%b 4101\t11 %d " % (magic, highest) + samples.tobytes() + b"more")


def test_pbm() -> None:
    same(b"P4\n9 7\n" + RNG.bytes(14))
    same(b"P4 # wide\n4100 3\n" + RNG.bytes(3 * 513))


def test_wider_than_pictures_are() -> None:
    """Pieces of rows join without a seam, in every way to convert them."""
    width = 9000
    colour = RNG.integers(0, 5, (3, width, 3), dtype=np.uint8)
    for data, expected in (
        (png_of(colour), colour),
        (png_of(colour, chunk(b"tRNS", struct.pack(">3H", 1, 1, 1))), None),
        (saved(Image.fromarray(colour), "TIFF", compression="tiff_lzw"), colour),
        (b"P6 9000 3 4\n" + colour.tobytes(), np.round(colour * 63.75).astype(np.uint8)),
    ):
        source = open_rows(io.BytesIO(data))
        assert source is not None and source.width == width
        if expected is None:
            expected = np.dstack([colour, np.where((colour == 1).all(-1), 0, 255).astype(np.uint8)])
        assert np.array_equal(whole(source, 2), expected)


# What is left to the ordinary reader


@pytest.mark.parametrize(
    "data",
    [
        saved(IMAGE, "JPEG"),
        saved(IMAGE, "WEBP"),
        saved(IMAGE, "TIFF", compression="jpeg"),
        saved(IMAGE, "TIFF", exif=b"II*\0\x08\0\0\0\1\0\x12\1\3\0\1\0\0\0\6\0\0\0\0\0\0\0"),
        saved(IMAGE.convert("1"), "TIFF", compression="group4"),
        saved(Image.new("F", (8, 8)), "TIFF"),
        tiff_of(RGB).replace(struct.pack("<HHII", 259, 4, 1, 1), struct.pack("<HHII", 257, 4, 1, 1)),
        tiff_of(RGB).replace(struct.pack("<HHII", 278, 4, 1, 37), struct.pack("<HHII", 278, 4, 2, 8)),
        saved(Image.new("I", (8, 8), 70000), "TIFF"),
        png_of(RGB, chunk(b"eXIf", ifd((0x0112, 3, 1, b"\6")))),
        png_of(RGB)[:33],
        png_of(RGB).replace(b"\x08\2\0\0\0", b"\x08\2\0\0\1", 1),
        png_of(RGB, chunk(b"IDAT", b"") + chunk(b"tIME", bytes(7))),
        b"P3 1 1 255 1 2 3",
        b"P6 1 0 255 ",
        b"P7\nWIDTH 1",
        b"II*\0\x08\0\0\0",
        b"",
        b"words",
    ],
)
def test_not_by_rows(data: bytes, tmp_path: Path) -> None:
    stream = io.BytesIO(b"before" + data)
    stream.seek(6)
    assert open_rows(stream) is None and stream.tell() == 6
    (tmp_path / "k").write_bytes(data)
    assert open_rows(tmp_path / "k") is None


def test_streams_from_where_they_stand() -> None:
    stream = io.BytesIO(b"before" + png_of(RGB))
    stream.seek(6)
    source = open_rows(stream)
    assert source is not None and np.array_equal(whole(source, 9), RGB)
    source.close()
    assert not stream.closed


def test_a_pipe_is_left_as_it_is() -> None:
    reading, writing = os.pipe()
    os.write(writing, b"P5 1 1 255 \7")
    os.close(writing)
    assert open_rows(f"/dev/fd/{reading}") is None
    with os.fdopen(reading, "rb") as file:
        assert open_rows(file) is None and file.read() == b"P5 1 1 255 \7"


def test_paths_that_cannot_be_read(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "none"):
        with pytest.raises(SourceError):
            open_rows(path)


# Damage


BROKEN: dict[str, Callable[[], bytes]] = {
    "png": lambda: png_of(RGB),
    "png of 16 bits": lambda: png_of(DEEP),
    "palette": lambda: saved(IMAGE.quantize(30), "PNG"),
    "tiff": lambda: tiff_of(RGB),
    "deflated tiff": lambda: tiff_of(DEEP, "<", True),
    "tiff of differences": lambda: tiff_in_strips(RGB, "<", 2, 6),
    "lzw": lambda: saved(IMAGE, "TIFF", compression="tiff_lzw"),
    "ppm": lambda: b"P6 61 37 255 " + RGB.tobytes(),
}


def outcome(read: Callable[[], NDArray[np.unsignedinteger] | None]) -> NDArray[np.unsignedinteger] | str | None:
    try:
        return read()
    except MvcError as error:
        assert type(error) is SourceError and str(error).startswith("k ")
        return "refused"


def ordinary(data: bytes) -> NDArray[np.unsignedinteger]:
    array = np.asarray(media.read_picture(data, name="k", deep=True).picture)
    return array if array.ndim == 3 else array[..., None]


def by_rows(data: bytes) -> NDArray[np.unsignedinteger] | None:
    source = open_rows(io.BytesIO(data), name="k")
    return None if source is None else whole(source, 6)


@pytest.mark.parametrize("kind", BROKEN)
def test_cut_off_anywhere(kind: str) -> None:
    data = BROKEN[kind]()
    refused = 0
    for length in [*range(0, len(data), max(1, len(data) // 60)), *range(len(data) - 20, len(data))]:
        expected, found = outcome(lambda: ordinary(data[:length])), outcome(lambda: by_rows(data[:length]))  # noqa: B023
        if found is None:
            continue
        assert isinstance(found, str) == isinstance(expected, str), length
        refused += isinstance(found, str)
        assert isinstance(found, str) or np.array_equal(found, expected)
    assert refused > 3 or kind == "lzw"


@pytest.mark.parametrize("kind", BROKEN)
def test_bytes_changed_anywhere(kind: str) -> None:
    data = BROKEN[kind]()
    rng = np.random.default_rng(1)
    for place in rng.integers(0, len(data), 60):
        changed = bytearray(data)
        changed[place] ^= 1 << int(rng.integers(8))
        found = outcome(lambda: by_rows(bytes(changed)))  # noqa: B023
        if found is not None:
            expected = outcome(lambda: ordinary(bytes(changed)))  # noqa: B023
            assert isinstance(found, str) == isinstance(expected, str), place
            assert isinstance(found, str) or np.array_equal(found, expected)


def test_damaged_pixels_of_a_png() -> None:
    lines = b"".join(b"\0" + row.tobytes() for row in RGB)
    with pytest.raises(SourceError, match=r"^k is broken: its samples are damaged$"):
        by_rows(png(61, 37, 8, 2, b"\5" + lines[1:]))
    with pytest.raises(SourceError, match=r"^k is broken: it is cut off$"):
        by_rows(png(61, 37, 8, 2, lines[: 184 * 30]))  # whole rows are missing: Pillow shows them black
    damaged = bytearray(png_of(RGB))
    damaged[damaged.index(b"IDAT") + 300] ^= 4
    with pytest.raises(SourceError, match=r"^k is broken: its"):
        by_rows(bytes(damaged))
    wrong_sum = chunk(b"IDAT", zlib.compress(lines)[:-1] + b"\0")
    with pytest.raises(SourceError, match=r"^k is broken: its samples are damaged$"):
        by_rows(png_of(RGB)[:33] + wrong_sum + chunk(b"IEND", b""))


# Out


def picture_of(samples: NDArray[np.unsignedinteger], metadata: Metadata = NONE) -> Picture:
    own = Picture.of_array(samples)
    return Picture(own.samples, own.alpha, metadata)


def write(picture: Picture, path: Path, step: int) -> tuple[str, ...]:
    samples = np.asarray(picture)
    samples = samples if samples.ndim == 3 else samples[..., None]
    alpha = picture.alpha is not None
    depth = 8 if picture.depth == 8 else 16
    with open_rows_out(
        path, picture.width, picture.height, picture.colour, depth, alpha, picture.metadata, force=True
    ) as target:
        for top in range(0, picture.height, step):
            target.write(samples[top : top + step])
    return target.losses


@pytest.mark.parametrize("suffix", rows_out.BY_ROWS)
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("depth", [8, 16])
def test_written_by_rows_as_whole(depth: int, channels: int, suffix: str, tmp_path: Path) -> None:
    for metadata in (NONE, Metadata(ICC, camera(), XMP), Metadata(cicp=bytes((9, 16, 0, 1)))):
        picture = picture_of((NOISE if depth == 8 else DEEP)[..., :channels], metadata)
        expected = media.read_picture(media.to_bytes(picture, suffix), deep=True)
        losses = media.fitted(picture, suffix)[1]
        for step in (1, 5, 37):
            path = tmp_path / f"k{suffix}"
            assert write(picture, path, step) == losses
            found = media.read_picture(path, deep=True)
            assert found.losses == expected.losses
            assert found.picture.metadata == expected.picture.metadata
            assert np.array_equal(np.asarray(found.picture), np.asarray(expected.picture))
            same(path.read_bytes(), 8, path)


def test_all_filters_are_chosen(tmp_path: Path) -> None:
    rng = np.random.default_rng(4)  # its own: what others drew before must not matter
    samples = np.zeros((60, 40), np.uint8)
    samples[:10] = rng.random((10, 40)) < 0.1  # few, and differences are twice as many: no filter
    samples[10:20] = np.cumsum(rng.integers(0, 255, (10, 40)), 1) % 7
    samples[20:30] = np.arange(40) * 6
    samples[30:40] = rng.integers(100, 110, 40)
    samples[40:] = np.cumsum(np.cumsum(rng.integers(-2, 3, (20, 40)), 0), 1)
    write(Picture(samples), tmp_path / "k.png", 7)
    data = (tmp_path / "k.png").read_bytes()
    lines = zlib.decompress(b"".join(own.body for own in chunks_of(data) if own.name == b"IDAT"))
    assert set(lines[::41]) == {0, 1, 2, 3, 4}
    assert np.array_equal(media.read_picture(data).picture.samples, samples)


def test_a_png_in_several_chunks(tmp_path: Path) -> None:
    samples = RNG.integers(0, 256, (900, 900, 3), dtype=np.uint8)
    write(Picture(samples), tmp_path / "k.png", 100)
    data = (tmp_path / "k.png").read_bytes()
    assert data.count(b"IDAT") == 4  # and the end
    assert np.array_equal(media.read_picture(data).picture.samples, samples)


@pytest.mark.parametrize("depth", [8, 16])
def test_a_large_tiff_is_a_big_one(depth: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(row_writers, "_MOST_SMALL_BYTES", 1000)
    monkeypatch.setattr(row_writers, "_STRIP_BYTES", 2000)
    metadata = Metadata(ICC, camera(), XMP)
    picture = picture_of(RGB if depth == 8 else DEEP, metadata)
    write(picture, tmp_path / "k.tif", 10)
    data = (tmp_path / "k.tif").read_bytes()
    assert data[2:4] == b"+\0"
    found = media.read_picture(data, deep=True)
    assert np.array_equal(np.asarray(found.picture), np.asarray(picture)) and found.losses == ()
    expected = media.read_picture(media.to_bytes(picture, ".tif"), deep=True)
    assert found.picture.metadata == expected.picture.metadata
    with Image.open(io.BytesIO(data)) as image:
        assert image.getexif()[0x010F] == "A maker of cameras"
        assert image.getexif().get_ifd(0x8769)[0x8827] == 200
    same(data)


def test_a_tiff_to_a_pipe() -> None:
    program = """
import sys, numpy as np
from mvc.media.rows_out import open_rows_out
with open_rows_out("/dev/stdout", 7, 5, "rgb", 8, False, suffix=".tif") as target:
    for y in range(5):
        target.write(np.full((1, 7, 3), 40 * y, np.uint8))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    assert media.read_picture(done.stdout).picture.samples[:, 0, 0].tolist() == [0, 40, 80, 120, 160]


def test_nothing_is_left_of_what_is_not_finished(tmp_path: Path) -> None:
    row = RGB[:1]

    def target(name: str = "k.png") -> rows_out.RowTarget:
        return open_rows_out(tmp_path / name, 61, 3, "rgb", 8, False)

    with pytest.raises(KeyError), target() as out:
        out.write(row)
        raise KeyError
    with pytest.raises(ValueError, match="only 1 of the 3 rows"), target() as out:
        out.write(row)
    for bad in (row[..., :2], row.astype(np.uint16), row[:, :9], RGB[:4], row[0]):
        out = target()
        with pytest.raises(ValueError):
            out.write(bad)
        assert os.listdir(tmp_path) == []
        with pytest.raises(ValueError, match="is closed"):
            out.write(row)
    target()  # and nobody holds it
    assert os.listdir(tmp_path) == []
    out = target()
    for _ in range(3):
        out.write(row)
    assert not (tmp_path / "k.png").exists()
    out.close()
    out.close()
    assert os.listdir(tmp_path) == ["k.png"]
    with pytest.raises(MvcError, match="already exists"):
        target()
    with pytest.raises(MvcError, match="no picture format"):
        target("k.xyz")
    with pytest.raises(MvcError, match="not written row by row"):
        target("k.webp")
    with pytest.raises(MvcError, match="cannot write"):
        target("none/k.png")
    assert os.listdir(tmp_path) == ["k.png"]


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="a device of Linux")
def test_a_full_disk_is_one_clear_line() -> None:
    target = open_rows_out("/dev/full", 2000, 900, "rgb", 8, False, suffix=".ppm")
    with pytest.raises(MvcError, match=r"^cannot write /dev/full: no space left"), target:
        for _ in range(9):
            target.write(np.zeros((100, 2000, 3), np.uint8))


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(rows_out.BY_ROWS[:3]),
    st.integers(1, 70),
    st.lists(st.integers(0, 9), min_size=1, max_size=9),
    st.integers(1, 4),
    st.booleans(),
    st.integers(1, 9),
)
def test_any_size_there_and_back(
    suffix: str, width: int, parts: list[int], channels: int, deep: bool, step: int
) -> None:
    height = sum(parts) or 1
    rng = np.random.default_rng(width * height)
    kind = np.uint16 if deep else np.uint8
    samples = rng.integers(0, 3 if width % 2 else np.iinfo(kind).max, (height, width, channels)).astype(kind)
    path = Path(os.environ.get("TMPDIR", "/tmp"), f"mvc-rows-{os.getpid()}{suffix}")
    try:
        write(picture_of(samples), path, max(1, parts[0]))
        same(path.read_bytes(), step, path)
    finally:
        path.unlink(missing_ok=True)


# Memory


@pytest.mark.parametrize("suffix", [".png", ".tif", ".ppm"])
def test_memory_does_not_grow_with_the_picture(suffix: str, tmp_path: Path) -> None:
    """Of 60 MB of samples, with alpha that is opaque, no more than a few bands are held at once, in and out."""
    width, height, step = 3000, 5000, 50
    channels = 3 if suffix == ".ppm" else 4
    one = RNG.integers(0, 256, (step, width, channels), dtype=np.uint8)
    one[..., 3:] = 255
    path, again = tmp_path / f"k{suffix}", tmp_path / f"again{suffix}"

    def copy() -> None:
        with open_rows_out(path, width, height, "rgb", 8, channels == 4) as target:
            for _ in range(height // step):
                target.write(one)
        source = open_rows(path)
        assert source is not None and not source.alpha
        with open_rows_out(again, width, height, "rgb", 8, False) as target:
            while len(part := source.read(step)):
                assert np.array_equal(part, one[..., :3])
                target.write(part)
        source.close()

    tracemalloc.start()
    try:
        copy()
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 9e6 + 3e6 * min(os.cpu_count() or 1, 8)  # each thread of the writer has its part
    assert again.stat().st_size > 40e6


def test_the_large_picture_of_the_benchmarks() -> None:
    first, again = (np.concatenate(list(large.rows(300, height, 7))) for height in (100, 41))
    assert first.shape == (100, 300, 3) and np.array_equal(first[:41], again)
    other = np.concatenate(list(large.rows(300, 41, 8)))
    assert not np.array_equal(again, other)
    wide = np.concatenate(list(large.rows(3000, 64))).astype(float)
    assert wide.std() > 15
    beside = np.corrcoef(wide[:, 1:, 1].ravel(), wide[:, :-1, 1].ravel())[0, 1]
    assert 0.9 < beside < 0.9999
