"""What every model is made of: autoencoders. Two transforms for each direction, and a prior that codes between them.

The one flow of all of them, in training, encoding, decoding and analysis:

    x -> g_a -> y -> h_a -> z -> [prior and coder] -> y_hat -> g_s -> x_hat
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal, NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from mvc.models.coding import Coder
from mvc.models.estimate import Density
from mvc.models.prior import CodingPrior
from mvc.models.rounding import NEAREST, Rounding
from mvc.tiling import Part, Window, alike, cells, round_up, scaled, windows

CoderOf = Callable[[Density], Coder]
Side = Literal["past", "future"]
CELL_PX = 16
"""Pixels to a side for each position of y, in every model here."""


ON_A_GPU = 32


def most_abreast(device: torch.device) -> int:
    """How many windows or tiles are worked on as one batch: on a GPU, which one leaves idle, many."""
    return ON_A_GPU if device.type == "cuda" else 1


def windows_of(given: Sequence[Amid], side: int, margin: int) -> Iterator[tuple[list[tuple[int, Window]], Tensor]]:
    """Windows that are worked on side by side, with the numbers of their latents, and what of those they see.

    As one batch [N B, h, w, M].
    """

    def numbered() -> Iterator[tuple[int, Window]]:
        for number, (y_hat, part, _) in enumerate(given):
            for window in windows(y_hat.shape[1], y_hat.shape[2], side, margin, part):
                yield number, window

    for group in alike(numbered(), most_abreast(given[0].y_hat.device), lambda entry: entry[1].size):
        yield group, abreast([given[number].y_hat[:, own.wide[0], own.wide[1]] for number, own in group])


def abreast(windows: Sequence[Tensor]) -> Tensor:
    """Windows [B, H, W, C] of one size as one batch [N B, H, W, C]."""
    return windows[0] if len(windows) == 1 else torch.cat(list(windows))


class Coded(NamedTuple):
    """What both ends have of a coded signal."""

    y_hat: Tensor  # [B, H/16, W/16, M] in quantisation steps
    sent: Tensor | None = None  # [B, H/16, W/16, 1]: in how many passes there was a symbol, if that was watched


@dataclass(frozen=True, eq=False)
class Moving:
    """What motion is about: a reference as the flow takes it, and the motion field that holds if none is sent."""

    frame: Tensor
    base: Tensor | None = None
    made: dict[Tensor | None, Any] = field(default_factory=dict)
    """What the flow made of it with latents of motion, or none: the ways to code one frame have much in common."""


Sides = tuple[Moving, Moving]
"""The past and the future reference of a frame."""

Code = Callable[[str, Tensor | None, Tensor | None, Moving | None], Coded | None]
"""Codes a part of this name, None when decoding, with what its prior is given, as y_hat is; of motion, what moves.

None for a part that is left out of this frame.
"""


@dataclass(frozen=True, eq=False)
class Known:
    """What both ends know of a frame when another is coded given it."""

    frame: Tensor  # the reference, as the flow takes it
    latents: Mapping[str, Tensor]  # y_hat of it and of earlier frames, as the flow names them
    fields: Mapping[str, Tensor] = field(default_factory=dict)  # its motion fields, as the flow names them

    @cached_property
    def moving(self) -> Moving:
        """It, to be moved from where it is."""
        return Moving(self.frame)


class Shown(NamedTuple):
    """A coded frame: x_hat, like x, and the latents and motion fields that are known then."""

    x_hat: Tensor
    latents: dict[str, Tensor]
    fields: dict[str, Tensor]


class Amid(NamedTuple):
    """Latents [1, h, w, M], of which a part is shown; the first position has that row and column in the picture."""

    y_hat: Tensor
    part: Part | None = None
    place: tuple[int, int] = (0, 0)


class Piece(NamedTuple):
    """A part of what a synthesis gives, x [B, h, w, C] in 0..1, and where its first row and column lie."""

    top: int
    left: int
    x: Tensor


class Autoencoder(nn.Module):
    """One coded signal. Tensors are channels last, x [B, H, W, C] with sides that are multiples of `align` pixels.

    `index` is the quality index [B], of which autoencoders of one rate (`rates` = 1) take no notice. `given` is what
    both ends know already, for those that code one thing given another.
    """

    align: int  # in pixels: what the sides of x are padded to
    stride: int  # in pixels, of z: y [B, H/16, W/16, M] and z of as many strides as cover it
    rates: int = 1
    hyper: int  # channels of z
    trains_in_half: bool = False  # whether training may run in bfloat16
    rounding: Rounding = NEAREST  # of the encoder
    watched: bool = False  # whether it is of use to know where a symbol was sent
    exact_synthesis: bool = False  # whether g_s is lowered too, so that what it makes decides symbols
    careful: float = 4.0  # the curvature that is taken then, where the weights come without one (mvc/effort)
    refines: bool = False  # whether the encoder can search for better symbols (mvc/effort/refine.py)
    predicts: bool = False  # whether it can search for those that predict better (mvc/effort/motion.py)

    g_a: nn.Module
    g_s: nn.Module
    h_a: nn.Module
    prior: CodingPrior
    density: Any  # a mvc.models.estimate.Density
    config: Any

    def lagrangian(self, index: int) -> float:
        """lambda: what a mean squared error on the 0..255 scale is worth in bits per pixel at a quality index.

        0 where nothing says it, as with models that are trained for another distortion.
        """
        return 0.0

    def sizes(self, height: int, width: int) -> tuple[tuple[int, int], tuple[int, int]]:
        """Rows and columns of y and of z for a picture of this size in pixels."""
        y = round_up(height, self.align) // CELL_PX, round_up(width, self.align) // CELL_PX
        return y, (cells(y[0], self.stride // CELL_PX), cells(y[1], self.stride // CELL_PX))

    def analyse(self, x: Tensor, index: Tensor, part: Part | None = None) -> tuple[Tensor, Tensor]:
        """y = g_a(x), in units of the quantisation step, and z = h_a(y): those of a part of y, given all of x."""
        y = part_of(self.g_a(x), part)
        return y, self.h_a(y)

    def code(self, coder: Coder, x: Tensor, index: Tensor) -> Tensor:
        """x -> y_hat [B, H/16, W/16, M] in the units of the prior: quantisation steps, or 1/grid.one of them."""
        y, z = self.analyse(x, index)
        return self.prior.code(coder, index, z, y)

    def synthesise(
        self, y_hat: Tensor, index: Tensor, given: Tensor | None = None, dtype: torch.dtype = torch.float32
    ) -> Tensor:
        """g_s: y_hat in quantisation steps -> x_hat [B, H, W, C] in float32; `dtype` is of the work in between."""
        x_hat: Tensor = self.g_s(y_hat if given is None else torch.cat([y_hat, given], -1))
        return x_hat

    @property
    def margin(self) -> int:
        """Positions of y that transforms want to see on each side of a tile."""
        return self.align // CELL_PX

    def pieces(self, y_hat: Tensor, index: Tensor, part: Part | None = None) -> Iterator[Piece]:
        """`synthesise` piece by piece, so that a large picture is never whole in floats; of a part of y_hat, given all.

        The places of the pieces count from those of the part.
        """
        x = self.synthesise(y_hat, index)
        yield Piece(0, 0, x if part is None else x[:, scaled(part[0], CELL_PX), scaled(part[1], CELL_PX)])

    def pieces_of(self, given: Sequence[Amid], index: Tensor) -> Iterator[tuple[int, Piece]]:
        """`pieces` of several latents, which may be worked on side by side, with the numbers of these."""
        for number, (y_hat, part, _) in enumerate(given):
            for piece in self.pieces(y_hat, index, part):
                yield number, piece

    def forward(
        self, coder: Coder, x: Tensor, index: Tensor, given: Tensor | None = None, dtype: torch.dtype = torch.float32
    ) -> Tensor:
        """The whole flow with a float prior: x -> x_hat, in training and wherever rates are estimated."""
        y_hat = self.code(coder, x.to(dtype), index)
        return self.synthesise(y_hat.float(), index, given, dtype)

    @property
    def networks(self) -> dict[str, Autoencoder]:
        """The model's autoencoders by what they code; a still-picture model is one itself."""
        return {"picture": self}

    def trace(self, coder_of: CoderOf, x: Tensor) -> None:
        """One pass over everything that coding x takes, for counting."""
        self(coder_of(self.density), x, no_index(x))


class InterFlow(Protocol):
    """How a model codes a frame given the one before it: the same in training, encoding and decoding.

    It holds no state: the reference is handed to it.
    """

    parts: tuple[str, ...]  # the networks that code a frame, in the order in which they do

    def __init__(self, networks: Mapping[str, Autoencoder]) -> None: ...

    def first(self, y_hat: Tensor) -> dict[str, Tensor]:
        """What stays known of a keyframe's latents, beside the frame."""
        ...

    def inter(self, code: Code, x: Tensor | None, known: Known, index: Tensor, without: str = "") -> Shown:
        """x in 0..1, or None when decoding, given what is known.

        `without` names a part of which `code` will make nothing of x.
        """
        ...


@runtime_checkable
class TwoSidedFlow(InterFlow, Protocol):
    """One that also codes a frame given one before it and one behind it."""

    between_parts: tuple[str, ...]  # what it is coded in, in that order
    network_of: Mapping[str, str]  # the networks of these parts

    def sides(self, past: Known, future: Known, later: Side) -> Sides:
        """What moves in a frame between two others. `later` says which was decoded given the other, if one was."""
        ...

    def between(self, code: Code, x: Tensor | None, past: Known, sides: Sides, index: Tensor) -> Shown:
        """As `inter`, given the frame before it and what `sides` gives."""
        ...


def part_of(y: Tensor, part: Part | None) -> Tensor:
    """A part of y [B, h, w, M], or all."""
    return y if part is None else y[:, part[0], part[1]].contiguous()


def no_index(x: Tensor) -> Tensor:
    """The quality indices [B] of a batch for a model of one rate."""
    return torch.zeros(len(x), dtype=torch.long, device=x.device)
