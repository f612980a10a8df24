"""Checkpoints of one run against another in minutes: BD-rates in PSNR with estimated bits, on sets of pictures.

    python -m benchmarks.estimated ANCHOR.pt TEST.pt... --pictures FOLDER --pictures FOLDER [--first 8] [--raw]

For each set and checkpoint: the mean over the pictures of the BD-rate against the first checkpoint, and the best and
the worst picture's. Middles of at most 512 x 512 (mvc/train/validate.py), averaged weights or, with --raw, those of the
last step. A signal for training, never a result to report: bits are estimated, nothing is written.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch

from mvc.errors import SourceError
from mvc.evaluate.bdrate import bd_rate
from mvc.files import PICTURE_SUFFIXES
from mvc.media import read_picture
from mvc.models import registry
from mvc.train import state
from mvc.train.objective import Objective
from mvc.train.trained import trained_with
from mvc.train.validate import validate

QUALITIES = (4, 18, 32, 46, 60)
Curve = list[dict[str, float]]


def curves(checkpoint: Path, pictures: list[np.ndarray], raw: bool) -> list[Curve]:
    """Estimated bpp and PSNR at each quality, picture by picture."""
    stored = state.read(checkpoint)
    model = registry.known(trained_with(stored, "model")).make(stored["config"]).eval()
    objective = Objective(model, torch.float32)
    weights = {name: value.float() for name, value in stored["model" if raw else "average"].items()}
    return [validate(objective, weights, [picture], "cpu", QUALITIES) for picture in pictures]


def read_set(folder: Path, first: int) -> list[np.ndarray]:
    paths = sorted(p for p in folder.iterdir() if p.suffix.lower() in PICTURE_SUFFIXES)
    if not paths:
        raise SourceError(f"no pictures found in {folder}")
    return [read_picture(path).picture.samples for path in paths[:: max(1, len(paths) // first) if first else 1]]


def against(anchor: Curve, test: Curve) -> float:
    """BD-rate of one picture in per cent."""
    sides = [[row[key] for row in curve] for curve in (anchor, test) for key in ("estimated_bpp", "psnr")]
    return bd_rate(*sides)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoints", type=Path, nargs="+")
    parser.add_argument("--pictures", type=Path, action="append", required=True, help="a folder; repeatable")
    parser.add_argument("--first", type=int, default=0, help="so many pictures of each set, evenly spread; 0: all")
    parser.add_argument("--raw", action="store_true", help="the weights of the last step instead of the averages")
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    for folder in arguments.pictures:
        pictures = read_set(folder, arguments.first)
        anchor, *tests = [curves(path, pictures, arguments.raw) for path in arguments.checkpoints]
        print(f"{folder}: {len(pictures)} pictures against {arguments.checkpoints[0]}")
        for path, test in zip(arguments.checkpoints[1:], tests, strict=True):
            found = [against(a, b) for a, b in zip(anchor, test, strict=True)]
            print(f"  {path}  mean {np.mean(found):+.2f} %, {min(found):+.2f} ... {max(found):+.2f} %", flush=True)


if __name__ == "__main__":
    main()
