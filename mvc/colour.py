"""Colours of video: what a clip says of them (in numbers of Rec. ITU-T H.273), and planes <-> RGB by our own matrix.

Y, U and V are 8-bit; all arithmetic between them and RGB is in float32 and rounded once. Libraries convert with tables
of few bits and one fixed place for chroma, which costs up to 1.9 dB.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Samples = NDArray[np.uint8]
Floats = NDArray[np.float32]
Planes = tuple[Samples, ...]
Chroma = Literal["linear", "nearest"]

UNSPECIFIED = 2
IDENTITY = 0
"""matrix: the planes are green, blue and red."""
_YCGCO = 8
BT601 = 6
BT601_LUMA = (0.299, 0.587, 0.114)
"""What red, green and blue are of luma, on pictures that say nothing of it."""
_LUMA = {1: (0.2126, 0.0722), 4: (0.30, 0.11), 5: BT601_LUMA[::2], BT601: BT601_LUMA[::2], 7: (0.212, 0.087)}
_LUMA |= {9: (0.2627, 0.0593), 10: (0.2627, 0.0593)}  # shares of red and blue in luma, H.273 table 4
KNOWN_MATRICES = frozenset({*_LUMA, IDENTITY, UNSPECIFIED, _YCGCO}) - {10}  # of constant luminance only nearly

_MATRIX_NAMES = {0: "RGB", 1: "BT.709", 4: "FCC", 5: "BT.601", 6: "BT.601", 7: "SMPTE 240M", 8: "YCgCo", 9: "BT.2020"}
_MATRIX_NAMES |= {10: "BT.2020 constant luminance", 14: "ICtCp"}
_TRANSFER_NAMES = {1: "BT.709", 4: "gamma 2.2", 5: "gamma 2.8", 6: "BT.601", 7: "SMPTE 240M", 8: "linear", 13: "sRGB"}
_TRANSFER_NAMES |= {14: "BT.2020", 15: "BT.2020", 16: "PQ", 18: "HLG"}
_PRIMARIES_NAMES = {1: "BT.709", 4: "BT.470 M", 5: "BT.601", 6: "BT.601", 7: "SMPTE 240M", 9: "BT.2020"}
_PRIMARIES_NAMES |= {11: "DCI-P3", 12: "Display P3"}


SITES = {0: (0.0, 0.5), 1: (0.5, 0.5), 2: (0.0, 0.0), 3: (0.5, 0.0), 4: (0.0, 1.0), 5: (0.5, 1.0)}
"""Where a chroma sample lies among the two luma samples that it covers, across and down: 0 the first, 1 the last."""
_BAND_ROWS = 32  # of chroma: what is held as floats at a time
_WIDE, _TALL = 1280, 720


@dataclass(frozen=True)
class Colour:
    """What a clip says of its colours, in code points of H.273; 2 is "unspecified", and `siting` may be None.

    `full_range`: samples use 0 ... 255 rather than 16 ... 235 (chroma 16 ... 240). `siting` (chroma sample location
    type): 0 left, 1 centre, 2 top left, 3 top, 4 bottom left, 5 bottom; None is left, and top left in BT.2020.
    """

    primaries: int = UNSPECIFIED
    transfer: int = UNSPECIFIED
    matrix: int = UNSPECIFIED
    full_range: bool = False
    siting: int | None = None

    def resolved(self, width: int, height: int) -> Colour:
        """The same with the matrix and the siting that players take where a clip says nothing: BT.709 from 720p on."""
        matrix = (1 if width >= _WIDE or height >= _TALL else 6) if self.matrix == UNSPECIFIED else self.matrix
        siting = (2 if matrix in (9, 10) else 0) if self.siting is None else self.siting
        return replace(self, matrix=matrix, siting=siting if siting in SITES else 0)

    def in_words(self) -> str:
        """What it says, for people: "BT.709, full range"; "unspecified" where it says nothing."""
        named = (
            ("", _MATRIX_NAMES, self.matrix),
            ("primaries ", _PRIMARIES_NAMES, self.primaries),
            ("transfer ", _TRANSFER_NAMES, self.transfer),
        )
        words = [what + names.get(code, str(code)) for what, names, code in named if code != UNSPECIFIED]
        return ", ".join([*words, *["full range"] * self.full_range]) or "unspecified"


UNTAGGED = Colour()
RGB = Colour(primaries=1, transfer=13, matrix=IDENTITY, full_range=True)
"""Colours of picture files: sRGB in planes of green, blue and red."""


def to_rgb(planes: Planes, colour: Colour, chroma: Chroma = "linear") -> Samples:
    """RGB, uint8 [H, W, 3], of three planes; chroma of half the size is interpolated from its place, or repeated."""
    height, width = planes[0].shape
    colour = colour.resolved(width, height)
    forward, zero = _forward(colour)
    matrix = np.linalg.inv(forward)
    offset = -matrix @ zero
    out = np.empty((height, width, 3), np.uint8)
    for top, bottom in _bands(height):
        parts = [plane_rows(plane, (height, width), colour, top, bottom, chroma) for plane in planes]
        for channel in range(3):
            out[top:bottom, :, channel] = _rounded(_combined(matrix[channel], parts, offset[channel]))
    return out


def from_rgb(rgb: Samples, colour: Colour, factors: tuple[int, int], chroma: Chroma = "linear") -> Planes:
    """Three planes of RGB [H, W, 3]; U and V are `factors` (across, down) times smaller, their means taken in place."""
    height, width = rgb.shape[:2]
    colour = colour.resolved(width, height)
    matrix, zero = _forward(colour)
    small = (-(-height // factors[1]), -(-width // factors[0]))
    planes = (np.empty((height, width), np.uint8), np.empty(small, np.uint8), np.empty(small, np.uint8))
    for first, last in _bands(small[0]):
        top, bottom = max(0, first * factors[1] - 1), min(height, last * factors[1] + 1)
        parts = [rgb[top:bottom, :, channel].astype(np.float32) for channel in range(3)]
        full = [_combined(matrix[index], parts, zero[index]) for index in range(3)]
        planes[0][top:bottom] = _rounded(full[0])
        for plane, values in zip(planes[1:], full[1:], strict=True):
            plane[first:last] = _rounded(_shrunk_rows(values, factors, colour, (first, last), top, chroma))
    return planes


def resized(plane: Samples, size: tuple[int, int], factors: tuple[int, int], colour: Colour) -> Samples:
    """A chroma plane for luma of `size` (height, width), made `factors` (across, down) times smaller than that."""
    target = (-(-size[0] // factors[1]), -(-size[1] // factors[0]))
    if plane.shape == target:
        return plane
    colour = colour.resolved(size[1], size[0])
    out = np.empty(target, np.uint8)
    for first, last in _bands(target[0]):
        top, bottom = max(0, first * factors[1] - 1), min(size[0], last * factors[1] + 1)
        full = plane_rows(plane, size, colour, top, bottom, "linear")
        out[first:last] = _rounded(_shrunk_rows(full, factors, colour, (first, last), top, "linear"))
    return out


def plane_rows(plane: Samples, size: tuple[int, int], colour: Colour, top: int, bottom: int, chroma: Chroma) -> Floats:
    """Rows top ... bottom - 1 of a plane at the size of luma (height, width), in float32."""
    height, width = size
    across, down = _factor(width, plane.shape[1]), _factor(height, plane.shape[0])
    site = SITES[colour.siting or 0]
    rows = _taps(np.arange(top, bottom), down, site[1], plane.shape[0], chroma)
    values: Floats
    if rows is None:
        values = plane[top:bottom].astype(np.float32)
    else:
        low, high, share = rows
        values = plane[low] * (1 - share)[:, None] + plane[high] * share[:, None]
    columns = _taps(np.arange(width), across, site[0], plane.shape[1], chroma)
    if columns is not None:
        low, high, share = columns
        values = values[:, low] * (1 - share) + values[:, high] * share
    return values


def _taps(
    places: NDArray[np.int64], factor: int, site: float, count: int, chroma: Chroma
) -> tuple[NDArray[np.int64], NDArray[np.int64], Floats] | None:
    """The two samples beside each place, and the share of the second; None where each place has its own sample."""
    if factor == 1:
        return None
    if chroma == "nearest":
        index = places // factor
        return index, index, np.zeros(len(places), np.float32)
    exact = (places - site * (factor - 1)) / factor
    low = np.floor(exact).astype(np.int64)
    return np.clip(low, 0, count - 1), np.clip(low + 1, 0, count - 1), (exact - low).astype(np.float32)


def _shrunk_rows(
    values: Floats, factors: tuple[int, int], colour: Colour, rows: tuple[int, int], top: int, chroma: Chroma
) -> Floats:
    """Rows of chroma from values at the size of luma, of which the first lies in row `top`."""
    site = (0.5, 0.5) if chroma == "nearest" else SITES[colour.siting or 0]
    values = _mean(values, np.arange(*rows) * factors[1] - top, factors[1], site[1])
    columns = np.arange(-(-values.shape[1] // factors[0])) * factors[0]
    return _mean(values.T, columns, factors[0], site[0]).T


def _mean(values: Floats, places: NDArray[np.int64], factor: int, site: float) -> Floats:
    """Means along the first axis: of two samples where chroma lies between them, else (1 2 1) / 4 around its own."""
    last = len(values) - 1
    if factor == 1:
        return values[places]
    if site == 0.5:
        return (values[places] + values[np.clip(places + 1, 0, last)]) * np.float32(0.5)
    before, on, after = (values[np.clip(places + round(site) + step, 0, last)] for step in (-1, 0, 1))
    return (before + on + on + after) * np.float32(0.25)


def matrix_of(matrix: int) -> NDArray[np.float64]:
    """Rows y, u, v (y in 0 ... 1, the others in -1/2 ... 1/2) from columns r, g, b in 0 ... 1: H.273, 8.3."""
    if matrix == IDENTITY:
        return np.array([[0, 1, 0], [0, 0, 1], [1, 0, 0]], np.float64)
    if matrix == _YCGCO:
        return np.array([[1, 2, 1], [-1, 2, -1], [2, 0, -2]]) / 4
    red, blue = _LUMA.get(matrix, _LUMA[9])
    luma = np.array([red, 1 - red - blue, blue])
    return np.array([luma, ([0, 0, 1] - luma) / (2 - 2 * blue), ([1, 0, 0] - luma) / (2 - 2 * red)])


def _forward(colour: Colour) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The matrix [3, 3] and what is added after it, from r, g, b in 0 ... 255 to samples."""
    low, span, chroma_span = (0.0, 255.0, 255.0) if colour.full_range else (16.0, 219.0, 224.0)
    spans, zeros = [span, chroma_span, chroma_span], [low, 128.0, 128.0]
    if colour.matrix == IDENTITY:
        spans, zeros = [span] * 3, [low] * 3
    return np.diag(spans) @ matrix_of(colour.matrix) / 255, np.array(zeros)


def expanded_gray(luma: Samples, full_range: bool) -> Samples:
    """Luma as a grayscale picture, whose samples use the whole range."""
    if full_range:
        return luma
    levels = np.arange(256, dtype=np.float64)
    table = np.clip(np.rint((levels - 16) * 255 / 219), 0, 255).astype(np.uint8)
    return table[luma]


def _factor(size: int, own: int) -> int:
    """How many samples of luma one of chroma covers."""
    return next(factor for factor in (1, 2, 4) if -(-size // factor) == own)


def _combined(row: NDArray[np.float64], parts: list[Floats], offset: float) -> Floats:
    total = np.full(parts[0].shape, offset, np.float32)
    for factor, part in zip(row, parts, strict=True):
        if factor:
            total += np.float32(factor) * part
    return total


def _rounded(values: Floats) -> Samples:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


def _bands(rows: int) -> Iterator[tuple[int, int]]:
    return ((top, min(rows, top + _BAND_ROWS)) for top in range(0, rows, _BAND_ROWS))
