"""`Picture`: the samples that go into the codec and come out of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from mvc.errors import Limit, SourceError

MAX_SIDE_PX = 8192
"""Largest width and height this version codes. The container's own limits are wider (bitstream_spec.md)."""


def check_size(width: int, height: int, *, name: str = "the picture") -> None:
    """Raise `Limit` (too large) or `SourceError` (empty) unless a picture of this size can be coded."""
    if width < 1 or height < 1:
        raise SourceError(f"{name} is {width}x{height}: it has no pixels")
    if width > MAX_SIDE_PX or height > MAX_SIDE_PX:
        raise Limit(
            f"{name} is {width}x{height}; at most {MAX_SIDE_PX}x{MAX_SIDE_PX} can be coded",
            hint="scale it down or cut it into parts",
        )


@dataclass(frozen=True, eq=False)
class Picture:
    """8-bit samples, `uint8 [height, width, 3]` (RGB) or `uint8 [height, width]` (grayscale).

    Raises `SourceError` for another shape or type and `Limit` for a side above `MAX_SIDE_PX`.
    The samples are used as they are, never copied: whoever writes into the array changes the picture.
    """

    samples: NDArray[np.uint8]

    def __post_init__(self) -> None:
        samples = self.samples
        if not isinstance(samples, np.ndarray) or samples.dtype != np.uint8:
            kind = samples.dtype if isinstance(samples, np.ndarray) else type(samples).__name__
            raise SourceError(f"picture samples must be a uint8 array, not {kind}")
        if samples.ndim != 2 and (samples.ndim != 3 or samples.shape[2] != 3):
            raise SourceError(f"picture samples must be [H, W, 3] or [H, W], not {list(samples.shape)}")
        check_size(self.width, self.height)

    @property
    def width(self) -> int:
        """Width in pixels."""
        return int(self.samples.shape[1])

    @property
    def height(self) -> int:
        """Height in pixels."""
        return int(self.samples.shape[0])

    @property
    def colour(self) -> Literal["rgb", "gray"]:
        """`"rgb"` or `"gray"`."""
        return "gray" if self.samples.ndim == 2 else "rgb"

    def __repr__(self) -> str:
        return f"Picture({self.width}x{self.height}, {self.colour})"
