"""Clips: frames -> units -> frames. Keyframes stand for themselves; the others are coded given the one before.

frame -> [keyframe: network "picture"; else: the flow's networks, given what is known] -> unit -> container, and back

What is known goes from frame to frame as a value: the frame before as a decoder shows it, its samples rounded to
8 bits, and latents. No network remembers anything.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from typing import BinaryIO, Literal

import numpy as np
import torch
from torch import Tensor

from mvc.clip_choice import Attempt, Parts, State, cheapest, index_at, motion_helps
from mvc.clip_files import MAX_TIME
from mvc.codec import Codec
from mvc.container import ClipHead, Head, Reader, Unit, Writer
from mvc.container.salvage import Lost, salvage
from mvc.container.units import Role
from mvc.effort import motion
from mvc.effort.refine import INTER_ITERATIONS, ITERATIONS, KEY_ITERATIONS
from mvc.entropy.parts import Joint, JointReader, JointWriter
from mvc.entropy.tables import Tables
from mvc.errors import Corrupt, FormatError, SourceError, Unsupported, at
from mvc.frames import Frame
from mvc.models import registry
from mvc.models.base import Code, Coded, Known, Piece
from mvc.ops.computing import computing
from mvc.painting import place
from mvc.quality import check_effort, check_index
from mvc.signals import SIGNALS, Signal

DEFAULT_GOP = 12
MOTION_PART = "motion"
PARTS = Tables(
    np.array([0, 32768, 49152, 65535, 65536], np.uint32), *(np.array([value], np.int32) for value in (0, 1, 0))
)
"""The first symbol of a frame between keyframes: 0 for both parts, 1 without motion, 2 without residual."""


@dataclass(frozen=True)
class Loss:
    """Frames that could not be decoded: those between two times, None standing for the clip's beginning or end."""

    after: int | None
    before: int | None
    reason: str


class ClipCodec:
    """Encodes and decodes clips with the model of a codec. With a still-picture model every frame is a keyframe.

    Frames have times of 0..MAX_TIME, in units of the clip's time base.
    """

    def __init__(self, codec: Codec) -> None:
        self.codec = codec
        self.networks = {name: network.to(codec.device) for name, network in codec.weights.networks.items()}
        models = {name: network.model for name, network in self.networks.items()}
        preset = registry.known(codec.weights.name)
        self.flow = preset.flow_of(models)
        self.packing = preset.packing
        tables = [own for network in self.networks.values() for own in (network.hyper_tables, network.latent_tables)]
        self.joint = Joint([PARTS, *tables])

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
    ) -> int:
        """Write a clip as its frames arrive, a keyframe every `gop` frames; returns how many there were.

        Where `frames` raises after its first frame, and on Ctrl-C, the file is ended properly before the error goes on.
        SourceError for frames of other sizes or colours, or not in the order of their times, and where there is none.
        """
        return sum(1 for _ in self.steps(frames, file, clip, index=index, gop=gop, effort=effort))

    def steps(
        self,
        frames: Iterable[Frame],
        file: BinaryIO,
        clip: ClipHead,
        *,
        index: int,
        gop: int = DEFAULT_GOP,
        effort: int = 0,
    ) -> Generator[Unit, None, None]:
        """As `encode`, frame by frame: each unit when it is written."""
        frames = iter(frames)
        first = next(frames, None)
        if first is None:
            raise SourceError("the clip has no frames")
        index = min(check_index(index), self.codec.rates - 1)
        head = Head("clip", first.width, first.height, _colour(first), 8, index, self.codec.model_id, clip)
        writer, count = Writer(file, head), 0
        try:
            for unit, _ in self.coded(head, chain([first], frames), gop=gop, effort=effort):
                writer.put(unit)
                count += 1
                yield unit
        finally:
            if count:
                writer.close()

    def coded(
        self, head: Head, frames: Iterable[Frame], *, gop: int = DEFAULT_GOP, effort: int = 0
    ) -> Iterator[tuple[Unit, Frame]]:
        """The unit of each frame, and the frame as it will be decoded. Raises as `encode`."""
        if gop < 1:
            raise ValueError(f"gop is {gop}, and a keyframe every frame is the least")
        check_effort(effort)
        state: State | None = None
        signal, last, behind = self._signal(head), -1, 0
        for number, frame in enumerate(frames):
            _check_frame(head, frame, last)
            last = frame.time
            with computing(self.codec.threads), torch.no_grad():
                samples = signal.samples(frame)
                if state is None or self.flow is None or number % gop == 0:
                    unit, state = self._write_keyframe(head, signal, samples, last, effort, alone=gop == 1)
                    behind = 1
                else:
                    index = index_at(behind, head.quality_index, self.codec.rates)
                    unit, state = self._write(head, signal, samples, last, state, index, effort)
                    behind += bool(unit.streams[0])  # a repeated frame has no place of its own
            yield unit, signal.frame(state.samples, last)

    def _write_keyframe(
        self, head: Head, signal: Signal, samples: np.ndarray, time: int, effort: int, *, alone: bool
    ) -> tuple[Unit, State]:
        """`alone`: no other frame is made from it."""
        index, iterations_of = head.quality_index, ITERATIONS
        if self.flow is not None and not alone:
            index, iterations_of = index_at(0, index, self.codec.rates), KEY_ITERATIONS
        y, z = self.codec.latents(signal.tensor(samples), (head.height, head.width), index, effort, iterations_of)
        writer = JointWriter(self.joint)
        y_hat = self.codec.network.put(writer, y, z, index, self.codec.dtype).y_hat
        return _unit("picture", head, time, index, writer.finish()), self._keyframe(signal, y_hat, index)

    def _write(
        self, head: Head, signal: Signal, samples: np.ndarray, time: int, state: State, index: int, effort: int
    ) -> tuple[Unit, State]:
        x = signal.tensor(samples)
        whole = self._attempt(head, signal, x, state, index, effort)
        attempts = [whole]
        if self.codec.rates > 1:
            attempts += [self._attempt(head, signal, None, state, index, 0, parts) for parts in whole.less()]
            if whole.mostly(MOTION_PART) and not motion_helps(attempts, samples):
                attempts.append(self._attempt(head, signal, x, state, index, effort, without=MOTION_PART))
        best = cheapest(attempts, samples, index)
        return _unit("inter", head, time, index, best.stream), best.state

    def _attempt(
        self,
        head: Head,
        signal: Signal,
        x: Tensor | None,
        state: State,
        index: int,
        effort: int,
        parts: Parts | None = None,
        without: str = "",
    ) -> Attempt:
        """A way to code x; or without x what a decoder makes of `parts` that are coded already."""
        assert self.flow is not None
        coded: Parts = {} if parts is None else parts
        size = head.height, head.width

        def code(name: str, own: Tensor | None, given: Tensor | None) -> Coded | None:
            if own is None or name == without:
                return coded[name][1] if name in coded else None
            network, writer = self.networks[name], JointWriter(self.joint)
            iterations = INTER_ITERATIONS[effort] if network.model.refines else 0
            y, z = self.codec.refined(name, own, size, index, iterations, given)
            if network.model.predicts and (iterations := motion.ITERATIONS[effort]):
                assert x is not None and given is not None
                frames = x, signal.reference(state.samples)
                y = self._motion.refined(y, z, given, *frames, size, self._indices(index), iterations)
            found = network.put(writer, y, z, index, self.codec.dtype, given)
            if found.sent is not None and not found.sent.any():
                return None  # it says nothing
            coded[name] = writer, found
            return found

        after = state if parts == {} else self._inter(signal, code, x, state, index, without)
        if not coded:
            return Attempt({}, b"", state)  # a repeated frame changes nothing of what is known
        writers = {name: writer for name, (writer, _) in coded.items()}
        return Attempt(coded, _joined(self.joint, self.flow.parts, writers), after)

    @cached_property
    def _motion(self) -> motion.Motion:
        return motion.Motion(self.networks[MOTION_PART])

    # --- decode ------------------------------------------------------------------------------------------------------

    def decode(self, file: BinaryIO, *, start: int = 0, lost: Callable[[Loss], None] | None = None) -> Iterator[Frame]:
        """The frames from the time `start` on, as they arrive.

        In a file that can seek, decoding begins with the nearest keyframe at or before `start`; a pipe is read from its
        beginning. With `lost` a damaged file is searched for what can be decoded, and `lost` is told what cannot;
        else FormatError tells the place, and the frames before it have been handed out.
        """
        head, parts = self._parts(file, start, lost is not None)
        signal = self._signal(head)
        after: int | None = None
        reason = ""
        state: State | None = None
        for part in _from_keyframe(parts, start):
            if isinstance(part, Lost):
                # What comes next is a keyframe or refers to the unit before: the bytes may have held sound alone.
                reason = reason or f"bytes {part.start} to {part.end - 1} cannot be read"
                continue
            if lost and part.role == "inter" and state is None:
                continue  # what it refers to is lost
            try:
                read = self._read(head, signal, part, state)
            except FormatError as error:
                if lost is None:
                    raise
                reason, state = reason or str(error), None
                continue
            if lost and reason:
                lost(Loss(after, part.index, reason))
                reason = ""
            state, after = read, part.index
            if part.index >= start:
                yield signal.frame(state.samples, part.index)
        if lost and reason:
            lost(Loss(after, None, reason))

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

    def _read(self, head: Head, signal: Signal, unit: Unit, state: State | None) -> State:
        size = head.height, head.width
        device, dtype = self.codec.device, self.codec.dtype
        with computing(self.codec.threads), torch.no_grad(), at(f"{unit.role} {unit.index}"):
            if unit.role not in ("picture", "inter"):
                raise Corrupt(f"a clip has no unit {unit.role}")
            index = self.codec.index_of(head, unit, 1)
            if unit.role == "picture":
                reader = self.reader(self.joint, unit.streams[0])
                y_hat = self.codec.network.take(reader, index, size, device, dtype).y_hat
                reader.finish()
                return self._keyframe(signal, y_hat, index)
            if state is None or self.flow is None:
                why = "its model codes keyframes alone" if state else "there is no frame before it"
                raise Corrupt(f"the frame cannot be decoded: {why}")
            if not unit.streams[0]:
                return state
            reader = self.reader(self.joint, unit.streams[0])
            parts = _parts_of(reader, self.flow.parts)

            def code(name: str, x: Tensor | None, given: Tensor | None) -> Coded | None:
                if name not in parts:
                    return None
                with at(name):
                    return self.networks[name].take(reader, index, size, device, dtype, given)

            read = self._inter(signal, code, None, state, index)
            reader.finish()
            return read

    # --- both --------------------------------------------------------------------------------------------------------

    def _keyframe(self, signal: Signal, y_hat: Tensor, index: int) -> State:
        samples = signal.empty()
        place(self.codec.model.pieces(y_hat, self._indices(index)), samples)
        return State(samples, self.flow.first(y_hat) if self.flow else {})

    def _inter(
        self, signal: Signal, code: Code, x: Tensor | None, state: State, index: int, without: str = ""
    ) -> State:
        """What both ends show of a frame: the same operations, and the same numbers in them."""
        assert self.flow is not None
        known = Known(signal.reference(state.samples), state.latents)
        x_hat, latents = self.flow.inter(code, x, known, self._indices(index), without)
        samples = signal.empty()
        place([Piece(0, 0, x_hat)], samples)
        return State(samples, latents)

    def reader(self, joint: Joint, stream: bytes) -> JointReader:
        """What reads the stream of a unit."""
        return JointReader(joint, stream)

    def _signal(self, head: Head) -> Signal:
        align = max(network.model.align for network in self.networks.values())
        return SIGNALS[self.packing](head, align, self.codec.device)

    def _indices(self, index: int) -> Tensor:
        return torch.tensor([index], device=self.codec.device)


def _unit(role: Role, head: Head, time: int, index: int, stream: bytes) -> Unit:
    """A frame at a quality index, which the unit says where it is not the clip's."""
    return Unit(role, time, None if index == head.quality_index else index, (stream,))


def _joined(joint: Joint, parts: tuple[str, ...], written: dict[str, JointWriter]) -> bytes:
    """The stream of a frame: which parts it has, and these; nothing for a frame that is the one before once more."""
    if not written:
        return b""
    missing = [1 + number for number, name in enumerate(parts) if name not in written]
    stream = JointWriter(joint)
    stream.put(np.array(missing or [0], np.int32), np.zeros(1, np.int32), PARTS)
    for name in parts:
        if name in written:
            stream.add(written[name])
    return stream.finish()


def _parts_of(reader: JointReader, parts: tuple[str, ...]) -> list[str]:
    """The parts that a frame has, of two."""
    missing = int(reader.take(np.zeros(1, np.int32), PARTS)[0])
    if not 0 <= missing <= len(parts):
        raise Corrupt(f"a frame has the parts {missing}, which is not known")
    return [name for number, name in enumerate(parts) if 1 + number != missing]


def _colour(frame: Frame) -> Literal["rgb", "gray"]:
    return "gray" if len(frame.planes) == 1 else "rgb"


def _check_frame(head: Head, frame: Frame, last: int) -> None:
    if (frame.width, frame.height, _colour(frame)) != (head.width, head.height, head.colour):
        own = f"{frame.width}x{frame.height} {_colour(frame)}"
        first = f"{head.width}x{head.height} {head.colour}"
        raise SourceError(
            f"the frame at time {frame.time} is {own}, those before it {first}", hint="scale it to their size"
        )
    if not last < frame.time <= MAX_TIME:
        hint = "times must grow from frame to frame; a coarser time base makes them smaller"
        raise SourceError(f"a frame has the time {frame.time}, outside {last + 1}..{MAX_TIME}", hint=hint)


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
