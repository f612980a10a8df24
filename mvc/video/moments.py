"""Places in a clip as people write them: `5s`, `1:02.5`, `00:01:02`, `frame 120`, or a number of seconds."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from fractions import Fraction

from mvc.quality import whole_number
from mvc.threads import cores

_CLOCK = re.compile(r"(?:(?:(\d+):)?(\d+):)?(\d+(?:\.\d+)?)", re.ASCII)
_SECONDS = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|sec|seconds|min|h)", re.ASCII)
_FRAME = re.compile(r"(?:frame|f|#)\s*(\d+)|(\d+)\s*f(?:rames?)?", re.ASCII)
MAX_JOBS = 64
_UNITS = {"ms": Fraction(1, 1000), "s": Fraction(1), "sec": Fraction(1), "seconds": Fraction(1)}
_UNITS |= {"min": Fraction(60), "h": Fraction(3600)}
_LONGEST = 20  # characters


@dataclass(frozen=True)
class Moment:
    """Where a part of a clip begins: so many seconds after its first frame, or at the frame of this number, from 0."""

    seconds: Fraction = Fraction(0)
    frame: int | None = None


BEGINNING = Moment()


@dataclass(frozen=True)
class Part:
    """What to decode of a clip: at most `frames` from `start` on; with `recover` also of a damaged one."""

    start: Moment = BEGINNING
    frames: int | None = None
    recover: bool = False
    audio: bool = True
    jobs: int = 1

    def __post_init__(self) -> None:
        whole_number("jobs", self.jobs, 1, MAX_JOBS)
        if self.frames is not None:
            whole_number("frames", self.frames, 1)


def threads_of(threads: int | None, jobs: int) -> int | None:
    """How many threads each of several jobs has, if it is not said: together one for each core."""
    return threads if threads is not None or jobs == 1 else max(1, cores() // jobs)


Start = Moment | str | float | int | Fraction
"""A `Moment`, or what `moment` understands."""


def moment(value: Start) -> Moment:
    """A moment from text, as above, or from seconds as a number. ValueError for what is neither, or negative."""
    if isinstance(value, Moment):
        return value
    if isinstance(value, str):
        return _of_text(value.strip().lower())
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"a clip has no place {value:g} s")
    seconds = Fraction(value).limit_denominator(1_000_000)  # 0.4 as a float is a little more than the frame at 0.4 s
    if seconds < 0:
        raise ValueError(f"a clip has nothing {float(-seconds):g} s before its beginning")
    return Moment(seconds)


def _of_text(text: str) -> Moment:
    if len(text) <= _LONGEST:
        if frame := _FRAME.fullmatch(text):
            return Moment(frame=int(frame[1] or frame[2]))
        if unit := _SECONDS.fullmatch(text):
            return Moment(Fraction(unit[1]) * _UNITS[unit[2]])
        if clock := _CLOCK.fullmatch(text):
            hours, minutes, seconds = (Fraction(part or 0) for part in clock.groups())
            if clock[2] is None or seconds < 60:
                return Moment(3600 * hours + 60 * minutes + seconds)
    raise ValueError(f"{text[:40]!r} is no moment of a clip: write 5s, 1:02.5, 00:01:02 or 'frame 120'")
