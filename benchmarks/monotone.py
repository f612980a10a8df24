"""Whether a higher quality index is ever a smaller file or a worse picture, on every picture given.

    python -m benchmarks.monotone PICTURE... [--step 3] [--model mambavc-lite-seen]

Prints one line per picture: the worst fall of the PSNR and the least growth of the file from one index to the next.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from mvc import codec as codecs
from mvc.media import read_picture
from mvc.metrics import psnr
from mvc.quality import DEFAULT_MODEL

ALLOWED_FALL_DB = 0.05


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pictures", type=Path, nargs="+")
    parser.add_argument("--step", type=int, default=1, help="look at every step-th quality index only")
    parser.add_argument("--model", default=DEFAULT_MODEL, help="a name, or a folder of weights")
    arguments = parser.parse_args()
    codec = codecs.load(arguments.model)
    failed = 0
    for path in arguments.pictures:
        picture = read_picture(path).picture
        sizes, levels = [], []
        for index in range(0, 64, arguments.step):
            data = codec.encode(picture, index)
            sizes.append(len(data))
            levels.append(psnr(picture.samples, codec.decode(data).samples))
        fall, growth = float(min(np.diff(levels))), int(min(np.diff(sizes)))
        good = fall >= -ALLOWED_FALL_DB and growth >= 0
        failed += not good
        verdict = "ok" if good else "NOT MONOTONE"
        print(f"{path.name}: {verdict}, least gain {fall:+.3f} dB, {growth:+d} bytes", flush=True)
    raise SystemExit(f"{failed} pictures fail" if failed else 0)


if __name__ == "__main__":
    main()
