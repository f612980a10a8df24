"""The loop that codes latents, slice by slice, the same in training, encoding and decoding.

What "code" means is the coder's business: bits are estimated, written or read. Real streams are coded in strips of rows
where a picture is large, so that little more than the latents themselves is ever in memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache, partial
from itertools import accumulate
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

STRIP_POSITIONS = 2048  # of a strip, where a coder does not say otherwise
WHOLE = slice(None)


class Coder(Protocol):
    """What the loop needs of an estimator, an encoder or a decoder.

    One whose attribute `in_strips` is true is handed each pass in strips from top to bottom, of `strip_positions`
    positions where it has that, and of a checkerboard only what it codes, side by side [B, 1, P, m] and without a mask;
    all others are handed everything at once. One that decodes has the rows and columns of y as `size`. One with
    `expect` is told of the log_scale and mask of each strip before the next is predicted, and that before it is coded:
    what it must fetch from a GPU is on its way while that goes on.
    """

    def hyper(self, z: Any) -> Tensor:
        """Code the hyperlatent, a tensor [B, h, w, Z] or None when decoding, and return z_hat."""
        ...

    def latent(self, y: Any, mean: Tensor, log_scale: Tensor, mask: Tensor | None) -> Tensor:
        """Code one pass of a slice [B, H, W, m], only where mask [H, W, 1] is 1, and return y_hat (anything elsewhere).

        log_scale is log2(scale / SCALE_MIN), the constants being those of entropy/tables.py.
        """
        ...

    def end_slice(self) -> None:
        """All passes of a slice are coded."""
        ...


class Part(NamedTuple):
    """Positions of latents: all of some rows, or `places` [P] of them, in raster order."""

    rows: slice
    places: Tensor | None = None

    def of(self, x: Tensor) -> Tensor:
        """What x [B, rows, W, C] has there: x itself, or what is at the places, [B, 1, P, C]."""
        return x if self.places is None else x.flatten(1, 2).index_select(1, self.places)[:, None]

    def into(self, x: Tensor, values: Tensor) -> Tensor:
        """x [B, rows, W, C] with these values [B, 1, P, C] at the places."""
        assert self.places is not None
        return x.flatten(1, 2).index_copy(1, self.places, values[:, 0].to(x.dtype)).view_as(x)


class Prediction(NamedTuple):
    """What is known of a slice before one of its passes is coded, and what corrects it afterwards (LRP)."""

    mean: Tensor  # [B, H, W, m]; all of these of the positions that were asked for
    log_scale: Tensor  # as `Coder.latent` takes it
    correction: Callable[[Tensor], Tensor]  # of y_hat [B, H, W, m]


def size_of(coder: Coder, y: Tensor | None) -> tuple[int, int]:
    """Rows and columns of the latents that are coded."""
    rows, columns = y.shape[1:3] if y is not None else coder.size  # type: ignore[attr-defined]
    return rows, columns


def checkerboard(height: int, width: int, like: Tensor) -> tuple[Tensor, Tensor]:
    """Masks [H, W, 1] of the positions with even and odd row + column."""
    rows = torch.arange(height, device=like.device)[:, None] + torch.arange(width, device=like.device)
    odd = (rows % 2).to(like.dtype)[..., None]
    return 1 - odd, odd


def strips_of(coder: Coder, height: int, width: int) -> list[slice]:
    """The strips of rows, even but for the last, in which a coder is handed latents [B, height, width, m]."""
    if not getattr(coder, "in_strips", False) or torch.is_grad_enabled():
        return [slice(0, height)]
    rows = max(2, getattr(coder, "strip_positions", STRIP_POSITIONS) // width // 2 * 2)
    return [slice(top, min(top + rows, height)) for top in range(0, height, rows)]


def code_slice(
    coder: Coder,
    passes: int,
    predict: Callable[[Tensor | None, Part], Prediction],
    y: Tensor | None,
    masks: tuple[Tensor, Tensor],
    strips: Sequence[slice] | None = None,
) -> Iterator[tuple[slice, Tensor]]:
    """Code one slice y (None when decoding) in one pass, or two over the checkerboard: rows, and y_hat [B, rows, W, m].

    `predict` is given what the first pass coded, zero elsewhere, or None before it, and what is wanted: without strips
    that is all. It must not see of this slice what is given out here: in two passes that comes when all is coded, but
    in one at once.
    """
    seen: Tensor | None = None
    packed = strips is not None and passes == 2 and getattr(coder, "in_strips", False)
    for index in range(passes):
        parts = []
        wanted = [Part(rows, _places(masks[index][rows], index) if packed else None) for rows in strips or (WHOLE,)]
        mask_of = masks[index] if passes == 2 else None
        for part, prediction in predictions(coder, partial(predict, seen), mask_of, wanted):
            rows, mask = part.rows, None if mask_of is None else mask_of[part.rows]
            if prediction is None:
                assert seen is not None
                parts.append(seen[:, rows])  # a single latent has nothing for the second pass
                continue
            mean, log_scale, correction = prediction
            own_y = None if y is None else part.of(y[:, rows])
            coded = coder.latent(own_y, mean, log_scale, None if packed else mask)
            if mask is None:
                yield rows, coded + correction(coded)
                continue
            if packed:
                shape = len(coded), *mask.shape[:2], coded.shape[-1]
                before = coded.new_zeros(shape) if seen is None else seen[:, rows]
                parts.append(part.into(before, coded + correction(coded)))
                continue
            coded = coded * mask  # the encoder alone has values elsewhere: a correction must not see them
            own = coded if seen is None else seen[:, rows].to(coded.dtype) + coded
            parts.append(own + correction(own) * mask)
        if len(parts) > 1:
            seen = torch.cat([part.float() for part in parts], 1)  # which holds the whole numbers of a lowered prior
        elif parts:
            seen = parts[0]
    if seen is not None:
        yield WHOLE, seen
    coder.end_slice()


def predictions(
    coder: Coder, predict: Callable[[Part], Prediction], mask: Tensor | None, parts: Sequence[Part]
) -> Iterator[tuple[Part, Prediction | None]]:
    """The parts of a pass with their predictions, none of a part without places.

    One ahead of what is coded for a coder with `expect`.
    """
    expect = getattr(coder, "expect", None)
    waiting: list[tuple[Part, Prediction | None]] = []
    for part in parts:
        empty = part.places is not None and not len(part.places)
        prediction = None if empty else predict(part)
        if expect is None:
            yield part, prediction
            continue
        if prediction is not None:
            expect(prediction.log_scale, None if mask is None or part.places is not None else mask[part.rows])
        yield from waiting
        waiting = [(part, prediction)]
    yield from waiting


@lru_cache(maxsize=32)
def _places_of(height: int, width: int, odd: int, device: torch.device) -> Tensor:
    with torch.inference_mode(False):  # it is kept for whoever comes
        return checkerboard(height, width, torch.empty(0))[odd].flatten().nonzero().flatten().to(device)


def _places(mask: Tensor, odd: int) -> Tensor:
    """Where a mask of `checkerboard` that begins at an even row is 1; a GPU has not to be asked."""
    return _places_of(*mask.shape[:2], odd, mask.device)


class Support:
    """What is known while slices are coded: features of the hyperlatent, and behind them the slices so far.

    [B, H, W, P + ...]. Without gradients it is the front of one tensor with room for all, so that nothing is copied
    again for each slice; that of a lowered prior is float32, which holds its whole numbers in half the memory.
    """

    def __init__(self, shape: tuple[int, int, int], features: int, widths: Sequence[int], like: Tensor) -> None:
        """For batch, height and width; `like` has the type and device of the prior's tensors."""
        self.edges = list(accumulate(widths, initial=features))
        self.end, self.dtype = features, like.dtype
        self.parts: list[Tensor] = []
        self.room: Tensor | None = None
        if not torch.is_grad_enabled():
            stored = like.dtype if like.dtype in (torch.float32, torch.bfloat16) else torch.float32
            self.room = like.new_empty(*shape, self.edges[-1], dtype=stored)

    def put_features(self, features: Tensor, rows: slice = WHOLE) -> None:
        """Features [B, rows, W, P]."""
        if self.room is None:
            self.parts = [features]
        else:
            self.room[:, rows, :, : self.edges[0]] = features

    def put(self, index: int, y_hat: Tensor, rows: slice = WHOLE) -> None:
        """Rows of the slice of this number, which are not seen before `show`."""
        if self.room is None:
            self.parts[index + 1 :] = [y_hat]
        else:
            self.room[:, rows, :, self.edges[index] : self.edges[index + 1]] = y_hat

    def show(self, index: int) -> None:
        """From now on the slice of this number, the last so far, is known as far as it was put."""
        self.end = self.edges[index + 1]

    def rows(self, rows: slice) -> Tensor:
        """All that is known of some rows; of all rows while there are gradients.

        In the type of the prior, but float32 for one of float64: exact linear layers widen that as they go.
        """
        if self.room is None:
            return torch.cat(self.parts, -1)
        known = self.room[:, rows, :, : self.end]
        return known if self.dtype == torch.float64 else known.to(self.dtype)

    def latents(self) -> Tensor:
        """The slices so far."""
        return torch.cat(self.parts[1:], -1) if self.room is None else self.room[..., self.edges[0] : self.end]


class Watched:
    """A coder that remembers at which places anything was sent: where nothing was, a frame is its prediction.

    `one` is the quantisation step in the prior's units. `sent` [B, H, W, 1] counts the passes with a symbol there.
    """

    def __init__(self, coder: Coder, one: int = 1) -> None:
        self.coder, self.one = coder, one
        self.sent: Tensor | None = None

    @property
    def size(self) -> tuple[int, int]:
        """That of a coder that decodes."""
        size: tuple[int, int] = self.coder.size  # type: ignore[attr-defined]
        return size

    def hyper(self, z: Any) -> Tensor:
        return self.coder.hyper(z)

    def latent(self, y: Any, mean: Tensor, log_scale: Tensor, mask: Tensor | None) -> Tensor:
        y_hat = self.coder.latent(y, mean, log_scale, mask)
        sent = (2 * (y_hat - mean).detach().abs() > self.one).any(-1, keepdim=True).to(mean.dtype)
        sent = sent if mask is None else sent * mask
        self.sent = sent if self.sent is None else self.sent + sent
        return y_hat

    def end_slice(self) -> None:
        self.coder.end_slice()
