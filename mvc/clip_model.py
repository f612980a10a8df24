"""What both ends of a clip do with a frame: the networks and the flow of its model, and how what they give is shown.

frame -> [keyframe: network "picture"; else: the flow's networks, given what is known] -> samples

What is known goes from frame to frame as a value: a frame as a decoder shows it, its samples rounded to 8 bits, and
latents and motion fields. No network remembers anything.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from mvc.clip_choice import State
from mvc.codec import Codec
from mvc.container import Head
from mvc.entropy.parts import Joint, JointReader, JointWriter
from mvc.entropy.tables import TOTAL, Tables
from mvc.errors import Corrupt
from mvc.models import registry
from mvc.models.base import Amid, Code, Known, Piece, Shown, Side, TwoSidedFlow
from mvc.painting import place
from mvc.signals import SIGNALS, Signal


def _row(*ends: int) -> Tables:
    half_width = (len(ends) - 1) // 2
    return Tables(np.array([0, *ends, TOTAL], np.uint32), *(np.array([own], np.int32) for own in (0, half_width, 0)))


PARTS = _row(32768, 49152, 65535)
BETWEEN_PARTS = _row(9362, 18724, 28086, 37448, 46810, 56172, 65535)
"""The first symbol of a frame given one other, or two: the sum of 1 for its first part if it is missing, 2, and 4."""


@dataclass(frozen=True)
class Step:
    """A frame given others: its parts in coding order, their networks, and the row of its first symbol."""

    parts: tuple[str, ...]
    networks: Mapping[str, str]
    first: Tables
    shown: Callable[[Code, Tensor | None, str], State]
    """Given what codes the parts, x or None when decoding, and the part that is left out, or "" (`InterFlow.inter`)."""
    repeated: State | None = None
    """What is shown where nothing is coded, if that is known at once."""

    def joined(self, joint: Joint, written: Mapping[str, JointWriter]) -> bytes:
        """The stream of a frame: which parts are missing, and the others; nothing where all are missing."""
        if not written:
            return b""
        missing = sum(1 << number for number, name in enumerate(self.parts) if name not in written)
        stream = JointWriter(joint)
        stream.put(np.array([missing], np.int32), np.zeros(1, np.int32), self.first)
        for name in self.parts:
            if name in written:
                stream.add(written[name])
        return stream.finish()

    def parts_of(self, reader: JointReader) -> list[str]:
        """The parts that a frame has whose stream begins."""
        missing = int(reader.take(np.zeros(1, np.int32), self.first)[0])
        if not 0 <= missing < (1 << len(self.parts)) - 1:
            raise Corrupt(f"a frame lacks the parts {missing}, which is not known")
        return [name for number, name in enumerate(self.parts) if not missing >> number & 1]


class ClipModel:
    """The model of a codec as clips use it. With a still-picture model every frame is a keyframe."""

    def __init__(self, codec: Codec) -> None:
        self.codec = codec
        self.networks = {name: network.to(codec.device) for name, network in codec.weights.networks.items()}
        models = {name: network.model for name, network in self.networks.items()}
        preset = registry.known(codec.weights.name)
        self.flow = preset.flow_of(models)
        self.packing = preset.packing
        tables = [own for network in self.networks.values() for own in (network.hyper_tables, network.latent_tables)]
        self.joint = Joint([PARTS, BETWEEN_PARTS, *tables])

    @property
    def two_sided(self) -> bool:
        """Whether a frame can be coded given one before it and one behind it."""
        return isinstance(self.flow, TwoSidedFlow)

    def signal(self, head: Head) -> Signal:
        """What frames of a clip are to this model."""
        align = max(network.model.align for network in self.networks.values())
        return SIGNALS[self.packing](head, align, self.codec.device)

    def keyframe(self, signal: Signal, y_hat: Tensor, index: int) -> State:
        """A keyframe of these latents."""
        samples = signal.empty()
        place(self.codec.model.pieces_of([Amid(y_hat)], self.indices(index)), [samples])
        return State(samples, self.flow.first(y_hat) if self.flow else {})

    def inter(self, signal: Signal, state: State, index: int) -> Step:
        """A frame given one before it."""
        flow = self.flow
        assert flow is not None
        known = _known(signal, state)

        def shown(code: Code, x: Tensor | None, without: str) -> State:
            return _state(signal, flow.inter(code, x, known, self.indices(index), without))

        return Step(flow.parts, {name: name for name in flow.parts}, PARTS, shown, state.again())

    def between(self, signal: Signal, past: State, future: State, later: Side, index: int) -> Step:
        """A frame given one on each side of it; `later` is the one of them that was decoded given the other."""
        flow = self.flow
        assert isinstance(flow, TwoSidedFlow)
        sides = _known(signal, past), _known(signal, future)
        moving = flow.sides(*sides, later)

        def shown(code: Code, x: Tensor | None, without: str) -> State:
            return _state(signal, flow.between(code, x, sides[0], moving, self.indices(index)))

        return Step(flow.between_parts, flow.network_of, BETWEEN_PARTS, shown)

    def indices(self, index: int) -> Tensor:
        """A quality index as networks take it."""
        return torch.tensor([index], device=self.codec.device)


def _known(signal: Signal, state: State) -> Known:
    return Known(signal.reference(state.samples), state.latents, state.fields)


def _state(signal: Signal, shown: Shown) -> State:
    """What both ends show of a frame: the same operations, and the same numbers in them."""
    samples = signal.empty()
    place([(0, Piece(0, 0, shown.x_hat))], [samples])
    return State(samples, shown.latents, shown.fields)
