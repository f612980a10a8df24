"""`import mvc.pillow_plugin`: .mvc files as every other format of Pillow."""

from __future__ import annotations

import copy
import io
import json
import pickle
import subprocess
import sys
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from exif_files import block as exif_block
from exif_files import orientation, text
from numpy.typing import NDArray
from PIL import Image, ImageCms, ImageFile, ImageSequence, UnidentifiedImageError
from test_container import Pipe
from test_videos import COUNT, example, load, video
from tiny_model import tiny_codec
from valid_files import assemble, chunks_of

import mvc
import mvc.pillow_plugin
from mvc.container import read_file
from mvc.metadata import Metadata
from mvc.picture import Picture
from mvc.pillow_plugin import MvcImageFile

RNG = np.random.default_rng(8)
ICC = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
XMP = b"<x:xmpmeta/>"


def exif(way: int = 1, make: str = "mvc") -> bytes:
    return b"Exif\0\0" + exif_block("<", [text(0x010F, make), *[orientation("<", way)] * (way > 1)])


def noise(*shape: int, deep: bool = False) -> NDArray[np.unsignedinteger]:
    return RNG.integers(0, 1 << (16 if deep else 8), shape).astype(np.uint16 if deep else np.uint8)


def saved(image: Image.Image, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, "MVC", **options)
    return file.getvalue()


def opened(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data))


@pytest.fixture
def network(monkeypatch: pytest.MonkeyPatch) -> list[tuple[object, ...]]:
    """A tiny model in place of every other; with what was loaded."""
    loaded: list[tuple[object, ...]] = []

    def made(*arguments: object) -> object:
        loaded.append(arguments)
        return tiny_codec()

    monkeypatch.setattr("mvc.codec.load", made)
    return loaded


@pytest.mark.parametrize(("mode", "shape"), [("L", ()), ("LA", (2,)), ("RGB", (3,)), ("RGBA", (4,)), ("I;16", ())])
def test_every_mode_comes_back(tmp_path: Path, mode: str, shape: tuple[int, ...]) -> None:
    image = Image.fromarray(noise(30, 40, *shape, deep=mode == "I;16"))
    assert image.mode == mode
    path = tmp_path / "a.mvc"
    image.save(path, lossless=True)
    with Image.open(path) as back:
        assert isinstance(back, MvcImageFile) and back.format == "MVC" and back.get_format_mimetype() == "image/x-mvc"
        assert (back.mode, back.size, back.n_frames, back.is_animated, back.tell()) == (mode, (40, 30), 1, False, 0)
        assert back.fp is not None and not back.fp.closed
        assert np.array_equal(np.asarray(back), np.asarray(image))
        assert back.fp is None  # as of other formats: the file is not needed any more
        assert np.array_equal(np.asarray(back.convert("RGB")), np.asarray(image.convert("RGB")))


def test_what_pillow_has_no_mode_for_comes_in_eight_bits() -> None:
    picture = Picture(noise(9, 7, 3, deep=True), noise(9, 7, deep=True))
    with opened(mvc.encode(picture, lossless=True)) as image:
        assert image.mode == "RGBA" and np.array_equal(np.asarray(image), np.asarray(picture.to_pil()))


def test_opening_loads_and_decodes_nothing(tmp_path: Path) -> None:
    picture = Picture(noise(300, 400, 3), None, Metadata(icc=ICC, exif=exif()[6:], xmp=XMP))
    (tmp_path / "a.mvc").write_bytes(mvc.encode(picture, lossless=True))
    (tmp_path / "clip.mvc").write_bytes(example()[0])
    script = (
        "import sys, time, json, mvc.pillow_plugin\n"
        "from PIL import Image\n"
        "begin = time.perf_counter()\n"
        "image, clip = Image.open('a.mvc'), Image.open('clip.mvc')\n"
        "took = time.perf_counter() - begin\n"
        "found = [image.mode, *image.size, sorted(image.info), clip.mode, clip.n_frames, clip.info['duration']]\n"
        "print(json.dumps([took, found, sorted({'torch', 'numba', 'numpy'} & set(sys.modules))]))"
    )
    env = {"PYTHONPATH": str(Path(mvc.__file__).parent.parent), "PATH": ""}
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, env=env, capture_output=True, text=True)
    took, found, loaded = json.loads(done.stdout or done.stderr)
    assert found == ["RGB", 400, 300, ["exif", "icc_profile", "xmp"], "RGB", COUNT, 67] and loaded == []
    assert took < 0.5  # it is a millisecond or two; this machine may be busy


def test_metadata_comes_back_and_can_be_said() -> None:
    image = Image.fromarray(noise(8, 9, 3))
    image.info.update(icc_profile=ICC, exif=exif(), xmp=XMP)
    kept = opened(saved(image, lossless=True))
    assert kept.info == {"icc_profile": ICC, "exif": exif(), "xmp": XMP}
    assert kept.getexif()[0x010F] == "mvc"
    dropped = opened(saved(image, lossless=True, exif=b"", xmp=None, icc_profile=None))
    assert dropped.info == {}
    assert opened(saved(image, lossless=True, metadata="icc")).info == {"icc_profile": ICC}
    own = image.getexif()
    own[0x010F] = "other"
    said = opened(saved(image, lossless=True, exif=own, xmp="<y/>"))
    assert said.getexif()[0x010F] == "other" and said.info["xmp"] == b"<y/>" and said.info["icc_profile"] == ICC
    bare = Image.fromarray(noise(8, 9, 3))
    assert opened(saved(bare, lossless=True, exif=exif(), icc_profile=ICC)).info.keys() == {"exif", "icc_profile"}


def test_pictures_lie_the_right_way_up() -> None:
    samples = noise(8, 9, 3)
    file = io.BytesIO()
    Image.fromarray(samples).save(file, "PNG", exif=exif(6))

    def shown(image: Image.Image, **options: object) -> NDArray[np.unsignedinteger]:
        back = opened(saved(image, lossless=True, **options))
        assert back.getexif().get(0x0112, 1) == 1
        return np.asarray(back)

    upright = np.rot90(samples, -1)
    assert np.array_equal(shown(Image.open(file)), upright)
    assert np.array_equal(shown(Image.open(file), exif=exif(6)), upright)  # which says the same, once
    assert np.array_equal(shown(Image.open(file), exif=b""), upright)
    assert np.array_equal(shown(Image.fromarray(samples), exif=exif(6)), upright)
    assert np.array_equal(shown(Image.open(file).rotate(0), exif=exif(6)), upright)
    assert np.array_equal(shown(Image.fromarray(samples), exif=exif()), samples)


def test_options_are_those_of_encode(network: list[tuple[object, ...]], tmp_path: Path) -> None:
    image = Image.fromarray(noise(40, 50, 3))
    fine = saved(image, quality=8, effort=0, coder="network", threads=1, optimize=True, progressive=True)
    assert mvc.info(fine)["quality_index"] == 63 and network == [("mambavc-lite", "auto", 1)]
    assert len(saved(image, quality=1, effort=0, coder="network")) < len(fine)
    near = opened(saved(image, near_lossless=3, thumbnail=True))
    assert np.abs(np.asarray(near).astype(int) - np.asarray(image)).max() <= 3
    clear = Image.fromarray(noise(40, 50, 4))
    with pytest.warns(mvc.LossWarning, match="alpha is dropped"):
        assert opened(saved(clear, lossless=True, alpha=False)).mode == "RGB"
    deep = Image.fromarray(noise(9, 7, deep=True))
    with pytest.warns(mvc.LossWarning, match="16-bit samples are rounded"):
        assert opened(saved(deep, quality=8)).mode == "L"
    for wrong in ({"quality": 85}, {"lossless": True, "quality": 4}, {"coder": "jpeg"}, {"effort": 9}):
        with pytest.raises(ValueError, match=next(reversed(wrong))):
            image.save(tmp_path / "wrong.mvc", **wrong)  # type: ignore[arg-type]
        assert not (tmp_path / "wrong.mvc").exists()
    with pytest.raises(OSError, match="smallest file"):
        image.save(tmp_path / "wrong.mvc", size=10)


def test_a_network_is_loaded_with_the_pixels(network: list[tuple[object, ...]]) -> None:
    data = tiny_codec().encode(Picture(noise(32, 48, 3)), 20)
    image = opened(data)
    assert image.size == (48, 32) and not network
    assert np.array_equal(np.asarray(image), mvc.decode(data).samples) and network


def test_a_thumbnail_in_the_file_or_a_scale_is_the_draft() -> None:
    rows, columns = np.mgrid[:300, :400]
    samples = np.stack([rows // 2, columns // 2, rows * 0 + 90], -1).astype(np.uint8)
    data = mvc.encode(Picture(samples, None, Metadata(icc=ICC)), lossless=True, thumbnail=True)
    image = opened(data)
    assert image.draft("RGB", (257, 10)) is None and image.size == (400, 300)
    assert image.draft(None, (100, 100)) == ("RGB", (0, 0, 256, 192))
    assert image.size == (256, 192) and "icc_profile" not in image.info and image.draft(None, (10, 10)) is None
    seen = np.asarray(image)
    assert seen.shape == (192, 256, 3) and np.abs(seen[96, 128].astype(int) - samples[150, 200]).max() < 12
    image = opened(data)
    image.thumbnail((64, 64))
    assert image.size == (64, 48)
    loaded = opened(data)
    loaded.load()
    assert loaded.draft(None, (64, 64)) is None
    for other in (
        mvc.encode(samples, lossless=True),
        mvc.encode(np.zeros((300, 400, 4), np.uint8), lossless=True, thumbnail=True),
        mvc.encode(np.full((300, 400), 300, np.uint16), lossless=True, thumbnail=True),
    ):
        image = opened(other)
        assert image.draft(None, (201, 64)) is None
        assert image.draft(None, (64, 64)) == (image.mode, (0, 0, 100, 75)) and image.size == (100, 75)
        assert np.array_equal(np.asarray(image), np.asarray(mvc.decode(other, scale=1 / 4).to_pil()))


def test_other_processes_and_copies() -> None:
    samples = noise(12, 10, 3)
    image = opened(mvc.encode(Picture(samples, None, Metadata(icc=ICC)), lossless=True))
    for again in (pickle.loads(pickle.dumps(image)), copy.copy(image), copy.deepcopy(image), image.copy()):
        assert np.array_equal(np.asarray(again), samples) and again.info["icc_profile"] == ICC
    assert np.array_equal(np.asarray(pickle.loads(pickle.dumps(image)).crop((1, 2, 5, 6))), samples[2:6, 1:5])


def test_what_cannot_be_opened(tmp_path: Path) -> None:
    data = mvc.encode(noise(30, 40, 3), lossless=True)
    for broken in (data[:8], data[:12], b"\x93MVD" + data[4:]):
        with pytest.raises(UnidentifiedImageError):
            opened(broken)
    (code, head), *rest = chunks_of(data)
    with pytest.raises(OSError, match="newer") as caught:
        opened(assemble([(code, bytes([head[0] | 2]) + head[1:]), *rest]))
    assert not isinstance(caught.value, UnidentifiedImageError)
    (tmp_path / "cut.mvc").write_bytes(data[:-100])
    with Image.open(tmp_path / "cut.mvc") as cut, pytest.raises(OSError, match="ends too early"):
        cut.load()
    damaged = data[:-50] + bytes([data[-50] ^ 1]) + data[-49:]
    with pytest.raises(OSError, match="checksum"):
        opened(damaged).load()
    with pytest.raises(OSError, match="checksum"):
        opened(damaged).verify()
    opened(data).verify()
    closed = Image.open(io.BytesIO(data))
    closed.close()
    with pytest.raises(ValueError, match="closed"):
        closed.load()
    assert Image.open(Pipe(data)).size == (40, 30)  # type: ignore[arg-type]


def test_what_has_arrived_of_a_cut_file(monkeypatch: pytest.MonkeyPatch) -> None:
    samples = noise(600, 600)
    data = mvc.encode(samples, lossless=True, tile=256)
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    with pytest.warns(mvc.LossWarning) as told:
        seen = np.asarray(opened(data[:-2000]))
    assert "not all of the file" in str(told[0].message) and len(told) == 2
    assert np.array_equal(seen[:250], samples[:250]) and (seen[400:, 400:] == 128).all()


def test_large_pictures_are_refused_as_pillow_does(monkeypatch: pytest.MonkeyPatch) -> None:
    data = mvc.encode(np.zeros((100, 100), np.uint8), lossless=True)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    with pytest.raises(Image.DecompressionBombError):
        opened(data)


# Clips


@cache
def frames() -> list[NDArray[np.uint8]]:
    return [np.asarray(frame.to_picture().to_pil()) for frame in example()[1]]


def test_frames_of_a_clip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mvc.codec.load", lambda *_: video())
    (tmp_path / "a.mvc").write_bytes(example()[0])
    with Image.open(tmp_path / "a.mvc") as clip, Image.open(tmp_path / "a.mvc") as other:
        assert (clip.mode, clip.size) == ("RGB", (48, 32)) and clip.info == {"timestamp": 0, "duration": 67}
        assert np.array_equal(np.asarray(clip), frames()[0])
        assert (clip.n_frames, clip.is_animated) == (COUNT, True)
        for number in (1, 2, 3, 9, 7, 0, COUNT - 1):
            clip.seek(number)
            assert clip.tell() == number and clip.info == {"timestamp": round(number * 1000 / 15), "duration": 67}
            assert np.array_equal(np.asarray(clip), frames()[number]), number
        with pytest.raises(EOFError):
            clip.seek(COUNT)
        assert clip.tell() == COUNT - 1
        found = [np.asarray(frame) for frame in ImageSequence.Iterator(other)]
        assert len(found) == COUNT and all(map(np.array_equal, found, frames()))
        clip.verify()


def test_clips_are_saved(network: list[tuple[object, ...]], tmp_path: Path) -> None:
    images = [Image.fromarray(np.full((32, 48, 3), 40 * n, np.uint8)) for n in range(5)]
    path = tmp_path / "a.mvc"
    options = {"append_images": images[1:], "quality": 8, "effort": 0, "gop": 2}
    images[0].save(path, save_all=True, duration=40, **options)
    with Image.open(path) as clip:
        assert (clip.n_frames, clip.info["duration"]) == (5, 40)
        clip.seek(4)
        assert clip.info["timestamp"] == 160
        assert np.asarray(clip).shape == (32, 48, 3)
    images[0].save(path, save_all=True, duration=[10, 20, 30, 40, 50], **options)
    assert mvc.open(path).times == (0, 10, 30, 60, 100)
    gif = io.BytesIO()
    images[0].save(gif, "GIF", save_all=True, append_images=images[1:], duration=[70, 80, 90, 100, 110])
    Image.open(gif).save(path, save_all=True, effort=0)
    assert mvc.open(path).times == (0, 70, 150, 240, 340)
    images[0].save(path, save_all=True, lossless=True)  # one frame is a still
    assert read_file(path.read_bytes())[0].kind == "still"
    for wrong, message in (
        ({"append_images": [Image.new("RGB", (9, 9))]}, "frame 1 is 9x9"),
        ({**options, "duration": [10, 10]}, "more frames than durations"),
        ({**options, "quality": None, "bitrate": 1000}, "read only once"),
    ):
        with pytest.raises(OSError, match=message):
            images[0].save(path, save_all=True, **wrong)


def test_a_damaged_clip(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mvc.codec.load", lambda *_: load())
    data = example()[0]
    third = read_file(data)[1][2].streams[0]
    place = data.index(third) + 1
    clip = opened(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
    assert clip.n_frames == COUNT
    clip.seek(2)
    with pytest.raises(OSError, match="checksum"):
        clip.load()
    with pytest.raises(OSError, match="checksum"):
        clip.verify()
    cut = opened(data[:-30])
    cut.load()
    with pytest.raises(OSError, match="too early"):
        cut.seek(1)
