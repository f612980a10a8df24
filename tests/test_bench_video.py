"""`mvc bench-video`: bytes that are counted, frames that are compared, BD-rates by part, the cache, the command."""

from __future__ import annotations

import io
import json
import os
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from clip_files import moving
from command import fails, run
from tiny_model import tiny_clip_weights, tiny_codec

pytest.importorskip("av")

from mvc.clip import ClipCodec
from mvc.clip_files import clip_head, timed
from mvc.codec import Codec
from mvc.container import read_file
from mvc.errors import BackendError, MvcError, SourceError
from mvc.evaluate import video_anchors, video_tables
from mvc.evaluate.video_anchors import without_delimiters, without_text
from mvc.evaluate.video_codecs import CodedClip, VideoCodec, mvc_codec, sizes_of
from mvc.evaluate.video_sweep import EQUAL_DB, Results, Row, bench_video, measure, read_shot
from mvc.frames import Clip, ClipInfo, Frame
from mvc.media.clips import write_clip
from mvc.models.weights import save
from mvc.quality import DEFAULT_EFFORT, quality_index

INFO = ClipInfo(64, 48, Fraction(1, 30), rate=Fraction(30))


def frame(number: int) -> Frame:
    rows, columns = np.mgrid[0:48, 0:64]
    luma = (128 + 60 * np.sin((rows * columns + 40 * number) / 90)).astype(np.uint8)
    return Frame((luma, luma[::2, ::2].copy(), np.full((24, 32), 160, np.uint8)), number, INFO.colour, 1)


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    write_clip(tmp_path / "a.y4m", INFO, map(frame, range(5)))
    return tmp_path / "a.y4m"


@pytest.mark.parametrize("name", video_anchors.ANCHORS)
def test_an_anchor_has_keyframes_where_they_belong_and_its_bytes_are_enough(name: str, clip: Path) -> None:
    if name not in video_anchors.available():
        pytest.skip(f"no {name}")
    own, shot = video_anchors.anchor(name), read_shot(clip, None)
    scheduled = os.sched_getscheduler(0) if hasattr(os, "sched_getscheduler") else None
    fine, coarse = (own.encode(shot.info, shot.frames, setting, 3) for setting in (own.settings[0], own.settings[-1]))
    if scheduled is not None:
        assert os.sched_getscheduler(0) == scheduled, "the encoder left this thread above all others"
    assert fine.keys == (True, False, False, True, False)
    assert sum(fine.sizes) > sum(coarse.sizes) and min(coarse.sizes) > 0
    shown = list(fine.frames)
    assert len(shown) == 5
    for one, other in zip(shot.frames, shown, strict=True):
        assert np.abs(one.planes[0].astype(int) - other.planes[0]).mean() < 3


@pytest.mark.parametrize("name", ["x264-bframes", "x265-bframes"])
def test_b_frames_of_an_anchor_come_back_in_the_order_shown(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Packets come in another order: the one frame that is noise is the largest where it is shown."""
    if name not in video_anchors.available():
        pytest.skip(f"no {name}")
    own, frames, noisy, packets = video_anchors.anchor(name), list(map(frame, range(14))), 9, {}
    assert name not in video_anchors.DEFAULT_ANCHORS and own.title.endswith("medium, B-frames")
    luma = np.random.default_rng(0).integers(0, 256, (48, 64), np.uint8)
    frames[noisy] = replace(frames[noisy], planes=(luma, *frames[noisy].planes[1:]))
    write_clip(tmp_path / "a.y4m", INFO, frames)
    decoded = video_anchors._decoded
    monkeypatch.setattr(video_anchors, "_decoded", lambda *given: packets.update(given[1]) or decoded(*given))
    measured = measure(own, read_shot(tmp_path / "a.y4m", None), own.settings[0], 6)
    assert list(packets) != sorted(packets), "no frame was coded after one behind it"
    assert measured.keys == [number % 6 == 0 for number in range(14)]
    assert measured.sizes == [len(packets[number]) for number in range(14)]
    assert max(range(14), key=measured.sizes.__getitem__) == noisy
    assert min(measured.psnr_y) > 30


def test_packets_that_are_not_one_for_each_frame_are_refused(clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shot, packed = read_shot(clip, None), video_anchors._packed
    monkeypatch.setattr(video_anchors, "_packed", lambda frame, number: packed(frame, number + (number > 2)))
    with pytest.raises(BackendError, match="not one for each"):
        video_anchors.anchor("x264-bframes").encode(shot.info, shot.frames, 30, 3)


def test_text_and_delimiters_are_cut_out_and_nothing_else() -> None:
    sei, parameters, picture = b"\0\0\1\6text", b"\0\0\0\1\x67abc", b"\0\0\1\x65\1\2\3"
    data = parameters + sei + picture
    assert without_text(data, (6,), lambda first: first & 31) == parameters + picture
    delimiter, sized, rest = b"\x12\0", b"\x0a\x02ab", b"\x30frame"
    assert without_delimiters(delimiter + sized + rest) == sized + rest
    assert without_delimiters(sized) == sized


def test_sizes_of_frames_add_up_to_the_file() -> None:
    coder, file = ClipCodec(tiny_codec()), io.BytesIO()
    source = Clip(**vars(INFO), source=iter(map(frame, range(3))))
    coder.encode(timed(source), file, clip_head(INFO), index=20, gop=2)
    sizes, keys = sizes_of(file.getvalue())
    assert sum(sizes) == len(file.getvalue()) and len(sizes) == 3 and keys[0]


def test_mvc_has_as_many_frames_between_two_others_as_are_asked_for(clip: Path) -> None:
    codec, shot = Codec(tiny_clip_weights()), read_shot(clip, None)
    for bframes, title in ((0, "no B-frames"), (1, "1 B-frame"), (3, "3 B-frames")):
        own = mvc_codec(codec, bframes=bframes)
        assert own.title.endswith(", effort 0, " + title) and own.version.endswith(", effort 0, " + title)
        coded, file = own.encode(shot.info, shot.frames, 4, 4), io.BytesIO()
        source = Clip(**vars(shot.info), source=iter(shot.frames))
        index = quality_index(4)
        ClipCodec(codec).encode(timed(source), file, clip_head(shot.info), index=index, gop=4, bframes=bframes)
        assert (coded.sizes, coded.keys) == sizes_of(file.getvalue())
        assert coded.keys == (True, False, False, False, True)
        assert [shown.time for shown in coded.frames] == list(range(5))
        roles = [unit.role for unit in read_file(file.getvalue())[1]]
        assert [role == "between" for role in roles] == {
            0: [False] * 5, 1: [False, True, False, True, False], 3: [False, True, True, True, False]
        }[bframes]  # fmt: skip
    assert mvc_codec(codec).title.endswith(", 3 B-frames")
    assert mvc_codec(codec, all_keys=True).title.endswith(", effort 0, keyframes alone")
    assert mvc_codec(tiny_codec()).title.endswith(", no B-frames"), "its model has none"
    with pytest.raises(ValueError, match="bframes must be 0 to 7"):
        mvc_codec(codec, bframes=8)


def row(codec: str, setting: float, scale: int, psnr: float) -> Row:
    flat = [psnr] * 4
    sizes = [100 * scale, 10 * scale, 100 * scale, 10 * scale]
    return Row(codec, setting, "k", 2, sizes, [True, False] * 2, flat, flat, [], 1.0, 1.0)


def test_bd_rates_of_the_parts() -> None:
    """Twice the bytes for frames between and the same for keyframes: +100 %, 0, and what follows for the whole."""
    ours = [row("mvc", n, 2**n, 30.0 + n) for n in range(3)]
    other = [replace(own, codec="mvc2", sizes=[own.sizes[0], 2 * own.sizes[1]] * 2) for own in ours]
    about = {"name": "k", "width": 1, "height": 1, "frames": 4, "rate": 25.0}
    results = Results({"mvc2": {}, "mvc": {}}, {"k": about}, [*other, *ours])
    assert results.mean_bd("mvc2", "mvc", "psnr_y", "key") == pytest.approx(0)
    assert results.mean_bd("mvc2", "mvc", "psnr_rgb", "inter") == pytest.approx(100)
    assert results.mean_bd("mvc2", "mvc", "psnr_y") == pytest.approx(100 * (120 / 110 - 1))
    assert results.mean_bd("mvc2", "mvc", "ms_ssim") is None
    table = video_tables.bd_tables(results)
    assert "| mean | +9.1 | +9.1 | - | +0.0 | +0.0 | +100.0 | +100.0 |" in table
    assert "| k | mvc | 1 | 440 | 0.91 | 22.0 | 31.00 | 31.00 | - | 4.0 | 4.0 |" in video_tables.points_table(results)


def test_a_codec_that_returns_something_else_is_refused(clip: Path) -> None:
    shot = read_shot(clip, 2)

    def of(frames: list[Frame], keys: tuple[bool, ...]) -> VideoCodec:
        return VideoCodec("x", "x", "1", (1,), lambda *_: CodedClip((1, 1), keys, 1, iter(frames)))

    same = measure(of(list(shot.frames), (True, False)), shot, 1, 2)
    assert same.psnr_y == same.psnr_rgb == [EQUAL_DB] * 2 and same.ms_ssim == []
    with pytest.raises(BackendError, match="1 of 2 frames"):
        measure(of([shot.frames[0]], (True, False)), shot, 1, 2)
    with pytest.raises(BackendError, match="keyframes"):
        measure(of(list(shot.frames), (True, False)), shot, 1, 1)


def test_anchors_come_from_the_cache_and_mvc_does_not(clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    known = VideoCodec("x264", "x", "1", (1, 2), lambda info, frames, setting, gop: calls.append(setting) or CodedClip(
        (9, int(setting)), (True, False), 1, iter(frames)))  # fmt: skip
    monkeypatch.setattr("mvc.evaluate.video_sweep.anchor", lambda name: known)
    cache, codec = clip.parent / "cache.json", tiny_codec()
    arguments = {"anchors": ("x264", "keyframes"), "settings": {"mvc": [1, 8]}, "frames": 2, "gop": 2, "cache": cache}
    first = bench_video([clip], codec=codec, **arguments)
    assert calls == [1, 2]
    assert [(own.codec, own.setting) for own in first.rows] == [
        ("mvc", 1), ("mvc", 8), ("x264", 1), ("x264", 2), ("keyframes", 1), ("keyframes", 8)
    ]  # fmt: skip
    again = bench_video([clip], codec=codec, **arguments)
    assert calls == [1, 2] and again.of("x264", *again.clips) == first.of("x264", *first.clips)
    assert "mvc" not in {key.split("|")[1] for key in json.loads(cache.read_text())["anchors"]}
    bench_video([clip], codec=codec, **{**arguments, "gop": 4})
    assert calls == [1, 2, 1, 2]
    cache.write_text("{}")
    with pytest.raises(SourceError, match="no results"):
        bench_video([clip], codec=codec, **arguments)


def test_what_cannot_be_compared(clip: Path) -> None:
    with pytest.raises(MvcError, match="no video codec 'vvc'"):
        bench_video([clip], codec=None, anchors=["vvc"])
    with pytest.raises(MvcError, match="same clip"):
        bench_video([clip, clip], codec=None, anchors=[])
    odd = replace(INFO, width=63)
    write_clip(clip.parent / "odd.y4m", odd, moving(odd, [0]))
    with pytest.raises(SourceError, match="odd size"):
        bench_video([clip.parent / "odd.y4m"], codec=None, anchors=[])


def test_the_command(clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(clip.parent)
    save(Path("tiny"), tiny_clip_weights())
    arguments = ("bench-video", "a.y4m", "--model", "tiny", "--threads", "1", "--anchors", "x264")
    arguments += ("--qualities", "2,7", "--frames", "3", "--gop", "2")
    done = run(*arguments, "--json", "r.json", "--plot", "r.svg", "-o", "r.md")
    assert done.exit_code == 0, done.output
    assert "BD-rate of mvc against x264, %" in done.stdout and done.stdout == Path("r.md").read_text()
    found = json.loads(Path("r.json").read_text())
    assert found["codecs"]["mvc"]["title"] == f"mvc, tiny, effort {DEFAULT_EFFORT}, 3 B-frames"
    assert set(found["mean_bd"]) == {"mvc vs x264", "x264 vs mvc"} and len(found["rows"]) == 2 + 9
    assert Path("r.anchors.json").exists() and "kbit/s" in Path("r.svg").read_text()
    done = run(*arguments, "--json", "none.json", "--cache", "r.anchors.json", "-bf", "0")
    assert done.exit_code == 0, done.output
    without = json.loads(Path("none.json").read_text())
    assert without["codecs"]["mvc"]["title"] == f"mvc, tiny, effort {DEFAULT_EFFORT}, no B-frames"
    assert without["rows"][2:] == found["rows"][2:], "an anchor does not depend on mvc's B-frames"
    fails(run(*arguments, "--bframes", "8"), 2, "--bframes")
    fails(run(*arguments, "--json", "r.json"), 1, "r.json already exists")
    fails(run(*arguments, "--json", "a.y4m", "-f"), 2, "a.y4m")
    fails(run("bench-video", "a.y4m", "--qualities", "9"), 2, "--qualities 9")
    fails(run("bench-video", "a.y4m", "--anchors", "h266", "--model", "tiny"), 1, "h266")
