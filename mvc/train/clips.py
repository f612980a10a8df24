"""Training clips: a folder of videos decoded once into a memory-mapped store, then random sequences of crops from it.

The store is as that of pictures (data.py): one flat file of uint8 samples, [T, H, W, 3] or packed 4:2:0
[T, H/2, W/2, 6] (mvc/planes.py) for each clip, and an index.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from mvc import files
from mvc.errors import MvcError, SourceError
from mvc.frames import Frame
from mvc.planes import PACKING, SAMPLES, pack
from mvc.train.data import CropStore, held_store, open_store
from mvc.train.moved import moved

STORE_VERSION = 2
SUFFIXES = (".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".y4m", ".gif", ".apng")
MOST_FRAMES = 100  # of each clip: more of one scene teach little
EVEN, POWER = 60, 0.7  # how often a clip is drawn: by the power of its length, which counts up to so many frames


@dataclass(frozen=True)
class Entry:
    """One stored clip: samples start at byte `offset`, row-major; sides in pixels."""

    offset: int
    frames: int
    height: int
    width: int
    packing: int = 1  # of the store (mvc/planes.py)

    @property
    def shape(self) -> tuple[int, ...]:
        samples = SAMPLES if self.packing == PACKING else 3
        return self.frames, self.height // self.packing, self.width // self.packing, samples

    @property
    def end(self) -> int:
        return self.offset + math.prod(self.shape)


def build_clip_store(
    folder: Path,
    store: Path,
    *,
    holdout: int = 0,
    smallest_px: int = 128,
    most_frames: int = MOST_FRAMES,
    packing: int = 1,
) -> int:
    """Decode the first frames of every clip below `folder` into `store` (.bin and .json); return how many were kept.

    Clips are videos, and folders that hold pictures and no video: the pictures are the frames, in the order of their
    numbers. Clips of one frame, with a side under `smallest_px` or that cannot be read are left out. `holdout` clips,
    chosen by a hash of their names, go into a store of their own (`held_store`). `packing` 2 stores 4:2:0, else RGB.
    """
    videos = files.find(folder, SUFFIXES)
    numbered = {path.parent for path in files.find(folder, (".png", ".jpg"))} - {path.parent for path in videos}
    paths = sorted([*videos, *numbered])
    if len(paths) <= holdout:
        found = f"only {len(paths)} clips" if paths else "no clips"
        raise SourceError(f"{found} found below {folder}", hint="`pictures` in the recipe names the folder")
    held = sorted(paths, key=lambda p: hashlib.sha256(p.name.encode()).digest())[:holdout]

    def usable(paths: list[Path]) -> Iterator[list[np.ndarray]]:
        return _usable(paths, smallest_px, most_frames, packing)

    if held:
        _write(usable(held), held_store(store), 0, packing)
    chosen = set(held)
    return _write(usable([p for p in paths if p not in chosen]), store, holdout, packing)


def _write(clips: Iterable[list[np.ndarray]], store: Path, holdout: int, packing: int) -> int:
    entries: list[list[int]] = []
    offset = 0
    store.parent.mkdir(parents=True, exist_ok=True)
    with files.atomic(store.with_suffix(".bin"), force=True) as out:
        for frames in clips:
            for samples in frames:
                out.write(samples.tobytes())
            entries.append([offset, len(frames), *(packing * side for side in frames[0].shape[:2])])
            offset += sum(samples.size for samples in frames)
    index = {"version": STORE_VERSION, "holdout": holdout, "packing": packing, "clips": entries}
    files.write_atomic(store.with_suffix(".json"), json.dumps(index).encode(), force=True)
    return len(entries)


def _usable(paths: list[Path], smallest_px: int, most_frames: int, packing: int) -> Iterator[list[np.ndarray]]:
    """The frames of each clip that can be used; SourceError at the end if there was none."""
    usable = False
    for path in paths:
        frames = _decoded(path, most_frames, packing)
        if len(frames) > 1 and packing * min(frames[0].shape[:2]) >= smallest_px:
            usable = True
            yield frames
    if not usable:
        hint = f"they need two frames, and both sides at least {smallest_px} pixels"
        raise SourceError(f"none of {len(paths)} clips could be used", hint=hint)


def _decoded(path: Path, most: int, packing: int) -> list[np.ndarray]:
    """The first frames, uint8, up to one that cannot be read or has another size."""
    from mvc.media.clips import open_clip  # imported late: training on pictures needs no video library

    frames: list[np.ndarray] = []
    try:
        for frame in islice(open_clip(path).frames(), most):
            samples = _packed(frame) if packing == PACKING else _rgb(frame)
            if frames and samples.shape != frames[0].shape:
                break
            frames.append(samples)
    except MvcError:
        pass
    return frames


def _rgb(frame: Frame) -> np.ndarray:
    samples = frame.to_picture().samples
    return np.repeat(samples[..., None], 3, 2) if samples.ndim == 2 else samples


def _packed(frame: Frame) -> np.ndarray:
    """4:2:0 of a frame without its last row and column where they are odd."""
    height, width = frame.height // 2 * 2, frame.width // 2 * 2
    return pack(frame.converted("yuv420p").planes, height, width)


class ClipStore:
    """Random sequences of crops from a store made by `build_clip_store`."""

    def __init__(self, store: Path) -> None:
        """Open a store; SourceError if it is missing, damaged or of another version."""

        def read(index: dict[str, Any]) -> tuple[list[Entry], dict[str, object]]:
            self.packing = int(index["packing"])
            rows = ([int(value) for value in row] for row in index["clips"])
            entries = [Entry(offset, frames, height, width, self.packing) for offset, frames, height, width in rows]
            return entries, {"holdout": int(index["holdout"])}

        self.entries, self.settings, self.samples = open_store("clip store", store, STORE_VERSION, read)

    @property
    def smallest_px(self) -> int:
        """The shortest side of any clip."""
        return min(min(e.height, e.width) for e in self.entries)

    def clip(self, index: int) -> np.ndarray:
        """A whole clip, uint8 [T, H, W, 3] or [T, H/2, W/2, 6], still on disk."""
        e = self.entries[index]
        return self.samples[e.offset : e.end].reshape(e.shape)

    def weights(self, frames: int) -> np.ndarray:
        """How often each clip is drawn for sequences of so many frames; SourceError if none is long enough."""
        lengths = np.array([e.frames for e in self.entries])
        weights = np.where(lengths >= frames, np.minimum(lengths, EVEN) ** POWER, 0.0)
        if not weights.any():
            raise SourceError(f"frames = {frames}, but the longest clip of the store has {lengths.max()}")
        return weights / weights.sum()


class Sequences:
    """Random crops of consecutive frames, some of them made by moving pictures (moved.py)."""

    def __init__(self, clips: ClipStore, frames: int, stills: CropStore | None = None, share: float = 0.0) -> None:
        """`share` of the sequences are of moved pictures. SourceError if no clip has so many frames."""
        self.clips, self.frames, self.stills, self.share = clips, frames, stills, share
        self.weights = clips.weights(frames)

    def batch(self, rng: np.random.Generator, count: int, crop_px: int) -> np.ndarray:
        """uint8 [count, T, crop_px, crop_px, 3], each sequence flipped and transposed at random."""
        out = np.empty((count, self.frames, crop_px, crop_px, 3), np.uint8)
        for i in range(count):
            if self.stills is not None and rng.random() < self.share:
                sequence = moved(self.stills, rng, self.frames, crop_px)
            else:
                sequence = self._crop(rng, crop_px)
            if rng.random() < 0.5:
                sequence = sequence[:, :, ::-1]
            if rng.random() < 0.5:
                sequence = sequence.transpose(0, 2, 1, 3)
            out[i] = sequence
        return out

    def _crop(self, rng: np.random.Generator, crop_px: int) -> np.ndarray:
        k = int(rng.choice(len(self.weights), p=self.weights))
        return cropped(rng, self.clips.clip(k), self.frames, crop_px)


def cropped(rng: np.random.Generator, clip: np.ndarray, frames: int, side: int) -> np.ndarray:
    """Some frames of a clip [T, H, W, C], and a square of them, at random."""
    sides = zip(clip.shape[:3], (frames, side, side), strict=True)
    first, top, left = (int(rng.integers(0, own - wanted + 1)) for own, wanted in sides)
    return clip[first : first + frames, top : top + side, left : left + side]
