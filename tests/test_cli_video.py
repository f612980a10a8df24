"""Clips on the command line: a video in, an .mvc file, and a video back."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from command import fails, run
from tiny_model import tiny_weights

from mvc.cli.video import Speed
from mvc.clip_files import clip_head
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


def test_pixels_that_are_not_square_stay_so(folder: Path) -> None:
    write_clip("wide.y4m", replace(INFO, aspect=Fraction(64, 45)), map(frame, range(2)))
    done = run("encode-video", "wide.y4m", *TINY)
    assert done.exit_code == 0 and "square" not in done.stderr
    for name in ("b.y4m", "b.mkv"):
        assert run("decode", "wide.mvc", "-o", name, *TINY).exit_code == 0
        with open_clip(name) as clip:
            assert clip.aspect == Fraction(64, 45)


@pytest.mark.parametrize("aspect", ["1", "12/11", "100003/100000", "100000/100003", "65535", "1/65535"])
def test_the_file_holds_the_nearest_aspect(aspect: str) -> None:
    head = clip_head(replace(INFO, aspect=Fraction(aspect)))
    assert 0 < head.aspect_numerator < 1 << 16 and 0 < head.aspect_denominator < 1 << 16
    assert abs(head.aspect / Fraction(aspect) - 1) < 1e-4


@pytest.mark.parametrize("aspect", ["1/70000", "200000/3"])
def test_pixels_that_cannot_be_are_square(aspect: str) -> None:
    assert clip_head(replace(INFO, aspect=Fraction(aspect))).aspect == 1


def test_what_is_not_overwritten_and_what_is_no_target(folder: Path) -> None:
    run("encode-video", "a.y4m", *TINY)
    before = Path("a.mvc").read_bytes()
    fails(run("encode-video", "a.y4m", *TINY), 1, "a.mvc already exists")
    fails(run("encode-video", "a.y4m", "-o", "a.y4m", "-f", *TINY), 2, "a.y4m")
    fails(run("decode", "a.mvc", *TINY), 1, "a.mvc is a clip", "-o clip.y4m")
    for option in (("--scale", "1/2"), ("--region", "0,0,9,9"), ("--slices", "1"), ("--allow-partial",)):
        fails(run("decode", "a.mvc", "-o", "x.y4m", *option, *TINY), 2, "is a clip", option[0], "are for pictures")
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


# Parts, targets, damage, pipes, players


def test_parts_of_clips(folder: Path) -> None:
    run("encode-video", "a.y4m", "--gop", "2", *TINY)
    run("decode", "a.mvc", "-o", "all.y4m", *TINY)
    done = run("decode", "a.mvc", "--start", "frame 2", "--frames", "2", "-o", "b.y4m", *TINY)
    assert done.exit_code == 0 and "48x32, 2 frames" in done.stderr
    size = 32 * 48 * 3 // 2 + len(b"FRAME\n")
    assert Path("b.y4m").read_bytes()[-2 * size :] == Path("all.y4m").read_bytes()[-3 * size : -size]
    assert run("decode", "a.mvc", "-ss", "0.06", "--frames", "2", "-o", "c.y4m", *TINY).exit_code == 0
    assert Path("c.y4m").read_bytes() == Path("b.y4m").read_bytes()
    piped = run("decode", "-", "-ss", "frame 2", "--frames", "2", "-o", "-", *TINY, stdin=Path("a.mvc").read_bytes())
    assert piped.stdout_bytes == Path("b.y4m").read_bytes()
    done = run("encode-video", "a.y4m", "-ss", "frame 2", "--frames", "2", "-o", "part.mvc", *TINY)
    assert "48x32, 2 frames" in done.stderr
    fails(run("decode", "a.mvc", "--start", "soon", "-o", "d.y4m", *TINY), 2, "--start: 'soon' is no moment")
    fails(run("decode", "a.mvc", "--start", "2h", "-o", "d.y4m", *TINY), 1, "no frames there")
    fails(run("encode-video", "a.y4m", "-ss", "2h", "-o", "d.mvc", *TINY), 1, "ends before the part")
    assert not Path("d.y4m").exists() and not Path("d.mvc").exists()


def test_a_still_has_no_parts(folder: Path) -> None:
    write_clip("p%03d.png", INFO, [frame(0)])
    run("encode", "p001.png", *TINY)
    fails(run("decode", "p001.mvc", "--frames", "2", "-f", "-o", "x.png", *TINY), 2, "p001.mvc is a still picture")


def test_recovering(folder: Path) -> None:
    run("encode-video", "a.y4m", *TINY)
    data = bytearray(Path("a.mvc").read_bytes())
    data[len(data) // 2] ^= 1
    Path("bad.mvc").write_bytes(data)
    fails(run("decode", "bad.mvc", "-o", "b.y4m", *TINY), 1, "the unit is damaged")
    assert run("decode", "b.y4m", *TINY).exit_code == 1
    done = run("decode", "bad.mvc", "--recover", "-o", "c.y4m", *TINY)
    assert done.exit_code == 0 and "4 frames" in done.stderr
    assert "warning: bad.mvc: frames between 0.033 s and 0.100 s are lost: bytes" in done.stderr


def test_targets_and_jobs(folder: Path) -> None:
    fine = len(Path(encoded("fine.mvc", "-q", "8")).read_bytes())
    assert len(Path(encoded("size.mvc", "--size", f"{fine - 1000}B")).read_bytes()) <= fine - 1000
    assert Path(encoded("psnr.mvc", "--psnr", "10")).stat().st_size < fine
    rate = 8 * 0.8 * fine / (5 / 30)
    assert abs(Path(encoded("rate.mvc", "-b", f"{rate / 1000:.0f}k")).stat().st_size / (0.8 * fine) - 1) < 0.1
    assert Path(encoded("jobs.mvc", "-q", "8", "-j", "2")).read_bytes() == Path("fine.mvc").read_bytes()
    fails(run("encode-video", "a.y4m", "-q", "3", "--psnr", "30", *TINY), 2, "only one of quality, psnr")
    fails(run("encode-video", "a.y4m", "--bitrate", "fast", *TINY), 2, "--bitrate fast")
    fails(run("encode-video", "a.y4m", "--size", "10B", *TINY), 1, "more than 10")
    fails(run("encode-video", "-", "--size", "1MB", "-o", "x.mvc", *TINY, stdin=b"YUV4MPEG2"), 1, "only once")
    assert not Path("a.mvc").exists() and not Path("x.mvc").exists()


def encoded(name: str, *options: str) -> str:
    done = run("encode-video", "a.y4m", "-o", name, "--gop", "2", *options, *TINY)
    assert done.exit_code == 0, done.output
    return name


def test_through_pipes(folder: Path) -> None:
    run("encode-video", "a.y4m", *TINY)
    piped = run("encode-video", "-", *TINY, stdin=Path("a.y4m").read_bytes())
    assert piped.exit_code == 0 and piped.stdout_bytes == Path("a.mvc").read_bytes()
    assert "ok, 48x32, 5 frames" in run("verify", "-", *TINY, stdin=piped.stdout_bytes).stdout
    assert "5 frames, 0.167 s, 30 frames/s" in run("info", "-", stdin=piped.stdout_bytes).stdout


def test_playing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run("encode-video", "a.y4m", *TINY)
    run("decode", "a.mvc", "-o", "b.y4m", *TINY)
    monkeypatch.setenv("PATH", str(folder))
    fails(run("play", "a.mvc", *TINY), 1, "neither ffplay nor mpv", "mvc decode clip.mvc -o clip.mp4")
    player = folder / "ffplay"
    player.write_text(f"#!/bin/sh\n/bin/cat > {folder}/seen\necho $* > {folder}/told\n")
    player.chmod(0o755)
    assert run("play", "a.mvc", *TINY).exit_code == 0
    assert Path("seen").read_bytes() == Path("b.y4m").read_bytes() and Path("told").read_text().endswith("-i -\n")
    player.write_text("#!/bin/sh\nexit 0\n")  # closed at once
    assert run("play", "a.mvc", *TINY).exit_code == 0
    write_clip("p%03d.png", INFO, [frame(0)])
    run("encode", "p001.png", *TINY)
    fails(run("play", "p001.mvc", *TINY), 1, "p001.mvc is no clip")


def test_what_is_said_while_frames_are_coded(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("mvc.cli.video.time.perf_counter", lambda: now[0])
    speed = Speed(100)
    now[0] = 5.0  # loading
    assert speed.at(1) == "frame 1 of 100"
    now[0] = 6.0
    assert speed.at(11) == "frame 11 of 100, 10.0 frames/s, 0:09 left"
    assert Speed(None).at(7) == "frame 7" and Speed(500, 20).at(1) == "frame 1 of 20"
    assert speed.whole(60) == "6.00 s, 10.00 frames/s"


def test_groups_side_by_side(folder: Path) -> None:
    run("encode-video", "a.y4m", "--gop", "2", *TINY)
    for jobs in ("1", "3"):
        assert run("decode", "a.mvc", "-o", f"{jobs}.y4m", "-j", jobs, *TINY).exit_code == 0
    assert Path("1.y4m").read_bytes() == Path("3.y4m").read_bytes()
