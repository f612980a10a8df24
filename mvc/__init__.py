"""mvc: a learned image codec with a file format for keeping pictures in.

    data = mvc.encode("k.png", quality=4)      # bytes of an .mvc file
    picture = mvc.decode(data)                 # Picture; picture.samples is uint8 [H, W, 3] or [H, W]
    mvc.info("k.mvc")                          # what the file says about itself, without loading weights

Importing this package imports neither torch nor numpy; they come with the first call that needs them.
"""

from __future__ import annotations

import os
import warnings
from typing import TYPE_CHECKING, Any

from mvc.errors import (
    BackendError,
    Checksum,
    Corrupt,
    FormatError,
    Limit,
    MvcError,
    NotMvc,
    SourceError,
    Truncated,
    Unsupported,
    WeightsError,
)

if TYPE_CHECKING:
    from mvc.media import LossWarning, read_picture, write_picture
    from mvc.picture import Picture

__version__ = "0.1.0"
__all__ = [
    "BackendError",
    "Checksum",
    "Corrupt",
    "FormatError",
    "Limit",
    "LossWarning",
    "MvcError",
    "NotMvc",
    "Picture",
    "SourceError",
    "Truncated",
    "Unsupported",
    "WeightsError",
    "decode",
    "encode",
    "info",
    "quality_index",
    "read_picture",
    "write_picture",
]

DEFAULT_MODEL = "mambavc-lite"
DEFAULT_QUALITY = 4.0
MAX_QUALITY_INDEX = 63
DEFAULT_EFFORT = 1
MAX_EFFORT = 3

_LAZY = {
    "Picture": "mvc.picture",
    "LossWarning": "mvc.media",
    "read_picture": "mvc.media",
    "write_picture": "mvc.media",
}


def encode(
    picture: Picture | str | os.PathLike[str],
    quality: float = DEFAULT_QUALITY,
    *,
    bpp: float | None = None,
    size: int | None = None,
    psnr: float | None = None,
    effort: int = DEFAULT_EFFORT,
    model: str = DEFAULT_MODEL,
    device: str = "auto",
    threads: int | None = None,
) -> bytes:
    """Encode a `Picture`, or the picture file at a path, and return the bytes of an .mvc file.

    `quality` is 1 (small) to 8 (fine), fractions allowed. Instead of it at most one target may be given,
    which the encoder meets by search: `bpp` in bits per pixel, `size` in bytes (both at most that), `psnr` in
    dB (at least that). `effort` is 0 (fastest) to 3 (smallest file); decoding takes the same time for all. `model` is
    a name from `mvc models` or a folder of weights. What a picture file holds beyond 8-bit RGB or gray is dropped with
    a `LossWarning`.
    Raises `SourceError` or `Limit` for a picture that cannot be coded, `ValueError` for a wrong argument.
    """
    if sum(target is not None for target in (bpp, size, psnr)) > 1:
        raise ValueError("give only one of bpp, size and psnr")
    if effort not in range(MAX_EFFORT + 1):
        raise ValueError(f"effort must be 0 to {MAX_EFFORT}, not {effort}")
    index = quality_index(quality)
    from mvc.codec import load
    from mvc.media import LossWarning, read_picture
    from mvc.picture import Picture

    if not isinstance(picture, Picture):
        source = read_picture(picture)
        for loss in source.losses:
            warnings.warn(f"{os.fspath(picture)}: {loss}", LossWarning, stacklevel=2)
        picture = source.picture
    codec = load(model, device, threads)
    if bpp is None and size is None and psnr is None:
        return codec.encode(picture, index, effort)
    return codec.encode_to(picture, bpp=bpp, size=size, psnr=psnr, effort=effort)


def decode(
    source: bytes | str | os.PathLike[str],
    *,
    model: str | None = None,
    device: str = "auto",
    threads: int | None = None,
) -> Picture:
    """Decode the bytes of an .mvc file, or the file at a path.

    `model` is a name or a folder of weights; without it the file's own is taken, if it is installed.
    Raises `FormatError`, `Unsupported` or `Limit` for anything but a whole, valid file this version knows.
    """
    from mvc.container import read_still

    data = _mvc_bytes(source)
    header = read_still(data).header  # a broken file is told before weights are loaded
    from mvc.codec import load

    return load(model or header.model_id, device, threads).decode(data)


def info(source: bytes | str | os.PathLike[str]) -> dict[str, Any]:
    """What an .mvc file says about itself: header fields, chunks, bits per pixel, whether its checksum holds.

    Needs no weights and imports no torch; the keys are those of `mvc.container.describe`. A wrong checksum is
    told (`intact` is False) and not an error. Raises `FormatError`, `Unsupported` or `Limit` where the file
    cannot be parsed at all.
    """
    from mvc.container import describe

    return describe(_mvc_bytes(source))


def quality_index(quality: float) -> int:
    """The file's quality index, 0..63, for a quality of 1..8; `ValueError` outside that range."""
    if not 1 <= quality <= 8:
        raise ValueError(f"quality must be 1 to 8, not {quality:g}")
    return round((quality - 1) * MAX_QUALITY_INDEX / 7)


def _mvc_bytes(source: bytes | str | os.PathLike[str]) -> bytes:
    from mvc import files

    if isinstance(source, bytes):
        return files.bounded(source, name="the data")
    return files.read_mvc(source)


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_LAZY[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
