"""Training frames between keyframes: GOPs live in slots over many steps, each step coding one more frame of every slot.

So the reference of a frame is what it will be, decoded from a decoded one, up to the end of its GOP; no gradient goes
back through time. What lies in the slots is not part of a checkpoint: a resumed run begins with new GOPs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from mvc.clip_choice import index_at, index_between
from mvc.clip_runs import Turn, turns
from mvc.models.base import Coded, Known, Moving, Shown
from mvc.models.coding import Watched
from mvc.models.estimate import RoundedEstimator
from mvc.models.lite_flow import FUTURE, PAST, RESIDUAL, LiteFlow, moves
from mvc.models.registry import PICTURE
from mvc.models.weighing import rd_lambda
from mvc.ops.parallel import each
from mvc.planes import PACKING, SAMPLES
from mvc.train.clips import ClipStore, cropped
from mvc.train.data import CropStore
from mvc.train.moved import moved
from mvc.train.objective import pixels_of, squared_errors
from mvc.train.packed import frame_of, turned

WHOLE = 0.6  # share of the GOPs that are as long as can be; others end anywhere
BFRAMES = {0: 0.2, 1: 0.2, 3: 0.6}
KEY_OFFSETS = 15  # keyframes are up to so many quality indices finer
LEAST_COST = 0.001  # so that the log of nothing is something


class Step(NamedTuple):
    """Tensors of one step: the next frames, and for the slots where a GOP begins its keyframe."""

    x: Tensor  # [B, H/2, W/2, 6] in 0..1
    quality: Tensor  # [B], quality indices
    new: Tensor  # bool [B]
    keyframes: Tensor  # [N, H/2, W/2, 6] in 0..1, of the new ones
    key_quality: Tensor  # [N]
    turns: Tensor  # [B, 4]: number of the frame, of its past and future reference (-1: none), whether that came later


@dataclass
class Slot:
    """A GOP, uint8 [T, H/2, W/2, 6], the turns of its frames that are left, and the quality index of its clip."""

    frames: np.ndarray
    left: list[Turn]
    quality: int
    bframes: int = 0

    def index(self, turn: Turn, rates: int) -> int:
        """The quality index of a frame."""
        if turn.future is None:
            return index_at(turn.number, self.quality, rates, self.bframes)
        return index_between(turn.halved, self.quality, rates)


class Gops:
    """Draws GOPs from clips, and from moved pictures, and deals them out frame by frame."""

    def __init__(
        self,
        clips: ClipStore,
        length: int,
        stills: CropStore | None = None,
        share: float = 0.0,
        bframes: Mapping[int, float] = BFRAMES,
    ) -> None:
        """`length` is that of a whole GOP, keyframe included; `share` of them are of moved pictures.

        `bframes` has shares of the GOPs by how many frames in a row are between two others.
        """
        self.clips, self.length, self.stills, self.share, self.bframes = clips, length, stills, share, bframes
        self.weights = clips.weights(2)
        self.slots: list[Slot] = []
        self.threads = 1  # more make the sequences that begin in a step side by side, from random numbers of their own

    def next(self, rng: np.random.Generator, quality: np.ndarray, crop_px: int, rates: int) -> Step:
        """The next frame of every slot; a slot where a GOP begins takes the quality index of its clip from `quality`
        [B]."""
        side = crop_px // PACKING
        if len(self.slots) != len(quality) or self.slots[0].frames.shape[1] != side:
            self.slots = [Slot(np.empty((0, side, side, SAMPLES), np.uint8), [], 0) for _ in quality]
        new = np.array([not slot.left for slot in self.slots])
        for k, frames in zip(np.flatnonzero(new), self._sequences(rng, int(new.sum()), crop_px), strict=True):
            bframes = int(rng.choice(list(self.bframes), p=list(self.bframes.values())))
            self.slots[k] = Slot(frames, list(turns(len(frames), bframes)), int(quality[k]), bframes)
        begun = [slot for slot, is_new in zip(self.slots, new, strict=True) if is_new]
        finer = [min(rates - 1, slot.quality + int(rng.integers(0, KEY_OFFSETS))) for slot in begun]
        now = [slot.left.pop(0) for slot in self.slots]
        x = np.stack([slot.frames[turn.number] for slot, turn in zip(self.slots, now, strict=True)])
        keyframes = np.stack([slot.frames[0] for slot in begun]) if begun else x[:0]
        own = torch.tensor([slot.index(turn, rates) for slot, turn in zip(self.slots, now, strict=True)])
        rows = [(t.number, t.past, -1 if t.future is None else t.future, int(t.future_later)) for t in now]
        keys = torch.tensor(finer, dtype=torch.long)
        return Step(_tensor(x), own, torch.from_numpy(new), _tensor(keyframes), keys, torch.tensor(rows))

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
        self.flow = LiteFlow(model.networks)
        self.known: list[dict[int, Known]] = []  # of each slot, by the numbers of the frames of its GOP

    def forward(
        self, x: Tensor, index: Tensor, new: Tensor, keyframes: Tensor, key_index: Tensor, turns: Tensor
    ) -> dict[str, Tensor]:
        self._begin(new, keyframes, key_index)
        rows = turns.tolist()
        told: list[dict[str, Tensor]] = []
        order: list[int] = []
        for between in (False, True):
            slots = [slot for slot, row in enumerate(rows) if (row[2] >= 0) == between]
            if slots:
                told.append(self._coded(x[slots], index[slots], slots, [rows[slot] for slot in slots]))
                order += slots
        back = torch.tensor(order, device=x.device).argsort()
        return {name: torch.cat([own[name] for own in told])[back] for name in told[0]}

    def _coded(self, x: Tensor, index: Tensor, slots: list[int], rows: list[list[int]]) -> dict[str, Tensor]:
        """Frames of some slots, all given one other, or all given two."""
        coders: dict[str, RoundedEstimator] = {}
        sent: dict[str, Tensor] = {}

        def code(name: str, signal: Tensor | None, given: Tensor | None, of: Moving | None) -> Coded:
            network = self.model.networks[self.flow.network_of.get(name, name)]
            assert signal is not None and given is not None
            dtype = self.dtype if network.trains_in_half else torch.float32
            coders[name] = RoundedEstimator(network.density, index, self.training, dtype, network.rounding)
            watched = Watched(coders[name])
            y, z = network.analyse(signal.to(dtype), index)
            y_hat = network.prior.code(watched, index, z, y, given.to(dtype)).float()
            sent[name] = torch.ones(len(x), device=x.device)
            if name != RESIDUAL:  # where nothing moves, and where nothing is said, none is sent
                sent[name] = (moves(signal) & y_hat.flatten(1).any(1)).float()
            return Coded(y_hat, watched.sent)

        past = [self.known[slot][row[1]] for slot, row in zip(slots, rows, strict=True)]
        if rows[0][2] < 0:
            shown = self.flow.inter(code, x, _together(past), index)
        else:
            future = [self.known[slot][row[2]] for slot, row in zip(slots, rows, strict=True)]
            sides = [
                self.flow.sides(a, b, FUTURE if row[3] else PAST) for a, b, row in zip(past, future, rows, strict=True)
            ]
            one, other = (_moving(own) for own in zip(*sides, strict=True))
            shown = self.flow.between(code, x, _together(past), (one, other), index)
        self._keep(shown, slots, rows)
        pixels = pixels_of(x)
        bits = {name: coder.bits * sent[name] / pixels for name, coder in coders.items()}
        bpp = torch.stack(list(bits.values())).sum(0)
        hyper = torch.stack([coder.hyper_bits * sent[name] for name, coder in coders.items()]).sum(0) / pixels
        motion = torch.stack([torch.zeros_like(bpp), *(own for name, own in bits.items() if name != RESIDUAL)]).sum(0)
        mse, error = squared_errors(shown.x_hat, x)
        loss = torch.log(rd_lambda(index) * 255**2 * error + bpp + LEAST_COST)
        return {"loss": loss, "bpp": bpp, "hyper_bpp": hyper, "motion_bpp": motion, "mse": mse}

    def _keep(self, shown: Shown, slots: list[int], rows: list[list[int]]) -> None:
        frame = _rounded(shown.x_hat)
        for k, (slot, row) in enumerate(zip(slots, rows, strict=True)):
            own = slice(k, k + 1)
            latents, fields = (
                {name: value[own].detach() for name, value in values.items()}
                for values in (shown.latents, shown.fields)
            )
            self.known[slot][row[0]] = Known(frame[own], latents, fields)

    @torch.no_grad()
    def _begin(self, new: Tensor, keyframes: Tensor, key_index: Tensor) -> None:
        """Put what is known of decoded keyframes into the slots where a GOP begins."""
        if len(self.known) != len(new):
            self.known = [{} for _ in range(len(new))]
        if not len(keyframes):
            return
        network = self.model.networks[PICTURE]
        coder = RoundedEstimator(network.density, key_index, False, self.dtype, network.rounding)
        y_hat = network.code(coder, keyframes.to(self.dtype), key_index).float()
        frame = _rounded(network.synthesise(y_hat, key_index, dtype=self.dtype))
        for k, slot in enumerate(new.nonzero().flatten().tolist()):
            own = slice(k, k + 1)
            self.known[slot] = {0: Known(frame[own], self.flow.first(y_hat[own]))}


def _together(known: Sequence[Known]) -> Known:
    """What is known of several frames as a batch, but for motion fields."""
    latents = {name: torch.cat([own.latents[name] for own in known]) for name in known[0].latents}
    return Known(torch.cat([own.frame for own in known]), latents)


def _moving(sides: Sequence[Moving]) -> Moving:
    """As a batch, with a base of zeros where there is none and others have one."""
    frames = torch.cat([own.frame for own in sides])
    there = next((own.base for own in sides if own.base is not None), None)
    if there is None:
        return Moving(frames)
    return Moving(frames, torch.cat([torch.zeros_like(there) if own.base is None else own.base for own in sides]))


def _tensor(frames: np.ndarray) -> Tensor:
    return torch.from_numpy(frames).float().div_(255)


def _rounded(x: Tensor) -> Tensor:
    """Samples as a decoder shows them, uint8."""
    return torch.nan_to_num(x.detach()).clamp(0, 1).mul(255).round().to(torch.uint8)
