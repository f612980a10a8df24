"""A clip's frames in whatever order they are asked for."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import TYPE_CHECKING

from mvc.errors import MvcError, SourceError
from mvc.video.moments import Moment
from mvc.video.reader import ClipFile

if TYPE_CHECKING:
    from mvc.frames import Frame


class Cursor:
    """Decodes on from the last frame, or from a keyframe where that is nearer."""

    def __init__(self, clip: ClipFile) -> None:
        self._clip = clip
        self._frames: Iterator[Frame] | None = None
        self._next = 0

    def frame(self, number: int) -> Frame:
        """The frame of this number, from 0. `SourceError` where there is none, and what decoding raises."""
        behind = False
        with suppress(MvcError):  # the first frame of a damaged file can be had
            # the file is walked before it is read from two places
            behind = any(self._next < key <= number for key in self._clip.keyframes)
        if self._frames is None or behind or number < self._next:
            self._frames, self._next = self._clip.frames(Moment(frame=number)), number
        frame = None
        while self._next <= number:
            try:
                frame = next(self._frames, None)
            except MvcError:
                self._frames = None
                raise
            self._next += 1
        if frame is None:
            self._frames = None
            raise SourceError(f"{self._clip.name} has no frame {number}")
        return frame
