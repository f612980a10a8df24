"""`Picture`: the samples that go into the codec and come out of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import DTypeLike, NDArray

from mvc.errors import Limit, SourceError

if TYPE_CHECKING:
    from PIL import Image

MAX_SIDE_PX = 8192
"""Largest width and height this version codes. The container's own limits are wider (bitstream_spec.md)."""

DECODING_BYTES_PER_PIXEL = 60
"""Memory that decoding takes at its peak, measured: 60 at 3840x3840, 48 at 8192x8192 (20 and 16 times the samples)."""


def check_size(width: int, height: int, *, name: str = "the picture") -> None:
    """Raise `Limit` (too large) or `SourceError` (empty) unless a picture of this size can be coded."""
    if width < 1 or height < 1:
        raise SourceError(f"{name} is {width}x{height}: it has no pixels")
    if width > MAX_SIDE_PX or height > MAX_SIDE_PX:
        raise Limit(
            f"{name} is {width}x{height}; at most {MAX_SIDE_PX}x{MAX_SIDE_PX} can be coded",
            hint="scale it down or cut it into parts",
        )


def decoding_bytes(width: int, height: int, weights_bytes: int = 0) -> int:
    """About how much memory decoding a picture takes beside Python and its libraries: linear in the pixels."""
    return DECODING_BYTES_PER_PIXEL * width * height + weights_bytes


def check_decoding(
    width: int,
    height: int,
    max_pixels: int | None = None,
    max_memory: int | None = None,
    *,
    weights_bytes: int = 0,
    name: str = "the picture in the file",
) -> None:
    """Raise `Limit` unless a picture of this size may be decoded: what this version can, and what the caller allows.

    `max_memory` is in bytes and compared with `decoding_bytes`; None is no limit.
    """
    check_size(width, height, name=name)
    if max_pixels is not None and width * height > max_pixels:
        raise Limit(
            f"{name} is {width}x{height}, {width * height} pixels; at most {max_pixels} are allowed",
            hint="allow more (max_pixels) if you trust where the file comes from",
        )
    needed = decoding_bytes(width, height, weights_bytes)
    if max_memory is not None and needed > max_memory:
        raise Limit(
            f"{name} is {width}x{height}, and to decode it takes some {needed / 1e6:.3g} MB; "
            f"{max_memory / 1e6:.3g} MB are allowed",
            hint="allow more (max_memory), or decode it on a larger machine",
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
            hint = "round samples to 0 ... 255, and convert them with .astype(numpy.uint8)"
            raise SourceError(f"picture samples must be a uint8 array, not {kind}", hint=hint)
        if samples.ndim != 2 and (samples.ndim != 3 or samples.shape[2] != 3):
            hint = "rows come first, channels last; alpha is not kept, so leave it out or give an image of Pillow"
            raise SourceError(f"picture samples must be [H, W, 3] or [H, W], not {list(samples.shape)}", hint=hint)
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

    def to_pil(self) -> Image.Image:
        """The picture as an image of Pillow, mode "RGB" or "L"."""
        from PIL import Image

        return Image.fromarray(self.samples)

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> NDArray[Any]:
        """The samples, for `numpy.asarray(picture)`, which does not copy them."""
        return np.array(self.samples, dtype, copy=copy)

    def __repr__(self) -> str:
        return f"Picture({self.width}x{self.height}, {self.colour})"
