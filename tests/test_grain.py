"""Grain: what was lost is measured, what is made is the same everywhere, and nobody gets it unasked."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command import run
from test_spec import SPEC
from tiny_model import tiny_codec

import mvc
from mvc import choice
from mvc.container import Reader, read_file, write_file
from mvc.grain import GRAIN_BYTES, LEVELS, Grain, grained, measured
from mvc.metadata import Metadata
from mvc.picture import Picture
from mvc.still_file import StillFile
from mvc.tiling import Region

sys.path.append(str(Path(__file__).parent.parent / "conformance"))
from reference_grain import with_grain as reference

RNG = np.random.default_rng(5)
SOME = Grain((10, 40, 80, 30, 0, 255, 7, 90), 30, 12, 60, -45)


def ramp(height: int, width: int) -> np.ndarray:
    """From dark to bright, in colour."""
    luma = np.linspace(10, 245, width)[None] + np.zeros((height, 1))
    return np.stack([luma, luma * 0.9, luma * 0.8], -1)


def noisy(clean: np.ndarray, deviation: float, alike: bool = False) -> np.ndarray:
    noise = RNG.normal(size=(clean.shape[0] + 2, clean.shape[1] + 2))
    if alike:
        noise = 0.5 * noise[:-2] + noise[1:-1] + 0.5 * noise[2:]
        noise = np.pad(noise, ((0, 2), (0, 0))) / np.sqrt(1.5)
    shown = clean + deviation * noise[: clean.shape[0], : clean.shape[1], None]
    return np.rint(shown).clip(0, 255).astype(np.uint8)


@pytest.mark.parametrize("deviation", [1.5, 3.0, 6.0])
@pytest.mark.parametrize("alike", [False, True])
def test_lost_noise_is_measured(deviation: float, alike: bool) -> None:
    clean = ramp(256, 512)
    found = measured(Picture(noisy(clean, deviation, alike)), Picture(np.rint(clean).astype(np.uint8)))
    assert found is not None
    assert np.abs(np.array(found.luma) / 16 - deviation).max() < 0.25 * deviation
    assert abs(found.across) < 25 and abs(found.down - 128 * alike) < 40
    assert max(found.cb, found.cr) < 8


def test_what_is_still_there_is_not_lost() -> None:
    shown = Picture(noisy(ramp(128, 256), 1.0))
    assert measured(shown, shown) is None
    assert measured(Picture(shown.samples[:5, :9]), Picture(shown.samples[:5, :9])) is None
    clean = np.rint(ramp(128, 256)).astype(np.uint8)
    assert measured(Picture(noisy(clean, 3)), Picture(clean), np.zeros((128, 256), np.bool_)) is None
    texture = RNG.integers(0, 256, (128, 256, 3), np.uint8)
    assert measured(Picture(texture), Picture(texture ^ 8)) is None  # nowhere is it flat


@pytest.mark.parametrize("shape", [(9, 14, 3), (9, 14)])
def test_three_readings_of_the_document_make_the_same(shape: tuple[int, ...]) -> None:
    samples = RNG.integers(0, 256, shape, np.uint8)
    for grain in (SOME, Grain((0,) * LEVELS, 0, 255, 127, 127), Grain((255,) * LEVELS, 255, 255, -128, -128)):
        for place in ((0, 0), (40_000, 65_520)):
            made = grained(samples, grain, place)
            assert np.array_equal(made, SPEC["add_grain"](samples, grain.to_bytes(), *place))
            rows = [[tuple(map(int, np.atleast_1d(pixel))) for pixel in row] for row in samples]
            assert np.array_equal(made, np.array(reference(rows, grain.to_bytes(), *place)).reshape(shape))


def test_noise_is_as_strong_as_told_and_a_part_has_that_of_the_whole() -> None:
    flat = np.full((200, 300, 3), 112, np.uint8)  # a level's middle
    for weight in (0, 100, -60):
        grain = Grain((40,) * LEVELS, 0, 0, weight, weight)
        made = grained(flat, grain).astype(float)
        assert abs(made.std() - 2.5) < 0.1 and abs(made.mean() - 112) < 0.1
        assert np.array_equal(made[..., 0], made[..., 1])
    whole = grained(flat, SOME)
    assert np.array_equal(whole[30:90, 50:200], grained(flat[30:90, 50:200], SOME, (30, 50)))
    assert Grain.from_bytes(SOME.to_bytes()) == SOME
    with pytest.raises(ValueError, match="12 bytes"):
        Grain.from_bytes(bytes(GRAIN_BYTES + 1))


def grainy_file() -> tuple[bytes, bytes]:
    """A file of a tiny model in tiles that tells of grain, and the same without."""
    data = tiny_codec().encode(Picture(noisy(ramp(130, 300), 3)), 20, 0, 256)
    head, units = read_file(data)
    return write_file(head, units, Metadata(grain=SOME.to_bytes())), data


def test_only_who_asks_gets_it() -> None:
    codec = tiny_codec()
    data, plain = grainy_file()
    without = codec.decode(data)
    assert np.array_equal(without.samples, codec.decode(plain).samples)
    with_it = StillFile(data, grain=True).decode(lambda _: codec).samples
    assert np.array_equal(with_it, grained(without.samples, SOME)) and not np.array_equal(with_it, without.samples)
    region = StillFile(data, Region(200, 17, 90, 60), grain=True).decode(lambda _: codec).samples
    assert np.abs(region.astype(int) - with_it[17:77, 200:290]).max() <= 1
    half = StillFile(data, grain=True, divisor=2).decode(lambda _: codec).samples
    means = with_it.reshape(65, 2, 150, 2, 3).mean((1, 3))
    assert np.abs(half - means).max() <= 0.51
    assert StillFile(plain, grain=True).grain is None
    partial = StillFile(data[:-30], partial=True, grain=True)
    assert partial.grain == SOME and partial.decode(lambda _: codec).samples.shape == without.samples.shape


def test_exact_tiles_have_none() -> None:
    codec = tiny_codec()
    samples = noisy(ramp(200, 512), 4)
    samples[:, :256] = (np.indices((200, 256)).sum(0) // 9 % 2 * 200)[..., None]
    data = choice.by_both(Picture(samples), codec, 0, 256, 40)
    head, units = read_file(data)
    assert [unit.role for unit in units] == ["exact", "picture"]
    data = write_file(head, units, Metadata(grain=SOME.to_bytes()))
    shown, made = codec.decode(data).samples, StillFile(data, grain=True).decode(lambda _: codec).samples
    assert np.array_equal(shown[:, :256], made[:, :256])
    assert np.array_equal(made[:, 256:], grained(shown[:, 256:], SOME, (0, 256)))


class Smooth:
    """A codec that decodes everything to one picture."""

    def __init__(self, picture: Picture) -> None:
        self.picture = picture

    def decode(self, data: bytes) -> Picture:
        return self.picture


def test_the_encoder_tells_what_a_network_lost() -> None:
    clean = np.rint(ramp(128, 512)).astype(np.uint8)
    data = tiny_codec().encode(Picture(clean), 40, 0)
    codec: Any = Smooth(Picture(clean, metadata=Metadata(xmp=b"<x/>")))
    told = choice.with_grain(data, Picture(noisy(clean, 3)), codec)
    file = StillFile(told, grain=True)
    assert file.grain is not None and all(2 < strength / 16 < 4 for strength in file.grain.luma)
    assert file.metadata().xmp == b"<x/>"
    reader, before = (Reader(io.BytesIO(one)) for one in (told, data))
    assert [unit.streams for unit in reader.units()] == [unit.streams for unit in before.units()]
    assert reader.sums == before.sums != []
    exact = mvc.encode(clean, lossless=True)
    assert choice.with_grain(exact, Picture(noisy(clean, 3)), codec) == exact
    assert choice.with_grain(data, Picture(clean), codec) == data


def test_command_and_python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the shipped weights, on a photograph that has noise."""
    monkeypatch.chdir(tmp_path)
    kodim = mvc.read_picture(Path(__file__).parent.parent / "samples" / "kodim23.png").picture
    mvc.write_picture(Picture(np.ascontiguousarray(kodim.samples[:256, :384])), "k.png")
    run("encode", "k.png", "--grain", "-o", "k.mvc", "-q", "4")
    run("encode", "k.png", "-o", "plain.mvc", "-q", "4")
    assert 0 < Path("k.mvc").stat().st_size - Path("plain.mvc").stat().st_size <= 16
    assert "grain" in run("info", "k.mvc").stdout
    assert np.array_equal(mvc.decode("k.mvc").samples, mvc.decode("plain.mvc").samples)
    run("decode", "k.mvc", "--grain", "-o", "g.png")
    made = mvc.read_picture("g.png").picture.samples
    assert np.array_equal(made, mvc.decode("k.mvc", grain=True).samples)
    with mvc.open("k.mvc") as file:
        assert np.array_equal(made, file.read(grain=True).samples)
    lost = made.astype(float) - mvc.decode("k.mvc").samples
    assert 0.4 < lost.std() < 4
    assert "tells of no grain" in run("decode", "plain.mvc", "--grain", "-o", "p.png").stderr
    assert mvc.encode("k.png", quality=4, grain=True) == Path("k.mvc").read_bytes()
    assert mvc.decode(mvc.encode(mvc.decode("k.mvc"), quality=2)).metadata.grain is None  # another file's
