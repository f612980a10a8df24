"""Pictures made of others, for benchmarks/blocks_report.py: smaller, cut out, and joined."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from PIL import Image


def scaled(paths: Iterable[Path], side: int, folder: Path) -> list[Path]:
    """The pictures that are larger, scaled down (Lanczos) to `side` as their shorter side."""
    made = []
    for path, picture in _opened(paths):
        if (shorter := min(picture.size)) > side:
            width, height = (round(length * side / shorter) for length in picture.size)
            made.append(folder / f"{path.stem}.png")
            picture.resize((width, height), Image.Resampling.LANCZOS).save(made[-1])
    return made


def cropped(paths: Iterable[Path], side: int, folder: Path) -> list[Path]:
    """The middle square of the pictures that are larger."""
    made = []
    for path, picture in _opened(paths):
        if min(picture.size) >= side and max(picture.size) > side:
            left, top = ((length - side) // 2 for length in picture.size)
            made.append(folder / f"{path.stem}.png")
            picture.crop((left, top, left + side, top + side)).save(made[-1])
    return made


def joined(paths: Iterable[Path], folder: Path) -> list[Path]:
    """Every four pictures of one size as one, 2 x 2; what is left over of a size is left out."""
    made: list[Path] = []
    waiting: dict[tuple[int, int], list[Image.Image]] = {}
    for path, picture in _opened(paths):
        four = waiting.setdefault(picture.size, [])
        four.append(picture)
        if len(four) == 4:
            width, height = picture.size
            sheet = Image.new("RGB", (2 * width, 2 * height))
            for place in range(4):
                sheet.paste(four[place], (place % 2 * width, place // 2 * height))
            made.append(folder / f"{path.stem}.png")
            sheet.save(made[-1])
            four.clear()
    return made


def _opened(paths: Iterable[Path]) -> Iterable[tuple[Path, Image.Image]]:
    for path in paths:
        with Image.open(path) as opened:
            yield path, opened.convert("RGB")
