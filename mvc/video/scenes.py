"""Where a clip changes from one scene to another: there a keyframe costs no more than what it replaces.

Two cheap signs, both of luma at a few thousand places: how far samples are from those of the frame before, and how far
apart the two histograms are. Motion changes the first and hardly the second, a change of light the second slowly.
"""

from __future__ import annotations

from collections import deque

import numpy as np
from numpy.typing import NDArray

from mvc.frames import Frame

SIDE = 64
"""About how many places of a frame are looked at, across and down."""
BINS = 32
LEAST_CHANGE = 10.0  # mean absolute difference of samples
LEAST_SHIFT = 0.18  # of all samples, how many are in another bin
GREAT_CHANGE = 35.0  # cut whatever the histograms say
USUAL = 3.0  # times the mean change of the frames before
MEMORY = 8  # frames


class SceneCuts:
    """Looks at the frames of a clip one after the other."""

    def __init__(self) -> None:
        self._last: NDArray[np.int16] | None = None
        self._changes: deque[float] = deque(maxlen=MEMORY)

    def __call__(self, frame: Frame) -> bool:
        """Whether a frame shows another scene than the one before it; never for the first."""
        small = _small(frame.planes[0])
        last, self._last = self._last, small
        if last is None:
            return False
        change = float(np.abs(small - last).mean())
        usual = float(np.mean(self._changes)) if self._changes else 0.0
        cut = change > max(LEAST_CHANGE, USUAL * usual) and (change > GREAT_CHANGE or _shift(last, small) > LEAST_SHIFT)
        if cut:
            self._changes.clear()
        else:
            self._changes.append(change)
        return cut


def _small(luma: NDArray[np.uint8]) -> NDArray[np.int16]:
    """Means of 2x2 samples, where there are so many, at about SIDE x SIDE places."""
    height, width = luma.shape
    rows, columns = (slice(None, None, max(1, side // SIDE)) for side in (height, width))
    places = luma[rows, columns].astype(np.int16)
    if min(height, width) < 2 * SIDE:
        return places
    beside = luma[1:][rows, columns], luma[:, 1:][rows, columns]
    tall, wide = (min(part.shape[axis] for part in (places, *beside)) for axis in (0, 1))
    return np.asarray((2 * places[:tall, :wide] + beside[0][:tall, :wide] + beside[1][:tall, :wide]) >> 2)


def _shift(one: NDArray[np.int16], other: NDArray[np.int16]) -> float:
    """The share of samples that would have to move to make one histogram the other."""
    first, second = (np.bincount(part.ravel() * BINS >> 8, minlength=BINS) for part in (one, other))
    return float(np.abs(first - second).sum()) / 2 / one.size
