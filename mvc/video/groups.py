"""Frames in groups (GOPs), each coded by itself, one after the other or as many at a time as there are jobs.

A group begins with a keyframe and refers to nothing outside but the next one's keyframe, if it has frames between two
others and the scene goes on. So groups can be coded side by side once keyframes are; they come out in their order, and
what comes out does not depend on how many jobs there were.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import NamedTuple

from mvc.clip import DEFAULT_GOP, check_frame
from mvc.clip_encoding import ClipEncoder, Coded, Group
from mvc.clip_runs import DEFAULT, MOST
from mvc.container import Unit
from mvc.errors import MvcError
from mvc.frames import Frame
from mvc.quality import check_index, whole_number
from mvc.video.scenes import SceneCuts

LAG = 5
"""The quality of a group may depend on those that are this many before it, and so fewer are coded side by side."""


@dataclass(frozen=True)
class Settings:
    """How a clip is coded. `index` says the quality index of a group; `told` hears of each group's frames and bytes.

    Up to `bframes` frames in a row are each between two others, where the model can do that. `jobs` groups are coded at
    a time, each with `gop` frames in memory; with `told` fewer than LAG. `watch` sees every frame when it is coded, in
    the threads that code.
    """

    index: Callable[[int], int]
    gop: int = DEFAULT_GOP
    scene_cuts: bool = True
    effort: int = 0
    bframes: int = DEFAULT
    jobs: int = 1
    told: Callable[[int, int, int], None] | None = None
    watch: Callable[[Coded], None] = lambda coded: None

    def __post_init__(self) -> None:
        if self.gop < 1 or self.jobs < 1:
            raise ValueError(f"gop is {self.gop} and jobs is {self.jobs}: 1 is the least of both")
        whole_number("bframes", self.bframes, 0, MOST)


class Numbered(NamedTuple):
    """A frame, the number of its group, and whether a new scene begins with it."""

    group: int
    frame: Frame
    cut: bool


def groups(frames: Iterable[Frame], gop: int, scene_cuts: bool) -> Iterator[Numbered]:
    """Each frame with the number of its group: a new one begins every `gop` frames, and where the scene changes."""
    number, count, cut = -1, gop, SceneCuts()
    for frame in frames:
        new_scene = scene_cuts and cut(frame)
        if count == gop or new_scene:
            number, count = number + 1, 0
        count += 1
        yield Numbered(number, frame, new_scene)


def coded_group(encoder: ClipEncoder, frames: Iterable[Frame], index: int, bframes: int = 0) -> Iterator[Coded]:
    """The frames of a group by itself, of which the first is a keyframe."""
    frames = iter(frames)
    key = encoder.keyframe(next(frames), index)
    yield key
    group = Group(encoder, key, index, bframes)
    for frame in frames:
        yield from group.put(frame)
    yield from group.end()


def size_of(unit: Unit) -> int:
    """About the bytes of a unit in the file."""
    return sum(map(len, unit.streams)) + 16


class Groups:
    """Codes the frames of a clip; `runs` is to be had once."""

    def __init__(self, encoder: ClipEncoder, settings: Settings) -> None:
        self._encoder, self._settings = encoder, settings
        self._stop = threading.Event()

    def runs(self, frames: Iterable[Frame]) -> Generator[list[Unit], None, None]:
        """The units as they are coded: those that are nothing without each other at once.

        Where the source fails, what there is comes out before the error does.
        """
        numbered = groups(self._checked(frames), self._settings.gop, self._settings.scene_cuts)
        if self._settings.jobs == 1:
            yield from self._one_by_one(numbered)
        else:
            yield from self._side_by_side(numbered)

    def _checked(self, frames: Iterable[Frame]) -> Iterator[Frame]:
        for frame in frames:
            check_frame(self._encoder.head, frame)
            yield frame

    def _index(self, number: int) -> int:
        return min(check_index(self._settings.index(number)), self._encoder.model.codec.rates - 1)

    def _keyframe(self, frame: Frame, index: int) -> Coded:
        return self._encoder.keyframe(frame, index, alone=self._settings.gop == 1)

    def _seen(self, coded: list[Coded], tally: _Tally) -> list[Unit]:
        for own in coded:
            self._settings.watch(own)
            tally.frames, tally.size = tally.frames + 1, tally.size + size_of(own.unit)
        return [own.unit for own in coded]

    def _one_by_one(self, numbered: Iterator[Numbered]) -> Generator[list[Unit], None, None]:
        told: deque[_Tally] = deque()
        group: Group | None = None
        tally = _Tally(-1)
        source = _Source(numbered)
        for own in source:
            if group and own.group == tally.group:
                made = group.put(own.frame)
                if made:
                    yield self._seen(made, tally)
                continue
            self._tell(told, own.group)
            index = self._index(own.group)
            key = self._keyframe(own.frame, index)
            if group:
                yield self._seen(group.end(None if own.cut else key), tally)
                told.append(tally)
            group, tally = Group(self._encoder, key, index, self._settings.bframes), _Tally(own.group)
            yield self._seen([key], tally)
        if group:
            yield self._seen(group.end(), tally)
        if source.failure is not None:
            raise source.failure

    def _tell(self, told: deque[_Tally], number: int) -> None:
        """Tell of the groups that the quality of this one may depend on: the same, however many jobs there are."""
        while told and told[0].group <= number - LAG:
            tally = told.popleft()
            if self._settings.told:
                self._settings.told(tally.group, tally.frames, tally.size)

    def _side_by_side(self, numbered: Iterator[Numbered]) -> Generator[list[Unit], None, None]:
        jobs = min(self._settings.jobs, LAG - 1) if self._settings.told else self._settings.jobs
        pool = ThreadPoolExecutor(jobs, "mvc-gop")
        under_way: deque[tuple[_Tally, Future[tuple[list[list[Unit]], BaseException | None]]]] = deque()
        told: deque[_Tally] = deque()
        begun: _Begun | None = None

        def begin(following: Future[Coded] | None) -> None:
            if begun:
                under_way.append((begun.tally, pool.submit(self._code, begun, following)))

        def finished() -> Iterator[list[Unit]]:
            tally, future = under_way[0]
            runs, error = future.result()
            under_way.popleft()
            yield from runs
            if error is not None:
                raise error
            told.append(tally)

        try:
            source = _Source(numbered)
            for number, frames, cut in _collected(iter(source)):
                if len(under_way) == jobs:
                    yield from finished()
                self._tell(told, number)
                index = self._index(number)
                # keyframes come before what waits for them, so something can always go on
                key = pool.submit(self._keyframe, frames[0], index)
                begin(None if cut else key)
                begun = _Begun(_Tally(number), key, frames, index)
                del frames
            begin(None)
            begun = None
            while under_way:
                yield from finished()
            if source.failure is not None:
                raise source.failure
        finally:
            self._stop.set()
            pool.shutdown(wait=True, cancel_futures=True)

    def _code(self, begun: _Begun, following: Future[Coded] | None) -> tuple[list[list[Unit]], BaseException | None]:
        """What `runs` gives of a group, as far as it goes, and why it did not go further."""
        runs: list[list[Unit]] = []

        def note(coded: list[Coded]) -> None:
            runs.append(self._seen(coded, begun.tally))

        try:
            key = begun.key.result()
            note([key])
            group = Group(self._encoder, key, begun.quality, self._settings.bframes)
            del begun.frames[0]
            for frame in _emptied(begun.frames):
                note(group.put(frame))
                if self._stop.is_set():
                    return runs, None
            try:
                note(group.end(following.result() if following else None))
            except BaseException:
                note(group.end())
                raise
        except BaseException as error:
            return runs, error
        return runs, None


@dataclass
class _Tally:
    """What a group has come to; `size` in bytes."""

    group: int
    frames: int = 0
    size: int = 0


class _Begun(NamedTuple):
    """A group whose keyframe is being coded; the frames are taken away one by one."""

    tally: _Tally
    key: Future[Coded]
    frames: list[Frame]
    quality: int


class _Source:
    """Frames up to where their source fails; the failure is kept."""

    failure: MvcError | None = None

    def __init__(self, frames: Iterator[Numbered]) -> None:
        self._frames = frames

    def __iter__(self) -> Iterator[Numbered]:
        try:
            yield from self._frames
        except MvcError as error:
            self.failure = error


def _emptied(frames: list[Frame]) -> Iterator[Frame]:
    """The frames, of which none is held any longer when it has been used."""
    frames.reverse()
    while frames:
        yield frames.pop()


def _collected(numbered: Iterator[Numbered]) -> Iterator[tuple[int, list[Frame], bool]]:
    """Whole groups, and whether a new scene begins with them."""
    number, cut = 0, False
    frames: list[Frame] = []
    for own in numbered:
        if own.group != number:
            yield number, frames, cut
            number, frames, cut = own.group, [], own.cut
        frames.append(own.frame)
        del own
    if frames:
        yield number, frames, cut
