"""How many frames a clip seems to have, where that can be told without reading it: for people who wait, only."""

from __future__ import annotations

import os
import re
from typing import Any

from mvc.frames import FACTORS, PixelFormat, Told, plane_shapes
from mvc.media.pyav import need_av
from mvc.media.sequences import in_folder, is_pattern, numbered
from mvc.media.y4m import SIGNATURE

_HEADER_BYTES = 256
_LAYOUTS: dict[bytes, PixelFormat] = {b"420": "yuv420p", b"422": "yuv422p", b"444": "yuv444p", b"mon": "gray"}


def frames_stated(path: str) -> int | None:
    """The number of frames, about; None where nothing says it, whatever the reason."""
    try:
        if os.path.isdir(path):
            return len(in_folder(path))
        if is_pattern(path):
            return len(numbered(path, Told()))
        with open(path, "rb") as file:
            start = file.read(_HEADER_BYTES)
        return _of_y4m(start, os.path.getsize(path)) if start.startswith(SIGNATURE) else _of_video(path)
    except Exception:  # a guess is never worth an error
        return None


def _of_y4m(start: bytes, size: int) -> int | None:
    header = start[: start.index(b"\n")]
    sides = [int(found[1]) for side in (b"W", b"H") if (found := re.search(rb" %b(\d+)" % side, header))]
    layout = re.search(rb" C(420|422|444|mon)\w*?(p1\d)?(?: |$)", header)
    known = _LAYOUTS.get(layout[1] if layout else b"420")
    if len(sides) != 2 or known not in ("gray", *FACTORS):
        return None
    samples = sum(height * width for height, width in plane_shapes(sides[0], sides[1], known))
    return (size - len(header)) // (samples * (2 if layout and layout[2] else 1) + len(b"FRAME\n"))


def _of_video(path: str) -> int | None:
    av: Any = need_av()
    with av.open("file:" + path) as container:
        stream = container.streams.video[0]
        if stream.frames:
            return int(stream.frames)
        seconds = stream.duration * stream.time_base if stream.duration else (container.duration or 0) / av.time_base
        return round(seconds * stream.average_rate) or None
