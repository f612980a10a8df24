"""The search for cheaper symbols in one part of a picture: steps of one, judged where they are made.

Every iteration decodes a trial and computes the gradient of its error (distortion.py). For each symbol that predicts
what one step up or down would do to the error: the gradient, plus a curvature. To this comes the difference of the
symbol's own bits; what it does to the bits of others was measured not to matter. The next trial makes the steps that
pay by a margin: at first all of them, then those of a scattered share of the latents, another one each time, because
neighbours that move together mend the same error twice. Where errors reach far, it is one latent of every two positions
instead, the one that pays the most. The best trial as a whole is the result.

With iterations enough, each neighbourhood of the picture stands by itself: a trial is kept where it made bits and
error together less, and taken back elsewhere. Where it was kept the curvature falls, where not it grows. Of each
position only the few steps that pay the most are made. Twice the search sets out again from what it has, with fewer
latents moving and a lower curvature: alone it comes to rest.

Unlike gradient descent on relaxed latents (Yang, Bamler & Mandt 2020) nothing is relaxed or annealed: see
docs/decisions.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor

from mvc.effort.distortion import Distortion
from mvc.models.lite import Synthesis
from mvc.models.lite_flow import spread
from mvc.models.prior import Prior
from mvc.models.rounding import NEAREST, Rounding
from mvc.models.weighing import rd_lambda
from mvc.ops.rate import step_bits

S = TypeVar("S", bound=tuple[Tensor, ...])

MARGIN_BITS = 0.1
PLAIN_SHARE = 0.5  # of the latents that may move after the first iteration
FEWEST_JUDGED = 12  # iterations from which on neighbourhoods are judged: it takes time to pay
NEIGHBOURHOOD = 3  # latents to a side
KEPT, TAKEN_BACK = 0.9, 1.2  # what the curvature is multiplied by


class Phase(NamedTuple):
    """From which part of the iterations on which share of the latents may move, how many of a position at the most, and
    at which part of the curvature."""

    begin: float
    share: float
    most: int
    curvature: float


PHASES = (Phase(0.0, 0.6, 2, 1.0), Phase(0.35, 0.5, 1, 0.5), Phase(0.675, 0.5, 1, 0.3))
FIRST = 3  # latents of a position that move before the first phase


class State(NamedTuple):
    """Latents [B, H, W, M] and what was found when they were decoded."""

    y: Tensor
    gradient: Tensor  # of the error by the decoded latents
    values: Tensor  # of the symbols, before the prior's correction
    down: Tensor  # bits that one step less would add, and ...
    up: Tensor  # ... one step more
    cost: Tensor  # bits and error at each position, in bits, [B, H, W, 1]

    @property
    def total(self) -> float:
        """Bits and error of all."""
        return float(self.cost.sum())


def where(chosen: Tensor, one: S, other: S) -> S:
    """Tuples of tensors: of the one where `chosen` [B, H, W, 1] is true, of the other elsewhere."""
    return type(one)(*(torch.where(chosen, a, b) for a, b in zip(one, other, strict=True)))


class _Symbols:
    """A coder of the prior's loop that rounds latents to symbols and keeps the price of every other choice."""

    def __init__(self, dtype: torch.dtype, rounding: Rounding) -> None:
        self.dtype, self.rounding = dtype, rounding
        self._passes: list[tuple[Tensor, Tensor | None]] = []
        self._slices: list[Tensor] = []
        self.sent: Tensor | None = None  # in how many passes there was a symbol at each position, [B, H, W, 1]

    def hyper(self, z: Tensor) -> Tensor:
        return torch.round(z)

    def latent(self, y: Tensor, mean: Tensor, log_scale: Tensor, mask: Tensor | None) -> Tensor:
        mean, log_scale = mean.float(), log_scale.float()
        symbols = torch.round(self.rounding.taken(y, mean, log_scale) - mean)
        values = symbols + mean
        sent = (symbols != 0).any(-1, keepdim=True).float() * (1 if mask is None else mask)
        self.sent = sent if self.sent is None else self.sent + sent
        self._passes.append((torch.stack([values, *step_bits(symbols, log_scale)]), mask))
        return values.to(self.dtype)

    def end_slice(self) -> None:
        (whole, _), *others = self._passes
        for own, mask in others:
            whole = torch.where(mask > 0, own, whole) if mask is not None else own
        self._slices.append(whole)
        self._passes = []

    def prices(self) -> tuple[Tensor, ...]:
        """Values of the latents, their bits, and the bits that one step less or more would add, [B, H, W, M]."""
        return torch.cat(self._slices, -1).unbind()


class Patch:
    """A part of the picture with what is constant while its symbols change.

    `distortion` is of what counts of the samples, features [1, H, W, P] are the hyperlatent's. With `sparse`
    nothing is decoded where no symbol is, as in the residual of a clip (mvc/models/lite_flow.py). The factors of its
    methods are curvatures over that of the linear path.
    """

    def __init__(
        self,
        g_s: Synthesis,
        prior: Prior,
        distortion: Distortion,
        features: Tensor,
        index: Tensor,
        dtype: torch.dtype,
        sparse: bool = False,
        rounding: Rounding = NEAREST,
    ) -> None:
        self.sparse, self.rounding, self.distortion = sparse, rounding, distortion
        self.g_s, self.prior, self.index, self.dtype = g_s, prior, index, dtype
        self.features = features.to(dtype)
        self.bits_per_error = float(rd_lambda(index)) * distortion.scale
        self.linear_curvature = self.bits_per_error * distortion.curvature * g_s.gain.gains(index)[0] ** 2

    def refined(self, y: Tensor, iterations: int, factors: tuple[float, float]) -> Tensor:
        """y with every latent that should become another symbol moved to that symbol's centre; iterations >= 1.

        The factors are of the first iteration and of later ones. The last step is not looked at: that would cost as
        much as another.
        """
        best, least = y, torch.inf
        for iteration in range(iterations):
            state = self.looked_at(y, priced=iterations > 1)
            better = state.total < least
            if better:
                best, least = y, state.total
            factor = factors[min(iteration, 1)]
            if self.distortion.wide:
                y = self._step(state, factor, apart=1 + iteration % 2)
            else:
                y = self._step(state, factor, free=_turn(y, PLAIN_SHARE, iteration) if iteration else None)
        return y if better else best

    def searched(self, y: Tensor, iterations: int, factor: float) -> Tensor:
        """The same with each neighbourhood judged by itself, from a curvature for all; iterations >= FEWEST_JUDGED."""
        kept = best = self.looked_at(y)
        y = self._step(kept, factor, most=FIRST)
        phases = {max(1, round(phase.begin * iterations)): phase for phase in PHASES}
        for iteration in range(1, iterations):
            trial = self.looked_at(y)
            best = min(best, trial, key=lambda state: state.total)
            cheaper = around(trial.cost - kept.cost) < 0
            kept = where(cheaper, trial, kept)
            if phase := phases.get(iteration):
                now, curvature = phase, torch.full_like(trial.cost, factor * phase.curvature)
            curvature = curvature * torch.where(cheaper, KEPT, TAKEN_BACK)
            y = self._step(kept, curvature, _turn(y, now.share, iteration), now.most)
        return best.y

    def looked_at(self, y: Tensor, priced: bool = True) -> State:
        """Decode y; the cost is left out (0) if it is not `priced`."""
        coder = _Symbols(self.dtype, self.rounding)
        with torch.no_grad():
            leaf = self.prior.code_latent(coder, self.features, y).float().requires_grad_()
        with torch.enable_grad():
            maps = self._maps(leaf, coder)
            error = self.bits_per_error * self.distortion.total(maps)
        gradient = torch.autograd.grad(error, leaf)[0]
        values, bits, down, up = coder.prices()
        cost = torch.zeros(1)
        if priced:
            errors = self.distortion.at_latents([found.detach() for found in maps])
            cost = bits.sum(-1, keepdim=True) + self.bits_per_error * errors
        return State(y, gradient, values, down, up, cost)

    @torch.no_grad()
    def cost(self, y: Tensor) -> float:
        """Bits and error, in bits, of encoding y."""
        coder = _Symbols(self.dtype, self.rounding)
        maps = self._maps(self.prior.code_latent(coder, self.features, y).float(), coder)
        return float(coder.prices()[1].sum() + self.bits_per_error * self.distortion.total(maps))

    def _maps(self, y_hat: Tensor, coder: _Symbols) -> Sequence[Tensor]:
        """The error of what y_hat decodes to."""
        x_hat = self.g_s(y_hat, self.index, self.dtype)
        if self.sparse and coder.sent is not None:
            x_hat = x_hat * spread(coder.sent)
        return self.distortion.maps(x_hat)

    @torch.no_grad()
    def _step(
        self,
        state: State,
        factor: float | Tensor,
        free: Tensor | None = None,
        most: int | None = None,
        apart: int | None = None,
    ) -> Tensor:
        """The latents of the next trial: steps that pay, of those that are free; of a position the `most` best ones.

        With `apart`, of every two positions along this dimension the one best step.
        """
        curvature = self.linear_curvature * factor
        down = state.down + curvature - state.gradient
        up = state.up + curvature + state.gradient
        gain = torch.minimum(down, up)
        if free is not None:
            gain = gain.masked_fill(~free, 0.0)
        pays = gain < -MARGIN_BITS
        if most is not None:
            pays &= gain <= gain.kthvalue(most, dim=-1, keepdim=True).values
        if apart is not None:
            pays &= gain <= _of_pairs(gain.amin(-1, keepdim=True), apart)
        return torch.where(pays, state.values + torch.where(down <= up, -1.0, 1.0), state.y)


def _of_pairs(values: Tensor, dimension: int) -> Tensor:
    """The least of every two neighbours [1, H, W, 1] along rows (1) or columns (2), at both; the last may be alone."""
    pair = (2, 1) if dimension == 1 else (1, 2)
    least = -F.max_pool2d(-values[..., 0], pair, ceil_mode=True)
    return least.repeat_interleave(2, dimension)[:, : values.shape[1], : values.shape[2], None]


def around(cost: Tensor) -> Tensor:
    """The mean of the neighbourhood of every position, the edges repeated: [B, H, W, 1] -> the same."""
    reach = NEIGHBOURHOOD // 2
    padded = F.pad(cost.permute(0, 3, 1, 2), (reach, reach, reach, reach), mode="replicate")
    return F.avg_pool2d(padded, NEIGHBOURHOOD, stride=1).permute(0, 2, 3, 1)


def _turn(like: Tensor, share: float, iteration: int) -> Tensor:
    """Which latents [B, H, W, m] may move, [H, W, m]: about a share of them, scattered by a hash."""
    rows, columns, channels = (torch.arange(n, device=like.device) for n in like.shape[1:])
    mixed = rows[:, None, None] * 7919 + columns[:, None] * 104729 + channels * 1299709 + iteration * 15485863
    return (mixed * 2654435761 >> 7) % 1024 < share * 1024
