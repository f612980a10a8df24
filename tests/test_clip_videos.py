"""Videos through PyAV: every layout and depth, turned ones, tags, times, sound."""

from __future__ import annotations

import io
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from clip_files import coded, lossless, moving, packed, planes_of, same
from numpy.typing import NDArray

from mvc.colour import RGB, Colour
from mvc.errors import Limit, SourceError
from mvc.frames import ClipInfo, Frame, PixelFormat, plane_shapes
from mvc.media.clips import open_clip, write_clip
from mvc.media.unpack import eight_bits, laid_out, unpack
from mvc.picture import Picture

RNG = np.random.default_rng(11)
FORMATS: tuple[PixelFormat, ...] = ("gray", "yuv420p", "yuv422p", "yuv444p")


# Videos ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".mov", ".webm"])
@pytest.mark.parametrize("pixel_format", FORMATS)
def test_lossless_video_keeps_planes_times_and_tags(tmp_path: Path, suffix: str, pixel_format: PixelFormat) -> None:
    colour = Colour(primaries=9, transfer=16, matrix=9, full_range=pixel_format != "gray", siting=None)
    info = ClipInfo(32, 18, Fraction(1, 1000), colour, pixel_format, Fraction(25), Fraction(4, 3))
    frames = [replace(frame, duration=70) for frame in moving(info, [0, 40, 81, 200, 201])]
    path = tmp_path / f"clip{suffix}"
    losses = write_clip(path, info, frames, crf=0)
    assert losses == (() if suffix != ".webm" else ("pixels are not square (4/3), which is not kept",))
    with open_clip(path) as clip:
        found = list(clip.frames())
    assert [frame.time * clip.time_base for frame in found] == [frame.time * info.time_base for frame in frames]
    assert (clip.width, clip.height) == (32, 18)
    assert clip.losses == ()
    if suffix != ".webm":  # VP9 is not lossless by crf alone
        assert clip.aspect == Fraction(4, 3)
        if pixel_format == "gray":  # which FFmpeg's decoder gives as 4:2:0, and whose matrix means nothing
            assert clip.colour == replace(colour, matrix=2)
            assert all((frame.planes[1] == 128).all() and (frame.planes[2] == 128).all() for frame in found)
        else:
            assert clip.colour == colour and clip.pixel_format == pixel_format
        assert all(
            np.array_equal(a, b)
            for f, g in zip(found, frames, strict=True)
            for a, b in zip(f.planes, g.planes, strict=False)
        )
        assert found[-1].duration * clip.time_base == Fraction(70, 1000)
    else:
        assert clip.colour.matrix == 9 or pixel_format == "gray"


@pytest.mark.parametrize("size", [(1, 1), (5, 3), (7, 8), (2, 9)])
@pytest.mark.parametrize("suffix", [".mp4", ".webm", ".y4m"])
def test_odd_sizes_stay(tmp_path: Path, size: tuple[int, int], suffix: str) -> None:
    info = ClipInfo(*size, Fraction(1, 25), rate=Fraction(25))
    frames = moving(info, [0, 1])
    path = tmp_path / f"clip{suffix}"
    losses = write_clip(path, info, frames, crf=0)
    assert losses == (() if suffix != ".mp4" else ("H.264 has no odd sizes but in 4:4:4: chroma is interpolated",))
    with open_clip(path) as clip:
        found = list(clip.frames())
    assert (clip.width, clip.height, len(found)) == (*size, 2)
    if suffix != ".webm":
        assert np.array_equal(found[1].planes[0], frames[1].planes[0])


def test_the_widest_clip(tmp_path: Path) -> None:
    info = ClipInfo(8192, 2, Fraction(1, 25), rate=Fraction(25))
    frames = moving(info, [0])
    write_clip(tmp_path / "wide.mkv", info, frames, crf=0)
    (found,) = open_clip(tmp_path / "wide.mkv").frames()
    assert same(found, frames[0])
    with pytest.raises(Limit, match="8194x2"):
        open_clip(lossless(planes_of(8194, 2, "yuv420p"), "yuv420p", 1))


@pytest.mark.parametrize("pix_fmt", ["yuv420p10le", "yuv422p10le", "yuv444p12le", "gray10le", "yuv420p16le"])
def test_deep_video_is_taken_at_eight_bits(pix_fmt: str) -> None:
    depth = int(pix_fmt[-4:-2])
    layout = {"yuv420p": "yuv420p", "yuv422p": "yuv422p", "yuv444p": "yuv444p"}.get(pix_fmt[:7], "gray")
    shapes = plane_shapes(9, 7, layout)  # type: ignore[arg-type]
    planes = tuple(RNG.integers(0, 1 << depth, shape).astype(np.uint16) for shape in shapes)
    clip = open_clip(lossless(planes, pix_fmt))
    frame = next(clip.frames())
    assert clip.losses == (f"{depth}-bit samples are rounded to 8 bits",)
    for plane, deep in zip(frame.planes, planes, strict=True):
        assert np.array_equal(plane, np.minimum(np.floor(deep / (1 << (depth - 8)) + 0.5), 255))
    full = open_clip(lossless(planes, pix_fmt, color_range=2))
    assert full.colour.full_range
    assert np.array_equal(next(full.frames()).planes[0], np.floor(planes[0] * 255.0 / ((1 << depth) - 1) + 0.5))


@pytest.mark.parametrize("pix_fmt", ["bgr0", "bgra", "rgb48le", "gbrp10le"])
def test_rgb_video_is_kept_as_rgb(pix_fmt: str) -> None:
    depth = {"rgb48le": 16, "gbrp10le": 10}.get(pix_fmt, 8)
    samples = RNG.integers(0, 1 << depth, (5, 6, 3))
    order = {"bgr0": "bgr", "bgra": "bgr", "rgb48le": "rgb"}.get(pix_fmt, "gbr")
    channels = [samples[:, :, "rgb".index(name)] for name in order]
    kind = np.uint16 if depth > 8 else np.uint8
    if pix_fmt == "gbrp10le":
        planes = tuple(channel.astype(kind) for channel in channels)
    else:
        extra = [np.full((5, 6), 255)] if pix_fmt in ("bgr0", "bgra") else []
        planes = (np.stack([*channels, *extra], axis=2).reshape(5, -1).astype(kind),)
    clip = open_clip(lossless_packed(planes, pix_fmt))
    frame = next(clip.frames())
    assert clip.pixel_format == "gbrp" and clip.colour.matrix == 0
    expected = np.floor(samples * 255.0 / ((1 << depth) - 1) + 0.5)
    assert np.array_equal(frame.to_picture().samples, expected)
    assert clip.losses == ((f"{depth}-bit samples are rounded to 8 bits",) if depth > 8 else ())


def lossless_packed(planes: tuple[NDArray[Any], ...], pix_fmt: str) -> bytes:
    frame = av.VideoFrame(6, 5, pix_fmt)
    for plane, samples in zip(frame.planes, planes, strict=True):
        np.frombuffer(plane, samples.dtype).reshape(plane.height, -1)[:, : samples.shape[1]] = samples
    return coded([frame], "ffv1", "matroska")


def test_alpha_of_rgb_video_is_put_on_white() -> None:
    pixels = np.zeros((5, 6, 4), np.uint8)
    pixels[:, :, 3] = np.array([0, 51, 102, 153, 204, 255], np.uint8)
    clip = open_clip(lossless_packed((pixels.reshape(5, -1),), "bgra"))
    assert next(clip.frames()).planes[0][0].tolist() == [255, 204, 153, 102, 51, 0]
    assert clip.losses == ("alpha is dropped: transparent parts are shown on white",)


def test_rows_that_lie_bottom_up_are_put_right() -> None:
    """As in a frame of which only the addresses were turned."""
    planes = planes_of(7, 5, "yuv420p")
    graph = av.filter.Graph()
    nodes = graph.add_buffer(width=7, height=5, format="yuv420p", time_base=Fraction(1, 25)), graph.add("vflip")
    graph.link_nodes(*nodes, graph.add("buffersink")).configure()
    graph.push(packed(planes, "yuv420p"))
    flipped = graph.pull()
    assert flipped.planes[0].line_size < 0
    found = unpack(flipped, "the frame").planes
    assert all(np.array_equal(a, b[::-1]) for a, b in zip(found, planes, strict=True))


@pytest.mark.parametrize(
    ("pix_fmt", "off_by"),
    [
        *[(name, 3) for name in ("yuv444p", "nv24", "nv42", "p410le", "p416be", "bgr24", "rgba64be", "argb", "0bgr")],
        *[
            (name, 9)
            for name in ("nv12", "nv21", "nv16", "p010le", "p012le", "p210le", "yuyv422", "uyvy422", "yvyu422")
        ],
        *[(name, 14) for name in ("yuv440p", "yuv411p", "yuv410p", "rgb565le", "x2rgb10le")],
        ("rgb8", 80),
    ],
)
def test_every_way_to_pack_samples_shows_the_same_picture(pix_fmt: str, off_by: int) -> None:
    """A smooth picture, so that small chroma and few bits change little: what may go wrong is the order of samples."""
    down, across = np.mgrid[0:16, 0:31]
    rgb = np.stack([80 + across * 3, 60 + down * 6, 180 - across * 2], axis=2).astype(np.uint8)
    frame = av.VideoFrame.from_ndarray(rgb, format="rgb24").reformat(format=pix_fmt)
    raw = unpack(frame, "the frame")
    colour = RGB if raw.rgb else Colour(siting=0)
    planes = tuple(eight_bits(plane, raw.depth, colour.full_range) for plane in raw.planes)
    found = Frame(laid_out(planes, raw.factors, colour), 0, colour).to_picture().samples.astype(int)
    assert np.abs(found - rgb)[2:-2, 2:-2].max() <= off_by


def test_gray_with_alpha_and_black_and_white() -> None:
    levels = RNG.integers(0, 256, (5, 9), np.uint8)
    frame = av.VideoFrame.from_ndarray(levels, format="gray")
    with_alpha = unpack(frame.reformat(format="ya8"), "the frame")
    assert np.array_equal(with_alpha.planes[0], levels) and with_alpha.alpha is not None
    two = unpack(
        av.VideoFrame.from_ndarray(np.where(levels > 127, 255, 0).astype(np.uint8), format="gray").reformat(
            format="monow"
        ),
        "",
    )
    assert two.rgb and set(np.unique(two.planes[0])) == {0, 255}
    with pytest.raises(SourceError, match="xyz12"):
        unpack(av.VideoFrame(4, 4, "xyz12le"), "the frame")


@pytest.mark.parametrize("degrees", [0, 90, 180, -90])
@pytest.mark.parametrize("pixel_format", ["yuv420p", "yuv422p", "yuv444p"])
def test_turned_clips_come_out_upright(degrees: int, pixel_format: PixelFormat) -> None:
    width, height = 24, 16
    planes = list(planes_of(width, height, pixel_format))
    planes[1:] = [np.full(plane.shape, 60 + 80 * index, np.uint8) for index, plane in enumerate(planes[1:])]
    data = coded(
        [packed(tuple(planes), pixel_format)],
        "libx264",
        "mov",
        options={"qp": "0", "preset": "ultrafast"},
        degrees=degrees,
    )
    clip = open_clip(data)
    frame = next(clip.frames())
    assert np.array_equal(frame.planes[0], np.rot90(planes[0], degrees // 90))
    assert (clip.width, clip.height) == ((width, height) if degrees % 180 == 0 else (height, width))
    for index, plane in enumerate(frame.planes[1:]):
        assert (plane == 60 + 80 * index).all()
    assert clip.pixel_format == ("yuv444p" if pixel_format == "yuv422p" and degrees % 180 else pixel_format)


def test_chroma_stays_in_its_place_when_a_clip_is_turned() -> None:
    """The RGB of the turned frame is the turned RGB, in each of eight ways, for odd sizes too."""
    from mvc.media.turn import Turn, turned

    down, across = np.mgrid[0:9, 0:13]
    smooth = Picture(np.stack([80 + across * 8, 60 + down * 9, 180 - across * 6], axis=2).astype(np.uint8))
    for siting in (0, 1, 2):
        for size in ((9, 13), (8, 12)):
            part = Picture(np.ascontiguousarray(smooth.samples[: size[0], : size[1]]))
            for pixel_format, factors in (("yuv420p", (2, 2)), ("yuv422p", (2, 1)), ("yuv444p", (1, 1))):
                frame = Frame.of_picture(part, 0).converted(pixel_format, Colour(matrix=1, siting=siting))  # type: ignore[arg-type]
                whole = frame.to_picture().samples.astype(int)
                for turn in (Turn(a, b, c) for a in (False, True) for b in (False, True) for c in (False, True)):
                    found = turned(frame, turn, factors)[0].to_picture().samples
                    expected = turn.applied(whole.transpose(2, 0, 1)[0].astype(np.uint8))
                    assert found.shape[:2] == expected.shape
                    inner = np.abs(found[2:-2, 2:-2, 0].astype(int) - expected[2:-2, 2:-2]).max()
                    assert inner <= 3, (siting, size, pixel_format, turn)


def test_what_a_video_loses_is_told() -> None:
    file = io.BytesIO()
    with av.open(file, "w", format="matroska") as output:
        video = output.add_stream("ffv1", rate=25)
        video.codec_context.width = video.codec_context.height = 4
        video.codec_context.pix_fmt = "yuv420p"
        second = output.add_stream("ffv1", rate=25)
        second.codec_context.width = second.codec_context.height = 4
        second.codec_context.pix_fmt = "yuv420p"
        sound = output.add_stream("pcm_s16le", rate=8000)
        sound.codec_context.layout = "mono"
        output.metadata["title"] = "a day"
        output.set_chapters([{"id": 1, "start": 0, "end": 40, "time_base": Fraction(1, 1000), "metadata": {}}])
        for stream in (video, second):
            frame = packed(planes_of(4, 4, "yuv420p"), "yuv420p")
            frame.pts = 0
            output.mux(stream.encode(frame))
            output.mux(stream.encode(None))
        samples = av.AudioFrame.from_ndarray(np.zeros((1, 320), np.int16), format="s16", layout="mono")
        samples.sample_rate, samples.pts = 8000, 0
        output.mux(sound.encode(samples))
        output.mux(sound.encode(None))
    assert open_clip(file.getvalue()).losses == (
        "only the first of 2 video streams is kept",
        "1 audio track is dropped",
        "1 chapter is dropped",
        "metadata is dropped: title",
    )


# Sound ----------------------------------------------------------------------------------------------------------


def with_sound(path: Path, codec: str, seconds: int = 2) -> list[bytes]:
    """A clip with a tone, and the packets of it."""
    packets: list[bytes] = []
    with av.open(str(path), "w") as output:
        video = output.add_stream("libvpx-vp9" if path.suffix == ".webm" else "libx264", rate=25)
        video.codec_context.width, video.codec_context.height = 32, 16
        sound = output.add_stream(codec, rate=48000)
        sound.codec_context.layout = "stereo"
        sound.metadata["language"] = "eng"
        for number in range(seconds * 25):
            frame = packed(planes_of(32, 16, "yuv420p", number), "yuv420p")
            frame.pts, frame.time_base = number, Fraction(1, 25)
            output.mux(video.encode(frame))
            tone = np.sin(np.arange(1920) * 0.05 + number).astype(np.float32) * 8000
            samples = av.AudioFrame.from_ndarray(
                np.repeat(tone, 2)[None].astype(np.int16), format="s16", layout="stereo"
            )
            samples.sample_rate, samples.pts = 48000, number * 1920
            for packet in sound.encode(samples):
                packets.append(bytes(packet))
                output.mux(packet)
        output.mux(video.encode(None))
        for packet in sound.encode(None):
            packets.append(bytes(packet))
            output.mux(packet)
    return packets


@pytest.mark.parametrize(
    ("codec", "source", "target"),
    [("aac", "mp4", "mkv"), ("aac", "mkv", "mp4"), ("libopus", "webm", "webm"), ("pcm_s16le", "mov", "mkv")],
)
def test_sound_is_copied_packet_by_packet(tmp_path: Path, codec: str, source: str, target: str) -> None:
    packets = with_sound(tmp_path / f"in.{source}", codec)
    with open_clip(tmp_path / f"in.{source}", audio=True) as clip:
        assert [(track.sample_rate, track.channels) for track in clip.tracks] == [(48000, 2)]
        assert clip.tracks[0].language == "eng"
        losses = write_clip(
            tmp_path / f"out.{target}", clip, clip.frames(), crf=20, tracks=clip.tracks, take_audio=clip.take_audio
        )
    assert losses == () and clip.losses == ()
    with av.open(str(tmp_path / f"out.{target}")) as container, av.open(str(tmp_path / f"in.{source}")) as origin:
        copied = [packet for packet in container.demux(audio=0) if packet.size]
        before = [packet for packet in origin.demux(audio=0) if packet.size]
        assert b"".join(map(bytes, copied)) == b"".join(packets)
        start = (copied[0].pts or 0) * copied[0].time_base - (before[0].pts or 0) * before[0].time_base
        assert abs(start) <= Fraction(1, 1000)
        assert container.streams.audio[0].language == "eng"


def test_sound_that_a_target_cannot_hold_is_told(tmp_path: Path) -> None:
    with_sound(tmp_path / "in.mp4", "aac")
    for name, loss in (
        ("out.webm", "an audio track (aac) is dropped, which .webm cannot hold"),
        ("out.y4m", "y4m keeps no sound"),
        ("frames/", "pictures keep no sound"),
    ):
        with open_clip(tmp_path / "in.mp4", audio=True) as clip:
            frames = (frame for frame, _ in zip(clip.frames(), range(3), strict=False))
            losses = write_clip(f"{tmp_path}/{name}", clip, frames, tracks=clip.tracks, take_audio=clip.take_audio)
        assert loss in losses
