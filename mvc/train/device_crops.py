"""Crops for a GPU: drawn there from samples that were copied once, or made ahead of the step that needs them.

Where a crop lies, and how it is turned, follows from the same random numbers on the host as in data.py, so without
changes to crops (augment.py) both draw the same ones. The numbers of colour changes are drawn after all places instead
of between them, and noise comes from the device's generator, whose seed is that of the step: other draws of the same
distribution.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mvc.train.augment import NOISY, Augment, colour_change
from mvc.train.data import PHOTOGRAPH, CropStore
from mvc.train.recipe import Recipe

MEMORY_SHARE = 0.5  # of what is free on the device, for the samples
Batch = tuple[Tensor, ...]


def sent(values: np.ndarray, device: str) -> Tensor:
    """An array on a device, without waiting for what that is doing."""
    tensor = torch.from_numpy(values)
    return tensor.pin_memory().to(device, non_blocking=True) if device == "cuda" else tensor.to(device)


class DeviceCrops:
    """As CropStore.batch, on a device, and already in 0..1."""

    def __init__(self, store: CropStore, device: str) -> None:
        """Copies all samples of the store to the device."""
        self.store, self.device = store, device
        self.samples = torch.from_numpy(np.asarray(store.samples).copy()).to(device)
        assert store.change is None or isinstance(store.change, Augment)
        self.change: Augment | None = store.change

    @classmethod
    def of(cls, store: Any, device: str, recipe: Recipe) -> DeviceCrops | None:
        """Those of a recipe; None if it is not for pictures, some must be enlarged, or there is too little room."""
        largest = max(recipe.crop_px, *(row[2] for row in recipe.stages), 0)
        if not isinstance(store, CropStore) or store.smallest_px < largest:
            return None
        free = torch.cuda.mem_get_info()[0] if device == "cuda" else store.samples.size / MEMORY_SHARE
        return cls(store, device) if store.samples.size <= MEMORY_SHARE * free else None

    def batch(self, rng: np.random.Generator, count: int, crop_px: int) -> Tensor:
        """`count` random crops, float32 [count, crop_px, crop_px, 3] in 0..1; each flipped and transposed at random."""
        entries = self.store.entries
        chosen = rng.choice(len(entries), count, p=self.store.weights)
        # first sample, and the distance of samples down and across, of every crop
        places = np.empty((3, count, 1, 1, 1), np.int64)
        for i, k in enumerate(chosen):
            entry = entries[k]
            top = int(rng.integers(0, entry.height - crop_px + 1))
            left = int(rng.integers(0, entry.width - crop_px + 1))
            first, down, across = entry.offset + 3 * (top * entry.width + left), 3 * entry.width, 3
            if rng.random() < 0.5:
                first, across = first + across * (crop_px - 1), -across
            if rng.random() < 0.5:
                down, across = across, down
            places[:, i, 0, 0, 0] = first, down, across
        first, down, across = sent(places, self.device)
        side = torch.arange(crop_px, device=self.device)
        index = first + down * side[:, None, None] + across * side[:, None] + torch.arange(3, device=self.device)
        crops = self.samples[index].float()
        if self.change is not None:
            photographs = np.array([entries[k].group == PHOTOGRAPH for k in chosen])
            crops = changed(self.change, rng, crops, photographs)
        return crops.div_(255)


def changed(change: Augment, rng: np.random.Generator, crops: Tensor, photographs: np.ndarray) -> Tensor:
    """Crops [B, H, W, 3] in 0..255, changed as `Augment` does it one by one; whole numbers again."""
    count = len(crops)
    recoloured = rng.random(count) < change.jitter
    sigma = np.where((rng.random(count) < NOISY) & photographs, rng.uniform(0, change.grain, count), 0.0)
    if recoloured.any():
        identity = np.eye(3), np.eye(3)
        pairs = [colour_change(rng) if own else identity for own in recoloured]
        matrices = np.stack([np.stack(pair) for pair in pairs], 1).astype(np.float32)
        matrix, turned = sent(matrices, crops.device.type)
        mean = crops.mean((1, 2), keepdim=True)
        crops = torch.einsum("bhwc,bdc->bhwd", crops - mean, matrix) + torch.einsum("bhwc,bdc->bhwd", mean, turned)
    if sigma.any():
        common = rng.uniform(size=count)
        shares = np.stack([sigma * common**0.5, sigma * (1 - common) ** 0.5]).astype(np.float32)
        gray, colour = sent(shares, crops.device.type)[:, :, None, None, None]
        crops = crops + gray * torch.randn_like(crops[..., :1]) + colour * torch.randn_like(crops)
    return crops.round().clamp(0, 255)


class Ahead:
    """Batches that another thread makes while a step runs: always one ahead, in the order of the steps."""

    def __init__(self, make: Callable[[int], Batch]) -> None:
        """`make` gives the batch of a step on the CPU."""
        self._make = make
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="mvc-batch")
        self._next: tuple[int, Future[Batch]] | None = None

    def take(self, step: int) -> Batch:
        """The batch of a step, in pinned memory where there is a GPU; what `make` raised is raised here."""
        step_made, made = self._next or (-1, None)
        if made is None or step_made != step:
            made = self._pool.submit(self._pinned, step)
        self._next = step + 1, self._pool.submit(self._pinned, step + 1)
        return made.result()

    def _pinned(self, step: int) -> Batch:
        batch = tuple(self._make(step))
        return tuple(part.pin_memory() for part in batch) if torch.cuda.is_available() else batch
