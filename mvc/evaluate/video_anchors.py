"""The anchors of `mvc bench-video`: what PyAV's encoders make of the planes that mvc is given.

They are elementary streams: the preset medium, a closed keyframe every `gop` frames and nowhere else, one thread.
"x264", "x265" and "svtav1", the default, are tuned for zero latency: every frame is made from those before it.
"x264-bframes" and "x265-bframes" are the same encoders without that, with their usual B-frames (frames between two
others) and their look-ahead, as files are made. Their packets come in coding order; sizes and frames are in the order
shown. Text that an encoder leaves about itself (SEI) is cut out before decoding, and not counted.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np

from mvc.errors import BackendError, MvcError
from mvc.evaluate.video_codecs import KEYFRAMES, CodedClip, Encode, VideoCodec
from mvc.frames import ClipInfo, Frame
from mvc.media.pyav import av_reason, need_av

_TEXT_264, _TEXT_265, _DELIMITER_AV1 = (6,), (39, 40), 2


class _Encoder(NamedTuple):
    title: str
    codec: str
    decoder: str
    settings: tuple[float, ...]
    options: Callable[[int | str], dict[str, str]]
    strip: Callable[[bytes], bytes]


def _units(data: bytes) -> Iterator[tuple[int, bytes]]:
    """The units of an Annex B stream, each with the start code in front of it, and its first byte."""
    starts, at = [], data.find(b"\0\0\1")
    while at >= 0:
        starts.append(at - (at > 0 and data[at - 1] == 0))
        at = data.find(b"\0\0\1", at + 3)
    for start, end in zip(starts, [*starts[1:], len(data)], strict=True):
        unit = data[start:end]
        yield unit[unit.index(1) + 1], unit


def without_text(data: bytes, kinds: Sequence[int], kind_of: Callable[[int], int]) -> bytes:
    """An Annex B stream without the units of these kinds."""
    return b"".join(unit for first, unit in _units(data) if kind_of(first) not in kinds)


def without_delimiters(data: bytes) -> bytes:
    """A temporal unit of AV1 without its temporal delimiters, which no container keeps."""
    parts, at = [], 0
    while at < len(data):
        header = at
        kind, extended, sized = data[at] >> 3 & 15, data[at] >> 2 & 1, data[at] >> 1 & 1
        at += 1 + extended
        size = shift = 0
        while sized:
            byte = data[at]
            size, shift, at = size | (byte & 127) << shift, shift + 7, at + 1
            sized = byte >> 7
        end = at + size if data[header] >> 1 & 1 else len(data)
        if kind != _DELIMITER_AV1:
            parts.append(data[header:end])
        at = end
    return b"".join(parts)


def _untuned(title: str, own: _Encoder) -> _Encoder:
    """The same encoder as it is by default: frames wait for those behind them."""

    def options(gop: int | str) -> dict[str, str]:
        return {key: value for key, value in own.options(gop).items() if key != "tune"}

    return own._replace(title=title, options=options)


_CRF = tuple(float(crf) for crf in range(17, 42, 3))
_TUNED = {
    "x264": _Encoder(
        "x264, medium, zero latency",
        "libx264",
        "h264",
        _CRF,
        lambda gop: {
            "preset": "medium",
            "tune": "zerolatency",
            "x264-params": f"keyint={gop}:min-keyint={gop}:scenecut=0",
        },
        lambda data: without_text(data, _TEXT_264, lambda first: first & 31),
    ),
    "x265": _Encoder(
        "x265, medium, zero latency",
        "libx265",
        "hevc",
        _CRF,
        lambda gop: {
            "preset": "medium",
            "tune": "zerolatency",
            "x265-params": f"keyint={gop}:min-keyint={gop}:scenecut=0:open-gop=0:info=0:log-level=none:pools=1:"
            "frame-threads=1",
        },
        lambda data: without_text(data, _TEXT_265, lambda first: first >> 1 & 63),
    ),
    # It has no "medium" and no "zerolatency": preset 6 is the middle of what is used, and prediction is from the past.
    "svtav1": _Encoder(
        "svtav1, medium, zero latency",
        "libsvtav1",
        "libdav1d",
        (20, 25, 30, 35, 40, 45, 50, 55, 60),
        lambda gop: {
            "preset": "6",
            "svtav1-params": f"pred-struct=1:keyint={gop}:irefresh-type=2:scd=0:lookahead=0:enable-tf=0:lp=1:tune=1",
        },
        without_delimiters,
    ),
}
_ENCODERS = _TUNED | {
    "x264-bframes": _untuned("x264, medium, B-frames", _TUNED["x264"]),
    "x265-bframes": _untuned("x265, medium, B-frames", _TUNED["x265"]),
}
ANCHORS = tuple(_ENCODERS)
"""Encoders of other formats, by name."""
DEFAULT_ANCHORS = tuple(_TUNED)
"""Those that `mvc bench-video` compares with by default: the ones with zero latency."""


def available() -> tuple[str, ...]:
    """The anchors whose encoder and decoder this PyAV has."""
    known = need_av().codecs_available
    return tuple(name for name, own in _ENCODERS.items() if own.codec in known and own.decoder in known)


def anchor(name: str) -> VideoCodec:
    """An encoder of another format. Raises `MvcError` for an unknown name, `BackendError` where it is missing."""
    if name not in _ENCODERS:
        raise MvcError(
            f"there is no video codec {name!r} to compare with", hint="known are " + ", ".join((*ANCHORS, KEYFRAMES))
        )
    own, av = _ENCODERS[name], need_av()
    if name not in available():
        raise BackendError(f"this installation of PyAV has no {own.codec}", hint="install PyAV from its wheel")
    options = " ".join(f"{key}={value}" for key, value in own.options("GOP").items())
    made = ".".join(map(str, av.library_versions["libavcodec"]))
    version = f"PyAV {av.__version__}, libavcodec {made}, {own.codec}, {options}"
    return VideoCodec(name, own.title, version, own.settings, _through(own))


def _through(own: _Encoder) -> Encode:
    def encode(info: ClipInfo, frames: Sequence[Frame], setting: float, gop: int) -> CodedClip:
        av = need_av()
        os.environ.setdefault("SVT_LOG", "1")  # else SVT-AV1 tells its settings on stderr
        start = time.perf_counter()
        try:
            context = av.CodecContext.create(own.codec, "w")
            context.width, context.height, context.pix_fmt = info.width, info.height, "yuv420p"
            rate = info.rate or Fraction(25)
            context.time_base, context.framerate, context.thread_count = 1 / rate, rate, 1
            context.options = {"crf": f"{setting:g}", **own.options(gop)}
            if own.codec == "libsvtav1":
                context.gop_size = gop
            with _scheduled_as_before():
                packets = [
                    packet for number, frame in enumerate(frames) for packet in context.encode(_packed(frame, number))
                ]
                packets += context.encode(None)
        except (av.FFmpegError, ValueError) as error:
            raise BackendError(f"{own.codec} refuses crf {setting:g}: {av_reason(error)}") from error
        spent = time.perf_counter() - start
        coded = {packet.pts: own.strip(bytes(packet)) for packet in packets}
        if len(packets) != len(frames) or coded.keys() != set(range(len(frames))):
            raise BackendError(f"{own.codec} gave {len(packets)} packets of {len(frames)} frames, or not one for each")
        keyframes = {packet.pts for packet in packets if packet.is_keyframe}
        sizes = tuple(len(coded[number]) for number in range(len(frames)))
        keys = tuple(number in keyframes for number in range(len(frames)))
        return CodedClip(sizes, keys, spent, _decoded(own.decoder, coded, info))

    return encode


@contextmanager
def _scheduled_as_before() -> Iterator[None]:
    """SVT-AV1 gives the thread that calls it, if that is root's, a priority in real time above all else, for good."""
    if not hasattr(os, "sched_setscheduler"):
        yield
        return
    policy, parameters = os.sched_getscheduler(0), os.sched_getparam(0)
    try:
        yield
    finally:
        os.sched_setscheduler(0, policy, parameters)


def _packed(frame: Frame, number: int) -> Any:
    packed = need_av().VideoFrame(frame.width, frame.height, "yuv420p")
    for plane, samples in zip(packed.planes, frame.planes, strict=True):
        rows = np.frombuffer(plane, np.uint8).reshape(plane.height, plane.line_size)
        rows[:, : samples.shape[1]] = samples
    packed.pts = number
    return packed


def _decoded(decoder: str, coded: dict[int, bytes], info: ClipInfo) -> Iterator[Frame]:
    """The frames in the order shown, of packets in coding order by their frames' numbers."""
    av = need_av()
    context = av.CodecContext.create(decoder, "r")
    context.thread_count = 1
    number = 0
    for packet in [*_packets(coded), None]:
        for shown in context.decode(packet):
            if shown.pts != number:
                raise BackendError(f"{decoder} shows frame {shown.pts} where frame {number} belongs")
            planes = []
            for plane, across in zip(shown.planes, (1, 2, 2), strict=True):
                rows = np.frombuffer(plane, np.uint8).reshape(plane.height, plane.line_size)
                planes.append(rows[:, : -(-info.width // across)].copy())
            yield Frame(tuple(planes), number, info.colour)
            number += 1


def _packets(coded: dict[int, bytes]) -> Iterator[Any]:
    for number, data in coded.items():
        packet = need_av().Packet(data)
        packet.pts = number
        yield packet
