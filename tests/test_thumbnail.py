"""A small JPEG in the file: made, told, and read without a network."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from command import fails, run
from picture_files import chunk, ifd, png_of
from PIL import Image, ImageCms
from tiny_model import tiny_codec
from valid_files import assemble, chunks_of

import mvc
from mvc import media, stills
from mvc.media.thumbnails import MOST_BYTES, thumbnail_of, with_thumbnail
from mvc.metadata import Metadata
from mvc.picture import Picture

KODAK = Path(__file__).parent.parent / "samples" / "kodim23.png"
RNG = np.random.default_rng(3)


def opened(data: bytes | None) -> Image.Image:
    assert data is not None
    image = Image.open(io.BytesIO(data))
    image.load()
    assert image.format == "JPEG" and image.info.keys() <= {"jfif", "jfif_version", "jfif_unit", "jfif_density"}
    return image


def smooth(height: int, width: int) -> np.ndarray:
    rows, columns = np.mgrid[:height, :width]
    return np.stack([rows * 255 // height, columns * 255 // width, np.full_like(rows, 90)], axis=-1).astype(np.uint8)


def test_of_a_photograph() -> None:
    picture = media.read_picture(KODAK).picture
    data = thumbnail_of(picture)
    image = opened(data)
    assert image.size == (256, 171) and image.mode == "RGB" and 3000 <= len(data) <= MOST_BYTES
    wanted = np.asarray(picture.to_pil().resize(image.size, Image.Resampling.BOX))
    assert np.abs(np.asarray(image).astype(int) - wanted).mean() < 6


def test_noise_takes_no_more_bytes_but_has_fewer_pixels() -> None:
    data = thumbnail_of(Picture(RNG.integers(0, 256, (700, 900, 3), np.uint8)))
    assert len(data) <= MOST_BYTES and max(opened(data).size) <= 256
    assert abs(opened(data).width / opened(data).height - 9 / 7) < 0.1


@pytest.mark.parametrize(("height", "width"), [(1, 1), (7, 5), (1, 8192), (5000, 3), (3000, 4100), (2049, 2047)])
def test_of_any_size(height: int, width: int) -> None:
    image = opened(thumbnail_of(Picture(smooth(height, width))))
    assert max(image.size) == min(256, max(height, width)) or max(height, width) > 256 >= max(image.size)
    if min(height, width) > 100:
        assert abs(image.width / image.height - width / height) < 0.02
        wanted = smooth(image.height, image.width)
        assert np.abs(np.asarray(image).astype(int) - wanted).max() < 12


def test_of_any_kind() -> None:
    gray = opened(thumbnail_of(Picture(smooth(300, 400)[..., 0])))
    assert gray.mode == "L"
    alpha = np.zeros((300, 400), np.uint8)
    alpha[:, 200:] = 255
    for factor in (1, 257):
        kind = np.uint8 if factor == 1 else np.uint16
        picture = Picture(np.zeros((300, 400, 3), kind), alpha.astype(kind) * kind(factor))
        seen = np.asarray(opened(thumbnail_of(picture)))
        assert seen[:, :100].min() > 245 and seen[:, 160:].max() < 10
    large = Picture(np.zeros((2100, 2100, 3), np.uint8), np.zeros((2100, 2100), np.uint8))
    assert np.asarray(opened(thumbnail_of(large))).min() == 255


def test_colours_are_those_of_srgb() -> None:
    swapped = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    red, blue = swapped.index(b"rXYZ"), swapped.index(b"bXYZ")
    swapped[red : red + 4], swapped[blue : blue + 4] = b"bXYZ", b"rXYZ"
    shade = np.full((20, 20, 3), (200, 20, 20), np.uint8)
    plain = np.asarray(opened(thumbnail_of(Picture(shade))))[10, 10].astype(int)
    managed = np.asarray(opened(thumbnail_of(Picture(shade, None, Metadata(icc=bytes(swapped))))))[10, 10]
    assert np.abs(plain - (200, 20, 20)).max() < 8 and np.abs(managed[::-1].astype(int) - plain).max() < 12
    nonsense = thumbnail_of(Picture(shade, None, Metadata(icc=bytes(200))))
    assert np.array_equal(np.asarray(opened(nonsense))[10, 10], plain)


def test_it_is_upright() -> None:
    data = png_of(smooth(40, 60), chunk(b"eXIf", ifd((0x0112, 3, 1, b"\6"))))
    coded = mvc.encode(data, lossless=True, thumbnail=True)
    assert opened(mvc.thumbnail(coded)).size == (40, 60)


def test_in_a_file(tmp_path: Path) -> None:
    picture = Picture(media.read_picture(KODAK).picture.samples[:300, :400])
    plain, with_one = mvc.encode(picture, lossless=True), mvc.encode(picture, lossless=True, thumbnail=True)
    data = mvc.thumbnail(with_one)
    assert data == thumbnail_of(picture) and mvc.thumbnail(plain) is None
    stored = len(with_one) - len(plain) - 3  # type and length
    assert len(data) - 200 < stored <= len(data) + 3  # flags and size
    (tmp_path / "k.mvc").write_bytes(with_one)
    with open(tmp_path / "k.mvc", "rb") as file:
        assert mvc.thumbnail(tmp_path / "k.mvc") == mvc.thumbnail(file) == data
    assert mvc.info(with_one)["metadata"] == [
        {"kind": "thumbnail", "bytes": len(data), "stored_bytes": stored}
    ]
    decoded = mvc.decode(with_one)
    assert decoded.metadata == Metadata(thumbnail=data)
    for suffix in media.WRITABLE:
        fitted, losses = media.fitted(decoded, suffix)
        assert losses == () and fitted.metadata == Metadata()
        assert data not in media.to_bytes(decoded, suffix)
    again = mvc.encode(decoded, lossless=True)
    assert again == plain  # it belongs to its file
    assert mvc.thumbnail(mvc.encode(decoded, lossless=True, thumbnail=True)) == data
    codec = tiny_codec()
    assert mvc.thumbnail(codec.encode(with_thumbnail(Picture(smooth(40, 60))), 20)) is not None
    sized = mvc.encode(KODAK, lossless=True, metadata="none", thumbnail=True)
    assert mvc.thumbnail(sized) is not None


def test_of_damaged_and_other_files(tmp_path: Path) -> None:
    head, unit = chunks_of(stills.exact_file(Picture(smooth(6, 9))))
    sound, wrong = (0x83, b"\4\3abc"), (0x83, b"\4\4abc")
    assert mvc.thumbnail(assemble([head, wrong, sound, (0x83, b"\4\3xyz"), unit])) == b"abc"
    assert mvc.thumbnail(assemble([head, unit, sound])) == b"abc"
    assert mvc.thumbnail(assemble([head, wrong, unit])) is None
    cut = assemble([head, sound, unit])[:-20]
    (tmp_path / "k.mvc").write_bytes(cut)
    assert mvc.thumbnail(tmp_path / "k.mvc") == b"abc"  # of what has arrived
    with pytest.raises(mvc.NotMvc):
        mvc.thumbnail(b"\xff\xd8\xff")
    with pytest.raises(mvc.SourceError):
        mvc.thumbnail(tmp_path / "none.mvc")


def test_reading_it_loads_nothing(tmp_path: Path) -> None:
    (tmp_path / "k.mvc").write_bytes(mvc.encode(Picture(smooth(30, 40)), lossless=True, thumbnail=True))
    script = (
        "import sys, mvc; assert mvc.thumbnail('k.mvc')[:2] == b'\\xff\\xd8'\n"
        "from mvc.cli.app import app; app(['info', 'k.mvc', '--thumbnail', 'k.jpg'], standalone_mode=False)\n"
        "print(*{'torch', 'numba', 'numpy', 'PIL'} & set(sys.modules))"
    )
    root = Path(mvc.__file__).parent.parent
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=tmp_path,
        env={"PYTHONPATH": str(root), "PATH": ""},
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout.strip()) == (0, ""), done.stderr
    assert opened((tmp_path / "k.jpg").read_bytes()).size == (40, 30)


def test_commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Image.fromarray(smooth(300, 400)).save("k.png")
    run("encode", "k.png", "--lossless", "--thumbnail", "-o", "k.mvc")
    run("encode", "k.png", "--lossless", "-o", "plain.mvc")
    data = mvc.thumbnail("k.mvc")
    assert data is not None and f"thumbnail  {len(data)} bytes" in run("info", "k.mvc").stdout
    assert json.loads(run("info", "--json", "k.mvc").stdout)["metadata"][0]["kind"] == "thumbnail"
    assert run("info", "k.mvc", "--thumbnail", "k.jpg").exit_code == 0
    assert Path("k.jpg").read_bytes() == data
    assert run("info", "-", "--thumbnail", "-", stdin=Path("k.mvc").read_bytes()).stdout_bytes == data
    fails(run("info", "k.mvc", "--thumbnail", "k.jpg"), 1, "k.jpg already exists")
    assert run("info", "k.mvc", "--thumbnail", "k.jpg", "-f").exit_code == 0
    fails(run("info", "plain.mvc", "--thumbnail", "other.jpg"), 1, "holds no thumbnail", "mvc encode --thumbnail")
    fails(run("info", "k.mvc", "plain.mvc", "--thumbnail", "other.jpg"), 2, "one file")
    fails(run("info", "k.mvc", "--thumbnail", "k.mvc", "-f"), 2, "would be overwritten")
    assert not Path("other.jpg").exists()
    told = run("decode", "k.mvc", "-o", "back.png").stderr
    assert "warning" not in told
