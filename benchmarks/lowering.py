"""What the exact prior costs: bytes of real files against the bits that the float prior estimates for the same latents.

    python -m benchmarks.lowering CHECKPOINT PICTURE...

The float prior is the checkpoint's own, with Gaussian likelihoods; the files carry integer layers, integer tables,
rANS and the container. The last column adds the calibrated tables of the shipped weights.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from mvc.codec import Codec
from mvc.media import read_picture
from mvc.models.estimate import RateEstimator
from mvc.models.weights import load
from mvc.train.export import make_weights
from mvc.train.trained import load_checkpoint

INDICES = (0, 18, 36, 54)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("pictures", type=Path, nargs="+")
    parser.add_argument("--weights", type=Path, help="a weights folder exported from the same checkpoint")
    arguments = parser.parse_args()
    model, _ = load_checkpoint(arguments.checkpoint)
    codec = Codec(make_weights(model, {}, name="mambavc-lite"))
    shipped = Codec(load(arguments.weights)) if arguments.weights else None
    pictures = [read_picture(path).picture for path in arguments.pictures]
    print("quality  float bits  file bits   lowering" + ("  calibrated" if shipped else ""))
    for quality in INDICES:
        estimated = written = calibrated = 0.0
        index = torch.tensor([quality])
        for picture in pictures:
            estimator = RateEstimator(model.density, index, noise=False)
            with torch.inference_mode():
                model.code(estimator, codec.to_tensor(picture), index)
            estimated += float(estimator.bits)
            written += 8 * len(codec.encode(picture, quality, effort=0))
            calibrated += 8 * len(shipped.encode(picture, quality, effort=0)) if shipped else 0
        line = f"{quality:7} {estimated:11.0f} {written:10.0f} {written / estimated - 1:+10.2%}"
        print(line + (f" {calibrated / estimated - 1:+11.2%}" if shipped else ""), flush=True)


if __name__ == "__main__":
    main()
