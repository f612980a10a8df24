"""Training pictures: a folder decoded once into a memory-mapped store, then random crops from it.

The store is one flat file of uint8 samples plus an index, so that every training process shares the page cache
and a crop costs one strided copy.
"""

from __future__ import annotations

import json
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from mvc.errors import SourceError

SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".avif", ".ppm", ".tif", ".tiff", ".bmp"}
STORE_VERSION = 1


@dataclass(frozen=True)
class Entry:
    """One stored picture: samples start at byte `offset`, H x W x 3, row-major."""

    offset: int
    height: int
    width: int


def build_store(
    folder: Path, store: Path, *, scales: tuple[float, ...] = (1.0, 0.6), smallest_px: int = 256, flat_std: float = 10.0
) -> int:
    """Decode every picture below `folder` once per scale into `store` (.bin and .json); return how many were kept.

    Smaller scales hide the compression noise of the source files and add detail per pixel, as a camera's own
    down-sampling does. Pictures with a side under `smallest_px` or almost no contrast are left out.
    """
    paths = sorted(p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES)
    if not paths:
        raise SourceError(f"no pictures found below {folder}")
    entries: list[Entry] = []
    offset = 0
    store.parent.mkdir(parents=True, exist_ok=True)
    temporary = store.with_suffix(".bin.part")
    with ThreadPoolExecutor(2) as pool, open(temporary, "wb") as out:
        for versions in pool.map(lambda p: _decode(p, scales, smallest_px, flat_std), paths):
            for samples in versions:
                out.write(samples.tobytes())
                entries.append(Entry(offset, samples.shape[0], samples.shape[1]))
                offset += samples.size
    os.replace(temporary, store.with_suffix(".bin"))
    index = {"version": STORE_VERSION, "pictures": [[e.offset, e.height, e.width] for e in entries]}
    store.with_suffix(".json").write_text(json.dumps(index))
    return len(entries)


def _decode(path: Path, scales: tuple[float, ...], smallest_px: int, flat_std: float) -> list[np.ndarray]:
    try:
        with Image.open(path) as opened:
            picture = opened.convert("RGB")
    except (OSError, UnidentifiedImageError, Image.DecompressionBombError):
        return []
    kept = []
    for scale in scales:
        width, height = round(picture.width * scale), round(picture.height * scale)
        if min(width, height) < smallest_px:
            continue
        resized = picture if scale == 1.0 else picture.resize((width, height), Image.Resampling.LANCZOS)
        samples = np.asarray(resized)
        if samples.std() >= flat_std:
            kept.append(samples)
    return kept


class CropStore:
    """Random crops from a store made by `build_store`."""

    def __init__(self, store: Path) -> None:
        index = json.loads(store.with_suffix(".json").read_text())
        if index.get("version") != STORE_VERSION:
            raise SourceError(f"{store} was made by another version of mvc", hint="delete it and build it again")
        self.entries = [Entry(*row) for row in index["pictures"]]
        self.samples = np.memmap(store.with_suffix(".bin"), dtype=np.uint8, mode="r")
        areas = np.array([e.height * e.width for e in self.entries], dtype=np.float64)
        self.weights = areas / areas.sum()

    def batch(self, rng: np.random.Generator, count: int, crop_px: int) -> np.ndarray:
        """`count` random crops, uint8 [count, crop_px, crop_px, 3]; each flipped and transposed at random."""
        out = np.empty((count, crop_px, crop_px, 3), np.uint8)
        for i, k in enumerate(rng.choice(len(self.entries), count, p=self.weights)):
            entry = self.entries[k]
            top = int(rng.integers(0, entry.height - crop_px + 1))
            left = int(rng.integers(0, entry.width - crop_px + 1))
            end = entry.offset + entry.height * entry.width * 3
            picture = self.samples[entry.offset : end].reshape(entry.height, entry.width, 3)
            crop = picture[top : top + crop_px, left : left + crop_px]
            if rng.random() < 0.5:
                crop = crop[:, ::-1]
            if rng.random() < 0.5:
                crop = crop.transpose(1, 0, 2)
            out[i] = crop
        return out
