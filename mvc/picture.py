"""`Picture`: the samples that go into the codec and come out of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import DTypeLike, NDArray

from mvc.arguments import MAX_PIXELS
from mvc.errors import Limit, SourceError
from mvc.metadata import NONE, Metadata

if TYPE_CHECKING:
    from PIL import Image

Samples = NDArray[Any]
"""Of uint8 or uint16."""

MAX_SIDE_PX = 65535
"""Largest width and height, of the format too (bitstream_spec.md)."""
MAX_FRAME_SIDE_PX = 8192
"""The same of frames, which are whole in memory, a few at a time."""
MAX_READ_PIXELS = MAX_PIXELS
"""Largest picture, in pixels, that is read from a file which has to be whole in memory."""

_BAND_ROWS = 64
DECODING_BYTES_PER_PIXEL = 60
"""Memory that decoding takes at its peak, measured: 60 at 3840x3840, 48 at 8192x8192 (20 and 16 times the samples)."""


EXACT_BYTES_PER_PIXEL = 100
EXACT_TABLES_BYTES = 110 << 20
"""The same of the exact coder, whose tables grow with the picture, by 416 bytes a pixel, up to that size."""


def check_size(
    width: int, height: int, *, name: str = "the picture", side: int = MAX_SIDE_PX, pixels: int | None = None
) -> None:
    """Raise `Limit` (too large) or `SourceError` (empty) unless a picture of this size can be coded.

    `side` is the most that width and height may be, `pixels` the most that there may be, if not any number.
    """
    if width < 1 or height < 1:
        raise SourceError(f"{name} is {width}x{height}: it has no pixels")
    if width > side or height > side:
        hint = "scale it down or cut it into parts"
        raise Limit(f"{name} is {width}x{height}; at most {side}x{side} can be coded", hint=hint)
    if pixels is not None and width * height > pixels:
        hint = "`mvc encode` takes larger ones as PNG, TIFF in strips or PPM, which it reads row by row"
        own = f"{width}x{height}, {width * height} pixels"
        raise Limit(f"{name} is {own}; at most {pixels} are read at once", hint=hint)


def decoding_bytes(width: int, height: int, weights_bytes: int = 0, *, exact: bool = False) -> int:
    """About how much memory decoding a picture takes beside Python and its libraries: linear in the pixels.

    `exact`: of what the exact coder made, a picture or its alpha.
    """
    if exact:
        return EXACT_BYTES_PER_PIXEL * width * height + min(416 * width * height, EXACT_TABLES_BYTES) + weights_bytes
    return DECODING_BYTES_PER_PIXEL * width * height + weights_bytes


def check_decoding(
    width: int,
    height: int,
    max_pixels: int | None = None,
    max_memory: int | None = None,
    *,
    weights_bytes: int = 0,
    exact: bool = False,
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
    needed = decoding_bytes(width, height, weights_bytes, exact=exact)
    if max_memory is not None and needed > max_memory:
        raise Limit(
            f"{name} is {width}x{height}, and to decode it takes some {needed / 1e6:.3g} MB; "
            f"{max_memory / 1e6:.3g} MB are allowed",
            hint="allow more (max_memory), or decode it on a larger machine",
        )


@dataclass(frozen=True, eq=False)
class Picture:
    """Samples `[height, width, 3]` (RGB) or `[height, width]` (grayscale), uint8 or uint16 (0 ... 65535).

    `alpha`, `[height, width]` of the same type, says how opaque each pixel is, from 0 (not to be seen) on; the colour
    is not multiplied by it. None: everything is opaque.
    Raises `SourceError` for another shape or type and `Limit` for a side above `MAX_SIDE_PX`.
    The samples are used as they are, never copied: whoever writes into the array changes the picture. `metadata` says
    which colours they are, and the rest that a file may say of a picture.
    """

    samples: Samples
    alpha: Samples | None = None
    metadata: Metadata = NONE

    def __post_init__(self) -> None:
        samples = self.samples
        if not isinstance(samples, np.ndarray) or samples.dtype not in (np.uint8, np.uint16):
            kind = samples.dtype if isinstance(samples, np.ndarray) else type(samples).__name__
            hint = "round samples to 0 ... 255, and convert them with .astype(numpy.uint8)"
            raise SourceError(f"picture samples must be a uint8 or uint16 array, not {kind}", hint=hint)
        if samples.ndim != 2 and (samples.ndim != 3 or samples.shape[2] != 3):
            hint = "rows come first, channels last; alpha is an array of its own: Picture(samples, alpha)"
            raise SourceError(f"picture samples must be [H, W, 3] or [H, W], not {list(samples.shape)}", hint=hint)
        check_size(self.width, self.height)
        alpha = self.alpha
        if alpha is not None and (not isinstance(alpha, np.ndarray) or alpha.dtype != samples.dtype):
            raise SourceError(f"alpha must be an array of {samples.dtype}, as the samples are")
        if alpha is not None and alpha.shape != samples.shape[:2]:
            raise SourceError(f"alpha must be {list(samples.shape[:2])} as the picture is, not {list(alpha.shape)}")
        if not isinstance(self.metadata, Metadata):
            raise SourceError(f"metadata must be a Metadata, not {type(self.metadata).__name__}")

    @classmethod
    def of_array(cls, array: NDArray[Any]) -> Picture:
        """From `[H, W]`, or `[H, W, C]` with 1 (gray), 2 (gray, alpha), 3 (RGB) or 4 (RGB, alpha) channels."""
        if array.ndim == 3 and array.shape[2] in (1, 2, 4):
            colour = array[..., :3] if array.shape[2] == 4 else array[..., 0]
            return cls(colour, None if array.shape[2] == 1 else array[..., -1])
        return cls(array)

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

    @property
    def depth(self) -> int:
        """Bits per sample, 8 or 16."""
        return 8 * int(self.samples.dtype.itemsize)

    @property
    def has_alpha(self) -> bool:
        """Whether there is alpha."""
        return self.alpha is not None

    def part(self, rows: slice, columns: slice) -> Picture:
        """A part of the picture, without metadata; its samples are the same memory."""
        return Picture(self.samples[rows, columns], None if self.alpha is None else self.alpha[rows, columns])

    def rows(self, rows: slice) -> Picture:
        """Some rows of it."""
        return self.part(rows, slice(0, self.width))

    def eight_bit(self) -> Picture:
        """The picture in 8 bits: samples of 16 are divided by 257 and rounded."""
        if self.depth == 8:
            return self
        alpha = None if self.alpha is None else eight_bits(self.alpha)
        return Picture(eight_bits(self.samples), alpha, self.metadata.of_eight_bits())

    def on_white(self) -> Picture:
        """The picture without alpha: transparent parts are shown on white."""
        if self.alpha is None:
            return self
        shown = np.empty_like(self.samples)
        for top in range(0, self.height, _BAND_ROWS):
            rows = slice(top, top + _BAND_ROWS)
            shown[rows] = over_white(self.samples[rows], self.alpha[rows])
        return Picture(shown, None, self.metadata)

    def to_pil(self) -> Image.Image:
        """The picture as an image of Pillow, mode "RGB", "L", "RGBA", "LA" or, gray of 16 bits, "I;16".

        What Pillow has no mode for (16 bits in colour or with alpha) comes in 8 bits. Metadata goes where Pillow has it
        when it opens a file, into `info`.
        """
        from PIL import Image

        if self.depth == 16 and (self.alpha is not None or self.colour == "rgb"):
            return self.eight_bit().to_pil()
        image = Image.fromarray(np.asarray(self))
        image.info.update(self.metadata.for_pillow())
        return image

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> NDArray[Any]:
        """The samples, for `numpy.asarray(picture)`, which does not copy them; with alpha [H, W, 4] or [H, W, 2]."""
        if self.alpha is not None:
            return np.dstack([self.samples, self.alpha]).astype(dtype or self.samples.dtype, copy=False)
        wanted = np.dtype(dtype or self.samples.dtype)
        if copy is False and wanted != self.samples.dtype:
            raise ValueError(f"samples of {self.samples.dtype} cannot become {wanted} without a copy")
        return self.samples.astype(wanted, copy=bool(copy))

    def __repr__(self) -> str:
        deep = f", {self.depth} bits" if self.depth != 8 else ""
        alpha = " and alpha" if self.alpha is not None else ""
        return f"Picture({self.width}x{self.height}, {self.colour}{alpha}{deep})"


def eight_bits(plane: Samples) -> NDArray[np.uint8]:
    """round(v / 257) of samples of 16 bits."""
    reduced = np.empty(plane.shape, np.uint8)
    for top in range(0, len(plane), _BAND_ROWS):
        reduced[top : top + _BAND_ROWS] = (plane[top : top + _BAND_ROWS].astype(np.uint32) + 128) // 257
    return reduced


def over_white(colour: Samples, alpha: Samples) -> Samples:
    """What is seen of samples [H, W] or [H, W, 3] with alpha [H, W] over white, rounded."""
    most = int(np.iinfo(colour.dtype).max)
    share = alpha.astype(np.uint64).reshape(*alpha.shape, *[1] * (colour.ndim - 2))
    return ((colour * share + most * (most - share) + most // 2) // most).astype(colour.dtype)
