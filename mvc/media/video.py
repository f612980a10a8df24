"""Video files in, through PyAV: planes as they were coded, exact times, the right way up."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator
from contextlib import suppress
from dataclasses import replace
from fractions import Fraction
from typing import Any, BinaryIO

import numpy as np

from mvc.colour import IDENTITY, KNOWN_MATRICES, UNSPECIFIED, Colour, Planes
from mvc.errors import SourceError
from mvc.frames import FACTORS, AudioPacket, AudioTrack, ClipInfo, Frame, PixelFormat, Told
from mvc.media.clip_source import seekable
from mvc.media.ends import stated_size
from mvc.media.pyav import av_reason, need_av
from mvc.media.sound import track_of
from mvc.media.turn import Turn, of_matrix, turned
from mvc.media.unpack import LAYOUTS, Unpacked, eight_bits, laid_out, unpack
from mvc.picture import MAX_FRAME_SIDE_PX, check_size

# What FFmpeg may take a file for. Play lists and lists of files are left out on purpose: they name other files.
_FORMATS = "mov,matroska,webm,avi,mpegts,mpeg,mpegvideo,flv,ogg,asf,ivf,nut,h264,hevc,vvc,m4v,obu,av1,mxf,dv"
_IN_PIPES = "an .mp4 or .mov in a pipe must have its index first (-movflags +faststart)"
_TECHNICAL = {"encoder", "major_brand", "minor_version", "compatible_brands", "duration", "software", "timecode"}
_HDR = {"MASTERING_DISPLAY_METADATA", "CONTENT_LIGHT_LEVEL", "DYNAMIC_HDR_PLUS", "DOVI_METADATA", "DYNAMIC_HDR_VIVID"}


class VideoReader:
    """A video file, by name or open: `info`, `tracks` and what is lost are known when it is made, after one frame.

    `frames` are all frames, once. `waiting` gets the packets of sound that are met between them. `total` says how many
    bytes the source has, when it has ended. Raises `SourceError` where there is no video, or no first frame.
    """

    def __init__(
        self, source: str | BinaryIO, label: str, start: bytes, total: Callable[[], int], *, audio: bool, told: Told
    ) -> None:
        av = need_av()
        self._label, self._told, self._total = label, told, total
        self._hint = None if isinstance(source, str) or seekable(source) else _IN_PIPES
        self._due = stated_size(start)
        self._audio: dict[int, int] = {}
        self._count, self._last = 0, -(1 << 62)
        self._turn = Turn()
        self._tags = Colour()
        self.tracks: list[AudioTrack] = []
        self.waiting: deque[AudioPacket] = deque()
        place = "file:" + source if isinstance(source, str) else source
        try:
            self._container: Any = av.open(
                place, metadata_errors="replace", container_options={"format_whitelist": _FORMATS}
            )
        except (av.FFmpegError, OSError, ValueError) as error:
            raise SourceError(
                f"{label} is broken, or not a video in a known format: {av_reason(error)}", hint=self._hint
            ) from error
        try:
            moving = [stream for stream in self._container.streams.video if not _is_cover(stream)]
            if not moving or moving[0].codec_context is None:
                raise SourceError(f"{label} has no video that can be read")
            self._stream = moving[0]
            self._stream.thread_type = "AUTO"
            self._tell_others(len(moving), audio)
            self._decoded = self._decode(av)
            first = next(self._decoded, None)
            if first is None:
                raise SourceError(f"{label} has no frames")
            self.info = self._look(first)
        except BaseException:
            self._container.close()
            raise
        self.frames = self._all(first)

    def _all(self, first: Any | None) -> Generator[Frame, None, None]:
        try:
            assert first is not None
            frame, first = self._frame(first), None
            yield frame
            del frame
            for decoded in self._decoded:
                yield self._frame(decoded)
        finally:
            self._container.close()

    def _decode(self, av: Any) -> Generator[Any, None, None]:
        short: Any = None  # a packet of which a part is missing
        try:
            for packet in self._container.demux():
                if packet.stream is self._stream:  # the number is wrong in those that ask for the rest
                    if packet.size:  # else the decoder is asked for what it holds, and the file has ended
                        if short is not None:  # it was damaged, and more follows
                            yield from self._stream.decode(short)
                        short = packet if packet.is_corrupt else None
                    if packet is not short:
                        yield from self._stream.decode(packet)
                elif packet.size and packet.stream_index in self._audio:
                    track = self._audio[packet.stream_index]
                    times = (packet.pts, packet.dts, packet.duration or 0)
                    self.waiting.append(AudioPacket(track, bytes(packet), *times))
        except (av.FFmpegError, OSError) as error:
            failure: BaseException = error
        else:
            if short is not None or self._due > self._total():
                raise SourceError(f"{self._label} is cut off after {self._count} frames")
            return
        with suppress(av.FFmpegError):  # what the decoder still holds
            yield from self._stream.decode(None)
        raise SourceError(
            f"{self._label} is broken or cut off after {self._count} frames: {av_reason(failure)}",
            hint=None if self._count else self._hint,
        ) from failure

    # What is known beforehand ------------------------------------------------------------------------------------

    def _look(self, frame: Any) -> ClipInfo:
        """What the first frame says of all."""
        check_size(frame.width, frame.height, name=self._label, side=MAX_FRAME_SIDE_PX)
        full = frame.color_range == 2 or frame.format.name.startswith("yuvj")
        matrix = int(frame.colorspace) if int(frame.colorspace) != 3 else UNSPECIFIED
        siting = 1 if self._stream.codec_context.name == "mjpeg" else None
        self._tags = Colour(int(frame.color_primaries), int(frame.color_trc), matrix, full, siting)
        if self._tags.resolved(frame.width, frame.height).matrix not in KNOWN_MATRICES:
            self._told.add(f"RGB is made of {self._tags.in_words()} as if it were BT.2020")
        for index in range(len(frame.side_data)):
            side = frame.side_data[index]
            if side.type.name == "DISPLAYMATRIX":
                turn = of_matrix(bytes(side))
                if turn is None:
                    self._told.add("the clip is to be shown turned by an angle that is none of 90, 180 and 270 degrees")
                self._turn = turn or Turn()
            elif side.type.name in _HDR:
                self._told.add("metadata for HDR screens is dropped")
        shown, pixel_format = self._shown(frame)
        stream = self._stream
        aspect = stream.sample_aspect_ratio or Fraction(1)
        aspect = 1 / aspect if self._turn.swapped and aspect else aspect
        rate = stream.average_rate or stream.guessed_rate
        return ClipInfo(
            shown.width, shown.height, Fraction(stream.time_base or 0) or 1 / (rate or Fraction(25)), shown.colour,
            pixel_format, Fraction(rate) if rate else None, Fraction(aspect),
        )  # fmt: skip

    def _tell_others(self, videos: int, audio: bool) -> None:
        container, told = self._container, self._told
        if videos > 1:
            told.add(f"only the first of {videos} video streams is kept")
        for stream in container.streams.audio:
            track = track_of(stream) if audio else None
            if track is not None:
                self._audio[stream.index] = len(self.tracks)
                self.tracks.append(track)
        dropped = len(container.streams.audio) - len(self.tracks)
        for count, what in (
            (dropped, "audio track"),
            (len(container.streams.subtitles), "subtitle track"),
            (len(container.streams.data), "data track"),
            (len(container.streams.attachments), "attachment"),
            (len(container.chapters()), "chapter"),
        ):
            if count:
                told.add(f"{count} {what}{'s are' if count > 1 else ' is'} dropped")
        names = {key.lower() for key in container.metadata} - _TECHNICAL
        if names:
            told.add(f"metadata is dropped: {', '.join(sorted(names))}")

    # Frame by frame ----------------------------------------------------------------------------------------------

    def _shown(self, decoded: Any) -> tuple[Frame, PixelFormat]:
        """A frame of PyAV at 8 bits, in one of our layouts, the right way up, still at time 0."""
        raw = unpack(decoded, self._label)
        tags = self._tags
        if raw.rgb:
            tags = replace(tags, matrix=IDENTITY, full_range=decoded.color_range != 1)
        elif tags.matrix == IDENTITY:
            tags = replace(tags, matrix=UNSPECIFIED)
        if raw.depth > 8:
            self._told.add(f"{raw.depth}-bit samples are rounded to 8 bits")
        if decoded.interlaced_frame:
            self._told.add("interlaced: both fields of a frame are taken as one picture")
        planes = tuple(eight_bits(plane, raw.depth, tags.full_range) for plane in raw.planes)
        planes = laid_out(self._on_white(planes, raw), raw.factors, tags)
        pixel_format: PixelFormat = "gbrp" if raw.rgb else LAYOUTS[raw.factors] if raw.factors else "gray"
        if self._turn != Turn():
            own = FACTORS.get(pixel_format)
            frame, interpolated = turned(Frame(planes, 0, tags), self._turn, own)
            if interpolated:
                self._told.add("the clip is turned upright, for which chroma is interpolated")
            if pixel_format == "yuv422p" and self._turn.swapped:
                pixel_format = "yuv444p"
            return frame, pixel_format
        return Frame(tuple(np.ascontiguousarray(plane) for plane in planes), 0, tags), pixel_format

    def _on_white(self, planes: Planes, raw: Unpacked) -> Planes:
        if raw.alpha is None:
            return planes
        alpha = eight_bits(raw.alpha, raw.depth, True).astype(np.uint32)
        if alpha.min() == 255:
            return planes
        if not raw.rgb:
            self._told.add("alpha is dropped")
            return planes
        self._told.add("alpha is dropped: transparent parts are shown on white")
        return tuple(((plane * alpha + 255 * (255 - alpha) + 127) // 255).astype(np.uint8) for plane in planes)

    def _frame(self, decoded: Any) -> Frame:
        info, label = self.info, self._label
        frame, pixel_format = self._shown(decoded)
        if (frame.width, frame.height) != (info.width, info.height):
            size = f"{frame.width}x{frame.height}, and those before it {info.width}x{info.height}"
            raise SourceError(f"{label}: frame {self._count} is {size}", hint="cut the file there")
        if decoded.is_corrupt:
            self._told.add(f"frame {self._count} is damaged in the source")
        step = max(1, round(1 / ((info.rate or 25) * info.time_base)))
        time = decoded.pts if decoded.pts is not None else self._last + step if self._count else 0
        if time <= self._last:
            self._told.add("times of frames that do not rise are moved behind the frame before")
            time = self._last + 1
        self._count, self._last = self._count + 1, time
        frame = replace(frame, time=time, duration=max(0, decoded.duration or 0))
        if pixel_format != info.pixel_format or frame.colour != info.colour:
            return frame.converted(info.pixel_format, info.colour)
        return frame


def _is_cover(stream: Any) -> bool:
    """Whether a stream is a picture that comes with sound."""
    return bool(int(stream.disposition) & 0x400)
