"""A large picture for measuring, made by rows: `python -m benchmarks.large --width 30000 --height 20000 -o large.png`.

Photograph-like, and the same for the same seed and width: smooth shades, soft and sharp edges between regions that are
smooth or textured in their own way, and grain. The kind of file goes by the extension (.png, .tif or .ppm).
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mvc.media.rows_out import open_rows_out

CELLS_PX = 2048, 512, 128, 32, 8, 3
"""Distances between the random values of each octave of noise."""
COARSE = 3  # octaves that lay out the picture; the others are its texture
SHARES = 1.0, 0.5, 0.2, 0.5, 0.35, 0.25
REGIONS, PALETTE = 5.0, 16
EDGE = 0.04  # of the way from one edge to the next
BAND_ROWS = 16
Floats = NDArray[np.float32]


class Noise:
    """Random values [rows, columns] with so many pixels from one to the next, smooth in between."""

    def __init__(self, seed: int, octave: int, width: int) -> None:
        self.key, self.cell = (seed, octave), CELLS_PX[octave]
        place = np.arange(width) / self.cell
        self.left = place.astype(np.int64)
        self.share = _smooth((place - self.left).astype(np.float32))
        self.kept: dict[int, Floats] = {}

    def row(self, y: int) -> Floats:
        """Row y [width] of the picture."""
        first = y // self.cell
        share = _smooth(np.float32(y / self.cell - first))
        self.kept = {n: self.kept[n] if n in self.kept else self._line(n) for n in (first, first + 1)}
        return self.kept[first] + (self.kept[first + 1] - self.kept[first]) * share

    def _line(self, number: int) -> Floats:
        values = np.random.default_rng((*self.key, number)).standard_normal(self.left[-1] + 2, np.float32)
        start = values[self.left]
        return start + (values[self.left + 1] - start) * self.share


def _smooth(share: Floats) -> Floats:
    return share * share * (3 - 2 * share)


def rows(width: int, height: int, seed: int = 0) -> Iterator[NDArray[np.uint8]]:
    """The picture from the top on, uint8 [at most BAND_ROWS, width, 3]; the first rows of a higher one are the same."""
    rng = np.random.default_rng(seed)
    colours = (rng.uniform(40, 215, (PALETTE, 1)) + rng.normal(0, 20, (PALETTE, 3))).astype(np.float32)
    roughness = (rng.random(PALETTE) ** 2 * 40).astype(np.float32)
    shade = rng.normal(0, 14, 3).astype(np.float32)
    octaves = [Noise(seed, octave, width) for octave in range(len(CELLS_PX))]
    for top in range(0, height, BAND_ROWS):
        lines = range(top, min(height, top + BAND_ROWS))
        noise = [np.stack([own.row(y) for y in lines]) * share for own, share in zip(octaves, SHARES, strict=True)]
        layout, texture = sum(noise[:COARSE]), sum(noise[COARSE:])
        level = layout * REGIONS / 2
        region = np.floor(level)
        edge = _smooth(np.minimum((level - region) / EDGE, 1))[..., None]
        own, other = region.astype(np.int64) % PALETTE, (region.astype(np.int64) - 1) % PALETTE
        picture = colours[other] + (colours[own] - colours[other]) * edge
        picture += noise[0][..., None] * shade
        grain = np.stack([np.random.default_rng((seed, 99, y)).standard_normal(width, np.float32) for y in lines])
        picture += (texture * roughness[own] + 1.5 * grain)[..., None]
        yield np.clip(np.rint(picture), 0, 255).astype(np.uint8)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--width", type=int, default=30000)
    parser.add_argument("--height", type=int, default=20000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("-o", "--output", type=Path, required=True)
    args = parser.parse_args()
    start = time.perf_counter()
    with open_rows_out(args.output, args.width, args.height, "rgb", 8, False, force=True) as target:
        for band in rows(args.width, args.height, args.seed):
            target.write(band)
    size = args.output.stat().st_size
    print(f"{args.output}: {args.width}x{args.height}, {size:,} bytes, {time.perf_counter() - start:.0f} s")


if __name__ == "__main__":
    main()
