"""`mvc.open`: what a file says before anything is decoded, and pictures on demand."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from picture_files import ifd
from tiny_model import picture, tiny_codec
from valid_files import assemble, chunks_of

import mvc
from mvc.metadata import Metadata
from mvc.picture import Picture
from mvc.picture_file import PictureFile
from mvc.stored import Stored

RNG = np.random.default_rng(5)
EXIF = ifd((0x010F, 2, 4, b"mvc\0"))


def exact(shape: tuple[int, ...] = (40, 60, 3), *, alpha: bool = False, depth: int = 8, **more: object) -> bytes:
    kind = np.uint8 if depth == 8 else np.uint16
    samples = RNG.integers(0, 1 << depth, shape).astype(kind)
    own = RNG.integers(0, 1 << depth, shape[:2]).astype(kind) if alpha else None
    return mvc.encode(Picture(samples, own, Metadata(exif=EXIF, xmp=b"<x/>")), lossless=True, **more)


class Pipe(io.RawIOBase):
    """Bytes that come a few at a time and cannot be had twice."""

    def __init__(self, data: bytes) -> None:
        self._file = io.BytesIO(data)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        part = self._file.read(min(len(buffer), 50))
        buffer[: len(part)] = part
        return len(part)


@pytest.mark.parametrize(
    ("shape", "alpha", "depth", "mode"),
    [
        ((9, 7, 3), False, 8, "RGB"),
        ((9, 7, 3), True, 8, "RGBA"),
        ((9, 7), False, 8, "L"),
        ((9, 7), True, 8, "LA"),
        ((9, 7), False, 16, "I;16"),
        ((9, 7), True, 16, "LA"),
        ((9, 7, 3), False, 16, "RGB"),
        ((9, 7, 3), True, 16, "RGBA"),
    ],
)
def test_the_mode_is_that_of_its_image(shape: tuple[int, ...], alpha: bool, depth: int, mode: str) -> None:
    with mvc.open(exact(shape, alpha=alpha, depth=depth)) as file:
        assert isinstance(file, PictureFile) and (file.kind, file.size, file.mode) == ("still", (7, 9), mode)
        assert (file.depth, file.has_alpha, file.quality_index) == (depth, alpha, None)
        image = file.read().to_pil()
        assert image.mode == mode and image.size == file.size
        assert mode in repr(file) and "7x9" in repr(file)


def test_from_a_path_bytes_files_and_pipes(tmp_path: Path) -> None:
    data = exact()
    path = tmp_path / "a.mvc"
    path.write_bytes(data)
    behind = io.BytesIO(b"behind" + data)
    behind.seek(6)
    whole = mvc.decode(data)
    with path.open("rb") as opened:
        for source in (path, str(path), data, memoryview(data), opened, behind, Pipe(data)):
            file = mvc.open(source)  # type: ignore[arg-type]
            assert file.metadata == whole.metadata == Metadata(exif=EXIF, xmp=b"<x/>")
            assert file.facts == mvc.info(data)
            for _ in range(2):
                assert np.array_equal(file.read().samples, whole.samples)
        assert not opened.closed
    number = os.open(path, os.O_RDONLY)
    os.close(number)
    held = mvc.open(path)
    again = os.open(path, os.O_RDONLY)
    os.close(again)
    assert number == again  # a reader of a path holds no file open
    held.close()
    with pytest.raises(ValueError, match="is closed"):
        held.read()


def test_only_what_a_region_takes_is_read(tmp_path: Path) -> None:
    samples = RNG.integers(0, 256, (600, 600), np.uint8)
    data = mvc.encode(samples, lossless=True, tile=256)

    class Counted(io.BytesIO):
        taken = 0

        def read(self, size: int | None = -1, /) -> bytes:
            part = super().read(size)
            self.taken += len(part)
            return part

    stored = Counted(data)
    file = mvc.open(stored)
    assert stored.taken < 200
    part = file.read(region=(300, 310, 100, 90))
    assert np.array_equal(part.samples, samples[310:400, 300:400])
    assert stored.taken < len(data) / 2  # a tile of four
    assert np.array_equal(file.read(scale="1/4").samples, mvc.decode(data, scale=1 / 4).samples)
    assert np.array_equal(file.read().samples, samples)


def test_the_network_is_loaded_with_the_first_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    codec, loaded = tiny_codec(), []
    data = codec.encode(picture(48, 64), 20)

    def load(*arguments: object) -> object:
        loaded.append(arguments)
        return codec

    monkeypatch.setattr("mvc.codec.load", load)
    file = mvc.open(data, device="cpu", threads=1)
    assert isinstance(file, PictureFile)
    assert (file.size, file.mode, file.quality_index, file.thumbnail()) == ((64, 48), "RGB", 20, None)
    assert not loaded
    whole = mvc.decode(data)
    loaded.clear()
    assert np.array_equal(file.read().samples, whole.samples)
    assert loaded == [(codec.model_id, "cpu", 1)]
    preview = file.read(slices=0)
    assert preview.samples.shape == (48, 64, 3) and not np.array_equal(preview.samples, whole.samples)
    with pytest.raises(mvc.Limit, match="3072 pixels"):
        file.read(max_pixels=3000)
    with pytest.raises(ValueError, match="region"):
        file.read(region=(0, 0, 0, 1))


def test_cut_and_damaged_files() -> None:
    data = exact((600, 600), tile=256)
    file = mvc.open(data[:-1000])
    assert isinstance(file, PictureFile) and file.metadata == Metadata(exif=EXIF, xmp=b"<x/>")
    with pytest.raises(mvc.Truncated):
        file.read()
    with pytest.warns(mvc.LossWarning) as told:
        assert file.read(partial=True).samples.shape == (600, 600)
    assert "not all of the file" in str(told[0].message) and "tiles are missing" in str(told[1].message)
    head, *rest = chunks_of(exact((5, 6, 3)))
    newer = (head[0], bytes([head[1][0] | 2]) + head[1][1:])
    damaged = bytearray(assemble([newer, *rest]))
    with pytest.raises(mvc.Unsupported):  # it is whole
        mvc.open(bytes(damaged))
    damaged[-1] ^= 1
    with pytest.raises(mvc.Checksum):  # damaged, and not newer
        mvc.open(bytes(damaged))


def test_what_is_no_file(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("text")
    with (tmp_path / "a.txt").open() as text, pytest.raises(TypeError, match="mode 'rb'"):
        mvc.open(text)  # type: ignore[arg-type]
    wrongs = ((3, TypeError), (tmp_path, mvc.SourceError), (b"", mvc.FormatError), (Pipe(b""), mvc.FormatError))
    for wrong, error in wrongs:
        with pytest.raises(error):
            mvc.open(wrong)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="device"):
        mvc.open(exact(), device="tpu")
    with pytest.raises(mvc.Truncated):
        Stored(exact()[:12])


def test_what_a_file_says_takes_no_library(tmp_path: Path) -> None:
    (tmp_path / "a.mvc").write_bytes(exact((9, 7), thumbnail=True))
    script = (
        "import sys, json, mvc\n"
        "with mvc.open('a.mvc') as file:\n"
        "    found = [*file.size, file.mode, len(file.metadata.exif), file.thumbnail()[:2].hex()]\n"
        "    found.append(file.facts['intact'])\n"
        "print(json.dumps([found, sorted({'torch', 'numba', 'numpy', 'PIL'} & set(sys.modules))]))"
    )
    env = {"PYTHONPATH": str(Path(mvc.__file__).parent.parent), "PATH": ""}
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, env=env, capture_output=True, text=True)
    assert json.loads(done.stdout) == [[7, 9, "L", len(EXIF), "ffd8", True], []], done.stderr
