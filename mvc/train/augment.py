"""Changes to single crops that make a few hundred pictures stand for more of the world: sensor noise and colour.

The changed crop is what the model is to code: it is input and target at once.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from mvc.colour import BT601_LUMA

NOISY = 0.5  # share of the photographs' crops that get noise
HUE, SATURATION, CONTRAST = 0.6, (0.4, 1.8), (0.7, 1.3)
LUMA = np.array(BT601_LUMA)
GRAY = np.full(3, 3**-0.5)  # the axis of gray, about which hue turns


@dataclass(frozen=True)
class Augment:
    """`grain` is the largest standard deviation of noise, in steps of 255; `jitter` the share of crops recoloured."""

    grain: float = 0.0
    jitter: float = 0.0

    def __call__(self, rng: np.random.Generator, crop: np.ndarray, photograph: bool) -> np.ndarray:
        """A crop [H, W, 3] uint8, changed or not; only photographs get noise: a screenshot has none."""
        recolour = self.jitter > 0 and rng.random() < self.jitter
        noisy = self.grain > 0 and rng.random() < NOISY and photograph
        if not recolour and not noisy:
            return crop
        values = crop.astype(np.float32)
        if recolour:
            values = recoloured(rng, values)
        if noisy:
            values += noise(rng, values.shape, float(rng.uniform(0, self.grain)))
        return np.clip(np.rint(values), 0, 255).astype(np.uint8)


def recoloured(rng: np.random.Generator, values: np.ndarray) -> np.ndarray:
    """Hue turned by up to HUE radians, saturation and contrast (about the mean) scaled: [H, W, 3] in 0..255."""
    matrix, turned = colour_change(rng)
    mean = values.mean((0, 1))
    changed: np.ndarray = (values - mean) @ matrix.astype(np.float32).T + (turned @ mean).astype(np.float32)
    return changed


def colour_change(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Matrices [3, 3] of a random change, for what differs from a crop's mean and for the mean."""
    angle, saturation, contrast = rng.uniform(-HUE, HUE), rng.uniform(*SATURATION), rng.uniform(*CONTRAST)
    cross = np.array([[0, -1, 1], [1, 0, -1], [-1, 1, 0]]) * GRAY[0]
    turn = math.cos(angle) * np.eye(3) + math.sin(angle) * cross + (1 - math.cos(angle)) * np.outer(GRAY, GRAY)
    fade = saturation * np.eye(3) + (1 - saturation) * LUMA  # every row: a share of the brightness
    return contrast * fade @ turn, fade @ turn


def noise(rng: np.random.Generator, shape: tuple[int, ...], sigma: float) -> np.ndarray:
    """Noise of a sensor, [H, W, 3], with the standard deviation `sigma`.

    Photons make it grow as the root of light, which gamma turns into about the same everywhere. A part of it, another
    for each crop, is the same in all channels, as after demosaicing or on film.
    """
    common = rng.uniform()
    height, width, channels = shape
    gray = rng.standard_normal((height, width, 1), np.float32)
    colour = rng.standard_normal((height, width, channels), np.float32)
    return np.float32(sigma) * (np.float32(common**0.5) * gray + np.float32((1 - common) ** 0.5) * colour)
