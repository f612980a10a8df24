"""A small JPEG of a picture, which goes into its file for programs without a network."""

from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
from PIL import Image, ImageCms

from mvc.picture import Picture

SIDES_PX = (256, 192, 128, 96, 64)
"""The longer side of a thumbnail: the first with which it takes no more than `MOST_BYTES`."""
QUALITIES = (85, 75, 65, 55, 45, 35)
MOST_BYTES = 6000
MOST_PX = 1024
"""Of a side, in files that others made."""
_TO_START_WITH = MOST_PX


def with_thumbnail(picture: Picture) -> Picture:
    """The picture with a thumbnail of it in its metadata."""
    return replace(picture, metadata=replace(picture.metadata, thumbnail=thumbnail_of(picture)))


def thumbnail_of(picture: Picture) -> bytes:
    """A JPEG of at most 256 pixels a side and about `MOST_BYTES` bytes, in sRGB or gray, without metadata.

    Transparent parts are shown on white. A small picture is not made larger.
    """
    image = small(picture, SIDES_PX[0])
    made = b""
    for side in SIDES_PX:
        shrunk = scaled_down(image, side)
        for quality in QUALITIES:
            buffer = io.BytesIO()
            shrunk.save(buffer, "JPEG", quality=quality, optimize=True)
            made = buffer.getvalue()
            if len(made) <= MOST_BYTES:
                return made
    return made


def image_of(jpeg: bytes | None) -> Image.Image | None:
    """The image in a thumbnail that a file holds; None where that is none, or larger than one has to be."""
    if jpeg is None:
        return None
    try:
        image = Image.open(io.BytesIO(jpeg), formats=("JPEG",))
        if max(image.size) > MOST_PX:
            return None
        image.load()
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return None  # it is for programs, and a picture is there beside it
    return image


def small(picture: Picture, side: int) -> Image.Image:
    """The picture in sRGB or gray of 8 bits, on white, no side longer than `side`, which is at most `MOST_PX`."""
    image = scaled_down(_coarse(picture), side)
    return _in_srgb(image, picture.metadata.icc) if picture.metadata.icc and image.mode == "RGB" else image


def _coarse(picture: Picture) -> Image.Image:
    """The picture in 8 bits, on white, perhaps smaller: of a large one means of squares, in bands of rows."""
    factor = max(1, max(picture.width, picture.height) // _TO_START_WITH)
    if factor == 1:
        return picture.on_white().eight_bit().to_pil()
    width, height = max(1, picture.width // factor), max(1, picture.height // factor)
    squares = np.empty((height, width, *picture.samples.shape[2:]), np.uint8)
    across = min(factor, picture.width)  # of a picture that is narrower than a square is high
    down = min(factor, picture.height)
    for row in range(height):
        rows = slice(row * down, (row + 1) * down)
        alpha = None if picture.alpha is None else picture.alpha[rows, : width * across]
        band = Picture(picture.samples[rows, : width * across], alpha).on_white().eight_bit().samples
        squares[row] = band.reshape(down, width, across, -1).mean((0, 2)).round().reshape(squares.shape[1:])
    return Image.fromarray(squares)


def scaled_down(image: Image.Image, side: int) -> Image.Image:
    """An image with no side longer than `side`; one that has none stays as it is."""
    share = side / max(image.size)
    if share >= 1:
        return image
    size = max(1, round(image.width * share)), max(1, round(image.height * share))
    return image.resize(size, Image.Resampling.LANCZOS)


def _in_srgb(image: Image.Image, icc: bytes) -> Image.Image:
    """In sRGB as a profile says; the image itself where that cannot be done with it."""
    try:
        own = ImageCms.ImageCmsProfile(io.BytesIO(icc))
        made = ImageCms.profileToProfile(image, own, ImageCms.createProfile("sRGB"), outputMode="RGB")
    except (ImageCms.PyCMSError, ImportError, OSError, ValueError, TypeError):
        return image
    return image if made is None else made
