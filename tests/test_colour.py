"""Planes and RGB against plain arithmetic in float64; other layouts, ranges, and turned frames."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from clip_files import planes_of
from numpy.typing import NDArray

from mvc.colour import RGB, Colour
from mvc.errors import SourceError
from mvc.frames import Frame, PixelFormat, plane_shapes
from mvc.picture import Picture

RNG = np.random.default_rng(11)
LUMA = {1: (0.2126, 0.0722), 6: (0.299, 0.114), 9: (0.2627, 0.0593)}
SITES = {0: (0.0, 0.5), 1: (0.5, 0.5), 2: (0.0, 0.0), 3: (0.5, 0.0), 4: (0.0, 1.0), 5: (0.5, 1.0)}


def plain_rgb(planes: tuple[NDArray[np.uint8], ...], colour: Colour, site: tuple[float, float]) -> NDArray[np.float64]:
    """Rec. H.273 in float64, pixel by pixel: each chroma value is interpolated between the samples around its place."""
    height, width = planes[0].shape
    red, blue = LUMA[colour.matrix]
    out = np.empty((height, width, 3))
    for row in range(height):
        for column in range(width):
            chroma = []
            for plane in planes[1:]:
                across, down = -(-width // plane.shape[1]), -(-height // plane.shape[0])
                x = (column - site[0] * (across - 1)) / across
                y = (row - site[1] * (down - 1)) / down
                value = 0.0
                for dy in (0, 1):
                    for dx in (0, 1):
                        j, i = int(np.floor(y)) + dy, int(np.floor(x)) + dx
                        weight = (1 - abs(y - j)) * (1 - abs(x - i))
                        value += weight * plane[min(max(j, 0), plane.shape[0] - 1), min(max(i, 0), plane.shape[1] - 1)]
                chroma.append((value - 128) / (255 if colour.full_range else 224))
            y, (u, v) = float(planes[0][row, column]), chroma
            y = y / 255 if colour.full_range else (y - 16) / 219
            r, b = y + 2 * (1 - red) * v, y + 2 * (1 - blue) * u
            out[row, column] = r, (y - red * r - blue * b) / (1 - red - blue), b
    return np.clip(out * 255, 0, 255)


@pytest.mark.parametrize("matrix", LUMA)
@pytest.mark.parametrize("full_range", [False, True])
@pytest.mark.parametrize("siting", SITES)
@pytest.mark.parametrize("pixel_format", ["yuv420p", "yuv422p", "yuv444p"])
def test_rgb_is_what_plain_arithmetic_gives(
    matrix: int, full_range: bool, siting: int, pixel_format: PixelFormat
) -> None:
    colour = Colour(matrix=matrix, full_range=full_range, siting=siting)
    planes = planes_of(9, 7, pixel_format, seed=siting)
    expected = plain_rgb(planes, colour, SITES[siting])
    found = Frame(planes, 0, colour).to_picture().samples
    assert np.abs(found - expected).max() <= 0.501


def plain_planes(rgb: NDArray[np.uint8], colour: Colour, factors: tuple[int, int]) -> list[NDArray[np.float64]]:
    """Rec. H.273 in float64; chroma is the mean of two samples beside its place, or (1 2 1) / 4 around its own."""
    red, blue = LUMA[colour.matrix]
    r, g, b = rgb.astype(np.float64).transpose(2, 0, 1) / 255
    y = red * r + (1 - red - blue) * g + blue * b
    u, v = (b - y) / (2 - 2 * blue), (r - y) / (2 - 2 * red)
    low, span, chroma_span = (0, 255, 255) if colour.full_range else (16, 219, 224)
    planes = [low + span * y, 128 + chroma_span * u, 128 + chroma_span * v]
    across, down = SITES[colour.siting or 0]
    for axis, factor, site in ((1, factors[0], across), (0, factors[1], down)):
        if factor == 1:
            continue
        for index in (1, 2):
            plane = np.moveaxis(planes[index], axis, 0)
            padded = np.concatenate([plane[:1], plane, plane[-1:], plane[-1:]])
            weights = {0.0: (0.25, 0.5, 0.25, 0), 0.5: (0, 0.5, 0.5, 0), 1.0: (0, 0.25, 0.5, 0.25)}[site]
            starts = np.arange(0, len(plane), 2)
            mean = sum(weight * padded[starts + step] for step, weight in enumerate(weights))
            planes[index] = np.moveaxis(np.asarray(mean), 0, axis)
    return [np.clip(plane, 0, 255) for plane in planes]


@pytest.mark.parametrize("matrix", LUMA)
@pytest.mark.parametrize("full_range", [False, True])
@pytest.mark.parametrize("siting", SITES)
def test_planes_are_what_plain_arithmetic_gives(matrix: int, full_range: bool, siting: int) -> None:
    colour = Colour(matrix=matrix, full_range=full_range, siting=siting)
    for size in ((9, 7), (150, 6)):  # the second is made in several bands
        picture = Picture(RNG.integers(0, 256, (*size, 3), np.uint8))
        for pixel_format, factors in (("yuv420p", (2, 2)), ("yuv422p", (2, 1)), ("yuv444p", (1, 1))):
            found = Frame.of_picture(picture, 0).converted(pixel_format, colour).planes  # type: ignore[arg-type]
            for plane, expected in zip(found, plain_planes(picture.samples, colour, factors), strict=True):
                assert plane.shape == expected.shape and np.abs(plane - expected).max() <= 0.501


def test_bands_do_not_show() -> None:
    """A tall frame is converted in several bands."""
    colour = Colour(matrix=1, siting=2)
    tall = Frame(planes_of(5, 301, "yuv420p"), 0, colour)
    assert np.abs(tall.to_picture().samples - plain_rgb(tall.planes, colour, SITES[2])).max() <= 0.501
    larger = tall.converted("yuv444p")
    for chroma, small in zip(larger.planes[1:], tall.converted("yuv444p").converted("yuv420p").planes[1:], strict=True):
        rows = chroma.astype(np.float64)
        rows = (rows[:, np.maximum(np.arange(0, 5, 2) - 1, 0)] + 2 * rows[:, ::2] + rows[:, [1, 3, 4]]) / 4
        before, after = np.maximum(np.arange(0, 301, 2) - 1, 0), np.minimum(np.arange(0, 301, 2) + 1, 300)
        assert np.abs(small - (rows[before] + 2 * rows[::2] + rows[after]) / 4).max() <= 0.501


@pytest.mark.parametrize("matrix", LUMA)
def test_chroma_is_taken_from_its_place(matrix: int) -> None:
    """Of a picture whose colours rise linearly, chroma lies on the line at the place of its site."""
    ramp = np.arange(64, dtype=np.float64)
    rgb = np.stack([60 + ramp * 2, np.full(64, 90.0), 200 - ramp * 2], axis=1)[None].repeat(8, 0)
    frame = Frame.of_picture(Picture(rgb.astype(np.uint8)), 0)
    red, blue = LUMA[matrix]
    for siting in (0, 1):
        planes = frame.converted("yuv420p", Colour(matrix=matrix, full_range=True, siting=siting)).planes
        places = np.arange(32) * 2 + SITES[siting][0]
        r, g, b = 60 + places * 2, 90.0, 200 - places * 2
        y = red * r + (1 - red - blue) * g + blue * b
        expected = 128 + (b - y) / (2 * (1 - blue)), 128 + (r - y) / (2 * (1 - red))
        for plane, values in zip(planes[1:], expected, strict=True):
            assert np.abs(plane[2, 1:-1] - values[1:-1]).max() <= 0.501


@pytest.mark.parametrize("matrix", [*LUMA, 0, 8])
def test_rgb_comes_back_from_444(matrix: int) -> None:
    picture = Picture(RNG.integers(0, 256, (33, 21, 3), np.uint8))
    there = Frame.of_picture(picture, 0).converted("yuv444p", Colour(matrix=matrix, full_range=True))
    back = there.to_picture().samples.astype(int)
    bound = {0: 0, 8: 2}.get(matrix, 2)  # each of three values was rounded to half a step
    assert np.abs(back - picture.samples).max() <= bound


def test_420_comes_back_from_rgb_by_repeated_chroma() -> None:
    """Repeating and averaging are inverse but for rounding, where RGB is not clipped."""
    planes = tuple(
        RNG.integers(low, high, shape).astype(np.uint8)
        for (low, high), shape in zip(((100, 150), (118, 138), (118, 138)), plane_shapes(11, 9, "yuv420p"), strict=True)
    )
    frame = Frame(planes, 0, Colour(matrix=1, siting=0))
    picture = frame.to_picture("nearest")
    back = Frame.of_picture(picture, 0).converted("yuv420p", frame.colour, "nearest")
    assert all(np.abs(a.astype(int) - b).max() <= 1 for a, b in zip(planes, back.planes, strict=True))


def test_another_range_is_other_samples() -> None:
    planes = (np.array([[0, 255]], np.uint8), *(np.array([[128]], np.uint8),) * 2)
    limited = Frame(planes, 0, Colour(matrix=1, full_range=True)).converted("yuv420p", Colour(matrix=1))
    assert limited.planes[0].tolist() == [[16, 235]] and not limited.colour.full_range
    back = limited.converted("yuv420p", Colour(matrix=1, full_range=True))
    assert back.planes[0].tolist() == [[0, 255]]
    assert Frame(planes[:1], 0, Colour(full_range=True)).converted("gray", Colour()).planes[0].tolist() == [[16, 235]]


def test_layouts_are_converted_without_rgb() -> None:
    frame = Frame(planes_of(10, 6, "yuv420p"), 3, Colour(matrix=9, siting=1))
    assert frame.converted("yuv420p").planes[1] is frame.planes[1]
    larger = frame.converted("yuv444p")
    assert larger.planes[0] is frame.planes[0] and larger.time == 3 and larger.colour == frame.colour
    flat = replace(frame, planes=(frame.planes[0], *(np.full((3, 5), 77, np.uint8),) * 2))
    assert all((plane == 77).all() for plane in flat.converted("yuv444p").converted("yuv420p").planes[1:])
    gray = frame.converted("gray")
    assert gray.planes == (frame.planes[0],)
    assert (gray.converted("yuv420p").planes[1] == 128).all()
    assert np.array_equal(gray.converted("yuv420p").planes[0], frame.planes[0])
    rgb = gray.converted("gbrp")
    assert rgb.colour == RGB and np.array_equal(rgb.to_picture().samples[:, :, 1], gray.to_picture().samples)


def test_gray_range_is_stretched_for_pictures() -> None:
    levels = np.arange(256, dtype=np.uint8).reshape(16, 16)
    assert np.array_equal(Frame((levels,), 0, Colour(full_range=True)).to_picture().samples, levels)
    expected = np.clip(np.rint((levels.astype(float) - 16) * 255 / 219), 0, 255)
    assert np.array_equal(Frame((levels,), 0).to_picture().samples, expected)


def test_unspecified_matrix_is_what_players_take() -> None:
    assert Colour().resolved(352, 288).matrix == 6 and Colour().resolved(1280, 720).matrix == 1
    assert Colour(matrix=9).resolved(352, 288).siting == 2 and Colour(siting=1).resolved(8, 8).siting == 1


@pytest.mark.parametrize(
    "planes",
    [
        (np.zeros((4, 4), np.uint8),) * 2,
        (np.zeros((4, 4), np.uint8), np.zeros((3, 2), np.uint8), np.zeros((3, 2), np.uint8)),
        (np.zeros((4, 4), np.uint16),),
        (np.zeros((0, 4), np.uint8),),
    ],
)
def test_planes_that_do_not_belong_together_are_refused(planes: tuple[NDArray[Any], ...]) -> None:
    with pytest.raises(SourceError):
        Frame(planes, 0)
