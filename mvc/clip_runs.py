"""Frames between two others, known as B-frames: in which order a run of them is decoded (spec section 3.2).

Frames that are not between others are anchors: keyframes, and frames that are made from the anchor before them. In a
file all stand in the order of their times. A run of frames between two anchors is decoded when the second has been: the
middle one first, then the halves of the run on both sides of it, each between what is there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, TypeVar

Item = TypeVar("Item")
Made = TypeVar("Made")

MOST = 7
"""Frames of a run at most: a decoder keeps their units until the anchor behind them has come."""

DEFAULT = 3


def middle(count: int) -> int:
    """Which of a run of so many frames, from 0, is decoded first."""
    return (count - 1) // 2


def by_halves(
    run: Sequence[Item],
    past: Made,
    future: Made,
    make: Callable[[Item, Made, Made, bool, int], Made],
    future_later: bool = True,
    halved: int = 0,
) -> Iterator[Made]:
    """What is made of each frame of a run and its two references, in the order of times, each when it is needed.

    `make` is told, too, whether the future reference was made from the past one, and not the other way round, and how
    often the run was halved before.
    """
    if not run:
        return
    place = middle(len(run))
    own = make(run[place], past, future, future_later, halved)
    yield from by_halves(run[:place], past, own, make, True, halved + 1)
    yield own
    yield from by_halves(run[place + 1 :], own, future, make, False, halved + 1)


class Turn(NamedTuple):
    """A frame that is coded, by its number in its GOP, and those that it is made from; the rest as `by_halves` says.

    An anchor has no `future`.
    """

    number: int
    past: int
    future: int | None = None
    future_later: bool = True
    halved: int = 0


def turns(frames: int, bframes: int) -> Iterator[Turn]:
    """The frames of a GOP behind its keyframe, which is number 0, in the order in which they are coded."""
    anchor = 0
    while anchor < frames - 1:
        following = min(anchor + bframes + 1, frames - 1)
        made = [Turn(following, anchor)]

        def make(number: int, past: int, future: int, later: bool, halved: int, made: list[Turn] = made) -> int:
            made.append(Turn(number, past, future, later, halved))
            return number

        for _ in by_halves(range(anchor + 1, following), anchor, following, make):
            pass
        yield from made
        anchor = following
