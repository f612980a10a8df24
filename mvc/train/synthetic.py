"""Drawn training pictures: type, lines, flat shapes and gradients, of which photographs hold too little."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from PIL import Image, ImageDraw, ImageFont

WIDTH, HEIGHT = 768, 512
LETTERS = "etaoinshrdlucmfwypvbgkjqxz" * 3 + "ETAOINSHRDLU0123456789.,;:!?()-+*/=&%#@"

Colour = tuple[int, int, int]
Draw = Callable[[np.random.Generator, ImageDraw.ImageDraw, tuple[int, int, int, int]], None]


def drawn_picture(seed: int) -> np.ndarray:
    """One page, uint8 [HEIGHT, WIDTH, 3], the same for the same seed: a few panels, each filled in its own way."""
    rng = np.random.default_rng((seed, 77))
    page = Image.fromarray(_gradient(rng, _colour(rng), _colour(rng)) if rng.random() < 0.5 else _flat(rng))
    draw = ImageDraw.Draw(page)
    for _ in range(int(rng.integers(2, 7))):
        left, top = int(rng.integers(-40, WIDTH - 100)), int(rng.integers(-40, HEIGHT - 80))
        box = left, top, left + int(rng.integers(100, 600)), top + int(rng.integers(80, 400))
        if rng.random() < 0.7:
            draw.rectangle(box, fill=_colour(rng), outline=_colour(rng) if rng.random() < 0.5 else None)
        kinds: tuple[Draw, ...] = (_text, _text, _lines, _shapes, _grid)
        kinds[int(rng.integers(len(kinds)))](rng, draw, box)
    return np.asarray(page)


def _colour(rng: np.random.Generator) -> Colour:
    """Often black, white or gray, as on pages and screens."""
    kind = rng.random()
    if kind < 0.25:
        return (0, 0, 0)
    if kind < 0.5:
        return (255, 255, 255)
    values = [int(rng.integers(256))] * 3 if kind < 0.65 else rng.integers(0, 256, 3).tolist()
    return values[0], values[1], values[2]


def _flat(rng: np.random.Generator) -> np.ndarray:
    return np.full((HEIGHT, WIDTH, 3), _colour(rng), np.uint8)


def _gradient(rng: np.random.Generator, first: Colour, last: Colour) -> np.ndarray:
    """From one colour to another along a random direction."""
    angle = rng.uniform(0, 2 * np.pi)
    rows, columns = np.mgrid[0:HEIGHT, 0:WIDTH]
    place = columns * np.cos(angle) + rows * np.sin(angle)
    share = ((place - place.min()) / np.ptp(place))[..., None]
    return np.rint(np.array(first) * (1 - share) + np.array(last) * share).astype(np.uint8)


def _text(rng: np.random.Generator, draw: ImageDraw.ImageDraw, box: tuple[int, int, int, int]) -> None:
    size, colour = int(rng.integers(8, 40)), _colour(rng)
    font = ImageFont.load_default(size)
    for y in range(box[1] + 4, box[3] - size, int(size * rng.uniform(1.1, 1.6)) + 1):
        words = ["".join(rng.choice(list(LETTERS), int(rng.integers(1, 10)))) for _ in range(80)]
        line = " ".join(words)[: max(1, int((box[2] - box[0]) / (0.5 * size)))]
        draw.text((box[0] + 4, y), line, colour, font)


def _lines(rng: np.random.Generator, draw: ImageDraw.ImageDraw, box: tuple[int, int, int, int]) -> None:
    """Hatching, or lines at random."""
    colour, width = _colour(rng), int(rng.integers(1, 4))
    if rng.random() < 0.5:
        slant = int(rng.integers(-60, 60))
        for x in range(box[0], box[2], int(rng.integers(3, 16))):
            draw.line((x, box[1], x + slant, box[3]), colour, width)
        return
    for _ in range(int(rng.integers(3, 40))):
        ends = rng.integers((box[0], box[1]) * 2, (box[2], box[3]) * 2).tolist()
        draw.line(ends, _colour(rng) if rng.random() < 0.3 else colour, width)


def _shapes(rng: np.random.Generator, draw: ImageDraw.ImageDraw, box: tuple[int, int, int, int]) -> None:
    for _ in range(int(rng.integers(2, 20))):
        x, y = int(rng.integers(box[0], box[2])), int(rng.integers(box[1], box[3]))
        corner = x, y, x + int(rng.integers(4, 120)), y + int(rng.integers(4, 120))
        fill = _colour(rng) if rng.random() < 0.6 else None
        shape = draw.ellipse if rng.random() < 0.5 else draw.rectangle
        shape(corner, fill=fill, outline=_colour(rng), width=int(rng.integers(1, 4)))


def _grid(rng: np.random.Generator, draw: ImageDraw.ImageDraw, box: tuple[int, int, int, int]) -> None:
    """A table or a plot's grid."""
    colour, step = _colour(rng), int(rng.integers(6, 50))
    for x in range(box[0], box[2], step):
        draw.line((x, box[1], x, box[3]), colour)
    for y in range(box[1], box[3], max(4, step // 2)):
        draw.line((box[0], y, box[2], y), colour)
