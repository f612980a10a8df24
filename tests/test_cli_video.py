"""Clips on the command line: a video in, an .mvc file, and a video back."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from command import fails, run
from tiny_model import tiny_weights

from mvc.frames import ClipInfo, Frame
from mvc.media.clips import open_clip, write_clip
from mvc.models.weights import save

INFO = ClipInfo(48, 32, Fraction(1, 30), rate=Fraction(30))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    save(tmp_path / "tiny", tiny_weights())
    write_clip("a.y4m", INFO, map(frame, range(5)))
    return tmp_path


def frame(number: int) -> Frame:
    rows, columns = np.mgrid[0:32, 0:48]
    luma = (128 + 60 * np.sin((rows + columns + 5 * number) / 9)).astype(np.uint8)
    return Frame((luma, np.full((16, 24), 90, np.uint8), np.full((16, 24), 160, np.uint8)), number, INFO.colour, 1)


TINY = ("--model", "tiny", "--threads", "1")


def test_a_clip_there_and_back(folder: Path) -> None:
    done = run("encode-video", "a.y4m", "-q", "8", "--gop", "3", *TINY)
    assert done.exit_code == 0 and "a.y4m -> a.mvc: 48x32, 5 frames" in done.stderr
    assert "kind  clip" in run("info", "a.mvc").stdout
    assert "ok, 48x32, 5 frames" in run("verify", "a.mvc", *TINY).stdout
    assert run("decode", "a.mvc", "-o", "b.y4m", *TINY).exit_code == 0
    with open_clip("b.y4m") as clip:
        frames = list(clip.frames())
        assert (clip.width, clip.height, clip.rate, clip.pixel_format) == (48, 32, Fraction(30), "yuv420p")
    assert [own.time for own in frames] == list(range(5))
    assert [plane.shape for plane in frames[0].planes] == [(32, 48), (16, 24), (16, 24)]
    piped = run("decode", "a.mvc", "-o", "-", *TINY)
    assert piped.stdout_bytes == Path("b.y4m").read_bytes()
    assert run("decode", "a.mvc", "-o", "p%03d.png", *TINY).exit_code == 0
    assert sorted(path.name for path in folder.glob("p*.png"))[-1] == "p005.png"


def test_what_is_not_overwritten_and_what_is_no_target(folder: Path) -> None:
    run("encode-video", "a.y4m", *TINY)
    before = Path("a.mvc").read_bytes()
    fails(run("encode-video", "a.y4m", *TINY), 1, "a.mvc already exists")
    fails(run("encode-video", "a.y4m", "-o", "a.y4m", "-f", *TINY), 2, "a.y4m")
    fails(run("decode", "a.mvc", *TINY), 1, "a.mvc is a clip", "-o clip.y4m")
    assert Path("a.mvc").read_bytes() == before


def test_a_source_that_dies_leaves_its_frames(folder: Path) -> None:
    data = Path("a.y4m").read_bytes()
    Path("cut.y4m").write_bytes(data[:-1000])
    done = run("encode-video", "cut.y4m", *TINY)
    fails(done, 1, "cut.y4m")
    assert "4 frames" in done.stderr
    assert "ok, 48x32, 4 frames" in run("verify", "cut.mvc", *TINY).stdout
    fails(run("encode-video", "none.y4m", *TINY), 1, "none.y4m")
    assert not Path("none.mvc").exists()


def test_a_damaged_frame_is_named(folder: Path) -> None:
    run("encode-video", "a.y4m", *TINY)
    data = bytearray(Path("a.mvc").read_bytes())
    data[len(data) // 2] ^= 1
    Path("bad.mvc").write_bytes(data)
    fails(run("verify", "bad.mvc", *TINY), 1, "bad.mvc", "CODE")
