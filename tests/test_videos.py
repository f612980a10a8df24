"""`encode_video`, `mvc.open` and `decode_video`: groups side by side, targets, parts, what a clip file says, damage."""

from __future__ import annotations

import io
import subprocess
import sys
import threading
import warnings
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from functools import cache
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest
from test_container import Pipe
from tiny_model import tiny_codec, tiny_video_weights

import mvc
from mvc.clip import ClipCodec
from mvc.codec import Codec
from mvc.container import read_file, write_file
from mvc.errors import FormatError, MvcError, NotMvc, SourceError, Unsupported
from mvc.frames import Clip, ClipInfo, Frame
from mvc.media.clips import open_clip, write_clip
from mvc.media.counting import frames_stated
from mvc.metrics import psnr
from mvc.video.decode import decode_as
from mvc.video.encode import Wanted, encode_as
from mvc.video.encoder import Encoder
from mvc.video.groups import LAG, Settings
from mvc.video.moments import BEGINNING, Moment, Part, moment, threads_of
from mvc.video.rate import Feedback, Search, look
from mvc.video.reader import ClipFile

INFO = ClipInfo(48, 32, Fraction(1, 30), rate=Fraction(30))
COUNT = 14


def frame(number: int) -> Frame:
    rows, columns = np.mgrid[0:32, 0:48]
    luma = (128 + 60 * np.sin((rows + columns + 5 * number) / 9)).astype(np.uint8)
    return Frame((luma, np.full((16, 24), 90, np.uint8), np.full((16, 24), 160, np.uint8)), number, INFO.colour, 1)


@cache
def video() -> Codec:
    """A tiny model that codes inter frames."""
    return Codec(tiny_video_weights("convvc-ssf"))


def load(_: object = None) -> Codec:
    return video()


@pytest.fixture
def source(tmp_path: Path) -> Path:
    write_clip(tmp_path / "a.y4m", INFO, map(frame, range(COUNT)))
    return tmp_path / "a.y4m"


def coded(source: Path, **wanted: object) -> bytes:
    file = io.BytesIO()
    encode_as(source, file, Wanted(gop=4, **wanted), load)  # type: ignore[arg-type]
    return file.getvalue()


# Encoding


def test_the_file_does_not_depend_on_the_jobs(source: Path) -> None:
    one = coded(source)
    assert [unit.role for unit in read_file(one)[1]] == (["picture"] + ["inter"] * 3) * 3 + ["picture", "inter"]
    for jobs in (2, 3, 9):
        assert coded(source, jobs=jobs) == one


@pytest.mark.parametrize("jobs", [2, 3])
def test_nor_does_it_where_the_quality_follows_the_bytes(tmp_path: Path, jobs: int) -> None:
    rng = np.random.default_rng(0)
    noisy = [
        replace(frame(n), planes=(rng.integers(0, 256, (32, 48), np.uint8), *frame(n).planes[1:])) for n in range(14)
    ]
    write_clip(tmp_path / "b.y4m", INFO, [frame(0) if n < 7 else own for n, own in enumerate(noisy)])
    low, high = (len(encoded(tmp_path / "b.y4m", Wanted(quality=q, gop=1))) for q in (1, 8))
    bits = 4 * (low + high) / (COUNT / 30)
    rated = encoded(tmp_path / "b.y4m", Wanted(bitrate=bits, gop=1))
    assert len({unit.quality_index for unit in read_file(rated)[1]}) > 1
    assert encoded(tmp_path / "b.y4m", Wanted(bitrate=bits, gop=1, jobs=jobs)) == rated


class Watched:
    """Frames of which it is known how many are about."""

    def __init__(self, count: int, fails: bool = False) -> None:
        self.read, self.count, self.fails = 0, count, fails

    def frames(self) -> Iterator[Frame]:
        for number in range(self.count):
            self.read += 1
            yield frame(number)
        if self.fails:
            raise SourceError("the source has died")


@pytest.mark.parametrize("jobs", [1, 2])
def test_frames_are_not_read_long_before_they_are_written(jobs: int) -> None:
    source, file = Watched(40), io.BytesIO()
    settings = Settings(lambda group: 20, gop=4, jobs=jobs)
    encoder = Encoder(ClipCodec(video()), Clip(**vars(INFO), source=source.frames()), file, settings)
    for written, _ in enumerate(encoder.steps(), 1):
        assert source.read <= written + (1 if jobs == 1 else 4 * (jobs + 2) + 1)
    assert encoder.count == 40


@pytest.mark.parametrize("jobs", [1, 3])
def test_a_source_that_dies_and_a_run_that_is_left_end_the_file(jobs: int) -> None:
    clip = Clip(**vars(INFO), source=Watched(10, fails=True).frames())
    file = io.BytesIO()
    steps = Encoder(ClipCodec(video()), clip, file, Settings(lambda group: 20, gop=4, jobs=jobs)).steps()
    with pytest.raises(SourceError, match="died"):
        list(steps)
    assert len(read_file(file.getvalue())[1]) == 10
    file = io.BytesIO()
    clip = Clip(**vars(INFO), source=Watched(30).frames())
    steps = Encoder(ClipCodec(video()), clip, file, Settings(lambda group: 20, gop=4, jobs=jobs)).steps()
    for _ in range(6):
        next(steps)
    with pytest.raises(KeyboardInterrupt):
        steps.throw(KeyboardInterrupt)
    assert len(read_file(file.getvalue())[1]) == 6


def test_ctrl_c_keeps_what_there_is(source: Path, tmp_path: Path) -> None:
    def stop(count: int) -> None:
        if count == 5:
            raise KeyboardInterrupt

    done = encode_as(source, tmp_path / "a.mvc", Wanted(gop=4), load, on_frame=stop)
    assert isinstance(done.failure, KeyboardInterrupt) and done.frames == 5
    assert len(read_file((tmp_path / "a.mvc").read_bytes())[1]) == 5
    assert done.size_bytes == (tmp_path / "a.mvc").stat().st_size


def test_scene_cuts_make_keyframes(tmp_path: Path) -> None:
    dark = [replace(frame(n), planes=(np.full((32, 48), 20, np.uint8), *frame(n).planes[1:])) for n in range(3)]
    light = [replace(frame(n), planes=(np.full((32, 48), 200, np.uint8), *frame(n).planes[1:])) for n in range(3, 6)]
    write_clip(tmp_path / "cut.y4m", INFO, [*dark, *light])
    roles = [unit.role for unit in read_file(coded(tmp_path / "cut.y4m"))[1]]
    assert roles == ["picture", "inter", "inter"] * 2
    roles = [unit.role for unit in read_file(coded(tmp_path / "cut.y4m", scene_cut=False))[1]]
    assert roles == ["picture", "inter", "inter", "inter", "picture", "inter"]


def test_a_part_of_a_source(source: Path) -> None:
    data = coded(source, start=moment("frame 3"), frames=5)
    _, units = read_file(data)
    assert [unit.index for unit in units] == list(range(5))
    assert coded(source, start=moment("0.1s"), frames=5) == data
    with pytest.raises(SourceError, match="ends before"):
        coded(source, start=moment("9s"))


# Targets


@cache
def stills() -> Codec:
    return tiny_codec()


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_size_is_kept_and_nearly_used(source: Path, jobs: int) -> None:
    low, high = (len(encoded(source, Wanted(quality=q, gop=4))) for q in (1, 8))
    for size in (low + (high - low) // 3, low + 2 * (high - low) // 3):
        data = encoded(source, Wanted(size=size, gop=4, jobs=jobs))
        assert 0.85 * size < len(data) <= size
    with pytest.raises(MvcError, match=f"more than {low // 2}"):
        encoded(source, Wanted(size=low // 2, gop=4))


def encoded(source: Path, wanted: Wanted) -> bytes:
    file = io.BytesIO()
    encode_as(source, file, wanted, stills)
    return file.getvalue()


def test_a_bitrate_is_met(source: Path) -> None:
    low, high = (len(encoded(source, Wanted(quality=q, gop=4))) for q in (1, 8))
    bits = 8 * (low + high) / 2 / (COUNT / 30)
    data = encoded(source, Wanted(bitrate=bits, gop=4))
    assert 0.85 < 8 * len(data) / (COUNT / 30) / bits < 1.15


def test_a_psnr_is_reached_with_the_least(source: Path) -> None:
    def quality(data: bytes) -> float:
        with open_clip(source) as clip:
            shown = ClipFile(data, lambda _: stills()).frames()
            return float(np.mean([psnr(a.planes[0], b.planes[0]) for a, b in zip(clip.frames(), shown, strict=True)]))

    low, high = (quality(encoded(source, Wanted(quality=q, gop=4))) for q in (1, 8))
    wanted = (low + high) / 2
    data = encoded(source, Wanted(psnr=wanted, gop=4))
    assert wanted <= quality(data) < wanted + 0.7
    with patch.object(Search, "for_psnr", lambda self, wanted: 0):  # whatever a sample says, the whole clip counts
        assert encoded(source, Wanted(psnr=wanted, gop=4, jobs=2)) == data
    with pytest.raises(MvcError, match=r"reaches .* dB at the finest"):
        encoded(source, Wanted(psnr=99, gop=4))


def test_a_source_for_a_target_is_read_again(source: Path) -> None:
    data = source.read_bytes()
    with pytest.raises(SourceError, match="only once"):
        encode_as(io.BytesIO(data), io.BytesIO(), Wanted(size=3000), load)
    file = io.BytesIO()
    encode_as(data, file, Wanted(bitrate=20_000, gop=4), load)
    assert file.getvalue() == coded(source, bitrate=20_000)


def test_feedback_makes_up_for_what_was_spent() -> None:
    """Frames take twice what was expected: the index falls until the sum is right, whatever the lag."""
    control = Feedback(30, 1000.0, 1000.0 * 400, 400, 0.05)
    spent, pending = 0.0, []
    for group in range(40):
        pending.append((group, 10, int(10 * 2000 * np.exp(0.05 * (control.index(group) - 30)))))
        spent += pending[-1][2]
        if len(pending) > LAG:
            control.told(*pending.pop(0))
    assert 0.97 < spent / control.total < 1.03
    assert min(control.chosen) < 20 and max(np.abs(np.diff(control.chosen))) <= 3


def test_the_sample_lies_evenly_and_stays_small() -> None:
    clip = Clip(**vars(INFO), source=Watched(120).frames())
    sample = look(clip, 4, False)
    assert sample.frames == 120 and sample.seconds == 4
    firsts = [group[0].time for group in sample.groups]
    assert len(firsts) in (3, 4) and len(set(np.diff(firsts))) == 1 and firsts[-1] > 60
    assert all(len(group) == 4 for group in sample.groups)
    search = Search(ClipCodec(stills()), clip, sample)
    assert search.rate(40) > search.rate(10) and search.psnr(40) > search.psnr(10)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"quality": 9}, "quality must be 1 to 8"),
        ({"quality": 4, "psnr": 30}, "only one of quality, psnr"),
        ({"bitrate": -1}, "bitrate must be"),
        ({"psnr": float("nan")}, "psnr must be"),
        ({"size": 0}, "size must be at least 1"),
        ({"gop": 0}, "gop must be at least 1"),
        ({"jobs": 65}, "jobs must be 1 to 64"),
        ({"frames": 0}, "frames must be at least 1"),
        ({"effort": 4}, "effort must be"),
        ({"start": "soon"}, "no moment"),
        ({"start": -1}, "before its beginning"),
        ({"device": "tpu"}, "device must be"),
    ],
)
def test_wrong_arguments(wrong: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        mvc.encode_video("none.y4m", "none.mvc", **wrong)  # type: ignore[arg-type]


# Clip files


@cache
def example() -> tuple[bytes, list[Frame]]:
    """A file of 14 frames in GOPs of four, and its frames."""
    file = io.BytesIO()
    clip = Clip(**vars(INFO), source=iter([replace(frame(n), time=2 * n) for n in range(COUNT)]))
    steps = Encoder(ClipCodec(video()), clip, file, Settings(lambda group: 20, gop=4, scene_cuts=False)).steps()
    for _ in steps:
        pass
    data = file.getvalue()
    return data, list(ClipFile(data, load).frames())


def same(found: list[Frame], expected: list[Frame]) -> bool:
    return len(found) == len(expected) and all(
        a.time == b.time and all(map(np.array_equal, a.planes, b.planes)) for a, b in zip(found, expected, strict=True)
    )


def test_what_a_clip_file_says(tmp_path: Path) -> None:
    data, frames = example()
    (tmp_path / "a.mvc").write_bytes(data)
    for stored in (data, str(tmp_path / "a.mvc"), io.BytesIO(data)):
        clip = ClipFile(stored, load)
        assert (clip.width, clip.height, clip.quality_index, len(clip)) == (48, 32, 0, COUNT)
        assert clip.times == tuple(range(0, 2 * COUNT, 2)) and clip.keyframes == (0, 4, 8, 12)
        assert clip.fps == 15 and clip.seconds == Fraction(COUNT, 15) and clip.info.pixel_format == "yuv420p"
        assert same(list(clip.frames()), frames) and same(list(clip), frames)


def test_frames_come_one_by_one_and_from_anywhere() -> None:
    data, frames = example()
    clip = ClipFile(data, load)
    few = clip.frames()
    assert next(few).time == 0
    for start, first in (("frame 6", 6), (6, 90), ("0.4s", 6), ("0:00.41", 7), (Fraction(1, 2), 8), (Moment(), 0)):
        assert same(list(clip.frames(start)), frames[first:]), start
        assert same(list(clip.frames(start, 2)), frames[first : first + 2]), start
    assert list(clip.frames("frame 14")) == [] == list(clip.frames(0, 0))
    with ClipFile(data, load) as own:
        assert own.kind == "clip" and own.size == (48, 32) and own.mode == "RGB" and not own.metadata
        assert own.facts["frames"] == COUNT
    with pytest.raises(ValueError, match="closed"):
        next(own.frames())
    piped = ClipFile(Pipe(data), load)  # type: ignore[arg-type]
    assert same(list(piped.frames("frame 6", 3)), frames[6:9])
    for ask in (lambda: len(piped), lambda: piped.facts):
        with pytest.raises(SourceError, match="pipe"):
            ask()


def test_groups_are_decoded_side_by_side() -> None:
    data, frames = example()
    for jobs in (2, 5):
        for stored in (data, Pipe(data)):
            assert same(list(ClipFile(stored, load).frames(jobs=jobs)), frames)  # type: ignore[arg-type]
            assert same(list(ClipFile(data, load).frames("frame 6", 3, jobs=jobs)), frames[6:9])
        assert same(list(ClipFile(Pipe(data), load).frames(0.4, jobs=jobs)), frames[6:])  # type: ignore[arg-type]
    few = ClipFile(data, load).frames(jobs=2)
    assert next(few).time == 0
    del few  # which stops the others
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("mvc-gop")]


@pytest.mark.parametrize("inside", [False, True], ids=["a wrong checksum", "a wrong stream"])
def test_damage_is_told_in_the_same_words_and_after_the_same_frames(inside: bool) -> None:
    data = example()[0]
    head, units = read_file(data)
    if inside:
        units[5] = replace(units[5], streams=(b"\1",))
        broken = write_file(head, units)
    else:
        place = data.index(units[5].streams[0]) + 1
        broken = data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]
    found = []
    for jobs in (1, 2):
        seen = []
        with pytest.raises(FormatError) as caught:
            for own in ClipFile(broken, load).frames(jobs=jobs):
                seen.append(own.time)
        found.append((seen, str(caught.value)))
    assert found[0] == found[1] and len(found[0][0]) == 5


def test_what_is_left_of_a_damaged_clip() -> None:
    data, frames = example()
    third = read_file(data)[1][5].streams[0]
    place = data.index(third) + 1
    broken = data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]
    clip, lost = ClipFile(broken, load), []
    with pytest.raises(FormatError):
        list(clip.frames())
    assert same(list(clip.frames(lost=lost.append)), [*frames[:5], *frames[8:]])
    assert [(loss.after, loss.before) for loss in lost] == [(8, 16)]
    assert same(list(clip.frames("frame 7", lost=lambda loss: None)), frames[10:])  # of those that are left


def test_what_is_no_clip() -> None:
    still = stills().encode(mvc.Picture(np.zeros((8, 8, 3), np.uint8)), 3, 0)
    with pytest.raises(Unsupported, match="still picture"):
        ClipFile(still, load)
    assert mvc.open(still).kind == "still"
    with pytest.raises(NotMvc):
        mvc.open(b"GIF89a" + bytes(100))
    with pytest.raises(TypeError, match="not int"):
        mvc.open(3)  # type: ignore[arg-type]
    with pytest.raises(SourceError, match="no such file"):
        mvc.open("none.mvc")


def test_nothing_heavy_is_loaded_for_what_a_clip_says(tmp_path: Path) -> None:
    (tmp_path / "a.mvc").write_bytes(example()[0])
    program = "import sys, mvc; c = mvc.open(sys.argv[1]); print(len(c), c.fps, c.info.width, 'torch' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", program, tmp_path / "a.mvc"], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["14", "15", "48", "False"]


# Decoding into files


def test_a_part_is_decoded_into_a_file_of_its_own(tmp_path: Path) -> None:
    data, frames = example()
    for source in (data, Pipe(data)):
        done = decode_as(source, tmp_path / "b.y4m", load, Part(moment("frame 5"), 4), force=True)
        assert (done.frames, done.lost) == (4, ())
        with open_clip(tmp_path / "b.y4m") as clip:
            found = list(clip.frames())
        assert [own.time for own in found] == [0, 1, 2, 3] and clip.rate == 15
        assert all(np.array_equal(a.planes[0], b.planes[0]) for a, b in zip(found, frames[5:9], strict=True))
    with pytest.raises(SourceError, match="no frames there"):
        decode_as(data, tmp_path / "c.y4m", load, Part(moment("1h")))
    assert not (tmp_path / "c.y4m").exists()


def test_recovering_says_what_is_lost(tmp_path: Path) -> None:
    data, _ = example()
    place = data.index(read_file(data)[1][9].streams[0]) + 1
    broken = data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]
    with pytest.raises(FormatError):
        decode_as(broken, tmp_path / "b.y4m", load, Part())
    assert frames_stated(str(tmp_path / "b.y4m")) == 9  # what came before is kept
    done = decode_as(broken, tmp_path / "c.y4m", load, Part(recover=True))
    assert done.frames == 11 and len(done.lost) == 1
    assert "between 0.533 s and 0.800 s are lost: bytes" in done.lost[0]


def test_the_python_functions(tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mvc.codec.load", lambda *_: stills())
    done = mvc.encode_video(source, tmp_path / "a.mvc", quality=8, gop=4)
    assert (done.width, done.height, done.frames, done.losses) == (48, 32, COUNT, ())
    with mvc_open_twice(tmp_path / "a.mvc") as (one, two):
        assert next(one).time == next(two).time == 0
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert mvc.decode_video(tmp_path / "a.mvc", tmp_path / "b.y4m").frames == COUNT
    with pytest.raises(MvcError, match="exists"):
        mvc.encode_video(source, tmp_path / "a.mvc")
    with pytest.warns(mvc.LossWarning, match="no times"):
        mvc.decode_video(tmp_path / "a.mvc", tmp_path / "p%03d.png", frames=2)


class mvc_open_twice:
    """Two readers of one file, side by side."""

    def __init__(self, path: Path) -> None:
        self.clip = mvc.open(path)

    def __enter__(self) -> tuple[Iterator[Frame], Iterator[Frame]]:
        return self.clip.frames(), self.clip.frames()

    def __exit__(self, *_: object) -> None:
        pass


@pytest.mark.parametrize("wrong", [{"jobs": 0}, {"frames": 0}, {"start": "soon"}, {"threads": 0}])
def test_wrong_arguments_of_decoding(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError):
        mvc.decode_video("none.mvc", "none.y4m", **wrong)  # type: ignore[arg-type]


def test_jobs_share_the_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mvc.video.moments.cores", lambda: 8)
    assert [threads_of(None, jobs) for jobs in (1, 2, 3, 20)] == [None, 4, 2, 1] and threads_of(5, 2) == 5


# Moments, counts


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("5s", Moment(Fraction(5))),
        ("5", Moment(Fraction(5))),
        ("0.25", Moment(Fraction(1, 4))),
        ("250ms", Moment(Fraction(1, 4))),
        ("1:02.5", Moment(Fraction(125, 2))),
        ("01:00:02", Moment(Fraction(3602))),
        ("90:00", Moment(Fraction(5400))),
        ("2 min", Moment(Fraction(120))),
        ("frame 120", Moment(frame=120)),
        ("120f", Moment(frame=120)),
        (2.5, Moment(Fraction(5, 2))),
        (0.4, Moment(Fraction(2, 5))),
        (BEGINNING, BEGINNING),
    ],
)
def test_moments(text: str, expected: Moment) -> None:
    assert moment(text) == expected


@pytest.mark.parametrize("text", ["", "-5s", "5x", "1:2:3:4", "1:75", "frame", "1e9", "nan", "9" * 30, float("inf")])
def test_what_is_no_moment(text: str) -> None:
    with pytest.raises(ValueError):
        moment(text)


def test_frames_that_files_state(tmp_path: Path, source: Path) -> None:
    assert frames_stated(str(source)) == COUNT
    write_clip(tmp_path / "p%03d.png", INFO, map(frame, range(3)))
    assert frames_stated(str(tmp_path / "p%03d.png")) == 3
    pytest.importorskip("av")
    for name in ("a.mp4", "a.mkv"):
        write_clip(tmp_path / name, INFO, map(frame, range(COUNT)))
        assert frames_stated(str(tmp_path / name)) == COUNT
    (tmp_path / "x").write_bytes(b"nothing")
    assert frames_stated(str(tmp_path / "x")) is None is frames_stated(str(tmp_path / "none"))
