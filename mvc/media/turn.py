"""The right way up: frames turned and mirrored as a display matrix says, chroma with them."""

from __future__ import annotations

import struct
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from mvc.colour import SITES, Samples, resized
from mvc.frames import Frame
from mvc.media.unpack import LAYOUTS


class Turn(NamedTuple):
    """Rows and columns swapped first, then mirrored across (left and right) and down."""

    swapped: bool = False
    across: bool = False
    down: bool = False

    def applied(self, plane: Samples) -> Samples:
        """A plane, turned."""
        plane = plane.T if self.swapped else plane
        return np.ascontiguousarray(plane[:: -1 if self.down else 1, :: -1 if self.across else 1])


def of_matrix(data: bytes) -> Turn | None:
    """The turn of FFmpeg's display matrix: nine numbers of 32 bits. None where it is not by quarters of a circle."""
    right_x, right_y, _, down_x, down_y = struct.unpack_from("=5i", data)
    small = max(map(abs, (right_x, right_y, down_x, down_y))) // 50
    if abs(right_y) <= small and abs(down_x) <= small and min(abs(right_x), abs(down_y)) > small:
        return Turn(False, right_x < 0, down_y < 0)
    if abs(right_x) <= small and abs(down_y) <= small and min(abs(right_y), abs(down_x)) > small:
        return Turn(True, down_x < 0, right_y < 0)
    return None


def turned(frame: Frame, turn: Turn, factors: tuple[int, int] | None) -> tuple[Frame, bool]:
    """The frame, turned, and whether chroma had to be interpolated, where its new place has no name.

    Quarter turns make 4:4:4 of 4:2:2.
    """
    if turn == Turn() or factors is None:
        return replace(frame, planes=tuple(map(turn.applied, frame.planes))), False
    colour = frame.colour.resolved(frame.width, frame.height)
    height, width = (frame.width, frame.height) if turn.swapped else (frame.height, frame.width)
    (across, down), (x, y) = factors, SITES[colour.siting or 0]
    if turn.swapped:
        across, down, x, y = down, across, y, x
    x, y = (1 - x if turn.across else x), (1 - y if turn.down else y)
    whole = not (turn.across and across > 1 and width % 2) and not (turn.down and down > 1 and height % 2)
    site = next((site for site, place in SITES.items() if place == (x, y)), None)
    if (across, down) == (2, 1):
        site = 0 if x == 0 else None
    if factors == (1, 1) or (whole and site is not None and (across, down) in ((2, 2), (2, 1))):
        siting = frame.colour.siting if factors == (1, 1) else site
        planes = tuple(map(turn.applied, frame.planes))
        return replace(frame, planes=planes, colour=replace(frame.colour, siting=siting)), False
    size = (frame.height, frame.width)
    full = [turn.applied(resized(plane, size, (1, 1), colour)) for plane in frame.planes[1:]]
    target = factors if (across, down) in LAYOUTS and across >= down else (1, 1)
    small = [resized(plane, (height, width), target, colour) for plane in full]
    return replace(frame, planes=(turn.applied(frame.planes[0]), *small)), True
