"""`--scale`: a smaller picture from a file is the mean, square by square, of what the file gives without it."""

from __future__ import annotations

import json
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command import fails, run
from tiny_model import picture as some_picture
from tiny_model import tiny_codec

import mvc
from mvc import large, media, stills
from mvc.container import describe
from mvc.media.gainmaps import GainMap
from mvc.media.rows_out import open_rows_out
from mvc.metadata import Metadata
from mvc.picture import Picture
from mvc.scaling import averaged
from mvc.still_file import StillFile
from mvc.strips import Strip
from mvc.tiling import Region

WIDE = some_picture(300, 700, seed=3)
RNG = np.random.default_rng(7)
ALPHA = np.where(np.indices((300, 700)).sum(0) % 40 < 18, 0, RNG.integers(0, 256, (300, 700))).astype(np.uint8)
DEEP = RNG.integers(0, 65536, (50, 61), np.uint16)
DIVISORS = (2, 4, 8, 16)


def shrunk(picture: Picture, divisor: int) -> Picture:
    """The definition, of the whole picture at once."""

    def sums(plane: np.ndarray) -> np.ndarray:
        edges = (0, -plane.shape[0] % divisor), (0, -plane.shape[1] % divisor), (0, 0)
        padded = np.pad(np.atleast_3d(plane).astype(np.int64), edges)
        rows, columns, count = padded.shape
        return padded.reshape(rows // divisor, divisor, columns // divisor, divisor, count).sum((1, 3))

    def mean(total: np.ndarray, weight: np.ndarray) -> np.ndarray:
        return (2 * total + weight) // np.maximum(2 * weight, 1)

    pixels = sums(np.ones(picture.samples.shape[:2]))
    colour = mean(sums(picture.samples), pixels)
    alpha = None
    if picture.alpha is not None:
        weight, shares = sums(picture.alpha), np.atleast_3d(picture.samples).astype(np.int64) * picture.alpha[..., None]
        colour = np.where(weight > 0, mean(sums(shares), weight), colour)
        alpha = mean(weight, pixels)[..., 0].astype(picture.samples.dtype)
    own = colour if picture.samples.ndim == 3 else colour[..., 0]
    return Picture(own.astype(picture.samples.dtype), alpha)


def same(one: Picture, other: Picture) -> bool:
    return np.asarray(one).dtype == np.asarray(other).dtype and np.array_equal(np.asarray(one), np.asarray(other))


def opened(data: bytes, *arguments: Any, **options: Any) -> Picture:
    return StillFile(data, *arguments, **options).decode(lambda _: tiny_codec())


FILES = {
    "network": tiny_codec().encode(WIDE, 40, 0, 0),
    "network in tiles": tiny_codec().encode(WIDE, 40, 0, 256),
    "network in tiles, alpha": tiny_codec().encode(Picture(WIDE.samples, ALPHA), 40, 0, 256),
    "network, gray": tiny_codec().encode(some_picture(33, 47, gray=True), 40, 0, 0),
    "exact in tiles": stills.exact_file(WIDE, 0, 0, 256),
    "exact, alpha": stills.exact_file(Picture(WIDE.samples[:90, :75].copy(), ALPHA[:90, :75].copy()), 0, 0),
    "exact, gray, 16 bits": stills.exact_file(Picture(DEEP), 0, 0),
    "exact, 16 bits, alpha": stills.exact_file(Picture(np.dstack([DEEP] * 3), DEEP[::-1].copy()), 0, 0),
    "a pixel": stills.exact_file(Picture(np.full((1, 1, 3), 9, np.uint8)), 0, 0),
}


@pytest.mark.parametrize("name", FILES)
def test_a_smaller_picture_is_the_mean_of_the_whole_one(name: str) -> None:
    whole = opened(FILES[name])
    for divisor in DIVISORS:
        still = StillFile(FILES[name], divisor=divisor)
        found = still.decode(lambda _: tiny_codec())
        assert same(found, shrunk(whole, divisor)) and still.shown == (found.width, found.height)
        assert found.width == -(-whole.width // divisor) and found.height == -(-whole.height // divisor)


@pytest.mark.parametrize("region", [Region(250, 101, 37, 41), Region(3, 0, 697, 300), Region(699, 299, 1, 1)])
def test_squares_of_a_region_begin_at_its_corner(region: Region) -> None:
    for name in ("network", "network in tiles, alpha", "exact in tiles"):
        part = opened(FILES[name], region)
        for divisor in (2, 16):
            assert same(opened(FILES[name], region, divisor=divisor), shrunk(part, divisor))


def test_previews_and_what_has_arrived_are_made_smaller() -> None:
    data = FILES["network in tiles, alpha"]
    assert same(opened(data, divisor=8, slices=1), shrunk(opened(data, slices=1), 8))
    last = [chunk for chunk in describe(data)["chunks"] if chunk["name"].startswith("CODE")][-2]
    cut = data[: last["offset"] + 9]
    still = StillFile(cut, divisor=4, partial=True)
    assert same(still.decode(lambda _: tiny_codec()), shrunk(opened(cut, partial=True), 4))
    assert still.lost == {2} and "1 of 3 tiles" in still.missing[-1]


@pytest.mark.parametrize("heights", [[1] * 35, [7, 20, 8], [35], [16, 16, 3], [33, 1, 1]])
def test_strips_of_any_height_give_the_same(heights: list[int]) -> None:
    source = Picture(WIDE.samples[:35, :21], ALPHA[:35, :21])
    edges = np.cumsum([0, *heights])
    for divisor in DIVISORS:
        strips = [
            Strip(int(top), source.samples[top:bottom], source.alpha[top:bottom])
            for top, bottom in pairwise(edges)
        ]
        made = list(averaged(strips, divisor))
        assert [strip.top for strip in made] == list(np.cumsum([0] + [len(strip.samples) for strip in made])[:-1])
        found = Picture(np.concatenate([s.samples for s in made]), np.concatenate([s.alpha for s in made]))
        assert same(found, shrunk(source, divisor))


def test_what_is_white_and_16_bits_stays_so() -> None:
    white = Picture(np.full((40, 40, 3), 65535, np.uint16), np.full((40, 40), 65535, np.uint16))
    for strip in averaged([Strip(0, white.samples, white.alpha)], 16):
        assert (strip.samples == 65535).all() and (strip.alpha == 65535).all()


def test_by_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = FILES["network in tiles, alpha"]
    still = StillFile(data, divisor=2)
    head, (width, height) = still.head, still.shown
    with open_rows_out(tmp_path / "b.png", width, height, head.colour, 8, head.alpha) as target:
        large.write(still.strips(lambda _: tiny_codec()), target)
    assert same(media.read_picture(tmp_path / "b.png").picture, shrunk(opened(data), 2))
    monkeypatch.chdir(tmp_path)
    Path("a.mvc").write_bytes(FILES["exact in tiles"])
    monkeypatch.setattr("mvc.picture.MAX_READ_PIXELS", 20_000)
    by_rows = run("decode", "a.mvc", "--scale", "1/2", "-o", "rows.tiff")  # 350x150
    assert "a.mvc -> rows.tiff: 350x150, " in by_rows.stderr
    at_once = run("decode", "a.mvc", "--scale", "1/4", "-o", "once.tiff")  # 175x75
    assert " bytes, " in at_once.stderr
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    assert same(media.read_picture("rows.tiff").picture, shrunk(WIDE, 2))
    assert same(media.read_picture("once.tiff").picture, shrunk(WIDE, 4))


def test_by_command_and_in_python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    data = FILES["exact in tiles"]
    Path("a.mvc").write_bytes(data)
    stats = run("decode", "a.mvc", "--scale", "1/8", "--stats", "json", "-o", "r.png").stdout
    assert (json.loads(stats)["width"], json.loads(stats)["height"]) == (88, 38)
    assert same(media.read_picture("r.png").picture, shrunk(WIDE, 8))
    for scale in ("1/8", 0.125, Fraction(1, 8), " 1/8 ", "0.125"):
        assert same(mvc.decode(data, scale=scale), shrunk(WIDE, 8))
    assert same(mvc.decode(data, scale=1), WIDE)
    part = WIDE.part(slice(30, 80), slice(20, 61))
    assert same(mvc.decode(data, scale=1 / 2, region=(20, 30, 41, 50)), shrunk(part, 2))
    for text in ("2", "1/3", "0", "1/0", "half", "nan", "inf", "-1/2", "1/32", ""):
        fails(run("decode", "a.mvc", f"--scale={text}", "-o", "x.png"), 2, "scale must be 1, 1/2, 1/4, 1/8 or 1/16")
        with pytest.raises(ValueError, match="scale must be"):
            mvc.decode(data, scale=text)
    for number in (2, 0.3, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="scale must be"):
            mvc.decode(data, scale=number)
    for wrong in (None, True, (1, 2)):
        with pytest.raises(TypeError, match="scale must be"):
            mvc.decode(data, scale=wrong)  # type: ignore[arg-type]
    assert "--scale" in run("decode", "--help").stdout


def test_a_smaller_picture_has_its_metadata_but_no_gain_map(tmp_path: Path) -> None:
    jpeg = b"\xff\xd8\xff\xe0" + bytes(20) + b"\xff\xd9"
    metadata = Metadata(xmp=b"<x:xmpmeta/>", gainmap=GainMap(1, 700, 300, jpeg).packed())
    made = mvc.decode(stills.exact_file(Picture(WIDE.samples, None, metadata), 0, 0), scale="1/2")
    assert made.metadata.xmp == metadata.xmp
    with pytest.warns(mvc.LossWarning, match="metadata is dropped: gain map"):
        media.write_picture(made, tmp_path / "a.jpg")
