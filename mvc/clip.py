"""Clips: frames -> units -> frames. Keyframes stand for themselves; the others are coded given one or two of them.

frames -> [clip_encoding.py] -> units -> container, and back
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from typing import BinaryIO, Literal

import torch
from torch import Tensor

from mvc.clip_choice import State
from mvc.clip_encoding import ClipEncoder, Coded, Group
from mvc.clip_files import MAX_TIME
from mvc.clip_model import ClipModel, Step
from mvc.clip_runs import MOST, by_halves
from mvc.container import ClipHead, Head, Reader, Unit, Writer
from mvc.container.salvage import Lost, salvage
from mvc.entropy.parts import Joint, JointReader
from mvc.errors import Corrupt, FormatError, SourceError, Unsupported, at
from mvc.frames import Frame
from mvc.models import base
from mvc.models.lite_flow import FUTURE, PAST
from mvc.ops.computing import computing
from mvc.quality import check_effort, check_index
from mvc.signals import Signal

DEFAULT_GOP = 12


@dataclass(frozen=True)
class Loss:
    """Frames that could not be decoded: those between two times, None standing for the clip's beginning or end."""

    after: int | None
    before: int | None
    reason: str


class ClipCodec(ClipModel):
    """Encodes and decodes clips with the model of a codec. With a still-picture model every frame is a keyframe.

    Frames have times of 0..MAX_TIME, in units of the clip's time base.
    """

    # --- encode ------------------------------------------------------------------------------------------------------

    def encode(
        self,
        frames: Iterable[Frame],
        file: BinaryIO,
        clip: ClipHead,
        *,
        index: int,
        gop: int = DEFAULT_GOP,
        effort: int = 0,
        bframes: int = 0,
    ) -> int:
        """Write a clip as its frames arrive, a keyframe every `gop` frames; returns how many there were.

        Up to `bframes` frames in a row are each between two others, where the model can do that. Where `frames` raises
        after its first frame, and on Ctrl-C, the file is ended properly before the error goes on.
        SourceError for frames of other sizes or colours, or not in the order of their times, and where there is none.
        """
        frames = iter(frames)
        first = next(frames, None)
        if first is None:
            raise SourceError("the clip has no frames")
        index = min(check_index(index), self.codec.rates - 1)
        head = Head("clip", first.width, first.height, _colour(first), 8, index, self.codec.model_id, clip)
        writer, count = Writer(file, head), 0
        waiting: deque[Coded] = deque()
        try:
            for run in self._runs(head, chain([first], frames), gop, effort, bframes):
                waiting.extend(run)
                while waiting:
                    writer.put(waiting[0].unit)
                    waiting.popleft()
                    count += 1
        finally:
            for coded in waiting:  # a run is written whole: its first frames are nothing without its last
                writer.put(coded.unit)
            if count:
                writer.close()
        return count

    def coded(
        self, head: Head, frames: Iterable[Frame], *, gop: int = DEFAULT_GOP, effort: int = 0, bframes: int = 0
    ) -> Iterator[tuple[Unit, Frame]]:
        """The unit of each frame, and the frame as it will be decoded. Raises as `encode`."""
        for run in self._runs(head, frames, gop, effort, bframes):
            yield from ((own.unit, own.shown) for own in run)

    def _runs(self, head: Head, frames: Iterable[Frame], gop: int, effort: int, bframes: int) -> Iterator[list[Coded]]:
        """The frames as they are coded: those that are nothing without each other at once."""
        if gop < 1:
            raise ValueError(f"gop is {gop}, and a keyframe every frame is the least")
        encoder = ClipEncoder(self, head, check_effort(effort))
        group: Group | None = None
        last, index = -1, head.quality_index
        source, number = iter(frames), 0
        while True:
            try:
                frame = next(source, None)
            except Exception:
                if group:
                    yield group.end()
                raise
            if frame is None:
                break
            check_frame(head, frame)
            if not last < frame.time <= MAX_TIME:
                hint = "times must grow from frame to frame; a coarser time base makes them smaller"
                raise SourceError(f"a frame has the time {frame.time}, outside {last + 1}..{MAX_TIME}", hint=hint)
            last = frame.time
            if group is None or number % gop == 0:
                key = encoder.keyframe(frame, index, alone=gop == 1)
                yield [*(group.end(key) if group else []), key]
                group = Group(encoder, key, index, bframes)
            elif made := group.put(frame):
                yield made
            number += 1
        if group:
            yield group.end()

    # --- decode ------------------------------------------------------------------------------------------------------

    def decode(self, file: BinaryIO, *, start: int = 0, lost: Callable[[Loss], None] | None = None) -> Iterator[Frame]:
        """The frames from the time `start` on, as they arrive.

        In a file that can seek, decoding begins with the nearest keyframe at or before `start`; a pipe is read from its
        beginning. With `lost` a damaged file is searched for what can be decoded, and `lost` is told what cannot;
        else FormatError tells the place, and the frames before it have been handed out.
        """
        head, parts = self._parts(file, start, lost is not None)
        decoding = _Decoding(self, head, lost)
        for unit, state in decoding.frames(_from_keyframe(parts, start)):
            if unit.index >= start:
                yield decoding.signal.frame(state.samples, unit.index)

    def _parts(self, file: BinaryIO, start: int, search: bool) -> tuple[Head, Iterator[Unit | Lost]]:
        """The head of a clip that can be decoded, and its units, those that `start` does not need perhaps left out."""
        if search:
            head, parts = salvage(file)
            self._check(head)
            return head, parts
        reader = Reader(file)
        self._check(reader.head)
        if start and file.seekable():
            go_to_keyframe(reader, start)
        return reader.head, iter(reader)

    def _check(self, head: Head) -> None:
        if head.kind != "clip":
            raise Unsupported("the file is a still picture, not a clip", hint="decode it as a picture")
        self.codec.check_head(head)

    def read(self, head: Head, signal: Signal, unit: Unit, known: State | None) -> State:
        """An anchor, given the one before it."""
        with self._decoding(unit):
            if unit.role not in ("picture", "inter"):
                raise Corrupt(f"a clip has no unit {unit.role}")
            index = self.codec.index_of(head, unit, 1)
            if unit.role == "picture":
                reader = self.reader(self.joint, unit.streams[0])
                size = head.height, head.width
                y_hat = self.codec.network.take(reader, index, size, self.codec.device, self.codec.dtype).y_hat
                reader.finish()
                return self.keyframe(signal, y_hat, index)
            if known is None or self.flow is None:
                why = "its model codes keyframes alone" if known else "there is no frame before it"
                raise Corrupt(f"the frame cannot be decoded: {why}")
            return self._take(head, unit, self.inter(signal, known, index), index)

    def read_between(
        self, head: Head, signal: Signal, unit: Unit, past: State, future: State, later: base.Side
    ) -> State:
        """A frame given one on each side of it; `later` is the one of them that was decoded given the other."""
        with self._decoding(unit):
            index = self.codec.index_of(head, unit, 1)
            return self._take(head, unit, self.between(signal, past, future, later, index), index)

    def _take(self, head: Head, unit: Unit, step: Step, index: int) -> State:
        stream, size = unit.streams[0], (head.height, head.width)
        if not stream and step.repeated is not None:
            return step.repeated
        reader = self.reader(self.joint, stream) if stream else None
        parts = step.parts_of(reader) if reader else []

        def code(part: str, x: Tensor | None, given: Tensor | None, of: base.Moving | None) -> base.Coded | None:
            if part not in parts:
                return None
            assert reader is not None
            with at(part):
                network = self.networks[step.networks[part]]
                return network.take(reader, index, size, self.codec.device, self.codec.dtype, given)

        state = step.shown(code, None, "")
        if reader:
            reader.finish()
        return state

    @contextmanager
    def _decoding(self, unit: Unit) -> Iterator[None]:
        with computing(self.codec.threads), torch.no_grad(), at(f"{unit.role} {unit.index}"):
            yield

    def reader(self, joint: Joint, stream: bytes) -> JointReader:
        """What reads the stream of a unit."""
        return JointReader(joint, stream)


class _Decoding:
    """The frames of a clip's units: anchors as they come, those between two of them when the second has come."""

    def __init__(self, codec: ClipCodec, head: Head, lost: Callable[[Loss], None] | None) -> None:
        self.codec, self.head, self.lost = codec, head, lost
        self.signal = codec.signal(head)
        self.state: State | None = None  # of the last anchor
        self.run: list[Unit] = []  # that waits for the next anchor
        self.broken = False  # some of the run is lost, so the rest cannot be decoded either
        self.after: int | None = None
        self.reason = ""  # why frames behind `after` are lost

    def frames(self, parts: Iterable[Unit | Lost]) -> Iterator[tuple[Unit, State]]:
        """Each unit with its frame, in the order of their times. Raises, or tells of losses, as `ClipCodec.decode`."""
        gap = False
        for part in parts:
            if isinstance(part, Lost):
                # What comes next is a keyframe or refers to the unit before: the bytes may have held sound alone.
                self.reason = self.reason or f"bytes {part.start} to {part.end - 1} cannot be read"
                gap = True
                continue
            if gap and part.role == "picture":
                self.run.clear()  # nothing says how much of it there was
            gap = False
            yield from self._unit(part)
        try:
            self._ended()
        except FormatError as error:
            self._failed(error)
        if self.lost and self.reason:
            self.lost(Loss(self.after, None, self.reason))

    def _unit(self, unit: Unit) -> Iterator[tuple[Unit, State]]:
        if self.lost and unit.role != "picture" and self.state is None:
            return  # what it refers to is lost
        if unit.role == "between" and self.broken:
            return
        try:
            if unit.role == "between":
                self._keep(unit)
                return
            past, self.state = self.state, None
            self.state = self.codec.read(self.head, self.signal, unit, past)
        except FormatError as error:
            self._failed(error)
            return
        run, self.run = self.run, []
        if run:
            assert past is not None
            try:
                for own, state in zip(run, by_halves(run, past, self.state, self._between), strict=True):
                    yield self._told(own, state)
            except FormatError as error:
                self._failed(error)
        self.broken = False
        yield self._told(unit, self.state)

    def _between(self, unit: Unit, past: State, future: State, future_later: bool, halved: int) -> State:
        later = FUTURE if future_later else PAST
        return self.codec.read_between(self.head, self.signal, unit, past, future, later)

    def _keep(self, unit: Unit) -> None:
        """Let a frame between two others wait for the second."""
        with at(f"{unit.role} {unit.index}"):
            if self.state is None:
                raise Corrupt("there is no frame before it")
            if not self.codec.two_sided:
                raise Corrupt("its model codes no frames between two others")
            if len(self.run) == MOST:
                raise Corrupt(f"more than {MOST} frames in a row are between two others")
        self.run.append(unit)

    def _ended(self) -> None:
        if self.run:
            with at(f"{self.run[0].role} {self.run[0].index}"):
                raise Corrupt("there is no frame behind it")

    def _failed(self, error: FormatError) -> None:
        """Raise an error, or remember it where losses are told."""
        if self.lost is None:
            raise error
        self.reason = self.reason or str(error)
        self.run, self.broken = [], True

    def _told(self, unit: Unit, state: State) -> tuple[Unit, State]:
        """A frame to be shown; of those lost before it is told."""
        if self.lost and self.reason:
            self.lost(Loss(self.after, unit.index, self.reason))
            self.reason = ""
        self.after = unit.index
        return unit, state


def _colour(frame: Frame) -> Literal["rgb", "gray"]:
    return "gray" if len(frame.planes) == 1 else "rgb"


def check_frame(head: Head, frame: Frame) -> None:
    """SourceError for a frame of another size or colour than its clip."""
    if (frame.width, frame.height, _colour(frame)) != (head.width, head.height, head.colour):
        own = f"{frame.width}x{frame.height} {_colour(frame)}"
        first = f"{head.width}x{head.height} {head.colour}"
        raise SourceError(
            f"the frame at time {frame.time} is {own}, those before it {first}", hint="scale it to their size"
        )


def go_to_keyframe(reader: Reader, start: int) -> None:
    """Let the reader go on with the last keyframe at or before a time; with the first unit if there is none."""
    chosen = None
    for head in reader.heads():
        if chosen and head.index > start:
            break
        if chosen is None or head.role == "picture":
            chosen = head
    if chosen:
        reader.go_to(chosen)


def _from_keyframe(parts: Iterable[Unit | Lost], start: int) -> Iterator[Unit | Lost]:
    """The same from the last keyframe at or before a time on."""
    parts = iter(parts)
    kept: list[Unit | Lost] = []
    for part in parts:
        if isinstance(part, Unit) and part.role == "picture" and part.index <= start:
            kept.clear()
        kept.append(part)
        if isinstance(part, Unit) and part.index >= start:
            break
    yield from kept
    yield from parts
