"""How finely each frame is coded, and which of its parts are worth their bits: motion, residual, both or none."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from mvc.entropy.parts import JointWriter
from mvc.models.base import Coded
from mvc.models.weighing import error_weights, rd_lambda

LATER = 1.25  # how much more an error counts than in its own frame: it stays in those that follow

BYTES_PER_DB = 0.22  # how much the logarithm of a clip's bytes grows with a decibel: 0.20 to 0.27 on three clips
UNIT_BYTES = 8  # about what a unit takes beside its stream
LEAST_ERROR = 1.0  # of a frame: those that are copied may have none

KEY_OFFSET = 8
PATTERN = 5, -4, 2, -4
"""How many quality indices finer than the clip's frames are coded, keyframes and those between by their place in a GOP.

All frames up to the next keyframe are made from it, and every fourth serves those behind it: against one index for all
frames between, 4 to 7 % fewer bytes at equal PSNR (docs/decisions.md).
"""

ANCHOR_OFFSET = 4
BETWEEN_OFFSETS = -3, -9, -9
"""The same of clips with frames between two others: of anchors, and of those by how often their run was halved before.
"""


def index_at(place: int, index: int, rates: int, bframes: int = 0) -> int:
    """The quality index of an anchor at a place of its GOP, in a clip coded at `index`; place 0 is the keyframe's.

    `rates` is how many indices the model has, `bframes` how many frames in a row are between two others.
    """
    if not place:
        return _within(index + KEY_OFFSET, rates)
    return _within(index + (ANCHOR_OFFSET if bframes else PATTERN[place % len(PATTERN)]), rates)


def index_between(halved: int, index: int, rates: int) -> int:
    """That of a frame between two others, whose run was halved so often before."""
    return _within(index + BETWEEN_OFFSETS[halved], rates)


def _within(index: int, rates: int) -> int:
    return max(0, min(index, rates - 1))


@dataclass(frozen=True)
class State:
    """A coded frame: its samples (signals.py), and the latents and motion fields that are known after it."""

    samples: np.ndarray
    latents: dict[str, Tensor]
    fields: dict[str, Tensor] = field(default_factory=dict)

    def again(self) -> State:
        """The same frame once more: nothing has moved since."""
        return State(self.samples, self.latents)


Parts = dict[str, tuple[JointWriter, Coded]]
"""The coded parts of a frame by the names of their networks, in the order in which they are coded."""


@dataclass(frozen=True)
class Attempt:
    """A way to code a frame."""

    parts: Parts
    stream: bytes
    state: State

    def less(self) -> Iterator[Parts]:
        """No part, and all parts but the last: ways for which nothing is to be coded anew."""
        names = list(self.parts)
        return ({name: self.parts[name] for name in names[:count]} for count in sorted({0, len(names) - 1} - {-1}))

    def mostly(self, name: str) -> bool:
        """Whether a part takes a third of the bytes or more."""
        return name in self.parts and 3 * len(self.parts[name][0].finish()) > len(self.stream)


def motion_helps(attempts: Sequence[Attempt], samples: np.ndarray) -> bool:
    """Whether the frame before, moved, is much nearer to these samples than as it is: then motion is sent.

    `attempts` are the whole and those that are less, the emptiest first.
    """
    errors = [float(np.square(a.state.samples.astype(np.float32) - samples).sum()) for a in attempts[1:3]]
    return len(errors) == 2 and errors[0] > 2 * errors[1]


def cheapest(attempts: Sequence[Attempt], samples: np.ndarray, index: int) -> Attempt:
    """The attempt with the least bits and error together, at a quality index; `samples` are those to be coded."""
    if len(attempts) == 1:
        return attempts[0]
    return min(attempts, key=lambda own: cost(len(own.stream), own.state.samples, samples, index, LATER))


def cost(size: int, shown: np.ndarray, samples: np.ndarray, index: int, weight: float = 1.0) -> float:
    """Of a frame of so many bytes, in bits: these and its error, which counts `weight` times what it does at an index.

    `shown` is what a decoder gives for `samples`.
    """
    return 8 * size + weight * float(rd_lambda(torch.tensor(index))) / 3 * error(shown, samples)


def price(frames: Iterable[tuple[int, float]]) -> float:
    """Of frames that are coded together, each with its bytes and error: what is least where they are coded best.

    Frames of one run are coded at several qualities, each of which is worth its bits where it is; so what counts is
    the mean of their decibels, and how many bytes those of all are worth.
    """
    sizes, errors = zip(*frames, strict=True)
    decibels = [10 * math.log10(max(own, LEAST_ERROR)) for own in errors]
    return math.log(sum(sizes) + UNIT_BYTES * len(sizes)) + BYTES_PER_DB * sum(decibels) / len(decibels)


def error(shown: np.ndarray, samples: np.ndarray) -> float:
    """The squared error of a frame in steps of 255, its channels weighed as in training."""
    channels = error_weights(samples.shape[-1] if samples.ndim == 3 else 1).numpy()
    difference = shown.astype(np.float32) - samples
    squares = np.square(difference).reshape(-1, len(channels)).sum(0)
    return float(squares @ channels)
