"""`decode_video`: a clip in an .mvc file into a video, y4m or pictures; all, a part, or what is left of it."""

from __future__ import annotations

import itertools
import os
import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from mvc.arguments import check_device, check_model, check_threads
from mvc.errors import SourceError, libraries
from mvc.frames import AudioPacket, AudioTrack, Frame
from mvc.media.clips import write_clip
from mvc.media.video_out import VIDEO_SUFFIXES
from mvc.video.moments import BEGINNING, Part, Start, moment, threads_of
from mvc.video.reader import ClipFile
from mvc.video.sound import SoundOut

if TYPE_CHECKING:
    from mvc.clip import Loss
    from mvc.codec import Codec


@dataclass(frozen=True)
class Decoded:
    """What `decode_video` wrote. `lost` are the places of a damaged clip whose frames are missing."""

    width: int
    height: int
    frames: int
    losses: tuple[str, ...]
    lost: tuple[str, ...] = ()


def decode_video(
    source: str | os.PathLike[str] | bytes | BinaryIO,
    target: str | os.PathLike[str] | BinaryIO,
    *,
    start: Start = 0,
    frames: int | None = None,
    recover: bool = False,
    audio: bool = True,
    jobs: int = 1,
    crf: int | None = None,
    model: str | os.PathLike[str] | None = None,
    device: str = "auto",
    threads: int | None = None,
    force: bool = False,
    on_frame: Callable[[int], None] = lambda count: None,
) -> Decoded:
    """Decode an .mvc file with a clip into a file, and say what was written.

    `target` is a name that says the kind (.y4m, .mp4, .mkv, .webm, .mov, a folder or "%04d.png"), or an open binary
    file, which gets y4m. `start` (seconds, or text such as "1:02.5" or "frame 120") and `frames` choose a part, whose
    times then begin at 0. With `recover`, a damaged file gives all frames that can be decoded. `audio` copies sound
    into videos. `jobs` GOPs are decoded at a time. `crf` is the quality of the target's encoder (see `write_clip`).
    What the target does not keep, and frames that are lost, are told with a `LossWarning`, and listed in the result.
    Raises `MvcError`s for what cannot be read or written, the frames before a damaged place being written and kept.
    """
    part = Part(moment(start), frames, recover, audio, jobs)
    device, threads = check_device(device), threads_of(check_threads(threads), jobs)
    own = None if model is None else check_model(model)
    with libraries():
        from mvc.codec import load
        from mvc.media import LossWarning

    done = decode_as(
        source, target, lambda found: load(own or found, device, threads), part, crf=crf, force=force, on_frame=on_frame
    )
    for loss in (*done.losses, *done.lost):
        warnings.warn(loss, LossWarning, stacklevel=2)
    return done


def decode_as(
    source: Any,
    target: Any,
    load: Callable[[bytes], Codec],
    part: Part,
    *,
    crf: int | None = None,
    name: str | None = None,
    force: bool = False,
    on_frame: Callable[[int], None] = lambda count: None,
) -> Decoded:
    """`decode_video` with its arguments checked."""
    video = isinstance(target, (str, os.PathLike)) and Path(target).suffix.lower() in VIDEO_SUFFIXES
    with ExitStack() as stack:
        if hasattr(source, "read") and (video or part.recover):
            name = name or "the clip"
            source = _copied(source, stack)  # sound is read beside the pictures
        clip = ClipFile(source, load, name=name)
        run = _Run(clip, part, on_frame)
        first = next(run.decoded, None)
        if first is None:
            raise SourceError(f"{clip.name} has no frames there", hint="`mvc info` tells how long it is")
        if part.audio and not hasattr(source, "read"):
            run.listen(stack.enter_context(clip.opened()), first)
        losses = write_clip(
            target, run.info, run.frames(first), crf=crf, tracks=run.tracks, take_audio=run.take_audio, force=force
        )
        if run.sound and run.sound.damaged:
            losses = (*losses, f"{run.sound.damaged} pieces of sound are damaged and left out")
    return Decoded(clip.width, clip.height, run.count, losses, tuple(run.lost))


def _copied(source: BinaryIO, stack: ExitStack) -> Path:
    """A copy in a file, which is there as long as the stack is."""
    path = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="mvc-")), "clip.mvc")
    with path.open("wb") as file:
        shutil.copyfileobj(source, file)
    return path


class _Run:
    """Frames of a part of a clip, on a clock that begins with them, and the sound that belongs to each."""

    tracks: tuple[AudioTrack, ...] = ()
    sound: SoundOut | None = None

    def __init__(self, clip: ClipFile, part: Part, on_frame: Callable[[int], None]) -> None:
        self._clip, self._part, self._on_frame = clip, part, on_frame
        self.info, self.count = clip.info, 0
        self.lost: list[str] = []
        self._now: Fraction | None = Fraction(0)  # in seconds of the clip: so far sound is wanted
        lost = self._note if part.recover else None
        self.decoded = clip.frames(part.start, part.frames, lost=lost, jobs=part.jobs)

    def listen(self, file: BinaryIO, first: Frame) -> None:
        """Read the sound, too, from a file object of its own."""
        self.sound = SoundOut(file, self._begin(first) * self.info.time_base)
        self.tracks = self.sound.tracks

    def frames(self, first: Frame) -> Iterator[Frame]:
        """All frames, of which the first has been had."""
        begin, unit = self._begin(first), self.info.time_base
        last = step = 0
        for frame in itertools.chain([first], self.decoded):
            self.count += 1
            last, step = frame.time, frame.time - last
            self._now = frame.time * unit
            yield replace(frame, time=frame.time - begin)
            self._on_frame(self.count)
        self._now = None if self._part.frames is None else (last + step) * unit

    def take_audio(self) -> list[AudioPacket]:
        """The packets that belong to the frames so far."""
        return self.sound.until(self._now) if self.sound else []

    def _begin(self, first: Frame) -> int:
        return first.time if self._part.start != BEGINNING else 0

    def _note(self, loss: Loss) -> None:
        unit = self.info.time_base
        after, before = (None if time is None else f"{float(time * unit):.3f} s" for time in (loss.after, loss.before))
        place = f"after {after}" if after else "at the beginning"
        if before:
            place = f"between {after} and {before}" if after else f"before {before}"
        self.lost.append(f"frames {place} are lost: {loss.reason}")
