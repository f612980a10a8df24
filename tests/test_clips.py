"""Clips in and out: y4m, pictures, animations, pipes, sources that die, memory, bad input."""

from __future__ import annotations

import gc
import io
import os
import subprocess
import sys
import threading
import weakref
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from clip_files import Pipe, coded, lossless, moving, packed, planes_of, same, sample_clip, y4m
from PIL import Image

from mvc.colour import RGB, Colour
from mvc.errors import Limit, MvcError, SourceError
from mvc.frames import ClipInfo, Frame, PixelFormat, plane_shapes
from mvc.media.clips import open_clip, write_clip
from mvc.media.video import VideoReader

RNG = np.random.default_rng(11)
FORMATS: tuple[PixelFormat, ...] = ("gray", "yuv420p", "yuv422p", "yuv444p")


# y4m ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pixel_format", FORMATS)
@pytest.mark.parametrize("size", [(1, 1), (2, 2), (7, 5), (16, 1), (1, 9)])
def test_y4m_comes_back_bit_for_bit(pixel_format: PixelFormat, size: tuple[int, int]) -> None:
    info = ClipInfo(
        *size, Fraction(1001, 30000), Colour(siting=1), pixel_format, Fraction(30000, 1001), Fraction(12, 11)
    )
    frames = moving(info, [0, 1, 2])
    file = io.BytesIO()
    assert write_clip(file, info, iter(frames)) == ()
    with open_clip(file.getvalue()) as clip:
        found = list(clip.frames())
    assert (clip.width, clip.height, clip.pixel_format) == (*size, pixel_format)
    assert (clip.time_base, clip.rate, clip.aspect) == (info.time_base, info.rate, info.aspect)
    assert clip.colour.siting == (1 if pixel_format == "yuv420p" else None)
    assert [frame.time for frame in found] == [0, 1, 2]
    assert all(map(same, found, frames)) and clip.losses == ()
    again = io.BytesIO()
    write_clip(again, clip, iter(found))
    assert again.getvalue() == file.getvalue()


@pytest.mark.parametrize("siting", [0, 1, 2])
@pytest.mark.parametrize("full_range", [False, True])
def test_y4m_keeps_range_and_siting(siting: int, full_range: bool) -> None:
    info = ClipInfo(4, 4, Fraction(1, 25), Colour(full_range=full_range, siting=siting), rate=Fraction(25))
    file = io.BytesIO()
    write_clip(file, info, moving(info, [0]))
    assert open_clip(file.getvalue()).colour == info.colour


def test_y4m_reads_what_ffmpeg_writes_and_the_other_way_round() -> None:
    info = ClipInfo(10, 6, Fraction(1, 25), Colour(full_range=True, siting=0), "yuv420p", Fraction(25))
    frames = moving(info, [0, 1, 2])
    ours = io.BytesIO()
    write_clip(ours, info, frames)
    with av.open(io.BytesIO(ours.getvalue()), format="yuv4mpegpipe") as container:
        decoded = list(container.decode(video=0))
        assert container.streams.video[0].average_rate == 25
    assert all(np.array_equal(d.to_ndarray()[:6, :10], f.planes[0]) for d, f in zip(decoded, frames, strict=True))
    assert decoded[0].color_range == 2
    theirs = coded([packed(frame.planes, "yuv420p") for frame in frames], "wrapped_avframe", "yuv4mpegpipe")
    assert all(map(same, open_clip(theirs).frames(), frames))


@pytest.mark.parametrize(("layout", "shift"), [("420p10", 2), ("422p10", 2), ("444p12", 4), ("mono10", 2)])
def test_deep_y4m_is_rounded_to_eight_bits_and_told(layout: str, shift: int) -> None:
    shapes = plane_shapes(6, 4, {"420": "yuv420p", "422": "yuv422p", "444": "yuv444p", "mon": "gray"}[layout[:3]])
    deep = [RNG.integers(0, 256 << shift, shape).astype("<u2") for shape in shapes]
    clip = open_clip(y4m(f"W6 H4 F25:1 C{layout}", b"".join(plane.tobytes() for plane in deep)))
    (frame,) = clip.frames()
    assert clip.losses == (f"{8 + shift}-bit samples are rounded to 8 bits",)
    for plane, samples in zip(frame.planes, deep, strict=True):
        assert np.array_equal(plane, np.clip(np.floor(samples / (1 << shift) + 0.5), 0, 255))


def test_y4m_of_rare_layouts_gets_larger_chroma() -> None:
    luma, chroma = bytes(range(16)), bytes([7] * 4)
    clip = open_clip(y4m("W8 H2 F25:1 C411 It", luma + chroma + chroma))
    (frame,) = clip.frames()
    assert clip.pixel_format == "yuv422p" and frame.planes[0].tobytes() == luma
    assert [plane.shape for plane in frame.planes] == [(2, 8), (2, 4), (2, 4)] and (frame.planes[1] == 7).all()
    assert clip.losses == ("interlaced: both fields of a frame are taken as one picture",)
    with_alpha = open_clip(y4m("W2 H1 C444alpha", bytes(range(8)), bytes(range(8))))
    assert [frame.planes[2].tolist() for frame in with_alpha.frames()] == [[[4, 5]]] * 2
    assert with_alpha.losses == (
        "no frame rate is named: 25 frames per second are assumed",
        "alpha is dropped",
    )


@pytest.mark.parametrize(
    ("data", "error", "words"),
    [
        (b"", SourceError, "is empty"),
        (b"YUV4MPEG2 W4 H4 F25:1\n", SourceError, "has no frames"),
        (b"YUV4MPEG2 W4 H4 F25:1", SourceError, "does not end"),
        (b"YUV4MPEG2 W4 F25:1\nFRAME\n", SourceError, "no pixels"),
        (b"YUV4MPEG2 W9000 H4\nFRAME\n", Limit, "9000x4"),
        (b"YUV4MPEG2 W4 H4 C999\nFRAME\n", SourceError, "999"),
        (b"YUV4MPEG2 W4 H4\nFRAME\n123", SourceError, "frame 0 is cut off"),
        (b"YUV4MPEG2 W1 H1 Cmono\nFRAMES\n1", SourceError, "no frame begins"),
    ],
)
def test_broken_y4m_is_one_clear_error(data: bytes, error: type[MvcError], words: str) -> None:
    with pytest.raises(error, match=words):
        open_clip(data)


# Pictures -------------------------------------------------------------------------------------------------------


def test_numbered_pictures_come_back(tmp_path: Path) -> None:
    info = ClipInfo(7, 5, Fraction(1, 10), RGB, "gbrp", Fraction(10))
    frames = [Frame(planes_of(7, 5, "gbrp", seed), seed, RGB) for seed in range(12)]
    pattern = tmp_path / "frames" / "f%03d.png"
    assert write_clip(pattern, info, frames) == ("pictures keep no times: there were 10 frames per second",)
    assert sorted(os.listdir(tmp_path / "frames"))[0] == "f001.png"
    for source in (pattern, tmp_path / "frames"):
        clip = open_clip(source, rate=Fraction(10))
        assert all(map(same, clip.frames(), frames)) and clip.losses == ()
        assert (clip.time_base, clip.pixel_format, clip.colour) == (Fraction(1, 10), "gbrp", RGB)
    assert open_clip(pattern).losses == ("pictures name no frame rate: 25 frames per second are assumed",)
    os.remove(tmp_path / "frames" / "f005.png")
    assert "1 of the numbers between 1 and 12 are missing" in open_clip(pattern).losses
    with pytest.raises(MvcError, match="already exists"):
        write_clip(pattern, info, frames)


def test_pictures_of_a_folder_are_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    for number in (10, 9, 1):
        Image.new("L", (2, 2), number).save(tmp_path / f"p{number}.png")
    assert [frame.planes[0][0, 0] for frame in open_clip(tmp_path).frames()] == [1, 9, 10]
    Image.new("L", (3, 2)).save(tmp_path / "p11.png")
    frames = open_clip(tmp_path).frames()
    assert [next(frames).time for _ in range(3)] == [0, 1, 2]
    with pytest.raises(SourceError, match=r"p11\.png is 3x2, and those before it 2x2"):
        next(frames)


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG"])
def test_animations_keep_pixels_and_times(kind: str) -> None:
    pictures = []
    for number in range(4):
        picture = Image.new("RGB", (12, 8), (0, 0, 255))
        picture.paste((255, 0, 0), (number * 2, 1, number * 2 + 3, 5))
        pictures.append(picture)
    file = io.BytesIO()
    options: dict[str, Any] = {"lossless": True} if kind == "WEBP" else {}
    pictures[0].save(
        file, kind, save_all=True, append_images=pictures[1:], duration=[40, 120, 80, 200], loop=0, **options
    )
    clip = open_clip(file.getvalue())
    found = list(clip.frames())
    assert [frame.time for frame in found] == [0, 40, 160, 240] and found[-1].duration == 200
    assert clip.time_base == Fraction(1, 1000) and clip.pixel_format == "gbrp"
    for frame, picture in zip(found, pictures, strict=True):
        assert np.array_equal(frame.to_picture().samples, np.asarray(picture))
    assert clip.losses == ("how often the animation repeats is dropped",)


@pytest.mark.parametrize("kind", ["GIF", "PNG"])
@pytest.mark.parametrize("part", [0.4, 0.6, 0.95])
def test_an_animation_that_is_cut_off_gives_what_it_has_and_one_error(kind: str, part: float) -> None:
    pictures = [Image.fromarray(RNG.integers(0, 256, (32, 32, 3), np.uint8)) for _ in range(6)]
    file = io.BytesIO()
    pictures[0].save(file, kind, save_all=True, append_images=pictures[1:], duration=40)
    assert len(list(open_clip(file.getvalue()).frames())) == 6
    frames = open_clip(file.getvalue()[: int(file.tell() * part)]).frames()
    found = [next(frames)]
    with pytest.raises(SourceError, match=r"cut off|truncated"):
        found.extend(frames)
    assert 1 <= len(found) < 6


def test_a_still_is_a_clip_of_one_frame() -> None:
    file = io.BytesIO()
    samples = RNG.integers(0, 256, (4, 6, 3), np.uint8)
    Image.fromarray(samples).save(file, "PNG")
    clip = open_clip(file.getvalue())
    (frame,) = clip.frames()
    assert np.array_equal(frame.to_picture().samples, samples) and clip.losses == ()


def test_frames_of_a_video_as_pictures(tmp_path: Path) -> None:
    info = ClipInfo(8, 6, Fraction(1, 25), Colour(matrix=1), "yuv420p", Fraction(25))
    frames = moving(info, [0, 1])
    write_clip(f"{tmp_path}/out/", info, frames)
    names = sorted(os.listdir(tmp_path / "out"))
    assert names == ["000001.png", "000002.png"]
    with Image.open(tmp_path / "out" / names[1]) as image:
        assert np.array_equal(np.asarray(image), frames[1].to_picture().samples)


def test_a_clip_is_converted_where_it_is_asked_for() -> None:
    info = ClipInfo(6, 4, Fraction(1, 25), Colour(matrix=1, siting=0), "yuv444p", Fraction(25))
    file = io.BytesIO()
    write_clip(file, info, moving(info, [0, 1]))
    clip = open_clip(file.getvalue(), pixel_format="yuv420p")
    frame = next(clip.frames())
    assert clip.pixel_format == "yuv420p" and frame.planes[1].shape == (2, 3)
    assert clip.losses == ("chroma is averaged from 4:4:4 to 4:2:0",)
    picture = io.BytesIO()
    Image.fromarray(RNG.integers(0, 256, (4, 6, 3), np.uint8)).save(picture, "PNG")
    still = open_clip(picture.getvalue(), pixel_format="yuv420p")
    assert still.losses == ("RGB is converted to 4:2:0",) and still.colour.matrix == 6
    assert next(still.frames()).colour == still.colour


# Pipes, memory, sources that die ---------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".y4m", ".mkv", ".webm"])
def test_pipes_are_read(tmp_path: Path, suffix: str) -> None:
    data, count = sample_clip(tmp_path, suffix)
    frames = list(open_clip(Pipe(data)).frames())  # type: ignore[arg-type]
    assert len(frames) == count and all(map(same, frames, open_clip(data).frames()))


@pytest.mark.parametrize("suffix", [".y4m", ".mkv"])
def test_a_file_is_read_from_where_it_stands(tmp_path: Path, suffix: str) -> None:
    data, count = sample_clip(tmp_path, suffix)
    file = io.BytesIO(b"before" + data)
    file.seek(6)
    assert len(list(open_clip(file).frames())) == count


def test_standard_input_by_its_name(tmp_path: Path) -> None:
    data, count = sample_clip(tmp_path, ".y4m")
    code = "from mvc.media.clips import open_clip; print(len(list(open_clip('/dev/stdin').frames())))"
    done = subprocess.run([sys.executable, "-c", code], input=data, capture_output=True, check=True)
    assert int(done.stdout) == count


def test_an_mp4_in_a_pipe_without_its_index_says_what_to_do(tmp_path: Path) -> None:
    data = coded([packed(planes_of(320, 160, "yuv420p", n), "yuv420p") for n in range(10)], "libx264", "mp4")
    assert len(data) > 200_000  # more than is looked ahead
    with pytest.raises(SourceError) as error:
        list(open_clip(Pipe(data)).frames())  # type: ignore[arg-type]
    assert "faststart" in (error.value.hint or "")


@pytest.mark.parametrize("suffix", [".y4m", ".mkv", ".webm", ".avi", ".mp4", ".frag.mp4"])
@pytest.mark.parametrize("piped", [False, True])
def test_a_source_that_is_cut_off_gives_what_it_has_and_one_error(tmp_path: Path, suffix: str, piped: bool) -> None:
    frames = [packed(planes_of(32, 16, "yuv420p", seed), "yuv420p") for seed in range(30)]
    if suffix == ".avi":
        data = coded(frames, "mpeg4", "avi")
    elif suffix.endswith(".mp4"):
        flags = "faststart" if suffix == ".mp4" else "frag_keyframe+empty_moov"
        path = tmp_path / "sample.mp4"
        with av.open(str(path), "w", container_options={"movflags": flags}) as output:
            stream = output.add_stream("libx264", rate=25, options={"g": "10"})
            stream.codec_context.width, stream.codec_context.height = 32, 16
            for number, frame in enumerate(frames):
                frame.pts, frame.time_base = number, Fraction(1, 25)
                output.mux(stream.encode(frame))
            output.mux(stream.encode(None))
        data = path.read_bytes()
    else:
        data = sample_clip(tmp_path, suffix)[0]
    whole = list(open_clip(data).frames())
    assert len(whole) == 30
    cut = data[: len(data) * 2 // 3]
    clip = open_clip(Pipe(cut) if piped else cut)  # type: ignore[arg-type]
    found: list[Frame] = []
    with pytest.raises(SourceError, match=r"cut off|broken"):
        found.extend(clip.frames())
    assert 5 <= len(found) < 30
    assert all(same(a, b) for a, b in zip(found[:-1], whole, strict=False))


def test_a_pipe_that_fails_is_one_error(tmp_path: Path) -> None:
    for suffix in (".y4m", ".mkv"):
        data, _ = sample_clip(tmp_path, suffix)
        with pytest.raises(SourceError, match="nput/output error"):
            list(open_clip(io.BufferedReader(Pipe(data[: len(data) // 2], fails=True))).frames())


def test_frames_before_an_error_are_written(tmp_path: Path) -> None:
    info = ClipInfo(32, 16, Fraction(1, 25), rate=Fraction(25))

    def dying() -> Iterator[Frame]:
        yield from moving(info, [0, 1, 2])
        raise SourceError("the source has died")

    for name in ("a.y4m", "a.mp4", "a.mkv", "pictures/"):
        with pytest.raises(SourceError, match="has died"):
            write_clip(f"{tmp_path}/{name}", info, dying())
        assert len(list(open_clip(f"{tmp_path}/{name}").frames())) == 3

    def dead() -> Iterator[Frame]:
        raise SourceError("the source has died")
        yield

    for name in ("b.y4m", "b.mp4"):
        with pytest.raises(SourceError, match="has died"):
            write_clip(tmp_path / name, info, dead())
        with pytest.raises(MvcError, match="no frames"):
            write_clip(tmp_path / name, info, [])
        assert not (tmp_path / name).exists()


@pytest.mark.parametrize("suffix", [".y4m", ".mp4", ".mkv"])
def test_memory_does_not_grow_with_the_length(tmp_path: Path, suffix: str) -> None:
    """Of 500 frames that are read and written, no more than a few are alive at a time."""
    alive: weakref.WeakSet[Frame] = weakref.WeakSet()
    most = 0
    info = ClipInfo(32, 16, Fraction(1, 25), rate=Fraction(25))
    one = planes_of(32, 16, "yuv420p")

    def watched(frames: Iterator[Frame]) -> Iterator[Frame]:
        nonlocal most
        for frame in frames:
            alive.add(frame)
            most = max(most, len(alive))
            yield frame
            del frame

    made = (Frame(one, time) for time in range(500))
    write_clip(tmp_path / f"a{suffix}", info, watched(made))
    with open_clip(tmp_path / f"a{suffix}", pixel_format="yuv444p") as clip:
        write_clip(tmp_path / "b.y4m", clip, watched(clip.frames()))
    gc.collect()
    assert most <= 4 and not alive


def test_a_clip_is_read_once() -> None:
    with open_clip(y4m("W1 H1 F1:1 Cmono", b"1", b"2")) as clip:
        next(clip.frames())
        with pytest.raises(ValueError, match="once"):
            clip.frames()


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="open files are counted there")
@pytest.mark.parametrize("suffix", [".y4m", ".mkv"])
def test_files_are_closed(tmp_path: Path, suffix: str) -> None:
    sample_clip(tmp_path, suffix)
    path = tmp_path / f"sample{suffix}"

    def opened() -> int:
        return sum(os.path.realpath(f"/proc/self/fd/{name}") == str(path) for name in os.listdir("/proc/self/fd"))

    for pixel_format in (None, "gray"):
        clip = open_clip(path, pixel_format=pixel_format)  # type: ignore[arg-type]
        frames = clip.frames()
        next(frames)
        assert opened() > 0
        clip.close()
        assert opened() == 0
        unread = open_clip(path, pixel_format=pixel_format)  # type: ignore[arg-type]
        unread.close()
        assert opened() == 0
        whole = open_clip(path, pixel_format=pixel_format)  # type: ignore[arg-type]
        assert len(list(whole.frames())) == 30 and opened() == 0
    path.write_bytes(path.read_bytes()[:70])
    with pytest.raises(SourceError) as error:
        open_clip(path)
    assert opened() == 0 and error.value.__traceback__ is not None  # which holds all that was under way


# Other times, other trouble -------------------------------------------------------------------------------------


def test_y4m_gets_the_nearest_constant_rate(tmp_path: Path) -> None:
    info = ClipInfo(4, 4, Fraction(1, 1000))
    assert write_clip(tmp_path / "a.y4m", info, moving(info, [7, 47, 87])) == ()
    assert open_clip(tmp_path / "a.y4m").rate == 25
    (loss,) = write_clip(tmp_path / "b.y4m", info, moving(info, [0, 40, 500]))
    assert "one frame rate: 25" in loss
    (only,) = write_clip(tmp_path / "c.y4m", replace(info, colour=Colour(matrix=1)), moving(info, [0]))
    assert "BT.709" in only


def test_times_that_do_not_fit_milliseconds_are_told(tmp_path: Path) -> None:
    info = ClipInfo(4, 4, Fraction(1001, 30000), rate=Fraction(30000, 1001))
    assert write_clip(tmp_path / "a.mkv", info, moving(info, [0, 1])) == ("times are rounded to milliseconds",)
    assert write_clip(tmp_path / "a.mp4", info, moving(info, [0, 1, 2])) == ()
    clip = open_clip(tmp_path / "a.mp4")
    assert [frame.time * clip.time_base for frame in clip.frames()] == [n * info.time_base for n in range(3)]


def test_times_that_are_missing_or_do_not_rise_are_put_right(monkeypatch: pytest.MonkeyPatch) -> None:
    times = [0, None, None, 80, 80, 200]
    decode = VideoReader._decode

    def without(self: VideoReader, av: Any) -> Iterator[Any]:
        for frame, time in zip(decode(self, av), times, strict=True):
            frame.pts = time
            yield frame

    monkeypatch.setattr(VideoReader, "_decode", without)
    clip = open_clip(lossless(planes_of(4, 4, "yuv420p"), "yuv420p", 6))
    assert [frame.time for frame in clip.frames()] == [0, 40, 80, 81, 82, 200]
    assert clip.losses == ("times of frames that do not rise are moved behind the frame before",)


def test_a_video_without_frames_is_refused() -> None:
    file = io.BytesIO()
    with av.open(file, "w", format="avi") as output:
        stream = output.add_stream("mpeg4", rate=25)
        stream.codec_context.width, stream.codec_context.height = 32, 16
        output.start_encoding()
    with pytest.raises(SourceError, match=r"the clip (has no frames|is broken)"):
        open_clip(file.getvalue())


def test_a_clip_may_begin_late(tmp_path: Path) -> None:
    info = ClipInfo(16, 16, Fraction(1, 1000), rate=Fraction(25))
    for suffix in (".mkv", ".mp4"):
        write_clip(tmp_path / f"a{suffix}", info, moving(info, [500, 540, 580]))
        clip = open_clip(tmp_path / f"a{suffix}")
        assert [frame.time * clip.time_base * 1000 for frame in clip.frames()] == [500, 540, 580]


@pytest.mark.parametrize("crf", [-1, 52])
def test_wrong_arguments_are_value_errors(tmp_path: Path, crf: int) -> None:
    with pytest.raises(ValueError, match="crf"):
        write_clip(tmp_path / "a.mp4", ClipInfo(4, 4, Fraction(1, 25)), [], crf=crf)
    data = y4m("W1 H1 F1:1 Cmono", b"1")
    with pytest.raises(ValueError, match="pixel_format"):
        open_clip(data, pixel_format="rgb24")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="rate"):
        open_clip(data, rate=Fraction(0))


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"nothing of this kind" * 100, "not a video"),
        (b"\x1a\x45\xdf\xa3" + bytes(2000), "not a video"),
        (b"%PDF-1.7" + bytes(2000), "PDF"),
        (b"\x93MVC" + bytes(2000), "mvc file already"),
        (b"#EXTM3U\n#EXTINF:1\n/etc/passwd\n", "not a video"),
        (b"ffconcat version 1.0\nfile /etc/passwd\n", "not a video"),
    ],
)
def test_what_is_no_clip_is_refused(data: bytes, words: str) -> None:
    with pytest.raises(SourceError, match=words):
        open_clip(data)


def test_names_that_lead_nowhere(tmp_path: Path) -> None:
    for name in ("missing.mp4", "missing%d.png", "http://localhost/a.mp4", "concat:a|b"):
        with pytest.raises(SourceError):
            open_clip(name)
    with pytest.raises(SourceError, match="holds no pictures"):
        open_clip(tmp_path)
    with pytest.raises(MvcError, match="no kind of clip"):
        write_clip(tmp_path / "a.xyz", ClipInfo(4, 4, Fraction(1, 25)), [])
    with pytest.raises(TypeError):
        open_clip(io.StringIO("x"))  # type: ignore[arg-type]
    (tmp_path / "sound.wav").write_bytes(sound_only())
    with pytest.raises(SourceError):
        open_clip(tmp_path / "sound.wav")


def sound_only() -> bytes:
    file = io.BytesIO()
    with av.open(file, "w", format="wav") as output:
        stream = output.add_stream("pcm_s16le", rate=8000)
        stream.codec_context.layout = "mono"
        samples = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), format="s16", layout="mono")
        samples.sample_rate = 8000
        output.mux(stream.encode(samples))
    return file.getvalue()


def test_frames_of_another_size_end_the_clip() -> None:
    first = coded([packed(planes_of(16, 16, "yuv420p", n), "yuv420p") for n in range(3)], "mpeg2video", "mpeg2video")
    second = coded([packed(planes_of(32, 16, "yuv420p", n), "yuv420p") for n in range(3)], "mpeg2video", "mpeg2video")
    frames = open_clip(first + second).frames()
    with pytest.raises(SourceError, match="32x16"):
        assert len(list(frames)) < 6


def test_without_pyav_there_is_a_hint_and_y_and_pictures_are_read(tmp_path: Path) -> None:
    data, count = sample_clip(tmp_path, ".y4m")
    sample_clip(tmp_path, ".mkv")
    code = f"""
import sys
sys.modules["av"] = None
from mvc.errors import BackendError
from mvc.media.clips import open_clip, write_clip
clip = open_clip({str(tmp_path / "sample.y4m")!r})
write_clip({str(tmp_path / "copy.y4m")!r}, clip, clip.frames())
def read(): open_clip({str(tmp_path / "sample.mkv")!r})
def write(): write_clip({str(tmp_path / "x.mp4")!r}, clip, [])
for attempt in read, write:
    try:
        attempt()
    except BackendError as error:
        print(error.hint)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.count("mvc-codec[video]") == 2
    assert len(list(open_clip(tmp_path / "copy.y4m").frames())) == count
    assert data.startswith(b"YUV4MPEG2") and not (tmp_path / "x.mp4").exists()


def test_two_clips_side_by_side(tmp_path: Path) -> None:
    data, count = sample_clip(tmp_path, ".mkv")
    found: list[int] = []
    threads = [threading.Thread(target=lambda: found.append(len(list(open_clip(data).frames())))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [count, count]
