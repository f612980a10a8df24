"""Where scenes change: found where they do, and not where things move or the light goes."""

from __future__ import annotations

import numpy as np
import pytest

from mvc.frames import Frame
from mvc.video.groups import groups
from mvc.video.scenes import SceneCuts


def scene(seed: int, height: int = 96, width: int = 128) -> np.ndarray:
    """A picture of a few large shapes with a texture, as a scene is."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[0:height, 0 : 2 * width]
    luma = np.full((height, 2 * width), rng.integers(30, 220), np.float64)
    for _ in range(6):
        y, x, size = rng.integers(0, height), rng.integers(0, 2 * width), rng.integers(20, 60)
        luma[(rows - y) ** 2 + (columns - x) ** 2 < size**2] = rng.integers(20, 235)
    return luma + rng.normal(0, 6, luma.shape)


def shown(luma: np.ndarray, time: int, width: int = 128) -> Frame:
    plane = np.clip(luma[:, :width], 0, 255).astype(np.uint8)
    return Frame((plane, *(np.full((-(-plane.shape[0] // 2), width // 2), 128, np.uint8),) * 2), time)


def cuts(frames: list[Frame]) -> list[int]:
    own = SceneCuts()
    return [number for number, frame in enumerate(frames) if own(frame)]


def test_another_scene_is_a_cut() -> None:
    found = 0
    for seed in range(20):
        frames = [shown(np.roll(scene(seed), -n, 1), n) for n in range(4)]
        frames += [shown(np.roll(scene(100 + seed), -n, 1), 4 + n) for n in range(4)]
        found += cuts(frames) == [4]
    assert found >= 19


@pytest.mark.parametrize("speed", [0, 1, 4, 8])
def test_motion_is_none(speed: int) -> None:
    for seed in range(10):
        assert cuts([shown(np.roll(scene(seed), -speed * n, 1), n) for n in range(8)]) == []


def test_light_that_fades_and_noise_are_none() -> None:
    still, rng = scene(3), np.random.default_rng(0)
    assert cuts([shown(still * (1 - n / 30), n) for n in range(30)]) == []
    assert cuts([shown(still + rng.normal(0, 15, still.shape), n) for n in range(10)]) == []


@pytest.mark.parametrize(("height", "width"), [(1, 2), (1, 300), (300, 2), (129, 128), (128, 130)])
def test_frames_of_any_size(height: int, width: int) -> None:
    dark, light = (np.full((height, width), value, np.float64) for value in (20, 220))
    frames = [shown(luma, n, width) for n, luma in enumerate([dark, dark, light, light])]
    assert cuts(frames) == [2]


def test_a_group_begins_at_a_cut_and_every_gop_frames() -> None:
    frames = [shown(scene(1 if n < 5 else 101), n) for n in range(12)]
    assert [own.group for own in groups(frames, 4, True)] == [0] * 4 + [1] + [2] * 4 + [3] * 3
    assert [own.group for own in groups(frames, 4, False)] == [0] * 4 + [1] * 4 + [2] * 4
