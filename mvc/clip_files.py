"""Between videos and ClipCodec: frames with its times, and what a clip says of times and colours, there and back."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from fractions import Fraction
from typing import Literal

from mvc.colour import Colour
from mvc.container import ClipHead, Head
from mvc.errors import SourceError
from mvc.frames import Clip, ClipInfo, Frame, PixelFormat

MAX_TIME = 0xFFFFFFFF
MAX_ASPECT = 65535
CHROMA: dict[Literal["444", "422", "420", "gray", "rgb"], PixelFormat] = {
    "420": "yuv420p",
    "422": "yuv422p",
    "444": "yuv444p",
    "gray": "gray",
    "rgb": "gbrp",
}
Siting = Literal["left", "centre", "top-left", "top", "bottom-left", "bottom"]
SITINGS: tuple[Siting, ...] = ("left", "centre", "top-left", "top", "bottom-left", "bottom")  # by their code points


def clip_head(info: ClipInfo) -> ClipHead:
    """What the file says of a clip; SourceError for times in units that it has no numbers for."""
    unit = info.time_base
    if max(unit.numerator, unit.denominator) > MAX_TIME:
        raise SourceError(f"the clip counts its times in units of {unit} s, finer than the format has")
    colour, aspect = info.colour, _held(info.aspect)
    return ClipHead(
        unit.numerator,
        unit.denominator,
        "full" if colour.full_range else "limited",
        next(name for name, layout in CHROMA.items() if layout == info.pixel_format),
        "unknown" if colour.siting is None else SITINGS[colour.siting],
        colour.primaries,
        colour.transfer,
        colour.matrix,
        aspect.numerator,
        aspect.denominator,
        1 if info.rate is None else min(max(1, round(1 / (info.rate * unit))), MAX_TIME),
    )


def clip_info(head: Head) -> ClipInfo:
    """What `write_clip` has to know of a clip in a file."""
    clip = head.clip
    assert clip is not None, "a still picture is no clip"
    siting = None if clip.siting == "unknown" else SITINGS.index(clip.siting)
    colour = Colour(clip.primaries, clip.transfer, clip.matrix, clip.range == "full", siting)
    own = head.width, head.height, clip.time_base, colour, CHROMA[clip.chroma]
    return ClipInfo(*own, aspect=clip.aspect)


def _held(aspect: Fraction) -> Fraction:
    """The nearest ratio that the file has numbers for."""
    if not Fraction(1, MAX_ASPECT) <= aspect <= MAX_ASPECT:
        return Fraction(1)  # no camera makes such pixels
    return aspect.limit_denominator(MAX_ASPECT if aspect <= 1 else max(1, int(MAX_ASPECT / aspect)))


def timed(clip: Clip) -> Iterator[Frame]:
    """The frames of a clip, with times that begin at 0."""
    first: int | None = None
    for frame in clip.frames():
        first = frame.time if first is None else first
        yield replace(frame, time=frame.time - first)


def shown(info: ClipInfo, frames: Iterable[Frame]) -> Iterator[Frame]:
    """Decoded frames as planes of the clip's own layout."""
    for frame in frames:
        yield frame.converted(info.pixel_format, info.colour)
