"""Training pictures: a folder decoded once into a memory-mapped store, then random crops from it.

The store is one flat file of uint8 samples plus an index, so that every training process shares the page cache
and a crop costs one strided copy.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import astuple, dataclass
from itertools import chain
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np
from PIL import Image, UnidentifiedImageError

from mvc import files
from mvc.errors import SourceError
from mvc.train.synthetic import drawn_picture

STORE_VERSION = 1
SCALES = (1.0, 0.6)
PHOTOGRAPH, GRAPHIC = 0, 1
Change = Callable[[np.random.Generator, np.ndarray, bool], np.ndarray]
"""What becomes of a crop: random numbers, uint8 [H, W, 3], whether it is of a photograph -> uint8, same shape."""


@dataclass(frozen=True)
class Entry:
    """One stored picture: samples start at byte `offset`, H x W x 3, row-major."""

    offset: int
    height: int
    width: int
    group: int = PHOTOGRAPH

    @property
    def shape(self) -> tuple[int, ...]:
        return self.height, self.width, 3

    @property
    def end(self) -> int:
        return self.offset + math.prod(self.shape)


def build_store(
    folder: Path,
    store: Path,
    *,
    graphics: Path | None = None,
    holdout: int = 0,
    drawn: int = 0,
    scales: Sequence[float] = SCALES,
    smallest_px: int = 256,
    flat_std: float = 10.0,
) -> int:
    """Decode every picture below `folder` once per scale into `store` (.bin and .json); return how many were kept.

    Smaller scales hide the compression noise of the source files and add detail per pixel, as a camera's own
    down-sampling does. Pictures with a side under `smallest_px` or almost no contrast are left out. `holdout`
    pictures, chosen by a hash of their names, go into a store of their own (see `held_store`) at full scale.
    Graphics are a group of their own: those below the folder `graphics`, at full scale only (their pixels mean
    something), and `drawn` pictures of type and line art (synthetic.py).
    """
    paths = _pictures_below(folder)
    others = _pictures_below(graphics) if graphics else []
    if len(paths) <= holdout:
        raise SourceError(f"only {len(paths)} pictures found below {folder}", hint=f"{holdout} are to be held out")
    held = sorted(paths, key=lambda p: hashlib.sha256(p.name.encode()).digest())[:holdout]
    if held:
        _write(_decoded(held, (1.0,), smallest_px, 0.0), (), held_store(store), {"holdout": 0})
    chosen = set(held)
    photographs = _decoded([p for p in paths if p not in chosen], scales, smallest_px, flat_std)
    flat = _decoded(others, (1.0,), smallest_px, flat_std) if others else ()
    settings = {"holdout": holdout, "drawn": drawn, "scales": list(scales)}
    return _write(photographs, chain(flat, map(drawn_picture, range(drawn))), store, settings)


def _pictures_below(folder: Path) -> list[Path]:
    paths = files.find(folder, files.PICTURE_SUFFIXES)
    if not paths:
        hint = "`pictures` and `graphics` in the recipe name the folders"
        raise SourceError(f"no pictures found below {folder}", hint=hint)
    return paths


def held_store(store: Path) -> Path:
    """Where the held-out pictures of a store lie."""
    return store.with_name(store.name + "-held")


def _write(
    photographs: Iterable[np.ndarray], graphics: Iterable[np.ndarray], store: Path, settings: dict[str, object]
) -> int:
    """Write the store's two files, with what it was made with in the index; return how many pictures there were."""
    entries: list[Entry] = []
    offset = 0
    store.parent.mkdir(parents=True, exist_ok=True)
    with files.atomic(store.with_suffix(".bin"), force=True) as out:
        for group, pictures in ((PHOTOGRAPH, photographs), (GRAPHIC, graphics)):
            for samples in pictures:
                out.write(samples.tobytes())
                entries.append(Entry(offset, samples.shape[0], samples.shape[1], group))
                offset += samples.size
    index = {"version": STORE_VERSION, **settings, "pictures": [astuple(e) for e in entries]}
    files.write_atomic(store.with_suffix(".json"), json.dumps(index).encode(), force=True)
    return len(entries)


def _decoded(paths: list[Path], scales: Sequence[float], smallest_px: int, flat_std: float) -> Iterator[np.ndarray]:
    """The usable pictures at each scale, on all cores; SourceError at the end if there was none."""
    usable = False
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for versions in pool.map(lambda p: _decode(p, scales, smallest_px, flat_std), paths):
            usable = usable or bool(versions)
            yield from versions
    if not usable:
        hint = f"both sides need at least {smallest_px} pixels"
        raise SourceError(f"none of {len(paths)} pictures could be used", hint=hint)


def _decode(path: Path, scales: Sequence[float], smallest_px: int, flat_std: float) -> list[np.ndarray]:
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


class Stored(Protocol):
    """What an index says of a part of the samples."""

    @property
    def offset(self) -> int: ...
    @property
    def shape(self) -> tuple[int, ...]: ...
    @property
    def end(self) -> int: ...


S = TypeVar("S", bound=Stored)


def open_store(
    kind: str, store: Path, version: int, read: Callable[[dict[str, Any]], tuple[list[S], dict[str, object]]]
) -> tuple[list[S], dict[str, object], np.memmap[Any, np.dtype[np.uint8]]]:
    """Entries, settings and samples, still on disk, of a store; `read` makes the former two of its index.

    SourceError if the store is missing, damaged or of another version.
    """
    hint = f"delete {store}.json and it is built again"
    try:
        index = json.loads(store.with_suffix(".json").read_text())
        found = index["version"]
        entries, settings = read(index)
        samples = np.memmap(store.with_suffix(".bin"), dtype=np.uint8, mode="r")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise SourceError(f"the {kind} {store} is damaged: {error}", hint=hint) from error
    if found != version:
        raise SourceError(f"the {kind} {store} was made by another version of mvc", hint=hint)
    if not entries or any(e.offset < 0 or min(e.shape) < 1 or e.end > samples.size for e in entries):
        raise SourceError(f"the {kind} {store} is damaged: it has fewer samples than its index", hint=hint)
    return entries, settings, samples


class CropStore:
    """Random crops from a store made by `build_store`."""

    def __init__(self, store: Path, graphics_share: float = 0.0, change: Change | None = None) -> None:
        """Open a store; SourceError if it is missing, damaged or of another version.

        `graphics_share` of the crops are of graphics; 0: as many as they have of the area. `change` has the last word
        on each.
        """
        self.change = change

        def read(index: dict[str, Any]) -> tuple[list[Entry], dict[str, object]]:
            settings: dict[str, object] = {name: int(index.get(name, 0)) for name in ("holdout", "drawn")}
            settings["scales"] = list(map(float, index.get("scales", SCALES)))
            return [Entry(*map(int, row)) for row in index["pictures"]], settings

        self.entries, self.settings, self.samples = open_store("crop store", store, STORE_VERSION, read)
        areas = np.array([e.height * e.width for e in self.entries], dtype=np.float64)
        self.weights = areas / areas.sum()
        if graphics_share:
            self.weights = self._shared(graphics_share)

    def _shared(self, graphics_share: float) -> np.ndarray:
        """The weights, scaled so that graphics have this share."""
        graphic = np.array([e.group == GRAPHIC for e in self.entries])
        had = float(self.weights[graphic].sum())
        if not 0 < had < 1:
            missing = "photographs" if had else "graphics"
            raise SourceError(f"graphics_share = {graphics_share}, but the crop store has no {missing}")
        return self.weights * np.where(graphic, graphics_share / had, (1 - graphics_share) / (1 - had))

    @property
    def smallest_px(self) -> int:
        """The shortest side of any picture: larger crops are enlarged ones."""
        return min(min(e.height, e.width) for e in self.entries)

    def picture(self, index: int) -> np.ndarray:
        """A whole picture, uint8 [H, W, 3], still on disk."""
        entry = self.entries[index]
        return self.samples[entry.offset : entry.end].reshape(entry.height, entry.width, 3)

    def batch(self, rng: np.random.Generator, count: int, crop_px: int) -> np.ndarray:
        """`count` random crops, uint8 [count, crop_px, crop_px, 3]; each flipped and transposed at random.

        Of a picture with a shorter side than that, the crop is as large as it can be and enlarged.
        """
        out = np.empty((count, crop_px, crop_px, 3), np.uint8)
        for i, k in enumerate(rng.choice(len(self.entries), count, p=self.weights)):
            entry = self.entries[k]
            side_px = min(crop_px, entry.height, entry.width)
            top = int(rng.integers(0, entry.height - side_px + 1))
            left = int(rng.integers(0, entry.width - side_px + 1))
            crop = self.picture(k)[top : top + side_px, left : left + side_px]
            if side_px < crop_px:
                enlarged = Image.fromarray(crop).resize((crop_px, crop_px), Image.Resampling.BICUBIC)
                crop = np.asarray(enlarged)
            if rng.random() < 0.5:
                crop = crop[:, ::-1]
            if rng.random() < 0.5:
                crop = crop.transpose(1, 0, 2)
            out[i] = crop if self.change is None else self.change(rng, crop, entry.group == PHOTOGRAPH)
        return out
