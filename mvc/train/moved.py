"""Sequences made of still pictures: one moves behind, parts of another before it, and each frame has noise of its own.

Clips of public collections are few and compressed; pictures are many and sharp. Motion is what an affine map of slowly
changing shift, zoom and turn can do, and half of the backgrounds stand still. Noise and fades cannot be predicted, and
a model that has not seen them learns to copy what it should not.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from mvc.train.data import CropStore

MARGIN_PX = 48
"""What a picture must have beyond a crop on each side, so that moved crops stay inside."""
SPEEDS = (0.1, 6.0)  # pixels a frame

Render = Callable[[float, Image.Image | None], Image.Image]


def moved(stills: CropStore, rng: np.random.Generator, frames: int, crop_px: int) -> np.ndarray:
    """uint8 [frames, crop_px, crop_px, 3], which follows from the random numbers alone."""
    reach = 2 * (MARGIN_PX - 2) / frames  # a faster one would leave its picture
    speed = min(_speed(rng), reach) if rng.random() < 0.6 else 0.0
    back, _ = _layer(stills, rng, crop_px, speed)
    front = mask = None
    if rng.random() < (0.5 if speed else 0.85):
        front, side = _layer(stills, rng, crop_px, min(_speed(rng), reach))
        mask = _mask(rng, side)
    noise = rng.uniform(0.5, 3.0) if rng.random() < 0.5 else 0.0
    fade = rng.normal(0, 0.01) if rng.random() < 0.15 else 0.0
    out = np.empty((frames, crop_px, crop_px, 3), np.uint8)
    for t in range(frames):
        time = t - (frames - 1) / 2
        picture = back(time, None)
        if front is not None:
            picture = Image.composite(front(time, None), picture, front(time, mask))
        samples = np.asarray(picture)
        if noise or fade:
            values = samples * (1 + fade * time)
            values += noise * rng.standard_normal((crop_px, crop_px, 1))
            values += noise / 2 * rng.standard_normal((crop_px, crop_px, 3))
            samples = np.clip(np.rint(values), 0, 255).astype(np.uint8)
        out[t] = samples
    return out


def _speed(rng: np.random.Generator) -> float:
    return math.exp(rng.uniform(math.log(SPEEDS[0]), math.log(SPEEDS[1])))


def _layer(stills: CropStore, rng: np.random.Generator, crop_px: int, speed: float) -> tuple[Render, int]:
    """What renders a random part of a random picture, or a mask of its size, at a time; and the side of that part."""
    whole = stills.picture(int(rng.integers(len(stills.entries))))
    side = min(*whole.shape[:2], crop_px + 2 * MARGIN_PX)
    top, left = (int(rng.integers(0, size - side + 1)) for size in whole.shape[:2])
    part = Image.fromarray(whole[top : top + side, left : left + side])
    angle = rng.uniform(0, 2 * math.pi)
    shift = speed * np.array([math.cos(angle), math.sin(angle)])
    zoom = rng.normal(0, 0.006) if rng.random() < 0.4 else 0.0
    turn = rng.normal(0, 0.006) if rng.random() < 0.3 else 0.0
    change = rng.normal(0, 0.1, 2) if rng.random() < 0.3 else np.zeros(2)

    def render(time: float, mask: Image.Image | None) -> Image.Image:
        scale = math.exp(zoom * time)
        cosine, sine = scale * math.cos(turn * time), scale * math.sin(turn * time)
        x, y = side / 2 + shift * time + change * time**2 / 2
        middle = crop_px / 2
        places = (cosine, -sine, x - middle * (cosine - sine), sine, cosine, y - middle * (sine + cosine))
        source = part if mask is None else mask
        return source.transform((crop_px, crop_px), Image.Transform.AFFINE, places, Image.Resampling.BICUBIC)

    return render, side


def _mask(rng: np.random.Generator, side: int) -> Image.Image:
    """White where a few ellipses and polygons with soft edges are."""
    mask = Image.new("L", (side, side), 0)
    draw = ImageDraw.Draw(mask)
    for _ in range(int(rng.integers(1, 4))):
        x, y = rng.uniform(0.25, 0.75, 2) * side
        a, b = rng.uniform(0.06, 0.25, 2) * side
        if rng.random() < 0.6:
            draw.ellipse((x - a, y - b, x + a, y + b), fill=255)
        else:
            draw.polygon([(x + rng.uniform(-a, a), y + rng.uniform(-b, b)) for _ in range(4)], fill=255)
    return mask.filter(ImageFilter.GaussianBlur(float(rng.uniform(0.5, 1.5))))
