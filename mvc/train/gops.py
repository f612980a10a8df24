"""Training frames between keyframes: GOPs live in slots over many steps, each step coding the next frame of every slot.

So the reference of a frame is what it will be, decoded from a decoded one, up to the end of its GOP; no gradient goes
back through time. What lies in the slots is not part of a checkpoint: a resumed run begins with new GOPs.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from mvc.clip_choice import index_at
from mvc.models.base import Coded, Known, Moving
from mvc.models.coding import Watched
from mvc.models.estimate import RateEstimator, RoundedEstimator
from mvc.models.lite import rd_lambda
from mvc.models.lite_flow import MOTION, LiteFlow
from mvc.models.registry import PICTURE
from mvc.ops.parallel import each
from mvc.planes import PACKING, SAMPLES
from mvc.train.clips import ClipStore, cropped
from mvc.train.data import CropStore
from mvc.train.moved import moved
from mvc.train.objective import pixels_of, squared_errors
from mvc.train.packed import frame_of, turned

WHOLE = 0.6  # share of the GOPs that are as long as can be; others end anywhere
KEY_OFFSETS = 15  # keyframes are up to so many quality indices finer
LEAST_COST = 0.001  # so that the log of nothing is something


class Step(NamedTuple):
    """Tensors of one step: the next frames, and for the slots where a GOP begins its keyframe."""

    x: Tensor  # [B, H/2, W/2, 6] in 0..1
    quality: Tensor  # [B], quality indices
    new: Tensor  # bool [B]
    keyframes: Tensor  # [N, H/2, W/2, 6] in 0..1, of the new ones
    key_quality: Tensor  # [N]


@dataclass
class Slot:
    """A GOP, uint8 [T, H/2, W/2, 6], which of its frames comes next, and the quality index of its clip."""

    frames: np.ndarray
    place: int
    quality: int


class Gops:
    """Draws GOPs from clips, and from moved pictures, and deals them out frame by frame."""

    def __init__(self, clips: ClipStore, length: int, stills: CropStore | None = None, share: float = 0.0) -> None:
        """`length` is that of a whole GOP, keyframe included; `share` of them are of moved pictures."""
        self.clips, self.length, self.stills, self.share = clips, length, stills, share
        self.weights = clips.weights(2)
        self.slots: list[Slot] = []
        self.threads = 1  # more make the sequences that begin in a step side by side, from random numbers of their own

    def next(self, rng: np.random.Generator, quality: np.ndarray, crop_px: int, rates: int) -> Step:
        """The next frame of every slot; a slot where a GOP begins takes the quality index of its clip from `quality`
        [B]."""
        side = crop_px // PACKING
        if len(self.slots) != len(quality) or self.slots[0].frames.shape[1] != side:
            self.slots = [Slot(np.empty((0, side, side, SAMPLES), np.uint8), 0, 0) for _ in quality]
        new = np.array([slot.place >= len(slot.frames) for slot in self.slots])
        for k, frames in zip(np.flatnonzero(new), self._sequences(rng, int(new.sum()), crop_px), strict=True):
            self.slots[k] = Slot(frames, 1, int(quality[k]))
        begun = [slot for slot, is_new in zip(self.slots, new, strict=True) if is_new]
        finer = [min(rates - 1, slot.quality + int(rng.integers(0, KEY_OFFSETS))) for slot in begun]
        x = np.stack([slot.frames[slot.place] for slot in self.slots])
        keyframes = np.stack([slot.frames[0] for slot in begun]) if begun else x[:0]
        own = torch.tensor([index_at(slot.place, slot.quality, rates) for slot in self.slots])
        for slot in self.slots:
            slot.place += 1
        return Step(_tensor(x), own, torch.from_numpy(new), _tensor(keyframes), torch.tensor(finer, dtype=torch.long))

    def _sequences(self, rng: np.random.Generator, count: int, crop_px: int) -> Iterator[np.ndarray]:
        if self.threads == 1:
            return (self._sequence(rng, crop_px) for _ in range(count))
        return iter(each(lambda own: self._sequence(own, crop_px), rng.spawn(count), self.threads))

    def _sequence(self, rng: np.random.Generator, crop_px: int) -> np.ndarray:
        """uint8 [T, crop_px/2, crop_px/2, 6], T at least 2."""
        frames = self.length if rng.random() < WHOLE else int(rng.integers(2, self.length + 1))
        if self.stills is not None and rng.random() < self.share:
            state = rng.integers(1 << 32)
            pictures = moved(self.stills, rng, frames, crop_px)
            # the same random numbers for each: chroma lies in one place throughout a clip
            return np.stack([frame_of(np.random.default_rng(state), picture) for picture in pictures])
        clip = self.clips.clip(int(rng.choice(len(self.weights), p=self.weights)))
        return turned(rng, cropped(rng, clip, min(frames, len(clip)), crop_px // PACKING))


class InterObjective(nn.Module):
    """Rate and distortion of frames given those before them; what is known of each slot is kept from step to step.

    The loss is the mean of log(lambda * D + R): else hard, moving clips at high rates would decide everything.
    """

    def __init__(self, model: Any, dtype: torch.dtype) -> None:
        super().__init__()
        self.model, self.dtype = model, dtype
        self.known: Known | None = None

    def forward(self, x: Tensor, index: Tensor, new: Tensor, keyframes: Tensor, key_index: Tensor) -> dict[str, Tensor]:
        self._begin(new, keyframes, key_index)
        assert self.known is not None
        coders: dict[str, RoundedEstimator] = {}

        def code(name: str, signal: Tensor | None, given: Tensor | None, of: Moving | None) -> Coded:
            network = self.model.networks[name]
            assert signal is not None and given is not None
            dtype = self.dtype if network.trains_in_half else torch.float32
            coders[name] = RoundedEstimator(network.density, index, self.training, dtype, network.deadzone)
            watched = Watched(coders[name])
            y, z = network.analyse(signal.to(dtype), index)
            y_hat = network.prior.code(watched, index, z, y, given.to(dtype))
            return Coded(y_hat.float(), watched.sent)

        x_hat, latents, _ = LiteFlow(self.model.networks).inter(code, x, self.known, index)
        moving = latents[MOTION].flatten(1).any(1)  # else none is sent
        self.known = Known(_rounded(x_hat), {name: value.detach() for name, value in latents.items()})
        pixels = pixels_of(x)
        sent = {name: moving if name == MOTION else torch.ones_like(moving) for name in coders}
        bits = {name: coder.bits * sent[name] / pixels for name, coder in coders.items()}
        bpp = torch.stack(list(bits.values())).sum(0)
        hyper = torch.stack([coder.hyper_bits * sent[name] for name, coder in coders.items()]).sum(0) / pixels
        motion = bits.get(MOTION, torch.zeros_like(bpp))
        mse, error = squared_errors(x_hat, x)
        loss = torch.log(rd_lambda(index) * 255**2 * error + bpp + LEAST_COST)
        return {"loss": loss, "bpp": bpp, "hyper_bpp": hyper, "motion_bpp": motion, "mse": mse}

    @torch.no_grad()
    def _begin(self, new: Tensor, keyframes: Tensor, key_index: Tensor) -> None:
        """Put what is known of decoded keyframes into the slots where a GOP begins."""
        if not len(keyframes):
            return
        network = self.model.networks[PICTURE]
        coder = RateEstimator(network.density, key_index, False, self.dtype)
        y_hat = network.code(coder, keyframes.to(self.dtype), key_index).float()
        frame = _rounded(network.synthesise(y_hat, key_index, dtype=self.dtype))
        latents = LiteFlow(self.model.networks).first(y_hat)
        if self.known is None or len(self.known.frame) != len(new):
            empty = {name: value.new_zeros(len(new), *value.shape[1:]) for name, value in latents.items()}
            self.known = Known(frame.new_zeros(len(new), *frame.shape[1:]), empty)
        self.known.frame[new] = frame
        for name, value in latents.items():
            self.known.latents[name][new] = value


def _tensor(frames: np.ndarray) -> Tensor:
    return torch.from_numpy(frames).float().div_(255)


def _rounded(x: Tensor) -> Tensor:
    """Samples as a decoder shows them, uint8."""
    return torch.nan_to_num(x.detach()).clamp(0, 1).mul(255).round().to(torch.uint8)
