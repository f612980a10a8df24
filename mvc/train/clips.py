"""Training clips: a folder of videos decoded once into a memory-mapped store, then random sequences of crops from it.

The store is as that of pictures (data.py): one flat file of uint8 samples, [T, H, W, 3] for each clip, and an index.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np

from mvc import files
from mvc.errors import MvcError, SourceError
from mvc.train.data import CropStore, held_store
from mvc.train.moved import moved

STORE_VERSION = 1
SUFFIXES = (".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".y4m", ".gif", ".apng")
MOST_FRAMES = 100  # of each clip: more of one scene teach little
EVEN, POWER = 60, 0.7  # how often a clip is drawn: by the power of its length, which counts up to so many frames


@dataclass(frozen=True)
class Entry:
    """One stored clip: samples start at byte `offset`, T x H x W x 3, row-major."""

    offset: int
    frames: int
    height: int
    width: int

    @property
    def end(self) -> int:
        return self.offset + self.frames * self.height * self.width * 3


def build_clip_store(
    folder: Path, store: Path, *, holdout: int = 0, smallest_px: int = 128, most_frames: int = MOST_FRAMES
) -> int:
    """Decode the first frames of every clip below `folder` into `store` (.bin and .json); return how many were kept.

    Clips are videos, and folders that hold pictures and no video: the pictures are the frames, in the order of their
    numbers. Clips of one frame, with a side under `smallest_px` or that cannot be read are left out. `holdout` clips,
    chosen by a hash of their names, go into a store of their own (`held_store`).
    """
    videos = files.find(folder, SUFFIXES)
    numbered = {path.parent for path in files.find(folder, (".png", ".jpg"))} - {path.parent for path in videos}
    paths = sorted([*videos, *numbered])
    if len(paths) <= holdout:
        found = f"only {len(paths)} clips" if paths else "no clips"
        raise SourceError(f"{found} found below {folder}", hint="`pictures` in the recipe names the folder")
    held = sorted(paths, key=lambda p: hashlib.sha256(p.name.encode()).digest())[:holdout]
    if held:
        _write(_usable(held, smallest_px, most_frames), held_store(store), 0)
    chosen = set(held)
    return _write(_usable([p for p in paths if p not in chosen], smallest_px, most_frames), store, holdout)


def _write(clips: Iterable[list[np.ndarray]], store: Path, holdout: int) -> int:
    entries: list[list[int]] = []
    offset = 0
    store.parent.mkdir(parents=True, exist_ok=True)
    with files.atomic(store.with_suffix(".bin"), force=True) as out:
        for frames in clips:
            for samples in frames:
                out.write(samples.tobytes())
            entries.append([offset, len(frames), *frames[0].shape[:2]])
            offset += sum(samples.size for samples in frames)
    index = {"version": STORE_VERSION, "holdout": holdout, "clips": entries}
    files.write_atomic(store.with_suffix(".json"), json.dumps(index).encode(), force=True)
    return len(entries)


def _usable(paths: list[Path], smallest_px: int, most_frames: int) -> Iterator[list[np.ndarray]]:
    """The frames of each clip that can be used; SourceError at the end if there was none."""
    usable = False
    for path in paths:
        frames = _decoded(path, most_frames)
        if len(frames) > 1 and min(frames[0].shape[:2]) >= smallest_px:
            usable = True
            yield frames
    if not usable:
        hint = f"they need two frames, and both sides at least {smallest_px} pixels"
        raise SourceError(f"none of {len(paths)} clips could be used", hint=hint)


def _decoded(path: Path, most: int) -> list[np.ndarray]:
    """The first frames, uint8 [H, W, 3], up to one that cannot be read or has another size."""
    from mvc.media.clips import open_clip  # imported late: training on pictures needs no video library

    frames: list[np.ndarray] = []
    try:
        for frame in islice(open_clip(path).frames(), most):
            samples = frame.to_picture().samples
            if samples.ndim == 2:
                samples = np.repeat(samples[..., None], 3, 2)
            if frames and samples.shape != frames[0].shape:
                break
            frames.append(samples)
    except MvcError:
        pass
    return frames


class ClipStore:
    """Random sequences of crops from a store made by `build_clip_store`."""

    def __init__(self, store: Path) -> None:
        """Open a store; SourceError if it is missing, damaged or of another version."""
        hint = f"delete {store}.json and it is built again"
        try:
            index = json.loads(store.with_suffix(".json").read_text())
            version = index["version"]
            self.entries = [Entry(*map(int, row)) for row in index["clips"]]
            self.settings = {"holdout": int(index["holdout"])}
            self.samples = np.memmap(store.with_suffix(".bin"), dtype=np.uint8, mode="r")
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise SourceError(f"the clip store {store} is damaged: {error}", hint=hint) from error
        if version != STORE_VERSION:
            raise SourceError(f"the clip store {store} was made by another version of mvc", hint=hint)
        if not self.entries or any(
            e.offset < 0 or min(e.frames, e.height, e.width) < 1 or e.end > self.samples.size for e in self.entries
        ):
            raise SourceError(f"the clip store {store} is damaged: it has fewer samples than its index", hint=hint)

    @property
    def smallest_px(self) -> int:
        """The shortest side of any clip."""
        return min(min(e.height, e.width) for e in self.entries)

    def clip(self, index: int) -> np.ndarray:
        """A whole clip, uint8 [T, H, W, 3], still on disk."""
        e = self.entries[index]
        return self.samples[e.offset : e.end].reshape(e.frames, e.height, e.width, 3)

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
        clip = self.clips.clip(k)
        sides = zip(clip.shape[:3], (self.frames, crop_px, crop_px), strict=True)
        first, top, left = (int(rng.integers(0, side - wanted + 1)) for side, wanted in sides)
        return clip[first : first + self.frames, top : top + crop_px, left : left + crop_px]
