"""A small image of a picture or of a clip's first frame: from the thumbnail in the file where that is large enough."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

from mvc.errors import BackendError, Limit, MvcError, WeightsError, libraries
from mvc.video.reader import ClipFile

if TYPE_CHECKING:
    from PIL import Image

    from mvc.picture_file import PictureFile


def preview(
    file: PictureFile | ClipFile, side: int, *, max_pixels: int | None = None, partial: bool = False
) -> Image.Image:
    """In sRGB or gray of 8 bits, on white, no side longer than `side`, which is at most 1024.

    Where the picture cannot be decoded here, or has more than `max_pixels`, the thumbnail in the file is taken, however
    small. With `partial` what is left of a damaged picture is shown. Raises what decoding raises where there is none,
    and `Limit` for more than `max_pixels`.
    """
    held = in_file(file)
    if held is None or max(held.size) < min(side, max(file.size)):
        try:
            return _decoded(file, side, max_pixels, partial)
        except (BackendError, WeightsError, Limit):
            if held is None:
                raise
    with libraries():
        from mvc.media.thumbnails import scaled_down

    return scaled_down(held, side)


def in_file(file: PictureFile | ClipFile) -> Image.Image | None:
    """The thumbnail that a still holds, or None. Nothing is decoded but a JPEG."""
    with libraries():
        from mvc.media.thumbnails import image_of

    return None if isinstance(file, ClipFile) else image_of(file.thumbnail())


def _decoded(file: PictureFile | ClipFile, side: int, max_pixels: int | None, partial: bool) -> Image.Image:
    with libraries():
        from mvc.media.thumbnails import small

    if max_pixels is not None and file.width * file.height > max_pixels:
        raise Limit(f"{file.name} is {file.width}x{file.height}, too large for a preview")
    if not isinstance(file, ClipFile):
        with warnings.catch_warnings():
            if partial:
                warnings.simplefilter("ignore")  # of what is missing
            return small(file.read(partial=partial), side)
    frame = next(file.frames(), None)
    if frame is None:
        raise MvcError(f"{file.name} has no frames")
    return small(frame.to_picture(), side)
