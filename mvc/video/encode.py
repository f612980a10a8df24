"""`encode_video`: a video of any kind into an .mvc file, by quality, bitrate, size or PSNR."""

from __future__ import annotations

import os
import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import TYPE_CHECKING, Any, BinaryIO

from mvc import files
from mvc.arguments import check_device, check_model, check_threads
from mvc.clip_runs import DEFAULT, MOST
from mvc.errors import MvcError, SourceError, libraries
from mvc.frames import Clip, Frame
from mvc.media.clips import open_clip
from mvc.quality import (
    DEFAULT_EFFORT,
    DEFAULT_QUALITY,
    DEFAULT_VIDEO_MODEL,
    check_effort,
    quality_index,
    whole_number,
)
from mvc.video.moments import BEGINNING, MAX_JOBS, Moment, Start, moment, threads_of

if TYPE_CHECKING:
    from mvc.codec import Codec
    from mvc.video.groups import Settings
    from mvc.video.rate import Search

PASSES = 4
"""How often a clip is coded at most for one size."""


@dataclass(frozen=True)
class Encoded:
    """What `encode_video` wrote. `failure` is why it ended early: the file holds the frames before that."""

    width: int
    height: int
    frames: int
    size_bytes: int
    losses: tuple[str, ...]
    failure: BaseException | None = None


@dataclass(frozen=True)
class Wanted:
    """What to code and how well: one of the four targets, or the default quality; see `encode_video`."""

    quality: float | None = None
    bitrate: float | None = None
    size: int | None = None
    psnr: float | None = None
    gop: int = 12
    scene_cut: bool = True
    bframes: int = DEFAULT
    effort: int = DEFAULT_EFFORT
    jobs: int = 1
    rate: Fraction | None = None
    start: Moment = BEGINNING
    frames: int | None = None
    audio: bool = True

    def __post_init__(self) -> None:
        given = [name for name in ("quality", "bitrate", "size", "psnr") if getattr(self, name) is not None]
        if len(given) > 1:
            raise ValueError(f"give only one of {', '.join(given)}")
        quality_index(DEFAULT_QUALITY if self.quality is None else self.quality)
        for name in ("bitrate", "psnr"):
            value = getattr(self, name)
            if value is not None and not 0 < value < float("inf"):
                raise ValueError(f"{name} must be a finite number above 0, not {value:g}")
        whole_number("gop", self.gop, 1)
        whole_number("bframes", self.bframes, 0, MOST)
        whole_number("jobs", self.jobs, 1, MAX_JOBS)
        check_effort(self.effort)
        for name in ("size", "frames"):
            if getattr(self, name) is not None:
                whole_number(name, getattr(self, name), 1)

    @property
    def searches(self) -> bool:
        """Whether the source is read more than once."""
        return (self.bitrate, self.size, self.psnr) != (None, None, None)


def encode_video(
    source: str | os.PathLike[str] | bytes | BinaryIO | Clip,
    target: str | os.PathLike[str] | BinaryIO,
    quality: float | None = None,
    gop: int = 12,
    *,
    bitrate: float | None = None,
    size: int | None = None,
    psnr: float | None = None,
    scene_cut: bool = True,
    bframes: int = DEFAULT,
    effort: int = DEFAULT_EFFORT,
    jobs: int = 1,
    rate: Fraction | float | None = None,
    start: Start = 0,
    frames: int | None = None,
    audio: bool = True,
    model: str | os.PathLike[str] = DEFAULT_VIDEO_MODEL,
    device: str = "auto",
    threads: int | None = None,
    force: bool = False,
    on_frame: Callable[[int], None] = lambda count: None,
) -> Encoded:
    """Encode a video, an animation or numbered pictures into an .mvc file, and say what was written.

    `source` is whatever `mvc.media.clips.open_clip` takes, or a `Clip`, `target` a path (which must not exist, without
    `force`) or an open binary file. `quality` is 1 (small) to 8 (fine), 4 if not said; instead of it one target may be
    given, for which the source is read several times: `bitrate` of the pictures in bits per second, about; `size` of
    the file in bytes, at most; `psnr` of luma in dB, at least, as a mean over frames. There is a keyframe every `gop`
    frames and, with `scene_cut`, where the scene changes; of those between up to `bframes` in a row (0 to 7) are coded
    given a frame before them and one behind, which makes the file smaller. `jobs` groups of frames are coded at a time,
    by as many threads each as `threads` says (by default all together one for each core); the file is the same for any
    number. `start` (seconds, or text such as "1:02.5" or "frame 120") and `frames` choose a part. `rate` is the frame
    rate of pictures. `audio` copies sound. `on_frame` hears of every frame.
    What is lost is told with a `LossWarning`, and listed in the result.
    Raises `MvcError`s for what cannot be read, written or met, and `ValueError` or `TypeError` for a wrong argument. A
    source that dies after some frames leaves a file with these frames, and its error is raised then; so on Ctrl-C.
    """
    wanted = Wanted(
        quality, bitrate, size, psnr, gop, scene_cut, bframes, effort, jobs,
        None if rate is None else Fraction(rate).limit_denominator(1001), moment(start), frames, audio,
    )  # fmt: skip
    model, device, threads = check_model(model), check_device(device), threads_of(check_threads(threads), jobs)
    with libraries():
        from mvc.codec import load
        from mvc.media import LossWarning

    done = encode_as(source, target, wanted, lambda: load(model, device, threads), force=force, on_frame=on_frame)
    for loss in done.losses:
        warnings.warn(loss, LossWarning, stacklevel=2)
    if done.failure is not None:
        raise done.failure
    return done


def encode_as(
    source: Any,
    target: Any,
    wanted: Wanted,
    load: Callable[[], Codec],
    *,
    force: bool = False,
    name: str | None = None,
    on_frame: Callable[[int], None] = lambda count: None,
    on_stage: Callable[[str], None] = lambda what: None,
) -> Encoded:
    """`encode_video` with its arguments checked, and a failure after the first frame returned instead of raised."""
    to_file = isinstance(target, (str, os.PathLike))
    if to_file:
        files.refuse_existing(target, force=force)
    if wanted.searches and not _rereadable(source):
        hint = "write it to a file first, or use a quality"
        raise SourceError(f"{name or 'the source'} can be read only once, and is to be read again", hint=hint)

    def opened() -> Clip:
        if isinstance(source, Clip):
            return source
        return open_clip(source, rate=wanted.rate, audio=wanted.audio, name=name)

    def sink() -> AbstractContextManager[BinaryIO]:
        if to_file:
            return files.atomic(target, force=force)
        return _spooled(target) if (wanted.size, wanted.psnr) != (None, None) else nullcontext(target)

    with opened() as clip:  # the first faults come before any model is loaded
        if not wanted.searches:
            from mvc.video.groups import Settings

            index = quality_index(DEFAULT_QUALITY if wanted.quality is None else wanted.quality)
            settings = _settings(wanted, Settings(lambda group: index))
            with sink() as file:
                return _write(load(), clip, wanted, file, settings, on_frame)
    return _searched(opened, sink, wanted, load(), on_frame, on_stage)


@contextmanager
def _spooled(target: BinaryIO) -> Iterator[BinaryIO]:
    """A file whose bytes go to an open one when all is well."""
    with tempfile.TemporaryFile() as file:
        yield file
        file.seek(0)
        shutil.copyfileobj(file, target)


def _rereadable(source: Any) -> bool:
    if isinstance(source, (str, os.PathLike)):
        return not files.is_stream(source)
    return isinstance(source, (bytes, bytearray, memoryview))


def _settings(wanted: Wanted, settings: Settings) -> Settings:
    return replace(
        settings,
        gop=wanted.gop,
        scene_cuts=wanted.scene_cut,
        bframes=wanted.bframes,
        effort=wanted.effort,
        jobs=wanted.jobs,
    )


def _part(clip: Clip, wanted: Wanted) -> Clip:
    """The clip, or the part of it that is wanted."""
    if wanted.start == BEGINNING and wanted.frames is None:
        return clip
    start = wanted.start

    def chosen() -> Iterator[Frame]:
        first, kept = None, 0
        for number, frame in enumerate(clip.frames()):
            first = frame.time if first is None else first
            early = (
                (frame.time - first) * clip.time_base < start.seconds if start.frame is None else number < start.frame
            )
            if early:
                _forget_sound(clip, frame.time * clip.time_base)
                continue
            yield frame
            kept += 1
            if kept == wanted.frames:
                break
        if not kept:
            raise SourceError(f"{clip.name} ends before the part that is wanted")

    return replace(clip, source=chosen(), used=[])


def _forget_sound(clip: Clip, before: Fraction) -> None:
    """Let go of packets that have come and are heard before a time."""
    kept = [own for own in clip.take_audio() if (own.time or 0) * clip.tracks[own.track].time_base >= before]
    clip.waiting.extend(kept)


def _write(
    codec: Codec, source: Clip, wanted: Wanted, file: BinaryIO, settings: Settings, on_frame: Callable[[int], None]
) -> Encoded:
    clip = _part(source, wanted)
    part = clip is not source
    from mvc.clip import ClipCodec
    from mvc.planes import PACKING
    from mvc.video.encoder import Encoder

    coder = ClipCodec(codec)
    encoder = Encoder(coder, clip, file, settings, part=part)
    steps = encoder.steps()
    failure: BaseException | None = None
    try:
        for count, _ in enumerate(steps, 1):
            on_frame(count)
    except (MvcError, KeyboardInterrupt) as error:
        steps.close()  # ends the file
        if not encoder.count:
            raise
        failure = error
    losses = list(clip.losses)
    if coder.packing == PACKING and clip.pixel_format not in ("yuv420p", "gray"):
        losses.append("colour is coded at half the resolution (4:2:0), and given back as it came")
    if encoder.dropped:
        losses.append(f"{encoder.dropped} packets of sound are dropped, whose times the format cannot hold")
    return Encoded(clip.width, clip.height, encoder.count, encoder.size, tuple(losses), failure)


def _searched(
    opened: Callable[[], Clip],
    sink: Callable[[], AbstractContextManager[BinaryIO]],
    wanted: Wanted,
    codec: Codec,
    on_frame: Callable[[int], None],
    on_stage: Callable[[str], None],
) -> Encoded:
    from mvc.clip import ClipCodec
    from mvc.video.groups import Settings
    from mvc.video.rate import SPARE, Search, feedback, look

    on_stage("looking at all frames")
    with opened() as clip:
        sample = look(_part(clip, wanted), wanted.gop, wanted.scene_cut)
    search = Search(ClipCodec(codec), clip, sample, wanted.effort, wanted.bframes)
    on_stage("trying qualities")
    if wanted.psnr is not None:
        return _reaching(search, wanted.psnr, opened, sink, wanted, codec, on_frame)
    if wanted.bitrate is not None:
        total = wanted.bitrate * float(sample.seconds) / 8
    else:
        total = SPARE * (wanted.size or 0) - sample.sound_bytes - 64
    for _ in range(PASSES):
        control = feedback(search, max(total, 1.0), sample.frames, at_most=wanted.size is not None)
        settings = _settings(wanted, Settings(control.index, told=control.told))
        done: Encoded | None = None
        try:
            with opened() as clip, sink() as file:
                done = _write(codec, clip, wanted, file, settings, on_frame)
                if wanted.size is None or done.size_bytes <= wanted.size or done.failure is not None:
                    return done
                raise _Missed
        except _Missed:
            assert done is not None
            total -= 1.02 * (done.size_bytes - (wanted.size or 0)) + 16
    least = done.size_bytes if done else 0
    raise MvcError(
        f"{clip.name} takes {least} bytes, more than {wanted.size}", hint="ask for more, or code fewer frames"
    )


def _reaching(
    search: Search,
    decibels_wanted: float,
    opened: Callable[[], Clip],
    sink: Callable[[], AbstractContextManager[BinaryIO]],
    wanted: Wanted,
    codec: Codec,
    on_frame: Callable[[int], None],
) -> Encoded:
    """The clip at the least index that reaches a PSNR over all frames, beginning where the sample does."""
    from mvc.clip_encoding import Coded
    from mvc.video.groups import Settings
    from mvc.video.rate import decibels

    reached = 0.0
    for index in range(search.for_psnr(decibels_wanted), search.highest + 1):
        values: list[float] = []
        with suppress(_Missed), opened() as clip, sink() as file:

            def watch(coded: Coded, clip: Clip = clip, values: list[float] = values) -> None:
                values.append(decibels(coded, clip))

            settings = Settings(lambda group, index=index: index, watch=watch)  # type: ignore[misc]
            done = _write(codec, clip, wanted, file, _settings(wanted, settings), on_frame)
            reached = sum(values) / len(values)
            if reached >= decibels_wanted or done.failure is not None:
                return done
            raise _Missed
    raise MvcError(
        f"{search.clip.name} reaches {reached:.2f} dB at the finest quality, not {decibels_wanted:g}",
        hint="ask for less",
    )


class _Missed(Exception):
    """What was written is thrown away."""
