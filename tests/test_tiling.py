"""Geometry: whatever the sizes, the parts cover everything once."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from mvc.tiling import Tile, Tiling, alike, cells, central, even_parts, round_up, scaled, widened, windows


@pytest.mark.parametrize("tile_px", [0, 1, 7, 64, 1000])
@pytest.mark.parametrize("size", [(1, 1), (7, 9), (64, 65), (200, 3)])
def test_tiles_cover_a_picture_once_and_in_order(size: tuple[int, int], tile_px: int) -> None:
    height, width = size
    tiling = Tiling(width, height, tile_px)
    seen = np.zeros(size, int)
    tiles = list(tiling)
    for tile in tiles:
        assert tile.height >= 1 and tile.width >= 1
        seen[tile.top : tile.top + tile.height, tile.left : tile.left + tile.width] += 1
    assert (seen == 1).all() and len(tiles) == len(tiling)
    assert [(tile.row, tile.column) for tile in tiles] == sorted((tile.row, tile.column) for tile in tiles)


def test_a_picture_is_a_tiling_of_one() -> None:
    (tile,) = Tiling(100, 70)
    assert tile == Tile(0, 0, 0, 0, 70, 100)
    assert tile.cells(64) == (2, 2) and tile.padding(64) == (58, 28)
    assert (cells(128, 64), cells(129, 64), round_up(129, 64)) == (2, 3, 192)


@pytest.mark.parametrize(("length", "most"), [(1, 64), (64, 64), (65, 64), (135, 64), (1000, 48), (7, 2)])
def test_even_parts_begin_at_even_places_and_are_much_alike(length: int, most: int) -> None:
    parts = even_parts(length, most)
    assert parts[0].start == 0 and parts[-1].stop == length
    assert all(a.stop == b.start and b.start % 2 == 0 for a, b in pairwise(parts))
    sizes = [part.stop - part.start for part in parts]
    assert min(sizes) > 0 and max(sizes) <= most + 2


def test_windows_cover_a_plane_once_and_know_their_place_in_what_is_worked_on() -> None:
    plane = np.arange(135 * 240).reshape(135, 240)
    seen = np.zeros(plane.shape, int)
    for window in windows(135, 240, 64, 2):
        wide = plane[window.wide]
        assert (wide[window.own] == plane[window.rows, window.columns]).all()
        assert wide.shape[0] <= 64 + 4 + 2 and wide.shape[1] <= 64 + 4 + 2
        seen[window.rows, window.columns] += 1
    assert (seen == 1).all()
    groups = list(alike(windows(135, 240, 64, 2), 2, lambda window: window.size))
    assert all(len({plane[window.wide].shape for window in group}) == 1 for group in groups)
    assert max(map(len, groups)) == 2 and len(groups) < sum(map(len, groups))
    every = [window for group in groups for window in group]
    assert sorted(map(str, every)) == sorted(map(str, windows(135, 240, 64, 2)))
    assert [[window] for window in windows(135, 240, 64, 2)] == list(
        alike(windows(135, 240, 64, 2), 1, lambda window: window.size)
    )
    (one,) = windows(64, 60, 64, 2)
    assert one.wide == one.own == (slice(0, 64), slice(0, 60))


def test_widened_stops_at_the_ends() -> None:
    assert widened(slice(0, 3), 2, 10) == (slice(0, 5), slice(0, 3))
    assert widened(slice(4, 6), 2, 10) == (slice(2, 8), slice(2, 4))
    assert widened(slice(9, 10), 2, 10) == (slice(7, 10), slice(2, 3))
    assert scaled(slice(2, 5), 16) == slice(32, 80)


def test_the_middle_of_a_side() -> None:
    assert central(600, 512, 64) == (44, 512)
    assert central(300, 512, 64) == (22, 256)
