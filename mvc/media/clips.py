"""`open_clip` and `write_clip`: videos, animations and numbered pictures <-> frames, one at a time."""

from __future__ import annotations

import io
import itertools
import os
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import BinaryIO

from mvc import files
from mvc.errors import MvcError, SourceError
from mvc.frames import FACTORS, AudioPacket, AudioTrack, Clip, ClipInfo, Frame, PixelFormat, Told
from mvc.media import kinds
from mvc.media.clip_source import Source, label_of, seekable
from mvc.media.pictures import MAX_SOURCE_BYTES, Readable
from mvc.media.sequences import in_folder, is_pattern, numbered, read_animation, read_pictures, write_pictures
from mvc.media.video import VideoReader
from mvc.media.video_out import VIDEO_SUFFIXES, write_video
from mvc.media.y4m import SIGNATURE, read_y4m, write_y4m

_LAYOUT_NAMES: dict[PixelFormat, str] = {"yuv420p": "4:2:0", "yuv422p": "4:2:2", "yuv444p": "4:4:4", "gbrp": "RGB"}


# Reading ---------------------------------------------------------------------------------------------------------


def open_clip(
    source: Readable,
    *,
    pixel_format: PixelFormat | None = None,
    rate: Fraction | None = None,
    audio: bool = False,
    name: str | None = None,
) -> Clip:
    """A clip to read frame by frame: a video, an animation, numbered pictures ("frames/%04d.png"), or a folder of them.

    `source` is a path, the bytes of a file, or an open binary file, which may be a pipe. Frames have the planes of the
    source, at 8 bits and the right way up, or are converted to `pixel_format`. `rate`, in frames per second, is for
    pictures, which name none. `audio` collects packets of sound (`Clip.tracks`, `Clip.take_audio`); without it sound
    is told as lost. `name` replaces the path in messages. One frame is decoded at once, so that faults come early.
    Raises `SourceError` (missing, empty, broken, no clip), `Limit` (larger than 8192x8192) and `BackendError` (a kind
    of video that needs PyAV, which is not there).
    """
    if pixel_format is not None and pixel_format not in ("gray", *FACTORS):
        raise ValueError(f"pixel_format must be gray or one of {', '.join(FACTORS)}, not {pixel_format!r}")
    if rate is not None and rate <= 0:
        raise ValueError(f"rate must be above 0, not {rate}")
    told = Told()
    label = name or label_of(source)
    tracks: Sequence[AudioTrack] = ()
    waiting: deque[AudioPacket] = deque()
    if isinstance(source, (str, os.PathLike)) and (is_pattern(source) or os.path.isdir(source)):
        paths = in_folder(source) if os.path.isdir(source) else numbered(source, told)
        info, frames = read_pictures(paths, told, rate)
    else:
        opened = Source(source, label)
        try:
            start = opened.start
            kind = kinds.kind_of(start)
            if start.startswith(SIGNATURE):
                info, frames = read_y4m(opened.file, label, told)
            elif kind is not None:
                info, frames = _of_picture(opened, kind, label, told, rate)
            else:
                if not kinds.is_video(start):
                    kinds.refuse_foreign(start, label)
                reader = VideoReader(opened.for_av(), label, start, opened.size, audio=audio, told=told)
                info, frames, tracks, waiting = reader.info, reader.frames, reader.tracks, reader.waiting
        except BaseException:
            opened.close()
            raise
        frames = _closing(frames, opened)
    if pixel_format is not None and pixel_format != info.pixel_format:
        frames = _converting(frames, pixel_format)
        _tell_conversion(info, pixel_format, told)
        info = info.converted(pixel_format)
    source_frames = _started(frames, label)
    return Clip(
        **vars(info),
        name=label,
        tracks=tuple(tracks),
        told=told,
        waiting=waiting,
        source=source_frames,
        closing=frames.close,
    )


def _of_picture(
    opened: Source, kind: str, label: str, told: Told, rate: Fraction | None
) -> tuple[ClipInfo, Generator[Frame, None, None]]:
    """An animation, or a clip of one picture."""
    file = opened.file
    if not seekable(file):
        file = io.BytesIO(files.read_up_to(file, MAX_SOURCE_BYTES, name=label))
    found = None if kind in kinds.BY_EXTRAS else read_animation(file, label, kind, told)
    if found is not None:
        return found
    file.seek(0)
    return read_pictures([file], told, rate, label)


def _closing(frames: Generator[Frame, None, None], opened: Source) -> Generator[Frame, None, None]:
    try:
        yield from frames
    finally:
        opened.close()


def _converting(frames: Generator[Frame, None, None], pixel_format: PixelFormat) -> Generator[Frame, None, None]:
    try:
        for frame in frames:
            converted = frame.converted(pixel_format)
            del frame
            yield converted
            del converted
    finally:
        frames.close()


def _tell_conversion(info: ClipInfo, pixel_format: PixelFormat, told: Told) -> None:
    if info.pixel_format == "gray":
        return
    if pixel_format == "gray":
        told.add("colours are dropped")
    elif "gbrp" in (info.pixel_format, pixel_format):
        told.add(f"{_LAYOUT_NAMES[info.pixel_format]} is converted to {_LAYOUT_NAMES[pixel_format]}")
    elif list(_LAYOUT_NAMES).index(pixel_format) < list(_LAYOUT_NAMES).index(info.pixel_format):
        told.add(f"chroma is averaged from {_LAYOUT_NAMES[info.pixel_format]} to {_LAYOUT_NAMES[pixel_format]}")


def _started(frames: Iterator[Frame], label: str) -> Iterator[Frame]:
    """The same frames, of which the first has been had."""
    held = list(itertools.islice(frames, 1))
    if not held:
        raise SourceError(f"{label} has no frames")

    def first() -> Iterator[Frame]:
        while held:
            yield held.pop()

    return itertools.chain(first(), frames)


# Writing ---------------------------------------------------------------------------------------------------------


def write_clip(
    target: str | os.PathLike[str] | BinaryIO,
    info: ClipInfo,
    frames: Iterable[Frame],
    *,
    crf: int | None = None,
    tracks: Sequence[AudioTrack] = (),
    take_audio: Callable[[], Iterable[AudioPacket]] | None = None,
    force: bool = False,
) -> tuple[str, ...]:
    """Write frames as the name says: .y4m (exact planes), a video (`VIDEO_SUFFIXES`), a folder or "%04d.png" (RGB).

    An open binary file gets y4m. `info` may be a `Clip`. `crf` is the quality of the video encoder, by default nearly
    lossless. `tracks` and `take_audio` (`Clip.tracks`, `Clip.take_audio`) are sound to copy. Returns in plain words
    what the target does not keep, beside what a video encoder loses.
    If `frames` raises an `MvcError`, the frames before it are written and kept, and then it is raised. Raises
    `MvcError` for a name that says nothing, a file that exists (without `force`), no frames, or when writing fails.
    """
    until = _UntilFailure(frames)
    if not isinstance(target, (str, os.PathLike)):
        losses = write_y4m(target, info, until)
        until.check("the clip", always=True)
        return tuple(losses)
    name, suffix = os.fspath(target), Path(target).suffix.lower()
    if is_folder(target) or "%" in os.path.basename(name):
        losses = write_pictures(target, info, until, force=force)
        without_sound = "pictures keep no sound"
    elif suffix == ".y4m":
        with files.atomic(target, force=force) as file:
            losses = write_y4m(file, info, until)
            until.check(name)
        without_sound = "y4m keeps no sound"
    elif suffix in VIDEO_SUFFIXES:
        with files.atomic(target, force=force) as file:
            losses = write_video(file, suffix, info, until, crf=crf, tracks=tracks, take_audio=take_audio)
            until.check(name)
        without_sound = ""
    else:
        known = " ".join((".y4m", *VIDEO_SUFFIXES))
        raise MvcError(
            f"cannot write {name}: no kind of clip is known for {suffix or 'a name without extension'}",
            hint=f"use one of {known}, or a folder or a pattern such as frames/%04d.png",
        )
    until.check(name, always=True)
    return (*losses, *[without_sound] * bool(tracks and without_sound))


def is_folder(target: str | os.PathLike[str]) -> bool:
    """Whether `write_clip` takes a name for a folder: one that is there, or ends in a slash."""
    name = os.fspath(target)
    return os.path.isdir(target) or name.endswith(("/", os.sep))


class _UntilFailure:
    """Frames up to an `MvcError`, which is kept for later."""

    def __init__(self, frames: Iterable[Frame]) -> None:
        self._frames, self._count = frames, 0
        self._failure: MvcError | None = None

    def __iter__(self) -> Iterator[Frame]:
        try:
            for frame in self._frames:
                self._count += 1
                yield frame
        except MvcError as error:
            self._failure = error

    def check(self, name: str, *, always: bool = False) -> None:
        """Raise what has happened: where there is no frame, or `always`."""
        if self._failure is not None and (always or not self._count):
            raise self._failure
        if not self._count:
            raise MvcError(f"cannot write {name}: the clip has no frames")
