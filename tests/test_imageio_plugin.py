"""`import mvc.imageio_plugin`: .mvc files in imageio."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from test_videos import COUNT, example, video
from tiny_model import tiny_codec

import mvc
from mvc.metadata import Metadata
from mvc.picture import Picture

iio = pytest.importorskip("imageio.v3")
import mvc.imageio_plugin  # noqa: E402  # registers

RNG = np.random.default_rng(4)


@pytest.mark.parametrize("shape", [(20, 30), (20, 30, 2), (20, 30, 3), (20, 30, 4)])
@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_pictures_come_back(tmp_path: Path, shape: tuple[int, ...], kind: type) -> None:
    samples = RNG.integers(0, np.iinfo(kind).max, shape, kind)
    path = tmp_path / "a.mvc"
    iio.imwrite(path, samples, lossless=True)
    found = iio.imread(path)
    assert found.dtype == kind and np.array_equal(found, samples)
    assert np.array_equal(iio.imread(path, region=(3, 4, 10, 9)), samples[4:13, 3:13])
    assert np.array_equal(iio.imread(path, index=...), samples[None])
    assert [one.shape for one in iio.imiter(path)] == [shape]
    properties = iio.improps(path)
    assert properties.shape == shape and properties.dtype == kind and not properties.is_batch
    assert iio.improps(path, index=...).shape == (1, *shape)
    with pytest.raises(ValueError, match="one picture"):
        iio.imread(path, index=1)


def test_bytes_files_and_metadata() -> None:
    samples = RNG.integers(0, 256, (9, 7, 3), np.uint8)
    data = iio.imwrite("<bytes>", samples, extension=".mvc", lossless=True)
    assert np.array_equal(mvc.decode(data).samples, samples)
    for opened in (lambda: data, lambda: io.BytesIO(data)):
        assert np.array_equal(iio.imread(opened(), extension=".mvc"), samples)
        assert np.array_equal(iio.imread(opened(), plugin="mvc"), samples)
    assert iio.immeta(data, extension=".mvc") == {"mode": "RGB", "quality_index": None}
    told = mvc.encode(Picture(samples, None, Metadata(xmp=b"<x/>")), lossless=True)
    assert iio.immeta(told, extension=".mvc")["xmp"] == b"<x/>"


def test_options_and_errors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mvc.codec.load", lambda *_: tiny_codec())
    samples = RNG.integers(0, 256, (40, 50, 3), np.uint8)
    fine = iio.imwrite("<bytes>", samples, extension=".mvc", quality=8, effort=0, coder="network")
    assert mvc.info(fine)["quality_index"] == 63
    with pytest.raises(ValueError, match="quality"):
        iio.imwrite("<bytes>", samples, extension=".mvc", quality=85)
    with pytest.raises(OSError, match="float64"):
        iio.imwrite(tmp_path / "a.mvc", samples / 255)
    (tmp_path / "a.mvc").write_bytes(b"text of no kind" + bytes(50))
    with pytest.raises(OSError, match="backend"):
        iio.imread(tmp_path / "a.mvc")
    (tmp_path / "cut.mvc").write_bytes(mvc.encode(samples, lossless=True)[:-50])
    with pytest.raises(OSError, match="ends too early"):
        iio.imread(tmp_path / "cut.mvc")
    with iio.imopen(tmp_path / "a.mvc", "w", plugin="mvc") as file:
        file.write(samples, lossless=True)
        with pytest.raises(OSError, match="at once"):
            file.write(samples)


def test_frames_of_a_clip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mvc.codec.load", lambda *_: video())
    data, frames = example()
    path = tmp_path / "a.mvc"
    path.write_bytes(data)
    wanted = np.stack([frame.to_picture().samples for frame in frames])
    assert np.array_equal(iio.imread(path), wanted)
    assert np.array_equal(iio.imread(path, index=6), wanted[6])
    assert all(map(np.array_equal, iio.imiter(path), wanted))
    assert iio.improps(path).shape == wanted.shape and iio.improps(path, index=0).shape == wanted[0].shape
    told = iio.immeta(path)
    assert (told["fps"], told["mode"]) == (15, "RGB") and told["duration"] == pytest.approx(COUNT / 15)
    assert iio.immeta(path, index=3)["timestamp"] == pytest.approx(200)
    with pytest.raises(ValueError, match="no frame 14"):
        iio.imread(path, index=COUNT)


def test_clips_are_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mvc.codec.load", lambda *_: tiny_codec())
    frames = np.stack([np.full((32, 48, 3), 40 * number, np.uint8) for number in range(4)])
    path = tmp_path / "a.mvc"
    for batch, options in ((frames, {}), (list(frames), {"fps": 25}), (frames[..., 0], {"duration": 40})):
        iio.imwrite(path, batch, effort=0, quality=1, **options)
        clip = mvc.open(path)
        assert clip.kind == "clip" and (len(clip), clip.fps, clip.size) == (4, 25, (48, 32))
