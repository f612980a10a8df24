"""Write samples/golden: files of the shipped model with what they must decode to. Run it when weights or format change.

    PYTHONPATH=tests python -m make_golden
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from tiny_model import decoded_digests

from mvc import codec as codecs
from mvc.media import read_picture, write_picture
from mvc.picture import Picture

SAMPLES = Path(__file__).parent.parent / "samples"
GOLDEN = SAMPLES / "golden"
CASES = {"rgb-q10": (10, False), "rgb-q54": (54, False), "gray-q27": (27, True)}
PART = (slice(96, 287), slice(200, 401))  # an odd size, so that padding takes part


def main() -> None:
    codec = codecs.load(device="cpu")
    whole = read_picture(SAMPLES / "kodim23.png").picture.samples[PART]
    GOLDEN.mkdir(exist_ok=True)
    expected = {}
    for name, (quality, gray) in CASES.items():
        samples = whole.mean(-1).astype(np.uint8) if gray else np.ascontiguousarray(whole)
        data = codec.encode(Picture(samples), quality)
        (GOLDEN / f"{name}.mvc").write_bytes(data)
        write_picture(codec.decode(data), GOLDEN / f"{name}.png", force=True)
        symbols, y_hat = decoded_digests(codec, data)
        expected[name] = {"symbols_sha256": symbols, "y_hat_sha256": y_hat}
    (GOLDEN / "expected.json").write_text(json.dumps(expected, indent=2) + "\n")


if __name__ == "__main__":
    main()
