"""Samples of 16 bits that came from fewer are coded as those few, and come back bit for bit."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_reference_exact import exact as reference

from mvc.errors import Corrupt, FormatError, Truncated
from mvc.lossless.code import decode, encode
from mvc.lossless.levels import REPEAT, SHARE, SHIFT, SPREAD, Levels, levels_of
from mvc.media.bands import widened

RNG = np.random.default_rng(8)
ALL = [Levels(bits, kind) for bits in range(1, 16) for kind in (SHARE, REPEAT, SHIFT)]


@pytest.mark.parametrize("levels", ALL)
def test_samples_of_numbers(levels: Levels) -> None:
    samples = levels.samples()
    numbers = np.arange(1 << levels.bits, dtype=np.uint16)
    assert samples.dtype == np.uint16 and (np.diff(samples.astype(int)) > 0).all() and samples[0] == 0
    match levels.kind:
        case 0:
            assert np.array_equal(samples, widened(numbers, (1 << levels.bits) - 1))
        case 1:
            expected = [int((f"{number:0{levels.bits}b}" * 16)[:16], 2) for number in numbers]
            assert samples.tolist() == expected
        case 2:
            assert np.array_equal(samples, numbers << (16 - levels.bits))
    planes = [RNG.choice(samples, (5, 7)) for _ in range(3)]
    back = levels.samples_of(levels.numbers_of(planes))
    assert all(np.array_equal(*pair) for pair in zip(back, planes, strict=True))


def test_they_are_found() -> None:
    assert levels_of([Levels(10, SHARE).samples()[None]]) == Levels(10, SHARE)
    assert levels_of([Levels(10, REPEAT).samples()[None]]) == Levels(10, REPEAT)
    assert levels_of([Levels(12, SHIFT).samples()[None]]) == Levels(12, SHIFT)
    assert levels_of([np.arange(256, dtype=np.uint16)[None] * np.uint16(257)]) == Levels(8, SHARE)
    assert levels_of([np.arange(65536, dtype=np.uint16)[None]]) is None
    assert levels_of([np.arange(256, dtype=np.uint16)[None]]) is None  # has few bits as it is
    assert levels_of([np.arange(256, dtype=np.uint8)[None]]) is None
    off = Levels(10, SHARE).samples().copy()
    off[500] += 1
    assert levels_of([off[None]]) is None or levels_of([off[None]]).bits > 10


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(ALL), st.integers(1, 4), st.integers(0, 3), st.integers(0, 99))
def test_round_trips_also_by_the_reference(levels: Levels, count: int, effort: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    planes = [rng.choice(levels.samples(), (6, 5)) for _ in range(count)]
    data = encode(planes, effort=effort)
    back = decode(data, (count, 6, 5))
    assert all(np.array_equal(*pair) and pair[0].dtype == np.uint16 for pair in zip(back, planes, strict=True))
    assert reference.decode(data, (count, 6, 5)) == [plane.tolist() for plane in planes]


def test_ten_bits_take_no_more_in_sixteen() -> None:
    rows, columns = np.mgrid[:120, :160]
    numbers = (rows * 3 + columns * 2 + RNG.integers(0, 9, (120, 160))).astype(np.uint16)
    plain = encode([numbers])
    for kind in (SHARE, REPEAT, SHIFT):
        assert len(encode([Levels(10, kind).samples()[numbers]])) == len(plain) + 4
    eight = (numbers // 4).astype(np.uint8)
    assert len(encode([eight.astype(np.uint16) * np.uint16(257)])) == len(encode([eight])) + 4


@pytest.mark.parametrize(
    "header",
    [(16, 0, 0), (16, 0, 16), (16, 0, 0x39), (15, 0, 9), (8, 0, 4), (16, 1, 9)],
)
def test_impossible_headers(header: tuple[int, int, int]) -> None:
    inner = encode([RNG.integers(0, 16, (4, 4), np.uint16)])
    with pytest.raises(Corrupt, match="impossible header"):
        decode(bytes([SPREAD, *header]) + inner, (1, 4, 4))
    with pytest.raises(Exception, match="impossible"):
        reference.decode(bytes([SPREAD, *header]) + inner, (1, 4, 4))


def test_other_damage() -> None:
    numbers = RNG.integers(0, 600, (4, 4), np.uint16)
    inner = encode([numbers])
    on_two_grids = Levels(12, SHARE).samples()[RNG.integers(0, 64, (9, 9)) * 64]
    assert np.array_equal(decode(encode([on_two_grids]), (1, 9, 9))[0], on_two_grids)
    with pytest.raises(Corrupt, match="more than 9 bits"):
        decode(Levels(9, SHARE).header() + inner, (1, 4, 4))
    with pytest.raises(Exception, match="more than 9 bits"):
        reference.decode(Levels(9, SHARE).header() + inner, (1, 4, 4))
    twice = Levels(10, SHARE).header() * 2 + inner
    with pytest.raises(Corrupt, match="impossible"):
        decode(twice, (1, 4, 4))
    whole = Levels(10, SHARE).header() + inner
    for cut in range(len(whole)):
        with pytest.raises(FormatError) as caught:
            decode(whole[:cut], (1, 4, 4))
        assert isinstance(caught.value, (Truncated, Corrupt))
