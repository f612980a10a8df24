"""The one scale: qualities, indices, efforts and targets, and what is said about wrong ones."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from mvc import quality
from mvc.quality import check_effort, check_index, check_target, quality_index, whole_number


def test_quality_maps_onto_the_index() -> None:
    assert [quality_index(q) for q in (1, 1.5, 2, 4, 7.99, 8)] == [0, 4, 9, 27, 63, 63]
    assert {quality_index(1 + index / 9) for index in range(64)} == set(range(quality.INDICES))
    assert quality_index(np.float32(4)) == quality_index(np.int64(4)) == quality_index(Fraction(4)) == 27  # type: ignore[arg-type]


@pytest.mark.parametrize("wrong", [0.99, 8.01, math.nan, math.inf, -math.inf, -1, 75])
def test_a_quality_outside_the_scale(wrong: float) -> None:
    with pytest.raises(ValueError, match="quality must be 1 to 8, not"):
        quality_index(wrong)


@pytest.mark.parametrize("wrong", ["4", None, True, (4,), np.array([4.0]), 4j])
def test_a_quality_that_is_no_number(wrong: Any) -> None:
    with pytest.raises(TypeError, match="quality must be a number, not"):
        quality_index(wrong)


def test_indices_and_efforts() -> None:
    assert [check_index(0), check_index(63), check_index(np.uint8(5))] == [0, 63, 5]
    assert [check_effort(effort) for effort in range(quality.MAX_EFFORT + 1)] == [0, 1, 2, 3]
    for wrong in (-1, 4, 10**30):
        with pytest.raises(ValueError, match=f"effort must be 0 to 3, not {wrong}"):
            check_effort(wrong)
    for kind in (2.0, "2", None, False):
        with pytest.raises(TypeError, match="effort must be a whole number"):
            check_effort(kind)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="quality index must be 0 to 63, not 64"):
        check_index(64)


def test_targets() -> None:
    assert check_target() == {}
    assert check_target(bpp=1) == {"bpp": 1.0}
    assert check_target(size=np.int32(500)) == {"size": 500}
    assert check_target(psnr=38.5) == {"psnr": 38.5}


@pytest.mark.parametrize(
    "wrong",
    [
        *({name: value} for name in ("bpp", "psnr") for value in (0, -1, math.inf, math.nan)),
        {"size": 0},
        {"size": -5},
        {"bpp": 1, "psnr": 30},
        {"bpp": 1, "size": 500, "psnr": 30},
    ],
    ids=str,
)
def test_a_target_outside_its_range(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        check_target(**wrong)


@pytest.mark.parametrize("wrong", [{"bpp": "1"}, {"psnr": True}, {"size": "50kB"}, {"size": 500.0}], ids=str)
def test_a_target_of_another_kind(wrong: dict[str, Any]) -> None:
    with pytest.raises(TypeError, match=f"{next(iter(wrong))} must be a (whole )?number, not"):
        check_target(**wrong)


def test_a_long_wrong_value_is_cut() -> None:
    with pytest.raises(TypeError) as caught:
        whole_number("threads", b"x" * 10**6, 1)
    assert len(str(caught.value)) < 100


def test_rate_of_a_file() -> None:
    assert quality.bits_per_pixel(49152, 768, 512) == 1.0
