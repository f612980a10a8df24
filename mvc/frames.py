"""`Frame` and `Clip`: what goes into the video codec and comes out of it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Literal, NamedTuple

import numpy as np

from mvc.colour import IDENTITY, RGB, UNTAGGED, Chroma, Colour, Planes, expanded_gray, from_rgb, resized, to_rgb
from mvc.errors import SourceError
from mvc.picture import MAX_FRAME_SIDE_PX, Picture, check_size

PixelFormat = Literal["gray", "yuv420p", "yuv422p", "yuv444p", "gbrp"]
FACTORS: dict[PixelFormat, tuple[int, int]] = {
    "yuv420p": (2, 2),
    "yuv422p": (2, 1),
    "yuv444p": (1, 1),
    "gbrp": (1, 1),
}
"""How many times smaller U and V are, across and down. "gbrp" is RGB: planes of green, blue and red."""


def plane_shapes(width: int, height: int, pixel_format: PixelFormat) -> tuple[tuple[int, int], ...]:
    """Height and width of each plane."""
    if pixel_format == "gray":
        return ((height, width),)
    across, down = FACTORS[pixel_format]
    small = (-(-height // down), -(-width // across))
    return ((height, width), small, small)


@dataclass(frozen=True, eq=False)
class Frame:
    """One picture of a clip: uint8 planes (Y, U, V), or (Y,) for gray, as they were in the source.

    `time` and `duration` are in the clip's `time_base`; a duration of 0 is not known. Planes of RGB are (G, B, R), and
    `colour.matrix` is 0 then. Raises `SourceError` for planes that do not belong together.
    """

    planes: Planes
    time: int
    colour: Colour = UNTAGGED
    duration: int = 0

    def __post_init__(self) -> None:
        for plane in self.planes:
            if not isinstance(plane, np.ndarray) or plane.dtype != np.uint8 or plane.ndim != 2:
                raise SourceError("planes of a frame must be uint8 arrays [height, width]")
        check_size(self.width, self.height, name="the frame", side=MAX_FRAME_SIDE_PX)
        shapes = tuple(plane.shape for plane in self.planes)
        if not any(shapes == plane_shapes(self.width, self.height, name) for name in ("gray", *FACTORS)):
            raise SourceError(f"planes of {shapes} are neither gray nor 4:2:0, 4:2:2 or 4:4:4")

    @property
    def width(self) -> int:
        """Width in pixels."""
        return int(self.planes[0].shape[1])

    @property
    def height(self) -> int:
        """Height in pixels."""
        return int(self.planes[0].shape[0])

    def to_picture(self, chroma: Chroma = "linear") -> Picture:
        """The frame as a picture, RGB or gray. Code values are taken as sRGB, whatever primaries and transfer say."""
        if len(self.planes) == 1:
            return Picture(expanded_gray(self.planes[0], self.colour.full_range))
        if self.colour == RGB:
            return Picture(np.ascontiguousarray(np.stack([self.planes[index] for index in (2, 0, 1)], axis=2)))
        return Picture(to_rgb(self.planes, self.colour, chroma))

    @classmethod
    def of_picture(cls, picture: Picture, time: int, duration: int = 0) -> Frame:
        """A picture's own samples as planes: (G, B, R), or (Y,) in the full range."""
        if picture.colour == "gray":
            return cls((picture.samples,), time, Colour(full_range=True), duration)
        planes = tuple(np.ascontiguousarray(picture.samples[:, :, index]) for index in (1, 2, 0))
        return cls(planes, time, RGB, duration)

    def converted(self, pixel_format: PixelFormat, colour: Colour | None = None, chroma: Chroma = "linear") -> Frame:
        """The frame with planes of another layout, and of another matrix or range if `colour` says so.

        `colour` is by default the frame's own; from RGB to YUV it is what players assume for this size, in the limited
        range. Planes that need no change are the same arrays. Smaller chroma is averaged, larger interpolated.
        """
        colour = colour or converted_colour(self.colour, pixel_format, self.width, self.height)
        old, new = self.colour.resolved(self.width, self.height), colour.resolved(self.width, self.height)
        gray = len(self.planes) == 1 or pixel_format == "gray"
        same_matrix = IDENTITY not in (old.matrix, new.matrix) if gray else old.matrix == new.matrix
        if same_matrix and old.full_range == new.full_range:
            planes = self._relaid(pixel_format)
        else:
            samples = self.to_picture(chroma).samples
            rgb = np.repeat(samples[:, :, None], 3, axis=2) if samples.ndim == 2 else samples
            planes = from_rgb(rgb, colour, FACTORS.get(pixel_format, (1, 1)), chroma)
            planes = planes[:1] if pixel_format == "gray" else planes
        return replace(self, planes=planes, colour=colour)

    def _relaid(self, pixel_format: PixelFormat) -> Planes:
        luma = self.planes[0]
        if pixel_format == "gray":
            return (luma,)
        if len(self.planes) == 1:
            neutral = np.full(plane_shapes(self.width, self.height, pixel_format)[1], 128, np.uint8)
            return (luma, neutral, neutral)
        size, factors = (self.height, self.width), FACTORS[pixel_format]
        return (luma, *(resized(plane, size, factors, self.colour) for plane in self.planes[1:]))


def converted_colour(colour: Colour, pixel_format: PixelFormat, width: int, height: int) -> Colour:
    """The colours that `Frame.converted` gives planes of this format if it is not told others."""
    if pixel_format == "gbrp":
        return RGB
    if colour.matrix == IDENTITY:
        return replace(colour, matrix=UNTAGGED.resolved(width, height).matrix, full_range=False, siting=None)
    return colour


@dataclass(frozen=True)
class ClipInfo:
    """What holds for all frames of a clip: all that `write_clip` has to know beforehand.

    `time_base` is the unit of frames' times, in seconds. `rate` is the nominal frame rate, in frames per second, or
    None; times may be others. `aspect` is the width of a pixel divided by its height.
    """

    width: int
    height: int
    time_base: Fraction
    colour: Colour = UNTAGGED
    pixel_format: PixelFormat = "yuv420p"
    rate: Fraction | None = None
    aspect: Fraction = Fraction(1)

    def converted(self, pixel_format: PixelFormat) -> ClipInfo:
        """The same with frames that are converted to `pixel_format`."""
        colour = converted_colour(self.colour, pixel_format, self.width, self.height)
        return replace(self, pixel_format=pixel_format, colour=colour)


class Told:
    """What is lost, in plain words, each once, in the order in which it was found."""

    def __init__(self) -> None:
        self._lines: dict[str, None] = {}

    def add(self, loss: str) -> None:
        """Take up a loss, if it is new."""
        self._lines.setdefault(loss)

    def lines(self) -> tuple[str, ...]:
        """All of them by now."""
        return tuple(self._lines)


class AudioTrack(NamedTuple):
    """A track of sound. `header` is a NUT file of this track with a packet of zeros: all that a muxer has to know."""

    codec: str
    sample_rate: int
    channels: int
    language: str
    time_base: Fraction
    header: bytes


class AudioPacket(NamedTuple):
    """Some coded sound of the track of this number; times in its `time_base`, None where the source has none."""

    track: int
    data: bytes
    time: int | None
    decoding_time: int | None
    duration: int


@dataclass(frozen=True, eq=False)
class Clip(ClipInfo):
    """A clip that is being read: `frames()` once, one after the other; nothing of it is held but what is under way.

    `losses` says in plain words what the frames do not hold of the source; some is found only on the way, so it is
    complete when the frames are at their end. A context manager that closes what it reads; so does the last frame.
    """

    name: str = "the clip"
    tracks: tuple[AudioTrack, ...] = ()
    told: Told = field(default_factory=Told, repr=False)
    waiting: deque[AudioPacket] = field(default_factory=deque, repr=False)
    source: Iterator[Frame] = field(default_factory=lambda: iter(()), repr=False)
    closing: Callable[[], None] = field(default=lambda: None, repr=False)
    used: list[bool] = field(default_factory=list, repr=False)

    @property
    def losses(self) -> tuple[str, ...]:
        """What is lost, as far as it is known by now."""
        return self.told.lines()

    def tell(self, say: Callable[[str], object]) -> None:
        """Say every loss, with the name of the source before it."""
        for loss in self.losses:
            say(f"{self.name}: {loss}")

    def frames(self) -> Iterator[Frame]:
        """The frames in the order of their times. A source that dies gives those before, and then one `SourceError`.

        Raises `ValueError` the second time: open the clip again for another pass.
        """
        if self.used:
            raise ValueError("the frames of a clip can be read once: open it again")
        self.used.append(True)
        return self.source

    def take_audio(self) -> list[AudioPacket]:
        """The packets of sound that have come since the last call. Whoever wants sound calls this at every frame."""
        taken = []
        while self.waiting:
            taken.append(self.waiting.popleft())
        return taken

    def close(self) -> None:
        """Close what is being read."""
        self.closing()

    def __enter__(self) -> Clip:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
