"""Video files out, through PyAV: planes as they are given to the encoder, times kept, sound copied."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from fractions import Fraction
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from mvc.errors import MvcError
from mvc.frames import AudioPacket, AudioTrack, ClipInfo, Frame
from mvc.media.pyav import av_reason, need_av
from mvc.media.sound import add_track, mux_sound

_MILLISECOND = Fraction(1, 1000)
_RATE = Fraction(25)
_MATROSKA = ("matroska", "webm")


class _Kind(NamedTuple):
    container: str
    codec: str
    crf: int
    worst: int
    options: dict[str, str]


_X264 = ("libx264", 5, 51, {"preset": "medium"})
_KINDS = {
    ".mp4": _Kind("mp4", *_X264),
    ".m4v": _Kind("mp4", *_X264),
    ".mov": _Kind("mov", *_X264),
    ".mkv": _Kind("matroska", *_X264),
    ".webm": _Kind("webm", "libvpx-vp9", 5, 63, {"b": "0", "deadline": "good", "cpu-used": "4", "row-mt": "1"}),
}
VIDEO_SUFFIXES = tuple(_KINDS)
"""File name extensions that `write_video` knows."""


def write_video(
    file: BinaryIO,
    suffix: str,
    info: ClipInfo,
    frames: Iterable[Frame],
    *,
    crf: int | None = None,
    tracks: Sequence[AudioTrack] = (),
    take_audio: Callable[[], Iterable[AudioPacket]] | None = None,
) -> list[str]:
    """Code the frames into a seekable file of the kind of `suffix`; what is lost beside what the encoder loses.

    `crf` is the encoder's quality (0 is lossless for H.264, the default nearly so). `take_audio` gives the packets of
    `tracks` that have come by now; it is called at every frame. Raises `MvcError` where the
    encoder refuses, and `ValueError` for a `crf` that it has not.
    """
    av, kind = need_av(), _KINDS[suffix.lower()]
    if crf is not None and not 0 <= crf <= kind.worst:
        raise ValueError(f"crf must be 0 ... {kind.worst} for {kind.codec}, not {crf}")
    losses: list[str] = []
    info = _encodable(info, kind, losses)
    try:
        with ExitStack() as stack:
            # Else Matroska moves the whole clip where the first packet of sound begins before 0.
            times = {"avoid_negative_ts": "disabled"} if kind.container in _MATROSKA else {}
            container = stack.enter_context(av.open(file, "w", format=kind.container, container_options=times))
            stream = container.add_stream(kind.codec, rate=info.rate or _RATE)
            stream.options = _options(info, kind, crf)
            _describe(stream, info)
            sounds = [add_track(stack, container, track, suffix, losses) for track in tracks]
            durations: dict[int, int] = {}
            exact = True
            for frame in frames:
                mux_sound(container, sounds, tracks, take_audio)
                durations[frame.time] = frame.duration
                exact = exact and (frame.time * info.time_base / _MILLISECOND).denominator == 1
                _mux(container, stream.encode(_packed(frame, info)), durations, info)
            _mux(container, stream.encode(None), durations, info)
            mux_sound(container, sounds, tracks, take_audio)
            if kind.container in _MATROSKA and not exact:
                losses.append("times are rounded to milliseconds")
    except av.FFmpegError as error:
        raise MvcError(
            f"{kind.codec} cannot code {info.width}x{info.height} {info.pixel_format}: {av_reason(error)}"
        ) from error
    return losses


def _encodable(info: ClipInfo, kind: _Kind, losses: list[str]) -> ClipInfo:
    """The layout that the encoder takes."""
    if info.pixel_format == "gbrp":
        losses.append("RGB is written as YUV 4:4:4")
        info = info.converted("yuv444p")
    if info.aspect != 1 and kind.codec != "libx264":  # H.264 says it itself
        losses.append(f"pixels are not square ({info.aspect}), which is not kept")
    if info.pixel_format == "gray" and kind.codec != "libx264":
        return info.converted("yuv420p")
    odd = info.width % 2 or (info.height % 2 and info.pixel_format == "yuv420p")
    if kind.codec == "libx264" and info.pixel_format in ("yuv420p", "yuv422p") and odd:
        losses.append("H.264 has no odd sizes but in 4:4:4: chroma is interpolated")
        return info.converted("yuv444p")
    return info


def _options(info: ClipInfo, kind: _Kind, crf: int | None) -> dict[str, str]:
    options = {**kind.options, "crf": str(kind.crf if crf is None else crf)}
    if kind.codec == "libx264" and info.pixel_format == "yuv420p" and info.colour.siting is not None:
        options["x264-params"] = f"chromaloc={info.colour.siting}"
    return options


def _describe(stream: Any, info: ClipInfo) -> None:
    context = stream.codec_context
    context.width, context.height, context.pix_fmt = info.width, info.height, info.pixel_format
    context.time_base = info.time_base
    context.sample_aspect_ratio = info.aspect
    context.color_range = 2 if info.colour.full_range else 1
    context.colorspace, context.color_trc = info.colour.matrix, info.colour.transfer
    context.color_primaries = info.colour.primaries


def _packed(frame: Frame, info: ClipInfo) -> Any:
    """A frame of PyAV with copies of the planes."""
    av = need_av()
    packed = av.VideoFrame(info.width, info.height, info.pixel_format)
    for plane, samples in zip(packed.planes, frame.converted(info.pixel_format, info.colour).planes, strict=True):
        rows = np.frombuffer(plane, np.uint8).reshape(plane.height, plane.line_size)
        rows[:, : samples.shape[1]] = samples
    packed.pts, packed.time_base = frame.time, info.time_base
    packed.color_range = 2 if info.colour.full_range else 1
    packed.colorspace, packed.color_trc = info.colour.matrix, info.colour.transfer
    packed.color_primaries = info.colour.primaries
    return packed


def _mux(container: Any, packets: Iterable[Any], durations: dict[int, int], info: ClipInfo) -> None:
    """Write coded frames, each with its own duration: the encoder knows but the nominal one."""
    for packet in packets:
        scale = info.time_base / packet.time_base
        time = round(packet.pts / scale)
        if duration := durations.pop(time, 0):
            packet.duration = round(duration * scale)
        container.mux_one(packet)
