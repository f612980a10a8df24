"""Frames as networks take and give them: as RGB pictures, or as packed planes of 4:2:0."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from mvc.clip_files import clip_info
from mvc.colour import Colour
from mvc.container import Head
from mvc.frames import Frame, converted_colour
from mvc.picture import Picture
from mvc.planes import PACKING, SAMPLES, fitted, pack, unpack
from mvc.tiling import cells, round_up


class Signal(Protocol):
    """What a clip's frames are to a model. Arrays have the shown size, tensors are padded to multiples of `align`."""

    def __init__(self, head: Head, align: int, device: torch.device) -> None: ...

    def samples(self, frame: Frame) -> np.ndarray:
        """uint8 [H, W, C] of a frame."""
        ...

    def empty(self) -> np.ndarray:
        """Room for what a network gives."""
        ...

    def frame(self, samples: np.ndarray, time: int) -> Frame:
        """The frame that such samples show."""
        ...

    def tensor(self, samples: np.ndarray) -> Tensor:
        """x [1, H, W, C] in 0..1."""
        ...

    def reference(self, samples: np.ndarray) -> Tensor:
        """The same as the model's flow takes what is known."""
        ...


class RgbSignal:
    """[H, W, 3], or [H, W] of gray, which is repeated."""

    def __init__(self, head: Head, align: int, device: torch.device) -> None:
        self.shape = (head.height, head.width, 3) if head.colour == "rgb" else (head.height, head.width)
        self.size = round_up(head.height, align), round_up(head.width, align)
        self.device = device

    def samples(self, frame: Frame) -> np.ndarray:
        return frame.to_picture().samples

    def empty(self) -> np.ndarray:
        return np.empty(self.shape, np.uint8)

    def frame(self, samples: np.ndarray, time: int) -> Frame:
        return Frame.of_picture(Picture(samples), time)

    def tensor(self, samples: np.ndarray) -> Tensor:
        planes = np.atleast_3d(samples)
        padded = np.stack([fitted(planes[..., c], *self.size) for c in range(planes.shape[2])], -1)
        return _scaled(torch.from_numpy(padded).to(self.device))[None].expand(-1, -1, -1, 3)

    reference = tensor


class PackedSignal:
    """[H/2, W/2, 6] (mvc/planes.py), in the clip's own matrix; of RGB clips in what players take for their size."""

    def __init__(self, head: Head, align: int, device: torch.device) -> None:
        self.height, self.width, self.gray = head.height, head.width, head.colour == "gray"
        self.size = round_up(head.height, align), round_up(head.width, align)
        self.device = device
        self.colour: Colour = converted_colour(clip_info(head).colour, "yuv420p", head.width, head.height)

    def samples(self, frame: Frame) -> np.ndarray:
        planes = frame.converted("yuv420p", self.colour).planes
        return pack(planes, *(round_up(side, PACKING) for side in (self.height, self.width)))

    def empty(self) -> np.ndarray:
        return np.empty((cells(self.height, PACKING), cells(self.width, PACKING), SAMPLES), np.uint8)

    def frame(self, samples: np.ndarray, time: int) -> Frame:
        planes = unpack(samples, self.height, self.width)
        return Frame(planes[:1] if self.gray else planes, time, self.colour)

    def tensor(self, samples: np.ndarray) -> Tensor:
        return _scaled(self.reference(samples))

    def reference(self, samples: np.ndarray) -> Tensor:
        planes = unpack(samples, self.height, self.width)
        return torch.from_numpy(pack(planes, *self.size)).to(self.device)[None]


SIGNALS: dict[int, type[Signal]] = {1: RgbSignal, PACKING: PackedSignal}
"""By the packing of a model's frames."""


def _scaled(samples: Tensor) -> Tensor:
    return samples.to(torch.float32).div_(255)
