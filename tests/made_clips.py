"""Clips of random latents by the tiny model: every kind of frame, runs of frames between, and what is known of each.

They are written by the networks of the package alone: which parts a frame has, what is given to them, and where its
base fields come from is said here once more, after sections 3.2, 5.10 and 6.6 of bitstream_spec.md. `read_clip` says
what the package reads of any clip.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import torch
from test_spec import SPEC
from tiny_model import CLIP_CONFIG, recorded, sha256, tiny_clip_weights
from torch import Tensor

from mvc.clip import ClipCodec, _Decoding
from mvc.clip_choice import State
from mvc.container import ClipHead, Head, Unit, read_file, write_file
from mvc.container.units import Role
from mvc.entropy.parts import Joint, JointWriter
from mvc.entropy.tables import Tables
from mvc.models.lite_flow import FUTURE, KEY, LAST, MOTION, PAST
from mvc.ops.planes import unpack

PARTS, BETWEEN = (
    Tables(np.array(cumulative, np.uint32), *(np.array([value], np.int32) for value in (0, half_width, lowest)))
    for lowest, half_width, cumulative in (SPEC["PARTS_ROW"], SPEC["BETWEEN_ROW"])
)
NETWORKS = tiny_clip_weights().networks
EMPTY = 7  # stands for a stream without bytes among what may be missing


@dataclass(frozen=True)
class Made:
    """A unit, and what is known of its frame: latents [1, H, W, channels] in steps, fields [2H, 2W, 3] in eighths."""

    unit: Unit
    key: Tensor
    last: Tensor
    motion: Tensor
    past: np.ndarray | None = None
    future: np.ndarray | None = None

    def whole(self) -> list[np.ndarray]:
        """The latents as the document and the reference decoder have them."""
        return [(own[0].double() * 256).numpy().astype(np.int64) for own in (self.key, self.last, self.motion)]


class Maker:
    """Makes units of a clip one by one, each with a quality of its own."""

    def __init__(self, height: int, width: int, seed: int = 0) -> None:
        self.head = Head("clip", width, height, "rgb", 8, 31, tiny_clip_weights().exact_hash[:8])
        self.head = replace(self.head, clip=ClipHead(1, 25))
        self.rng = np.random.default_rng(seed)
        self.time, self.index = 0, 0

    @cached_property
    def joint(self) -> Joint:
        """All tables of the model, and those of the first symbols."""
        own = [table for network in NETWORKS.values() for table in (network.hyper_tables, network.latent_tables)]
        return Joint([PARTS, BETWEEN, *own])

    def picture(self) -> Made:
        """A keyframe."""
        writer = self._begun()
        key, _ = self._part(writer, "picture", None)
        y, _ = NETWORKS["motion"].model.sizes(self.head.height, self.head.width)
        return Made(self._unit("picture", writer), key, 0 * key, torch.zeros(1, *y, CLIP_CONFIG.motion))

    def inter(self, before: Made, missing: int, quiet: bool = False) -> Made:
        """A frame given an anchor; with `quiet` nothing is said by its residual."""
        writer = self._begun()
        motion, last, past = 0 * before.motion, 0 * before.last, self._still(before)
        if missing == EMPTY:
            return replace(before, unit=self._unit("inter", writer), past=past, future=None)
        writer.put(np.array([missing], np.int32), np.zeros(1, np.int32), PARTS)
        if missing != 1:
            motion, past = self._motion(writer, before.motion, before.last)
        if missing != 2:
            last = self._residual(writer, before, motion, quiet)
        return Made(self._unit("inter", writer), before.key, last, motion, past)

    def run(self, first: Made, last: Made, missing: list[int]) -> list[Made]:
        """Frames between two anchors; the last one and the first one's order in time are the caller's."""
        made = {0: first, len(missing) + 1: last}
        gaps = [(0, len(missing) + 1, False)]
        for low, high, from_past in gaps:  # which grows
            if high - low > 1:
                middle = (low + high) // 2
                made[middle] = self._between(made[low], made[high], from_past, missing[middle - 1])
                gaps += [(low, middle, False), (middle, high, True)]
        return [made[number] for number in range(1, len(missing) + 1)]

    def _between(self, past: Made, future: Made, from_past: bool, missing: int) -> Made:
        field = past.future if from_past else future.past
        flow = self._still(past) if field is None else np.floor((field + 1) / 2).astype(np.int64)
        flow[..., 2] = 0
        fields = [-flow, flow] if from_past else [flow, -flow]
        writer, motion, last = self._begun(), 0 * past.motion, 0 * past.last
        if missing != EMPTY:
            writer.put(np.array([missing], np.int32), np.zeros(1, np.int32), BETWEEN)
        if missing in (0, 2, 4, 6):
            motion, own = self._motion(writer, 0 * motion, past.last)
            fields[0] = fields[0] + own
        if missing in (0, 1, 4, 5):
            _, own = self._motion(writer, 0 * motion, past.last)
            fields[1] = fields[1] + own
        if missing in (0, 1, 2, 3):
            last = self._residual(writer, past, motion)
        return Made(self._unit("between", writer), past.key, last, motion, *fields)

    def _begun(self) -> JointWriter:
        self.index = int(self.rng.integers(64))
        return JointWriter(self.joint)

    def _unit(self, role: Role, writer: JointWriter) -> Unit:
        self.time += 1
        return Unit(role, self.time, self.index, (writer.finish(),))

    def _still(self, like: Made) -> np.ndarray:
        _, height, width, _ = like.key.shape
        return np.zeros((2 * height, 2 * width, 3), np.int64)

    def _part(
        self, writer: JointWriter, name: str, given: Tensor | None, quiet: bool = False
    ) -> tuple[Tensor, Tensor | None]:
        """y_hat of a network, and how much is said at each place of it."""
        network = NETWORKS[name]
        y_size, z_size = network.model.sizes(self.head.height, self.head.width)
        channels = CLIP_CONFIG.motion if name == "motion" else CLIP_CONFIG.picture.latents
        y, z = (
            torch.from_numpy(self.rng.normal(0, 0 if quiet else 1.5, (1, *size))).float()
            for size in ((*y_size, channels), (*z_size, network.model.hyper))
        )
        coded = network.put(writer, y, z, self.index, given=given)
        return coded.y_hat, coded.sent

    def _motion(self, writer: JointWriter, motion: Tensor, last: Tensor) -> tuple[Tensor, np.ndarray]:
        y_hat, _ = self._part(writer, "motion", torch.cat([motion, last], -1))
        field = NETWORKS["motion"].model.synthesise(y_hat, torch.tensor([self.index]))
        return y_hat, (8 * field[0]).numpy().astype(np.int64)

    def _residual(self, writer: JointWriter, past: Made, motion: Tensor, quiet: bool = False) -> Tensor:
        y_hat, sent = self._part(writer, "residual", torch.cat([past.key, past.last, motion], -1), quiet)
        assert sent is not None and bool(sent.any()) != quiet and y_hat.any()
        return y_hat * (not quiet)

    def file(self, made: list[Made]) -> bytes:
        """A file of these, in this order."""
        return write_file(self.head, [replace(one.unit, index=time) for time, one in enumerate(made)])


class Listening:
    """A codec of clips of which is known what symbols it reads of each unit."""

    def __init__(self, own: ClipCodec) -> None:
        self.own, self.symbols = own, dict[int, np.ndarray]()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.own, name)

    def _heard(self, read: Any, head: Head, signal: Any, unit: Unit, *known: Any) -> State:
        with recorded() as symbols:
            state: State = read(head, signal, unit, *known)
        self.symbols[unit.index] = np.concatenate(symbols) if symbols else np.zeros(0, np.int32)
        return state

    def read(self, *given: Any) -> State:
        return self._heard(self.own.read, *given)

    def read_between(self, *given: Any) -> State:
        return self._heard(self.own.read_between, *given)


class Read(NamedTuple):
    """What the package reads of a unit, in the form of the document; `samples` are planes that are continued."""

    unit: Unit
    symbols: list[int]
    latents: list[np.ndarray]
    fields: list[np.ndarray]
    planes: list[np.ndarray]


def read_clip(own: ClipCodec, data: bytes) -> list[Read]:
    """All units of a clip in the order of their times."""
    head, units = read_file(data)
    codec: Any = Listening(own)
    made = []
    for unit, state in _Decoding(codec, head, None).frames(units):
        latents = [(state.latents[name][0].double() * 256).numpy() for name in (KEY, LAST, MOTION)]
        still = torch.zeros(2 * latents[0].shape[0], 2 * latents[0].shape[1], 3)
        sides = {"picture": [], "inter": [PAST], "between": [PAST, FUTURE]}[unit.role]
        fields = [(8 * state.fields[side][0] if side in state.fields else still).numpy() for side in sides]
        planes = [plane.numpy() for plane in unpack(codec.signal(head).reference(state.samples)[0])]
        made.append(Read(unit, codec.symbols[unit.index].tolist(), latents, fields, planes))
    return made


def clip_digests(own: ClipCodec, data: bytes) -> dict[str, str]:
    """Of all frames of a clip, one after another: symbols, what is known of them, and motion fields."""
    read = read_clip(own, data)
    return {
        "symbols_sha256": sha256(*(np.array(one.symbols) for one in read)),
        "y_hat_sha256": sha256(*(latent for one in read for latent in one.latents)),
        "motion_sha256": sha256(*(field for one in read for field in one.fields)),
    }


def made_clip(height: int, width: int, seed: int = 0) -> tuple[bytes, list[Made]]:
    """A keyframe; runs of 3, 0, 0 and 1 ended by inters, one a repetition; one of 2 by a keyframe, of 7 by an inter."""
    maker = Maker(height, width, seed)
    with torch.no_grad():
        made = [maker.picture()]
        before = made[0]
        runs = [(0, [0, 5, 1]), (2, []), (EMPTY, []), (1, [EMPTY]), (None, [2, 4]), (0, [3, EMPTY, 6, 0, 4, 2, 1])]
        for parts, missing in runs:
            anchor = maker.picture() if parts is None else maker.inter(before, parts)
            made += [*maker.run(before, anchor, missing), anchor]
            before = anchor
    return maker.file(made), made
