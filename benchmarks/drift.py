"""How far frames drift apart between machines: one file, decoded with transforms in several kinds of arithmetic.

    python -m benchmarks.drift ../shared/data/video/test/*.y4m --gop 60

What is read and predicted is the same everywhere; the residual's synthesis is not, and each frame is made from the one
before. Bfloat16 is the bound: between two machines in float32 the difference is that from float64.
"""

from __future__ import annotations

import argparse
import io
from itertools import islice
from pathlib import Path

import numpy as np
import torch

from mvc.clip import ClipCodec
from mvc.clip_files import clip_head, timed
from mvc.codec import load
from mvc.frames import Frame
from mvc.media.clips import open_clip
from mvc.metrics import psnr
from mvc.quality import quality_index

KINDS = {"float64": torch.float64, "bfloat16": torch.bfloat16}
MODEL = "mambavc-ssf-lite"


def decoded(data: bytes, dtype: torch.dtype = torch.float32) -> list[Frame]:
    """The frames of a file, its float transforms in a type."""
    coder = ClipCodec(load(MODEL, device="cpu"))
    for network in coder.networks.values():
        model = network.model
        if model.trains_in_half:  # the others are in whole numbers
            model.pieces_of = lambda given, index, _=None, own=model: type(own).pieces_of(own, given, index, dtype)
    try:
        return list(coder.decode(io.BytesIO(data)))
    finally:
        for network in coder.networks.values():
            network.model.__dict__.pop("pieces_of", None)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("clips", nargs="+", type=Path)
    options.add_argument("--gop", type=int, default=60)
    options.add_argument("--quality", "-q", type=float, default=4)
    given = options.parse_args()
    print("| clip | frames after the keyframe | arithmetic | luma that differs | greatest difference | PSNR, dB |")
    print("|---|---:|---|---:|---:|---:|")
    for path in given.clips:
        file = io.BytesIO()
        with open_clip(path) as clip:
            coder = ClipCodec(load(MODEL, device="cpu"))
            frames, index = islice(timed(clip), given.gop), quality_index(given.quality)
            coder.encode(frames, file, clip_head(clip), index=index, gop=given.gop)
        plain = decoded(file.getvalue())
        for name, dtype in KINDS.items():
            other = decoded(file.getvalue(), dtype)
            for place in sorted({0, 1, 11, len(plain) - 1} & set(range(len(plain)))):
                one, two = plain[place].planes[0], other[place].planes[0]
                apart = np.abs(one.astype(int) - two)
                shares = f"{np.mean(apart > 0):.3%} | {apart.max()} | {psnr(one, two):.1f}"
                print(f"| {path.stem} | {place} | {name} | {shares} |")


if __name__ == "__main__":
    main()
