"""Encoding clips: a keyframe, and the frames up to the next one, to units.

frame -> [clip_model.py: the ways to code it] -> [clip_choice.py: the cheapest] -> unit
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor

from mvc.clip_choice import Attempt, Parts, State, cheapest, error, index_at, index_between, motion_helps, price
from mvc.clip_lookahead import promising
from mvc.clip_model import ClipModel, Step
from mvc.clip_runs import by_halves
from mvc.container import Head, Unit
from mvc.container.units import Role
from mvc.effort import motion
from mvc.effort.refine import INTER_ITERATIONS, ITERATIONS, KEY_ITERATIONS
from mvc.entropy.parts import JointWriter
from mvc.frames import Frame
from mvc.models import base
from mvc.models.lite_flow import FUTURE, MOTION, PAST
from mvc.ops.computing import computing
from mvc.signals import Signal

CHOICES = 0, 1, 3
"""How many frames in a row between two others are tried, beside as many as may be, from effort 2 on."""


class Coded(NamedTuple):
    """A frame that was coded: as it came, its unit, what a decoder will show, and what is known then."""

    frame: Frame
    unit: Unit
    shown: Frame
    state: State


@dataclass(frozen=True)
class ClipEncoder:
    """How the frames of a clip are coded, whose file has this head."""

    model: ClipModel
    head: Head
    effort: int = 0

    @cached_property
    def signal(self) -> Signal:
        """What the clip's frames are to the model."""
        return self.model.signal(self.head)

    def keyframe(self, frame: Frame, index: int, *, alone: bool = False) -> Coded:
        """A keyframe, of a clip that is coded at a quality index; `alone`: no other frame is made from it."""
        model, iterations_of = self.model, ITERATIONS
        if model.flow is not None and not alone:
            index, iterations_of = index_at(0, index, model.codec.rates), KEY_ITERATIONS
        with computing(model.codec.threads), torch.no_grad():
            x = self.signal.tensor(self.signal.samples(frame))
            y, z = model.codec.latents(x, self._size, index, self.effort, iterations_of)
            writer = JointWriter(model.joint)
            y_hat = model.codec.network.put(writer, y, z, index, model.codec.dtype).y_hat
            return self._coded("picture", frame, index, writer.finish(), model.keyframe(self.signal, y_hat, index))

    def inter(self, frame: Frame, known: State, index: int) -> Coded:
        """A frame given one before it."""
        return self._cheapest("inter", frame, self.model.inter(self.signal, known, index), index)

    def between(self, frame: Frame, past: State, future: State, later: base.Side, index: int) -> Coded:
        """A frame given one on each side of it; `later` is the one of them that was coded given the other."""
        return self._cheapest("between", frame, self.model.between(self.signal, past, future, later, index), index)

    def _cheapest(self, role: Role, frame: Frame, step: Step, index: int) -> Coded:
        with computing(self.model.codec.threads), torch.no_grad():
            samples = self.signal.samples(frame)
            x = self.signal.tensor(samples)
            whole = self._attempt(step, x, index)
            attempts = [whole]
            if self.model.codec.rates > 1:
                attempts += [self._attempt(step, None, index, parts) for parts in whole.less()]
                if whole.mostly(MOTION) and not motion_helps(attempts, samples):
                    attempts.append(self._attempt(step, x, index, without=MOTION))
            best = cheapest(attempts, samples, index)
        return self._coded(role, frame, index, best.stream, best.state)

    def _attempt(
        self, step: Step, x: Tensor | None, index: int, parts: Parts | None = None, without: str = ""
    ) -> Attempt:
        """A way to code x; or without x what a decoder makes of `parts` that are coded already."""
        coded: Parts = {} if parts is None else parts
        codec, indices = self.model.codec, self.model.indices(index)

        def code(part: str, own: Tensor | None, given: Tensor | None, of: base.Moving | None) -> base.Coded | None:
            if own is None or part == without:
                return coded[part][1] if part in coded else None
            name = step.networks[part]
            network, writer = self.model.networks[name], JointWriter(self.model.joint)
            iterations = INTER_ITERATIONS[self.effort] if network.model.refines else 0
            y, z = codec.refined(name, own, self._size, index, iterations, given)
            if network.model.predicts and (iterations := motion.ITERATIONS[self.effort]):
                assert x is not None and given is not None and of is not None
                y = self._motion.refined(y, z, given, x, of, self._size, indices, iterations)
            found = network.put(writer, y, z, index, codec.dtype, given)
            if found.sent is not None and not found.sent.any():
                return None  # it says nothing
            coded[part] = writer, found
            return found

        after = step.repeated if parts == {} else None
        after = after or step.shown(code, x, without)
        if not coded:
            return Attempt({}, b"", step.repeated or after)  # a repeated frame changes nothing of what is known
        writers = {name: writer for name, (writer, _) in coded.items()}
        return Attempt(coded, step.joined(self.model.joint, writers), after)

    @cached_property
    def _motion(self) -> motion.Motion:
        return motion.Motion(self.model.networks[MOTION])

    @property
    def _size(self) -> tuple[int, int]:
        return self.head.height, self.head.width

    def _coded(self, role: Role, frame: Frame, index: int, stream: bytes, state: State) -> Coded:
        """At a quality index, which the unit says where it is not the file's."""
        unit = Unit(role, frame.time, None if index == self.head.quality_index else index, (stream,))
        return Coded(frame, unit, self.signal.frame(state.samples, frame.time), state)


class Group:
    """The frames behind a keyframe, at the quality index of their clip, as they come; those of a run together.

    Up to `bframes` in a row are each between two others: as many as the frames promise (clip_lookahead.py), or from
    effort 2 on what of `CHOICES` comes out best as effort 0 codes it. What comes out is in the order of times.
    """

    def __init__(self, encoder: ClipEncoder, key: Coded, index: int, bframes: int = 0) -> None:
        self._encoder, self._index = encoder, index
        self._most = bframes if encoder.model.two_sided else 0
        self._at = _At(key, 1)
        self._run: list[Frame] = []

    def put(self, frame: Frame) -> list[Coded]:
        """Take the next frame; what is coded then."""
        if self._encoder.model.flow is None:
            return [self._encoder.keyframe(frame, self._index)]
        self._run.append(frame)
        return self.end() if len(self._run) > self._most else []

    def end(self, key: Coded | None = None) -> list[Coded]:
        """What has not come out yet, the last frame as an anchor.

        Given the next keyframe, which is not among it, the last frames are between an anchor and that.
        """
        run, self._run = self._run, []
        if not run:
            return []
        made, self._at = self._run_of(self._encoder, run, key, self._bframes(run, key))
        return made

    def _bframes(self, run: Sequence[Frame], key: Coded | None) -> int:
        """How many of a run in a row are to be between two others."""
        choices = [self._most, *(own for own in CHOICES if own < min(self._most, len(run)))]
        if len(choices) == 1:
            return self._most
        if self._encoder.effort < 2:
            following = [key.frame] if key else []
            return promising([frame.planes[0] for frame in (self._at.anchor.frame, *run, *following)], self._most)
        quick, signal = replace(self._encoder, effort=0), self._encoder.signal

        def found(bframes: int) -> float:
            made, _ = self._run_of(quick, run, key, bframes)
            return price(
                (len(own.unit.streams[0]), error(own.state.samples, signal.samples(own.frame))) for own in made
            )

        return min(choices, key=found)

    def _run_of(
        self, encoder: ClipEncoder, run: Sequence[Frame], key: Coded | None, bframes: int
    ) -> tuple[list[Coded], _At]:
        """A run with `bframes` between anchors, of which the last is its last frame, or a keyframe behind it."""
        made: list[Coded] = []
        at, rates = self._at, encoder.model.codec.rates

        def between(frame: Frame, past: Coded, future: Coded, future_later: bool, halved: int) -> Coded:
            later, index = FUTURE if future_later else PAST, index_between(halved, self._index, rates)
            return encoder.between(frame, past.state, future.state, later, index)

        for first in range(0, len(run), bframes + 1):
            part = run[first : first + bframes + 1]
            if key is not None and len(part) <= bframes:
                made += by_halves(part, at.anchor, key, between)
                continue
            index = index_at(at.place, self._index, rates, bframes)
            last = encoder.inter(part[-1], at.anchor.state, index)
            made += [*by_halves(part[:-1], at.anchor, last, between), last]
            # a repeated frame has no place of its own
            at = _At(last, at.place + bool(last.unit.streams[0]))
        return made, at


class _At(NamedTuple):
    """The last anchor, and the place of what follows in a GOP without frames between two others."""

    anchor: Coded
    place: int
