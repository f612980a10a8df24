"""One picture through several codecs at one size: each at the setting whose file is the largest within it.

    shown = [best_at(["jpeg", "jpeg-420"], samples, 12_000), best_at(["avif"], samples, 12_000)]
    places(samples, shown)                              # where they differ most
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from mvc.evaluate.adapter import Adapter, Samples
from mvc.evaluate.codecs import OWN
from mvc.evaluate.metrics import Measure
from mvc.evaluate.sweep import comparable
from mvc.metrics import ms_ssim, psnr
from mvc.quality import INDICES, quality_of
from mvc.tiling import Region

_CLOSER = 2
"""Settings that are tried beyond the one that bisection finds: sizes do not always grow from one to the next."""
_STEP_PX = 8


@dataclass(frozen=True)
class Shown:
    """What a codec makes of the picture: its file's bytes, and what that decodes to. `psnr` is infinite for equality.

    `fits` is False where the codec has no smaller file than this one, which is larger than was asked for.
    """

    name: str
    title: str
    setting: float
    data: bytes
    samples: Samples
    psnr: float
    ms_ssim: float | None
    fits: bool
    more: dict[str, float | None] = field(default_factory=dict)


def best_at(
    codecs: Sequence[Adapter],
    samples: Samples,
    most_bytes: int,
    measures: dict[str, Measure] | None = None,
    on_try: Callable[[str], None] = lambda what: None,
) -> Shown:
    """The nearest picture, by PSNR, that one of `codecs` (variants of one format) has within `most_bytes`.

    Each is searched for its largest file within them; where none fits, the smallest file of all is shown.
    """
    found = []
    for codec in codecs:
        on_try(codec.name)
        setting, data = largest_within(codec, samples, most_bytes)
        decoded = comparable(codec.decode(data), samples, codec.name)
        near = psnr(samples, decoded)
        found.append(Shown(codec.name, codec.title, setting, data, decoded, near, None, len(data) <= most_bytes))
    fitting = [one for one in found if one.fits]
    best = max(fitting, key=lambda one: one.psnr) if fitting else min(found, key=lambda one: len(one.data))
    more = {key: compute(samples, best.samples) for key, compute in (measures or {}).items()}
    return Shown(
        best.name, best.title, best.setting, best.data, best.samples, best.psnr,
        ms_ssim(samples, best.samples), best.fits, more,
    )  # fmt: skip


def largest_within(codec: Adapter, samples: Samples, most_bytes: int) -> tuple[float, bytes]:
    """The setting with the largest file of at most `most_bytes`, and that file; the smallest file where none is."""
    settings = steps(codec)
    made: dict[int, bytes] = {}

    def make(number: int) -> bytes:
        if number not in made:
            made[number] = codec.encode(samples, settings[number])
        return made[number]

    low, high = 0, len(settings) - 1  # what is below `low` is known to fit, what is above `high` not to
    while low <= high:
        middle = (low + high) // 2
        if len(make(middle)) <= most_bytes:
            low = middle + 1
        else:
            high = middle - 1
    for number in range(low, min(low + 1 + _CLOSER, len(settings))):
        make(number)
    make(0)
    fitting = [number for number, data in made.items() if len(data) <= most_bytes]
    best = max(fitting, key=lambda n: len(made[n])) if fitting else min(made, key=lambda n: len(made[n]))
    return settings[best], made[best]


def steps(codec: Adapter) -> list[float]:
    """All settings of a codec, from small files to large ones.

    Of mvc those that files know, of a codec without bounds or with fractions the ones its description names.
    """
    if codec.name in OWN:
        return [quality_of(n) for n in range(INDICES)]
    if codec.fractions:
        return sorted(codec.settings)
    return [float(setting) for setting in range(round(codec.lowest), round(codec.highest) + 1)]


def places(samples: Samples, shown: Sequence[Shown], side_px: int = 160, count: int = 3) -> list[Region]:
    """Up to `count` squares that do not meet, where the squared errors of the codecs differ most, worst first.

    That is: the mean over the square of the largest codec's minus the smallest's. No codec is asked for in particular.
    """
    height, width = samples.shape[:2]
    wide, high = min(side_px, width), min(side_px, height)
    errors = np.stack([_window_means(_squares(samples, one.samples), high, wide) for one in shown])
    spread = errors.max(axis=0) - errors.min(axis=0)
    found: list[Region] = []
    while len(found) < count and spread.size and spread.max() > 0:
        row, column = np.unravel_index(int(spread.argmax()), spread.shape)
        top, left = _place(int(row), height, high), _place(int(column), width, wide)
        found.append(Region(left, top, wide, high))
        near_rows = [abs(_place(r, height, high) - top) < high for r in range(spread.shape[0])]
        near_columns = [abs(_place(c, width, wide) - left) < wide for c in range(spread.shape[1])]
        spread[np.ix_(near_rows, near_columns)] = 0
    return found


def _squares(one: Samples, other: Samples) -> NDArray[np.float64]:
    """`[H, W]`: the mean over channels."""
    difference = (one.astype(np.float64) - other) ** 2
    return difference if difference.ndim == 2 else np.asarray(difference.mean(axis=2))


def _place(number: int, length: int, side: int) -> int:
    return min(number * _STEP_PX, length - side)


def _window_means(plane: NDArray[np.float64], high: int, wide: int) -> NDArray[np.float64]:
    """Means over windows at every `_STEP_PX` pixels, and at the last places, from sums over corners."""
    sums = np.pad(plane, ((1, 0), (1, 0))).cumsum(axis=0).cumsum(axis=1)
    height, width = plane.shape
    tops = [_place(n, height, high) for n in range(-(-(height - high) // _STEP_PX) + 1)]
    lefts = [_place(n, width, wide) for n in range(-(-(width - wide) // _STEP_PX) + 1)]
    t, left = np.array(tops)[:, None], np.array(lefts)[None]
    whole = sums[t + high, left + wide] - sums[t, left + wide] - sums[t + high, left] + sums[t, left]
    return np.asarray(whole / (high * wide))
