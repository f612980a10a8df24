"""Frames between two others, known as B-frames: in which order a run of them is decoded (spec section 3.2).

Frames that are not between others are anchors: keyframes, and frames that are made from the anchor before them. In a
file all stand in the order of their times. A run of frames between two anchors is decoded when the second has been: the
middle one first, then the halves of the run on both sides of it, each between what is there.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

MOST = 7
"""Frames of a run at most: a decoder keeps their units until the anchor behind them has come."""

DEFAULT = 3


def middle(count: int) -> int:
    """Which of a run of so many frames, from 0, is decoded first."""
    return (count - 1) // 2


class Turn(NamedTuple):
    """A frame that is coded, by its number in its GOP, and those that it is made from.

    An anchor has no `future`. `future_later`: the future reference was made from the past one, and not the other way
    round. `halved` says how often its run was halved before.
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
        yield Turn(following, anchor)
        yield from _run(anchor, following, True, 0)
        anchor = following


def _run(past: int, future: int, future_later: bool, halved: int) -> Iterator[Turn]:
    if future - past < 2:
        return
    number = past + 1 + middle(future - past - 1)
    yield Turn(number, past, future, future_later, halved)
    yield from _run(past, number, True, halved + 1)
    yield from _run(number, future, False, halved + 1)
