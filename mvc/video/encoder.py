"""From a video to an .mvc file: frames in groups (GOPs), sound between them.

frames -> [scenes.py, --gop] -> groups -> [groups.py, clip_encoding.py] -> units -> container
"""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterator
from dataclasses import replace
from fractions import Fraction
from typing import BinaryIO

from mvc.clip import ClipCodec
from mvc.clip_encoding import ClipEncoder
from mvc.clip_files import MAX_TIME, clip_head
from mvc.container import Colour, Head, Unit, Writer
from mvc.errors import SourceError
from mvc.frames import AudioPacket, Clip, Frame
from mvc.quality import check_index
from mvc.video.groups import Groups, Settings
from mvc.video.sound import SoundIn


def head_of_clip(coder: ClipCodec, clip: Clip, index: int) -> Head:
    """The head of the file of a clip."""
    colour: Colour = "gray" if clip.pixel_format == "gray" else "rgb"
    index = min(check_index(index), coder.codec.rates - 1)
    return Head("clip", clip.width, clip.height, colour, 8, index, coder.codec.model_id, clip_head(clip))


class Encoder:
    """Writes a clip into a file as its frames arrive; `steps` gives each unit when it is written.

    Where the source fails after its first frame, and on Ctrl-C, the frames so far are written and the file is ended
    properly before the error goes on. Sound is copied if the clip was opened with it; of a `part` of a clip, that of
    its frames. Raises `SourceError` for frames whose times do not rise, and where there is none.
    """

    def __init__(self, coder: ClipCodec, clip: Clip, file: BinaryIO, settings: Settings, *, part: bool = False) -> None:
        self._part = part
        self._clip = clip
        self._head = head_of_clip(coder, clip, settings.index(0))
        self._groups = Groups(ClipEncoder(coder, self._head, settings.effort), settings)
        self._file = file
        self._sound: SoundIn | None = None
        self._packets: dict[int, list[AudioPacket]] = {}  # by the time of the frame before which they came
        self.count = self.size = self.dropped = 0

    def steps(self) -> Generator[Unit, None, None]:
        """Encode; to be run once."""
        frames = self._from_zero()
        first = next(frames, None)
        if first is None:
            raise SourceError("the clip has no frames")
        writer = Writer(self._file, self._head)
        if self._clip.tracks:
            self._sound = SoundIn(writer, self._clip.tracks, self._begin, part=self._part)
        runs = self._groups.runs(_chained(first, frames))
        waiting: deque[Unit] = deque()

        def write() -> Iterator[Unit]:
            while waiting:
                unit = waiting[0]
                if self._sound:
                    self._sound.put(self._packets.pop(unit.index, []), unit.index * self._clip.time_base)
                writer.put(unit)
                waiting.popleft()
                self.count += 1
                yield unit

        try:
            for run in runs:
                waiting.extend(run)
                if waiting and waiting[-1].role != "between":  # else the next keyframe must follow
                    yield from write()
            if self._sound:
                self._sound.close(self._clip.take_audio(), self._end if self._part else None)
        finally:
            runs.close()
            while waiting and waiting[-1].role == "between":
                waiting.pop()
            for _ in write():  # a run is written whole: its first frames are nothing without its last
                pass
            if self._sound:
                self._sound.close()
                self.dropped = self._sound.dropped
            if self.count:
                writer.close()
                self.size = writer.size

    def _from_zero(self) -> Iterator[Frame]:
        last: int | None = None
        begin = 0
        for frame in self._clip.frames():
            if last is None:
                begin, self._begin = frame.time, frame.time * self._clip.time_base
            time = frame.time - begin
            if not (-1 if last is None else last) < time <= MAX_TIME:
                hint = "times must grow from frame to frame; a coarser time base makes them smaller"
                raise SourceError(f"a frame has the time {time}, outside {(last or 0) + 1}..{MAX_TIME}", hint=hint)
            self._end, last = (2 * time - (last or 0)) * self._clip.time_base, time
            if self._clip.tracks:
                self._packets[time] = self._clip.take_audio()
            yield replace(frame, time=time)

    _begin = _end = Fraction(0)  # in seconds, of the source and of the clip in the file


def _chained(first: Frame, rest: Iterator[Frame]) -> Iterator[Frame]:
    held = [first]
    del first
    yield held.pop()
    yield from rest
