"""Training data in packed 4:2:0 (mvc/planes.py): single frames of clips, and pictures that are made into frames."""

from __future__ import annotations

import numpy as np

from mvc.colour import BT601, Colour, from_rgb
from mvc.planes import PACKING, SAMPLES, mirrored, pack, transposed
from mvc.train.clips import ClipStore, cropped
from mvc.train.data import CropStore

SITINGS = (0, 0, 1)  # left as in most videos, and centre


def frame_of(rng: np.random.Generator, rgb: np.ndarray) -> np.ndarray:
    """Packed 4:2:0 of a picture [H, W, 3] with even sides, as a camera might make it."""
    siting = SITINGS[rng.integers(len(SITINGS))]
    planes = from_rgb(rgb, Colour(matrix=BT601, siting=siting), (PACKING, PACKING))
    return pack(planes, *rgb.shape[:2])


def turned(rng: np.random.Generator, packed: np.ndarray) -> np.ndarray:
    """Packed pictures or sequences, mirrored and transposed at random."""
    if rng.random() < 0.5:
        packed = mirrored(packed)
    return transposed(packed) if rng.random() < 0.5 else packed


class Frames:
    """Random crops of single frames, some of them of pictures."""

    def __init__(self, clips: ClipStore, stills: CropStore | None = None, share: float = 0.0) -> None:
        """`share` of the crops are of pictures."""
        self.clips, self.stills, self.share = clips, stills, share
        self.weights = clips.weights(1)

    def batch(self, rng: np.random.Generator, count: int, crop_px: int) -> np.ndarray:
        """uint8 [count, crop_px/2, crop_px/2, 6], each mirrored and transposed at random."""
        side = crop_px // PACKING
        out = np.empty((count, side, side, SAMPLES), np.uint8)
        for i in range(count):
            if self.stills is not None and rng.random() < self.share:
                out[i] = frame_of(rng, self.stills.batch(rng, 1, crop_px)[0])
                continue
            k = int(rng.choice(len(self.weights), p=self.weights))
            out[i] = turned(rng, cropped(rng, self.clips.clip(k), 1, side)[0])
        return out
