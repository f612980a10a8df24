"""Drawn training pictures: type, lines, charts, flat shapes, gradients, dithers and large pixels.

Photographs hold too little of them. What a seed gives depends on the fonts installed (DejaVu, else Pillow's own).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

WIDTH, HEIGHT = 768, 512
FONTS = Path("/usr/share/fonts/truetype/dejavu")
LETTERS = "etaoinshrdlucmfwypvbgkjqxz" * 3 + "ETAOINSHRDLU0123456789.,;:!?()-+*/=&%#@"
GREEK, CYRILLIC = ("".join(map(chr, range(first, first + 25))) for first in (0x3B1, 0x430))
BAYER = np.array([[0, 8, 2, 10], [12, 4, 14, 6], [3, 11, 1, 9], [15, 7, 13, 5]]) * 16 + 8

Colour = tuple[int, int, int]
Draw = Callable[[np.random.Generator, ImageDraw.ImageDraw, tuple[int, int, int, int]], None]


def drawn_picture(seed: int) -> np.ndarray:
    """One page, uint8 [HEIGHT, WIDTH, 3], the same for the same seed: a few panels, each filled in its own way.

    A third of them are reduced to half their size and pasted twice, so that edges are smooth.
    """
    rng = np.random.default_rng((seed, 77))
    page = _page(rng)
    if rng.random() < 1 / 3:
        halves = [p.resize((WIDTH // 2, HEIGHT), Image.Resampling.LANCZOS) for p in (page, _page(rng))]
        for left, half in zip((0, WIDTH // 2), halves, strict=True):
            page.paste(half, (left, 0))
    return np.asarray(page)


def _page(rng: np.random.Generator) -> Image.Image:
    page = Image.fromarray(_gradient(rng, _colour(rng), _colour(rng)) if rng.random() < 0.5 else _flat(rng))
    draw = ImageDraw.Draw(page)
    for _ in range(int(rng.integers(2, 7))):
        left, top = int(rng.integers(-40, WIDTH - 100)), int(rng.integers(-40, HEIGHT - 80))
        box = left, top, left + int(rng.integers(100, 600)), top + int(rng.integers(80, 400))
        if rng.random() < 0.7:
            draw.rectangle(box, fill=_colour(rng), outline=_colour(rng) if rng.random() < 0.5 else None)
        kinds: tuple[Draw, ...] = (_text, _text, _text, _lines, _shapes, _grid, _chart, _dither, _pixels)
        kinds[int(rng.integers(len(kinds)))](rng, draw, box)
    return page


@cache
def _fonts() -> list[str]:
    """The installed faces, by path; none is no error."""
    return [str(path) for path in sorted(FONTS.glob("DejaVuS*.ttf"))]


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
    return _shaded(rng, first, last, WIDTH, HEIGHT)


def _shaded(rng: np.random.Generator, first: Colour, last: Colour, width: int, height: int) -> np.ndarray:
    angle = rng.uniform(0, 2 * np.pi)
    rows, columns = np.mgrid[0:height, 0:width]
    place = columns * np.cos(angle) + rows * np.sin(angle)
    share = ((place - place.min()) / np.ptp(place))[..., None]
    return np.rint(np.array(first) * (1 - share) + np.array(last) * share).astype(np.uint8)


def _text(rng: np.random.Generator, draw: ImageDraw.ImageDraw, box: tuple[int, int, int, int]) -> None:
    size, colour = int(rng.integers(8, 40)), _colour(rng)
    faces, letters = _fonts(), list(LETTERS)
    font: ImageFont.ImageFont | ImageFont.FreeTypeFont = ImageFont.load_default(size)
    if faces and rng.random() < 0.8:
        font = ImageFont.truetype(faces[int(rng.integers(len(faces)))], size)
        letters = list((LETTERS, LETTERS, GREEK, CYRILLIC)[int(rng.integers(4))])
    for y in range(box[1] + 4, box[3] - size, int(size * rng.uniform(1.1, 1.6)) + 1):
        words = ["".join(rng.choice(letters, int(rng.integers(1, 10)))) for _ in range(80)]
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


def _chart(rng: np.random.Generator, draw: ImageDraw.ImageDraw, box: tuple[int, int, int, int]) -> None:
    """Curves over a few axes, or bars."""
    left, top, right, bottom = box
    draw.line((left, top, left, bottom, right, bottom), _colour(rng), int(rng.integers(1, 3)))
    step = int(rng.integers(3, 24))
    for _ in range(int(rng.integers(1, 5))):
        colour, height = _colour(rng), bottom - top
        xs = list(range(left, right, step))
        walk = np.cumsum(rng.normal(0, height / 12, len(xs))) + rng.uniform(0.2, 0.8) * height
        ys = (bottom - np.clip(walk, 0, height)).tolist()
        if rng.random() < 0.3:
            for x, y in zip(xs, ys, strict=True):
                draw.rectangle((x, y, x + max(1, step // 2), bottom), fill=colour)
        else:
            draw.line(list(zip(xs, ys, strict=True)), colour, int(rng.integers(1, 4)))


def _paste(draw: ImageDraw.ImageDraw, box: tuple[int, int, int, int], samples: np.ndarray) -> None:
    """Put samples [h, w, 3] into the top left of the box."""
    draw._image.paste(Image.fromarray(samples), box[:2])


def _dither(rng: np.random.Generator, draw: ImageDraw.ImageDraw, box: tuple[int, int, int, int]) -> None:
    """A gradient or a soft texture in two colours: ordered dither, or by chance."""
    width, height = box[2] - box[0], box[3] - box[1]
    shade = _shaded(rng, (0, 0, 0), (255, 255, 255), width, height)[..., 0].astype(np.float64)
    shade = shade + 60 * np.sin(np.arange(width) / rng.uniform(5, 60)) * np.sin(np.arange(height) / 23)[:, None]
    ordered = np.tile(BAYER, (height // 4 + 1, width // 4 + 1))[:height, :width]
    limit = ordered if rng.random() < 0.7 else rng.integers(0, 256, (height, width))
    dark, light = (np.array(_colour(rng), np.uint8) for _ in range(2))
    _paste(draw, box, np.where((shade > limit)[..., None], light, dark))


def _pixels(rng: np.random.Generator, draw: ImageDraw.ImageDraw, box: tuple[int, int, int, int]) -> None:
    """A small picture of few colours with large square pixels: old games, icons, QR codes."""
    size, colours = int(rng.integers(2, 9)), int(rng.integers(2, 7))
    palette = np.array([_colour(rng) for _ in range(colours)], np.uint8)
    rows, columns = (box[3] - box[1]) // size, (box[2] - box[0]) // size
    half = palette[rng.integers(0, colours, (rows, (columns + 1) // 2))]
    whole = np.concatenate([half, half[:, ::-1]], 1) if rng.random() < 0.5 else half
    _paste(draw, box, whole.repeat(size, 0).repeat(size, 1))
