"""Clips: frames -> units -> frames. Keyframes go through codec.py; the other frames are coded given the one before.

frame -> [keyframe: as a picture; else: motion and residual given the reference] -> unit -> container, and back

The reference is the frame before as a decoder shows it, its samples rounded to 8 bits. It is a value that goes from
frame to frame here; no network remembers anything.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass
from itertools import accumulate, chain, pairwise
from typing import BinaryIO

import numpy as np
import torch
from torch import Tensor

from mvc.codec import Codec, place
from mvc.container import ClipHead, Head, Lost, Reader, Unit, Writer, salvage
from mvc.errors import Corrupt, FormatError, SourceError, Unsupported, at
from mvc.models import registry
from mvc.models.base import Piece
from mvc.models.streams import Streams
from mvc.ops.computing import computing
from mvc.picture import Picture
from mvc.quality import check_effort, check_index
from mvc.tiling import Tile, Tiling

DEFAULT_GOP = 12
MAX_TIME = 0xFFFFFFFF

Timed = tuple[Picture, int]
"""A frame and when it is shown, in units of the clip's time base, 0..MAX_TIME."""


@dataclass(frozen=True)
class Loss:
    """Frames that could not be decoded: those between two times, None standing for the clip's beginning or end."""

    after: int | None
    before: int | None
    reason: str


class ClipCodec:
    """Encodes and decodes clips with the model of a codec. With a still-picture model every frame is a keyframe."""

    def __init__(self, codec: Codec) -> None:
        self.codec = codec
        self.networks = {name: network.to(codec.device) for name, network in codec.weights.networks.items()}
        models = {name: network.model for name, network in self.networks.items()}
        self.flow = registry.known(codec.weights.name).flow_of(models)

    # --- encode ------------------------------------------------------------------------------------------------------

    def encode(
        self,
        frames: Iterable[Timed],
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
        frames: Iterable[Timed],
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
        picture, index = first[0], min(check_index(index), self.codec.rates - 1)
        size, model_id = (picture.width, picture.height), self.codec.model_id
        head = Head("clip", *size, picture.colour, 8, index, model_id, clip)
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
        self, head: Head, frames: Iterable[Timed], *, gop: int = DEFAULT_GOP, effort: int = 0
    ) -> Iterator[tuple[Unit, Picture]]:
        """The unit of each frame, and the frame as it will be decoded. Raises as `encode`."""
        if gop < 1:
            raise ValueError(f"gop is {gop}, and a keyframe every frame is the least")
        check_effort(effort)
        reference: Picture | None = None
        last = -1
        for number, (picture, time) in enumerate(frames):
            _check_frame(head, picture, time, last)
            with computing(self.codec.threads), torch.no_grad():
                if reference is None or self.flow is None or number % gop == 0:
                    streams = self.codec.streams(picture, _whole(head), head.quality_index, effort)
                    unit = Unit("picture", time, None, streams)
                    reference = self._keyframe(head, unit)
                else:
                    unit, reference = self._write(head, picture, time, reference)
            last = time
            yield unit, reference

    def _write(self, head: Head, picture: Picture, time: int, reference: Picture) -> tuple[Unit, Picture]:
        streams: list[bytes] = []

        def code(name: str, x: Tensor | None) -> Tensor:
            network = self.networks[name]
            y, z = network.model.analyse(_given(x), self._indices(head.quality_index))
            own, y_hat = network.code(y, z, head.quality_index, self.codec.dtype)
            streams.extend(own)
            return y_hat

        x = self.codec.to_tensor(picture)
        decoded = self._inter(head, code, x, reference, head.quality_index)
        return Unit("inter", time, None, tuple(streams)), decoded

    # --- decode ------------------------------------------------------------------------------------------------------

    def decode(self, file: BinaryIO, *, start: int = 0, lost: Callable[[Loss], None] | None = None) -> Iterator[Timed]:
        """The frames from the time `start` on, as they arrive.

        In a file that can seek, decoding begins with the nearest keyframe at or before `start`; a pipe is read from its
        beginning. With `lost` a damaged file is searched for what can be decoded, and `lost` is told what cannot;
        else FormatError tells the place, and the frames before it have been handed out.
        """
        head, parts = self._parts(file, start, lost is not None)
        after: int | None = None
        reason = ""
        reference: Picture | None = None
        for part in _from_keyframe(parts, start):
            if isinstance(part, Lost):
                reason, reference = reason or f"bytes {part.start} to {part.end - 1} cannot be read", None
                continue
            if lost and part.role == "inter" and reference is None:
                continue  # what it refers to is lost
            try:
                picture = self._read(head, part, reference)
            except FormatError as error:
                if lost is None:
                    raise
                reason, reference = reason or str(error), None
                continue
            if lost and reason:
                lost(Loss(after, part.index, reason))
                reason = ""
            reference, after = picture, part.index
            if part.index >= start:
                yield picture, part.index
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
            _go_to_keyframe(reader, start)
        return reader.head, iter(reader)

    def _check(self, head: Head) -> None:
        if head.kind != "clip":
            raise Unsupported("the file is a still picture, not a clip", hint="decode it as a picture")
        self.codec.check_head(head)

    def _read(self, head: Head, unit: Unit, reference: Picture | None) -> Picture:
        with computing(self.codec.threads), torch.no_grad():
            if unit.role == "picture":
                return self._keyframe(head, unit)
            with at(f"{unit.role} {unit.index}"):
                if reference is None or self.flow is None:
                    why = "its model codes keyframes alone" if reference else "there is no frame before it"
                    raise Corrupt(f"the frame cannot be decoded: {why}")
                counts = [self.networks[name].streams for name in self.flow.parts]
                index = self.codec.index_of(head, unit, sum(counts))
                ends = pairwise(accumulate(counts, initial=0))
                streams: dict[str, Streams] = {
                    name: unit.streams[a:b] for name, (a, b) in zip(self.flow.parts, ends, strict=True)
                }

                def code(name: str, x: Tensor | None) -> Tensor:
                    network = self.networks[name]
                    size = _whole(head).cells(network.model.stride)
                    with at(name):
                        return network.read(streams[name], index, size, self.codec.device, self.codec.dtype)

                return self._inter(head, code, None, reference, index)

    # --- both --------------------------------------------------------------------------------------------------------

    def _keyframe(self, head: Head, unit: Unit) -> Picture:
        samples = _empty(head)
        self.codec.read_into(samples, head, unit, _whole(head))
        return Picture(samples)

    def _inter(
        self, head: Head, code: Callable[[str, Tensor | None], Tensor], x: Tensor | None, reference: Picture, index: int
    ) -> Picture:
        """What both ends show of a frame: the same operations, and the same numbers in them."""
        assert self.flow is not None
        x_hat = self.flow.inter(code, x, self.codec.to_tensor(reference), self._indices(index))
        samples = _empty(head)
        place([Piece(0, 0, x_hat)], samples)
        return Picture(samples)

    def _indices(self, index: int) -> Tensor:
        return torch.tensor([index], device=self.codec.device)


def _given(x: Tensor | None) -> Tensor:
    assert x is not None, "an encoder has the signal"
    return x


def _whole(head: Head) -> Tile:
    (tile,) = Tiling(head.width, head.height)
    return tile


def _empty(head: Head) -> np.ndarray:
    shape = (head.height, head.width) if head.colour == "gray" else (head.height, head.width, 3)
    return np.empty(shape, np.uint8)


def _check_frame(head: Head, picture: Picture, time: int, last: int) -> None:
    if (picture.width, picture.height, picture.colour) != (head.width, head.height, head.colour):
        own, first = (f"{p.width}x{p.height} {p.colour}" for p in (picture, head))
        raise SourceError(f"the frame at time {time} is {own}, those before it {first}", hint="scale it to their size")
    if not last < time <= MAX_TIME:
        hint = "times must grow from frame to frame; a coarser time base makes them smaller"
        raise SourceError(f"a frame has the time {time}, outside {last + 1}..{MAX_TIME}", hint=hint)


def _go_to_keyframe(reader: Reader, start: int) -> None:
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
