"""The data of a recipe: which stores it needs, built once, and opened by every process."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import numpy as np

from mvc.errors import SourceError
from mvc.train.clips import ClipStore, Sequences, build_clip_store
from mvc.train.data import CropStore, build_store, held_store
from mvc.train.gops import Gops
from mvc.train.moved import MARGIN_PX
from mvc.train.packed import Frames
from mvc.train.recipe import Recipe


class Crops(Protocol):
    """What training takes its crops from."""

    def batch(self, rng: np.random.Generator, count: int, crop_px: int) -> np.ndarray:
        """`count` random crops, uint8 [count, (T,) crop_px, crop_px, 3], which follow from the random numbers alone."""
        ...


def build(recipe: Recipe) -> None:
    """Build the stores that are not there yet; for one process of a run."""
    store, source = Path(recipe.store), Path(recipe.pictures)
    if recipe.frames:
        if not _index(store).exists():
            options = {"holdout": recipe.holdout, "smallest_px": recipe.crop_px, "packing": recipe.packing}
            build_clip_store(source, store, **options)
        if recipe.stills and not _index(stills_store(store)).exists():
            smallest_px = recipe.crop_px + 2 * MARGIN_PX
            build_store(Path(recipe.stills), stills_store(store), scales=recipe.scales, smallest_px=smallest_px)
    elif not _index(store).exists():
        build_store(
            source,
            store,
            graphics=Path(recipe.graphics) if recipe.graphics else None,
            holdout=recipe.holdout,
            drawn=recipe.drawn,
            scales=recipe.scales,
            smallest_px=recipe.crop_px,
        )


def opened(recipe: Recipe) -> Crops | Gops:
    """The crops of a recipe; SourceError where a store was built for another."""
    path = Path(recipe.store)
    if recipe.frames:
        clips = ClipStore(path)
        _check(recipe, path, clips)
        stills = CropStore(stills_store(path)) if recipe.stills else None
        if recipe.frames == 1:
            return Frames(clips, stills, recipe.moved)
        if recipe.in_gops:
            return Gops(clips, recipe.frames, stills, recipe.moved)
        return Sequences(clips, recipe.frames, stills, recipe.moved)
    store = CropStore(path, recipe.graphics_share, recipe.augment)
    _check(recipe, path, store)
    return store


def held(recipe: Recipe) -> list[np.ndarray]:
    """What is kept for validation: pictures [H, W, 3], or the beginnings of clips [T, H, W, 3]."""
    if not recipe.holdout:
        return []
    path = held_store(Path(recipe.store))
    if recipe.frames:
        clips = ClipStore(path)
        if recipe.frames == 1:
            return [clips.clip(i)[0] for i in range(len(clips.entries))]
        if recipe.in_gops:
            return []
        return [clips.clip(i)[: recipe.frames] for i in range(len(clips.entries))]
    store = CropStore(path)
    return [store.picture(i) for i in range(len(store.entries))]


def stills_store(store: Path) -> Path:
    """Where the pictures that are moved lie."""
    return store.with_name(store.name + "-stills")


def _index(store: Path) -> Path:
    return store.with_suffix(".json")


def _check(recipe: Recipe, path: Path, store: CropStore | ClipStore) -> None:
    hint = f"delete {path}.json and it is built again, or name another store"
    largest = [row[2] for row in recipe.stages] if recipe.frames else []  # pictures are enlarged for those, clips not
    for crop_px in (recipe.crop_px, *largest):
        if store.smallest_px < crop_px:
            size = f"{path} has a picture with a side of {store.smallest_px}"
            raise SourceError(f"crop_px = {crop_px}, but {size}", hint=hint)
    if isinstance(store, ClipStore) and store.packing != recipe.packing:
        raise SourceError(f"{path} holds samples of another kind than {recipe.model} takes", hint=hint)
    for name, made_with in store.settings.items():
        if made_with != (wanted := getattr(recipe, name)):
            raise SourceError(f"{name} = {wanted}, but {path} was built with {made_with}", hint=hint)
