"""Which coder makes the file of a picture: the network of a model, the exact coder (mvc/stills.py), or both in tiles.

Better is what costs less: bits plus lambda times the squared error, as in the training of the model. So the exact
coder may take more bytes than the network where that does badly: text, flat colour, hard edges. It makes no errors or
small ones, or is given fewer colours (mvc/lossless/colours.py). What is hopeless is not tried, by an estimate
(mvc/estimate.py). Of the highest quality FINE_DB are expected: where the network has less, the exact coder takes over
with as large errors as that allows.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

import numpy as np
from numpy.typing import NDArray

from mvc import stills, tiled
from mvc.container import Head, Reader, Unit, write_file
from mvc.errors import Limit
from mvc.estimate import hopeless, least_bytes, least_sizes
from mvc.grain import measured
from mvc.lossless.colours import fewer
from mvc.picture import Picture
from mvc.quality import INDICES, Coder
from mvc.still_file import StillFile
from mvc.tiled import Cut
from mvc.tiling import Tiling

if TYPE_CHECKING:
    from mvc.codec import Codec

TILE_PX = 256
"""Side of the tiles of a picture of both kinds that would else be one tile."""
NEARS = (0, 1, 2, 3, 4)
"""Greatest errors that the exact coder may make: what is off by more may be seen where a picture is smooth."""
FINE_DB = 45.0
"""PSNR that the highest quality has at the least, in every tile: about what errors of up to 2 leave."""
FINE_ERROR = 255**2 / 10 ** (FINE_DB / 10)
PROMISING = 2.5
"""What the exact coder may hope to cost in a tile, in costs of the network's errors there, for tiles to be tried.

Those that it made cheaper had 0.01 to 1.8 (73 pictures and qualities, docs/decisions.md); of photographs with smooth
parts the best tile has 2 to 50, and all of them together take longer than the picture.
"""
FEWER = 0.6
"""What fewer colours cost at the least, of what the exact coder may hope for without that."""
LEARNED = 0.7
"""What the exact coder takes of a picture as a whole, at the least, of what it takes in tiles, where it learns anew."""


def encode(
    picture: Picture,
    load: Callable[[], Codec],
    *,
    index: int,
    effort: int,
    target: Mapping[str, float | int],
    coder: Coder = "auto",
    near: int = 0,
    tile_px: int | None = None,
    grain: bool = False,
) -> bytes:
    """The .mvc file of a picture at a quality index or, if there is one, for a target of `Codec.encode_to`.

    `load` gives the codec of the model, and is called only where it is needed. `near` is for the coder "exact",
    `tile_px` the side of tiles where it is said. With "auto" a file is made by the coder that is better, or by both;
    exactly, where a target is met so or asks for what the network does not reach. With `effort` 2 and 3 exact files are
    smaller and slow, too. With `grain` the file says which noise the network has lost (mvc/grain.py), if it has.
    Raises what the codec raises.
    """
    if coder == "exact":
        return stills.exact_file(picture, near, effort, tile_px)
    options: Any = target
    if coder == "auto" and target and "psnr" not in target:
        most = int(target["size"]) if "size" in target else bytes_at(target["bpp"], picture)
        if least_bytes(picture) <= most and len(exact := stills.exact_file(picture, 0, effort, tile_px)) <= most:
            return exact
    codec = load()

    def made(index: int) -> bytes:
        if coder == "network":
            data = codec.encode(picture, index, effort, tile_px)
        else:
            data = by_both(picture, codec, effort, tile_px, index)
        return with_grain(data, picture, codec) if grain else data

    if not target:
        return made(index)
    try:
        return codec.encode_to(picture, **options, encode=made)
    except Limit:
        if coder == "network" or codec.rates == 1 or "psnr" not in target:
            raise  # which is no matter of the picture
        return beyond(picture, target["psnr"], effort, tile_px)


def with_grain(data: bytes, picture: Picture, codec: Codec) -> bytes:
    """The file of a picture, with the grain that it has lost where a network made it."""
    reader = Reader(io.BytesIO(data))
    head, units = reader.head, list(reader.units())
    tiling = Tiling(head.width, head.height, head.tile_px)
    made = np.zeros((head.height, head.width), np.bool_)
    for number, unit in enumerate(units):
        if unit.role == "picture":
            tile = tiling[unit.index]
            made[tile.rows, tile.columns] = True
            units[number] = replace(unit, latent_sum=reader.sums[unit.index] if reader.sums else 0)
    if not made.any():
        return data
    decoded = codec.decode(data)
    found = measured(picture, decoded, made)
    if found is None:
        return data
    return write_file(head, units, replace(decoded.metadata, grain=found.to_bytes()))


def beyond(picture: Picture, psnr: float, effort: int, tile_px: int | None = None) -> bytes:
    """The exact coder's file of a picture with the largest errors that leave so many dB, which no network reaches."""
    for near in NEARS[:0:-1]:
        if usual_error(near) * 10 ** (psnr / 10) > 1.5 * 255**2:
            continue  # errors are rarely that much smaller than is usual
        made = stills.exact_file(picture, near, effort, tile_px)
        if stills.psnr(picture, StillFile(made).decode(_no_model)) >= psnr:
            return made
    return stills.exact_file(picture, 0, effort, tile_px)


def _no_model(model_id: bytes) -> NoReturn:
    raise AssertionError("what the exact coder made needs no model")


def bytes_at(bpp: float, picture: Picture) -> int:
    """The largest file of a picture with at most so many bits per pixel."""
    return math.floor(bpp * picture.width * picture.height / 8)


# --- both coders -----------------------------------------------------------------------------------------------------


def by_both(picture: Picture, codec: Codec, effort: int, tile_px: int | None, index: int) -> bytes:
    """The cheapest file of a picture at a quality index, by one coder or by both in tiles."""
    head = codec.head(picture, index, tile_px)
    if head.tile_px:
        return _file(picture, *_in_tiles(picture, codec, head, effort))
    parts = [cut for row in tiled.cuts(picture, TILE_PX) for cut in row]
    alike = all(hopeless(part.picture) for part in parts)
    if alike and not fine(head):
        return codec.encode(picture, index, effort, 0)
    [[whole]] = tiled.cuts(picture, 0)
    both = Both(codec, head, effort)
    network, errors = both.network(whole)
    tried, hopeful = [], True
    if len(parts) > 1 and not alike and tile_px is None and any(both.promising(part, errors) for part in parts):
        tiles = _in_tiles(picture, codec, codec.head(picture, index, TILE_PX), effort, errors)
        tried = [tiles]
        hopeful = sum(both.hope(part, tile) for part, tile in zip(parts, tiles[1], strict=True)) <= _cost(tiles)
    best = both.better(whole, network) if hopeful else both.best(whole, [network])
    tried += [(head, [best])] if best else []
    return _file(picture, *min(tried, key=_cost))


def _cost(way: tuple[Head, list[Coded]]) -> float:
    return sum(tile.cost for tile in way[1])


def fine(head: Head) -> bool:
    """Whether a file is of the highest quality, which is not left to what a network reaches."""
    return head.quality_index == INDICES - 1


class Coded(NamedTuple):
    """A tile's units, what they cost, in bits, and its mean squared error, 0 where nobody needs it."""

    cost: float
    error: float
    units: list[Unit]

    @property
    def exact(self) -> bool:
        """Whether no network made it."""
        return all(unit.role != "picture" for unit in self.units)


def _in_tiles(
    picture: Picture, codec: Codec, head: Head, effort: int, errors: NDArray[np.float32] | None = None
) -> tuple[Head, list[Coded]]:
    own, threads = codec.threads_for(head)
    code = Both(own, head, effort, errors).code
    return head, list(tiled.encode(picture, head.tile_px, code, threads))


def _file(picture: Picture, head: Head, tiles: list[Coded]) -> bytes:
    units = [unit for tile in tiles for unit in tile.units]
    if all(tile.exact for tile in tiles):
        head = stills.exact_head(picture, head.tile_px)
    return stills.file_of(head, units, picture.metadata)


class Both:
    """Codes tiles at a file's quality by the coder that costs less.

    `errors` [H, W] are the squared ones that the network has in the picture as one tile, if it was coded so and costs
    are compared with that; else those of tiles that are hopeless for the exact coder are not told: 0.
    """

    def __init__(self, codec: Codec, head: Head, effort: int, errors: NDArray[np.float32] | None = None) -> None:
        self.codec, self.head, self.effort, self.errors = codec, head, effort, errors
        self.weight = codec.model.lagrangian(head.quality_index)
        self.fine = fine(head)

    def code(self, cut: Cut) -> Coded:
        """The cheapest units of a tile that are good enough."""
        if self.errors is None:
            if self.weight and not self.fine and hopeless(cut.picture):
                return Coded(0, 0, self.codec.coded(self.head, cut, self.effort)[0])
            return self.better(cut, self.network(cut)[0])
        alone = self.weight * float(self.errors[cut.tile.rows, cut.tile.columns].sum())  # without the network's bits
        exact = [] if hopeless(cut.picture) else self._repeating(cut, alone)
        best = self.best(cut, exact)
        if best and best.cost < alone:
            return best
        return self.better(cut, self.network(cut)[0], exact)

    def better(self, cut: Cut, network: Coded, exact: Sequence[Coded] = ()) -> Coded:
        """The cheapest units of a tile that are good enough, given the network's, and the exact coder's if tried."""
        if not exact and not hopeless(cut.picture):
            exact = self._repeating(cut, network.cost)
        return self.best(cut, [network, *exact]) or self._within(cut)

    def best(self, cut: Cut, made: Sequence[Coded]) -> Coded | None:
        """The cheapest of those that are good enough."""
        good = [one for one in made if not self.fine or one.error <= self._most(cut)]
        return min(good, key=lambda one: one.cost, default=None)

    def _most(self, cut: Cut) -> float:
        """The largest mean squared error of a tile of a file of the highest quality."""
        return FINE_ERROR * seen_share(cut.picture)

    def promising(self, cut: Cut, errors: NDArray[np.float32] | None) -> bool:
        """Whether the exact coder may be better in a part of a tile in whose pixels the network has these errors."""
        if errors is None:
            return True
        own = errors[cut.tile.rows, cut.tile.columns]
        if self.fine and own.mean() > self._most(cut):
            return True
        return not hopeless(cut.picture) and min(self.hopes(cut).values()) < PROMISING * self.weight * float(own.sum())

    def hope(self, cut: Cut, coded: Coded) -> float:
        """What the exact coder costs in a tile at the least, if it has learned from others, given how it is coded."""
        return LEARNED * coded.cost if coded.exact else min(self.hopes(cut).values())

    def hopes(self, cut: Cut) -> dict[int, float]:
        """What the exact coder costs in a tile with errors of up to so much, at the least, by a look at it."""
        nears = NEARS if self.weight else NEARS[:1]  # without a weight errors would cost nothing
        least = least_sizes(cut.picture, nears)
        return {near: self.cost(8 * size, cut, usual_error(near)) for near, size in least.items()}

    def _repeating(self, cut: Cut, least: float) -> list[Coded]:
        """What the exact coder makes of a tile in which much repeats, where that may cost less than `least`."""
        hopes = self.hopes(cut)
        likely = min(hopes, key=hopes.__getitem__)
        free = self.weight > 0 and not self.fine
        if (FEWER if free else 1) * hopes[likely] > least:
            return []
        exact = self.exactly(cut, 0)  # its estimate is the least sure
        made = [*(self._fewer(cut) if free else ()), exact]  # with which the first of those below is compared
        least = min(one.cost for one in made)
        for near in range(max(likely, 1), max(hopes) + 1):  # estimates are for too small errors rather than too large
            if hopes[near] >= least:
                break
            made.append(self.exactly(cut, near))
            if made[-1].cost >= made[-2].cost:
                break
        return made

    def _fewer(self, cut: Cut) -> list[Coded]:
        """What the exact coder makes of a tile in fewer colours (mvc/lossless/colours.py), if that can be had."""
        samples = fewer(cut.picture.samples, self.weight)
        if samples is None or np.array_equal(samples, cut.picture.samples):
            return []
        return [self.exactly(cut, 0, Picture(samples, cut.picture.alpha))]

    def _within(self, cut: Cut) -> Coded:
        """A tile by the exact coder with the largest errors that are good enough."""
        likely = [near for near in NEARS if usual_error(near) <= FINE_ERROR]
        for near in reversed(likely):
            made = self.exactly(cut, near)
            if made.error <= self._most(cut):
                break
        return made

    def network(self, cut: Cut) -> tuple[Coded, NDArray[np.float32] | None]:
        """A tile by the network, and its squared errors [H, W] if anybody needs them."""
        units, latent = self.codec.coded(self.head, cut, self.effort)
        if not (self.weight or self.fine):
            return Coded(self.cost(_bits(units), cut, 0), 0, units), None
        shown = np.empty_like(cut.picture.samples)
        self.codec.paint(shown, {(0, 0): latent})
        errors = squared_errors(cut.picture, shown)
        error = float(errors.mean())
        return Coded(self.cost(_bits(units), cut, error), error, units), errors

    def exactly(self, cut: Cut, near: int, changed: Picture | None = None) -> Coded:
        """A tile, or what it was `changed` into, by the exact coder, whose samples are off by `near` at the most."""
        own = cut if changed is None else replace(cut, picture=changed)
        units = stills.exact_tile(own, near, self.effort, changed is not None)
        error = 0.0
        if near or changed is not None:
            error = float(squared_errors(cut.picture, stills.exact_samples(self.head, units, cut.tile)).mean())
        return Coded(self.cost(_bits(units), cut, error), error, units)

    def cost(self, bits: float, cut: Cut, error: float) -> float:
        """In bits, of a tile that takes so many and has a mean squared error on the 0..255 scale."""
        return bits + self.weight * error * cut.tile.height * cut.tile.width


def _bits(units: list[Unit]) -> int:
    return 8 * sum(stills.APART_BYTES + sum(map(len, unit.streams)) for unit in units)


def usual_error(near: int) -> float:
    """Mean square of errors that are anything up to `near` with equal chance; where pictures repeat it is less."""
    return near * (near + 1) / 3


def seen_share(picture: Picture) -> float:
    """The share of the pixels that can be seen."""
    return 1.0 if picture.alpha is None else float((picture.alpha > 0).mean())


def squared_errors(original: Picture, samples: NDArray[Any]) -> NDArray[np.float32]:
    """Squared errors [H, W] of all pixels, those that cannot be seen counting as right."""
    errors = np.square(original.samples.astype(np.float32) - samples).reshape(*samples.shape[:2], -1).mean(-1)
    return errors if original.alpha is None else errors * (original.alpha > 0)
