"""The codecs that `mvc bench-video` compares: mvc's clips, and what PyAV's encoders make of the same planes.

Every codec takes planes of 4:2:0 and gives real bytes, frame by frame, and what a decoder makes of these bytes alone.
Anchors are elementary streams: the preset medium, tuned for zero latency, a closed keyframe every `gop` frames and
nowhere else, one thread. Text that an encoder leaves about itself (SEI) is cut out before decoding, and not counted.
"""

from __future__ import annotations

import io
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from mvc.errors import BackendError, Limit, MvcError
from mvc.frames import Clip, ClipInfo, Frame, plane_shapes
from mvc.media.pyav import av_reason, need_av
from mvc.quality import DEFAULT_VIDEO_MODEL, quality_index
from mvc.version import __version__

if TYPE_CHECKING:
    from mvc.codec import Codec

KEYFRAMES = "keyframes"
"""The anchor that is mvc itself with nothing but keyframes."""
_TEXT_264, _TEXT_265, _DELIMITER_AV1 = (6,), (39, 40), 2


@dataclass(frozen=True)
class CodedClip:
    """A clip as a codec left it: for each frame its bytes and whether it is a keyframe; and the frames, once."""

    sizes: tuple[int, ...]
    keys: tuple[bool, ...]
    encode_s: float
    frames: Iterator[Frame]


Encode = Callable[[ClipInfo, Sequence[Frame], float, int], CodedClip]


@dataclass(frozen=True)
class VideoCodec:
    """A codec ready to be measured: `encode(info, frames, setting, gop)`.

    `settings` is the default grid. `version` says what made the bytes (library, options, weights), and `kept` whether
    results of that version may come from a cache.
    """

    name: str
    title: str
    version: str
    settings: tuple[float, ...]
    encode: Encode
    kept: bool = True


class _Encoder(NamedTuple):
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


_CRF = tuple(float(crf) for crf in range(17, 42, 3))
_ENCODERS = {
    "x264": _Encoder(
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
ANCHORS = tuple(_ENCODERS)
"""Encoders of other formats, by name."""


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
    return VideoCodec(name, f"{name}, medium, zero latency", version, own.settings, _through(own))


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
        if [packet.pts for packet in packets] != list(range(len(frames))):
            raise BackendError(f"{own.codec} gave {len(packets)} packets of {len(frames)} frames, or out of order")
        coded = [own.strip(bytes(packet)) for packet in packets]
        keys = tuple(bool(packet.is_keyframe) for packet in packets)
        return CodedClip(tuple(map(len, coded)), keys, spent, _decoded(own.decoder, coded, info))

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


def _decoded(decoder: str, coded: Sequence[bytes], info: ClipInfo) -> Iterator[Frame]:
    av = need_av()
    context = av.CodecContext.create(decoder, "r")
    context.thread_count = 1
    number = 0
    for data in [*coded, None]:
        for shown in context.decode(None if data is None else av.Packet(data)):
            planes = []
            for plane, across in zip(shown.planes, (1, 2, 2), strict=True):
                rows = np.frombuffer(plane, np.uint8).reshape(plane.height, plane.line_size)
                planes.append(rows[:, : -(-info.width // across)].copy())
            yield Frame(tuple(planes), number, info.colour)
            number += 1


# mvc -------------------------------------------------------------------------------------------------------------


def mvc_codec(
    codec: Codec, model: str = DEFAULT_VIDEO_MODEL, effort: int = 0, *, name: str = "mvc", all_keys: bool = False
) -> VideoCodec:
    """mvc with a loaded codec; the setting is the quality, 1 ... 8. With `all_keys` every frame is a keyframe."""

    def encode(info: ClipInfo, frames: Sequence[Frame], setting: float, gop: int) -> CodedClip:
        from mvc.clip import ClipCodec
        from mvc.clip_files import clip_head, clip_info, shown, timed
        from mvc.container import read_head

        coder, file = ClipCodec(codec), io.BytesIO()
        start = time.perf_counter()
        clip = Clip(**vars(info), source=iter(frames))
        index = quality_index(setting)
        coder.encode(timed(clip), file, clip_head(info), index=index, gop=1 if all_keys else gop, effort=effort)
        spent = time.perf_counter() - start
        data = file.getvalue()
        sizes, keys = sizes_of(data)
        own = clip_info(read_head(data))
        return CodedClip(sizes, keys, spent, iter(shown(own, coder.decode(io.BytesIO(data)))))

    blank = tuple(np.full(shape, 128, np.uint8) for shape in plane_shapes(64, 64, "yuv420p"))
    shot = ClipInfo(64, 64, Fraction(1, 25), rate=Fraction(25))
    list(encode(shot, [Frame(blank, 0), Frame(blank, 1)], 4, 2).frames)  # no clock sees kernels being compiled
    title = f"mvc, {model}, effort {effort}" + ", keyframes alone" * all_keys
    version = f"mvc {__version__}, model id {codec.model_id.hex()}, effort {effort}"
    return VideoCodec(name, title, version, tuple(map(float, range(1, 9))), encode, kept=False)


def sizes_of(data: bytes) -> tuple[tuple[int, ...], tuple[bool, ...]]:
    """The bytes of each frame of a clip's file, and whether it is a keyframe.

    Whatever is no frame counts as the first one's: the sizes add up to the file's.
    """
    from mvc.container.chunks import CODE, UNITS, Source, walk
    from mvc.container.units import head_of, unit_head

    chunks = walk(Source(io.BytesIO(data)))
    head = head_of(next(chunks))
    sizes, keys = [], []
    for chunk in chunks:
        if chunk.code in UNITS:
            keys.append(chunk.code == CODE.code and unit_head(chunk, head, -1).role == "picture")
            sizes.append(chunk.start + chunk.length - chunk.offset)
    if not sizes:
        raise Limit("a clip has at least one frame")
    sizes[0] += len(data) - sum(sizes)
    return tuple(sizes), tuple(keys)
