"""Pictures of the looks for docs/looks.md, chosen by a rule: the worst, the median and the best of the sets given.

    python -m benchmarks.looks PICTURE... -o docs/looks.webp [--quality 2] [--metric dists]

Each picture is coded once; AVIF gets its largest file of no more bytes. By what the natural look gains on AVIF in the
metric the pictures are ordered. Of the three a square is shown where faithful picture and AVIF differ most
(mvc/evaluate/equal_size.py), from left to right: original, AVIF, faithful, natural. Prints a line for each picture.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from PIL import Image

from mvc.evaluate import codecs, metrics
from mvc.evaluate.adapter import Samples
from mvc.evaluate.equal_size import Shown, best_at, places
from mvc.media import read_picture
from mvc.metrics import psnr

SIDE_PX, GAP_PX = 224, 8


def shown(samples: Samples, quality: float, metric: str) -> dict[str, Shown]:
    """The three pictures of a file, and of an AVIF no larger."""
    measures = metrics.load([metric])
    faithful, natural = codecs.adapter("mvc"), codecs.adapter("mvc-natural")
    data = faithful.encode(samples, quality)
    made = {"avif": best_at([codecs.adapter("avif")], samples, len(data), measures)}
    for own in (faithful, natural):
        decoded = own.decode(data)
        more = {key: compute(samples, decoded) for key, compute in measures.items()}
        made[own.name] = Shown(own.name, own.title, quality, data, decoded, psnr(samples, decoded), None, True, more)
    return made


def row(samples: Samples, made: dict[str, Shown]) -> Samples:
    """Squares of the same place, side by side."""
    place = places(samples, [made["avif"], made["mvc"]], SIDE_PX, 1)[0]
    cuts = [one[place.rows, place.columns] for one in (samples, *(made[n].samples for n in made))]
    gap = np.full((cuts[0].shape[0], GAP_PX, 3), 255, np.uint8)
    return np.concatenate([part for cut in cuts for part in (cut, gap)][:-1], 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pictures", type=Path, nargs="+")
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--quality", type=float, default=2.0)
    parser.add_argument("--metric", default="dists")
    arguments = parser.parse_args()
    found = []
    for path in arguments.pictures:
        samples = read_picture(path).picture.samples
        made = shown(samples, arguments.quality, arguments.metric)
        values = {name: one.more[arguments.metric] or 0.0 for name, one in made.items()}
        gain = values["avif"] - values["mvc-natural"]
        told = (f"{name} {len(one.data)} bytes {one.psnr:.2f} dB {values[name]:.4f}" for name, one in made.items())
        print(f"{path.name}: {', '.join(told)}", flush=True)
        found.append((gain, path.name, row(samples, made)))
    found.sort(key=lambda each: each[:2])
    chosen = [found[0], found[len(found) // 2], found[-1]]
    print("worst, median, best:", *(f"{name} ({gain:+.4f})" for gain, name, _ in chosen))
    gap = np.full((GAP_PX, chosen[0][2].shape[1], 3), 255, np.uint8)
    page = np.concatenate([part for _, _, each in chosen for part in (each, gap)][:-1])
    Image.fromarray(page).save(arguments.output, quality=92, method=6)


if __name__ == "__main__":
    main()
