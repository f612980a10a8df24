"""How many frames in a row are between two others, told from the frames."""

from __future__ import annotations

import numpy as np
import pytest

from mvc.clip_choice import price
from mvc.clip_lookahead import promising

RNG = np.random.default_rng(3)


def scene(height: int, width: int, offset: float) -> np.ndarray:
    """A picture of soft waves, shifted to the right."""
    rows, columns = np.mgrid[:height, :width].astype(float)
    waves = [(0.11, 0.05), (0.05, -0.09), (0.21, 0.13), (-0.17, 0.29)]
    values = sum(np.sin(a * rows + b * (columns - offset)) for a, b in waves)
    return np.asarray(128 + 25 * values).round().astype(np.uint8)


def moving(pixels: float, count: int = 5, height: int = 144, width: int = 176) -> list[np.ndarray]:
    return [scene(height, width, pixels * number) for number in range(count)]


@pytest.mark.parametrize("most", [1, 2, 3, 7])
@pytest.mark.parametrize("size", [(144, 176), (1, 1), (30, 400), (288, 352)])
def test_what_rests_wants_as_many_as_may_be(most: int, size: tuple[int, int]) -> None:
    assert promising(moving(0, most + 2, *size), most) == most


def test_what_moves_fast_wants_one() -> None:
    assert promising(moving(1), 3) == 3
    assert promising(moving(4), 3) == 1


def test_what_cannot_be_predicted_wants_none() -> None:
    noise = [np.kron(RNG.integers(0, 256, (18, 22)), np.ones((8, 8))).astype(np.uint8) for _ in range(5)]
    assert promising(noise, 3) == promising(noise, 1) == 0


def test_a_large_frame_is_judged_as_a_small_one() -> None:
    small = moving(1)
    large = [own.repeat(4, 0).repeat(4, 1) for own in small]
    assert promising(large, 3) == promising(small, 3) == 3


def test_the_price_of_a_run() -> None:
    """A tenth more bytes are worth as much as four tenths of a decibel; frames that are copied cost little."""
    one = price([(1000, 5e5), (200, 9e5)])
    assert price([(1100, 5e5), (220, 9e5)]) > one > price([(900, 5e5), (180, 9e5)])
    assert price([(1100, 5e5 / 1.2), (220, 9e5 / 1.2)]) < one < price([(1100, 5e5 / 1.05), (220, 9e5 / 1.05)])
    assert np.isfinite(price([(0, 0.0), (0, 0.0)]))
