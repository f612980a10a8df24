"""Fewer colours: the kernels against plain Python, and what comes of a picture."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from numpy.typing import NDArray
from test_reference_exact import exact as reference

import mvc.lossless.code as exact
from mvc.lossless import colours
from mvc.lossless.colours import APART_BITS, MOST, NEW_BITS, SHARE, fewer

Colour = tuple[int, ...]


def squares(one: Colour, other: Colour) -> int:
    return sum((a - b) ** 2 for a, b in zip(one, other, strict=True))


def plain(samples: NDArray[np.uint8], weight: float) -> NDArray[np.uint8]:
    """`fewer` of [H, W, C], colour by colour and pixel by pixel."""
    weight /= samples.shape[2]
    pixels: list[list[Colour]] = [[tuple(map(int, pixel)) for pixel in row] for row in samples]
    counts = Counter(pixel for row in pixels for pixel in row)
    groups: list[list[Colour]] = []
    for colour in sorted(counts, key=lambda one: (-counts[one], one[::-1])):
        least, best = NEW_BITS / counts[colour] - SHARE * np.log2(counts[colour]), None
        order = sorted(range(len(groups)), key=lambda i: (groups[i][0][0], -i))  # matters where two cost the same
        for group in (groups[i] for i in order):
            mass = sum(counts[one] for one in group)
            cost = weight * squares(colour, group[0]) - SHARE * np.log2(mass)
            if cost < least:
                least, best = cost, group
        if best is None:
            groups.append([colour])
        else:
            best.append(colour)
    new: dict[Colour, Colour] = {}
    for group in groups:
        mass = sum(counts[one] for one in group)
        sums = [sum(one[k] * counts[one] for one in group) for k in range(samples.shape[2])]
        new |= dict.fromkeys(group, tuple(int(np.rint(total / mass)) for total in sums))
    made = [[new[pixel] for pixel in row] for row in pixels]
    for y, row in enumerate(pixels):
        for x, pixel in enumerate(row):
            beside = [(y, x - 1, 0.0), (y - 1, x, 0.0), (y - 1, x + 1, APART_BITS / 2), (y - 1, x - 1, APART_BITS / 2)]
            ways = [(weight * squares(pixel, made[y][x]) + APART_BITS, made[y][x])]
            ways += [
                (weight * squares(pixel, made[i][j]) + bits, made[i][j])
                for i, j, bits in beside
                if i >= 0 and 0 <= j < len(row)
            ]
            made[y][x] = min(ways, key=lambda way: way[0])[1]
    return np.array(made, np.uint8)


@pytest.mark.parametrize("weight", [1e-4, 0.003, 0.05, 3.0])
@pytest.mark.parametrize("channels", [1, 3])
def test_the_kernels_are_the_plain_algorithm(weight: float, channels: int) -> None:
    rng = np.random.default_rng(channels)
    ramp = np.linspace(0, 255, 24)[None, :, None] * rng.uniform(0.2, 1, channels)
    noisy = np.clip(ramp + rng.normal(0, 6, (17, 24, channels)), 0, 255).astype(np.uint8)
    noisy[3:9, 4:15] = 200
    found = fewer(noisy if channels > 1 else noisy[..., 0], weight)
    assert found is not None
    assert np.array_equal(found.reshape(noisy.shape), plain(noisy, weight))


def test_more_weight_leaves_more_colours_and_less_error() -> None:
    rows, columns = np.mgrid[:60, :80]
    disc = np.clip(20 - np.hypot(rows - 30, columns - 40), 0, 1)  # a smooth edge
    samples = np.rint(disc[..., None] * (180, 60, 20) + 30).astype(np.uint8)
    found = [fewer(samples, weight) for weight in (0.001, 0.02, 0.3, 1e6)]
    counts, errors = [], []
    for one in found:
        assert one is not None
        counts.append(len(np.unique(one.reshape(-1, 3), axis=0)))
        errors.append(float(np.square(one.astype(float) - samples).mean()))
    assert 2 <= counts[0] < counts[1] < counts[2] <= counts[3] == len(np.unique(samples.reshape(-1, 3), axis=0))
    assert errors[0] > errors[1] > errors[2] >= errors[3] == 0
    assert len(exact.encode([np.ascontiguousarray(plane) for plane in np.moveaxis(found[1], 2, 0)])) < 0.8 * len(
        exact.encode([np.ascontiguousarray(plane) for plane in np.moveaxis(samples, 2, 0)])
    )


def test_a_photograph_has_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (200, 200, 3), np.uint8)
    assert fewer(noise, 0.01) is None and len(np.unique(noise.reshape(-1, 3), axis=0)) > MOST
    monkeypatch.setattr(colours, "MOST", 1 << 16)
    assert fewer(noise[:90], 1e6) is not None


def test_what_was_changed_says_so_and_is_decoded_as_ever() -> None:
    planes = [np.random.default_rng(k).integers(0, 4, (20, 30), np.uint8) * 60 for k in range(3)]
    plain, changed = exact.encode(planes), exact.encode(planes, changed=True)
    assert (plain[3] & 8, changed[3] & 8) == (0, 8) and plain[4:] == changed[4:]
    for decoded in (exact.decode(changed, (3, 20, 30)), reference.decode(changed, (3, 20, 30))):
        assert all(np.array_equal(one, other) for one, other in zip(decoded, planes, strict=True))
