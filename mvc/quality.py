"""The one scale of quality, the efforts, and what may be asked of an encoder. Imports nothing.

*Quality* is 1 (small) to 8 (fine) and for people; *index* is 0 ... 63 and what files and models know. Whatever is
outside its range is a `ValueError`, whatever is no number a `TypeError`, both with a sentence.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Literal, SupportsIndex, TypeVar

Result = TypeVar("Result")

INDICES = 64
"""How many quality indices the format has: 0 ... 63."""
MIN_QUALITY, MAX_QUALITY = 1.0, 8.0
MAX_EFFORT = 3

Coder = Literal["auto", "network", "exact"]
"""What makes the file of a picture; "auto" chooses."""
CODERS: tuple[Coder, ...] = ("auto", "network", "exact")
MAX_NEAR = 255

Tune = Literal["error", "look"]
"""What is to be kept small: the error, or the error as it is seen."""
TUNES: tuple[Tune, ...] = ("error", "look")

DEFAULT_MODEL = "mambavc-lite"
SEEN_MODEL = "mambavc-lite-seen"
"""Trained for how errors are seen."""
DEFAULT_QUALITY = 4.0
DEFAULT_EFFORT = 1
DEFAULT_VIDEO_MODEL = "mambavc-ssf-lite"


def quality_index(quality: float) -> int:
    """The index, 0 ... 63, of a quality of 1 ... 8; fractions allowed."""
    number = _number("quality", quality)
    if not MIN_QUALITY <= number <= MAX_QUALITY:
        raise ValueError(f"quality must be {MIN_QUALITY:g} to {MAX_QUALITY:g}, not {number:g}")
    return round((number - MIN_QUALITY) * (INDICES - 1) / (MAX_QUALITY - MIN_QUALITY))


def quality_of(index: SupportsIndex) -> float:
    """The quality, 1 ... 8, of an index of 0 ... 63."""
    return MIN_QUALITY + check_index(index) * (MAX_QUALITY - MIN_QUALITY) / (INDICES - 1)


def check_index(index: SupportsIndex) -> int:
    """A quality index as an int."""
    return whole_number("the quality index", index, 0, INDICES - 1)


def check_effort(effort: SupportsIndex) -> int:
    """An effort, 0 (fastest) ... 3, as an int."""
    return whole_number("effort", effort, 0, MAX_EFFORT)


def check_tune(tune: str) -> Tune:
    """One of `TUNES`."""
    for known in TUNES:
        if tune == known:
            return known
    raise ValueError(f"tune must be {' or '.join(TUNES)}, not {tune!r:.40}")


def model_for(tune: Tune, named: str | None = None) -> str:
    """The model that codes pictures: the named one, or that of what is kept small."""
    if named is not None:
        return named
    return SEEN_MODEL if tune == "look" else DEFAULT_MODEL


def check_coder(coder: str = "auto", lossless: bool = False, near: SupportsIndex | None = None) -> tuple[Coder, int]:
    """The coder and the greatest error of a sample; `lossless`, and a `near` even of 0, mean the exact coder."""
    if coder not in CODERS:
        raise ValueError(f"coder must be {', '.join(CODERS[:-1])} or {CODERS[-1]}, not {coder!r:.40}")
    worst = 0 if near is None else whole_number("near_lossless", near, 0, MAX_NEAR)
    if not lossless and near is None:
        return coder, 0
    if lossless and worst:
        raise ValueError("give either lossless or near_lossless")
    if coder == "network":
        raise ValueError("the coder network cannot be lossless")
    return "exact", worst


def check_target(
    bpp: float | None = None, size: SupportsIndex | None = None, psnr: float | None = None
) -> dict[str, float | int]:
    """The one target that is given, by name; empty when there is none.

    `bpp` in bits per pixel and `psnr` in dB are finite numbers above 0, `size` is a whole number of bytes, at least 1.
    """
    given = {name: value for name, value in (("bpp", bpp), ("size", size), ("psnr", psnr)) if value is not None}
    if len(given) > 1:
        raise ValueError(f"give only one of {', '.join(given)}")
    if size is not None:
        return {"size": whole_number("size", size, 1)}
    for name, value in given.items():
        number = _number(name, value)
        if not 0 < number < float("inf"):
            raise ValueError(f"{name} must be a finite number above 0, not {number:g}")
        return {name: number}
    return {}


def least_reaching(encode: Callable[[int], Result], reached: Callable[[Result], bool]) -> Result:
    """What is encoded at the lowest index that `reached` its target; at the highest where none does. By bisection."""
    return _bisected(encode, reached, before=False)


def best_within(encode: Callable[[int], Result], within: Callable[[Result], bool]) -> Result:
    """What is encoded at the highest index that is still `within` its target; at the lowest where none is."""
    return _bisected(encode, lambda result: not within(result), before=True)


def _bisected(encode: Callable[[int], Result], reached: Callable[[Result], bool], before: bool) -> Result:
    low, high = 0, INDICES  # the first that reaches lies in low ... high
    results: dict[int, Result] = {}
    while low < high:
        middle = (low + high) // 2
        results[middle] = encode(middle)
        low, high = (low, middle) if reached(results[middle]) else (middle + 1, high)
    chosen = max(0, low - 1) if before else min(low, INDICES - 1)
    return results[chosen] if chosen in results else encode(chosen)


def bits_per_pixel(size_bytes: int, width_px: int, height_px: int) -> float:
    """The rate of a file of a picture."""
    return 8 * size_bytes / (width_px * height_px)


def whole_number(name: str, value: object, lowest: int, highest: int | None = None) -> int:
    """`value` as an int if it is a whole number (numpy's count, bool and 2.0 do not) within the two bounds."""
    if isinstance(value, bool) or not isinstance(value, SupportsIndex):
        raise TypeError(f"{name} must be a whole number, not {value!r:.40}")
    number = operator.index(value)
    if number < lowest or (highest is not None and number > highest):
        bounds = f"at least {lowest}" if highest is None else f"{lowest} to {highest}"
        raise ValueError(f"{name} must be {bounds}, not {number}")
    return number


def _number(name: str, value: object) -> float:
    from numbers import Real  # which `import mvc` does without

    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f"{name} must be a number, not {value!r:.40}")
    return float(value)
