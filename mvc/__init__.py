"""mvc: a learned image codec with a file format for keeping pictures in.

    data = mvc.encode("k.png", quality=4)      # bytes of an .mvc file; also from arrays and images of Pillow
    picture = mvc.decode(data)                 # Picture; picture.samples is uint8 [H, W, 3] or [H, W]
    mvc.encode("k.png", lossless=True)         # every sample comes back as it is
    mvc.info("k.mvc")                          # what the file says about itself, without loading weights
    mvc.thumbnail("k.mvc")                     # a small JPEG, if it was encoded with thumbnail=True

    with mvc.open("k.mvc") as file:            # a reader: file.size, file.mode, file.metadata, nothing decoded yet
        file.read(region=(0, 0, 64, 64))

    mvc.encode_video("a.mp4", "a.mvc")         # and back: mvc.decode_video("a.mvc", "a.mkv")
    for frame in mvc.open("a.mvc").frames():   # each decoded when it is asked for
        frame.to_picture()

Importing this package imports neither torch nor numpy; they come with the first call that needs them.
"""

from __future__ import annotations

import builtins
import os
import warnings
from collections.abc import Iterable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from mvc.arguments import (
    MAX_PIXELS,
    check_device,
    check_look,
    check_model,
    check_most,
    check_region,
    check_scale,
    check_threads,
    check_tile,
)
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
    libraries,
)
from mvc.quality import (
    DEFAULT_EFFORT,
    DEFAULT_MODEL,
    DEFAULT_QUALITY,
    DEFAULT_VIDEO_MODEL,
    MAX_EFFORT,
    check_coder,
    check_effort,
    check_target,
    check_tune,
    model_for,
    quality_index,
    whole_number,
)
from mvc.version import __version__

if TYPE_CHECKING:
    from fractions import Fraction
    from typing import BinaryIO

    from numpy.typing import NDArray
    from PIL import Image

    from mvc.codec import Codec
    from mvc.media import LossWarning, read_picture, write_picture
    from mvc.metadata import Metadata
    from mvc.opening import open as open
    from mvc.picture import Picture
    from mvc.video.decode import decode_video
    from mvc.video.encode import encode_video

    Stored = str | os.PathLike[str] | bytes | bytearray | memoryview | BinaryIO
    Encodable = Stored | Picture | Image.Image | NDArray[Any]

__all__ = [
    "DEFAULT_EFFORT",
    "DEFAULT_MODEL",
    "DEFAULT_QUALITY",
    "DEFAULT_VIDEO_MODEL",
    "MAX_EFFORT",
    "BackendError",
    "Checksum",
    "Corrupt",
    "FormatError",
    "Limit",
    "LossWarning",
    "Metadata",
    "MvcError",
    "NotMvc",
    "Picture",
    "SourceError",
    "Truncated",
    "Unsupported",
    "WeightsError",
    "__version__",
    "decode",
    "decode_video",
    "encode",
    "encode_video",
    "info",
    "quality_index",
    "read_picture",
    "thumbnail",
    "write_picture",
]

_LAZY = {
    "Metadata": "mvc.metadata",
    "Picture": "mvc.picture",
    "LossWarning": "mvc.media",
    "decode_video": "mvc.video.decode",
    "encode_video": "mvc.video.encode",
    "open": "mvc.opening",  # not in __all__: a star import is not to hide the builtin
    "read_picture": "mvc.media",
    "write_picture": "mvc.media",
}


def encode(
    picture: Encodable,
    quality: float | None = None,
    *,
    bpp: float | None = None,
    size: int | None = None,
    psnr: float | None = None,
    effort: int | None = None,
    lossless: bool = False,
    near_lossless: int | None = None,
    coder: str = "auto",
    alpha: bool = True,
    metadata: str | Iterable[str] = "all",
    gps: bool = True,
    thumbnail: bool = False,
    grain: bool = False,
    tune: str = "error",
    tile: int | None = None,
    model: str | os.PathLike[str] | None = None,
    device: str = "auto",
    threads: int | None = None,
) -> bytes:
    """Encode a picture, and return the bytes of an .mvc file.

    `picture` is a `Picture`, an array (uint8 or uint16; `[H, W]` or `[H, W, C]` with 1, 3, or 2 or 4 channels, the
    last alpha), an image of Pillow, the path of a picture file, its bytes, or an open binary file. An image of Pillow
    as it was opened is turned the right way up, as its file would be; of one that was worked on, the pixels are taken
    as they are.
    `quality` is 1 (small) to 8 (fine), fractions allowed; 4 if not said. Instead of it one target may be given,
    which the encoder meets by search: `bpp` in bits per pixel, `size` in bytes (both at most that), `psnr` in
    dB (at least that). `effort` is 0 (fastest) to 3 (best picture for its bytes), 1 if not said; decoding takes the
    same time for all, but of what is coded exactly: 2 and 3 are smaller and ten times slower, in both directions.
    With `lossless` every sample comes back as it is, of 16 bits as well, and with `near_lossless`
    none is off by more than that (1 ... 255): both by an exact coder that needs no model, and have no quality.
    Alpha is always kept exactly; without `alpha` transparent parts are shown on white. What is fully transparent keeps
    its colour if lossless, and else gets one that costs nothing. `coder` is auto, network or exact (which is lossless).
    `metadata` says which of it is kept: "all", "none", or some of icc, exif, xmp and gainmap ("icc,exif" or a list).
    Without `gps` EXIF and XMP lose the places that they name. With `thumbnail` the file gets a JPEG of some 3 to 6 kB
    and at most 256 pixels a side, for programs that cannot decode it (see `mvc.thumbnail`).
    With `grain` the file says, in 16 bytes, which noise a network has smoothed away, for `decode(..., grain=True)`.
    `tune` is what is kept small: the "error", which PSNR measures, or the "look": errors count as they are seen then,
    less amid detail and in chroma, more where it is calm, in what effort does and in a model that is trained for it.
    `tile` is the side of the tiles in which the picture is coded, in pixels: 256, 512 or 1024, 0 for one tile; if not
    said, pictures of more than eight megapixels have tiles of 512 (lossless 1024).
    `model` is a name from `mvc models` or a folder of weights; if not said it is mambavc-lite, for the look
    mambavc-lite-seen. `device` is auto, cpu or cuda.
    What a picture holds beyond 8-bit RGB or gray, alpha and that metadata is dropped with a `LossWarning`; a quality or
    an effort that the model does not have gives a `UserWarning`.
    Raises `SourceError` or `Limit` for a picture that cannot be coded, other `MvcError`s for models, devices and
    targets that cannot be had, and `ValueError` or `TypeError` for a wrong argument.
    """
    target = check_target(bpp, size, psnr)
    if target and quality is not None:
        raise ValueError(f"give either quality or {next(iter(target))}")
    index = quality_index(DEFAULT_QUALITY if quality is None else quality)
    wanted = check_effort(DEFAULT_EFFORT if effort is None else effort)
    chosen, near = check_coder(coder, lossless, near_lossless)
    if chosen == "exact" and (target or quality is not None):
        raise ValueError(f"what is lossless has no {next(iter(target), 'quality')}")
    side, tuned = check_tile(tile), check_tune(tune)
    name = model_for(tuned, None if model is None else check_model(model))
    device, threads = check_device(device), check_threads(threads)
    from mvc.metadata import chosen as chosen_metadata

    kinds = chosen_metadata(metadata)
    with libraries():
        from mvc.media import LossWarning, as_source

    source = as_source(picture, deep=chosen == "exact", keep_alpha=bool(alpha)).keeping(kinds, bool(gps))
    source.tell(lambda loss: warnings.warn(loss, LossWarning, stacklevel=4))
    own = source.picture
    if thumbnail:
        from mvc.media.thumbnails import with_thumbnail

        own = with_thumbnail(own)
    with libraries():
        from mvc import choice
        from mvc.threads import sharing

    def load() -> Codec:
        with libraries():
            from mvc.codec import load

        codec = load(name, device, threads)
        if codec.rates == 1 and quality is not None:
            warnings.warn(f"{name} has one rate: quality changes nothing", stacklevel=4)
        if not codec.refines and effort:
            warnings.warn(f"{name} has no efforts: effort {effort} changes nothing", stacklevel=4)
        return codec.tuned(tuned)

    made: dict[str, Any] = {"index": index, "effort": wanted, "near": near, "tile_px": side, "grain": bool(grain)}
    with sharing(threads):
        return choice.encode(own, load, target=target, coder=chosen, **made)


def decode(
    source: Stored,
    *,
    region: tuple[int, int, int, int] | None = None,
    scale: str | float | Fraction = 1,
    slices: int | None = None,
    partial: bool = False,
    grain: bool = False,
    look: str | float = "faithful",
    model: str | os.PathLike[str] | None = None,
    device: str = "auto",
    threads: int | None = None,
    max_pixels: int | None = MAX_PIXELS,
    max_memory: int | None = None,
) -> Picture:
    """Decode an .mvc file: its path, its bytes, or an open binary file. Its metadata comes as `picture.metadata`.

    `region` is (left, top, width, height) in pixels: only that of the picture is decoded, and of one in tiles only what
    it takes is read. Its samples are those of the whole picture, but that here and there one is off by 1 where a
    network made them.
    `scale` is 1, 1/2, 1/4, 1/8 or 1/16, a number or text: a smaller picture, of sides rounded up, whose samples are the
    means over squares of what it would be without; more than that is hardly in memory at any time.
    With `slices` only so many slices of a latent are decoded, 0 to 5: a preview. With `partial` the file may be cut or
    damaged: what has arrived is shown, and a `LossWarning` says what is missing.
    With `grain` what a network made gets noise like that which it has smoothed away, if the file tells of any: it looks
    more like the original, at some tenths of a dB, and is the same on every machine and in every region.
    A `look` "natural" adds detail that the file leaves open, so that what a network made looks more like the original;
    a number from 0 ("faithful") to 1 ("natural") so much of it. What is added is made up, within what coding has lost.
    `model` is a name or a folder of weights; without it the file's own is taken, if it is installed.
    A file of a few kilobytes may hold a large picture. `max_pixels` refuses it by width times height (8192x8192 if
    not said, None for no limit but this version's own), `max_memory` by the bytes that decoding takes beside the
    weights (an estimate, see `mvc.picture.decoding_bytes`); both before anything large is allocated.
    Raises `FormatError`, `Unsupported` or `Limit` for anything but a whole, valid file this version knows, other
    `MvcError`s for models and devices that cannot be had, and `ValueError` or `TypeError` for a wrong argument.
    """
    device, threads = check_device(device), check_threads(threads)
    named = None if model is None else check_model(model)
    limits = check_most("max_pixels", max_pixels), check_most("max_memory", max_memory)
    with libraries():
        from mvc.still_file import StillFile
        from mvc.threads import sharing

    first = None if slices is None else whole_number("slices", slices, 0)
    part, divisor, share = check_region(region), check_scale(scale), check_look(look)
    # a broken file is told before weights are loaded
    file = StillFile(
        _mvc_bytes(source), part, divisor=divisor, slices=first, partial=bool(partial), grain=bool(grain), look=share
    )

    def load(model_id: bytes) -> Codec:
        with libraries():
            from mvc.codec import load

        return load(named or model_id, device, threads)

    with sharing(threads):
        return file.decode_within(*limits, load)


def info(source: Stored) -> dict[str, Any]:
    """What an .mvc file says about itself: the head, units, chunks, bits per pixel, whether its checksum holds.

    `source` is a path, the bytes of a file or an open binary file, as for `decode`.
    Needs no weights and imports no torch; the keys are those of `mvc.container.describe`. A wrong checksum is
    told (`intact` is False) and not an error. Raises `FormatError`, `Unsupported` or `Limit` where the file
    cannot be parsed at all.
    """
    from mvc.container import describe, read_head, whole
    from mvc.stored import HEAD_BYTES

    if isinstance(source, (str, os.PathLike)) and whole.is_mvc(source):
        with builtins.open(source, "rb") as file:
            clip = False
            with suppress(MvcError):
                clip = read_head(file.read(HEAD_BYTES)).kind == "clip"
            if clip:  # of any size
                file.seek(0)
                return describe(file)
    return describe(_mvc_bytes(source))


def thumbnail(source: Stored) -> bytes | None:
    """The JPEG that an .mvc file holds beside its picture, or None if it holds none: a path, bytes, or an open file.

    Needs no weights, and imports neither torch nor numpy; of a file by its path no more is read than has to be, and its
    checksum is not looked at. Raises `FormatError`, `Unsupported` or `Limit` where the file cannot be parsed.
    """
    from io import BytesIO

    from mvc.container import read_kind, whole

    if isinstance(source, (str, os.PathLike)) and whole.is_mvc(source):
        with builtins.open(source, "rb") as file:
            return read_kind(file, "thumbnail")
    return read_kind(BytesIO(_mvc_bytes(source)), "thumbnail")


def _mvc_bytes(source: Stored) -> bytes:
    from mvc import files
    from mvc.container import whole

    if isinstance(source, (str, os.PathLike)):
        return whole.read_mvc(source)
    if isinstance(source, (bytes, bytearray, memoryview)):
        return whole.bounded(bytes(source), name="the data")
    if not hasattr(source, "read"):
        raise TypeError(f"an .mvc file is a path, its bytes or an open binary file, not {type(source).__name__}")
    return whole.bounded(files.read_up_to(source, whole.MAX_BYTES + 1, name="the file"), name="the file")


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_LAZY[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
