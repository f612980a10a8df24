"""BD-rate against hand and scipy, sweeps that measure what lies on disk, their JSON and cache."""

from __future__ import annotations

import dataclasses
import io
import json
import math
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from mvc.errors import BackendError, Limit, MvcError, SourceError
from mvc.evaluate import codecs
from mvc.evaluate.adapter import Adapter
from mvc.evaluate.bdrate import bd_rate, integral, ms_ssim_db, pchip_slopes
from mvc.evaluate.cache import Cache
from mvc.evaluate.results import FORMAT, Results
from mvc.evaluate.sweep import measure, picture_key, sweep
from mvc.files import find_pictures
from mvc.metrics import psnr

Samples = NDArray[np.uint8]
COLUMNS = ["codec", "setting", "picture", "size_bytes", "psnr", "ms_ssim", "encode_s", "decode_s", "more"]


def photograph(height: int, width: int, *, seed: int = 1) -> Samples:
    """Waves and some noise: something that lossy codecs lose a little of."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[0:height, 0:width]
    planes = [120 + 50 * np.sin(rows / (3 + seed + c)) + 40 * np.cos(columns / (5 + c)) for c in range(3)]
    return np.clip(np.stack(planes, -1) + rng.normal(0, 6, (height, width, 3)), 0, 255).astype(np.uint8)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with two tiny pictures and something else in it."""
    place = tmp_path / "pictures"
    place.mkdir()
    Image.fromarray(photograph(40, 64, seed=2)).save(place / "b.png")
    Image.fromarray(photograph(48, 32)).save(place / "a.png")
    (place / "notes.txt").write_text("not a picture")
    return place


# BD-rate --------------------------------------------------------------------------------------------------


def test_bd_rate_of_a_constant_saving() -> None:
    bpp, quality = [0.1, 0.25, 0.7, 1.9], [27.0, 30.5, 34.0, 39.0]
    assert bd_rate(bpp, quality, bpp, quality) == pytest.approx(0, abs=1e-9)
    assert bd_rate(bpp, quality, [0.8 * rate for rate in bpp], quality) == pytest.approx(-20)
    assert bd_rate(bpp, quality, [2.5 * rate for rate in bpp], quality) == pytest.approx(150)


def test_bd_rate_of_two_straight_lines() -> None:
    # The logarithms differ by 0 at 30 dB and by -ln 2 at 40 dB: -ln 2 / 2 on average.
    assert bd_rate([1, 4], [30, 40], [1, 2], [30, 40]) == pytest.approx(100 * (2**-0.5 - 1))


def test_bd_rate_is_taken_where_both_curves_are() -> None:
    # From 35 to 40 dB, where the one goes from 2 to 4 and the other from 4 to 8.
    assert bd_rate([1, 4], [30, 40], [4, 16], [35, 45]) == pytest.approx(100)
    assert bd_rate([4, 16], [35, 45], [1, 4], [30, 40]) == pytest.approx(-50)


def test_bd_rate_takes_points_in_any_order() -> None:
    assert bd_rate([4, 1, 2], [40, 30, 36], [1, 5, 2], [31, 41, 34]) == pytest.approx(
        bd_rate([1, 2, 4], [30, 36, 40], [1, 2, 5], [31, 34, 41])
    )


@pytest.mark.parametrize("seed", range(8))
def test_bd_rate_equals_scipy(seed: int) -> None:
    scipy = pytest.importorskip("scipy.interpolate")
    rng = np.random.default_rng(seed)
    anchor, test = (np.cumsum(rng.uniform(0.1, 3, (2, rng.integers(2, 9))), axis=1) for _ in range(2))
    low, high = max(anchor[1][0], test[1][0]), min(anchor[1][-1], test[1][-1])
    assert low < high
    areas = [scipy.PchipInterpolator(c[1], np.log(c[0])).integrate(low, high) for c in (anchor, test)]
    expected = 100 * (math.exp((areas[1] - areas[0]) / (high - low)) - 1)
    assert bd_rate(anchor[0].tolist(), anchor[1].tolist(), test[0].tolist(), test[1].tolist()) == pytest.approx(
        expected, rel=1e-9, abs=1e-9
    )


@pytest.mark.parametrize("seed", range(8))
def test_pchip_equals_scipy_where_curves_turn_and_rest(seed: int) -> None:
    scipy = pytest.importorskip("scipy.interpolate")
    rng = np.random.default_rng(seed)
    x = np.cumsum(rng.uniform(0.05, 4, 12))
    y = rng.integers(-2, 3, 12).astype(float)  # rises, falls and level pieces
    reference = scipy.PchipInterpolator(x, y)
    np.testing.assert_allclose(pchip_slopes(x, y), reference.derivative()(x), atol=1e-12)
    low, high = np.sort(rng.uniform(x[0], x[-1], 2))
    assert integral(x, y, low, high) == pytest.approx(float(reference.integrate(low, high)), abs=1e-12)


@pytest.mark.parametrize(
    ("test", "word"),
    [
        (([1.0], [30.0]), "two points"),
        (([1.0, 2.0], [30.0, 32.0, 34.0]), "two points"),
        (([0.0, 2.0], [30.0, 34.0]), "above 0"),
        (([1.0, 2.0], [30.0, float("inf")]), "finite"),
        (([1.0, 2.0], [30.0, 30.0]), "same quality"),
        (([1.0, 2.0], [40.0, 50.0]), "in common"),
        (([1.0, 2.0], [10.0, 20.0]), "in common"),
    ],
)
def test_bd_rate_refuses(test: tuple[list[float], list[float]], word: str) -> None:
    with pytest.raises(ValueError, match=word):
        bd_rate([1, 2, 3], [30, 35, 40], *test)


def test_ms_ssim_in_db() -> None:
    assert ms_ssim_db(0.99) == pytest.approx(20)
    assert ms_ssim_db(0.0) == 0
    with pytest.raises(ValueError, match="no value"):
        ms_ssim_db(1.0)


# what is measured -----------------------------------------------------------------------------------------


def test_rows_say_what_pillow_says(folder: Path) -> None:
    results = sweep(find_pictures([folder]), [codecs.adapter("jpeg"), codecs.adapter("webp")])
    assert [original.name for original in results.pictures.values()] == ["a", "b"]
    assert len(results.rows) == 2 * (8 + 8)
    for row in results.rows:
        original = results.pictures[row.picture]
        source = Image.open(folder / f"{original.name}.png")
        buffer = io.BytesIO()
        if row.codec == "jpeg":
            source.save(buffer, "JPEG", quality=int(row.setting), subsampling="4:4:4", optimize=True)
        else:
            source.save(buffer, "WEBP", quality=int(row.setting), method=6)
        assert row.size_bytes == len(buffer.getvalue())
        decoded = np.asarray(Image.open(buffer).convert("RGB"))
        assert row.psnr == pytest.approx(psnr(np.asarray(source), decoded), abs=1e-4)
        assert row.ms_ssim is None  # smaller than its window
        assert row.encode_s > 0
        assert row.decode_s >= 0
        assert results.bpp(row) == 8 * row.size_bytes / (original.width * original.height)


class Talkative(bytes):
    """A file that claims to be shorter than it is and brings its own reconstruction along."""

    reconstruction: Samples

    def __len__(self) -> int:
        return 1


def liar(**changes: object) -> Adapter:
    """A codec that keeps nothing and returns gray, unless told otherwise."""
    honest = Adapter(
        "liar",
        "a liar",
        "1",
        (1.0, 2.0),
        0,
        9,
        False,
        lambda samples, setting: np.array(samples.shape, np.int32).tobytes(),
        lambda data: np.full(np.frombuffer(data, np.int32), 128, np.uint8),
    )
    return dataclasses.replace(honest, **changes)  # type: ignore[arg-type]


def test_a_reconstruction_beside_the_file_does_not_count(tmp_path: Path) -> None:
    samples = photograph(20, 30)
    seen = []

    def encode(original: Samples, setting: float) -> bytes:
        coded = Talkative(np.array(original.shape, np.int32).tobytes())
        coded.reconstruction = original
        return coded

    def decode(data: bytes) -> Samples:
        seen.append(type(data))
        gray = np.full(np.frombuffer(data, np.int32), 128, np.uint8)
        return getattr(data, "reconstruction", gray)

    row = measure(liar(encode=encode, decode=decode), samples, 1, tmp_path)
    assert seen == [bytes]
    assert row.size_bytes == 12
    assert row.psnr == pytest.approx(psnr(samples, np.full_like(samples, 128)), abs=1e-4)
    assert list(tmp_path.iterdir()) == []


def test_the_file_on_disk_is_what_is_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = Path.write_bytes
    other = np.array((20, 30, 3), np.int32).tobytes()
    monkeypatch.setattr(Path, "write_bytes", lambda path, data: write(path, other + b"\0\0\0\0"))
    decoded = []

    def decode(data: bytes) -> Samples:
        decoded.append(data)
        return np.zeros((20, 30, 3), np.uint8)

    row = measure(liar(decode=decode), photograph(20, 30), 1, tmp_path)
    assert decoded == [other + b"\0\0\0\0"]
    assert row.size_bytes == 16


def test_the_original_cannot_be_changed(tmp_path: Path) -> None:
    def encode(original: Samples, setting: float) -> bytes:
        original[:] = 128
        return b""

    with pytest.raises(ValueError, match="read-only"):
        measure(liar(encode=encode), photograph(20, 30), 1, tmp_path)


def test_a_result_of_another_size_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BackendError, match="liar"):
        measure(liar(decode=lambda data: np.zeros((1, 1, 3), np.uint8)), photograph(20, 30), 1, tmp_path)


def test_lossless_and_gray_pictures(tmp_path: Path) -> None:
    flat = np.full((20, 30), 128, np.uint8)
    assert measure(liar(), flat, 1, tmp_path).psnr is None
    for name in codecs.available():
        if name != "mvc":
            middle = codecs.adapter(name).settings[-1]
            row = measure(codecs.adapter(name), photograph(40, 50)[:, :, 0], middle, tmp_path)
            assert row.psnr is not None
            assert row.psnr > 20


@pytest.mark.parametrize("name", [name for name in codecs.available() if name != "mvc"])
def test_each_codec_spends_more_on_higher_settings(name: str, tmp_path: Path) -> None:
    codec = codecs.adapter(name)
    ends = (codec.settings[0], codec.settings[-1])
    low, high = (measure(codec, photograph(64, 64), setting, tmp_path) for setting in ends)
    assert low.size_bytes < high.size_bytes
    assert low.psnr is not None
    assert high.psnr is not None
    assert low.psnr < high.psnr


def test_settings_are_checked_before_anything_is_measured(folder: Path) -> None:
    jpeg = codecs.adapter("jpeg")
    for wrong in (0, 101, 50.5):
        with pytest.raises(Limit, match=f"not {wrong:g}"):
            sweep([folder / "missing.png"], [jpeg], {"jpeg": [50, wrong]})


def test_unknown_and_missing_codecs(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(MvcError, match="gif"):
        codecs.adapter("gif")
    monkeypatch.setattr("PIL.features.check", lambda feature: False)
    assert "webp" not in codecs.available()
    with pytest.raises(BackendError, match="webp"):
        codecs.adapter("webp")


def test_finding_pictures(folder: Path, tmp_path: Path) -> None:
    assert find_pictures([folder, "x.png"]) == [folder / "a.png", folder / "b.png", Path("x.png")]
    (tmp_path / "empty").mkdir()
    with pytest.raises(SourceError, match="no pictures"):
        find_pictures([tmp_path / "empty"])
    with pytest.raises(MvcError, match="same picture"):
        sweep([folder / "a.png"] * 2, [codecs.adapter("jpeg")], {"jpeg": [50]})


def test_a_picture_is_known_by_its_samples() -> None:
    a = photograph(20, 30)
    assert picture_key(a) == picture_key(a.copy())
    assert len({picture_key(x) for x in (a, a.reshape(30, 20, 3), a + 1, a[:, :, 0])}) == 4


# results and cache ----------------------------------------------------------------------------------------


def counting() -> tuple[Adapter, list[float]]:
    """A codec, and the list of the settings at which it was used."""
    used: list[float] = []

    def encode(samples: Samples, setting: float) -> bytes:
        used.append(setting)
        return np.array(samples.shape, np.int32).tobytes()

    return liar(encode=encode), used


def test_cached_rows_are_not_measured_again(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "deep" / "cache.json"
    pictures = find_pictures([folder])
    codec, used = counting()
    first = sweep(pictures[:1], [codec], cache=Cache(path))
    assert used == [1, 2]
    second = sweep(pictures, [codec], {"liar": [2, 3]}, cache=Cache(path))
    assert used == [1, 2, 3, 2, 3]
    assert second.rows[0] == first.rows[1]
    before = path.stat().st_ino
    sweep(pictures, [codec], {"liar": [2, 3]}, cache=Cache(path))
    assert len(used) == 5
    assert path.stat().st_ino == before  # a file with nothing new in it is not written again
    newer = dataclasses.replace(codec, version="2")
    sweep(pictures[:1], [newer], cache=Cache(path))
    assert used[5:] == [1, 2]
    assert {row.setting for row in Cache(path).known.rows} == {1, 2}  # what version 1 made is gone
    sweep(pictures[:1], [newer], cache=None)
    assert len(used) == 9
    changing = dataclasses.replace(newer, anchor=False)
    sweep(pictures[:1], [changing], cache=Cache(path))
    assert len(used) == 11


def test_an_interrupted_sweep_keeps_what_it_has(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "cache.json"
    (folder / "c.png").write_bytes(b"broken")
    with pytest.raises(SourceError, match=r"c\.png"):
        sweep(find_pictures([folder]), [liar()], cache=Cache(path))
    assert len(Cache(path).known.rows) == 4


def test_json_schema(folder: Path) -> None:
    results = sweep(find_pictures([folder]), [codecs.adapter("jpeg")], {"jpeg": [20, 80]})
    data = json.loads(results.to_json())
    assert set(data) == {"format", "machine", "codecs", "pictures", "means", "columns", "rows"}
    assert data["format"] == FORMAT
    assert data["columns"] == COLUMNS
    assert set(data["codecs"]) == {"jpeg"}
    assert set(data["codecs"]["jpeg"]) == {"title", "version"}
    assert sorted(picture["name"] for picture in data["pictures"].values()) == ["a", "b"]
    for row in data["rows"]:
        codec, setting, key, size, quality, similarity, *seconds, more = row
        assert (codec, similarity) == ("jpeg", None)
        assert setting in (20, 80)
        assert data["pictures"][key]["width"] in (32, 64)
        assert isinstance(size, int)
        assert 10 < quality < 60
        assert all(value >= 0 for value in seconds)
        assert more == {}
    assert set(data["means"]["jpeg"]) == {"setting", "bpp", "psnr", "ms_ssim", "encode_s", "decode_s"}
    assert Results.from_json(results.to_json()) == results


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": "mvc bench 1"}', '{"format": "mvc bench 0"}'])
def test_other_files_are_no_results(text: str, tmp_path: Path) -> None:
    path = tmp_path / "r.json"
    path.write_text(text)
    with pytest.raises(SourceError, match=r"r\.json"):
        Cache(path)
