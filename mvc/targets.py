"""The file of a picture that has a given size, or a given quality: the index that comes nearest is searched."""

from __future__ import annotations

from collections.abc import Callable

from mvc import stills
from mvc.errors import Limit
from mvc.picture import Picture
from mvc.quality import best_within, least_reaching

Made = Callable[[int], bytes]
"""The file at a quality index."""


def of_psnr(picture: Picture, made: Made, decode: Callable[[bytes], Picture], psnr: float) -> bytes:
    """The smallest file with at least `psnr` dB; Limit where there is none."""

    def measured(data: bytes) -> float:
        return stills.psnr(picture, decode(data))

    data = least_reaching(made, lambda data: measured(data) >= psnr)
    if measured(data) < psnr:
        raise Limit(f"the best quality of this picture has {measured(data):.2f} dB, less than {psnr:g}")
    return data


def of_size(picture: Picture, made: Made, limit: int) -> bytes:
    """The best file of no more than `limit` bytes; Limit where there is none."""
    data = best_within(made, lambda data: len(data) <= limit)
    if len(data) > limit:
        hint = "its metadata counts, too, and can be left out" if picture.metadata else None
        raise Limit(f"the smallest file of this picture has {len(data)} bytes, more than {limit}", hint=hint)
    return data
