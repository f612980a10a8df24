"""The same for a model of clips: tables fitted to what its networks code in the clips of a store, and curvatures."""

from __future__ import annotations

import io

import numpy as np
import torch
from numpy.typing import NDArray

from mvc.clip import ClipCodec
from mvc.clip_runs import DEFAULT as BFRAMES
from mvc.codec import Codec
from mvc.container import ClipHead
from mvc.effort.refine import choose_curvature
from mvc.entropy.parts import Joint, JointReader
from mvc.entropy.tables import Tables
from mvc.frames import Frame
from mvc.models.weights import Weights
from mvc.planes import PACKING, unpack
from mvc.quality import DEFAULT_EFFORT
from mvc.train.calibrate import FITTED, REACH, fit_tables
from mvc.train.clips import ClipStore, cropped
from mvc.train.data import CropStore
from mvc.train.packed import Frames, turned

GOPS, FRAMES, CROP_PX = 24, 9, 192
CURVATURE_CROPS = 5
HEAD = ClipHead(1, 25, "limited", "420", "unknown", 2, 2, 2)


def clip_curvature(weights: Weights, clips: ClipStore, stills: CropStore | None) -> list[list[float]]:
    """The curvatures of the network for keyframes, on frames of clips and on pictures."""
    crops = Frames(clips, stills, 0.5 if stills else 0.0).batch(np.random.default_rng(1), CURVATURE_CROPS, CROP_PX)
    return choose_curvature(weights.picture, (torch.from_numpy(crops).float() / 255).split(1))


def clip_tables(weights: Weights, clips: ClipStore) -> dict[str, Tables]:
    """Latent tables of every network, fitted to what it codes at the default effort at a spread of qualities."""
    coder = _Counting(weights)
    rng = np.random.default_rng(0)
    chances = clips.weights(2)
    for gop in range(GOPS):
        clip = clips.clip(int(rng.choice(len(chances), p=chances)))
        packed = turned(rng, cropped(rng, clip, min(FRAMES, len(clip)), CROP_PX // PACKING))
        frames = [Frame(unpack(frame, CROP_PX, CROP_PX), time) for time, frame in enumerate(packed)]
        for index in FITTED[gop % 2 :: 2]:
            file = io.BytesIO()
            options = {"gop": FRAMES, "effort": DEFAULT_EFFORT, "bframes": BFRAMES}
            coder.encode(frames, file, HEAD, index=index, **options)
            file.seek(0)
            for _ in coder.decode(file):
                pass  # reading counts
    return {name: fit_tables(coder.counts[network.latent_tables]) for name, network in weights.networks.items()}


class _Counting(ClipCodec):
    """Counts |symbol| per row of each table while it decodes."""

    def __init__(self, weights: Weights) -> None:
        super().__init__(Codec(weights))
        self.counts: dict[Tables, NDArray[np.float64]] = {}

    def reader(self, joint: Joint, stream: bytes) -> JointReader:
        return _CountingReader(joint, stream, self.counts)


class _CountingReader(JointReader):
    def __init__(self, joint: Joint, stream: bytes, counts: dict[Tables, NDArray[np.float64]]) -> None:
        super().__init__(joint, stream)
        self._counts = counts

    def take(self, rows: NDArray[np.int32], tables: Tables) -> NDArray[np.int32]:
        symbols = super().take(rows, tables)
        count = self._counts.setdefault(tables, np.zeros((tables.rows, REACH + 1)))
        cell = rows * (REACH + 1) + np.minimum(np.abs(symbols), REACH)
        count += np.bincount(cell, minlength=count.size).reshape(count.shape)
        return symbols
