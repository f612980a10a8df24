"""The quality index that a clip needs for a bitrate, a size or a PSNR: a search on some of its groups, then feedback.

A first pass reads the whole clip and keeps a few groups that lie evenly in it. They are coded at a handful of indices;
bytes grow about exponentially with the index, so two or three do. For a PSNR that index is it, or a finer one where the
whole clip turns out to be worse than the groups. For a rate, the second pass corrects the index of later groups by what
earlier ones took.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from fractions import Fraction

import numpy as np

from mvc.clip import ClipCodec
from mvc.clip_encoding import ClipEncoder, Coded
from mvc.errors import MvcError
from mvc.frames import Clip, Frame
from mvc.metrics import psnr
from mvc.quality import INDICES
from mvc.video.encoder import head_of_clip
from mvc.video.groups import coded_group, groups, size_of

SAMPLES = 4
"""Groups that are kept, at most twice as many on the way."""
TRIES = 5
GROWTH = 0.045  # of the logarithm of bytes with each index, to begin with
MAX_STEP, MAX_DRIFT = 3, 24  # of the index from group to group, and from where it began
SPARE = 0.985  # of a size is aimed at


@dataclass
class Sample:
    """Some groups of a clip, and what was learnt in reading all of it."""

    groups: list[list[Frame]]
    frames: int
    seconds: Fraction
    sound_bytes: int


def look(clip: Clip, gop: int, scene_cuts: bool) -> Sample:
    """Read a clip to its end. With `Clip.tracks` its sound is counted."""
    kept: list[list[Frame]] = []
    stride, count, first, last, sound = 1, 0, None, 0, 0
    own: list[Frame] = []
    current = -1
    for number, frame, _ in groups(clip.frames(), gop, scene_cuts):
        sound += sum(len(packet.data) + 2 for packet in clip.take_audio())
        if number != current:
            current, own = number, []
            if number % stride == 0:
                if len(kept) == 2 * SAMPLES:
                    kept, stride = kept[::2], 2 * stride
                if number % stride == 0:
                    kept.append(own)
        own.append(frame)
        first = frame.time if first is None else first
        count, last = count + 1, frame.time
    sound += sum(len(packet.data) + 2 for packet in clip.take_audio())
    if first is None:
        raise MvcError(f"{clip.name} has no frames")
    step = clip.rate and 1 / clip.rate
    seconds = (last - first) * clip.time_base + (step or clip.time_base)
    return Sample(kept[:: -(-len(kept) // SAMPLES)], count, seconds, sound)


@dataclass
class Search:
    """Codes a sample at some indices and says which is best."""

    coder: ClipCodec
    clip: Clip
    sample: Sample
    effort: int = 0
    bframes: int = 0
    bytes_at: dict[int, float] = field(default_factory=dict)
    psnr_at: dict[int, float] = field(default_factory=dict)

    def rate(self, index: int) -> float:
        """Mean bytes of a frame at an index."""
        self._code(index)
        return self.bytes_at[index]

    def psnr(self, index: int) -> float:
        """Mean PSNR of luma at an index, in dB (of RGB where the clip is RGB)."""
        self._code(index)
        return self.psnr_at[index]

    def for_rate(self, wanted: float) -> int:
        """The index whose bytes of a frame are nearest to `wanted`."""
        return self._nearest(lambda index: math.log(self.rate(index)), math.log(max(wanted, 1e-9)), GROWTH)

    def for_psnr(self, wanted: float) -> int:
        """The least index that has this PSNR; `MvcError` where none has."""
        index = self._nearest(self.psnr, wanted, 0.25)
        while self.psnr(index) < wanted:
            if index == self.highest:
                raise MvcError(
                    f"{self.clip.name} reaches {self.psnr(index):.2f} dB at the finest quality, not {wanted:g}",
                    hint="ask for less",
                )
            index += 1
        return index

    def growth(self) -> float:
        """By how much the logarithm of the bytes grows with each index, where it was measured."""
        known = sorted(self.bytes_at)
        if len(known) < 2:
            return GROWTH
        spread = math.log(self.bytes_at[known[-1]] / self.bytes_at[known[0]])
        return min(0.15, max(0.01, spread / (known[-1] - known[0])))

    @property
    def highest(self) -> int:
        """The finest index of the model."""
        return min(INDICES, self.coder.codec.rates) - 1

    def _nearest(self, value: Callable[[int], float], wanted: float, slope: float) -> int:
        """By secants on a function that rises with the index."""
        tried: dict[int, float] = {}
        index = self.highest // 2
        for _ in range(TRIES):
            tried[index] = value(index)
            step = (wanted - tried[index]) / slope
            following = min(self.highest, max(0, round(index + step)))
            if following in tried:
                break
            other, index = index, following
            tried[index] = value(index)
            slope = max(slope / 4, (tried[index] - tried[other]) / (index - other))
        return min(tried, key=lambda own: abs(tried[own] - wanted))

    def _code(self, index: int) -> None:
        if index in self.bytes_at:
            return
        head = head_of_clip(self.coder, self.clip, index)
        size, count, values = 0, 0, []
        for frames in self.sample.groups:
            own = [Frame(frame.planes, number, frame.colour) for number, frame in enumerate(frames)]
            for coded in coded_group(ClipEncoder(self.coder, head, self.effort), own, index, self.bframes):
                size, count = size + size_of(coded.unit), count + 1
                values.append(decibels(coded, self.clip))
        self.bytes_at[index] = size / count
        self.psnr_at[index] = float(np.mean(values))


def decibels(coded: Coded, clip: Clip) -> float:
    """PSNR of luma of a frame as it will be shown (of RGB where the clip is RGB), at most 100 dB."""
    frame, shown = coded.frame, coded.shown
    if clip.pixel_format == "gbrp":
        return min(100.0, psnr(frame.to_picture().samples, shown.to_picture().samples))
    back = shown.converted(clip.pixel_format, clip.colour)
    return min(100.0, psnr(frame.planes[0], back.planes[0]))


@dataclass
class Feedback:
    """The index of each group, so that all frames together take about `total` bytes.

    Every group is expected to take what the mean of the sample says; what earlier ones took beside that is made up for
    over the frames that are left, but no faster than MAX_STEP indices a group.
    """

    start: int
    expected: float
    """Bytes of a frame at `start`."""
    total: float
    frames: int
    growth: float
    highest: int = INDICES - 1
    spent: int = 0
    seen: int = 0
    ratio: float = 1.0
    """How many bytes a frame takes at `start`, as far as it is known, divided by what is expected."""
    chosen: list[int] = field(default_factory=list)

    def index(self, group: int) -> int:
        """The index of a group."""
        if group < len(self.chosen):
            return self.chosen[group]
        before = self.chosen[-1] if self.chosen else self.start
        index = self.start
        left = self.frames - self.seen
        if self.seen and left > 0:
            allowed = max(1.0, (self.total - self.spent) / left)
            change = math.log(allowed / (self.expected * self.ratio)) / self.growth
            index = round(self.start + min(MAX_DRIFT, max(-MAX_DRIFT, change)))
        index = min(before + MAX_STEP, max(before - MAX_STEP, index)) if self.chosen else index
        self.chosen.append(min(self.highest, max(0, index)))
        return self.chosen[-1]

    def told(self, group: int, frames: int, size: int) -> None:
        """A group took so many bytes."""
        self.spent, self.seen = self.spent + size, self.seen + frames
        at_start = size / frames * math.exp(self.growth * (self.start - self.chosen[group]))
        weight = min(1.0, frames / max(1, self.seen))
        self.ratio += max(weight, 0.1) * (at_start / self.expected - self.ratio)


def feedback(search: Search, total: float, frames: int, *, at_most: bool = False) -> Feedback:
    """What brings `frames` frames to `total` bytes; with `at_most` rather to fewer than to more."""
    start = search.for_rate(total / frames)
    while at_most and start and search.rate(start) * frames > total:
        start -= 1
    return Feedback(start, search.rate(start), total, frames, search.growth(), search.highest)
