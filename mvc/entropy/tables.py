"""Integer probability tables, and how they are made when a model is exported.

A `Tables` holds many rows. Row r gives a frequency, out of `TOTAL` = 2^16, to each of the 2 * S_r + 1
integers from its `lowest` upward and, last, to the escape symbol that stands for every other integer. The
coder works with these integers alone. Floats appear only in the functions at the end of the file, which
training and export call, and in `Tables.bits`, an estimate for rate control that decides no byte.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mvc.errors import WeightsError

__all__ = [
    "BUCKET_BITS",
    "LATENT_SIGMAS",
    "MAX_HALF_WIDTH",
    "MAX_VALUE",
    "TOTAL",
    "TOTAL_BITS",
    "Tables",
    "gaussian_tables",
    "joined",
    "mixture_tables",
    "tables_from_pmfs",
]

TOTAL_BITS = 16
TOTAL = 1 << TOTAL_BITS
MAX_HALF_WIDTH = 2047
MAX_VALUE = 1 << 20
"""Largest magnitude of a symbol, escapes included; a stream that holds more is corrupt."""

BUCKET_BITS = 8
"""log2 of the number of parts of 0..TOTAL at which the decoder's search may start; not part of the format."""

USUAL = TOTAL // 2 + 1
"""The frequency from which on a symbol is what the decoder guesses first; more than half of TOTAL, and no more of the
format than BUCKET_BITS."""

SCALE_MIN, ROWS_PER_OCTAVE, SCALE_ROWS = 0.11, 8, 96
"""The latent tables: row r is for the scale SCALE_MIN * 2^(r / ROWS_PER_OCTAVE)."""

LOG_SCALE_MAX = (SCALE_ROWS - 1) / ROWS_PER_OCTAVE
"""log2(scale / SCALE_MIN) of the last row."""

LATENT_SIGMAS: NDArray[np.float64] = SCALE_MIN * 2.0 ** (np.arange(SCALE_ROWS) / ROWS_PER_OCTAVE)
LATENT_SIGMAS.setflags(write=False)

_TAIL_MASS = 2.0**-TOTAL_BITS


@dataclass(frozen=True, eq=False)
class Tables:
    """Immutable rows of cumulative frequencies. The constructor copies and checks; WeightsError if malformed.

    Row r has 2 * half_width[r] + 2 symbols: the integers lowest[r] ... lowest[r] + 2 * half_width[r], then
    the escape. Its cumulative frequencies are cdf[start[r] : start[r] + 2 * half_width[r] + 3]: they begin
    with 0, end with TOTAL and grow by at least 1. Rows lie one behind the other without gaps.
    """

    cdf: NDArray[np.uint32]  # [sum of row lengths]
    start: NDArray[np.int32]  # [rows]
    half_width: NDArray[np.int32]  # [rows], 0..MAX_HALF_WIDTH
    lowest: NDArray[np.int32]  # [rows]

    def __post_init__(self) -> None:
        for name in ("cdf", "start", "half_width", "lowest"):
            array = _checked(name, getattr(self, name), np.uint32 if name == "cdf" else np.int32)
            object.__setattr__(self, name, _frozen(array.copy()))
        _check_layout(self.cdf, self.start, self.half_width, self.lowest)
        _check_frequencies(self.cdf, self.start)

    @property
    def rows(self) -> int:
        """Number of rows."""
        return len(self.start)

    @cached_property
    def entries(self) -> NDArray[np.uint32]:
        """Each symbol's frequency * 2^16 + cumulative frequency, [as cdf]; 0 at the end of each row.

        One load gives a coder all that it needs of a symbol.
        """
        entries = np.zeros(self.cdf.size, np.uint32)
        entries[:-1] = (self.cdf[1:] - self.cdf[:-1]) << TOTAL_BITS | self.cdf[:-1]
        entries[_last(self.start, self.cdf.size)] = 0
        return _frozen(entries)

    @cached_property
    def buckets(self) -> NDArray[np.uint16]:
        """Where to search, [rows * 2^BUCKET_BITS]: in each row, the symbol at each bucket's first slot."""
        slots = np.arange(1 << BUCKET_BITS, dtype=np.int64) << (TOTAL_BITS - BUCKET_BITS)
        # Rows shifted apart by more than TOTAL form one growing sequence: one search serves them all.
        row = np.arange(self.rows, dtype=np.int64)
        length = np.diff(self.start, append=self.cdf.size)
        shifted = self.cdf + np.repeat(row * (2 * TOTAL), length)
        found = np.searchsorted(shifted, (row * (2 * TOTAL))[:, None] + slots, side="right") - 1
        return _frozen((found - self.start[:, None]).astype(np.uint16).ravel())

    @cached_property
    def usual(self) -> tuple[NDArray[np.uint32], NDArray[np.int32]]:
        """Of each row the entry of a symbol that has USUAL of the mass, and that symbol, [rows]; 0 where none has.

        What the decoder guesses.
        """
        place = np.flatnonzero(self.entries >> TOTAL_BITS >= USUAL)
        row = np.searchsorted(self.start, place, side="right") - 1
        index = place - self.start[row]
        inside = index <= 2 * self.half_width[row]  # an escape says too little
        row, index, place = row[inside], index[inside], place[inside]
        entries, symbols = np.zeros(self.rows, np.uint32), np.zeros(self.rows, np.int32)
        entries[row], symbols[row] = self.entries[place], self.lowest[row] + index
        return _frozen(entries), _frozen(symbols)

    def cost_bits(self, symbols: ArrayLike, rows: ArrayLike) -> float:
        """Ideal code length, in bits, of integer `symbols` in `rows` (equal shapes)."""
        return float(self.bits(symbols, rows).sum())

    def bits(self, symbols: ArrayLike, rows: ArrayLike) -> NDArray[np.float64]:
        """The same of each symbol, of their shape."""
        row = np.asarray(rows, np.int64)
        width = 2 * self.half_width[row].astype(np.int64)
        index = np.asarray(symbols, np.int64) - self.lowest[row]
        inside = (index >= 0) & (index <= width)
        entry = self.entries[self.start[row] + np.where(inside, index, width + 1)]
        bits = np.asarray(TOTAL_BITS - np.log2((entry >> TOTAL_BITS).astype(np.float64)))
        distance = np.where(index < 0, -index, index - width)[~inside]
        bits[~inside] += 2 * (np.floor(np.log2(distance)) + 1)
        return bits

    def to_arrays(self) -> dict[str, NDArray[np.generic]]:
        """The tables as a few plain arrays, half the size of `cdf`, to be stored beside a model's weights."""
        inner = np.delete(np.diff(self.cdf), _last(self.start, self.cdf.size)[:-1])
        return {
            "frequency": inner.astype(np.uint16),
            "half_width": self.half_width.astype(np.int16),
            "lowest": self.lowest.copy(),
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[np.generic]]) -> Tables:
        """The inverse of `to_arrays`. WeightsError unless the arrays are there and describe valid tables."""
        stored = {}
        for name, dtype in (("frequency", np.uint16), ("half_width", np.int16), ("lowest", np.int32)):
            stored[name] = _checked(name, arrays.get(name), dtype)
        half_width = stored["half_width"].astype(np.int32)
        _check_half_width(half_width)
        symbols = 2 * half_width.astype(np.int64) + 2
        if int(symbols.sum()) != stored["frequency"].size:
            raise WeightsError("probability tables: the number of frequencies does not fit the rows' widths")
        return _from_frequencies(
            stored["frequency"].astype(np.int64), half_width, stored["lowest"].astype(np.int32)
        )


def joined(tables: Sequence[Tables]) -> Tables:
    """The rows of several, those of each behind those of the one before."""
    starts, end = [], 0
    for own in tables:
        starts.append(own.start + np.int32(end))
        end += own.cdf.size
    parts = ([getattr(own, name) for own in tables] for name in ("cdf", "half_width", "lowest"))
    cdf, half_width, lowest = (np.concatenate(part) for part in parts)
    return Tables(cdf, np.concatenate(starts), half_width, lowest)


def _frozen(array: NDArray[Any]) -> NDArray[Any]:
    array.setflags(write=False)
    return array


def _checked(name: str, array: object, dtype: type[np.generic]) -> NDArray[Any]:
    if not isinstance(array, np.ndarray) or array.dtype != dtype or array.ndim != 1:
        raise WeightsError(f"probability tables: {name} is no one-dimensional {np.dtype(dtype)} array")
    return array


def _last(start: NDArray[np.int32], size: int) -> NDArray[np.int64]:
    """Positions of the rows' last entries, where `start` is valid for `size` entries."""
    return np.append(start[1:], size).astype(np.int64) - 1


def _check_half_width(half_width: NDArray[np.int32]) -> None:
    if half_width.size == 0:
        raise WeightsError("probability tables: there are no rows")
    if half_width.min() < 0 or half_width.max() > MAX_HALF_WIDTH:
        raise WeightsError(f"probability tables: a row's half width is outside 0..{MAX_HALF_WIDTH}")


def _check_layout(
    cdf: NDArray[np.uint32],
    start: NDArray[np.int32],
    half_width: NDArray[np.int32],
    lowest: NDArray[np.int32],
) -> None:
    """WeightsError unless the rows tile `cdf` and every integer that they cover is at most MAX_VALUE."""
    _check_half_width(half_width)
    if not start.size == half_width.size == lowest.size:
        raise WeightsError("probability tables: start, half_width and lowest differ in length")
    ends = np.cumsum(2 * half_width.astype(np.int64) + 3)
    if start[0] != 0 or ends[-1] != cdf.size or not np.array_equal(start[1:], ends[:-1]):
        raise WeightsError("probability tables: the rows do not lie one behind the other")
    highest = lowest.astype(np.int64) + 2 * half_width
    if lowest.min() < -MAX_VALUE or highest.max() > MAX_VALUE:
        raise WeightsError(f"probability tables: a row reaches beyond {MAX_VALUE}")


def _check_frequencies(cdf: NDArray[np.uint32], start: NDArray[np.int32]) -> None:
    """WeightsError unless every row grows from 0 to TOTAL in steps of at least 1."""
    last = _last(start, cdf.size)
    step = np.diff(cdf.astype(np.int64))
    step[last[:-1]] = 1  # from one row to the next
    if cdf[start].any() or (cdf[last] != TOTAL).any() or step.min() < 1:
        raise WeightsError(f"probability tables: a row does not grow from 0 to {TOTAL}, at least 1 a step")


def _from_frequencies(
    frequency: NDArray[np.int64], half_width: NDArray[np.int32], lowest: NDArray[np.int32]
) -> Tables:
    """Tables from the rows' frequencies, one behind the other; their number fits `half_width`."""
    length = 2 * half_width.astype(np.int64) + 3
    if length.sum() > np.iinfo(np.int32).max:
        raise WeightsError("probability tables: too many rows")
    start = np.cumsum(length) - length
    # Each row is 0, then the running sum of its frequencies: the sum over all rows, less what came before.
    before = np.ones(int(length.sum()), bool)
    before[start] = False
    cdf = np.zeros(before.size, np.int64)
    cdf[before] = frequency
    cdf = np.cumsum(cdf)
    cdf -= np.repeat(cdf[start], length)
    return Tables(cdf.astype(np.uint32), start.astype(np.int32), half_width, lowest)


def gaussian_tables(sigmas: ArrayLike = LATENT_SIGMAS) -> Tables:
    """One row per standard deviation: N(0, sigma) integrated over unit steps around the integers.

    `sigmas` [rows], positive. A row's half width is the smallest that leaves a mass below 2^-16 outside, at
    least 1 and at most MAX_HALF_WIDTH; the mass outside goes to the escape symbol.
    """
    sigma = np.asarray(sigmas, np.float64)
    ones = np.ones((sigma.size, 1))
    return mixture_tables(sigma, ones, ones)


def mixture_tables(sigmas: ArrayLike, weights: ArrayLike, ratios: ArrayLike) -> Tables:
    """One row per zero-mean mixture: sum over k of weights[row, k] * N(0, sigmas[row] * ratios[row, k]).

    `sigmas` [rows], positive; `weights` [rows, parts], not negative, of which each row sums to 1; `ratios`
    [rows, parts], positive. Half widths as in `gaussian_tables`.
    """
    sigma, weight, ratio = (np.asarray(array, np.float64) for array in (sigmas, weights, ratios))
    if sigma.ndim != 1 or weight.shape != ratio.shape or weight.ndim != 2 or len(weight) != len(sigma):
        raise WeightsError("probability tables: sigmas, weights and ratios do not fit each other")
    scale = sigma[:, None] * ratio
    if not (np.isfinite(scale).all() and (scale > 0).all()):
        raise WeightsError("probability tables: a standard deviation is not a positive number")
    if not ((weight >= 0).all() and np.allclose(weight.sum(1), 1, rtol=0, atol=1e-6)):
        raise WeightsError("probability tables: a row's weights are not shares of 1")
    shares = weight / weight.sum(1, keepdims=True)
    pmfs = [_mixture_pmf(*row) for row in zip(scale, shares, strict=True)]
    return tables_from_pmfs(pmfs, [-(len(pmf) // 2) for pmf in pmfs])


def _mixture_pmf(scale: NDArray[np.float64], weight: NDArray[np.float64]) -> NDArray[np.float64]:
    """Probabilities of -S..S under the mixture of N(0, scale[k]), S as `gaussian_tables` says."""

    def tail(edge: float) -> float:  # mass above `edge`, by erfc so that small ones stay exact
        return math.fsum(
            w / 2 * math.erfc(edge / (s * math.sqrt(2))) for s, w in zip(scale, weight, strict=True)
        )

    low, high = 1, MAX_HALF_WIDTH
    while low < high:
        middle = (low + high) // 2
        if 2 * tail(middle + 0.5) < _TAIL_MASS:
            high = middle
        else:
            low = middle + 1
    above = np.array([tail(k + 0.5) for k in range(low + 1)])
    side = above[:-1] - above[1:]
    return np.concatenate((side[::-1], [max(0.0, 1 - 2 * above[0])], side))


def tables_from_pmfs(pmfs: Sequence[ArrayLike], lowest: Sequence[int]) -> Tables:
    """One row per probability mass function: pmfs[row][i] is the probability of lowest[row] + i.

    What a row lacks to 1 goes to its escape symbol. A row of even length gets one more, improbable symbol at
    its end, as rows have 2 * half_width + 1 integers. Deterministic.
    """
    if len(pmfs) != len(lowest):
        raise WeightsError("probability tables: pmfs and lowest differ in length")
    frequencies, half_widths = [np.zeros(0, np.int64)], []
    for pmf in pmfs:
        mass = np.asarray(pmf, np.float64)
        if mass.ndim != 1 or not 1 <= mass.size <= 2 * MAX_HALF_WIDTH + 1:
            raise WeightsError(f"probability tables: a row has not 1..{2 * MAX_HALF_WIDTH + 1} probabilities")
        if not (mass >= 0).all() or mass.sum() > 1 + 1e-6:
            raise WeightsError("probability tables: a row is negative, not a number or sums to more than 1")
        padding = [] if mass.size % 2 else [0.0]
        full = np.concatenate((mass, padding, [max(0.0, 1 - mass.sum())]))
        frequencies.append(_quantized(full / full.sum()))
        half_widths.append(full.size // 2 - 1)
    return _from_frequencies(
        np.concatenate(frequencies), np.array(half_widths, np.int32), np.array(lowest, np.int32)
    )


def _quantized(mass: NDArray[np.float64]) -> NDArray[np.int64]:
    """Frequencies of at least 1 and sum TOTAL that cost little more bits than `mass`, which sums to 1."""
    frequency = np.maximum(1, np.rint(mass * TOTAL)).astype(np.int64)
    # Rounding leaves a few too many or too few. Move, one at a time, the symbol whose move does the mean code
    # length the least harm; the first such symbol wins, so ties are settled.
    while (excess := int(frequency.sum()) - TOTAL) != 0:
        step = -1 if excess > 0 else 1
        moved = frequency + step
        cost = mass * np.log2(frequency / np.maximum(moved, 1))
        cost[moved < 1] = np.inf
        best = int(np.argmin(cost))
        frequency[best] = moved[best]
    return frequency
