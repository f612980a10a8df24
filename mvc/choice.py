"""Which coder makes the file of a picture: the network of a model, or the exact coder (mvc/stills.py).

The network's file is made, and the exact one where it may be smaller: that is estimated first, in some milliseconds,
as exact coding takes longer, seconds at effort 2 and 3, and is hopeless for photographs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mvc import stills
from mvc.container import read_file
from mvc.errors import Limit
from mvc.picture import Picture
from mvc.quality import Coder

if TYPE_CHECKING:
    from mvc.codec import Codec

SEEN_PIXELS = 1 << 17
"""The estimate looks at about so many pixels, in bands of rows."""
BAND_ROWS = 16
FEW_COLOURS = 64  # seen: a gray photograph has 256
HOPES = (0.12, 0.25, 0.75)
"""What an exact file may take of its estimate, at the least: with few colours, much that repeats, or else."""
NEARS = (4, 3, 2, 1)
"""Greatest errors that are tried: what is off by more may be seen where a picture is smooth."""
MOST_FRESH = 0.7
"""Share of pixels unlike those on the left and above. Photographs have more, and are the network's."""


def encode(
    picture: Picture,
    load: Callable[[], Codec],
    *,
    index: int,
    effort: int,
    target: Mapping[str, float | int],
    coder: Coder = "auto",
    near: int = 0,
) -> bytes:
    """The .mvc file of a picture at a quality index or, if there is one, for a target of `Codec.encode_to`.

    `load` gives the codec of the model, and is called only where it is needed. `near` is for the coder "exact". With
    "auto" the exact coder makes the file where that is not larger, or where a target asks for what the network does not
    reach; or one with small errors that is smaller and has no lower PSNR than the network's. With `effort` 2 and 3
    exact files are smaller and slow, too.
    Raises what the codec raises.
    """
    if coder == "exact":
        return stills.exact_file(picture, near, effort)
    options: Any = target
    if coder == "network":
        codec = load()
        return codec.encode_to(picture, **options, effort=effort) if target else codec.encode(picture, index, effort)
    hope = least_bytes(picture)
    if "psnr" not in target and target:
        most = int(target["size"]) if "size" in target else bytes_at(target["bpp"], picture)
        if hope <= most and len(exact := stills.exact_file(picture, effort=effort)) <= most:
            return exact
        return load().encode_to(picture, **options, effort=effort)
    codec = load()
    try:
        coded = codec.encode_to(picture, **options, effort=effort) if target else codec.encode(picture, index, effort)
    except Limit:
        if codec.rates == 1:
            raise  # which is no matter of the picture
        return stills.exact_file(picture, effort=effort)
    if hope <= len(coded) and len(exact := stills.exact_file(picture, effort=effort)) <= len(coded):
        return exact
    return _nearly_exact(picture, coded, codec, effort)


def _nearly_exact(picture: Picture, coded: bytes, codec: Codec, effort: int) -> bytes:
    """The file in which no sample is off by more than a little, if it is smaller and no worse than the network's."""
    if least_bytes(picture, NEARS[0]) >= len(coded):
        return coded
    reached = stills.psnr(picture, codec.decode(coded))
    near = next((near for near in NEARS if usual_psnr(near) >= reached), None)
    if near is None or least_bytes(picture, near) >= len(coded):
        return coded
    made = stills.exact_file(picture, near, effort)
    if len(made) < len(coded) and stills.psnr(picture, stills.decode(*read_file(made), lambda _: codec)) >= reached:
        return made
    return coded


def usual_psnr(near: int) -> float:
    """In dB, of errors that are anything up to `near` with equal chance; where a picture repeats itself it is more."""
    return 20 * math.log10(255) - 10 * math.log10(near * (near + 1) / 3)


def bytes_at(bpp: float, picture: Picture) -> int:
    """The largest file of a picture with at most so many bits per pixel."""
    return math.floor(bpp * picture.width * picture.height / 8)


def least_bytes(picture: Picture, near: int = 0) -> float:
    """What the exact file of a picture will hardly be below, in bytes, by a look at some of its rows.

    With `near` that of a file in which samples may be off by so much; infinite where too little repeats for that to be
    the way to code the picture.

    Pixels like the one on the left or the one above cost what saying so does; others the entropy of their errors of
    prediction (median of W, N, W + N - NW), red and blue as differences from green. The exact coder comes to 0.8 times
    that on photographs, and to far less where pictures repeat themselves in other ways.
    """
    keys, planes, share = _some_rows(picture.samples)
    if min(keys.shape[1:]) < 2:
        return 0
    here, left, above = keys[:, 1:, 1:], keys[:, 1:, :-1], keys[:, :-1, 1:]
    fresh = (here != left) & (here != above)
    bits = _entropy(fresh.ravel().astype(np.int64))
    for plane in planes:
        w, n, nw = plane[:, 1:, :-1], plane[:, :-1, 1:], plane[:, :-1, :-1]
        guess = np.clip(w + n - nw, np.minimum(w, n), np.maximum(w, n))
        errors = (plane[:, 1:, 1:] - guess)[fresh] // (2 * near + 1)
        bits += _entropy(errors - errors.min()) if errors.size else 0
    if near and fresh.mean() > MOST_FRESH:
        return math.inf
    few = np.unique(keys).size <= FEW_COLOURS
    hope = HOPES[0] if few else HOPES[1] if fresh.mean() < 0.5 else HOPES[2]
    return hope * bits / 8 / share


def _some_rows(samples: NDArray[Any]) -> tuple[NDArray[np.int64], list[NDArray[np.int64]], float]:
    """Bands [bands, rows, W] of pixels as numbers, and of planes; and what share of the picture they are."""
    height, width = samples.shape[:2]
    rows = min(height, BAND_ROWS)
    count = max(1, min(height // rows, SEEN_PIXELS // (rows * width)))
    tops = [(height - rows) * i // max(1, count - 1) for i in range(count)] if count > 1 else [(height - rows) // 2]
    bands = np.stack([samples[top : top + rows] for top in tops]).astype(np.int64)
    share = count * max(rows - 1, 1) / height
    if bands.ndim == 3:
        return bands, [bands], share
    red, green, blue = (bands[..., k] for k in range(3))
    return (red << 32) | (green << 16) | blue, [green, red - green, blue - green], share


def _entropy(values: NDArray[np.int64]) -> float:
    """Bits that these values, 0 or more, take if each costs what its frequency says."""
    counts = np.bincount(values)
    counts = counts[counts > 0]
    return float((counts * np.log2(counts.sum() / counts)).sum())
