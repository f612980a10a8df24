"""Frames between two others, known as B-frames: in which order a run of them is decoded (spec section 3.2).

Frames that are not between others are anchors: keyframes, and frames that are made from the anchor before them. In a
file all stand in the order of their times. A run of frames between two anchors is decoded when the second has been: the
middle one first, then the halves of the run on both sides of it, each between what is there.
"""

from __future__ import annotations

MOST = 7
"""Frames of a run at most: a decoder keeps their units until the anchor behind them has come."""

DEFAULT = 3


def middle(count: int) -> int:
    """Which of a run of so many frames, from 0, is decoded first."""
    return (count - 1) // 2
