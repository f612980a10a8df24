"""A picture tile by tile, decoded: units in, strips of rows out. What is coded is cut in tiled.py.

No more is in memory than three rows of tiles, and the tiles of a row are decoded side by side.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import chain, groupby, islice
from typing import Any, NamedTuple, Protocol, TypeVar

import numpy as np

from mvc.container import Head, Unit
from mvc.errors import Corrupt, FormatError, Unsupported
from mvc.picture import Samples
from mvc.threads import Run, in_threads, share
from mvc.tiling import Part, Region, Tile, Tiling, extent, grown, meet, moved


class Strip(NamedTuple):
    """Some rows of a picture, and of its alpha if it has one, in the order from top to bottom."""

    top: int
    samples: Samples  # [rows, W, 3] or [rows, W]
    alpha: Samples | None


class Decoder(Protocol):
    """What decodes the units "picture" of a model: a codec."""

    def threads_for(self, head: Head) -> tuple[Decoder, int]:
        """One that works on one of its tiles, and how many tiles to work on at a time."""
        ...

    def preview(self, slices: int | None = None) -> Decoder:
        """One that does without what is missing of units, or beyond so many slices."""
        ...

    def looking(self, share: float) -> Decoder:
        """One that shows so much of the natural look, 0 ... 1."""
        ...

    @property
    def margin_px(self) -> int:
        """What its synthesis sees of the tiles around."""
        ...

    @property
    def abreast(self) -> int:
        """How many tiles it had best be given together."""
        ...

    def latent(self, head: Head, unit: Unit, tile: Tile) -> Any:
        """What a unit holds, exactly."""
        ...

    def latents_of(self, head: Head, tiles: Sequence[tuple[Unit, Tile]]) -> Mapping[int, Any]:
        """The same of several, by their numbers; an error may not tell in which of them it is."""
        ...

    def latent_sum(self, latent: Any) -> int:
        """The checksum of it (spec section 3.11)."""
        ...

    def paint_all(self, tiles: Sequence[tuple[Samples, Mapping[tuple[int, int], Any]]]) -> None:
        """The samples of tiles, each with what is around it.

        That is its latent at (0, 0), and those of the tiles around it at (-1, -1) ... (1, 1), as far as there are.
        """
        ...


Exact = Callable[[Unit, Tile, bool], tuple[Samples, Samples | None]]
"""Samples and alpha of a tile by the exact coder; the last says whether the unit is to have alpha, too."""


Finish = Callable[[Samples, int, int], Samples]
"""What is done to samples that a network made, whose first pixel has that row and column of the picture (grain)."""


_Pair = tuple[Unit, Unit | None]
"""The unit of a tile, and that of its alpha."""
T = TypeVar("T")


class _Decoded(NamedTuple):
    tile: Tile
    latent: Any  # of a model, or
    samples: Samples | None
    alpha: Samples | None


def _once(load: Callable[[], Decoder]) -> Callable[[], Decoder]:
    """The same, called when it is first needed, whichever thread asks, and not again."""
    lock = threading.Lock()
    found: list[Decoder] = []

    def given() -> Decoder:
        with lock:
            if not found:
                found.append(load())
        return found[0]

    return given


class Strips:
    """Decodes a picture, or a region of it, strip by strip; `sums` are those of the latents so far.

    `units` are all of the picture's, or at least those of `needed`, in their order. Corrupt for others. With `partial`
    tiles may be missing or damaged, which are gray then, and transparent if there is alpha; `lost` has their numbers.
    """

    def __init__(
        self,
        head: Head,
        load: Callable[[], Decoder],
        exact: Exact,
        region: Region | None = None,
        partial: bool = False,
        finish: Finish | None = None,
    ) -> None:
        self.head, self._exact, self._finish = head, exact, finish
        self._kind: Any = np.uint8 if head.depth == 8 else np.uint16
        self._load = _once(load)
        self.tiling = Tiling(head.width, head.height, head.tile_px)
        self.region = region or Region(0, 0, head.width, head.height)
        self.partial, self.lost = partial, set[int]()
        self.sums: dict[int, int] = {}
        self._all = region is None

    def needed(self) -> set[int]:
        """The numbers of the tiles that the region takes: those in it, and what the synthesis sees of others near it.

        What it would see of others farther away changes a sample by 1 here and there (spec section 6.2).
        """
        reach = 0 if self.head.model_id is None or self._all else 2 * self._load().margin_px
        rows = grown(self.region.rows, reach, self.head.height)
        columns = grown(self.region.columns, reach, self.head.width)
        return self.tiling.meeting(rows, columns)

    def _threads(self) -> int:
        """How many tiles to work on at a time."""
        if not self.head.tile_px:
            return 1
        if self.head.model_id is None:
            return share()
        decoder, threads = self._load().threads_for(self.head)
        self._load = lambda: decoder
        return threads

    def decode(self, units: Iterable[Unit]) -> Iterator[Strip]:
        """The strips from top to bottom."""
        run = in_threads(self._threads())
        pairs = self._arrived(units) if self.partial else self.pairs(units)
        known: dict[tuple[int, int], _Decoded] = {}
        waiting: list[int] = []  # rows of tiles whose latents are there, and that are not painted
        for row, numbers in groupby(sorted(self.needed()), lambda number: number // self.tiling.columns):
            groups = self._groups(islice(pairs, len(list(numbers))))
            for made in chain.from_iterable(run(self._decoded, groups)):
                known[made.tile.row, made.tile.column] = made
            waiting.append(row)
            if len(waiting) > 1:
                yield from self._painted(known, waiting.pop(0), run)
                known = {place: made for place, made in known.items() if place[0] >= row - 1}
        for _ in pairs:
            raise AssertionError("units that nobody asked for")
        for row in waiting:
            yield from self._painted(known, row, run)

    def pairs(self, units: Iterable[Unit]) -> Iterator[_Pair]:
        """The unit of each tile that is needed, with that of its alpha."""
        wanted = iter(sorted(self.needed()))
        last: Unit | None = None
        for unit in units:
            alpha = unit if unit.role == "alpha" and self.head.alpha and last and unit.index == last.index else None
            if last is not None:
                yield self._pair(last, alpha)
            last = None if alpha else unit
            if alpha is None:  # another tile begins
                number = next(wanted, None)
                if number != unit.index or unit.role not in self._roles():
                    raise self._others(unit, number)
        if last is not None:
            yield self._pair(last, None)
        if (number := next(wanted, None)) is not None:
            raise Corrupt(f"the picture has {len(self.tiling)} tile(s), and there is no unit of tile {number}")

    def _arrived(self, units: Iterable[Unit]) -> Iterator[_Pair]:
        """The same of what has arrived: a tile without a unit has one without streams."""
        own: dict[int, Unit] = {}
        alphas: dict[int, Unit] = {}
        for unit in units:
            (alphas if unit.role == "alpha" else own)[unit.index] = unit
        for number in sorted(self.needed()):
            unit = own.get(number, Unit("exact", number, None, ()))
            yield (unit if unit.role in self._roles() else replace(unit, streams=())), alphas.get(number)

    def _roles(self) -> tuple[str, ...]:
        return ("exact",) if self.head.model_id is None else ("picture", "exact")

    def _pair(self, unit: Unit, alpha: Unit | None) -> _Pair:
        if self.head.alpha and unit.role == "picture" and alpha is None:
            raise Corrupt(f"the file has alpha, and there is no unit alpha {unit.index}")
        return unit, alpha

    def _others(self, unit: Unit, number: int | None) -> Corrupt:
        wanted = "no more units" if number is None else f"the unit {' or '.join(self._roles())} {number}"
        return Corrupt(f"the file must have {wanted} where it has {unit.role} {unit.index}")

    def _groups(self, things: Iterable[T]) -> list[list[T]]:
        """What is worked on together: each alone, but where the network had better be given more."""
        given = list(things)
        count = 1 if self.head.model_id is None else self._load().abreast
        return [given[first : first + count] for first in range(0, len(given), count)]

    def _decoded(self, pairs: Sequence[_Pair]) -> list[_Decoded]:
        """Some units of a row of tiles."""
        latents: Mapping[int, Any] = {}
        own = [(unit, self.tiling[unit.index]) for unit, _ in pairs if unit.role == "picture"]
        if len(own) > 1:
            with suppress(FormatError, Unsupported):  # one by one they say where
                latents = self._load().latents_of(self.head, own)
        return [self._arrived_or_not(pair, latents.get(pair[0].index)) for pair in pairs]

    def _arrived_or_not(self, pair: _Pair, latent: Any) -> _Decoded:
        if not self.partial:
            return self._decode(pair, latent)
        try:
            return self._decode(pair, latent)
        except (FormatError, Unsupported):
            number = pair[0].index
            self.lost.add(number)
            tile = self.tiling[number]
            samples, alpha = self._empty(tile.height, tile.width)
            samples.fill(1 << (self.head.depth - 1))
            if alpha is not None:
                alpha.fill(0)
            return _Decoded(tile, None, samples, alpha)

    def _empty(self, height: int, width: int) -> tuple[Samples, Samples | None]:
        """Samples of a size, and alpha if the picture has it, which may be anything yet."""
        shape = (height, width) if self.head.colour == "gray" else (height, width, 3)
        return np.empty(shape, self._kind), np.empty(shape[:2], self._kind) if self.head.alpha else None

    def _decode(self, pair: _Pair, latent: Any) -> _Decoded:
        """A tile, whose latent may be there already."""
        unit, beside = pair
        tile = self.tiling[unit.index]
        samples = alpha = None
        if unit.role == "picture":
            decoder = self._load()
            latent = decoder.latent(self.head, unit, tile) if latent is None else latent
            self.sums[unit.index] = decoder.latent_sum(latent)
        else:
            samples, alpha = self._of_exact(unit, tile, self.head.alpha and beside is None)
        if beside is not None:
            alpha, _ = self._exact(beside, tile, False)
        if self.head.alpha and alpha is None:  # it has not arrived
            alpha = np.full((tile.height, tile.width), np.iinfo(self._kind).max, self._kind)
        return _Decoded(tile, latent, samples, alpha)

    def _of_exact(self, unit: Unit, tile: Tile, has_alpha: bool) -> tuple[Samples, Samples | None]:
        """Samples and alpha of a unit "exact"; the unit of its alpha may not have arrived."""
        try:
            return self._exact(unit, tile, has_alpha)
        except FormatError:
            if not (self.partial and has_alpha):
                raise
            return self._exact(unit, tile, False)

    def _painted(self, known: Mapping[tuple[int, int], _Decoded], row: int, run: Run) -> Iterator[Strip]:
        """The rows of the region in a row of tiles."""
        tiles = [made for (at, _), made in known.items() if at == row and self._share(made.tile)]
        if not tiles:
            return
        rows = meet(tiles[0].tile.rows, self.region.rows)
        assert rows is not None
        samples, alpha = self._empty(extent(rows), self.region.width)

        def paint(group: Sequence[_Decoded]) -> None:
            placed = [(made, *self._places(made.tile, samples)) for made in group]
            self._paint([(samples[there], made, inside) for made, there, inside in placed], known)
            for made, there, inside in placed:
                if made.samples is not None:
                    samples[there] = made.samples[inside]
                elif self._finish is not None:
                    first = made.tile.top + inside[0].start, made.tile.left + inside[1].start
                    samples[there] = self._finish(samples[there], *first)
                if alpha is not None and made.alpha is not None:
                    alpha[there] = made.alpha[inside]

        for _ in run(paint, self._groups(tiles)):
            pass
        yield Strip(rows.start - self.region.top, samples, alpha)

    def _places(self, tile: Tile, samples: Samples) -> tuple[Part, Part]:
        """Where what is wanted of a tile lies in the strip, and in the tile."""
        own = self._share(tile)
        assert own is not None
        there = slice(0, len(samples)), moved(own[1], -self.region.left)
        return there, (moved(own[0], -tile.top), moved(own[1], -tile.left))

    def _paint(
        self, wanted: Sequence[tuple[Samples, _Decoded, Part]], known: Mapping[tuple[int, int], _Decoded]
    ) -> None:
        """The samples of parts of tiles, as far as a network made them."""
        own, cut = [], []
        for samples, made, inside in wanted:
            if made.latent is None:
                continue
            tile, target = made.tile, samples
            if samples.shape[:2] != (tile.height, tile.width):
                target = np.empty((tile.height, tile.width, *samples.shape[2:]), samples.dtype)
                cut.append((samples, target, inside))
            own.append((target, self._around(tile, known)))
        if own:
            self._load().paint_all(own)
        for samples, target, inside in cut:
            samples[...] = target[inside]

    @staticmethod
    def _around(tile: Tile, known: Mapping[tuple[int, int], _Decoded]) -> dict[tuple[int, int], Any]:
        """The latents of a tile and those around it, as far as there are."""
        near = ((down, across) for down in (-1, 0, 1) for across in (-1, 0, 1))
        return {
            (down, across): other.latent
            for down, across in near
            if (other := known.get((tile.row + down, tile.column + across))) and other.latent is not None
        }

    def _share(self, tile: Tile) -> Part | None:
        """What of the region lies in a tile, in pixels of the picture."""
        rows, columns = meet(tile.rows, self.region.rows), meet(tile.columns, self.region.columns)
        return None if rows is None or columns is None else (rows, columns)
