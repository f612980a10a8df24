"""From a video to an .mvc file: frames in groups (GOPs), each group coded by itself, sound between them.

frames -> [scenes.py, --gop] -> groups -> [clip.py; as many at a time as there are jobs] -> units -> container

A group begins with a keyframe and refers to nothing outside, so groups can be coded side by side; they are written in
their order, and the file does not depend on how many jobs there were.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import BinaryIO, NamedTuple

from mvc.clip import DEFAULT_GOP, ClipCodec
from mvc.clip_files import MAX_TIME, clip_head
from mvc.container import Colour, Head, Unit, Writer
from mvc.errors import MvcError, SourceError
from mvc.frames import AudioPacket, Clip, Frame
from mvc.quality import check_index
from mvc.video.scenes import SceneCuts
from mvc.video.sound import SoundIn

LAG = 4
"""The quality of a group may depend on those that are this many before it, and so no more are coded side by side."""


class Coded(NamedTuple):
    """A frame that was coded: as it came, its unit, and what a decoder will show."""

    frame: Frame
    unit: Unit
    shown: Frame


@dataclass(frozen=True)
class Settings:
    """How a clip is coded. `index` says the quality index of a group; `told` hears of each group's frames and bytes.

    `jobs` groups are coded at a time, each with `gop` frames in memory; with `told` no more than LAG. `watch` sees
    every frame when it is coded, in the threads that code.
    """

    index: Callable[[int], int]
    gop: int = DEFAULT_GOP
    scene_cuts: bool = True
    effort: int = 0
    jobs: int = 1
    told: Callable[[int, int, int], None] | None = None
    watch: Callable[[Coded], None] = lambda coded: None

    def __post_init__(self) -> None:
        if self.gop < 1 or self.jobs < 1:
            raise ValueError(f"gop is {self.gop} and jobs is {self.jobs}: 1 is the least of both")


def groups(frames: Iterable[Frame], gop: int, scene_cuts: bool) -> Iterator[tuple[int, Frame]]:
    """Each frame with the number of its group: a new one begins every `gop` frames, and where the scene changes."""
    number, count, cut = -1, gop, SceneCuts()
    for frame in frames:
        new_scene = scene_cuts and cut(frame)
        if count == gop or new_scene:
            number, count = number + 1, 0
        count += 1
        yield number, frame


def coded_group(
    coder: ClipCodec, head: Head, frames: Iterable[Frame], index: int, effort: int, stop: threading.Event | None = None
) -> Iterator[Coded]:
    """The frames of a group, of which the first is a keyframe; up to `stop`."""
    held: deque[Frame] = deque()

    def passing() -> Iterator[Frame]:
        for frame in frames:
            held.append(frame)
            yield frame

    for unit, shown in coder.coded(replace(head, quality_index=index), passing(), gop=MAX_TIME, effort=effort):
        if unit.quality_index is None and index != head.quality_index:
            unit = replace(unit, quality_index=index)
        yield Coded(held.popleft(), unit, shown)
        if stop and stop.is_set():
            return


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
        self._coder, self._clip, self._settings = coder, clip, settings
        self._head = head_of_clip(coder, clip, settings.index(0))
        self._file = file
        self._sound: SoundIn | None = None
        self._packets: dict[int, list[AudioPacket]] = {}  # by the time of the frame before which they came
        self._stop = threading.Event()
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
        units = self._units(_chained(first, frames))
        try:
            for unit in units:
                if self._sound:
                    self._sound.put(self._packets.pop(unit.index, []), unit.index * self._clip.time_base)
                writer.put(unit)
                self.count += 1
                yield unit
            if self._sound:
                self._sound.close(self._clip.take_audio(), self._end if self._part else None)
        finally:
            self._stop.set()
            units.close()
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

    # Groups --------------------------------------------------------------------------------------------------------

    def _units(self, frames: Iterator[Frame]) -> Generator[Unit, None, None]:
        numbered = groups(frames, self._settings.gop, self._settings.scene_cuts)
        if self._settings.jobs == 1:
            yield from self._one_by_one(numbered)
        else:
            yield from self._side_by_side(numbered)

    def _index(self, number: int) -> int:
        return min(check_index(self._settings.index(number)), self._coder.codec.rates - 1)

    def _one_by_one(self, numbered: Iterator[tuple[int, Frame]]) -> Generator[Unit, None, None]:
        held = deque([next(numbered)])
        told: deque[tuple[int, int, int]] = deque()
        while held:
            number = held[0][0]

            def own(number: int = number) -> Iterator[Frame]:
                while held and held[0][0] == number:
                    yield held.popleft()[1]
                    held.extend(_next(numbered))

            self._tell(told, number)
            count = size = 0
            for coded in coded_group(self._coder, self._head, own(), self._index(number), self._settings.effort):
                count, size = count + 1, size + _size(coded.unit)
                self._settings.watch(coded)
                yield coded.unit
            told.append((number, count, size))

    def _tell(self, told: deque[tuple[int, int, int]], number: int) -> None:
        """Tell of the groups that the quality of this one may depend on: the same, however many jobs there are."""
        while told and told[0][0] <= number - LAG:
            group = told.popleft()
            if self._settings.told:
                self._settings.told(*group)

    def _side_by_side(self, numbered: Iterator[tuple[int, Frame]]) -> Generator[Unit, None, None]:
        jobs = min(self._settings.jobs, LAG) if self._settings.told else self._settings.jobs
        pool = ThreadPoolExecutor(jobs, "mvc-gop")
        under_way: deque[tuple[int, Future[tuple[list[Unit], BaseException | None]]]] = deque()
        told: deque[tuple[int, int, int]] = deque()

        def finished() -> Iterator[Unit]:
            number, future = under_way[0]
            units, error = future.result()
            under_way.popleft()
            yield from units
            if error is not None:
                raise error
            told.append((number, len(units), sum(map(_size, units))))

        try:
            failure: MvcError | None = None
            for number, frames, reason in _collected(numbered):
                failure = reason
                if len(under_way) == jobs:
                    yield from finished()
                self._tell(told, number)
                index = self._index(number)
                under_way.append((number, pool.submit(self._code, frames, index)))
                del frames
            while under_way:
                yield from finished()
            if failure is not None:
                raise failure
        finally:
            self._stop.set()
            pool.shutdown(wait=True, cancel_futures=True)

    def _code(self, frames: list[Frame], index: int) -> tuple[list[Unit], BaseException | None]:
        """The units of a group, as far as it goes, and why it did not go further."""
        units: list[Unit] = []
        try:
            own, effort = _emptied(frames), self._settings.effort
            for coded in coded_group(self._coder, self._head, own, index, effort, self._stop):
                self._settings.watch(coded)
                units.append(coded.unit)
        except BaseException as error:
            return units, error
        return units, None


def _size(unit: Unit) -> int:
    return sum(map(len, unit.streams)) + 16


def _chained(first: Frame, rest: Iterator[Frame]) -> Iterator[Frame]:
    held = [first]
    del first
    yield held.pop()
    yield from rest


def _emptied(frames: list[Frame]) -> Iterator[Frame]:
    """The frames, of which none is held any longer when it has been used."""
    frames.reverse()
    while frames:
        yield frames.pop()


def _next(numbered: Iterator[tuple[int, Frame]]) -> list[tuple[int, Frame]]:
    found = next(numbered, None)
    return [] if found is None else [found]


def _collected(numbered: Iterator[tuple[int, Frame]]) -> Iterator[tuple[int, list[Frame], MvcError | None]]:
    """Whole groups. Where the source fails: what there is of the last, and the failure."""
    number = 0
    frames: list[Frame] = []
    failure: MvcError | None = None
    try:
        for own, frame in numbered:
            if own != number:
                yield number, frames, None
                number, frames = own, []
            frames.append(frame)
            del frame
    except MvcError as error:
        failure = error
    yield number, frames, failure
